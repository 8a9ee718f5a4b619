"""The two files of keys on a peer's machine: its own identity, and the public identities of the others."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from dimat_flwr.security.identity import SECRET_BYTES, Identity, IdentityError, PublicIdentity

_HEADER = (
    "# dimat-flwr identity. Who has this file can speak as this peer and read what is sealed for it: keep it secret.\n"
)
_MOST_BYTES = 100_000_000  # a line per peer, of about 110 bytes


def write_identity(path: Path) -> Identity:
    """Make a new identity and write it to a new file that only its owner can read (mode 0600).

    Raises:
        IdentityError: the file is there already, or cannot be written.
    """
    identity = Identity.new()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise IdentityError(
            f"{path} is there already and is not overwritten: others may know that identity; choose another file"
        ) from None
    except OSError as error:
        raise IdentityError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{_HEADER}{identity.secret.hex()}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)  # half a file would be in the way of the next attempt
        raise IdentityError(f"{path} cannot be written: {error.strerror}") from error
    return identity


def read_identity(path: Path) -> Identity:
    """Read what ``write_identity`` wrote.

    Raises:
        IdentityError: the file cannot be read, holds something else, or others than its owner may read or write it.
    """
    try:
        with path.open("rb") as file:
            mode, text = os.fstat(file.fileno()).st_mode, _text(file)
    except OSError as error:
        raise IdentityError(
            f"key file {path} cannot be read: {error.strerror}; make one with: dimat-flwr keys new {path}"
        ) from error
    # Windows has no such bits: there a file is as private as its folder.
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise IdentityError(
            f"key file {path} is open to other users of this machine (mode {stat.S_IMODE(mode):04o}); run: chmod 600 "
            f"{path}, or make a new key if somebody may have read it"
        )
    lines = _lines(text)
    try:
        secret = bytes.fromhex(lines[0][1]) if len(lines) == 1 else b""
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise IdentityError(f"key file {path} holds no identity; make one with: dimat-flwr keys new FILE")
    return Identity(secret)


def read_known_peers(path: Path) -> dict[int, PublicIdentity]:
    """Return place -> public identity from a file of lines ``place public-key``; ``#`` begins a comment.

    Raises:
        IdentityError: the file cannot be read, or a line of it is something else; it is named by its number.
    """
    try:
        with path.open("rb") as file:
            text = _text(file)
    except OSError as error:
        raise IdentityError(f"known_peers {path} cannot be read: {error.strerror}") from error
    found: dict[int, PublicIdentity] = {}
    for number, line in _lines(text):
        place, *rest = line.split()
        if not (place.isascii() and place.isdigit() and len(place) <= 9 and len(rest) == 1):
            raise IdentityError(f"line {number} of known_peers {path} is not of the form: place public-key")
        if int(place) in found:
            raise IdentityError(f"line {number} of known_peers {path} names place {place} a second time")
        try:
            found[int(place)] = PublicIdentity.parse(rest[0])
        except IdentityError as error:
            raise IdentityError(f"line {number} of known_peers {path}: {error}") from None
    return found


def _text(file: BinaryIO) -> str:
    return file.read(_MOST_BYTES).decode("utf-8", errors="replace")


def _lines(text: str) -> list[tuple[int, str]]:
    """Return the lines that say something, with their numbers."""
    told = ((number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, line) for number, line in told if line]
