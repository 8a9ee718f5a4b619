"""What a sweep would take: how much there is to do is counted right, and what it costs is measured."""

import csv
import json
import shlex

import pytest

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.sweeps import expand, load_definition
from dimat_flwr.sweeps.cell_work import run
from dimat_flwr.sweeps.estimate import estimate, markdown
from dimat_flwr.sweeps.job import Job
from dimat_flwr.sweeps.measuring import measure, size
from dimat_flwr.sweeps.sweep import Asked
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
    evaluated = [event for event in events if event["event"] in ("evaluation", "final")]
    samples = load_test_samples()
    assert abs(counted.tested - len(evaluated) * samples) <= counted.peers * samples, "to within one evaluation"


def test_one_round_is_measured_and_nothing_of_it_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    rates = measure(job("peers=2", "dataset.test_samples=110"))
    assert rates.step > 0
    assert rates.test > 0
    assert rates.mix >= 0
    assert rates.payload > 400
    assert rates.gpu_bytes is None or rates.gpu_bytes > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_every_kind_of_cell_is_measured_once():
    definition = load_definition("grid", find_conf_dir())
    grid = expand(definition, [*LONGER, "peers=2,3", "seed=0,1", "topology=ring,fully_connected"])
    said = []
    found = estimate(Asked("grid", definition, grid, "", {}), 2, 0, said.append)
    assert [(one.kind, one.cells) for one in found] == [({"peers": 2}, 4), ({"peers": 3}, 4)]
    assert "8 cells of 2 kinds" in said[0]
    assert [line.split()[0] for line in said[1:]] == ["1/2", "2/2"]
    assert all(one.seconds > 0 and one.sent_bytes > 0 and one.disk_bytes > 0 for one in found)
    assert "| peers=3 | 4 |" in markdown(found, 2)


def load_test_samples():
    from dimat_flwr.data.breast_cancer import BreastCancer

    return len(BreastCancer().load().test_labels)
