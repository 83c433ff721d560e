"""Values, gradients and exact Hessians of the fitting objective, for many parameter vectors at once.

The objective is sum_i w_i rho(r_i), rho Huber's loss (r^2 / 2 up to delta, then linear) or r^2 / 2, and r the
difference of prediction and observation, of logarithms or plain.

Letters: B problems, n rows, p parameters, K terms, z_k (n, p) features of term k, s_k (B, n) its share of the value,
J = sum_k s_k z_k the derivative of ln L, psi = rho'(r), q = rho''(r).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from limes.laws.form import Array, Term
from limes.laws.problem import Problem
from limes.numerics.minimize import Evaluate, Evaluation

STEP = 1e-20
SECOND_STEP = 1e-4


def make_evaluate(problem: Problem, *, weights: Array | None = None, target: Array | None = None) -> Evaluate:
    """The function that `minimize_batch` wants.

    Args:
        problem: Law, table and objective.
        weights: (B, n) weights per problem, in place of the problem's own.
        target: (B, n) targets per problem, in place of the problem's own.
    """
    terms = _TermFeatures(problem) if problem.law.terms else None

    def evaluate(theta: Array, index: NDArray[np.intp]) -> Evaluation:
        w = problem.weights[None] if weights is None else weights[index]
        y = problem.target[None] if target is None else target[index]
        with np.errstate(all="ignore"):
            if terms is not None:
                return _evaluate_terms(problem, terms, theta, w, y)
            return _evaluate_curve(problem, theta, w, y)

    return evaluate


def objective_value(problem: Problem, theta: Array) -> Array:
    """(B, p) theta -> (B,) objective, normalized; infinite where the law is not defined."""
    value = problem.predict(theta, problem.columns) / problem.scales[problem.law.target]
    with np.errstate(all="ignore"):
        r = np.log(value) - np.log(problem.target) if problem.log_residuals else value - problem.target
    total = (problem.weights * _loss(r, problem.width)).sum(1)
    return np.where(np.isfinite(total), total, np.inf)


def _loss(r: Array, delta: float) -> Array:
    size = np.abs(r)
    if np.isinf(delta):
        return 0.5 * r * r
    capped = np.minimum(size, delta)
    return capped * (size - 0.5 * capped)


def _weights_of(r: Array, w: Array, delta: float) -> tuple[Array, Array, Array]:
    """w psi, w q and the majorizer's weight w psi / r."""
    if np.isinf(delta):
        ones = np.broadcast_to(w, r.shape)
        return w * r, ones, ones
    psi = np.clip(r, -delta, delta)
    size = np.abs(r)
    return w * psi, w * (size <= delta), w * (delta / np.maximum(size, delta))


class _TermFeatures:
    """Feature vectors of all terms, with the columns of zeros left out, and their products."""

    def __init__(self, problem: Problem) -> None:
        law = problem.law
        logs = {name: np.log(column) for name, column in problem.columns.items()}
        self.index: list[NDArray[np.intp]] = []
        self.features: list[Array] = []
        for term in law.terms:
            features = _features(term, logs, problem.num_rows)
            names = [name for name in law.names if name in features]
            self.index.append(np.array([law.names.index(name) for name in names]))
            self.features.append(np.stack([features[name] for name in names]))
        count = len(law.terms)
        self.pairs = [(k, l) for k in range(count) for l in range(k, count)]
        # outer products z_k z_l^T per row, (n, m_k * m_l): a Hessian is then one matrix product per pair of terms
        self.products = {
            (k, l): np.einsum("in,jn->nij", self.features[k], self.features[l]).reshape(problem.num_rows, -1)
            for k, l in self.pairs
        }

    def logarithms(self, theta: Array) -> list[Array]:
        return [theta[:, index] @ features for index, features in zip(self.index, self.features)]


def _features(term: Term, logs: dict[str, Array], num_rows: int) -> dict[str, Array]:
    features = {term.coefficient: np.ones(num_rows)}
    for name, power in term.falls.items():
        features[power] = features.get(power, 0.0) - logs[name]
    for name, power in term.grows.items():
        features[power] = features.get(power, 0.0) + logs[name]
    for first, second, power in term.mixed:
        features[power] = features.get(power, 0.0) + logs[first] * logs[second]
    return features


