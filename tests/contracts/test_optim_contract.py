"""Every optimizer of the table: neutral at the base, group-wise settings kept, the symmetry is a group
action.
"""

import pytest
import torch

from limes.optim import OPTIMIZERS, build_optimizer
from limes.spec.training import OptimizerSpec

RULES = [(name, None) for name in OPTIMIZERS] + [
    (name, variant) for name, family in OPTIMIZERS.items() for variant in family.variants
]


@pytest.mark.parametrize("name, variant", RULES)
def test_everything_is_exactly_one_at_the_base(name, variant):
    rule = OPTIMIZERS[name].variant(variant)
    assert (rule.lr(1.0, 1.0), rule.eps(1.0), rule.decay(1.0, 1.0)) == (1.0, 1.0, 1.0)
    assert rule.move(1.0) == (1.0, 1.0, 1.0)
    assert rule.built_in((8, 4), (8, 4)) == 1.0 and rule.blocks((8, 4), (8, 4)) == (1.0, 1.0)


@pytest.mark.parametrize("name, variant", RULES)
def test_moves_compose_and_agree_with_the_rule(name, variant):
    rule = OPTIMIZERS[name].variant(variant)
    assert [a * b for a, b in zip(rule.move(2.0), rule.move(4.0))] == list(rule.move(8.0))
    theta, sizes = 4.0, {"n_in": 4.0, "n_out": 16.0}
    lr, decay, eps = rule.move(theta)
    before, after = rule.lr(0.25, 0.0625, **sizes), rule.lr(0.25 / theta, 0.0625 * theta, **sizes)
    assert after == pytest.approx(before * lr, rel=1e-14)
    assert rule.eps(0.0625 * theta, **sizes) == pytest.approx(rule.eps(0.0625, **sizes) * eps, rel=1e-14)
    assert rule.decay(after, 0.0625 * theta) == pytest.approx(rule.decay(before, 0.0625) * decay, rel=1e-14)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_built_optimizer_equals_plain_torch_bitwise(name):
    plain_class = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    options = {"momentum": 0.9} if name == "sgd" else {"betas": (0.8, 0.9), "eps": 1e-6}
    spec = OptimizerSpec(name=name, **options)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(7, generator=generator)
    ours, plain = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    group = {"params": [ours], "lr": 0.1, "weight_decay": 0.2, "lr_scale": 1.0}
    if name != "sgd":
        group["eps"] = 1e-6
    optimizer = build_optimizer([group], spec)
    reference = plain_class([plain], lr=0.1, weight_decay=0.2, fused=True, **options)
    assert optimizer.param_groups[0]["lr_scale"] == 1.0
    for _ in range(3):
        ours.grad = torch.randn(7, generator=generator)
        plain.grad = ours.grad.clone()
        optimizer.step()
        reference.step()
    assert torch.equal(ours, plain)
