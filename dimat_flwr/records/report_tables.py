"""The figures of a run's report, in tables."""

from collections.abc import Mapping
from html import escape
from typing import Any

from dimat_flwr.events import STAGES
from dimat_flwr.records.headline import peers_reported, percent, readable_bytes, readable_time
from dimat_flwr.records.page.document import table

_SHOWN_ELSEWHERE = {
    "status", "reason", "command", "edges", "rounds", "problems", "problems_total", "versions", "final",
    "last_accuracy", "last_observed", "final_accuracy", "final_accuracy_spread", "final_peers", "lost_peers",
    "privacy",
}  # fmt: skip
_MANY_ROUNDS = 300  # a longer table shows the first and the last ones


def run_tables(summary: Mapping[str, Any]) -> str:
    """Return the tables of saved models, rounds, what instruments found, and what went wrong."""
    return (
        '<h2>Saved models</h2>\n<p class="faint">Measured on exactly the tensors that are in the files; paths are '
        f"below the run's folder on each peer's machine.</p>\n{_final(summary['final'])}"
        '<h2>Rounds</h2>\n<p class="faint">Mean ± standard deviation over the peers that reported; accuracies in '
        f"percent.</p>\n{_rounds(summary['rounds'])}{_observed(summary['rounds'])}"
        "<h2>Failures, late peers, rejected payloads</h2>\n"
        f"{_problems(summary['problems'], summary['problems_total'])}"
    )


def run_tiles(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the headline figures: (value, what it is)."""
    done, planned = max((entry["round"] for entry in summary["rounds"]), default=0), summary.get("rounds_planned")
    tiles = [
        (percent(summary), "final accuracy"),
        (peers_reported(summary), "with a saved model"),
        # Of a run that has not ended as it should, some peers may not have come so far.
        (
            f"{done} of {planned}" if planned is not None else str(done),
            "rounds" if summary["status"] == "completed" else "rounds begun",
        ),
        (readable_bytes(summary["bytes_total"]), "relayed"),
        (readable_time(summary["wall_seconds"]), "time"),
    ]
    told = summary["privacy"]
    if told:
        found = "no bound" if told["epsilon"] is None else f"{told['epsilon']:.2f}"
        tiles.append((found, f"largest epsilon, delta {told['delta']:g}"))
    if summary["lost_peers"]:
        tiles.append((str(len(summary["lost_peers"])), "peers lost"))
    return tiles


def run_facts(summary: Mapping[str, Any]) -> str:
    """Return what the run is, as the rows of a table."""
    shown = {
        key: value for key, value in summary.items() if key not in _SHOWN_ELSEWHERE and value not in (None, {}, [])
    }
    writer = shown.pop("writer", None)
    if writer:
        shown["relay"] = f"process {writer['process']} on {writer['host']}"
    shown |= {f"version of {package}": version for package, version in summary["versions"].items()}
    return "".join(
        f"<tr><th>{escape(key.replace('_', ' '))}</th><td>{escape(_shown(value))}</td></tr>\n"
        for key, value in shown.items()
    )


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _final(final: list[dict[str, Any]]) -> str:
    rows = [
        [
            str(entry["peer"]),
            _number(entry["accuracy"], 2),
            _number(entry["local_accuracy"], 2),
            _number(entry["loss"], 4),
            f"{entry['bytes']:,}",
            entry["file"] or "not saved",
            entry["sha256"][:12] or "–",
        ]
        for entry in final
    ]
    return table("numbers", ["peer", "accuracy", "local accuracy", "loss", "bytes", "file", "sha256"], rows)


def _rounds(rounds: list[dict[str, Any]]) -> str:
    reported = {
        measure: [key for stage in STAGES if any(entry[key := f"{measure}_{stage}"] is not None for entry in rounds)]
        for measure in ("accuracy", "local_accuracy")
    }
    counts = ["peers", "lost", "failures", "late", "rejected"]
    left_out = max(0, len(rounds) - _MANY_ROUNDS)
    shown = rounds if not left_out else [*rounds[: _MANY_ROUNDS // 2], *rounds[-_MANY_ROUNDS // 2 :]]
    rows = [
        [str(entry["round"]), *(_mean_and_spread(entry, key, 2) for key in reported["accuracy"])]
        + [_mean_and_spread(entry, "loss", 4), f"{entry['bytes']:,}", *(str(entry[key]) for key in counts)]
        + [_mean_and_spread(entry, key, 2) for key in reported["local_accuracy"]]
        for entry in shown
    ]
    columns = ["round", *reported["accuracy"], "training loss", "bytes", *counts, *reported["local_accuracy"]]
    note = f"<p>{left_out:,} rounds in the middle are in summary.json.</p>" if left_out else ""
    return note + table("numbers", columns, rows)


def _observed(rounds: list[dict[str, Any]]) -> str:
    """Return what instruments found, a row per round that was observed; nothing for a run without any."""
    found = [(entry["round"], entry["observed"]) for entry in rounds if entry["observed"]]
    found = found if len(found) <= _MANY_ROUNDS else found[-_MANY_ROUNDS:]
    if not found:
        return ""
    counts = ("_spread", "_peers", "units_moved")
    figures = list(dict.fromkeys(key for _, observed in found for key in observed if not key.endswith(counts)))
    groups = list(dict.fromkeys(group for _, observed in found for group in observed.get("units_moved", {})))
    rows = [[str(number), *(_figure(observed, key) for key in figures)] for number, observed in found]
    moved = [
        [str(number), *(_number(observed["units_moved"].get(group), 4) for group in groups)]
        for number, observed in found
        if "units_moved" in observed
    ]
    text = (
        '<h2>Instruments</h2>\n<p class="faint">What was observed and not applied; the bytes of it are not among those '
        f"above.</p>\n{table('numbers', ['round', *figures], rows)}\n"
    )
    if moved:
        title = '<p class="faint">Share of units that aligning moved, for each permutation group.</p>\n'
        text += f"{title}{table('numbers', ['round', *groups], moved)}"
    return text


def _figure(observed: Mapping[str, Any], key: str) -> str:
    spread = observed.get(f"{key}_spread")
    return _shown(observed.get(key)) + ("" if spread is None else f" ± {spread:.3g}")


def _mean_and_spread(entry: Mapping[str, Any], key: str, digits: int) -> str:
    return "–" if entry[key] is None else f"{entry[key]:.{digits}f} ± {entry[f'{key}_spread']:.{digits}f}"


def _problems(problems: list[dict[str, Any]], total: int) -> str:
    first = ("round", "exchange", "event", "peer")
    rows = []
    for event in problems:
        rest = "; ".join(f"{key}: {_shown(value)}" for key, value in event.items() if key not in first)
        rows.append([_shown(event.get(key)) for key in first] + [rest])
    left_out = total - len(problems)
    note = f"<p>{left_out:,} more are in metrics.jsonl.</p>" if left_out else ""
    return note + table("problems", [*first, "what"], rows)
