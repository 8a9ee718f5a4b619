"""Random networks out of everything that moves, mixes, reduces and gates, for finding what a rule forgot."""

import math
import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shape = tuple[int, ...]
Step = tuple[Callable[[list[Tensor]], Tensor], Shape]


class RandomNetwork(nn.Module):
    """(2, 3, 4, 4) -> (2, 3): ``steps`` random operators, each reading earlier values, some of which are read out."""

    def __init__(self, seed: int, steps: int):
        super().__init__()
        self.draw = random.Random(seed)
        self.layers = nn.ModuleList()
        self.raw = nn.ParameterList()
        channels = self.draw.choice([4, 6, 8, 12])
        stem = self.layer(nn.Conv2d(3, channels, 1))
        self.shapes: list[Shape] = [(2, 3, 4, 4), (2, channels, 4, 4)]
        self.plan: list[Callable[[list[Tensor]], Tensor]] = [lambda v: stem(v[0])]
        while len(self.plan) < steps + 1:
            i = self.draw.randrange(1, len(self.shapes)) if self.draw.random() < 0.5 else len(self.shapes) - 1
            made = self.draw.choice(_OPERATORS)(self, i, self.shapes[i])
            if made is not None and math.prod(made[1]) <= 4000:
                self.plan.append(made[0])
                self.shapes.append(tuple(made[1]))
        last = len(self.shapes) - 1
        self.read = sorted({last, *self.draw.choices(range(1, last + 1), k=3)})
        self.heads = nn.ModuleList([nn.Linear(math.prod(self.shapes[i][1:]), 3) for i in self.read])

    def layer(self, module: nn.Module) -> nn.Module:
        self.layers.append(module)
        return module

    def parameter(self, *shape: int) -> Callable[[], Tensor]:
        self.raw.append(nn.Parameter(torch.randn(*shape)))
        number = len(self.raw) - 1
        return lambda: self.raw[number]

    def partner(self, fits: Callable[[Shape], bool]) -> int | None:
        found = [j for j, shape in enumerate(self.shapes) if j > 0 and fits(shape)]
        return self.draw.choice(found) if found else None

    def divisor(self, n: int) -> int:
        return self.draw.choice([d for d in (1, 2, 3, 4) if n % d == 0])

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step in self.plan:
            values.append(step(values))
        return sum(head(values[i].flatten(1)) for head, i in zip(self.heads, self.read, strict=True))


def activation(net: RandomNetwork, i: int, shape: Shape) -> Step:
    function = net.draw.choice([torch.relu, torch.tanh, F.gelu, torch.sigmoid])
    return lambda v: function(v[i]), shape


def linear(net: RandomNetwork, i: int, shape: Shape) -> Step:
    outputs = net.draw.choice([2, 4, 6, 8])
    layer = net.layer(nn.Linear(shape[-1], outputs, bias=net.draw.random() < 0.7))
    return lambda v: layer(v[i]), (*shape[:-1], outputs)


def convolution(net: RandomNetwork, i: int, shape: Shape) -> Step | None:
    if len(shape) != 4:
        return None
    groups = net.divisor(shape[1])
    outputs = groups * net.draw.choice([1, 2, 3])
    kind = net.draw.choice([nn.Conv2d, nn.ConvTranspose2d])
    layer = net.layer(kind(shape[1], outputs, 1, groups=groups))
    return lambda v: layer(v[i]), (shape[0], outputs, *shape[2:])


def depthwise(net: RandomNetwork, i: int, shape: Shape) -> Step | None:
    if len(shape) != 4:
        return None
    outputs = shape[1] * net.draw.choice([1, 1, 2])
    layer = net.layer(nn.Conv2d(shape[1], outputs, 1, groups=shape[1]))
    return lambda v: layer(v[i]), (shape[0], outputs, *shape[2:])


def normalization(net: RandomNetwork, i: int, shape: Shape) -> Step:
    kinds = [nn.LayerNorm(shape[-1])]
    if len(shape) == 4:
        kinds += [nn.BatchNorm2d(shape[1]), nn.GroupNorm(net.divisor(shape[1]), shape[1])]
    layer = net.layer(net.draw.choice(kinds))
    return lambda v: layer(v[i]), shape


