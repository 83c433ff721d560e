"""One-pass SGD of two-layer networks with quadratic units, in the limit of many inputs: overlaps in time.

Student (1/p) sum_i (w_i.x/sqrt N)^2, teacher likewise with p* units and label noise Del, loss half the squared error,
w_i -= (eta/sqrt N)(2/p)(yhat - y)(w_i.x/sqrt N) x, one new sample each step, t = steps/N. With Q = W W^T/N,
M = W W*^T/N, P = W* W*^T/N and

    tD = tr Q/p - tr P/p*,   tD2 = tr Q^2/p^2 - 2 tr M M^T/(p p*) + tr P^2/p*^2,   L = (tD^2 + 2 tD2)/2
    B = Q^2/p - M M^T/p*,   B2 = Q^3/p^2 - (Q M M^T + M M^T Q)/(p p*) + M P M^T/p*^2
    dQ/dt = -(4 eta/p)(tD Q + 2 B) + (4 eta^2/p^2) [(tD^2 + 2 tD2 + Del) Q + 4 tD B + 8 B2]
    dM/dt = -(2 eta/p) [tD M + 2 (Q M/p - M P/p*)]

Source: arXiv:2604.03068 (the model); the equations in this form: docs/theory/quadratic_network.md.
Letters: N inputs, p and p* units of student and teacher, eta learning rate, Del noise.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from limes.core.errors import ConvergenceError, ScopeError, SpecError
from limes.theory.checks import check_number
from limes.theory.solvable.checks import Real, check_array

DIVERGED = 1e5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class QuadraticNetworkProblem:
    """A student with quadratic units, its teacher, and when to look.

    Args:
        student_overlap: (p, p) Q at the start.
        cross_overlap: (p, p*) M at the start.
        teacher_overlap: (p*, p*) P.
        lr: Learning rate eta.
        times: (T,) increasing, samples over inputs.
        noise_var: Variance of the label noise.
        gradient_flow: Leave out what is of second order in lr: gradient flow on the population loss, in time t with
            speed lr.
    """

    student_overlap: Real
    cross_overlap: Real
    teacher_overlap: Real
    lr: float
    times: Real
    noise_var: float = 0.0
    gradient_flow: bool = False

    def __post_init__(self) -> None:
        """Check shapes and ranges; arrays are copied.

        Raises:
            SpecError: Overlaps are not those of any weights, times do not increase, or a number is out of range.
        """
        cross = check_array("cross_overlap", self.cross_overlap, axes=2)
        p, q = cross.shape
        student = check_array("student_overlap", self.student_overlap, shape=(p, p))
        teacher = check_array("teacher_overlap", self.teacher_overlap, shape=(q, q))
        joint = np.block([[student, cross], [cross.T, teacher]])
        lowest = float(np.linalg.eigvalsh(joint)[0])
        if not np.allclose(joint, joint.T, atol=1e-12) or lowest < -1e-9 * np.abs(joint).max():
            raise SpecError(
                f"the overlaps together have the eigenvalue {lowest:g}; expected a symmetric positive semidefinite "
                "matrix, as W W^T is: make cross_overlap smaller"
            )
        times = check_array("times", self.times)
        if (times < 0.0).any() or (np.diff(times) <= 0.0).any():
            raise SpecError(f"times {times.tolist()}: expected increasing numbers of at least 0")
        for name, value in (("student", student), ("cross", cross), ("teacher", teacher)):
            object.__setattr__(self, f"{name}_overlap", value)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "lr", check_number("lr", self.lr, low=0.0, open_low=True))
        object.__setattr__(self, "noise_var", check_number("noise_var", self.noise_var, low=0.0))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class QuadraticNetworkResult:
    """Overlaps in time.

    Args:
        times: (T,) samples over inputs.
        test_loss: (T,) half the squared error, without the label noise.
        student_overlap: (T, p, p) Q.
        cross_overlap: (T, p, p*) M.
        problem: What was asked.
    """

    times: Real
    test_loss: Real
    student_overlap: Real
    cross_overlap: Real
    problem: QuadraticNetworkProblem

    @property
    def signal(self) -> Real:
        """(T,) |M|^2: 0 before the teacher's directions are found."""
        return np.asarray((self.cross_overlap**2).sum((1, 2)))

    @property
    def norm(self) -> Real:
        """(T,) trace of Q: squared size of all student units."""
        return np.asarray(np.trace(self.student_overlap, axis1=1, axis2=2))


class _Escape:
    """Stops an integration where an overlap leaves all bounds, as `solve_ivp` asks for it."""

    terminal = True

    def __init__(self, bound: float) -> None:
        self.bound = bound

    def __call__(self, _: float, state: Real) -> float:
        return self.bound - float(np.abs(state).max())


