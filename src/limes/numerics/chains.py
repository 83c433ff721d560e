"""Whether Markov chains have met, and how many independent draws they are worth.

Source: Gelman et al., Bayesian Data Analysis, 3rd edition, 11.4 and 11.5 (split R-hat, effective size over chains);
Geyer 1992 (initial monotone sequence).
Letters: T draws of each of C chains, K observables, W variance within chains, B between them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from limes.core.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChainEstimate:
    """A mean over chains.

    Args:
        value: (K,).
        error: (K,) standard error over chains, which are independent; never over the draws of one.
    """

    value: Tensor
    error: Tensor


def chain_estimate(draws: Tensor) -> ChainEstimate:
    """Mean and standard error of each observable.

    Args:
        draws: (T, C, K).

    Raises:
        DataError: Fewer than two chains.

    >>> chain_estimate(torch.tensor([[[1.0], [3.0]]], dtype=torch.float64)).error
    tensor([1.], dtype=torch.float64)
    """
    means = _checked(draws, least_draws=1).mean(0)
    return ChainEstimate(value=means.mean(0), error=means.std(0) / len(means) ** 0.5)


def split_rhat(draws: Tensor) -> Tensor:
    """How much wider all chains together spread than each half of one: 1 where they have met, to a hundredth or so.

    Args:
        draws: (T, C, K), T at least 4.

    Returns:
        (K,); 1 for an observable that never varies.

    Raises:
        DataError: Too few draws or chains.

    >>> split_rhat(torch.randn(400, 4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)) < 1.02
    tensor([True])
    """
    halves = _halves(_checked(draws, least_draws=4))
    within, total = _variances(halves)
    return torch.where(total > 0.0, (total / within).sqrt(), torch.ones_like(total))


def effective_size(draws: Tensor) -> Tensor:
    """Number of independent draws that would know the mean as well.

    Args:
        draws: (T, C, K), T at least 4.

    Returns:
        (K,) at most T C log10(T C); T C for an observable that never varies.

    Raises:
        DataError: Too few draws or chains.

    >>> size = effective_size(torch.randn(400, 4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    >>> bool((size > 1200) & (size < 2000))
    True
    """
    halves = _halves(_checked(draws, least_draws=4))
    length, count = halves.shape[:2]
    within, total = _variances(halves)
    kept = total > 0.0
    correlation = 1.0 - (within - _autocovariance(halves).mean(1)) / torch.where(kept, total, torch.ones_like(total))
    pairs = correlation[: length // 2 * 2].reshape(length // 2, 2, -1).sum(1)
    # Sums of neighbours are positive and fall in a reversible chain: noise shows where they do not.
    positive = (pairs > 0.0).to(pairs.dtype).cumprod(0)
    falling = torch.cummin(pairs, 0).values * positive
    whole = float(length * count)
    time = (2.0 * falling.sum(0) - 1.0).clamp_min(1.0 / torch.tensor(whole).log10().item())
    return torch.where(kept, whole / time, torch.full_like(time, whole))


def _checked(draws: Tensor, *, least_draws: int) -> Tensor:
    if draws.ndim != 3 or draws.shape[0] < least_draws or draws.shape[1] < 2:
        raise DataError(
            f"draws of shape {tuple(draws.shape)}: expected (num_draws, num_chains, num_observables) with at least "
            f"{least_draws} draws of at least 2 chains"
        )
    if not bool(draws.isfinite().all()):
        raise DataError(f"{int((~draws.isfinite()).sum())} draws are not finite: the chains diverged; lower the step")
    return draws.to(torch.float64)


def _halves(draws: Tensor) -> Tensor:
    half = len(draws) // 2
    return torch.cat([draws[:half], draws[-half:]], 1)


def _variances(chains: Tensor) -> tuple[Tensor, Tensor]:
    """Within chains, and the estimate of the whole variance that their spread adds to."""
    length = len(chains)
    within = chains.var(0).mean(0)
    between = chains.mean(0).var(0)
    return within, (length - 1) / length * within + between


def _autocovariance(chains: Tensor) -> Tensor:
    """(T, C, K) at every lag, divided by T alone, as the variances above."""
    length = len(chains)
    centred = chains - chains.mean(0)
    spectrum = torch.fft.rfft(centred, n=2 * length, dim=0)
    lagged = torch.fft.irfft(spectrum.abs() ** 2, n=2 * length, dim=0)[:length]
    return lagged / (length - 1)