def pool(net: RandomNetwork, i: int, shape: Shape) -> Step | None:
    if len(shape) != 4 or min(shape[2:]) < 2:
        return None
    return lambda v: F.max_pool2d(v[i], 2), (*shape[:2], shape[2] // 2, shape[3] // 2)


def excite(net: RandomNetwork, i: int, shape: Shape) -> Step | None:
    if len(shape) != 4:
        return None
    down, up = net.layer(nn.Linear(shape[1], 3)), net.layer(nn.Linear(3, shape[1]))
    return lambda v: v[i] * torch.sigmoid(up(torch.relu(down(v[i].mean((2, 3))))))[:, :, None, None], shape


def add(net: RandomNetwork, i: int, shape: Shape) -> Step:
    j = net.partner(lambda other: other == shape)
    return lambda v: v[i] + v[j], shape


def gate(net: RandomNetwork, i: int, shape: Shape) -> Step:
    j = net.partner(lambda other: other == shape)
    return lambda v: v[i] * v[j].sigmoid(), shape


def join(net: RandomNetwork, i: int, shape: Shape) -> Step:
    d = net.draw.randrange(1, len(shape))
    j = net.partner(lambda o: len(o) == len(shape) and all(o[e] == shape[e] for e in range(len(shape)) if e != d))
    return lambda v: torch.cat([v[i], v[j].tanh()], d), (*shape[:d], shape[d] + net.shapes[j][d], *shape[d + 1 :])


def stack(net: RandomNetwork, i: int, shape: Shape) -> Step:
    d = net.draw.randrange(1, len(shape) + 1)
    j = net.partner(lambda other: other == shape)
    return lambda v: torch.stack([v[i], v[j].tanh()], d), (*shape[:d], 2, *shape[d:])


def half(net: RandomNetwork, i: int, shape: Shape) -> Step | None:
    d, which = net.draw.randrange(1, len(shape)), net.draw.randrange(2)
    if shape[d] % 2:
        return None
    return lambda v: v[i].chunk(2, d)[which], (*shape[:d], shape[d] // 2, *shape[d + 1 :])


def part(net: RandomNetwork, i: int, shape: Shape) -> Step:
    d = net.draw.randrange(1, len(shape))
    cut = slice(net.draw.randrange(max(1, shape[d] // 2)), None, net.draw.choice([1, 2]))
    index = (*[slice(None)] * d, cut)
    return lambda v: v[i][index], (*shape[:d], len(range(shape[d])[cut]), *shape[d + 1 :])


def copies(net: RandomNetwork, i: int, shape: Shape) -> Step:
    d = net.draw.randrange(1, len(shape))
    repeats = [2 if e == d else 1 for e in range(len(shape))]
    made = (*shape[:d], 2 * shape[d], *shape[d + 1 :])
    if net.draw.random() < 0.5:
        return lambda v: v[i].repeat(*repeats), made
    return lambda v: v[i].repeat_interleave(2, d), made


def regroup(net: RandomNetwork, i: int, shape: Shape) -> Step | None:
    rest = math.prod(shape[1:])
    factors = [f for f in (2, 3, 4, 6, 8) if rest % f == 0]
    if not factors:
        return None
    f = net.draw.choice(factors)
    choices = [(f, rest // f), (rest // f, f), (rest,)]
    if rest // f % 2 == 0:
        choices.append((f, rest // f // 2, 2))
    new = net.draw.choice(choices)
    return lambda v: v[i].reshape(v[i].shape[0], *new), (shape[0], *new)


def reorder(net: RandomNetwork, i: int, shape: Shape) -> Step:
    order = [0, *net.draw.sample(range(1, len(shape)), len(shape) - 1)]
    return lambda v: v[i].permute(order), tuple(shape[d] for d in order)


def shuffle(net: RandomNetwork, i: int, shape: Shape) -> Step | None:
    if len(shape) != 4:
        return None
    g = net.divisor(shape[1])
    return lambda v: v[i].unflatten(1, (g, shape[1] // g)).transpose(1, 2).flatten(1, 2), shape


def flip(net: RandomNetwork, i: int, shape: Shape) -> Step:
    d = net.draw.randrange(1, len(shape))
    return lambda v: v[i].flip(d), shape


def reduce(net: RandomNetwork, i: int, shape: Shape) -> Step | None:
    if len(shape) < 3:
        return None
    d, keep = net.draw.randrange(1, len(shape)), net.draw.random() < 0.5
    name = net.draw.choice(["mean", "amax", "var"] if shape[d] > 1 else ["mean", "amax"])
    made = tuple(1 if e == d else s for e, s in enumerate(shape) if keep or e != d)
    return lambda v: getattr(v[i], name)(d, keepdim=keep), made


def scale(net: RandomNetwork, i: int, shape: Shape) -> Step:
    d = net.draw.randrange(1, len(shape))
    function = net.draw.choice([
        lambda x: x * x.mean(d, keepdim=True), lambda x: F.normalize(x, dim=d), lambda x: x.softmax(d)
    ])  # fmt: skip
    return lambda v: function(v[i]), shape


def with_parameter(net: RandomNetwork, i: int, shape: Shape) -> Step:
    d = net.draw.randrange(len(shape))
    own = shape[1:] if d == 0 else [s if e == d else 1 for e, s in enumerate(shape) if e > 0]
    value = net.parameter(1, *own)
    if net.draw.random() < 0.5:
        return lambda v: v[i] * value(), shape
    return lambda v: v[i] + value(), shape


def product(net: RandomNetwork, i: int, shape: Shape) -> Step | None:
    if len(shape) != 3:
        return None
    j = net.partner(lambda other: len(other) == 3 and other[1] == shape[2])
    return None if j is None else (lambda v: v[i] @ v[j], (*shape[:2], net.shapes[j][2]))


def attention(net: RandomNetwork, i: int, shape: Shape) -> Step | None:
    if len(shape) < 3:
        return None
    heads, fused = net.divisor(shape[-1]), net.draw.random() < 0.5
    width = heads * net.draw.choice([1, 2, 3]) if fused else shape[-1]
    layer = net.layer(nn.Linear(shape[-1], 3 * width)) if fused else None

    def attend(v: list[Tensor]) -> Tensor:
        x = v[i].flatten(1, -2)
        parts = layer(x).chunk(3, -1) if layer is not None else (x, x.tanh(), x.sigmoid())
        q, k, w = (y.unflatten(-1, (heads, width // heads)).transpose(1, 2) for y in parts)
        return ((q @ k.transpose(-2, -1)).softmax(-1) @ w).transpose(1, 2).flatten(2)

    return attend, (shape[0], math.prod(shape[1:-1]), width)


_OPERATORS = [
    activation, linear, linear, convolution, convolution, depthwise, normalization, normalization, pool, excite, add,
    add, gate, join, stack, half, part, copies, regroup, reorder, shuffle, flip, reduce, scale, with_parameter, product,
    attention, attention,
]  # fmt: skip
