"""Whole runs whose relay is not to be trusted: what it learns, what it can change, and what it cannot."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord

from dimat_flwr.peer.state import load_state
from dimat_flwr.wire import names
from dimat_flwr.wire.codecs.float32 import Float32
from tests.in_process_app import Run
from tests.security.meddling import PEERS, SEAL, SIGN, Letter, Meddle, MeddlingPost, meddled


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
