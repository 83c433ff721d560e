"""The page of `limes consistency`: do networks of all sizes follow one path?"""

from pathlib import Path

from limes.compare.bottleneck import words_of
from limes.compare.consistency_result import ConsistencyResult, PathResult
from limes.compare.convergence import Power
from limes.report.consistency_figures import (
    agreement_figure,
    deviation_figure,
    distance_figure,
    growth_figures,
    kernel_maps,
    loss_figure,
    power_figure,
    quantile_figure,
)
from limes.report.page import Block, Card, Cards, Cell, Folded, Grid, Page, Section, Table, Text, write_page
from limes.report.tables import flat_table

TONES = {"consistent": "good", "lazy": "bad", "unstable": "bad", "inconsistent": "bad", "undecided": "open"}
BADGES = {"consistent": "one path", "undecided": "open"}


def write_consistency_report(result: ConsistencyResult, path: Path) -> None:
    """Write what a study found as one HTML file that opens offline.

    Raises:
        StoreError: The file cannot be written.
    """
    write_page(consistency_page(result), path)


def consistency_page(result: ConsistencyResult) -> Page:
    """The same page, not yet rendered."""
    spec = result.spec
    return Page(
        title=f"limes: consistency across {spec.axis}, {spec.name}",
        question=f"Do networks of every {spec.axis.removesuffix('s')} follow one path, and where do they stop?"
        if spec.axis != "heads"
        else "Do networks of every number of heads follow one path, and where do they stop?",
        answer=result.answer,
        sections=(
            Section(anchor="summary", title="Verdicts", blocks=(Cards(cards=tuple(map(_card, result.paths))),)),
            *(_section(result, path, index) for index, path in enumerate(result.paths)),
            Section(anchor="numbers", title="Numbers", blocks=_numbers(result)),
        ),
    )


def _card(path: PathResult) -> Card:
    details = list(path.details)
    if path.note:
        details.append(f"{path.note[:1].upper()}{path.note[1:]}.")
    if path.num_left_out:
        details.append(f"{path.num_left_out} networks diverged or failed, and were left out.")
    return Card(
        tone=TONES[path.verdict],
        badge=BADGES.get(path.verdict, path.verdict),
        title=path.label,
        sentence=path.sentence.removeprefix(f"{path.label}: "),
        details=tuple(details),
    )


def _section(result: ConsistencyResult, path: PathResult, index: int) -> Section:
    spec = result.spec
    kernels = [name for name in path.observables if "kernel" in name]
    fields = [name for name in path.observables if name.startswith("pre-activations")]
    blocks: list[Block] = [
        Grid(figures=(loss_figure(spec, path, unit=result.loss_unit), power_figure(spec, path))),
        Grid(figures=(deviation_figure(spec, path, "outputs"), deviation_figure(spec, path, _main_kernel(path)))),
        Grid(figures=growth_figures(spec, path)),
    ]
    if kernels and fields:
        words = "Kernels: misalignment with the limit", "1 - centred alignment"
        other = "Pre-activations: distance from the limit", "Wasserstein-1 distance / std"
        pair = (
            distance_figure(spec, path, kernels, title=words[0], y_title=words[1]),
            distance_figure(spec, path, fields, title=other[0], y_title=other[1]),
        )
        blocks.append(Grid(figures=pair))
    if path.crossovers:
        lines = tuple(words_of(item, axis=spec.axis, last=path.steps[-1] / 2) for item in path.crossovers)
        heading = "Where the common path ends: when a doubled size gains as much loss as a doubled time"
        blocks.insert(1, Text(lines=lines, heading=heading, bullets=True))
    if path.agreement is not None:
        blocks.append(agreement_figure(spec, path))
    if fields:
        blocks.append(Grid(figures=tuple(quantile_figure(spec, path, name) for name in (fields[0], fields[-1]))))
    blocks += [kernel_maps(spec, path, name) for name in (_main_kernel(path), "tangent kernel") if name in kernels]
    return Section(anchor=f"path{index}", title=path.label, blocks=tuple(blocks))


def _main_kernel(path: PathResult) -> str:
    """The last layer's feature kernel, or what comes nearest."""
    found = [name for name in path.observables if name.startswith("feature kernel")]
    return found[-1] if found else "loss of examples"


def _numbers(result: ConsistencyResult) -> tuple[Block, ...]:
    rows: list[tuple[Cell, ...]] = []
    for path in result.paths:
        for name, item in path.observables.items():
            pairs = zip(item.steps, item.powers("spread_power"), item.powers("mean_power"), strict=True)
            for step, spread, mean in pairs:
                row = [value if power.known else None for power in (spread, mean) for value in _triple(power)]
                rows.append((path.label, name, step, *row))
    columns = ("parametrization", "observable", "step", "spread", "spread low", "spread high", "mean", "mean low")
    table = Table(
        name="powers",
        columns=(*columns, "mean high"),
        rows=tuple(rows),
        title="Powers of the size",
        caption=f"A spread falls as size^-power, the mean's deviation likewise; {result.spec.level:.0%} intervals. "
        "A dash: not above its noise, or nothing has moved.",
    )
    settings = flat_table("settings", result.spec.to_dict())
    return Folded(label="every exponent", block=table), Folded(label="what was studied", block=settings)


def _triple(power: Power) -> tuple[float, float, float]:
    return power.value, power.low, power.high
