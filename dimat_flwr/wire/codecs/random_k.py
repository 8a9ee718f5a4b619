"""A hundredth of the bytes and less work than top-k: entries at places that both sides draw alike."""

from collections.abc import Mapping

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.component import STRICT
from dimat_flwr.wire.codecs.sparse import SparseCodec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RandomK(SparseCodec):
    """k entries drawn without replacement (Stich et al., NeurIPS 2018, https://arxiv.org/abs/1809.07599).

    Sent: 2 bytes an entry, its value alone.
    """

    def choose(self, vector: Tensor, seed: int) -> Tensor:
        """See ``SparseCodec``."""
        return self._draw(len(vector), seed)

    def write_places(self, places: Tensor, size: int) -> dict[str, Tensor]:
        """See ``SparseCodec``."""
        return {}

    def read_places(self, parts: Mapping[str, Tensor], size: int, seed: int) -> Tensor:
        """See ``SparseCodec``."""
        return self._draw(size, seed)

    def _draw(self, size: int, seed: int) -> Tensor:
        return torch.randperm(size, generator=torch.Generator().manual_seed(seed))[: self.count(size)].sort().values
