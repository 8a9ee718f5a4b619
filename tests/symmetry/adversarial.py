"""Networks built to mislead: each has one thing about it that a rule, the tracing or the proof may get wrong."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.symmetry.networks import ConvNet, Function, mlp

Case = tuple[nn.Module, Any]
CASES: dict[str, Callable[[], Case]] = {}


def case(make: Callable[[], Case]) -> Callable[[], Case]:
    CASES[make.__name__] = make
    return make


def _add(name: str, make: Callable[[], Case]) -> None:
    assert name not in CASES
    CASES[name] = make


class Flat(nn.Module):
    """(batch, 5) -> hidden (batch, 8) -> something -> (batch, 3)."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module, after: int = 8, hidden: int = 8):
        super().__init__()
        self.inp, self.out = nn.Linear(5, hidden), nn.Linear(after, 3)
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.function(torch.tanh(self.inp(x)), *self.layers))


class Tokens(Flat):
    """(batch, tokens, 5) -> hidden (batch, tokens, 8) -> something -> (batch, tokens, 3)."""


def _flat(name: str, function: Callable[..., Tensor], *layers: Callable[[], nn.Module], **sizes: int) -> None:
    _add(name, lambda: (Flat(function, *(make() for make in layers), **sizes), torch.randn(6, 5)))


def _tokens(name: str, function: Callable[..., Tensor], *layers: Callable[[], nn.Module], **sizes: int) -> None:
    _add(name, lambda: (Tokens(function, *(make() for make in layers), **sizes), torch.randn(2, 6, 5)))


def _image(name: str, function: Callable[..., Tensor], *layers: Callable[[], nn.Module], **sizes: int) -> None:
    _add(name, lambda: (ConvNet(Function(function, *(make() for make in layers)), **sizes), torch.randn(2, 3, 8, 8)))


# -- pooling, padding and resizing of values without a batch or with few dims ---------------------------------------

_flat("pool_1d_over_features", lambda h: F.max_pool1d(h, 2), after=4)
_flat("pool_1d_of_features_padded", lambda h: F.avg_pool1d(h, 3, 1, 1))
_flat("pool_1d_layer_over_features", lambda h, p: p(h), lambda: nn.MaxPool1d(3, 1, 1))
_flat("adaptive_pool_over_features", lambda h: F.adaptive_avg_pool1d(h, 4), after=4)
_flat("adaptive_max_pool_layer_over_features", lambda h, p: p(h), lambda: nn.AdaptiveMaxPool1d(8))
_flat("lp_pool_over_features", lambda h: F.lp_pool1d(h.abs() + 1, 2, 3, 1), after=6)
_tokens("pool_1d_over_the_last_dim", lambda h: F.avg_pool1d(h, 3, 1, 1))
_tokens("pool_2d_over_tokens_and_features", lambda h: F.avg_pool2d(h, 3, 1, 1))
_tokens("pool_2d_layer_without_batch", lambda h, p: p(h), lambda: nn.MaxPool2d(3, 1, 1))
_tokens("pool_1d_over_tokens", lambda h: F.max_pool1d(h.transpose(1, 2), 3, 1, 1).transpose(1, 2))
_image("pool_3d_without_batch", lambda h: F.avg_pool3d(h, 3, 1, 1))
_image("pool_3d_layer_without_batch", lambda h, p: p(h), lambda: nn.MaxPool3d(3, 1, 1))
_image("pool_3d_of_one_more_dim", lambda h: F.max_pool3d(h[:, None], (3, 1, 1), 1, (1, 0, 0))[:, 0])
_tokens("upsampled_features", lambda h: F.interpolate(h, scale_factor=2.0), after=16)
_tokens("upsampled_linearly", lambda h: F.interpolate(h, size=12, mode="linear"), after=12)
_flat("reflected_features", lambda h: F.pad(h[:, None], (1, 1), "reflect")[:, 0], after=10)
_flat("replicated_features", lambda h: F.pad(h[:, None], (2, 0), "replicate")[:, 0], after=10)
_flat("padding_with_one", lambda h: F.pad(h, (1, 2), value=1.0) * F.pad(h, (2, 1), value=1.0), after=11)
_tokens("instance_norm_2d_without_batch", lambda h, n: n(h[:, :, None]).squeeze(2), lambda: nn.InstanceNorm2d(6))
_flat("unfolded", lambda h: F.unfold(h[:, None, :, None], (2, 1)).mean(2), after=2)

