"""The four helpers that decide whether a measurement agrees with a prediction. No other tolerance is tuned by hand.

A true theory fails "5 sigma" with 4 seeds in 1.5 % of tries, because a deviation estimated from few seeds is itself
uncertain. Hence Student's t at a small level, at least 16 seeds, and extrapolation in 1/size rather than wide bands.
"""

import tomllib
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

MIN_SEEDS = 16
LEVEL = 1e-4


def _seeds(samples: ArrayLike) -> np.ndarray:
    values = np.asarray(samples, dtype=float)
    assert values.ndim == 1 and len(values) >= MIN_SEEDS, (
        f"{values.shape} samples; at least {MIN_SEEDS} independent seeds"
    )
    assert np.isfinite(values).all(), "a sample is not finite"
    return values


def assert_mean(samples: ArrayLike, expected: float, *, bias: float = 0.0) -> None:
    """The mean of independent samples equals `expected`, by Student's t at level 1e-4.

    Args:
        samples: (num_seeds,), one number per independent seed.
        expected: The predicted mean.
        bias: Known bound on the prediction's own error (a solver's stated accuracy), added to the band.
    """
    values = _seeds(samples)
    error = values.std(ddof=1) / np.sqrt(len(values))
    band = stats.t.ppf(1 - LEVEL / 2, len(values) - 1) * error + bias
    assert abs(values.mean() - expected) <= band, f"mean {values.mean():.6g}, expected {expected:.6g} +- {band:.2g}"


def assert_limit(
    sizes: ArrayLike, samples: ArrayLike, expected: float, *, bias: float = 0.0, power: float = 1.0
) -> None:
    """The limit of `samples` as size grows equals `expected`: a + b / size^power by weighted least squares, t at 1e-4.

    Args:
        sizes: (num_sizes,), at least four.
        samples: (num_sizes, num_seeds).
        expected: The predicted limit.
        bias: Known bound on the prediction's own error.
        power: Order of the leading correction.
    """
    sizes, samples = np.asarray(sizes, dtype=float), np.asarray(samples, dtype=float)
    assert len(sizes) >= 4 and samples.shape[0] == len(sizes), "at least four sizes"
    values = np.array([_seeds(row) for row in samples])
    means, errors = values.mean(1), values.std(1, ddof=1) / np.sqrt(values.shape[1])
    design = np.stack([np.ones_like(sizes), sizes**-power], 1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    limit = (covariance @ design.T @ (means / errors))[0]
    band = stats.t.ppf(1 - LEVEL / 2, values.size - 2 * len(sizes)) * np.sqrt(covariance[0, 0]) + bias
    assert abs(limit - expected) <= band, f"limit {limit:.6g}, expected {expected:.6g} +- {band:.2g}"


def assert_order(steps: ArrayLike, errors: ArrayLike, order: float) -> None:
    """Errors fall as step^order: the log-log slope's 99.99 % interval holds `order`, or it falls faster than `order`.

    Args:
        steps: (n,), at least four, decreasing or increasing.
        errors: (n,), positive.
        order: Smallest acceptable order of convergence.
    """
    steps, errors = np.asarray(steps, dtype=float), np.asarray(errors, dtype=float)
    assert len(steps) >= 4 and (errors > 0).all(), "at least four steps with positive errors"
    fit = stats.linregress(np.log(steps), np.log(errors))
    band = stats.t.ppf(1 - LEVEL / 2, len(steps) - 2) * fit.stderr
    assert fit.slope + band >= order, f"order {fit.slope:.3g} +- {band:.2g}, expected at least {order:.3g}"


def load_golden(name: str) -> dict:
    """The golden numbers of `tests/golden/<name>.toml`."""
    return tomllib.loads((Path(__file__).resolve().parents[1] / "golden" / f"{name}.toml").read_text())


def assert_golden(value: ArrayLike, golden: dict) -> None:
    """`value` equals a recorded number within its recorded tolerance (`value, tolerance, source`; absolute)."""
    assert {"value", "tolerance", "source"} <= golden.keys(), "a golden number has value, tolerance and source"
    difference = np.max(np.abs(np.asarray(value, dtype=float) - np.asarray(golden["value"], dtype=float)))
    assert difference <= golden["tolerance"], (
        f"off by {difference:.3g} > {golden['tolerance']:.3g} ({golden['source']})"
    )
