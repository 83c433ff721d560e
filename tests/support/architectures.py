"""Networks on which role detection is tried, each as (build, base, target, example inputs)."""

import torch
import torch.nn.functional as F
from torch import nn


class Attend(nn.Module):
    """A language model around nn.MultiheadAttention."""

    def __init__(self, size):
        super().__init__()
        width, heads, depth = size["width"], size["heads"], size["depth"]
        self.embed = nn.Embedding(13, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.mixers = nn.ModuleList(nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(depth))
        self.head = nn.Linear(width, 13)

    def forward(self, tokens):
        x = self.embed(tokens)
        for norm, mixer in zip(self.norms, self.mixers):
            y = norm(x)
            x = x + mixer(y, y, y, need_weights=False)[0]
        return self.head(x)


class Recurrent(nn.Module):
    """Embedding, LSTM, readout."""

    def __init__(self, width):
        super().__init__()
        self.embed = nn.Embedding(13, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, 13)

    def forward(self, tokens):
        return self.head(self.lstm(self.embed(tokens))[0])


class MixerBlock(nn.Module):
    """Token mixing over a fixed number of patches, then channel mixing."""

    def __init__(self, patches, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(patches, 8), nn.GELU(), nn.Linear(8, patches))
        self.channels = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    """MLP-Mixer on 16 patches."""

    def __init__(self, size):
        super().__init__()
        self.stem = nn.Conv2d(3, size["width"], 4, stride=4)
        self.blocks = nn.ModuleList(MixerBlock(16, size["width"]) for _ in range(size["depth"]))
        self.norm = nn.LayerNorm(size["width"])
        self.head = nn.Linear(size["width"], 5)

    def forward(self, images):
        x = self.stem(images).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class UNet(nn.Module):
    """Two scales, a transposed convolution up, a concatenated skip, one output channel."""

    def __init__(self, width):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.merge = nn.Conv2d(2 * width, width, 3, padding=1)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, images):
        skip = F.relu(self.norm(self.stem(images)))
        x = self.up(F.relu(self.down(skip)))
        return self.head(F.relu(self.merge(torch.cat([x, skip], 1))))


class LoRALinear(nn.Module):
    """A linear map plus a product of two thin ones of fixed rank."""

    def __init__(self, fan_in, fan_out, rank=2):
        super().__init__()
        self.base = nn.Linear(fan_in, fan_out, bias=False)
        self.a = nn.Parameter(torch.randn(rank, fan_in))
        self.b = nn.Parameter(torch.zeros(fan_out, rank))

    def forward(self, x):
        return self.base(x) + (x @ self.a.T) @ self.b.T


class LoRANet(nn.Module):
    """Stem, a LoRA-wrapped hidden map, readout."""

    def __init__(self, width):
        super().__init__()
        self.stem = nn.Linear(5, width)
        self.hidden = LoRALinear(width, width)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(F.relu(self.hidden(F.relu(self.stem(x)))))


