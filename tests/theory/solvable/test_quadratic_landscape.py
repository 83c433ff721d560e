"""Curvature of quadratic networks: closed form against autograd, the dynamics, and the symmetries of the loss."""

import math

import numpy as np
import pytest
import torch

from limes.core.errors import LimesError
from limes.theory.solvable import escape_rate, hessian_levels, minimum_loss, plateau_loss
from support.quadratic import hessian_points, population_loss

SIZES = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (4, 2), (2, 4)]


@pytest.mark.parametrize(("p", "q"), SIZES)
@pytest.mark.parametrize("at", ["plateau", "minimum"])
def test_all_eigenvalues_against_autograd(p, q, at):
    n = p + q + 2
    student, teacher = hessian_points(p, q, n, at=at, seed=p)
    flat = student.reshape(-1).requires_grad_()
    loss = population_loss(flat.reshape(p, n), teacher)
    (slope,) = torch.autograd.grad(loss, flat)
    assert slope.abs().max() < 1e-14, "a stationary point"
    assert loss.item() == pytest.approx(plateau_loss(p, q) if at == "plateau" else minimum_loss(p, q), abs=1e-14)
    hessian = torch.autograd.functional.hessian(lambda u: population_loss(u.reshape(p, n), teacher), flat.detach())
    levels = hessian_levels(p, q, n, at=at)
    expected = np.sort(np.concatenate([np.full(level.multiplicity, level.value) for level in levels]))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian.numpy()), expected, atol=1e-13)
    # Without the second derivative of the outputs (Gauss-Newton) the plateau would be no saddle.
    assert (expected[0] < 0) == (at == "plateau")


@pytest.mark.parametrize(("p", "q"), SIZES)
def test_the_only_descent_is_the_escape(p, q):
    """|M|^2 grows at twice the rate of its weights."""
    (lowest,) = [level for level in hessian_levels(p, q, 50) if level.value < 0]
    assert lowest.multiplicity == p * q
    assert -2.0 * lowest.value == pytest.approx(escape_rate(p, q, 1.0))
    assert sum(level.multiplicity for level in hessian_levels(p, q, 50)) == 50 * p


@pytest.mark.parametrize(("p", "q"), [(3, 3), (2, 4)])
def test_flat_directions_at_the_minimum_are_its_symmetries(p, q):
    """Without spare units all flat directions lead along solutions of equal loss: rotations of used directions."""
    flat = sum(level.multiplicity for level in hessian_levels(p, q, 20, at="minimum") if level.value == 0.0)
    assert flat == p * (p - 1) // 2 + p * (q - p)


def test_least_loss_of_too_few_units_is_found_by_descent():
    p, q, n = 2, 3, 5
    _, teacher = hessian_points(p, q, n, at="plateau", seed=0)
    start = torch.randn(p, n, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    u = start.requires_grad_()
    search = torch.optim.LBFGS([u], max_iter=500, tolerance_grad=1e-12, tolerance_change=0.0)

    def closure():
        search.zero_grad()
        loss = population_loss(u, teacher)
        loss.backward()
        return loss

    search.step(closure)
    assert population_loss(u, teacher).item() == pytest.approx(minimum_loss(p, q), abs=1e-12)
    assert math.isclose(minimum_loss(2, 4), 0.1875) and minimum_loss(4, 2) == 0.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hessian_levels(2, 2, 3), "num_inputs is 3; 2 student and 2 teacher units need at least 4"),
        (lambda: hessian_levels(0, 2, 9), "num_units is 0"),
        (lambda: hessian_levels(2, 2.5, 9), "num_teacher is 2.5"),
        (lambda: hessian_levels(2, 2, 9, at="saddle"), "at is 'saddle'; expected one of plateau, minimum"),
        (lambda: minimum_loss(2, 0), "num_teacher is 0"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(LimesError, match=words):
        call()
