"""Branches that only a tracer takes, and networks with a state."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.symmetry.adversarial.base import Case, Flat, Tokens, add, case, flat
from tests.symmetry.networks import ConvNet, mlp

# -- branches that only the tracer takes ----------------------------------------------------------------------------

flat("branch_on_isinstance", lambda h: h.flip(1) * h if isinstance(h, Tensor) else h)
flat("branch_on_type", lambda h: h.flip(1) * h if type(h) is Tensor else h)
flat("branch_on_proxy", lambda h: h if type(h).__name__ == "Proxy" else h.cumsum(1))
flat("branch_on_compiling", lambda h: h if torch.compiler.is_compiling() else h.cumsum(1))
flat("branch_on_exporting", lambda h: h if torch.compiler.is_exporting() else h.cumsum(1))
flat("branch_on_scripting", lambda h: h if torch.jit.is_scripting() or torch.jit.is_tracing() else h.cumsum(1))
flat("branch_on_gradients", lambda h: h.cumsum(1) if not torch.is_grad_enabled() else h)
flat("branch_on_requires_grad", lambda h: h.cumsum(1) if not h.requires_grad else h)


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

        add(f"{_kind}_{_name}", _make)


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
    add(f"state_in_{_what}".replace(" ", "_"), lambda what=_what: (Stateful(what), torch.randn(6, 5)))
