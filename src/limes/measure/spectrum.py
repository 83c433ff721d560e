"""A network's own spectrum: eigenvalues of its tangent kernel, the target's power in each mode, and their exponents.

Source: arXiv:2402.01092, section 2 (modes of a task), measured here on any module.
Letters: P samples, C outputs, K (P, P) tangent kernel, lam_k eigenvalue of K / P, v_k eigenvector, r = y - f(0).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.measure.kernels import empirical_ntk
from limes.numerics.linalg import positive_eigh

Array = NDArray[np.float64]
MIN_MODES = 8
NUM_BINS = 12


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spectrum:
    """A task as a network sees it before training.

    Attributes:
        eigenvalues: (P,) of K / P, decreasing; a learning rate above 2 / (the first) is unstable.
        power: (P,) of the residual y - f(0) in each mode, summed over outputs: its mean square is their sum.
        num_samples: P.
    """

    eigenvalues: Array
    power: Array
    num_samples: int

    def loss(self, steps: Any, *, lr: float, mode: str = "steps") -> Array:
        """Training loss of the lazy network, the full sum over modes.

        Args:
            steps: (T,) numbers of updates.
            lr: Learning rate of the mean loss.
            mode: "steps" (discrete, exact) or "flow" (infinitely small steps).

        Returns:
            (T,) half the mean squared error, summed over outputs.

        Raises:
            SpecError: The learning rate is not positive or not stable, or the mode is unknown.
        """
        if mode not in ("steps", "flow"):
            raise SpecError(f"mode {mode!r}: expected 'steps' or 'flow'")
        edge = 2.0 / self.eigenvalues[0]
        if not lr > 0 or (mode == "steps" and lr >= edge):
            raise SpecError(f"lr {lr:g}: expected a positive number, below {edge:.3g} in steps, which grow beyond")
        t = np.atleast_1d(np.asarray(steps, dtype=float))[:, None]
        decay = lr * self.eigenvalues
        left = (1.0 - decay) ** (2 * t) if mode == "steps" else np.exp(-2 * decay * t)
        return 0.5 * (left * self.power).sum(1)


def measure_spectrum(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    parameter_weights: Mapping[str, float] | None = None,
    center_output: bool = False,
    block_size: int = 64,
) -> Spectrum:
    """Eigenvalues of the tangent kernel and the target's power by mode, exact.

    Args:
        model: Any module whose output for one input does not depend on the others.
        inputs: (P, ...), samples first.
        targets: (P,) or (P, C), in the shape of the outputs. With several outputs the kernel is the mean of their own,
            which is exact where they share it, as at infinite width.
        parameter_weights: Learning rate of each parameter relative to the one that is given to `Spectrum.loss`.
        center_output: The network is trained on f - f(0).
        block_size: As for `empirical_ntk`.

    Raises:
        SpecError: Shapes do not fit, or there are fewer than 2 samples.

    **Source**: arXiv:2402.01092, section 2. **Accuracy**: kernel in the model's dtype, eigenvalues in float64.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> found = measure_spectrum(net, torch.eye(2), torch.tensor([2.0, 0.0]), center_output=True)
    >>> found.eigenvalues.round(6).tolist(), float(found.power.sum().round(6))
    ([0.5, 0.5], 2.0)
    """
    with torch.no_grad():
        outputs = model(inputs).flatten(1).double()
    goal = targets.flatten(1).double() if targets.ndim > 1 else targets[:, None].double()
    if goal.shape != outputs.shape or len(goal) < 2:
        raise SpecError(
            f"targets {tuple(goal.shape)}: expected the outputs' {tuple(outputs.shape)}, at least 2 samples"
        )
    kernel = empirical_ntk(model, inputs, parameter_weights=parameter_weights, block_size=block_size)
    values, vectors = positive_eigh(kernel / len(kernel))
    residual = goal if center_output else goal - outputs
    power = (vectors.T @ residual).square().sum(1) / len(kernel)
    order = torch.argsort(values, descending=True)
    return Spectrum(eigenvalues=values[order].numpy(), power=power[order].cpu().numpy(), num_samples=len(kernel))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SourceCapacity:
    """Exponents of a spectrum: eigenvalues ~ k^-b, power per mode ~ k^-a.

    Attributes:
        a: Of the power per mode.
        b: Of the eigenvalues.
        a_interval: `level` interval.
        b_interval: `level` interval.
        modes: First and last mode of the fit, from 1.
        level: Of the intervals.
    """

    a: float
    b: float
    a_interval: tuple[float, float]
    b_interval: tuple[float, float]
    modes: tuple[int, int]
    level: float


def fit_source_capacity(
    spectrum: Spectrum, *, modes: tuple[int, int] | None = None, level: float = 0.9
) -> SourceCapacity:
    """Fit both power laws over a window of modes.

    The last modes of a sample are its noise, so the window ends well before the last one.

    Args:
        spectrum: Measured.
        modes: First and last mode; by default from the second or third to a fifth of the samples.
        level: Of the intervals.

    Returns:
        Exponents whose intervals hold the scatter about the law within the window (a jackknife over its
        stretches), not what another window or another sample would give.

    Raises:
        SpecError: The window has fewer than 8 modes with positive eigenvalue and power.

    **Source**: arXiv:2402.01092, section 2; the fit is ours, docs/spectrum.md.
    **Accuracy**: on exact power laws within 1e-2.

    >>> k = np.arange(1, 2001.0)
    >>> found = fit_source_capacity(Spectrum(eigenvalues=k**-1.5, power=k**-2.0, num_samples=2000))
    >>> round(found.a, 1), round(found.b, 2)
    (2.0, 1.5)
    """
    total = len(spectrum.eigenvalues)
    first, last = modes or (max(2, round(total**0.15)), max(total // 5, 2))
    if not 1 <= first < last <= total:
        raise SpecError(f"modes {first} to {last}: expected a window within 1 to {total}")
    if last - first + 1 < MIN_MODES or not (spectrum.eigenvalues[first - 1 : last] > 0).all():
        raise SpecError(f"modes {first} to {last}: expected at least {MIN_MODES}, all with a positive eigenvalue")
    bins = _log_bins(first, last)
    b, b_half = _slope(bins, spectrum.eigenvalues, level)
    a, a_half = _slope(bins, spectrum.power, level)
    return SourceCapacity(
        a=a,
        b=b,
        a_interval=(a - a_half, a + a_half),
        b_interval=(b - b_half, b + b_half),
        modes=(first, last),
        level=level,
    )


def _log_bins(first: int, last: int) -> list[NDArray[np.int64]]:
    """Modes, from 1, in stretches of equal length on a logarithmic scale; those without a mode are left out."""
    edges = np.geomspace(first, last + 1, NUM_BINS + 1)
    modes = np.arange(first, last + 1)
    groups = [modes[(modes >= low) & (modes < high)] for low, high in pairwise(edges)]
    return [group for group in groups if len(group)]


def _slope(bins: list[NDArray[np.int64]], values: Array, level: float) -> tuple[float, float]:
    """The exponent e of mean value ~ k^-e, and the half-width of its jackknife interval over stretches."""
    if sum((values[group - 1] > 0).any() for group in bins) < MIN_MODES // 2:
        raise SpecError("almost no mode has any power: too few for an exponent; take more samples")
    parts = np.array(
        [_exponent(np.concatenate([one for j, one in enumerate(bins) if j != i]), values) for i in range(len(bins))]
    )
    error = float(np.sqrt((len(bins) - 1) / len(bins) * ((parts - parts.mean()) ** 2).sum()))
    return _exponent(np.concatenate(bins), values), float(stats.t.ppf(0.5 + level / 2, len(bins) - 2)) * error


def _exponent(modes: NDArray[np.int64], values: Array) -> float:
    """Solve sum of w (value / mean - 1) (1, ln k) = 0 for the mean c k^-e, by Newton's method on its convex potential.

    The power of a single mode scatters like a squared normal number, and a mean of logarithms would be pulled down
    where a stretch has few modes; this equation is unbiased whatever the scatter. The weights k^-1/2 lie between every
    mode and every octave counting alike.
    """
    x, y = np.log(modes), values[modes - 1] / values[modes - 1].mean()
    weight, design = modes**-0.5, np.stack([np.ones(len(modes)), x - x.mean()], 1)
    theta = np.zeros(2)
    for _ in range(100):
        ratio = weight * y * np.exp(-design @ theta)
        gradient = design.T @ (weight - ratio)
        step = np.linalg.solve(design.T @ (ratio[:, None] * design) + 1e-12 * np.eye(2), gradient)
        theta -= step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    return -float(theta[1])
