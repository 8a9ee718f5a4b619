"""Who worked when, and who reads from whom: the two charts of a run that are no curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dimat_flwr.records.page.chart import scaled_seconds
from dimat_flwr.records.timeline import Timeline
from dimat_flwr.records.topology_plot import peer_places, run_graph

_MOST_BARS, _MOST_ROWS = 3000, 150


def work_chart(timeline: Timeline) -> dict[str, Any] | None:
    """Return the timeline of the newest exchanges of the first peers, as many as can be told apart; None: no times."""
    whose, seconds = timeline.whose(), timeline.seconds()
    of_rows = np.flatnonzero(whose[:, 1] < _MOST_ROWS)
    shown = of_rows[-_MOST_BARS:]
    if not len(shown):
        return None
    whose, seconds = whose[shown], seconds[shown]
    rows = []
    for peer in np.unique(whose[:, 1]).tolist():
        mine = np.flatnonzero(whose[:, 1] == peer)
        work = [
            [*times, number]
            for times, number in zip(seconds[mine].round(3).tolist(), whose[mine, 0].tolist(), strict=True)
        ]
        rows.append({"peer": peer, "work": work})
    begins, ends = float(seconds[:, 0].min()), float(seconds[:, 1].max())
    per, unit = scaled_seconds(ends)
    return {
        "kind": "timeline",
        "id": "timeline",
        "label": "which peer worked when",
        "peers": rows,
        "from": round(begins, 3),
        "to": round(ends, 3),
        "unit": unit,
        "per": per,
        "asked": "asked: the message queues or is on its way",
        "works": "other work: evaluates, reads, writes",
        "waits": "not asked: waits for its sources",
        "newest": len(shown) < len(of_rows),
        "first": _MOST_ROWS if len(of_rows) < len(timeline) else None,
    }


def work_shares(timeline: Timeline) -> dict[str, float]:
    """Return what the time of all peers together went to, in shares that sum to 1; empty where nothing was timed."""
    whose, seconds = timeline.whose(), timeline.seconds()
    if not len(whose):
        return {}
    peers, which = np.unique(whose[:, 1], return_inverse=True)
    begins = np.full(len(peers), np.inf)
    np.minimum.at(begins, which, seconds[:, 0])
    there_was = float((seconds[:, 1].max() - begins).sum())
    if there_was <= 0:
        return {}
    asked = float((seconds[:, 1] - seconds[:, 0]).sum())
    working, training, merging = (float(seconds[:, k].sum()) for k in (2, 3, 4))
    waited = max(0.0, there_was - asked)
    spent = {
        "training": training,
        "aligning and mixing": merging,
        "other work": working - training - merging,
        "messages on their way or in a queue": asked - working,
        "waiting for sources": waited,
    }
    return {name: value / (asked + waited) for name, value in spent.items()}


def topology_chart(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the graph of who reads from whom; None where it was not recorded."""
    if not summary["peers"] or summary["edges"] is None:
        return None
    places = peer_places(run_graph(summary))
    finals = {entry["peer"]: entry["accuracy"] for entry in summary["final"]}
    told = {
        str(peer): f"saved model: {finals[peer]:.2f} %"
        for peer in range(summary["peers"])
        if finals.get(peer) is not None
    }
    return {
        "kind": "graph",
        "id": "topology",
        "label": f"who reads from whom: {summary.get('topology') or 'unnamed topology'}, {summary['peers']} peers",
        "places": [[round(float(value), 4) for value in places[peer]] for peer in range(summary["peers"])],
        "edges": [[source, reader, row if row is None else round(row, 6)] for source, reader, row in summary["edges"]],
        "lost": sorted(int(peer) for peer in summary["lost_peers"]),
        "told": told,
    }
