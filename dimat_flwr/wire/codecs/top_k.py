"""A hundredth of the bytes: the largest entries of the difference to what the readers have, the others later."""

from collections.abc import Mapping

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.component import STRICT
from dimat_flwr.wire.codecs.sparse import SparseCodec
from dimat_flwr.wire.payload import PayloadError

_BLOCK = 2**16  # places within a block take two bytes


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TopK(SparseCodec):
    """The k entries of largest absolute value (Stich et al., NeurIPS 2018, https://arxiv.org/abs/1809.07599).

    Sent: 4 bytes an entry, 2 for its value and 2 for its place.
    """

    def choose(self, vector: Tensor, seed: int) -> Tensor:
        """See ``SparseCodec``."""
        return vector.abs().topk(self.count(len(vector)), sorted=False).indices.sort().values

    def write_places(self, places: Tensor, size: int) -> dict[str, Tensor]:
        """See ``SparseCodec``."""
        counts = torch.bincount(places // _BLOCK, minlength=-(-size // _BLOCK))
        return {"counts": counts.int(), "places": (places % _BLOCK - _BLOCK // 2).short()}

    def read_places(self, parts: Mapping[str, Tensor], size: int, seed: int) -> Tensor:
        """See ``SparseCodec``."""
        counts, within = parts["counts"].long(), parts["places"].long() + _BLOCK // 2
        if bool((counts < 0).any()) or int(counts.sum()) != len(within):
            raise PayloadError("the places of its entries do not fit their number")
        places = torch.arange(len(counts)).repeat_interleave(counts) * _BLOCK + within
        if bool((places[1:] <= places[:-1]).any()) or bool((places >= size).any()):
            raise PayloadError("the places of its entries are not ascending, or beyond the end")
        return places
