"""What is kept of a sweep in results/: small files from which its tables and figures can be made again.

    python benchmarks/results.py ~/dimat-flwr/sweeps/fig_epochs-small     # writes results/fig_epochs/
    python benchmarks/results.py results/fig_epochs                       # makes its table and figures again

cells.csv has a line for each run (what it is, its accuracies in percent, bytes, seconds), rounds.csv one for each round
of each run that was evaluated; sweep.json says how all of it was made. table.md, table.csv and the figures are made of
these three files and nothing else. Printed are means over the seeds, with the first accuracy after a merge that was
measured, and in which round that was.
"""

import csv
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dimat_flwr.records import load_summary
from dimat_flwr.records.sweep import Cell, PaperValue, Sweep
from dimat_flwr.records.sweep.figures import draw_figures
from dimat_flwr.records.sweep.table import as_csv, markdown

_OVER = "seed"
_MEASURED = ("seconds", "memory_bytes", "gpu_bytes")
_DIGITS = 6  # behind the point: rounding noise of a mean is no figure
_ACCURACIES = {"after_merge": "accuracy_after_merge", "after_training": "accuracy_after_training"}


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the columns of the first."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def cell_row(cell: Mapping[str, Any], summary: Mapping[str, Any], axes: Sequence[str]) -> dict[str, Any]:
    """Return what there is to say of one run."""
    merged = [entry for entry in summary["rounds"] if entry["accuracy_after_merge"] is not None]
    first = merged[0] if merged else None
    return {
        **{key: cell["values"][key] for key in axes},
        "final_accuracy": round(summary["final_accuracy"], _DIGITS),
        "spread_over_peers": round(summary["final_accuracy_spread"], _DIGITS),
        "first_round": first["round"] if first else "",
        "first_accuracy": round(first["accuracy_after_merge"], _DIGITS) if first else "",
        "bytes_total": summary["bytes_total"],
        "wall_seconds": summary["wall_seconds"],
        **{figure: "" if cell[figure] is None else cell[figure] for figure in _MEASURED},
        "id": cell["id"],
    }


def round_rows(cell: Mapping[str, Any], summary: Mapping[str, Any], axes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rounds of one run in which anything was measured, with the bytes sent until then."""
    rows, sent = [], 0
    for entry in summary["rounds"]:
        sent += entry["bytes"]
        figures = [entry["accuracy_after_merge"], entry["accuracy_after_training"]]
        merged = entry["observed"].get("counterfactual_accuracy")
        if any(figure is not None for figure in (*figures, merged)):
            told = [round(figure, _DIGITS) if figure is not None else "" for figure in (*figures, merged)]
            names = ("after_merge", "after_training", "if_all_merged")
            values = {key: cell["values"][key] for key in axes}
            rows.append({**values, "round": entry["round"], "bytes": sent, **dict(zip(names, told, strict=True))})
    return rows


def mean_rows(cells: Sequence[Mapping[str, Any]], axes: Sequence[str]) -> list[dict[str, Any]]:
    """Return mean and sample standard deviation over the seeds of each setting."""
    settings: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for cell in cells:
        settings[json.dumps({key: cell[key] for key in axes if key != _OVER})].append(cell)
    rows = []
    for text, alike in settings.items():
        row = {**json.loads(text), "seeds": len(alike)}
        row["first_round"] = "/".join(dict.fromkeys(str(cell["first_round"]) for cell in alike)) or "–"
        for figure in ("first_accuracy", "final_accuracy"):
            found = [cell[figure] for cell in alike if cell[figure] != ""]
            spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
            row[figure] = f"{statistics.mean(found):.1f}{spread}" if found else "–"
        row["megabytes"] = f"{statistics.mean(cell['bytes_total'] for cell in alike) / 1e6:.1f}"
        rows.append(row)
    return rows


def read_kept(folder: Path) -> Sweep:
    """Return the sweep of which a folder of results was kept.

    Args:
        folder: with sweep.json, cells.csv and rounds.csv.
    """
    how = json.loads((folder / "sweep.json").read_text())
    axes = {key: {str(value): value for value in values} for key, values in how["axes"].items()}
    rounds: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    with (folder / "rounds.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            mine = rounds[tuple(row[key] for key in axes)]
            told = {key: float(row[name]) if row[name] else None for name, key in _ACCURACIES.items()}
            sent = int(row["bytes"])
            mine.append({"round": int(row["round"]), "bytes": sent - sum(entry["bytes"] for entry in mine), **told})
    with (folder / "cells.csv").open(newline="") as file:
        cells = [
            Cell(
                folder="",
                values={**how["fixed"], **{key: values[row[key]] for key, values in axes.items()}},
                status="completed",
                facts={figure: float(row[figure]) if row[figure] else None for figure in _MEASURED},
                summary={
                    "final_accuracy": float(row["final_accuracy"]),
                    "bytes_total": int(row["bytes_total"]),
                    "wall_seconds": float(row["wall_seconds"]),
                    "final": [],
                    "rounds": rounds[tuple(row[key] for key in axes)],
                },
            )
            for row in csv.DictReader(file)
        ]
    cells += [
        Cell(folder="", values={**how["fixed"], **cell["values"]}, status=cell["status"], reason=cell["reason"])
        for cell in how["unfinished"]
    ]
    return Sweep(
        name=how["name"],
        scale=how["scale"],
        title=how["title"],
        command=how["command"],
        axes=how["axes"],
        fixed=how["fixed"],
        cells=cells,
        paper=[PaperValue(**{"source": "", **entry}) for entry in how["paper"]],
    )


def draw_kept(folder: Path) -> None:
    """Make table and figures of what was kept in a folder of results."""
    sweep = read_kept(folder)
    (folder / "table.md").write_text(markdown(sweep))
    (folder / "table.csv").write_text(as_csv(sweep))
    for path in draw_figures(sweep, folder):
        if path.suffix != ".png":
            path.unlink()  # of the two kinds the smaller one is kept


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep, or of what was kept of one.")],
    results: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("results"),
) -> None:
    """Write the small files, or what is made of them."""
    if (folder / "cells.csv").exists():
        draw_kept(folder)
        return
    sweep = json.loads((folder / "sweep.json").read_text())
    axes, cells, rounds = list(sweep["axes"]), [], []
    for cell in sweep["cells"]:
        if cell["status"] == "completed":
            summary = load_summary(folder / cell["folder"])
            cells.append(cell_row(cell, summary, axes))
            rounds += round_rows(cell, summary, axes)
    if not cells:
        raise typer.BadParameter(f"no cell of {folder} is finished")
    kept = results / sweep["name"]
    kept.mkdir(parents=True, exist_ok=True)
    means = mean_rows(cells, axes)
    write_csv(kept / "cells.csv", cells)
    write_csv(kept / "rounds.csv", rounds)
    how = {key: sweep[key] for key in ("name", "scale", "title", "command", "axes", "fixed", "paper")}
    how["finished"] = len(cells)
    how["unfinished"] = [
        {"values": {key: cell["values"][key] for key in axes}, "status": cell["status"], "reason": cell["reason"]}
        for cell in sweep["cells"]
        if cell["status"] != "completed"
    ]
    (kept / "sweep.json").write_text(json.dumps(how, indent=1, ensure_ascii=False) + "\n")
    draw_kept(kept)
    columns = list(means[0])
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for row in means:
        print("| " + " | ".join(str(row[column]) for column in columns) + " |")


if __name__ == "__main__":
    typer.run(main)
