"""The abc-parametrizations as a theory: which exponents are stable, which are lazy, which learn features.

Letters: n width; the layers input, hidden, output have h = n^-a W x, entries W_ij ~ N(0, n^-2b), learning rate
eta n^-c; g exponent of the gradient at a hidden activation, dL/dh ~ n^-g; r exponent of the change of the last
hidden features, Delta x ~ n^-r: r = 0 is feature learning, r > 0 lazy.

Gradient of a tensor ~ n^-(a + g) (output: n^-a). SGD moves an entry by n^-c times that, Adam by n^-c. An update
is aligned with its input, so that it adds n (input: 1) times its entry times n^-a to its output.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from limes.core.errors import PlanError

LAYERS = ("input", "hidden", "output")
Rule = Literal["sgd", "adam"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exponents:
    """Exponents (a, b, c) of the three kinds of layers, as fractions.

    Args:
        a: Multiplier n^-a, by layer.
        b: Init std n^-b.
        c: Learning rate n^-c.
    """

    a: Mapping[str, Fraction]
    b: Mapping[str, Fraction]
    c: Mapping[str, Fraction]

    def moved(self, layer: str, shift: Fraction, optimizer: Rule) -> "Exponents":
        """The same training with the multiplier of a layer moved by n^-shift.

        Source: arXiv:2011.14522 Eq. 5; for Adam arXiv:2407.05872.

        >>> NAMED["mup", "adam"].moved("output", Fraction(1, 2), "adam").a["output"]
        Fraction(1, 1)
        """
        factor = 2 if optimizer == "sgd" else 1
        return Exponents(
            a={**self.a, layer: self.a[layer] + shift},
            b={**self.b, layer: self.b[layer] - shift},
            c={**self.c, layer: self.c[layer] - factor * shift},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AbcClass:
    """What a set of exponents does as the width grows. All exponents are powers of 1/n.

    Args:
        stable_init: Features of order one and outputs of at most that at initialization.
        stable_training: Neither features nor outputs grow with the width while training.
        trivial: The function does not change.
        feature_learning: The last hidden features move by order one.
        lazy: The function changes, the features do not: a kernel limit.
        r: Change of the last hidden features, n^-r.
        feature_change: Change that each layer's own update causes in its output.
        output_change: Change of the output: through the output layer's update, and through the features.
        output_init: Size of the output at initialization.
        moving: Layers whose own update moves their output by order one.
    """

    stable_init: bool
    stable_training: bool
    trivial: bool
    feature_learning: bool
    lazy: bool
    r: Fraction
    feature_change: Mapping[str, Fraction]
    output_change: Mapping[str, Fraction]
    output_init: Fraction
    moving: tuple[str, ...]

    @property
    def stable(self) -> bool:
        """Stable at initialization and in training."""
        return self.stable_init and self.stable_training


def classify_abc(exponents: Exponents, optimizer: Rule = "sgd") -> AbcClass:
    """Stable or not, lazy or feature learning, which layers move and how fast.

    Args:
        exponents: (a, b, c) of input, hidden and output layers.
        optimizer: `sgd`, or `adam` for optimizers whose update does not depend on the gradient's size.

    Returns:
        The class; every exponent e in it stands for a size n^-e.

    Raises:
        PlanError: A layer is missing or the optimizer is unknown.

    Source: arXiv:2011.14522 Theorem 3.2 and Definition 3.2 (SGD); arXiv:2308.01814 and arXiv:2407.05872 (Adam).

    >>> classify_abc(NAMED["mup", "sgd"]).feature_learning, classify_abc(NAMED["ntk", "sgd"]).lazy
    (True, True)
    """
    _check(exponents, optimizer)
    a, b = exponents.a, exponents.b
    half = Fraction(1, 2)
    stable_hidden = a["input"] + b["input"] == 0 and a["hidden"] + b["hidden"] == half
    output_init = a["output"] + b["output"] - half
    # The gradient at a feature is the larger of what the initial and the moved output weights send back.
    moved = _own_change(exponents, "output", Fraction(0), optimizer)
    back_moved = moved + 1
    g = min(a["output"] + b["output"], back_moved)
    change = {layer: _own_change(exponents, layer, g, optimizer) for layer in ("input", "hidden")}
    r = min(change.values())
    through_features = min(a["output"] + b["output"] + r - 1, moved + r)
    output_change = {"output": moved, "features": through_features}
    reach = min(output_change.values())
    stable_init = stable_hidden and output_init >= 0
    stable_training = r >= 0 and reach >= 0
    stable = stable_init and stable_training
    return AbcClass(
        stable_init=stable_init,
        stable_training=stable_training,
        trivial=stable and reach > 0,
        feature_learning=stable and r == 0,
        lazy=stable and r > 0 and reach == 0,
        r=r,
        feature_change=change,
        output_change=output_change,
        output_init=output_init,
        moving=tuple(layer for layer, value in {**change, "output": moved}.items() if value == 0),
    )


def _own_change(exponents: Exponents, layer: str, g: Fraction, optimizer: Rule) -> Fraction:
    """Exponent of what a layer's update adds to its own output."""
    a, c = exponents.a[layer], exponents.c[layer]
    entry = c if optimizer == "adam" else c + a + (g if layer != "output" else 0)
    return a + entry - (0 if layer == "input" else 1)


