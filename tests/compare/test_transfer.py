"""The verdict rule on sweeps whose answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from limes.compare.optimum import SizeOptimum, Spread
from limes.compare.transfer import analyse_panels, drift_claims, verdict_of
from limes.spec import parse_study
from support.sweep_rows import make_rows


def study(*labels: str, axis: str = "width", sizes: tuple[int, ...] = (32, 64, 128, 256), **extra):
    panel = {
        "axis": axis,
        "sizes": list(sizes),
        "seeds": [1] * len(sizes),
        "parametrizations": [{"name": label} for label in labels],
    }
    return parse_study({"name": "made-up", "panels": [panel], **extra}, name="test")


def shift(seed: int) -> float:
    return (-0.2, 0.0, 0.2)[seed]


def test_a_constant_optimum_transfers() -> None:
    (panel,) = analyse_panels(study("mup"), make_rows(lambda size, seed: -6 + shift(seed)))
    assert panel.log2_optimal_lr == pytest.approx([-6] * 4)
    assert panel.drift_octaves == pytest.approx(0, abs=1e-9)
    assert panel.seed_deviation == pytest.approx(0.2) and panel.degrees_of_freedom == 8
    half = stats.t.ppf(0.95, 8) * 0.2 * math.sqrt(2 / 3)
    assert panel.drift_interval == pytest.approx((-half, half))
    assert panel.verdict == "transfers" and panel.improves_with_size is True
    assert panel.transfer_regret == pytest.approx(0.0, abs=0.01)


def test_an_optimum_that_falls_an_octave_per_doubling_moves() -> None:
    rows = make_rows(lambda size, seed: -5 - math.log2(size / 32) + shift(seed), parametrization="standard")
    (panel,) = analyse_panels(study("standard"), rows)
    assert panel.drift_octaves == pytest.approx(-3) and panel.verdict == "moves"
    # The small optimum is three octaves off at the largest size: 0.05 * 3^2, less the grid's own miss.
    assert panel.transfer_regret == pytest.approx(0.45, abs=0.03)


def test_the_mutant_that_forgets_the_sign_of_the_drift_would_be_seen() -> None:
    up = analyse_panels(study("mup"), make_rows(lambda size, seed: -7 + math.log2(size / 32) + shift(seed)))
    assert up[0].drift_octaves == pytest.approx(+3)


def test_one_seed_per_size_uses_the_stated_prior() -> None:
    (panel,) = analyse_panels(study("mup"), make_rows(lambda size, seed: -6.0, seeds=1))
    half = stats.norm.ppf(0.95) * 0.35 * math.sqrt(2)
    assert panel.drift_interval == pytest.approx((-half, half)) and panel.degrees_of_freedom == 0
    assert panel.verdict == "transfers"


def test_mixed_counts_follow_welch_and_satterthwaite() -> None:
    spread = Spread(pooled=0.2, degrees_of_freedom=2, prior=0.35, level=0.9)
    estimated, assumed = 0.2**2 / 3, 0.35**2
    freedom = 2 * ((estimated + assumed) / estimated) ** 2
    expected = stats.t.ppf(0.95, freedom) * math.sqrt(estimated + assumed)
    several, single = (
        SizeOptimum(size=32, seeds=tuple(range(n)), optima=(-6.0,) * n, mean=-6.0, not_found=()) for n in (3, 1)
    )
    assert spread.half_width([several, single]) == pytest.approx(expected)


def test_intervals_cover_the_true_drift() -> None:
    """Coverage of the 90 % interval with three seeds per end, on normal optima: within binomial error of 0.9."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        noise = generator.normal(0, 0.3, size=(2, 3))
        rows = make_rows(
            lambda size, seed, noise=noise: -6 + noise[int(size == 64), seed],
            sizes=(32, 64),
            grid=range(-9, -2),
        )
        (panel,) = analyse_panels(study("mup", sizes=(32, 64)), rows)
        hits += panel.drift_interval[0] <= 0 <= panel.drift_interval[1]
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], 400, 0.9)
    assert low <= hits <= high


