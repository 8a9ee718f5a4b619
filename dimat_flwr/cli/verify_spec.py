"""``dimat-flwr verify``: prove on random inputs that permuting every group leaves a network's function unchanged."""

from typing import Annotated

import typer
from rich.console import Console

from dimat_flwr.cli import options
from dimat_flwr.cli.errors import CommandError, told_in_one_line


def verify_spec(
    model: str,
    model_arg: options.ModelArgs = None,
    input_shape: options.InputShape = "3,32,32",
    seed: options.Seed = 0,
    tolerance: Annotated[float, typer.Option(help="Largest relative error of the output that passes.")] = 1e-9,
) -> None:
    """Permute all groups, no unit left in place, and compare the outputs in float64; exit code 1 if they differ.

    MODEL is the dotted path of what makes the network, such as torchvision.models.resnet18.
    """
    from dimat_flwr.cli.components import build_network, example_input  # here: they load torch
    from dimat_flwr.symmetry import find_permutation_spec, verify

    with told_in_one_line():
        network = build_network(model, model_arg or [], seed)
        example = example_input(input_shape, seed)
        spec = find_permutation_spec(network, example)
        if not spec.groups:
            raise CommandError(f"{model} has no permutation groups, so there is nothing to verify: {spec.describe()}")
        error = verify(network, spec, example)
    passed = error <= tolerance
    verdict = "[green]unchanged[/]" if passed else "[bold red]CHANGED[/]"
    Console(soft_wrap=True).print(
        f"{model}: {len(spec.groups)} groups permuted at random, output {verdict}: "
        f"largest relative error {error:.1e} (limit {tolerance:.0e})",
        highlight=False,
    )
    if not passed:
        raise typer.Exit(1)
