"""One small network with what measurements trip over: batch norm, dropout, attention, tied weights, frozen ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCAB, WIDTH, HEADS, TOKENS, BATCH = 11, 8, 2, 6, 4


class OddNetwork(nn.Module):
    """Tokens (B, T) -> logits (B, T, VOCAB): fused and packaged attention, a frozen map, dropout, a tied readout."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.frozen = nn.Linear(WIDTH, WIDTH)
        self.packaged = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.1, batch_first=True)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.up = nn.Linear(WIDTH, 2 * WIDTH)
        self.act = nn.ReLU()
        self.down = nn.Linear(2 * WIDTH, WIDTH)
        self.drop = nn.Dropout(0.2)
        self.readout = nn.Linear(WIDTH, VOCAB, bias=False)
        self.readout.weight = self.embedding.weight
        self.frozen.requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        """One block, then the readout."""
        x = self.embedding(tokens)
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        x = x + self.frozen(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        x = x + self.packaged(x, x, x, need_weights=False)[0]
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.readout(x + self.drop(self.down(self.act(self.up(x)))))


def odd_network(dtype: torch.dtype = torch.float32, *, seed: int = 0) -> tuple[OddNetwork, Tensor, Tensor]:
    """The network, a batch of tokens, and targets."""
    generator = torch.Generator().manual_seed(seed)
    model = OddNetwork().to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    tokens = torch.randint(VOCAB, (BATCH, TOKENS), generator=generator)
    return model, tokens, torch.randint(VOCAB, (BATCH, TOKENS), generator=generator)


def token_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy."""
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def whole_state(model: nn.Module) -> dict[str, object]:
    """Everything that a measurement must leave as it found it, copied."""
    state: dict[str, object] = {f"tensor {name}": tensor.clone() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        state[f"grad {name}"] = None if parameter.grad is None else parameter.grad.clone()
        state[f"trainable {name}"] = parameter.requires_grad
    for name, module in model.named_modules():
        state[f"mode {name}"] = module.training
        state[f"hooks {name}"] = (len(module._forward_hooks), len(module._forward_pre_hooks))
    state["random"] = torch.get_rng_state()
    return state


def assert_untouched(before: dict[str, object], model: nn.Module) -> None:
    """Bitwise."""
    after = whole_state(model)
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = torch.equal(value, after[name]) if isinstance(value, torch.Tensor) else value == after[name]
        assert same, f"{name} was changed"
