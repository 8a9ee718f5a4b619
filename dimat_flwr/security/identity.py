"""A peer's identity: a key pair to sign with (Ed25519, RFC 8032) and one to be sealed for (X25519, RFC 7748).

Both private keys are derived from one secret of 32 bytes (HKDF, RFC 5869, with SHA-256). Keys and nonces come from the
operating system and not from the run's seed, which everybody knows; no number of a run depends on them.
"""

import base64
import binascii
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES = KEY_BYTES = 32
NONCE_BYTES = 16
_FORM = "ed25519+x25519"
_MODES = {"sign": False, "seal": True}
_PROBE = X25519PrivateKey.generate()  # finds points that no shared secret can be made with


class IdentityError(ValueError):
    """A key, or a file of keys, that cannot be used; the text says why."""


@dataclass(frozen=True)
class PublicIdentity:
    """What others know of a peer.

    Attributes:
        signing: Ed25519 public key, 32 bytes.
        sealing: X25519 public key, 32 bytes.
    """

    signing: bytes
    sealing: bytes

    def __str__(self) -> str:
        return f"{_FORM}:{_text(self.signing + self.sealing)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` makes of an identity.

        Raises:
            IdentityError: it is anything else, or nothing can be sealed for it.
        """
        form, _, keys = text.partition(":")
        both = _bytes(keys, 2 * KEY_BYTES) if form == _FORM else None
        if both is None:
            raise IdentityError(f"'{text[:120]}' is no public key; dimat-flwr keys show FILE prints one")
        found = cls(both[:KEY_BYTES], both[KEY_BYTES:])
        try:
            _PROBE.exchange(X25519PublicKey.from_public_bytes(found.sealing))
        except ValueError:
            raise IdentityError(f"'{text}' is no key that anything can be sealed for") from None
        return found

    def has_signed(self, signature: bytes, data: bytes) -> bool:
        """Whether a signature (64 bytes) is this identity's of these data."""
        try:
            Ed25519PublicKey.from_public_bytes(self.signing).verify(signature, data)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Identity:
    """Both private keys of a peer.

    Attributes:
        secret: 32 bytes that both are derived from.
    """

    secret: bytes

    @classmethod
    def new(cls) -> Self:
        """Return an identity that nobody has had before."""
        return cls(os.urandom(SECRET_BYTES))

    @cached_property
    def public(self) -> PublicIdentity:
        """What others may know."""
        return PublicIdentity(
            self._signing.public_key().public_bytes_raw(), self._sealing.public_key().public_bytes_raw()
        )

    def sign(self, data: bytes) -> bytes:
        """Return the signature of data, 64 bytes."""
        return self._signing.sign(data)

    def shared_secret(self, key: bytes) -> bytes:
        """Return what this identity and the holder of another X25519 key can compute and nobody else, 32 bytes.

        Raises:
            IdentityError: the key is one of the few with which anybody could.
        """
        try:
            return self._sealing.exchange(X25519PublicKey.from_public_bytes(key))
        except ValueError:
            raise IdentityError("no secret can be shared with that key") from None

    @cached_property
    def _signing(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(derived(self.secret, b"dimat_flwr identity ed25519"))

    @cached_property
    def _sealing(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(derived(self.secret, b"dimat_flwr identity x25519"))


@dataclass(frozen=True)
class Introduction:
    """What a peer lets the others know before the run, by way of the relay.

    Attributes:
        public: who it says it is.
        nonce: 16 random bytes of this peer in this run. What is signed for it repeats them, so that nothing can be
            handed to it that was published for another run. Only the peer itself relies on them, so it does no harm
            that they pass through the relay.
        seals: whether it seals what it publishes, and expects it of the others.
    """

    public: PublicIdentity
    nonce: bytes
    seals: bool

    def __str__(self) -> str:
        return f"{'seal' if self.seals else 'sign'}:{self.public}:{_text(self.nonce)}"


@lru_cache(maxsize=4096)  # those of the same neighbours are read at every exchange
def read_introduction(text: str) -> Introduction:
    """Read what ``str`` makes of an introduction, trusting nothing about it.

    Raises:
        IdentityError: it is anything else.
    """
    mode, _, rest = text.partition(":")
    public, _, nonce = rest.rpartition(":")
    found = _bytes(nonce, NONCE_BYTES)
    if mode not in _MODES or found is None:
        raise IdentityError("a malformed introduction")
    return Introduction(PublicIdentity.parse(public), found, _MODES[mode])


def new_nonce() -> bytes:
    """Return what makes an introduction this run's."""
    return os.urandom(NONCE_BYTES)


def derived(secret: bytes, purpose: bytes) -> bytes:
    """Return a key of 32 bytes for one purpose (HKDF with SHA-256, no salt)."""
    return HKDF(SHA256(), KEY_BYTES, None, purpose).derive(secret)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str, size: int) -> bytes | None:
    """Return what a text encodes if it is written as ``_text`` does, and of this size."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == size and _text(data) == text else None
