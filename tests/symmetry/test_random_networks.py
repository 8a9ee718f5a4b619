"""No random network may be given a wrong permutation, however strange."""

import pytest
import torch

from dimat_flwr.symmetry import find_permutation_spec
from tests.symmetry.checks import largest_change
from tests.symmetry.random_networks import RandomNetwork

_FAST = 4


@pytest.mark.parametrize(
    "seed", [*range(_FAST), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(_FAST, 40))]
)
def test_random_network(seed):
    torch.manual_seed(seed)
    model, x = RandomNetwork(seed, steps=3 + seed % 14).double(), torch.randn(2, 3, 4, 4).double()
    assert largest_change(model, find_permutation_spec(model, x), x, seed) <= 1e-8


@pytest.mark.slow
def test_most_random_networks_can_be_permuted():
    """Otherwise the test above would prove nothing."""
    shares = []
    for seed in range(12):
        torch.manual_seed(seed)
        model = RandomNetwork(seed, steps=3 + seed % 14)
        shares.append(find_permutation_spec(model, torch.randn(2, 3, 4, 4), prove=False).permutable_share)
    assert sum(share > 0.2 for share in shares) >= 6
