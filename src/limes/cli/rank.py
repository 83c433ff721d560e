"""`limes rank`: which parametrization scales better on the same budget."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limes.cli import options

if TYPE_CHECKING:
    from limes.compare.ranking import Ranking

ON_SCREEN = ("parametrization", "learning rate tuned at", "loss at the budget", "FLOPs saved")


def rank(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a learning-rate study (`limes transfer`).")],
    axis: Annotated[str | None, typer.Option(help="Rank along this axis only, such as width. [all]")] = None,
    flops: Annotated[
        float | None, typer.Option(help="Budget to rank at, tuning included. [the most that all have spent]")
    ] = None,
    loss: Annotated[float | None, typer.Option(help="Loss whose cost is compared. [the lowest that all reach]")] = None,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.9,
    consistency: Annotated[
        Path | None,
        typer.Option(help="consistency.json of `limes consistency`: its verdicts stand beside the ranking."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page with the plots here, such as rank.html.")] = None,
    as_json: options.Json = False,
) -> None:
    """Rank parametrizations by what a budget buys, tuning included: fitted law, drift, regret, efficient shapes."""
    from limes.core.errors import SpecError

    options.check_output(report, flag="--report")
    if not 0 < level < 1:
        raise SpecError(f"--level {level:g}: expected a probability such as 0.9")

    from limes.cli.console import tell
    from limes.compare.ranking import rank_parametrizations
    from limes.compare.shapes import efficient_shapes
    from limes.compare.transfer import analyse_panels
    from limes.report.ranking import answer_lines, write_ranking_report
    from limes.spec import parse_study
    from limes.store import Store

    paths = _verdicts(consistency) if consistency is not None else {}
    with Store.open(folder, read_only=True) as store:
        study, rows = parse_study(store.study(), name=str(folder)), store.rows()
    if study.swept is not None:
        raise SpecError(f"{folder} sweeps {study.swept.field}; a ranking needs a study that sweeps the learning rate")
    panels = analyse_panels(study, rows)
    axes = [axis] if axis else list(dict.fromkeys(panel.axis for panel in panels))
    rankings = [
        rank_parametrizations(panels, rows, axis=each, level=level, budget_flops=flops, target_loss=loss)
        for each in axes
    ]
    shapes = efficient_shapes(study, panels)
    if report is not None:
        write_ranking_report(rankings, shapes, report, paths=tuple(paths.values()))
    content = {"rankings": [each.to_dict() for each in rankings], "shapes": [each.to_dict() for each in shapes]}
    if paths:
        content["paths"] = [{"parametrization": label, "sentence": sentence} for label, sentence in paths.items()]
    if not as_json:
        for each in rankings:
            _print(each)
    tell(content, (*answer_lines(rankings, shapes), *paths.values()), page=report, as_json=as_json)


def _verdicts(path: Path) -> dict[str, str]:
    """Sentences of a study of consistency by parametrization."""
    import json

    from limes.core.errors import SpecError

    try:
        found = json.loads(path.read_bytes())["parametrizations"]
        return {item["label"]: f"path, {item['sentence']}" for item in found}
    except OSError as error:
        raise SpecError(f"--consistency {path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise SpecError(f"--consistency {path}: is no consistency.json; `limes consistency` writes one") from None


def _print(ranking: "Ranking") -> None:
    """The columns that decide."""
    from rich.console import Console
    from rich.table import Table

    from limes.report.ranking import ranking_table

    found = ranking_table(ranking)
    shown = [found.columns.index(name) for name in ON_SCREEN]
    table = Table(*ON_SCREEN, title=f"{ranking.axis}: {found.title}")
    for row in found.rows:
        table.add_row(*("-" if row[k] is None else str(row[k]) for k in shown))
    Console().print(table)
