"""``dimat-flwr keys``: a peer's identity, which signs what it publishes and opens what is sealed for it."""

from pathlib import Path

import typer

from dimat_flwr.cli.errors import told_in_one_line

keys = typer.Typer(
    no_args_is_help=True,
    help="A peer's identity, which signs what it publishes and opens what is sealed for it.",
)


@keys.command()
def new(file: Path) -> None:
    """Make an identity, write it to a file for its owner alone, and print the public key, for others' known_peers.

    FILE must not be there yet.
    """
    from dimat_flwr.security.key_files import write_identity

    with told_in_one_line():
        identity = write_identity(file.expanduser())
    typer.echo(identity.public)


@keys.command()
def show(file: Path) -> None:
    """Print the public key of an identity, for others' known_peers.

    FILE is one that `dimat-flwr keys new` has written.
    """
    from dimat_flwr.security.key_files import read_identity

    with told_in_one_line():
        identity = read_identity(file.expanduser())
    typer.echo(identity.public)
