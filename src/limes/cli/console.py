"""What a person sees while work goes on: a live bar on a terminal, plain lines elsewhere. All of it on stderr."""

import sys
import time
from typing import Any

from limes.store import Progress

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


def progress_line(progress: Progress, *, workers: int, elapsed: float) -> str:
    """One line: runs finished, share of the work, time left."""
    total_cost = progress.cost_done + progress.cost_left
    share = progress.cost_done / total_cost if total_cost else 0.0
    left = progress.seconds_left(workers)
    return (
        f"{progress.finished}/{progress.total} runs, {share:.0%} of the work, {clock(elapsed)} so far, "
        f"about {clock(left)} left"
    )


class SweepProgress:
    """Shows `Progress` snapshots; a context manager. Quiet when `silent`."""

    def __init__(self, *, workers: int, silent: bool = False) -> None:
        self.workers = workers
        self.silent = silent
        self._start = time.monotonic()
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

    def __call__(self, progress: Progress) -> None:
        """Show a snapshot."""
        elapsed = time.monotonic() - self._start
        if self.silent:
            return
        line = progress_line(progress, workers=self.workers, elapsed=elapsed)
        if self._bar is not None:
            total = progress.cost_done + progress.cost_left or 1.0
            self._bar.update(self._task, description=line, completed=progress.cost_done / total)
        elif elapsed - self._last_line >= LINE_EVERY_S:
            self._last_line = elapsed
            print(line, file=sys.stderr, flush=True)
