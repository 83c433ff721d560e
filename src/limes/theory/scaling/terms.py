"""The power laws that a loss is a sum of, and what follows for a budget: a linear program in exponents.

Source: arXiv:2402.01092, section 4 (the terms); arXiv:2409.17858, section 4 (feature learning); arXiv:2405.15074,
section 3 (batch noise, and spectra without trace); corrections and our own terms: docs/theory/scaling_exponents.md.
Letters: a, b decays of target power and eigenvalues, beta = (a-1)/b, N width, P samples, t time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog

from limes.core.errors import SpecError
from limes.theory.checks import check_number

RESOURCES = ("time", "width", "samples")


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerTerm:
    """A part of the loss that goes as time^time * width^width * samples^samples.

    Args:
        name: What limits the loss there.
        time, width, samples: Exponents, signs included.
    """

    name: str
    time: float = 0.0
    width: float = 0.0
    samples: float = 0.0

    def exponent(self, shares: Mapping[str, float]) -> float:
        """Exponent in the budget, given those of the resources."""
        return sum(getattr(self, name) * share for name, share in shares.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """The best use of a budget C, all as exponents of C.

    Args:
        loss: The loss falls as C^loss.
        shares: Resource -> exponent; time^cost * width^cost * ... = C.
        limits: Names of the terms that are equally large at the optimum.
    """

    loss: float
    shares: Mapping[str, float]
    limits: tuple[str, ...]


def resource_exponents(a: Any, b: Any, *, rich: bool = False) -> dict[str, Any]:
    """How the loss falls with each resource alone: loss ~ resource^-exponent.

    Args:
        a: Decay of the target power, above 1; a number or an array of them.
        b: Decay of the eigenvalues, above 1; the same.
        rich: Features move (a fixed strength of feature learning).

    Returns:
        "time", "width" and "samples"; not checked, so that draws of a and b are cheap.

    **Source**: docs/theory/scaling_exponents.md. **Accuracy**: exact.

    >>> {name: float(value) for name, value in resource_exponents(1.75, 1.5).items()}
    {'time': 0.5, 'width': 0.75, 'samples': 0.75}
    """
    beta = (a - 1.0) / b
    # Differs from arXiv:2402.01092 and 2409.17858: the width law is min(a-1, b), not min(a-1, 2b).
    return {
        "time": _speed(beta, rich=rich) * beta,
        "width": np.minimum(a - 1.0, b),
        "samples": np.minimum(a - 1.0, 2.0 * b),
    }


def _speed(beta: Any, *, rich: bool) -> Any:
    """Power of the lazy learner's clock: features that move learn hard tasks faster."""
    return np.maximum(1.0, 2.0 / (1.0 + beta)) if rich else 1.0


def loss_terms(
    a: float,
    b: float,
    *,
    rich: bool = False,
    batch_noise: bool = False,
    finite_samples: bool = False,
    label_noise: bool = False,
) -> tuple[PowerTerm, ...]:
    """The leading terms of the test loss of random features at power laws k^-a and k^-b.

    Args:
        a: Decay of the target power, above 1.
        b: Decay of the eigenvalues, above 1.
        rich: Features move (a fixed strength of feature learning).
        batch_noise: One-pass SGD at a fixed step and batch size.
        finite_samples: Terms of one training set that is seen again and again.
        label_noise: Its noise too.

    Returns:
        Terms; none is dropped, though some never lead.

    Raises:
        SpecError: a or b is not above 1, or label noise without finite samples.

    **Source**: docs/theory/scaling_exponents.md has a derivation or a check for each.

    >>> [term.name for term in loss_terms(1.75, 1.5)]
    ['time', 'width', 'width transient']
    """
    a = check_number("a", a, low=1.0, open_low=True)
    b = check_number("b", b, low=1.0, open_low=True)
    if label_noise and not finite_samples:
        raise SpecError("label_noise without finite_samples: noise is fitted only where samples are seen again")
    beta = (a - 1.0) / b
    speed = float(_speed(beta, rich=rich))
    alone = {name: float(value) for name, value in resource_exponents(a, b, rich=rich).items()}
    # Differs from arXiv:2402.01092 and 2409.17858: the transient of a width is t^(1/b - 1) for beta > 1 only.
    terms = [
        PowerTerm(name="time", time=-alone["time"]),
        PowerTerm(name="width", width=-alone["width"]),
        PowerTerm(name="width transient", width=-1.0, time=speed * (1.0 / b - min(beta, 1.0))),
    ]
    if batch_noise:
        terms.append(PowerTerm(name="batch noise", time=-speed * (2.0 - 1.0 / b)))
    if finite_samples:
        terms.append(PowerTerm(name="samples", samples=-alone["samples"]))
        terms.append(PowerTerm(name="sample transient", samples=-1.0, time=speed * (1.0 / b - min(beta, 2.0))))
    if label_noise:
        terms.append(PowerTerm(name="label noise", samples=-1.0, time=speed / b))
    return tuple(terms)


