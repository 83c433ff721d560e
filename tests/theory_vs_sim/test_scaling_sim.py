"""Scaling theories against direct simulation, extrapolated in 1/size, each with a mutant that must be rejected.

The mean field is exact as width, samples and modes grow together. So the ratio of simulated to predicted loss is
measured at four sizes with everything in proportion, and its limit must be 1.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from limes.core.rng import stream
from limes.theory.kernels import ntk_kernel
from limes.theory.scaling import (
    FeatureLearningProblem,
    Projection,
    RandomFeatureProblem,
    power_law_problem,
    ridge_equivalent,
    simulate_feature_learning,
    simulate_random_features,
    simulate_ridge,
    solve_feature_learning,
    solve_random_features,
    train_random_features,
)
from limes.theory.scaling.simulate import draw_data, draw_normals
from support.stats import assert_limit

pytestmark = pytest.mark.sim

SIZES = (1, 2, 3, 5)
NUM_DRAWS = 64


def law(size, *, noise_var=0.1, wide=False, **settings):
    """Width 20 and 32 samples per unit of size, or the reverse."""
    n, p = (32, 20) if wide else (20, 32)
    return power_law_problem(
        1.5, 1.25, 100 * size, num_features=n * size, num_samples=p * size, noise_var=noise_var, **settings
    )


CASES = {
    "flow": ({"noise_var": 0.0}, [1.0, 10.0, 100.0], {"noise_var": 0.05}),
    "flow, noise": ({"noise_var": 0.5}, [3.0, 30.0], {"noise_var": 0.6}),
    "flow, wide": ({"wide": True}, [10.0, math.inf], {"num_samples": 1.25}),
    "steps": ({"lr": 0.2}, [1, 5, 100], {"lr": 1.15}),
    "momentum": ({"lr": 0.2, "momentum": 0.8}, [3, 30], {"momentum": 0.9}),
    "inertia": ({"inertia": 2.0}, [1.0, 4.0, 30.0], {"inertia": 1.2}),
    "ridge": ({"ridge": 0.02, "noise_var": 0.3}, [2.0, math.inf], {"ridge": 1.3}),
}


def mutate(problem, changes):
    """Factors on fields; noise is added where there was none."""
    new = {
        name: (factor if name == "noise_var" else factor * getattr(problem, name)) for name, factor in changes.items()
    }
    return replace(problem, **new)


@pytest.mark.parametrize("name", sorted(CASES))
def test_random_features(name):
    settings, times, mutant = CASES[name]
    ratios, wrong = [], []
    for size in SIZES:
        problem = law(size, **settings)
        run = simulate_random_features(
            problem, times, num_draws=NUM_DRAWS, generator=stream(0, "data", name, str(size))
        )
        for target, theory in ((ratios, problem), (wrong, mutate(problem, mutant))):
            r = solve_random_features(theory, times)
            pair = [run.test_loss / r.test_loss]
            if r.train_loss.min() > 1e-9:
                pair.append(run.train_loss / r.train_loss)
            target.append(np.concatenate(pair, axis=1))
    values, mutants = np.array(ratios), np.array(wrong)
    for column in range(values.shape[2]):
        assert_limit(SIZES, values[:, :, column], 1.0)
    with pytest.raises(AssertionError, match="limit"):
        for column in range(values.shape[2]):
            assert_limit(SIZES, mutants[:, :, column], 1.0)


def test_correlations_of_learners():
    """Two learners with the same features, the same data, or neither: what ensembles and bagging are made of."""
    times = [2.0, 30.0]
    columns = {name: [] for name in ("independent_features", "independent_data", "independent_both")}
    for size in SIZES:
        problem = law(size, noise_var=0.3)
        theory = solve_random_features(problem, times)
        generator = stream(1, "data", str(size))
        n, p = int(problem.num_features), int(problem.num_samples)
        rows = {name: [] for name in columns}
        for _ in range(NUM_DRAWS):
            a1, a2 = (draw_normals(n, 100 * size, generator=generator) for _ in range(2))
            d1, d2 = (draw_data(problem, p, generator=generator) for _ in range(2))
            missing = {
                key: train_random_features(problem, times, features=a, data=d[0], noise=d[1])[0]
                for key, a, d in (("11", a1, d1), ("21", a2, d1), ("12", a1, d2), ("22", a2, d2))
            }
            for name, other in (("independent_features", "21"), ("independent_data", "12"), ("independent_both", "22")):
                rows[name].append((missing["11"] * missing[other]).sum(1) / getattr(theory, name))
        for name in columns:
            columns[name].append(rows[name])
    for values in columns.values():
        for column in range(2):
            assert_limit(SIZES, np.array(values)[:, :, column], 1.0)
    # The mutant takes one correlation for the other.
    swapped = np.array(columns["independent_features"])[:, :, 1]
    with pytest.raises(AssertionError, match="limit"):
        assert_limit(SIZES, swapped * (theory.independent_features / theory.independent_data)[1], 1.0)


def test_one_pass_sgd():
    """Batches and noise grow in proportion, so that batch noise stays while the Gaussian fourth moments fade."""
    times = [1, 10, 60]
    good, bad = [], []
    for size in SIZES:
        problem = power_law_problem(
            1.5, 1.25, 100 * size, num_features=20 * size, noise_var=15.0 * size, lr=0.2, batch_size=8 * size
        )
        run = simulate_random_features(problem, times, num_draws=NUM_DRAWS, generator=stream(2, "data", str(size)))
        good.append(run.test_loss / solve_random_features(problem, times).test_loss)
        mutant = replace(problem, batch_size=1.5 * problem.batch_size)
        bad.append(run.test_loss / solve_random_features(mutant, times).test_loss)
    for column in range(len(times)):
        assert_limit(SIZES, np.array(good)[:, :, column], 1.0)
    with pytest.raises(AssertionError, match="limit"):
        assert_limit(SIZES, np.array(bad)[:, :, 2], 1.0)


@pytest.mark.parametrize("kernel", [True, False])
def test_ridge_regression(kernel):
    """The kernel itself and random features, at a ridge; a ridge larger by a third must not agree."""
    good, bad = [], []
    for size in SIZES:
        problem = law(size, noise_var=0.2, ridge=0.05)
        problem = replace(problem, num_features=math.inf) if kernel else problem
        run = simulate_ridge(problem, num_draws=NUM_DRAWS, generator=stream(6, "data", str(size), str(kernel)))
        for target, theory in ((good, problem), (bad, replace(problem, ridge=4.0 / 3.0 * problem.ridge))):
            result = ridge_equivalent(theory)
            target.append(np.stack([run.test_loss / result.test_loss, run.train_loss / result.train_loss], 1))
    for column in range(2):
        assert_limit(SIZES, np.array(good)[:, :, column], 1.0)
    with pytest.raises(AssertionError, match="limit"):
        for column in range(2):
            assert_limit(SIZES, np.array(bad)[:, :, column], 1.0)


def test_projected_features_follow_their_s_transform():
    """Ridge regression on orthogonal random directions."""
    good, bad = [], []
    for size in (1, 2, 3, 4):
        modes, n, p = 60 * size, 20 * size, 32 * size
        problem = power_law_problem(1.5, 1.25, modes, num_features=n, num_samples=p, noise_var=0.3, ridge=0.02)
        generator = stream(3, "data", str(size))
        rows = []
        for _ in range(NUM_DRAWS):
            seed = np.random.default_rng(int(draw_normals(1, 1, generator=generator)[0, 0] * 1e9) & 0xFFFFFFFF)
            directions = ortho_group.rvs(modes, random_state=seed)[:n] * math.sqrt(modes)
            data, noise = draw_data(problem, p, generator=generator)
            missing, residual = train_random_features(problem, [math.inf], features=directions, data=data, noise=noise)
            rows.append([(missing**2).sum(), (residual**2).mean()])
        theory = ridge_equivalent(problem, layers=[Projection(n, modes)])
        good.append(np.array(rows) / [theory.test_loss, theory.train_loss])
        gaussian = ridge_equivalent(problem)
        bad.append(np.array(rows) / [gaussian.test_loss, gaussian.train_loss])
    for column in range(2):
        assert_limit((1, 2, 3, 4), np.array(good)[:, :, column], 1.0)
    with pytest.raises(AssertionError, match="limit"):
        for column in range(2):
            assert_limit((1, 2, 3, 4), np.array(bad)[:, :, column], 1.0)


@pytest.mark.parametrize("projected", [True, False])
def test_feature_learning(projected):
    """Networks of growing width on a fixed spectrum: their limit is the closed form."""
    k, widths, times = np.arange(1.0, 13.0), (60, 120, 180, 240), [1.0, 6.0]
    problem = FeatureLearningProblem(k**-1.5, k**-1.75, gamma=1.0)
    runs = np.array(
        [
            simulate_feature_learning(
                replace(problem, num_features=width),
                times,
                num_draws=NUM_DRAWS,
                generator=stream(4, "init", str(width)),
                projected=projected,
                tolerance=1e-6,
            )
            for width in widths
        ]
    )
    theory = solve_feature_learning(problem, times).test_loss
    mutant = solve_feature_learning(replace(problem, gamma=1.6), times).test_loss
    for column in range(2):
        assert_limit(widths, runs[:, :, column] / theory[column], 1.0)
    with pytest.raises(AssertionError, match="limit"):
        for column in range(2):
            assert_limit(widths, runs[:, :, column] / mutant[column], 1.0)


def train_on_circle(width, seeds, targets, *, lr, steps, generator):
    """Training losses (seeds, len(steps)) of ReLU networks with one hidden layer and biases, NTK parametrization."""
    num_samples = len(targets)
    theta = 2.0 * math.pi * torch.arange(num_samples, dtype=torch.float64) / num_samples
    x = math.sqrt(2.0) * torch.stack([theta.cos(), theta.sin()], 1)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    w, b, a, c = draw(seeds, 2, width), draw(seeds, 1, width), draw(seeds, width, 1), draw(seeds, 1, 1)
    root, bias, y = math.sqrt(2.0 / width), math.sqrt(0.1), torch.tensor(targets)[:, None]
    start, losses = None, []
    for step in range(max(steps) + 1):
        h = x @ w + bias * b
        active = h.clamp_min(0.0)
        f = root * active @ a + bias * c
        start = f if start is None else start
        error = f - start - y
        if step in steps:
            losses.append((error**2).mean((1, 2)))
        back = root * (error / num_samples) @ a.mT * (h > 0)
        a = a - lr * root * active.mT @ (error / num_samples)
        c = c - lr * bias * error.mean(1, keepdim=True)
        w, b = w - lr * x.T @ back, b - lr * bias * back.sum(1, keepdim=True)
    return torch.stack(losses, 1).numpy()


def test_circle_task_of_trained_relu_networks():
    """Lazy networks follow the sum over modes of their own kernel, whose exponents `circle_task` gives."""
    # Small targets keep features still; late steps need widths far beyond these, since errors of the kernel add up.
    num_samples, widths, steps = 32, (128, 256, 512, 1024), (2, 8, 32)
    theta = 2.0 * np.pi * np.arange(num_samples) / num_samples
    points = torch.tensor(math.sqrt(2.0) * np.stack([np.cos(theta), np.sin(theta)], 1))
    row = ntk_kernel(points[:1], points, depth=1, activation="relu", weight_var=2.0, bias_var=0.1)[0].numpy()
    lam = np.fft.fft(row).real / num_samples
    targets = 0.1 * sum(k**-1.0 * np.cos(k * theta) for k in range(1, 9))
    power = np.abs(np.fft.fft(targets) / num_samples) ** 2
    lr = 0.7 / lam.max()
    prediction = solve_random_features(RandomFeatureProblem(lam.clip(0.0), power, lr=lr), steps).test_loss
    mutant = solve_random_features(RandomFeatureProblem(lam.clip(0.0), power, lr=0.8 * lr), steps).test_loss
    runs = np.array(
        [
            train_on_circle(width, NUM_DRAWS, targets, lr=lr, steps=steps, generator=stream(5, "init", str(width)))
            for width in widths
        ]
    )
    for column in range(len(steps)):
        assert_limit(widths, runs[:, :, column] / prediction[column], 1.0)
    with pytest.raises(AssertionError, match="limit"):
        for column in range(len(steps)):
            assert_limit(widths, runs[:, :, column] / mutant[column], 1.0)
