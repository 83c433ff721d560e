"""Trained networks of several widths beside their infinitely wide limit: convergence, limit, spread.

Everything measured comes from a store's runs, everything predicted from the theory of the problem that the runs state.
Intervals are Student's t at 95 % over independent seeds; the verdict of a limit is drawn at 99 %.

Source: limes, docs/compare.md. Letters: N width, R seeds of a width, T + 1 times, P samples, K kept steps, L layers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from limes.compare.limit_result import (
    Array,
    ComparisonResult,
    Convergence,
    GammaComparison,
    LimitCheck,
    Spread,
    WidthSample,
)
from limes.compare.problem import mlp_problem
from limes.core.errors import ScopeError, StoreError
from limes.core.status import RunStatus
from limes.data import build_data
from limes.numerics.ensemble import mean_half_width
from limes.spec import RunSpec
from limes.spec.comparison import ComparisonSpec
from limes.store import Store, SweepRow
from limes.theory.dynamics import (
    DMFTResult,
    MLPProblem,
    Observable,
    finite_width_covariance,
    predict_cost,
    solve_dmft_mlp,
    solve_static_ntk,
)

MIN_RUNS = 4
NUM_WATCHED_STEPS = 5
MAX_WATCHED_SAMPLES = 16
# Particles for the predicted spread: so many times the rank. Beyond the largest number the derivatives, which keep
# every step, take minutes and GiB.
SPREAD_PARTICLES, SPREAD_SCRAMBLES, SPREAD_MARGIN = (512, 1024), 2, 2.5
LEVEL = 0.95
# Several checks stand on a page, and a true theory should pass all of them.
VERDICT_LEVEL = 0.99


def compare_with_limit(
    store: Store,
    spec: ComparisonSpec,
    *,
    base_dir: Path | None = None,
    progress: Callable[[float, str], Any] | None = None,
) -> ComparisonResult:
    """Solve the theory of every gamma0 and hold the store's networks against it.

    Args:
        store: Where the runs of the comparison are; those that diverged are left out and counted.
        spec: The comparison.
        base_dir: Where relative data paths start.
        progress: Called with the share of the work done and what is being done.

    Raises:
        ScopeError: Too few networks of a width are left.
        ConvergenceError: The theory cannot be solved with these particles, or diverges.
        StoreError: A recorded run cannot be read.
    """
    rows = store.rows()
    found = []
    labels = list(dict.fromkeys(row.parametrization for row in sorted(rows, key=lambda row: row.seed)))
    for index, label in enumerate(labels):
        mine = [row for row in rows if row.parametrization == label]

        def tell(share: float, what: str, index: int = index) -> None:
            if progress is not None:
                progress((index + share) / len(labels), what)

        found.append(_gamma(store, spec, mine, base_dir=base_dir, tell=tell))
    counts = {status.value: number for status, number in store.progress().counts.items()}
    return ComparisonResult(spec=spec, gammas=tuple(found), counts=counts)


def _gamma(
    store: Store,
    spec: ComparisonSpec,
    rows: list[SweepRow],
    *,
    base_dir: Path | None,
    tell: Callable[[float, str], None],
) -> GammaComparison:
    run = RunSpec.model_validate(store.spec(max(rows, key=lambda row: row.size).key))
    data = build_data(run.data, seed=run.seed, batch_size=run.training.batch_size, base_dir=base_dir)
    problem = mlp_problem(run, data)
    name = f"gamma0 {problem.gamma0:g}"
    # The predicted spread, where there is one, takes about as long again.
    part = 0.9 if _spread_particles(problem)[0] is None else 0.4
    theory = solve_dmft_mlp(
        problem,
        num_particles=spec.num_particles,
        num_scrambles=spec.num_scrambles,
        field_times=spec.kept_steps,
        two_time=False,
        progress=lambda share: tell(part * share, f"solving {name}"),
    )
    samples = tuple(_sample(store, problem, rows, width) for width in spec.widths)
    tell(part, f"predicting the spread at {name}")
    watched = _watched_steps(spec)
    spread = _spread(problem, samples, watched)
    tell(1.0, f"compared {name}")
    return GammaComparison(
        gamma0=problem.gamma0,
        problem=problem,
        theory=theory,
        lazy_loss=solve_static_ntk(problem).loss,
        samples=samples,
        num_left_out=len(rows) - sum(len(sample.outputs) for sample in samples),
        limits=tuple(_limit(samples, theory, step) for step in (watched[len(watched) // 2], watched[-1])),
        convergence=_convergence(samples, theory, watched, spread, kept=spec.kept_steps),
        spread=spread,
    )


def _sample(store: Store, problem: MLPProblem, rows: list[SweepRow], width: int) -> WidthSample:
    """What the networks of one width did, in the units of the theory."""
    outputs, features, gradients, fields = [], [], [], []
    for row in rows:
        if row.size != width or row.status is not RunStatus.DONE:
            continue
        arrays = store.curve(row.key)
        if "feature_kernels" not in arrays:
            raise StoreError(f"{store.folder}: run {row.key} has no kernels; compare in a folder of its own")
        outputs.append(arrays["outputs"][:, :, 0] - arrays["outputs"][0, :, 0])
        features.append(arrays["feature_kernels"])
        gradients.append(problem.gamma0**2 * width * arrays["gradient_kernels"])
        fields.append(arrays["preactivations"])
    if len(outputs) < MIN_RUNS:
        raise ScopeError(
            f"{len(outputs)} networks of width {width} at gamma0 {problem.gamma0:g} were trained to the end, expected "
            f"at least {MIN_RUNS}; lower the learning rate, or run the same command again if it was interrupted"
        )
    stacked = np.stack(outputs)
    return WidthSample(
        width=width,
        outputs=stacked,
        losses=0.5 * ((stacked - problem.targets) ** 2).mean(-1),
        feature_kernels=np.stack(features),
        gradient_kernels=np.stack(gradients),
        preactivations=np.stack(fields),
    )


def _watched_steps(spec: ComparisonSpec) -> tuple[int, ...]:
    """A few steps spread over the run; not the first, where nothing has moved."""
    first = max(1.0, spec.steps / NUM_WATCHED_STEPS)
    return tuple(sorted({round(x) for x in np.linspace(first, spec.steps, NUM_WATCHED_STEPS)}))


def _spread(problem: MLPProblem, samples: tuple[WidthSample, ...], steps: tuple[int, ...]) -> Spread:
    """Width times the variance of an output over networks, averaged over samples."""
    count = min(problem.num_samples, MAX_WATCHED_SAMPLES)
    measured, half = [], []
    for sample in samples:
        mean, error = _mean_and_half_width(_squares(sample, steps, count))
        measured.append(mean)
        half.append(error)
    predicted = None
    particles, note = _spread_particles(problem)
    if particles is not None:
        watched = [Observable(kind="output", time=t, sample=mu) for t in steps for mu in range(count)]
        covariance = finite_width_covariance(problem, watched, num_particles=particles, num_scrambles=SPREAD_SCRAMBLES)
        predicted = np.diag(covariance).reshape(len(steps), count).mean(1)
    ratio = None
    if predicted is not None:
        # One number per network, so that its interval is over independent seeds.
        wide = samples[len(samples) // 2 :]
        relative = np.concatenate([(_squares(sample, steps, count) / predicted).mean(1) for sample in wide])
        mean, error = _mean_and_half_width(relative[:, None])
        ratio = (float(mean[0]), float(mean[0] - error[0]), float(mean[0] + error[0]))
    return Spread(
        steps=steps,
        num_samples=count,
        measured=np.array(measured),
        half_width=np.array(half),
        predicted=predicted,
        ratio=ratio,
        note=note,
    )


def _spread_particles(problem: MLPProblem) -> tuple[int | None, str]:
    """Particles for the predicted spread, or None and the reason in words."""
    if problem.momentum:
        return None, (
            f"The spread is not predicted: momentum is {problem.momentum:g}, and the theory of finite width covers "
            "plain descent."
        )
    rank = predict_cost(problem, num_particles=2**30, num_scrambles=1).rank
    for number in SPREAD_PARTICLES:
        if number >= SPREAD_MARGIN * rank:
            return number, ""
    return None, (
        f"The spread is not predicted: {problem.num_samples} samples x {problem.num_times - 1} steps of "
        f"{problem.nonlinearity.name} need about {rank} directions, and the derivatives of so many do not fit."
    )


def _squares(sample: WidthSample, steps: tuple[int, ...], count: int) -> Array:
    """(R, steps): each network's squared distance from the mean network, unbiased, times the width."""
    outputs = sample.outputs[:, list(steps), :count]
    num_runs = len(outputs)
    deviation = (outputs - outputs.mean(0)) ** 2
    return sample.width * num_runs / (num_runs - 1) * deviation.mean(-1)


