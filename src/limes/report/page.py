"""Assembly of a page: sections of paragraphs, verdict cards, plots and tables become one self-contained HTML file.

Nothing here knows what is reported; any report builds a `Page` and calls `write_page`.
"""

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from limes.report.style import TEMPLATES, dark_colors
from limes.store.files import write_atomically

Cell = str | int | float | bool | None
FOOTER = "Written by limes. This file loads nothing from the network."


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Table:
    """Columns and rows, on the page or behind a plot's download button.

    Attributes:
        name: Stem of the downloaded file.
        columns: Headings, with units, all different: a program reads the downloaded columns by name.
        rows: None is shown as a dash and downloaded as an empty field.
        title: Heading above the table; empty for none.
        download: Rows to download in place of those shown.
    """

    kind: ClassVar[str] = "table"
    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    caption: str = ""
    download: "Table | None" = None

    def __post_init__(self) -> None:
        assert len(set(self.columns)) == len(self.columns), f"table {self.name!r} repeats a heading: {self.columns}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Figure:
    """One plot.

    Attributes:
        title: What is seen, as a sentence.
        plot: Built with the light colours of `limes.report.style`; it needs no title, size or template of its own.
        table: The numbers drawn.
        height: Pixels.
    """

    kind: ClassVar[str] = "figure"
    title: str
    plot: go.Figure
    table: Table
    caption: str = ""
    height: int = 380


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grid:
    """Figures side by side where the screen is wide enough."""

    kind: ClassVar[str] = "grid"
    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Card:
    """One verdict. `tone` is "good", "bad" or "open"; the badge says the same in a word."""

    tone: str
    badge: str
    title: str
    sentence: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cards:
    """Verdicts side by side."""

    kind: ClassVar[str] = "cards"
    cards: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Text:
    """Paragraphs, or a list, under an optional heading; `tone` is "plain", "quiet" or "warning"."""

    kind: ClassVar[str] = "text"
    lines: tuple[str, ...]
    heading: str = ""
    bullets: bool = False
    tone: str = "plain"


def quiet(line: str) -> Text:
    """A paragraph in small print: how to read a figure, or what was run."""
    return Text(lines=(line,), tone="quiet")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Folded:
    """A block behind a line that opens it."""

    kind: ClassVar[str] = "folded"
    label: str
    block: "Table | Text"


Block = Figure | Grid | Table | Cards | Text | Folded


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Section:
    """A heading and what stands under it; `anchor` is its place in the address."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Page:
    """A whole page.

    Attributes:
        title: In the window's title bar and in small print at the top.
        question: What the page answers.
        answer: One plain sentence per line.
        footer: One line.
    """

    title: str
    question: str
    answer: tuple[str, ...]
    sections: tuple[Section, ...]
    footer: str = FOOTER


def write_page(page: Page, path: Path) -> None:
    """Write the page as one file that opens offline; a reader meets the old file or the new one.

    Raises:
        StoreError: The file cannot be written.
    """
    write_atomically(path, render_page(page).encode())


def render_page(page: Page) -> str:
    """The page as HTML. It loads nothing: scripts, styles and data stand inside."""
    environment = Environment(
        loader=PackageLoader("limes.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format_cell
    environment.tests["number"] = _is_number
    payload = [_payload(block) for section in page.sections for block in _data_blocks(section.blocks)]
    return environment.get_template("page.html").render(
        page=page,
        next_place=functools.partial(next, iter(range(len(payload)))),
        payload=embed_json({"blocks": payload, "templates": TEMPLATES, "dark": dark_colors()}),
        style=_inline("page.css"),
        script=_inline("page.js"),
        plotly=_plotly_script(),
    )


def format_cell(value: Cell) -> str:
    """A table's cell for reading: four digits, a dash for what is missing.

    >>> [format_cell(value) for value in (None, 3, 0.00123456, -2.0, True, "qkv", 1e-12)]
    ['–', '3', '0.001235', '−2', 'yes', 'qkv', '1e−12']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return str(value).replace("-", "−") if isinstance(value, int) else value


def embed_json(value: Any) -> Markup:
    """JSON that cannot close the script element it stands in; NaN and infinities become null."""
    text = json.dumps(value, cls=PlotlyJSONEncoder, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _is_number(value: Cell) -> bool:
    return value is None or isinstance(value, int | float)


def _data_blocks(blocks: tuple[Block, ...]) -> Iterator[Figure | Table]:
    """Figures and tables in the order in which the template meets them."""
    for block in blocks:
        if isinstance(block, Grid):
            yield from block.figures
        elif isinstance(block, Folded):
            yield from _data_blocks((block.block,))
        elif isinstance(block, Figure | Table):
            yield block


def _payload(block: Figure | Table) -> dict[str, Any]:
    table = block.table if isinstance(block, Figure) else block.download or block
    entry: dict[str, Any] = {"name": table.name, "columns": table.columns, "rows": table.rows}
    if isinstance(block, Figure):
        plot = block.plot.to_plotly_json()
        # The theme of the page replaces plotly's default one, which is 6 kB for each figure.
        plot["layout"].pop("template", None)
        entry |= {"data": plot["data"], "layout": plot["layout"] | {"autosize": True, "height": block.height}}
    return entry


@functools.cache
def _plotly_script() -> Markup:
    return _script_text(get_plotlyjs())


def _inline(name: str) -> Markup:
    return _script_text((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))


def _script_text(text: str) -> Markup:
    return Markup(text.replace("</script", "<\\/script").replace("<!--", "<\\!--"))
