"""Ridge regression with a kernel or with random features: learning curves and double descent, simulated beside.

Source: arXiv:2405.00592. Letters: M modes, N features, P samples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from limes.compare.curves.study import Array, Curve, Panel, Points, TheoryStudy
from limes.compare.curves.work import Samples, Work, points_of
from limes.core.errors import SpecError
from limes.theory.checks import check_number
from limes.theory.scaling import (
    RandomFeatureProblem,
    optimal_ridge,
    power_law_problem,
    ridge_equivalent,
    scaling_exponents,
    simulate_ridge,
)

NUM_SHOWN = 60
MAX_SIMULATED_MODES = 5000
# Away from the peak at width = samples, where the loss of a single draw without ridge has no variance.
SHARES = (0.1, 0.25, 0.5, 2.0, 4.0)
METRICS = {
    "test_loss": ("Test loss", "E(f - y*)^2, without the noise"),
    "train_loss": ("Training loss", "mean of (f - y)^2"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RidgeSetting:
    """A power-law task and what is fitted to it.

    Attributes:
        a: Decay of the target power by mode.
        b: Decay of the eigenvalues.
        num_modes: Of the task.
        noise_var: Of the labels.
        ridge: Penalty; 0 is the minimum norm.
        num_samples: Where widths are compared.
        widths: Numbers of random features beside the kernel.
    """

    a: float
    b: float
    num_modes: int
    noise_var: float
    ridge: float
    num_samples: int
    widths: tuple[int, ...]


def ridge_study(setting: RidgeSetting, work: Work) -> TheoryStudy:
    """Learning curves of the kernel and of random features, and the loss against width at several ridges.

    Args:
        setting: Task and fit.
        work: Solves, and simulates where it has a plan.

    Raises:
        SpecError: The task is no task, or has too many modes for a simulation.
    """
    if work.plan and setting.num_modes > MAX_SIMULATED_MODES:
        raise SpecError(
            f"num_modes is {setting.num_modes}; a simulation holds each of them: at most {MAX_SIMULATED_MODES}"
        )
    check_number("ridge", setting.ridge, low=0.0)
    task = _task(setting)
    return TheoryStudy(
        name="ridge",
        title="ridge regression",
        question="How does the loss of ridge regression fall with samples and width?",
        answer=_answer(setting, task),
        model=(
            f"Eigenvalues k^-{setting.b:g} and target power k^-{setting.a:g} by mode, {setting.num_modes:,} modes, "
            f"label noise of variance {setting.noise_var:g}. Minimised is the mean of (f - y)^2 / 2 plus ridge/2 "
            "|w|^2. The test loss leaves the noise out, the training loss has it in."
        ),
        settings={name: getattr(setting, name) for name in RidgeSetting.__dataclass_fields__},
        panels=_panels(setting, task, work),
        simulation=work.plan.sentence("") if work.plan else "",
        docs="docs/theory/ridge.md",
    )


Task = Callable[..., RandomFeatureProblem]


def _task(setting: RidgeSetting) -> Task:
    # Simulated fits need every mode on its own.
    exact = {"num_exact": max(8, setting.num_modes)} if setting.num_modes <= MAX_SIMULATED_MODES else {}

    def make(samples: float, width: float, ridge: float) -> RandomFeatureProblem:
        return power_law_problem(
            setting.a,
            setting.b,
            setting.num_modes,
            num_samples=samples,
            num_features=width,
            noise_var=setting.noise_var,
            ridge=ridge,
            **exact,
        )

    return make


def _panels(setting: RidgeSetting, task: Task, work: Work) -> tuple[Panel, ...]:
    groups = {**_by_samples(setting, task), **_by_width(setting, task)}
    solved = work.solve(ridge_equivalent, {key: group.shown for key, group in groups.items()})
    samples = work.simulate(_draw, {key: group.simulated for key, group in groups.items()}, name="ridge", cost=_cost)
    curves: dict[str, list[Curve]] = {"samples/test_loss": [], "samples/train_loss": [], "width/test_loss": []}
    for (panel, label), group in groups.items():
        for metric in METRICS:
            lines = curves.get(f"{panel}/{metric}")
            if lines is None:
                continue
            y = np.array([getattr(result, metric) for result in solved[panel, label]])
            points = _points(group, samples[panel, label], metric) if samples else None
            lines.append(Curve(label=label, x=group.x, y=np.where(np.isfinite(y), y, np.nan), points=points))
    width = Panel(
        name="width",
        title=f"Double descent: test loss against width at {setting.num_samples} samples",
        x_title="random features",
        y_title=METRICS["test_loss"][1],
        curves=tuple(curves["width/test_loss"]),
        log_x=True,
        log_y=True,
        note="Without ridge the loss is infinite where width = samples. The theory is that of large sizes.",
    )
    learning = [
        Panel(
            name=metric.replace("_", "-"),
            title=f"{title} against the number of samples, ridge {setting.ridge:g}",
            x_title="samples",
            y_title=y_title,
            curves=tuple(curves[f"samples/{metric}"]),
            log_x=True,
            log_y=True,
        )
        for metric, (title, y_title) in METRICS.items()
    ]
    return (*learning, width)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Group:
    """One curve: where it is drawn, and where it is simulated."""

    x: Array
    shown: list[RandomFeatureProblem]
    places: Array
    simulated: list[RandomFeatureProblem]


def _by_samples(setting: RidgeSetting, task: Task) -> dict[Any, _Group]:
    x, places = np.unique(np.round(np.geomspace(5, 2000, NUM_SHOWN))), np.unique(np.round(np.geomspace(10, 400, 6)))
    groups = {}
    for width in (*setting.widths, math.inf):
        label = "kernel (infinite width)" if math.isinf(width) else f"{width:g} random features"
        away = np.array([p for p in places if setting.ridge > 0.0 or abs(p / width - 1.0) > 0.3])
        groups["samples", label] = _Group(
            x=x,
            shown=[task(p, width, setting.ridge) for p in x],
            places=away,
            simulated=[task(p, width, setting.ridge) for p in away],
        )
    return groups


def _by_width(setting: RidgeSetting, task: Task) -> dict[Any, _Group]:
    p = setting.num_samples
    x = np.unique(np.maximum(1.0, np.round(p * np.geomspace(0.05, 20.0, NUM_SHOWN))))
    places = np.unique(np.maximum(1.0, np.round(p * np.array(SHARES))))
    choices: dict[str, Callable[[float], RandomFeatureProblem]] = {
        "no ridge": lambda n: task(p, n, 0.0),
        f"ridge {setting.ridge:g}": lambda n: task(p, n, setting.ridge),
        "best ridge at each width": lambda n: optimal_ridge(task(p, n, 0.0)).problem,
    }
    if setting.ridge == 0.0:
        del choices["ridge 0"]
    return {
        ("width", label): _Group(x=x, shown=[make(n) for n in x], places=places, simulated=[make(n) for n in places])
        for label, make in choices.items()
    }


def _points(group: _Group, samples: Sequence[Samples], metric: str) -> Points | None:
    results = [ridge_equivalent(problem) for problem in group.simulated]
    # A fit that interpolates has no training loss to compare.
    if any(getattr(result, metric) <= 1e-9 for result in results):
        return None
    return points_of(group.places, results, samples, metric)


def _draw(problem: Any, size: int, num_draws: int, generator: torch.Generator) -> dict[str, Array]:
    run = simulate_ridge(problem, num_draws=num_draws, generator=generator)
    return {"test_loss": run.test_loss, "train_loss": run.train_loss}


def _cost(problem: RandomFeatureProblem, size: int) -> float:
    p, n, m = problem.num_samples, min(problem.num_features, problem.num_modes), problem.num_modes
    return p * n * (m + 10.0 * min(p, n)) + 1e5


def _answer(setting: RidgeSetting, task: Task) -> tuple[str, ...]:
    p, law = setting.num_samples, scaling_exponents(setting.a, setting.b)
    own, best = ridge_equivalent(task(p, math.inf, setting.ridge)), optimal_ridge(task(p, math.inf, 0.0))
    peak = max(ridge_equivalent(task(p, p * share, 0.0)).test_loss for share in (0.9, 1.1))
    small, large = (optimal_ridge(task(p, p * share, 0.0)).test_loss for share in (0.5, 5.0))
    return (
        f"The kernel at {p} samples: test loss {own.test_loss:.4g} at ridge {setting.ridge:g}; the best ridge "
        f"{best.problem.ridge:.3g} gives {best.test_loss:.4g}.",
        f"Without noise the loss falls as samples^-{law.samples:.3g}; with unlimited samples a width of N leaves "
        f"N^-{law.width:.3g}.",
        f"Without ridge the loss at {p} samples reaches {peak:.3g} within a tenth of width = samples; with the "
        f"best ridge it falls from {small:.3g} at half that width to {large:.3g} at five times it.",
    )
