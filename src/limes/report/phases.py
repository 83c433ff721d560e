"""The map of scaling laws: which phase a task is in, with which exponents its loss falls, how to spend compute.

For a reader who knows two numbers of a task: how fast the eigenvalues of its kernel fall, and its target power.
"""

import functools
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from limes.core.errors import SpecError
from limes.report.page import Cell, Figure, Page, Section, Table, Text, write_page
from limes.report.style import CATEGORIES, INK, MUTED, RAMP, SURFACE
from limes.theory.scaling import PHASES, PhaseMap, ScalingExponents, phase_map, scaling_exponents, sgd_phase

# Steps whose sums do not fall on the borders a = b + 1 and a = 2 b.
_A = np.arange(1.0217, 5.98, 0.0531)
_B = np.arange(0.2113, 2.98, 0.0371)
_COLORS = {
    "Ia": CATEGORIES[1][0],
    "Ib": CATEGORIES[5][0],
    "Ic": MUTED[0],
    "II": CATEGORIES[2][0],
    "III": CATEGORIES[4][0],
    "IVa": CATEGORIES[0][0],
    "IVb": CATEGORIES[3][0],
}
_WORDS = {
    "time": "training time",
    "width": "width",
    "width transient": "width, on the way",
    "batch noise": "batch noise",
}


def write_phase_map(path: Path, *, a: float | None = None, b: float | None = None) -> None:
    """Write the page of `phase_page` to one file.

    Raises:
        SpecError: One of a and b without the other, or a value out of range.
        StoreError: The file cannot be written.
    """
    write_page(phase_page(a=a, b=b), path)


def phase_page(*, a: float | None = None, b: float | None = None) -> Page:
    """The page; with a task's own decays also its exponents, its allocation, and its place on the map.

    Args:
        a: Decay of the target power, above 1.
        b: Decay of the eigenvalues, positive.

    Raises:
        SpecError: One of them without the other, or a value out of range.
        ScopeError: The task lies on a border between phases.
    """
    if (a is None) != (b is None):
        raise SpecError(f"a is {a}, b is {b}: give both, or neither for the map alone")
    own = [] if a is None or b is None else [_task_section(a, b)]
    place = None if a is None or b is None else (a, b)
    plane = _plane()
    maps = Section(
        anchor="map",
        title="The plane of tasks",
        blocks=(_phase_figure(plane, place), _exponent_figure(plane, place), _legend_table()),
    )
    return Page(
        title="Map of scaling laws",
        question="With which exponents does the loss of this task fall?" if own else "Which scaling laws are there?",
        answer=_answer(a, b),
        sections=(*own, maps, _reading()),
        footer="Theory: docs/theory/scaling_exponents.md.",
    )


@functools.cache
def _plane() -> PhaseMap:
    return phase_map(_A, _B)


def _answer(a: float | None, b: float | None) -> tuple[str, ...]:
    if a is None or b is None:
        return ("Two decays of a task decide: that of its eigenvalues (b) and that of its target power (a).",)
    phase = sgd_phase(a, b)
    limits = " and ".join(dict.fromkeys(_WORDS[name] for name in phase.limits))
    first = (
        f"Phase {phase.name}: along the best allocation the loss falls as compute^{phase.loss:.3f}, with a width that "
        f"grows as compute^{phase.width:.3f}; what limits it: {limits}."
    )
    if b <= 1.0:
        return (first,)
    lazy, rich = scaling_exponents(a, b), scaling_exponents(a, b, rich=True)
    gain = (
        f"Feature learning makes it compute^-{rich.compute:.3f}."
        if rich.compute > lazy.compute + 1e-9
        else "Feature learning changes prefactors, not the exponent."
    )
    return first, f"The task is {lazy.task} for its kernel. {gain}"


def _task_section(a: float, b: float) -> Section:
    rows: list[tuple[Cell, ...]] = []
    if b > 1.0:
        lazy, rich = scaling_exponents(a, b), scaling_exponents(a, b, rich=True)
        rows = [(label, *(float(_value(e, field)) for e in (lazy, rich))) for label, field in _ROWS]
    phase = sgd_phase(a, b)
    rows.append(("compute, one-pass SGD with the largest stable step", -phase.loss, None))
    rows.append(("best width ~ compute^, one-pass SGD", phase.width, None))
    table = Table(
        name="exponents",
        columns=("loss ~ resource^-exponent", "features fixed", "features move"),
        rows=tuple(rows),
        caption=f"a = {a:g}, b = {b:g}. A dash: not covered by this theory.",
    )
    return Section(anchor="task", title="This task", blocks=(table,))


_ROWS = (
    ("training time", "time"),
    ("width, at the end of training", "width"),
    ("samples, at the end of training, no noise", "samples"),
    ("samples, noisy labels, stopped in time", "early_stopped_samples"),
    ("compute = width x time", "compute"),
    ("best width ~ compute^", "optimal_width"),
)


def _value(exponents: ScalingExponents, field: str) -> float:
    return float(getattr(exponents, field))


