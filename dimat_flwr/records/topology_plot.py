"""The drawing of a run's topology."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dimat_flwr.records.figure import FAINT, HEALTHY, INK, LOST, new_figure, save, title

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.axes import Axes

_EDGE = "#7d7d7d"
_MANY_EDGES = 30  # above this, weights at the edges would cover each other
_FEW_EDGES = 12  # above this, weights that are all the same stand in the caption alone
_DENSE = 300  # edges; above this, arrow heads are too small to be seen and take long to draw
_MANY_PEERS = 80  # above this, the stress layout takes too long
_LABEL_AT = 0.42  # off the middle, where the diagonals of a circle meet
_BEND = 0.16  # of two edges that differ in weight, so that both are seen


def plot_topology(summary: dict[str, Any], path: Path) -> None:
    """Draw the peers, who sends to whom and with what weight, as a PNG; peers that were lost are marked.

    Args:
        summary: see ``dimat_flwr.records.summary.summarize``; used are ``peers``, ``edges``, ``topology``,
            ``spectral_gap`` and ``lost_peers``.
        path: the file to write.
    """
    graph = run_graph(summary)
    lost = {int(peer) for peer in summary["lost_peers"]} & set(graph)
    figure, axes = new_figure(5.4, 5.9)
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
    places = peer_places(graph)
    size = 17.0 - len(graph) / 4 if len(graph) <= 48 else max(1.0, 250 / len(graph))  # a peer's radius, points
    if graph.number_of_edges() <= _DENSE and len(graph) <= _MANY_PEERS:
        _draw_arrows(axes, graph, places, size, lost)
    else:
        _draw_lines(axes, graph, places)
    _draw_peers(axes, places, size, lost)
    if not graph:
        axes.text(0, 0, "no peers are known", ha="center", va="center", color=FAINT)
    title(figure, axes, f"{summary.get('topology') or 'unnamed topology'} · {summary['peers'] or 0} peers")
    axes.text(0.5, -0.01, caption(summary), ha="center", va="top", fontsize=10, color=INK,
              linespacing=1.4, transform=axes.transAxes)  # fmt: skip
    save(figure, path)


def _draw_peers(axes: "Axes", places: dict[int, NDArray[np.float64]], size: float, lost: set[int]) -> None:
    for kind, fill, edge, width in ((False, HEALTHY, "white", 1.0), (True, "white", LOST, min(2.5, 0.35 * size))):
        chosen = [place for peer, place in places.items() if (peer in lost) == kind]
        if chosen:
            x, y = zip(*chosen, strict=True)
            axes.plot(x, y, "o", markersize=2 * size, zorder=3, color=fill, markeredgecolor=edge, markeredgewidth=width)
    if size < 5:
        return  # no room for a number
    for peer, (x, y) in places.items():
        axes.text(x, y, str(peer), ha="center", va="center_baseline", color=LOST if peer in lost else "white",
                  weight="bold", fontsize=max(5.0, 0.75 * size), zorder=4)  # fmt: skip


def run_graph(summary: Mapping[str, Any]) -> "nx.DiGraph":
    """Return the graph of a run's summary: an edge per source and reader, with its weight."""
    import networkx as nx  # imported here: it takes a tenth of a second, and not every run draws

    graph = nx.DiGraph()
    graph.add_nodes_from(range(summary["peers"] or 0))
    graph.add_weighted_edges_from(summary["edges"] or [])
    return graph


def peer_places(graph: "nx.DiGraph") -> dict[int, NDArray[np.float64]]:
    """Return a place in [-1, 1]^2 per peer: by graph distance where that shows the shape, else on a circle."""
    angles = math.pi / 2 - 2 * math.pi * np.arange(len(graph)) / max(1, len(graph))  # peer 0 on top, then clockwise
    circle = {peer: np.array([math.cos(a), math.sin(a)]) for peer, a in zip(sorted(graph), angles, strict=True)}
    links = graph.to_undirected()
    turned = {tuple(sorted(((a + 1) % len(graph), (b + 1) % len(graph)))) for a, b in links.edges}
    looks_alike = turned == {tuple(sorted(edge)) for edge in links.edges}  # rings, complete and exponential graphs
    thin = max((degree for _, degree in links.degree), default=0) <= 2  # chains, which would shrink to a short line
    if looks_alike or thin or len(graph) > _MANY_PEERS or not _connected(links):
        return circle
    import networkx as nx

    places = nx.kamada_kawai_layout(links, pos=circle, weight=None)
    low, high = (pick(list(places.values()), axis=0) for pick in (np.min, np.max))
    extent = np.maximum(high - low, 0.4 * (high - low).max())  # fill the page both ways, without distorting too much
    return {peer: 2 * (place - (low + high) / 2) / extent for peer, place in places.items()}


