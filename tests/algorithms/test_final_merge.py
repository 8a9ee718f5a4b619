"""The merge after the last round is of what the algorithm calls its model, whatever it exchanges."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.in_process_app import Run, run_app

PEERS = 4
# Peers differ by their pre-training; without training after it, two runs have the same models before the final merge.
STILL = "training.pretrain_epochs=1 training.local_epochs=0 dataset.train_samples=200 model.width=1 optimizer.lr=0.01"
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"algorithm": "weight_averaging", "topology": "ring"},
    "push_sum": {"algorithm": "sgp", "topology": "edge_list"},
    "relay_sums": {"algorithm": "toy_relay_sums", "topology": "chain"},
    "compressed": {"algorithm": "toy_half", "topology": "ring"},
}


def run(tmp_path: Path, conf_dir: Path, digraph: str, kind: str, final_merge: str, rounds: int = 2, **more: str) -> Run:
    overrides = f"{STILL} {digraph}" if KINDS[kind]["topology"] == "edge_list" else STILL
    return run_app(
        tmp_path / final_merge, PEERS, conf_dir=conf_dir, rounds=rounds, final_merge=final_merge, overrides=overrides,
        **KINDS[kind], **more,
    )  # fmt: skip


def weights(run: Run) -> list[dict[str, np.ndarray]]:
    models = [run.model(peer) for peer in range(PEERS)]
    return [{k: v.double().numpy() for k, v in m.items() if k.endswith(("weight", "bias"))} for m in models]


def furthest(found: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(found[name] - exact[name]).max()) for name in exact)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_uniform_is_the_exact_mean_of_the_peers_models(tmp_path: Path, conf_dir: Path, digraph: str, kind: str) -> None:
    before = weights(run(tmp_path, conf_dir, digraph, kind, "none"))
    exact = {name: np.mean([model[name] for model in before], axis=0) for name in before[0]}
    spread = max(furthest(model, exact) for model in before)
    assert spread > 1e-3, "the peers must differ for this to show anything"
    after = run(tmp_path, conf_dir, digraph, kind, "uniform")
    assert max(furthest(model, exact) for model in weights(after)) <= 1e-5
    assert after.events("rejected") == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_counterfactual_is_what_uniform_then_gives(tmp_path: Path, conf_dir: Path, digraph: str, kind: str) -> None:
    told = run(tmp_path / "told", conf_dir, digraph, kind, "none", instruments="all").events("counterfactual")
    done = run(tmp_path / "done", conf_dir, digraph, kind, "uniform", instruments="all")
    assert {event["accuracy"] for event in told} != {event["accuracy"] for event in done.events("evaluation")}
    before = {event["peer"]: event for event in told if event["round"] == 2}
    for event in done.events("final"):
        assert event["accuracy"] == before[event["peer"]]["accuracy"]
        assert event["loss"] == pytest.approx(before[event["peer"]]["loss"], rel=1e-5)
    # After it nobody is apart any more, and one more merge would change nothing.
    after = {event["peer"]: event["loss"] for event in done.events("counterfactual") if event["round"] == 3}
    assert after == pytest.approx({event["peer"]: event["loss"] for event in done.events("final")}, rel=1e-5)
    apart = {(event["round"], event["stage"]): event["distance"] for event in done.events("consensus")}
    assert apart[3, "after_merge"] <= 1e-5 < 1e-3 < apart[2, "after_training"]


@pytest.mark.parametrize("kind", [pytest.param("plain", marks=pytest.mark.slow), "push_sum"])
def test_gossip_averages_over_the_graphs_neighbourhoods(
    tmp_path: Path, conf_dir: Path, digraph: str, kind: str
) -> None:
    before = weights(run(tmp_path, conf_dir, digraph, kind, "none"))
    sources = {
        "plain": {i: [(i - 1) % 4, i, (i + 1) % 4] for i in range(4)},
        "push_sum": {0: [0, 3], 1: [0, 1], 2: [0, 1, 2], 3: [2, 3]},
    }
    after = weights(run(tmp_path, conf_dir, digraph, kind, "gossip"))
    for i, model in enumerate(after):
        exact = {name: np.mean([before[j][name] for j in sources[kind][i]], axis=0) for name in model}
        assert furthest(model, exact) <= 1e-5


@pytest.mark.slow
def test_aligned_uses_its_own_matching_settings(tmp_path: Path, conf_dir: Path, digraph: str) -> None:
    settings = {"conf_dir": conf_dir, "rounds": 0, "final_merge": "aligned", "algorithm": "local_only"}
    free = run_app(tmp_path / "a", PEERS, overrides=STILL, **settings)
    stuck = run_app(tmp_path / "b", PEERS, overrides=f"{STILL} final_merge.matching.stickiness=1e9", **settings)
    assert min(event["units_moved"] for event in free.events("aligned")) > 0.3
    assert max(event["units_moved"] for event in stuck.events("aligned")) == 0


def test_nothing_is_merged_after_the_last_round_by_default(tmp_path: Path, conf_dir: Path, digraph: str) -> None:
    plain = run(tmp_path, conf_dir, digraph, "plain", "none", rounds=1)
    assert {event["round"] for event in plain.events("merge")} == {1}
    assert plain.summary["final_accuracy"] is not None