# -- results that depend on the order along a dim -------------------------------------------------------------------

_flat("cumsum", lambda h: h.cumsum(1))
_flat("cumprod", lambda h: (1 + 0.3 * h).cumprod(-1))
_flat("cummax", lambda h: h.cummax(1)[0])
_flat("logcumsumexp", lambda h: h.logcumsumexp(1))
_flat("cumsum_of_a_mean", lambda h: h * h.mean(1, keepdim=True).expand(-1, 8).cumsum(1))
_flat("cumprod_of_a_mean", lambda h: h * (1 + h.mean(1, keepdim=True)).expand_as(h).cumprod(1))
_flat("cumsum_of_ones", lambda h: h * torch.ones_like(h).cumsum(1))
_flat("cumsum_of_a_picked_one", lambda h: h + h[:, :1].repeat(1, 8).cumsum(1))
_tokens("cumsum_over_tokens", lambda h: h.cumsum(1))
_flat("sorted", lambda h: h.sort(1).values)
_flat("sorted_gaps", lambda h: h.sort(1)[0].diff(dim=1), after=7)
_flat("topk", lambda h: h.topk(3, 1).values, after=3)
_flat("kthvalue", lambda h: h * h.kthvalue(3, 1, keepdim=True)[0])
_flat("median", lambda h: h * h.median(1, keepdim=True)[0])
_flat("diff", lambda h: h.diff(dim=1), after=7)
_flat("argmax_as_a_number", lambda h: h * h.argmax(1, keepdim=True))
_flat("max_with_its_index", lambda h: h * h.max(1, keepdim=True)[1])
_flat("gathered_by_its_own_order", lambda h: h.gather(1, h.argsort(1)))
_flat("flipped", lambda h: h + h.flip(1).tanh())
_flat("rolled", lambda h: h * h.roll(1, 1))
_flat("rolled_flattened", lambda h: h * h.roll(3))
_flat("triangle", lambda h: (h[:, :, None] * h[:, None]).tril().sum(2))
_flat("diagonal_weights", lambda h: h @ torch.diag(torch.arange(1.0, 9, dtype=h.dtype)))
_flat("fourier", lambda h: torch.fft.rfft(h, dim=1).abs(), after=5)
_tokens("fourier_over_tokens", lambda h: torch.fft.fft(h, dim=1).real)
_flat("cdist", lambda h: torch.cdist(h, h.roll(1, 1)), after=6)
_flat("outer_product_flattened", lambda h: (h[:, :, None] * h[:, None]).flatten(1), after=64)
_flat("outer_product_halves", lambda h: (h[:, :4, None] * h[:, None, 4:]).flatten(1), after=16)
_flat("polynomial_of_the_place", lambda h: h * torch.linspace(0, 1, 8, dtype=h.dtype))
_flat("linspace_like", lambda h: h + torch.arange(h.shape[1], dtype=h.dtype, device=h.device))
_image("local_response", lambda h: F.local_response_norm(h, 3))
_image("channels_as_rows", lambda h: h.permute(0, 2, 1, 3).reshape(h.shape))

# -- constants ------------------------------------------------------------------------------------------------------

