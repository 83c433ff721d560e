"""`limes inspect`: the health of a network, from a checkpoint and a batch, from a store, or from a monitor's file."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limes.cli import options
from limes.core.errors import DataError, SpecError

if TYPE_CHECKING:
    from limes.measure.health import HealthRow

MICRO_BATCHES = 8


def inspect(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET...",
            help="file.py:function or package.module:function that builds the model; the folder of a study (its "
            "interrupted runs); or .jsonl files of a Monitor, with sizes as in small.jsonl@width=64.",
        ),
    ],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights: .pt (tensors only) or .safetensors.")] = None,
    batch: Annotated[Path | None, typer.Option(help="Inputs and targets: .pt, .safetensors or .npz.")] = None,
    initial: Annotated[Path | None, typer.Option(help="Weights at initialization, for movement and spectra.")] = None,
    arguments: Annotated[list[str] | None, typer.Option("--arg", help="Argument of the function, name=value.")] = None,
    task: Annotated[str | None, typer.Option(help="next_token, classification or regression. [guessed]")] = None,
    eps: Annotated[float, typer.Option(min=0.0, help="Epsilon of the Adam that trains it.")] = 1e-8,
    curvature: Annotated[bool, typer.Option("--curvature", help="Measure the sharpness too (tens of passes).")] = False,
    at: Annotated[str | None, typer.Option(help="Size to extrapolate monitors' files to, such as width=4096.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page, such as health.html.")] = None,
    as_json: options.Json = False,
) -> None:
    """Print each sign of trouble: its value, its threshold, ok, watch or danger, and what to do."""
    options.check_output(report, flag="--report")
    if all(target.partition("@")[0].endswith(".jsonl") for target in targets):
        _inspect_logs(targets, at, report=report, as_json=as_json)
        return
    if len(targets) != 1 or at is not None:
        raise SpecError(
            f"{len(targets)} targets: one model or folder at a time; several, and --at, are for .jsonl files"
        )
    if Path(targets[0]).is_dir():
        found = _inspect_store(Path(targets[0]), curvature=curvature, silent=as_json)
    else:
        found = {
            targets[0]: _inspect_model(
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
        }
    _show(found, report=report, as_json=as_json)


def _inspect_model(
    target: str,
    *,
    checkpoint: Path | None,
    batch: Path | None,
    initial: Path | None,
    arguments: Sequence[str],
    task: str | None,
    eps: float,
    curvature: bool,
    silent: bool,
) -> dict[str, float]:
    from limes.cli import inspect_inputs as given

    model = given.build_target(target, arguments)
    if checkpoint is not None:
        weights = given.read_weights(checkpoint, flag="--checkpoint")
        given.load_weights(model, weights, flag="--checkpoint", path=checkpoint)
    start = None if initial is None else given.read_weights(initial, flag="--initial")
    data = None if batch is None else given.read_batch(batch)
    return _signs(model, data, initial=start, task=task, eps=eps, curvature=curvature, silent=silent)


def _signs(
    model: Any,
    data: Any,
    *,
    initial: Mapping[str, Any] | None,
    task: str | None,
    eps: float | None,
    curvature: bool,
    silent: bool,
    optimizer: Any = None,
) -> dict[str, float]:
    """Everything that can be measured with what is there."""
    from limes.cli import inspect_inputs as given
    from limes.cli.console import ShareProgress
    from limes.measure.inspection import batch_signs, gradient_signs, weight_signs

    with ShareProgress("inspecting", silent=silent) as progress:
        signs = weight_signs(model, initial=initial)
        if data is None:
            return signs
        progress(0.3, "forward pass")
        try:
            chosen = given.choose_task(model, data, task)
            inputs = data.inputs if isinstance(data.inputs, Mapping) else (data.inputs,)
            signs |= batch_signs(model, inputs, logits=chosen != "regression")
        except (RuntimeError, TypeError, IndexError) as error:
            raise DataError(f"the model cannot be run on the batch: {str(error).splitlines()[0]}") from error
        if chosen is None:
            return signs
        size = len(data.first) // MICRO_BATCHES if len(data.first) >= MICRO_BATCHES else 1
        count = min(MICRO_BATCHES, len(data.first))
        parts = [data.part(index * size, (index + 1) * size) for index in range(count)]
        shares = {"gradient": 0.4, "noise scale": 0.5, "curvature": 0.7}
        try:
            signs |= gradient_signs(
                model,
                given.loss_function(chosen),
                data,
                optimizer=optimizer,
                eps=eps,
                micro_batches=parts,
                batch_size=size,
                curvature=curvature,
                progress=lambda note: progress(shares[note], note),
            )
        except (RuntimeError, TypeError, IndexError) as error:
            raise DataError(f"the loss cannot be computed on the batch: {str(error).splitlines()[0]}") from error
    return signs


def _inspect_store(folder: Path, *, curvature: bool, silent: bool) -> dict[str, dict[str, float]]:
    """Every run of a store that has a checkpoint: those that were interrupted."""
    from limes.cli.inspect_inputs import Batch
    from limes.spec import RunSpec
    from limes.store import Store
    from limes.sweep.build import build_run
    from limes.train.state import TrainState

    found = {}
    with Store.open(folder, read_only=True) as store:
        runs = {row.key: row for row in store.rows()}
        base_dir = Path(note) if (note := store.note("base_dir")) else None
        for key, row in runs.items():
            data = store.load_checkpoint(key)
            if data is None:
                continue
            spec = RunSpec.model_validate(store.spec(key))
            model, source, optimizer = build_run(spec, base_dir=base_dir)
            initial = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
            state = TrainState.from_bytes(data)
            state.restore(model, optimizer)
            inputs, wanted = source.batch(state.step)
            place = f"{row.parametrization}, {row.axis} {row.size}, lr 2^{row.log2_lr:g}"
            label = f"{place}, seed {row.seed}, step {state.step}"
            found[label] = _signs(
                model,
                Batch(inputs=inputs, targets=wanted),
                initial=initial,
                task=source.task,
                eps=None,
                curvature=curvature,
                silent=silent,
                optimizer=optimizer,
            )
    if not found:
        raise DataError(
            f"{folder}: none of its {len(runs)} runs has a checkpoint; a store keeps one until a run is finished. "
            "Give a model and a checkpoint, or train with a Monitor and give its file"
        )
    return found


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
    _show(last, report=report, as_json=as_json, logs=logs, trends=_trends(last, sizes, goal))


def _trends(
    last: Mapping[str, Mapping[str, float]], sizes: Sequence[Mapping[str, int]], goal: Mapping[str, int]
) -> Any:
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
    for values, size in zip(last.values(), sizes, strict=True):
        worst = {row.sign: row.value for row in health_rows(values)}
        table.append({axis: float(size[axis])} | worst)
    return {
        name: (trend, extrapolate(trend, danger=danger, target=goal.get(axis), falling=SIGNS[name].falling))
        for name, trend in trends_by_size(table, axis=axis).items()
        if name in EXTRAPOLATED and (danger := SIGNS[name].danger) is not None
    }


def _show(
    found: Mapping[str, Mapping[str, float]],
    *,
    report: Path | None,
    as_json: bool,
    logs: Any = None,
    trends: Any = None,
) -> None:
    from limes.measure.health import health_rows

    judged = {name: health_rows(values) for name, values in found.items()}
    if report is not None:
        from limes.report.health import write_health_report

        name = list(found)[-1]
        write_health_report(report, judged[name], found[name], subject=name, logs=logs, trends=trends)
    if as_json:
        print(json.dumps(_as_json(found, judged, trends or {}, logs or {}), indent=1, allow_nan=False))
        return
    for name, rows in judged.items():
        _print(name, rows)
        for sign, (step, place) in _alarms((logs or {}).get(name, ())).items():
            typer.echo(f"  {sign} was first in danger at step {step}{f', {place}' if place else ''}")
    for sign, (_, crossing) in (trends or {}).items():
        typer.echo(f"{sign}: {crossing.sentence}")
    if report is not None:
        typer.echo(f"{report} written")


def _print(name: str, rows: Sequence["HealthRow"]) -> None:
    from limes.measure.health import SIGNS, Level

    typer.echo(name)
    for row in rows:
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
) -> Any:
    return {
        "inspected": [
            {
                "name": name,
                "signs": [_sign_json(row) for row in judged[name]],
                "values": {place: _finite(value) for place, value in values.items()},
                "first_danger": {sign: step for sign, (step, _) in _alarms(logs.get(name, ())).items()},
            }
            for name, values in found.items()
        ],
        "trends": [_trend_json(sign, trend, crossing) for sign, (trend, crossing) in trends.items()],
    }


def _alarms(log: Any) -> dict[str, tuple[int, str]]:
    from limes.measure.health import first_alarms

    return first_alarms(log)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _sign_json(row: "HealthRow") -> dict[str, Any]:
    from limes.measure.health import SIGNS

    return {
        "sign": row.sign,
        "level": row.level.value,
        "value": _finite(row.value),
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
        "crosses_at": _finite(crossing.size),
        "crosses_low": _finite(crossing.low),
        "crosses_high": _finite(crossing.high),
        "target": crossing.target,
        "value": _finite(crossing.value),
        "value_low": _finite(crossing.value_low),
        "value_high": _finite(crossing.value_high),
        "sentence": crossing.sentence,
    }
