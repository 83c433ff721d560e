"""Direct simulation of ridge regression, with the kernel itself or with random features: data are drawn and fitted.

Source: the model of arXiv:2402.01092, section 2, at the end of training; arXiv:2405.00592, section 1.
Letters: M modes, N features, P samples.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from limes.core.errors import ScopeError
from limes.numerics.contour import Real
from limes.theory.checks import check_memory, check_whole
from limes.theory.scaling.problem import RandomFeatureProblem
from limes.theory.scaling.simulate import draw_data, draw_normals, expanded_modes, train_random_features


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RidgeSimulation:
    """Losses of independent fits.

    Args:
        test_loss: (num_draws,) exact for the fit, without noise.
        train_loss: (num_draws,) mean over samples, noise included.
    """

    test_loss: Real
    train_loss: Real


def simulate_ridge(problem: RandomFeatureProblem, *, num_draws: int, generator: torch.Generator) -> RidgeSimulation:
    """Fit independent draws to the end: the ridge solution, or the one of minimum norm without ridge.

    Args:
        problem: Finite, whole samples; whole or infinite features (the kernel itself); whole multiplicities.
        num_draws: Independent draws of features, samples and noise.
        generator: Of all of them.

    Returns:
        `RidgeSimulation`.

    Raises:
        ScopeError: Infinitely many samples, or sizes that are not whole.
        SpecError: Multiplicities are not whole, or a fit needs more than 4 GiB.

    **Source**: arXiv:2405.00592, section 1. **Accuracy**: exact for each draw.

    >>> problem = RandomFeatureProblem([1.0, 0.5], [1.0, 0.2], num_samples=6, ridge=0.1)
    >>> simulate_ridge(problem, num_draws=3, generator=torch.Generator().manual_seed(0)).test_loss.shape
    (3,)
    """
    check_whole("num_draws", num_draws)
    for name in ("num_samples", "num_features"):
        value = getattr(problem, name)
        if value != round(value) if math.isfinite(value) else name == "num_samples":
            raise ScopeError(f"{name} is {value:g}; a simulation needs a whole, finite number")
    modes, samples = len(expanded_modes(problem)[0]), round(problem.num_samples)
    width = modes if math.isinf(problem.num_features) else round(problem.num_features)
    numbers = float(samples + width) * modes + 3.0 * samples * width
    check_memory(f"a fit of {samples} samples, {width} features and {modes} modes", numbers=numbers)
    rows = []
    for _ in range(num_draws):
        if math.isinf(problem.num_features):
            # The modes themselves: as many features as modes, each along one of them.
            features = math.sqrt(modes) * np.eye(modes)
        else:
            features = draw_normals(width, modes, generator=generator)
        data, noise = draw_data(problem, samples, generator=generator)
        missing, residual = train_random_features(problem, [math.inf], features=features, data=data, noise=noise)
        rows.append(((missing[0] ** 2).sum(), (residual[0] ** 2).mean()))
    test, train = np.array(rows).T
    return RidgeSimulation(test_loss=test, train_loss=train)
