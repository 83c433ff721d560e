"""Do the intervals hold, and does the stack extrapolate? Leave-largest-out on synthetic laws or on published tables.

    OMP_NUM_THREADS=1 python benchmarks/laws_calibration.py --synthetic 60     # what KAPPA and DECAY were fixed on
    OMP_NUM_THREADS=1 python benchmarks/laws_calibration.py [TABLES]           # what they are scored on

Each table is cut at C_max / 3, / 10 and / 30; the rest is predicted. Printed per split: rows, mean error, coverage of
nominal 90 % intervals (calibrated, row bootstrap, residual bootstrap with noise, residuals alone); at the end means,
each set counting once. With --stack, also the median error of the stack and of each law.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limes.laws import CHINCHILLA, KAPLAN_FLOOR, OVER_TRAINING, LawFit, compare_laws, fit_law, read_table
from limes.laws.bootstrap import bootstrap_thetas, residual_std
from limes.laws.problem import make_problem

FACTORS = (3, 10, 30)
MIN_TRAIN, MIN_TEST = 12, 2
Table = dict[str, np.ndarray]


@dataclass(frozen=True)
class Score:
    """Coverages and error of one split."""

    name: str
    calibrated: float
    rows: float
    noise: float
    residual: float
    error: float
    width: float


def synthetic(num: int) -> dict[str, Table]:
    """Tables from laws of the fitted form and of three others, over several designs and kinds of noise."""
    rng, tables = np.random.default_rng(5), {}
    for i in range(num):
        size, tokens = _design(rng)
        kind = i % 4
        loss = _truth(rng, kind, size, tokens)
        scale = 10 ** rng.uniform(-3, -1.7)
        noise = scale * (rng.standard_normal(len(size)) if i % 2 else rng.standard_t(3, len(size)))
        if rng.random() < 0.3:
            noise = noise + (rng.random(len(size)) < 0.04) * np.abs(rng.normal(0, 0.1, len(size)))
        tables[f"synthetic{i}/{kind}"] = {"num_params": size, "num_tokens": tokens, "loss": loss * np.exp(noise)}
    return tables


def _design(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    least = 10 ** rng.uniform(16, 19.5)
    most = least * 10 ** rng.uniform(2, 4)
    kind = rng.integers(3)
    if kind == 0:
        compute = np.repeat(np.geomspace(least, most, rng.integers(5, 10)), rng.integers(5, 12))
        size = np.sqrt(compute / 120) * np.exp(rng.uniform(-1.6, 1.6, len(compute)))
    elif kind == 1:
        sizes = np.geomspace(np.sqrt(least / 120), np.sqrt(most / 120), rng.integers(4, 9))
        ratios = 20 * 2.0 ** np.arange(rng.integers(-2, 1), rng.integers(2, 5))
        size, ratio = (grid.ravel() for grid in np.meshgrid(sizes, ratios))
        compute = 6 * size**2 * ratio
    else:
        compute = least * (most / least) ** rng.random(rng.integers(30, 200))
        size = np.sqrt(compute / 120) * np.exp(rng.normal(0, 0.8, len(compute)))
    return size, compute / 6 / size


def _truth(rng: np.random.Generator, kind: int, size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    floor, alpha, beta = rng.uniform(0.3, 2.2), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.6)
    a, b = rng.uniform(0.1, 1.0, 2)
    x, y = size / np.exp(np.log(size).mean()), tokens / np.exp(np.log(tokens).mean())
    first, second = a * x**-alpha, b * y**-beta
    if kind == 0:
        return floor + first + second
    if kind == 1:
        return floor + (first ** (1 / beta) + second ** (1 / beta)) ** beta
    if kind == 2:  # hyperparameters get better or worse tuned with cost
        compute = np.log10(size * tokens)
        return (floor + first + second) * np.exp(rng.normal(0, 0.02) * (compute - compute.min()) ** 2 / 4)
    bend = (1 + (x / 5) ** 2) ** -rng.uniform(-0.1, 0.15)
    return floor + first * bend + second + 0.02 * a * np.log(tokens / size / 20) ** 2


def published(folder: Path) -> dict[str, Table]:
    """Tables in parameters and tokens."""
    tables: dict[str, Table] = {}
    table = read_table(folder / "epoch_chinchilla_svg.csv")
    kept = np.sort(np.argsort(table["loss"])[:-5])
    size, compute, loss = (table[name][kept] for name in ("Model Size", "Training FLOP", "loss"))
    tables["epoch"] = {"num_params": size, "num_tokens": compute / 6 / size, "loss": loss}
    table = read_table(folder / "kyo_chinchilla_df.csv")
    tables["kyo"] = {"num_params": table["N"], "num_tokens": table["D"], "loss": table["loss"]}
    table = read_table(folder / "gadre_104.csv")
    for corpus in np.unique(table["dataset"].astype(str)):
        for loss_name in ("loss_c4_val", "loss_openlm", "loss_paloma_ptb"):
            rows = table["dataset"].astype(str) == corpus
            columns = {"num_params": "N", "num_tokens": "D", "loss": loss_name}
            tables[f"gadre/{corpus}/{loss_name}"] = {name: table[source][rows] for name, source in columns.items()}
    parts = [read_table(folder / "scalebench" / f"farseer_scaling_law.{part}.csv") for part in ("train", "test")]
    columns = {"num_params": "N", "num_tokens": "D", "loss": "loss"}
    tables["farseer"] = {name: np.concatenate([part[source] for part in parts]) for name, source in columns.items()}
    table = read_table(folder / "porian_isoflop.csv")
    names = ("dataset", "hparams", "warmup", "decay", "param_count", "val")
    labels = np.array(["/".join(map(str, row)) for row in zip(*(table[name] for name in names))])
    for label in np.unique(labels):
        rows = labels == label
        columns = {"num_params": "n", "num_tokens": "t", "loss": "loss"}
        tables[f"porian/{label}"] = {name: table[source][rows] for name, source in columns.items()}
    return tables


def score(name: str, table: Table, stack: bool) -> tuple[list[Score], dict[str, list[float]]]:
    """All splits of one table; with `stack`, also the median error of the stack and of each law."""
    cost = table["num_params"] * table["num_tokens"]
    scores, errors = [], {}
    for factor in FACTORS:
        inside = cost <= cost.max() / factor * (1 + 1e-9)
        if inside.sum() < MIN_TRAIN or (~inside).sum() < MIN_TEST:
            continue
        train = {column: values[inside] for column, values in table.items()}
        held = {column: values[~inside] for column, values in table.items()}
        fit = fit_law(CHINCHILLA, train, num_starts=64)
        scores.append(_score_split(f"{name} /{factor}", fit, held))
        if stack:
            for law, error in _stack_errors(train, held).items():
                errors.setdefault(law, []).append(error)
    return scores, errors


def _score_split(name: str, fit: LawFit, held: Table) -> Score:
    loss = held["loss"]
    p = fit.predict(held)
    observed = make_problem(CHINCHILLA, held).num_rows
    assert observed == len(loss)
    rng = np.random.default_rng(0)
    noise = residual_std(fit.problem, fit.theta)
    columns = fit.problem.normalize(fit.points(held))
    coverage = []
    for kind in ("rows", "residual"):
        draws = bootstrap_thetas(fit.problem, fit.solution.minima[:1], num=200, generator=rng, kind=kind)
        values = np.log(fit.problem.predict(draws, columns))
        if kind == "residual":
            values = values + noise * rng.standard_normal(values.shape)
        low, high = np.quantile(values, [0.05, 0.95], axis=0)
        coverage.append(np.mean((low <= np.log(loss)) & (np.log(loss) <= high)))
    error = np.abs(np.log(p.value / loss))
    return Score(
        name=name,
        calibrated=float(np.mean((p.low <= loss) & (loss <= p.high))),
        rows=float(coverage[0]),
        noise=float(coverage[1]),
        residual=float(np.mean(error <= 1.645 * noise)),
        error=float(error.mean()),
        width=float(np.median(np.log(p.high / p.low) / 2)),
    )


def _stack_errors(train: Table, held: Table) -> dict[str, float]:
    comparison = compare_laws([CHINCHILLA, KAPLAN_FLOOR, OVER_TRAINING], train)
    errors = {fit.law.name: np.abs(np.log(fit.value(held) / held["loss"])).mean() for fit in comparison.fits}
    errors["stack"] = np.abs(np.log(comparison.predict(held).value / held["loss"])).mean()
    errors["chosen"] = errors[comparison.best.law.name]
    least = fit_law(CHINCHILLA, train, objective="squares_log")
    errors["least squares in logs"] = np.abs(np.log(least.value(held) / held["loss"])).mean()
    linear = fit_law(CHINCHILLA, train, objective="squares")
    errors["least squares (curve_fit at its optimum)"] = np.abs(np.log(linear.value(held) / held["loss"])).mean()
    return {law: float(error) for law, error in errors.items()}


def main() -> None:
    """Parse the arguments, score every table, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("LIMES_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("tables", nargs="?", type=Path, default=default)
    parser.add_argument("--synthetic", type=int, default=0)
    parser.add_argument("--stack", action="store_true")
    arguments = parser.parse_args()
    tables = synthetic(arguments.synthetic) if arguments.synthetic else published(arguments.tables)
    by_set: dict[str, list[Score]] = {}
    errors: dict[str, list[float]] = {}
    print(f"{'split':52s} error %  width %   calibrated  rows  residual+noise  residuals")
    for name, table in tables.items():
        scores, found = score(name, table, arguments.stack)
        for s in scores:
            print(f"{s.name:52s} {100 * s.error:6.2f} {100 * s.width:8.2f} {s.calibrated:12.2f} {s.rows:5.2f}"
                  f" {s.noise:15.2f} {s.residual:10.2f}", flush=True)  # fmt: skip
        if scores:
            by_set[name] = scores
        for law, values in found.items():
            errors.setdefault(law, []).extend(values)
    for field in ("calibrated", "rows", "noise", "residual"):
        per_set = [np.mean([getattr(s, field) for s in scores]) for scores in by_set.values()]
        families: dict[str, list[float]] = {}
        for name, value in zip(by_set, per_set):
            families.setdefault(name.split("/")[0].rstrip("0123456789"), []).append(float(value))
        text = ", ".join(f"{name} {np.mean(values):.2f}" for name, values in families.items())
        print(f"coverage, {field:10s}: mean over {len(per_set)} sets {np.mean(per_set):.3f}; {text}")
    for law, values in errors.items():
        print(f"median held-out error, {law:42s}: {100 * np.median(values):.2f} %  ({len(values)} splits)")


if __name__ == "__main__":
    main()
