"""What a monitor left on costs: training steps of the byte GPT with it and without, one run.

    python benchmarks/monitor_overhead.py [--width 128] [--depth 4] [--every 100] [--pairs 40] [--blocks 6]

First the price of a measurement: single steps that are measured (hooks put on and taken off inside) against single
steps that are not, in turn, as a ratio of CPU times; spread over the interval it is the overhead. Then a check of the
whole: blocks of as many steps as lie between two measurements, with and without the monitor.
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
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--blocks", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spec = TransformerSpec(width=arguments.width, depth=arguments.depth, head_dim=16, vocab_size=96)
    model = build_model(spec, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(0, 96, (arguments.batch, spec.context + 1), generator=torch.Generator().manual_seed(0))
    for watched in (False, True):
        block(model, optimizer, tokens, steps=2, watched=watched)
    plain, measured = alternate(model, optimizer, tokens, steps=1, rounds=arguments.pairs)
    step = statistics.median(plain)
    extra = [with_ / without - 1 for without, with_ in zip(plain, measured)]
    price, error = statistics.median(extra), 1.25 * statistics.stdev(extra) / len(extra) ** 0.5
    print(f"a step without the monitor: {1e3 * step:.1f} ms of CPU")
    print(
        f"a measurement costs {price:.2f} +- {error:.2f} steps; one in {arguments.every}: {price / arguments.every:.2%}"
    )
    plain, measured = alternate(model, optimizer, tokens, steps=arguments.every, rounds=arguments.blocks)
    ratios = [with_ / without for without, with_ in zip(plain, measured)]
    spread = 1.25 * statistics.stdev(ratios) / len(ratios) ** 0.5
    print(
        f"whole blocks of {arguments.every} steps: {statistics.median(ratios):.3f} +- {spread:.3f} of the time without"
    )


def alternate(
    model: nn.Module, optimizer: torch.optim.Optimizer, tokens: torch.Tensor, *, steps: int, rounds: int
) -> tuple[list[float], list[float]]:
    """CPU times of blocks without and with the monitor, in turn."""
    plain, measured = [], []
    for round_ in range(rounds):
        times = {}
        # The order alternates: whoever comes second finds a warmer cache.
        for watched in (False, True) if round_ % 2 else (True, False):
            times[watched] = block(model, optimizer, tokens, steps=steps, watched=watched)
        plain.append(times[False])
        measured.append(times[True])
    return plain, measured


if __name__ == "__main__":
    main()
