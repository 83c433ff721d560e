"""Held-out errors of single laws, of their stack, and of other fitters, on tables in parameters and tokens."""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable, Iterable
from importlib.util import find_spec

import numpy as np
from laws_tables import RunTable
from scipy.optimize import curve_fit

from limes.laws import CHINCHILLA, KAPLAN_FLOOR, OVER_TRAINING, compare_laws, fit_law

FACTORS = (3, 10, 30)
MIN_TRAIN, MIN_TEST = 12, 2
LAWS = (CHINCHILLA, KAPLAN_FLOOR, OVER_TRAINING)
PUBLISHED_START = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
Columns = dict[str, np.ndarray]
Fitter = Callable[[Columns, Columns], np.ndarray]


def print_errors(tables: Iterable[RunTable]) -> None:
    """One line per split with the mean error of every method, then the medians."""
    peers = dict(_peers())
    print(f"other fitters: {', '.join(peers)}")
    errors: dict[str, list[float]] = {}
    for table in tables:
        if not _wanted(table):
            continue
        cost = table.cost()
        for factor in FACTORS:
            inside = cost <= cost.max() / factor * (1 + 1e-9)
            if inside.sum() < MIN_TRAIN or (~inside).sum() < MIN_TEST:
                continue
            train, held = ({n: c[rows] for n, c in table.columns.items()} for rows in (inside, ~inside))
            found = _errors(train, held, peers)
            for name, error in found.items():
                errors.setdefault(name, []).append(error)
            shown = ", ".join(f"{name} {100 * error:.2f}" for name, error in found.items())
            print(f"{table.name} /{factor} ({inside.sum()} rows), mean error in %: {shown}", flush=True)
    print()
    for name, values in errors.items():
        gone = int(np.isnan(values).sum())
        failed = f", {gone} failed" if gone else ""
        # a fit that failed is worse than any: it stands above the median
        middle = np.median(np.nan_to_num(values, nan=np.inf))
        print(f"median held-out error, {name:32s}: {100 * middle:.2f} %  ({len(values)} splits{failed})")
    best = min(np.median(errors[law.name]) for law in LAWS)
    print(f"stack / best single law in hindsight: {np.median(errors['stack']) / best:.3f}")


def _wanted(table: RunTable) -> bool:
    """One loss per corpus and one convention per setting: the others are near copies."""
    if table.law is not CHINCHILLA:
        return False
    key = {"gadre": "loss_c4_val", "porian": "standard val", "ladder": "c4_en"}.get(table.family, "")
    return key in table.name


def _errors(train: Columns, held: Columns, peers: dict[str, Fitter]) -> dict[str, float]:
    comparison = compare_laws(LAWS, train)
    seen = np.log(held["loss"])

    def mean_error(values: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            error = np.abs(np.log(values) - seen)
        return float(error.mean()) if np.isfinite(error).all() else np.nan

    found = {fit.law.name: mean_error(fit.value(held)) for fit in comparison.fits}
    found = {law.name: found[law.name] for law in LAWS}
    found["stack"] = mean_error(comparison.predict(held).value)
    found["chosen by held-out error"] = found[comparison.best.law.name]
    found["chosen by in-sample error"] = found[comparison.fits[int(np.argmin(comparison.in_sample))].law.name]
    found["least squares in logs"] = mean_error(fit_law(CHINCHILLA, train, objective="squares_log").value(held))
    for name, fitter in peers.items():
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                found[name] = mean_error(fitter(train, held))
            except Exception:  # whatever another package raises counts as a failed fit
                found[name] = np.nan
    return found


def _additive(params: dict[str, float], held: Columns) -> np.ndarray:
    return CHINCHILLA.value(params, held)


def _curve_fit(train: Columns, held: Columns) -> np.ndarray:
    def law(x: np.ndarray, *theta: float) -> np.ndarray:
        e, a, b, alpha, beta = theta
        return e + a / x[0] ** alpha + b / x[1] ** beta

    x = np.stack([train["num_params"], train["num_tokens"]])
    theta = curve_fit(law, x, train["loss"], p0=list(PUBLISHED_START.values()), maxfev=20000)[0]
    return _additive(dict(zip(PUBLISHED_START, theta)), held)


def _vpnls(train: Columns, held: Columns) -> np.ndarray:
    from vpnls.api import fit_vpnls, huber

    # as its readme does: millions of parameters, billions of tokens
    found = fit_vpnls(train["num_params"] / 1e6, train["num_tokens"] / 1e9, train["loss"], loss=huber(1e-3))
    size, tokens = held["num_params"] / 1e6, held["num_tokens"] / 1e9
    return found.E + found.A / size**found.alpha + found.B / tokens**found.beta


def _chinchilla(train: Columns, held: Columns) -> np.ndarray:
    from chinchilla import Chinchilla

    ends = {"e": (0.2, 0.7), "a": (4.0, 9.0), "b": (4.0, 9.0), "alpha": (0.3, 0.5), "beta": (0.3, 0.5)}
    with tempfile.TemporaryDirectory() as folder:
        fitter = Chinchilla(folder, param_grid={name: list(pair) for name, pair in ends.items()}, log_level=50)
        for size, tokens, loss in zip(*(train[name] for name in ("num_params", "num_tokens", "loss"))):
            fitter.database.append(N=size, D=tokens, loss=loss)
        fitter.fit(parallel=False)
    params = {name: float(getattr(fitter, name)) for name in PUBLISHED_START}
    return _additive(params, held)


def _peers() -> Iterable[tuple[str, Fitter]]:
    """Fitters that are installed; none of them is needed."""
    yield "scipy curve_fit, published start", _curve_fit
    if find_spec("vpnls") is not None:
        yield "vpnls", _vpnls
    if find_spec("chinchilla") is not None:
        yield "chinchilla, 32 starts", _chinchilla
