"""The rules of each optimizer against the published table of learning rates, eps and symmetry moves."""

import itertools

import pytest
import torch

from limes.core.errors import PlanError
from limes.optim import OPTIMIZERS, LionOptimizer, shampoo_rule, soap_rule
from limes.optim.muon import build as build_muon
from limes.spec.training import OptimizerSpec

SIZES = list(itertools.product((1.0, 2.0, 4.0), (1.0, 8.0), (1.0, 2.0, 16.0), (0.5, 1.0)))


def hidden(rule, m_in, m_out, m_depth, alpha):
    """lr and eps of a hidden matrix in a branch with the multiplier outside."""
    change = m_depth ** (alpha - 1) / m_in
    gradient = m_depth**-alpha / m_out
    return rule.lr(change, gradient, n_in=m_in, n_out=m_out), rule.eps(gradient, n_in=m_in, n_out=m_out)


@pytest.mark.parametrize("m_in, m_out, m_depth, alpha", SIZES)
def test_hidden_learning_rates_of_all_optimizers(m_in, m_out, m_depth, alpha):
    r = m_out / m_in
    sizes = (m_in, m_out, m_depth, alpha)
    depth = m_depth ** (alpha - 1)
    expected = {
        "sgd": r * m_depth ** (2 * alpha - 1),
        "adam": depth / m_in,
        "adamw": depth / m_in,
        "lion": depth / m_in,
        "muon": r**0.5 * depth,
        "soap": r**0.5 * depth,
    }
    for name, value in expected.items():
        assert hidden(OPTIMIZERS[name].rule, *sizes)[0] == pytest.approx(value, rel=1e-14), name
    for power in (0.25, 0.5, 1.0):
        value = m_depth ** (2 * alpha - 1 - 2 * alpha * power) * r ** (1 - power)
        assert hidden(shampoo_rule(inverse_power=power), *sizes)[0] == pytest.approx(value, rel=1e-14)
    assert hidden(soap_rule(sides="input"), *sizes)[0] == pytest.approx(m_in**-0.5 * depth, rel=1e-14)
    assert hidden(soap_rule(sides="output"), *sizes)[0] == pytest.approx(m_out**0.5 / m_in * depth, rel=1e-14)


@pytest.mark.parametrize("m_in, m_out, m_depth", [(1.0, 1.0, 1.0), (4.0, 8.0, 2.0), (2.0, 1.0, 16.0)])
def test_hidden_eps_at_alpha_one(m_in, m_out, m_depth):
    r, sizes = m_out / m_in, (m_in, m_out, m_depth, 1.0)
    expected = [
        (OPTIMIZERS["adamw"].rule, 1 / (m_out * m_depth)),
        (OPTIMIZERS["muon"].rule, r**-0.5 / m_depth),
        (shampoo_rule(), 1 / (r * m_depth**2)),
        (soap_rule(), r**-0.5 / m_depth),
        (soap_rule(sides="input"), m_in**0.5 / (m_out * m_depth)),
        (soap_rule(sides="output"), m_out**-0.5 / m_depth),
        (OPTIMIZERS["sgd"].rule, 1.0),
    ]
    for rule, value in expected:
        assert hidden(rule, *sizes)[1] == pytest.approx(value, rel=1e-14)


def test_blocks_enter_as_published():
    base, target = (64, 64), (256, 512)
    lr, eps = shampoo_rule(inverse_power=0.5, block_size=64).blocks(base, target)
    assert (lr, eps) == pytest.approx(((8 * 4) ** -0.5, 1 / (8 * 4)))
    assert soap_rule(block_size=64).blocks(base, target) == pytest.approx(((8 * 4) ** -0.5, (8 * 4) ** -0.5))
    assert soap_rule(sides="input", block_size=64).blocks(base, target) == pytest.approx((8**-0.5, 8**-0.5))
    assert soap_rule(block_size=1024).blocks(base, target) == (1.0, 1.0)


@pytest.mark.parametrize(
    "name, lr, decay, eps",
    [
        ("sgd", 1 / 4, 4, 1),
        ("adam", 1 / 2, 4, 2),
        ("adamw", 1 / 2, 2, 2),
        ("lion", 1 / 2, 2, 1),
        ("muon", 1 / 2, 2, 2),
        ("shampoo", 1 / 2, 2, 4),
        ("soap", 1 / 2, 2, 2),
    ],
)
def test_symmetry_table(name, lr, decay, eps):
    assert OPTIMIZERS[name].rule.move(2.0) == (lr, decay, eps)


def test_shampoo_moves_between_sgd_and_adam():
    assert shampoo_rule(inverse_power=0.25).move(4.0)[0] == 4.0**-1.5


def test_muon_shape_factors_are_torchs_own():
    for variant, mode in (("original", "original"), ("match_rms_adamw", "match_rms_adamw")):
        factor = OPTIMIZERS["muon"].variant(variant).shape_factor
        wide = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
        moved = []
        for gradient in (wide, wide.T.contiguous()):
            weight = torch.nn.Parameter(torch.zeros(gradient.shape))
            weight.grad = gradient
            torch.optim.Muon([weight], lr=1.0, weight_decay=0.0, adjust_lr_fn=mode, momentum=0.0).step()
            moved.append(weight.detach().norm().item() / factor(*gradient.shape))
        assert moved[0] == pytest.approx(moved[1], rel=1e-6)


def test_muon_refuses_vectors():
    with pytest.raises(PlanError, match=r"\(3,\)"):
        build_muon([{"params": [torch.nn.Parameter(torch.zeros(3))], "lr": 1.0}], OptimizerSpec())


def test_unknown_variant_is_named():
    with pytest.raises(PlanError, match=r"'hyper'.*match_rms_adamw"):
        OPTIMIZERS["muon"].variant("hyper")
    with pytest.raises(PlanError, match=r"1\.5"):
        shampoo_rule(inverse_power=1.5)


def test_lion_equals_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(5, generator=generator, dtype=torch.float64))
    slow, momentum = weight.detach().clone(), torch.zeros(5, dtype=torch.float64)
    optimizer = LionOptimizer([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.3)
    for _ in range(4):
        weight.grad = torch.randn(5, generator=generator, dtype=torch.float64)
        optimizer.step(lambda: None)
        direction = torch.sign(0.9 * momentum + 0.1 * weight.grad)
        slow = slow - 0.1 * 0.3 * slow - 0.1 * direction
        momentum = 0.99 * momentum + 0.01 * weight.grad
    assert torch.allclose(weight.detach(), slow, rtol=1e-14, atol=0)
