"""What a sweep costs beyond its training, and what a second worker brings: ratios, measured in one run.

    python benchmarks/sweep_overhead.py [--budget default] [--set training.steps=200] [--throughput]

The whole job (driver and one worker, imports included) runs beside the bare steps and one final evaluation of the same
networks in a plain loop: both at the same time, so that the caches and the clock which they share slow both alike.
"""

import argparse
import os
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

# Runs a command, then prints the CPU seconds of it and all its children, and the wall seconds.
TIMED = """
import resource, subprocess, sys, time
start = time.monotonic()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, time.monotonic() - start)
sys.exit(code)
"""


def start_sweep(study: Path, settings: list[str], folder: Path, *, workers: int) -> subprocess.Popen[bytes]:
    """`limes sweep` in a process of its own, with `time` around it that tells the CPU seconds of all its children."""
    flags = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "limes", "sweep", str(study), "--out", str(folder), "--workers", str(workers)]
    return subprocess.Popen(
        [sys.executable, "-c", TIMED, *command, *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def seconds_of(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """CPU and wall seconds of a started sweep, once it has ended."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit("limes sweep failed; run it by hand to see why")
    cpu, wall = output.split()[-2:]
    return float(cpu), float(wall)


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


def print_bare(folder: Path) -> None:
    """Print the bare CPU seconds of all runs of a finished store, in the order in which a worker takes them."""
    torch.set_num_threads(1)
    with Store.open(folder, read_only=True) as store:
        rows = {row.key: row for row in store.rows()}
        keys = sorted(rows, key=lambda key: (-rows[key].flops, key))
        specs = [RunSpec.model_validate(store.spec(key)) for key in keys]
    print(sum(bare_seconds(spec) for spec in specs))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="quick", choices=("quick", "default"))
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--throughput", action="store_true", help="also compare two workers with one; needs idle cores")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        print_bare(arguments.bare)
        return
    study = builtin_folder() / f"{arguments.budget}.toml"
    load_study(study, settings=arguments.settings)
    with tempfile.TemporaryDirectory() as name:
        both = Path(name) / "two_workers"
        _, wall_two = seconds_of(start_sweep(study, arguments.settings, both, workers=2))
        job = start_sweep(study, arguments.settings, Path(name) / "one_worker", workers=1)
        bare = subprocess.Popen([sys.executable, __file__, "--bare", str(both)], stdout=subprocess.PIPE)
        plain = float(bare.communicate()[0])
        cpu, _ = seconds_of(job)
        print(f"whole job {cpu:.1f} CPU s, bare loops beside it {plain:.1f} CPU s: {cpu / plain:.3f}", flush=True)
        if arguments.throughput:
            _, wall_one = seconds_of(start_sweep(study, arguments.settings, Path(name) / "alone", workers=1))
            print(f"throughput of two workers over one: {wall_one / wall_two:.2f}")


if __name__ == "__main__":
    main()
