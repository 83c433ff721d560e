"""Networks whose readout alone is trained: a problem on which the end of the common path is measured and predicted.

The features of a wide network before training give the spectrum and what each mode holds of the target; the theory of
random features turns them into the test loss of networks of any width and sample size at any time. Beside it stand
networks of that width, whose readout follows gradient flow exactly.

Source: arXiv:2402.01092, section 2; limes, docs/consistency.md.
Letters: M inputs of the population, P samples, N width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from limes.compare.bottleneck import Crossover, crossovers, predicted_crossovers
from limes.core.errors import SpecError
from limes.measure import feature_kernels
from limes.models import build_model
from limes.numerics.linalg import positive_eigh
from limes.spec.model import Activation, MLPSpec
from limes.theory.scaling import RandomFeatureProblem, loss_table

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReadoutStudy:
    """Measured and predicted.

    Attributes:
        widths: N.
        times: (T,) gradient-flow times.
        losses: For each width (R, T) mean squared error over the population.
        predicted: (widths, T) the same of the theory.
        ends: Where the common path ends, measured.
        predicted_ends: The same of the theory.
        problem: Spectrum, target power, samples.
    """

    widths: tuple[int, ...]
    times: Array
    losses: tuple[Array, ...]
    predicted: Array
    ends: tuple[Crossover, ...]
    predicted_ends: tuple[Crossover, ...]
    problem: RandomFeatureProblem


def readout_study(
    inputs: Tensor,
    targets: Tensor,
    *,
    widths: Sequence[int],
    seeds: int = 16,
    num_samples: int,
    times: ArrayLike,
    depth: int = 1,
    activation: Activation = "tanh",
    reference_width: int = 4096,
    level: float = 0.9,
    seed: int = 0,
) -> ReadoutStudy:
    """Train readouts of random networks, and predict what they do from the spectrum of a wide one.

    Args:
        inputs: (M, D) the whole population; training samples are drawn from it.
        targets: (M,) or (M, 1).
        widths: Increasing, at least two.
        seeds: Networks of each width, each with samples of its own.
        num_samples: P of each network, below M / 2, so that most of the population is unseen.
        times: (T,) increasing, positive.
        depth: Hidden layers, which stay as they are.
        activation: Of every hidden layer.
        reference_width: Of the network whose kernel is measured; well above the widths.
        level: Of the intervals.
        seed: Of everything that is drawn.

    Raises:
        SpecError: Too many samples, or a reference that is not wider than the widths.

    Source: arXiv:2402.01092, Eq. 10 to 17. **Accuracy**: flow exact; the theory takes features for Gaussian.

    >>> x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> found = readout_study(x, x[:, 0], widths=(4, 8), seeds=3, num_samples=20, times=np.geomspace(1, 1e3, 8))
    >>> found.predicted.shape, len(found.ends)
    ((2, 8), 1)
    """
    grid = np.asarray(times, dtype=float)
    x, y = inputs.double(), targets.double().reshape(len(inputs), -1)[:, 0].numpy()
    if not 1 <= num_samples <= len(x) // 2 or reference_width <= max(widths):
        raise SpecError(
            f"num_samples {num_samples} of {len(x)}, reference_width {reference_width} for widths {list(widths)}: "
            "expected at most half of the inputs, and a reference wider than all"
        )
    spec = MLPSpec(width=1, depth=depth, activation=activation, num_inputs=x.shape[1], num_outputs=1)
    problem = _measured(spec.model_copy(update={"width": reference_width}), x, y, num_samples=num_samples, seed=seed)
    losses = []
    for place, width in enumerate(widths):
        model = spec.model_copy(update={"width": width})
        rows = []
        for count in range(seeds):
            own = seed + 1 + count + 1_000 * (place + 1)
            draw = np.random.default_rng(own).permutation(len(x))[:num_samples]
            rows.append(_flow(_features(model, x, own), y, draw, grid))
        losses.append(np.array(rows))
    sizes = np.array(widths, dtype=float)
    table = loss_table(problem, num_features=sizes[:, None], num_samples=float(num_samples), times=grid[None, :])
    return ReadoutStudy(
        widths=tuple(widths),
        times=grid,
        losses=tuple(losses),
        predicted=table,
        ends=crossovers(sizes, grid, losses, level=level, generator=np.random.default_rng(seed)),
        predicted_ends=predicted_crossovers(problem, sizes, grid),
        problem=problem,
    )


def _measured(spec: MLPSpec, inputs: Tensor, targets: Array, *, num_samples: int, seed: int) -> RandomFeatureProblem:
    """Modes of the wide network's feature kernel on the population."""
    model = build_model(spec, generator=torch.Generator().manual_seed(seed)).double()
    kernel = feature_kernels(model, inputs, layers=["readout"], side="input")["readout"]
    values, vectors = positive_eigh(kernel / len(inputs))
    power = (vectors.numpy().T @ targets) ** 2 / len(inputs)
    return RandomFeatureProblem(values.numpy(), power, num_samples=float(num_samples))


def _features(spec: MLPSpec, inputs: Tensor, seed: int) -> Array:
    """(M, N) what the readout takes, over sqrt(N)."""
    model = build_model(spec, generator=torch.Generator().manual_seed(seed)).double()
    found: list[Tensor] = []
    handle = model.get_submodule("readout").register_forward_pre_hook(lambda module, args: found.append(args[0]))
    with torch.no_grad():
        model(inputs)
    handle.remove()
    return np.asarray(found[0].numpy() / math.sqrt(spec.width))


def _flow(features: Array, targets: Array, chosen: NDArray[np.int64], times: Array) -> Array:
    """(T,) loss over the population of a readout that flows from zero on the chosen samples."""
    some = features[chosen]
    rates, vectors = np.linalg.eigh(some.T @ some / len(chosen))
    force = vectors.T @ (some.T @ targets[chosen]) / len(chosen)
    rates = np.maximum(rates, 1e-15)
    weights = -np.expm1(-rates[:, None] * times) / rates[:, None] * force[:, None]
    return np.asarray(((features @ (vectors @ weights) - targets[:, None]) ** 2).mean(0))
