import torch

from dimat_flwr.merging.indistinct import find_indistinct


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
