"""Whole runs with peers that fail, dawdle and lie, and what the run's folder says of them."""

import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from dimat_flwr.events import CaughtUp, Evaluation, Failure, Late, Merge, Rejected, Training
from dimat_flwr.records import RunFolder, load_summary
from dimat_flwr.relay import MembershipError, RelaySettings, SetupError, run_relay
from dimat_flwr.topology import TopologyError
from dimat_flwr.wire import names
from dimat_flwr.wire.blob import to_record
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.report import Report
from tests.relay.toy_post import Relayed, SimulatedClock, ToyPeer, ToyPost, make_plan


class Raises(ToyPeer):
    def work(self, instruction: Instruction) -> RecordDict:
        if instruction.round == 2:
            raise OSError("the battery is empty")
        return super().work(instruction)


def run(tmp_path: Path, peers: list[ToyPeer], rounds: int, plan: Any = None, **settings: Any) -> dict[str, Any]:
    # Node ids in an order that has nothing to do with the peers' places.
    clock = SimulatedClock()
    post = ToyPost({1000 - 7 * peer.place: peer for peer in peers}, clock, workers=2)
    folder = RunFolder.create(tmp_path, "test", datetime(2026, 1, 1))
    folder.write_config("{}", "pytest")
    facts = {"algorithm": "toy", "topology": "ring", "dataset": "none", "seed": 0}
    made = plan or (lambda count: make_plan(count, rounds))
    run_relay(post, folder, made, RelaySettings(**settings), facts, clock)
    return load_summary(folder.path)


def lines(tmp_path: Path, kind: str) -> list[dict[str, Any]]:
    (path,) = tmp_path.glob("*/metrics.jsonl")
    found = map(json.loads, path.read_text().splitlines())
    return [line for line in found if line["event"] == kind]


def test_a_run_without_trouble_is_completed_and_its_bytes_are_counted(tmp_path: Path) -> None:
    peers = [ToyPeer(place) for place in range(4)]
    summary = run(tmp_path, peers, rounds=2)
    assert summary["status"] == "completed"
    assert summary["lost_peers"] == {}
    assert (summary["peers"], summary["spectral_gap"]) == (4, pytest.approx(2 / 3))
    assert [0, 1, pytest.approx(1 / 3)] in summary["edges"]
    for peer in peers:
        assert [i.round for i in peer.seen] == [0, 1, 2]
        assert [i.is_last for i in peer.seen] == [False, False, True]
        assert [i.next.readers for i in peer.seen[:2]] == [sorted({(peer.place + 1) % 4, (peer.place - 1) % 4})] * 2
        assert {i.rounds for i in peer.seen} == {2}
    (messages,) = tmp_path.glob("*/messages.csv")
    per_edge = defaultdict(int)
    for row in messages.read_text().splitlines()[1:]:
        number, _, source, reader, count = row.split(",")
        per_edge[int(number), int(source), int(reader)] += int(count)
    assert len(per_edge) == 2 * 8
    assert set(per_edge.values()) == {len("0>1.merge")}
    assert {entry["round"]: entry["bytes"] for entry in summary["rounds"]} == {0: 0, 1: 72, 2: 72}
    assert summary["rounds"][2]["accuracy_after_merge"] == pytest.approx(51.5)


def test_a_lost_peer_makes_the_run_incomplete_and_the_parts_of_a_split_ring_are_named(tmp_path: Path) -> None:
    peers = [ToyPeer(0), Raises(1), ToyPeer(2), ToyPeer(3), Raises(4), ToyPeer(5)]
    summary = run(tmp_path, peers, rounds=4, leavers="leave_out")
    assert summary["status"] == "incomplete"
    assert summary["lost_peers"] == {"1": 2, "4": 2}
    assert summary["parts"] == [[0, 5], [2, 3]]
    assert [line["error"] for line in lines(tmp_path, "failure")] == ["the battery is empty"] * 2
    absent = [(line["peer"], line["reader"]) for line in lines(tmp_path, "absent")]
    assert sorted(absent) == [(1, 0), (1, 2), (4, 3), (4, 5)], "said once per reader, not every round"
    for place in (0, 2, 3, 5):
        assert [i.round for i in peers[place].seen] == list(range(5))
        for instruction in peers[place].seen:
            assert instruction.row.own + sum(instruction.row.sources.values()) == pytest.approx(1)
        assert peers[place].seen[-1].absent == {{0: 1, 2: 1, 3: 4, 5: 4}[place]: "failed"}


