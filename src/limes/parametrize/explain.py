"""The plan as a table for people."""

import io
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from limes.parametrize.plan import Plan


def render_table(plan: "Plan", *, by: Literal["template", "name"], width: int = 160) -> str:
    """One line per template (tensors with equal settings) or per tensor, then notes on the whole plan.

    Source: limes.
    """
    table = Table(title=_title(plan), expand=False)
    for label in ("tensor", "role", "axes", "init", "lr", "decay", "eps", "multiplier", "why"):
        numeric = label in ("lr", "decay", "eps", "multiplier")
        table.add_column(label, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    lines: dict[tuple[str, ...], int] = {}
    for row in plan.entries:
        init = f"{row.init_mean:.4g}" if row.init == "constant" else f"{row.init} {row.init_std:.4g}"
        cells = (
            row.template if by == "template" else row.name,
            row.role,
            ", ".join(row.axes) or "-",
            init if row.init != "own" else "own",
            *(f"{value:.4g}" for value in (row.lr_scale, row.weight_decay_scale, row.eps_scale, row.multiplier)),
            row.why,
        )
        lines[cells] = lines.get(cells, 0) + 1
    for cells, count in lines.items():
        table.add_row(f"{cells[0]}  x{count}" if count > 1 else cells[0], *cells[1:])
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, color_system=None)
    console.print(table)
    for note in _notes(plan):
        console.print(note)
    return buffer.getvalue()


def _title(plan: "Plan") -> str:
    options = ", ".join(f"{key}={value:g}" for key, value in plan.options.items())
    label = f"{plan.parametrization}({options})" if options else plan.parametrization
    return f"{label}, {plan.optimizer}, decay {plan.decay_mode}, form {plan.form}; scales relative to the base"


def _notes(plan: "Plan") -> list[str]:
    notes = [f"Residual branches grow by {plan.depth_ratio:g}; axes: {', '.join(plan.width_axes) or 'none'}."]
    if plan.attention_scale != 1.0:
        notes.append(f"Multiply the attention's own scale by {plan.attention_scale:g}.")
    hidden = [row.lr_scale for row in plan.entries if row.role == "hidden"]
    embedding = [row.lr_scale for row in plan.entries if row.role == "embedding"]
    if hidden and embedding and min(hidden) > 0:
        ratio = max(embedding) / min(hidden)
        notes.append(f"The embedding's learning rate is {ratio:.4g} times the smallest of the hidden tensors.")
    shrink = {f"{row.lr_scale * row.weight_decay_scale:.4g}" for row in plan.entries}
    notes.append(f"Learning rate times decay, over the base's: {', '.join(sorted(shrink))}.")
    if plan.momentum_scale != 1.0:
        notes.append(f"Multiply 1 - beta by {plan.momentum_scale:.4g} (plan.betas).")
    return notes
