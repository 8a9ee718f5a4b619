"""What private training has told of a sample: epsilon of (epsilon, delta), by opacus' accountant of Renyi privacy.

Two data sets, of which one lacks a sample of the other, lead to any set of outcomes with probabilities p <= e^epsilon q
+ delta. The accountant composes the sampled Gaussian mechanism (Mironov, Talwar and Zhang 2019,
https://arxiv.org/abs/1908.10530), whose bound holds whatever was made of earlier outcomes.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Spent = list[tuple[float, float, int]]
"""Private steps so far: (noise multiplier, sampling rate, number of steps) each."""

_LARGE_ORDERS = (64, 96, 128, 192, 256, 512)  # best for few steps with much noise


def spend(spent: Spent, noise_multiplier: float, rate: float, steps: int) -> None:
    """Add steps to an account in place; steps of a kind are one entry, in whatever order they were taken."""
    if not steps:
        return
    for place, (sigma, q, before) in enumerate(spent):
        if (sigma, q) == (noise_multiplier, rate):
            spent[place] = (sigma, q, before + steps)
            return
    spent.append((noise_multiplier, rate, steps))


def steps_taken(spent: Spent) -> int:
    """Return the number of all steps."""
    return sum(steps for _, _, steps in spent)


def epsilon(spent: Spent, delta: float) -> float:
    """Return epsilon of all steps at a delta in (0, 1); 0 before the first, infinite where there is no bound."""
    from dimat_flwr.learning.dp_library import get_privacy_spent, without_warnings

    if not spent:
        return 0.0
    total = sum(steps * _of_a_step(sigma, rate) for sigma, rate, steps in spent)
    with without_warnings():
        return max(0.0, float(get_privacy_spent(orders=_orders(), rdp=total, delta=delta)[0]))


def _orders() -> list[float]:
    from dimat_flwr.learning.dp_library import RDPAccountant

    return [*RDPAccountant.DEFAULT_ALPHAS, *_LARGE_ORDERS]


@lru_cache(maxsize=64)  # it takes tenths of a second, and a run has one or a few kinds of steps
def _of_a_step(sigma: float, rate: float) -> NDArray[np.float64]:
    from dimat_flwr.learning.dp_library import compute_rdp

    return np.asarray(compute_rdp(q=rate, noise_multiplier=sigma, steps=1, orders=_orders()))
