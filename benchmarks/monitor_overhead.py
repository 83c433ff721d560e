"""What a monitor left on costs: training steps of the byte GPT with it and without, one ratio, one run.

    python benchmarks/monitor_overhead.py [--width 128] [--depth 4] [--every 100] [--rounds 30]

Blocks of as many steps as lie between two measurements alternate, so that each monitored block holds one; the median
ratio of CPU times is printed, so that what else the machine does cancels.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

from limes.measure.monitor import EVERY, Monitor
from limes.models import build_model
from limes.spec import TransformerSpec


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, tokens: torch.Tensor) -> torch.Tensor:
    """One whole training step."""
    loss = nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


def block(
    model: nn.Module, optimizer: torch.optim.Optimizer, tokens: torch.Tensor, *, steps: int, watched: bool
) -> float:
    """CPU time of a block of steps, hooks attached and removed inside."""
    start = time.process_time()
    if watched:
        with Monitor(model, optimizer, every=steps) as monitor:
            for _ in range(steps):
                monitor.step(trained(model, optimizer, tokens))
    else:
        for _ in range(steps):
            trained(model, optimizer, tokens)
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--every", type=int, default=EVERY)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spec = TransformerSpec(width=arguments.width, depth=arguments.depth, head_dim=16, vocab_size=96)
    model = build_model(spec, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(0, 96, (arguments.batch, spec.context + 1), generator=torch.Generator().manual_seed(0))
    for watched in (False, True):
        block(model, optimizer, tokens, steps=2, watched=watched)
    plain, ratios = [], []
    for round_ in range(arguments.rounds):
        times = {}
        # The order alternates: whoever comes second finds a warmer cache.
        for watched in (False, True) if round_ % 2 else (True, False):
            times[watched] = block(model, optimizer, tokens, steps=arguments.every, watched=watched)
        plain.append(times[False] / arguments.every)
        ratios.append(times[True] / times[False])
    step, ratio = statistics.median(plain), statistics.median(ratios)
    error = statistics.stdev(ratios) / len(ratios) ** 0.5
    extra = (ratio - 1) * arguments.every
    print(f"a step without the monitor: {1e3 * step:.1f} ms of CPU")
    print(f"with it, one measurement in {arguments.every} steps: {ratio:.4f} +- {error:.4f} of that")
    print(f"a measurement costs {extra:.2f} steps")


if __name__ == "__main__":
    main()
