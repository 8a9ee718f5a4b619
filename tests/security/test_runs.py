"""Whole runs whose relay is not to be trusted: what it learns, what it can change, and what it cannot."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

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


def told(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["event"] != "note"]


def bytes_by_edge(run: Run) -> dict[tuple[str, ...], int]:
    with (run.folder / "messages.csv").open() as file:
        lines = list(csv.reader(file))
    return {tuple(line[:-1]): int(line[-1]) for line in lines[1:]}


CASES = [
    pytest.param("weight_averaging", {}, False, id="one payload for all"),
    pytest.param("weight_averaging", {"codec": "int8", "final_merge": "uniform", "rounds": 3}, False,
                 id="differences and a final merge", marks=pytest.mark.slow),
    pytest.param("cga", {"optimizer": "sgd"}, True, id="a payload per reader", marks=pytest.mark.slow),
    pytest.param("dimat", {}, False, id="dimat", marks=pytest.mark.slow),
]  # fmt: skip


@pytest.mark.parametrize(("algorithm", "settings", "per_reader"), CASES)
def test_signing_and_sealing_change_no_number_but_the_bytes(
    tmp_path: Path, algorithm: str, settings: dict[str, Any], per_reader: bool
) -> None:
    extra = "training.local_steps=1" if per_reader else ""
    plain, signed, sealed = (
        meddled(tmp_path / str(k), f"{mode} {extra}", algorithm=algorithm, **settings)[0]
        for k, mode in enumerate(("", SIGN, SEAL))
    )
    assert told(plain) == told(signed) == told(sealed)
    assert len(told(plain)) > 3 * PEERS
    for peer in range(PEERS):
        models = [run.model(peer) for run in (plain, signed, sealed)]
        assert all(torch.equal(models[0][name], model[name]) for model in models[1:] for name in models[0])
    sent = [bytes_by_edge(run) for run in (plain, signed, sealed)]
    assert sent[0].keys() == sent[1].keys() == sent[2].keys()
    for edge in sent[0]:
        readers = {sent[k][edge] - sent[0][edge] for k in (1, 2)}
        possible = [{76 + 20 * count, 124 + 68 * count} for count in (1, 2, 3)]
        assert readers in possible, edge
    if algorithm == "weight_averaging" and not settings:
        assert {sent[2][edge] - sent[0][edge] for edge in sent[0]} == {260}, "two readers of one blob"


def held_bytes(post: MeddlingPost) -> bytes:
    """Return every byte of every record that the relay ever had in its hands."""
    parts: list[bytes] = []
    for content in post.held:
        for record in content.values():
            if isinstance(record, ArrayRecord):
                parts += [array.data for array in record.values()]
            else:
                assert isinstance(record, ConfigRecord)
                parts += [value if isinstance(value, bytes) else str(value).encode() for value in record.values()]
    return b"|".join(parts)


def windows(data: bytes) -> np.ndarray[Any, Any]:
    """Return what every window of 16 bytes begins and ends with, as one number each; none of those of one byte only."""
    view = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), 16)
    view = np.ascontiguousarray(view[(view != view[:, :1]).any(axis=1)])
    halves = view.view(np.uint64).reshape(-1, 2)
    return halves[:, 0] * np.uint64(0x9E3779B97F4A7C15) + halves[:, 1]


def windows_of_all(parts: list[bytes]) -> np.ndarray[Any, Any]:
    return np.concatenate([windows(part) for part in parts])


@pytest.mark.parametrize(
    ("algorithm", "codec"),
    [
        ("weight_averaging", "float32"),
        pytest.param("dimat", "float32", marks=pytest.mark.slow),
        pytest.param("cga", "float32", marks=pytest.mark.slow),
        pytest.param("weight_averaging", "int8", marks=pytest.mark.slow),
    ],
)
def test_no_window_of_any_model_lies_in_what_the_relay_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, codec: str
) -> None:
    """All tensors that are published or kept, also in the final merge; below, the search finds one that is there."""
    published: list[bytes] = []
    module = __import__(f"dimat_flwr.wire.codecs.{codec}", fromlist=["x"])
    kind = next(value for name, value in vars(module).items() if name.lower() == codec)
    for codec_class in {kind, Float32}:
        encode = codec_class.encode

        def watched(self: Any, payload: Any, *args: Any, encode: Callable[..., bytes] = encode) -> bytes:
            blob = encode(self, payload, *args)
            published.extend(tensor.numpy(force=True).tobytes() for tensor in payload.tensors.values())
            if codec != "float32":
                published.append(blob)  # not the tensors' own bytes, and as secret
            return blob

        monkeypatch.setattr(codec_class, "encode", watched)
    extra = "training.local_steps=1" if algorithm == "cga" else ""
    settings = {"algorithm": algorithm, "codec": codec, "final_merge": "uniform", "rounds": 1}
    settings |= {"optimizer": "sgd"} if algorithm == "cga" else {}
    _, sealed = meddled(tmp_path, f"{SEAL} {extra}", **settings)
    secret = list(published)
    for peer in range(PEERS):
        state = load_state(sealed._states[peer])
        secret += [tensor.numpy(force=True).tobytes() for tensor in state.model.values()]
    secret = [data for data in set(secret) if len(data) > 64]
    assert len(secret) > 50
    held = held_bytes(sealed)
    assert len(held) > sum(map(len, secret)) / 20
    assert not any(data in held for data in secret)
    largest = max(published, key=len)
    found = np.isin(np.concatenate([windows(held), windows(largest)]), windows_of_all(secret))
    assert not found[: len(windows(held))].any()
    assert found[len(windows(held)) :].all(), "the search finds what is there"


def flip(letter: Letter) -> None:
    blob = bytearray(letter.blob(1))
    blob[len(blob) // 2] ^= 1
    letter.replace(1, bytes(blob))


def truncate(letter: Letter) -> None:
    letter.replace(1, letter.blob(1)[:-1])


def another_source(letter: Letter) -> None:
    letter.replace(1, letter.blob(3))


def nothing(letter: Letter) -> None:
    letter.replace(1, b"")


def plain(letter: Letter) -> None:
    letter.replace(1, b"\x10\0\0\0\0\0\0\0" + b"{}" + b" " * 14)


def says_it_is_private(letter: Letter) -> None:
    letter.tell(private=[1])


@pytest.mark.parametrize("mode", [pytest.param(SIGN, marks=pytest.mark.slow), SEAL], ids=["signed", "sealed"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (flip, "the signature is not peer 1's"),
        (truncate, "the signature is not peer 1's"),
        (another_source, "the signature is not peer 1's"),
        pytest.param(says_it_is_private, "the signature is not peer 1's", marks=pytest.mark.slow),
        pytest.param(plain, "the payload is not signed, but", marks=pytest.mark.slow),
        pytest.param(nothing, "the payload is not signed, but", marks=pytest.mark.slow),
    ],
)
def test_what_the_relay_changes_is_refused_and_recorded(tmp_path: Path, mode: str, change: Meddle, reason: str) -> None:
    def once(letter: Letter) -> None:
        if letter.peer == 2 and letter.round == 1:
            change(letter)

    run, _ = meddled(tmp_path, mode, once)
    (rejected,) = run.events("rejected")
    assert (rejected["peer"], rejected["round"], rejected["source"]) == (2, 1, 1)
    assert reason in rejected["reason"]
    assert run.events("failure") == []
    merges = {(event["peer"], event["round"]): event["sources"] for event in run.events("merge")}
    assert merges.pop((2, 1)) == [3]
    assert all(len(sources) == 2 for sources in merges.values())
    assert run.summary["status"] == "completed"


@pytest.mark.parametrize("lie", [False, True], ids=["as new", "said to be late"])
def test_an_old_payload_is_not_taken_again(tmp_path: Path, lie: bool) -> None:
    kept: list[bytes] = []

    def replay(letter: Letter) -> None:
        if letter.peer == 2 and letter.round == 1:
            kept.append(letter.blob(1))
        if letter.peer == 2 and letter.round == 2:
            letter.replace(1, kept[0])
            if lie:
                letter.tell(earlier=[[1, 1]])

    run, _ = meddled(tmp_path, SEAL, replay)
    (rejected,) = run.events("rejected")
    assert (rejected["peer"], rejected["round"], rejected["source"]) == (2, 2, 1)
    assert ("a replay: it was published for round 1" if lie else "the signature is not") in rejected["reason"]


@pytest.mark.parametrize("lie", [False, True], ids=["as its own", "said to be for all"])
def test_what_is_for_one_reader_is_not_taken_by_another(tmp_path: Path, lie: bool) -> None:
    """RelaySGD has a payload for each reader."""

    def swap(letter: Letter) -> None:
        if (letter.peer, letter.round) == (2, 1):
            for_zero = next(found for record in letter.held if (found := record.get(names.outbox(0))) is not None)
            letter.content[names.inbox(1)] = for_zero
            if lie:
                letter.tell(private=[3])

    run, _ = meddled(tmp_path, SEAL, swap, algorithm="relaysgd", topology="chain", rounds=1)
    (rejected,) = run.events("rejected")
    assert (rejected["peer"], rejected["source"]) == (2, 1)
    assert "the signature is not peer 1's" in rejected["reason"]


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
