"""Generalised linear classifiers of Gaussian mixtures, in the limit of many dimensions and samples.

Minimum of sum_i loss(W x_i + b, class_i) + (ridge/2) |W|^2 for x = (mu_k + sqrt(Delta) z)/sqrt(d). Training sees the
outputs through a Gaussian field and a proximal step of covariance V:

    om = m_k + b + Q^(1/2) xi,   h = argmin (h - om)^T V^-1 (h - om)/2 + loss(h, k),   f = V^-1 (h - om)
    Qh = alpha Delta E[f f^T],   Mh_k = alpha rho_k E_k[f],   Vh = alpha Delta E[(1 + l'' V)^-1 l''],   E[f] = 0 fixes b
    A = (ridge + Vh)^-1,   V = Delta A,   Q = Delta A (Qh + Mh G Mh^T) A,   m = A Mh G

A constant added to all K outputs changes nothing, and the solution has none: everything lives in the K - 1 directions
orthogonal to it, spanned by U.

Source: Loureiro et al., arXiv:2106.03791, fixed point of the main theorem; docs/theory/gaussian_mixture.md.
Letters: K classes, alpha samples per dimension, rho class weights, G Gram matrix of the means, Delta variance within.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from limes.core.errors import ConvergenceError, ScopeError, SpecError
from limes.core.status import SolveStatus
from limes.theory.checks import check_number, check_whole
from limes.theory.solvable.checks import Real, check_array
from limes.theory.solvable.mixture_fields import Averages, field_averages, orthogonal_to_ones, wrong_class

MixtureLoss = Literal["logistic", "square"]
MAX_CLASSES = 4
# Ridges beyond take a path of hundreds of steps, or leave weights that float64 cannot square.
RIDGES = (1e-8, 1e8)
MEMORY = 6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GaussianMixtureProblem:
    """A linear classifier with bias of a mixture of isotropic Gaussians.

    Args:
        class_weights: (K,) positive, sum 1.
        means_gram: (K, K) inner products of the class means, positive semidefinite.
        sample_ratio: Samples over dimension.
        within_var: Variance within a class.
        ridge: Penalty ridge/2 |W|^2 beside the sum (not the mean) of losses; the bias is not penalised.
        loss: "logistic" (cross-entropy of softmax) or "square" (half squared distance to the one-hot label).
    """

    class_weights: Real
    means_gram: Real
    sample_ratio: float
    within_var: float
    ridge: float
    loss: MixtureLoss = "logistic"

    def __post_init__(self) -> None:
        """Check the ranges; arrays are copied.

        Raises:
            SpecError: Weights, Gram matrix or a number are unusable.
            ScopeError: More than four classes, or a ridge beyond 1e-8 to 1e8.
        """
        weights = check_array("class_weights", self.class_weights)
        count = len(weights)
        if count < 2 or (weights <= 0.0).any() or abs(weights.sum() - 1.0) > 1e-9:
            raise SpecError(f"class_weights {weights.tolist()}: expected two or more positive numbers with sum 1")
        if count > MAX_CLASSES:
            raise ScopeError(f"{count} classes; the quadrature in K - 1 dimensions covers up to {MAX_CLASSES}")
        gram = check_array("means_gram", self.means_gram, shape=(count, count))
        if not np.allclose(gram, gram.T) or np.linalg.eigvalsh(gram).min() < -1e-9 * max(np.abs(gram).max(), 1.0):
            raise SpecError(f"means_gram {gram.tolist()}: expected inner products, symmetric and positive semidefinite")
        if self.loss not in get_args(MixtureLoss):
            raise SpecError(f"loss is {self.loss!r}; expected one of {', '.join(get_args(MixtureLoss))}")
        object.__setattr__(self, "class_weights", weights)
        object.__setattr__(self, "means_gram", gram)
        for name in ("sample_ratio", "within_var", "ridge"):
            object.__setattr__(self, name, check_number(name, getattr(self, name), low=0.0, open_low=True))
        if not RIDGES[0] <= self.ridge <= RIDGES[1]:
            raise ScopeError(f"ridge is {self.ridge:g}; the iteration covers {RIDGES[0]:g} to {RIDGES[1]:g}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GaussianMixtureResult:
    """The trained classifier.

    Args:
        test_error: Probability of a wrong class on a new sample.
        train_loss: Mean loss of a training sample, without the penalty.
        overlap: (K, K) outputs (without bias) at each class mean; column k belongs to class k.
        covariance: (K, K) of the outputs within a class.
        response: (K, K) V on the directions orthogonal to a common constant.
        bias: (K,) b.
        residual: Largest change that one more iteration would make, relative.
        num_iterations: Over all ridges of the path.
        status: How the iteration ended.
        problem: What was asked.
    """

    test_error: float
    train_loss: float
    overlap: Real
    covariance: Real
    response: Real
    bias: Real
    residual: float
    num_iterations: int
    status: SolveStatus
    problem: GaussianMixtureProblem


def solve_gaussian_mixture(
    problem: GaussianMixtureProblem,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 500,
    num_nodes: int | None = None,
    throw: bool = True,
) -> GaussianMixtureResult:
    """Training loss, test error and order parameters, reached from a large ridge by continuation.

    Args:
        problem: `GaussianMixtureProblem`.
        tolerance: Relative change of one iteration that counts as none.
        max_iterations: Limit, at each ridge of the path.
        num_nodes: Of the quadrature in each of K - 1 dimensions; by default 300, 80 and 30 for 2, 3 and 4 classes.
        throw: Raise unless converged; otherwise return the status.

    Returns:
        `GaussianMixtureResult`.

    Raises:
        SpecError: A tolerance, a number of iterations or of nodes that makes no sense.
        ConvergenceError: Not converged, and `throw`; or the data are separated so well that no curvature is left.

    **Source**: arXiv:2106.03791; docs/theory/gaussian_mixture.md.
    **Accuracy**: 1e-8 for the square loss and for two classes, 1e-6 for three and four down to ridge 0.01 and 0.1.

    >>> problem = GaussianMixtureProblem(
    ...     class_weights=[0.5, 0.5], means_gram=np.eye(2), sample_ratio=0.5, within_var=0.5, ridge=0.1
    ... )
    >>> round(solve_gaussian_mixture(problem).test_error, 6)
    0.293569
    """
    tolerance = check_number("tolerance", tolerance, low=0.0, below=1.0, open_low=True)
    max_iterations = check_whole("max_iterations", max_iterations)
    if num_nodes is not None:
        num_nodes = check_whole("num_nodes", num_nodes, least=2)
    path = [problem.ridge]
    while path[-1] < 1.0:
        path.append(min(5.0 * path[-1], 1.0))
    solver = _Iteration(problem, max_iterations, num_nodes)
    count, state = 0, solver.start()
    for ridge in reversed(path):
        # On the way only a good start is wanted.
        state, residual, used = solver.run(state, ridge, tolerance if ridge == problem.ridge else max(tolerance, 1e-3))
        count += used
    status = SolveStatus.CONVERGED if residual <= tolerance else SolveStatus.MAX_ITERATIONS
    result = solver.result(state, residual, count, status)
    if throw and status is not SolveStatus.CONVERGED:
        raise ConvergenceError(
            f"mixture at ridge {problem.ridge:g}: {status.sentence} Last change {residual:.2g}.", result=result
        )
    return result


def ridge_path(problem: GaussianMixtureProblem, ridges: Any, **options: Any) -> tuple[GaussianMixtureResult, ...]:
    """The solution at each of several ridges.

    Args:
        problem: All but its `ridge`.
        ridges: (R,) positive.
        options: Of `solve_gaussian_mixture`.

    Returns:
        One `GaussianMixtureResult` for each ridge, in the order given.

    **Source**: arXiv:2106.03791. **Accuracy**: as `solve_gaussian_mixture`.

    >>> problem = GaussianMixtureProblem(
    ...     class_weights=[0.5, 0.5], means_gram=np.eye(2), sample_ratio=0.5, within_var=0.5, ridge=1.0, loss="square"
    ... )
    >>> [round(result.test_error, 4) for result in ridge_path(problem, [0.01, 10.0])]
    [0.3362, 0.282]
    """
    values = check_array("ridges", ridges)
    return tuple(solve_gaussian_mixture(replace(problem, ridge=float(ridge)), **options) for ridge in values)


def best_error(problem: GaussianMixtureProblem) -> float:
    """Test error of the best classifier there is, which knows the means: what endless data lead to.

    Args:
        problem: Its weights, means and variance; the rest does not matter.

    Returns:
        Probability of a wrong class.

    **Source**: the posterior of a class is linear in the sample, log rho_k + (mu_k.x - |mu_k|^2/2)/Delta, so it is
    one of the classifiers of this model; docs/theory/gaussian_mixture.md.
    **Accuracy**: 1e-9, as the probability of a wrong class.

    >>> problem = GaussianMixtureProblem(
    ...     class_weights=[0.5, 0.5], means_gram=np.eye(2), sample_ratio=1.0, within_var=0.5, ridge=1.0
    ... )
    >>> round(best_error(problem), 6)        # Phi(-1)
    0.158655
    """
    gram = problem.means_gram / problem.within_var
    offset = np.log(problem.class_weights) - 0.5 * np.diag(gram)
    return wrong_class(gram + offset[:, None], gram, problem.class_weights)


class _Iteration:
    """The fixed-point map on (m, Q, V, b) in K - 1 directions, with Anderson extrapolation."""

    def __init__(self, problem: GaussianMixtureProblem, max_iterations: int, num_nodes: int | None) -> None:
        self.problem, self.max_iterations = problem, max_iterations
        self.num_nodes = num_nodes
        self.classes = len(problem.class_weights)
        self.size = self.classes - 1
        self.last: Real | None = None

    def start(self) -> Real:
        one = np.eye(self.size).ravel()
        return np.concatenate([np.zeros(self.size * self.classes), one, one, np.zeros(self.size)])

    def split(self, state: Real) -> tuple[Real, Real, Real, Real]:
        r, k = self.size, self.classes
        cuts = np.cumsum([r * k, r * r, r * r])
        m, q, v, b = np.split(state, cuts)
        return m.reshape(r, k), q.reshape(r, r), v.reshape(r, r), b

    def averages(self, state: Real) -> Averages:
        m, q, v, b = self.split(state)
        found = field_averages(
            m + b[:, None], q, v, self.problem.class_weights, self.problem.loss, self.num_nodes, self.last
        )
        self.last = found.pull
        return found

    def step(self, state: Real, ridge: float) -> Real:
        p, found = self.problem, self.averages(state)
        m, _, _, b = self.split(state)
        alpha, rho, curvature, gram = p.sample_ratio, p.class_weights, found.curvature, p.means_gram
        inverse = np.linalg.inv(ridge * np.eye(self.size) + alpha * p.within_var * curvature)
        # Means and bias react to each other through the pull with a gain of 1/within_var: their first-order answer,
        # pull - curvature (change), is solved for instead of iterated. The fixed points are the same.
        spread = np.diag(rho) - np.outer(rho, rho)
        target = alpha * inverse @ (found.mean_pull + curvature @ m) @ spread @ gram
        gain = np.kron(alpha * inverse @ curvature, (spread @ gram).T)
        new = np.linalg.solve(np.eye(gain.shape[0]) + gain, target.ravel()).reshape(m.shape)
        mh = alpha * (found.mean_pull - curvature @ (new - m)) @ spread
        qh = alpha * p.within_var * found.pull_square
        q = p.within_var * inverse @ (qh + mh @ gram @ mh.T) @ inverse
        shift = np.linalg.solve(curvature, found.mean_pull @ rho) - (new - m) @ rho
        return np.concatenate([new.ravel(), q.ravel(), (p.within_var * inverse).ravel(), b + shift])

    def usable(self, state: Real) -> bool:
        _, q, v, _ = self.split(state)
        return bool(np.isfinite(state).all()) and min(np.linalg.eigvalsh(q)[0], np.linalg.eigvalsh(v)[0]) > 0.0

    def run(self, state: Real, ridge: float, tolerance: float) -> tuple[Real, float, int]:
        states: list[Real] = []
        moves: list[Real] = []
        residual = np.inf
        for count in range(1, self.max_iterations + 1):
            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    image = self.step(state, ridge)
            except np.linalg.LinAlgError:
                image = np.full_like(state, np.nan)
            if not np.isfinite(image).all():
                raise ConvergenceError(
                    f"mixture with ridge {self.problem.ridge:g}: at ridge {ridge:g} no curvature of the loss is left, "
                    "the training data are separated too well; raise the ridge"
                )
            move = image - state
            residual = float(np.abs(move).max() / np.abs(image).max())
            if residual <= tolerance:
                return image, residual, count
            states, moves = [*states[-MEMORY:], image], [*moves[-MEMORY:], move]
            proposal = _extrapolate(states, moves)
            # Far from the solution an extrapolated covariance can lose its sign; the damped step cannot.
            if count < 5 or not self.usable(proposal):
                states, moves, proposal = [], [], state + 0.7 * move
            state = proposal
        return state, residual, self.max_iterations

    def result(self, state: Real, residual: float, count: int, status: SolveStatus) -> GaussianMixtureResult:
        m, q, v, b = self.split(state)
        found = self.averages(state)
        u = orthogonal_to_ones(self.classes)
        overlap, covariance = u @ m, u @ q @ u.T
        # Square loss fits the constant 1, the sum of a one-hot label, by the bias alone.
        bias = u @ b + (1.0 / self.classes if self.problem.loss == "square" else 0.0)
        return GaussianMixtureResult(
            test_error=wrong_class(overlap + bias[:, None], covariance, self.problem.class_weights),
            train_loss=found.loss,
            overlap=overlap,
            covariance=covariance,
            response=u @ v @ u.T,
            bias=bias,
            residual=residual,
            num_iterations=count,
            status=status,
            problem=self.problem,
        )


def _extrapolate(states: list[Real], moves: list[Real]) -> Real:
    """Anderson: the combination of past images whose moves cancel best."""
    if len(states) == 1:
        return states[0]
    differences = np.diff(np.array(moves), axis=0).T
    share = np.linalg.lstsq(differences, moves[-1], rcond=1e-12)[0]
    return states[-1] - np.diff(np.array(states), axis=0).T @ share
