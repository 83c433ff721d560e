"""The transfer page: it says what was found, loads nothing, survives hostile names, and draws in a real browser."""

import csv
import dataclasses
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from numpy.typing import NDArray

from limes.compare.result import TransferResult, rule_sentence
from limes.core.errors import StoreError
from limes.report import Figure, Page, Section, Table, transfer_page, write_page, write_transfer_report
from limes.report.page import embed_json, render_page
from limes.report.style import CATEGORIES, RAMP, dark_colors
from limes.report.training import MAX_POINTS
from limes.report.words import answer_lines
from support.transfer_result import make_curves, make_forecast, make_lost_panel, make_panel, make_result

HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(2)> %{x} =cmd|\' "quoted", 2'
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class _Loads(HTMLParser):
    """Every address that a browser would load by itself, and every element's name."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.elements: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "action", "poster") or (name == "href" and tag != "a"):
                self.addresses.append(value or "")


def _lost(key: str) -> dict[str, NDArray[np.float64]]:
    raise StoreError(f"run {key} has no curves yet")


def _empty_result() -> TransferResult:
    """As little as a result can hold."""
    return make_result(
        panels=(), claims=(), recommendation=None, forecast=None, status="incomplete",
        notes=("No run has ended yet.",), counts={}, provenance={}, study={},
    )  # fmt: skip


def _lost_result() -> TransferResult:
    """Panels without a single optimum beside one with a hole, and a forecast without a law."""
    holed = make_panel("mup", slope=0.0, verdict="undecided")
    holed = dataclasses.replace(
        holed,
        log2_optimal_lr=(holed.log2_optimal_lr[0], None, *holed.log2_optimal_lr[2:]),
        intervals=(holed.intervals[0], None, *holed.intervals[2:]),
        best_loss=(None, *holed.best_loss[1:]),
        transfer_regret=None,
    )
    forecast = dataclasses.replace(
        make_forecast(), value=None, low=None, high=None, curve=(), warnings=("Two sizes cannot fix three parameters.",)
    )
    panels = (make_lost_panel("standard", "width"), holed, make_lost_panel("completep"))
    return make_result(panels=panels, forecast=forecast, recommendation=None, status="incomplete", notes=("12 left.",))


def _hostile_result() -> TransferResult:
    panel = make_panel(HOSTILE, slope=0.1, verdict="transfers")
    return make_result(
        panels=(panel,), notes=(HOSTILE,), status="incomplete", counts={HOSTILE: 1}, provenance={HOSTILE: HOSTILE},
        study={"name": HOSTILE, "data": {"source": HOSTILE}},
    )  # fmt: skip


def _payload(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="payload">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_page_loads_nothing_and_is_small(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_transfer_report(make_result(), path, curves=make_curves)
    text = path.read_text(encoding="utf-8")
    loads = _Loads()
    loads.feed(text)
    assert loads.addresses == ["data:,"]
    assert loads.elements.count("script") == 3
    assert "@import" not in text.split("</style>")[0] and "url(" not in text.split("</style>")[0]
    assert path.stat().st_size < 8e6
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_page_is_the_same_at_each_writing(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_transfer_report(make_result(), tmp_path / name, curves=make_curves)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_an_unwritable_place_is_refused_in_a_sentence(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_transfer_report(make_result(), blocker / "report.html", curves=make_curves)


def test_page_says_the_verdict_first_and_the_rule() -> None:
    html = render_page(transfer_page(make_result(), curves=make_curves))
    body = html[html.index("<h1>") :]
    assert body.index("Yes, with the right parametrization.") < body.index("<section")
    assert "no with standard (−2.9 octaves)" in body
    assert "The best learning rate falls by 2.85 octaves (7.2-fold), 90% interval −3.40 to −2.30" in body
    assert rule_sentence(0.9, 1.0, 0.35).split(". '")[0] in body
    for words in ("8a9de81e614826a9", "2.13.0", "blocks.*.up.weight", "2.3 decades beyond", "Which drifts less"):
        assert words in body


@pytest.mark.parametrize(
    ("verdicts", "lead"),
    [
        (("transfers", "transfers"), "Yes."),
        (("moves", "moves"), "No."),
        (("undecided", "undecided"), "This study cannot say."),
        (("moves", "transfers"), "Yes, with the right parametrization."),
        (("moves", "undecided"), "Not where this study can say."),
    ],
)
def test_headline(verdicts: tuple[Any, Any], lead: str) -> None:
    panels = [make_panel(name, slope=0.0, verdict=verdict) for name, verdict in zip("ab", verdicts, strict=True)]
    assert answer_lines(panels)[0] == lead


def test_equal_tensors_share_a_row_and_the_download_has_all() -> None:
    payload = _payload(render_page(transfer_page(make_result(), curves=make_curves)))
    table = next(block for block in payload["blocks"] if block["name"] == "recommendation")
    assert len(table["rows"]) == 26
    page = transfer_page(make_result(), curves=make_curves)
    settings = next(section for section in page.sections if section.anchor == "settings").blocks[1]
    assert isinstance(settings, Table)
    assert [row[0] for row in settings.rows] == ["embed.weight", "blocks.*.up.weight", "readout.weight"]
    assert [row[settings.columns.index("count")] for row in settings.rows] == [1, 24, 1]
    assert settings.rows[1][settings.columns.index("lr / base lr")] == pytest.approx(1 / 32)


def test_diverged_runs_are_drawn_open_along_the_top_with_a_legend_entry() -> None:
    payload = _payload(render_page(transfer_page(make_result(), curves=make_curves)))
    block = next(block for block in payload["blocks"] if block["name"] == "width-standard-lr")
    diverged = next(trace for trace in block["data"] if trace.get("name") == "diverged")
    panel = make_result().panels[0]
    assert len(diverged["x"]) == sum(sum(curve.diverged) for curve in panel.curves)
    assert diverged["marker"]["symbol"].endswith("-open") and diverged.get("showlegend", True)
    top = block["layout"]["yaxis"]["range"][1]
    drawn = [y for trace in block["data"] if trace is not diverged for y in trace["y"] if y is not None]
    assert max(drawn) <= diverged["y"][0] < top
    stars = [trace for trace in block["data"] if trace.get("name") == "optimum"]
    assert [star["x"][0] for star in stars] == list(panel.log2_optimal_lr)


def test_every_colour_of_a_plot_has_a_dark_partner() -> None:
    payload = _payload(render_page(transfer_page(make_result(), curves=make_curves)))
    used = set(re.findall(r"#[0-9a-f]{6}", json.dumps([block for block in payload["blocks"] if "data" in block])))
    assert used and used <= set(dark_colors())


def _contrast(first: str, second: str) -> float:
    def luminance(color: str) -> float:
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_lines_have_contrast_on_both_grounds_and_the_ramp_is_ordered_in_lightness() -> None:
    for shade, ground in enumerate(("#fefefe", "#171c23")):
        ratios = [_contrast(pair[shade], ground) for pair in RAMP]
        assert min([*ratios, *(_contrast(pair[shade], ground) for pair in CATEGORIES)]) >= 2.9
        assert ratios == sorted(ratios, reverse=bool(shade))


@pytest.mark.parametrize("build", [_empty_result, _lost_result])
def test_what_is_missing_is_said(build: Any) -> None:
    result = build()
    html = render_page(transfer_page(result, curves=_lost))
    assert "The study is incomplete" in html and result.notes[0] in html
    assert "No settings are recommended" in html
    body = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"\b(None|nan|inf)\b", body)


def test_hostile_names_stay_text() -> None:
    html = render_page(transfer_page(_hostile_result(), curves=make_curves))
    loads = _Loads()
    loads.feed(html)
    assert loads.elements.count("script") == 3 and "img" not in loads.elements
    payload = _payload(html)
    for block in payload["blocks"]:
        # Drawn text may have plotly's own markup only; the rows keep the name as it is.
        drawn = json.dumps([block.get("data"), block.get("layout")])
        assert "<img" not in drawn and "<script" not in drawn
        assert not re.search(r"%\{x\} =cmd", drawn)
    assert any(HOSTILE in row for block in payload["blocks"] for row in block["rows"])


def test_embedded_json_cannot_close_its_element_and_has_no_nan() -> None:
    text = embed_json({"a": "</script><!--\u2028", "b": [float("nan"), float("inf"), 1.5]})
    assert "<" not in text and "\u2028" not in text
    assert json.loads(text) == {"a": "</script><!--\u2028", "b": [None, None, 1.5]}


def test_long_training_curves_are_thinned_on_screen_and_whole_in_the_download() -> None:
    def long_curves(key: str) -> dict[str, NDArray[np.float64]]:
        return {"train_loss": np.linspace(4.0, 2.0, 2050)}

    result = make_result(panels=(make_panel("mup", slope=0.0, verdict="transfers", sizes=(32, 64)),))
    payload = _payload(render_page(transfer_page(result, curves=long_curves)))
    block = next(block for block in payload["blocks"] if block["name"].endswith("training"))
    assert all(len(trace["x"]) == len(trace["y"]) <= MAX_POINTS for trace in block["data"])
    assert len(block["rows"]) == 2 * 2050
    # The running mean of a straight line is that line, ends included.
    smooth = next(trace for trace in block["data"] if trace.get("name"))
    np.testing.assert_allclose(smooth["y"], np.interp(smooth["x"], [0, 2049], [4.0, 2.0]), rtol=1e-12)


def test_page_serves_other_reports(tmp_path: Path) -> None:
    table = Table(name="points", columns=("x", "y"), rows=((1, 2.0), (2, None)))
    figure = Figure(title="Two points", plot=go.Figure(go.Scatter(x=[1, 2], y=[2.0, None])), table=table)
    section = Section(anchor="a", title="A", blocks=(figure,))
    page = Page(title="other", question="Which?", answer=("This.",), sections=(section,))
    write_page(page, tmp_path / "other.html")
    assert "Two points" in (tmp_path / "other.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    results = {"full": make_result(), "lost": _lost_result(), "empty": _empty_result(), "hostile": _hostile_result()}
    for name, result in results.items():
        curves = _lost if name == "lost" else make_curves
        write_transfer_report(result, folder / f"{name}.html", curves=curves)
    return {name: folder / f"{name}.html" for name in results}


def _open(browser: Any, path: Path, *, scheme: str, width: int, height: int) -> tuple[Any, list[str]]:
    phone = width < 500
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}, is_mobile=phone, has_touch=phone, offline=True
    )
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"page error: {error}"))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: complaints.append(f"request: {request.url}"))
    page.goto(path.as_uri())
    allowed = {f"request: {path.as_uri()}", "request: data:,"}
    complaints[:] = [complaint for complaint in complaints if complaint not in allowed]
    page.wait_for_function("[...document.querySelectorAll('.plot')].every(place => place.querySelector('.main-svg'))")
    return page, complaints


@pytest.mark.parametrize(
    ("name", "num_figures", "scheme", "width", "height"),
    [
        ("full", 22, "light", 1280, 900),
        ("full", 22, "dark", 1280, 900),
        ("full", 22, "light", 390, 844),
        ("lost", 13, "dark", 390, 844),
        ("empty", 0, "dark", 390, 844),
        ("hostile", 6, "dark", 390, 844),
    ],
)
def test_page_draws_in_a_browser(
    browser: Any, pages: dict[str, Path], name: str, num_figures: int, *, scheme: str, width: int, height: int
) -> None:
    page, complaints = _open(browser, pages[name], scheme=scheme, width=width, height=height)
    figures = page.locator(".plot").count()
    assert page.locator(".plot.js-plotly-plot").count() == figures == page.locator("figure").count()
    assert figures == num_figures
    scroll, inner = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert scroll <= inner == width
    too_wide = "plot => plot.querySelector('.main-svg').clientWidth > plot.clientWidth + 1"
    assert page.evaluate(f"[...document.querySelectorAll('.plot')].filter({too_wide}).length") == 0
    assert complaints == []
    page.context.close()


def test_plots_follow_the_system_theme_and_the_toggle(browser: Any, pages: dict[str, Path]) -> None:
    page, complaints = _open(browser, pages["hostile"], scheme="light", width=1280, height=900)
    font = "document.querySelector('.plot')._fullLayout.font.color"
    color = f"[{font}, getComputedStyle(document.body).backgroundColor]"
    light = page.evaluate(color)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{font} === '#e7eaf0'")
    dark = page.evaluate(color)
    assert light[0] == "#1c2430" and light[1] != dark[1]
    page.click("#theme")
    page.wait_for_function(f"{font} === '#1c2430'")
    assert page.evaluate(color) == light
    assert complaints == []
    page.context.close()


def test_download_gives_the_numbers_of_the_plot(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    page, complaints = _open(browser, pages["hostile"], scheme="light", width=1280, height=900)
    with page.expect_download() as waiting:
        page.locator("button.download").first.click()
    waiting.value.save_as(tmp_path / "drift.csv")
    with (tmp_path / "drift.csv").open(newline="", encoding="utf-8") as file:
        header, row = list(csv.reader(file))
    panel = _hostile_result().panels[0]
    assert header[:2] == ["axis", "parametrization"] and row[1] == HOSTILE
    assert float(row[4]) == panel.drift_octaves
    assert waiting.value.suggested_filename == "drift.csv"
    assert complaints == []
    page.context.close()
