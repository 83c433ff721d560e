"""The approximation of gradient independence: the backward pass uses a copy of each matrix, independent of
the forward one.

The fields then have no responses. Their kernels drive the outputs through the tangent kernel: an output
read from the fields themselves would miss what the lower layers learn even in the lazy limit, where this
approximation is exact.

Source: the assumption of Schoenholz et al., arXiv:1611.01232, carried through training as the A = B = 0
closure of Bordelon & Pehlevan, arXiv:2205.09653; docs/theory/dmft_approximations.md.
"""

from limes.core.errors import ScopeError
from limes.theory.dynamics.particles import Network
from limes.theory.dynamics.problem import MLPProblem
from limes.theory.dynamics.result import DMFTResult
from limes.theory.dynamics.solve import Settings, run_particles


def solve_gradient_independence(
    problem: MLPProblem,
    *,
    num_particles: int = 2048,
    tolerance: float = 1e-6,
    num_scrambles: int = 4,
    seed: int = 0,
    throw: bool = True,
) -> DMFTResult:
    """Training dynamics with forward and backward matrices independent: an approximation, for comparison.

    Exact as gamma0 -> 0 for small learning rates, and for one hidden layer up to the learning rate's own
    order.

    Args:
        problem: What is trained; no momentum and no decay.
        num_particles: As `solve_dmft_mlp`.
        tolerance: As `solve_dmft_mlp`.
        num_scrambles: As `solve_dmft_mlp`.
        seed: As `solve_dmft_mlp`.
        throw: As `solve_dmft_mlp`.

    Raises:
        ScopeError: The problem has momentum or decay.
        ConvergenceError: With `throw`, on divergence or ranks too close to the number of particles.

    Accuracy: of the approximation none is claimed; its sampling error is reported as for `solve_dmft_mlp`.
    Source: docs/theory/dmft_approximations.md.

    >>> import numpy as np
    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=2, activation="tanh", gamma0=1.0, lr=0.3, num_times=5
    ... )
    >>> solve_gradient_independence(problem, num_particles=1024).loss.shape
    (5,)
    """
    if problem.momentum or any(problem.decays):
        raise ScopeError(
            f"momentum {problem.momentum:g}, weight_decay {problem.weight_decay}: the tangent-kernel update covers "
            "plain gradient descent; use solve_dmft_mlp"
        )
    settings = Settings(num_particles=num_particles, tolerance=tolerance, num_scrambles=num_scrambles, seed=seed)
    return run_particles(problem, Network(responses=False, tangent=True), settings=settings, throw=throw)
