"""Transformers of 64 blocks on text, shaped and not, at several learning rates: loss and likeness of tokens.

    python benchmarks/shaped_depth.py [--steps 160] [--depth 64]

Unshaped blocks have plain softmax attention and relu in He scaling in the same places, and no norm either; "skip" is
the share 1 - branch_weight that each block keeps of the stream. A network whose tokens are all alike can only learn
how often each byte comes: the loss that it cannot pass is printed first.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from limes.core.rng import stream
from limes.data.corpus import load_corpus
from limes.measure.features import token_similarity
from limes.models.shaped import ShapedAttention, build_shaped_transformer
from limes.models.transformer import Transformer
from limes.spec import TransformerSpec
from limes.spec.data import CorpusSpec

WIDTH, HEAD_DIM, CONTEXT, BATCH = 32, 16, 24, 12
LEARNING_RATES = (1e-4, 1e-3, 3e-3)
VARIANTS = {  # shaped, branch_weight
    "shaped, skip 0.9": (True, 0.1),
    "unshaped, no skip": (False, 1.0),
    "unshaped, skip 0.9": (False, 0.1),
}


class PlainAttention(nn.Module):
    """The same maps under plain softmax."""

    def __init__(self, shaped: ShapedAttention) -> None:
        super().__init__()
        self.qkv, self.num_heads = shaped.qkv, shaped.num_heads

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        q, k, v = (part.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).reshape(x.shape)


def build(depth: int, vocab_size: int, *, shaped: bool, branch_weight: float) -> Transformer:
    """One network."""
    spec = TransformerSpec(
        width=WIDTH, head_dim=HEAD_DIM, depth=depth, context=CONTEXT, vocab_size=vocab_size, mlp_ratio=1
    )
    model = build_shaped_transformer(spec, generator=stream(0, "init"), branch_weight=branch_weight)
    generator = stream(1, "init")
    for block in () if shaped else model.blocks:
        block.activation, block.attention = nn.ReLU(), PlainAttention(block.attention)
        nn.init.normal_(block.down.weight, std=(2.0 / WIDTH) ** 0.5, generator=generator)
    return model


def train(model: Transformer, tokens: Tensor, lr: float, steps: int) -> list[tuple[int, float, float]]:
    """Step, mean loss of the last steps, cosine between tokens after the last block."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    generator = stream(0, "batch")
    outputs: list[Tensor] = []
    model.blocks[-1].register_forward_hook(lambda module, args, out: outputs.append(out.detach()))
    rows, losses = [], []
    for step in range(steps):
        start = torch.randint(len(tokens) - CONTEXT - 1, (BATCH, 1), generator=generator)
        batch = tokens[start + torch.arange(CONTEXT + 1)]
        outputs.clear()
        loss = nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        losses.append(float(loss.detach()))
        if step in (0, steps // 8, steps // 4, steps // 2, steps - 1):
            likeness = float(token_similarity(outputs[0].double()).mean())
            rows.append((step, sum(losses[-20:]) / len(losses[-20:]), likeness))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return rows


def main() -> None:
    """Print one row per network and learning rate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--depth", type=int, default=64)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    content = load_corpus(CorpusSpec(), base_dir=Path())
    tokens = torch.from_numpy(content.train.astype("int64"))
    counts = torch.bincount(tokens)
    shares = counts[counts > 0] / counts.sum()
    print(f"bytes by frequency alone: {float(-(shares * shares.log()).sum()):.3f} nats", flush=True)
    for name, (shaped, branch_weight) in VARIANTS.items():
        for lr in LEARNING_RATES:
            model = build(wanted.depth, len(counts), shaped=shaped, branch_weight=branch_weight)
            start = time.process_time()
            rows = train(model, tokens, lr, wanted.steps)
            told = "  ".join(f"{step}: {loss:.3f} {likeness:+.3f}" for step, loss, likeness in rows)
            print(f"{name:20s} lr {lr:<7g} {told}   {time.process_time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
