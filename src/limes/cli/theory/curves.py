"""What the commands of solved theories share: options of the simulation, the phases of the work, the answer."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limes.cli import options
from limes.cli.inputs import parse_counts
from limes.core.errors import SpecError

if TYPE_CHECKING:
    from limes.compare.curves import TheoryStudy, Work

Simulate = Annotated[bool, typer.Option("--simulate", help="Run the model itself too, and lay it over the theory.")]
Draws = Annotated[int, typer.Option(min=2, max=100_000, help="Independent runs of each simulated point and size.")]
Sizes = Annotated[
    str | None, typer.Option(help="Sizes of the simulated systems, separated by commas; several are extrapolated.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")]
Out = Annotated[
    Path | None, typer.Option(help="Folder for table (csv), JSON and page; a stopped simulation goes on in it.")
]
LEDGER = "draws.jsonl"


def answer_theory(
    study: "Callable[[Work], TheoryStudy]",
    *,
    simulate: bool,
    draws: int,
    sizes: tuple[int, ...],
    seed: int,
    out: Path | None,
    as_json: bool,
    terms: int = 1,
    power: int = 1,
) -> None:
    """Solve, simulate if asked, write the folder, and say what was found."""
    if out is not None:
        options.check_output_folder(out, flag="--out")

    from limes.cli.console import ShareProgress, tell
    from limes.compare.curves import DrawPlan, Work
    from limes.report.theory import write_theory_report
    from limes.store.ledger import Ledger

    plan = DrawPlan(num_draws=draws, sizes=sizes, terms=terms, power=power, seed=seed) if simulate else None
    recorded = Ledger(out / LEDGER) if out is not None and simulate else {}
    with contextlib.ExitStack() as bars:
        shown: dict[str, ShareProgress] = {}

        def progress(phase: str, share: float) -> None:
            if phase not in shown:
                # Only one live bar at a time, each with a clock of its own.
                bars.close()
                shown[phase] = bars.enter_context(ShareProgress(phase, silent=as_json))
            shown[phase](share)

        found = study(Work(plan=plan, recorded=recorded, progress=progress))
    page = write_theory_report(found, out) if out is not None else None
    tell(found.to_dict(), found.lines, page=page, as_json=as_json)


def simulated_sizes(text: str | None, default: tuple[int, ...], *, simulate: bool) -> tuple[int, ...]:
    """The sizes of --sizes, or the default; they need --simulate.

    >>> simulated_sizes("20,10", (1, 2), simulate=True), simulated_sizes(None, (1, 2), simulate=False)
    ((10, 20), (1, 2))
    """
    if text is None:
        return default
    if not simulate:
        raise SpecError(f"--sizes {text!r}: are those of the simulated systems; add --simulate")
    return parse_counts(text, flag="--sizes")