_flat("full_like_compared", lambda h: torch.where(torch.full_like(h, 2.0) > 1, h.cumsum(1), h))
_flat("full_like_not_zero", lambda h: h * torch.full_like(h, 3.0).cumsum(1))
_flat("new_full_as_a_switch", lambda h: h.flip(1) * h if bool(h.new_full((1,), 1.0).numel()) else h)
_flat("new_full_as_an_index", lambda h: h * h[:, h.new_full((1,), 2, dtype=torch.long)])
_flat("fill_as_a_factor", lambda h: h * torch.empty_like(h).fill_(2.0).cumsum(1))
_flat("fill_compared", lambda h: torch.where(h.clone().fill_(1.0) > 0.5, h.roll(1, 1), h) * h)
_flat("concatenated_constants", lambda h: h * torch.cat([torch.ones_like(h[:, :4]), 2 * torch.ones_like(h[:, 4:])], 1))
_flat("zeros_beside_ones", lambda h: h * torch.cat([h.new_zeros(6, 4), h.new_ones(6, 4)], 1)[: h.shape[0]])
_flat("zeros_beside_units", lambda h: torch.cat([h[:, :4], torch.zeros_like(h[:, 4:])], 1) * h)
_flat(
    "constants_around_units",
    lambda h: torch.cat([torch.ones_like(h[:, :2]), h[:, 2:6], torch.zeros_like(h[:, 6:])], 1) + h,
)
_flat(
    "stacked_constants",
    lambda h: h * torch.stack([torch.ones_like(h[:, :4]), torch.zeros_like(h[:, 4:])], 2).flatten(1),
)
_flat(
    "constants_summed",
    lambda h: (
        (h * torch.cat([torch.ones_like(h[:, :4]), -torch.ones_like(h[:, 4:])], 1)).sum(1, keepdim=True).expand(-1, 8)
        * h
    ),
)
_flat("one_hot_of_places", lambda h: h * F.one_hot(torch.tensor([3]), 8).to(h.dtype))
_flat("masked_places", lambda h: h.masked_fill(torch.arange(8) > 4, 0.5))
_flat("eye", lambda h: h + torch.eye(8, dtype=h.dtype)[2])

# -- writes ---------------------------------------------------------------------------------------------------------


def _out(h: Tensor) -> Tensor:
    result = torch.zeros_like(h)
    torch.mul(h, torch.arange(8, dtype=h.dtype), out=result)
    return result


def _copy_through(view: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def write(h: Tensor) -> Tensor:
        y = h * 2
        view(y).copy_(h.flip(1))
        return y * h

    return write


def _write_part(h: Tensor) -> Tensor:
    y = h.clone()
    y[:, 2] = y[:, 3] * 2
    return y


def _write_masked(h: Tensor) -> Tensor:
    y = h.clone()
    y[:, torch.arange(8) % 2 == 0] = 0.5
    return y


def _write_scatter(h: Tensor) -> Tensor:
    return h + torch.zeros_like(h).scatter_(1, torch.tensor([[1]]).expand(h.shape[0], 1), 1.0)


def _write_index_add(h: Tensor) -> Tensor:
    return torch.zeros_like(h).index_add_(1, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), h) * h


def _write_through_chunk(h: Tensor) -> Tensor:
    y = h + 1
    a, _ = y.chunk(2, 1)
    a.mul_(torch.tensor([1.0, 2, 3, 4], dtype=h.dtype))
    return y


def _write_through_dropout(h: Tensor, drop: nn.Module) -> Tensor:
    y = h + 1
    drop(y).mul_(torch.arange(8, dtype=h.dtype))
    return y


_flat("out_argument", _out)
_flat("copy_through_contiguous", _copy_through(lambda y: y.contiguous()))
_flat("copy_through_reshape", _copy_through(lambda y: y.reshape(y.shape)))
_flat("copy_through_to", _copy_through(lambda y: y.to(y.dtype)))
_flat("copy_through_detach", _copy_through(lambda y: y.detach()))
_flat("copy_through_flatten", _copy_through(lambda y: y.flatten(1)))
_flat("copy_through_expand_as", _copy_through(lambda y: y.expand_as(y)))
_flat("copy_through_type_as", _copy_through(lambda y: y.type_as(y)))
_flat("copy_through_view_as", _copy_through(lambda y: y.view_as(y)))
_flat("copy_through_squeeze", _copy_through(lambda y: y.unsqueeze(0).squeeze(0)))
_flat("copy_through_identity", lambda h, i: _copy_through(i)(h), nn.Identity)
_flat("copy_through_flatten_layer", lambda h, i: _copy_through(i)(h), nn.Flatten)
_flat("write_through_dropout", _write_through_dropout, nn.Dropout)
_flat("write_part", _write_part)
_flat("write_masked", _write_masked)
_flat("write_scatter", _write_scatter)
_flat("write_index_add", _write_index_add)
_flat("write_through_chunk", _write_through_chunk)

