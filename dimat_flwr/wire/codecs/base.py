"""The seam between a payload and its blob: here, and nowhere else, it may be compressed."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dimat_flwr.seeding import derive_seed
from dimat_flwr.wire.payload import Expected, Payload


@dataclass(frozen=True)
class Passage:
    """Which passing of a payload a blob belongs to; writer and reader name the same one.

    Attributes:
        run: name of the run.
        round: the round of the exchange that it is published for.
        exchange: name of that exchange.
        source: index of the peer that publishes.
        reader: index of the peer that reads; None where one blob goes to all readers.
        draws: the run's seed for what a codec draws.
    """

    run: str
    round: int
    exchange: str
    source: int
    reader: int | None
    draws: int = 0

    def seed(self) -> int:
        """Return a seed that its writer and its readers derive alike, for codecs that draw at random."""
        return derive_seed(self.draws, self.source, self.round, f"codec {self.exchange} {self.reader}")


class Codec(ABC):
    """Base of all codecs; a concrete one is a frozen, strict pydantic dataclass whose fields are its settings.

    ``memory`` is what a codec keeps at this peer from message to message (an error-feedback residual, the last model
    that a neighbour sent): named tensors, saved with the peer's state. Keys should name the edge, since one peer's
    memory serves all of them. Entries are replaced, never written into: what a refused blob changed is forgotten by
    going back to the mapping as it was.

    Tensors to be encoded, and those in memory, may be on any device; decoded ones are on the CPU.
    """

    # Whether what is decoded equals what was encoded, bit for bit: a final merge of models goes through no other codec.
    exact: ClassVar[bool]

    @abstractmethod
    def encode(
        self, payload: Payload, passage: Passage, memory: MutableMapping[str, Tensor], readers: Collection[int]
    ) -> bytes:
        """Return the blob of a payload.

        Args:
            payload: what is sent.
            passage: on its way to whom.
            memory: see above.
            readers: who will read the blob; they may be others than last time.

        Raises:
            PayloadError: it holds something that cannot be sent.
        """

    @abstractmethod
    def decode(self, blob: bytes, passage: Passage, expected: Expected, memory: MutableMapping[str, Tensor]) -> Payload:
        """Read a neighbour's blob, trusting nothing about it.

        Args:
            blob: the bytes that arrived.
            passage: which passing they claim to belong to.
            expected: the tensors and numbers that the payload must have.
            memory: see above; what is changed in it counts only if the blob is accepted.

        Raises:
            PayloadError: whatever is wrong with the bytes; nothing else may be raised for any bytes at all.
        """

    # Not abstract: most codecs remember nothing, and have nothing to note.
    def missed(  # noqa: B027
        self, passage: Passage, memory: MutableMapping[str, Tensor], readers: Collection[int]
    ) -> None:
        """Take note that some readers did not get what was encoded last, before the next is encoded.

        Args:
            passage: on whose way the next one will be.
            memory: see above.
            readers: who did not get it. They may have been late, and read again from now on.
        """

    def as_read(self, payload: Payload, passage: Passage, memory: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the tensors that the readers decode from what this peer encoded last on a passage.

        Args:
            payload: what was encoded.
            passage: on its way to whom.
            memory: as ``encode`` left it.
        """
        return payload.tensors
