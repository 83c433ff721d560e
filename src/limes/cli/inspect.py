"""`limes inspect`: the health of a network, from a checkpoint and a batch, from a store, or from a monitor's file."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limes.cli import options
from limes.core.errors import DataError, SpecError
from limes.core.plain import finite_or_none

if TYPE_CHECKING:
    from limes.compare.sensitivity import SizeSensitivity
    from limes.measure.health import HealthRow


def inspect(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET...",
            help="file.py:function or package.module:function that builds the model; the folder of a study, whose "
            "runs are trained once more under a monitor; or .jsonl files of a Monitor, with sizes as in "
            "small.jsonl@width=64.",
        ),
    ],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights: .pt (tensors only) or .safetensors.")] = None,
    batch: Annotated[Path | None, typer.Option(help="Inputs and targets: .pt, .safetensors or .npz.")] = None,
    initial: Annotated[Path | None, typer.Option(help="Weights at initialization, for movement and spectra.")] = None,
    arguments: Annotated[list[str] | None, typer.Option("--arg", help="Argument of the function, name=value.")] = None,
    task: Annotated[str | None, typer.Option(help="next_token, classification or regression. [guessed]")] = None,
    eps: Annotated[
        float | None, typer.Option(min=0.0, help="Epsilon of the Adam that trains it, if no checkpoint says. [1e-08]")
    ] = None,
    curvature: Annotated[bool, typer.Option("--curvature", help="Measure the sharpness too (tens of passes).")] = False,
    at: Annotated[
        str | None, typer.Option(help="Size to extrapolate to, such as width=4096. [a study's target]")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="Of a study: runs with these values, such as size=64,log2_lr=-4. [the best of every curve]"),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page, such as health.html.")] = None,
    as_json: options.Json = False,
) -> None:
    """Print each sign of trouble: its value, its threshold, ok, watch or danger, and what to do."""
    options.check_output(report, flag="--report")
    of_a_model = {
        "--checkpoint": checkpoint,
        "--batch": batch,
        "--initial": initial,
        "--arg": arguments,
        "--task": task,
    }
    useless = [flag for flag, value in (of_a_model | {"--eps": eps}).items() if value is not None]
    if all(target.partition("@")[0].endswith(".jsonl") for target in targets):
        useless += ["--where"] * (where is not None) + ["--curvature"] * curvature
        _refuse(useless, "for the .jsonl files of a Monitor, which hold what was measured")
        _inspect_logs(targets, at, report=report, as_json=as_json)
        return
    if len(targets) != 1:
        raise SpecError(f"{len(targets)} targets: one model or folder at a time; several are for .jsonl files")
    if Path(targets[0]).is_dir():
        _refuse(useless, "for the folder of a study, which says what its runs are")
        _inspect_store(Path(targets[0]), where, at, curvature=curvature, report=report, as_json=as_json)
        return
    if at is not None or where is not None:
        raise SpecError(f"{targets[0]}: --at and --where are for the folder of a study, --at for .jsonl files too")

    from limes.cli.inspect_model import inspect_model

    found = inspect_model(
        targets[0],
        checkpoint=checkpoint,
        batch=batch,
        initial=initial,
        arguments=arguments or [],
        task=task,
        eps=eps,
        curvature=curvature,
        silent=as_json,
    )
    _show({targets[0]: found}, report=report, as_json=as_json)


def _refuse(useless: Sequence[str], place: str) -> None:
    if useless:
        raise SpecError(f"{', '.join(useless)}: not {place}; leave it out")


def _inspect_store(
    folder: Path, where: str | None, at: str | None, *, curvature: bool, report: Path | None, as_json: bool
) -> None:
    from limes.cli.inspect_store import inspect_finished, inspect_interrupted, sensitivities, trend_groups

    goal = options.parse_sizes(at, flag="--at") if at else {}
    found = {} if where else inspect_interrupted(folder, curvature=curvature, silent=as_json)
    runs, target = inspect_finished(folder, where, curvature=curvature, silent=as_json, needed=not found)
    logs = {run.label: run.log for run in runs}
    last = {label: dict(log[-1][1]) for label, log in logs.items()}
    trends: dict[str, Any] = {}
    for label, axis, members in trend_groups(runs):
        sizes = [{axis: run.row.size} for run in members]
        group = _trends(
            [last[run.label] for run in members], sizes, {a: s for a, s in (goal or target).items() if a == axis}
        )
        trends |= {f"{sign}, {label}": trend for sign, trend in group.items()}
    for run in runs:
        if run.remark:
            typer.echo(f"{run.label}: {run.remark}", err=True)
    _show(
        found | last,
        report=report,
        as_json=as_json,
        logs=logs,
        trends=trends,
        sensitivity=sensitivities(folder),
        brief=len(found | last) > 1,
    )


def _inspect_logs(targets: Sequence[str], at: str | None, *, report: Path | None, as_json: bool) -> None:
    from limes.measure.writers import read_json_lines

    logs, sizes = {}, []
    for target in targets:
        name, _, size = target.partition("@")
        logs[target] = read_json_lines(name)
        sizes.append(options.parse_sizes(size, flag=target) if size else {})
        if not logs[target]:
            raise DataError(f"{name}: no measurement in it yet")
    goal = options.parse_sizes(at, flag="--at") if at else {}
    last = {target: dict(log[-1][1]) for target, log in logs.items()}
    _show(last, report=report, as_json=as_json, logs=logs, trends=_trends(list(last.values()), sizes, goal))


def _trends(last: Sequence[Mapping[str, float]], sizes: Sequence[Mapping[str, int]], goal: Mapping[str, int]) -> Any:
    """Signs with a danger line against the size that differs between the runs."""
    from limes.compare.scales import extrapolate, trends_by_size
    from limes.measure.health import EXTRAPOLATED, SIGNS, health_rows

    axes = [axis for axis in ("width", "depth") if len({size.get(axis) for size in sizes}) > 1]
    if not axes:
        if goal:
            raise SpecError("--at needs files of at least three sizes, such as a.jsonl@width=64 b.jsonl@width=128 ...")
        return {}
    axis = axes[0]
    if len(axes) > 1 or any(axis not in size for size in sizes) or set(goal) - {axis}:
        raise SpecError(
            f"sizes {[dict(size) for size in sizes]}, --at {dict(goal)}: expected all to name one size alone"
        )
    table = []
    for values, size in zip(last, sizes, strict=True):
        worst = {row.sign: row.value for row in health_rows(values)}
        table.append({axis: float(size[axis])} | worst)
    found = {}
    for name, trend in trends_by_size(table, axis=axis).items():
        sign = SIGNS.get(name)
        if sign is None or name not in EXTRAPOLATED or sign.danger is None:
            continue
        target = goal.get(axis)
        if target is not None and sign.largest is not None and trend.at(target)[0] > sign.largest:
            # The line has left the range of the measurement long before.
            target = None
        found[name] = (trend, extrapolate(trend, danger=sign.danger, target=target, falling=sign.falling))
    return found


def _show(
    found: Mapping[str, Mapping[str, float]],
    *,
    report: Path | None,
    as_json: bool,
    logs: Any = None,
    trends: Any = None,
    sensitivity: Sequence["SizeSensitivity"] = (),
    brief: bool = False,
) -> None:
    from limes.measure.health import Level, health_rows

    judged = {name: health_rows(values) for name, values in found.items()}
    if report is not None:
        from limes.report.health import write_health_report

        # Of runs that are equally bad the last, which is the largest.
        name = max(reversed(judged), key=lambda one: sum(row.level is Level.DANGER for row in judged[one]))
        subject = f"{name} (the worst of {len(judged)} runs)" if brief else name
        write_health_report(
            report, judged[name], found[name], subject=subject, logs=logs, trends=trends, sensitivity=sensitivity
        )
    if as_json:
        content = _as_json(found, judged, trends or {}, logs or {})
        content["lr_sensitivity"] = [_sensitivity_json(one) for one in sensitivity]
        print(json.dumps(content, indent=1, allow_nan=False))
        return
    for name, rows in judged.items():
        _print(name, rows, brief=brief)
        for sign, (step, place) in _alarms((logs or {}).get(name, ())).items():
            typer.echo(f"  {sign} was first in danger at step {step}{f', {place}' if place else ''}")
    for sign, (_, crossing) in (trends or {}).items():
        typer.echo(f"{sign}: {crossing.sentence}")
    for one in sensitivity:
        place = f"{one.parametrization}, {one.axis} {one.size}"
        typer.echo(f"learning-rate sensitivity, {place}: {_sensitivity(one)}")
    if report is not None:
        typer.echo(f"{report} written")


def _print(name: str, rows: Sequence["HealthRow"], *, brief: bool) -> None:
    """All signs, or with `brief` those that are not in order."""
    from limes.measure.health import SIGNS, Level

    shown = [row for row in rows if row.advice] if brief else rows
    judged = sum(row.level is not Level.NOTE for row in rows)
    typer.echo(f"{name}: {judged - len(shown)} of {judged} signs in order" if brief else name)
    for row in shown:
        where = f"{row.place or 'whole model'}" + (f" ({row.num_bad} of {row.num_places})" if row.num_bad else "")
        level = "" if row.level is Level.NOTE else row.level.value
        typer.echo(f"  {level:7s}{row.sign:31s}{row.value:<11.4g}{SIGNS[row.sign].threshold:31s}{where}")
        if row.advice:
            typer.echo(f"  {'':7s}{'':31s}-> {row.advice}")


def _as_json(
    found: Mapping[str, Mapping[str, float]],
    judged: Mapping[str, Any],
    trends: Mapping[str, Any],
    logs: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "inspected": [
            {
                "name": name,
                "signs": [_sign_json(row) for row in judged[name]],
                "values": {place: finite_or_none(value) for place, value in values.items()},
                "first_danger": {sign: step for sign, (step, _) in _alarms(logs.get(name, ())).items()},
            }
            for name, values in found.items()
        ],
        "trends": [_trend_json(sign, trend, crossing) for sign, (trend, crossing) in trends.items()],
    }


def _sensitivity(one: "SizeSensitivity") -> str:
    """In words; every value belongs to its grid."""
    grid = one.by_seed[0]
    rates = f"{grid.num_runs} rates from {grid.lowest_lr:.3g} to {grid.highest_lr:.3g}, {len(one.by_seed)} seeds"
    if math.isnan(one.value):
        return f"a seed did not train at any rate ({rates})"
    return f"{one.value:.4g} ({rates}, {one.num_diverged} runs diverged)"


def _sensitivity_json(one: "SizeSensitivity") -> dict[str, Any]:
    grid = one.by_seed[0]
    return {
        "axis": one.axis,
        "parametrization": one.parametrization,
        "size": one.size,
        "value": finite_or_none(one.value),
        "num_seeds": len(one.by_seed),
        "num_rates": grid.num_runs,
        "lowest_lr": grid.lowest_lr,
        "highest_lr": grid.highest_lr,
        "num_diverged": one.num_diverged,
    }


def _alarms(log: Any) -> dict[str, tuple[int, str]]:
    from limes.measure.health import first_alarms

    return first_alarms(log)


def _sign_json(row: "HealthRow") -> dict[str, Any]:
    from limes.measure.health import SIGNS

    return {
        "sign": row.sign,
        "level": row.level.value,
        "value": finite_or_none(row.value),
        "place": row.place,
        "watch": SIGNS[row.sign].watch,
        "danger": SIGNS[row.sign].danger,
        "num_places": row.num_places,
        "num_bad": row.num_bad,
        "advice": row.advice,
    }


def _trend_json(sign: str, trend: Any, crossing: Any) -> dict[str, Any]:
    return {
        "sign": sign,
        "axis": trend.axis,
        "slope": trend.slope,
        "slope_low": trend.interval[0],
        "slope_high": trend.interval[1],
        "danger": crossing.danger,
        "crosses_at": finite_or_none(crossing.size),
        "crosses_low": finite_or_none(crossing.low),
        "crosses_high": finite_or_none(crossing.high),
        "target": crossing.target,
        "value": finite_or_none(crossing.value),
        "value_low": finite_or_none(crossing.value_low),
        "value_high": finite_or_none(crossing.value_high),
        "sentence": crossing.sentence,
    }
