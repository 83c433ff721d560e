"""What every solver of the dynamics table must satisfy. A new row is tested here without a new test."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limes.core.errors import ConvergenceError
from limes.core.status import SolveStatus
from limes.theory.dynamics import SOLVERS, DMFTResult, DynamicsSolver, MLPProblem, solve_static_ntk
from support.dmft_cases import samples

NAMES = sorted(SOLVERS)
PERCEPTRONS = [name for name in NAMES if SOLVERS[name].problem is MLPProblem]
# The learning rules have lazy limits of their own.
LAZY = [name for name in PERCEPTRONS if "rule" not in SOLVERS[name].options]
EXACT = [name for name in PERCEPTRONS if SOLVERS[name].exact and name != "mlp"]
NUM_TIMES = 6


def _fields(solver: DynamicsSolver, **changes: Any) -> dict[str, Any]:
    inputs, targets = samples(3, 5)
    fields = {
        "inputs": inputs,
        "targets": targets,
        "depth": 2,
        "activation": "tanh",
        "gamma0": 1.0,
        "lr": 0.3,
        "num_times": NUM_TIMES,
    }
    return fields | dict(solver.requires) | changes


def _solve(solver: DynamicsSolver, fields: dict[str, Any], **options: Any) -> DMFTResult:
    return solver.solve(solver.problem(**fields), **{**solver.options, **options})


def _sampled(result: DMFTResult) -> np.ndarray:
    """The reported half-width, and rounding where there is none."""
    return 1e-9 + np.nan_to_num(result.loss_error)


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_float64_and_shaped(name: str) -> None:
    solver = SOLVERS[name]
    fields = _fields(solver)
    result = _solve(solver, fields)
    assert result.status is SolveStatus.CONVERGED
    assert result.loss.shape == (NUM_TIMES,) and result.outputs.shape == (NUM_TIMES, 3)
    arrays = [*result.to_arrays().values(), result.loss_error, result.outputs_error]
    depth = len(result.trajectories[0].features)
    for layer in range(1, depth + 1):
        arrays += [result.feature_kernel(layer, 4, 2), result.gradient_kernel(layer, NUM_TIMES - 1)]
        np.testing.assert_allclose(
            result.feature_kernel(layer, 4, 2), result.feature_kernel(layer, 2, 4).T, rtol=1e-9, atol=1e-12
        )
    arrays.append(result.ntk(3))
    assert all(array.dtype == np.float64 and np.isfinite(array).all() for array in arrays)
    assert result.loss[0] == pytest.approx(0.5 * np.mean(fields["targets"] ** 2), rel=1e-14)
    assert result.loss[-1] < 0.9 * result.loss[0]
    assert len(result.to_rows()) == NUM_TIMES


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_reproducible_and_the_problem_unchanged(name: str) -> None:
    solver = SOLVERS[name]
    fields = _fields(solver)
    problem = solver.problem(**fields)
    first, second = (solver.solve(problem, **solver.options) for _ in range(2))
    np.testing.assert_array_equal(first.loss, second.loss)
    assert first.problem is problem
    assert not problem.inputs.flags.writeable


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_samples_does_not_matter(name: str) -> None:
    solver = SOLVERS[name]
    fields = _fields(solver)
    order = [2, 0, 1]
    moved = _solve(solver, fields | {"inputs": fields["inputs"][order], "targets": fields["targets"][order]})
    result = _solve(solver, fields)
    assert (np.abs(moved.loss - result.loss) <= _sampled(moved) + _sampled(result)).all()
    difference = np.abs(moved.outputs - result.outputs[:, order])
    assert (difference <= 1e-9 + moved.outputs_error + result.outputs_error[:, order]).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_of_the_targets_does_not_matter(name: str) -> None:
    solver = SOLVERS[name]
    fields = _fields(solver)
    scaled = _solve(solver, fields | {"targets": 4.0 * fields["targets"], "gamma0": 0.25})
    result = _solve(solver, fields)
    np.testing.assert_allclose(scaled.outputs, 4.0 * result.outputs, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(scaled.loss, 16.0 * result.loss, rtol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_a_rotation_of_the_inputs_does_not_matter(name: str) -> None:
    solver = SOLVERS[name]
    fields = _fields(solver)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    turned = _solve(solver, fields | {"inputs": fields["inputs"] @ rotation})
    result = _solve(solver, fields)
    assert (np.abs(turned.loss - result.loss) <= _sampled(turned) + _sampled(result)).all()


@pytest.mark.parametrize("name", LAZY)
def test_small_gamma0_is_the_lazy_limit(name: str) -> None:
    solver, gamma0 = SOLVERS[name], 0.02
    result = _solve(solver, _fields(solver, gamma0=gamma0))
    lazy = solve_static_ntk(result.problem)
    # Corrections are of second order in gamma0; gradient independence advances outputs by the same kernel.
    assert (np.abs(result.loss - lazy.loss) <= 2 * _sampled(result) + gamma0**2).all()


@pytest.mark.parametrize("name", [name for name in NAMES if SOLVERS[name].hopeless is not None])
def test_a_hopeless_tolerance_is_a_status(name: str) -> None:
    solver = SOLVERS[name]
    options = dict(solver.hopeless or {})
    result = _solve(solver, _fields(solver), throw=False, **options)
    assert result.status in (SolveStatus.ILL_CONDITIONED, SolveStatus.MAX_ITERATIONS)
    with pytest.raises(ConvergenceError) as caught:
        _solve(solver, _fields(solver), **options)
    assert caught.value.result.status is result.status
    assert caught.value.result.loss.shape == (NUM_TIMES,)


@pytest.mark.parametrize("name", NAMES)
def test_the_row_is_documented(name: str) -> None:
    solver = SOLVERS[name]
    page = Path(__file__).resolve().parents[2] / "docs" / "theory" / solver.docs
    assert page.is_file() and str(solver.source) and solver.scope


@pytest.mark.parametrize("name", EXACT)
def test_exact_solvers_of_the_same_problem_agree(name: str) -> None:
    solver = SOLVERS[name]
    fields = _fields(solver)
    result, reference = _solve(solver, fields), _solve(SOLVERS["mlp"], fields, num_particles=4096, num_scrambles=8)
    bound = _sampled(result) + _sampled(reference)
    assert (np.abs(result.loss - reference.loss) <= bound).all()
