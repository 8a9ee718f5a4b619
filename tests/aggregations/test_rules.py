"""Every aggregation against its equation on one plain vector per model, in float64."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from dimat_flwr.algorithms.aggregations import Aggregated, Aggregation
from dimat_flwr.algorithms.aggregations.clip import Clip
from dimat_flwr.algorithms.aggregations.krum import Krum
from dimat_flwr.algorithms.aggregations.mean import Mean
from dimat_flwr.algorithms.aggregations.median import Median
from dimat_flwr.algorithms.aggregations.trimmed_mean import TrimmedMean
from dimat_flwr.algorithms.aggregations.trust import Trust
from dimat_flwr.merging import Mixture
from dimat_flwr.topology import Row

Vector = NDArray[np.float64]
State = dict[str, Tensor]
SHAPES = {"weight": (3, 2), "bias": (2,), "scalar": ()}
SIZE = 9
N = 8
W = np.array([0.2, 0.05, 0.1, 0.15, 0.1, 0.2, 0.15, 0.05])  # of the peer itself first


def state(x: Vector, count: int = 0) -> State:
    """Return a vector as a state dict that counts something, too."""
    found: State = {}
    start = 0
    for name, shape in SHAPES.items():
        found[name] = torch.from_numpy(x[start : start + math.prod(shape)].copy()).reshape(shape)
        start += math.prod(shape)
    return {**found, "count": torch.tensor(count)}


def vector(found: State) -> Vector:
    """Return the floating-point tensors of a state dict as one vector."""
    return np.concatenate([found[name].double().numpy().reshape(-1) for name in SHAPES])


def loss(found: State, samples: int) -> float:
    """Return a loss that is small near (1, 1, ..., 1)."""
    return float(np.square(vector(found) - 1).sum())


def models(seed: int = 0, n: int = N, outliers: int = 2) -> Vector:
    """Return n models, the last ones far away."""
    generator = np.random.default_rng(seed)
    found = generator.normal(size=(n, SIZE))
    found[n - outliers :] *= 50
    return found


def aggregate(rule: Aggregation, x: Vector, w: Vector = W, order: Sequence[int] | None = None) -> Aggregated:
    """Aggregate models, the first being the peer's own."""
    states = [state(one, count) for count, one in enumerate(x)]
    sources = list(order or range(1, len(x)))
    row = Row(float(w[0]), {j: float(w[j]) for j in sources})
    return rule.aggregate(states[0], row, [(j, states[j]) for j in sources], (), loss)


def clipped(x: Vector, tau: float) -> Vector:
    total = x[0].copy()
    for j in range(1, len(x)):
        step = x[j] - x[0]
        total += W[j] * step * min(1, tau / np.linalg.norm(step))
    return total


def adaptively_clipped(x: Vector, delta_max: float) -> Vector:
    away = np.linalg.norm(x - x[0], axis=1)
    order = np.argsort(away)  # the peer itself is the first
    near = order[np.cumsum(W[order]) <= 1 - delta_max + 1e-12]
    return clipped(x, math.sqrt(float((W[near] * away[near] ** 2).sum()) / delta_max))


def krum(x: Vector, f: int, m: int) -> Vector:
    n = len(x)
    scores = [
        min(sum(np.sum((x[j] - x[k]) ** 2) for k in some)
            for some in itertools.combinations([k for k in range(n) if k != j], n - f - 2))
        for j in range(n)
    ]  # fmt: skip
    return x[np.argsort(scores)[:m]].mean(axis=0)


def ubar(x: Vector, rho: float, alpha: float, slack: float) -> Vector:
    others = range(1, len(x))
    near = sorted(others, key=lambda j: np.linalg.norm(x[j] - x[0]))[: max(1, math.floor(rho * len(others)))]
    losses = {j: np.square(x[j] - 1).sum() for j in near}
    passed = [j for j in near if losses[j] <= np.square(x[0] - 1).sum() + slack]
    passed = passed or [min(near, key=lambda j: losses[j])]
    return alpha * x[0] + (1 - alpha) * x[passed].mean(axis=0)