def _limit(samples: tuple[WidthSample, ...], theory: DMFTResult, step: int) -> LimitCheck:
    """Mean losses of one step fitted by a + b / N, and the theory's loss."""
    values, errors = _means([sample.losses[:, step] for sample in samples])
    widths = np.array([sample.width for sample in samples], dtype=float)
    line, covariance = _weighted_line(1.0 / widths, values, errors)
    freedom = sum(len(sample.losses) for sample in samples) - 2 * len(samples)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, freedom) * np.sqrt(covariance[0, 0]))
    predicted, own = float(theory.loss[step]), float(theory.loss_error[step])
    # Both sides are uncertain; their half-widths add in squares.
    allowed = np.hypot(half * _wider(freedom), own * _wider(len(theory.trajectories) - 1))
    return LimitCheck(
        step=step,
        widths=tuple(sample.width for sample in samples),
        mean=values,
        error=errors,
        limit=float(line[0]),
        half_width=half,
        slope=float(line[1]),
        slope_error=float(np.sqrt(covariance[1, 1])),
        predicted=predicted,
        predicted_half_width=own,
        agrees=bool(abs(line[0] - predicted) <= allowed),
    )


def _wider(freedom: int) -> float:
    """From a half-width at `LEVEL` to one at `VERDICT_LEVEL`."""
    ends = stats.t.ppf([0.5 + VERDICT_LEVEL / 2, 0.5 + LEVEL / 2], freedom)
    return float(ends[0] / ends[1])


