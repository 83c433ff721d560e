"""The problem that the dynamical mean field theory of a multilayer perceptron solves, in one fixed
convention.

The network is h^1 = W^0 x / sqrt(input_dim), h^{l+1} = W^l phi(h^l) / sqrt(width), f = w . phi(h^L) /
(gamma0 width), with standard normal weights; the loss is the mean over samples of half the squared error
(summed over outputs); gradient descent has the learning rate lr * gamma0^2 * width. Networks are trained
on f - f(0).

Source: Bordelon & Pehlevan, arXiv:2205.09653, section 2; docs/theory/dmft.md for the discrete-time form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limes.core.errors import SpecError
from limes.theory.activations import Activation, get_activation
from limes.theory.checks import check_count, check_number
from limes.theory.dynamics.checks import (
    DECAY_MODES,
    as_array,
    check_batches,
    check_data,
    check_gamma0,
    check_schedule,
    per_matrix,
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MLPProblem:
    """Full-batch or minibatch gradient descent of a bias-free multilayer perceptron of infinite width.

    Args:
        inputs: (num_samples, input_dim) training inputs.
        targets: (num_samples,) or (num_samples, num_outputs).
        depth: Number of hidden layers.
        activation: A name of `limes.theory.activations.ACTIVATIONS`, or an `Activation`.
        gamma0: Richness, positive: 1 is mean field / muP scaling, and towards 0 the dynamics become lazy.
        lr: Learning rate in units of gamma0^2 * width.
        num_times: Recorded times 0 .. num_times - 1, so num_times - 1 updates.
        test_inputs: (num_test, input_dim) held-out inputs, or None.
        batches: Lists of sample indices, one per update; None is full batch.
        momentum: Heavy ball coefficient, as in torch.optim.SGD.
        weight_decay: Fraction of a weight that one update removes (learning rate times decay coefficient):
        one
            number, or one per weight matrix.
        decay_mode: "decoupled" shrinks the weights beside the momentum buffer, "torch_sgd" decays through
        it.
        lr_scale: Factor on `lr` for each of the depth + 1 weight matrices, inputs first; None is ones.
        weight_var: Variance of the entries of each weight matrix; None is ones.
        lr_schedule: (num_times - 1,) factors on the learning rate and on the decay, one per update; None
        is ones.

    Raises:
        SpecError: A shape does not fit, a value is not finite or out of range.

    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=1, activation="tanh", gamma0=1.0, lr=0.3, num_times=5
    ... )
    >>> problem.num_samples, problem.num_outputs, problem.lr_scale
    (2, 1, (1.0, 1.0))
    """

    inputs: Any
    targets: Any
    depth: int
    activation: str | Activation
    gamma0: float
    lr: float
    num_times: int
    test_inputs: Any = None
    batches: Any = None
    momentum: float = 0.0
    weight_decay: float | Sequence[float] = 0.0
    decay_mode: str = "decoupled"
    lr_scale: Sequence[float] | None = None
    weight_var: Sequence[float] | None = None
    lr_schedule: Sequence[float] | None = None

    def __post_init__(self) -> None:
        normalise(self, num_matrices=check_count("depth", self.depth, least=1) + 1)

    @property
    def num_samples(self) -> int:
        """Training samples."""
        return len(self.inputs)

    @property
    def num_test(self) -> int:
        """Held-out samples."""
        return 0 if self.test_inputs is None else len(self.test_inputs)

    @property
    def nonlinearity(self) -> Activation:
        """The activation as an object."""
        return get_activation(self.activation)

    @property
    def rates(self) -> tuple[float, ...]:
        """Factor on the learning rate of each weight matrix."""
        return tuple(self.lr_scale or ())

    @property
    def decays(self) -> tuple[float, ...]:
        """Fraction that one update removes of each weight matrix."""
        return tuple(np.atleast_1d(self.weight_decay).tolist())

    @property
    def tangent_scales(self) -> tuple[float, ...]:
        """Weight of each matrix's term (feature kernel below times gradient kernel above) in the tangent kernel."""
        return self.rates

    @property
    def num_outputs(self) -> int:
        """Readouts; 1 for targets of shape (num_samples,)."""
        return 1 if self.targets.ndim == 1 else int(self.targets.shape[1])


