"""Outlier features: a few neurons of a layer that are far larger than the rest, by two definitions each.

Source: arXiv:2405.19279 (definitions of the paper; those of its published code have `official` in their names).
Letters: x (n, d) tokens by neurons, s_j root mean square of neuron j over tokens.
"""

import torch
from torch import Tensor

from limes.core.errors import SpecError
from limes.measure.features import token_rows


def kurtosis(features: Tensor) -> Tensor:
    """Kurtosis across neurons, as the paper defines it: mean_j s_j^4 / (mean_j s_j^2)^2.

    Args:
        features: (..., d) what enters a layer; leading axes are tokens.

    Returns:
        Scalar from 1 (all neurons alike) to d (one neuron has everything); 1 + 2/n for n independent normal tokens.
        1 if all features are zero (`dead_units` says so).

    Raises:
        SpecError: features is no real (..., d).

    Source: arXiv:2405.19279, section 2.

    >>> kurtosis(torch.tensor([[1.0, 1.0, 1.0, 1.0]])).item(), kurtosis(torch.tensor([[2.0, 0.0, 0.0, 0.0]])).item()
    (1.0, 4.0)
    """
    power = token_rows(features).square().mean(0)
    # The mean is divided out first, so that squares of squares neither overflow nor vanish in float32.
    return _relative(power, power.mean()).square().mean()


def official_kurtosis(features: Tensor) -> Tensor:
    """The number that the authors' code logs under the same name.

    Each token loses its mean over the width, then the unbiased variance over neurons of s_j^2 / mean_j s_j^2 is taken;
    for tokens that already have mean zero this is (kurtosis - 1) d / (d - 1).

    Args:
        features: (..., d), d at least 2.

    Returns:
        Scalar from 0 (all neurons alike) to d.

    Raises:
        SpecError: d is 1, or features is no real (..., d).

    Source: the code published with arXiv:2405.19279, as described in docs/diagnostics.md.

    >>> official_kurtosis(torch.tensor([[1.0, -1.0, 1.0, -1.0]])).item()
    0.0
    """
    rows = token_rows(features)
    if rows.shape[1] < 2:
        raise SpecError(f"features of width {rows.shape[1]}: a variance over neurons needs at least two")
    power = (rows - rows.mean(1, keepdim=True)).square().mean(0)
    return _relative(power, power.mean()).var()


def max_median_ratio(features: Tensor) -> Tensor:
    """Largest over median neuron, by root mean squares over tokens: max_j s_j / median_j s_j.

    Args:
        features: (..., d).

    Returns:
        Scalar, at least 1; infinite if half of the neurons are silent. A median of an even number is the middle two's
        mean.

    Raises:
        SpecError: features is no real (..., d).

    Source: arXiv:2405.19279, section 2.

    >>> max_median_ratio(torch.tensor([[1.0, 1.0, 1.0, 5.0]])).item()
    5.0
    """
    size = token_rows(features).square().mean(0).sqrt()
    return _relative(size.max(), _median(size[None])[0])


def official_max_median_ratio(features: Tensor) -> Tensor:
    """Mean over tokens of max_j |x_j| / median_j |x_j|, which the authors' code logs.

    Args:
        features: (..., d).

    Returns:
        Scalar, at least 1, and far above it for normal features: a single token has no time to average.

    Raises:
        SpecError: features is no real (..., d).

    Source: the code published with arXiv:2405.19279, as described in docs/diagnostics.md.

    >>> official_max_median_ratio(torch.tensor([[1.0, -1.0, 2.0], [3.0, 1.0, -1.0]])).item()
    2.5
    """
    size = token_rows(features).abs()
    return _relative(size.amax(1), _median(size)).mean()


def _median(rows: Tensor) -> Tensor:
    """Median of each row, the mean of the middle two where their number is even; `quantile` refuses large tensors."""
    return (rows.median(1).values - (-rows).median(1).values) / 2


def _relative(sizes: Tensor, typical: Tensor) -> Tensor:
    """The ratio; 1 where both are zero, for neurons that are silent together are alike."""
    return torch.where((sizes == 0) & (typical == 0), torch.ones_like(sizes), sizes / typical)
