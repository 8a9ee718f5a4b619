"""LoRA adapters merged through what they add to the weights, not factor by factor.

An adapter adds s B A to a weight, with A (r, in), B (out, r) and s = alpha / r (Hu et al. 2021, LoRA,
https://arxiv.org/abs/2106.09685, section 4.1; alpha / sqrt(r) with rank stabilization, Kalajdzievski 2023,
https://arxiv.org/abs/2312.03732). The mean of products is not the product of means: B_1 A_1 + B_2 A_2 differs from
(B_1 + B_2)(A_1 + A_2) by the cross terms, and one product has infinitely many factors (B R)(R^-1 A). So the products
are mixed, and the mix is factored again by the singular value decomposition, whose first singular values give the
closest matrix of a rank in the Frobenius norm (Eckart and Young 1936). No adapter's whole product is ever built.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dimat_flwr.merging.check import MergeError, check_finite, check_row

_A, _B = ".lora_A.weight", ".lora_B.weight"  # PEFT's names of the factors in an adapter's file


@dataclass(frozen=True)
class Adapter:
    """One adapter.

    Attributes:
        tensors: name -> tensor; ``<module>.lora_A.weight`` (r, in) and ``<module>.lora_B.weight`` (out, r), and others
            that were trained along.
        alpha: LoRA's alpha.
        rank_stabilized: whether the products are scaled by alpha / sqrt(r) in place of alpha / r.
    """

    tensors: Mapping[str, Tensor]
    alpha: float
    rank_stabilized: bool = False

    def scaling(self, rank: int) -> float:
        """Return s for a module of a rank."""
        return self.alpha / (rank**0.5 if self.rank_stabilized else rank)


@dataclass(frozen=True)
class MergedAdapter:
    """What came out of a merge.

    Attributes:
        adapter: the merged adapter; its alpha is its rank, so s = 1.
        rank: of every module.
        error: the Frobenius norm of what the rank cut off, over all modules, relative to the whole mix.
        worst: the module that lost most, and its relative error.
    """

    adapter: Adapter
    rank: int
    error: float
    worst: tuple[str, float]


def merge_lora(
    adapters: Sequence[Adapter], weights: Sequence[float] | None = None, rank: int | None = None
) -> MergedAdapter:
    """Mix sum_k w_k s_k B_k A_k of every module and factor it to a rank; other tensors are mixed as they are.

    Args:
        adapters: K >= 2 adapters of one network, with the same modules; their ranks may differ.
        weights: K mixing weights that sum to 1; None: equal ones.
        rank: of the result; None: the largest among the adapters'. The sum of theirs loses nothing.

    Raises:
        MergeError: fewer than two adapters, other modules or shapes, factors without their partner, or NaN.
    """
    if len(adapters) < 2:
        raise MergeError(f"{len(adapters)} adapter to merge: give two or more.")
    row = [1 / len(adapters)] * len(adapters) if weights is None else list(weights)
    if len(row) != len(adapters):
        raise MergeError(f"{len(row)} mixing weights for {len(adapters)} adapters: give one each.")
    check_row(row)
    modules = _modules(adapters)
    largest = max(len(adapter.tensors[module + _A]) for adapter in adapters for module in modules)
    wanted = largest if rank is None else rank
    if wanted < 1:
        raise MergeError(f"the rank must be >= 1, but it is {wanted}.")
    merged: dict[str, Tensor] = {}
    lost, whole = {}, {}
    for module in modules:
        first = adapters[0].tensors[module + _A]
        down = torch.cat([adapter.tensors[module + _A].double() for adapter in adapters])
        up = torch.cat(
            [
                weight * adapter.scaling(len(adapter.tensors[module + _A])) * adapter.tensors[module + _B].double()
                for adapter, weight in zip(adapters, row, strict=True)
            ],
            dim=1,
        )
        factors, values = _factored(up, down, wanted)
        merged[module + _A], merged[module + _B] = (factor.to(first.dtype).contiguous() for factor in factors)
        lost[module], whole[module] = float(values[wanted:].norm()), float(values.norm())
    for name, tensor in adapters[0].tensors.items():
        if name not in merged:
            mixed = sum(weight * adapter.tensors[name].double() for adapter, weight in zip(adapters, row, strict=True))
            merged[name] = torch.as_tensor(mixed).to(tensor.dtype)
    relative = {module: lost[module] / whole[module] if whole[module] else 0.0 for module in modules}
    worst = max(modules, key=relative.__getitem__)
    total = sum(value**2 for value in whole.values())
    error = (sum(value**2 for value in lost.values()) / total) ** 0.5 if total else 0.0
    ordered = {name: merged[name] for name in adapters[0].tensors}
    return MergedAdapter(Adapter(ordered, alpha=float(wanted)), wanted, error, (worst, relative[worst]))


def _factored(up: Tensor, down: Tensor, rank: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Factor up (out, n) @ down (n, in) to (A (rank, in), B (out, rank)); also return all singular values."""
    left, small_left = torch.linalg.qr(up)
    right, small_right = torch.linalg.qr(down.T)
    u, values, v = torch.linalg.svd(small_left @ small_right.T, full_matrices=False)
    kept = min(rank, len(values))
    root = values[:kept].sqrt()
    a, b = down.new_zeros(rank, down.shape[1]), up.new_zeros(len(up), rank)
    a[:kept] = root[:, None] * (v[:kept] @ right.T)
    b[:, :kept] = (left @ u[:, :kept]) * root
    return (a, b), values


