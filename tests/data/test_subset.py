"""Subsets for quick runs are balanced, nested and refuse to be larger than the set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimat_flwr.data import DataError
from dimat_flwr.data.subset import balanced_subset


@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=100).map(np.array), share=st.floats(0.01, 1))
def test_classes_differ_by_one_unless_one_ran_out(labels, share):
    samples = max(1, int(share * len(labels)))
    chosen = balanced_subset(labels, samples, "it")
    assert len(set(chosen.tolist())) == samples
    assert np.all(np.diff(chosen) > 0)
    taken, there = np.bincount(labels[chosen], minlength=6), np.bincount(labels, minlength=6)
    assert all(taken[c] >= taken.max() - 1 or taken[c] == there[c] for c in range(6))
    for c in range(6):  # the first ones of the class
        assert np.array_equal(chosen[labels[chosen] == c], np.flatnonzero(labels == c)[: taken[c]])


def test_none_is_all_and_too_many_are_refused():
    assert np.array_equal(balanced_subset(np.array([1, 0, 1]), None, "it"), [0, 1, 2])
    with pytest.raises(DataError, match=r"it has 3 samples, fewer than the 4"):
        balanced_subset(np.array([1, 0, 1]), 4, "it")