def solve_quadratic_network(problem: QuadraticNetworkProblem, *, tolerance: float = 1e-11) -> QuadraticNetworkResult:
    """Loss and overlaps in time, for infinitely many inputs.

    Args:
        problem: `QuadraticNetworkProblem`.
        tolerance: Relative, of the integrator.

    Returns:
        `QuadraticNetworkResult`.

    Raises:
        ConvergenceError: Training diverges: the learning rate is too large.

    **Source**: arXiv:2604.03068; docs/theory/quadratic_network.md. **Accuracy**: 1e-8 relative at the default.

    >>> problem = QuadraticNetworkProblem(
    ...     student_overlap=np.eye(2), cross_overlap=np.zeros((2, 2)), teacher_overlap=np.eye(2), lr=0.05, times=[0.0]
    ... )
    >>> solve_quadratic_network(problem).test_loss.tolist()
    [1.0]
    """
    p, q = problem.cross_overlap.shape
    times = problem.times
    start = np.concatenate([problem.student_overlap.ravel(), problem.cross_overlap.ravel()])
    states = np.repeat(start[None], len(times), axis=0)
    size = max(1.0, float(np.abs(start).max()))
    if times[-1] > 0.0:
        # A trial step of a diverging run may overflow; it is refused, and the run ends at the bound below.
        with np.errstate(over="ignore", invalid="ignore"):
            found = solve_ivp(
                lambda _, state: _slope(problem, state),
                (0.0, float(times[-1])),
                start,
                t_eval=times,
                method="DOP853",
                rtol=tolerance,
                atol=1e-3 * tolerance,
                events=_Escape(DIVERGED * size),
            )
        if found.status != 0:
            raise ConvergenceError(
                f"lr is {problem.lr:g}: training diverges at time {found.t_events[0][0]:.4g}; lower lr"
                if found.status == 1
                else f"overlaps up to time {times[-1]:g}: {found.message}"
            )
        states = found.y.T
    student = states[:, : p * p].reshape(-1, p, p)
    cross = states[:, p * p :].reshape(-1, p, q)
    return QuadraticNetworkResult(
        times=times,
        test_loss=overlap_loss(student, cross, problem.teacher_overlap),
        student_overlap=student,
        cross_overlap=cross,
        problem=problem,
    )


def overlap_loss(student: Real, cross: Real, teacher: Real) -> Real:
    """(...) half the squared error for overlaps (..., p, p), (..., p, p*), (p*, p*)."""
    first, second = _mismatch(student, cross, teacher)
    return np.asarray(0.5 * (first**2 + 2.0 * second))


def plateau_loss(num_units: int, num_teacher: int) -> float:
    """Loss where a student without knowledge of an orthonormal teacher waits: Q = p/(p + 2), M = 0, small lr.

    Args:
        num_units: p, of the student.
        num_teacher: p*, of the teacher.

    Returns:
        Half the squared error.

    **Source**: docs/theory/quadratic_network.md. **Accuracy**: closed form.

    >>> plateau_loss(2, 2)
    0.75
    """
    p = num_units
    return 0.5 * (4.0 / (p + 2) ** 2 + 2.0 * (p / (p + 2) ** 2 + 1.0 / num_teacher))


def escape_rate(num_units: int, num_teacher: int, lr: float) -> float:
    """Rate of |M|^2 on the plateau at small lr, 8 lr/(p p*); the escape takes about log(num_inputs) / rate.

    Args:
        num_units: p, of the student.
        num_teacher: p*, of the teacher, whose units are orthonormal.
        lr: Learning rate.

    Returns:
        Growth rate in t = samples over inputs.

    **Source**: docs/theory/quadratic_network.md. **Accuracy**: closed form, to first order in lr.

    >>> escape_rate(2, 2, 1.0)
    2.0
    """
    return 8.0 * lr / (num_units * num_teacher)


def escape_time(result: QuadraticNetworkResult, *, share: float = 0.5) -> float:
    """When the loss first falls below a share of its plateau, between the recorded times, linear in between.

    Args:
        result: Of a teacher with orthonormal units, with times that are dense enough.
        share: Of `plateau_loss`.

    Returns:
        The time; math.inf if it did not escape.

    Raises:
        ScopeError: The teacher's units are not orthonormal.

    **Source**: docs/theory/quadratic_network.md. **Accuracy**: that of the grid of times.

    >>> problem = QuadraticNetworkProblem(
    ...     student_overlap=np.eye(2), cross_overlap=0.1 * np.eye(2), teacher_overlap=np.eye(2), lr=0.05,
    ...     times=np.linspace(0.0, 200.0, 401),
    ... )
    >>> round(escape_time(solve_quadratic_network(problem)))
    52
    """
    p, q = result.problem.cross_overlap.shape
    if not np.allclose(result.problem.teacher_overlap, np.eye(q)):
        raise ScopeError("teacher_overlap is not the identity; the plateau is known for orthonormal teachers only")
    level = share * plateau_loss(p, q)
    below = np.flatnonzero(result.test_loss < level)
    if len(below) == 0:
        return math.inf
    k = int(below[0])
    if k == 0:
        return float(result.times[0])
    left, right = result.test_loss[k - 1], result.test_loss[k]
    return float(result.times[k - 1] + (result.times[k] - result.times[k - 1]) * (left - level) / (left - right))


