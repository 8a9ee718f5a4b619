"""Several models in one order: planted orders are found, tiny ones agree with brute force, nobody's order matters."""

import copy
import itertools

import pytest
import torch
from torch import nn

from dimat_flwr.merging import MergeError, agreement, frank_wolfe, match_many, merge_many
from dimat_flwr.merging.relaxed import Relaxation, one_hot
from dimat_flwr.symmetry import find_permutation_spec
from tests.merging.networks import images, network

STRATEGIES = ["many", "cycle_consistent", "first"]


# The larger families take minutes with five models and are no other in kind.
_SMALL = ("mlp", "resnet20", "vgg16_bn", "vgg16", "vit")


def _families(*quick):
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in _SMALL]


def _shuffled(family, copies):
    model = network(family, 0, torch.float64)
    mine = copy.deepcopy(model.state_dict())
    spec = find_permutation_spec(model, images(2, 2, dtype=torch.float64)[0])
    generator = torch.Generator().manual_seed(3)
    planted = [spec.random(generator) for _ in range(copies)]
    return model, spec, planted, [spec.apply(mine, permutation) for permutation in planted]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("family", _families("mlp"))
def test_five_shuffled_copies_merge_to_the_network_they_are_whatever_their_order(family, strategy):
    model, spec, planted, states = _shuffled(family, 5)
    batches = images(16, 16, dtype=torch.float64)
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1]):
        ordered = [states[index] for index in order]
        merged = merge_many(model, ordered, spec=spec, batches=batches, strategy=strategy, batchnorm="average")
        for name, tensor in ordered[0].items():
            torch.testing.assert_close(merged.state[name], tensor, rtol=1e-12, atol=1e-12)
        for index, found in zip(order, merged.permutations, strict=True):
            assert planted[index].compose(found) == planted[order[0]]
        assert merged.moved[0] == 0
        assert min(merged.moved[1:]) > 0.5


def _tiny(models, seed=0):
    """Return independent networks 4 -> 3 -> 3 -> 2 that are not alike at all."""
    torch.manual_seed(seed)
    networks = [
        nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)).double()
        for _ in range(models)
    ]
    spec = find_permutation_spec(networks[0], torch.randn(2, 4, dtype=torch.float64))
    assert len(spec.groups) == 2
    return networks[0], spec, [network.state_dict() for network in networks]


def _moved_by_hand(state, first, second):
    """Return the tensors that permutations of the two hidden layers touch, flattened, without the engine."""
    return torch.cat(
        [
            state["0.weight"][first].flatten(),
            state["0.bias"][first],
            state["2.weight"][second][:, first].flatten(),
            state["2.bias"][second],
            state["4.weight"][:, second].flatten(),
        ]
    )


def _best_by_enumeration(states):
    """Return the best sum over pairs of all orders of all models but the first."""
    orders = [list(order) for order in itertools.permutations(range(3))]
    choices = [[_moved_by_hand(state, a, b) for a in orders for b in orders] for state in states]
    fixed = _moved_by_hand(states[0], [0, 1, 2], [0, 1, 2])
    return max(
        float(sum(p @ q for p, q in itertools.combinations([fixed, *chosen], 2)))
        for chosen in itertools.product(*choices[1:])
    )


@pytest.mark.parametrize("seed", range(4))
def test_no_order_of_tiny_networks_agrees_more_than_the_best_of_all_and_the_start_is_beaten(seed):
    model, spec, states = _tiny(3, seed)
    best = _best_by_enumeration(states)
    plain = agreement(states, spec, [spec.identity()] * 3)
    assert plain == pytest.approx(
        sum(
            float(_moved_by_hand(p, [0, 1, 2], [0, 1, 2]) @ _moved_by_hand(q, [0, 1, 2], [0, 1, 2]))
            for p, q in itertools.combinations(states, 2)
        )
    )
    batches = [torch.randn(64, 4, dtype=torch.float64)]
    reached = {}
    for strategy in STRATEGIES:
        merged = merge_many(model, states, spec=spec, batches=batches, strategy=strategy)
        reached[strategy] = agreement(states, spec, merged.permutations)
        assert reached[strategy] <= best + 1e-9
    assert reached["many"] >= reached["first"] - 1e-9
    assert reached["cycle_consistent"] >= reached["first"] - 1e-9
    assert reached["cycle_consistent"] >= plain - 1e-9
    assert max(reached.values()) == pytest.approx(best)


