"""One merge at the end, and communication early or late: the runs of conf/experiment/sgm*.yaml in one figure and table.

common="peers=16 model.width=1 seed=0,1,2 --folder RUNS"
dimat-flwr sweep grid experiment=sgm_final_merge,sgm_alone,sgm_early,sgm_late $common
dimat-flwr sweep grid experiment=sgm_early final_merge=uniform $common
dimat-flwr sweep grid experiment=sgm algorithm=fedavg $common
python benchmarks/final_merge.py RUNS --output docs/final_merge.png
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import typer

from dimat_flwr.records.summary import load_summary

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Runs = Sequence[dict[str, Any]]
PEERS, MERGED = "accuracy_after_merge", "counterfactual_accuracy"


def name(summary: dict[str, Any]) -> str:
    """Return which of the runs above this is one of."""
    if summary["algorithm"] == "fedavg":
        return "fedavg"
    merged_early = summary["experiment"] == "sgm_early" and summary["final_merge"] == "uniform"
    return f"{summary['experiment']}{' final_merge=uniform' if merged_early else ''}"


def curve(runs: Runs, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rounds, mean and sample standard deviation over the runs of a figure, in percent."""
    told = [[(entry["round"], {**entry, **entry["observed"]}.get(key)) for entry in run["rounds"]] for run in runs]
    series = [{number: value for number, value in one if value is not None} for one in told]
    rounds = sorted(set.intersection(*(set(one) for one in series)))
    values = np.array([[one[number] for number in rounds] for one in series])
    return np.array(rounds), values.mean(axis=0), values.std(axis=0, ddof=1)


def final(runs: Runs) -> str:
    """Return mean and standard deviation over the runs of the final accuracy."""
    values = [run["final_accuracy"] for run in runs]
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"


def draw(axes: Any, runs: Runs, key: str, label: str, colour: str, style: str) -> None:
    """Draw one line with its spread."""
    rounds, mean, deviation = curve(runs, key)
    axes.plot(rounds, mean, style, color=colour, label=label, linewidth=2, markersize=4.5)
    axes.fill_between(rounds, mean - deviation, mean + deviation, color=colour, alpha=0.13, linewidth=0)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the sweeps.")],
    output: Annotated[Path, typer.Option(help="The figure.")] = Path("docs/final_merge.png"),
) -> None:
    """Draw the figure and print the table."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(folder.glob("cells/*/summary.json")):
        summary = load_summary(path.parent)
        if summary["status"] != "completed":
            raise typer.BadParameter(f"{path.parent} is {summary['status']}; run it again")
        found[name(summary)].append(summary)
    missing = {"sgm_final_merge", "sgm_alone", "sgm_early", "sgm_late", "fedavg"} - found.keys()
    if missing:
        raise typer.BadParameter(f"{folder} has no runs of {', '.join(sorted(missing))}")
    figure, (left, right) = plt.subplots(1, 2, figsize=(12.4, 4.5), sharey=True, layout="constrained")
    gossip, alone = found["sgm_final_merge"], found["sgm_alone"]
    draw(left, gossip, MERGED, "if all merged: reading from one peer with p = 0.2", "#00798c", "-o")
    draw(left, gossip, PEERS, "the peers' own models, p = 0.2", "#00798c", "--s")
    draw(left, alone, MERGED, "if all merged: without communication", "#d1495b", "-^")
    draw(left, alone, PEERS, "the peers' own models, without communication", "#d1495b", ":D")
    left.set_title("One merge of all models at the end (round 41)")
    left.set_ylabel("test accuracy (%), mean ± std over seeds")
    draw(
        right, found["fedavg"], PEERS, f"everybody in all 40 rounds (FedAvg): {final(found['fedavg'])}", "#3d405b", "-D"
    )
    draw(right, found["sgm_late"], PEERS, f"everybody in rounds 37 to 40: {final(found['sgm_late'])}", "#00798c", "-o")
    draw(right, found["sgm_early"], PEERS, f"everybody in rounds 1 to 4: {final(found['sgm_early'])}", "#e09f3e", "--s")
    right.set_title("Everybody early or late: the peers' own models")
    for axes in (left, right):
        axes.set_xlabel("round")
        axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
        axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=130)
    print("| runs | the peers' models, round 40 (%) | final (%) | MB |\n| --- | --: | --: | --: |")
    for key, runs in found.items():
        rounds, mean, deviation = curve(runs, PEERS)
        last = list(rounds).index(40)
        sent = np.mean([run["bytes_total"] for run in runs]) / 1e6
        print(
            f"| `{key}` ({len(runs)} seeds) | {mean[last]:.1f} ± {deviation[last]:.1f} | {final(runs)} | {sent:.1f} |"
        )


if __name__ == "__main__":
    typer.run(main)
