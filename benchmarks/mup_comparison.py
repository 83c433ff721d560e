"""A planned training step beside the `mup` package's and beside plain AdamW: one network, one run.

    python benchmarks/mup_comparison.py --mup-python PATH [--width 128] [--rounds 30]

PATH is the interpreter of a virtual environment that holds `mup`, installed with `pip install --no-deps mup` (its own
dependencies would replace torch by a CUDA build); torch, limes and everything else come from the environment that runs
this script. Blocks of steps alternate, and ratios of CPU times to plain AdamW(fused=True) are taken within each round,
so that what else the machine does cancels. Printed: medians, their standard errors, and the number of parameter groups.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import nn

from limes.models import build_model
from limes.parametrize import plan
from limes.spec.model import TransformerSpec

BASE = TransformerSpec(width=32, depth=4, head_dim=16, vocab_size=96)
OPTIONS = {"lr": 1e-3, "weight_decay": 0.01}


def build(spec: TransformerSpec) -> nn.Module:
    """The byte GPT."""
    return build_model(spec, generator=torch.Generator().manual_seed(0))


def plain(spec: TransformerSpec) -> tuple[nn.Module, torch.optim.Optimizer]:
    """One group, one learning rate."""
    model = build(spec)
    return model, torch.optim.AdamW(model.parameters(), fused=True, **OPTIONS)


def planned(spec: TransformerSpec, form: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
    """As `limes.plan` prescribes."""
    made = plan(build, base=BASE, target=spec, parametrization="mup", optimizer="adamw", form=form)
    model = made.apply_multipliers(made.init_(build(spec), seed=0))
    return model, torch.optim.AdamW(made.param_groups(model, **OPTIONS), fused=True)


def packaged(spec: TransformerSpec) -> tuple[nn.Module, torch.optim.Optimizer]:
    """As `mup` prescribes: a readout layer of its own, shapes hung on the parameters."""
    import mup

    def with_readout(size: TransformerSpec) -> nn.Module:
        model = build(size)
        model.readout = mup.MuReadout(size.width, 96, bias=False)
        return model

    model = with_readout(spec)
    base, delta = (with_readout(BASE.model_copy(update={"width": width})) for width in (32, 64))
    mup.set_base_shapes(model, base, delta=delta)
    return model, mup.MuAdamW(model.parameters(), fused=True, **OPTIONS)


def seconds(model: nn.Module, optimizer: torch.optim.Optimizer, tokens: torch.Tensor, *, whole: bool) -> float:
    """CPU time of a block of training steps, or of the optimizer's part of them."""
    start = time.process_time()
    for _ in range(4 if whole else 40):
        if whole:
            F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
        if whole:
            optimizer.zero_grad()
    return time.process_time() - start


def measure(width: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Ratios to plain AdamW by who prescribes."""
    spec = BASE.model_copy(update={"width": width})
    tokens = torch.randint(0, 96, (8, 65), generator=torch.Generator().manual_seed(0))
    makers = {
        "plain": lambda: plain(spec),
        "limes, no multiplier": lambda: planned(spec, "no_multiplier"),
        "limes, multiplier": lambda: planned(spec, "multiplier"),
        "mup": lambda: packaged(spec),
    }
    pairs = {name: make() for name, make in makers.items()}
    result: dict[str, dict[str, Any]] = {name: {"groups": len(pair[1].param_groups)} for name, pair in pairs.items()}
    for whole in (True, False):  # the first one leaves gradients for the second
        ratios: dict[str, list[float]] = {name: [] for name in pairs}
        for index in range(-1, rounds):
            if not whole:
                for model, _ in pairs.values():
                    for value in model.parameters():
                        value.grad = torch.ones_like(value)
            order = list(pairs) if index % 2 else list(pairs)[::-1]
            times = {name: seconds(*pairs[name], tokens, whole=whole) for name in order}
            if index >= 0:  # the first round warms up
                for name in pairs:
                    ratios[name].append(times[name] / times["plain"])
        label = "training step" if whole else "optimizer step"
        for name, values in ratios.items():
            error = 1.25 * statistics.stdev(values) / len(values) ** 0.5
            result[name][label] = [round(statistics.median(values), 3), round(error, 3)]
    return result


def main() -> None:
    """Run in the interpreter that has mup, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mup-python", help="interpreter of the environment with mup; this one if left out")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    if options.mup_python:
        arguments = [options.mup_python, __file__, "--width", str(options.width), "--rounds", str(options.rounds)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        sys.exit(subprocess.run(arguments, env=environment).returncode)
    torch.set_num_threads(1)
    print(json.dumps(measure(options.width, options.rounds), indent=1))


if __name__ == "__main__":
    main()