@pytest.mark.parametrize("family", _families("mlp", "vgg16"))
def test_the_objective_is_the_plain_sum_over_pairs_and_the_segment_is_exact(family):
    _, spec, planted, _ = _shuffled(family, 3)
    others = [network(family, seed, torch.float64).state_dict() for seed in (1, 2, 3)]
    weights = {axis.tensor for group in spec.groups.values() for axis in group.axes}
    weights = [name for name in weights if not name.endswith(("running_mean", "running_var"))]
    moved = [spec.apply(state, permutation) for state, permutation in zip(others, planted, strict=True)]
    by_hand = sum(float((p[name] * q[name]).sum()) for p, q in itertools.combinations(moved, 2) for name in weights)
    assert agreement(others, spec, planted) == pytest.approx(by_hand, rel=1e-9)

    relaxation = Relaxation(others, spec)
    generator = torch.Generator().manual_seed(9)
    here = [one_hot(relaxation.indices(permutation)) for permutation in planted]
    corners = [relaxation.indices(spec.random(generator)) for _ in others]
    line = relaxation.along(here, corners)
    for a in (0.0, 0.3, 1.0):
        point = [
            {name: (1 - a) * matrix + a * corner[name] for name, matrix in own.items()}
            for own, corner in zip(here, map(one_hot, corners), strict=True)
        ]
        assert line(a) == pytest.approx(relaxation.objective(point), rel=1e-9)
    slope = sum(
        float((slopes[name] * (one_hot(corner)[name] - own[name])).sum())
        for slopes, corner, own in zip(relaxation.gradient(here), corners, here, strict=True)
        for name in slopes
    )
    assert slope == pytest.approx(line.deriv()(0.0), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_frank_wolfe_climbs_and_does_not_care_who_is_first(seed):
    _, spec, states = _tiny(4, seed)
    found = frank_wolfe(states, spec)
    assert len(found.trace) > 1
    assert list(found.trace) == sorted(found.trace)
    assert found.objective == pytest.approx(agreement(states, spec, found.permutations))
    assert found.objective >= agreement(states, spec, [spec.identity()] * 4)
    order = [2, 0, 3, 1]
    again = frank_wolfe([states[index] for index in order], spec)
    assert again.objective == pytest.approx(found.objective)
    for place, index in enumerate(order):
        assert again.permutations[place] == found.permutations[index]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_going_round_a_circle_of_models_is_the_identity(strategy):
    model, spec, states = _tiny(4)
    merged = merge_many(model, states, spec=spec, strategy=strategy, method="weight")
    into = merged.permutations

    def between(p, q):
        return into[q].compose(into[p].inverse())

    assert into[0].is_identity()
    for p, q, r in itertools.permutations(range(4), 3):
        assert between(q, r).compose(between(p, q)) == between(p, r)
    expected = sum(spec.apply(state, permutation)["2.weight"] for state, permutation in zip(states, into, strict=True))
    torch.testing.assert_close(merged.state["2.weight"], expected / 4)


@pytest.mark.parametrize("seed", range(4))
def test_merge_many_ends_where_no_single_model_can_move_and_never_falls(seed):
    _, spec, states = _tiny(4, seed)
    reached = [agreement(states, spec, [spec.identity()] * 4)]
    with pytest.warns(UserWarning, match="raise max_sweeps"):
        reached.append(agreement(states, spec, match_many(states, spec, max_sweeps=1)))
    found = match_many(states, spec)
    reached.append(agreement(states, spec, found))
    assert reached == sorted(reached)
    assert reached[1] > reached[0]
    assert match_many(states, spec, found) == found


def test_weights_decide_the_mix():
    model, spec, states = _tiny(3)
    merged = merge_many(model, states, spec=spec, method="weight", weights=[0.5, 0.3, 0.2])
    aligned = [spec.apply(state, p) for state, p in zip(states, merged.permutations, strict=True)]
    for name, tensor in merged.state.items():
        expected = 0.5 * aligned[0][name] + 0.3 * aligned[1][name] + 0.2 * aligned[2][name]
        torch.testing.assert_close(tensor, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": 1}, "give two or more"),
        ({"strategy": "all"}, "no strategy 'all': take one of cycle_consistent"),
        ({"method": "best"}, "no method 'best': take one of weight_from_activation"),
        ({"weights": [0.5, 0.5]}, "2 mixing weights for 3 models"),
        ({"weights": [0.5, 0.5, 0.5]}, "sum to 1.5"),
        ({"method": "weight_from_activation"}, "no data for activation matching"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    model, spec, states = _tiny(3)
    options = {"method": "weight", **change}
    with pytest.raises(MergeError, match=message):
        merge_many(model, states[: options.pop("states", 3)], spec=spec, **options)


def test_a_model_that_diverged_is_named():
    model, spec, states = _tiny(3)
    states[2] = {**states[2], "2.bias": torch.full((3,), torch.nan, dtype=torch.float64)}
    with pytest.raises(MergeError, match="model 3 holds NaN"):
        merge_many(model, states, spec=spec, method="weight")
    with pytest.raises(MergeError, match="max_steps"):
        frank_wolfe(states[:2], spec, max_steps=0)
    with pytest.raises(MergeError, match="max_sweeps=0"):
        match_many(states[:2], spec, max_sweeps=0)
