"""Rank collapse and shaped attention against recorded rows, automatic differentiation, closed forms, real steps."""

import math

import numpy as np
import pytest
import torch

from limes.core.errors import ScopeError, SpecError
from limes.theory.initialization import (
    ShapedAttentionProblem,
    ShapedReLU,
    TokenProblem,
    attention_drift,
    expected_query_gradient,
    mean_cosine,
    query_gradient,
    simulate_tokens,
    solve_shaped_attention,
    solve_tokens,
    value_gradient,
)
from limes.theory.initialization.covariance_sde import wishart_step
from limes.theory.initialization.shaped_attention import attention_step
from support.stats import assert_golden, assert_mean, load_golden

GOLDEN = load_golden("initialization")
V3 = torch.tensor([[1.0, 0.2, -0.3], [0.2, 1.5, 0.4], [-0.3, 0.4, 0.8]], dtype=torch.float64)


def head(sizes, shift):
    """X, W_K, W_V of the recorded cases."""
    t, d, d_k, d_v = (torch.arange(1.0, size + 1.0, dtype=torch.float64) for size in sizes)
    x = torch.cos(1.3 * t[:, None] * d + 0.7 * t[:, None] + shift)
    keys = 0.6 * torch.sin(1.1 * d[:, None] + 2.3 * d_k + shift)
    return x, keys, 0.8 * torch.cos(0.9 * d[:, None] - 1.7 * d_v + shift)


@pytest.mark.parametrize("row", GOLDEN["gradients"], ids=lambda row: str(row["sizes"]))
def test_gradients_of_a_head(row):
    x, keys, values = head(row["sizes"], row["shift"])
    expected = expected_query_gradient(x, value_dim=values.shape[1], key_std=0.6, value_std=0.8)
    found = [query_gradient(x, keys, values), value_gradient(x, values.shape[1]), expected]
    assert_golden(found, row["values"])

    def outputs(queries, values):
        logits = x @ queries @ (x @ keys).T / math.sqrt(keys.shape[1])
        return torch.softmax(logits, 1) @ x @ values

    jacobians = torch.autograd.functional.jacobian(outputs, (torch.zeros_like(keys), values))
    assert [float(j.square().sum()) for j in jacobians] == pytest.approx(found[:2], rel=1e-12)


def test_mean_gradient_over_draws():
    x = head((5, 6, 3, 4), 0.0)[0]
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(1600):
        keys = 0.6 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
        draws.append(query_gradient(x, keys, 0.8 * torch.randn(6, 4, generator=generator, dtype=torch.float64)))
    assert_mean(draws, expected_query_gradient(x, value_dim=4, key_std=0.6, value_std=0.8))


@pytest.mark.parametrize("depth", [1, 16, 500])
def test_linear_tokens_have_closed_forms(depth):
    a1, a2 = 1.0, 0.5
    v = torch.tensor(np.cov(np.cos(np.outer(np.arange(1, 5), np.arange(1, 30)))))
    problem = TokenProblem(
        v, depth, "linear", attention_scale=a1**0.5, mlp_scale=a2**0.5, branch_exponent=0.5, causal=False
    )
    result = solve_tokens(problem)
    m0, q0 = float(v.mean()), float(v.diagonal().mean())
    blocks = ((1 + a1 / depth) * (1 + a2 / depth)) ** depth
    assert float(result.covariance[-1].mean()) == pytest.approx(m0 * blocks, rel=1e-11)
    # q - m, what differs between tokens, grows by the MLP and by nothing else.
    expected = m0 * blocks + (1 + a2 / depth) ** depth * (q0 - m0)
    assert float(result.mean_square[-1]) == pytest.approx(expected, rel=1e-11)
    if depth == 500:
        assert expected == pytest.approx(math.exp(a2) * (q0 + (math.exp(a1) - 1) * m0), rel=5e-3)


def test_collapse_depends_on_the_scaling_of_the_branches():
    eye = torch.eye(8, dtype=torch.float64)
    assert solve_tokens(TokenProblem(eye, 1, skip=False)).collapse_depth(1.0 - 1e-9) == 1.0
    plain = {depth: solve_tokens(TokenProblem(eye, depth)).collapse_depth() for depth in (16, 64, 256)}
    assert plain[64] == plain[256] < 16
    scaled = [solve_tokens(TokenProblem(eye, depth, branch_exponent=0.5)).similarity[-1].item() for depth in (64, 256)]
    assert scaled[0] < 0.6 and abs(scaled[1] - scaled[0]) < 0.01
    small = solve_tokens(TokenProblem(eye, 256, branch_exponent=1.0))
    assert small.similarity[-1] < 0.02 and small.collapse_depth() == math.inf
    # Norms make collapse slower: the share of a branch falls as the stream grows.
    normed = solve_tokens(TokenProblem(eye, 256, normalize=True)).collapse_depth(0.9)
    assert solve_tokens(TokenProblem(eye, 256)).collapse_depth(0.9) < normed < math.inf


