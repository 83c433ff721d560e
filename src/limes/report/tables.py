"""Tables: the recommended settings, what ran, and nested settings as flat rows."""

from collections.abc import Iterator, Mapping
from typing import Any

from limes.compare.result import Recommendation, TransferResult
from limes.core.status import RunStatus
from limes.report.page import Cell, Table

_SETTINGS = ("role", "init", "init_mean", "init_std", "lr", "weight_decay", "eps", "multiplier", "why")


def recommendation_table(recommendation: Recommendation) -> Table:
    """Settings by template: tensors of one template and equal settings share a row; the download has every tensor."""
    base_lr = 2.0**recommendation.log2_lr
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for tensor in recommendation.tensors:
        template = tensor.get("template") or tensor.get("name")
        groups.setdefault((template, *(tensor.get(name) for name in _SETTINGS)), []).append(tensor)
    rows = [_setting_row(str(key[0]), tensors, base_lr) for key, tensors in groups.items()]
    columns = ("tensor", "lr", "init std", "role", "lr / base lr", "weight decay", "epsilon", "multiplier")
    return Table(
        name="recommendation-by-template",
        columns=(*columns, "count", "why"),
        rows=tuple(rows),
        title=f"Settings of the target for {recommendation.parametrization} with {recommendation.optimizer}",
        caption="Tensors of one kind with equal settings share a row; the download lists every tensor.",
        download=_tensor_table(recommendation),
    )


def _setting_row(template: str, tensors: list[dict[str, Any]], base_lr: float) -> tuple[Cell, ...]:
    first = tensors[0]
    lr = _number(first.get("lr"))
    return (
        template,
        lr,
        _number(first.get("init_std")),
        _text(first.get("role")),
        lr / base_lr if lr is not None else None,
        _number(first.get("weight_decay")),
        _number(first.get("eps")),
        _number(first.get("multiplier")),
        len(tensors),
        _text(first.get("why")),
    )


def _tensor_table(recommendation: Recommendation) -> Table:
    columns = ("name", "template", *_SETTINGS)
    rows = tuple(tuple(_cell(tensor.get(name)) for name in columns) for tensor in recommendation.tensors)
    return Table(name="recommendation", columns=columns, rows=rows)


def counts_table(result: TransferResult) -> Table:
    """How many runs ended how."""
    known = {status.value: status.sentence for status in RunStatus}
    rows = tuple((word, number, known.get(word, "")) for word, number in result.counts.items())
    return Table(name="runs", columns=("status", "runs", "meaning"), rows=rows, title="Runs")


def flat_table(name: str, content: Mapping[str, Any], *, title: str = "") -> Table:
    """Nested settings as one row for each leaf."""
    return Table(name=name, columns=("setting", "value"), rows=tuple(_leaves(content)), title=title)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    elif isinstance(value, list | tuple):
        yield path, ", ".join(_leaf(item) for item in value) or "–"
    else:
        yield path, _leaf(value)


def _leaf(value: Any) -> str:
    if value is None or value == {}:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _text(value: Any) -> str:
    return "–" if value is None else str(value)


def _cell(value: Any) -> Cell:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
