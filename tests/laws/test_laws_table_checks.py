"""Classes of downstream metrics, and the lint of tables."""

import numpy as np
import pytest

from limes.core.errors import DataError
from limes.laws import CHINCHILLA, Answer, ScalingClass, checklist, classify_scaling, fit_law, lint_table

SCALE = np.geomspace(1e18, 1e22, 13)
T = np.linspace(0, 1, 13)
ITEM_NOISE = 0.01 * np.array([0.3, -1, 0.5, 1, -0.2, 0.8, -0.7, 0.1, -0.4, 0.9, -1, 0.6, -0.1])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (0.3 + 0.4 * T + ITEM_NOISE, "predictable"),
        (0.25 + 0.6 / (1 + np.exp(-8 * (T - 0.5))) + ITEM_NOISE, "predictable"),
        (0.8 - 0.4 * T + ITEM_NOISE, "inverse"),
        (0.3 + 1.2 * T * (1 - T) + ITEM_NOISE, "nonmonotonic"),
        (0.25 + ITEM_NOISE, "trendless"),
        (0.25 + 0.5 / (1 + np.exp(-60 * (T - 0.7))) + ITEM_NOISE / 2, "breakthrough"),
        (0.3 + 0.25 * T + 14 * ITEM_NOISE, "noisy"),
    ],
)
def test_each_class_from_its_textbook_curve(metric: np.ndarray, expected: str) -> None:
    result = classify_scaling(SCALE, metric, num_items=2000, chance=0.25)
    assert result.kind.value == expected, result.sentence
    order = np.random.default_rng(0).permutation(13)
    assert classify_scaling(SCALE[order] * 7, metric[order], num_items=2000, chance=0.25).kind == result.kind


def test_few_scales_and_few_items_abstain() -> None:
    assert classify_scaling(SCALE[:4], T[:4]).kind is ScalingClass.NOT_ENOUGH_DATA
    rising = 0.25 + 0.04 * T
    assert classify_scaling(SCALE, rising, num_items=100, chance=0.25).kind is ScalingClass.TRENDLESS
    assert classify_scaling(SCALE, rising, num_items=100_000, chance=0.25).kind is ScalingClass.PREDICTABLE


def test_a_falling_error_is_a_rising_accuracy() -> None:
    accuracy = 0.3 + 0.4 * T + ITEM_NOISE
    up = classify_scaling(SCALE, accuracy, num_items=2000, chance=0.25)
    down = classify_scaling(SCALE, 1 - accuracy, num_items=2000, chance=0.75, larger_is_better=False)
    assert up.kind == down.kind and up.evidence["range"] == pytest.approx(down.evidence["range"])


def test_malformed_metrics_are_refused() -> None:
    for scale, metric in ((SCALE, T[:3]), (-SCALE, T), (SCALE, 100 * T)):
        with pytest.raises(DataError):
            classify_scaling(scale, metric, num_items=10)


def clean_table() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    size, tokens = np.repeat(np.geomspace(1e8, 1e10, 6), 6), np.tile(np.geomspace(1e9, 1e11, 6), 6)
    loss = 1.8 + 480 / size**0.35 + 2100 / tokens**0.37
    return {
        "num_params": size, "num_tokens": tokens, "compute": 6 * size * tokens, "run": np.arange(36),
        "loss": loss * np.exp(0.003 * rng.standard_normal(36)), "unique_tokens": tokens,
        "steps": tokens / 1e6, "schedule_steps": tokens / 1e6, "warmup_steps": np.full(36, 100.0),
    }  # fmt: skip


def answers(table: dict[str, np.ndarray]) -> dict[str, str]:
    return {check.code: check.answer.value for check in lint_table(table)}


def test_a_clean_table_passes_every_check() -> None:
    assert set(answers(clean_table()).values()) == {"ok"}


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (
            "integer_overflow",
            lambda t: t | {"compute": np.where(t["compute"] > 9.2e18, t["compute"] - 2.0**64, t["compute"])},
        ),
        ("integer_overflow", lambda t: t | {"compute": np.mod(t["compute"], 2.0**58) + 1}),
        ("parameter_convention", lambda t: t | {"compute": t["compute"] * np.linspace(1.0, 1.6, 36)}),
        ("unfinished_schedule", lambda t: t | {"steps": t["steps"] * np.where(np.arange(36) == 4, 0.6, 1.0)}),
        ("warmup_checkpoints", lambda t: t | {"warmup_steps": t["steps"] * np.where(np.arange(36) == 4, 0.5, 0.01)}),
        ("duplicated_runs", lambda t: {name: np.append(column, column[:1]) for name, column in t.items()}),
        ("checkpoints_as_runs", lambda t: t | {"run": np.arange(36) // 2}),
        ("range", lambda t: t | {"num_params": np.full(36, 1e9)}),
        ("repeated_data", lambda t: t | {"unique_tokens": t["unique_tokens"] / 3}),
        ("loss_column", lambda t: t | {"loss": t["loss"].round(2)}),
        ("loss_column", lambda t: t | {"loss": np.where(np.arange(36) == 7, 40.0, t["loss"])}),
        ("unit_outlier", lambda t: t | {"num_tokens": np.where(np.arange(36) == 0, 1e3 * 1e12, t["num_tokens"])}),
    ],
)
def test_each_fault_is_found(code: str, change: object) -> None:
    assert answers(change(clean_table()))[code] == "warn"


def test_what_cannot_be_checked_is_said() -> None:
    bare = {name: clean_table()[name] for name in ("num_params", "num_tokens", "loss")}
    found = answers(bare)
    assert found["unfinished_schedule"] == found["parameter_convention"] == found["checkpoints_as_runs"] == "unknown"


def test_the_checklist_of_a_fit_has_its_flags_and_its_reach() -> None:
    table = clean_table()
    fit = fit_law(CHINCHILLA, table)
    checks = {check.code: check for check in checklist(fit, table, points={"num_params": 1e12, "num_tokens": 1e13})}
    assert checks["optimum"].answer is Answer.OK
    assert checks["extrapolation"].answer is Answer.WARN and "4.0 decades" in checks["extrapolation"].sentence
    near = {check.code: check for check in checklist(fit, points={"num_params": 1e10, "num_tokens": 1e11})}
    assert near["extrapolation"].answer is Answer.OK