def _check(exponents: Exponents, optimizer: str) -> None:
    if optimizer not in ("sgd", "adam"):
        raise PlanError(f"optimizer {optimizer!r} is neither sgd nor adam")
    for label, values in (("a", exponents.a), ("b", exponents.b), ("c", exponents.c)):
        if set(values) != set(LAYERS):
            raise PlanError(f"exponents {label} are given for {sorted(values)}; give them for {', '.join(LAYERS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Desiderata:
    """What exponents shall achieve.

    Args:
        feature_change: r, the change of the features n^-r: 0 feature learning, 1/2 the lazy kernel limit.
        output_init: Exponent of the output at initialization: 0 order one, 1/2 vanishing as n^(-1/2).
        function_learning: The output layer's own update moves the output by order one.
    """

    feature_change: Fraction = Fraction(0)
    output_init: Fraction = Fraction(1, 2)
    function_learning: bool = True


def solve_abc(
    desiderata: Desiderata,
    *,
    optimizer: Rule = "sgd",
    multipliers: Mapping[str, Fraction] | None = None,
) -> Exponents:
    """The exponents that satisfy the desiderata, in the form with the given multipliers.

    The family is three-dimensional: each layer's a is free, by the abc-symmetry; b and c follow.

    Args:
        desiderata: Stable initialization is always asked for; the rest is said here.
        optimizer: `sgd` or `adam`.
        multipliers: a of each layer, 0 where it is not given.

    Returns:
        Exponents that `classify_abc` finds to be as asked.

    Raises:
        PlanError: The desiderata contradict each other, or a layer is unknown.

    Source: arXiv:2011.14522 Section 3; limes, docs/parametrize.md.

    >>> mup = solve_abc(Desiderata(), optimizer="adam")
    >>> [str(mup.c[layer]) for layer in LAYERS], str(mup.b["output"])
    (['0', '1', '1'], '1')
    """
    half, zero = Fraction(1, 2), Fraction(0)
    a = {**dict.fromkeys(LAYERS, zero), **{key: Fraction(value) for key, value in (multipliers or {}).items()}}
    if set(a) != set(LAYERS):
        raise PlanError(f"multipliers are given for {sorted(multipliers or {})}; the layers are {', '.join(LAYERS)}")
    if desiderata.output_init < 0 or desiderata.feature_change < 0:
        raise PlanError(
            f"output_init {desiderata.output_init} and feature_change {desiderata.feature_change} must not be "
            "negative: the output or the features would grow with the width"
        )
    b = {"input": -a["input"], "hidden": half - a["hidden"], "output": half + desiderata.output_init - a["output"]}
    moved = zero if desiderata.function_learning else desiderata.feature_change + 1
    g = min(a["output"] + b["output"], moved + 1)
    c = {}
    for layer in LAYERS:
        goal = moved if layer == "output" else desiderata.feature_change
        entry = goal - a[layer] + (0 if layer == "input" else 1)
        c[layer] = entry if optimizer == "adam" else entry - a[layer] - (g if layer != "output" else 0)
    found = Exponents(a=a, b=b, c=c)
    result = classify_abc(found, optimizer)
    if not result.stable:
        raise PlanError(
            f"no stable exponents change the features by n^-{desiderata.feature_change} with outputs n^-"
            f"{desiderata.output_init} at initialization: the features would move the output by "
            f"n^{-result.output_change['features']}"
        )
    return found


def _named(a: str, b: str, c: str) -> Exponents:
    values = [[Fraction(part) for part in text.split()] for text in (a, b, c)]
    first, second, third = (dict(zip(LAYERS, row, strict=True)) for row in values)
    return Exponents(a=first, b=second, c=third)


# Differs from arXiv:2407.05872: "ntk" is the lazy parametrization, not the largest rate of its initialization.
NAMED: Mapping[tuple[str, Rule], Exponents] = {
    ("mup", "sgd"): _named("-1/2 0 1/2", "1/2 1/2 1/2", "0 0 0"),
    ("mup", "adam"): _named("-1/2 0 1/2", "1/2 1/2 1/2", "1/2 1 1/2"),
    ("meanfield", "sgd"): _named("0 1/2 1", "0 0 0", "-1 -1 -1"),
    ("meanfield", "adam"): _named("0 1/2 1", "0 0 0", "0 1/2 0"),
    ("ntk", "sgd"): _named("0 1/2 1/2", "0 0 0", "0 0 0"),
    ("ntk", "adam"): _named("0 1/2 1/2", "0 0 0", "1/2 1 1/2"),
    ("standard", "sgd"): _named("0 0 0", "0 1/2 1/2", "0 0 0"),
    ("standard", "adam"): _named("0 0 0", "0 1/2 1/2", "0 0 0"),
}