def test_an_optimum_at_the_edge_is_never_reported() -> None:
    (panel,) = analyse_panels(study("mup"), make_rows(lambda size, seed: -14.0 if size == 256 else -6.0))
    assert panel.log2_optimal_lr[-1] is None and panel.intervals[-1] is None
    assert panel.drift_octaves is None and panel.verdict == "undecided"
    assert "below" in panel.not_found[-1][0]


def test_divergence_at_the_small_optimum_is_said_not_averaged() -> None:
    rows = make_rows(lambda size, seed: -5 - math.log2(size / 32))
    rows = [row for row in rows if row.size != 256] + make_rows(
        lambda size, seed: -8.0, sizes=(256,), diverge_above=-6.0
    )
    (panel,) = analyse_panels(study("mup"), rows)
    assert (
        panel.transfer_regret is None
        and "diverges at 2^-5," in panel.regret_note
        and "at 2^-6 it loses" in panel.regret_note
    )
    assert panel.fixed_lr[-1].loss[-1] is None and panel.fixed_lr[-1].improves is None


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((-1.0, 1.0), "transfers"),
        ((-1.01, 0.5), "undecided"),
        ((1.01, 3.0), "moves"),
        ((-3.0, -1.0), "undecided"),
        ((-5.0, 5.0), "undecided"),
        (None, "undecided"),
    ],
)
def test_the_rule_at_its_borders(interval, expected: str) -> None:
    assert verdict_of(interval, 1.0) == expected


def test_drifts_least_needs_an_interval_above_zero() -> None:
    steady = make_rows(lambda size, seed: -6 + shift(seed), parametrization="completep", axis="depth")
    falling = make_rows(
        lambda size, seed: -6 + shift(seed) - 0.5 * math.log2(size / 32) - 0.1 * seed * (size == 256),
        parametrization="mup",
        axis="depth",
    )
    noisy = make_rows(
        lambda size, seed: -6 + (0.0, 2.0, -2.0)[seed] * (size == 256), parametrization="standard", axis="depth"
    )
    panels = analyse_panels(study("completep", "mup", "standard", axis="depth"), steady + falling + noisy)
    claims = {claim.other: claim for claim in drift_claims(panels, level=0.9)}
    assert {claim.winner for claim in claims.values()} <= {"completep", "standard"}
    assert claims["mup"].holds
    assert not next(claim for claim in claims.values() if claim.other != "mup").holds


def test_one_shared_seed_claims_nothing() -> None:
    rows = make_rows(lambda size, seed: -6.0, seeds=1) + make_rows(
        lambda size, seed: -6 - math.log2(size / 32), seeds=1, parametrization="standard"
    )
    (claim,) = drift_claims(analyse_panels(study("mup", "standard"), rows), level=0.9)
    assert claim.difference is None and not claim.holds


def test_parametrizations_that_share_all_runs_are_not_compared() -> None:
    rows = make_rows(lambda size, seed: -6 + shift(seed))
    rows += [replace(row, parametrization="completep") for row in rows]
    assert drift_claims(analyse_panels(study("mup", "completep"), rows), level=0.9) == ()


def test_a_size_that_is_missing_from_the_store_gives_no_verdict() -> None:
    rows = [row for row in make_rows(lambda size, seed: -6.0) if row.size != 256]
    (panel,) = analyse_panels(study("mup"), rows)
    assert panel.drift_octaves is None and panel.verdict == "undecided" and "256" in panel.regret_note


def test_fixed_rates_compare_the_same_seeds() -> None:
    """Seed 1 is better by 0.5 and was run at the base only: its luck must not make the base look better."""
    rows = make_rows(lambda size, seed: -6.0, seeds=1)
    lucky = [replace(row, seed=1, loss=row.loss - 0.5) for row in rows if row.size == 32]
    (panel,) = analyse_panels(study("mup"), rows + lucky)
    assert panel.improves_with_size is True
