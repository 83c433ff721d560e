"""Whether a fit can be trusted: a certificate of the optimum, and what the table does not determine."""

from dataclasses import dataclass

import numpy as np

from limes.core.status import SolveStatus
from limes.laws.form import Array
from limes.laws.problem import Problem
from limes.laws.solve import Solution

FLAT_CONDITION = 1e8
COLLINEAR = 0.98
ABSENT = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """One thing that the table does not determine, or that a reader must know.

    Args:
        code: Short word, such as "floor_not_identified".
        sentence: For people, with the numbers.
    """

    code: str
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """Evidence that the optimum is the global one among the starts.

    Args:
        gradient_norm: Norm of the gradient of the objective in theta (logarithms of coefficients, exponents), over
            the objective itself; parameters held at a bound are left out.
        second_order: Every eigenvalue of the Hessian over the free parameters is positive.
        condition: Of that Hessian, scaled to a unit diagonal.
        agreement: Share of starts that reached the best objective within 1e-6.
        num_starts: Starts that were run.
        at_bound: Parameters at a bound.
    """

    gradient_norm: float
    second_order: bool
    condition: float
    agreement: float
    num_starts: int
    at_bound: tuple[str, ...]


def certify(problem: Problem, solution: Solution) -> tuple[Certificate, SolveStatus]:
    """The certificate of a solution, and the status word that follows from it."""
    low, high = problem.law.bounds()
    margin = 1e-6 * (high - low)
    bound = (solution.theta <= low + margin) | (solution.theta >= high - margin)
    free = ~bound
    gradient = solution.gradient[free]
    hessian = solution.hessian[np.ix_(free, free)]
    scale = np.sqrt(np.maximum(np.diag(hessian), 1e-300))
    eigenvalues = np.linalg.eigvalsh(hessian / np.outer(scale, scale)) if free.any() else np.ones(1)
    positive = bool(eigenvalues[0] > 0)
    certificate = Certificate(
        gradient_norm=float(np.linalg.norm(gradient) / max(solution.value, 1e-25)),
        second_order=positive,
        condition=float(eigenvalues[-1] / eigenvalues[0]) if positive else np.inf,
        agreement=solution.agreement,
        num_starts=solution.num_starts,
        at_bound=tuple(name for name, held in zip(problem.law.names, bound) if held),
    )
    if not np.isfinite(solution.value):
        return certificate, SolveStatus.DIVERGED
    if not solution.converged:
        return certificate, SolveStatus.MAX_ITERATIONS
    if not positive or certificate.condition > FLAT_CONDITION:
        return certificate, SolveStatus.ILL_CONDITIONED
    return certificate, SolveStatus.CONVERGED


def find_flags(problem: Problem, theta: Array, certificate: Certificate) -> tuple[Flag, ...]:
    """Flat valleys, parameters at a bound, an absent floor, too few rows, collinear inputs."""
    law = problem.law
    flags = [
        Flag(
            code="at_bound",
            sentence=f"{name} sits at the bound of its range, so its value is the bound's, not the data's.",
        )
        for name in certificate.at_bound
        if name != law.floor
    ]
    if law.floor is not None and law.unpack(theta)[law.floor] < ABSENT:
        flags.append(
            Flag(
                code="floor_not_identified",
                sentence=f"The floor {law.floor} went to zero: these rows do not show one; quote its interval instead.",
            )
        )
    if certificate.condition > FLAT_CONDITION or not certificate.second_order:
        sentence = (
            f"The objective is flat in some direction (condition {certificate.condition:.1e}): several parameter sets "
            "fit the same, so do not quote the parameters one by one."
        )
        flags.append(Flag(code="flat_valley", sentence=sentence))
    if problem.num_rows <= len(law.parameters) + 1:
        sentence = (
            f"{problem.num_rows} rows for {len(law.parameters)} parameters: the fit nearly interpolates, and its "
            "residuals say nothing about its error."
        )
        flags.append(Flag(code="few_rows", sentence=sentence))
    return tuple(flags + _design_flags(problem))


def _design_flags(problem: Problem) -> list[Flag]:
    flags = []
    logs = {c.name: np.log(problem.columns[c.name]) for c in problem.law.inputs if c.kind == "log"}
    names = list(logs)
    for name in names:
        if np.ptp(logs[name]) < 1e-9:
            flags.append(
                Flag(code="constant_column", sentence=f"{name} has one value only; its exponent is not identified.")
            )
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if min(np.ptp(logs[first]), np.ptp(logs[second])) < 1e-9:
                continue
            correlation = float(np.corrcoef(logs[first], logs[second])[0, 1])
            if abs(correlation) > COLLINEAR:
                sentence = (
                    f"{first} and {second} move together (correlation {correlation:.3f} of the logarithms): their "
                    "exponents cannot be told apart; vary one at fixed other."
                )
                flags.append(Flag(code="collinear_design", sentence=sentence))
    return flags
