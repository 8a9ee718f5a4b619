"""Whole runs in which peers have to know each other by their keys: from files, or from a relay that may lie."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict

from dimat_flwr.config import ConfigError
from dimat_flwr.peer.keys import FIRST_USE, MADE_UP
from dimat_flwr.peer.state import load_state
from dimat_flwr.relay import SetupError
from dimat_flwr.security.identity import Identity, Introduction, read_introduction
from dimat_flwr.security.key_files import write_identity
from dimat_flwr.security.protection import Protection
from dimat_flwr.wire import names
from dimat_flwr.wire.codecs.base import Passage
from dimat_flwr.wire.codecs.float32 import Float32
from dimat_flwr.wire.payload import from_record
from tests.in_process_app import Run
from tests.security.meddling import PEERS, SEAL, SIGN, Letter, Meddle, MeddlingPost, key_files, meddled


def warnings(run: Run) -> list[tuple[int, int, str]]:
    return [(event["peer"], event["round"], event["values"]["text"]) for event in run.events("note")]


def with_keys_of_its_own(identity: Identity, place: int) -> Meddle:
    """Return a relay that introduces peer ``place`` to the others with keys of its own."""

    def substitute(letter: Letter) -> None:
        said = dict(letter.instruction["introductions"])
        if said and letter.peer != place:
            own = Introduction(identity.public, read_introduction(said[place]).nonce, True)
            letter.tell(introductions=[[other, str(own) if other == place else text] for other, text in said.items()])

    return substitute


def test_with_known_peers_nothing_is_taken_from_the_relay(tmp_path: Path) -> None:
    keys = key_files(tmp_path)
    run, _ = meddled(tmp_path / "honest", keys, simulation=False)
    assert run.summary["status"] == "completed"
    assert warnings(run) == run.events("rejected") == []
    run, _ = meddled(tmp_path / "evil", keys, with_keys_of_its_own(Identity.new(), 1), simulation=False)
    failures = run.events("failure")
    assert [(event["peer"], event["round"]) for event in failures] == [(0, 0), (2, 0), (3, 0)]
    for failure in failures:
        assert "the relay introduces peer 1 with another key than security.known_peers" in failure["error"]
    assert run.summary["bytes_total"] == 0, "nobody has sent anything that the relay's key could open"


def test_a_peer_with_another_key_than_the_others_know_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    keys = key_files(tmp_path)
    write_identity(tmp_path / "new")
    lines = (tmp_path / "known_peers").read_text().splitlines(keepends=True)
    (tmp_path / "without").write_text("".join(lines[:3]))
    other = {3: {"key-file": str(tmp_path / "new"), "known-peers": str(tmp_path / "without")}}
    with pytest.raises(SetupError) as refused:
        meddled(tmp_path / "run", keys, nodes=other, simulation=False)
    assert str(refused.value).startswith(
        "nothing was trained. peer 0, peer 1, peer 2: the relay introduces peer 3 with another key than "
        "security.known_peers has"
    )
    assert Run(next((tmp_path / "run").iterdir())).events() == []


def test_a_key_file_that_was_copied_to_another_device_is_found_before_anything_is_trained(tmp_path: Path) -> None:
    keys = key_files(tmp_path).split(" security.known_peers")[0]
    copied = {2: {"key-file": str(tmp_path / "key-1")}}
    with pytest.raises(SetupError, match="every peer: peers 1, 2 have one and the same key"):
        meddled(tmp_path / "run", keys, nodes=copied, simulation=False)


def test_without_known_peers_the_relay_could_and_everybody_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = key_files(tmp_path).split(" security.known_peers")[0]
    relay = Identity.new()
    run, post = meddled(tmp_path / "run", keys, with_keys_of_its_own(relay, 1), simulation=False, rounds=1)
    assert warnings(run) == [(peer, 0, FIRST_USE) for peer in range(PEERS)]
    assert caplog.text.count(FIRST_USE) == PEERS + 1, "each peer says so on its own machine, the relay once"
    # It reads what is sealed for peer 1, whose own payloads the others refuse.
    states = [load_state(state).trust for state in post._states]
    assert read_introduction(states[0].introductions[1]).public == relay.public
    blob = next(from_record(reply["out.all"]) for reply in post.held if "out.all" in reply)
    in_its_place = Protection(relay, 1, bytes.fromhex(states[1].nonce), states[1].introductions, {}, seal=True)
    opened = in_its_place.open(blob, Passage(run.folder.name, 1, "merge", 0, None), Float32())
    assert opened[8:9] == b"{"
    rejected = {(event["peer"], event["source"]) for event in run.events("rejected")}
    assert rejected == {(0, 1), (2, 1), (1, 0), (1, 2)}


def test_a_key_that_is_another_later_is_refused(tmp_path: Path) -> None:
    first: dict[int, str] = {}

    def later(letter: Letter) -> None:
        first.update(dict(letter.instruction["introductions"]))
        if (letter.peer, letter.round) == (2, 1):
            letter.tell(introductions=[[place, first[(place + 1) % PEERS]] for place in first])

    run, _ = meddled(tmp_path, SEAL, later)
    (failure,) = run.events("failure")
    assert (failure["peer"], failure["round"]) == (2, 1)
    assert "introduced other keys, or this peer in another place, than at the start" in failure["error"]
    assert warnings(run) == [(peer, 0, MADE_UP) for peer in range(PEERS)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"introductions": []}, "has not introduced every other peer"),
        ({"introductions": [[0, "x"], [1, "x"], [3, "x"]]}, "a malformed introduction"),
    ],
)
def test_a_relay_that_introduces_nobody_gets_no_payload(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    def leave_out(letter: Letter) -> None:
        if letter.instruction["exchange"] == "start":
            letter.tell(**change)

    with pytest.raises(SetupError, match="every peer failed"):
        meddled(tmp_path, SEAL, leave_out)
    run = Run(next(tmp_path.iterdir()))
    assert all(reason in event["error"] for event in run.events("failure"))
    assert run.summary["bytes_total"] == 0


def test_asking_again_makes_a_peer_forget_nothing(tmp_path: Path) -> None:
    """A relay that repeats the handshake in the middle of the run gets the same answer, and nobody's keys change."""
    answers: list[str] = []

    def ask_again(letter: Letter) -> None:
        if (letter.peer, letter.round) == (2, 1):
            hello = next(record for record in letter.held if names.REPORT not in record)
            reply = letter.post.answer(2, names.SETUP_MESSAGE, hello)
            answers.append(str(reply[names.REPORT]["introduction"]))

    run, post = meddled(tmp_path, SEAL, ask_again)
    assert answers == [load_state(post._states[1]).trust.introductions[2]]
    assert run.events("rejected") == run.events("failure") == []


