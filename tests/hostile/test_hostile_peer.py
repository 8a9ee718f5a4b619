"""One peer of five is hostile: the other four finish, nobody else is blamed, and the record stays true and small."""

import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import RecordDict

from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.local.post import Intercept
from dimat_flwr.relay import MembershipError, SetupError, run_relay
from dimat_flwr.relay.post import Reply
from dimat_flwr.wire import names
from dimat_flwr.wire.payload import from_record, to_record
from tests.hostile.attacks import ESCAPES, EXCHANGE, HANDSHAKE, SCRIPT, Turn
from tests.hostile.runs import HOSTILE, PEERS, TINY, attacked, check, check_folder, hostile
from tests.in_process_app import ROOT, Run
from tests.relay.toy_post import SimulatedClock

# The first algorithm of an attack on every commit, if the attack is among the quick ones; the others in the slow tests.
_CASES = [
    pytest.param(name, algorithm, id=f"{name}-{algorithm}", marks=() if attack.fast and not k else pytest.mark.slow)
    for name, attack in EXCHANGE.items()
    for k, algorithm in enumerate(attack.algorithms)
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand in an empty folder and a home of one's own, and find both empty afterwards."""
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield
    assert list((tmp_path / "here").iterdir()) == []
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "algorithm"), _CASES)
def test_an_attack_on_exchanges(results: Path, name: str, algorithm: str, caplog: pytest.LogCaptureFixture) -> None:
    before, own = set(results.iterdir()), results / f"{name}-{algorithm}"
    with caplog.at_level(logging.INFO, logger="flwr"):
        run = attacked(own, hostile(EXCHANGE[name].act), algorithm)
    check(run, lost=EXCHANGE[name].lost)
    assert set(results.iterdir()) == {*before, own}
    assert all(path == run.folder or run.folder in path.parents for path in own.rglob("*"))
    assert all("\x1b" not in record.getMessage() for record in caplog.records)
    assert sum(len(record.getMessage()) for record in caplog.records) < 20_000


@pytest.mark.parametrize("name", HANDSHAKE)
def test_an_attack_on_the_handshake(results: Path, name: str) -> None:
    before = set(results.iterdir())
    intercept = hostile(HANDSHAKE[name], names.SETUP_MESSAGE)
    try:
        run = attacked(results, intercept)
    except (SetupError, MembershipError) as error:
        refusal = error
    else:
        check(run, lost=False)
        return
    text = str(refusal)
    assert len(text) < 3_000
    assert not any(character in text for character in "\x1b\r\x00\u2028\u202e")
    assert not any(line.startswith(("peer 0", "every peer")) for line in text.splitlines())
    (folder,) = set(results.iterdir()) - before
    run = Run(folder)
    assert run.summary["status"] == "failed"
    assert type(refusal).__name__ in run.summary["reason"], "what was wrong stands before what the peer says of it"
    assert run.events() == []
    check_folder(run)


def test_numbers_that_would_ruin_a_later_round_are_refused_at_once(results: Path) -> None:
    """Found when they arrive, they are the sender's fault; a round later, the honest peer itself would have failed."""
    intercept = hostile(
        lambda turn: turn.floats(lambda x: torch.full_like(x, 1e20)) if turn.number == 0 else turn.reply
    )
    run = attacked(results, intercept, "cdsgd", rounds=3, overrides="batchnorm.policy=average")
    check(run, lost=False, rounds=3)
    assert {(event["peer"], event["round"]) for event in run.events("rejected")} == {(1, 1), (3, 1)}


@pytest.mark.parametrize(("aggregation", "settings"), [("mean", ""), ("clip", "aggregation.tau=100")])
def test_negative_variances_ruin_nobody_where_statistics_are_mixed(
    results: Path, aggregation: str, settings: str
) -> None:
    intercept = hostile(lambda turn: turn.tensors(lambda name, x: x - 1e3 if name.endswith("running_var") else x))
    overrides = f"batchnorm.policy=average {settings}"
    run = attacked(results, intercept, topology="fully_connected", aggregation=aggregation, overrides=overrides)
    check(run, lost=False)
    refused = {(event["peer"], event["round"]) for event in run.events("rejected")}
    assert refused == {(peer, round) for peer in range(PEERS) if peer != HOSTILE for round in (1, 2)}
    assert all(event["loss"] is not None for event in run.events("final"))


