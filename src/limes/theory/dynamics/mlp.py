"""Mean field dynamics of a multilayer perceptron, marched forward in time with lazily revealed Gaussian matrices.

Every hidden layer is a population of particles (single-site processes), and nothing is iterated to a fixed point.

Source: Bordelon & Pehlevan, arXiv:2205.09653 (the limit); the discrete-time equations and the algorithm are in
docs/theory/dmft.md.
"""

from collections.abc import Callable, Collection

from limes.theory.dynamics.particles import Network
from limes.theory.dynamics.problem import MLPProblem
from limes.theory.dynamics.result import DMFTResult
from limes.theory.dynamics.solve import Settings, run_particles


def solve_dmft_mlp(
    problem: MLPProblem,
    *,
    num_particles: int = 2048,
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
    """Outputs, kernels and field distributions of an infinitely wide multilayer perceptron during training.

    Args:
        problem: What is trained; any depth and activation.
        num_particles: Samples of each layer's single-site process; a power of two for Sobol noise.
        tolerance: Relative mean square below which a direction counts as known already; it sets the ranks.
        1e-6 is
            below the sampling error up to about 65536 particles.
        num_scrambles: Independent randomizations; the error estimate is their Student-t interval.
        seed: Of the randomizations. The noise is a numerical device: the answer does not depend on it in
        the limit.
        noise: "sobol", or "independent": then each randomization is one network of width `num_particles`,
        exactly in
            law as `tolerance` -> 0.
        responses: False drops the responses, the approximation of gradient independence.
        two_time: Keep top features and bottom gradients at all times; otherwise at `field_times` only.
        field_times: Times at which samples of the fields are kept; None is the first and the last.
        memory_limit: Refuse beyond this many predicted GiB.
        time_limit: Refuse beyond this many predicted CPU seconds.
        throw: Raise when the run fails; otherwise return it with its status.
        progress: Called after each time with the share of the work that is done, 0 to 1.

    Returns:
        A `DMFTResult`; `status` is DIVERGED when the outputs left every bound (NaN from that step on) and
        ILL_CONDITIONED when the ranks came too close to the number of particles.

    Raises:
        SpecError: A setting is out of range, or the predicted cost is beyond a limit.
        ConvergenceError: With `throw`, for the two statuses above.

    Accuracy: relative error of the loss curve about 1e-3 at 2048 x 4 and 1e-4 at 65536 (tanh, two hidden
    layers, gamma0 1); falls as num_particles^-0.75 to ^-1.
    Source: docs/theory/dmft.md; the limit is arXiv:2205.09653.

    >>> import numpy as np
    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=2, activation="tanh", gamma0=1.0, lr=0.3, num_times=5
    ... )
    >>> result = solve_dmft_mlp(problem, num_particles=1024)
    >>> result.status.value, result.loss.shape, bool(result.loss[-1] < result.loss[0])
    ('converged', (5,), True)
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
    return run_particles(problem, Network(responses=responses), settings=settings, throw=throw)
