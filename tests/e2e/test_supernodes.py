"""Real SuperNodes on loopback, one of which dies before it answers; `benchmarks/faults.py` does more to them."""

import sys
import time
from pathlib import Path

import pytest

from benchmarks.disturbances import VICTIM, kill_while_sending
from tests.e2e.federation import Federation

pytestmark = [
    pytest.mark.slow,
    pytest.mark.waits,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]


def test_a_device_that_dies_before_it_answers_answers_from_its_checkpoint(tmp_path: Path) -> None:
    """Flower takes a minute to notice a process that is gone: that is most of this test."""
    with Federation(tmp_path / "federation", devices=2) as parts:
        overrides = "relay.peers=2 training.pretrain_epochs=1 training.local_epochs=20 model.width=1"
        run = parts.run(dataset="folder", partition="own", algorithm="weight_averaging", rounds=2, overrides=overrides)
        kill_while_sending(parts, run, after=0)
        written = {path: path.stat().st_mtime_ns for path in parts.disk(VICTIM).rglob("peer-*.checkpoint")}
        summary, events = run.finish(), run.events()
        assert run.ended_as() == "finished:completed"
        deadline = time.monotonic() + 60
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
