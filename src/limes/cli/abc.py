"""`limes abc`: which exponents of initialization and learning rate are stable, lazy, or learn features."""

import json
from fractions import Fraction
from typing import Annotated, Any

import typer

from limes.cli import options
from limes.core.errors import SpecError


def abc(
    optimizer: Annotated[
        str, typer.Option(help="sgd, or adam for optimizers whose update ignores the gradient's size.")
    ] = "adam",
    feature_change: Annotated[
        str | None,
        typer.Option(help="Solve for exponents whose features change as width^-r: 0 learns them, 1/2 is lazy."),
    ] = None,
    output_init: Annotated[
        str | None, typer.Option(help="... and whose output starts as width^-s: 0 is of order one, 1/2 vanishes.")
    ] = None,
    multipliers: Annotated[
        str | None, typer.Option(help="... in the form with multipliers width^-a, such as output=1/2. [none]")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Classify the named parametrizations, or solve for the exponents (a, b, c) with what you ask for.

    A layer is h = width^-a W x with entries of W of size width^-b and learning rate width^-c.
    """
    from limes.parametrize.abc import NAMED, Desiderata, Rule, classify_abc, solve_abc

    if optimizer not in ("sgd", "adam"):
        raise SpecError(f"--optimizer {optimizer!r}: expected sgd or adam")
    rule: Rule = "sgd" if optimizer == "sgd" else "adam"
    asked = feature_change is not None or output_init is not None or multipliers is not None
    if asked:
        wanted = Desiderata(
            feature_change=_fraction(feature_change or "0", "--feature-change"),
            output_init=_fraction(output_init or "1/2", "--output-init"),
        )
        forms = {key: _fraction(value, "--multipliers") for key, value in _pairs(multipliers).items()}
        found = {"solved": solve_abc(wanted, optimizer=rule, multipliers=forms)}
    else:
        found = {name: exponents for (name, kind), exponents in NAMED.items() if kind == rule}
    classes = {name: classify_abc(exponents, rule) for name, exponents in found.items()}
    if as_json:
        print(json.dumps({name: _plain(found[name], classes[name]) for name in found}, indent=1))
        return
    from rich.console import Console

    Console().print(_table(found, classes, optimizer))


def _fraction(text: str, flag: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise SpecError(f"{flag} {text!r}: expected a fraction such as 1/2") from None


def _pairs(text: str | None) -> dict[str, str]:
    pairs = {}
    for part in text.split(",") if text else []:
        key, sign, value = part.partition("=")
        if not sign:
            raise SpecError(f"--multipliers {text!r}: expected input=..., hidden=..., output=..., separated by commas")
        pairs[key.strip()] = value.strip()
    return pairs


def _plain(exponents: Any, kind: Any) -> dict[str, Any]:
    def words(value: Any) -> Any:
        if isinstance(value, Fraction):
            return str(value)
        if isinstance(value, dict):
            return {key: words(part) for key, part in value.items()}
        return list(value) if isinstance(value, tuple) else value

    fields = {name: words(getattr(kind, name)) for name in type(kind).__dataclass_fields__}
    return {"a": words(exponents.a), "b": words(exponents.b), "c": words(exponents.c), **fields}


def _verdict(kind: Any) -> str:
    if not kind.stable_init:
        return "unstable at initialization"
    if not kind.stable_training:
        return "unstable in training"
    return "learns features" if kind.feature_learning else "lazy" if kind.lazy else "trivial"


def _table(found: dict[str, Any], classes: dict[str, Any], optimizer: str) -> Any:
    from rich.table import Table

    table = Table(title=f"abc-parametrizations with {optimizer}: powers of 1/width", title_justify="left")
    for heading in ("name", "layer", "a", "b", "c", "its own update", "verdict"):
        table.add_column(heading)
    for name, exponents in found.items():
        kind = classes[name]
        for layer in ("input", "hidden", "output"):
            moved = kind.output_change["output"] if layer == "output" else kind.feature_change[layer]
            words = "order one" if moved == 0 else f"width^{-moved}"
            numbers = (str(exponents.a[layer]), str(exponents.b[layer]), str(exponents.c[layer]))
            last = layer == "output"
            table.add_row(
                name if layer == "input" else "", layer, *numbers, words,
                _verdict(kind) if layer == "input" else "", end_section=last,
            )  # fmt: skip
    return table
