"""The whole answer of a transfer study: panels, claims, recommendation and forecast from one store."""

from collections.abc import Mapping
from typing import Any

from limes.compare.forecast import forecast_loss
from limes.compare.recommend import recommend, tuned_value
from limes.compare.result import PanelResult, TransferResult
from limes.compare.transfer import analyse_panels, drift_claims
from limes.core.status import RunStatus
from limes.parametrize import Plan
from limes.spec import StudySpec, resolve_point, swept_names
from limes.store import OVER_BUDGET, TASK, Store, SweepRow
from limes.train.loss import UNITS


def analyse_transfer(
    store: Store,
    study: StudySpec,
    *,
    target: Mapping[str, int],
    plan: Plan | None,
    num_params: int,
    provenance: Mapping[str, Any],
) -> TransferResult:
    """Everything that the store's runs say about the study, finished or not.

    Args:
        store: Open store.
        study: The frozen study.
        target: Sizes to recommend settings for.
        plan: From base to target; None leaves the recommendation out.
        num_params: Of the target.
        provenance: Versions and the like, shown as given.
    """
    rows = store.rows()
    panels = analyse_panels(study, rows)
    label = study.recommend.label
    tuned = tuned_value(panels, label)
    recommendation = None
    if tuned is not None and plan is not None:
        training, log2_lr = resolve_point(study.training, study.swept, tuned[0])
        recommendation = recommend(
            plan,
            training.optimizer,
            log2_lr=log2_lr,
            lr_note=_tuned_note(study, *tuned),
            base=study.model.to_dict(),
            target=target,
        )
    forecast = None
    # Runs of several lengths have no one number of training tokens to forecast for.
    if rows and not (study.swept and study.swept.field == "steps"):
        forecast = forecast_loss(
            panels,
            parametrization=label,
            target=dict(target),
            num_params=num_params,
            num_tokens=rows[0].num_tokens,
            level=study.level,
        )
    notes = _notes(rows, panels, recommended=label)
    if over_budget := int(store.note(OVER_BUDGET) or 0):
        notes += (
            f"The time budget of {study.time_budget_s:g} s kept {over_budget} more learning rates from the grids; "
            "the same command again goes on with them.",
        )
    if lost := _lost_curves(study, rows):
        notes += (
            f"{len(lost)} curves of the study are not in the store, the first of them {lost[0]}. "
            "Run the same study again on this folder to train them.",
        )
    counts = {status.value: number for status, number in store.progress().counts.items()}
    unfinished = sum(number for status, number in counts.items() if not RunStatus(status).finished)
    return TransferResult(
        study=study.to_dict(),
        level=study.level,
        tolerance_octaves=study.tolerance_octaves,
        prior_octaves=study.prior_octaves,
        panels=panels,
        claims=drift_claims(panels, level=study.level),
        recommendation=recommendation,
        forecast=forecast,
        status="incomplete" if unfinished or lost or counts[RunStatus.QUARANTINED.value] else "complete",
        notes=notes,
        counts=counts,
        provenance=dict(provenance),
        loss_unit=UNITS.get(store.note(TASK) or "", "units of the loss"),
    )


def _lost_curves(study: StudySpec, rows: list[SweepRow]) -> list[str]:
    """Curves that the study asks for and the store does not have, such as after a rebuild from sidecars."""
    present = {(row.axis, row.parametrization, row.size, row.seed) for row in rows}
    return [
        f"{choice.label}, {panel.axis} {size}, seed {seed}"
        for panel in study.panels
        for choice in panel.parametrizations
        for size, num_seeds in zip(panel.sizes, panel.seeds, strict=True)
        for seed in range(study.first_seed, study.first_seed + num_seeds)
        if (panel.axis, choice.label, size, seed) not in present
    ]


def _tuned_note(study: StudySpec, tuned: float, note: str) -> str:
    if study.swept is None:
        return note
    return f"kept fixed by the study, with a {swept_names(study.swept)[0]} of 2^{tuned:.2f}, the {note}"


def _notes(rows: list[SweepRow], panels: tuple[PanelResult, ...], *, recommended: str) -> tuple[str, ...]:
    notes = []
    trained = sorted({panel.parametrization for panel in panels})
    if panels and recommended not in trained:
        notes.append(
            f"There is no recommendation and no forecast: recommend.name is {recommended}, which no panel trains; "
            f"choose one of {', '.join(trained)}."
        )
    waiting = len({row.key for row in rows if not row.status.finished})
    if waiting:
        notes.append(f"Not finished: {waiting} run(s). Run the same command again to go on.")
    quarantined = {row.key: row.error for row in rows if row.status is RunStatus.QUARANTINED}
    notes += [f"Run {key} failed three times and was left out: {error}" for key, error in quarantined.items()]
    diverged = len({row.key for row in rows if row.status is RunStatus.DIVERGED})
    if diverged:
        runs = "1 run" if diverged == 1 else f"{diverged} runs"
        notes.append(f"{runs} diverged; drawn as open markers, they bracket the optimum from above.")
    for panel in panels:
        for size, reasons in zip(panel.sizes, panel.not_found):
            if reasons:
                notes.append(f"{panel.parametrization}, {panel.axis} {size}: no optimum reported ({' '.join(reasons)})")
    return tuple(notes)
