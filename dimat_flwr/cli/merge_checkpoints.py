"""``dimat-flwr merge``: merge trained checkpoints of one architecture, with their accuracy before and after."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from dimat_flwr.cli import options
from dimat_flwr.cli.errors import CommandError, told_in_one_line
from dimat_flwr.cli.mixing_weights import parsed_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dimat_flwr.cli.labelled_images import LabelledImages
    from dimat_flwr.merging import BatchNormPolicy, Merged, Method, Strategy

_METHODS: dict[str, "Method"] = {
    "weight_from_activation": "weight_from_activation",
    "activation": "activation",
    "weight": "weight",
    "average": "none",
}


def merge_checkpoints(
    checkpoints: list[Path],
    model: Annotated[str, typer.Option("--model", help="Dotted path of what makes the network.")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="Images to match on and to measure accuracy with, and their labels: a file, or a data set.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The merged checkpoint, .safetensors or .pt.")],
    model_arg: options.ModelArgs = None,
    data_arg: Annotated[
        list[str] | None,
        typer.Option("--data-arg", metavar="NAME=VALUE", help="Argument of the data set, such as data_dir=DIR."),
    ] = None,
    method: Annotated[
        Literal["activation", "weight", "weight_from_activation", "average"],
        typer.Option(
            help="Align by activation matching, by weight matching, by the second started from the first, or average "
            "the weights as they are."
        ),
    ] = "activation",
    strategy: Annotated[
        Literal["first", "many", "cycle_consistent"],
        typer.Option(
            help="Leave all matched to the first, go on matching each to the mean of the others (MergeMany), or "
            "climb with all at once (C2M3)."
        ),
    ] = "first",
    weights: Annotated[
        str | None, typer.Option(help="Mixing weights such as 0.5,0.25,0.25; equal ones if left out.")
    ] = None,
    batchnorm: Annotated[
        Literal["recalibrate", "average", "keep"], typer.Option(help="What becomes of BatchNorm's running statistics.")
    ] = "recalibrate",
    repair: Annotated[bool, typer.Option(help="Restore the variance of networks without BatchNorm.")] = False,
    samples: Annotated[int, typer.Option(min=1, help="How many images to match and recalibrate on.")] = 1000,
    batch_size: Annotated[int, typer.Option(min=2, help="Images in a forward pass.")] = 100,
    device: Annotated[str, typer.Option(help="Where to compute, such as cpu or cuda.")] = "cpu",
    seed: options.Seed = 0,
) -> None:
    """Merge checkpoints and write the result, with a table of accuracy before and after.

    CHECKPOINTS are two or more state dicts: .safetensors or .pt files, or folders with Hugging Face shards. The first
    gives the unit order.

    What to match on is a .npz, .pt or .safetensors file with images (N,C,H,W) and labels (N,), or the dotted path of a
    data set such as dimat_flwr.data.digits.Digits.
    """
    import torch  # here, as below: the other commands do not wait for it

    from dimat_flwr.cli.checkpoints import check_writable, load_checkpoint, save_checkpoint
    from dimat_flwr.cli.components import build_network, on_device
    from dimat_flwr.cli.labelled_images import load_images

    with told_in_one_line():
        check_writable(output)
        if len(checkpoints) < 2:
            raise CommandError("give at least two checkpoints to merge.")
        network = on_device(build_network(model, model_arg or [], seed), device)
        states = [load_checkpoint(path) for path in checkpoints]
        images = load_images(data, data_arg or [], samples, seed)
        merged = _merge(
            network,
            states,
            None if weights is None else parsed_weights(weights),
            torch.split(images.matching, batch_size),
            _METHODS[method],
            strategy,
            batchnorm,
            repair,
            seed,
        )
        table = Table(title=f"accuracy on {len(images.labels)} images not matched on")
        for column in ("model", "accuracy %", "loss", "units moved %"):
            table.add_column(column, justify="left" if column == "model" else "right", overflow="fold")
        moved = ["", *(f"{share:.1%}".rstrip("%") for share in merged.moved[1:])]
        for position, (path, state) in enumerate(zip(checkpoints, states, strict=True)):
            table.add_row(
                str(path), *_measured(network, state, images, batch_size), moved[position] if moved[1:] else ""
            )
        table.add_section()
        table.add_row(f"merged ({method})", *_measured(network, merged.state, images, batch_size), "")
        save_checkpoint(merged.state, output)
    console = Console()
    console.print(table)
    console.print(f"wrote {output}", soft_wrap=True, highlight=False)


def _merge(
    network: "nn.Module",
    states: "Sequence[dict[str, Tensor]]",
    weights: Sequence[float] | None,
    batches: "Sequence[Tensor]",
    method: "Method",
    strategy: "Strategy",
    batchnorm: "BatchNormPolicy",
    repair: bool,
    seed: int,
) -> "Merged":
    import torch

    from dimat_flwr.merging import merge_many, merge_with_report
    from dimat_flwr.seeding import derive_seed
    from dimat_flwr.symmetry import find_permutation_spec

    generator = torch.Generator().manual_seed(derive_seed(seed, purpose="weight matching"))
    if method == "none" and strategy == "first" and not repair:  # for networks that cannot be traced, too
        row = [1 / len(states)] * len(states) if weights is None else weights
        return merge_with_report(
            network, states[0], states[1:], row, batches=batches, method="none", batchnorm=batchnorm
        )
    first = batches[0].to(next(network.parameters()).device)
    return merge_many(
        network,
        states,
        spec=find_permutation_spec(network, first),
        batches=batches,
        weights=weights,
        strategy=strategy,
        method=method,
        generator=generator,
        batchnorm=batchnorm,
        repair=repair,
    )


def _measured(
    network: "nn.Module", state: "dict[str, Tensor]", images: "LabelledImages", batch_size: int
) -> tuple[str, str]:
    """Return accuracy in percent and mean cross entropy of a state dict, as texts."""
    import torch

    network.load_state_dict(state)
    device = next(network.parameters()).device
    right = loss = 0.0
    with torch.no_grad():
        for inputs, labels in zip(
            torch.split(images.images, batch_size), torch.split(images.labels, batch_size), strict=True
        ):
            scores = network(inputs.to(device))
            right += float((scores.argmax(1) == labels.to(device)).sum())
            loss += float(torch.nn.functional.cross_entropy(scores, labels.to(device), reduction="sum"))
    return f"{100 * right / len(images.labels):.2f}", f"{loss / len(images.labels):.4f}"
