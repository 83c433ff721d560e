"""Do networks of all sizes follow one path? From the store of a study to exponents along training and a verdict.

Source: limes, docs/consistency.md; Vyas et al., arXiv:2305.18411 (consistency across widths).
Letters: K measured steps, S sizes, R networks of a size.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limes.compare.bottleneck import Crossover, crossovers
from limes.compare.consistency_limit import theory_limit
from limes.compare.consistency_result import Agreement, Array, ConsistencyResult, Growth, Observable, PathResult
from limes.compare.consistency_verdict import judge
from limes.compare.convergence import Convergence, converge
from limes.compare.scales import size_trend
from limes.core.errors import DataError
from limes.core.status import RunStatus
from limes.measure import centered_alignment
from limes.spec.consistency import ConsistencySpec
from limes.store import TASK, Store, SweepRow
from limes.train.loss import UNITS

MIN_RUNS = 3
GROWING = ("movement", "sharpness")
# Their size is a convention of the parametrization; what they are relative to the start is not.
RELATIVE = ("gradient kernel", "tangent kernel")
Runs = list[dict[str, Array]]


def analyse_consistency(
    store: Store,
    spec: ConsistencySpec,
    *,
    base_dir: Path | None = None,
    progress: Callable[[float, str], Any] | None = None,
) -> ConsistencyResult:
    """The answer of a study, from whatever has been recorded so far.

    Args:
        store: Where the runs of the study are.
        spec: The study.
        base_dir: Where relative data paths start.
        progress: Called with the share of the work done and what is being done.

    Raises:
        StoreError: A recorded run cannot be read.
    """
    rows, paths, missing = store.rows(), [], []
    for index, choice in enumerate(spec.parametrizations):
        mine = [row for row in rows if row.parametrization == choice.label and row.axis == spec.axis]
        groups = [_load(store, mine, size) for size in spec.sizes]
        few = [size for size, group in zip(spec.sizes, groups, strict=True) if len(group) < MIN_RUNS]
        if few:
            missing.append(_why_missing(spec, choice.label, mine, few))
            continue

        def tell(share: float, index: int = index, label: str = choice.label) -> None:
            if progress is not None:
                progress((index + share) / len(spec.parametrizations), label)

        paths.append(_path(store, spec, mine, groups, base_dir=base_dir, tell=tell))
    return ConsistencyResult(
        spec=spec,
        paths=tuple(paths),
        missing=tuple(missing),
        counts={status.value: number for status, number in store.progress().counts.items()},
        loss_unit=UNITS.get(store.note(TASK) or "", "loss"),
    )


def _why_missing(spec: ConsistencySpec, label: str, rows: Sequence[SweepRow], few: list[int]) -> str:
    lost = sorted({row.size for row in rows if row.status is RunStatus.DIVERGED and row.size in few})
    sizes = ", ".join(map(str, lost or few))
    if lost:
        return f"{label}: not consistent: networks of {spec.axis} {sizes} diverge at this learning rate."
    return f"{label}: fewer than {MIN_RUNS} networks of {spec.axis} {sizes} were trained to the end."


def _load(store: Store, rows: Sequence[SweepRow], size: int) -> Runs:
    return [store.curve(row.key) for row in rows if row.size == size and row.status is RunStatus.DONE]


def _path(
    store: Store,
    spec: ConsistencySpec,
    rows: Sequence[SweepRow],
    groups: Sequence[Runs],
    *,
    base_dir: Path | None,
    tell: Callable[[float], None],
) -> PathResult:
    label = rows[0].parametrization
    steps = tuple(int(step) for step in groups[0][0]["observed_steps"])
    names = [name.removeprefix("observed/") for name in groups[0][0] if name.startswith("observed/")]
    limit: Mapping[str, Array] = {}
    note = ""
    if spec.limit == "theory":
        limit, note = theory_limit(store, rows, steps, base_dir=base_dir)
    observables, growths = {}, {}
    for place, name in enumerate(sorted(names)):
        values = [np.stack([run[f"observed/{name}"] for run in group]).astype(float) for group in groups]
        if name.startswith(GROWING):
            growths[name] = _growth(spec, name, steps, values)
        if not name.startswith("movement"):
            observables[name] = _observable(spec, name, steps, values, limit.get(name))
        tell((place + 1) / len(names))
    losses = tuple(np.stack([run["observed/probe loss"][:, 0] for run in group]).astype(float) for group in groups)
    verdict, sentence, details = judge(spec, label, observables, growths, losses)
    return PathResult(
        label=label,
        verdict=verdict,
        sentence=sentence,
        details=details,
        steps=steps,
        losses=losses,
        curves=tuple(np.mean([run["train_loss"] for run in group], axis=0) for group in groups),
        observables=observables,
        growths=growths,
        crossovers=_crossovers(spec, steps, losses),
        agreement=_agreement(groups, task=store.note(TASK) or ""),
        note=note,
        num_left_out=len(rows) - sum(len(group) for group in groups),
    )


def _crossovers(spec: ConsistencySpec, steps: tuple[int, ...], losses: Sequence[Array]) -> tuple[Crossover, ...]:
    """Ends of the common path; none where too few times were measured, or a loss is not finite."""
    later = np.array(steps)[1:] if steps[0] == 0 else np.array(steps)
    curves = [group[:, -len(later) :] for group in losses]
    if len(later) < 3 or not all(np.isfinite(curve).all() for curve in curves):
        return ()
    return crossovers(spec.sizes, later, curves, level=spec.level, generator=np.random.default_rng(0))


def _observable(
    spec: ConsistencySpec, name: str, steps: tuple[int, ...], values: list[Array], limit: Array | None
) -> Observable:
    """(R, K, ...) for each size into one observable."""
    if name.startswith(RELATIVE):
        values = [group / _start(group.mean(0)) for group in values]
        limit = None if limit is None else limit / _start(limit)
    found = [_converge(spec, values, place, limit) for place in range(len(steps))]
    means = np.stack([group.mean(0) for group in values], axis=1)
    return Observable(
        name=name, steps=steps, found=tuple(found), means=means, limit=limit, distance=_distance(name, means, limit)
    )


def _start(kernels: Array) -> float:
    """Mean diagonal of the first of (K, P, P); 1 if that is zero."""
    size = float(np.trace(kernels[0])) / len(kernels[0])
    return size if size > 0 else 1.0


def _converge(spec: ConsistencySpec, values: list[Array], place: int, limit: Array | None) -> Convergence | None:
    runs = [group[:, place].reshape(len(group), -1) for group in values]
    target = None if limit is None else limit[place].reshape(-1)
    try:
        found = converge(spec.sizes, runs, limit=target, level=spec.level)
    except DataError:
        # A number that is not finite: this network has left what can be compared.
        return None
    # Centred outputs are all zero at the start.
    return found if found.spread.max() > 0 else None


def _distance(name: str, means: Array, limit: Array | None) -> Array | None:
    """(K, S) from the limit, or else from the largest size."""
    target = means[:, -1] if limit is None else limit
    if "kernel" in name:
        rows = [[_misalignment(mean, target[k]) for mean in means[k]] for k in range(len(means))]
        return np.array(rows)
    if name.startswith("pre-activations"):
        unit = target.std(-1)
        return np.asarray(np.abs(means - target[:, None]).mean(-1) / np.where(unit > 0, unit, 1.0)[:, None])
    return None


def _misalignment(one: Array, other: Array) -> float:
    try:
        return 1.0 - centered_alignment(torch.from_numpy(one), torch.from_numpy(other))
    except ValueError:
        return math.nan


def _growth(spec: ConsistencySpec, name: str, steps: tuple[int, ...], values: list[Array]) -> Growth:
    """(R, K, 1) for each size into means and powers of the size."""
    slopes = np.full((len(steps), 3), np.nan)
    sizes = np.concatenate([np.full(len(group), size) for size, group in zip(spec.sizes, values, strict=True)])
    means = np.full((len(steps), len(values)), np.nan)
    for k in range(len(steps)):
        numbers = [group[:, k, 0] for group in values]
        with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            means[k] = [math.exp(np.log(n[n > 0]).mean()) if (n > 0).any() else math.nan for n in numbers]
        try:
            trend = size_trend(sizes, np.concatenate(numbers), axis=spec.axis, level=spec.level)
        except DataError:
            continue
        slopes[k] = (trend.slope, *trend.interval)
    return Growth(name=name, steps=steps, means=means, slopes=slopes)


def _agreement(groups: Sequence[Runs], *, task: str) -> Agreement | None:
    if task not in ("classification", "next_token"):
        return None
    targets = groups[0][0]["observed_targets"].astype(int)
    found = [_predictions(group, targets) for group in groups]
    reference = found[-1][0]
    return Agreement(
        with_largest=np.stack([(votes == reference).mean(-1) for votes, *_ in found], axis=1),
        between_seeds=np.stack([item[1] for item in found], axis=1),
        single=np.stack([item[2] for item in found], axis=1),
        ensemble=np.stack([item[3] for item in found], axis=1),
    )


def _predictions(group: Runs, targets: Array) -> tuple[Array, Array, Array, Array]:
    """Votes of the ensemble (K, rows), agreement of pairs (K,), loss of one (K,), loss of the ensemble (K,)."""
    logits = np.stack([run["observed/outputs"] for run in group]).astype(float)
    logits = logits - logits.max(-1, keepdims=True)
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    votes, mean = logits.argmax(-1), chances.mean(0)
    count = len(group)
    pairs = [(votes[i] == votes[j]).mean(-1) for i in range(count) for j in range(i)]
    place = np.arange(len(targets))
    tiny = np.finfo(float).tiny
    single = -np.log(np.maximum(chances[:, :, place, targets], tiny)).mean((0, 2))
    ensemble = -np.log(np.maximum(mean[:, place, targets], tiny)).mean(-1)
    return mean.argmax(-1), np.mean(pairs, axis=0), single, ensemble
