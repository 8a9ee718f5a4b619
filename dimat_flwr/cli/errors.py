"""Errors a person can act on are shown as one line, not as a stack of calls."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.text import Text


class CommandError(ValueError):
    """Something given on the command line does not work; the message says what and what to do."""


@contextmanager
def told_in_one_line(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors made for people into a line on stderr, exit code 1: ``ValueError``, ``OSError`` and those named."""
    told: tuple[type[Exception], ...] = (ValueError, OSError, *kinds)
    try:
        yield
    except told as error:
        Console(stderr=True, soft_wrap=True).print(Text.assemble(("error: ", "bold red"), str(error)))
        raise typer.Exit(1) from error