def normalise(problem: Any, *, num_matrices: int) -> None:
    """Check the fields that every problem of this package shares, and store them in their final types."""
    settle = lambda name, value: object.__setattr__(problem, name, value)  # noqa: E731
    settle("num_times", check_count("num_times", problem.num_times, least=1))
    settle("inputs", as_array("inputs", problem.inputs, ndim=(2,)))
    settle("targets", as_array("targets", problem.targets, ndim=(1, 2)))
    if problem.test_inputs is not None:
        settle("test_inputs", as_array("test_inputs", problem.test_inputs, ndim=(2,)))
    check_data(problem.inputs, problem.targets, problem.test_inputs)
    settle("activation", get_activation(problem.activation))
    settle("gamma0", check_gamma0(problem.gamma0))
    settle("lr", check_number("lr", problem.lr, low=0.0, open_low=True))
    settle("momentum", check_number("momentum", problem.momentum, low=0.0, below=1.0))
    decay = per_matrix("weight_decay", problem.weight_decay, count=num_matrices, low=0.0)
    if max(decay) >= 1.0:
        raise SpecError(f"weight_decay is {problem.weight_decay!r}; one update must remove less than the whole weight")
    settle("weight_decay", decay)
    if problem.decay_mode not in DECAY_MODES:
        raise SpecError(f"decay_mode is {problem.decay_mode!r}; expected one of {', '.join(DECAY_MODES)}")
    for name, open_low in (("lr_scale", False), ("weight_var", True)):
        value = getattr(problem, name)
        settle(name, per_matrix(name, 1.0 if value is None else value, count=num_matrices, low=0.0, open_low=open_low))
    counts = {"num_samples": len(problem.inputs), "num_times": problem.num_times}
    settle("batches", check_batches(problem.batches, **counts))
    settle("lr_schedule", check_schedule(problem.lr_schedule, num_times=problem.num_times))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Columns:
    """The samples of a problem as the solvers walk them: training samples first, then held-out ones.

    Args:
        factor: (P_all, rank) with factor @ factor.T the input kernel.
        targets: (P_all, C), zero for held-out samples.
        weights: (num_times, P_all), P / batch size times the number of occurrences in the batch; 0 off it.
        num_train: P.
        target_scale: Root mean square of the targets.
    """

    factor: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    num_train: int
    target_scale: float

    @property
    def input_kernel(self) -> np.ndarray:
        """(P_all, P_all), X X^T / input_dim."""
        return self.factor @ self.factor.T


def columns_of(problem: Any) -> Columns:
    """Lay out the samples of a problem for a solver."""
    inputs = problem.inputs
    if problem.test_inputs is not None:
        inputs = np.concatenate([inputs, problem.test_inputs])
    values, vectors = np.linalg.eigh(inputs @ inputs.T / inputs.shape[1])
    # Rounding leaves eigenvalues near 1e-16 of the largest; keeping them would only add noise dimensions.
    keep = values > 1e-12 * values[-1]
    num_train, num_all = len(problem.inputs), len(inputs)
    targets = np.zeros((num_all, problem.num_outputs))
    targets[:num_train] = problem.targets.reshape(num_train, -1)
    weights = np.zeros((problem.num_times, num_all))
    weights[:, :num_train] = 1.0
    for step, batch in enumerate(problem.batches or ()):
        weights[step] = np.bincount(batch, minlength=num_all) * (num_train / len(batch))
    vectors = vectors[:, keep][:, ::-1]
    # A fixed sign makes the particles, and so the answer, independent of the order of the samples.
    vectors = vectors * np.where(vectors.sum(0) < 0, -1.0, 1.0)
    return Columns(
        factor=vectors * np.sqrt(values[keep][::-1]),
        targets=targets,
        weights=weights,
        num_train=num_train,
        target_scale=float(np.sqrt(np.mean(targets[:num_train] ** 2))),
    )
