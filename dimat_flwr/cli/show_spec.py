"""``dimat-flwr spec``: which axes of a network's tensors share a permutation."""

from rich.console import Console
from rich.table import Table

from dimat_flwr.cli import options
from dimat_flwr.cli.errors import told_in_one_line


def show_spec(
    model: str,
    model_arg: options.ModelArgs = None,
    input_shape: options.InputShape = "3,32,32",
    seed: options.Seed = 0,
) -> None:
    """Show the permutation groups of a network: units that may swap places, and the tensor axes they lie on.

    MODEL is the dotted path of what makes the network, such as torchvision.models.resnet18.
    """
    from dimat_flwr.cli.components import build_network, example_input  # here: they load torch
    from dimat_flwr.symmetry import find_permutation_spec

    with told_in_one_line():
        network = build_network(model, model_arg or [], seed)
        spec = find_permutation_spec(network, example_input(input_shape, seed))
    table = Table(title=f"{model}: {len(spec.groups)} permutation groups")
    for column, justify in (("group", "left"), ("units", "right"), ("within", "left"), ("axes", "left")):
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for group in spec.groups.values():
        size = str(group.units) if group.blocks is None else f"{group.blocks} x {group.units}"
        axes = ", ".join(f"{axis.tensor}[{'flat' if axis.dim is None else axis.dim}]" for axis in group.axes)
        table.add_row(group.name, size, group.parent or "", axes)
    console = Console()
    console.print(table)
    console.print(f"{spec.permutable_share:.1%} of the parameters lie on a permutable axis.")
    for warning in spec.warnings:
        console.print(f"[yellow]warning:[/] {warning}", highlight=False)
