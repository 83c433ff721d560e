"""The rule of the verdicts, on powers that are known."""

import numpy as np
import pytest

from limes.compare.consistency_result import Growth, Observable
from limes.compare.consistency_verdict import judge
from limes.compare.convergence import converge
from limes.spec.consistency import ConsistencySpec

SIZES = (16, 32, 64, 128)
LOSSES = [np.ones((3, 3)) / size for size in SIZES]


def spec(**changes: object) -> ConsistencySpec:
    content: dict[str, object] = {
        "name": "made-up",
        "sizes": SIZES,
        "seeds": (3, 3, 3, 3),
        "parametrizations": [{"name": "mup"}],
        "early": 20,
        "training": {"steps": 100, "warmup_steps": 0},
        "observe": {"steps": (0, 10, 100)},
    }
    return ConsistencySpec.model_validate(content | changes)


def growth(name: str, power: float, half: float = 0.05) -> Growth:
    """Known at step 10, and of another power at the end, which must not count."""
    slopes = np.array([[np.nan] * 3, [power, power - half, power + half], [9.0, 8.9, 9.1]])
    return Growth(name=name, steps=(0, 10, 100), means=np.ones((3, 4)), slopes=slopes)


def outputs(power: float) -> Observable:
    rng = np.random.default_rng(0)
    runs = [1.0 + rng.standard_normal((12, 60)) * size ** (-power / 2) for size in SIZES]
    found = converge(SIZES, runs)
    return Observable(name="outputs", steps=(0, 10, 100), found=(None, found, None), means=np.zeros((3, 4, 60)))


@pytest.mark.parametrize(
    ("moves", "spread", "sharp", "axis", "expected"),
    [
        (0.0, 1.0, 0.0, "width", "consistent"),
        (0.08, 1.0, 0.0, "width", "undecided"),
        (0.5, 1.0, 0.0, "width", "unstable"),
        (-0.5, 0.0, 0.0, "width", "lazy"),
        (0.0, 0.0, 0.0, "width", "inconsistent"),
        (0.0, 1.0, 1.0, "width", "unstable"),
        (0.0, 0.0, 0.0, "depth", "consistent"),
        (0.5, 0.0, 0.0, "depth", "unstable"),
    ],
)
def test_the_verdict_follows_the_rule(moves: float, spread: float, sharp: float, axis: str, expected: str) -> None:
    growths = {item.name: item for item in (growth("movement, layer 1", moves), growth("sharpness", sharp))}
    study = spec(
        axis=axis, training={"steps": 100, "warmup_steps": 0, "optimizer": {"name": "sgd"}}, model={"family": "mlp"}
    )
    verdict, sentence, details = judge(study, "mup", {"outputs": outputs(spread)}, growths, LOSSES)
    assert (
        verdict == expected and sentence.startswith("mup: ") and any("Movement of layer 1" in line for line in details)
    )


def test_one_layer_that_does_not_follow_is_enough() -> None:
    growths = {item.name: item for item in (growth("movement, layer 1", 0.0), growth("movement, layer 2", 0.5))}
    verdict, sentence, _ = judge(spec(), "mup", {"outputs": outputs(1.0)}, growths, LOSSES)
    assert verdict == "unstable" and "0.50 (0.45 to 0.55)" in sentence


@pytest.mark.parametrize(
    ("other", "expected", "words"),
    [
        (growth("movement, layer 2", 0.5), "unstable", "at step 10 features of layer 2 move more and more"),
        (growth("movement, layer 2", -0.5), "lazy", "at step 10 features of layer 2 move less and less"),
    ],
)
def test_the_sentence_cites_the_layer_that_decides(other: Growth, expected: str, words: str) -> None:
    """Not the one with the largest power, whose interval holds everything."""
    growths = {
        item.name: item for item in (growth("movement, layer 1", -0.6 * other.slopes[1, 0] * 2, half=2.0), other)
    }
    verdict, sentence, _ = judge(spec(), "mup", {"outputs": outputs(1.0)}, growths, LOSSES)
    assert verdict == expected and words in sentence and f"{other.slopes[1, 0]:.2f} (" in sentence


def test_a_layer_without_a_power_leaves_the_verdict_open() -> None:
    growths = {item.name: item for item in (growth("movement, layer 1", 0.0), growth("movement, layer 2", np.nan))}
    verdict, sentence, _ = judge(spec(), "mup", {"outputs": outputs(1.0)}, growths, LOSSES)
    assert verdict == "undecided" and "of layer 2 no power is known" in sentence


def test_over_depth_nothing_is_said_of_a_spread_that_is_not_judged() -> None:
    for power, expected in ((0.0, "consistent"), (0.08, "undecided")):
        growths = {"movement, layer 1": growth("movement, layer 1", power)}
        verdict, sentence, _ = judge(spec(axis="depth"), "completep", {"outputs": outputs(1.0)}, growths, LOSSES)
        assert verdict == expected and "spread" not in sentence and "one path" not in sentence


def test_an_adaptive_optimizer_is_not_judged_by_a_sharpness_in_other_units() -> None:
    growths = {item.name: item for item in (growth("movement, layer 1", 0.0), growth("sharpness", 1.0))}
    assert judge(spec(), "mup", {"outputs": outputs(1.0)}, growths, LOSSES)[0] == "consistent"
