"""Errors a person can act on are shown as one line, not as a stack of calls."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console


class CommandError(ValueError):
    """Something given on the command line does not work; the message says what and what to do."""


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn the project's own errors (all are ``ValueError``) and missing files into a line on stderr, exit code 1."""
    try:
        yield
    except (ValueError, OSError) as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {error}", highlight=False)
        raise typer.Exit(1) from error