def _phase_figure(plane: PhaseMap, place: tuple[float, float] | None) -> Figure:
    number = {name: i for i, name in enumerate(PHASES)}
    z = [[number.get(name) for name in row] for row in plane.phase]
    share = 1.0 / len(PHASES)
    scale = [[end, _COLORS[name]] for i, name in enumerate(PHASES) for end in (i * share, (i + 1) * share)]
    plot = go.Figure(
        go.Heatmap(
            x=plane.a,
            y=plane.b,
            z=z,
            text=plane.phase,
            zmin=-0.5,
            zmax=len(PHASES) - 0.5,
            colorscale=scale,
            showscale=False,
            customdata=np.stack([plane.compute, plane.optimal_width], axis=-1),
            hovertemplate="phase %{text}<br>a %{x:.2f}, b %{y:.2f}<br>loss ~ C^-%{customdata[0]:.3f}, width ~ "
            "C^%{customdata[1]:.3f}<extra></extra>",
        )
    )
    for name in PHASES:
        where = np.argwhere(plane.phase == name)
        if len(where):
            row, column = where[np.argsort(np.abs(where - where.mean(0)).sum(1))[0]]
            # Light letters on dark colours and the reverse: the surface's colour is right in both themes.
            plot.add_annotation(
                x=plane.a[column], y=plane.b[row], text=name, showarrow=False, font={"size": 15, "color": SURFACE[0]}
            )
    _mark(plot, place)
    return Figure(
        title="Seven phases of compute-optimal SGD",
        plot=plot,
        table=_plane_table(plane),
        caption="Ia, II, III: hard, easy and super-easy tasks. Below b = 1 the spectrum has no trace, and the best "
        "step size falls with the width.",
        height=460,
    )


def _exponent_figure(plane: PhaseMap, place: tuple[float, float] | None) -> Figure:
    plot = go.Figure(
        go.Contour(
            x=plane.a,
            y=plane.b,
            z=plane.compute,
            colorscale=[[i / (len(RAMP) - 1), pair[0]] for i, pair in enumerate(RAMP)],
            contours={"start": 0.1, "end": 0.9, "size": 0.1, "showlabels": True, "labelfont": {"color": SURFACE[0]}},
            colorbar={"title": {"text": "exponent"}, "thickness": 12},
            hovertemplate="a %{x:.2f}, b %{y:.2f}<br>loss ~ C^-%{z:.3f}<extra></extra>",
        )
    )
    _mark(plot, place)
    return Figure(
        title="Exponent of the loss in compute, features fixed",
        plot=plot,
        table=_plane_table(plane),
        caption="Along the best allocation of width and time. Feature learning raises it where a - 1 < b.",
        height=460,
    )


def _mark(plot: go.Figure, place: tuple[float, float] | None) -> None:
    plot.update_layout(
        xaxis={"title": {"text": "a: target power of mode k ~ k^-a"}, "range": [_A[0], _A[-1]], "showgrid": False},
        yaxis={"title": {"text": "b: eigenvalue of mode k ~ k^-b"}, "range": [_B[0], _B[-1]], "showgrid": False},
        showlegend=False,
    )
    if place is not None:
        plot.add_scatter(
            x=[place[0]],
            y=[place[1]],
            mode="markers",
            marker={"symbol": "star", "size": 18, "color": INK[0], "line": {"color": SURFACE[0], "width": 1.5}},
            hovertemplate="this task<extra></extra>",
        )


def _plane_table(plane: PhaseMap) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for i, j in np.ndindex(plane.phase.shape):
        numbers = (plane.compute[i, j], plane.optimal_width[i, j], plane.rich_compute[i, j])
        rows.append(
            (
                float(plane.a[j]),
                float(plane.b[i]),
                str(plane.phase[i, j]),
                str(plane.task[i, j]),
                *(float(value) if np.isfinite(value) else None for value in numbers),
            )
        )
    columns = ("a", "b", "phase", "task", "compute exponent", "width exponent", "compute exponent, rich")
    return Table(name="phases", columns=columns, rows=tuple(rows))


def _legend_table() -> Table:
    limits = {
        "Ia": ("hard, b > 1", "time = width"),
        "II": ("easy, b > 1", "time = width on the way"),
        "III": ("super-easy, b > 1", "width on the way = batch noise"),
        "Ib": ("hard, b < 1", "time = width"),
        "Ic": ("easy, b < 1/2", "time = width"),
        "IVa": ("easy, 0.586 < b < 1", "width = batch noise"),
        "IVb": ("easy, 1/2 < b < 0.586", "time = batch noise"),
    }
    rows = tuple((name, *limits[name]) for name in PHASES)
    return Table(
        name="phase-names", columns=("phase", "tasks", "what balances at the optimum"), rows=rows, title="The phases"
    )


def _reading() -> Section:
    lines = (
        "b: minus the slope of the logarithm of the tangent kernel's eigenvalues against that of their number.",
        "a - 1: minus the slope of the target's power in all modes beyond the k-th.",
        "hard: a - 1 < b. easy: up to a = 2b. super-easy: beyond.",
        "Exponents are asymptotic. On a border two powers compete over many decades, and local slopes lie between.",
    )
    return Section(anchor="reading", title="How to read it", blocks=(Text(lines=lines, bullets=True),))
