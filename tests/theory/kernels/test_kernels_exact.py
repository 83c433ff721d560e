"""Kernels against slow second implementations: plain loops, finer steps, other groupings, identities."""

import itertools
import math

import pytest
import torch

from limes.core.errors import ConvergenceError, ScopeError, SpecError
from limes.core.rng import stream
from limes.core.status import SolveStatus
from limes.theory.activations import ACTIVATIONS, Activation, get_activation, polynomial
from limes.theory.kernels import (
    KERNELS,
    LazyProblem,
    MLPRecursion,
    depth_limit,
    dual_activation,
    edge_of_chaos,
    kernel_blocks,
    kernel_matmul,
    kernel_regression,
    lazy_dynamics,
    nngp_kernel,
    ntk_kernel,
    order_chaos,
    residual_nngp_kernel,
    residual_ntk_kernel,
)
from support.stats import assert_order

ALL = sorted(ACTIVATIONS)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=stream(seed, "data"), dtype=torch.float64)


def naive(x, *, depth, activation, weight_var, bias_var, residual=None, readout="activation"):
    """(NNGP, NTK) entry by entry through `dual_activation`, in the words of the definition."""
    size = len(x)
    h = weight_var * x @ x.T / x.shape[1] + bias_var
    theta = h.clone()
    for _ in range(depth):
        q = h.diagonal()
        rows, columns = q.repeat_interleave(size), q.repeat(size)
        k, kdot = dual_activation(activation, rows, var2=columns, cov=h.flatten())
        mean = weight_var * k.reshape(size, size) + bias_var
        rate = weight_var * kdot.reshape(size, size)
        if residual is None:
            h, theta = mean, mean + rate * theta
        else:
            h, theta = h + residual * mean, theta + residual * (mean + rate * theta)
    if residual is None:
        return h, theta
    if readout == "linear":
        return weight_var * h + bias_var, weight_var * h + bias_var + weight_var * theta
    q = h.diagonal()
    k, kdot = dual_activation(activation, q.repeat_interleave(size), var2=q.repeat(size), cov=h.flatten())
    top = weight_var * k.reshape(size, size) + bias_var
    return top, top + weight_var * kdot.reshape(size, size) * theta


