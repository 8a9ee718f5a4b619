"""Where a group's units are visible in the traced forward pass."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tap:
    """One value of the traced graph that shows the units of one group.

    Attributes:
        name: the graph node whose value this is; several taps (of different groups) may share a node.
        group: the group whose units are visible here.
        dims: the dims of the value the units lie on, ascending, never dim 0 (the batch).
        positions: int64, (slots, units), or (slots, blocks, units) for a group with a parent: where each unit lies in
            the flattened ``dims``. A unit has several slots where it occurs more than once, such as once per pixel
            behind a flatten, or as query and as key.
        whole: the units are all of the flattened ``dims`` in order, so no indexing is needed.
    """

    name: str
    group: str
    dims: tuple[int, ...]
    positions: Tensor
    whole: bool

    def units(self, activation: Tensor) -> Tensor:
        """Return the group's units in an activation that ``TracedModel.run`` reported for this tap.

        Args:
            activation: (batch, ...), the value of node ``name``, for any batch size.

        Returns:
            (batch, units, positions), or (batch, blocks, units, positions) for a group with a parent. ``positions``
            runs over everything else: space, tokens, slots. It is a view of the activation, without a copy, where the
            units are a whole dim of a contiguous value (an NCHW convolution's output); a channels-last value (a
            Linear's output) gives a non-contiguous view.
        """
        rest = [d for d in range(1, activation.ndim) if d not in self.dims]
        count = 1
        for d in self.dims:
            count *= activation.shape[d]
        moved = activation.permute(0, *self.dims, *rest).reshape(activation.shape[0], count, -1)
        shape = self.positions.shape
        if self.whole:
            return moved.reshape(moved.shape[0], *shape[1:], moved.shape[2])
        picked = moved.index_select(1, self.positions.reshape(-1).to(moved.device))
        # (batch, slots, [blocks,] units, rest) -> (batch, [blocks,] units, slots * rest)
        picked = picked.reshape(moved.shape[0], *shape, moved.shape[2])
        return torch.movedim(picked, 1, -2).reshape(moved.shape[0], *shape[1:], shape[0] * moved.shape[2])
