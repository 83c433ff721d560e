"""The whole spectrum of the Hessian by random probes: trace with its error, and density.

Source: Hutchinson 1990 (trace); arXiv:1802.03451 and arXiv:1901.10159 (stochastic Lanczos quadrature).
Letters: n trainable numbers, z random signs, theta, w nodes and weights of the quadrature of one probe.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.measure.hessian import LossFn, Scaling, hessian_operator
from limes.numerics.lanczos import lanczos_quadrature


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trace:
    """Estimate of the Hessian's trace.

    Attributes:
        value: Mean over probes.
        error: Standard error over probes.
        num_products: Hessian-vector products that were made.
    """

    value: float
    error: float
    num_products: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SpectralDensity:
    """Spectrum of the Hessian as points with weights.

    Attributes:
        nodes: (k,) float64 eigenvalue estimates of all probes, increasing.
        weights: (k,) float64, summing to 1: the share of eigenvalues there.
        num_params: n.
        num_products: Hessian-vector products that were made.
    """

    nodes: Tensor
    weights: Tensor
    num_params: int
    num_products: int

    def moment(self, power: int) -> float:
        """Mean over eigenvalues of eigenvalue^power."""
        return (self.weights * self.nodes**power).sum().item()

    def smoothed(self, grid: Tensor, *, width: float) -> Tensor:
        """Density on `grid` (m,): each point becomes a normal curve of deviation `width`."""
        distance = (grid.double()[:, None] - self.nodes) / width
        return (torch.exp(-0.5 * distance**2) @ self.weights) / (width * sqrt(2.0 * torch.pi))


def hessian_trace(
    model: nn.Module,
    loss_fn: LossFn,
    batch: Any,
    *,
    generator: torch.Generator,
    num_probes: int = 16,
    scaling: Scaling | None = None,
    batch_statistics: bool = False,
) -> Trace:
    """Trace of the Hessian of `loss_fn(model, batch)`: mean of z' H z over random signs z.

    Args:
        model: Any module.
        loss_fn: From (model, batch) to a scalar.
        batch: Fixed.
        generator: Draws the probes.
        num_probes: At least 2.
        scaling: As for `sharpness`.
        batch_statistics: As for `sharpness`.

    Raises:
        SpecError: As `sharpness`; or fewer than 2 probes.

    **Source**: Hutchinson 1990. **Accuracy**: `error`, one standard deviation.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> loss = lambda m, x: 0.5 * m(x).square().sum()
    >>> hessian_trace(net, loss, torch.eye(2), generator=torch.Generator().manual_seed(0)).value
    2.0
    """
    if num_probes < 2:
        raise SpecError(f"num_probes {num_probes}: expected at least 2, so that an error can be estimated")
    with hessian_operator(model, loss_fn, batch, scaling=scaling, batch_statistics=batch_statistics) as hessian:
        probes = (hessian.random(generator=generator) for _ in range(num_probes))
        samples = torch.stack([(probe * hessian.product(probe)).double().sum() for probe in probes])
    error = samples.std().item() / sqrt(num_probes)
    return Trace(value=samples.mean().item(), error=error, num_products=num_probes)


def hessian_density(
    model: nn.Module,
    loss_fn: LossFn,
    batch: Any,
    *,
    generator: torch.Generator,
    num_probes: int = 8,
    num_steps: int = 40,
    scaling: Scaling | None = None,
    batch_statistics: bool = False,
) -> SpectralDensity:
    """Density of the Hessian's eigenvalues by stochastic Lanczos quadrature.

    Args:
        model: Any module.
        loss_fn: From (model, batch) to a scalar.
        batch: Fixed.
        generator: Draws the probes.
        num_probes: Random starts that are averaged.
        num_steps: Products for each start.
        scaling: As for `sharpness`.
        batch_statistics: As for `sharpness`.

    Raises:
        SpecError: As `sharpness`; or no probe, or no step.

    **Source**: arXiv:1901.10159, section 2; the weights are the squared first components of the eigenvectors.
    **Accuracy**: moments up to 2 num_steps - 1 have only the error of the probes; edges converge first.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> loss = lambda m, x: 0.5 * m(x).square().sum()
    >>> found = hessian_density(net, loss, torch.eye(2), generator=torch.Generator().manual_seed(0))
    >>> round(found.moment(1), 6)
    1.0
    """
    if num_probes < 1 or num_steps < 1:
        raise SpecError(f"num_probes {num_probes}, num_steps {num_steps}: both must be at least 1")
    with hessian_operator(model, loss_fn, batch, scaling=scaling, batch_statistics=batch_statistics) as hessian:
        pairs = [
            lanczos_quadrature(hessian.product, hessian.random(generator=generator), num_steps)
            for _ in range(num_probes)
        ]
        nodes, weights = (torch.cat(parts) for parts in zip(*pairs))
        order = nodes.argsort()
        return SpectralDensity(
            nodes=nodes[order].cpu(),
            weights=(weights / num_probes)[order].cpu(),
            num_params=hessian.num_params,
            num_products=hessian.num_products,
        )
