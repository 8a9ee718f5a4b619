"""The command ``dimat-flwr``: look at a network's permutation groups, prove them, and merge checkpoints."""

import typer

from dimat_flwr.cli.merge_checkpoints import merge_checkpoints
from dimat_flwr.cli.show_spec import show_spec
from dimat_flwr.cli.verify_spec import verify_spec

app = typer.Typer(
    name="dimat-flwr",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Permutation symmetries of PyTorch networks, and merging trained networks with them.",
)
app.command("spec")(show_spec)
app.command("verify")(verify_spec)
app.command("merge")(merge_checkpoints)

__all__ = ["app"]