# -- operators of others --------------------------------------------------------------------------------------------


@torch.library.custom_op("dimat_flwr_tests::relu", mutates_args=())
def foreign_relu(x: Tensor) -> Tensor:
    """Named like a known operator, but it looks at the places."""
    return x * torch.arange(x.shape[1], dtype=x.dtype)


@foreign_relu.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class sigmoid:  # noqa: N801  # named like a known operator
    def __call__(self, x: Tensor) -> Tensor:
        return x.flip(1) * x


_flat("operator_of_a_library", lambda h: torch.ops.dimat_flwr_tests.relu(h))
_flat("overload_of_a_library", lambda h: torch.ops.dimat_flwr_tests.relu.default(h))
_flat("callable_object", lambda h: sigmoid()(h))

# -- branches that only the tracer takes ----------------------------------------------------------------------------

_flat("branch_on_isinstance", lambda h: h.flip(1) * h if isinstance(h, Tensor) else h)
_flat("branch_on_type", lambda h: h.flip(1) * h if type(h) is Tensor else h)
_flat("branch_on_proxy", lambda h: h if type(h).__name__ == "Proxy" else h.cumsum(1))
_flat("branch_on_compiling", lambda h: h if torch.compiler.is_compiling() else h.cumsum(1))
_flat("branch_on_exporting", lambda h: h if torch.compiler.is_exporting() else h.cumsum(1))
_flat("branch_on_scripting", lambda h: h if torch.jit.is_scripting() or torch.jit.is_tracing() else h.cumsum(1))
_flat("branch_on_gradients", lambda h: h.cumsum(1) if not torch.is_grad_enabled() else h)
_flat("branch_on_requires_grad", lambda h: h.cumsum(1) if not h.requires_grad else h)


@case
def patched_forward_of_a_layer() -> Case:
    model = mlp()
    model[1].forward = lambda x: F.linear(x, model[1].weight, model[1].bias).cumsum(1)
    return model, torch.randn(2, 3, 2, 2)


@case
def patched_forward_of_the_network() -> Case:
    model = Flat(lambda h: h)
    model.forward = lambda x: model.out(model.inp(x).cumsum(1))
    return model, torch.randn(6, 5)


@case
def patched_kernel_of_a_convolution() -> Case:
    model = ConvNet(nn.Conv2d(8, 8, 1))
    conv = model.middle[0]
    conv._conv_forward = lambda x, weight, bias: F.conv2d(x, weight, bias).cumsum(1)
    return model, torch.randn(2, 3, 8, 8)


@case
def overridden_call() -> Case:
    class Called(nn.Linear):
        def __call__(self, x: Tensor) -> Tensor:
            return super().__call__(x).cumsum(1)

    return Flat(lambda h, layer: layer(h), Called(8, 8)), torch.randn(6, 5)


@case
def attention_with_its_own_forward() -> Case:
    class Reversed(nn.MultiheadAttention):
        def forward(self, query: Tensor, *args: Any, **kwargs: Any) -> Any:
            result, weights = super().forward(query, *args, **kwargs)
            return result.cumsum(2), weights

    return Tokens(lambda h, a: h + a(h, h, h)[0], Reversed(8, 2, batch_first=True)), torch.randn(2, 6, 5)


