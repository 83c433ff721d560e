"""Failures made on purpose, in miniature: when a sign and a loss count, what is built, the command and its page."""

import math
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch

from limes.compare import failures
from limes.compare.failure_cases import FAILURES, Recipe
from limes.compare.failure_run import FailureRun, run_recipe
from limes.compare.failures import first_danger, last_alarm, loss_shows, make_failure
from limes.core.errors import SpecError
from limes.measure.health import SIGNS

TINY = {name: replace(case, broken=replace(case.broken, steps=24), every=4) for name, case in FAILURES.items()}


def seen(sign: str, *values: float) -> FailureRun:
    """A run at whose two places the sign had these values and half of them."""
    steps = np.arange(len(values), dtype=float) * 5
    signs = {
        f"{sign}/a": np.stack([steps, np.array(values)]),
        f"{sign}/b": np.stack([steps, 0.5 * np.array(values)]),
    }
    return FailureRun(loss=np.ones(10), validation_loss=1.0, lost_neurons=0.0, signs=signs)


def test_a_sign_counts_from_its_danger_line_at_the_worst_place() -> None:
    assert first_danger(seen("max_attention_logit", 1.0, 99.0, 100.0, 300.0), "max_attention_logit") == 10.0
    assert first_danger(seen("max_attention_logit", 1.0, 99.0), "max_attention_logit") == math.inf
    # A falling one at the lowest place: half of 0.18 is below 0.1.
    assert first_danger(seen("attention_entropy", 1.0, 0.18), "attention_entropy") == 5.0
    assert first_danger(seen("attention_entropy", 1.0, 0.18), "logit_max") == math.inf


def test_the_alarm_of_a_spike_is_the_one_that_lasts_until_it() -> None:
    run = seen("edge_of_stability", 3.0, 1.0, 1.0, 2.5, 4.0, 9.0)
    assert last_alarm(run, "edge_of_stability", before=23.0) == 15.0
    assert last_alarm(run, "edge_of_stability", before=12.0) == math.inf
    assert first_danger(run, "edge_of_stability") == 0.0


def test_the_loss_shows_by_its_running_mean() -> None:
    good, bad = np.ones(100), np.ones(100)
    bad[50:] = 1.3
    # Of 5 steps 2 must be worse by 0.3 for a mean beyond 0.1.
    assert loss_shows(bad, good) == 51.0
    assert loss_shows(good, bad) == math.inf and loss_shows(good, good) == math.inf
    bad[60] = math.nan
    assert loss_shows(bad, good) == 51.0
    assert loss_shows(good[:40], good) == 40.0, "a run that ended early has shown it"


def test_every_failure_has_a_sign_with_a_line_and_a_cure() -> None:
    for name, case in FAILURES.items():
        assert SIGNS[case.sign].danger is not None, name
        assert case.remedies and all(set(changes) <= set(Recipe.__slots__) for changes in case.remedies.values())
        for changes in case.remedies.values():
            assert replace(case.broken, **changes) != case.broken, "a remedy changes something"


# The others are made at their full length by the simulation tests.
@pytest.mark.parametrize("name", ["attention_entropy", "memorized_text"])
def test_every_failure_can_be_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "FAILURES", MappingProxyType(TINY))
    steps: list[int] = []
    result = make_failure(name, on_step=lambda step, loss: steps.append(step))
    assert len(steps) == failures.num_steps([name], num_seeds=1) == 24 * (1 + len(result.cured))
    assert len(result.broken.worst(result.failure.sign)[0]) >= 5, "the sign was measured"
    for run in (result.broken, *result.cured.values()):
        assert np.isfinite(run.loss).all() and len(run.loss) == 24
    again = run_recipe(TINY[name].broken, seed=0, every=12, signs=())
    assert np.array_equal(again.loss, result.broken.loss), "a failure happens again, bit for bit, however it is watched"


def test_the_recipe_is_what_is_trained() -> None:
    """Of each ingredient: it changes the run, and where it must not change the first step it does not."""
    base = Recipe(log2_lr=-5.0, steps=6, warmup_steps=2)
    plain = run_recipe(base, seed=0, every=6, signs=()).loss
    for changes in ({"qk_norm": True}, {"sigma": True}, {"post_norm": True}, {"branch": 0.5}, {"depth": 3}):
        assert run_recipe(replace(base, **changes), seed=0, every=6, signs=()).loss[0] != plain[0], changes
    for changes in (
        {"readout_lr": 8.0},
        {"repeated": True},
        {"weight_decay": 0.1},
        {"eps": 1e-2},
        {"clip_norm": 1e-9, "eps": 1e-6},
        {"betas": (0.5, 0.95)},
        {"summed_from": 2},
    ):
        loss = run_recipe(replace(base, **changes), seed=0, every=6, signs=()).loss
        assert loss[0] == plain[0] and not np.array_equal(loss, plain), changes
    summed = run_recipe(replace(base, summed_from=3, betas=(0.9, 0.999)), seed=0, every=6, signs=()).loss
    mean = run_recipe(replace(base, betas=(0.9, 0.999)), seed=0, every=6, signs=()).loss
    assert np.array_equal(summed[:4], mean[:4]) and summed[4] != mean[4], "step 3 is the first that is summed"


def test_epsilon_by_the_parametrization_is_the_base_s_at_the_base() -> None:
    recipe = Recipe(log2_lr=-5.0, steps=4, warmup_steps=2, eps=1e-3)
    same = [run_recipe(replace(recipe, scale_eps=scaled), seed=0, every=4, signs=()).loss for scaled in (True, False)]
    assert np.array_equal(*same)
    wide = replace(recipe, width=64, base_width=16)
    other = [run_recipe(replace(wide, scale_eps=scaled), seed=0, every=4, signs=()).loss for scaled in (True, False)]
    assert not np.array_equal(*other)


def test_bad_names_are_one_sentence() -> None:
    with pytest.raises(SpecError, match="expected one of attention_logits"):
        make_failure("bad_luck")


def test_nothing_global_is_drawn() -> None:
    state = torch.get_rng_state()
    run_recipe(Recipe(log2_lr=-5.0, steps=3, warmup_steps=1, sigma=True, post_norm=True), seed=0, every=3, signs=())
    assert torch.equal(state, torch.get_rng_state())
