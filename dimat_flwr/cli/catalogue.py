"""``dimat-flwr algorithms`` and ``topology``: what there is to choose from, and what a graph is like."""

from textwrap import fill, indent
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dimat_flwr.cli.errors import told_in_one_line

_INDENT = "    "
_MEASURED = 500  # peers of a graph that never repeats


def algorithms() -> None:
    """List the algorithms: what each does, how many models cross an edge in a round, and its paper."""
    from dimat_flwr.algorithms.registry import available_algorithms
    from dimat_flwr.conf_dir import find_conf_dir

    console = Console(highlight=False)
    console.print("algorithm=...; numbers are models per edge and round")
    for key, about in available_algorithms(find_conf_dir()).items():
        name = "" if about.name.lower() == key else f"{about.name}: "
        console.print(Text.assemble("\n", (key, "bold")))
        lines = (f"{name}{about.description} ({about.models_per_edge:g})", about.paper, about.url)
        for line in filter(None, lines):
            # Words stay whole, so that an address can be copied.
            broken = fill(line, console.width - len(_INDENT), break_long_words=False, break_on_hyphens=False)
            console.print(Text(indent(broken, _INDENT)), soft_wrap=True)


def topology(
    name: str,
    peers: Annotated[int, typer.Option("--peers", "-n", min=2, help="How many peers.")] = 5,
    settings: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of graphs that are drawn at random.")] = 0,
) -> None:
    """Show a graph's mixing matrix, its edges and how fast it mixes.

    NAME is a choice of conf/topology, such as ring; KEY=VALUE a setting of it, such as p=0.3 of erdos_renyi.
    """
    from dimat_flwr.conf_dir import find_conf_dir
    from dimat_flwr.config import ConfigError
    from dimat_flwr.config.choice import build_choice
    from dimat_flwr.topology import Topology, TopologyError

    with told_in_one_line(ConfigError, TopologyError):
        graph = build_choice("topology", name, settings or [], find_conf_dir(), Topology)
        mixing, gap = graph.mixing(peers, 0, seed), graph.spectral_gap(peers, seed)
    console = Console()
    period = graph.period(peers)
    repeats = "never repeats" if period is None else "static" if period == 1 else f"repeats after {period} rounds"
    console.print(f"{name}: {peers} peers, {len(mixing.edges)} directed edges, {repeats}")
    if gap is None:
        factor = graph.contraction(peers, seed) if peers <= _MEASURED else None
        shown = "are not measured for so many peers" if factor is None else f"shrink to {factor:.1%} a round (measured)"
        console.print(f"the peers' differences {shown}")
    else:
        console.print(f"spectral gap 1 - |lambda_2|: {gap:.4f}{'' if period == 1 else ' of one period'}")
    if peers > 16:
        return
    table = Table("reader \\ source", *map(str, range(peers)), title="mixing matrix W (round 0)")
    for reader in range(peers):
        row = mixing.row(reader)
        weights = {reader: row.own, **row.sources}
        table.add_row(str(reader), *(f"{weights[source]:.3f}" if source in weights else "·" for source in range(peers)))
    console.print(table)
