"""Permutations form a group, act on tensors accordingly, and refuse what is none."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dimat_flwr.symmetry import Permutation, PermutationSpec, SymmetryError, find_permutation_spec
from tests.symmetry.networks import Attention, ConvNet

torch.manual_seed(0)
_MODELS = {
    "flat": (ConvNet(torch.nn.Conv2d(8, 6, 1), after=6), torch.randn(1, 3, 8, 8)),
    "heads": (Attention("plain"), torch.randn(2, 6, 5)),
    "conv groups": (ConvNet(torch.nn.Conv2d(8, 12, 3, groups=4), after=12), torch.randn(1, 3, 8, 8)),
}
_SPECS: dict[str, PermutationSpec] = {name: find_permutation_spec(*pair) for name, pair in _MODELS.items()}


@st.composite
def specs_and_permutations(draw, count):
    name = draw(st.sampled_from(sorted(_SPECS)))
    spec = _SPECS[name]
    seeds = [draw(st.integers(0, 2**31)) for _ in range(count)]
    return spec, _MODELS[name][0].state_dict(), [spec.random(torch.Generator().manual_seed(s)) for s in seeds]


def _equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@given(specs_and_permutations(1))
def test_inverse_undoes(drawn):
    spec, state, (p,) = drawn
    assert p.compose(p.inverse()) == spec.identity() == p.inverse().compose(p)
    assert p.inverse().inverse() == p
    assert _equal(spec.apply(spec.apply(state, p), p.inverse()), state)


@given(specs_and_permutations(2))
def test_applying_twice_is_applying_the_composition(drawn):
    spec, state, (p, q) = drawn
    assert _equal(spec.apply(spec.apply(state, p), q), spec.apply(state, p.compose(q)))
    assert p.compose(q).inverse() == q.inverse().compose(p.inverse())


@given(specs_and_permutations(3))
def test_composition_is_associative_with_the_identity_as_unit(drawn):
    spec, state, (p, q, r) = drawn
    assert p.compose(q).compose(r) == p.compose(q.compose(r))
    assert p.compose(spec.identity()) == p == spec.identity().compose(p)
    assert spec.identity().is_identity()
    assert p.is_identity() == (p == spec.identity())
    assert _equal(spec.apply(state, spec.identity()), state)


def test_convention_unit_u_of_aligned_is_unit_p_of_theirs():
    spec, model = _SPECS["flat"], _MODELS["flat"][0]
    p = spec.random(torch.Generator().manual_seed(3))
    aligned = spec.apply(model.state_dict(), p)
    assert torch.equal(aligned["stem.weight"], model.stem.weight[p["stem"]])
    assert torch.equal(aligned["middle.0.weight"], model.middle[0].weight[p["middle.0"]][:, p["stem"]])
    assert torch.equal(aligned["head.weight"], model.head.weight[:, p["middle.0"]])
    assert torch.equal(aligned["head.bias"], model.head.bias)


def test_convention_of_units_within_blocks():
    spec, model = _SPECS["heads"], _MODELS["heads"][0]
    p = spec.random(torch.Generator().manual_seed(3))
    (heads,) = [g.name for g in spec.groups.values() if g.name.endswith("heads")]
    values = next(g.name for g in spec.groups.values() if any(a.tensor == "v.weight" and a.dim == 0 for a in g.axes))
    aligned = spec.apply(model.state_dict(), p)["v.weight"].view(3, 4, 12)
    theirs = model.v.weight.view(3, 4, 12)[:, :, p["inp"]]
    for h in range(3):
        for u in range(4):
            assert torch.equal(aligned[h, u], theirs[p[heads][h], p[values][h, u]])


def test_random_reaches_every_arrangement_and_depends_on_the_generator_alone():
    spec = _SPECS["heads"]
    seen = {tuple(spec.random(torch.Generator().manual_seed(s))["q.heads"].tolist()) for s in range(60)}
    assert len(seen) == 6
    assert spec.random(torch.Generator().manual_seed(5)) == spec.random(torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nonsense": torch.arange(3)}, "unknown groups"),
        ({"stem": torch.arange(7)}, r"shape \(7,\), expected \(8,\)"),
        ({"stem": torch.arange(8).view(2, 4)}, "shape"),
        ({"stem": torch.zeros(8, dtype=torch.long)}, "not a bijection"),
        ({"stem": torch.arange(8) - 1}, "not a bijection"),
        ({"stem": torch.arange(8) + 1}, "not a bijection"),
        ({"stem": torch.arange(8).float()}, "torch.float32"),
        ({"stem": [0, 1, 2, 3, 4, 5, 6, 7]}, "list"),
    ],
)
def test_what_is_no_permutation_is_refused(change, message):
    spec = _SPECS["flat"]
    with pytest.raises(SymmetryError, match=message):
        spec.permutation({**spec.identity(), **change})


def test_a_missing_group_is_refused_and_named():
    spec = _SPECS["flat"]
    with pytest.raises(SymmetryError, match=r"middle\.0"):
        Permutation(spec.groups, {"stem": torch.arange(8)})


def test_entries_are_copies():
    spec = _SPECS["flat"]
    mine = torch.arange(8)
    p = spec.permutation({**spec.identity(), "stem": mine})
    mine[0] = 5
    assert p.is_identity()
