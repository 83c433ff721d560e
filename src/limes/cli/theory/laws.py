"""`limes theory laws`: exponents of measured runs beside those of the theory at a task's a and b."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limes.cli import options
from limes.core.errors import DataError, SpecError

if TYPE_CHECKING:
    from limes.compare.law_theory import Measured


def laws(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Runs: CSV and others, or the folder of a sweep.")],
    a: Annotated[str | None, typer.Option(help="Decay of the target's power: value,low,high, or one number.")] = None,
    b: Annotated[str | None, typer.Option(help="Decay of the eigenvalues, the same way.")] = None,
    spectrum: Annotated[
        Path | None, typer.Option(help="Take both from what `limes spectrum --json` printed, its widest network.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column of training time: steps, or tokens seen once.")] = None,
    width: Annotated[str | None, typer.Option(help="Column of the size.")] = None,
    samples: Annotated[str | None, typer.Option(help="Column of the number of samples.")] = None,
    where: Annotated[str | None, typer.Option(help="Only rows with these values: parametrization=mup,seed=0.")] = None,
    rich: Annotated[bool, typer.Option("--rich", help="The theory of features that move.")] = False,
    no_floor: Annotated[bool, typer.Option("--no-floor", help="The losses are excess losses: fit no floor.")] = False,
    level: Annotated[float, typer.Option(help="Level of all intervals, those of a and b too.")] = 0.9,
    out: Annotated[Path | None, typer.Option(help="Page to write.")] = None,
    as_json: options.Json = False,
) -> None:
    """Say what limits measured runs in each direction, and whether their exponents are those of the theory."""
    options.check_output(out, flag="--out")
    columns = {
        name: column for name, column in (("time", time), ("width", width), ("samples", samples)) if column is not None
    }
    if not columns:
        raise SpecError("--time, --width, --samples: name at least one column that the runs vary, such as --time steps")

    from limes.cli.console import tell
    from limes.cli.inputs import parse_pairs
    from limes.cli.run_table import read_runs
    from limes.compare.law_theory import compare_regimes
    from limes.report.law_theory import write_regime_report

    if not 0 < level < 1:
        raise SpecError(f"--level {level:g}: expected a probability such as 0.9")
    first, second = _exponents(a, b, spectrum, level)
    rows = read_runs(table, parse_pairs(where, flag="--where") if where else {})
    study = compare_regimes(
        rows, columns, a=first, b=second, rich=rich, floor="none" if no_floor else "fit", level=level
    )
    if out is not None:
        write_regime_report(study, out, source=table.name)
    tell(study.to_dict(), study.sentences, page=out, as_json=as_json)


def _exponents(a: str | None, b: str | None, spectrum: Path | None, level: float) -> "tuple[Measured, Measured]":
    if spectrum is not None and (a is not None or b is not None):
        raise SpecError("--spectrum gives both a and b; leave out --a and --b")
    if spectrum is not None:
        return _from_spectrum(spectrum, level)
    if a is None or b is None:
        raise SpecError("--a and --b: give both, as `limes spectrum` measures them, or --spectrum with its JSON")
    return _measured(a, "--a"), _measured(b, "--b")


def _measured(text: str, flag: str) -> "Measured":
    from limes.compare.law_theory import Measured

    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3):
        raise SpecError(f"{flag} {text!r}: expected value,low,high such as 1.75,1.6,1.9, or one number")
    value, low, high = numbers if len(numbers) == 3 else numbers * 3
    try:
        return Measured(value=value, low=low, high=high)
    except SpecError as error:
        raise SpecError(f"{flag} {text!r}: {error}") from None


def _from_spectrum(path: Path, level: float) -> "tuple[Measured, Measured]":
    from limes.compare.law_theory import Measured

    try:
        curves: list[dict[str, Any]] = json.loads(path.read_text())["curves"]
        widest = max(curves, key=lambda curve: curve["width"])
        given = float(widest["level"])
        found = [(widest[name], *widest[f"{name}_interval"]) for name in ("a", "b")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"--spectrum {path}: expected what `limes spectrum --json` prints for perceptrons ({error!r})"
        ) from None
    a, b = (Measured(value=value, low=low, high=high).at_level(level, given=given) for value, low, high in found)
    return a, b