@case
def forward_hook() -> Case:
    model = mlp()
    model[1].register_forward_hook(lambda module, args, output: output.cumsum(1))
    return model, torch.randn(2, 3, 2, 2)


@case
def forward_pre_hook() -> Case:
    model = mlp()
    model[3].register_forward_pre_hook(lambda module, args: (args[0].cumsum(1),))
    return model, torch.randn(2, 3, 2, 2)


# -- buffers and state ----------------------------------------------------------------------------------------------


class Buffered(Flat):
    def __init__(self, function: Callable[..., Tensor], buffer: Tensor, *, persistent: bool, **sizes: int):
        super().__init__(lambda h: h, **sizes)
        self.use = function
        self.register_buffer("buffer", buffer, persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.use(torch.tanh(self.inp(x)), self.buffer))


for _persistent in (True, False):
    _kind = "persistent" if _persistent else "temporary"
    _buffered = {
        "index": (lambda h, b: h[:, b] * h, torch.tensor([1, 0, 3, 2, 5, 4, 7, 6])),
        "same_index": (lambda h, b: h * h[:, b], torch.zeros(8, dtype=torch.long)),
        "factor": (lambda h, b: h * b, torch.ones(8)),
        "mask": (lambda h, b: h.masked_fill(b, 0.0), torch.zeros(8, dtype=torch.bool)),
        "weight": (lambda h, b: F.linear(h, b), torch.ones(8, 8)),
        "index_select": (lambda h, b: h.index_select(1, b) + h, torch.arange(8).flip(0)),
        "gather": (lambda h, b: h.gather(1, b.expand(h.shape[0], -1)) + h, torch.arange(8).flip(0)[None]),
    }
    for _name, (_use, _buffer) in _buffered.items():

        def _make(use: Any = _use, buffer: Tensor = _buffer, persistent: bool = _persistent) -> Case:
            return Buffered(use, buffer.clone(), persistent=persistent), torch.randn(6, 5)

        _add(f"{_kind}_{_name}", _make)


class Stateful(Flat):
    """Keeps something from one call to the next."""

    def __init__(self, what: str):
        super().__init__(lambda h: h)
        self.what, self.last, self.log, self.cache, self.calls = what, None, [], {}, 0
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("hidden_count", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.inp(x))
        if self.what == "buffer":
            self.count += 1
        elif self.what == "new buffer":
            self.count = self.count + 1
        elif self.what == "buffer through add_":
            self.count.add_(1)
        elif self.what == "temporary buffer":
            self.hidden_count += 1
        elif self.what == "attribute":
            self.last = h
        elif self.what == "list":
            self.log.append(h)
        elif self.what == "dict":
            self.cache["h"] = h
        elif self.what == "number":
            self.calls += 1
        return self.out(h)


for _what in ("buffer", "new buffer", "buffer through add_", "temporary buffer", "attribute", "list", "dict", "number"):
    _add(f"state_in_{_what}".replace(" ", "_"), lambda what=_what: (Stateful(what), torch.randn(6, 5)))

# -- outputs that hide a change -------------------------------------------------------------------------------------

_flat("saturated_output", lambda h: torch.sigmoid(1e4 * (2 + h.cumsum(1).tanh())))
_flat("huge_offset", lambda h: h.cumsum(1) + 1e9)
_flat("tiny_effect", lambda h: 1e-7 * h.cumsum(1))
_flat("clamped", lambda h: h.cumsum(1).clamp(-1e-3, 1e-3))
_flat("rounded", lambda h: (3 * h.cumsum(1)).round())
_flat("two_units", lambda h: h.cumsum(1), hidden=2, after=2)
_flat("two_units_in_pairs", lambda h: h.view(-1, 2, 2).cumsum(2).flatten(1), hidden=4, after=4)
_flat("signs", lambda h: h.cumsum(1).sign() * h)


@case
def output_of_integers() -> Case:
    class Labels(Flat):
        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.tanh(self.inp(x)).cumsum(1)).argmax(1)

    return Labels(lambda h: h), torch.randn(6, 5)


