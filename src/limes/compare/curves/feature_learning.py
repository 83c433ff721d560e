"""Linear networks whose features move: loss, slope and alignment in time, lazy against rich, simulated beside.

Source: arXiv:2409.17858. Letters: gamma strength of feature learning, C = |w|^2/N size of the readout.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from limes.compare.curves.study import Array, Curve, Numbers, Panel, TheoryStudy
from limes.compare.curves.work import Work, points_from
from limes.core.errors import SpecError
from limes.theory.checks import check_number
from limes.theory.scaling import (
    FeatureLearningProblem,
    FeatureLearningResult,
    power_law_problem,
    scaling_exponents,
    simulate_feature_learning,
    solve_feature_learning,
)

SIZES = (60, 120, 180, 240)
MAX_SIMULATED_MODES = 200
NUM_TIMES = 81
NUM_SIMULATED = 6
FIRST = 0.5
ROWS = (
    ("training time", "time"),
    ("width, at the end of training", "width"),
    ("samples, at the end of training, no noise", "samples"),
    ("time, where batch noise dominates", "batch"),
    ("compute = width x time", "compute"),
    ("best width ~ compute^", "optimal_width"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureLearningSetting:
    """A power-law task, learned at several strengths of feature learning.

    Attributes:
        a: Decay of the target power by mode.
        b: Decay of the eigenvalues.
        gammas: Strengths; 0 is lazy.
        num_modes: Of the task.
        longest: Last time; the first is 0.5.
    """

    a: float
    b: float
    gammas: tuple[float, ...]
    num_modes: int
    longest: float


def feature_learning_study(setting: FeatureLearningSetting, work: Work) -> TheoryStudy:
    """Loss, local slope and alignment in time at each gamma, beside the laws.

    Args:
        setting: Task and strengths.
        work: Solves, and simulates where it has a plan.

    Raises:
        SpecError: The task is no task, or has too many modes for a simulation.
    """
    if work.plan and setting.num_modes > MAX_SIMULATED_MODES:
        raise SpecError(
            f"num_modes is {setting.num_modes}; simulated networks train each of them: at most {MAX_SIMULATED_MODES}"
        )
    longest = check_number("longest", setting.longest, low=FIRST, below=1e9, open_low=True)
    times = np.geomspace(FIRST, longest, NUM_TIMES)
    law = power_law_problem(setting.a, setting.b, setting.num_modes)
    problems = [
        FeatureLearningProblem(law.spectrum, law.target_power, gamma=gamma, multiplicity=law.multiplicity)
        for gamma in setting.gammas
    ]
    results = work.solve(lambda problem: solve_feature_learning(problem, times), {"all": problems})["all"]
    points = _simulated(problems, longest, work) if work.plan else [None] * len(problems)
    return TheoryStudy(
        name="feature-learning",
        title="feature learning on power-law tasks",
        question="Does moving the features change the law of the loss?",
        answer=_answer(setting, results),
        model=(
            f"A linear network on eigenvalues k^-{setting.b:g} and target power k^-{setting.a:g}, "
            f"{setting.num_modes:,} modes: the readout descends with rate 1, its random features with rate gamma. "
            "Population gradient flow at infinite width; time in units of the largest eigenvalue; the loss is "
            "E(f - y*)^2, without 1/2."
        ),
        settings={name: getattr(setting, name) for name in FeatureLearningSetting.__dataclass_fields__},
        panels=(_loss_panel(setting, results, points), _slope_panel(setting, results), _alignment_panel(results)),
        tables=(_exponents(setting),),
        simulation=work.plan.sentence("features (width), trained within their span") if work.plan else "",
        docs="docs/theory/feature_learning.md",
    )


def _loss_panel(
    setting: FeatureLearningSetting, results: Sequence[FeatureLearningResult], points: Sequence[Any]
) -> Panel:
    curves = [
        Curve(label=_label(result), x=result.times, y=result.test_loss, points=own)
        for result, own in zip(results, points, strict=True)
    ]
    return Panel(
        name="loss",
        title="Loss in time",
        x_title="time",
        y_title="E(f - y*)^2",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
        note=f"With {setting.num_modes:,} modes a power of time holds until the last mode is learned.",
    )


def _slope_panel(setting: FeatureLearningSetting, results: Sequence[FeatureLearningResult]) -> Panel:
    curves = []
    for result in results:
        logs = np.log(result.test_loss)
        slope = -np.gradient(logs, np.log(result.times))
        curves.append(Curve(label=_label(result), x=result.times, y=slope))
    ends = results[0].times[[0, -1]]
    for rich, name in ((False, "lazy law"), (True, "rich law")):
        law = scaling_exponents(setting.a, setting.b, rich=rich).time
        curves.append(Curve(label=f"{name} {law:.3g}", x=ends, y=np.full(2, law), dash="dot" if rich else "dash"))
    return Panel(
        name="slope",
        title="Local exponent of time",
        x_title="time",
        y_title="-d log loss / d log time",
        curves=tuple(curves),
        log_x=True,
    )


def _alignment_panel(results: Sequence[FeatureLearningResult]) -> Panel:
    curves = [
        Curve(label=_label(result), x=result.times, y=result.alignment)
        for result in results
        if result.problem.gamma > 0.0
    ]
    ends = results[0].times[[0, -1]]
    curves.append(Curve(label="lazy below, rich above", x=ends, y=np.ones(2), dash="dash"))
    return Panel(
        name="alignment",
        title="How much faster than lazy: gamma C",
        x_title="time",
        y_title="gamma C",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
    )


def _label(result: FeatureLearningResult) -> str:
    gamma = result.problem.gamma
    return "gamma 0 (lazy)" if gamma == 0.0 else f"gamma {gamma:g}"


def _answer(setting: FeatureLearningSetting, results: Sequence[FeatureLearningResult]) -> tuple[str, ...]:
    lazy, rich = (scaling_exponents(setting.a, setting.b, rich=flag) for flag in (False, True))
    change = (
        f"Moving features makes the loss fall as time^-{rich.time:.3g} instead of time^-{lazy.time:.3g}, and as "
        f"compute^-{rich.compute:.3g} instead of compute^-{lazy.compute:.3g}."
        if rich.time > lazy.time + 1e-9
        else f"The loss falls as time^-{lazy.time:.3g} whether features move or not: only prefactors change."
    )
    lines = [f"The task is {lazy.task} for its kernel (beta = (a - 1)/b = {(setting.a - 1) / setting.b:.3g}). {change}"]
    for result in results:
        if result.problem.gamma > 0.0:
            turn = result.transition_time
            when = f"{'by' if turn <= result.times[0] else 'at'} time {turn:.3g}"
            when = when if np.isfinite(turn) else f"not before time {setting.longest:g}"
            lines.append(f"{_label(result)}: features take over (gamma C = 1) {when}.")
    return tuple(lines)


def _exponents(setting: FeatureLearningSetting) -> Numbers:
    lazy, rich = (scaling_exponents(setting.a, setting.b, rich=flag) for flag in (False, True))
    rows = tuple((label, float(getattr(lazy, field)), float(getattr(rich, field))) for label, field in ROWS)
    return Numbers(
        name="exponents",
        title="Exponents: loss ~ resource^-exponent",
        columns=("resource", "lazy", "rich"),
        rows=rows,
        note="Asymptotic, of power laws without end. Batch noise in the rich case: by balance of terms, not checked.",
    )


def _simulated(problems: Sequence[FeatureLearningProblem], longest: float, work: Work) -> list[Any]:
    times = np.geomspace(FIRST, longest, NUM_SIMULATED)
    asked = [_Timed(problem=problem, times=times) for problem in problems]
    drawn = work.simulate(_draw, {"all": asked}, name="feature_learning", cost=lambda _, size: size + 50.0)
    return [
        points_from(times, solve_feature_learning(problem, times).test_loss, sample.estimates("test_loss"))
        for problem, sample in zip(problems, drawn["all"], strict=True)
    ]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Timed:
    """A problem and when to look."""

    problem: FeatureLearningProblem
    times: Array


def _draw(asked: Any, size: int, num_draws: int, generator: torch.Generator) -> dict[str, Array]:
    problem = replace(asked.problem, num_features=size)
    runs = simulate_feature_learning(problem, asked.times, num_draws=num_draws, generator=generator, tolerance=1e-6)
    return {"test_loss": runs}
