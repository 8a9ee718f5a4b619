"""The command ``dimat-flwr``: runs in one process, what they left, keys, and merging networks by their symmetries."""

import typer

from dimat_flwr.cli.catalogue import algorithms, topology
from dimat_flwr.cli.keys import keys
from dimat_flwr.cli.local import local
from dimat_flwr.cli.merge_adapters import merge_adapters
from dimat_flwr.cli.merge_checkpoints import merge_checkpoints
from dimat_flwr.cli.runs import compare, report
from dimat_flwr.cli.show_spec import show_spec
from dimat_flwr.cli.status import status
from dimat_flwr.cli.sweep import sweep
from dimat_flwr.cli.verify_spec import verify_spec

app = typer.Typer(
    name="dimat-flwr",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # which breaks the lines of every paragraph anew
    help="Decentralized federated runs in this process, their records, and merging networks after matching.",
)
app.command()(local)
app.command()(sweep)
app.command()(report)
app.command()(status)
app.command()(compare)
app.command()(algorithms)
app.command()(topology)
app.add_typer(keys, name="keys")
app.command("spec")(show_spec)
app.command("verify")(verify_spec)
app.command("merge")(merge_checkpoints)
app.command("merge-lora")(merge_adapters)

__all__ = ["app"]
