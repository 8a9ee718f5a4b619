"""Merges on a stand-in for a CUDA device: nothing meets that lies on two devices, and the numbers are the CPU's."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dimat_flwr.merging import merge, merge_many
from dimat_flwr.models import MLP, DigitsCNN
from dimat_flwr.symmetry import find_permutation_spec
from tests.cuda_stand_in import CUDA, standing_in_for_cuda


def batches() -> list[Tensor]:
    return list(torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)).split(4))


def networks(count: int, kind: str) -> list[nn.Module]:
    found: list[nn.Module] = []
    for seed in range(count):
        torch.manual_seed(seed)
        found.append(DigitsCNN(width=1) if kind == "cnn" else MLP(10, 64, batchnorm=False))
    return found


def compare(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, tensor in expected.items():
        assert found[name].device == CUDA
        torch.testing.assert_close(found[name].cpu(), tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("cnn", {"method": "activation", "early_stop": 0.2}),
        ("cnn", {"method": "weight_from_activation"}),
        ("mlp", {"method": "activation", "repair": True}),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_merges_with_neighbours_from_the_cpu(monkeypatch: pytest.MonkeyPatch, kind: str, options: Any) -> None:
    model, *_ = made = networks(3, kind)
    first, *others = [dict(network.state_dict()) for network in made]
    spec = find_permutation_spec(model.eval(), batches()[0])
    settings = {"spec": spec, "batches": batches(), **options}
    expected = merge(model, first, others, [0.4, 0.3, 0.3], **settings)
    with standing_in_for_cuda(monkeypatch):
        compare(merge(copy.deepcopy(model).to("cuda"), first, others, [0.4, 0.3, 0.3], **settings), expected)


@pytest.mark.parametrize("strategy", ["first", "many", pytest.param("cycle_consistent", marks=pytest.mark.slow)])
def test_merges_of_many(monkeypatch: pytest.MonkeyPatch, strategy: Any) -> None:
    model, *_ = made = networks(3, "cnn")
    states = [dict(network.state_dict()) for network in made]
    spec = find_permutation_spec(model.eval(), batches()[0])
    settings: dict[str, Any] = {"spec": spec, "batches": batches(), "strategy": strategy, "max_steps": 5}
    expected = merge_many(model, states, **settings).state
    with standing_in_for_cuda(monkeypatch):
        compare(merge_many(copy.deepcopy(model).to("cuda"), states, **settings).state, expected)
