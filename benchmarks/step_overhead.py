"""A training step with prescribed settings against the same step with plain fused AdamW: one ratio, one run.

    python benchmarks/step_overhead.py [--width 128] [--rounds 40]

Both networks are the byte GPT at the same size; blocks of steps alternate, and the median ratio of their CPU times is
printed, so that what else the machine does cancels. Groups: how many the plan needs.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

from limes.models import build_model
from limes.parametrize import Plan, plan
from limes.spec import TransformerSpec

BASE = TransformerSpec(width=32, head_dim=16, vocab_size=96)
STEPS = 5


def build(spec: TransformerSpec) -> nn.Module:
    """The byte GPT."""
    return build_model(spec, generator=torch.Generator().manual_seed(0))


def cpu_seconds(model: nn.Module, optimizer: torch.optim.Optimizer, tokens: torch.Tensor) -> float:
    """CPU time of a few whole training steps."""
    start = time.process_time()
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - start


def prescribed(scaling: Plan, spec: TransformerSpec) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model with everything that a plan prescribes."""
    model = build(spec)
    scaling.init_(model, seed=0)
    scaling.apply_multipliers(model)
    return model, torch.optim.AdamW(scaling.param_groups(model, lr=1e-3, weight_decay=0.1), fused=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spec = BASE.model_copy(update={"width": arguments.width})
    scaling = plan(build, base=BASE, target=spec, parametrization="completep", optimizer="adamw")
    tokens = torch.randint(0, 96, (8, 65), generator=torch.Generator().manual_seed(0))
    plain_model = build(spec)
    plain = plain_model, torch.optim.AdamW(plain_model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    for form in ("no_multiplier", "multiplier"):
        mine = prescribed(scaling.as_form(form), spec)
        cpu_seconds(*plain, tokens), cpu_seconds(*mine, tokens)
        ratios = []
        for round_ in range(arguments.rounds):
            # The order alternates: whoever comes second finds a warmer cache.
            pair = (mine, plain) if round_ % 2 else (plain, mine)
            first, second = (cpu_seconds(*each, tokens) for each in pair)
            ratios.append(first / second if round_ % 2 else second / first)
        median, spread = statistics.median(ratios), statistics.stdev(ratios) / len(ratios) ** 0.5
        print(f"{form:14s} {len(mine[1].param_groups)} groups: {median:.3f} +- {spread:.3f} of plain AdamW(fused=True)")


if __name__ == "__main__":
    main()
