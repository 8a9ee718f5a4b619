"""Weights that are computed from parameters in a way that keeps their axes."""

from typing import Any

import numpy as np

from dimat_flwr.symmetry.constraints.param import Param
from dimat_flwr.symmetry.rules.context import Context
from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule


def _normed(ctx: Context, v: Any, g: Any) -> Param:
    if not isinstance(v, Param) or not isinstance(g, Param) or not v.is_whole or not g.is_whole:
        raise UnsupportedError("a weight norm of computed tensors")
    for d, size in enumerate(g.shape):
        if size > 1:
            places = np.arange(size, dtype=np.int64)
            atoms = ctx.ledger.axis(v.name, d).atoms
            ctx.ledger.tie_axis(ctx.ledger.axis(g.name, d), places, atoms, np.zeros_like(places))
    ctx.ledger.used.add(g.name)
    return v


@rule("_weight_norm", kind="same")
def weight_norm(ctx: Context, v: Any, g: Any, dim: int = 0) -> Param:
    """V scaled to the norms g (Salimans and Kingma, 2016): a weight with v's axes, along one of which g moves too."""
    return _normed(ctx, v, g)


@rule("_weight_norm_interface", kind="same")
def weight_norm_interface(ctx: Context, v: Any, g: Any, dim: int = 0) -> tuple[Param, Param]:
    """The same, and the norms."""
    return _normed(ctx, v, g), g
