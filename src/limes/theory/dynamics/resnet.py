"""Mean field dynamics of a residual network: one population of particles for the whole stream.

The network is h^1 = W^0 x / sqrt(input_dim), h^{l+1} = h^l + branch W^l phi(h^l) / sqrt(width) for each of
`depth` blocks, f = w . phi(h^{depth+1}) / (gamma0 width), with branch = beta * depth^-alpha and the
learning rate of the blocks multiplied by depth^(2 alpha - 1), so that what they learn has a limit as depth
grows.

Source: Bordelon, Noci, Li, Hanin & Pehlevan, arXiv:2309.16620 (alpha = 1/2); in discrete time
docs/theory/dmft_resnet.md.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limes.core.errors import SpecError
from limes.theory.activations import Activation, get_activation
from limes.theory.checks import check_count, check_number
from limes.theory.dynamics.particles import Network
from limes.theory.dynamics.problem import normalise
from limes.theory.dynamics.result import DMFTResult
from limes.theory.dynamics.solve import Settings, run_particles


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResNetProblem:
    """Gradient descent of a bias-free residual network of infinite width and finite depth.

    Args:
        inputs: (num_samples, input_dim) training inputs.
        targets: (num_samples,) or (num_samples, num_outputs).
        depth: Number of residual blocks, each with one weight matrix.
        activation: A name of `limes.theory.activations.ACTIVATIONS`, or an `Activation`.
        gamma0: Richness, positive.
        lr: Learning rate in units of gamma0^2 * width; the blocks get it times depth^(2 alpha - 1).
        num_times: Recorded times 0 .. num_times - 1.
        beta: Branch scale at depth 1.
        alpha: Exponent of the branch scale, at least 1/2; below, the stream has no limit as depth grows.
        test_inputs: As in `MLPProblem`.
        batches: As in `MLPProblem`.
        momentum: As in `MLPProblem`.
        weight_decay: As in `MLPProblem`; one number, or depth + 2 of them.
        decay_mode: As in `MLPProblem`.
        lr_scale: Factor for each of the depth + 2 weight matrices, inputs first, on top of the depth
        scaling.
        weight_var: Variance of the entries of each weight matrix; None is ones.
        lr_schedule: As in `MLPProblem`.

    Raises:
        SpecError: A shape does not fit, a value is not finite or out of range.
    """

    inputs: Any
    targets: Any
    depth: int
    activation: str | Activation
    gamma0: float
    lr: float
    num_times: int
    beta: float = 1.0
    alpha: float = 0.5
    test_inputs: Any = None
    batches: Any = None
    momentum: float = 0.0
    weight_decay: float | Sequence[float] = 0.0
    decay_mode: str = "decoupled"
    lr_scale: Sequence[float] | None = None
    weight_var: Sequence[float] | None = None
    lr_schedule: Sequence[float] | None = None

    def __post_init__(self) -> None:
        normalise(self, num_matrices=check_count("depth", self.depth, least=1) + 2)
        check_number("beta", self.beta, low=0.0, open_low=True)
        check_number("alpha", self.alpha, low=0.5)

    @property
    def branch_scale(self) -> float:
        """beta * depth^-alpha."""
        return float(self.beta * self.depth**-self.alpha)

    @property
    def num_samples(self) -> int:
        """Training samples."""
        return len(self.inputs)

    @property
    def num_test(self) -> int:
        """Held-out samples."""
        return 0 if self.test_inputs is None else len(self.test_inputs)

    @property
    def num_outputs(self) -> int:
        """Readouts; 1 for targets of shape (num_samples,)."""
        return 1 if self.targets.ndim == 1 else int(self.targets.shape[1])

    @property
    def nonlinearity(self) -> Activation:
        """The activation as an object."""
        return get_activation(self.activation)

    @property
    def decays(self) -> tuple[float, ...]:
        """Fraction that one update removes of each weight matrix."""
        return tuple(np.atleast_1d(self.weight_decay).tolist())

    @property
    def rates(self) -> tuple[float, ...]:
        """Factor on the learning rate of each weight matrix, the depth scaling of the blocks included."""
        scales = tuple(self.lr_scale or ())
        blocks = float(self.depth ** (2 * self.alpha - 1))
        return (scales[0], *(blocks * scale for scale in scales[1:-1]), scales[-1])

    @property
    def tangent_scales(self) -> tuple[float, ...]:
        """Weight of each matrix's term in the tangent kernel."""
        rates = self.rates
        return (rates[0], *(self.branch_scale**2 * rate for rate in rates[1:-1]), rates[-1])