class StateSpace(nn.Module):
    """Mamba-like block: depthwise convolution, (d, 16) state matrix, selective scan, gate."""

    def __init__(self, width):
        super().__init__()
        self.inner = 2 * width
        self.in_proj = nn.Linear(width, 2 * self.inner, bias=False)
        self.conv = nn.Conv1d(self.inner, self.inner, 3, padding=2, groups=self.inner)
        self.x_proj = nn.Linear(self.inner, 2 + 32, bias=False)
        self.dt_proj = nn.Linear(2, self.inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, 17).float()).repeat(self.inner, 1))
        self.D = nn.Parameter(torch.ones(self.inner))
        self.out_proj = nn.Linear(self.inner, width, bias=False)

    def forward(self, u):
        x, gate = self.in_proj(u).chunk(2, dim=-1)
        x = F.silu(self.conv(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        dt, b, c = self.x_proj(x).split([2, 16, 16], dim=-1)
        dt = F.softplus(self.dt_proj(dt))
        decay = torch.exp(dt.unsqueeze(-1) * -torch.exp(self.A_log))
        drive = dt.unsqueeze(-1) * b.unsqueeze(2) * x.unsqueeze(-1)
        state, outputs = torch.zeros_like(decay[:, 0]), []
        for step in range(x.shape[1]):
            state = decay[:, step] * state + drive[:, step]
            outputs.append((state * c[:, step].unsqueeze(1)).sum(-1))
        y = torch.stack(outputs, 1) + self.D * x
        return self.out_proj(y * F.silu(gate))


class Mamba(nn.Module):
    """A language model of state-space blocks."""

    def __init__(self, size):
        super().__init__()
        self.embed = nn.Embedding(13, size["width"])
        self.norms = nn.ModuleList(nn.LayerNorm(size["width"]) for _ in range(size["depth"]))
        self.layers = nn.ModuleList(StateSpace(size["width"]) for _ in range(size["depth"]))
        self.head = nn.Linear(size["width"], 13, bias=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        for norm, layer in zip(self.norms, self.layers):
            x = x + layer(norm(x))
        return self.head(x)


class RawExperts(nn.Module):
    """A dense mixture of experts from 3-D tensors [expert, in, out] through einsum, with a softmax router."""

    def __init__(self, size):
        super().__init__()
        width, experts = size["width"], size["experts"]
        self.stem = nn.Parameter(torch.randn(5, width))
        self.router = nn.Parameter(torch.randn(width, experts) / width**0.5)
        self.up = nn.Parameter(torch.randn(experts, width, 2 * width) / width**0.5)
        self.down = nn.Parameter(torch.randn(experts, 2 * width, width) / (2 * width) ** 0.5)
        self.gain = nn.Parameter(torch.ones(1, 1, width))
        self.head = nn.Parameter(torch.randn(width, 3) / width**0.5)

    def forward(self, x):
        x = x @ self.stem
        weights = torch.softmax(x @ self.router, -1)
        weights = weights * (weights >= weights.topk(2, dim=-1).values[..., -1:])
        y = torch.einsum("bd,edf->bef", x, self.up).relu()
        y = torch.einsum("bef,efd->bed", y, self.down)
        x = x + (y * weights.unsqueeze(-1)).sum(1)
        return (x * self.gain[0]) @ self.head


class PositionToken(nn.Module):
    """Class token and position table as raw parameters, packed and biased projections, explicit softmax attention."""

    def __init__(self, size):
        super().__init__()
        width, self.heads = size["width"], size["heads"]
        self.stem = nn.Linear(6, width)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 5, width) * 0.02)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.scale_out = nn.Parameter(0.1 * torch.ones(width))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), self.stem(x)], 1) + self.pos
        split = lambda y: y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        q, k, v = split(self.q(x)), split(self.k(x)), split(self.v(x))
        scores = (q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + self.scale_out * self.out(mixed)
        return self.head(x[:, 0])


TOKENS = torch.zeros(2, 4, dtype=torch.long)
IMAGES = torch.zeros(2, 3, 16, 16)
PLAIN = {
    "multihead": (Attend, {"width": 8, "heads": 2, "depth": 2}, {"width": 32, "heads": 8, "depth": 4}, TOKENS),
    "lstm": (Recurrent, 8, 32, TOKENS),
    "mixer": (Mixer, {"width": 8, "depth": 2}, {"width": 32, "depth": 4}, IMAGES),
    "unet": (UNet, 8, 32, torch.zeros(2, 1, 8, 8)),
    "lora": (LoRANet, 8, 32, torch.zeros(2, 5)),
    "mamba": (Mamba, {"width": 8, "depth": 2}, {"width": 32, "depth": 4}, TOKENS),
    "experts": (RawExperts, {"width": 8, "experts": 4}, {"width": 32, "experts": 8}, torch.zeros(2, 5)),
    "positions": (PositionToken, {"width": 8, "heads": 2}, {"width": 32, "heads": 2}, torch.zeros(2, 4, 6)),
}
