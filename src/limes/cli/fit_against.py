"""`limes fit --against`: which of two families of runs scales better."""

import json
from typing import TYPE_CHECKING, Any

import typer

from limes.core.errors import SpecError

if TYPE_CHECKING:
    from limes.laws.families import Estimate, FamilyComparison
    from limes.laws.fit import LawFit


def parse_losses(text: str) -> list[float]:
    """`2.4,2.2` -> losses.

    >>> parse_losses("2.4,2.2")
    [2.4, 2.2]
    """
    try:
        losses = [float(part) for part in text.split(",")]
    except ValueError:
        losses = []
    if not losses or not all(0 < loss < float("inf") for loss in losses):
        raise SpecError(f"--loss {text!r}: expected positive numbers such as 2.4,2.2")
    return losses


def compare(
    first: "LawFit", second: "LawFit", losses: list[float], *, level: float, silent: bool
) -> "FamilyComparison":
    """Compare two fits of one law; by default at the lowest loss that a run of each has reached."""
    from limes.cli.console import ShareProgress
    from limes.laws import RESIDUAL_BLOCK_PARAMS, TRAINING_FLOPS, compare_families

    inputs = set(first.law.input_names)
    costs = [cost for cost in (TRAINING_FLOPS, RESIDUAL_BLOCK_PARAMS) if {cost.first, cost.second} == inputs]
    if not costs and len(inputs) > 1:
        raise SpecError(f"--against needs a law in one size, in num_params and num_tokens, or in width and depth, not "
                        f"{first.law.name}")  # fmt: skip
    reached = max(float((fit.problem.target * fit.problem.scales[fit.law.target]).min()) for fit in (first, second))
    cost = costs[0] if costs else None
    with ShareProgress("comparing", silent=silent) as progress:
        return compare_families(first, second, losses or [reached], cost=cost, level=level, progress=progress)


def print_comparison(found: "FamilyComparison", *, names: tuple[str, str], as_json: bool) -> None:
    """The verdict, the differences, and the compute of both, for people or as JSON."""
    content = to_dict(found, names)
    if as_json:
        print(json.dumps(content, indent=1, allow_nan=False))
        return
    first, second = names
    typer.echo(f"first: {first}   second: {second}")
    typer.echo(found.verdict)
    for name, difference in content["differences"].items():
        typer.echo(f"  {name:8s} second - first {_words(difference)}")
    for row in content["losses"]:
        typer.echo(
            f"  loss {row['loss']:.4g}: first needs {_words(row['first_budget'])}, "
            f"second {_words(row['second_budget'])}; saved {_words(row['saved'])}"
        )
        if row["second_shapes"] is not None and row["first_shapes"] is not None:
            ends = [f"{shapes[0]:.3g} to {shapes[1]:.3g}" for shapes in (row["first_shapes"], row["second_shapes"])]
            typer.echo(f"    shapes within 1 % of the best loss: first {ends[0]}, second {ends[1]}")


def to_dict(found: "FamilyComparison", names: tuple[str, str]) -> dict[str, Any]:
    """Plain numbers; what is not finite is None."""
    rows = [
        {
            "loss": float(loss),
            "first_budget": _entry(found.first_budget, k),
            "second_budget": _entry(found.second_budget, k),
            "saved": _entry(found.saved, k),
            "first_shapes": _pair(found.first_shapes[k]),
            "second_shapes": _pair(found.second_shapes[k]),
        }
        for k, loss in enumerate(found.loss)
    ]
    differences = {name: _entry(estimate, ()) for name, estimate in found.differences.items()}
    return {"first": names[0], "second": names[1], "level": found.level, "verdict": found.verdict,
            "differences": differences, "losses": rows}  # fmt: skip


def _entry(estimate: "Estimate", k: Any) -> dict[str, float | None]:
    return {name: _number(getattr(estimate, name)[k]) for name in ("value", "low", "high")}


def _pair(ends: Any) -> list[float | None] | None:
    numbers = [_number(end) for end in ends]
    return None if None in numbers else numbers


def _number(value: Any) -> float | None:
    number = float(value)
    return number if abs(number) < float("inf") else None


def _words(entry: dict[str, float | None]) -> str:
    value, low, high = ("out of reach" if entry[name] is None else f"{entry[name]:.3g}" for name in entry)
    return f"{value} ({low} to {high})"
