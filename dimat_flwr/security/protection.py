"""A codec's blob, signed by its source and, if the run seals, readable by its readers alone.

Little-endian; the lines in brackets are there where the blob is sealed:

    magic, 8 bytes | readers, 4 | for each: place, 4; nonce, 16; [content key, encrypted for it, 48]
    [ephemeral X25519 public key, 32]
    signature, 64: Ed25519 over the SHA-512 of the facts, everything above and the body
    body: the blob; [encrypted with the content key: ChaCha20-Poly1305 (RFC 8439), the facts as associated data]

The facts are what both sides know of the passage and do not send: run, round, exchange, source, reader (or that it goes
to all) and codec. Every blob has a fresh random content key, so it is encrypted once however many read it. It is
encrypted for a reader with a key from the X25519 agreement of a fresh ephemeral key and the reader's own, through HKDF
with facts, both public keys, place and nonce. No key encrypts twice, so the AEAD's nonces are zero. The signature is
checked before anything else is done with the bytes; a signature, not the seal, says whose they are.
"""

import hashlib
import json
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from dimat_flwr.security.identity import (
    KEY_BYTES,
    NONCE_BYTES,
    Identity,
    IdentityError,
    Introduction,
    derived,
    read_introduction,
)
from dimat_flwr.wire.blob import PayloadError

if TYPE_CHECKING:  # it is torch's room
    from dimat_flwr.wire.codecs.base import Codec, Passage

_SIGNED, _SEALED = b"dimat\x00s1", b"dimat\x00x1"
_SIGNATURE, _TAG = 64, 16
_ONCE = bytes(12)
_MOST_SEALED = 2**31 - 2**16  # bytes, of the library