def balance(terms: Sequence[PowerTerm], cost: Mapping[str, float]) -> Allocation:
    """The allocation of a growing budget under which the largest term falls fastest.

    Args:
        terms: Of the loss.
        cost: Resource -> power with which it enters the budget; {"time": 1, "width": 1} is C = width * time.

    Returns:
        `Allocation`.

    Raises:
        SpecError: Unknown resources, costs that are not positive, or a term that no resource lowers.

    **Source**: balancing of terms as in arXiv:2405.15074, section 4, done by linear programming.
    **Accuracy**: rounding.

    >>> best = balance(loss_terms(1.75, 1.5), {"time": 1.0, "width": 1.0})
    >>> round(best.loss, 6), round(best.shares["width"], 6), best.limits
    (-0.3, 0.4, ('time', 'width', 'width transient'))
    """
    unknown = sorted(set(cost) - set(RESOURCES))
    if unknown or not cost:
        raise SpecError(f"cost {dict(cost)}: expected positive powers for some of {', '.join(RESOURCES)}")
    cost = {name: check_number(f"cost[{name!r}]", value, low=0.0, open_low=True) for name, value in cost.items()}
    if not terms:
        raise SpecError("terms is empty; expected those of a loss, such as loss_terms(1.75, 1.5)")
    names = list(cost)
    shares = _two_shares(terms, cost) if len(names) == 2 else _program(terms, cost)
    if shares is None:
        raise SpecError(f"the terms {[term.name for term in terms]} have no best allocation: one falls with nothing")
    loss = max(term.exponent(shares) for term in terms)
    limits = tuple(term.name for term in terms if abs(term.exponent(shares) - loss) < 1e-9)
    return Allocation(loss=loss, shares=shares, limits=limits)


def _two_shares(terms: Sequence[PowerTerm], cost: Mapping[str, float]) -> dict[str, float] | None:
    """The optimum on a line: the largest of a few linear functions is least at an end, or where two of them meet."""
    (one, first), (two, second) = cost.items()
    # exponent = start + rise * u for a share u / first of the budget's exponent on resource one.
    lines = [(getattr(t, two) / second, getattr(t, one) / first - getattr(t, two) / second) for t in terms]
    points = [0.0, 1.0]
    for i, (start, rise) in enumerate(lines):
        points += [(other - start) / (rise - slope) for other, slope in lines[:i] if rise != slope]
    best = min((u for u in points if 0.0 <= u <= 1.0), key=lambda u: max(start + rise * u for start, rise in lines))
    return {one: best / first, two: (1.0 - best) / second}


def _program(terms: Sequence[PowerTerm], cost: Mapping[str, float]) -> dict[str, float] | None:
    names = list(cost)
    # Variables: exponent of the loss, then those of the resources. Minimize the loss under term <= loss for all terms.
    rows = np.array([[-1.0, *(getattr(term, name) for name in names)] for term in terms])
    equal = np.array([[0.0, *(cost[name] for name in names)]])
    bounds = [(None, None), *((0.0, None) for _ in names)]
    found = linprog(
        [1.0, *(0.0 for _ in names)],
        A_ub=rows,
        b_ub=np.zeros(len(rows)),
        A_eq=equal,
        b_eq=[1.0],
        bounds=bounds,
        method="highs",
    )
    return dict(zip(names, (float(v) for v in found.x[1:]), strict=True)) if found.status == 0 else None
