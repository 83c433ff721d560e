"""One-pass SGD of quadratic networks: loss and overlaps in time, what is conserved, where it ends, simulated beside.

Source: arXiv:2604.03068. Letters: N inputs, p and p* units of student and teacher, Q and M their overlaps.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from limes.compare.curves.study import Array, Curve, Numbers, Panel, TheoryStudy
from limes.compare.curves.work import Work, points_from
from limes.core.errors import ScopeError
from limes.core.rng import stream
from limes.theory.checks import check_count, check_number
from limes.theory.solvable import (
    QuadraticNetworkProblem,
    QuadraticNetworkResult,
    conserved_quantity,
    escape_rate,
    escape_time,
    final_weights_polar,
    hessian_levels,
    minimum_loss,
    plateau_loss,
    simulate_quadratic_network,
    solve_quadratic_network,
)

SIZES = (100, 200, 400)
NUM_TIMES = 401
EVERY = 4
NUM_SIMULATED = 7
METRICS = ("test_loss", "signal", "norm")


@dataclass(frozen=True, kw_only=True, slots=True)
class QuadraticSetting:
    """A student with units of size 1 and small random overlaps with an orthonormal teacher.

    Attributes:
        num_units: p, of the student.
        num_teacher: p*, of the teacher.
        lr: Learning rate.
        noise_var: Of the labels.
        start: Size of one initial overlap; a random start in N inputs has 1/sqrt(N).
        longest: Last time, samples over inputs; None for two and a half times the expected escape.
        seed: Of the initial overlaps.
    """

    num_units: int
    num_teacher: int
    lr: float
    noise_var: float = 0.0
    start: float = 0.05
    longest: float | None = None
    seed: int = 0

    def problem(self) -> QuadraticNetworkProblem:
        """As the solver takes it.

        Raises:
            SpecError: A number is out of range, or the overlaps are too large.
        """
        p, q = check_count("units", self.num_units), check_count("teacher", self.num_teacher)
        start = check_number("start", self.start, low=0.0, below=1.0, open_low=True)
        rate = escape_rate(p, q, check_number("lr", self.lr, low=0.0, open_low=True))
        draw = torch.randn(p, q, generator=stream(self.seed, "init"), dtype=torch.float64).numpy()
        cross = start * draw
        wait = max(math.log(min(p, q) / float((cross**2).sum())), 1.0) / rate
        longest = 2.5 * wait if self.longest is None else self.longest
        # Steps of the integrator are bounded by the fastest rate, whatever is left to happen.
        longest = check_number("longest", longest, low=0.0, below=100.0 * wait, open_low=True)
        return QuadraticNetworkProblem(
            student_overlap=np.eye(p),
            cross_overlap=cross,
            teacher_overlap=np.eye(q),
            lr=self.lr,
            times=np.linspace(0.0, longest, NUM_TIMES),
            noise_var=self.noise_var,
        )


def quadratic_network_study(setting: QuadraticSetting, work: Work) -> TheoryStudy:
    """Loss, overlaps and conserved quantity in time; the Hessian at plateau and minimum; the end point.

    Args:
        setting: The network.
        work: Solves, and simulates where it has a plan.

    Raises:
        ConvergenceError: The learning rate is too large.
    """
    problem = setting.problem()
    # Flow reaches its end later than SGD shows it: the end point is read off a run of its own.
    long = replace(problem, times=40.0 * problem.times[-1:], gradient_flow=True)
    asked = {"all": [problem, replace(problem, gradient_flow=True), long]}
    sgd, flow, end = work.solve(solve_quadratic_network, asked)["all"]
    points = _simulated(problem, work) if work.plan else {}
    return TheoryStudy(
        name="quadratic-network",
        title="one-pass SGD of quadratic networks",
        question="How long does the network wait before it finds its teacher, and where does it end?",
        answer=_answer(setting, sgd, flow, end),
        model=(
            "Two layers with quadratic units learn a network of the same kind from fresh samples, one each step, in "
            "the limit of many inputs N. Time is samples / N. The loss is half the squared error, without the noise "
            "of the labels."
        ),
        settings={
            "num_units": setting.num_units,
            "num_teacher": setting.num_teacher,
            "lr": setting.lr,
            "noise_var": setting.noise_var,
            "start": setting.start,
            "longest": float(problem.times[-1]),
            "seed": setting.seed,
        },
        panels=(
            _loss_panel(sgd, flow, points),
            _signal_panel(sgd, flow, points),
            _norm_panel(sgd, flow, points),
            _conserved_panel(sgd, flow),
        ),
        tables=(_hessian_table(setting), _end_table(end)),
        simulation=work.plan.sentence("inputs N, from the same overlaps") if work.plan else "",
        docs="docs/theory/quadratic_network.md",
    )


def _answer(
    setting: QuadraticSetting, sgd: QuadraticNetworkResult, flow: QuadraticNetworkResult, end: QuadraticNetworkResult
) -> tuple[str, ...]:
    p, q = setting.num_units, setting.num_teacher
    times = [escape_time(result) for result in (sgd, flow)]
    when, slow = ("not in this time" if math.isinf(t) else f"at time {t:.4g}" for t in times)
    least = minimum_loss(p, q)
    last = (
        f"{p} units cannot represent {q}: the loss ends at {least:.4g}."
        if p < q
        else f"Gradient flow ends without loss: {_end_gap(end)}"
    )
    return (
        f"The loss waits at about {plateau_loss(p, q):.4g} and falls below half of that {when} (gradient flow: "
        f"{slow}).",
        f"On the plateau the squared overlap grows at rate {escape_rate(p, q, setting.lr):.4g} = 8 lr / (p p*), so ten "
        f"times the inputs add {math.log(10.0) / escape_rate(p, q, setting.lr):.3g} to the wait from a random start.",
        last,
    )


def _end_gap(end: QuadraticNetworkResult) -> str:
    p, q = end.problem.cross_overlap.shape
    aim = math.sqrt(p / q) * final_weights_polar(end.problem)
    off = float(np.linalg.norm(end.cross_overlap[-1] - aim) / np.linalg.norm(aim))
    return (
        f"its overlaps are then those of the solution closest to the start, to {off:.1e} at time "
        f"{end.times[-1]:.4g} (loss {end.test_loss[-1]:.1e})."
    )


def _lines(
    sgd: QuadraticNetworkResult, flow: QuadraticNetworkResult, points: dict[str, Any], metric: str
) -> list[Curve]:
    return [
        Curve(label="SGD", x=sgd.times, y=getattr(sgd, metric), points=points.get(metric)),
        Curve(label="gradient flow (small lr)", x=flow.times, y=getattr(flow, metric), dash="dash"),
    ]


def _level(label: str, times: Array, value: float) -> Curve:
    return Curve(label=label, x=times[[0, -1]], y=np.full(2, value), dash="dot")


def _loss_panel(sgd: QuadraticNetworkResult, flow: QuadraticNetworkResult, points: dict[str, Any]) -> Panel:
    p, q = sgd.problem.cross_overlap.shape
    levels = [_level("plateau", sgd.times, plateau_loss(p, q))]
    if p < q:
        levels.append(_level("least loss", sgd.times, minimum_loss(p, q)))
    return Panel(
        name="loss",
        title="Loss in time",
        x_title="time = samples / inputs",
        y_title="half squared error",
        curves=(*_lines(sgd, flow, points, "test_loss"), *levels),
        log_y=True,
        note="With label noise and a finite learning rate SGD ends above zero.",
    )


def _signal_panel(sgd: QuadraticNetworkResult, flow: QuadraticNetworkResult, points: dict[str, Any]) -> Panel:
    p, q = sgd.problem.cross_overlap.shape
    law = sgd.signal[0] * np.exp(escape_rate(p, q, sgd.problem.lr) * sgd.times)
    law[law > 2.0 * sgd.signal.max()] = np.nan
    return Panel(
        name="overlap",
        title="Overlap with the teacher",
        x_title="time = samples / inputs",
        y_title="|M|^2, squared overlaps of all pairs",
        curves=(
            *_lines(sgd, flow, points, "signal"),
            Curve(label="rate 8 lr / (p p*) from the start", x=sgd.times, y=law, dash="dot"),
        ),
        log_y=True,
    )


def _norm_panel(sgd: QuadraticNetworkResult, flow: QuadraticNetworkResult, points: dict[str, Any]) -> Panel:
    p, _ = sgd.problem.cross_overlap.shape
    return Panel(
        name="size",
        title="Size of the student",
        x_title="time = samples / inputs",
        y_title="tr Q, squared size of all units",
        curves=(
            *_lines(sgd, flow, points, "norm"),
            _level("plateau, p^2/(p + 2)", sgd.times, p * p / (p + 2.0)),
        ),
    )


def _conserved_panel(sgd: QuadraticNetworkResult, flow: QuadraticNetworkResult) -> Panel:
    curves = [
        Curve(label=label, x=times, y=drift, dash=dash)
        for label, result, dash in (("SGD", sgd, "solid"), ("gradient flow (small lr)", flow, "dash"))
        for times, drift in (_drift(result),)
        if len(times) > 1
    ]
    return Panel(
        name="conserved",
        title="Drift of what gradient flow conserves",
        x_title="time = samples / inputs",
        y_title="relative change of I",
        curves=tuple(curves),
        log_y=True,
        note=(
            "I = exp(-cPt) M^T (Q - M P^-1 M^T)^-1 M exp(-cPt), c = 4 lr/(p p*). Shown until the student lies in the "
            "teacher's span; flow drifts by rounding only."
        ),
    )


def _drift(result: QuadraticNetworkResult) -> tuple[Array, Array]:
    """Times after the first, and the change of the conserved quantity, while it exists."""
    kept: list[Array] = []
    for i in range(0, len(result.times), EVERY):
        one = replace(
            result,
            times=result.times[i : i + 1],
            test_loss=result.test_loss[i : i + 1],
            student_overlap=result.student_overlap[i : i + 1],
            cross_overlap=result.cross_overlap[i : i + 1],
        )
        try:
            kept.append(conserved_quantity(one)[0])
        except ScopeError:
            break
    if len(kept) < 2:
        return np.empty(0), np.empty(0)
    values = np.array(kept)
    change = np.linalg.norm(values - values[0], axis=(1, 2)) / np.linalg.norm(values[0])
    return result.times[::EVERY][1 : len(kept)], change[1:]


def _hessian_table(setting: QuadraticSetting) -> Numbers:
    p, q = setting.num_units, setting.num_teacher
    rows = []
    for at in ("plateau", "minimum"):
        small, large = (hessian_levels(p, q, p + q + extra, at=at) for extra in (0, 1))
        for one, more in zip(small, large, strict=True):
            slope = more.multiplicity - one.multiplicity
            offset = one.multiplicity - slope * (p + q)
            if slope or offset:
                rows.append((at, one.value, _count(slope, offset), one.direction))
    return Numbers(
        name="hessian",
        title="Hessian of the population loss",
        columns=("at", "eigenvalue", "multiplicity", "what moves"),
        rows=tuple(rows),
        note="With respect to w/sqrt(N): gradient flow moves along it at rate -lr x eigenvalue. N: inputs.",
    )


def _count(slope: int, offset: int) -> str:
    """slope N + offset in words.

    >>> _count(0, 3), _count(2, -4), _count(1, 0)
    ('3', '2 N - 4', 'N')
    """
    if slope == 0:
        return str(offset)
    lead = "N" if slope == 1 else f"{slope} N"
    return lead if offset == 0 else f"{lead} {'-' if offset < 0 else '+'} {abs(offset)}"


def _end_table(end: QuadraticNetworkResult) -> Numbers:
    p, q = end.problem.cross_overlap.shape
    found = np.sort(np.linalg.eigvalsh(end.student_overlap[-1]))[::-1]
    value = p / q if p >= q else p * (q + 2.0) / (q * (p + 2.0))
    expected = np.append(np.full(min(p, q), value), np.zeros(p - min(p, q)))
    rows = tuple((i + 1, float(e), float(f)) for i, (e, f) in enumerate(zip(expected, found, strict=True)))
    return Numbers(
        name="end",
        title="Where gradient flow ends: eigenvalues of Q",
        columns=("number", "in the end", f"at time {end.times[-1]:.4g}"),
        rows=rows,
        note="Spare units forget as 1/t only." if p > q else "",
    )


def _simulated(problem: QuadraticNetworkProblem, work: Work) -> dict[str, Any]:
    # Times that are whole numbers of samples at every size, so that none of them is rounded.
    places: Array = np.linspace(0.0, problem.times[-1], NUM_SIMULATED + 1)[1:].round(2)
    asked = replace(problem, times=places)
    drawn = work.simulate(_draw, {"all": [asked]}, name="quadratic_network", cost=lambda _, size: size * (size + 200.0))
    result, (samples,) = solve_quadratic_network(asked), drawn["all"]
    return {metric: points_from(places, getattr(result, metric), samples.estimates(metric)) for metric in METRICS}


def _draw(problem: Any, size: int, num_draws: int, generator: torch.Generator) -> dict[str, Array]:
    run = simulate_quadratic_network(problem, dim=size, num_draws=num_draws, generator=generator)
    return {metric: getattr(run, metric) for metric in METRICS}
