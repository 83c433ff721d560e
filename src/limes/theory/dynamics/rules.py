"""Learning rules beside gradient descent: what replaces the transposed weights on the way back.

Feedback alignment sends errors through fixed independent matrices, direct feedback alignment straight to
each layer, and the error-modulated Hebbian rule replaces the backward field by the error times the layer's
own activity. The readout always learns by its gradient.

Source: Bordelon & Pehlevan, arXiv:2210.02157; in discrete time docs/theory/dmft_rules.md.
"""

from collections.abc import Collection

from limes.core.errors import ScopeError, SpecError
from limes.theory.dynamics.particles import RULES, Network
from limes.theory.dynamics.problem import MLPProblem
from limes.theory.dynamics.result import DMFTResult
from limes.theory.dynamics.solve import Settings, run_particles


def solve_learning_rule(
    problem: MLPProblem,
    *,
    rule: str,
    num_particles: int = 2048,
    tolerance: float = 1e-6,
    num_scrambles: int = 4,
    seed: int = 0,
    noise: str = "sobol",
    field_times: Collection[int] | None = None,
    throw: bool = True,
) -> DMFTResult:
    """Training of an infinitely wide perceptron by a rule that need not follow the gradient.

    The gradient kernels of the result are those of the rule's pseudo-gradients; its tangent kernel is a
    diagnostic of gradient descent alone.

    Args:
        problem: What is trained.
        rule: "gradient_descent", "feedback_alignment", "direct_feedback_alignment" or "hebbian".
        num_particles: As `solve_dmft_mlp`.
        tolerance: As `solve_dmft_mlp`.
        num_scrambles: As `solve_dmft_mlp`.
        seed: As `solve_dmft_mlp`.
        noise: As `solve_dmft_mlp`.
        field_times: As `solve_dmft_mlp`.
        throw: As `solve_dmft_mlp`.

    Raises:
        SpecError: The rule is unknown, or a setting is out of range.
        ScopeError: The Hebbian rule with several outputs, for which it is not defined.
        ConvergenceError: With `throw`, on divergence or ranks too close to the number of particles.

    Accuracy: as `solve_dmft_mlp`.
    Source: docs/theory/dmft_rules.md.

    >>> import numpy as np
    >>> problem = MLPProblem(
    ...     inputs=np.eye(2), targets=[1.0, -1.0], depth=2, activation="tanh", gamma0=1.0, lr=0.3, num_times=5
    ... )
    >>> result = solve_learning_rule(problem, rule="feedback_alignment", num_particles=1024)
    >>> bool(result.loss[-1] < result.loss[0])
    True
    """
    if rule not in RULES:
        raise SpecError(f"rule is {rule!r}; expected one of {', '.join(RULES)}")
    if rule == "hebbian" and problem.num_outputs > 1:
        raise ScopeError(f"the Hebbian rule has one error per sample; targets have {problem.num_outputs} outputs")
    settings = Settings(
        num_particles=num_particles,
        tolerance=tolerance,
        num_scrambles=num_scrambles,
        seed=seed,
        noise=noise,
        field_times=field_times,
    )
    return run_particles(problem, Network(rule=rule), settings=settings, throw=throw)