class StartedAnew(MeddlingPost):
    """Loses all that Flower keeps for peer 1 before its exchange 0 is done; the new SuperNode may have another id."""

    asks_again = True
    lost = False

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        if peer == 1 and kind == names.EXCHANGE_MESSAGE and not self.lost:
            self.lost = True
            self._states[1] = RecordDict()
            if self.asks_again:
                super().answer(1, names.SETUP_MESSAGE, next(found for found in self.held if names.REPORT not in found))
        return super().answer(peer, kind, content)


class StartedAnewUnasked(StartedAnew):
    asks_again = False


@pytest.mark.parametrize("post", [StartedAnew, StartedAnewUnasked])
def test_a_peer_started_anew_in_exchange_0_is_who_it_was(tmp_path: Path, post: type[MeddlingPost]) -> None:
    run, _ = meddled(tmp_path / "run", key_files(tmp_path), simulation=False, post=post, rounds=1)
    assert run.summary["status"] == "completed"
    assert run.events("rejected") == run.events("failure") == []
    assert not list(run.folder.rglob("nonce-*")), "the checkpoints have it now"


def test_a_peer_that_has_forgotten_who_it_was_does_not_go_on_alone(tmp_path: Path) -> None:
    keys = f"{key_files(tmp_path)} checkpoint.save=never"
    run, _ = meddled(tmp_path / "run", keys, simulation=False, post=StartedAnew, rounds=1)
    (failure,) = run.events("failure")
    assert (failure["peer"], failure["round"]) == (1, 0)
    assert "started anew before exchange 0 was done" in failure["error"]
    assert run.events("rejected") == []


@pytest.mark.parametrize(
    ("overrides", "nodes", "reason"),
    [
        (SIGN, {}, "every peer: security.sign needs an identity of this device: make one with dimat-flwr keys new"),
        (f"{SIGN} security.key_file=/no/key", {}, "every peer: key file /no/key cannot be read: No such file"),
        (f"{SIGN} security.key_file=KEYS/open", {}, "key file .*/open is open to other users .*chmod 600"),
        ("ALL", {2: {"known-peers": "KEYS/three"}}, "^nothing was trained. peer 2: .* has no line for peers 1, 3 of 4"),
        ("ALL", {2: {"key-file": "KEYS/key-1"}}, "peer 2: .* has another key for peer 2 than security.key_file"),
        ("ALL", {2: {"known-peers": "KEYS/none"}}, "peer 2: known_peers .*none cannot be read"),
        ("ALL", {2: {"partition-id": -1}}, "its SuperNode a partition-id"),
        ("", {2: {"key-file": "KEYS/key-2"}}, "(?s)peer 2: .*key_file needs sign=true"),
        ("ALL security.seal=false", {2: {"seal": True}}, "do not agree .*seal: peer 2; sign: peer 0, peer 1, "),
    ],
)  # fmt: skip
def test_what_is_wrong_with_keys_is_said_before_training(
    tmp_path: Path, overrides: str, nodes: dict[int, dict[str, Any]], reason: str
) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    everything = key_files(folder)
    (folder / "open").write_text((folder / "key-0").read_text())
    (folder / "open").chmod(0o644)
    lines = (folder / "known_peers").read_text().splitlines(keepends=True)
    (folder / "three").write_text(lines[0] + lines[2])
    overrides = overrides.replace("ALL", everything).replace("KEYS", str(folder))
    for peer, node in nodes.items():
        named = {key: value.replace("KEYS", str(folder)) for key, value in node.items() if isinstance(value, str)}
        nodes = {**nodes, peer: {**node, **named}}
    with pytest.raises(SetupError, match=reason):
        meddled(tmp_path / "run", overrides, simulation=False, nodes=nodes)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ("security.seal=true", "seal needs sign=true"),
        ("security.key_file=key security.known_peers=known", "key_file, known_peers needs sign=true"),
        ("security.sign=true security.known_peers=known", "known_peers needs key_file"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, overrides: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        meddled(tmp_path, overrides)
    assert list(tmp_path.iterdir()) == []


def test_a_peer_that_introduces_itself_with_nonsense_is_named(tmp_path: Path) -> None:
    class Nonsense(MeddlingPost):
        def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
            reply = super().answer(peer, kind, content)
            if peer == 3 and kind == names.SETUP_MESSAGE:
                reply[names.REPORT] = ConfigRecord({**reply[names.REPORT], "introduction": "seal:me:now"})
            return reply

    with pytest.raises(SetupError, match="peer 3: a malformed introduction"):
        meddled(tmp_path, SEAL, post=Nonsense)
