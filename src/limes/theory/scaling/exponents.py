"""Exponents of scaling laws from the two of a task, and the phases of the (a, b) plane.

Source: arXiv:2402.01092 (time, width, samples); arXiv:2409.17858 (hard, easy, super-easy; feature learning);
arXiv:2405.15074 (the seven phases of one-pass SGD); docs/theory/scaling_exponents.md for what differs and why.
Letters: a, b decays of target power and eigenvalues (k^-a, k^-b), beta = (a-1)/b, alpha_p = b/2, beta_p = (a-b)/2.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from limes.core.errors import ScopeError
from limes.theory.checks import check_number
from limes.theory.scaling.checks import as_nonnegative
from limes.theory.scaling.terms import Allocation, PowerTerm, balance, loss_terms

Task = Literal["hard", "easy", "super-easy"]
PHASES = ("Ia", "Ib", "Ic", "II", "III", "IVa", "IVb")
WIDTH_TIME = {"time": 1.0, "width": 1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingExponents:
    """How the loss of a task falls with each resource while the others are unlimited: loss ~ resource^-exponent.

    Args:
        time: Training time.
        width: Features, at the end of training on unlimited data.
        samples: Training samples, at the end of training without noise.
        early_size: Of the first effect of a finite width or sample: 1.
        transient_time: The first effect of a width N on the way goes as N^-1 t^-transient_time.
        batch: Time, where the noise of batches dominates.
        early_stopped_samples: Samples, with label noise and training stopped at the best time.
        compute: Compute = width x time along the best allocation.
        optimal_width: Best width ~ compute^optimal_width.
        limits: Terms that balance there.
        task: "hard" (beta < 1), "easy", "super-easy" (beta > 2 - 1/b).
        rich: Whether features move.
    """

    time: float
    width: float
    samples: float
    early_size: float
    transient_time: float
    batch: float
    early_stopped_samples: float
    compute: float
    optimal_width: float
    limits: tuple[str, ...]
    task: Task
    rich: bool


def scaling_exponents(a: float, b: float, *, rich: bool = False, batch_noise: bool = True) -> ScalingExponents:
    """All exponents of a task with target power k^-a and eigenvalues k^-b.

    Args:
        a: Above 1.
        b: Above 1.
        rich: Features move: hard tasks are learned faster, by 2 / (1 + beta) in the exponent of time.
        batch_noise: One-pass SGD with a fixed batch (it limits super-easy tasks); False is full-batch flow.

    Returns:
        `ScalingExponents`, all positive where the loss falls.

    Raises:
        SpecError: a or b is not above 1.

    **Source**: arXiv:2402.01092, section 4; arXiv:2409.17858, Table 1; the width law and the transient are corrected,
    docs/theory/scaling_exponents.md.
    **Accuracy**: asymptotic; local slopes of the solver approach them within 0.06 over four decades, mostly 0.01.

    >>> lazy, rich = scaling_exponents(1.5, 2.0), scaling_exponents(1.5, 2.0, rich=True)
    >>> lazy.task, lazy.time, rich.time, round(lazy.compute, 4), round(rich.compute, 4)
    ('hard', 0.25, 0.4, 0.1667, 0.2222)
    """
    terms = {
        term.name: term for term in loss_terms(a, b, rich=rich, batch_noise=True, finite_samples=True, label_noise=True)
    }
    best = _lead(a, b, rich=rich, batch_noise=batch_noise)
    time = -terms["time"].time
    noise = terms["label noise"].time
    return ScalingExponents(
        time=time,
        width=-terms["width"].width,
        samples=-terms["samples"].samples,
        early_size=1.0,
        transient_time=-terms["width transient"].time,
        batch=-terms["batch noise"].time,
        early_stopped_samples=min(time / (time + noise), -terms["samples"].samples),
        compute=-best.loss,
        optimal_width=best.shares["width"],
        limits=best.limits,
        task=task_of(a, b),
        rich=rich,
    )


def _lead(a: float, b: float, *, rich: bool, batch_noise: bool) -> Allocation:
    return balance(loss_terms(a, b, rich=rich, batch_noise=batch_noise), WIDTH_TIME)


def task_of(a: float, b: float) -> Task:
    """How hard a task is for its kernel: whether its source exponent beta is below 1, or above 2 - 1/b.

    Args:
        a, b: Decays, above 1.

    Raises:
        SpecError: a or b is not above 1.

    **Source**: arXiv:2409.17858, section 4. **Accuracy**: exact.

    >>> task_of(1.5, 2.0), task_of(3.5, 2.0), task_of(4.5, 2.0)
    ('hard', 'easy', 'super-easy')
    """
    a = check_number("a", a, low=1.0, open_low=True)
    b = check_number("b", b, low=1.0, open_low=True)
    beta = (a - 1.0) / b
    if beta < 1.0:
        return "hard"
    return "easy" if beta <= 2.0 - 1.0 / b else "super-easy"


@dataclass(frozen=True, kw_only=True, slots=True)
class SGDPhase:
    """The compute-optimal law of one-pass SGD with width d and r steps of a constant batch, compute f = d r.

    Args:
        name: Ia, Ib, Ic, II, III, IVa or IVb.
        loss: Loss ~ f^loss.
        width: Best d ~ f^width.
        limits: The two terms that balance: "time" (F_pp), "width" (F_0), "width transient" (F_ac), "batch noise"
            (K_pp).
    """

    name: str
    loss: float
    width: float
    limits: tuple[str, ...]


def sgd_phase(a: float, b: float) -> SGDPhase:
    """The phase of one-pass SGD, for spectra with and without trace.

    For b < 1 the number of modes is proportional to the width and the largest stable step size falls as d^(b-1).

    Args:
        a: Decay of the target power, above 1.
        b: Decay of the eigenvalues, positive.

    Returns:
        `SGDPhase`.

    Raises:
        ScopeError: On a boundary (b = 1, a = b + 1 and the others), where logarithms appear.

    **Source**: arXiv:2405.15074, Table 2 and Figure 2; found here by balancing its terms,
    docs/theory/scaling_exponents.md.
    **Accuracy**: exact.

    >>> phase = sgd_phase(1.75, 1.5)
    >>> phase.name, round(phase.loss, 6), round(phase.width, 6)
    ('Ia', -0.3, 0.4)
    """
    a = check_number("a", a, low=1.0, open_low=True)
    b = check_number("b", b, low=0.0, open_low=True)
    alpha_p, beta_p = 0.5 * b, 0.5 * (a - b)
    name = _phase_name(alpha_p, beta_p)
    best = balance(_sgd_terms(alpha_p, beta_p), WIDTH_TIME)
    return SGDPhase(name=name, loss=best.loss, width=best.shares["width"], limits=best.limits)


def _phase_name(alpha_p: float, beta_p: float) -> str:
    edges = [2.0 * alpha_p - 1.0, 2.0 * beta_p - 1.0]
    edges += [alpha_p - beta_p] if alpha_p > 0.5 else [4.0 * alpha_p - 1.0, alpha_p - (1.0 - 0.5**0.5)]
    if min(abs(edge) for edge in edges) < 1e-12:
        raise ScopeError(
            f"a {2 * (alpha_p + beta_p):g}, b {2 * alpha_p:g} lies on a boundary between phases, where the laws have "
            "logarithms: move a or b a little"
        )
    if alpha_p > 0.5:
        return "Ia" if beta_p < 0.5 else ("II" if beta_p < alpha_p else "III")
    if beta_p < 0.5:
        return "Ib"
    if alpha_p < 0.25:
        return "Ic"
    return "IVb" if alpha_p < 1.0 - 0.5**0.5 else "IVa"


def _sgd_terms(alpha_p: float, beta_p: float) -> tuple[PowerTerm, ...]:
    """Terms of the risk in steps and width, with the step size of the largest stable batch noise."""
    # Time of the flow is step size times steps; its step size goes as width^gamma.
    gamma = min(0.0, 2.0 * alpha_p - 1.0)

    def in_steps(name: str, *, flow: float, width: float = 0.0) -> PowerTerm:
        return PowerTerm(name=name, time=flow, width=width + gamma * flow)

    terms = [
        in_steps("time", flow=-(2.0 * alpha_p + 2.0 * beta_p - 1.0) / (2.0 * alpha_p)),
        PowerTerm(name="width", width=-2.0 * alpha_p + max(0.0, 1.0 - 2.0 * beta_p)),
    ]
    if alpha_p > 0.5 and beta_p > 0.5:
        terms.append(in_steps("width transient", flow=-1.0 + 0.5 / alpha_p, width=-1.0))
    if alpha_p > 0.25:
        terms.append(in_steps("batch noise", flow=-2.0 + 0.5 / alpha_p, width=gamma))
    return tuple(terms)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PhaseMap:
    """The (a, b) plane on a grid; NaN and "" on boundaries and where the target is not summable.

    Args:
        a: (A,).
        b: (B,).
        phase: (B, A) names of `sgd_phase`.
        task: (B, A) "hard", "easy", "super-easy", or "" for b below 1.
        compute: (B, A) exponent of the loss in compute, one-pass SGD, features fixed; positive.
        optimal_width: (B, A) exponent of the best width.
        rich_compute: (B, A) the same exponent where features move (b above 1).
        time, width, samples: (B, A) exponents of single resources (b above 1).
    """

    a: np.ndarray
    b: np.ndarray
    phase: np.ndarray
    task: np.ndarray
    compute: np.ndarray
    optimal_width: np.ndarray
    rich_compute: np.ndarray
    time: np.ndarray
    width: np.ndarray
    samples: np.ndarray


def phase_map(a: Any, b: Any) -> PhaseMap:
    """Phases and exponents over a grid of tasks: what to expect of a network whose a and b were measured.

    Args:
        a: (A,) decays of the target power.
        b: (B,) decays of the eigenvalues.

    Returns:
        `PhaseMap`.

    Raises:
        SpecError: A value is negative or not finite.

    **Source**: `sgd_phase` and `scaling_exponents`. **Accuracy**: exact.

    >>> phase_map([1.7, 4.0], [1.5]).phase.tolist()
    [['Ia', 'III']]
    """
    columns, rows = as_nonnegative("a", a), as_nonnegative("b", b)
    shape = (len(rows), len(columns))
    names, tasks = np.full(shape, "", dtype=object), np.full(shape, "", dtype=object)
    values = {
        name: np.full(shape, np.nan)
        for name in ("compute", "optimal_width", "rich_compute", "time", "width", "samples")
    }
    for i, j in np.ndindex(shape):
        try:
            phase = sgd_phase(float(columns[j]), float(rows[i]))
        except ValueError:
            continue
        names[i, j] = phase.name
        values["compute"][i, j], values["optimal_width"][i, j] = -phase.loss, phase.width
        if rows[i] > 1.0:
            lazy = scaling_exponents(float(columns[j]), float(rows[i]))
            tasks[i, j] = lazy.task
            values["rich_compute"][i, j] = scaling_exponents(float(columns[j]), float(rows[i]), rich=True).compute
            for name in ("time", "width", "samples"):
                values[name][i, j] = getattr(lazy, name)
    return PhaseMap(a=columns, b=rows, phase=names, task=tasks, **values)
