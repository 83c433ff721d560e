"""Gaussian averages for classifiers of mixtures: proximal steps by batched Newton, probabilities of a wrong class.

Source: arXiv:2106.03791. Letters: K classes, r = K - 1 directions, U (K, r) their basis, om the field, f the pull of
the loss, which solves f = U^T (e_k - softmax(U (om + V f))); l'' the Hessian of the loss in these directions.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import log_softmax, ndtr, softmax

from limes.core.errors import ConvergenceError
from limes.numerics.quadrature import normal_nodes
from limes.theory.solvable.checks import Real

NODES = {1: 300, 2: 80, 3: 30}
LEGENDRE = 80


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Averages:
    """Averages over the field of each class.

    Args:
        mean_pull: (r, K) E_k[f].
        pull_square: (r, r) E[f f^T] over all classes.
        curvature: (r, r) E[(1 + l'' V)^-1 l''] over all classes.
        loss: Mean training loss.
        pull: (K, num_points, r) f, to start the next proximal step from.
    """

    mean_pull: Real
    pull_square: Real
    curvature: Real
    loss: float
    pull: Real


def orthogonal_to_ones(count: int) -> Real:
    """(count, count - 1) orthonormal columns, each with sum 0."""
    basis = np.linalg.qr(np.column_stack([np.ones(count), np.eye(count)[:, 1:]]))[0]
    return np.asarray(basis[:, 1:])


def field_averages(
    center: Real, covariance: Real, v: Real, weights: Real, loss: str, num_nodes: int | None, start: Real | None
) -> Averages:
    """Averages for fields N(center_k, covariance).

    Args:
        center: (r, K).
        covariance: (r, r), positive definite.
        v: (r, r), positive definite.
        weights: (K,) of the classes.
        loss: "logistic" or "square".
        num_nodes: In each direction; None for the default.
        start: `pull` of an earlier call.
    """
    classes, r = len(weights), len(covariance)
    u = orthogonal_to_ones(classes)
    if loss == "square":
        return _square(u, center, covariance, v, weights)
    points, mass = _grid(r, NODES[r] if num_nodes is None else num_nodes)
    field = center.T[:, None, :] + points @ np.linalg.cholesky(covariance).T
    pull = _pull(field, v, u, np.zeros_like(field) if start is None else start)
    outputs = (field + pull @ v) @ u.T
    p = softmax(outputs, axis=-1)
    hessian = _hessian(p, u)
    curved = np.linalg.solve(np.eye(r) + hessian @ v, hessian)
    own = np.take_along_axis(log_softmax(outputs, axis=-1), np.arange(classes)[:, None, None], axis=-1)[..., 0]
    both = weights[:, None] * mass
    return Averages(
        mean_pull=np.einsum("n,kni->ik", mass, pull),
        pull_square=np.einsum("kn,kni,knj->ij", both, pull, pull),
        curvature=np.einsum("kn,knij->ij", both, 0.5 * (curved + curved.swapaxes(-1, -2))),
        loss=-float((both * own).sum()),
        pull=pull,
    )


def _square(u: Real, center: Real, covariance: Real, v: Real, weights: Real) -> Averages:
    """In closed form: f = (1 + V)^-1 (e_k - om)."""
    inverse = np.linalg.inv(np.eye(len(v)) + v)
    gap = u.T - center
    square = inverse @ (covariance + (gap * weights) @ gap.T) @ inverse
    return Averages(
        mean_pull=inverse @ gap,
        pull_square=square,
        curvature=np.asarray(inverse, dtype=np.float64),
        loss=0.5 * float(np.trace(square)),
        pull=np.zeros((len(weights), 1, len(v))),
    )


def _grid(dim: int, num_nodes: int) -> tuple[Real, Real]:
    """(num_points, dim) normal nodes and their weights, without those too light to count."""
    nodes, weights = (value.numpy() for value in normal_nodes(num_nodes))
    points = np.array(list(product(nodes, repeat=dim)))
    mass = np.array(list(product(weights, repeat=dim))).prod(1)
    kept = mass > 1e-16
    return points[kept], mass[kept]


def _hessian(p: Real, u: Real) -> Real:
    """(..., r, r) U^T (diag(p) - p p^T) U."""
    inner = p @ u
    return np.asarray(np.einsum("...a,ai,aj->...ij", p, u, u) - inner[..., :, None] * inner[..., None, :])


def _pull(field: Real, v: Real, u: Real, pull: Real) -> Real:
    """f at each point, by Newton's method with halved steps where they do not help."""
    target = u[:, None, :]

    def gap(f: Real) -> tuple[Real, Real]:
        p = softmax((field + f @ v) @ u.T, axis=-1)
        return f - target + p @ u, p

    value, p = gap(pull)
    size = np.abs(value).max(-1)
    for _ in range(100):
        if size.max() < 1e-13:
            return pull
        step = -np.linalg.solve(np.eye(len(v)) + _hessian(p, u) @ v, value[..., None])[..., 0]
        share = np.ones(size.shape)
        for _ in range(30):
            trial = pull + share[..., None] * step
            new, p = gap(trial)
            worse = (np.abs(new).max(-1) > (1.0 - 0.1 * share) * size) & (size > 1e-12)
            if not worse.any():
                break
            share = np.where(worse, 0.5 * share, share)
        pull, value = trial, new
        previous, size = size.max(), np.abs(value).max(-1)
        if size.max() < 1e-11 and size.max() >= 0.5 * previous:
            return pull
    raise ConvergenceError(f"proximal step: gap {size.max():.2g} after 100 Newton steps; raise the ridge")


def wrong_class(center: Real, covariance: Real, weights: Real) -> float:
    """Probability that the largest of K Gaussian outputs is not the one of the class.

    Args:
        center: (K, K) mean outputs, column k for class k.
        covariance: (K, K) of the outputs.
        weights: (K,) of the classes.
    """
    right = 0.0
    for k, weight in enumerate(weights):
        others = np.delete(np.eye(len(weights)), k, axis=0) - np.eye(len(weights))[k]
        right += weight * _all_below(-others @ center[:, k], others @ covariance @ others.T)
    return float(1.0 - right)


def _all_below(bound: Real, covariance: Real) -> float:
    """P(z < bound) for z ~ N(0, covariance), by Gauss-Legendre over all but the last direction."""
    root = np.linalg.cholesky(covariance + (1e-15 * np.trace(covariance) + 1e-300) * np.eye(len(bound)))
    nodes, weights = np.polynomial.legendre.leggauss(LEGENDRE)
    shift, mass = np.zeros((1, len(bound))), np.ones(1)
    for j in range(len(bound) - 1):
        top = np.clip((bound[j] - shift[:, j]) / root[j, j], -9.0, 9.0)
        half = 0.5 * (top + 9.0)
        z = half[:, None] * (nodes + 1.0) - 9.0
        mass = (mass[:, None] * half[:, None] * weights * np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)).ravel()
        shift = (shift[:, None, :] + z[..., None] * root[:, j]).reshape(-1, len(bound))
    return float(mass @ ndtr((bound[-1] - shift[:, -1]) / root[-1, -1]))
