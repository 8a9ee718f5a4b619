"""The relay with peers that fail, dawdle and lie, over a grid in memory, and what it writes down."""

import json
import threading
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from dimat_flwr.records import RunFolder, load_summary
from dimat_flwr.relay import MembershipError, RelaySettings, SetupError, Step, run_relay
from dimat_flwr.topology import Mixing, TopologyError
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction, read_instruction
from dimat_flwr.wire.report import Report, encode_events
from tests.in_memory_grid import FunctionGrid


class ToyPeer:
    """Answers as a peer does, with a one-element model, and remembers every instruction."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.seen: list[Instruction] = []
        self.payloads: list[set[int]] = []

    def __call__(self, message: Message) -> Message:
        instruction = read_instruction(message.content.config_records[names.INSTRUCTION])
        if message.metadata.message_type == names.SETUP_MESSAGE:
            return self.reply(message, self.setup(instruction))
        self.seen.append(instruction)
        self.payloads.append({s for s in instruction.sources if names.inbox(names.TENSORS, s) in message.content})
        return self.step(message, instruction)

    def setup(self, instruction: Instruction) -> Report:
        return Report(identity=self.place)

    def step(self, message: Message, instruction: Instruction) -> Message:
        event = {"event": "evaluation", "peer": self.place, "round": instruction.round_number}
        events = [{**event, "stage": "after_merge", "accuracy": 50.0 + self.place}]
        return self.reply(message, Report(events=encode_events(events)), publish=bool(instruction.readers))

    def reply(self, message: Message, report: Report, publish: bool = False) -> Message:
        content = RecordDict({names.REPORT: report.to_record()})
        if publish:
            model = Array(np.full(4, self.place, np.float32))
            content[names.outbox(names.TENSORS)] = ArrayRecord({"w": model})
        return Message(content, reply_to=message)


class Raises(ToyPeer):
    def step(self, message: Message, instruction: Instruction) -> Message:
        if instruction.round_number == 2:
            raise RuntimeError("the battery is empty")
        return super().step(message, instruction)


class Slow(ToyPeer):
    def step(self, message: Message, instruction: Instruction) -> Message:
        time.sleep(0.6 if instruction.round_number == 2 else 0.0)
        return super().step(message, instruction)


def ring_plan(rounds: int) -> Any:
    def plan(peers: int) -> list[Step]:
        mixing = Mixing.from_graph(nx.cycle_graph(peers).to_directed(), "uniform")
        return [Step(number, "merge", mixing) for number in range(1, rounds + 1)]

    return plan


def relay(tmp_path: Path, peers: list[ToyPeer], rounds: int, **settings: float) -> tuple[RunFolder, dict[str, Any]]:
    # Node ids in an order that has nothing to do with the peers' places.
    grid = FunctionGrid({1000 - 7 * peer.place: peer for peer in peers}, workers=len(peers))
    folder = RunFolder.create(tmp_path, "test", datetime(2026, 1, 1))
    folder.write_config("{}", "pytest")
    facts = {"algorithm": "toy", "topology": "ring", "dataset": "none", "seed": 0}
    run_relay(grid, folder, ring_plan(rounds), settings=RelaySettings(**settings), facts=facts, simulation=True)
    return folder, load_summary(folder.path)


def events(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder.path / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


def test_one_raises_one_is_slow_and_the_others_finish(tmp_path: Path) -> None:
    peers = [ToyPeer(0), Raises(1), ToyPeer(2), ToyPeer(3), Slow(4)]
    folder, summary = relay(tmp_path, peers, rounds=8, straggler_timeout=0.2, give_up_timeout=30)
    assert summary["status"] == "completed"
    for place in (0, 2, 3):
        assert [i.round_number for i in peers[place].seen] == list(range(9))
        assert peers[place].seen[-1].last
    for peer in peers:
        for instruction, arrived in zip(peer.seen, peer.payloads, strict=True):
            assert instruction.own_weight + sum(instruction.source_weights) == pytest.approx(1)
            assert arrived == set(instruction.sources)
    (failure,) = events(folder, "failure")
    assert (failure["peer"], failure["round"]) == (1, 2)
    assert "the battery is empty" in failure["error"]
    assert {event["peer"] for event in events(folder, "late")} == {4}
    assert peers[4].seen[-1].round_number == 8, "the slow peer finishes too"
    # After the failure of 1, peers 0 and 2 have one neighbour left.
    assert all(instruction.sources in ([4], []) for instruction in peers[0].seen[4:])


def test_bytes_are_counted_per_edge_and_round(tmp_path: Path) -> None:
    folder, summary = relay(tmp_path, [ToyPeer(place) for place in range(4)], rounds=2)
    payload = len(Array(np.zeros(4, np.float32)).data)
    rows = (folder.path / "messages.csv").read_text().splitlines()[1:]
    per_edge = defaultdict(int)
    for row in rows:
        number, _, source, target, count = row.split(",")
        per_edge[int(number), int(source), int(target)] += int(count)
    assert len(per_edge) == 2 * 8
    assert set(per_edge.values()) == {payload}
    by_round = {entry["round"]: entry for entry in summary["rounds"]}
    assert by_round[1]["bytes"] == 8 * payload
    assert by_round[2]["accuracy_after_merge"] == pytest.approx(51.5)


def test_payloads_are_forwarded_untouched(tmp_path: Path) -> None:
    received: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    sent: dict[int, list[Any]] = {0: [], 1: [], 2: []}

    class Keeps(ToyPeer):
        def __call__(self, message: Message) -> Message:
            for source in range(3):
                arrived = message.content.array_records.get(names.inbox(names.TENSORS, source))
                if arrived is not None:
                    received[source].append(arrived)
            reply = super().__call__(message)
            published = reply.content.array_records.get(names.outbox(names.TENSORS))
            if published is not None:
                sent[self.place].append(published)
            return reply

    relay(tmp_path, [Keeps(place) for place in range(3)], rounds=1)
    for place in range(3):
        assert len(received[place]) == 2
        assert all(arrived is sent[place][0] for arrived in received[place])


def test_a_problem_at_one_peer_stops_the_run_before_any_training(tmp_path: Path) -> None:
    class NoData(ToyPeer):
        def setup(self, instruction: Instruction) -> Report:
            return Report(identity=self.place, problem="no CIFAR-10 in /data")

    peers = [ToyPeer(0), NoData(1), ToyPeer(2)]
    with pytest.raises(SetupError, match="peer 1: no CIFAR-10 in /data"):
        relay(tmp_path, peers, rounds=1)
    assert all(peer.seen == [] for peer in peers)
    (folder,) = tmp_path.iterdir()
    assert load_summary(folder)["status"] == "failed"
    assert "no CIFAR-10" in load_summary(folder)["reason"]


def test_when_all_fail_the_run_fails_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="every peer failed"):
        relay(tmp_path, [Raises(place) for place in range(3)], rounds=3)
    (folder,) = tmp_path.iterdir()
    summary = load_summary(folder)
    assert summary["status"] == "failed"
    assert [entry["round"] for entry in summary["rounds"]][:2] == [0, 1], "what it had is there"


def test_a_peer_that_never_answers_is_given_up(tmp_path: Path) -> None:
    release = threading.Event()

    class Hangs(ToyPeer):
        def step(self, message: Message, instruction: Instruction) -> Message:
            release.wait(20)
            return super().step(message, instruction)

    folder, summary = relay(
        tmp_path, [ToyPeer(0), Hangs(1), ToyPeer(2)], rounds=2, straggler_timeout=0.2, give_up_timeout=1.0
    )
    release.set()
    assert summary["status"] == "completed"
    (failure,) = events(folder, "failure")
    assert failure["peer"] == 1
    assert "no answer within 1 s" in failure["error"]


def test_garbage_instead_of_a_report_is_a_failure_of_that_peer(tmp_path: Path) -> None:
    class Garbage(ToyPeer):
        def step(self, message: Message, instruction: Instruction) -> Message:
            return Message(RecordDict({names.REPORT: ConfigRecord({"events": ["{"]})}), reply_to=message)

    folder, summary = relay(tmp_path, [ToyPeer(0), Garbage(1), ToyPeer(2)], rounds=1)
    assert summary["status"] == "completed"
    assert [event["peer"] for event in events(folder, "failure")] == [1]


@pytest.mark.parametrize(
    "lie",
    [
        {"event": "evaluation"},
        {"event": "evaluation", "stage": [], "accuracy": 50},
        {"event": "evaluation", "stage": "after_merge", "accuracy": "99"},
        {"event": "evaluation", "stage": "after_merge", "accuracy": 1e308},
        {"event": "failure", "peer": 0, "error": "not me"},
    ],
)
def test_a_peer_that_lies_in_its_events_is_out_and_harms_nobody(tmp_path: Path, lie: dict[str, Any]) -> None:
    class Lies(ToyPeer):
        def step(self, message: Message, instruction: Instruction) -> Message:
            return self.reply(message, Report(events=[json.dumps(lie)]), publish=bool(instruction.readers))

    folder, summary = relay(tmp_path, [ToyPeer(0), Lies(1), ToyPeer(2)], rounds=1)
    assert summary["status"] == "completed"
    (failure,) = events(folder, "failure")
    assert failure["peer"] == 1
    assert "malformed report" in failure["error"]


def test_odd_events_are_kept_under_the_name_of_who_told_them(tmp_path: Path) -> None:
    odd = [{"event": "merge", "weights": "no", "peer": 0, "round": "x"}, {"event": "", "x": [[[[{}]]]]}]

    class Odd(ToyPeer):
        def step(self, message: Message, instruction: Instruction) -> Message:
            return self.reply(message, Report(events=[json.dumps(event) for event in odd]), bool(instruction.readers))

    folder, summary = relay(tmp_path, [ToyPeer(0), Odd(1), ToyPeer(2)], rounds=1)
    assert summary["status"] == "completed"
    assert {(event["peer"], event["round"]) for event in events(folder, "merge")} == {(1, 0), (1, 1)}
    assert (folder.path / "accuracy.png").exists()


def test_one_peer_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(MembershipError, match="1 peer is connected, the run needs at least 2"):
        relay(tmp_path, [ToyPeer(0)], rounds=1)


def test_an_impossible_topology_ends_the_run_before_the_handshake(tmp_path: Path) -> None:
    peers = [ToyPeer(0), ToyPeer(1)]

    def impossible(peers: int) -> list[Step]:
        raise TopologyError("no torus of 2")

    folder = RunFolder.create(tmp_path, "test", datetime(2026, 1, 1))
    with pytest.raises(TopologyError):
        run_relay(
            FunctionGrid({1: peers[0], 2: peers[1]}), folder, impossible,
            settings=RelaySettings(), facts={}, simulation=True,
        )  # fmt: skip
    assert load_summary(folder.path)["reason"] == "TopologyError: no torus of 2"
