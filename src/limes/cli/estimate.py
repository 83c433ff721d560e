"""What a study will cost, without training: the grid, distinct runs, FLOPs, expected time."""

from pathlib import Path

from limes.spec import StudySpec, swept_names


def print_estimate(study: StudySpec, *, base_dir: Path | None, workers: int) -> None:
    """Print one row for each size of each panel, and the totals over distinct runs.

    The time is that of the reference machine; a running sweep measures the actual speed and corrects itself.
    """
    from rich.console import Console
    from rich.table import Table

    from limes.cli.console import clock
    from limes.sweep.build import expand

    planned = expand(study, base_dir=base_dir)
    table = Table(title=f"{study.name}: runs before any extension of the grids")
    for heading in ("axis", "parametrization", "size", "seeds", f"log2 {swept_names(study.swept)[0]}", "parameters"):
        table.add_column(heading)
    groups: dict[tuple[str, str, int], list] = {}
    for item in planned:
        member = item.member
        groups.setdefault((member.axis, member.parametrization, member.size), []).append(item)
    for (axis, label, size), items in groups.items():
        rates = sorted({item.member.log2_lr for item in items})
        seeds = len({item.member.seed for item in items})
        parameters = f"{items[0].new_run().num_params:,}"
        table.add_row(axis, label, str(size), str(seeds), " ".join(f"{rate:g}" for rate in rates), parameters)
    console = Console()
    console.print(table)
    runs = {item.spec.key: item.new_run() for item in planned}
    seconds, flops = sum(run.cost for run in runs.values()), sum(run.flops for run in runs.values())
    console.print(
        f"{len(planned)} points, {len(runs)} distinct runs, {flops:.3g} training FLOPs, about {clock(seconds)} of CPU, "
        f"{clock(seconds / workers)} with {workers} workers",
        soft_wrap=True,
    )