def test_a_problem_at_one_peer_stops_the_run_before_any_training(tmp_path: Path) -> None:
    class NoData(ToyPeer):
        def join(self, instruction: Instruction) -> Report:
            return Report(place=self.place, problem="no such folder: /data")

    peers = [ToyPeer(0), NoData(1), NoData(2)]
    with pytest.raises(SetupError, match=r"nothing was trained\. peer 1, peer 2: no such folder: /data"):
        run(tmp_path, peers, rounds=2)
    assert peers[0].seen == []
    (folder,) = tmp_path.iterdir()
    assert load_summary(folder)["status"] == "failed"


def test_when_every_peer_fails_the_run_fails_and_keeps_what_it_had(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="every peer failed"):
        run(tmp_path, [Raises(0), Raises(1)], rounds=3)
    (folder,) = tmp_path.iterdir()
    summary = load_summary(folder)
    assert summary["status"] == "failed"
    assert [entry["round"] for entry in summary["rounds"]][:2] == [0, 1]


def test_an_outage_of_ten_hours_makes_nobody_late_and_is_in_the_summary(tmp_path: Path) -> None:
    clock = SimulatedClock()

    class Away(ToyPeer):
        """In round 1 the SuperLink is gone for ten hours, and this peer busy for the same ten."""

        def work(self, instruction: Instruction) -> RecordDict:
            if instruction.round == 1 and self.place == 1:
                clock.time += 36_000.0
                post.out_of_reach = 36_000.0
            if instruction.round == 3:
                while_it_went.append(load_summary(folder.path).get("superlink_away_s"))
            return super().work(instruction)

    while_it_went: list[float | None] = []
    post = ToyPost({place: Away(place) for place in range(3)}, clock, simulation=False, delay=lambda *_: 5.0)
    folder = RunFolder.create(tmp_path, "test", datetime(2026, 1, 1))
    summary = run_relay(post, folder, lambda count: make_plan(count, 3), RelaySettings(peers=3), {}, clock)
    assert (summary["status"], summary["lost_peers"], summary["superlink_away_s"]) == ("completed", {}, 36_000.0)
    assert lines(tmp_path, "late") == []
    assert load_summary(folder.path)["superlink_away_s"] == 36_000.0
    assert while_it_went == [36_000.0] * 3, "a relay that is killed now has said it"


def test_one_peer_is_too_few_and_a_deployment_waits_for_more(tmp_path: Path) -> None:
    with pytest.raises(MembershipError, match="1 peer is connected, the run needs at least 2"):
        run(tmp_path, [ToyPeer(0)], rounds=1)
    clock = SimulatedClock()
    post = ToyPost({1: ToyPeer(0)}, clock, simulation=False)
    post.out_of_reach = 7.0
    folder = RunFolder.create(tmp_path, "test", datetime(2026, 1, 1))
    with pytest.raises(MembershipError, match="1 peer is there, the run needs at least 3: nobody is in place 1, 2"):
        run_relay(post, folder, lambda n: make_plan(n, 1), RelaySettings(peers=3, join_timeout=30), {}, clock)
    assert clock.now() >= 30
    assert load_summary(folder.path)["superlink_away_s"] == 7.0, "an outage before anybody was there, too"


def test_an_impossible_topology_ends_the_run_before_the_handshake(tmp_path: Path) -> None:
    def impossible(peers: int) -> Any:
        raise TopologyError("no torus of 2")

    peers = [ToyPeer(0), ToyPeer(1)]
    with pytest.raises(TopologyError):
        run(tmp_path, peers, rounds=1, plan=impossible)
    (folder,) = tmp_path.iterdir()
    assert load_summary(folder)["reason"] == "TopologyError: no torus of 2"