def test_causal_attention_and_order():
    problem = TokenProblem(torch.eye(3, dtype=torch.float64), 2, causal=True)
    torch.testing.assert_close(problem.mixing[1], torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64))
    once = solve_tokens(TokenProblem(torch.eye(3, dtype=torch.float64), 1, mlp_scale=0.0, causal=True)).covariance[1]
    torch.testing.assert_close(once.diagonal(), torch.tensor([2.0, 1.5, 4 / 3], dtype=torch.float64))
    order = [2, 0, 1]
    whole, moved = (solve_tokens(TokenProblem(v, 5)).covariance[-1] for v in (V3, V3[order][:, order]))
    torch.testing.assert_close(moved, whole[order][:, order])


def test_drift_and_diffusion_of_shaped_attention():
    index = ([0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2])
    drift = attention_drift(V3, temperature=0.8, branch_weight=0.5)
    assert_golden(drift[index], GOLDEN["shaped_attention"]["drift"])
    draw = np.random.Generator(np.random.Philox(0))
    step = 1e-4
    noise = attention_step(V3.expand(200_000, 3, 3), step, draw, temperature=0.8, branch_weight=0.5) - V3
    assert_golden((noise**2).mean(0)[index] / step, GOLDEN["shaped_attention"]["diffusion"])
    # The mean of one step is the drift: a larger step, where it can be seen under the noise.
    noise = attention_step(V3.expand(320_000, 3, 3), 0.02, draw, temperature=0.8, branch_weight=0.5) - V3
    means = noise.reshape(16, -1, 3, 3).mean(1) / 0.02
    for i, j in zip(*index, strict=True):
        assert_mean(means[:, i, j], drift[i, j].item(), bias=0.02 * abs(drift[i, j].item()))


def test_diffusion_of_the_mlp_branch():
    """One step of its noise, 2 gam^2 = 1; with half the weight it is another."""
    index, step = ([0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]), 1e-3
    draw = np.random.Generator(np.random.Philox(1))
    seen, half = (((wishart_step(V3.expand(200_000, 3, 3), s, draw) - V3) ** 2).mean(0) for s in (step, 0.5 * step))
    assert_golden(seen[index] / step, GOLDEN["shaped_attention"]["mlp_diffusion"])
    with pytest.raises(AssertionError, match="off by"):
        assert_golden(half[index] / step, GOLDEN["shaped_attention"]["mlp_diffusion"])


def test_trajectory_of_shaped_attention():
    result = solve_shaped_attention(ShapedAttentionProblem(V3, 0.5, temperature=1.5), num_paths=8000, num_steps=150)
    found = [result.correlation().mean(), result.log_variance().mean()]
    assert_golden(found, GOLDEN["shaped_attention"]["trajectory"])
    assert 0.0 < result.stopped_share < 0.02
    assert (torch.linalg.eigvalsh(result.covariance)[:, 0] > -1e-9).all()


def test_mean_cosine_of_draws_and_many_widths():
    problem = TokenProblem(torch.eye(3, dtype=torch.float64), 1, "linear", skip=False, causal=False)
    run = simulate_tokens(problem, width=5, num_draws=4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mean_cosine(run), torch.ones(4, dtype=torch.float64), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: TokenProblem([[1.0]], 3), SpecError, "two or more"),
        (lambda: TokenProblem(V3, 0), SpecError, "depth is 0"),
        (lambda: TokenProblem(V3, 3, attention_scale=-1.0), SpecError, "attention_scale is -1"),
        (lambda: TokenProblem(V3, 3, skip=False, mlp_scale=0.0), SpecError, "without skip"),
        (lambda: TokenProblem(-V3, 3), SpecError, "diagonal"),
        (lambda: ShapedAttentionProblem(V3, 1.0, branch_weight=2.0), SpecError, "at most 1"),
        (lambda: ShapedAttentionProblem(V3, 1.0, temperature=0.0), SpecError, "temperature is 0"),
        (lambda: ShapedAttentionProblem(V3, 1.0, mlp="relu"), ScopeError, "ShapedReLU"),
        (lambda: solve_shaped_attention(ShapedAttentionProblem(V3, 5.0), num_steps=4), SpecError, "more than 15"),
        (lambda: solve_shaped_attention(ShapedAttentionProblem(V3, 0.5), cap=0.5), SpecError, "cap is 0.5"),
        (lambda: ShapedReLU("x"), SpecError, "expected a number"),
    ],
)
def test_bad_input_is_one_sentence(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("settings", [{}, {"skip": False, "branch_exponent": 3}], ids=["overflow", "underflow"])
def test_a_stream_beyond_double_precision_is_refused(settings) -> None:
    with pytest.raises(ScopeError, match="leaves the range of double precision"):
        solve_tokens(TokenProblem(torch.eye(3, dtype=torch.float64), 600, **settings))
