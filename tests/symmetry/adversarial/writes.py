"""Writes in place, and operators of others."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.symmetry.adversarial.base import flat

# -- writes ---------------------------------------------------------------------------------------------------------


def _out(h: Tensor) -> Tensor:
    result = torch.zeros_like(h)
    torch.mul(h, torch.arange(8, dtype=h.dtype), out=result)
    return result


def _copy_through(view: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def write(h: Tensor) -> Tensor:
        y = h * 2
        view(y).copy_(h.flip(1))
        return y * h

    return write


def _write_part(h: Tensor) -> Tensor:
    y = h.clone()
    y[:, 2] = y[:, 3] * 2
    return y


def _write_masked(h: Tensor) -> Tensor:
    y = h.clone()
    y[:, torch.arange(8) % 2 == 0] = 0.5
    return y


def _write_scatter(h: Tensor) -> Tensor:
    return h + torch.zeros_like(h).scatter_(1, torch.tensor([[1]]).expand(h.shape[0], 1), 1.0)


def _write_index_add(h: Tensor) -> Tensor:
    return torch.zeros_like(h).index_add_(1, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), h) * h


def _write_through_chunk(h: Tensor) -> Tensor:
    y = h + 1
    a, _ = y.chunk(2, 1)
    a.mul_(torch.tensor([1.0, 2, 3, 4], dtype=h.dtype))
    return y


def _write_through_dropout(h: Tensor, drop: nn.Module) -> Tensor:
    y = h + 1
    drop(y).mul_(torch.arange(8, dtype=h.dtype))
    return y


flat("out_argument", _out)
flat("copy_through_contiguous", _copy_through(lambda y: y.contiguous()))
flat("copy_through_reshape", _copy_through(lambda y: y.reshape(y.shape)))
flat("copy_through_to", _copy_through(lambda y: y.to(y.dtype)))
flat("copy_through_detach", _copy_through(lambda y: y.detach()))
flat("copy_through_flatten", _copy_through(lambda y: y.flatten(1)))
flat("copy_through_expand_as", _copy_through(lambda y: y.expand_as(y)))
flat("copy_through_type_as", _copy_through(lambda y: y.type_as(y)))
flat("copy_through_view_as", _copy_through(lambda y: y.view_as(y)))
flat("copy_through_squeeze", _copy_through(lambda y: y.unsqueeze(0).squeeze(0)))
flat("copy_through_identity", lambda h, i: _copy_through(i)(h), nn.Identity)
flat("copy_through_flatten_layer", lambda h, i: _copy_through(i)(h), nn.Flatten)
flat("write_through_dropout", _write_through_dropout, nn.Dropout)
flat("write_part", _write_part)
flat("write_masked", _write_masked)
flat("write_scatter", _write_scatter)
flat("write_index_add", _write_index_add)
flat("write_through_chunk", _write_through_chunk)

# -- operators of others --------------------------------------------------------------------------------------------


@torch.library.custom_op("dimat_flwr_tests::relu", mutates_args=())
def foreign_relu(x: Tensor) -> Tensor:
    """Named like a known operator, but it looks at the places."""
    return x * torch.arange(x.shape[1], dtype=x.dtype)


@foreign_relu.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class sigmoid:  # noqa: N801  # named like a known operator
    def __call__(self, x: Tensor) -> Tensor:
        return x.flip(1) * x


flat("operator_of_a_library", lambda h: torch.ops.dimat_flwr_tests.relu(h))
flat("overload_of_a_library", lambda h: torch.ops.dimat_flwr_tests.relu.default(h))
flat("callable_object", lambda h: sigmoid()(h))
