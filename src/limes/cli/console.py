"""What a person sees while work goes on: a live bar on a terminal, plain lines elsewhere. All of it on stderr."""

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limes.sweep import SweepView

LINE_EVERY_S = 15.0


def clock(seconds: float | None) -> str:
    """A duration as people write it.

    >>> clock(75), clock(None), clock(4000)
    ('1:15', '?', '1:06:40')
    """
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def progress_line(view: "SweepView") -> str:
    """One line: runs finished, share of the work, time left."""
    state = view.progress
    parts = [
        f"{state.finished}/{state.total} runs",
        f"{done_share(view):.0%} of the work",
        f"{clock(view.elapsed_s)} so far",
        "finishing the runs in hand" if view.draining else f"about {clock(view.seconds_left)} left",
    ]
    if view.added:
        parts.append(f"grids extended by {view.added}")
    return ", ".join(parts)


def done_share(view: "SweepView") -> float:
    """Share of the expected cost that is done."""
    total = view.progress.cost_done + view.progress.cost_left
    return view.progress.cost_done / total if total else 0.0


class SweepProgress:
    """Shows what the driver tells; a context manager. Quiet when `silent`."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self._last_line = -LINE_EVERY_S
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "SweepProgress":
        if not self.silent and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("training"), BarColumn(), TextColumn("{task.description}"))
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("starting workers", total=1.0)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, view: "SweepView") -> None:
        """Show one view."""
        if self.silent:
            return
        if self._bar is not None:
            self._bar.update(self._task, description=progress_line(view), completed=done_share(view))
        elif view.elapsed_s - self._last_line >= LINE_EVERY_S:
            self._last_line = view.elapsed_s
            print(progress_line(view), file=sys.stderr, flush=True)


class ShareProgress:
    """Shows the share of a computation that is done and the time left; a context manager. Quiet when `silent`."""

    def __init__(self, label: str, *, silent: bool = False) -> None:
        self.label, self.silent = label, silent
        self._started = time.monotonic()
        self._last_line = self._started
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "ShareProgress":
        if not self.silent and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn(self.label), BarColumn(), TextColumn("{task.description}"))
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, share: float, note: str = "") -> None:
        """Show that `share` (0 to 1) of the work is done."""
        now = time.monotonic()
        if self.silent or (self._bar is None and now - self._last_line < LINE_EVERY_S):
            return
        elapsed = now - self._started
        left = clock(elapsed * (1.0 - share) / share) if share > 0 else "?"
        text = f"{share:.0%}, {clock(elapsed)} so far, about {left} left{', ' + note if note else ''}"
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=share)
            return
        self._last_line = now
        print(f"{self.label}: {text}", file=sys.stderr, flush=True)


def tell(content: Mapping[str, Any], lines: Iterable[str], *, page: Path | None, as_json: bool) -> None:
    """The answer of a command on standard output: as JSON and nothing else, or its lines and where the page is."""
    if as_json:
        print(json.dumps(content, indent=1))
        return
    for line in lines:
        print(line)
    if page is not None:
        print(f"page: {page}")