def _modules(adapters: Sequence[Adapter]) -> list[str]:
    """Return the modules all adapters have factors for, after checking that they fit together."""
    names = list(adapters[0].tensors)
    modules = [name.removesuffix(_A) for name in names if name.endswith(_A)]
    if not modules:
        raise MergeError(f"adapter 1 has no tensor named *{_A}: give LoRA adapters as PEFT saves them.")
    for number, adapter in enumerate(adapters, start=1):
        if set(adapter.tensors) != set(names):
            other = sorted(set(adapter.tensors) ^ set(names))[:5]
            raise MergeError(
                f"adapter {number} has other tensors than adapter 1 ({', '.join(other)}): only adapters of the same "
                "modules of one network can be merged."
            )
        check_finite(adapter.tensors, f"adapter {number}")
        for name, tensor in adapter.tensors.items():
            _check_tensor(number, name, adapter, adapters[0].tensors[name])
            if not tensor.is_floating_point():
                raise MergeError(f"'{name}' of adapter {number} is {tensor.dtype}, which cannot be mixed.")
    return modules


def _check_tensor(number: int, name: str, adapter: Adapter, first: Tensor) -> None:
    tensor, where = adapter.tensors[name], f"'{name}' of adapter {number}"
    if not name.endswith((_A, _B)):
        if "lora_" in name:
            raise MergeError(f"{where} is no factor of a linear layer, the only kind that can be merged.")
        if tensor.shape != first.shape:
            raise MergeError(f"{where} has shape {tuple(tensor.shape)}, adapter 1's has {tuple(first.shape)}.")
        return
    rank_dim = 0 if name.endswith(_A) else 1
    partner = name.removesuffix(_A) + _B if rank_dim == 0 else name.removesuffix(_B) + _A
    other = adapter.tensors.get(partner)
    if other is None:
        raise MergeError(f"{where} has no partner '{partner}'.")
    if tensor.ndim != 2 or other.ndim != 2 or tensor.shape[rank_dim] != other.shape[1 - rank_dim]:
        raise MergeError(
            f"{where} has shape {tuple(tensor.shape)} and its partner {tuple(other.shape)}: lora_A must be (r, in) and "
            "lora_B (out, r)."
        )
    if tensor.shape[1 - rank_dim] != first.shape[1 - rank_dim]:
        raise MergeError(f"{where} has shape {tuple(tensor.shape)}, adapter 1's has {tuple(first.shape)}.")
