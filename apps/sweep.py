"""All cells of a named sweep, from a checkout: ``python -m apps.sweep NAME scale=small``; see ``dimat-flwr sweep``."""

import typer

from dimat_flwr.cli.sweep import sweep

if __name__ == "__main__":
    typer.run(sweep)