def _connected(links: "nx.Graph") -> bool:
    import networkx as nx

    return bool(nx.is_connected(links))


def _draw_lines(axes: "Axes", graph: "nx.DiGraph", places: dict[int, NDArray[np.float64]]) -> None:
    from matplotlib.collections import LineCollection

    links = sorted({(min(edge), max(edge)) for edge in graph.edges})
    lines = [(places[one], places[other]) for one, other in links]
    axes.add_collection(
        LineCollection(lines, colors=_EDGE, linewidths=0.6, alpha=max(0.06, min(0.5, 120 / len(links))), zorder=1)
    )


def _draw_arrows(
    axes: "Axes", graph: "nx.DiGraph", places: dict[int, NDArray[np.float64]], size: float, lost: set[int]
) -> None:
    from matplotlib.patches import FancyArrowPatch

    pairs = []
    for source, reader, weight in graph.edges(data="weight"):
        both = graph.has_edge(reader, source)
        same = both and _alike(graph[reader][source]["weight"], weight)
        if not (same and source > reader):  # a pair of equal weights is one line with a head at both ends
            pairs.append((source, reader, weight, "<|-|>" if same else "-|>", _BEND if both and not same else 0.0))
    crowded = len(pairs) > _MANY_EDGES
    labelled = len(pairs) <= (_FEW_EDGES if len({pair[2] for pair in pairs}) == 1 else _MANY_EDGES)
    for source, reader, weight, heads, bend in pairs:
        start, end = places[source], places[reader]
        cut = source in lost or reader in lost
        axes.add_patch(
            FancyArrowPatch(
                tuple(start), tuple(end), arrowstyle=heads, connectionstyle=f"arc3,rad={bend}",
                mutation_scale=7 if crowded else 12, linewidth=0.7 if crowded else 1.4, color=LOST if cut else _EDGE,
                linestyle=(0, (2, 3)) if cut else "-", alpha=0.5 if crowded else 1.0, shrinkA=size + 1,
                shrinkB=size + 1, zorder=1,
            )
        )  # fmt: skip
        if labelled and weight is not None:
            dx, dy = end - start
            control = (start + end) / 2 + bend * np.array([dy, -dx])  # matplotlib's arc3 is this quadratic curve
            t = _LABEL_AT
            x, y = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
            axes.text(x, y, f"{weight:.2g}", ha="center", va="center", fontsize=8.5, color=INK, zorder=2,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})  # fmt: skip


def _alike(one: float | None, other: float | None) -> bool:
    return one is other or (one is not None and other is not None and math.isclose(one, other))


def caption(summary: Mapping[str, Any]) -> str:
    """Return what to say of a run's graph: how it mixes, what its edges weigh, who was lost; in lines."""
    graph = run_graph(summary)
    lost = {int(peer) for peer in summary["lost_peers"]} & set(graph)
    gap = summary.get("spectral_gap")
    factor = summary.get("contraction")
    line = f"spectral gap {gap:.3f}" if gap is not None else "spectral gap unknown"
    line = f"differences shrink to {factor:.0%} a round" if gap is None and factor is not None else line
    weights = [weight for _, _, weight in graph.edges(data="weight") if weight is not None]
    if not graph.number_of_edges():
        line = "no edges: peers do not exchange" if summary["edges"] is not None else "the graph was not recorded"
    elif weights and math.isclose(min(weights), max(weights)):
        line += f" · every edge weighs {weights[0]:.3g}"
    elif weights:
        line += f" · edges weigh {min(weights):.3g} to {max(weights):.3g}"
    if graph.number_of_edges() > _DENSE or (graph.number_of_edges() and len(graph) > _MANY_PEERS):
        line += f"\n{graph.number_of_edges():,} directed edges, drawn without their heads"
    if lost:
        shown = ", ".join(map(str, sorted(lost)[:12])) + (", ..." if len(lost) > 12 else "")
        line += f"\nred: lost before the end (peer{'s' if len(lost) > 1 else ''} {shown})"
    return line
