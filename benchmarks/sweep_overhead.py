"""What a sweep costs beyond its training, and what a second worker brings: ratios, measured in one run.

    python benchmarks/sweep_overhead.py [--budget quick] [--set training.steps=200]

The whole job (driver and workers, imports included) is compared by CPU time with the bare steps and one final
evaluation of the same networks in a plain loop. The second ratio needs two idle cores to mean anything.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

from limes.cli.options import builtin_folder
from limes.spec import RunSpec, load_study
from limes.store import Store
from limes.sweep.build import build_run


def sweep(study: Path, settings: list[str], folder: Path, *, workers: int) -> tuple[float, float]:
    """CPU and wall seconds of `limes sweep` in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    flags = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "limes", "sweep", str(study), "--out", str(folder), "--workers", str(workers)]
    subprocess.run([*command, *flags], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - start


def bare_seconds(spec: RunSpec) -> float:
    """CPU seconds of the steps and one evaluation of a run of the byte GPT, without any of our training code."""
    model, data, _ = build_run(spec)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    start = time.process_time()
    for step in range(spec.training.steps):
        inputs, targets = data.batch(step)
        loss = nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        for inputs, targets in data.validation():
            nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="quick", choices=("quick", "default"))
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    study = builtin_folder() / f"{arguments.budget}.toml"
    load_study(study, settings=arguments.settings)
    with tempfile.TemporaryDirectory() as name:
        one_cpu, one_wall = sweep(study, arguments.settings, Path(name) / "one", workers=1)
        two_cpu, two_wall = sweep(study, arguments.settings, Path(name) / "two", workers=2)
        with Store.open(Path(name) / "two", read_only=True) as store:
            keys = sorted({row.key for row in store.rows()})
            specs = [RunSpec.model_validate(store.spec(key)) for key in keys]
        bare = sum(bare_seconds(spec) for spec in specs)
    print(f"{len(specs)} runs; bare steps and evaluations {bare:.1f} CPU s")
    print(f"whole job / bare, CPU: {one_cpu / bare:.3f} with one worker, {two_cpu / bare:.3f} with two")
    print(f"throughput of two workers over one: {one_wall / two_wall:.2f}")


if __name__ == "__main__":
    main()
