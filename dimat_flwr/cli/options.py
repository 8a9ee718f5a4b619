"""Arguments that several commands share."""

from typing import Annotated

import typer

Model = Annotated[
    str, typer.Argument(help="Dotted path of what makes the network, such as torchvision.models.resnet18.")
]
ModelArgs = Annotated[
    list[str] | None,
    typer.Option("--model-arg", metavar="NAME=VALUE", help="Argument of MODEL, such as num_classes=10; repeatable."),
]
InputShape = Annotated[str, typer.Option("--input-shape", help="Shape of one sample, such as 3,32,32.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Everything random derives from it.")]
