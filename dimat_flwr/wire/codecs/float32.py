"""Every tensor as it is, in its own type: a float32 network travels as float32, to the last bit."""

from collections.abc import Collection, MutableMapping
from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.component import STRICT
from dimat_flwr.wire.codecs.base import Codec, Passage
from dimat_flwr.wire.payload import Expected, Payload, pack, unpack


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Float32(Codec):
    """No compression: 4 bytes a parameter of a float32 network, a few hundred for names and shapes. Keeps no memory."""

    exact: ClassVar[bool] = True

    def encode(
        self, payload: Payload, passage: Passage, memory: MutableMapping[str, Tensor], readers: Collection[int]
    ) -> bytes:
        """See ``Codec``."""
        return pack(payload)

    def decode(self, blob: bytes, passage: Passage, expected: Expected, memory: MutableMapping[str, Tensor]) -> Payload:
        """See ``Codec``."""
        return unpack(blob, expected)