def _convergence(
    samples: tuple[WidthSample, ...],
    theory: DMFTResult,
    steps: tuple[int, ...],
    spread: Spread,
    *,
    kept: tuple[int, ...],
) -> tuple[Convergence, ...]:
    """Mean squared distance of networks from the limit against width: outputs, and the last kernels of every layer."""
    last, depth = kept[-1], theory.problem.depth
    scale = float((theory.problem.targets**2).mean())
    target = theory.outputs[list(steps)]
    distances = [((sample.outputs[:, list(steps)] - target) ** 2).mean((1, 2)) / scale for sample in samples]
    predicted = None
    if spread.predicted is not None:
        predicted = float(spread.predicted.mean()) / scale
    found = [_fit("outputs", samples, distances, predicted=predicted)]
    for layer in range(1, depth + 1):
        for kind, kernel in (("feature", theory.feature_kernel), ("gradient", theory.gradient_kernel)):
            limit = kernel(layer, last)
            distances = [
                ((getattr(sample, f"{kind}_kernels")[:, -1, layer - 1] - limit) ** 2).sum((1, 2)) / (limit**2).sum()
                for sample in samples
            ]
            found.append(_fit(f"{kind} kernel, layer {layer}", samples, distances, predicted=None))
    return tuple(found)


def _fit(
    name: str, samples: tuple[WidthSample, ...], distances: list[Array], *, predicted: float | None
) -> Convergence:
    """The power of the width, by a line through logarithms.

    All widths share one relative error: a width's own, from few networks, is correlated with its mean and would draw
    the line down.
    """
    values, errors = _means(distances)
    widths = np.array([sample.width for sample in samples], dtype=float)
    relative = np.full(len(widths), np.sqrt(((errors / values) ** 2).mean()))
    line, covariance = _weighted_line(np.log(widths), np.log(values), relative)
    freedom = sum(len(distance) for distance in distances) - 2 * len(distances)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, freedom) * np.sqrt(covariance[1, 1]))
    slope = float(line[1])
    return Convergence(
        quantity=name,
        widths=tuple(sample.width for sample in samples),
        distance=values,
        error=errors,
        prefactor=float(np.exp(line[0])),
        slope=slope,
        interval=(slope - half, slope + half),
        predicted=None if predicted is None else predicted / widths,
    )


def _means(groups: list[Array]) -> tuple[Array, Array]:
    """Mean over seeds and its standard error, for each width."""
    values = np.array([group.mean() for group in groups])
    errors = np.array([group.std(ddof=1) / np.sqrt(len(group)) for group in groups])
    return values, errors


def _mean_and_half_width(runs: Array) -> tuple[Array, Array]:
    """Over the first axis."""
    return runs.mean(0), mean_half_width(runs, level=LEVEL)


def _weighted_line(x: Array, y: Array, errors: Array) -> tuple[Array, Array]:
    """Intercept and slope by weighted least squares, and their covariance."""
    design = np.stack([np.ones_like(x), x], axis=1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    return np.asarray(covariance @ design.T @ (y / errors)), np.asarray(covariance)
