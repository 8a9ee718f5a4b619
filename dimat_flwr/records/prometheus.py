"""How runs stand, in Prometheus' text format, for the textfile collector of node_exporter."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import get_args

from dimat_flwr.records.standing import COUNTED, PEER_STATES, RunStanding
from dimat_flwr.records.summary import Status

Sample = tuple[Mapping[str, object], float | None]
Family = tuple[str, str, str, list[Sample]]  # name, type, help, samples


def prometheus_text(runs: Iterable[RunStanding]) -> str:
    """Return the metrics of runs; those that are not known yet are left out.

    See https://prometheus.io/docs/instrumenting/exposition_formats (text format 0.0.4).
    """
    families: dict[str, Family] = {}  # a name may stand there once only, with the samples of all runs
    for run in {run.name: run for run in runs}.values():
        for family in _families(run):
            families.setdefault(family[0], (*family[:3], []))[3].extend(family[3])
    return "".join(_text(*family) for family in families.values())


def _families(run: RunStanding) -> Iterator[Family]:
    summary, named = run.summary, {"run": run.name}
    what = {key: summary.get(key) or "" for key in ("algorithm", "topology", "dataset")}
    planned = summary.get("rounds_planned")
    of_run: list[Family] = [
        ("run_info", "gauge", "What the run is.", [({**named, **what}, 1)]),
        ("run_status", "gauge", "1 for the status that the run has.",
         [({**named, "status": status}, summary["status"] == status) for status in get_args(Status)]),
        ("run_heartbeat_timestamp_seconds", "gauge", "When the relay gave its last sign of life.",
         [(named, datetime.fromisoformat(summary["heartbeat"]).timestamp())]),
        ("run_round", "gauge", "The last round that all peers in the run told of; -1 before the start.",
         [(named, run.round)]),
        ("run_rounds_planned", "gauge", "How many rounds the run shall have.", [(named, planned)]),
        ("run_bytes_total", "counter", "Bytes sent over all edges.", [(named, summary["bytes_total"])]),
        ("run_final_accuracy_percent", "gauge", "Mean over the saved models, at the end.",
         [(named, summary["final_accuracy"])]),
    ]  # fmt: skip
    yield from of_run
    yield from _of_peers(run)


def _of_peers(run: RunStanding) -> Iterator[Family]:
    named = {peer: {"run": run.name, "peer": peer} for peer in run.peers}
    yield ("peer_state", "gauge", "1 for the state that the peer is in.",
           [({**named[peer], "state": state}, standing.state == state)
            for peer, standing in run.peers.items() for state in PEER_STATES])  # fmt: skip
    figures = {
        "peer_round": ("gauge", "The last round that the peer told of; -1 before the start.", "round"),
        "peer_accuracy_percent": ("gauge", "The last accuracy that the peer reported.", "accuracy"),
        "peer_sent_bytes_total": ("counter", "Bytes of the peer's payloads, once for each reader.", "sent"),
        "peer_read_bytes_total": ("counter", "Bytes of the payloads that the peer was handed.", "read"),
    }
    for name, (kind, text, key) in figures.items():
        yield (name, kind, text, [(named[peer], getattr(found, key)) for peer, found in run.peers.items()])
    yield ("peer_events_total", "counter", "How often the peer was away, late, asked again, rejected or warned.",
           [({**named[peer], "event": event}, standing.counts[event])
            for peer, standing in run.peers.items() for event in COUNTED])  # fmt: skip


def _text(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    lines = [f"dimat_{name}{{{_labels(labels)}}} {float(value)!r}\n" for labels, value in samples if value is not None]
    return "".join([f"# HELP dimat_{name} {text}\n# TYPE dimat_{name} {kind}\n", *lines]) if lines else ""


def _labels(labels: Mapping[str, object]) -> str:
    return ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())


def _escaped(value: object) -> str:
    return str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
