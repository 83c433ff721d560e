"""Measured kernels: what cannot be measured is said in one sentence, and the model is left as it was."""

import pytest
import torch
from torch import nn

from limes.core.errors import SpecError
from limes.measure import centered_alignment, empirical_ntk, feature_kernels, gradient_kernels, target_alignment


class Branches(nn.Module):
    """One module that is never called, one that returns a tuple, one off the path to the output."""

    def __init__(self):
        super().__init__()
        self.idle, self.aside, self.body = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1)
        self.pair = nn.LSTM(2, 2)

    def forward(self, x):
        self.aside(x)
        self.pair(x)
        return self.body(x)


BAD = [
    (lambda m, x: feature_kernels(m, x, layers=["nowhere"]), "nowhere"),
    (lambda m, x: feature_kernels(m, x, layers=[]), "expected names"),
    (lambda m, x: feature_kernels(m, x, layers=["idle"]), "did not run"),
    (lambda m, x: feature_kernels(m, x, layers=["pair"]), "no tensor"),
    (lambda m, x: feature_kernels(m, x, layers=["body"], side="inside"), "inside"),
    (lambda m, x: gradient_kernels(m, x, layers=["aside"]), "does not depend"),
    (lambda m, x: gradient_kernels(m, x, layers=["body"], scalar=lambda f: f), "one per sample"),
    (lambda m, x: empirical_ntk(m, x, parameter_weights={"bodi": 1.0}), "bodi"),
    (lambda m, x: empirical_ntk(m, x, block_size=0), "block_size 0"),
    (lambda m, x: empirical_ntk(m, x, method="fast"), "fast"),
    (lambda m, x: centered_alignment(x @ x.T, torch.eye(2)), "same inputs"),
    (lambda m, x: centered_alignment(x, x), "num_samples"),
    (lambda m, x: target_alignment(x @ x.T, torch.ones(3)), "undefined"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_one_sentence_and_no_hook_left(call, message):
    model = Branches()
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(SpecError, match=message):
        call(model, x)
    assert all(not module._forward_hooks for module in model.modules())


def test_frozen_parameters_do_not_count():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    whole = empirical_ntk(model, x)
    model[0].requires_grad_(False)
    head = empirical_ntk(model, x)
    features = model[0](x).detach().double()
    torch.testing.assert_close(head, features @ features.T + 1.0, rtol=1e-5, atol=1e-6)
    assert (whole.diagonal() > head.diagonal()).all()