def claim(number: str, value: float) -> Intercept:
    """Return a peer that says its payloads are of so much more than they are, to one reader or all."""

    def lie(turn: Turn) -> RecordDict:
        for name in [name for name in turn.reply if name.startswith("out.")]:
            blob = from_record(turn.reply[name])
            length = int.from_bytes(blob[:8], "little")
            header = json.loads(blob[8 : 8 + length])
            header["__metadata__"][number] = value.hex()
            text = json.dumps(header).encode()
            turn.reply[name] = to_record(len(text).to_bytes(8, "little") + text + blob[8 + length :])
        return turn.reply

    return hostile(lie)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "topology", "number", "value"),
    [("relaysgd", "chain", "count", 4.0), ("sgp", "star", "w", 5.0)],
)
def test_who_claims_to_weigh_as_much_as_all_makes_nobody_else_refused(
    results: Path, algorithm: str, topology: str, number: str, value: float
) -> None:
    run = attacked(results, claim(number, value), algorithm, topology=topology, rounds=8)
    check(run, lost=False, rounds=8)
    assert run.events("rejected") == [], "the claims themselves are possible"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["as_many_notes_as_there_may_be", "names_of_control_characters", "huge_figures"])
def test_a_long_run_cannot_be_talked_full(results: Path, name: str) -> None:
    act = EXCHANGE["figures_of_1e100" if name == "huge_figures" else name].act
    overrides = "training.local_steps=1 evaluate.every=100"
    run = attacked(results, hostile(act), rounds=45, overrides=overrides)
    check(run, lost=False, rounds=45)
    assert (run.summary["muted"].keys() == {str(HOSTILE)}) == (name == "as_many_notes_as_there_may_be")


Delivery = Callable[[Reply], Sequence[Reply]]


class Careless(LocalPost):
    """Delivers what the hostile peer answers as somebody on its way would: late, twice, as an error, or not at all."""

    simulation = False

    def __init__(self, deliver: Delivery, *args: Any) -> None:
        super().__init__(*args)
        self._deliver = deliver

    def send(self, node: int, kind: str, content: Any) -> str:
        sent = super().send(node, kind, content)
        if node == HOSTILE and (kind == names.EXCHANGE_MESSAGE) == self.exchanges:
            self.theirs.add(sent)
        return sent

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        return [
            delivered
            for reply in super().collect(ids)
            for delivered in (self._deliver(reply) if reply.message_id in self.theirs else [reply])
        ]

    theirs: set[str]
    exchanges = True


def delivered(results: Path, deliver: Delivery, *, exchanges: bool = True) -> Run:
    config = {"overrides": TINY, "rounds": 2, "algorithm": "weight_averaging", "output-dir": str(results)}
    post = Careless(deliver, PEERS, config, ROOT / "conf")
    post.theirs, post.exchanges = set(), exchanges
    # Time passes only while the relay sleeps: so it is the hostile peer that is waited for, not a slow machine.
    clock = SimulatedClock()
    return Run(launch(config, ROOT / "conf", "pytest", lambda *run: run_relay(post, *run, clock)))


def held_back() -> Delivery:
    """Return a delivery of each reply only when the next one comes."""
    kept: list[Reply] = []

    def deliver(reply: Reply) -> Sequence[Reply]:
        kept.append(reply)
        return kept[-2:-1]

    return deliver


TERRIBLE = f"{SCRIPT}\n{ESCAPES}peer 0: " + "x\n" * 1_000_000


@pytest.mark.parametrize(
    ("deliver", "lost"),
    [
        (lambda reply: [], True),
        (held_back(), False),  # the relay asks again
        (lambda reply: [reply, reply], False),
        (lambda reply: [Reply(reply.message_id, None, TERRIBLE)], True),
        (lambda reply: [Reply(reply.message_id, None, ""), reply], True),
        (lambda reply: [Reply("999999", reply.content), Reply("", None, TERRIBLE), reply], False),
    ],
    ids=["never", "late", "twice", "an error", "an empty error and a reply", "under names of other messages"],
)
def test_what_happens_to_a_reply_on_its_way(results: Path, deliver: Delivery, lost: bool) -> None:
    check(delivered(results, deliver), lost=lost)


def test_an_answer_to_the_handshake_that_comes_twice(results: Path) -> None:
    check(delivered(results, lambda reply: [reply, reply], exchanges=False), lost=False)


def test_an_error_in_answer_to_the_handshake_is_told_cleanly(results: Path) -> None:
    with pytest.raises(SetupError) as caught:
        delivered(results, lambda r: [Reply(r.message_id, None, TERRIBLE)], exchanges=False)
    assert len(str(caught.value)) < 1_500
    assert not re.search("[\x1b\x00\u2028\u202e]|^peer 0", str(caught.value), re.MULTILINE)
