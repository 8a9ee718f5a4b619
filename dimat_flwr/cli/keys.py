"""``dimat-flwr keys``: a peer's identity, which signs what it publishes and opens what is sealed for it."""

from pathlib import Path
from typing import Annotated

import typer

from dimat_flwr.cli.errors import told_in_one_line

keys = typer.Typer(
    no_args_is_help=True,
    help="A peer's identity, which signs what it publishes and opens what is sealed for it.",
)


@keys.command()
def new(file: Annotated[Path, typer.Argument(help="The file to write; it must not be there yet.")]) -> None:
    """Make an identity, write it to a file for its owner alone, and print the public key, for others' known_peers."""
    from dimat_flwr.security.key_files import write_identity

    with told_in_one_line():
        identity = write_identity(file.expanduser())
    typer.echo(identity.public)


@keys.command()
def show(file: Annotated[Path, typer.Argument(help="A file that keys new has written.")]) -> None:
    """Print the public key of an identity, for others' known_peers."""
    from dimat_flwr.security.key_files import read_identity

    with told_in_one_line():
        identity = read_identity(file.expanduser())
    typer.echo(identity.public)
