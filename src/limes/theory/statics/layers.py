"""One hidden layer of a deep mean-field network: averages over a neuron whose law is tilted by a quadratic form.

The pre-activations of a neuron are h = C z, z standard normal, C C' = Phi of the layer below; data tilt their law by
exp(-phi(h)' H phi(h) / 2). A test input adds h_x = c.z + s xi, which the tilt does not see.

Source: Lauditi, Bordelon & Pehlevan, arXiv:2502.07998, the saddle equations; docs/theory/deep_adaptive_kernels.md.
Letters: P samples, M test inputs, r rank of Phi, Q nodes, H conjugate kernel of this layer, phi (Q, P) activations,
lift = C^+, so that z = lift h: conjugate below = lift' (1 - <z z'>) lift.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from limes.core.errors import ScopeError
from limes.theory.activations import Elementwise

# In units of the deviation of the tilted law along each axis; four axes are what a grid of these can hold.
SPACING = {1: 0.05, 2: 0.1, 3: 0.4, 4: 0.55}
RADIUS = {1: 12.0, 2: 10.0, 3: 7.5, 4: 7.0}
COARSE = {1: 2.0, 2: 2.0, 3: 1.7, 4: 1.7}
ROUGH = 1.3
MAX_NODES = 3_000_000
RANK_CUT = 1e-13


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Below:
    """The kernel that feeds a layer, factored.

    Args:
        factor: (P, r) C with C C' = Phi.
        lift: (r, P) its pseudoinverse.
        test_rows: (M, r) c.
        test_deviation: (M,) s.
    """

    factor: Tensor
    lift: Tensor
    test_rows: Tensor
    test_deviation: Tensor


def factored(kernel: Tensor) -> Below:
    """Factors of a kernel (P, P), without test inputs."""
    values, vectors = torch.linalg.eigh(kernel)
    kept = values > RANK_CUT * values[-1]
    root, vectors = values[kept].sqrt(), vectors[:, kept]
    # The symmetric root moves smoothly with the kernel, which differences of averages need; thin where it is singular.
    turn = vectors.T if bool(kept.all()) else torch.eye(len(root), dtype=torch.float64)
    return Below(
        factor=vectors * root @ turn,
        lift=turn.T @ (vectors / root).T,
        test_rows=torch.empty(0, len(root), dtype=torch.float64),
        test_deviation=torch.empty(0, dtype=torch.float64),
    )


def with_tests(below: Below, rows: Tensor, variances: Tensor) -> Below:
    """The same with test inputs: their kernel with the training inputs (M, P) and their variances (M,)."""
    inner = rows @ below.lift.T
    left = (variances - (inner**2).sum(1)).clamp_min(0.0)
    left = torch.where(left > 1e-11 * variances, left, torch.zeros_like(left))
    return Below(factor=below.factor, lift=below.lift, test_rows=inner, test_deviation=left.sqrt())


class Box:
    """A trapezoidal grid over z, turned and stretched like a given second moment (r, r).

    Args:
        second: <z z'> of the law that it has to hold.
        coarse: 1 for the finest; larger multiplies the spacing.

    Raises:
        ScopeError: More than four axes, or more nodes than fit.
    """

    def __init__(self, second: Tensor, *, coarse: float = 1.0) -> None:
        rank = len(second)
        if rank not in SPACING:
            raise ScopeError(
                f"a grid over {rank} directions: expected at most {max(SPACING)}; take samples that span no "
                "more, or one hidden layer, which solve_adaptive samples"
            )
        values, axes = torch.linalg.eigh(second)
        lines, volume = [], 0.0
        for deviation in values.clamp_min(1e-4).sqrt().tolist():
            # A law that is wider than the prior keeps the prior's spacing: the activation is no smoother there.
            step = coarse * SPACING[rank] * min(deviation, 1.0)
            half = math.ceil(RADIUS[rank] * deviation / step)
            lines.append(torch.arange(-half, half + 1, dtype=torch.float64) * step)
            volume += math.log(step / math.sqrt(2.0 * math.pi))
        num_nodes = math.prod(len(line) for line in lines)
        if num_nodes > MAX_NODES:
            raise ScopeError(
                f"the tilted law needs a grid of {num_nodes:.3g} nodes, expected at most {MAX_NODES:.3g}; lower "
                "gamma0 or take fewer samples"
            )
        along = torch.cartesian_prod(*lines).reshape(-1, rank)
        self.z = along @ axes.T
        self.log_weights = volume - 0.5 * (along**2).sum(1)
        self.rim = torch.zeros(len(along), dtype=torch.bool)
        for axis, line in enumerate(lines):
            self.rim |= along[:, axis].abs() >= float(line[-1]) - 1e-9


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tilted:
    """Averages over one layer.

    Args:
        log_partition: ln E exp(tilt).
        kernel: (P, P) <phi phi'>.
        second: (r, r) <z z'>.
        weights: (Q,) of the nodes, summing to one.
        values: (Q, P) activations at the nodes.
        rim_share: Weight on the rim of the grid.
    """

    log_partition: float
    kernel: Tensor
    second: Tensor
    weights: Tensor
    values: Tensor
    rim_share: float


def tilt_of(values: Tensor, conjugate: Tensor) -> Tensor:
    """(Q,) exponents -phi' H phi / 2."""
    return -0.5 * ((values @ conjugate) * values).sum(1)


def tilted(box: Box, below: Below, phi: Elementwise, conjugate: Tensor, *, extra: Tensor | None = None) -> Tilted:
    """Averages on a grid, at the tilt of `conjugate` (P, P) and, where given, another exponent (Q,)."""
    values = phi(box.z @ below.factor.T)
    logs = box.log_weights + tilt_of(values, conjugate)
    if extra is not None:
        logs = logs + extra
    log_partition = float(logs.logsumexp(0))
    weights = (logs - log_partition).exp()
    scaled = values * weights[:, None]
    return Tilted(
        log_partition=log_partition,
        kernel=scaled.T @ values,
        second=(box.z * weights[:, None]).T @ box.z,
        weights=weights,
        values=values,
        rim_share=float(weights[box.rim].sum()),
    )


def conjugate_below(below: Below, second: Tensor) -> Tensor:
    """What the saddle asks of the conjugate of the layer below."""
    one = torch.eye(len(second), dtype=torch.float64)
    asked = below.lift.T @ (one - second) @ below.lift
    return 0.5 * (asked + asked.T)


def pack(matrices: list[Tensor], residuals: Tensor) -> Tensor:
    """Upper triangles of symmetric matrices and a vector, as one vector."""
    size = len(residuals)
    upper = torch.triu_indices(size, size)
    return torch.cat([*(matrix[upper[0], upper[1]] for matrix in matrices), residuals])


def unpack(vector: Tensor, num_matrices: int, size: int) -> tuple[list[Tensor], Tensor]:
    """The inverse of `pack`."""
    upper = torch.triu_indices(size, size)
    length = upper.shape[1]
    matrices = []
    for index in range(num_matrices):
        matrix = torch.zeros(size, size, dtype=torch.float64)
        matrix[upper[0], upper[1]] = vector[index * length : (index + 1) * length]
        matrices.append(matrix + matrix.triu(1).T)
    return matrices, vector[num_matrices * length :]