def test_a_node_that_flower_refuses_messages_to_is_named_in_the_handshake_and_fails_later() -> None:
    from dimat_flwr.relay.envelope import RunFacts
    from dimat_flwr.relay.gathering import agree_on_places

    clock = SimulatedClock()
    post = ToyPost({7: ToyPeer(0), 9: ToyPeer(1)}, clock)
    post.refuse = {9}
    with pytest.raises(SetupError, match="node 9: Flower refused a message to it"):
        agree_on_places(post, RunFacts(2, "toy", True), RelaySettings(), clock)
    found = Relayed([ToyPeer(place) for place in range(3)], make_plan(3, 2), refuse=[2])
    assert found.survivors == [0, 1]
    (failure,) = found.recorder.of(Failure)
    assert (failure.peer, failure.round) == (2, 0)
    assert "refused a message" in failure.event.error


def test_a_silent_node_is_named_in_a_deployment_and_waited_for_in_a_simulation() -> None:
    from dimat_flwr.relay.envelope import RunFacts
    from dimat_flwr.relay.gathering import agree_on_places

    def after(seconds: float, simulation: bool) -> list[int]:
        clock = SimulatedClock()
        post = ToyPost({7: ToyPeer(1), 9: ToyPeer(0)}, clock, delay=lambda *_: seconds, simulation=simulation)
        settings = RelaySettings(straggler_timeout=1, give_up_timeout=100)
        claims = agree_on_places(post, RunFacts(2, "toy", simulation), settings, clock)
        return [claim.node for claim in claims.values()]

    assert after(5000.0, True) == [9, 7]
    with pytest.raises(SetupError, match=r"nodes \[7, 9\] did not answer the handshake"):
        after(5000.0, False)


def test_a_slow_peer_is_late_then_catches_up_and_one_that_hangs_is_given_up() -> None:
    def delay(place: int, instruction: Instruction) -> float:
        return {(4, 2): 20.0, (1, 3): 1e6}.get((place, instruction.round), 0.5)

    found = Relayed(
        [ToyPeer(place) for place in range(5)], make_plan(5, 40), delay=delay, straggler_timeout=5, give_up_timeout=60
    )
    assert found.survivors == [0, 2, 3, 4]
    assert {stamped.peer for stamped in found.recorder.of(Late)} == {1, 4}
    assert [stamped.peer for stamped in found.recorder.of(CaughtUp)] == [4]
    (failure,) = found.recorder.of(Failure)
    assert (failure.peer, failure.round, failure.event.error) == (1, 3, "no answer within 60 s")
    assert found.peers[4].seen[-1].round == 40, "the slow peer finishes too"


def test_payloads_are_forwarded_by_reference() -> None:
    sent: dict[int, list[ArrayRecord]] = defaultdict(list)
    received: dict[int, list[ArrayRecord]] = defaultdict(list)

    class Keeps(ToyPeer):
        def __call__(self, kind: str, content: RecordDict) -> RecordDict:
            for source in range(3):
                if names.inbox(source) in content:
                    received[source].append(content[names.inbox(source)])
            reply = super().__call__(kind, content)
            if names.outbox(None) in reply:
                sent[self.place].append(reply[names.outbox(None)])
            return reply

    Relayed([Keeps(place) for place in range(3)], make_plan(3, 1))
    for place in range(3):
        assert len(received[place]) == 2
        assert all(arrived is sent[place][0] for arrived in received[place])


def test_one_payload_per_reader_reaches_only_its_reader() -> None:
    class Separate(ToyPeer):
        def answer(self, instruction: Instruction, events: Any = ()) -> RecordDict:
            content = RecordDict({names.REPORT: Report(place=self.place).to_record()})
            for reader in instruction.next.readers if instruction.next else ():
                content[names.outbox(reader)] = to_record(f"{self.place}->{reader}".encode())
            return content

    peers = [Separate(place) for place in range(4)]
    Relayed(peers, make_plan(4, 2))
    for peer in peers:
        assert (
            peer.inboxes[1:]
            == [{s: f"{s}->{peer.place}" for s in sorted({(peer.place + 1) % 4, (peer.place - 1) % 4})}] * 2
        )


