"""Bayesian networks against sampled posteriors of finite ones, extrapolated in 1/width, with mutants to be rejected."""

import functools

import numpy as np
import pytest
import torch

from limes.cli.inputs import load_samples
from limes.core.rng import stream
from limes.theory.statics import (
    AdaptiveProblem,
    DeepLinearProblem,
    FiniteNetwork,
    NNGPProblem,
    simulate_posterior,
    solve_adaptive,
    solve_deep_linear,
    solve_nngp,
)
from limes.theory.statics.neuron import Grid, directions_of
from support.plane import TEST, X, Y
from support.stats import assert_golden, assert_limit, load_golden

pytestmark = pytest.mark.sim

WIDTHS = (24, 36, 54, 80)
BETA = 5.0
# Many short chains: on small networks a gradient of many costs what one of few does.
CHAINS = {"num_chains": 64, "num_draws": 150, "num_warmup": 120, "num_leapfrog": 6}


@functools.cache
def sampled(name, *, gamma0=1.0, power=0.0, **fields):
    """The posterior at every width; gamma0 goes as width^power."""
    found = []
    for width in WIDTHS:
        network = FiniteNetwork(
            X, Y, TEST, width=width, gamma0=gamma0 * width**power, inverse_temperature=BETA, **fields
        )
        generator = stream(0, "init", name, str(width))
        found.append(simulate_posterior(network, generator=generator, **CHAINS))
        assert found[-1].rhat < 1.1 and 0.6 < float(found[-1].sample.acceptance.mean()) < 0.9
    return found


def agree(found, outputs, kernel=None, readout=None, bias=0.0):
    """Outputs, diagonal of the last kernel and second moment of the readout against their limits."""
    for k, value in enumerate(outputs.tolist()):
        assert_limit(WIDTHS, np.array([one.chain_outputs[:, k].numpy() for one in found]), value, bias=bias)
    for k, value in enumerate([] if kernel is None else kernel.diagonal().tolist()):
        assert_limit(WIDTHS, np.array([one.chain_kernels[:, -1, k, k].numpy() for one in found]), value, bias=bias)
    if readout is not None:
        assert_limit(WIDTHS, np.array([one.chain_readout.numpy() for one in found]), readout, bias=bias)


@pytest.mark.parametrize("activation", ["linear", "erf", "relu"])
def test_adaptive_kernel(activation):
    found = sampled(activation, activation=activation)

    def check(gamma0):
        fit = solve_adaptive(
            AdaptiveProblem(X, Y, TEST, activation=activation, gamma0=gamma0, inverse_temperature=BETA)
        )
        agree(found, torch.cat([fit.train_mean, fit.test_mean]), fit.kernel, fit.readout_second_moment, bias=5e-6)

    check(1.0)
    with pytest.raises(AssertionError, match="limit"):
        check(1.1)
    lazy = solve_nngp(NNGPProblem(X, Y, TEST, activation=activation, inverse_temperature=BETA))
    with pytest.raises(AssertionError, match="limit"):
        agree(found, torch.cat([lazy.train_mean, lazy.test_mean]))
    with pytest.raises(AssertionError, match="limit"):
        agree(found, torch.empty(0), lazy.kernel)


def test_fluctuations_of_the_outputs_include_those_of_the_kernel():
    found = sampled("erf", activation="erf")
    fit = solve_adaptive(AdaptiveProblem(X, Y, TEST, inverse_temperature=BETA))

    def check(values):
        for k, value in enumerate(values.tolist()):
            rows = []
            for width, one in zip(WIDTHS, found):
                away = one.sample.draws[:, :, 4 + k] - one.test_mean[k]
                rows.append(width * (away**2).mean(0).numpy())
            assert_limit(WIDTHS, np.array(rows), value)

    check(fit.test_fluctuation)
    # Mutant: a Gaussian process with the adapted kernel, as if the kernel did not fluctuate.
    neuron = Grid(directions_of(torch.from_numpy(np.vstack([X, TEST]))), torch.erf)
    moments = neuron.moments(fit.residuals, BETA)
    kernel = moments.kernel
    gain = torch.linalg.solve(kernel[:4, :4] + torch.eye(4) / BETA, kernel[:4])
    with pytest.raises(AssertionError, match="limit"):
        check((kernel - kernel[:, :4] @ gain).diagonal()[4:])


