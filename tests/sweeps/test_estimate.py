"""What a sweep would take: how much there is to do is counted right, and what it costs is measured."""

import csv
import json
import shlex

import pytest

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.sweeps import expand, load_definition, measuring, watching
from dimat_flwr.sweeps.cell_work import run
from dimat_flwr.sweeps.counting import size
from dimat_flwr.sweeps.estimate import estimate, markdown
from dimat_flwr.sweeps.job import Job
from dimat_flwr.sweeps.measuring import work
from dimat_flwr.sweeps.sweep import Asked
from dimat_flwr.sweeps.watching import exchanges
from tests.sweeps.test_sweep import TINY

LONGER = [*TINY[:4], "rounds=3", "training.pretrain_epochs=1", "training.batch_size=50", "evaluate.save_models=false"]


def job(*words, folder=None):
    (cell,) = expand(load_definition("grid", find_conf_dir()), [*LONGER, *words]).cells
    return Job({"overrides": shlex.join(cell.overrides)}, cell.peers, "", (), folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [("peers=3",), ("peers=2", "algorithm=sgp", "training.local_steps=1"), ("peers=4", "schedule=none")],
    ids=str,
)
def test_what_is_counted_is_what_a_run_does(tmp_path, words):
    counted = size(job(*words))
    run(job(*words, folder=tmp_path / "run"))
    events = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    trained = [event for event in events if event["event"] == "training"]
    assert counted.alone == sum(event["steps"] for event in trained if event["round"] == 0)
    assert counted.steps == sum(event["steps"] for event in trained if event["round"] > 0)
    with (tmp_path / "run/messages.csv").open() as file:
        assert counted.sent == len(list(csv.DictReader(file)))
    mixed = [event for event in events if event["event"] == "merge"]
    assert counted.mixed == sum(len(event["weights"]) for event in mixed)
    between = [event for event in events if event["event"] == "evaluation" and 0 < event["round"] < counted.rounds]
    assert counted.evaluated == len({(event["round"], event["peer"]) for event in between})
    assert counted.tests == load_test_samples()


@pytest.fixture
def hasty(monkeypatch):
    for module in (measuring, watching):
        monkeypatch.setattr(module, "ENOUGH_S", 0.05)


@pytest.mark.parametrize("batchnorm", [(), ("batchnorm.policy=keep", "batchnorm.frozen=true")])
def test_what_a_peer_does_on_its_own_is_measured(hasty, batchnorm):
    found = work(job("peers=2", "dataset.test_samples=110", *batchnorm))
    for span in (found.step, found.test, found.recalibration):
        assert 0 < span.least <= span.median
    assert found.gpu_bytes is None or found.gpu_bytes > 0


@pytest.mark.parametrize(
    ("words", "gradients", "evaluations"),
    [
        (("algorithm=dimat",), 1, 2),
        (("algorithm=cdsgd", "training.local_steps=1"), 1, 1),
        (("algorithm=cdsgd", "training.local_steps=1", "batchnorm.policy=keep", "batchnorm.frozen=true"), 1, 1),
        (("algorithm=cga", "training.local_steps=1"), 3, 2),
    ],
    ids=str,
)
def test_rounds_are_watched_and_nothing_of_them_stays(hasty, tmp_path, monkeypatch, words, gradients, evaluations):
    """Of three peers on a ring, whoever steps along cross-gradients takes its own and two of its neighbours'."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = exchanges(job("peers=3", *words))
    assert 0 < found.mix.least <= found.mix.median
    assert found.payload > 400
    assert (found.gradients, found.evaluations) == (gradients, evaluations)
    assert not list(tmp_path.iterdir())


def test_who_never_exchanges_is_watched_for_a_round(caplog):
    found = exchanges(job("peers=2", "algorithm=local_only", "rounds=20"))
    assert (found.mix.median, found.gradients, found.evaluations) == (0, 1, 2)
    assert "2 peers are ready" in caplog.text
    assert "round 2/20" not in caplog.text


@pytest.mark.slow
def test_every_kind_of_cell_is_measured_once():
    definition = load_definition("grid", find_conf_dir())
    grid = expand(definition, [*LONGER, "peers=2,3", "seed=0,1", "topology=ring,fully_connected"])
    said = []
    found = estimate(Asked("grid", definition, grid, "", {}), 2, 0, said.append)
    assert [(one.kind, one.cells) for one in found] == [({"peers": 2}, 4), ({"peers": 3}, 4)]
    assert said[0].startswith("8 cells of 2 kinds; peers train and are evaluated in 1 ways")
    assert [line.split(" measured")[0] for line in said[1:]] == [
        "work of a peer: 1/2", "work of a peer: 2/2", "exchanges: 1/2", "exchanges: 2/2",
    ]  # fmt: skip
    assert all(0 < one.seconds.least <= one.seconds.median for one in found)
    assert all(one.sent_bytes > 0 and one.disk_bytes > 0 for one in found)
    assert "| peers=3 | 4 |" in markdown(found, 2)


def load_test_samples():
    from dimat_flwr.data.breast_cancer import BreastCancer

    return len(BreastCancer().load().test_labels)
