"""What codecs that send a few entries of a vector share: how many, and their values."""

from abc import abstractmethod
from collections.abc import Mapping
from math import ceil
from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.component import STRICT
from dimat_flwr.wire.codecs.feedback import FeedbackCodec
from dimat_flwr.wire.codecs.layout import Layout


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SparseCodec(FeedbackCodec):
    """Base of C(d) = d at k places and 0 elsewhere; the k values travel as bfloat16, what they lose stays in d.

    Attributes:
        share: k / n, the share of the entries that are sent, 0 < share <= 1.
    """

    compresses_wholes: ClassVar[bool] = False
    share: float = Field(default=0.01, gt=0, le=1)

    def count(self, size: int) -> int:
        """Return k of a vector with ``size`` entries."""
        return min(size, ceil(self.share * size))

    @abstractmethod
    def choose(self, vector: Tensor, seed: int) -> Tensor:
        """Return the k places that are sent, (k,), ascending."""

    @abstractmethod
    def write_places(self, places: Tensor, size: int) -> dict[str, Tensor]:
        """Return the places as tensors of few bytes."""

    @abstractmethod
    def read_places(self, parts: Mapping[str, Tensor], size: int, seed: int) -> Tensor:
        """Return the places that were written, (k,), each within 0 to ``size`` - 1 and none twice.

        Raises:
            PayloadError: they are none.
        """

    def compress(self, vector: Tensor, layout: Layout, seed: int) -> dict[str, Tensor]:
        """See ``FeedbackCodec``."""
        places = self.choose(vector, seed)
        return {"values": vector[places].bfloat16(), **self.write_places(places, len(vector))}

    def form(self, layout: Layout) -> dict[str, Tensor]:
        """See ``FeedbackCodec``."""
        k = self.count(layout.size)
        return {"values": torch.empty(k, dtype=torch.bfloat16), **self.write_places(torch.arange(k), layout.size)}

    def decompress(self, parts: Mapping[str, Tensor], layout: Layout, seed: int) -> Tensor:
        """See ``FeedbackCodec``."""
        found = torch.zeros(layout.size)
        found[self.read_places(parts, layout.size, seed)] = parts["values"].float()
        return found