@pytest.mark.parametrize("name", ALL)
def test_mlp_equals_the_definition(name):
    x = draw(7, 5)
    settings = {"depth": 3, "activation": name, "weight_var": 1.4, "bias_var": 0.2}
    for kernel, expected in zip((nngp_kernel(x, **settings), ntk_kernel(x, **settings)), naive(x, **settings)):
        torch.testing.assert_close(kernel, expected, rtol=1e-6, atol=1e-6)  # the diagonal of the naive form
        off = ~torch.eye(7, dtype=torch.bool)
        torch.testing.assert_close(kernel[off], expected[off], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("readout", ["activation", "linear"])
@pytest.mark.parametrize("name", ["relu", "tanh", "erf"])
def test_residual_equals_the_definition(name, readout):
    x = draw(5, 4)
    settings = {"depth": 4, "activation": name, "weight_var": 1.1, "bias_var": 0.1}
    net = {"branch_scale": 0.7, "branch_exponent": 0.8, "readout": readout}
    expected = naive(x, residual=0.49 * 4**-1.6, readout=readout, **settings)
    off = ~torch.eye(5, dtype=torch.bool)
    for function, values in zip((residual_nngp_kernel, residual_ntk_kernel), expected):
        torch.testing.assert_close(function(x, **settings, **net)[off], values[off], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu"])
def test_infinite_depth_is_the_limit_at_order_one(name):
    x = 0.7 * draw(4, 6)
    settings = {"activation": name, "weight_var": 1.5, "bias_var": 0.1, "branch_scale": 1.3}
    depths = [16, 32, 64, 128]
    for function in (residual_nngp_kernel, residual_ntk_kernel):
        limit = function(x, depth=math.inf, **settings)
        values = [function(x, depth=depth, **settings) for depth in depths]
        assert_order([1 / depth for depth in depths], [(v - limit).abs().max().item() for v in values], 0.95)
        # Error a / L + b / L^2 + c / L^3: what the third extrapolation changes bounds what is left after it.
        first = [2 * fine - coarse for coarse, fine in itertools.pairwise(values)]
        second = [(4 * fine - coarse) / 3 for coarse, fine in itertools.pairwise(first)]
        third = (8 * second[1] - second[0]) / 7
        assert (third - limit).abs().max() <= (third - second[1]).abs().max() <= 1e-4 * limit.abs().max()


def test_branch_exponents_beyond_one_half():
    x = draw(4, 6)
    settings = {"activation": "erf", "weight_var": 1.2, "bias_var": 0.1, "branch_exponent": 1.0}
    for learning in (False, True):
        limit = residual_ntk_kernel(x, depth=math.inf, scale_block_lr=learning, **settings)
        errors = [
            (residual_ntk_kernel(x, depth=depth, scale_block_lr=learning, **settings) - limit).abs().max().item()
            for depth in (16, 32, 64, 128)
        ]
        assert_order([1 / 16, 1 / 32, 1 / 64, 1 / 128], errors, 0.95)
    with pytest.raises(ScopeError, match="diverges"):
        residual_nngp_kernel(x, depth=math.inf, **(settings | {"branch_exponent": 0.4}))


@pytest.mark.parametrize("num_threads", [1, 2])
def test_blocks_of_any_size_give_the_same_kernel(num_threads):
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        x, other = draw(23, 5), draw(9, 5, seed=1)
        net = MLPRecursion(depth=2, activation="tanh", weight_var=1.5, bias_var=0.1)
        settings = {"depth": 2, "activation": "tanh", "weight_var": 1.5, "bias_var": 0.1}
        for x2 in (None, other):
            whole = ntk_kernel(x, x2, **settings)
            pieced = torch.full_like(whole, math.nan)
            for block in kernel_blocks(net, x, x2=x2, tangent=True, block_size=4):
                pieced[block.rows, block.columns] = block.values
                if x2 is None:
                    pieced[block.columns, block.rows] = block.values.T
            torch.testing.assert_close(pieced, whole, rtol=1e-12, atol=1e-13)
            vectors = draw(whole.shape[1], 3, seed=2)
            product = kernel_matmul(net, x, vectors, x2=x2, tangent=True, block_size=4)
            torch.testing.assert_close(product, whole @ vectors, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(
            ntk_kernel(x, x[:9], **settings), ntk_kernel(x, **settings)[:, :9], rtol=1e-11, atol=0
        )
    finally:
        torch.set_num_threads(before)


def test_any_smooth_function_of_the_user_works_and_a_kink_is_refused():
    softplus = Activation(name="softplus", value=torch.nn.functional.softplus, derivative=torch.sigmoid)
    x = draw(4, 3)
    settings = {"weight_var": 1.3, "bias_var": 0.1, "depth": 2}
    expected = naive(x, activation=softplus, **settings)[1]
    torch.testing.assert_close(ntk_kernel(x, activation=softplus, **settings), expected, rtol=1e-10, atol=0)
    kinked = Activation(name="kink", value=torch.abs, derivative=torch.sign)
    with pytest.raises(ConvergenceError, match="kink"):
        nngp_kernel(x, activation=kinked, **settings)


def test_series_of_a_polynomial_equals_its_closed_form():
    cubic = polynomial([0.1, -0.5, 0.3, 0.2])
    by_series = Activation(name="cubic", value=cubic.value, derivative=cubic.derivative)
    x = draw(5, 3)
    settings = {"depth": 1, "weight_var": 0.6, "bias_var": 0.1}
    torch.testing.assert_close(
        ntk_kernel(x, activation=by_series, **settings), ntk_kernel(x, activation=cubic, **settings), rtol=1e-11, atol=0
    )


@pytest.mark.parametrize("name", ["tanh", "erf", "sin", "gelu", "relu"])
def test_fixed_points_are_where_a_deep_network_goes(name):
    variances = {"relu": (1.5, 0.1), "gelu": (1.5, 0.3)}.get(name, (4.0, 0.2))
    point = order_chaos(name, weight_var=variances[0], bias_var=variances[1])
    settings = {"activation": name, "weight_var": variances[0], "bias_var": variances[1]}
    x = draw(2, 8)
    deep = nngp_kernel(x, depth=400, **settings)
    assert deep[0, 0].item() == pytest.approx(point.variance, rel=1e-10)
    assert deep[0, 1].item() == pytest.approx(point.variance * point.correlation, rel=1e-8)
    # The approach to c*, by the slope: ratio of successive deviations once they are small.
    depth = max(4, int(12 * min(point.correlation_length, 20)))
    first, second, third = (nngp_kernel(x, depth=depth + i, **settings)[0, 1].item() for i in (0, 1, 2))
    assert (third - second) / (second - first) == pytest.approx(max(point.chi, point.variance_slope), rel=0.02)


@pytest.mark.parametrize(("name", "bias_var"), [("tanh", 0.1), ("erf", 0.2), ("relu", 0.0)])
def test_tangent_kernel_at_the_edge_tends_to_its_ratio(name, bias_var):
    weight_var = edge_of_chaos(name, bias_var=bias_var).weight_var if name != "relu" else 2.0
    limit = depth_limit(name, weight_var=weight_var, bias_var=bias_var)
    ratios = []
    for depth in (250, 500, 1000):
        kernel = ntk_kernel(draw(2, 8), depth=depth, activation=name, weight_var=weight_var, bias_var=bias_var)
        ratios.append((kernel[0, 1] / (kernel[0, 0] * kernel[1, 1]).sqrt()).item())
    # ln(depth) / depth corrections: the distance must shrink, and be small in the end.
    distances = [abs(r - limit.ntk_ratio) for r in ratios]
    assert distances[2] < distances[1] < distances[0] and distances[2] < 5e-3


def test_tangent_kernel_of_other_phases():
    for weight_var, phase in ((1.5, "ordered"), (2.5, "chaotic")):
        limit = depth_limit("tanh", weight_var=weight_var, bias_var=0.1)
        assert limit.point.phase == phase
        kernel = ntk_kernel(draw(2, 8), depth=300, activation="tanh", weight_var=weight_var, bias_var=0.1)
        assert kernel[0, 1].item() == pytest.approx(limit.ntk_offdiagonal, rel=1e-6)
        if phase == "ordered":
            assert kernel[0, 0].item() == pytest.approx(limit.ntk_diagonal, rel=1e-6)
    with pytest.raises(ConvergenceError, match="Last value"):
        order_chaos("relu", weight_var=2.0, bias_var=0.1)
    assert order_chaos("relu", weight_var=2.5, bias_var=0.1, throw=False).status is not SolveStatus.CONVERGED
    with pytest.raises(ScopeError, match="homogeneous"):
        edge_of_chaos("relu", bias_var=0.1)
    with pytest.raises(ScopeError, match="do not move"):
        depth_limit("linear", weight_var=1.0, bias_var=0.0)


@pytest.mark.parametrize("mode", ["flow", "steps"])
def test_lazy_dynamics_equals_a_loop_over_steps(mode):
    x, y = draw(6, 4), draw(6, 2, seed=1)
    whole = ntk_kernel(x, depth=2, activation="gelu", weight_var=1.5, bias_var=0.1)
    train, cross = whole[:4, :4], whole[4:, :4]
    start, start_test = draw(4, 2, seed=2), draw(2, 2, seed=3)
    lr = 0.3
    result = lazy_dynamics(
        LazyProblem(
            kernel=train,
            targets=y[:4],
            lr=lr,
            times=torch.tensor([0.0, 5.0]),
            mode=mode,
            kernel_test_train=cross,
            initial=start,
            initial_test=start_test,
        )
    )
    num = 5 if mode == "steps" else 400_000 // 20
    f, test, step = start.clone(), start_test.clone(), lr * 5 / num
    for _ in range(num):
        middle = f if mode == "steps" else f - 0.5 * step / 4 * train @ (f - y[:4])  # midpoint rule for the flow
        error = middle - y[:4]
        f, test = f - step / 4 * train @ error, test - step / 4 * cross @ error
    torch.testing.assert_close(result.outputs[0], start)
    torch.testing.assert_close(result.outputs[1], f, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(result.test_outputs[1], test, rtol=1e-6, atol=1e-7)


def test_lazy_variance_is_that_of_a_linear_map_of_a_gaussian():
    x = draw(7, 5)
    settings = {"depth": 1, "activation": "erf", "weight_var": 1.5, "bias_var": 0.1}
    prior, tangent = nngp_kernel(x, **settings), ntk_kernel(x, **settings)
    asked = dict(kernel=tangent[:5, :5], targets=torch.zeros(5), lr=0.5, times=torch.tensor([4.0]))
    tests = dict(kernel_test_train=tangent[5:, :5])
    result = lazy_dynamics(
        LazyProblem(**asked, **tests, prior=prior[:5, :5], prior_test_train=prior[5:, :5], prior_test=prior[5:, 5:])
    )
    # Push unit vectors of the initial outputs through the same code: the linear map, column by column.
    columns = []
    for unit in torch.eye(7, dtype=torch.float64):
        one = lazy_dynamics(LazyProblem(**asked, **tests, initial=unit[:5, None], initial_test=unit[5:, None]))
        columns.append(torch.cat([one.outputs[0, :, 0], one.test_outputs[0, :, 0]]))
    linear = torch.stack(columns, 1)
    expected = (linear @ prior @ linear.T).diagonal()
    torch.testing.assert_close(torch.cat([result.variance[0], result.test_variance[0]]), expected, rtol=1e-10, atol=0)


def test_training_the_readout_to_the_end_is_bayesian_inference():
    x, y = draw(8, 5), draw(6, 1, seed=4)
    kernel = nngp_kernel(x, depth=2, activation="erf", weight_var=1.5, bias_var=0.2)
    result = lazy_dynamics(
        LazyProblem(
            kernel=kernel[:6, :6],
            targets=y,
            lr=1.0,
            times=torch.tensor([math.inf]),
            kernel_test_train=kernel[6:, :6],
            prior=kernel[:6, :6],
            prior_test_train=kernel[6:, :6],
            prior_test=kernel.diagonal()[6:],
        )
    )
    fit = kernel_regression(kernel[:6, :6], y, kernel_test_train=kernel[6:, :6], kernel_test=kernel[6:, 6:])
    torch.testing.assert_close(result.test_outputs[0], fit.mean, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(result.test_variance[0], fit.variance, rtol=1e-8, atol=1e-11)


def test_regression_against_the_joint_gaussian():
    kernel = nngp_kernel(draw(6, 3), depth=1, activation="relu", weight_var=2.0, bias_var=0.1)
    y = draw(4, 2, seed=5)
    fit = kernel_regression(kernel[:4, :4], y, kernel_test_train=kernel[4:, :4], kernel_test=kernel[4:, 4:], ridge=0.3)
    noisy = kernel.clone()
    noisy[:4, :4] += 0.3 * torch.eye(4, dtype=torch.float64)
    precision = torch.linalg.inv(noisy)
    cov = torch.linalg.inv(precision[4:, 4:])
    torch.testing.assert_close(fit.variance, cov.diagonal(), rtol=1e-10, atol=0)
    torch.testing.assert_close(fit.mean, -cov @ precision[4:, :4] @ y, rtol=1e-10, atol=1e-12)
    normal = torch.distributions.MultivariateNormal(torch.zeros(4, dtype=torch.float64), noisy[:4, :4])
    assert fit.log_evidence == pytest.approx(normal.log_prob(y.T).sum().item(), rel=1e-12)


def test_too_large_a_step_is_said():
    one = torch.eye(2, dtype=torch.float64)
    result = lazy_dynamics(LazyProblem(kernel=one, targets=one[0], lr=4.5, times=torch.tensor([3.0]), mode="steps"))
    assert result.status is SolveStatus.DIVERGED and result.largest_stable_lr == pytest.approx(4.0)


BAD = [
    (lambda x: ntk_kernel(x[0], depth=1, activation="relu", weight_var=1.0, bias_var=0.0), "num_inputs, input_dim"),
    (lambda x: ntk_kernel(x * math.nan, depth=1, activation="relu", weight_var=1.0, bias_var=0.0), "not finite"),
    (lambda x: ntk_kernel(x, x[:, :2], depth=1, activation="relu", weight_var=1.0, bias_var=0.0), "same input_dim"),
    (lambda x: ntk_kernel(x, depth=-1, activation="relu", weight_var=1.0, bias_var=0.0), "depth -1"),
    (lambda x: ntk_kernel(x, depth=1, activation="rleu", weight_var=1.0, bias_var=0.0), "'rleu'"),
    (lambda x: ntk_kernel(x, depth=1, activation="relu", weight_var=0.0, bias_var=0.0), "weight_var 0"),
    (lambda x: ntk_kernel(x, depth=1, activation="relu", weight_var=1.0, bias_var=-1.0), "bias_var -1"),
    (lambda x: residual_ntk_kernel(x, depth=0, activation="relu", weight_var=1.0, bias_var=0.0), "depth 0"),
    (lambda x: kernel_regression(x, x[0], kernel_test_train=x), "square"),
    (lambda x: lazy_dynamics(LazyProblem(kernel=x @ x.T, targets=x, lr=0.0, times=x[0].abs())), "lr 0"),
    (lambda x: lazy_dynamics(LazyProblem(kernel=x @ x.T, targets=x, lr=1.0, times=-x[0].abs())), "times"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_input_gets_one_sentence(call, message):
    with pytest.raises(SpecError, match=message):
        call(draw(4, 3))


def test_the_table_is_complete():
    assert set(KERNELS) == {"nngp", "ntk", "residual_nngp", "residual_ntk"}
    assert get_activation(ACTIVATIONS["relu"]) is ACTIVATIONS["relu"]
