"""`limes fit`: fit a scaling law to a table of runs, and forecast."""

import json
from pathlib import Path
from typing import Annotated

import typer

from limes.cli import options
from limes.core.errors import SpecError


def fit(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, Parquet or JSON lines.")],
    law: Annotated[str, typer.Option(help="One of `limes show laws`.")] = "chinchilla",
    columns: Annotated[
        str | None, typer.Option(help="The law's names for the table's columns: num_params=N,num_tokens=D,loss=loss.")
    ] = None,
    predict: Annotated[
        str | None, typer.Option(help="Forecast there, such as num_params=70e9,num_tokens=1.4e12.")
    ] = None,
    level: Annotated[float, typer.Option(help="Level of the interval.")] = 0.9,
    as_json: options.Json = False,
) -> None:
    """Fit a scaling law exactly, say what the table does not determine, and forecast with an interval."""
    from limes.laws import LAWS, fit_law, read_table

    if law not in LAWS:
        raise SpecError(f"--law {law!r}: expected one of {', '.join(LAWS)}")
    names = _pairs(columns, "--columns") if columns else {}
    points = {name: [_number(name, text)] for name, text in (_pairs(predict, "--predict") if predict else {}).items()}
    fitted = fit_law(LAWS[law], read_table(table), columns=names)
    forecast = fitted.predict(points, level) if points else None
    if as_json:
        content = {
            "law": law,
            "params": dict(fitted.params),
            "objective": fitted.objective,
            "status": fitted.status.value,
            "rows": fitted.num_rows,
            "flags": [str(flag) for flag in fitted.flags],
        }
        if forecast is not None:
            numbers = {name: float(getattr(forecast, name)[0]) for name in ("value", "low", "high", "decades")}
            content["forecast"] = numbers | {"level": level, "evidence": forecast.evidence}
        print(json.dumps(content, indent=1))
        return
    typer.echo(f"{LAWS[law].formula}   ({fitted.num_rows} rows, {fitted.status.value})")
    for name, value in fitted.params.items():
        typer.echo(f"  {name:8s} {value:.6g}")
    for flag in fitted.flags:
        typer.echo(f"  flag: {flag}")
    if forecast is not None:
        typer.echo(
            f"forecast {forecast.value[0]:.5g}   {level:.0%}: {forecast.low[0]:.5g} to {forecast.high[0]:.5g}   "
            f"({forecast.decades[0]:.1f} decades beyond the table) {forecast.evidence}"
        )


def _pairs(text: str, flag: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and equals and value.strip() for name, equals, value in pairs):
        raise SpecError(f"{flag} {text!r}: expected name=value, separated by commas")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SpecError(f"--predict {name}={text}: {text!r} is not a number") from None
