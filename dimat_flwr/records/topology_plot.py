"""The drawing of a run's topology."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEALTHY, _FAILED, _EDGE = "#00798c", "#d1495b", "#7d7d7d"
_MANY_EDGES = 30  # above this, weights at the edges would cover each other
_FEW_EDGES = 12  # above this, weights that are all the same stand in the caption alone
_MANY_PEERS = 80  # above this, the stress layout takes too long
_LABEL_AT = 0.42  # off the middle, where the diagonals of a circle meet
_BEND = 0.16  # of two edges that differ in weight, so that both are seen


def plot_topology(summary: dict[str, Any], path: Path) -> None:
    """Draw the peers, who sends to whom and with what weight, as a PNG; peers that failed are marked.

    Args:
        summary: see ``dimat_flwr.records.summary.summarize``; used are ``peers``, ``edges``, ``topology``,
            ``spectral_gap`` and ``problems``.
        path: the file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported late: slow, and not every run draws
    from matplotlib.figure import Figure

    graph = nx.DiGraph()
    graph.add_nodes_from(range(summary["peers"] or 0))
    graph.add_weighted_edges_from(summary["edges"] or [])
    failed = {event.get("peer") for event in summary["problems"] if event["event"] == "failure"} & set(graph)
    figure = Figure(figsize=(5.4, 5.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
    places = _places(graph)
    size = max(5.0, 17.0 - len(graph) / 4)  # radius of a peer in points
    _draw_edges(axes, graph, places, size)
    for peer, (x, y) in places.items():
        broken = peer in failed
        axes.plot(
            x, y, "o", markersize=2 * size, zorder=3, color="white" if broken else _HEALTHY,
            markeredgecolor=_FAILED if broken else "white", markeredgewidth=2.5 if broken else 1.0,
        )  # fmt: skip
        number_colour = _FAILED if broken else "white"
        axes.text(x, y, str(peer), ha="center", va="center_baseline", color=number_colour, weight="bold",
                  fontsize=max(5.0, 0.75 * size), zorder=4)  # fmt: skip
    if not graph:
        axes.text(0, 0, "no peers are known", ha="center", va="center", color="#666")
    axes.set_title(_title(summary), fontsize=12)
    axes.text(0.5, -0.01, _caption(summary, graph, failed), ha="center", va="top", fontsize=10, color="#333",
              linespacing=1.4, transform=axes.transAxes)  # fmt: skip
    figure.savefig(path)


def _places(graph: nx.DiGraph) -> dict[int, NDArray[np.float64]]:
    """Return a place in [-1, 1]^2 per peer: by graph distance where that shows the shape, else on a circle."""
    angles = math.pi / 2 - 2 * math.pi * np.arange(len(graph)) / max(1, len(graph))  # peer 0 on top, then clockwise
    circle = {peer: np.array([math.cos(a), math.sin(a)]) for peer, a in zip(sorted(graph), angles, strict=True)}
    links = graph.to_undirected()
    turned = {tuple(sorted(((a + 1) % len(graph), (b + 1) % len(graph)))) for a, b in links.edges}
    looks_alike = turned == {tuple(sorted(edge)) for edge in links.edges}  # rings, complete and exponential graphs
    thin = max((degree for _, degree in links.degree), default=0) <= 2  # chains, which would shrink to a short line
    if looks_alike or thin or len(graph) > _MANY_PEERS or not nx.is_connected(links):
        return circle
    places = nx.kamada_kawai_layout(links, pos=circle, weight=None)
    low, high = (pick(list(places.values()), axis=0) for pick in (np.min, np.max))
    extent = np.maximum(high - low, 0.4 * (high - low).max())  # fill the page both ways, without distorting too much
    return {peer: 2 * (place - (low + high) / 2) / extent for peer, place in places.items()}


def _draw_edges(axes: "Axes", graph: nx.DiGraph, places: dict[int, NDArray[np.float64]], size: float) -> None:
    from matplotlib.patches import FancyArrowPatch

    pairs = []
    for source, target, weight in graph.edges(data="weight"):
        both = graph.has_edge(target, source)
        same = both and math.isclose(graph[target][source]["weight"], weight)
        if not (same and source > target):  # a pair of equal weights is one line with a head at both ends
            pairs.append((source, target, weight, "<|-|>" if same else "-|>", _BEND if both and not same else 0.0))
    crowded = len(pairs) > _MANY_EDGES
    labelled = len(pairs) <= (_FEW_EDGES if len({pair[2] for pair in pairs}) == 1 else _MANY_EDGES)
    for source, target, weight, heads, bend in pairs:
        start, end = places[source], places[target]
        axes.add_patch(
            FancyArrowPatch(
                tuple(start), tuple(end), arrowstyle=heads, connectionstyle=f"arc3,rad={bend}",
                mutation_scale=7 if crowded else 12, linewidth=0.7 if crowded else 1.4, color=_EDGE,
                alpha=0.5 if crowded else 1.0, shrinkA=size + 1, shrinkB=size + 1, zorder=1,
            )
        )  # fmt: skip
        if labelled:
            dx, dy = end - start
            control = (start + end) / 2 + bend * np.array([dy, -dx])  # matplotlib's arc3 is this quadratic curve
            t = _LABEL_AT
            x, y = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
            axes.text(x, y, f"{weight:.2g}", ha="center", va="center", fontsize=8.5, color="#222", zorder=2,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})  # fmt: skip


def _title(summary: dict[str, Any]) -> str:
    name = summary.get("topology") or "unnamed topology"
    return f"{name} · {summary['peers'] or 0} peers"


def _caption(summary: dict[str, Any], graph: nx.DiGraph, failed: set[int]) -> str:
    gap = summary.get("spectral_gap")
    lines = [f"spectral gap {gap:.3f}" if gap is not None else "no spectral gap given"]
    weights = [weight for _, _, weight in graph.edges(data="weight")]
    if not weights:
        lines = ["no edges: peers do not exchange"]
    elif math.isclose(min(weights), max(weights)):
        lines[0] += f" · every edge weighs {weights[0]:.3g}"
    else:
        lines[0] += f" · edges weigh {min(weights):.3g} to {max(weights):.3g}"
    if failed:
        lines.append(f"red: failed at least once (peer {', '.join(map(str, sorted(failed)))})")
    return "\n".join(lines)
