"""Draw the accuracy after each merge of several finished runs into one figure, as in the README.

python benchmarks/compare.py RUN_FOLDER RUN_FOLDER ... -o docs/accuracy.png
"""

import argparse
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dimat_flwr.records import load_summary

STYLES = (("#00798c", "o", "-"), ("#d1495b", "s", "--"), ("#edae49", "^", "-."), ("#66557a", "D", ":"))


def draw(summaries: list[dict[str, Any]], path: Path) -> None:
    """Write the figure: a line per run, mean and standard deviation over the peers, in percent."""
    figure = Figure(figsize=(7.2, 3.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for summary, (colour, marker, line) in zip(summaries, STYLES, strict=False):
        rounds = [entry for entry in summary["rounds"] if entry["accuracy_after_merge"] is not None]
        x = [entry["round"] for entry in rounds]
        mean = [entry["accuracy_after_merge"] for entry in rounds]
        spread = [entry["accuracy_after_merge_spread"] for entry in rounds]
        low = [m - s for m, s in zip(mean, spread, strict=True)]
        high = [m + s for m, s in zip(mean, spread, strict=True)]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, mean, line, color=colour, marker=marker, markersize=5, linewidth=2.2, label=summary["algorithm"])
        axes.annotate(
            f"{mean[0]:.1f} %", (x[0], mean[0]), xytext=(9, -16), textcoords="offset points", color=colour, fontsize=10
        )
    started = summaries[0]["rounds"][0]["accuracy_after_training"]
    axes.axhline(started, color="#8a8a8a", linewidth=1, linestyle=":")
    axes.annotate(
        "each peer alone, before the first merge", (1.0, started), xycoords=("axes fraction", "data"),
        xytext=(-4, -12), textcoords="offset points", ha="right", color="#666666", fontsize=8.5,
    )  # fmt: skip
    first = summaries[0]
    axes.set_title(
        f"{first['peers']} peers, {first['topology']}, {first['dataset']}: right after each merge", fontsize=12
    )
    axes.set_xlabel("round")
    axes.set_ylabel("test accuracy (%), mean ± std")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="result folders (at most 4)")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    draw([load_summary(run) for run in arguments.runs], arguments.output)


if __name__ == "__main__":
    main()
