"""What a transfer study found, in sentences."""

from collections.abc import Sequence

from limes.compare.result import DriftClaim, PanelResult
from limes.spec.swept import NAMES

BADGES = {"transfers": "transfers", "moves": "moves", "undecided": "undecided"}
TONES = {"transfers": "good", "moves": "bad", "undecided": "open"}
_ANSWERS = {"transfers": "yes with", "moves": "no with", "undecided": "undecided with"}


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign.

    >>> signed(-2.756), signed(0.1), signed(-0.001)
    ('−2.76', '+0.10', '0.00')
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def joined(words: Sequence[str]) -> str:
    """Words in a sentence.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


def interval_words(interval: tuple[float, float] | None, level: float) -> str:
    """The interval after a number; empty without one."""
    return f", {level:.0%} interval {signed(interval[0])} to {signed(interval[1])}" if interval else ""


def span(panel: PanelResult) -> str:
    """The sizes compared, such as "width 32 to 256"."""
    return f"{panel.axis} {panel.sizes[0]} to {panel.sizes[-1]}"


def movement(panel: PanelResult) -> str:
    """What the optimum does between the ends, as a verb phrase."""
    drift = panel.drift_octaves
    if drift is None:
        return "cannot be followed from the smallest size to the largest"
    if abs(drift) < 0.05:
        return "stays where it was"
    verb = "rises" if drift > 0 else "falls"
    return f"{verb} by {abs(drift):.2f} octaves ({2 ** abs(drift):.1f}-fold)"


def answer_lines(panels: Sequence[PanelResult]) -> tuple[str, ...]:
    """The answer of the whole study: one line on all, then one for each axis."""
    if not panels:
        return ("This study compares nothing: it has no panel with results.",)
    axes = {axis: [panel for panel in panels if panel.axis == axis] for axis in dict.fromkeys(p.axis for p in panels)}
    leads = {axis: _lead(mine) for axis, mine in axes.items()}
    if len(set(leads.values())) == 1:
        lead = f"{next(iter(leads.values()))}."
    else:
        lead = f"Over {'; over '.join(f'{axis}: {words[0].lower()}{words[1:]}' for axis, words in leads.items())}."
    return (lead, *(_axis_answer(mine) for mine in axes.values()))


def _lead(panels: Sequence[PanelResult]) -> str:
    verdicts = {panel.verdict for panel in panels}
    if verdicts == {"transfers"}:
        return "Yes"
    if verdicts == {"moves"}:
        return "No"
    if verdicts == {"undecided"}:
        return "This study cannot say"
    return "Yes, with the right parametrization" if "transfers" in verdicts else "Not where this study can say"


def _axis_answer(panels: Sequence[PanelResult]) -> str:
    parts = []
    for verdict, words in _ANSWERS.items():
        names = [_with_drift(panel) for panel in panels if panel.verdict == verdict]
        if names:
            parts.append(f"{words} {joined(names)}")
    spans = dict.fromkeys(span(panel) for panel in panels)
    return f"From {joined(list(spans))}: {'; '.join(parts)}.{_shared_runs(panels)}"


def _shared_runs(panels: Sequence[PanelResult]) -> str:
    """Parametrizations that prescribe the same numbers along an axis share all runs, and their lines coincide."""
    groups: dict[frozenset[str], list[str]] = {}
    for panel in panels:
        keys = frozenset(key for curve in panel.curves for key in curve.keys)
        groups.setdefault(keys, []).append(panel.parametrization)
    same = [joined(names) for names in groups.values() if len(names) > 1]
    return "".join(
        f" {names} prescribe the same here: their runs are the same, and their lines coincide." for names in same
    )


def _with_drift(panel: PanelResult) -> str:
    return (
        panel.parametrization
        if panel.drift_octaves is None
        else f"{panel.parametrization} ({signed(panel.drift_octaves, 1)} octaves)"
    )


def panel_sentence(panel: PanelResult, *, level: float, tolerance: float) -> str:
    """The verdict of one panel in one sentence."""
    if panel.drift_octaves is None:
        missing = [
            f"{panel.axis} {size}"
            for size, optimum in zip(panel.sizes, panel.log2_optimal_lr, strict=True)
            if optimum is None and size in (panel.sizes[0], panel.sizes[-1])
        ]
        where = f"at {joined(missing)} " if missing else ""
        return f"The best {panel.swept[0]} {where}was not found, so whether it moves cannot be said."
    zone = f"±{tolerance:g} octave"
    tuned = f"{'rate' if panel.swept == NAMES['lr'] else 'value'} tuned on the small network"
    reasons = {
        "transfers": f"the whole interval lies within {zone}, so the {tuned} serves the large",
        "moves": f"the whole interval lies outside {zone}, so the {tuned} fails the large",
        "undecided": f"the interval crosses {zone}, so this study does not decide",
    }
    found = interval_words(panel.drift_interval, level)
    return f"The best {panel.swept[0]} {movement(panel)}{found}: {reasons[panel.verdict]}."


def panel_details(panel: PanelResult, unit: str) -> tuple[str, ...]:
    """What else the panel says: loss lost, wider is better, deviation, optima that were not found."""
    lines = []
    if panel.transfer_regret is not None:
        lines.append(
            f"Using the optimum of {panel.axis} {panel.sizes[0]} at {panel.axis} {panel.sizes[-1]} costs "
            f"{panel.transfer_regret:.4f} {unit}."
        )
    if panel.regret_note:
        lines.append(panel.regret_note)
    lines.append(f"{improvement(panel)}, at the fixed {panel.swept[0]} nearest the small optimum.")
    source = (
        f"{panel.degrees_of_freedom} degree{'s' * (panel.degrees_of_freedom > 1)} of freedom"
        if panel.degrees_of_freedom
        else "the stated prior, since no size has several seeds"
    )
    single = (
        " A size with one seed counts with the prior, or more." if panel.degrees_of_freedom and _single(panel) else ""
    )
    lines.append(f"Deviation between seeds: {panel.seed_deviation:.2f} octaves ({source}).{single}")
    lines.extend(
        f"No optimum at {panel.axis} {size}, {reason}"
        for size, reasons in zip(panel.sizes, panel.not_found, strict=True)
        for reason in reasons
    )
    return tuple(lines)


def _single(panel: PanelResult) -> bool:
    return any(sum(curve.size == size for curve in panel.curves) == 1 for size in (panel.sizes[0], panel.sizes[-1]))


def improvement(panel: PanelResult) -> str:
    """Whether loss falls with size at the fixed learning rate nearest the small optimum, as a clause."""
    bigger = "Wider" if panel.axis == "width" else "Deeper"
    if panel.improves_with_size is None:
        return f"{bigger} cannot be compared"
    return f"{bigger} is better at every step" if panel.improves_with_size else f"{bigger} is not always better"


def claim_sentence(claim: DriftClaim, level: float) -> str:
    """A paired comparison of two parametrizations."""
    pair = f"{claim.winner} drifts less with {claim.axis} than {claim.other}"
    if claim.difference is None:
        return f"Whether {pair} cannot be said: two paired seeds are needed, there are {claim.num_seeds}."
    numbers = (
        f"{signed(claim.difference)} octaves{interval_words(claim.interval, level)}, {claim.num_seeds} paired seeds"
    )
    if claim.holds:
        return f"{pair[0].upper()}{pair[1:]}: {numbers}, all above zero."
    return f"Not shown that {pair}: {numbers}, not all above zero."
