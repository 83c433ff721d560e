"""ReLU networks on the circle: their derivatives against autograd, their settings, the page."""

import json
import math

import numpy as np
import pytest
import torch

from limes.compare.circle import circle_modes, circle_study, window_exponent
from limes.compare.relu_circle import train_on_circle
from limes.core.errors import ConvergenceError, SpecError
from limes.report.circle import answer_lines, circle_page
from limes.report.page import render_page
from support.refusals import one_sentence


def slow_losses(target: np.ndarray, times: np.ndarray, *, width: int, gamma0: float, seeds: int, seed: int):
    """The same networks by autograd in tiny steps, float64."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(seeds, *shape, generator=generator, dtype=torch.float64)  # noqa: E731
    weights = [draw(2, width), draw(1, width), draw(width, 1), draw(1, 1)]
    theta = 2 * math.pi * torch.arange(len(target), dtype=torch.float64) / len(target)
    x = math.sqrt(2.0) * torch.stack([theta.cos(), theta.sin()], 1)

    def output() -> torch.Tensor:
        w, b, a, c = weights
        return math.sqrt(2 / width) * (x @ w + math.sqrt(0.1) * b).relu() @ a + math.sqrt(0.1) * c

    for weight in weights:
        weight.requires_grad_(True)
    start, step, losses = output().detach(), 1e-3, []
    scale = 1 / (gamma0 * math.sqrt(width))
    for _ in range(round(times[-1] / step) + 1):
        error = scale * (output() - start) - torch.tensor(target)[:, None]
        losses.append(error.square().mean((1, 2)).detach().numpy())
        half = 0.5 * error.square().mean((1, 2)).sum()
        gradients = torch.autograd.grad(half, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= step / scale**2 * gradient
    grid = step * np.arange(len(losses))
    return np.array([np.interp(times, grid, row) for row in np.array(losses).T])


def test_training_is_gradient_flow_of_the_same_network_by_autograd() -> None:
    target, _, _ = circle_modes(1.0, 16)
    settings = {"width": 24, "gamma0": 0.7}
    times = np.array([0.2, 0.6, 1.0])
    fast = train_on_circle(
        target, times, num_seeds=2, generator=torch.Generator().manual_seed(3), step_share=0.002, **settings
    )
    slow = slow_losses(target, times, seeds=2, seed=3, **settings)
    assert fast == pytest.approx(slow, rel=2e-3), "both err by their steps"
    assert abs(fast[:, -1] / slow_losses(target, 1.1 * times, seeds=2, seed=3, **settings)[:, -1] - 1).min() > 1e-2


def test_modes_of_the_circle() -> None:
    target, eigenvalues, power = circle_modes(1.0, 4096)
    modes = np.arange(16, 65)
    slope = np.polyfit(np.log(modes), np.log(eigenvalues[modes]), 1)[0]
    assert slope == pytest.approx(-2.0, abs=0.02) and power.sum() == pytest.approx(1.0) and power[0] < 1e-20
    assert power[4] / power[8] == pytest.approx(4.0) and (target**2).mean() == pytest.approx(1.0)
    assert window_exponent(np.geomspace(1, 100, 20), np.geomspace(1, 100, 20) ** -0.3, (2, 90)) == pytest.approx(0.3)


def test_a_small_study_and_its_page() -> None:
    study = circle_study(width=32, num_points=32, num_seeds=2, window=(3.0, 12.0))
    assert [(run.task, run.rich) for run in study.runs] == [
        ("hard", False), ("hard", True), ("easy", False), ("easy", True)
    ]  # fmt: skip
    assert study.of("hard", rich=True).law == pytest.approx(2 / 3) and study.of("hard", rich=False).law == 0.5
    assert study.of("easy", rich=True).law == study.of("easy", rich=False).law == 1.25
    assert len(answer_lines(study)) >= 2 and "by the laws +0.17" in answer_lines(study)[0]
    assert [section.anchor for section in circle_page(study).sections] == ["loss", "local", "numbers"]
    assert "local exponent" in render_page(circle_page(study))
    json.dumps(study.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hard_decay": 1.6}, "the hard task is none"),
        ({"easy_decay": 1.2}, "the easy task is none"),
        ({"hard_decay": 0.5}, "target_decay"),
        ({"lazy_gamma0": 0.0}, "0 < lazy < rich"),
        ({"lazy_gamma0": 2.0}, "0 < lazy < rich"),
        ({"num_seeds": 1}, "2 seeds"),
        ({"window": (10.0, 10.0)}, "increasing"),
        ({"window": (1000.0, 100.0)}, "increasing"),
        ({"window": (100.0, 60_000.0)}, "at most 50000"),
        ({"window": (100.0, 110.0)}, "expected 3"),
        ({"num_points": 10**9, "width": 512}, "would hold .* GiB"),
    ],
)
def test_bad_settings_are_one_sentence(settings, words: str, monkeypatch) -> None:
    monkeypatch.setattr("limes.compare.circle.train_on_circle", None)  # refused before anything is trained
    with one_sentence(SpecError, words):
        circle_study(**({"width": 2, "num_points": 16, "num_seeds": 2, "window": (2.0, 3.0)} | settings))


def test_times_out_of_reach_end_the_study_as_soon_as_the_steps_are_too_small(monkeypatch) -> None:
    monkeypatch.setattr("limes.compare.relu_circle.MAX_STEPS", 60)
    told: list[float] = []
    settings = {"width": 32, "num_points": 16, "num_seeds": 2, "rich_gamma0": 2.0, "progress": told.append}
    circle_study(**settings | {"rich_gamma0": 0.05}, window=(2.0, 20.0))
    told.clear()
    with pytest.raises(
        ConvergenceError, match=r"gamma0 2: the last time is not reached in 60 steps, \d+% .* after [24]0;"
    ):
        circle_study(**settings, window=(2.0, 20.0))
    assert max(told) < 0.25, "the first of four runs is the one that cannot end"