def report(**changes: Any) -> ConfigRecord:
    return ConfigRecord({**Report(place=1).to_record(), **changes})


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def evaluation(text: str) -> bytes:
    return b'[{"event":"evaluation","stage":"after_merge","accuracy":' + text.encode() + b"}]"


HOSTILE = {
    "empty": RecordDict(),
    "report of another type": RecordDict({names.REPORT: MetricRecord({"place": 1})}),
    "report that is a payload": RecordDict({names.REPORT: to_record(b"x")}),
    "no fields": RecordDict({names.REPORT: ConfigRecord({})}),
    "an extra field": RecordDict({names.REPORT: report(more=1)}),
    "events are no bytes": RecordDict({names.REPORT: report(events=["{"])}),
    "a 5000-digit integer": RecordDict({names.REPORT: report(events=evaluation("1" * 5000))}),
    "a lone surrogate": RecordDict(
        {names.REPORT: report(events=b'[{"event":"note","name":"a","values":{"\\ud800":1}}]')}
    ),
    "600 nested lists": RecordDict({names.REPORT: report(events=nested(600))}),
    "100,000 nested lists": RecordDict({names.REPORT: report(events=nested(15_000))}),
    "not UTF-8": RecordDict({names.REPORT: report(events=b"[\xff\xfe]")}),
    "NaN": RecordDict({names.REPORT: report(events=evaluation("NaN"))}),
    "an accuracy of 1e308": RecordDict({names.REPORT: report(events=evaluation("1e308"))}),
    "a failure of another": RecordDict(
        {names.REPORT: report(events=b'[{"event":"failure","peer":0,"error":"not me"}]')}
    ),
    "100 MB of events": RecordDict({names.REPORT: report(events=b" " * 100_000_000)}),
    "a 30 MB error": RecordDict({names.REPORT: report(error="x" * 30_000_000)}),
    "an error with a surrogate": RecordDict({names.REPORT: report(error="\ud800")}),
    "a terrible place": RecordDict({names.REPORT: report(place=-(10**30))}),
}


def with_payload(record: Any) -> RecordDict:
    return RecordDict({names.REPORT: report(), names.outbox(None): record})


def blob(**changes: Any) -> ArrayRecord:
    fields = {"dtype": "uint8", "shape": (3,), "stype": "dimat.payload", "data": b"abc"}
    return ArrayRecord({"blob": Array(**{**fields, **changes})})


NO_PAYLOAD = {
    "nothing": RecordDict({names.REPORT: report()}),
    "a config": with_payload(ConfigRecord({"blob": b"abc"})),
    "no blob": with_payload(ArrayRecord({})),
    "two arrays": with_payload(ArrayRecord({"blob": blob()["blob"], "more": blob()["blob"]})),
    "another name": with_payload(ArrayRecord({"weights": blob()["blob"]})),
    "another type": with_payload(blob(stype="numpy.ndarray")),
    "a long type": with_payload(blob(dtype="u" * 1_000_000)),
    "a size that is a lie": with_payload(blob(shape=(10**9,))),
}


class Sends(ToyPeer):
    """Answers every exchange from the first on with the same content."""

    def __init__(self, place: int, content: RecordDict) -> None:
        super().__init__(place)
        self.content = content

    def work(self, instruction: Instruction) -> RecordDict:
        return self.content if instruction.round else super().work(instruction)


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_reply_that_is_no_reply_is_that_peers_failure_and_harms_nobody(attack: str) -> None:
    peers = [ToyPeer(0), Sends(1, HOSTILE[attack]), ToyPeer(2), ToyPeer(3), ToyPeer(4)]
    found = Relayed(peers, make_plan(5, 3))
    assert found.survivors == [0, 2, 3, 4]
    (failure,) = found.recorder.of(Failure)
    assert (failure.peer, failure.round, failure.exchange) == (1, 1, "merge")
    assert len(failure.event.error) <= 20_000
    assert all(peer.seen[-1].round == 3 for peer in peers if peer.place != 1)


