"""CPU time of 4000 bootstrap refits of the additive law, against tight L-BFGS-B of scipy from the same starts.

    OMP_NUM_THREADS=1 python benchmarks/laws_bootstrap.py [TABLES]

TABLES is the folder of published tables (default: LIMES_DATA, or ../shared/data); without it, a synthetic table of the
same size. Both methods start every resample at the optimum of the full table; scipy gets the analytic gradient, the
objective times 1e4 and ftol 1e-13, without which it stops early. Its time is extrapolated from 200 resamples.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from limes.laws import CHINCHILLA, LawFit, fit_law, read_table
from limes.laws.objective import make_evaluate
from limes.laws.solve import resolve

NUM, NUM_SCIPY = 4000, 200


def load(folder: Path) -> LawFit:
    """The 240-row table, or a synthetic one like it."""
    file = folder / "epoch_chinchilla_svg.csv"
    if file.is_file():
        table = read_table(file)
        kept = np.sort(np.argsort(table["loss"])[:-5])
        size, compute, loss = (table[name][kept] for name in ("Model Size", "Training FLOP", "loss"))
        return fit_law(CHINCHILLA, {"num_params": size, "num_tokens": compute / 6 / size, "loss": loss})
    rng = np.random.default_rng(0)
    columns = {"num_params": 10 ** rng.uniform(7.7, 10.2, 240), "num_tokens": 10 ** rng.uniform(9, 11.5, 240)}
    loss = CHINCHILLA.value(CHINCHILLA.example, columns) * np.exp(0.006 * rng.standard_t(3, 240))
    return fit_law(CHINCHILLA, {**columns, "loss": loss})


def scipy_refits(fit: LawFit, counts: np.ndarray) -> np.ndarray:
    """Objective of each resample at the end of L-BFGS-B."""
    logs = np.log(fit.problem.columns["num_params"]), np.log(fit.problem.columns["num_tokens"])
    target, delta = np.log(fit.problem.target), fit.problem.delta

    def objective(theta: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        e, a, b, alpha, beta = theta
        terms = np.exp(np.stack([np.full_like(target, e), a - alpha * logs[0], b - beta * logs[1]]))
        total = terms.sum(0)
        r = np.log(total) - target
        shares = terms / total
        size = np.minimum(np.abs(r), delta)
        psi = weights * np.clip(r, -delta, delta)
        gradient = [(psi * s).sum() for s in shares]
        gradient += [-(psi * shares[1] * logs[0]).sum(), -(psi * shares[2] * logs[1]).sum()]
        return 1e4 * (weights * size * (np.abs(r) - size / 2)).sum(), 1e4 * np.array(gradient)

    options = {"ftol": 1e-13, "gtol": 1e-10, "maxiter": 2000, "maxfun": 20000, "maxcor": 20}
    ends = [minimize(objective, fit.theta, args=(w,), jac=True, method="L-BFGS-B", options=options) for w in counts]
    return np.array([end.fun for end in ends]) / 1e4


def main() -> None:
    """Print both times, their ratio, and the share of refits at the optimum."""
    default = Path(os.environ.get("LIMES_DATA", Path(__file__).parents[2] / "shared" / "data"))
    fit = load(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
    rows = fit.num_rows
    rng = np.random.RandomState(42)
    counts = np.stack([np.bincount(rng.choice(rows, rows), minlength=rows) for _ in range(NUM)]).astype(float)
    resolve(fit.problem, fit.solution.minima[:1], weights=counts[:50])
    begin = time.process_time()
    _, values = resolve(fit.problem, fit.solution.minima, weights=counts)
    ours = time.process_time() - begin
    begin = time.process_time()
    theirs = scipy_refits(fit, counts[:NUM_SCIPY])
    scipy_time = (time.process_time() - begin) * NUM / NUM_SCIPY
    best = values.copy()
    for shift in np.random.default_rng(0).normal(0, 0.4, (5, 5)):
        best = np.minimum(best, resolve(fit.problem, (fit.theta + shift)[None], weights=counts)[1])
    last = make_evaluate(fit.problem, weights=counts)
    assert np.isfinite(last(np.tile(fit.theta, (NUM, 1)), np.arange(NUM))[0]).all()
    print(f"rows {rows}, resamples {NUM}, starts that agree {fit.certificate.agreement:.0%}")
    print(f"limes: {ours:.2f} CPU s; at the best of six starts within 1e-6: {np.mean(values <= best * (1 + 1e-6)):.4%}")
    reached = np.mean(theirs <= best[:NUM_SCIPY] * (1 + 1e-6))
    print(f"L-BFGS-B: {scipy_time:.1f} CPU s (from {NUM_SCIPY}); at the optimum within 1e-6: {reached:.2%}")
    print(f"ratio {scipy_time / ours:.1f}")


if __name__ == "__main__":
    main()
