"""Numbers from the keystream are uniform, normal, each call's own, and a secret unless a seed is given."""

import numpy as np
from scipy import stats

from dimat_flwr.learning import Keystream


def test_uniform_numbers_are_uniform() -> None:
    found = Keystream.seeded(1).uniform(200_000)
    assert found.min() > 0
    assert found.max() <= 1
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_normal_numbers_are_standard_normal_and_independent() -> None:
    found = Keystream.seeded(2).normal((200_001,)).numpy()
    assert stats.kstest(found, "norm").pvalue > 0.01
    assert abs(found.std() - 1) < 0.01
    # Both halves come from the same pairs of uniform numbers.
    half = len(found) // 2
    assert abs(np.corrcoef(found[:half], found[half : 2 * half])[0, 1]) < 0.01
    assert abs(np.corrcoef(found[:-1] ** 2, found[1:] ** 2)[0, 1]) < 0.01


def test_numbers_follow_from_the_seed_call_by_call() -> None:
    one, same, other = Keystream.seeded(3), Keystream.seeded(3), Keystream.seeded(4)
    first, second = one.normal((3, 5)), one.normal((3, 5))
    assert (first != second).all()
    assert (same.normal((3, 5)) == first).all()
    assert (same.normal((3, 5)) == second).all()
    assert (other.normal((3, 5)) != first).all()
    assert 0 <= one.integer() < 2**63
    assert one.normal((0, 2)).shape == (0, 2)


def test_secret_numbers_never_come_again() -> None:
    assert (Keystream.secret().uniform(8) != Keystream.secret().uniform(8)).all()
