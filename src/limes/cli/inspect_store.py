"""`limes inspect STUDY/`: the runs of a study, from their checkpoints or by training them once more under a monitor."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from limes.cli.console import ShareProgress, clock
from limes.cli.inputs import parse_pairs
from limes.compare.scales import MIN_SIZES
from limes.compare.sensitivity import SizeSensitivity, sweep_sensitivity
from limes.core.errors import DataError, SpecError
from limes.core.status import RunStatus
from limes.measure.writers import json_line, read_json_lines
from limes.spec import RunSpec, StudySpec
from limes.store import Store, SweepRow
from limes.store.files import write_atomically
from limes.sweep.watch import NUM_MEASUREMENTS, Log, best_runs, resumed_signs, watch_run
from limes.train import TrainState

FINISHED = (RunStatus.DONE, RunStatus.DIVERGED)
CACHE = "inspected"
# A measurement costs about two steps.
STEPS_PER_MEASUREMENT = 2.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InspectedRun:
    """One run and its signs over time.

    Attributes:
        row: Which run.
        log: Step and signs.
        remark: Whether the second training gave the loss of the first.
    """

    row: SweepRow
    log: Log
    remark: str

    @property
    def label(self) -> str:
        """As the table and the page call it."""
        return f"{place_of(self.row)}, seed {self.row.seed}"


def place_of(row: SweepRow) -> str:
    """Parametrization, size and learning rate of a run."""
    return f"{row.parametrization}, {row.axis} {row.size}, lr 2^{row.log2_lr:g}"


def inspect_interrupted(folder: Path, *, curvature: bool, silent: bool) -> dict[str, dict[str, float]]:
    """Signs of every run of a store that has a checkpoint, which one keeps until its run is finished."""
    found = {}
    with Store.open(folder, read_only=True) as store, ShareProgress("inspecting", silent=silent) as bar:
        rows = list({row.key: row for row in store.rows()}.values())
        for index, row in enumerate(rows):
            data = store.load_checkpoint(row.key)
            if data is None:
                continue
            state, spec = TrainState.from_bytes(data), RunSpec.model_validate(store.spec(row.key))
            label = f"{place_of(row)}, seed {row.seed}, step {state.step}"
            bar(index / len(rows), label)
            found[label] = resumed_signs(spec, state, base_dir=store.base_dir, curvature=curvature)
    return found


def inspect_finished(
    folder: Path, where: str | None, *, curvature: bool, silent: bool, needed: bool
) -> tuple[list[InspectedRun], dict[str, int]]:
    """Train the chosen runs once more, those that were not yet, and say how long it takes.

    Args:
        folder: Of the study.
        where: Values that columns must have; None takes the best run of every curve.
        curvature: As for `watch_run`.
        silent: Show no progress.
        needed: Whether it is an error if there are none.

    Returns:
        The runs, and the sizes that the study recommends settings for.

    Raises:
        DataError: No run is finished, or none matches.
    """
    with Store.open(folder, read_only=True) as store:
        all_rows = store.rows()
        if not needed and not any(row.status in FINISHED for row in all_rows):
            return [], {}
        rows = _choose(folder, all_rows, where)
        specs = {row.key: RunSpec.model_validate(store.spec(row.key)) for row in rows}
        base_dir = store.base_dir
        target = StudySpec.model_validate(store.study()).target
    goal = {axis: size for axis in ("width", "depth") if (size := getattr(target, axis)) is not None}
    logs = _watched(folder, rows, specs, base_dir=base_dir, curvature=curvature, silent=silent)
    return [InspectedRun(row=row, log=log, remark=_remark(row, log)) for row, log in zip(rows, logs)], goal


def trend_groups(runs: Sequence[InspectedRun]) -> list[tuple[str, str, list[InspectedRun]]]:
    """Name, axis and runs of every panel that has enough sizes for a trend."""
    groups: dict[tuple[str, str], list[InspectedRun]] = {}
    for run in runs:
        groups.setdefault((run.row.parametrization, run.row.axis), []).append(run)
    return [
        (f"{parametrization} over {axis}", axis, members)
        for (parametrization, axis), members in groups.items()
        if len({run.row.size for run in members}) >= MIN_SIZES
    ]


def sensitivities(folder: Path) -> list[SizeSensitivity]:
    """Learning-rate sensitivity of every size, which the recorded losses alone give."""
    with Store.open(folder, read_only=True) as store:
        return sweep_sensitivity(store.rows())


def _remark(row: SweepRow, log: Log) -> str:
    """Whether what was seen is what the store has recorded."""
    again = log[-1][1].get("validation_loss")
    if again == row.loss or (again is None and row.loss is None):
        return ""
    first, second = ("diverged" if loss is None else f"{loss:.6g}" for loss in (row.loss, again))
    return f"the second training ended differently (recorded {first}, now {second}): other versions of the packages"


def _choose(folder: Path, rows: Sequence[SweepRow], where: str | None) -> list[SweepRow]:
    finished = [row for row in rows if row.status in FINISHED]
    if not finished:
        raise DataError(
            f"{folder}: none of its {len(rows)} runs is finished or has a checkpoint; train first, with limes sweep or "
            "limes transfer into the same folder"
        )
    pairs = parse_pairs(where, flag="--where") if where else {}
    columns = ("axis", "parametrization", "size", "seed", "log2_lr")
    if unknown := [name for name in pairs if name not in columns]:
        raise SpecError(f"--where {where}: no column {unknown[0]!r}; there are {', '.join(columns)}")
    matching = [row for row in finished if all(_equal(getattr(row, name), value) for name, value in pairs.items())]
    # Who names a learning rate wants that one, even if it diverged.
    chosen = matching if "log2_lr" in pairs else best_runs(matching)
    if not chosen:
        raise DataError(
            f"{folder}: no finished run has {where or 'a loss'} ({len(finished)} are finished, "
            f"{sum(row.loss is None for row in finished)} of them diverged); a diverged one is chosen with "
            "--where log2_lr=..."
        )
    # The run of the base size stands in several panels: it is trained once and counts in each.
    return chosen


def _equal(value: object, text: str) -> bool:
    try:
        return float(text) == float(str(value))
    except ValueError:
        return str(value) == text


def _watched(
    folder: Path,
    rows: Sequence[SweepRow],
    specs: Mapping[str, RunSpec],
    *,
    base_dir: Path | None,
    curvature: bool,
    silent: bool,
) -> list[Log]:
    every = {row.key: max(1, math.ceil(row.steps / NUM_MEASUREMENTS)) for row in rows}
    files = {
        row.key: folder / CACHE / f"{row.key}-{every[row.key]}{'-curvature' if curvature else ''}.jsonl" for row in rows
    }
    missing = list({row.key: row for row in rows if not files[row.key].exists()}.values())
    seconds = sum((row.wall_seconds or 0.0) * (1 + STEPS_PER_MEASUREMENT / every[row.key]) for row in missing)
    if missing and not silent:
        typer.echo(
            f"{len(missing)} runs are trained once more under a monitor, about {clock(seconds)}"
            f"{', more with --curvature' if curvature else ''}; what is done is kept in {folder / CACHE}",
            err=True,
        )
    total, done = sum(row.steps for row in missing) or 1, 0
    with ShareProgress("training again", silent=silent) as bar:
        for row in missing:

            def tell(step: int, loss: float, done: int = done, row: SweepRow = row) -> None:
                bar((done + step) / total, place_of(row))

            _watch_into(files[row.key], specs[row.key], every[row.key], base_dir, curvature, tell)
            done += row.steps
    return [read_json_lines(files[row.key]) for row in rows]


def _watch_into(
    path: Path, spec: RunSpec, every: int, base_dir: Path | None, curvature: bool, tell: Callable[[int, float], None]
) -> None:
    """The file stands there whole or not at all, so that a command that was killed goes on with the next run."""
    log = watch_run(spec, every=every, base_dir=base_dir, curvature=curvature, on_step=tell)
    write_atomically(path, "".join(json_line(step, values) for step, values in log).encode())
