"""The covariance of a few inputs in a deep shaped network, as a random process in depth over width.

dV = b(V) dt + Sigma(V)^(1/2) dB with Sigma^(ab,cd) = V^ac V^bd + V^ad V^bc. The noise over a step is a Wishart matrix
around V, which has exactly that covariance and never leaves the cone of covariances; half a step of drift before it and
half after.

Source: Li, Nica & Roy, arXiv:2206.02768, theorems 3.2 and 3.9; the positive step: docs/theory/covariance_sde.md.
Letters: V (m, m) covariance, t = layer / width, T depth / width, k degrees of freedom of the Wishart step, 1 / dt.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import ConvergenceError, SpecError
from limes.theory.checks import check_covariance, check_number, check_whole
from limes.theory.initialization.shapes import Shape, ShapedReLU


@dataclass(frozen=True, eq=False)
class CovarianceProblem:
    """A deep shaped network seen through the covariance of its activations on a few inputs.

    Args:
        covariance: (m, m) V at the first layer, mean over neurons of phi_s(z^a) phi_s(z^b) times its normalizer.
        depth_ratio: T, layers over width.
        shape: `ShapedReLU` or `ShapedSmooth`.

    Raises:
        SpecError: The covariance is not one, or the ratio is not positive.

    >>> CovarianceProblem([[1.0, 0.3], [0.3, 1.0]], 1.0).num_inputs
    2
    """

    covariance: Any
    depth_ratio: float
    shape: Shape = field(default_factory=ShapedReLU)

    def __post_init__(self) -> None:
        object.__setattr__(self, "covariance", check_covariance("covariance", self.covariance))
        object.__setattr__(self, "depth_ratio", check_number("depth_ratio", self.depth_ratio, low=0.0, open_low=True))
        if not isinstance(self.shape, Shape):
            raise SpecError(f"shape is a {type(self.shape).__name__}; expected ShapedReLU or ShapedSmooth")

    @property
    def num_inputs(self) -> int:
        """m."""
        return len(self.covariance)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CovarianceResult:
    """Covariances at the last layer, of independent paths or of independent networks.

    Args:
        covariance: (N, m, m); where stopped, the last one before the cap.
        stopped: (N,) whether the trace passed the cap.
        stop_time: (N,) t at which it did, T where it never did.
        problem: What was solved.
    """

    covariance: Tensor
    stopped: Tensor
    stop_time: Tensor
    problem: CovarianceProblem = field(repr=False)

    @property
    def stopped_share(self) -> float:
        """Share of the paths that passed the cap; statistics of the others are conditional on that."""
        return float(self.stopped.double().mean())

    @property
    def alive(self) -> Tensor:
        """(N - stopped, m, m) covariances of the paths that reached the end."""
        return self.covariance[~self.stopped]

    def correlation(self, first: int = 0, second: int = 1) -> Tensor:
        """(N - stopped,) correlations of two inputs."""
        v = self.alive
        return v[:, first, second] / (v[:, first, first] * v[:, second, second]).sqrt()

    def log_variance(self, index: int = 0) -> Tensor:
        """(N - stopped,) logarithms of a diagonal entry."""
        return self.alive[:, index, index].log()


def solve_covariance_sde(
    problem: CovarianceProblem, *, num_paths: int = 4096, num_steps: int = 200, cap: float = 1e6, seed: int = 0
) -> CovarianceResult:
    """Independent paths of the limit process, up to depth_ratio or to the stopping time.

    Args:
        problem: Covariance at the first layer, depth over width, shape.
        num_paths: Independent paths.
        num_steps: Steps of length depth_ratio / num_steps, short enough that 1 / step exceeds the number of inputs.
        cap: A path stops where its trace exceeds cap times the initial one.
        seed: Of the paths.

    Returns:
        `CovarianceResult`.

    Raises:
        SpecError: Too few steps, or another argument out of range.

    **Accuracy**: weak order 1 in the step: at 200 steps of T = 1, 0.003 in means of logarithms and correlations, less
    than the error of 20,000 paths; beside an explosion of the limit itself, compare quantiles and correlations.
    **Source**: arXiv:2206.02768, theorems 3.2 and 3.9.

    >>> result = solve_covariance_sde(CovarianceProblem([[1.0, 0.3], [0.3, 1.0]], 0.5), num_paths=64, num_steps=20)
    >>> result.covariance.shape, result.stopped_share
    (torch.Size([64, 2, 2]), 0.0)
    """
    num_paths, num_steps = check_whole("num_paths", num_paths), check_whole("num_steps", num_steps)
    cap = check_number("cap", cap, low=1.0, open_low=True)
    step, m = problem.depth_ratio / num_steps, problem.num_inputs
    if 1.0 / step <= m:
        raise SpecError(
            f"num_steps {num_steps} gives steps of {step:.3g}; expected below 1 / {m} for {m} inputs: "
            f"use more than {math.ceil(problem.depth_ratio * m)} steps"
        )
    draw = np.random.Generator(np.random.Philox(check_whole("seed", seed, least=0)))
    v = problem.covariance.expand(num_paths, m, m).clone()
    limit = cap * float(problem.covariance.trace())
    stopped = torch.zeros(num_paths, dtype=torch.bool)
    stop_time = torch.full((num_paths,), problem.depth_ratio, dtype=torch.float64)
    for index in range(num_steps):
        half = v + 0.5 * step * problem.shape.drift(v)
        if bool((half.diagonal(dim1=1, dim2=2)[~stopped] <= 0.0).any()):
            raise ConvergenceError(f"steps of {step:.3g} are too long for this drift; raise num_steps")
        noisy = wishart_step(half, step, draw)
        new = noisy + 0.5 * step * problem.shape.drift(noisy)
        trace = new.diagonal(dim1=1, dim2=2).sum(1)
        over = ~stopped & ~(trace <= limit)
        stop_time[over] = (index + 1) * step
        stopped |= over
        v = torch.where(stopped[:, None, None], v, new)
    return CovarianceResult(covariance=v, stopped=stopped, stop_time=stop_time, problem=problem)


def wishart_step(v: Tensor, step: float, draw: np.random.Generator) -> Tensor:
    """(N, m, m) Wishart matrices with mean v and covariance step * Sigma(v): positive semidefinite by construction.

    **Source**: Bartlett's decomposition. **Accuracy**: exact in distribution.

    >>> v = torch.ones(2, 1, 1, dtype=torch.float64)
    >>> bool((wishart_step(v, 0.1, np.random.Generator(np.random.Philox(0))) > 0).all())
    True
    """
    count, m = v.shape[0], v.shape[-1]
    freedom = 1.0 / step
    root = np.zeros((count, m, m))
    for i in range(m):
        root[:, i, i] = np.sqrt(draw.chisquare(freedom - i, count))
        root[:, i, :i] = draw.standard_normal((count, i))
    factor = semidefinite_factor(v) @ torch.from_numpy(root)
    return step * factor @ factor.mT


def semidefinite_factor(v: Tensor) -> Tensor:
    """(N, m, m) lower triangular C with C C^T = v; a pivot lost to rounding, or negative, counts as zero.

    **Accuracy**: rounding.

    >>> semidefinite_factor(torch.ones(1, 2, 2, dtype=torch.float64)).tolist()
    [[[1.0, 0.0], [1.0, 0.0]]]
    """
    m = v.shape[-1]
    factor = torch.zeros_like(v)
    for j in range(m):
        rest = v[..., j:, j] - (factor[..., j:, :j] @ factor[..., j, :j, None])[..., 0]
        pivot = rest[..., 0].clamp_min(0.0).sqrt()
        floor = 1e-8 * v[..., j, j].clamp_min(0.0).sqrt()
        good = pivot > floor
        factor[..., j:, j] = torch.where(good[..., None], rest / torch.where(good, pivot, 1.0)[..., None], 0.0)
        factor[..., j, j] = torch.where(good, pivot, 0.0)
    return factor
