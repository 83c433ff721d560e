"""Sharpness of a trained byte GPT by limes, by scipy's ARPACK and by PyHessian: value, products, CPU time side by side.

    python benchmarks/sharpness_peers.py [--tolerance 1e-4] [--pyhessian FOLDER]

All three on the same model and batch, limes and ARPACK with the same Hessian-vector product. FOLDER is where
`pip install --no-deps --target=FOLDER pyhessian` put the package, which is not a dependency.
"""

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from limes.measure.hessian import hessian_operator
from limes.measure.sharpness import sharpness
from limes.models import build_model
from limes.spec import TransformerSpec
from limes.spec.data import CorpusSpec
from limes.spec.training import TrainingSpec
from limes.sweep.build import data_for, fill_model

WIDTH, STEPS = 64, 100


def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of the next byte."""
    return nn.functional.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def trained() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A byte GPT after some steps, and the batch on which curvature is asked for."""
    spec = TransformerSpec(width=WIDTH, head_dim=16, depth=2)
    data = data_for(CorpusSpec(), spec, TrainingSpec(), seed=0)
    model = build_model(fill_model(spec, data), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2.0**-8)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_fn(model, data.batch(step)).backward()
        optimizer.step()
    return model, data.batch(0)


def by_arpack(model: nn.Module, batch: tuple[Tensor, Tensor], tolerance: float, seed: int) -> tuple[float, int]:
    """Largest algebraic eigenvalue by scipy, and the number of products."""
    with hessian_operator(model, loss_fn, batch) as hessian:

        def product(vector: np.ndarray) -> np.ndarray:
            return hessian.product(torch.from_numpy(vector.astype(np.float32).ravel())).numpy()

        start = hessian.random(generator=torch.Generator().manual_seed(seed)).numpy()
        shape = (hessian.num_params, hessian.num_params)
        operator = LinearOperator(shape, matvec=product, dtype=np.float32)
        values = eigsh(operator, k=1, which="LA", tol=tolerance, v0=start, return_eigenvectors=False)
        return float(values[0]), hessian.num_products


def by_pyhessian(model: nn.Module, batch: tuple[Tensor, Tensor], tolerance: float) -> tuple[float, int]:
    """Its largest eigenvalue in size, by power iteration, and the number of products."""
    import pyhessian

    # The package's own name for the module is taken by the class of the same name.
    module = sys.modules["pyhessian.hessian"]
    count, original = [0], module.hessian_vector_product

    def counted(*arguments: object) -> object:
        count[0] += 1
        return original(*arguments)

    module.hessian_vector_product = counted
    criterion = lambda outputs, targets: nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())  # noqa: E731
    torch.manual_seed(0)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        computer = pyhessian.hessian(model, criterion, data=batch, cuda=False)
        values, _ = computer.eigenvalues(maxIter=500, tol=tolerance, top_n=1)
    model.zero_grad()
    return float(values[0]), count[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--pyhessian", type=Path, default=None, help="folder with the package")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    model, batch = trained()

    def ours(seed: int) -> tuple[float, int]:
        found = sharpness(model, loss_fn, batch, tolerance=arguments.tolerance, seed=seed)
        return found.value, found.num_products

    methods = {"limes": ours, "ARPACK": lambda seed: by_arpack(model, batch, arguments.tolerance, seed)}
    if arguments.pyhessian is not None:
        sys.path.insert(0, str(arguments.pyhessian))
        methods["PyHessian"] = lambda seed: by_pyhessian(model, batch, arguments.tolerance)
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    print(f"{sum(p.numel() for p in model.parameters())} parameters, tolerance {arguments.tolerance:g}")
    for seed in range(arguments.rounds):
        for name, method in methods.items():
            start = time.process_time()
            value, products = method(seed)
            seconds[name].append(time.process_time() - start)
            print(f"  {name:10s} {value:12.6f}  {products:4d} products  {seconds[name][-1]:7.2f} CPU s")
    for name in methods:
        ratio = np.mean(seconds[name]) / np.mean(seconds["limes"])
        print(f"{name:10s} {ratio:.2f} times the CPU time of limes")


if __name__ == "__main__":
    main()
