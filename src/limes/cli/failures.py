"""`limes failures`: failures made on purpose, their signs, and their cures."""

from pathlib import Path
from typing import Annotated

import typer

from limes.cli import options
from limes.core.errors import SpecError


def failures(
    only: Annotated[str | None, typer.Option(help="Names, separated by commas. [all]")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Seeds of each.")] = 1,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("failures.html"),
    as_json: options.Json = False,
) -> None:
    """Make training fail on purpose: how early is each failure seen, and what cures it?"""
    options.check_output(out, flag="--out")

    from limes.cli.console import ShareProgress, tell
    from limes.compare.failure_cases import FAILURES
    from limes.compare.failures import make_failure, num_steps
    from limes.report.failures import answer_lines, write_failures_report

    names = list(FAILURES) if only is None else list(dict.fromkeys(part.strip() for part in only.split(",")))
    if unknown := [name for name in names if name not in FAILURES]:
        raise SpecError(f"--only {unknown[0]!r}: expected some of {', '.join(FAILURES)}")
    results, done, total = [], 0, num_steps(names, num_seeds=seeds)
    with ShareProgress("failures", silent=as_json) as bar:

        def tell_step(step: int, loss: float) -> None:
            nonlocal done
            done += 1
            bar(min(1.0, done / total), name)

        for name in names:
            results += [make_failure(name, seed=seed, on_step=tell_step) for seed in range(seeds)]
    write_failures_report(results, out)
    tell({"failures": [one.to_dict() for one in results]}, answer_lines(results), page=out, as_json=as_json)
