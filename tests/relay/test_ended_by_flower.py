"""A run that Flower ends from outside: its record says so, and how to go on."""

import sys
from datetime import datetime
from pathlib import Path

import pytest
from flwr.app import RecordDict

from dimat_flwr.records import RunFolder
from dimat_flwr.records.summary import load_summary
from dimat_flwr.relay.session import run_relay
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.wire.instruction import Instruction
from tests.relay.toy_post import SimulatedClock, ToyPeer, ToyPost, make_plan


def test_a_run_that_flower_has_ended_says_so(tmp_path: Path) -> None:
    """As it does at a signal, and when the ServerApp was frozen for longer than the SuperLink waits for it."""

    class Ends(ToyPeer):
        def work(self, instruction: Instruction) -> RecordDict:
            if instruction.round == 1:
                sys.exit(0)
            return super().work(instruction)

    clock = SimulatedClock()
    post = ToyPost({place: Ends(place) for place in range(3)}, clock)
    folder = RunFolder.create(tmp_path, "test", datetime(2026, 1, 1))
    with pytest.raises(SystemExit):
        run_relay(post, folder, lambda peers: make_plan(peers, 3), RelaySettings(peers=3), {}, clock)
    summary = load_summary(folder.path)
    assert summary["status"] == "failed"
    assert summary["reason"].startswith("Flower has ended the ServerApp: ")
    assert "resume-from goes on" in summary["reason"]
