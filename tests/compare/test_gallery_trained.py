"""Pictures that train networks: what they say of runs whose answer is known, and of real runs in their reduced form."""

import json
import math
from dataclasses import replace

import pytest

from limes.compare import analyse_panels
from limes.compare.gallery import GALLERY, depth_transfer, forecast, lr_transfer
from support.command import make_runner
from support.sweep_rows import make_rows


def rows_of(study, optimum):
    """Rows of every parametrization of a study, with a known optimum for each."""
    panel = study.panels[0]
    return [
        row
        for choice in panel.parametrizations
        for row in make_rows(
            lambda size, seed, name=choice.name: optimum(name, size),
            axis=panel.axis,
            parametrization=choice.label,
            sizes=panel.sizes,
            seeds=2,
        )
    ]


@pytest.mark.parametrize("name", [name for name, entry in GALLERY.items() if entry.study is not None])
@pytest.mark.parametrize("reduced", [True, False])
def test_studies_grow_along_one_axis(name, reduced):
    study = GALLERY[name].study(reduced)
    (panel,) = study.panels
    assert len(panel.sizes) >= 2 and study.level == 0.95
    base = {"width": study.model.width, "depth": study.model.depth}
    assert base[panel.axis] in panel.sizes, "the base stands among the sizes, where all rules are one"


def test_lr_transfer_tells_a_moving_optimum_from_a_resting_one():
    study = lr_transfer.study(False)
    falling = rows_of(study, lambda name, size: -6.0 - (size / 64 if name == "standard" else 0.0))
    picture = lr_transfer.draw(analyse_panels(study, falling), reduced=False)
    # 192 / 64 - 32 / 64 octaves.
    assert picture.reading(lr_transfer.DRIFT.format("standard")).measured == pytest.approx(-2.5, abs=1e-6)
    mup = picture.reading(lr_transfer.DRIFT.format("muP"))
    assert mup.measured == pytest.approx(0.0, abs=1e-6) and mup.agrees
    assert not replace(mup, expected=-2.585).agrees
    # The valleys have curvature 0.05: what the old learning rate costs is 0.05 x 2.5^2.
    assert picture.reading(lr_transfer.REGRET.format("standard")).measured == pytest.approx(0.3125, abs=0.02)
    valleys = picture.panels[0].curves
    assert [float(curve.x[curve.y.argmin()]) for curve in valleys] == [-7.0, -7.0, -8.0, -9.0]


def test_depth_transfer_tells_three_rules_apart():
    study = depth_transfer.study(False)
    slopes = {"mup": -0.25, "depth_mup": 0.5, "completep": 0.0}
    rows = rows_of(study, lambda name, size: -6.0 + slopes[name] * math.log2(size / 2))
    picture = depth_transfer.draw(analyse_panels(study, rows), reduced=False)
    drift = {label: picture.reading(depth_transfer.DRIFT.format(label)) for label in depth_transfer.RULES.values()}
    # From 2 to 16 blocks are three octaves.
    assert [reading.measured for reading in drift.values()] == pytest.approx([-0.75, 1.5, 0.0], abs=1e-6)
    assert drift["alpha 1"].agrees and not replace(drift["alpha 1"], expected=1.5).agrees
    gain = picture.reading(depth_transfer.GAIN.format("no rule"))
    # The floor of these rows is 2 + 10 / size, and the grid of whole octaves misses the bottom of a valley by 0.25.
    assert gain.measured == pytest.approx(10 / 16 - 10 / 2, abs=0.05 * 0.25**2 + 1e-9)


def test_forecast_holds_a_law_and_rejects_a_broken_one():
    study = forecast.study(False)
    rows = rows_of(study, lambda name, size: -6.0)
    picture = forecast.draw(analyse_panels(study, rows), reduced=False)
    loss = picture.reading(forecast.LOSS)
    # Rows without noise leave no interval: 2 + c / sqrt(parameters) is found to four digits.
    assert loss.measured == pytest.approx(2.0 + 10.0 / 256) and loss.expected == pytest.approx(loss.measured, abs=2e-3)
    # The mutant: a largest network far above the law of the others.
    broken = [replace(row, loss=row.loss + 0.5) if row.size == 256 else row for row in rows]
    other = forecast.draw(analyse_panels(study, broken), reduced=False).reading(forecast.LOSS)
    assert other.expected == loss.expected, "the forecast does not see the largest network"
    assert other.measured - other.expected == pytest.approx(0.5, abs=2e-3) and not other.agrees
    fitted = picture.panels[0].curves[0]
    assert len(fitted.x) == len(study.panels[0].sizes) - 1, "the largest is not among those fitted"


@pytest.mark.sim
def test_lr_transfer_of_real_networks(tmp_path, monkeypatch, capsys):
    """Standard training moves by more than an octave over a factor of four, muP by less; the second call is free."""
    limes = make_runner(monkeypatch, capsys)
    first, second = (
        limes("gallery", "lr-transfer", "--reduced", "--workers", 1, "--out", tmp_path, "--json") for _ in range(2)
    )
    assert first.code == 0 and first.out == second.out
    drift = {reading["name"]: reading["measured"] for reading in json.loads(first.out)["readings"]}
    assert drift[lr_transfer.DRIFT.format("standard")] < -1.0 < drift[lr_transfer.DRIFT.format("muP")]
