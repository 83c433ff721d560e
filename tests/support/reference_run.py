"""The reference training run: byte text of the standard library, 200 steps, whose losses were measured once."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

REFERENCE_HASH = "8a9de81e614826a93197919b4a86451adac79b8a675cd919d4c168bd23d8b509"


@lru_cache(maxsize=1)
def reference_corpus() -> Tensor:
    """2,500,000 token ids; the test skips where the standard library has another text."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[key] for key in sorted(topics))
    for file in sorted(Path(os.__file__).parent.glob("*.py")):
        if len(text) > 2.5e6:
            break
        text += file.read_text(encoding="utf-8", errors="replace")
    raw = text.encode("ascii", "ignore")[:2_500_000]
    if hashlib.sha256(raw).hexdigest() != REFERENCE_HASH:
        pytest.skip("the reference losses belong to the standard library of CPython 3.11.7")
    values = sorted(set(raw))
    table = torch.zeros(256, dtype=torch.long)
    table[torch.tensor(values)] = torch.arange(len(values))
    return table[torch.frombuffer(bytearray(raw), dtype=torch.uint8).long()]


def train_reference(model: nn.Module, optimizer: torch.optim.Optimizer, *, seed: int) -> float:
    """Train 200 steps of 8 x 64 tokens with warm-up and linear decay; returns the validation loss."""
    data = reference_corpus()
    generator = torch.Generator().manual_seed(1000 + seed)
    peaks = [group["lr"] for group in optimizer.param_groups]
    for step in range(200):
        factor = (step + 1) / 20 if step < 20 else (200 - step) / 180
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        starts = torch.randint(0, 2_440_000 - 65, (8,), generator=generator)
        window = torch.stack([data[start : start + 65] for start in starts])
        loss = F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    losses = []
    for offset in (0, 67):
        window = torch.stack([data[2_440_000 + j * 59934 // 32 + offset :][:65] for j in range(32)])
        with torch.no_grad():
            losses.append(F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten()).item())
    return sum(losses) / 2
