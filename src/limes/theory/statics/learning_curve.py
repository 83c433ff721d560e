"""Learning curves: test error against the number of training samples, with feature learning and without.

Source: the posteriors of arXiv:1711.00165 (NNGP) and arXiv:2502.07998 (adaptive kernel) on random subsets of data.
Letters: S numbers of samples, R draws of the training set, M test inputs.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limes.core.errors import SpecError
from limes.theory.checks import check_whole
from limes.theory.statics.adaptive import AdaptiveProblem, solve_adaptive
from limes.theory.statics.data import as_inputs, as_targets
from limes.theory.statics.nngp import NNGPProblem, solve_nngp


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LearningCurve:
    """Mean squared test errors (f - y)^2.

    Args:
        sample_counts: (S,).
        nngp: (S, R) error of the posterior mean with the kernel of the prior.
        adaptive: (S, R) with the kernel that learns, on the same draws.
        gamma0: Of the second.
        inverse_temperature: Of both.
    """

    sample_counts: tuple[int, ...]
    nngp: Tensor
    adaptive: Tensor
    gamma0: float
    inverse_temperature: float

    def gain(self) -> tuple[Tensor, Tensor]:
        """What feature learning takes off the error (S,), and its standard error over draws, which are paired."""
        difference = self.nngp - self.adaptive
        return difference.mean(1), difference.std(1) / difference.shape[1] ** 0.5


def learning_curve(
    inputs: Any,
    targets: Any,
    test_inputs: Any,
    test_targets: Any,
    *,
    sample_counts: Sequence[int],
    num_draws: int,
    generator: torch.Generator,
    gamma0: float = 1.0,
    inverse_temperature: float = 1.0,
    activation: Any = "erf",
    progress: Callable[[float], object] | None = None,
    **solver: Any,
) -> LearningCurve:
    """Test error of infinitely wide Bayesian networks trained on subsets of a pool.

    Args:
        inputs: (P, D) the pool.
        targets: (P,).
        test_inputs: (M, D), none of them in the pool.
        test_targets: (M,).
        sample_counts: Increasing numbers of training samples, at most P.
        num_draws: R, at least 2; a draw orders the pool, and each count takes its first samples.
        generator: Of the draws.
        gamma0: Feature-learning strength of the adaptive kernel.
        inverse_temperature: Multiplies the SUM over samples of (f - y)^2 / 2.
        activation: Of the hidden layer.
        progress: Told the share of the work that is done.
        solver: Options of `solve_adaptive`.

    Returns:
        `LearningCurve`.

    Raises:
        SpecError: Counts or shapes do not fit.
        ConvergenceError: A training set has no saddle.

    **Source**: arXiv:2502.07998, arXiv:1711.00165. **Accuracy**: that of the solvers; draws of a small pool overlap, so
    that their spread understates that of fresh data.

    >>> x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    >>> curve = learning_curve(x, x[:, 0], 0.9 * x, 0.9 * x[:, 0], sample_counts=[2, 6], num_draws=3,
    ...                        generator=torch.Generator().manual_seed(0), inverse_temperature=10.0)
    >>> curve.nngp.shape, bool((curve.adaptive.mean(1) < curve.nngp.mean(1)).all())
    (torch.Size([2, 3]), True)
    """
    pool, test = as_inputs(inputs, test_inputs)
    labels = as_targets(targets, len(pool))
    if len(test) == 0:
        raise SpecError("test_inputs holds no sample; a test error needs at least one")
    truth = as_targets(test_targets, len(test), name="test_targets")
    counts = tuple(check_whole(f"sample_counts[{i}]", count) for i, count in enumerate(sample_counts))
    if not counts or any(b <= a for a, b in itertools.pairwise(counts)) or counts[-1] > len(pool):
        raise SpecError(f"sample_counts {list(sample_counts)}: expected increasing numbers of at most {len(pool)}")
    draws = check_whole("num_draws", num_draws, least=2)
    errors = torch.empty(2, len(counts), draws, dtype=torch.float64)
    common: dict[str, Any] = {"activation": activation, "inverse_temperature": inverse_temperature}
    for draw in range(draws):
        order = torch.randperm(len(pool), generator=generator)
        for row, count in enumerate(counts):
            data = (pool[order[:count]], labels[order[:count]], test)
            lazy = solve_nngp(NNGPProblem(*data, **common)).test_mean
            rich = solve_adaptive(AdaptiveProblem(*data, gamma0=gamma0, **common), **solver).test_mean
            errors[:, row, draw] = torch.stack([((mean - truth) ** 2).mean() for mean in (lazy, rich)])
            if progress is not None:
                # The cost of a solution grows about as its samples.
                progress((draw + sum(counts[: row + 1]) / sum(counts)) / draws)
    return LearningCurve(
        sample_counts=counts,
        nngp=errors[0],
        adaptive=errors[1],
        gamma0=float(gamma0),
        inverse_temperature=float(inverse_temperature),
    )
