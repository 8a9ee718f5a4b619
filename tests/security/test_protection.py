"""A payload is opened by those it is for, once, as what it was published for; whatever else it is, it is refused."""

import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dimat_flwr.security import protection
from dimat_flwr.security.identity import Identity, Introduction, new_nonce
from dimat_flwr.security.protection import Protection
from dimat_flwr.wire.blob import PayloadError
from dimat_flwr.wire.codecs.base import Passage
from dimat_flwr.wire.codecs.bfloat16 import BFloat16
from dimat_flwr.wire.codecs.float32 import Float32

PEERS = 4
BLOB = bytes(range(256))
CODEC = Float32()
TO_ALL = Passage("2026-01-01_000000-run", 3, "merge", 1, None)
TO_TWO = replace(TO_ALL, reader=2)
READERS = [0, 2]
MODES = pytest.mark.parametrize("seal", [False, True], ids=["signed", "sealed"])


class Peers:
    """Peers that know each other."""

    def __init__(self, seal: bool) -> None:
        self.seal = seal
        self.identities = [Identity.new() for _ in range(PEERS)]
        self.nonces = [new_nonce() for _ in range(PEERS)]
        self.heard: list[dict[str, int]] = [{} for _ in range(PEERS)]

    def said(self, place: int) -> Introduction:
        return Introduction(self.identities[place].public, self.nonces[place], self.seal)

    def at(self, place: int, identity: Identity | None = None, **others: str) -> Protection:
        introductions = {other: str(self.said(other)) for other in range(PEERS) if other != place}
        introductions |= {int(name.removeprefix("p")): text for name, text in others.items()}
        own = identity or self.identities[place]
        return Protection(own, place, self.nonces[place], introductions, self.heard[place], seal=self.seal)

    def published(self, passage: Passage = TO_ALL, readers: tuple[int, ...] = (0, 2), source: int = 1) -> bytes:
        return self.at(source).protect(BLOB, passage, CODEC, readers)


KNOWN = {seal: Peers(seal) for seal in (False, True)}
SENT = {seal: KNOWN[seal].published() for seal in (False, True)}


def refused(
    peers: Peers, blob: bytes, reason: str | None = None, passage: Passage = TO_ALL, codec: Any = CODEC, at: int = 2
) -> None:
    before = dict(peers.heard[at])
    with pytest.raises(PayloadError, match=reason):
        peers.at(at).open(blob, passage, codec)
    assert peers.heard[at] == before, "what is refused leaves no trace"


@MODES
def test_every_reader_opens_it_and_it_is_encrypted_once(seal: bool) -> None:
    peers = Peers(seal)
    large = os.urandom(100_000)
    sent = peers.at(1).protect(large, TO_ALL, CODEC, READERS)
    assert [peers.at(reader).open(sent, TO_ALL, CODEC) for reader in READERS] == [large, large]
    each = 20 + 48 * seal
    assert len(sent) == len(large) + 12 + len(READERS) * each + 64 + seal * (32 + 16)
    assert (large[:16] in sent) == (not seal)


@MODES
def test_it_comes_out_as_it_went_in_whatever_it_is(seal: bool) -> None:
    for blob in (b"", b"x", SENT[seal], bytes(1000)):
        peers = Peers(seal)
        assert peers.at(2).open(peers.at(1).protect(blob, TO_TWO, CODEC, [2]), TO_TWO, CODEC) == blob


def test_the_same_blob_never_looks_the_same_twice_when_sealed() -> None:
    first, second = (KNOWN[True].published() for _ in range(2))
    windows = [{blob[at : at + 16] for at in range(80, len(blob) - 15)} for blob in (first, second)]
    shared = windows[0] & windows[1]
    assert len(shared) < 8, "nothing but place and nonce of the second reader"


@MODES
@pytest.mark.parametrize(
    "changed",
    [{"run": "2026-01-01_000001-run"}, {"round": 2}, {"round": 4}, {"exchange": "share"}, {"source": 3}, {"reader": 2}],
    ids=str,
)
def test_it_belongs_to_one_passage(seal: bool, changed: dict[str, Any]) -> None:
    passage = replace(TO_ALL, **changed)
    refused(KNOWN[seal], SENT[seal], f"not peer {passage.source}'s for this run, round", passage)


@MODES
def test_it_is_of_the_codec_that_was_agreed(seal: bool) -> None:
    refused(KNOWN[seal], SENT[seal], "reader and codec", codec=BFloat16())


@MODES
def test_it_is_for_its_readers_only(seal: bool) -> None:
    refused(KNOWN[seal], SENT[seal], "did not publish it for this peer in this run", at=3)
    for_two = KNOWN[seal].published(TO_TWO, (2,))
    refused(KNOWN[seal], for_two, "not peer 1's", replace(TO_TWO, reader=0), at=0)
    refused(KNOWN[seal], for_two, "did not publish it for this peer", TO_TWO, at=0)


