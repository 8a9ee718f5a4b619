"""Arguments that several commands share.

What an argument without a name of its own is, a command's docstring says: typer loses ``help`` of those with click 8.5.
"""

from typing import Annotated

import typer

ModelArgs = Annotated[
    list[str] | None,
    typer.Option("--model-arg", metavar="NAME=VALUE", help="Argument of MODEL, such as num_classes=10; repeatable."),
]
InputShape = Annotated[str, typer.Option("--input-shape", help="Shape of one sample, such as 3,32,32.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Everything random derives from it.")]
