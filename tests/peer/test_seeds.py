"""Each seed of a run is of one thing: what a run with another one draws anew, and what stays as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dimat_flwr.learning import PeerData
from dimat_flwr.peer import caches
from dimat_flwr.peer.learner import Learner
from dimat_flwr.peer.state import PeerState
from tests.in_process_app import ROOT, Run, run_app

CONF = ROOT / "conf"
PEERS = 4
KINDS = ("data", "graph", "initialization", "order")
# Erdos-Renyi graphs and epidemics are drawn once and in every round; equally large parts let orders be compared.
SMALL = (
    "training.pretrain_epochs=0 training.local_epochs=1 dataset.train_samples=200 model.width=1 algorithm.readers=1 "
    "topology.p=0.5 batchnorm.samples=20"
)


class Drawn:
    """What one run drew."""

    def __init__(self, output: Path, overrides: str) -> None:
        self.data: list[list[int]] = []
        self.initialization: list[list[float]] = []
        self.order: list[list[int]] = []
        draw, begin = PeerData._draw, Learner.__init__

        def spy_draw(data: PeerData, *arguments: Any, **keywords: Any) -> Any:
            found = draw(data, *arguments, **keywords)
            self.order.append(found[0].tolist())
            return found

        def spy_begin(learner: Learner, config: Any, state: Any, **places: int) -> None:
            fresh = not state.model
            begin(learner, config, state, **places)
            if fresh:
                self.data.append(learner.data.indices.tolist())
                first = torch.cat([tensor.double().flatten() for tensor in learner.tensors().values()])
                self.initialization.append(first.tolist())

        caches.own_data.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PeerData, "_draw", spy_draw)
            patch.setattr(Learner, "__init__", spy_begin)
            self.run = run_app(
                output, PEERS, topology="erdos_renyi", algorithm="epidemic", rounds=2, overrides=f"{SMALL} {overrides}"
            )
        self.order.sort()  # who comes first depends on the graph
        lines = (self.run.folder / "messages.csv").read_text().splitlines()[1:]
        self.graph = sorted(line.rsplit(",", 1)[0] for line in lines)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return Drawn(tmp_path_factory.mktemp("before"), "")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_of_one_thing_leaves_all_others_as_they_were(tmp_path: Path, before: Drawn, kind: str) -> None:
    after = Drawn(tmp_path, f"seeds.{kind}=7")
    assert all(len(getattr(before, other)) > 0 for other in KINDS)
    assert {other for other in KINDS if getattr(after, other) != getattr(before, other)} == {kind}
    assert after.run.summary["seeds"] == {**dict.fromkeys(KINDS, 0), kind: 7}


@pytest.mark.parametrize("topology", ["erdos_renyi", pytest.param("random_matching", marks=pytest.mark.slow)])
def test_the_graph_of_a_topology_follows_its_seed_alone(tmp_path: Path, topology: str) -> None:
    def run(name: str, overrides: str) -> Run:
        settings = "training.pretrain_epochs=0 training.local_epochs=0"
        return run_app(
            tmp_path / name, 5, topology=topology, algorithm="weight_averaging", rounds=2, dataset="breast_cancer",
            model="mlp", overrides=f"{settings} {overrides}",
        )  # fmt: skip

    edges = {
        name: (run(name.replace("=", "-"), name).folder / "messages.csv").read_text()
        for name in ("seeds.order=7", "seeds.graph=0", "seeds.graph=7")
    }
    assert edges["seeds.order=7"] == edges["seeds.graph=0"] != edges["seeds.graph=7"]


def test_the_run_s_seed_is_all_four_and_nothing_else(tmp_path: Path) -> None:
    def run(name: str, **settings: Any) -> Run:
        overrides = f"{SMALL} {settings.pop('overrides', '')}"
        return run_app(
            tmp_path / name, PEERS, topology="erdos_renyi", algorithm="epidemic", rounds=2, overrides=overrides,
            **settings,
        )  # fmt: skip

    four = " ".join(f"seeds.{kind}=7" for kind in KINDS)
    seven, each = run("seven", seed=7), run("each", overrides=four)
    assert seven.events() == each.events()
    assert seven.summary["seeds"] == each.summary["seeds"] == dict.fromkeys(KINDS, 7)


def test_an_algorithm_that_trains_twice_in_a_message_takes_other_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[list[int]] = []
    draw = PeerData._draw

    def spy(data: PeerData, *arguments: Any, **keywords: Any) -> Any:
        found = draw(data, *arguments, **keywords)
        orders.append(found[0].tolist())
        return found

    monkeypatch.setattr(PeerData, "_draw", spy)
    config = caches.configuration({"overrides": SMALL.replace("algorithm.readers=1 topology.p=0.5", "")}, {}, CONF)
    for _ in range(2):  # whatever was trained in other messages
        learner = Learner(config, PeerState(), peer=0, peers=PEERS, round=1, rounds=2, simulation=True)
        learner.train()
        learner.train()
    assert orders[:2] == orders[2:]
    assert orders[0] != orders[1]
