"""The proof: few passes for what is right, the operator named for what is wrong."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dimat_flwr.symmetry import find_permutation_spec, verify
from dimat_flwr.symmetry.proving.draws import derangement
from dimat_flwr.symmetry.proving.prove import Prover
from dimat_flwr.symmetry.rules.context import Context
from dimat_flwr.symmetry.rules.registry import RULES, Rule, rule
from dimat_flwr.symmetry.tracing.call import Call
from tests.symmetry.adversarial import Flat
from tests.symmetry.networks import Attention, Gpt, ResNet20


@pytest.fixture
def wrong_rule(monkeypatch):
    """A rule that frees an axis along which the order counts."""

    def use(name: str) -> None:
        old = RULES[name]
        lie = rule("tests::lie", kind="pointwise")(lambda ctx, x, *args, **kwargs: ctx.like(x))
        monkeypatch.setitem(RULES, name, Rule(**{**vars(RULES.pop("tests::lie")), "aliases": old.aliases}))
        assert lie is not None

    return use


def test_a_wrong_rule_is_found_out_and_the_operator_named(wrong_rule):
    wrong_rule("cumsum")
    model = Flat(lambda h, a, b: torch.relu(b(torch.relu(a(h)))) + h.cumsum(1), nn.Linear(8, 6), nn.Linear(6, 8))
    x = torch.randn(4, 5)
    assert list(find_permutation_spec(model, x, prove=False).groups) == ["inp", "layers.0"]
    spec = find_permutation_spec(model, x)
    assert list(spec.groups) == ["layers.0"]  # the one that the operator does not touch is left
    assert any("cumsum" in w and "'inp'" in w for w in spec.warnings)
    assert spec.permutable_share < 0.9
    assert all(tap.group in spec.groups for tap in spec.traced.taps)


def test_what_only_fails_together_is_kept_in_place(wrong_rule):
    wrong_rule("flip")
    model = Flat(lambda h: h.flip(1) * h)
    assert dict(find_permutation_spec(model, torch.randn(4, 5)).groups) == {}


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (ResNet20("A"), torch.randn(2, 3, 16, 16)),
        (Gpt(), torch.randint(0, 11, (2, 6))),
        (Attention("plain"), torch.randn(2, 6, 5)),
    ],
    ids=["resnet", "gpt", "attention"],
)
def test_a_clean_proof_takes_five_forward_passes(model, x):
    call = Call.of(x)
    prover = Prover(model, call)
    spec = find_permutation_spec(model, x, prove=False)
    assert prover.departure(spec.traced.program) <= 1e-9
    assert prover.largest_change(spec) <= 1e-9
    assert prover.unshown(spec) == (set(), False)
    assert prover.passes <= 5


def test_a_derangement_leaves_no_unit_in_its_place():
    spec = find_permutation_spec(Attention("plain"), torch.randn(2, 6, 5))
    for seed in range(20):
        for name, p in derangement(spec, torch.Generator().manual_seed(seed)).items():
            assert bool((p != torch.arange(p.shape[-1])).all()), name


@pytest.mark.parametrize("case", ["resnet", "gpt"])
def test_the_largest_networks_are_proven_in_their_own_precision(case, monkeypatch):
    monkeypatch.setattr("dimat_flwr.symmetry.proving.prove.LARGEST_DOUBLE", 0)
    model, x = (ResNet20("A"), torch.randn(2, 3, 16, 16)) if case == "resnet" else (Gpt(), torch.randint(0, 11, (2, 6)))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    spec = find_permutation_spec(model, x)
    assert spec.describe() == find_permutation_spec(model, x, prove=False).describe()
    assert 1e-9 < verify(model, spec, x) < 1e-4
    stream = next(iter(spec.groups.values()))
    wrong = replace(spec, groups={**spec.groups, stream.name: replace(stream, axes=stream.axes[1:])})
    assert verify(model, wrong, x) > 1e-3
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_networks_that_take_logarithms_are_proven_near_their_own_weights():
    class Positive(Flat):
        def __init__(self):
            super().__init__(lambda h: h)
            self.variance = nn.Parameter(torch.rand(8) + 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.tanh(self.inp(x.log())) / self.variance.sqrt()).exp().log1p()

    spec = find_permutation_spec(Positive(), torch.rand(4, 5) + 1)
    assert spec.warnings == ()
    assert {a.tensor for a in spec.groups["inp"].axes} == {"inp.weight", "inp.bias", "variance", "out.weight"}


def test_an_output_that_cannot_change_proves_nothing():
    class Constant(Flat):
        def forward(self, x: Tensor) -> Tensor:
            return (super().forward(x) * 1e9).clamp(1, 1)

    spec = find_permutation_spec(Constant(lambda h: h), torch.randn(4, 5))
    assert dict(spec.groups) == {}
    assert any("does not show" in w for w in spec.warnings)


def test_an_output_that_cannot_be_differentiated_is_shown_to_change_by_running():
    class Detached(Flat):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    assert list(find_permutation_spec(Detached(lambda h: h), torch.randn(4, 5)).groups) == ["inp"]


def test_a_rule_that_forgets_an_operand_keeps_all_in_place(monkeypatch):
    def careless(ctx: Context, x, y, **kwargs):
        return ctx.like(x)

    monkeypatch.setitem(RULES, "mul", Rule(**{**vars(RULES["mul"]), "function": careless}))
    spec = find_permutation_spec(Flat(lambda h: h * torch.linspace(0, 1, 8)), torch.randn(4, 5), prove=False)
    assert dict(spec.groups) == {}
    assert "does not speak of all its operands" in spec.warnings[0]


def test_a_rule_of_ones_own_needs_no_fork():
    name = "dimat_flwr_tests::swish"
    model = Flat(lambda h: swish(h))
    assert dict(find_permutation_spec(model, torch.randn(4, 5)).groups) == {}

    try:

        @rule(name, kind="pointwise")
        def _(ctx: Context, x):
            return ctx.like(x)

        assert list(find_permutation_spec(model, torch.randn(4, 5)).groups) == ["inp"]
        with pytest.raises(ValueError, match="has a rule already"):
            rule(name, kind="pointwise")(lambda ctx, x: ctx.like(x))
    finally:
        del RULES[name]


@torch.library.custom_op("dimat_flwr_tests::swish", mutates_args=())
def swish(x: Tensor) -> Tensor:
    return x.sigmoid() * x


@swish.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)
