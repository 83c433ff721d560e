"""Curvature of the population loss of quadratic networks, in closed form: at the plateau and at the minimum.

With u_i = w_i/sqrt N and A = U^T U/p - T^T T/p* the loss is L = ((tr A)^2 + 2 tr A^2)/2, and in a direction V (p, N)

    L'' = (4/p^2) [(tr U V^T)^2 + tr (U V^T)^2 + |U^T V|^2] + (2/p) [tr A |V|^2 + 2 tr V A V^T]

At a point whose rows lie along orthonormal directions this splits into blocks, each with one eigenvalue.

Source: limes, derivation in docs/theory/quadratic_network.md, for the model of arXiv:2604.03068.
Letters: N inputs, p and p* units of student and teacher, T the teacher's orthonormal directions, s = eigenvalue of Q.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from limes.core.errors import SpecError
from limes.theory.checks import check_count

Point = Literal["plateau", "minimum"]


@dataclass(frozen=True, kw_only=True, slots=True)
class HessianLevel:
    """One eigenvalue of the Hessian with respect to w/sqrt(num_inputs).

    Args:
        value: The eigenvalue.
        multiplicity: Its number of independent directions; 0 where a size leaves none.
        direction: What moves.
    """

    value: float
    multiplicity: int
    direction: str


def hessian_levels(
    num_units: int, num_teacher: int, num_inputs: int, *, at: Point = "plateau"
) -> tuple[HessianLevel, ...]:
    """Eigenvalues of the Hessian of the population loss, with multiplicities that add up to p N.

    Gradient flow in t = samples over inputs with learning rate lr moves along an eigenvector at rate -lr x value. For
    the Hessian with respect to the weights themselves divide by the number of inputs.

    Args:
        num_units: p, of the student.
        num_teacher: p*, of the teacher, whose units are orthonormal.
        num_inputs: N, at least p + p*.
        at: "plateau" (Q = p/(p + 2), M = 0) or "minimum" (without loss if p >= p*, otherwise the least loss).

    Returns:
        Levels from the largest eigenvalue to the smallest; those of equal value but different meaning stand apart.

    Raises:
        SpecError: Too few inputs, or another point.

    **Source**: docs/theory/quadratic_network.md, derived there. **Accuracy**: closed form.

    >>> [(level.value, level.multiplicity) for level in hessian_levels(2, 2, 10)]
    [(2.0, 1), (1.0, 2), (0.0, 1), (0.0, 12), (-1.0, 4)]
    """
    p, q = check_count("num_units", num_units), check_count("num_teacher", num_teacher)
    n = check_count("num_inputs", num_inputs)
    if n < p + q:
        raise SpecError(f"num_inputs is {n}; {p} student and {q} teacher units need at least {p + q}")
    if at not in get_args(Point):
        raise SpecError(f"at is {at!r}; expected one of {', '.join(get_args(Point))}")
    levels = _plateau(p, q, n) if at == "plateau" else _minimum(p, q, n)
    return tuple(sorted(levels, key=lambda level: -level.value))


def minimum_loss(num_units: int, num_teacher: int) -> float:
    """Least population loss of p quadratic units against p* orthonormal ones: 0 for p >= p*.

    Args:
        num_units: p, of the student.
        num_teacher: p*, of the teacher.

    Returns:
        Half the squared error.

    **Source**: docs/theory/quadratic_network.md. **Accuracy**: closed form.

    >>> minimum_loss(2, 2), minimum_loss(2, 4)
    (0.0, 0.1875)
    """
    p, q = check_count("num_units", num_units), check_count("num_teacher", num_teacher)
    if p >= q:
        return 0.0
    s = _learned(p, q)
    return 0.5 * ((s - 1.0) ** 2 + 2.0 * (p * (s / p - 1.0 / q) ** 2 + (q - p) / q**2))


def _learned(p: int, q: int) -> float:
    """Eigenvalue of Q along what is learned."""
    return p / q if p >= q else p * (q + 2.0) / (q * (p + 2.0))


def _own(curvature: float, size: int, where: str) -> list[HessianLevel]:
    """(trace)^2 + tr X^2 + |X|^2 times a curvature, for X (size, size): trace, symmetric and antisymmetric parts."""
    return [
        HessianLevel(value=(size + 2.0) * curvature, multiplicity=1, direction=f"all {where} grow or shrink together"),
        HessianLevel(value=2.0 * curvature, multiplicity=size * (size + 1) // 2 - 1, direction=f"shape of {where}"),
        HessianLevel(value=0.0, multiplicity=size * (size - 1) // 2, direction=f"rotation among {where}"),
    ]


def _plateau(p: int, q: int, n: int) -> list[HessianLevel]:
    return [
        *_own(4.0 / (p * (p + 2.0)), p, "student units"),
        HessianLevel(value=0.0, multiplicity=p * (n - p - q), direction="rotation into what nobody uses"),
        HessianLevel(value=-4.0 / (p * q), multiplicity=p * q, direction="toward the teacher: the escape"),
    ]


def _minimum(p: int, q: int, n: int) -> list[HessianLevel]:
    used, s = min(p, q), _learned(p, q)
    return [
        *_own(4.0 * s / p**2, used, "learned directions"),
        HessianLevel(value=4.0 / (p * q), multiplicity=used * (n - q), direction="learned units leave the teacher"),
        HessianLevel(value=0.0, multiplicity=(p - used) * n, direction="spare units: flat to second order"),
        HessianLevel(
            value=0.0, multiplicity=used * (q - used), direction="toward teacher directions that are left out"
        ),
    ]
