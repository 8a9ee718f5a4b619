"""The traced forward pass: functional, for any batch size, in both modes, showing each group where it should."""

import pytest
import torch
import torchvision
from torch import nn
from torch.func import functional_call

from dimat_flwr.symmetry import SymmetryError, find_permutation_spec
from tests.symmetry.networks import ConvNet, Gpt, ResNet20, TextEncoder

CASES = {
    "fx": (ResNet20("A"), torch.randn(2, 3, 16, 16), torch.randn(5, 3, 16, 16)),
    "export": (TextEncoder(), torch.randint(0, 20, (1, 7)), torch.randint(0, 20, (5, 7))),
    "gpt": (Gpt(), torch.randint(0, 11, (2, 6)), torch.randint(0, 11, (1, 6))),
}


@pytest.mark.parametrize("case", list(CASES))
def test_runs_with_weights_of_another_model_and_another_batch_size(case):
    model, example, batch = CASES[case]
    spec = find_permutation_spec(model, example)
    state = {k: v + 0.1 * torch.randn_like(v) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    if case == "gpt":
        state["lm_head.weight"] = state["wte.weight"]
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(spec.traced.run(state, batch), functional_call(model, state, batch))


def test_train_mode_uses_the_batch_and_updates_running_statistics_of_the_given_state():
    model, example, batch = CASES["fx"]
    spec = find_permutation_spec(model, example)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = {name: tensor.clone() for name, tensor in own.items()}
    expected = {name: tensor.clone() for name, tensor in own.items()}
    with torch.no_grad():
        output = spec.traced.run(state, batch, train=True)
        torch.testing.assert_close(output, functional_call(model.train(), expected, batch))
    torch.testing.assert_close(state, expected)
    assert not torch.equal(state["bn1.running_mean"], own["bn1.running_mean"])
    torch.testing.assert_close(model.state_dict(), own)


def test_train_mode_switches_dropout_on_in_exported_graphs_too():
    model, example, batch = CASES["export"]
    spec = find_permutation_spec(model, example)
    state = model.state_dict()
    with torch.no_grad():
        torch.testing.assert_close(spec.traced.run(state, batch), spec.traced.run(state, batch))
        layer_states = [spec.traced.run(state, batch, train=True) for _ in range(2)]
    assert not torch.equal(*layer_states)


def test_gradients_flow_to_the_given_weights():
    model, example, batch = CASES["fx"]
    spec = find_permutation_spec(model, example)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weight = state["conv1.weight"].requires_grad_()
    spec.traced.run(state, batch).sum().backward()
    assert weight.grad is not None
    assert all(p.grad is None for p in model.parameters())


def test_one_tap_behind_convolution_norm_and_activation():
    model = ConvNet(nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), after=6)
    spec = find_permutation_spec(model, torch.randn(1, 3, 8, 8))
    (tap,) = spec.groups["middle.0"].taps
    assert tap.name == "middle_2"
    activations = []
    with torch.no_grad():
        spec.traced.run(model.eval().state_dict(), torch.randn(4, 3, 8, 8), lambda t, a: activations.append((t, a)))
    seen = {t.group: (a, t.units(a)) for t, a in activations}
    activation, units = seen["middle.0"]
    assert units.shape == (4, 6, 64)
    assert units.data_ptr() == activation.data_ptr()  # a view, not a copy


def test_taps_come_in_the_order_of_the_forward_pass_and_once():
    model, example, batch = CASES["fx"]
    spec = find_permutation_spec(model, example)
    seen = []
    with torch.no_grad():
        spec.traced.run(model.state_dict(), batch, lambda tap, _: seen.append(tap))
    assert tuple(seen) == spec.traced.taps
    assert len({(tap.name, tap.group) for tap in seen}) == len(seen)


def test_units_within_heads_show_queries_and_keys_as_slots():
    spec = find_permutation_spec(Gpt(), torch.randint(0, 11, (2, 6)))
    qk = next(g for g in spec.groups.values() if g.parent is not None)
    (tap,) = [t for t in qk.taps if t.positions.shape[0] == 2]
    assert tap.units(torch.randn(3, 6, 48)).shape == (3, 4, 4, 12)  # query and key of 6 tokens each


def test_a_missing_tensor_is_named():
    model, example, batch = CASES["fx"]
    spec = find_permutation_spec(model, example)
    state = {k: v for k, v in model.state_dict().items() if k != "blocks.0.conv1.weight"}
    with pytest.raises(SymmetryError, match=r"lacks 'blocks\.0\.conv1\.weight'"):
        spec.traced.run(state, batch)
    with pytest.raises(SymmetryError, match="takes 1 inputs, got 2"):
        spec.traced.run(model.state_dict(), (batch, batch))


def test_a_batch_of_the_wrong_shape_names_the_operator():
    model, example, _ = CASES["fx"]
    spec = find_permutation_spec(model, example)
    with pytest.raises(SymmetryError, match="operator 'conv1'"):
        spec.traced.run(model.state_dict(), torch.randn(2, 4, 16, 16))


def test_two_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(3, 6), nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x, y, scale: float = 1.0):
            return self.out(torch.tanh(self.a(x) + scale * self.b(y)))

    spec = find_permutation_spec(Two(), (torch.randn(2, 3), torch.randn(2, 4)))
    assert {(a.tensor, a.dim) for a in spec.groups["a"].axes} >= {("a.weight", 0), ("b.weight", 0), ("out.weight", 1)}


def test_detached_attention_module_writes_its_weights_out():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2)

        def forward(self, x):
            return self.attention(x, x, x)

    model, x = Weighted().eval(), torch.randn(4, 3, 8)
    spec = find_permutation_spec(model, x)
    with torch.no_grad():
        torch.testing.assert_close(spec.traced.run(model.state_dict(), x), model(x))
    assert [g.shape for g in spec.groups.values()] == [(2,), (2, 4), (2, 4)]


def test_torchvision_transformer_runs_as_traced():
    model = torchvision.models.VisionTransformer(16, 8, 1, 2, 8, 16, num_classes=5).eval()
    spec = find_permutation_spec(model, torch.randn(1, 3, 16, 16))
    x = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(spec.traced.run(model.state_dict(), x), model(x))


def test_train_mode_of_a_network_that_export_had_to_rewrite():
    class Writing(ConvNet):
        def __init__(self):
            super().__init__(nn.BatchNorm2d(8))

        def forward(self, x):
            y = self.stem(x) + 1
            y[:, :3] = y[:, :3] * 2
            return self.head(self.middle(y)).mean((2, 3))

    model, batch = Writing(), torch.randn(5, 3, 8, 8)
    spec = find_permutation_spec(model, torch.randn(2, 3, 8, 8))
    assert sorted(g.units for g in spec.groups.values()) == [3, 5]
    state, expected = ({k: v.clone() for k, v in model.state_dict().items()} for _ in range(2))
    with torch.no_grad():
        torch.testing.assert_close(
            spec.traced.run(state, batch, train=True), functional_call(model.train(), expected, batch)
        )
    for name in ("middle.0.running_mean", "middle.0.running_var"):
        torch.testing.assert_close(state[name], expected[name])
