"""Which resource limits a run, against the theory of random features, where the answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from limes.compare.bottleneck import Crossover, crossovers, predicted_crossovers, regime, words_of
from limes.compare.convergence import converge
from limes.core.errors import DataError
from limes.theory.scaling import bottlenecks, loss_table, power_law_problem, simulate_random_features

TASK = power_law_problem(1.75, 1.5, 1e5)


def doublings(width: float, samples: float, time: float) -> dict[str, list[float]]:
    """Losses of the theory, with a spread over networks of a thousandth."""
    spread = np.array([0.999, 1.0, 1.001])
    cases = {
        "base": (width, samples, time),
        "wider": (2 * width, samples, time),
        "more_data": (width, 2 * samples, time),
        "longer": (width, samples, 2 * time),
    }
    return {
        name: list(float(loss_table(TASK, num_features=n, num_samples=p, times=t)) * spread)
        for name, (n, p, t) in cases.items()
    }


@pytest.mark.parametrize(
    ("width", "samples", "time", "expected"),
    [
        (16, 4096, 3e4, "width"),
        (4096, 16, 3e4, "data"),
        (4096, 4096, 3.0, "time"),
        (16, 4096, 0.5, "time"),
        (64, 8192, 1e5, "width"),
        (8192, 64, 1e5, "data"),
    ],
)
def test_the_regime_is_the_bottleneck_of_the_theory(width: float, samples: float, time: float, expected: str) -> None:
    found = regime(**doublings(width, samples, time))
    assert found.limit == expected and expected in found.sentence
    problem = replace(TASK, num_features=width, num_samples=samples)
    leading = str(bottlenecks(problem, [time]).leading[0])
    assert {"width": "width", "samples": "data", "time": "time"}[leading] == expected


def test_networks_that_do_not_tell_leave_the_regime_undecided() -> None:
    noise = [0.8, 1.2, 1.0]
    found = regime(noise, wider=noise[::-1], longer=[0.9, 1.1, 1.0])
    assert found.limit == "undecided"
    # The mutant: taking the largest mean gain, whatever its error, would name a resource here.
    assert max(found.gains.values()) > min(found.gains.values()) - 1e-12


@pytest.mark.sim
def test_the_end_of_the_common_path_of_simulated_learners_is_where_the_theory_puts_it() -> None:
    """Sixteen learners of each width; a task with another spectrum is the mutant."""
    small = power_law_problem(1.75, 1.5, 400, num_samples=512)
    sizes, times = [8, 16, 32], np.geomspace(0.25, 3000, 30)
    losses = [
        np.asarray(
            simulate_random_features(
                replace(small, num_features=float(n)),
                times,
                num_draws=16,
                generator=torch.Generator().manual_seed(n),
            ).test_loss
        )
        for n in sizes
    ]
    found = crossovers(sizes, times, losses, level=0.999, generator=np.random.default_rng(0))
    theory = predicted_crossovers(small, sizes, times)
    mutant = predicted_crossovers(power_law_problem(1.75, 2.2, 400, num_samples=512), sizes, times)
    for one, expected, wrong in zip(found, theory, mutant, strict=True):
        assert one.low <= expected.time <= one.high
        assert not one.low <= wrong.time <= one.high
    assert found[0].time < found[1].time


def test_ends_of_the_path_scale_as_the_two_bottlenecks_say() -> None:
    """Time leaves t^-(a-1)/b and width N^-(a-1): they meet at t = N^b, up to a constant."""
    sizes = np.array([256.0, 512.0, 1024.0, 2048.0])
    found = predicted_crossovers(power_law_problem(1.75, 1.5, 1e9), sizes, np.geomspace(1.0, 1e6, 120))
    slope = np.polyfit(np.log(sizes[:-1]), np.log([item.time for item in found]), 1)[0]
    assert slope == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize(("time", "power"), [(10.0, 1.0), (1e8, 0.75)])
def test_the_deviation_falls_as_one_over_width_early_and_as_the_bottleneck_late(time: float, power: float) -> None:
    """Held against the largest width, finite itself; the theory's exponents are 1 and a - 1."""
    sizes = np.array([256.0, 512.0, 1024.0, 2048.0])
    losses = loss_table(power_law_problem(1.75, 1.5, 1e9), num_features=sizes, num_samples=math.inf, times=time)
    noise = 1e-7 * np.array([-1.0, 0.0, 1.0])
    found = converge(sizes, [(loss * (1 + noise))[:, None] for loss in losses])
    assert found.mean_power.value == pytest.approx(power, abs=0.02)


def test_beginnings_and_ends_outside_the_run() -> None:
    t, rng = np.geomspace(1, 100, 20), np.random.default_rng(0)
    early = crossovers([8, 16], t, [np.ones((3, 1)) / t, 0.999 * np.ones((3, 1)) / t], generator=rng)[0]
    assert math.isinf(early.time) and "no end up to step 100: width" in words_of(early, axis="width", last=100)
    late = crossovers([8, 16], t, [np.ones((3, 20)), 0.5 * np.ones((3, 20))], generator=rng)[0]
    assert late.time == late.high == 0 and words_of(late, axis="depth", last=100).endswith(
        "depth-limited from the beginning"
    )


def test_where_nothing_gains_no_resource_is_said_to_limit() -> None:
    """Longer training costs loss, and so does a doubled width, only less: that is no bottleneck of the width."""
    t, rng = np.geomspace(1, 100, 20), np.random.default_rng(0)
    rising = 1.0 + 0.05 * np.log2(t) * np.ones((3, 1))
    assert math.isinf(crossovers([8, 16], t, [rising, rising + 0.01], generator=rng)[0].time)
    assert crossovers([8, 16], t, [rising, rising - 0.01], generator=rng)[0].time == 0


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (Crossover(size=8, time=20.0, low=0.0, high=math.inf), "not decided"),
        (Crossover(size=8, time=math.inf, low=0.0, high=math.inf), "not decided"),
        (Crossover(size=8, time=20.0, low=math.inf, high=math.inf), "not decided"),
        (Crossover(size=8, time=0.0, low=0.0, high=12.0), "to step 12 at the latest"),
        (Crossover(size=8, time=math.inf, low=9.0, high=math.inf), "not before 9"),
    ],
)
def test_the_words_of_an_end_claim_no_more_than_its_interval(end: Crossover, words: str) -> None:
    assert words in words_of(end, axis="width", last=50)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"base": [1.0, 1.1], "wider": [1.0, 0.9]}, "between at least two"),
        ({"base": [1.0], "wider": [1.0, 0.9], "longer": [1.0, 0.9]}, "two or more networks"),
        ({"base": [1.0, math.nan], "wider": [1.0, 0.9], "longer": [1.0, 0.9]}, "finite"),
    ],
)
def test_bad_losses_are_one_sentence(arguments, words) -> None:
    with pytest.raises(DataError, match=words):
        regime(**arguments)
    with pytest.raises(DataError, match="expected"):
        crossovers([8], [1, 2, 3], [np.ones((2, 3))], generator=np.random.default_rng(0))
