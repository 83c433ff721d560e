"""What a sweep costs beyond its training, and what a second worker brings: ratios, measured in one run.

    python benchmarks/sweep_overhead.py [--budget quick] [--set training.steps=200]

The whole job (driver and workers, imports included) is compared by CPU time with the bare steps and one final
evaluation of the same networks in a plain loop, run in as many processes as there were workers: two busy cores share
caches and clock, which slows plain loops as much as ours. The ratio of throughputs needs two idle cores.
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


def bare_part(folder: Path, part: int, parts: int) -> None:
    """Print the bare CPU seconds of every `parts`-th run of a finished store, the costliest runs spread evenly."""
    torch.set_num_threads(1)
    with Store.open(folder, read_only=True) as store:
        rows = {row.key: row for row in store.rows()}
        keys = sorted(rows, key=lambda key: (-rows[key].flops, key))[part::parts]
        specs = [RunSpec.model_validate(store.spec(key)) for key in keys]
    print(sum(bare_seconds(spec) for spec in specs))


def bare(folder: Path, *, processes: int) -> float:
    """CPU seconds of the bare loops of all runs, in so many processes side by side."""
    command = [sys.executable, __file__, "--bare", str(folder)]
    running = [
        subprocess.Popen([*command, str(part), str(processes)], stdout=subprocess.PIPE, text=True)
        for part in range(processes)
    ]
    return sum(float(process.communicate()[0]) for process in running)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="quick", choices=("quick", "default"))
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--bare", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        bare_part(Path(arguments.bare[0]), int(arguments.bare[1]), int(arguments.bare[2]))
        return
    study = builtin_folder() / f"{arguments.budget}.toml"
    load_study(study, settings=arguments.settings)
    walls = {}
    with tempfile.TemporaryDirectory() as name:
        for workers in (1, 2):
            folder = Path(name) / str(workers)
            cpu, walls[workers] = sweep(study, arguments.settings, folder, workers=workers)
            plain = bare(folder, processes=workers)
            print(f"{workers} worker(s): whole job {cpu:.1f} CPU s, bare loops {plain:.1f} CPU s: {cpu / plain:.3f}")
    print(f"throughput of two workers over one: {walls[1] / walls[2]:.2f}")


if __name__ == "__main__":
    main()
