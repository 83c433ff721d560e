"""NNGP and tangent kernels beside the neural-tangents package: difference in values, ratio of times.

    python benchmarks/kernels_vs_neural_tangents.py /path/to/other/venv/bin/python

That package needs an older jax and numpy, hence an interpreter of its own, for example
`pip install "neural-tangents==0.6.5" "jax==0.4.30" "jaxlib==0.4.30" "numpy<2" "scipy<1.14"`. Both sides get the same
inputs, float64, and the same cores (the first `--threads` of this process). Its function is compiled by jax.jit and
compilation is not timed; the two alternate, and the best of `--repeats` counts.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CASES = {"relu": (2.0, 0.1), "erf": (1.5, 0.1)}
KINDS = ("nngp", "ntk")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other_python", help="interpreter in whose environment neural_tangents can be imported")
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--input-dim", type=int, default=64)
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def theirs(options: argparse.Namespace) -> None:
    """Answer one line `activation kind` on stdin with the seconds it took; the values go to a file."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from neural_tangents import stax

    folder = Path(options.worker)
    inputs = np.load(folder / "inputs.npy")
    functions = {}
    for line in sys.stdin:
        name, kind = line.split()
        if (name, kind) not in functions:
            weight_var, bias_var = CASES[name]
            dense = stax.Dense(1, weight_var**0.5, bias_var**0.5)
            phi = stax.Relu() if name == "relu" else stax.Erf()
            kernel = stax.serial(*[dense, phi] * options.depth, dense)[2]
            functions[name, kind] = jax.jit(lambda x, kernel=kernel, kind=kind: kernel(x, None, kind))
            functions[name, kind](inputs).block_until_ready()
        start = time.perf_counter()
        values = functions[name, kind](inputs).block_until_ready()
        seconds = time.perf_counter() - start
        np.save(folder / "values.npy", np.asarray(values))
        print(f"seconds {seconds}", flush=True)


def ask(worker: subprocess.Popen, name: str, kind: str) -> float:
    """The other side's seconds for one kernel."""
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(f"{name} {kind}\n")
    worker.stdin.flush()
    for line in worker.stdout:
        if line.startswith("seconds "):
            return float(line.split()[1])
    raise SystemExit("the other interpreter stopped; see its messages above")


def ours(options: argparse.Namespace) -> None:
    """Time both sides alternately and print the table."""
    import torch

    from limes.theory.kernels import nngp_kernel, ntk_kernel

    torch.set_num_threads(options.threads)
    inputs = np.random.default_rng(0).standard_normal((options.inputs, options.input_dim))
    x = torch.from_numpy(inputs)
    print(
        f"{options.inputs} inputs, depth {options.depth}, float64, {options.threads} thread(s), {options.repeats} tries"
    )
    print("activation kernel | difference off the diagonal, on it (relative) | seconds limes, other | ratio")
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "inputs.npy", inputs)
        command = [options.other_python, *sys.argv, "--worker", folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
            for name, (weight_var, bias_var) in CASES.items():
                for kind in KINDS:
                    function = nngp_kernel if kind == "nngp" else ntk_kernel
                    mine, other = [], []
                    for _ in range(options.repeats):
                        other.append(ask(worker, name, kind))
                        start = time.perf_counter()
                        values = function(
                            x, depth=options.depth, activation=name, weight_var=weight_var, bias_var=bias_var
                        )
                        mine.append(time.perf_counter() - start)
                    report(name, kind, values.numpy(), np.load(Path(folder) / "values.npy"), min(mine), min(other))
                    if (name, kind) == ("relu", "ntk"):
                        exact = relu_diagonal(inputs, options.depth)
                        pair = (values.numpy(), np.load(Path(folder) / "values.npy"))
                        errors = [np.abs(np.diagonal(kernel) - exact).max() for kernel in pair]
                        print(f"  error against the exact diagonal: limes {errors[0]:.1e}, other {errors[1]:.1e}")
            assert worker.stdin is not None
            worker.stdin.close()


def relu_diagonal(inputs: np.ndarray, depth: int) -> np.ndarray:
    """Exact at weight_var 2: variances grow by bias_var per layer, and the tangent kernel is their sum."""
    weight_var, bias_var = CASES["relu"]
    assert weight_var == 2.0
    first = weight_var * (inputs**2).mean(1) + bias_var
    return (depth + 1) * first + bias_var * depth * (depth + 1) / 2


def report(name: str, kind: str, mine: np.ndarray, other: np.ndarray, seconds: float, other_seconds: float) -> None:
    """One line of the table."""
    difference = np.abs(mine - other)
    on = np.diagonal(difference).max()
    relative = (np.diagonal(difference) / np.diagonal(mine)).max()
    np.fill_diagonal(difference, 0.0)
    print(
        f"{name:10} {kind:6} | {difference.max():.1e}, {on:.1e} ({relative:.1e}) | "
        f"{seconds:.3f}, {other_seconds:.3f} | {other_seconds / seconds:.1f}",
        flush=True,
    )


def main() -> None:
    """Pin the cores, set the thread counts, then run the side that was asked for."""
    options = arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    if options.worker:
        theirs(options)
    else:
        ours(options)


if __name__ == "__main__":
    main()
