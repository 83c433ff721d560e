"""Linear classifiers of Gaussian mixtures: errors against ridge and samples for both losses, simulated beside.

Source: arXiv:2106.03791. Letters: d dimension, n = alpha d samples, K classes.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from limes.compare.curves.study import Array, Curve, Panel, Points, TheoryStudy
from limes.compare.curves.work import Work, points_of
from limes.core.errors import ConvergenceError
from limes.theory.solvable import (
    GaussianMixtureProblem,
    best_error,
    simulate_gaussian_mixture,
    solve_gaussian_mixture,
)
from limes.theory.solvable.gaussian_mixture import MixtureLoss

LOSSES: dict[MixtureLoss, str] = {"logistic": "logistic", "square": "least squares"}
UNITS: dict[MixtureLoss, str] = {"logistic": "cross-entropy, nats", "square": "half squared error"}
SIZES = (20, 40, 80, 160)
UNKNOWN = "unknown (the iteration does not converge here)"
AXES = {
    "ridge": ("ridge", "the ridge", "ridge (beside the sum of losses)"),
    "sample_ratio": ("samples", "the number of samples", "samples / dimension"),
}
SHOWN = {"ridge": np.geomspace(0.01, 100.0, 25), "sample_ratio": np.geomspace(0.1, 30.0, 21)}
# At larger ridges the bias outweighs the weights unless samples are many more than (ridge / ratio)^2.
SIMULATED = {"ridge": np.array([0.03, 0.1, 0.3, 1.0, 3.0]), "sample_ratio": np.array([0.25, 1.0, 4.0, 16.0])}


def gaussian_mixture_study(problem: GaussianMixtureProblem, work: Work) -> TheoryStudy:
    """Test error and training loss around one setting, as ridge and sample ratio are varied; both losses.

    Args:
        problem: The setting; its loss is not used, both are shown.
        work: Solves, and simulates where it has a plan.
    """
    best = best_error(problem)
    grid = {
        (name, loss): [_at(problem, name, value, loss) for value in SHOWN[name]] for name in AXES for loss in LOSSES
    }
    solved = work.solve(_solve, grid)
    points = _simulated(problem, work) if work.plan else {}
    panels = [panel for name in AXES for panel in _panels(name, best, solved, points)]
    own = [_solve(replace(problem, loss=loss)) for loss in LOSSES]
    errors = " and ".join(
        f"{result.test_error:.4g} ({label})" for result, label in zip(own, LOSSES.values(), strict=True) if result
    )
    return TheoryStudy(
        name="gaussian-mixture",
        title="linear classifiers of Gaussian mixtures",
        question="How often is a trained linear classifier wrong?",
        answer=(
            f"At this setting a new sample is taken for a wrong class with probability {errors or UNKNOWN}; nothing "
            f"does better than {best:.4g}.",
            *_best_ridges(panels[0]),
        ),
        model=(
            f"{len(problem.class_weights)} Gaussian classes in many dimensions d, a linear layer with bias trained to "
            "the minimum of a sum of losses plus ridge/2 times the squared weights. Training losses are means over "
            "samples, without the penalty."
        ),
        settings={key: value for key, value in asdict(problem).items() if key != "loss"},
        panels=tuple(panels),
        simulation=work.plan.sentence("dimensions d") if work.plan else "",
        docs="docs/theory/gaussian_mixture.md",
    )


def _panels(name: str, best: float, solved: Mapping[Any, Any], points: Mapping[Any, Any]) -> tuple[Panel, Panel]:
    short, words, x_title = AXES[name]
    x = SHOWN[name]
    curves: dict[str, list[Curve]] = {"test_error": [], "train_loss": []}
    for loss, label in LOSSES.items():
        for metric, lines in curves.items():
            shown = label if metric == "test_error" else f"{label} ({UNITS[loss]})"
            y = np.array([getattr(r, metric) if r is not None else np.nan for r in solved[name, loss]])
            lines.append(Curve(label=shown, x=x, y=y, points=points.get((name, loss, metric))))
    curves["test_error"].append(Curve(label="best possible", x=x, y=np.full(len(x), best), dash="dash"))
    gaps = any(not np.isfinite(curve.y).all() for lines in curves.values() for curve in lines)
    note = "A gap in a line: the iteration did not converge there." if gaps else ""
    shared: dict[str, Any] = {"x_title": x_title, "log_x": True, "note": note}
    return (
        Panel(
            name=f"error-{short}",
            title=f"Test error against {words}",
            y_title="probability of a wrong class",
            curves=tuple(curves["test_error"]),
            **shared,
        ),
        Panel(
            name=f"loss-{short}",
            title=f"Training loss against {words}",
            y_title="mean loss of a training sample",
            curves=tuple(curves["train_loss"]),
            log_y=True,
            **shared,
        ),
    )


def _at(problem: GaussianMixtureProblem, name: str, value: float, loss: MixtureLoss) -> GaussianMixtureProblem:
    if name == "ridge":
        return replace(problem, loss=loss, ridge=float(value))
    return replace(problem, loss=loss, sample_ratio=float(value))


def _solve(problem: GaussianMixtureProblem) -> Any:
    """The result, or None where the iteration does not converge: a gap in the curve says so."""
    try:
        return solve_gaussian_mixture(problem)
    except ConvergenceError:
        return None


def _simulated(problem: GaussianMixtureProblem, work: Work) -> dict[Any, Points]:
    """Points by axis, loss and metric, where the theory has a value."""
    places, asked, predicted = {}, {}, {}
    for name in AXES:
        for loss in LOSSES:
            problems = [_at(problem, name, value, loss) for value in SIMULATED[name]]
            results = [_solve(one) for one in problems]
            kept = [i for i, result in enumerate(results) if result is not None]
            if kept:
                places[name, loss] = SIMULATED[name][kept]
                asked[name, loss], predicted[name, loss] = [problems[i] for i in kept], [results[i] for i in kept]
    samples = work.simulate(_draw, asked, name="gaussian_mixture", cost=_cost)
    return {
        (*key, metric): points_of(places[key], predicted[key], samples[key], metric)
        for key in asked
        for metric in ("test_error", "train_loss")
    }


def _draw(problem: Any, size: int, num_draws: int, generator: torch.Generator) -> dict[str, Array]:
    run = simulate_gaussian_mixture(problem, dim=size, num_draws=num_draws, generator=generator)
    return {"test_error": run.test_error, "train_loss": run.train_loss}


def _cost(problem: GaussianMixtureProblem, size: int) -> float:
    passes = 60.0 if problem.loss == "logistic" else 1.0
    return 1e5 + passes * problem.sample_ratio * size**2 + size**3


def _best_ridges(panel: Panel) -> list[str]:
    lines = []
    for curve in panel.curves[:-1]:
        if not np.isfinite(curve.y).any():
            continue
        i = int(np.nanargmin(curve.y))
        where = f"is least at ridge {curve.x[i]:.3g}"
        if i == len(curve.x) - 1:
            where = f"falls with the ridge up to the largest shown, {curve.x[i]:.3g}"
        lines.append(f"{curve.label}: the test error {where}, where it is {curve.y[i]:.4g}.")
    return lines
