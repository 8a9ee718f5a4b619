"""Real SuperNodes on loopback, one of which dies before it answers; `benchmarks/faults.py` does more to them."""

import sys
import time
from pathlib import Path

import pytest

from benchmarks.disturbances import VICTIM, checkpoints, kill_before_it_answers
from tests.e2e.federation import Federation
from tests.gate import OPEN, GatedSgd, hand_out

pytestmark = [
    pytest.mark.slow,
    pytest.mark.waits,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]


def test_a_device_that_dies_before_it_answers_answers_from_its_checkpoint(tmp_path: Path) -> None:
    """Flower takes a minute to notice a process that is gone: that is most of this test."""
    gate = tmp_path / "gate"
    hand_out(gate, 2)  # for what the two train in round 0: in round 1 they wait
    with Federation(tmp_path / "federation", devices=2) as parts:
        gated = f"optimizer=sgd optimizer._target_={GatedSgd.__module__}.GatedSgd +optimizer.gate={gate}"
        small = "relay.peers=2 relay.join_timeout=600 training.pretrain_epochs=1 training.local_epochs=1 model.width=1"
        overrides = f"{gated} {small}"
        run = parts.run(dataset="folder", partition="own", algorithm="weight_averaging", rounds=2, overrides=overrides)
        run.wait(lambda: (gate / f"waits-{parts.worker_of(VICTIM)}").exists(), 600, "the worker in round 1")
        process = run.wait(lambda: parts.client_of(VICTIM), 60, "the process of its message")
        kill_before_it_answers(parts, run, process, checkpoints(parts), go=(gate / OPEN).touch)
        written = {path: path.stat().st_mtime_ns for path in parts.disk(VICTIM).rglob("peer-*.checkpoint")}
        summary, events = run.finish(), run.events()
        assert run.ended_as() == "finished:completed"
        deadline = time.monotonic() + 300
        while any(map(parts.worker_of, range(2))):
            assert time.monotonic() < deadline, "a worker ends with its run, without being told"
            time.sleep(0.2)
        assert summary["status"] == "completed"
        merged = sorted((event["round"], event["peer"]) for event in events if event["event"] == "merge")
        assert merged == [(1, 0), (1, 1), (2, 0), (2, 1)]
        told = [event["event"] for event in events if event["peer"] == VICTIM and event["round"] == 1]
        # What it had done before it died it did not do again; the answer came after the second asking.
        assert {path: path.stat().st_mtime_ns for path in written} == written
        assert [kind for kind in told if kind in ("away", "returned", "merge")] == ["away", "returned", "merge"]
        assert all(event["event"] != "failure" for event in events)
        for device in range(2):
            (model,) = parts.disk(device).glob("out/*/models/*.safetensors")
            assert model.name == f"peer-{device}.safetensors"
    assert parts.processes() == [], "all of them are ended"
