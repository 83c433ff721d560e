"""The page of a fit: every part is there, it loads nothing, and hostile names stay text."""

import json
import re
from functools import cache

import numpy as np
import pytest

from limes.laws import CHINCHILLA, DOWNSTREAM_SIGMOID, POWER_LAW_FLOOR, Law, fit_law
from limes.laws.summary import Summary, summarize
from limes.report.laws import law_page
from limes.report.page import Cards, Figure, Page, Table, render_page

HOSTILE = "</script><script>alert(1)</script>"


@cache
def make_summary(kind: str) -> Summary:
    """A small fit of one of three kinds of law."""
    rng = np.random.default_rng(0)
    if kind == "two sizes":
        table = {"num_params": 10 ** rng.uniform(7.5, 9.5, 40), "num_tokens": 10 ** rng.uniform(9, 11, 40)}
        law: Law = CHINCHILLA
        points, budgets = {"num_params": [1e10], "num_tokens": [2e11]}, [1e21, 1e22]
    elif kind == "one size":
        table, law = {"size": np.geomspace(1e6, 1e9, 5)}, POWER_LAW_FLOOR
        points, budgets = {}, []
    else:
        table, law = {"loss": np.linspace(0.6, 1.8, 15)}, DOWNSTREAM_SIGMOID
        points, budgets = {"loss": [0.5]}, []
    target = law.value(law.example, table)
    noise = 0.004 * rng.standard_normal(len(target))
    table[law.target] = target + noise if law.scale == "linear" else target * np.exp(noise)
    fit = fit_law(law, table, num_starts=36)
    return summarize(fit, table, points=points, budgets=budgets, num_resamples=30)


def figures(page: Page) -> list[Figure]:
    return [block for section in page.sections for block in section.blocks if isinstance(block, Figure)]


@pytest.mark.parametrize("kind", ["two sizes", "one size", "downstream"])
def test_every_part_is_there_and_nothing_is_loaded(kind: str) -> None:
    summary = make_summary(kind)
    page = law_page(summary, source=HOSTILE)
    anchors = [section.anchor for section in page.sections]
    expected = ["fit", "residuals", "extrapolation", "backtest", "frontier", "parameters", "checklist"]
    assert anchors == [anchor for anchor in expected if anchor != "frontier" or summary.shapes is not None]
    text = render_page(page)
    hostile = HOSTILE in text
    assert not hostile
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert re.findall(r"""(?:src|href)=["'](?:https?:)?//""", outside) == [] and "alert(1)" in outside
    assert all(figure.table.rows and figure.plot.data for figure in figures(page))


def test_what_is_drawn_is_what_was_found() -> None:
    summary = make_summary("two sizes")
    page = law_page(summary, source="runs.csv")
    drawn = {figure.title.split(",")[0]: figure for figure in figures(page)}
    residuals = np.array([row[1] for row in drawn["Measured minus fitted"].table.rows])
    assert np.sort(residuals) == pytest.approx(np.sort(-100 * summary.fit.residuals))
    (extrapolation,) = [figure for title, figure in drawn.items() if title.startswith("Forecast up to")]
    star = next(trace for trace in extrapolation.plot.data if trace.name == "asked for")
    forecast = summary.forecast
    assert forecast is not None and star.y[0] == forecast.value[0]
    assert star.y[0] + star.error_y["array"][0] == pytest.approx(forecast.high[0])
    # the line ends where the forecast was asked for
    assert summary.ray_forecast.value[-1] == pytest.approx(forecast.value[0])
    tables = [block for section in page.sections for block in section.blocks if isinstance(block, Table)]
    frontier = next(table for table in tables if table.name == "frontier")
    assert frontier.download is not None and frontier.download.rows[0][0] == 1e21
    cards = next(block for block in page.sections[-1].blocks if isinstance(block, Cards))
    assert {card.tone for card in cards.cards} <= {"good", "bad"}


def test_the_summary_is_plain_json_and_says_what_it_was_fitted_to() -> None:
    summary = make_summary("two sizes")
    content = json.loads(json.dumps(summary.to_dict(), allow_nan=False))
    assert content["data_sha256"] == make_summary("two sizes").data_hash and len(content["data_sha256"]) == 64
    assert content["data_sha256"] != json.loads(json.dumps(make_summary("one size").to_dict()))["data_sha256"]
    assert content["params"]["alpha"] == summary.fit.params["alpha"] and content["delta"] == 1e-3
    low, high = content["intervals"]["alpha"]
    assert low < content["params"]["alpha"] < high