def trimmed(x: Vector, b: int) -> Vector:
    return np.sort(x, axis=0)[b : len(x) - b].mean(axis=0)


RULES: dict[str, tuple[Aggregation, Callable[[Vector], Vector]]] = {
    "mean": (Mean(), lambda x: W @ x),
    "clip": (Clip(tau=2.0), lambda x: clipped(x, 2.0)),
    "clip, adaptive": (Clip(delta_max=0.2), lambda x: adaptively_clipped(x, 0.2)),
    "trimmed_mean": (TrimmedMean(byzantine=2), lambda x: trimmed(x, 2)),
    "median": (Median(), lambda x: np.median(x, axis=0)),
    "krum": (Krum(byzantine=2), lambda x: krum(x, 2, 1)),
    "multi-krum": (Krum(byzantine=2, chosen=3), lambda x: krum(x, 2, 3)),
    "multi-krum, all": (Krum(byzantine=2, chosen=None), lambda x: krum(x, 2, 4)),
    "trust": (Trust(rho=0.6, alpha=0.3, slack=2.0), lambda x: ubar(x, 0.6, 0.3, 2.0)),
    "trust, one left": (Trust(rho=0.6, slack=0.0), lambda x: ubar(x, 0.6, W[0], 0.0)),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_its_equation(name: str) -> None:
    rule, equation = RULES[name]
    for seed in range(10):
        x = models(seed)
        np.testing.assert_allclose(vector(aggregate(rule, x).state), equation(x), rtol=0, atol=1e-12 * 50)


def test_the_median_of_an_odd_number_is_one_of_them() -> None:
    x = models(n=7)
    assert np.array_equal(vector(aggregate(Median(), x, np.full(7, 1 / 7)).state), np.median(x, axis=0))


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_neighbours_does_not_count(name: str) -> None:
    rule, x = RULES[name][0], models(3)
    straight, mixed = aggregate(rule, x), aggregate(rule, x, order=[4, 7, 1, 6, 2, 5, 3])
    np.testing.assert_allclose(vector(mixed.state), vector(straight.state), rtol=0, atol=1e-13)
    assert dict(mixed.row.sources) == pytest.approx(dict(straight.row.sources), abs=1e-15)


@pytest.mark.parametrize("name", RULES)
def test_the_row_says_what_each_model_came_to_weigh(name: str) -> None:
    x = models(5)
    found = aggregate(RULES[name][0], x)
    weights = np.array([found.row.own, *(found.row.sources[j] for j in range(1, N))])
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    if name in ("trimmed_mean", "median"):  # there is no one weight per model, but how often it was in the middle
        b = 2 if name == "trimmed_mean" else 3
        whose = np.argsort(x, axis=0)[b : N - b]
        np.testing.assert_allclose(weights, np.bincount(whose.ravel(), minlength=N) / whose.size)
    else:
        np.testing.assert_allclose(vector(found.state), weights @ x, rtol=0, atol=1e-12)
    if name != "mean":
        assert weights[-2:].max() < 0.06, "the outliers lost most of their weight"


@pytest.mark.parametrize("name", RULES)
def test_what_is_no_number_stays_the_own_one_and_nothing_is_changed(name: str) -> None:
    x = models(1)
    own, theirs = state(x[0], 17), {j: state(x[j], j) for j in range(1, N)}
    before = {key: tensor.clone() for key, tensor in own.items()}
    found = RULES[name][0].aggregate(own, Row(W[0], {j: W[j] for j in theirs}), theirs.items(), (), loss).state
    assert list(found) == list(own)
    assert int(found["count"]) == 17
    for key, tensor in found.items():
        assert tensor.dtype == own[key].dtype
        assert tensor.data_ptr() != own[key].data_ptr()
        assert torch.equal(own[key], before[key])
    assert all(np.array_equal(vector(theirs[j]), x[j]) for j in theirs)


@pytest.mark.parametrize("name", [name for name in RULES if name != "mean"])
def test_statistics_that_come_from_elsewhere_are_not_looked_at(name: str) -> None:
    x, rule = models(2), RULES[name][0]
    plain = aggregate(rule, x)
    own, theirs = state(x[0]), {j: state(x[j]) for j in range(1, N)}
    own["running_var"] = torch.ones(3, dtype=torch.float64)
    for j in theirs:
        theirs[j]["running_var"] = torch.full((3,), 10.0**j, dtype=torch.float64)
    row = Row(W[0], {j: W[j] for j in theirs})
    found = rule.aggregate(own, row, theirs.items(), {"running_var"}, loss).state
    assert torch.equal(found["running_var"], own["running_var"])
    assert np.array_equal(vector(found), vector(plain.state))
    moved = rule.aggregate(own, row, theirs.items(), (), loss).state
    assert not torch.equal(moved["running_var"], own["running_var"]), "with the policy average they are coordinates"


def test_half_precision_and_complex_numbers_are_coordinates() -> None:
    generator = torch.Generator().manual_seed(0)
    x = [torch.randn(4, generator=generator) for _ in range(3)]
    states: list[State] = [{"half": one.bfloat16(), "wave": torch.complex(one, -2 * one)} for one in x]
    row = Row(1 / 3, {1: 1 / 3, 2: 1 / 3})
    found = Median().aggregate(states[0], row, [(1, states[1]), (2, states[2])], (), loss).state
    middle = torch.stack(x).median(dim=0).values
    assert torch.equal(found["half"], middle.bfloat16())
    assert torch.equal(found["wave"], torch.complex(middle, -2 * middle))


def test_the_mean_is_the_mixture_to_the_last_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    states = [{"w": torch.randn(50, 20, generator=generator), "n": torch.tensor(j)} for j in range(4)]
    row = Row(0.4, {1: 0.3, 2: 0.2, 3: 0.1})
    mixture = Mixture(states[0], 0.4)
    for j in (1, 2, 3):
        mixture.add(states[j], row.sources[j])
    expected = mixture.result()
    found = Mean().aggregate(states[0], row, ((j, states[j]) for j in (1, 2, 3)), {"w"}, loss)
    assert all(torch.equal(found.state[name], expected[name]) for name in expected)
    assert found.row == row


# ---- what lies may do ------------------------------------------------------------------------------------------------

LIES = st.lists(st.floats(-1e30, 1e30, allow_nan=False), min_size=SIZE, max_size=SIZE)
QUICK = settings(max_examples=20, deadline=None)


@QUICK
@given(st.integers(1, 3), st.data())
def test_liars_do_not_carry_a_coordinate_out_of_the_honest_range(b: int, data: st.DataObject) -> None:
    n = 2 * b + data.draw(st.integers(1, 3))
    honest = models(data.draw(st.integers(0, 100)), n - b, outliers=0)
    lies = np.array(data.draw(st.lists(LIES, min_size=b, max_size=b)))
    x, w = np.concatenate([honest, lies]), np.full(n, 1 / n)
    for rule in (TrimmedMean(byzantine=b), Median()):
        found = vector(aggregate(rule, x, w).state)
        assert (found >= honest.min(axis=0)).all()
        assert (found <= honest.max(axis=0)).all()


@QUICK
@given(LIES, LIES, st.floats(1e-3, 1e3))
def test_clipping_moves_a_peer_no_further_than_tau_times_the_weights(
    one: list[float], two: list[float], tau: float
) -> None:
    x = models(outliers=0)
    x[3], x[6] = one, two
    moved = np.linalg.norm(vector(aggregate(Clip(tau=tau), x).state) - x[0])
    assert moved <= tau * W[1:].sum() * (1 + 1e-9) + 1e-12


@QUICK
@given(LIES, LIES)
def test_liars_below_delta_max_do_not_raise_the_radius(one: list[float], two: list[float]) -> None:
    x = models(outliers=0)
    x[2], x[4] = one, two  # they weigh 0.2
    honest = [1, 3, 5, 6, 7]
    away = np.linalg.norm(x - x[0], axis=1)
    bound = math.sqrt(float((W[honest] * away[honest] ** 2).sum()) / 0.2)
    moved = np.linalg.norm(vector(aggregate(Clip(delta_max=0.2), x).state) - x[0])
    assert moved <= bound * W[1:].sum() * (1 + 1e-9)


@QUICK
@given(LIES, LIES)
def test_krum_takes_an_honest_model_whatever_two_of_eight_say(one: list[float], two: list[float]) -> None:
    x = 0.1 * models(outliers=0)
    x[2], x[4] = one, two
    if min(np.linalg.norm(x[liar] - x[j]) for liar in (2, 4) for j in range(N) if j not in (2, 4)) > 10:
        assert aggregate(Krum(byzantine=2), x).row.sources[2] == aggregate(Krum(byzantine=2), x).row.sources[4] == 0


def test_trust_does_without_a_model_whose_loss_is_no_number() -> None:
    x = 1 + 0.1 * models(outliers=0)

    def broken(found: State, samples: int) -> float:
        return math.inf if np.array_equal(vector(found), x[2]) else loss(found, samples)

    states = [state(one) for one in x]
    rule = Trust(rho=1, slack=100)
    row = Row(W[0], {j: W[j] for j in range(1, N)})
    found = rule.aggregate(states[0], row, [(j, states[j]) for j in range(1, N)], (), broken)
    assert found.row.sources == {j: (0 if j == 2 else pytest.approx((1 - W[0]) / 6)) for j in range(1, N)}


# ---- too few neighbours ----------------------------------------------------------------------------------------------

NEEDED = [
    (TrimmedMean(byzantine=2), 4), (Median(), 2), (Krum(byzantine=2), 6), (Krum(byzantine=1, chosen=5), 7),
    (Trust(), 1), (Clip(delta_max=0.25), 2), (Clip(tau=1.0), 1),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "needed"), NEEDED, ids=lambda value: repr(value))
