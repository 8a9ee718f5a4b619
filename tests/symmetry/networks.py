"""Small networks, each with something about it that the tracing has to get right."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))


class BasicBlock(nn.Module):
    """CIFAR ResNet block; shortcut A pads with zero channels, shortcut B is a convolution."""

    def __init__(self, inside: int, outside: int, stride: int, shortcut: str):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.more, self.stride = outside - inside, stride
        self.down: nn.Module | None = None
        if shortcut == "B" and stride != 1:
            self.down = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.down is not None:
            x = self.down(x)
        elif self.stride != 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return F.relu(y + x)


class ResNet20(nn.Module):
    def __init__(self, shortcut: str, width: int = 8):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks, inside = [], width
        for stage in range(3):
            for block in range(3):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(BasicBlock(inside, width << stage, stride, shortcut))
                inside = width << stage
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inside, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1))


class TextEncoder(nn.Module):
    """Token and position embeddings, nn.TransformerEncoder, mean over tokens."""

    def __init__(self, norm_first: bool = False):
        super().__init__()
        self.tokens = nn.Embedding(20, 16)
        self.positions = nn.Parameter(torch.randn(7, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions[: ids.shape[1]]
        return self.head(self.encoder(x).mean(1))


class GptBlock(nn.Module):
    def __init__(self, width: int, heads: int, context: int):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.register_buffer("mask", torch.tril(torch.ones(context, context)).view(1, 1, context, context))

    def attend(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(c, dim=2)
        q, k, v = (y.view(b, t, self.heads, c // self.heads).transpose(1, 2) for y in (q, k, v))
        scores = (q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5
        scores = scores.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf"))
        y = F.softmax(scores, dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.ln_1(x))
        return x + self.out(F.gelu(self.fc(self.ln_2(x))))


class Gpt(nn.Module):
    """Fused qkv, causal mask, output layer tied to the embedding."""

    def __init__(self, width: int = 16, heads: int = 4, context: int = 6, vocabulary: int = 11):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList([GptBlock(width, heads, context) for _ in range(2)])
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class Attention(nn.Module):
    """Hand-written attention in several dialects."""

    def __init__(self, dialect: str, width: int = 12, heads: int = 3):
        super().__init__()
        self.dialect, self.heads, self.each = dialect, heads, width // heads
        kv_heads = {"grouped": 1, "multi_query": 1}.get(dialect, heads)
        if dialect == "grouped":
            self.heads, self.each, kv_heads = 4, 3, 2
        self.kv_heads = kv_heads
        self.inp = nn.Linear(5, width)
        self.q = nn.Linear(width, width)
        self.k, self.v = nn.Linear(width, kv_heads * self.each), nn.Linear(width, kv_heads * self.each)
        self.norm_q, self.norm_k = nn.LayerNorm(self.each), nn.LayerNorm(self.each)
        self.head_scale = nn.Parameter(torch.randn(self.heads, 1, 1))
        self.o = nn.Linear(width, width)
        self.out = nn.Linear(width, 4)
        self.register_buffer("angles", torch.randn(6, self.each))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        b, t, c = x.shape
        q = self.q(x).reshape(b, t, self.heads, self.each)
        k, v = (f(x).reshape(b, t, self.kv_heads, self.each) for f in (self.k, self.v))
        if self.dialect == "einsum":
            weights = torch.einsum("bqhd,bkhd->bhqk", q, k).softmax(-1)
            mixed = torch.einsum("bhqk,bkhd->bqhd", weights, v)
            return self.out(x + self.o(mixed.flatten(2)))
        if self.dialect == "qk_norm":
            q, k = self.norm_q(q), self.norm_k(k)
        if self.dialect == "rotary":
            q, k = (y * self.angles[:t, None].cos() + y.flip(-1) * self.angles[:t, None].sin() for y in (q, k))
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        if self.dialect == "multi_query":
            weights = (q @ k.transpose(-2, -1)).softmax(-1)
            mixed = weights @ v
        elif self.dialect == "cosine":
            scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
            mixed = (scores * self.head_scale.exp()).softmax(-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.kv_heads != self.heads)
        return self.out(x + self.o(mixed.transpose(1, 2).reshape(b, t, c)))


class ConvNet(nn.Module):
    """One convolutional network per peculiarity: the layers ``middle`` stand between a stem and a head."""

    def __init__(self, *middle: nn.Module, channels: int = 8, after: int | None = None):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.middle = nn.Sequential(*middle)
        self.head = nn.Conv2d(channels if after is None else after, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(F.relu(self.stem(x)))).mean((2, 3))


class Function(nn.Module):
    """A layer from a function, with its layers beside it."""

    def __init__(self, function, *layers: nn.Module):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 5, 1), nn.Conv2d(5, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(F.silu(self.down(x.mean((2, 3), keepdim=True)))))


class Mixer(nn.Module):
    """MLP-Mixer: a linear layer over tokens meets channels that move."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.token = nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, 6))
        self.channel = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 9), nn.GELU(), nn.Linear(9, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.token(x.transpose(1, 2)).transpose(1, 2)
        return self.head((x + self.channel(x)).mean(1))
