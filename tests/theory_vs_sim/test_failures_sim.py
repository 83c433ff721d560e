"""Failures made on purpose on the built-in text: seen before the loss shows them, and cured."""

import numpy as np
import pytest

from limes.measure.health import SIGNS
from limes.measure.monitor_probe import MonitorProbe
from limes.spec import parse_study
from limes.sweep.build import Workbench, build_run
from limes.sweep.grid import Curve
from limes.train import RunTrace, train
from limes.train.loss import next_token_loss

WINDOW = 20


def run(
    log2_lr: float,
    *,
    width: int = 64,
    base: int = 64,
    every: int = 2,
    unscaled_eps: bool = False,
    eps: float = 1e-12,
    **remedies: object,
) -> RunTrace:
    """A byte GPT under muP with a monitor; `unscaled_eps` keeps the base's eps whatever the width."""
    content = {
        "name": "x",
        "model": {"family": "transformer", "width": base, "head_dim": 16, **remedies},
        "training": {"divergence_factor": 1e6, "optimizer": {"eps": eps}},
        "panels": [
            {
                "axis": "width",
                "sizes": [base, max(width, 2 * base)],
                "seeds": [1, 1],
                "parametrizations": [{"name": "mup"}],
            }
        ],
    }
    bench = Workbench(parse_study(content, name="test"))
    spec = bench.point(Curve(axis="width", parametrization="mup", size=width, seed=0), log2_lr).spec
    if unscaled_eps:
        tensors = {name: entry.model_copy(update={"eps": eps}) for name, entry in spec.tensors.items()}
        spec = spec.model_copy(update={"tensors": tensors})
    model, data, optimizer = build_run(spec)
    probe = MonitorProbe(optimizer, lambda module, batch: next_token_loss(module(batch[0]), batch[1]), every=every)
    return train(model, data, optimizer, spec.training, probes=[probe])


def first_danger(trace: RunTrace, sign: str) -> float:
    """Step at which the sign first reaches its danger line anywhere; infinite if it never does."""
    line, falling = SIGNS[sign].danger, SIGNS[sign].falling
    steps = [np.inf]
    for name, (places, values) in trace.probes.items():
        if name.split("/")[1] == sign:
            reached = np.flatnonzero(values <= line if falling else values >= line)
            steps += [places[reached[0]]] if len(reached) else []
    return min(steps)


def loss_shows(bad: RunTrace, good: RunTrace, *, by: float) -> float:
    """First step at which the running mean of the loss is worse by so much, on the same batches."""
    kernel = np.ones(WINDOW) / WINDOW
    difference = np.convolve(bad.train_loss - good.train_loss, kernel, "valid")
    worse = np.flatnonzero(difference > by)
    return float(worse[0] + WINDOW - 1) if len(worse) else np.inf


@pytest.mark.sim
def test_growing_attention_logits_are_seen_before_the_loss_and_cured_by_the_norm() -> None:
    bad, good = run(-3.0), run(-3.0, qk_norm=True, every=10)
    warned, shown = first_danger(bad, "max_attention_logit"), loss_shows(bad, good, by=0.1)
    assert warned + 10 <= shown < np.inf, (warned, shown)
    assert first_danger(good, "max_attention_logit") == np.inf
    assert good.validation_loss < bad.validation_loss - 0.1


@pytest.mark.sim
def test_epsilon_underflow_is_seen_at_once_and_cured_by_the_parametrization() -> None:
    """eps = 1e-3 is already coarse at width 16; at 128 gradients sink below it unless it sinks with them."""
    bad, good = (run(-6.0, width=128, base=16, every=20, eps=1e-3, unscaled_eps=fixed) for fixed in (True, False))
    warned, shown = first_danger(bad, "gradient_over_eps"), loss_shows(bad, good, by=0.05)
    assert warned + 10 <= shown < np.inf, (warned, shown)
    assert good.validation_loss < bad.validation_loss - 0.02
    ratios = [
        np.median([trace.probes[name][1][-1] for name in trace.probes if "/gradient_over_eps/" in name])
        for trace in (bad, good)
    ]
    assert ratios[1] > 2 * ratios[0]
