"""Epsilon against published figures, against another library's, and against the formula written out here."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from dimat_flwr.learning import Spent, epsilon, spend, steps_taken

ABADI: Spent = [(4.0, 0.01, 10_000)]


def renyi(q: float, sigma: float, alpha: int) -> float:
    """Return the Renyi divergence of a step at an integer order: Mironov et al. 2019, section 3.3, term by term."""
    terms = [
        math.log(math.comb(alpha, k)) + (alpha - k) * math.log1p(-q) + k * math.log(q) + (k * k - k) / (2 * sigma**2)
        for k in range(alpha + 1)
    ]
    return float(np.logaddexp.reduce(terms)) / (alpha - 1)


def test_the_moments_accountant_s_figure_is_found_with_its_conversion_and_a_smaller_one_with_the_newer() -> None:
    """Abadi et al. 2016, figure 2: q = 0.01, sigma = 4, 10,000 steps, delta = 1e-5 come to epsilon 1.26."""
    (sigma, q, steps), delta = ABADI[0], 1e-5
    orders = range(2, 65)
    theirs = min(steps * renyi(q, sigma, a) + math.log(1 / delta) / (a - 1) for a in orders)
    assert theirs == pytest.approx(1.26, abs=0.005)
    newer = min(
        steps * renyi(q, sigma, a) + math.log1p(-1 / a) - (math.log(delta) + math.log(a)) / (a - 1) for a in orders
    )
    # Ours looks at orders that are no integers, too.
    assert newer - 0.01 < epsilon(ABADI, delta) <= newer < theirs


@pytest.mark.parametrize(
    ("spent", "figure"),
    # dp-accounting 0.6: RdpAccountant over PoissonSampledDpEvent(q, GaussianDpEvent(sigma)), delta 1e-5.
    [(ABADI, 1.0354900660), ([(1.1, 256 / 60_000, 3516)], 1.2813000161), ([(1.0, 0.1, 50)], 5.8854272766)],
)
def test_another_library_finds_the_same(spent: Spent, figure: float) -> None:
    assert epsilon(spent, 1e-5) == pytest.approx(figure, rel=2e-3)


def test_without_sampling_it_is_the_gaussian_mechanism() -> None:
    # alpha / (2 sigma^2) at its best order, converted; Mironov 2017.
    orders = np.linspace(1.01, 63, 100_000)
    bound = orders / 2 / 25 + np.log1p(-1 / orders) - (math.log(1e-5) + np.log(orders)) / (orders - 1)
    assert epsilon([(5.0, 1.0, 1)], 1e-5) == pytest.approx(bound.min(), rel=1e-3)


def integrated(sigma: float, q: float, steps: int, delta: float) -> float:
    """Return epsilon by integrating both Renyi divergences between N(0, s^2) and its mixture with N(1, s^2)."""
    x, dx = np.linspace(-70 * sigma, 70 * sigma + 70, 4001, retstep=True)  # of Gaussians: exact to float64's digits
    log_density = -(x**2) / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi))
    log_ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * x - 1) / (2 * sigma**2))
    found = []
    for order in [*np.arange(1.1, 12, 0.1), *range(12, 65)]:
        sides = [log_density + order * log_ratio, log_density + (1 - order) * log_ratio]
        divergence = max(float(np.logaddexp.reduce(side)) for side in sides) + math.log(dx)
        bound = steps * divergence / (order - 1)
        found.append(bound + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1))
    return min(found)


def test_what_the_measured_runs_told_is_what_integration_gives() -> None:
    """Five peers with 287 or 288 samples, minibatches of 64, nine trainings of two epochs; who has fewer tells more."""
    with (Path(__file__).parents[2] / "results" / "privacy.csv").open(newline="") as file:
        private = [row for row in csv.DictReader(file) if row["epsilon"]]
    told = {(float(row["noise_multiplier"]), float(row["epsilon"])) for row in private}
    assert len(told) == 3, "epsilon is that of the settings, not of the seed"
    for sigma, figure in told:
        assert figure == pytest.approx(integrated(sigma, 64 / 287, 9 * 2 * 5, 1e-5), abs=1e-3)
        assert figure == pytest.approx(epsilon([(sigma, 64 / 287, 90)], 1e-5), abs=5e-4)


def test_steps_add_up_and_more_noise_tells_less() -> None:
    spent: Spent = []
    assert epsilon(spent, 1e-5) == 0
    for sigma, rate, steps in ((1.0, 0.1, 3), (2.0, 0.1, 5), (1.0, 0.1, 4), (1.0, 0.2, 0)):
        spend(spent, sigma, rate, steps)
    assert spent == [(1.0, 0.1, 7), (2.0, 0.1, 5)]
    assert steps_taken(spent) == 12
    assert epsilon([(1.0, 0.1, 7)], 1e-5) < epsilon(spent, 1e-5) < epsilon([(1.0, 0.1, 12)], 1e-5)
    assert epsilon(spent, 1e-6) > epsilon(spent, 1e-5)