def _evaluate_terms(problem: Problem, terms: _TermFeatures, theta: Array, w: Array, y: Array) -> Evaluation:
    logs = terms.logarithms(theta)
    top = logs[0] if len(logs) == 1 else np.maximum.reduce(logs)
    shares = [np.exp(u - top) for u in logs]
    total = sum(shares[1:], shares[0].copy())
    shares = [share / total for share in shares]
    log_value = top + np.log(total)
    if problem.log_residuals:
        r = log_value - np.log(y)
        psi, q, m = _weights_of(r, w, problem.width)
        first, second, curvature, major = psi, q - psi, psi, m
    else:
        value = np.exp(log_value)
        r = value - y
        psi, q, m = _weights_of(r, w, problem.width)
        first, second, curvature, major = psi * value, q * value * value, psi * value, m * value * value
    f = (w * _loss(r, problem.width)).sum(1)
    batch, size = theta.shape
    g, H, M = np.zeros((batch, size)), np.zeros((batch, size, size)), np.zeros((batch, size, size))
    for k, l in terms.pairs:
        rows, cols = terms.index[k], terms.index[l]
        both = shares[k] * shares[l]
        inside = second * both
        if k == l:
            own = first * shares[k]
            g[:, rows] += own @ terms.features[k].T
            inside += own if curvature is first else curvature * shares[k]
        block = (slice(None), rows[:, None], cols)
        flipped = (slice(None), cols[:, None], rows)
        for matrix, part in ((H, inside), (M, major * both)):
            product = (part @ terms.products[k, l]).reshape(batch, len(rows), len(cols))
            matrix[block] += product
            if k != l:
                matrix[flipped] += product.transpose(0, 2, 1)
    return f, g, H, M


def _curve_residual(problem: Problem, theta: NDArray[Any], y: Array) -> Any:
    """(B, p) theta, real or complex -> (B, n) residuals of the same kind."""
    law = problem.law
    params = {name: value[:, None] for name, value in law.unpack(theta).items()}
    assert law.curve is not None
    value = law.curve(params, problem.columns)
    if not problem.log_residuals:
        return value - y
    return np.where(value.real > 0, np.log(value), np.nan) - np.log(y)


def _curve_jacobian(problem: Problem, theta: Array, y: Array) -> tuple[Array, Array]:
    batch, size = theta.shape
    jacobian = np.empty((batch, size, y.shape[-1]))
    for j in range(size):
        moved = theta.astype(complex)
        moved[:, j] += 1j * STEP
        r = _curve_residual(problem, moved, y)
        jacobian[:, j] = r.imag / STEP
    return np.asarray(r.real), jacobian


def _evaluate_curve(problem: Problem, theta: Array, w: Array, y: Array) -> Evaluation:
    batch = len(theta)
    y = np.broadcast_to(y, (batch, y.shape[-1]))
    r, J = _curve_jacobian(problem, theta, y)
    f = (w * _loss(r, problem.width)).sum(1)
    psi, q, m = _weights_of(r, w, problem.width)
    g = np.einsum("bn,bjn->bj", psi, J)
    transposed = J.transpose(0, 2, 1)
    M = (J * m[:, None]) @ transposed
    H = (J * q[:, None]) @ transposed + _second_part(problem, theta, y, r, psi)
    bad = ~(np.isfinite(f) & np.isfinite(g).all(1) & np.isfinite(H).all((1, 2)))
    f[bad] = np.inf
    for part in (g, H, M):
        part[bad] = 0.0
    return f, g, H, M


def _second_part(problem: Problem, theta: Array, y: Array, r: Array, psi: Array) -> Array:
    """sum_i w_i psi_i d2 r_i / d theta^2 by forward differences: real, so four times cheaper than by complex steps.

    It only steers Newton's step; the gradient that says where the optimum is stays exact.
    """
    batch, size = theta.shape

    def shifted(*positions: int) -> Array:
        moved = theta.copy()
        for j in positions:
            moved[:, j] += SECOND_STEP
        return _curve_residual(problem, moved, y)

    single = [shifted(j) for j in range(size)]
    second = np.zeros((batch, size, size))
    for k in range(size):
        for j in range(k, size):
            change = (shifted(j, k) - single[j] - single[k] + r) / SECOND_STEP**2
            second[:, j, k] = second[:, k, j] = np.einsum("bn,bn->b", psi, change)
    return second
