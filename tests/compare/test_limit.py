"""What a comparison says of samples whose limit, convergence and spread are known."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from limes.compare.limit import _convergence, _limit, _spread, _watched_steps
from limes.compare.limit_result import ComparisonResult, GammaComparison, WidthSample
from limes.report.limit import answer_lines, limit_page
from limes.report.page import render_page
from limes.spec.comparison import ComparisonSpec
from limes.theory.dynamics import DMFTResult, MLPProblem, solve_dmft_mlp, solve_static_ntk
from support.dmft_cases import samples as draw_samples

WIDTHS, SEEDS, LAST = (16, 32, 64, 128), 64, 5
SPEC = ComparisonSpec(widths=WIDTHS, seeds=SEEDS, gamma0=(1.0,), steps=LAST, num_particles=256)


@cache
def _theory() -> DMFTResult:
    inputs, targets = draw_samples(3, 5)
    fields = {"depth": 2, "activation": "tanh", "gamma0": 1.0, "lr": 0.3, "num_times": LAST + 1}
    problem = MLPProblem(inputs=inputs, targets=targets, **fields)
    return solve_dmft_mlp(problem, num_particles=256, two_time=False)


def _networks(*, power: float = 1.0, shift: float = 0.0, spread: float = 1.0) -> tuple[WidthSample, ...]:
    """Made-up networks: the limit plus noise of variance spread / width^power in outputs and kernels."""
    theory, rng = _theory(), np.random.default_rng(1)
    depth, found = theory.problem.depth, []
    for width in WIDTHS:
        size = np.sqrt(spread / width**power)
        outputs = theory.outputs + size * rng.standard_normal((SEEDS, *theory.outputs.shape))
        kernels = {}
        for kind, kernel in (("feature", theory.feature_kernel), ("gradient", theory.gradient_kernel)):
            limit = np.stack([[kernel(layer, t) for layer in range(1, depth + 1)] for t in (0, LAST)])
            kernels[f"{kind}_kernels"] = limit + size * rng.standard_normal((SEEDS, *limit.shape))
        # Independent of the outputs, so that the limit of the mean loss is known exactly.
        noise = 0.01 * rng.standard_normal((SEEDS, LAST + 1))
        losses = theory.loss + shift + 0.3 / width + noise
        fields = rng.standard_normal((SEEDS, 2, depth, width))
        found.append(WidthSample(width=width, outputs=outputs, losses=losses, preactivations=fields, **kernels))
    return tuple(found)


def test_a_limit_that_agrees_and_one_that_does_not() -> None:
    check = _limit(_networks(), _theory(), LAST)
    assert check.agrees and abs(check.slope - 0.3) < 3.9 * check.slope_error
    off = 6 * np.hypot(check.half_width, check.predicted_half_width)
    assert not _limit(_networks(shift=off), _theory(), LAST).agrees


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_the_power_of_the_width_is_found_with_its_interval(power: float) -> None:
    samples = _networks(power=power)
    steps = _watched_steps(SPEC)
    fits = _convergence(samples, _theory(), steps, _spread(_theory().problem, samples, steps), kept=(0, LAST))
    assert [fit.quantity for fit in fits][:2] == ["outputs", "feature kernel, layer 1"] and len(fits) == 5
    for fit in fits:
        # Twice the half-width is beyond 99.99 %.
        centre, half = fit.slope, (fit.interval[1] - fit.interval[0]) / 2
        assert abs(centre + power) < 2 * half
        assert fit.is_one_over_width == (fit.interval[0] <= -1 <= fit.interval[1])
        assert half < 0.2


def test_the_spread_is_width_times_variance_and_its_ratio_has_an_interval() -> None:
    steps = (2, LAST)
    spread = _spread(_theory().problem, _networks(spread=2.0), steps)
    assert spread.measured.shape == (4, 2) and spread.predicted is not None and spread.ratio is not None
    assert (np.abs(spread.measured - 2.0) < 2 * spread.half_width).all()
    ratio, low, high = spread.ratio
    assert low < ratio < high
    assert ratio == pytest.approx((2.0 / spread.predicted).mean(), rel=0.2)


def test_momentum_has_no_prediction_and_says_so() -> None:
    theory = _theory()
    fields = {name: getattr(theory.problem, name) for name in theory.problem.__dataclass_fields__}
    spread = _spread(MLPProblem(**(fields | {"momentum": 0.5})), _networks(), (LAST,))
    assert spread.predicted is None and spread.ratio is None and "momentum is 0.5" in spread.note


def test_a_problem_whose_derivatives_do_not_fit_has_no_prediction() -> None:
    inputs, targets = draw_samples(50, 5)
    fields = {"depth": 2, "activation": "relu", "gamma0": 1.0, "lr": 0.3, "num_times": 40}
    spread = _spread(MLPProblem(inputs=inputs, targets=targets, **fields), _networks(), (LAST,))
    assert spread.predicted is None and "50 samples x 39 steps of relu need about 2000 directions" in spread.note


@pytest.mark.parametrize("steps", [2, 3, 5, 24, 1000])
def test_watched_steps_are_inside_the_run(steps: int) -> None:
    watched = _watched_steps(SPEC.model_copy(update={"steps": steps}))
    assert watched[0] >= 1 and watched[-1] == steps and list(watched) == sorted(set(watched))


def test_the_page_says_what_was_found_and_loads_nothing() -> None:
    theory, samples = _theory(), _networks()
    steps = _watched_steps(SPEC)
    spread = _spread(theory.problem, samples, steps)
    gamma = GammaComparison(
        gamma0=1.0,
        problem=theory.problem,
        theory=theory,
        lazy_loss=solve_static_ntk(theory.problem).loss,
        samples=samples,
        num_left_out=3,
        limits=(_limit(samples, theory, 3), _limit(samples, theory, LAST)),
        convergence=_convergence(samples, theory, steps, spread, kept=(0, LAST)),
        spread=spread,
    )
    result = ComparisonResult(spec=SPEC, gammas=(gamma,), counts={"done": 256})
    html = render_page(limit_page(result)).split('<script type="application/json"')[0]
    for words in ("agrees", "3 networks diverged", "Layer 2: gradient kernel", "Spread over initializations"):
        assert words in html
    assert "2 of 2 checks" in answer_lines(result)[0]
    wrong = replace(gamma, limits=(_limit(_networks(shift=0.5), theory, LAST),))
    page = render_page(limit_page(ComparisonResult(spec=SPEC, gammas=(wrong,), counts={})))
    assert "differs" in page and "0 of 1 checks" in page
    content = result.to_dict()
    assert content["gammas"][0]["limits"][1]["agrees"] is True and content["spec"]["steps"] == LAST
