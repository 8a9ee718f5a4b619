"""A quarter of the bytes: differences to the last payload as 8-bit integers, with one scale per output channel."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.component import STRICT
from dimat_flwr.wire.codecs.feedback import FeedbackCodec
from dimat_flwr.wire.codecs.layout import Layout
from dimat_flwr.wire.payload import PayloadError


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Int8(FeedbackCodec):
    """C(d) = s round(d / s) with s = max|d| / 127 over an output channel (the first dim): off by at most s / 2.

    Symmetric uniform quantization per channel, as Krishnamoorthi 2018 (https://arxiv.org/abs/1806.08342, section 2.2)
    does for weights. The first payload of an edge is quantized too, from nothing.
    """

    compresses_wholes: ClassVar[bool] = True

    def compress(self, vector: Tensor, layout: Layout, seed: int) -> dict[str, Tensor]:
        """See ``FeedbackCodec``."""
        scales, quantized = [torch.empty(0)], [torch.empty(0, dtype=torch.int8)]
        for rows in _channels(vector, layout):
            scale = rows.abs().amax(1) / 127
            scales.append(scale)
            quantized.append((rows / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round().to(torch.int8))
        return {"scales": torch.cat(scales), "quantized": torch.cat([rows.reshape(-1) for rows in quantized])}

    def form(self, layout: Layout) -> dict[str, Tensor]:
        """See ``FeedbackCodec``."""
        channels = sum(shape[0] for shape in layout.matrices.values())
        return {"scales": torch.empty(channels), "quantized": torch.empty(layout.size, dtype=torch.int8)}

    def decompress(self, parts: Mapping[str, Tensor], layout: Layout, seed: int) -> Tensor:
        """See ``FeedbackCodec``."""
        if bool((parts["scales"] < 0).any()):
            raise PayloadError("a scale is negative")
        scales = torch.split(parts["scales"], [shape[0] for shape in layout.matrices.values()])
        rows = _channels(parts["quantized"].float(), layout)
        return torch.cat([torch.empty(0), *((q * s[:, None]).reshape(-1) for q, s in zip(rows, scales, strict=True))])


def _channels(vector: Tensor, layout: Layout) -> list[Tensor]:
    """Return one matrix (output channels, all else) per tensor."""
    shapes = layout.matrices.values()
    pieces = torch.split(vector, [math.prod(shape) for shape in shapes])
    return [piece.view(shape[0], -1) for piece, shape in zip(pieces, shapes, strict=True)]