@pytest.mark.parametrize("attack", NO_PAYLOAD)
def test_an_answer_without_a_payload_is_rejected_and_its_sender_stays(attack: str) -> None:
    peers = [ToyPeer(0), Sends(1, NO_PAYLOAD[attack]), ToyPeer(2), ToyPeer(3)]
    found = Relayed(peers, make_plan(4, 3))
    assert found.survivors == [0, 1, 2, 3]
    assert found.recorder.of(Late) == []
    rejected = [(stamped.peer, stamped.round, stamped.event.source) for stamped in found.recorder.of(Rejected)]
    assert rejected == [(0, 2, 1), (2, 2, 1), (0, 3, 1), (2, 3, 1)]
    assert peers[0].seen[-1].absent == {1: "rejected"}
    assert sum(source == 1 for _, _, source, _, _ in found.recorder.bytes) == 2, "what arrived in round 1"


def test_what_a_reply_makes_the_reader_raise_is_that_peers_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should any check ever forget something: the relay goes on."""
    from dimat_flwr.relay import traffic

    whole = traffic.read_report

    def forgets(record: Any) -> Report:
        found = whole(record)
        if found.place == 1 and found.events == []:
            raise ZeroDivisionError("a fault in a check")
        return found

    monkeypatch.setattr(traffic, "read_report", forgets)
    found = Relayed([ToyPeer(0), Sends(1, with_payload(blob())), ToyPeer(2)], make_plan(3, 2))
    assert found.survivors == [0, 2]
    assert "ZeroDivisionError: a fault in a check" in found.recorder.of(Failure)[0].event.error


def test_events_stand_under_the_name_of_who_told_them() -> None:
    class Told(ToyPeer):
        def work(self, instruction: Instruction) -> RecordDict:
            return self.answer(instruction, [Evaluation("after_training", float(self.place))])

    found = Relayed([Told(place) for place in range(3)], make_plan(3, 1))
    stamps = {(s.peer, s.round, s.exchange, s.event.accuracy) for s in found.recorder.of(Evaluation)}
    assert stamps == {(p, r, "merge" if r else "start", float(p)) for p in range(3) for r in (0, 1)}


def test_what_an_answer_tells_before_it_says_that_it_failed_is_recorded() -> None:
    class HalfWay(ToyPeer):
        def work(self, instruction: Instruction) -> RecordDict:
            if instruction.round == 0:
                return super().work(instruction)
            told = Report(place=1, error="line 1\nValueError: diverged", events=[Evaluation("after_merge", 7.0)])
            return RecordDict({names.REPORT: told.to_record()})

    found = Relayed([ToyPeer(0), HalfWay(1), ToyPeer(2)], make_plan(3, 2))
    assert 7.0 in {stamped.event.accuracy for stamped in found.recorder.of(Evaluation)}
    assert found.recorder.of(Failure)[0].event.error.endswith("ValueError: diverged")
    assert found.survivors == [0, 2]


def test_it_is_recorded_how_long_each_answer_took_and_what_of_it_the_peer_worked() -> None:
    class Told(ToyPeer):
        def work(self, instruction: Instruction) -> RecordDict:
            events = [Training(0.5, 8, 1, 2.0), Training(0.5, 8, 1, 1.0), Merge([], [1.0], 0.25)]
            return RecordDict({names.REPORT: Report(place=self.place, seconds=4.0, events=events).to_record()})

    found = Relayed([Told(place) for place in range(3)], make_plan(3, 1), delay=lambda place, instruction: 5.0 + place)
    rows = {(exchange, peer): rest for _, exchange, peer, *rest in found.recorder.work}
    assert set(rows) == {(exchange, peer) for exchange in ("start", "merge") for peer in range(3)}
    for (_, peer), (took, *told) in rows.items():
        assert took == pytest.approx(5.0 + peer, abs=0.6)  # the relay looks now and then
        assert told == [4.0, 3.0, 0.25]