def test_a_peer_with_too_few_neighbours_keeps_its_model_and_says_so(rule: Aggregation, needed: int) -> None:
    for sources in (needed - 1, needed):
        n = 1 + sources
        x, w = models(n=n, outliers=0), np.full(n, 1 / n)
        x[0] += 10  # nothing that a rule would choose
        found = aggregate(rule, x, w)
        row = Row(1 / n, dict.fromkeys(range(1, n), 1 / n))
        if sources and sources < needed:
            assert found.kept == rule.shortage(row) != ""
            assert found.row == Row(1.0, dict.fromkeys(range(1, n), 0.0))
        else:
            assert found.kept == ""
        assert np.array_equal(vector(found.state), x[0]) == (sources < needed)


def test_clipping_says_where_a_row_leaves_no_neighbour_for_the_radius() -> None:
    assert "0.9" in Clip().shortage(Row(0.9, {1: 0.05, 2: 0.05}))
    assert Clip(tau=1.0).shortage(Row(0.9, {1: 0.05, 2: 0.05})) == ""
    assert Clip().shortage(Row(0.6, {1: 0.1, 2: 0.3})) == ""


def test_clipping_says_when_the_nearest_neighbour_is_too_heavy_for_a_radius() -> None:
    row, here, there = Row(0.3, {1: 0.5, 2: 0.2}), {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    assert Clip().shortage(row) == ""
    found = Clip().aggregate(here, row, [(1, there), (2, there)], (), lambda state, samples: 0.0)
    assert "the clipping radius is 0" in found.kept
    assert (float(found.state["w"]), found.row) == (0.0, Row(1.0, {1: 0.0, 2: 0.0}))
    assert Clip().aggregate(here, row, [(1, here), (2, here)], (), lambda state, samples: 0.0).kept == ""
