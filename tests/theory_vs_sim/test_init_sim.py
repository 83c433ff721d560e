"""What `limes init` predicts for perceptrons and residual networks, in the limit of width, with mutants."""

import numpy as np
import pytest
import torch

from limes.compare.signal_profile import profile_signal
from limes.compare.signal_theory import predict_signal
from limes.core.rng import stream
from limes.models import build_model
from limes.spec import MLPSpec, ResMLPSpec
from support.stats import assert_limit

pytestmark = pytest.mark.sim

WIDTHS = (24, 48, 96, 192)
NUM_SEEDS = 40
BATCH = torch.randn(3, 8, generator=torch.Generator().manual_seed(5))
MLP = MLPSpec(depth=3, activation="tanh", num_inputs=8, num_outputs=4)
RESIDUAL = ResMLPSpec(depth=4, num_inputs=8, num_outputs=4)


@pytest.mark.parametrize(("spec", "change"), [(MLP, {"activation": "erf"}), (RESIDUAL, {"depth": 5})])
def test_predictions(spec, change):
    measured = {"signal": [], "gradient": [], "likeness": []}
    for width in WIDTHS:
        profiles = []
        for seed in range(NUM_SEEDS):
            model = build_model(spec.model_copy(update={"width": width}), generator=stream(seed, "init", str(width)))
            profiles.append(profile_signal(model, lambda model=model: model(BATCH), generator=stream(seed, "probe")))
        measured["signal"].append([p.signal[-1] for p in profiles])
        # The projection is random, so the gradient at the last point is, too: its ratio to the first is compared.
        measured["gradient"].append([p.gradient[1] / p.gradient[-1] for p in profiles])
        measured["likeness"].append([p.likeness[-1] for p in profiles])
    # The first points of a perceptron are the inputs themselves; a residual stream begins behind its stem.
    x = BATCH.double()
    first = type("First", (), {"first": (x @ x.T / 8)[None]})

    def check(spec) -> None:
        predicted = predict_signal(spec, first)
        assert_limit(WIDTHS, measured["signal"], predicted.signal[-1])
        assert_limit(WIDTHS, measured["likeness"], predicted.likeness[-1], bias=1e-9)
        assert_limit(WIDTHS, measured["gradient"], predicted.gradient[1] / predicted.gradient[-1])

    check(spec)
    with pytest.raises(AssertionError, match="limit"):
        check(spec.model_copy(update=change))
    assert np.isfinite(measured["gradient"]).all()