class Protection:
    """Signs and seals what one peer publishes in a run, and opens what the others did."""

    def __init__(
        self,
        own: Identity,
        place: int,
        nonce: bytes,
        others: Mapping[int, str],
        heard: MutableMapping[str, int],
        *,
        seal: bool,
    ) -> None:
        """Prepare it.

        Args:
            own: this peer's identity.
            place: its place.
            nonce: what it said in its introduction.
            others: place -> introduction of all that may read or be read, checked.
            heard: exchange and source -> the round of the newest payload opened, which is kept from message to
                message: an older one is not opened again.
            seal: whether this run seals; else it signs only.
        """
        self._own, self._place, self._nonce, self._others, self._heard = own, place, nonce, others, heard
        self._seal = seal

    def protect(self, blob: bytes, passage: "Passage", codec: "Codec", readers: Sequence[int]) -> bytes:
        """Return a codec's blob signed and, if the run seals, sealed for its readers.

        Raises:
            PayloadError: it is too large to be sealed.
        """
        if self._seal and len(blob) > _MOST_SEALED:
            raise PayloadError(f"a payload of {len(blob):,} bytes cannot be sealed; at most {_MOST_SEALED:,} can")
        facts = _facts(passage, codec)
        ephemeral, content_key = Identity.new(), ChaCha20Poly1305.generate_key()  # for this blob alone
        head = [_SEALED if self._seal else _SIGNED, len(readers).to_bytes(4, "little")]
        for reader in readers:
            known = self._introduction(reader)
            head += [reader.to_bytes(4, "little"), known.nonce]
            if self._seal:
                shared = ephemeral.shared_secret(known.public.sealing)
                keys = ephemeral.public.sealing + known.public.sealing
                head.append(_wrapping(shared, facts, keys, reader, known.nonce).encrypt(_ONCE, content_key, None))
        body: bytes = blob
        if self._seal:
            head.append(ephemeral.public.sealing)
            body = ChaCha20Poly1305(content_key).encrypt(_ONCE, blob, facts)
        above = b"".join(head)
        return b"".join([above, self._own.sign(_digest(facts, above, body)), body])

    def open(self, blob: bytes, passage: "Passage", codec: "Codec") -> bytes:
        """Return the codec's blob, if its source published it for this peer and just this passage.

        Raises:
            PayloadError: it did not, or an as new one was opened before; nothing else is raised for any bytes.
        """
        self._check_kind(blob)
        size = 4 + NONCE_BYTES + (KEY_BYTES + _TAG if self._seal else 0)
        count = int.from_bytes(blob[8:12], "little")
        above = 12 + size * count + (KEY_BYTES if self._seal else 0)
        start = above + _SIGNATURE
        if len(blob) < start:
            raise PayloadError(f"the payload is cut off: {len(blob):,} bytes, where {count:,} readers take {start:,}")
        facts, view = _facts(passage, codec), memoryview(blob)
        body = view[start:]
        source = self._introduction(passage.source).public
        if not source.has_signed(blob[above:start], _digest(facts, view[:above], body)):
            raise PayloadError(
                f"the signature is not peer {passage.source}'s for this run, round, exchange, reader and codec: it "
                "was changed on its way, or belongs elsewhere"
            )
        entries = (blob[at : at + size] for at in range(12, 12 + size * count, size))
        mine = self._place.to_bytes(4, "little") + self._nonce
        entry = next((entry for entry in entries if entry.startswith(mine)), None)
        if entry is None:
            raise PayloadError(f"peer {passage.source} did not publish it for this peer in this run")
        self._require_newer(passage)
        opened = self._unsealed(entry[len(mine) :], blob[above - KEY_BYTES : above], body, facts, passage)
        self._heard[_edge(passage)] = passage.round
        return opened

    def _check_kind(self, blob: bytes) -> None:
        wanted, kind = (_SEALED if self._seal else _SIGNED), blob[:8]
        if kind != wanted:
            found = {_SEALED: "sealed", _SIGNED: "signed but not sealed"}.get(kind, "not signed")
            agreed = "signs and seals" if self._seal else "signs and does not seal"
            raise PayloadError(f"the payload is {found}, but this peer takes part in a run that {agreed}")

    def _require_newer(self, passage: "Passage") -> None:
        newest = self._heard.get(_edge(passage), -1)
        if passage.round <= newest:
            raise PayloadError(
                f"a replay: it was published for round {passage.round}, and one for round {newest} was read before"
            )

    def _unsealed(self, wrapped: bytes, ephemeral: bytes, body: memoryview, facts: bytes, passage: "Passage") -> bytes:
        if not self._seal:
            return bytes(body)
        if len(body) > _MOST_SEALED + _TAG:
            raise PayloadError(f"a sealed payload of {len(body):,} bytes; at most {_MOST_SEALED:,} can be opened")
        try:
            keys = ephemeral + self._own.public.sealing
            wrapping = _wrapping(self._own.shared_secret(ephemeral), facts, keys, self._place, self._nonce)
            return ChaCha20Poly1305(wrapping.decrypt(_ONCE, wrapped, None)).decrypt(_ONCE, body, facts)
        except (InvalidTag, IdentityError):
            raise PayloadError(f"peer {passage.source} signed it, but sealed it so that it cannot be opened") from None

    def _introduction(self, place: int) -> Introduction:
        return read_introduction(self._others[place])


def _facts(passage: "Passage", codec: "Codec") -> bytes:
    kind = f"{type(codec).__module__}.{type(codec).__qualname__}"
    told = [passage.run, passage.round, passage.exchange, passage.source, passage.reader, kind]
    return json.dumps(["dimat_flwr payload", 1, *told]).encode()


def _edge(passage: "Passage") -> str:
    return f"{passage.exchange} {passage.source}"


def _digest(facts: bytes, above: bytes | memoryview, body: bytes | memoryview) -> bytes:
    digest = hashlib.sha512(len(facts).to_bytes(4, "little") + facts)
    digest.update(above)  # says itself how long it is
    digest.update(body)
    return digest.digest()


def _wrapping(shared: bytes, facts: bytes, keys: bytes, reader: int, nonce: bytes) -> ChaCha20Poly1305:
    """Return the cipher that encrypts one blob's content key for one reader."""
    purpose = b"dimat_flwr content key" + keys + reader.to_bytes(4, "little") + nonce + facts
    return ChaCha20Poly1305(derived(shared, purpose))
