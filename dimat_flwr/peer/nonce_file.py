"""What a peer said of itself in the handshake, kept on its own disk until exchange 0 is in a checkpoint.

The others hold a peer to the nonce of its first introduction. Until exchange 0, with all of pretraining, is done, only
Flower's memory has it, which is lost when a SuperNode is started anew. Afterwards the file goes: the checkpoints have
the nonce then, together with what was heard already and is not taken again.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from dimat_flwr.peer.durable import write_durably
from dimat_flwr.peer.errors import PeerSetupError
from dimat_flwr.security.identity import NONCE_BYTES, PublicIdentity


class NonceFile:
    """The file of one identity in one run; it is named by the key, for a peer may not know its place yet."""

    def __init__(self, folder: Path, public: PublicIdentity) -> None:
        """Name the file; nothing is made before something is kept.

        Args:
            folder: of the run's checkpoints on this machine.
            public: whose nonce it is.
        """
        self._path = folder / f"nonce-{hashlib.sha256(str(public).encode()).hexdigest()[:16]}"

    def read(self) -> str:
        """Return the nonce in hexadecimal; empty where none is kept, or the file is damaged."""
        try:
            text = self._path.read_text(encoding="ascii")
            return text if len(bytes.fromhex(text)) == NONCE_BYTES else ""
        except (OSError, ValueError):
            return ""

    def keep(self, nonce: str) -> None:
        """Write the nonce; a kill at any moment leaves the old file or the new one.

        Raises:
            PeerSetupError: the disk does not take it.
        """
        try:
            write_durably(self._path, nonce.encode("ascii"))
        except OSError as error:
            raise PeerSetupError(
                f"{self._path.parent} cannot be written: {error.strerror}; set state-dir in --node-config"
            ) from error

    def drop(self) -> None:
        """Remove the file; a disk that does not let go of it is no reason to leave the run."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
