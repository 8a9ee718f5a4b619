import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimat_flwr.merging.assignment import assign, assign_blocks


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10_000))
def test_assignment_is_the_best_of_all_permutations(units, seed):
    scores = np.random.default_rng(seed).normal(size=(units, units))
    order = assign(scores)
    best = max(sum(scores[u, p[u]] for u in range(units)) for p in itertools.permutations(range(units)))
    assert sorted(order) == list(range(units))
    assert scores[np.arange(units), order].sum() == pytest.approx(best)


@pytest.mark.parametrize("with_own_scores", [False, True])
def test_blocks_reach_the_best_of_all_permutations_that_keep_blocks_together(with_own_scores):
    rng = np.random.default_rng(0)
    members = [rng.normal(size=(3, 2, 3, 2)), rng.normal(size=(3, 3, 3, 3))]
    own = rng.normal(size=(3, 3)) if with_own_scores else None

    def score(heads, orders):
        total = 0.0 if own is None else sum(own[h, heads[h]] for h in range(3))
        for scores, order in zip(members, orders, strict=True):
            total += sum(scores[h, u, heads[h], order[h][u]] for h in range(3) for u in range(scores.shape[1]))
        return total

    # given the heads, every head and kind is independent, so brute force may go through them one by one
    best = -np.inf
    for heads in itertools.permutations(range(3)):
        orders = [
            [
                max(
                    itertools.permutations(range(scores.shape[1])),
                    key=lambda p, s=scores, h=h, g=heads[h]: sum(s[h, u, g, p[u]] for u in range(s.shape[1])),
                )
                for h in range(3)
            ]
            for scores in members
        ]
        best = max(best, score(heads, orders))
    heads, orders = assign_blocks(members, own)
    assert score(heads, orders) == pytest.approx(best)


def test_sticky_assignment_moves_only_for_a_gain_beyond_the_margin():
    scores = np.array([[1.0, 1.05], [1.05, 1.0]])  # moving gains 0.1 of 2.1: 4.8 %
    assert list(assign(scores)) == [1, 0]
    assert list(assign(scores, stickiness=0.04)) == [1, 0]
    assert list(assign(scores, stickiness=0.05)) == [0, 1]


def test_sticky_blocks_stay_as_wholes():
    member = np.zeros((2, 2, 2, 2))
    member[0, :, 1, :] = member[1, :, 0, :] = [[0.0, 1.1], [1.1, 0.0]]
    member[0, :, 0, :] = member[1, :, 1, :] = np.eye(2)
    heads, (order,) = assign_blocks([member])
    assert heads.tolist() == [1, 0]
    assert order.tolist() == [[1, 0], [1, 0]]
    heads, (order,) = assign_blocks([member], stickiness=0.1)
    assert heads.tolist() == [0, 1]
    assert order.tolist() == [[0, 1], [0, 1]]


def test_ties_keep_the_order():
    assert assign(np.ones((4, 4))).tolist() == [0, 1, 2, 3]
