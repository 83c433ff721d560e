"""`limes fit`: fit a scaling law to a table of runs, forecast, and ask for the compute-optimal shape."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limes.cli import options
from limes.cli.inputs import parse_pairs
from limes.core.errors import SpecError

if TYPE_CHECKING:
    from limes.laws.summary import Shapes, Summary

MAX_BUDGETS = 60


def fit(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE",
            help="CSV, TSV, Parquet or JSON lines, also as exported by Weights & Biases or TensorBoard; or the folder "
            "of a sweep.",
        ),
    ],
    law: Annotated[str, typer.Option(help="One of `limes show laws`.")] = "chinchilla",
    columns: Annotated[
        str | None, typer.Option(help="The law's names for the table's columns: num_params=N,num_tokens=D,loss=loss.")
    ] = None,
    where: Annotated[str | None, typer.Option(help="Only rows with these values: parametrization=mup,seed=0.")] = None,
    predict: Annotated[
        str | None, typer.Option(help="Forecast there, such as num_params=70e9,num_tokens=1.4e12.")
    ] = None,
    frontier: Annotated[
        str | None, typer.Option(help="Budgets in FLOPs to spend well: 1e21..1e25 (one per decade), or 1e21,3e22.")
    ] = None,
    runs: Annotated[
        str | None, typer.Option(help="Column that says which rows are checkpoints of one training run.")
    ] = None,
    compute: Annotated[str | None, typer.Option(help="Column of FLOPs, for approaches 1 and 2. [6 N D]")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Compare with the rows that have these values: parametrization=standard; instead of --where."
        ),
    ] = None,
    loss: Annotated[str | None, typer.Option(help="With --against: losses to reach, such as 2.4,2.2.")] = None,
    objective: Annotated[str, typer.Option(help="huber_log, squares_log, huber or squares.")] = "huber_log",
    delta: Annotated[float, typer.Option(help="Where Huber's loss turns linear.")] = 1e-3,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.9,
    report: Annotated[Path | None, typer.Option(help="Write a page with all plots here, such as fit.html.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the whole result as JSON here.")] = None,
    as_json: options.Json = False,
) -> None:
    """Fit a scaling law exactly, say what the table does not determine, forecast with an interval, spend a budget."""
    from limes.laws import LAWS, fit_law
    from limes.laws.summary import check_budgets, summarize

    if law not in LAWS:
        raise SpecError(f"--law {law!r}: expected one of {', '.join(LAWS)}")
    if not 0 < level < 1:
        raise SpecError(f"--level {level:g}: expected a probability such as 0.9")
    files = {"--report": report, "--out": out}
    for flag, path in files.items():
        options.check_output(path, flag=flag)
    _check_against(against, loss, files | {"--frontier": frontier, "--predict": predict})
    names = parse_pairs(columns, flag="--columns") if columns else {}
    asked = parse_pairs(predict, flag="--predict") if predict else {}
    points = {name: [_number(name, text)] for name, text in asked.items()}
    budgets = parse_budgets(frontier) if frontier else []

    from limes.cli.console import ShareProgress
    from limes.cli.run_table import read_runs

    rows = read_runs(table, parse_pairs(where, flag="--where") if where else {})
    if against is not None:
        from limes.cli.fit_against import compare, parse_losses, print_comparison

        losses = parse_losses(loss) if loss else []
        other = read_runs(table, parse_pairs(against, flag="--against"))
        pair = [
            fit_law(LAWS[law], part, columns=names, objective=objective, delta=delta, runs=runs)
            for part in (rows, other)
        ]
        found = compare(pair[0], pair[1], losses, level=level, silent=as_json)
        print_comparison(found, names=(where or "all rows", against), as_json=as_json)
        return
    with ShareProgress("fitting", silent=as_json) as progress:
        fitted = fit_law(LAWS[law], rows, columns=names, objective=objective, delta=delta, runs=runs)
        if budgets:
            check_budgets(fitted, budgets)
        summary = summarize(
            fitted, rows, points=points, budgets=budgets, run=runs, compute=compute, level=level, progress=progress
        )
    if out is not None:
        from limes.store.files import write_atomically

        write_atomically(out, (json.dumps(summary.to_dict(), indent=1, allow_nan=False) + "\n").encode())
    if report is not None:
        from limes.report.laws import write_law_report

        write_law_report(summary, report, source=table.name)
    if as_json:
        print(json.dumps(summary.to_dict(), indent=1, allow_nan=False))
        return
    _print(summary, num_given=len(next(iter(rows.values()))))
    for path in (out, report):
        if path is not None:
            typer.echo(f"{path} written")


def _check_against(against: str | None, loss: str | None, others: Mapping[str, object]) -> None:
    """What goes with a comparison of two families, and what does not."""
    if against is None:
        if loss is not None:
            raise SpecError(f"--loss {loss} belongs to --against, which says with what the rows are compared")
        return
    if given := [flag for flag, value in others.items() if value is not None]:
        raise SpecError(f"{given[0]} has no effect with --against; fit the two families one by one, or take --json")


def parse_budgets(text: str) -> list[float]:
    """`1e21..1e25` or `1e21,3e22` -> FLOPs.

    >>> parse_budgets("1e21..1e23"), parse_budgets("2e21,1e20")
    ([1e+21, 1e+22, 1e+23], [1e+20, 2e+21])
    """
    import numpy as np

    wrong = f"--frontier {text!r}: expected FLOPs such as 1e21..1e25 or 1e21,3e22, positive and at most {MAX_BUDGETS}"
    ends = re.split(r"\.\.", text)
    try:
        numbers = [float(part) for part in (ends if len(ends) == 2 else text.split(","))]
    except ValueError:
        raise SpecError(wrong) from None
    if not all(np.isfinite(number) and number > 0 for number in numbers):
        raise SpecError(wrong)
    if len(ends) == 2:
        low, high = numbers
        count = 1 + round(np.log10(high) - np.log10(low)) if high > low else 0
        if not 1 <= count <= MAX_BUDGETS:
            raise SpecError(wrong)
        numbers = [float(f"{number:.6g}") for number in np.geomspace(low, high, max(count, 2))]
    if len(numbers) > MAX_BUDGETS:
        raise SpecError(wrong)
    return sorted(set(numbers))


def _print(summary: "Summary", *, num_given: int) -> None:
    fitted, level = summary.fit, f"{summary.level:.0%}"
    used = f"{fitted.num_rows} rows"
    if fitted.num_rows < num_given:
        used = f"{fitted.num_rows} of {num_given} rows; the others miss a number"
    typer.echo(f"{fitted.law.formula}   ({used}, {fitted.status.value})")
    for name, value in fitted.params.items():
        low, high = summary.errors[name]
        typer.echo(f"  {name:8s} {value:<12.6g} {level}: {low:.4g} to {high:.4g}")
    typer.echo(f"  objective {fitted.objective:.7g} ({fitted.problem.objective}, delta {fitted.problem.delta:g})")
    if summary.forecast is not None:
        p = summary.forecast
        typer.echo(
            f"forecast {p.value[0]:.5g}   {level}: {p.low[0]:.5g} to {p.high[0]:.5g}   "
            f"({p.decades[0]:.1f} decades beyond the table) {p.evidence}"
        )
    if summary.shapes is not None:
        _print_shapes(summary.shapes, level)
    typer.echo("checklist")
    for check in summary.checks:
        typer.echo(f"  {check.answer.value:8s}{check.code}: {check.sentence}")


def _print_shapes(shapes: "Shapes", level: str) -> None:
    def span(row: dict[str, Any], name: str) -> str:
        return f"{row[name]:.3g} ({row[f'{name}_low']:.3g} to {row[f'{name}_high']:.3g})"

    typer.echo(f"compute-optimal shapes by the fitted law ({level} intervals)")
    typer.echo(
        f"  {'FLOPs':8s}{'parameters':32s}{'tokens':32s}{'tokens/parameter':26s}{'loss':24s}half, twice the size"
    )
    for row, penalties in zip(shapes.frontier.to_rows(), shapes.penalties, strict=True):
        half, twice = (f"{100 * (penalty.extra_compute - 1):.1f} %" for penalty in penalties[1:3])
        typer.echo(
            f"  {row['budget']:<8.2g}{span(row, 'first'):32s}{span(row, 'second'):32s}{span(row, 'ratio'):26s}"
            f"{span(row, 'loss'):24s}{half}, {twice} more compute"
        )
    for optima in shapes.approaches:
        sizes = "   ".join(f"{budget:.2g}: {optima.num_params_at(budget):.3g}" for budget in shapes.frontier.budget)
        typer.echo(
            f"  {optima.approach}: exponent {optima.exponent:.3f} ({optima.low:.3f} to {optima.high:.3f}); "
            f"parameters at {sizes}"
        )
    for line in shapes.absent:
        typer.echo(f"  {line}")
    for line in shapes.warnings:
        typer.echo(f"  warning: {line}")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SpecError(f"--predict {name}={text}: {text!r} is not a number") from None
