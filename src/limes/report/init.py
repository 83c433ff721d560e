"""The page of `limes init`: signal, gradient and likeness of inputs through depth, measured and predicted."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limes.compare.signal_profile import Real, SignalProfile, Verdict
from limes.compare.signal_theory import SignalPrediction
from limes.report.dynamics import Line, line_figure
from limes.report.page import Block, Card, Cards, Page, Section, Text, write_page
from limes.report.style import ramp_color

WORDS = {
    "stable": "Signal and gradients stay within a factor of 100, and inputs stay apart.",
    "vanishing": "The signal, or the gradient on its way back, falls by more than a factor of 100.",
    "exploding": "The signal, or the gradient on its way back, grows by more than a factor of 100.",
    "collapsing": "Different inputs, or tokens, end as nearly the same vector.",
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InitRow:
    """One size of a network.

    Args:
        size: width and depth.
        profiles: One for each seed.
        predicted: None where no theory covers the network.
        advice: What to change.
    """

    size: dict[str, int]
    profiles: tuple[SignalProfile, ...]
    predicted: SignalPrediction | None
    advice: str

    @property
    def verdict(self) -> Verdict:
        """The one most seeds give; the worse one on a tie."""
        counts = Counter(profile.verdict for profile in self.profiles)
        order: tuple[Verdict, ...] = ("exploding", "vanishing", "collapsing", "stable")
        return max(order, key=lambda word: counts[word])

    def curve(self, name: str) -> Real:
        """Geometric mean over seeds (arithmetic for the likeness), relative to the first or last point."""
        curves = np.array([getattr(profile, name) for profile in self.profiles])
        if name == "likeness":
            return np.asarray(curves.mean(0))
        with np.errstate(divide="ignore"):
            logs = np.log(curves)
        return np.asarray(np.exp((logs - logs[:, [0 if name == "signal" else -1]]).mean(0)))

    def expected(self, name: str) -> Real | None:
        """The prediction on the same scale."""
        curve = None if self.predicted is None else getattr(self.predicted, name)
        if curve is None or name == "likeness":
            return curve
        return np.asarray(curve / curve[0 if name == "signal" else -1])

    def cells(self) -> tuple[str, ...]:
        """A row of the table on the terminal."""
        ends = {"signal": -1, "gradient": 0, "likeness": -1}
        texts = []
        for name, place in ends.items():
            expected = self.expected(name)
            text = f"{self.curve(name)[place]:.3g}"
            texts.append(text if expected is None else f"{text} ({expected[place]:.3g})")
        return str(self.size["width"]), str(self.size["depth"]), *texts, self.verdict

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON; what is not finite is null."""
        names = ("signal", "gradient", "likeness")
        return {
            **self.size,
            "verdict": self.verdict,
            "advice": self.advice,
            "blocks": list(self.profiles[0].names),
            "measured": {name: _plain(self.curve(name)) for name in names},
            "predicted": {name: _plain(self.expected(name)) for name in names},
            "spread": None if self.predicted is None else self.predicted.spread,
            "theory": None if self.predicted is None else self.predicted.theory,
        }


def _plain(curve: Real | None) -> list[float | None] | None:
    return None if curve is None else [float(x) if math.isfinite(x) else None for x in curve]


def write_init_report(rows: Sequence[InitRow], path: Path, *, model: str) -> None:
    """Write one HTML file that opens offline.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(init_page(rows, model=model), path)


def init_page(rows: Sequence[InitRow], *, model: str) -> Page:
    """The same page, not yet rendered."""
    cards = Cards(cards=tuple(_card(row) for row in rows))
    figures: tuple[tuple[str, str, str, bool], ...] = (
        ("signal", "Signal: mean square of what enters each block, relative to the first", "signal", True),
        ("gradient", "Gradient: squared norm at each block, relative to the last", "gradient", True),
        ("likeness", "Likeness: mean cosine between different inputs, or tokens of a sequence", "mean cosine", False),
    )
    blocks: list[Block] = [cards]
    blocks += [_figure(rows, name, title, y_title, log_y=log_y) for name, title, y_title, log_y in figures]
    theories = sorted({row.predicted.theory for row in rows if row.predicted is not None})
    note = (
        f"Dashed: predicted ({'; '.join(theories)}) from the first point on."
        if theories
        else "No theory here covers this network, so nothing is predicted; the curves are measured."
    )
    bad = [row for row in rows if row.verdict != "stable"]
    answer = [f"Width {r.size['width']}, depth {r.size['depth']}: {r.verdict}; {r.advice}." for r in bad]
    return Page(
        title=f"limes: {model} at initialization",
        question="What do depth and width do to signal and gradients before training?",
        answer=tuple(answer) or ("Every size is stable.",),
        sections=(Section(anchor="profile", title="Through the network", blocks=(*blocks, Text(lines=(note,)))),),
    )


def _card(row: InitRow) -> Card:
    tone = "good" if row.verdict == "stable" else "bad"
    title = f"width {row.size['width']}, depth {row.size['depth']}"
    return Card(tone=tone, badge=row.verdict, title=title, sentence=WORDS[row.verdict], details=(row.advice,))


def _figure(rows: Sequence[InitRow], name: str, title: str, y_title: str, *, log_y: bool) -> Any:
    place: Callable[[Real], Real] = lambda y: np.linspace(0.0, 1.0, len(y))  # noqa: E731
    lines = []
    for index, row in enumerate(rows):
        color, label = ramp_color(index, len(rows)), f"width {row.size['width']}, depth {row.size['depth']}"
        curve, expected = row.curve(name), row.expected(name)
        lines.append(Line(label=label, x=place(curve), y=curve, color=color))
        if expected is not None:
            lines.append(
                Line(label=f"{label}, predicted", x=place(expected), y=expected, color=color, dash="dash", legend=False)
            )
    return line_figure(
        lines, title=title, name=f"init_{name}", x_title="share of the depth", y_title=y_title, log_y=log_y
    )
