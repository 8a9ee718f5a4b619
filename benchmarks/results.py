"""What is kept of a sweep in results/: small files from which its tables and figures can be made again.

    python benchmarks/results.py ~/dimat-flwr/sweeps/fig_epochs-small     # writes results/fig_epochs/

cells.csv has a line for each run (what it is, its final accuracy in percent, bytes, seconds), rounds.csv one for each
round of each run that was evaluated; sweep.json says how all of it was made. table.md, table.csv and the figures that
`dimat-flwr report` made of the sweep are taken along. Printed are means over the seeds, with the first merge's.
"""

import csv
import json
import shutil
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dimat_flwr.records import load_summary

_OVER = "seed"
_TAKEN_ALONG = ("table.md", "table.csv", "accuracy-*.png", "final-*.png")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the columns of the first."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def cell_row(cell: Mapping[str, Any], summary: Mapping[str, Any], axes: Sequence[str]) -> dict[str, Any]:
    """Return what there is to say of one run."""
    after = [entry["accuracy_after_merge"] for entry in summary["rounds"] if entry["accuracy_after_merge"] is not None]
    return {
        **{key: cell["values"][key] for key in axes},
        "final_accuracy": round(summary["final_accuracy"], 3),
        "spread_over_peers": round(summary["final_accuracy_spread"], 3),
        "first_merge_accuracy": round(after[0], 3) if after else "",
        "bytes_total": summary["bytes_total"],
        "seconds": cell["seconds"],
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
            told = [round(figure, 3) if figure is not None else "" for figure in (*figures, merged)]
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
        for figure in ("first_merge_accuracy", "final_accuracy"):
            found = [cell[figure] for cell in alike if cell[figure] != ""]
            spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
            row[figure] = f"{statistics.mean(found):.1f}{spread}" if found else "–"
        row["megabytes"] = f"{statistics.mean(cell['bytes_total'] for cell in alike) / 1e6:.1f}"
        rows.append(row)
    return rows


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep.")],
    results: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("results"),
) -> None:
    """Write the small files."""
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
    unfinished = sum(cell["status"] != "completed" for cell in sweep["cells"])
    how = {key: sweep[key] for key in ("name", "scale", "title", "command", "axes", "fixed", "paper")}
    how["finished"], how["unfinished"] = len(cells), unfinished
    (kept / "sweep.json").write_text(json.dumps(how, indent=1, ensure_ascii=False) + "\n")
    for pattern in _TAKEN_ALONG:
        for path in sorted(folder.glob(pattern)):
            shutil.copyfile(path, kept / path.name)
    columns = list(means[0])
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for row in means:
        print("| " + " | ".join(str(row[column]) for column in columns) + " |")


if __name__ == "__main__":
    typer.run(main)
