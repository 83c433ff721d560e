"""Prior predictive density by contours beside mpmath's Meijer G to ten digits: difference and ratio of CPU times.

    python benchmarks/prior_predictive_vs_meijer.py

Both evaluate the density at the same radii, 100 and 1,000 of them, as a curve is drawn from. The contours are shared by
all radii; mpmath starts anew at each, so its time is measured on 100 and taken in proportion. Our time includes the
distribution function and the tail. mpmath gets 15 digits to work with. For relu networks the Meijer form is a mixture
over all numbers of active units; where that is too long, a sample of its terms is timed and the rest is in proportion
(marked *); so are the radii of deep networks.
"""

import itertools
import math
import time

import mpmath
import numpy as np

from limes.theory.initialization import PriorProblem, solve_prior

RADII = np.geomspace(0.01, 8.0, 100)
CURVE = np.geomspace(0.01, 8.0, 1000)
TERMS = 20
CASES = [("linear", (2, 3, 5)), ("linear", (64, 64, 64)), ("linear", (16,) * 6), ("relu", (6, 6)), ("relu", (30, 30))]


def meijer(widths: tuple[int, ...], radius: float, sigma2: float) -> float:
    """Density of a linear network."""
    scale = 2.0 ** (len(widths) + 1) * mpmath.mpf(sigma2)
    poles = [mpmath.mpf(0), *(mpmath.mpf(width - 1) / 2 for width in widths)]
    value = mpmath.meijerg([[], []], [poles, []], mpmath.mpf(radius) ** 2 / scale)
    norm = mpmath.sqrt(scale * mpmath.pi) * mpmath.fprod(mpmath.gamma(mpmath.mpf(width) / 2) for width in widths)
    return float(value / norm)


def mixture(widths: tuple[int, ...], radii: np.ndarray, activation: str) -> tuple[np.ndarray, float, bool]:
    """Densities, CPU seconds, and whether all terms were summed."""
    sigma2 = math.prod((2.0 if activation == "relu" else 1.0) / width for width in widths)
    if activation == "linear":
        few = radii[:: 1 if len(widths) < 4 else 20]
        start = time.process_time()
        values = np.array([meijer(widths, float(radius), sigma2) for radius in few])
        return values, (time.process_time() - start) * len(radii) / len(few), True
    terms = list(itertools.product(*(range(1, width + 1) for width in widths)))
    whole = len(terms) <= 4 * TERMS
    used = terms if whole else terms[:: len(terms) // TERMS]
    few = radii[:: 1 if len(used) * len(radii) <= 1000 else 10]
    values = np.zeros(len(few))
    start = time.process_time()
    for active in used:
        weight = math.prod(math.comb(d, k) * 2.0**-d for d, k in zip(widths, active, strict=True))
        values += weight * np.array([meijer(active, float(radius), sigma2) for radius in few])
    seconds = (time.process_time() - start) * len(terms) / len(used) * len(radii) / len(few)
    return values if whole else np.full(len(few), np.nan), seconds, whole


def main() -> None:
    """Print one row per network."""
    mpmath.mp.dps = 15
    heads = f"{'100 radii':>11s} {'ratio':>8s} {'1,000':>9s} {'ratio':>8s}"
    print(f"{'network':18s} {'difference':>10s} {'Meijer G':>12s} {heads}")
    solve_prior(PriorProblem((2, 2)), RADII)
    for activation, widths in CASES:
        theirs, slow, whole = mixture(widths, RADII, activation)
        ours, fast = timed(widths, activation, RADII)
        _, curve = timed(widths, activation, CURVE)
        aligned = ours[:: max(1, len(ours) // len(theirs))]
        error = float(np.nanmax(np.abs(aligned / theirs - 1.0))) if whole else math.nan
        name = f"{activation} {len(widths)} x {widths[0]}" if len(set(widths)) == 1 else f"{activation} {widths}"
        shown = f"{error:10.1e} {slow / len(RADII) * 1e3:9.2f} ms{'' if whole else '*':1s}"
        ratios = f"{fast * 1e3:8.1f} ms {slow / fast:7.0f}x {curve * 1e3:6.1f} ms {10 * slow / curve:7.0f}x"
        print(f"{name:18s} {shown} {ratios}", flush=True)


def timed(widths: tuple[int, ...], activation: str, radii: np.ndarray) -> tuple[np.ndarray, float]:
    """Densities and the shortest CPU seconds of three."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        density = solve_prior(PriorProblem(widths, activation), radii).density
        seconds.append(time.process_time() - start)
    return density, min(seconds)


if __name__ == "__main__":
    main()
