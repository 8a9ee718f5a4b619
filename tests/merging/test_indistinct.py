import pytest
import torch

from dimat_flwr.merging import match_activations
from dimat_flwr.merging.indistinct import find_indistinct
from dimat_flwr.models import MLP
from dimat_flwr.symmetry import find_permutation_spec


def _scores(rows):
    return torch.tensor(rows, dtype=torch.float64)


def _sets(found):
    return sorted(units.tolist() for units in found)


def test_equal_rows_are_tied_and_others_are_not():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(8, 8, generator=generator, dtype=torch.float64)
    scores[[1, 4, 6]] = scores[1].clone()
    scores[[0, 7]] = 0.0  # dead
    scores[4] += 1e-7 * torch.rand(8, generator=generator)
    assert _sets(find_indistinct(scores, 1.2e-7)) == [[0, 7], [1, 4, 6]]
    assert _sets(find_indistinct(scores, 2.2e-16)) == [[0, 7], [1, 6]]


def test_nearly_equal_rows_are_not_tied():
    scores = torch.full((3, 3), 0.5, dtype=torch.float64)
    scores[1, 2] += 1e-4
    assert _sets(find_indistinct(scores, 1.2e-7)) == [[0, 2]]


def test_ties_stay_within_their_block():
    scores = _scores([[1, 0, 0, 0]] * 2 + [[0, 0, 1, 0], [1, 0, 0, 0]])
    assert _sets(find_indistinct(scores, 1e-7)) == [[0, 1, 3]]
    assert _sets(find_indistinct(scores, 1e-7, blocks=2)) == [[0, 1]]
    assert _sets(find_indistinct(torch.zeros(4, 4, dtype=torch.float64), 1e-7, blocks=2)) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("swapped", [False, True])
def test_units_that_are_dead_in_the_neighbour_alone_go_where_their_weights_are_most_like_mine(swapped):
    torch.manual_seed(0)
    model = MLP(4, 6, width=10, batchnorm=False).eval()
    spec = find_permutation_spec(model, torch.randn(2, 6))
    mine = model.state_dict()
    theirs = {name: tensor.clone() for name, tensor in mine.items()}
    theirs["features.0.bias"][[3, 5]] = -1e3  # mine still act, so nothing but weights says whose place they have
    if swapped:
        order = torch.arange(10)
        order[[3, 5]] = order[[5, 3]]
        theirs = spec.apply(theirs, spec.permutation({**spec.identity(), "features.0": order}))
    found = match_activations(model, mine, theirs, spec, list(torch.randn(40, 6).split(20)))
    assert torch.equal(spec.apply(theirs, found)["features.0.weight"], mine["features.0.weight"])
