"""Cost of a planned training step against plain AdamW(fused=True), side by side in one run.

Run: python benchmarks/plan_overhead.py [--width 128] [--repeats 30]. Ratios of CPU times of interleaved blocks, so
that a busy machine shifts both alike; the median ratio is what counts (budget: 1.02 for the whole step).
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import nn

from limes.models import build_model
from limes.parametrize import plan
from limes.spec.model import TransformerSpec


def build(spec: TransformerSpec) -> nn.Module:
    """The byte GPT."""
    return build_model(spec, generator=torch.Generator().manual_seed(0))


def stepper(model: nn.Module, optimizer: torch.optim.Optimizer, *, whole: bool) -> Callable[[], None]:
    """One training step, or the optimizer's part of it."""
    tokens = torch.randint(0, 96, (8, 65), generator=torch.Generator().manual_seed(0))
    for value in model.parameters():
        value.grad = torch.zeros_like(value)

    def step() -> None:
        if whole:
            optimizer.zero_grad()
            F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()

    return step


def block(step: Callable[[], None], count: int) -> float:
    """CPU seconds of some steps."""
    start = time.process_time()
    for _ in range(count):
        step()
    return time.process_time() - start


def main() -> None:
    """Print the median ratios as one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = TransformerSpec(head_dim=16, vocab_size=96)
    target = base.model_copy(update={"width": options.width, "depth": 4})
    result: dict[str, float] = {}
    for form in ("no_multiplier", "multiplier"):
        made = plan(build, base=base, target=target, form=form)  # type: ignore[arg-type]
        for whole in (False, True):
            plain, planned = build(target), made.apply_multipliers(build(target))
            reference = torch.optim.AdamW(plain.parameters(), lr=1e-3, fused=True)
            groups = made.param_groups(planned, lr=1e-3, weight_decay=0.01)
            steps = (
                stepper(plain, reference, whole=whole),
                stepper(planned, torch.optim.AdamW(groups, fused=True), whole=whole),
            )
            count = 4 if whole else 40
            for step in steps:
                block(step, count)
            ratios = []
            for index in range(options.repeats):
                order = (0, 1) if index % 2 else (1, 0)
                times = {which: block(steps[which], count) for which in order}
                ratios.append(times[1] / times[0])
            label = f"{form} {'training step' if whole else 'optimizer step'}"
            result[label] = round(statistics.median(ratios), 4)
            result[f"{form} groups"] = len(groups)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
