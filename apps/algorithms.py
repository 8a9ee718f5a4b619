"""List the algorithms: ``python -m apps.algorithms``."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from dimat_flwr.algorithms.registry import available_algorithms

CONF_DIR = Path(__file__).resolve().parent.parent / "conf"


def main() -> None:
    """Print key, name, description, cost and paper of every algorithm."""
    table = Table("key", "name", "what it does", "models per edge and round", "paper", title="algorithm='...'")
    for key, about in available_algorithms(CONF_DIR).items():
        table.add_row(key, about.name, about.description, f"{about.models_per_edge:g}", f"{about.paper} {about.url}")
    Console().print(table)


if __name__ == "__main__":
    main()