def solve_dmft_resnet(
    problem: ResNetProblem,
    *,
    num_particles: int = 4096,
    tolerance: float = 1e-6,
    num_scrambles: int = 4,
    seed: int = 0,
    noise: str = "sobol",
    responses: bool = True,
    two_time: bool = True,
    field_times: Collection[int] | None = None,
    memory_limit: float = 4.0,
    time_limit: float = 600.0,
    throw: bool = True,
    progress: Callable[[float], None] | None = None,
) -> DMFTResult:
    """Outputs, kernels and field distributions of an infinitely wide residual network during training.

    Layers of the result are the stream before block l = 1 .. depth, and after the last block (depth + 1).

    Args:
        problem: What is trained.
        num_particles: Samples of the stream's single-site process; shared by all blocks, so many blocks
        need more.
        tolerance: As `solve_dmft_mlp`.
        num_scrambles: As `solve_dmft_mlp`.
        seed: As `solve_dmft_mlp`.
        noise: As `solve_dmft_mlp`; "independent" gives networks of width `num_particles` only
        approximately, since the
            blocks share one population.
        responses: As `solve_dmft_mlp`.
        two_time: As `solve_dmft_mlp`.
        field_times: As `solve_dmft_mlp`.
        memory_limit: As `solve_dmft_mlp`.
        time_limit: As `solve_dmft_mlp`.
        throw: As `solve_dmft_mlp`.
        progress: As `solve_dmft_mlp`.

    Raises:
        SpecError: A setting is out of range, or the predicted cost is beyond a limit.
        ConvergenceError: With `throw`, on divergence or ranks too close to the number of particles.

    Accuracy: relative error of the loss curve about 1e-3 at 4096 x 4 and depth 2; from depth 8 on it falls
    as num_particles^-0.5 only, as hundreds of Sobol dimensions are in use.
    Source: docs/theory/dmft_resnet.md.

    >>> problem = ResNetProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=2, activation="tanh", gamma0=1.0, lr=0.3, num_times=5
    ... )
    >>> result = solve_dmft_resnet(problem, num_particles=1024)
    >>> bool(result.loss[-1] < result.loss[0]), len(result.trajectories[0].features)
    (True, 3)
    """
    settings = Settings(
        num_particles=num_particles,
        tolerance=tolerance,
        num_scrambles=num_scrambles,
        seed=seed,
        noise=noise,
        two_time=two_time,
        field_times=field_times,
        memory_limit=memory_limit,
        time_limit=time_limit,
        progress=progress,
    )
    network = Network(branch=problem.branch_scale, residual=True, responses=responses)
    return run_particles(problem, network, settings=settings, throw=throw)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DepthLimit:
    """Extrapolation of a residual network's loss curve to infinite depth.

    Args:
        loss: (num_times,) limit of a + b / depth.
        loss_error: (num_times,) half-width of its 95 % interval from the randomizations of each depth.
        slope: (num_times,) b.
        results: One result per depth.
    """

    loss: np.ndarray
    loss_error: np.ndarray
    slope: np.ndarray
    results: tuple[DMFTResult, ...]


def extrapolate_depth(results: Sequence[DMFTResult]) -> DepthLimit:
    """Fit a + b / depth to loss curves of the same problem at several depths, weighted by their errors.

    Args:
        results: At least two results of `solve_dmft_resnet`, at different depths, each with an error
        estimate.

    Raises:
        SpecError: Fewer than two depths, or no error estimate.

    Accuracy: the leading correction is 1 / depth; its next order is not modelled, so use depths of at
    least 4.
    Source: docs/theory/dmft_resnet.md.

    >>> fields = {"inputs": np.eye(2), "targets": [1.0, -1.0], "activation": "tanh", "gamma0": 1.0}
    >>> problems = [ResNetProblem(depth=depth, lr=0.3, num_times=4, **fields) for depth in (2, 4)]
    >>> results = [solve_dmft_resnet(problem, num_particles=512) for problem in problems]
    >>> extrapolate_depth(results).loss.shape
    (4,)
    """
    depths = np.array([result.problem.depth for result in results], dtype=float)
    if len(set(depths.tolist())) < 2 or any(np.isnan(result.loss_error).any() for result in results):
        raise SpecError(f"depths {depths.tolist()}: expected at least two, each solved with several scrambles")
    losses = np.stack([result.loss for result in results])
    errors = np.stack([result.loss_error for result in results])
    # At t = 0 every curve is exact; any positive weight gives the exact answer there.
    weights = 1.0 / np.maximum(errors, 1e-12)
    design = np.stack([np.ones_like(depths), 1.0 / depths], axis=1)
    covariance = np.linalg.inv(np.einsum("dt,di,dj->tij", weights**2, design, design))
    fit = np.einsum("tij,dj,dt->ti", covariance, design, weights**2 * losses)
    return DepthLimit(loss=fit[:, 0], loss_error=np.sqrt(covariance[:, 0, 0]), slope=fit[:, 1], results=tuple(results))
