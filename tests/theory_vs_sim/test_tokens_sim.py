"""Rank collapse and shaped attention against finite networks; wrong scalings and a dropped drift are rejected."""

import pytest
import torch

from limes.core.rng import stream
from limes.theory.initialization import (
    ShapedAttentionProblem,
    ShapedReLU,
    TokenProblem,
    mean_cosine,
    simulate_shaped_attention,
    simulate_tokens,
    solve_shaped_attention,
    solve_tokens,
)
from support.stats import assert_limit

pytestmark = pytest.mark.sim

WIDTHS = (12, 24, 48, 96)
V3 = torch.tensor([[1.0, 0.2, -0.3], [0.2, 1.5, 0.4], [-0.3, 0.4, 0.8]], dtype=torch.float64)


@pytest.mark.parametrize("settings", [{}, {"causal": True, "normalize": True}], ids=["plain", "causal-normed"])
def test_tokens_in_width(settings):
    problem = TokenProblem(V3, 6, "relu", attention_scale=1.2, branch_exponent=0.5, **settings)
    runs = [
        mean_cosine(simulate_tokens(problem, width=width, num_draws=2000, generator=stream(0, "init", str(width))))
        for width in WIDTHS
    ]
    measured = torch.stack(runs)
    assert_limit(WIDTHS, measured, solve_tokens(problem).similarity[-1].item())
    mutant = TokenProblem(V3, 6, "relu", attention_scale=1.2, branch_exponent=0.3, **settings)
    with pytest.raises(AssertionError, match="limit"):
        assert_limit(WIDTHS, measured, solve_tokens(mutant).similarity[-1].item())


def test_the_shaped_block_with_attention_and_mlp():
    """Correlation of two tokens after blocks of both; the mutant has no MLP drift."""
    v = [[1.0, -0.3], [-0.3, 1.0]]
    settings = {"temperature": 2.5, "branch_weight": 0.6}
    problem = ShapedAttentionProblem(v, 0.5, mlp=ShapedReLU(1.5, -1.5), **settings)
    runs = [
        simulate_shaped_attention(problem, width=width, num_draws=1600, generator=stream(0, "init", str(width)))
        for width in WIDTHS
    ]
    measured = torch.stack([run.correlation() for run in runs])

    def expected(mlp: ShapedReLU) -> tuple[float, float]:
        rho = solve_shaped_attention(
            ShapedAttentionProblem(v, 0.5, mlp=mlp, **settings), num_paths=16_000, num_steps=60
        ).correlation()
        return float(rho.mean()), 4.0 * float(rho.std()) / len(rho) ** 0.5

    mean, error = expected(ShapedReLU(1.5, -1.5))
    assert_limit(WIDTHS, measured, mean, bias=error, power=0.5)
    mean, error = expected(ShapedReLU(0.0, 0.0))
    with pytest.raises(AssertionError, match="limit"):
        assert_limit(WIDTHS, measured, mean, bias=error, power=0.5)