@MODES
def test_another_run_of_the_same_name_is_another_run(seal: bool) -> None:
    peers = Peers(seal)
    sent = peers.published()
    peers.nonces[2] = new_nonce()
    refused(peers, sent, "did not publish it for this peer in this run")


@MODES
def test_it_is_read_once_and_nothing_older_after_it(seal: bool) -> None:
    peers = Peers(seal)
    sent = {number: peers.published(replace(TO_ALL, round=number)) for number in (1, 2, 3)}
    share = replace(TO_ALL, exchange="share", round=1)
    assert peers.at(2).open(sent[2], replace(TO_ALL, round=2), CODEC) == BLOB
    for number in (1, 2):
        refused(peers, sent[number], f"a replay: it was published for round {number}", replace(TO_ALL, round=number))
    assert peers.at(2).open(peers.published(share), share, CODEC) == BLOB, "another exchange has its own rounds"
    assert peers.at(2).open(sent[3], TO_ALL, CODEC) == BLOB


@MODES
def test_the_relay_cannot_write_one(seal: bool) -> None:
    """It knows everybody's public keys and nonces; what it lacks is a private key."""
    peers = KNOWN[seal]
    forged = peers.at(1, identity=Identity.new()).protect(BLOB, TO_ALL, CODEC, READERS)
    refused(peers, forged, "the signature is not peer 1's")
    another = peers.at(3).protect(BLOB, TO_ALL, CODEC, READERS)  # nor can another peer
    refused(peers, another, "the signature is not peer 1's")


@MODES
def test_neither_more_nor_less_protection_than_agreed_is_taken(seal: bool) -> None:
    peers = KNOWN[seal]
    refused(peers, BLOB, "the payload is not signed, but")
    peers.seal = not seal
    other = peers.published()
    peers.seal = seal
    refused(peers, other, "signed but not sealed, but" if seal else "the payload is sealed, but")


@MODES
def test_cut_off_or_longer_it_is_refused_at_every_length(seal: bool) -> None:
    for length in range(len(SENT[seal])):
        with pytest.raises(PayloadError):
            KNOWN[seal].at(2).open(SENT[seal][:length], TO_ALL, CODEC)
    refused(KNOWN[seal], SENT[seal] + b"\0", "the signature is not")
    refused(KNOWN[seal], SENT[seal][:8] + b"\xff\xff\xff\xff" + SENT[seal][12:], "cut off")


@MODES
@given(data=st.data())
@settings(max_examples=60)
def test_a_flipped_bit_is_refused(seal: bool, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(SENT[seal]) - 1))
    refused(KNOWN[seal], flipped(SENT[seal], bit))


@pytest.mark.slow
@MODES
def test_every_flipped_bit_is_refused(seal: bool) -> None:
    """2,976 and 4,128 bits: all there are, in magic, table, keys, signature and body."""
    for bit in range(8 * len(SENT[seal])):
        refused(KNOWN[seal], flipped(SENT[seal], bit))


@MODES
@given(blob=st.binary(max_size=600), keep=st.integers(0, 220))
@example(blob=b"", keep=0)
@settings(max_examples=60)
def test_any_bytes_are_refused_and_raise_nothing_else(seal: bool, blob: bytes, keep: int) -> None:
    refused(KNOWN[seal], SENT[seal][:keep] + blob)


def test_a_source_that_signs_what_cannot_be_opened_is_refused_by_its_readers() -> None:
    peers = KNOWN[True]
    unknown = str(Introduction(Identity.new().public, peers.nonces[2], True))
    sent = peers.at(1, p2=unknown).protect(BLOB, TO_ALL, CODEC, READERS)
    refused(peers, sent, "peer 1 signed it, but sealed it so that it cannot be opened")


@pytest.mark.parametrize("ephemeral", [bytes(32), b"\x01" + bytes(31)])
def test_a_source_that_signs_a_key_anybody_shares_secrets_with_is_refused(ephemeral: bytes) -> None:
    peers = KNOWN[True]
    above, body = SENT[True][:148] + ephemeral, SENT[True][180 + 64 :]
    signature = peers.identities[1].sign(protection._digest(protection._facts(TO_ALL, CODEC), above, body))
    refused(peers, above + signature + body, "sealed it so that it cannot be opened")


def test_what_is_too_large_to_be_sealed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimat_flwr.security.protection._MOST_SEALED", 100)
    with pytest.raises(PayloadError, match="a payload of 256 bytes cannot be sealed; at most 100 can"):
        KNOWN[True].published()
    refused(KNOWN[True], SENT[True], "at most 100 can be opened")


def flipped(blob: bytes, bit: int) -> bytes:
    changed = bytearray(blob)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