@case
def output_is_the_hidden_state() -> Case:
    class Both(Flat):
        def forward(self, x: Tensor) -> Any:
            h = torch.tanh(self.inp(x))
            return {"logits": self.out(h), "hidden": [h]}

    return Both(lambda h: h), torch.randn(6, 5)


# -- weights used in unusual ways -----------------------------------------------------------------------------------


class Tied(nn.Module):
    """One weight forwards and backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(8, 5)), nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.w.T + self.b) @ self.w


class Experts(nn.Module):
    def __init__(self, routed: bool):
        super().__init__()
        self.routed = routed
        self.router = nn.Linear(5, 3)
        self.up, self.down = nn.Parameter(torch.randn(3, 5, 8)), nn.Parameter(torch.randn(3, 8, 4))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(torch.bmm(x.expand(3, -1, -1), self.up))
        y = torch.bmm(h, self.down)
        return torch.einsum("ebo,be->bo", y, self.router(x).softmax(1)) if self.routed else y.mean(0)


class Normed(nn.Module):
    """A weight that is normalized, centred or multiplied before use."""

    def __init__(self, change: Callable[[Tensor], Tensor]):
        super().__init__()
        self.change, self.inp, self.out = change, nn.Linear(5, 8), nn.Linear(6, 3)
        self.w = nn.Parameter(torch.randn(6, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(F.linear(torch.tanh(self.inp(x)), self.change(self.w))))


_add("tied_weight", lambda: (Tied(), torch.randn(6, 5)))
_add("experts", lambda: (Experts(False), torch.randn(6, 5)))
_add("routed_experts", lambda: (Experts(True), torch.randn(6, 5)))
_add("weight_normalized", lambda: (Normed(lambda w: F.normalize(w, dim=1)), torch.randn(6, 5)))
_add("weight_centred", lambda: (Normed(lambda w: w - w.mean(0, keepdim=True)), torch.randn(6, 5)))
_add("weight_cumulated", lambda: (Normed(lambda w: w.cumsum(1)), torch.randn(6, 5)))
_add("weight_squared", lambda: (Normed(lambda w: w.square()), torch.randn(6, 5)))
_add("weight_flipped", lambda: (Normed(lambda w: w.flip(0)), torch.randn(6, 5)))
_add("weight_masked", lambda: (Normed(lambda w: w.tril()), torch.randn(6, 5)))
_add("weight_regrouped", lambda: (Normed(lambda w: w.reshape(8, 6).T), torch.randn(6, 5)))
_add("weight_transposed_twice", lambda: (Normed(lambda w: w.T.contiguous().T), torch.randn(6, 5)))
_add("weight_softmax", lambda: (Normed(lambda w: w.softmax(1)), torch.randn(6, 5)))
_add(
    "weight_norm",
    lambda: (Flat(lambda h, w: w(h), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))), torch.randn(6, 5)),
)
_add(
    "weight_norm_of_columns",
    lambda: (Flat(lambda h, w: w(h), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8), dim=1)), torch.randn(6, 5)),
)
_add(
    "weight_norm_of_all",
    lambda: (
        Flat(lambda h, w: w(h), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8), dim=None)),
        torch.randn(6, 5),
    ),
)
_add("old_weight_norm", lambda: (Flat(lambda h, w: w(h), nn.utils.weight_norm(nn.Linear(8, 8))), torch.randn(6, 5)))
_add(
    "spectral_norm",
    lambda: (Flat(lambda h, w: w(h), nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))), torch.randn(6, 5)),
)
_add("old_spectral_norm", lambda: (Flat(lambda h, w: w(h), nn.utils.spectral_norm(nn.Linear(8, 8))), torch.randn(6, 5)))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module], last: bool = True, **options: Any):
        super().__init__()
        width = options.get("proj_size") or 4
        self.last, self.inp = last, nn.Linear(5, 6)
        self.layer = kind(6, 4, batch_first=options.pop("batch_first", True), **options)
        self.out = nn.Linear(width * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        output, state = self.layer(torch.tanh(self.inp(x)))
        if self.last:
            return self.out(output[:, -1])
        hidden = state[0] if isinstance(state, tuple) else state
        return self.out(output).mean(1) + hidden.sum((0, 2))[:, None]


for _kind_of in (nn.LSTM, nn.GRU, nn.RNN):
    for _options in ({}, {"num_layers": 2}, {"bidirectional": True}, {"bias": False}, {"last": False, "num_layers": 2}):
        _add(
            f"{_kind_of.__name__}_{'_'.join(_options)}",
            lambda kind=_kind_of, options=_options: (Recurrent(kind, **options), torch.randn(2, 5, 5)),
        )
_add("LSTM_projected", lambda: (Recurrent(nn.LSTM, proj_size=3), torch.randn(2, 5, 5)))
_add(
    "LSTM_bidirectional_deep",
    lambda: (Recurrent(nn.LSTM, bidirectional=True, num_layers=2, last=False), torch.randn(2, 5, 5)),
)
_add("RNN_of_relu", lambda: (Recurrent(nn.RNN, nonlinearity="relu"), torch.randn(2, 5, 5)))


class Cells(nn.Module):
    def __init__(self, kind: type[nn.Module]):
        super().__init__()
        self.inp, self.cell, self.out = nn.Linear(5, 6), kind(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.inp(x))
        h: Any = self.cell(x[:, 0])
        for t in range(1, 4):
            h = self.cell(x[:, t], h)
        return self.out(h[0] if isinstance(h, tuple) else h)


for _kind_of in (nn.LSTMCell, nn.GRUCell, nn.RNNCell):
    _add(_kind_of.__name__, lambda kind=_kind_of: (Cells(kind), torch.randn(2, 5, 5)))

# -- roles ----------------------------------------------------------------------------------------------------------

_flat("crossed_halves", lambda h: torch.cat([h[:, :4] * h[:, 4:], h[:, 4:].relu()], 1))
_flat("unit_beside_its_neighbour", lambda h: torch.stack([h, h.roll(1, 1)], 2).flatten(1), after=16)
_flat("pairs_maximum", lambda h: h.view(-1, 4, 2).amax(2), after=4)
_flat("pairs_difference", lambda h: h.view(-1, 4, 2).diff(dim=2).flatten(1), after=4)
_flat("pairs_by_stride", lambda h: h[:, ::2] - h[:, 1::2], after=4)
_flat("complex_pairs", lambda h: torch.view_as_complex(h.view(-1, 4, 2)).abs(), after=4)
_flat("maxout_across", lambda h: h.view(-1, 2, 4).amax(1), after=4)
_tokens(
    "attention_over_units",
    lambda h: (h.transpose(1, 2) @ h).softmax(-1) @ h.transpose(1, 2).mean(2, keepdim=True).expand(-1, -1, 8),
)
_tokens("tokens_weighted_by_units", lambda h: h * h[:, :, :6].transpose(1, 2).mean(2, keepdim=True).expand_as(h))
_tokens("first_unit_as_gate", lambda h: h * h[..., :1].sigmoid())
_tokens("units_added_to_tokens", lambda h: h[:, :, :6] + h[:, :, :6].transpose(1, 2), after=6)
_image("channels_meet_rows", lambda h: h + h.transpose(1, 2))
_image("channels_meet_rows_by_mean", lambda h: h * h.mean((2, 3))[:, None, :, None])
_image("shuffled_by_groups", lambda h: F.channel_shuffle(h, 2) * h)
_image("pixels_shuffled", lambda h: F.pixel_shuffle(h, 2), after=2)
_image("softmax_over_channels_and_rows", lambda h: h.flatten(1, 2).softmax(1).view_as(h))
_image("group_norm_of_a_shuffle", lambda h, n: n(F.channel_shuffle(h, 4)) + h, lambda: nn.GroupNorm(4, 8))