def conserved_quantity(result: QuadraticNetworkResult) -> Real:
    """What gradient flow keeps: exp(-c P t) M^T (Q - M P^-1 M^T)^-1 M exp(-c P t), c = 4 lr/(p p*).

    Args:
        result: With `gradient_flow`; otherwise it drifts at second order in lr.

    Returns:
        (T, p*, p*), the same at all times.

    Raises:
        ScopeError: The student lies in the span of the teacher, or the teacher's units are dependent: no inverse.

    **Source**: docs/theory/quadratic_network.md. **Accuracy**: 1e-8 until the student falls into the teacher's span.

    >>> problem = QuadraticNetworkProblem(
    ...     student_overlap=np.eye(2), cross_overlap=0.1 * np.eye(2), teacher_overlap=np.eye(2), lr=0.1,
    ...     times=[0.0, 20.0], gradient_flow=True,
    ... )
    >>> first, last = conserved_quantity(solve_quadratic_network(problem))
    >>> bool(np.allclose(first, last, rtol=1e-7, atol=1e-12))
    True
    """
    problem = result.problem
    p, q = problem.cross_overlap.shape
    if np.linalg.eigvalsh(problem.teacher_overlap)[0] < 1e-9 * np.trace(problem.teacher_overlap):
        raise ScopeError("teacher_overlap is singular; the conserved quantity needs independent teacher units")
    rate = 4.0 * problem.lr / (p * q)
    rows = []
    for t, student, cross in zip(result.times, result.student_overlap, result.cross_overlap, strict=True):
        rest = student - cross @ np.linalg.solve(problem.teacher_overlap, cross.T)
        if np.linalg.eigvalsh(rest)[0] < 1e-9 * np.trace(student):
            raise ScopeError(f"at time {t:g} the student lies in the span of the teacher: ask for earlier times")
        decay = expm(-rate * t * problem.teacher_overlap)
        rows.append(decay @ cross.T @ np.linalg.solve(rest, cross) @ decay)
    return np.array(rows)


def final_weights_polar(problem: QuadraticNetworkProblem) -> Real:
    """(p, p*) O with orthonormal columns: gradient flow from a small random start ends at W = sqrt(p/p*) O W*.

    It is the point without loss that is closest to the start, among those with the teacher's directions.

    Args:
        problem: Q at the start must commute with M M^T, as random starts do for many inputs; teacher orthonormal.

    Returns:
        The polar factor of M at the start.

    Raises:
        ScopeError: Fewer student than teacher units, a teacher that is not orthonormal, or Q and M M^T that differ.

    **Source**: docs/theory/quadratic_network.md. **Accuracy**: exact for gradient flow.

    >>> problem = QuadraticNetworkProblem(
    ...     student_overlap=np.eye(2), cross_overlap=0.1 * np.eye(2), teacher_overlap=np.eye(2), lr=0.1, times=[1.0]
    ... )
    >>> final_weights_polar(problem).round(12).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    p, q = problem.cross_overlap.shape
    student, square = problem.student_overlap, problem.cross_overlap @ problem.cross_overlap.T
    if p < q or not np.allclose(problem.teacher_overlap, np.eye(q)):
        raise ScopeError(f"{p} student and {q} teacher units; expected p >= p* and an orthonormal teacher")
    if not np.allclose(student @ square, square @ student, atol=1e-9 * max(float(np.abs(square).max()), 1e-300)):
        raise ScopeError("student_overlap does not commute with M M^T: the end point is not known in closed form")
    left, _, right = np.linalg.svd(problem.cross_overlap, full_matrices=False)
    return np.asarray(left @ right)


def _mismatch(student: Real, cross: Real, teacher: Real) -> tuple[Any, Any]:
    """Trace of the difference of the two quadratic forms, and trace of its square."""
    p, q = cross.shape[-2:]
    first = np.trace(student, axis1=-2, axis2=-1) / p - np.trace(teacher) / q
    second = (student**2).sum((-2, -1)) / p**2 - 2.0 * (cross**2).sum((-2, -1)) / (p * q) + (teacher**2).sum() / q**2
    return first, second


def _slope(problem: QuadraticNetworkProblem, state: Real) -> Real:
    p, q = problem.cross_overlap.shape
    eta, teacher = problem.lr, problem.teacher_overlap
    student, m = state[: p * p].reshape(p, p), state[p * p :].reshape(p, q)
    first, second = _mismatch(student, m, teacher)
    mm = m @ m.T
    b = student @ student / p - mm / q
    d_student = -(4.0 * eta / p) * (first * student + 2.0 * b)
    if not problem.gradient_flow:
        cubic = student @ student @ student / p**2 + m @ teacher @ m.T / q**2
        cubic = cubic - (student @ mm + mm @ student) / (p * q)
        level = first**2 + 2.0 * second + problem.noise_var
        d_student = d_student + (4.0 * eta**2 / p**2) * (level * student + 4.0 * first * b + 8.0 * cubic)
    d_cross = -(2.0 * eta / p) * (first * m + 2.0 * (student @ m / p - m @ teacher / q))
    return np.concatenate([d_student.ravel(), d_cross.ravel()])
