"""Outputs that hide a change, and weights used in unusual ways."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.symmetry.adversarial.base import Case, Flat, add, case, flat

# -- outputs that hide a change -------------------------------------------------------------------------------------

flat("saturated_output", lambda h: torch.sigmoid(1e4 * (2 + h.cumsum(1).tanh())))
flat("huge_offset", lambda h: h.cumsum(1) + 1e9)
flat("tiny_effect", lambda h: 1e-7 * h.cumsum(1))
flat("clamped", lambda h: h.cumsum(1).clamp(-1e-3, 1e-3))
flat("rounded", lambda h: (3 * h.cumsum(1)).round())
flat("two_units", lambda h: h.cumsum(1), hidden=2, after=2)
flat("two_units_in_pairs", lambda h: h.view(-1, 2, 2).cumsum(2).flatten(1), hidden=4, after=4)
flat("signs", lambda h: h.cumsum(1).sign() * h)


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


add("tied_weight", lambda: (Tied(), torch.randn(6, 5)))
add("experts", lambda: (Experts(False), torch.randn(6, 5)))
add("routed_experts", lambda: (Experts(True), torch.randn(6, 5)))
add("weight_normalized", lambda: (Normed(lambda w: F.normalize(w, dim=1)), torch.randn(6, 5)))
add("weight_centred", lambda: (Normed(lambda w: w - w.mean(0, keepdim=True)), torch.randn(6, 5)))
add("weight_cumulated", lambda: (Normed(lambda w: w.cumsum(1)), torch.randn(6, 5)))
add("weight_squared", lambda: (Normed(lambda w: w.square()), torch.randn(6, 5)))
add("weight_flipped", lambda: (Normed(lambda w: w.flip(0)), torch.randn(6, 5)))
add("weight_masked", lambda: (Normed(lambda w: w.tril()), torch.randn(6, 5)))
add("weight_regrouped", lambda: (Normed(lambda w: w.reshape(8, 6).T), torch.randn(6, 5)))
add("weight_transposed_twice", lambda: (Normed(lambda w: w.T.contiguous().T), torch.randn(6, 5)))
add("weight_softmax", lambda: (Normed(lambda w: w.softmax(1)), torch.randn(6, 5)))
add(
    "weight_norm",
    lambda: (Flat(lambda h, w: w(h), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))), torch.randn(6, 5)),
)
add(
    "weight_norm_of_columns",
    lambda: (Flat(lambda h, w: w(h), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8), dim=1)), torch.randn(6, 5)),
)
add(
    "weight_norm_of_all",
    lambda: (
        Flat(lambda h, w: w(h), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8), dim=None)),
        torch.randn(6, 5),
    ),
)
add("old_weight_norm", lambda: (Flat(lambda h, w: w(h), nn.utils.weight_norm(nn.Linear(8, 8))), torch.randn(6, 5)))
add(
    "spectral_norm",
    lambda: (Flat(lambda h, w: w(h), nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))), torch.randn(6, 5)),
)
add("old_spectral_norm", lambda: (Flat(lambda h, w: w(h), nn.utils.spectral_norm(nn.Linear(8, 8))), torch.randn(6, 5)))


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
        add(
            f"{_kind_of.__name__}_{'_'.join(_options)}",
            lambda kind=_kind_of, options=_options: (Recurrent(kind, **options), torch.randn(2, 5, 5)),
        )
add("LSTM_projected", lambda: (Recurrent(nn.LSTM, proj_size=3), torch.randn(2, 5, 5)))
add(
    "LSTM_bidirectional_deep",
    lambda: (Recurrent(nn.LSTM, bidirectional=True, num_layers=2, last=False), torch.randn(2, 5, 5)),
)
add("RNN_of_relu", lambda: (Recurrent(nn.RNN, nonlinearity="relu"), torch.randn(2, 5, 5)))


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
    add(_kind_of.__name__, lambda kind=_kind_of: (Cells(kind), torch.randn(2, 5, 5)))