def test_deep_linear():
    depth = 2
    found = sampled("deep", depth=depth, activation="linear", gamma0=0.7)
    rows = {"kernel_test_train": TEST @ X.T / 2, "kernel_test": (TEST**2).sum(1) / 2}

    def check(gamma0):
        fit = solve_deep_linear(
            DeepLinearProblem(X @ X.T / 2, Y, depth=depth, gamma0=gamma0, inverse_temperature=BETA, **rows)
        )
        agree(found, torch.cat([fit.train_mean, fit.test_mean]), fit.kernel)

    check(0.7)
    with pytest.raises(AssertionError, match="limit"):
        check(0.77)


def test_without_feature_learning_the_posterior_is_the_gaussian_process():
    """gamma0 = 1 / sqrt(width) is NTK scaling."""
    found = sampled("lazy", depth=2, power=-0.5)
    lazy = solve_nngp(NNGPProblem(X, Y, TEST, depth=2, inverse_temperature=BETA))
    agree(found, torch.cat([lazy.train_mean, lazy.test_mean]), lazy.kernel)
    for k, value in enumerate(lazy.test_variance.tolist()):
        rows = [((one.sample.draws[:, :, 4 + k] - one.test_mean[k]) ** 2).mean(0).numpy() for one in found]
        assert_limit(WIDTHS, np.array(rows), value)
    # Mutant: one hidden layer in place of two.
    shallow = solve_nngp(NNGPProblem(X, Y, TEST, depth=1, inverse_temperature=BETA))
    with pytest.raises(AssertionError, match="limit"):
        agree(found, torch.cat([shallow.train_mean, shallow.test_mean]), shallow.kernel)


def test_particles_where_no_grid_reaches_are_the_limit_of_networks():
    """A neuron with a bulk and a few strongly tilted states, between which the particles have to move."""
    inputs, targets, test_inputs = load_samples("digits", num_samples=16, num_test=3)
    settings = {"inverse_temperature": BETA, "gamma0": 1.0}
    found = []
    for width in WIDTHS:
        network = FiniteNetwork(inputs, targets, test_inputs, width=width, **settings)
        chains = {**CHAINS, "num_chains": 16, "num_leapfrog": 8}
        found.append(simulate_posterior(network, generator=stream(0, "init", "digits", str(width)), **chains))
        assert found[-1].rhat < 1.1

    def check(problem):
        fit = solve_adaptive(problem, num_particles=1024, num_replicas=4)
        assert fit.method == "sampling"
        # Four standard errors of the particles.
        agree(found, fit.train_mean, readout=None, bias=4.0 * float(fit.train_error.max()))
        for k, value in enumerate(fit.test_mean.tolist()):
            rows = [one.chain_outputs[:, 16 + k].numpy() for one in found]
            assert_limit(WIDTHS, np.array(rows), value, bias=4.0 * float(fit.test_error.max()))

    check(AdaptiveProblem(inputs, targets, test_inputs, **settings))
    with pytest.raises(AssertionError, match="limit"):
        check(AdaptiveProblem(inputs, targets, test_inputs, **settings | {"gamma0": 1.1}))


@pytest.mark.parametrize(
    "row", load_golden("statics")["sampled"], ids=lambda row: f"{row['activation']}-{row['width']}"
)
def test_rows_of_finite_networks(row):
    settings = {name: row[name] for name in ("activation", "width", "depth", "gamma0") if name in row}
    inputs = row.get("input_scale", 1.0) * X

    def check(**changes):
        network = FiniteNetwork(inputs, Y, inverse_temperature=BETA, **settings | changes)
        found = simulate_posterior(network, generator=stream(0, "init", "rows"), **CHAINS)
        assert_golden(found.train_mean, row["train"])
        assert_golden(found.kernels[-1].diagonal(), row["diagonal"])
        if "readout" in row:
            assert_golden(found.readout_second_moment, row["readout"])

    check()
    with pytest.raises(AssertionError, match="off by"):
        check(gamma0=1.1 * row.get("gamma0", 1.0))
