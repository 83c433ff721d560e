"""From a store to the answer: analysis, `verdict.json`, `report.html`, and what is printed. Shared by two commands."""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from limes.compare import PanelResult, TransferResult, analyse_transfer
from limes.core.errors import StoreError
from limes.models import num_params
from limes.parametrize import Plan
from limes.report import write_transfer_report
from limes.spec import ModelSpec, ParametrizationChoice, RunSpec, StudySpec, parse_study, swept_names
from limes.store import Store
from limes.store.files import write_atomically
from limes.sweep.build import Workbench, plan_between, resize

VERDICT = "verdict.json"
REPORT = "report.html"


def check_target(study: StudySpec, sizes: dict[str, int] | None, base_dir: Path | None) -> None:
    """Fail before hours of training, not after, when the target cannot be built."""
    plan_target(study, study.recommend, target_sizes(study, sizes), base_dir=base_dir)


def plan_target(
    study: StudySpec, choice: ParametrizationChoice, sizes: dict[str, int], *, base_dir: Path | None
) -> tuple[Plan, ModelSpec]:
    """The plan from the study's base to some sizes, and the model there with everything filled in."""
    return _plan(Workbench(study, base_dir=base_dir).model, study, choice, sizes)


def _plan(
    base: ModelSpec, study: StudySpec, choice: ParametrizationChoice, sizes: dict[str, int]
) -> tuple[Plan, ModelSpec]:
    target = resize(resize(base, "width", sizes["width"]), "depth", sizes["depth"])
    return plan_between(base, target, choice, study.training), target


def _filled_base(store: Store, study: StudySpec) -> ModelSpec:
    """The base with the sizes that the data fix, from a run, so that a report needs no data."""
    rows = store.rows()
    if not rows:
        return Workbench(study, base_dir=store.base_dir).model
    model = RunSpec.model_validate(store.spec(rows[0].key)).model
    return resize(resize(model, "width", study.model.width), "depth", study.model.depth)


def target_sizes(study: StudySpec, sizes: dict[str, int] | None) -> dict[str, int]:
    """The target: the flag's sizes, else the study's, else eight times the width of the base."""
    given = sizes or {name: size for name, size in study.target.to_dict().items() if size is not None}
    width, depth = study.model.width, study.model.depth
    return {"width": given.get("width", width if given else 8 * width), "depth": given.get("depth", depth)}


def answer(out: Path, sizes: dict[str, int] | None) -> TransferResult:
    """Analyse the store of `out` and write its verdict and report."""
    with Store.open(out) as store:
        study = parse_study(store.study(), name=str(out))
        if sizes is None and (remembered := store.note("target")):
            sizes = json.loads(remembered)
        target = target_sizes(study, sizes)
        plan, model = _plan(_filled_base(store, study), study, study.recommend, target)
        if sizes:
            # Remembered only now that a plan for it has been made.
            store.set_note("target", json.dumps(sizes))
        result = analyse_transfer(
            store,
            study,
            target=target,
            plan=plan,
            num_params=num_params(model),
            provenance=_provenance(store),
        )
        try:
            text = json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n"
            write_atomically(out / VERDICT, text.encode())
            write_transfer_report(result, out / REPORT, curves=store.curve)
        except OSError as error:
            raise StoreError(
                f"{out}: the report cannot be written ({error.strerror}); free the folder and run `limes report {out}`"
            ) from None
    return result


def _provenance(store: Store) -> dict[str, Any]:
    """What trained: versions as the last driver noted them, which need not be those that judge."""
    rows = store.rows()
    fingerprints = {store.spec(key)["data_fingerprint"] for key in sorted({row.key for row in rows})[:1]}
    return {
        "versions": {name: store.note(name) for name in ("limes", "torch", "numpy")},
        "python": store.note("python"),
        "platform": store.note("platform"),
        "judged_by": f"limes {version('limes')}, scipy {version('scipy')}",
        "data_fingerprint": ", ".join(sorted(fingerprints)),
        "seeds": sorted({row.seed for row in rows}),
        "cpu_seconds": round(sum({row.key: row.cpu_seconds or 0.0 for row in rows}.values()), 1),
    }


def announce(result: TransferResult, out: Path, *, as_json: bool) -> None:
    """Print the answer: JSON, or a table and where the page is."""
    if as_json:
        json.dump(result.to_dict(), sys.stdout, indent=1, allow_nan=False)
        print()
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    short = "lr" if result.swept == swept_names(None) else "value"
    table = Table(title=f"Does the best {result.swept[0]} move? ({result.status})")
    for heading in ("growing", "parametrization", f"log2 best {short}", "drift in octaves", "verdict", "regret"):
        table.add_column(heading)
    for panel in result.panels:
        table.add_row(*_cells(panel))
    console.print(table)
    for claim in result.claims:
        if claim.holds:
            console.print(f"{claim.axis}: {claim.winner} drifts less than {claim.other} (interval above zero).")
    if (forecast := result.forecast) and forecast.value is not None:
        console.print(
            f"Forecast at {forecast.target}: {forecast.value:.3f} ({forecast.low:.3f} to {forecast.high:.3f}, "
            f"{forecast.level:.0%})"
        )
    for sentence in (*(result.forecast.warnings if result.forecast else ()), *result.notes):
        console.print(f"Note: {sentence}", markup=False)
    console.print(f"Report: {out / REPORT}    Verdict: {out / VERDICT}", markup=False, soft_wrap=True)


def _cells(panel: PanelResult) -> tuple[str, ...]:
    ends = " to ".join(
        "?" if value is None else f"{value:.2f}" for value in panel.log2_optimal_lr[:: len(panel.sizes) - 1]
    )
    drift = "not known"
    if panel.drift_octaves is not None and panel.drift_interval is not None:
        drift = f"{panel.drift_octaves:+.2f} ({panel.drift_interval[0]:+.2f}, {panel.drift_interval[1]:+.2f})"
    regret = "?" if panel.transfer_regret is None else f"{panel.transfer_regret:.4f}"
    span = f"{panel.axis} {panel.sizes[0]} to {panel.sizes[-1]}"
    return span, panel.parametrization, ends, drift, panel.verdict, regret
