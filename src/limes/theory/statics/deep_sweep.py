"""The saddle equations of a deep mean-field network: one exact forward sweep, and what the conjugates then lack.

Given the conjugates H_1 .. H_(L-1) and the residuals d, H_L = -(b g)^2 d d', the kernels follow exactly, layer by
layer; what is left are equations for the conjugates alone, solved by Newton's method while gamma0 grows from zero.

Source: Lauditi, Bordelon & Pehlevan, arXiv:2502.07998; docs/theory/deep_adaptive_kernels.md.
Letters: as in `layers`; q the unknowns (upper triangles of the conjugates, then d), R(q) what the equations lack.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limes.core.errors import ConvergenceError, ScopeError
from limes.theory.activations import Activation, Elementwise
from limes.theory.statics.layers import (
    COARSE,
    Below,
    Box,
    Tilted,
    conjugate_below,
    factored,
    pack,
    tilted,
    unpack,
)

NEWTON_STEPS = 12
LOOSE = 1e-7
TIGHT = 1e-12
RIM_SHARE = 1e-6
SMALLEST_STEP = 2.0**-9


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stack:
    """The network and its data.

    Args:
        first: Factored kernel of the inputs.
        targets: (P,).
        activation: Of the hidden layers.
        depth: Hidden layers.
        inverse_temperature: Of the sum of half squares.
    """

    first: Below
    targets: Tensor
    activation: Activation
    depth: int
    inverse_temperature: float

    @property
    def phi(self) -> Elementwise:
        """The activation's values."""
        return self.activation.value

    def conjugates(self, unknowns: Tensor, gamma0: float) -> tuple[list[Tensor], Tensor]:
        """H_1 .. H_L and the residuals."""
        matrices, residuals = unpack(unknowns, self.depth - 1, len(self.targets))
        top = -((gamma0 * self.inverse_temperature) ** 2) * torch.outer(residuals, residuals)
        return [*matrices, top], residuals


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Swept:
    """One forward sweep.

    Args:
        lack: R(q).
        belows: What feeds each layer.
        layers: Averages of each layer.
    """

    lack: Tensor
    belows: list[Below]
    layers: list[Tilted]


def sweep(
    stack: Stack, unknowns: Tensor, gamma0: float, boxes: Sequence[Box], *, extras: Sequence[Tensor] | None = None
) -> Swept:
    """Kernels of all layers, exactly, and the lack of the conjugates; `extras` are further exponents of each layer."""
    conjugates, residuals = stack.conjugates(unknowns, gamma0)
    belows, layers = [stack.first], list[Tilted]()
    for index, (box, conjugate) in enumerate(zip(boxes, conjugates, strict=True)):
        extra = None if extras is None else extras[index]
        layers.append(tilted(box, belows[-1], stack.phi, conjugate, extra=extra))
        if index + 1 < stack.depth:
            belows.append(factored(layers[-1].kernel))
    lacks = [
        conjugate_below(below, layer.second) - conjugate
        for below, layer, conjugate in zip(belows[1:], layers[1:], conjugates[:-1], strict=True)
    ]
    left = stack.targets - residuals - stack.inverse_temperature * layers[-1].kernel @ residuals
    return Swept(lack=pack(lacks, left), belows=belows, layers=layers)


def slope_of(stack: Stack, unknowns: Tensor, gamma0: float, boxes: Sequence[Box], here: Tensor) -> Tensor:
    """dR/dq by differences; `here` is R(q)."""
    columns = []
    for index in range(len(unknowns)):
        moved = unknowns.clone()
        moved[index] += 1e-6
        columns.append((sweep(stack, moved, gamma0, boxes).lack - here) / 1e-6)
    return torch.stack(columns, 1)


def boxes_for(seconds: Sequence[Tensor], *, coarse: float | None = None) -> list[Box]:
    """A grid for each layer; `coarse` None takes the coarsest that Newton's method can be led by."""
    return [Box(second, coarse=COARSE.get(len(second), 1.0) if coarse is None else coarse) for second in seconds]


def newton(
    stack: Stack,
    start: Tensor,
    gamma0: float,
    boxes: Sequence[Box],
    *,
    bound: float,
    slope: Tensor | None = None,
) -> tuple[Tensor, Swept, Tensor, int] | None:
    """Unknowns, their sweep, dR/dq and the number of sweeps; None where it does not arrive.

    The slope is kept while it serves: it is renewed where a step does not shorten R by a factor of 8.
    """
    unknowns, count = start, 1
    found = sweep(stack, unknowns, gamma0, boxes)
    for _ in range(NEWTON_STEPS):
        lack = float(found.lack.norm())
        if not lack < torch.inf or max(layer.rim_share for layer in found.layers) > RIM_SHARE:
            return None
        if lack <= bound and slope is not None:
            return unknowns, found, slope, count
        if slope is None:
            slope, count = slope_of(stack, unknowns, gamma0, boxes, found.lack), count + len(unknowns)
        unknowns = unknowns - torch.linalg.solve(slope, found.lack)
        before, found, count = lack, sweep(stack, unknowns, gamma0, boxes), count + 1
        if float(found.lack.norm()) > before / 8.0 and float(found.lack.norm()) > bound:
            slope = None
    return None


def _untilted(stack: Stack) -> list[Tensor]:
    """<z z'> of all layers under the prior; its size is the rank, which is below P for linear units."""
    size, below, seconds = len(stack.targets), stack.first, list[Tensor]()
    none = torch.zeros(size, size, dtype=torch.float64)
    for _ in range(stack.depth):
        seconds.append(torch.eye(below.factor.shape[1], dtype=torch.float64))
        layer = tilted(boxes_for(seconds[-1:])[0], below, stack.phi, none)
        below = factored(layer.kernel)
    return seconds


def follow(stack: Stack, gamma0: float) -> tuple[Tensor, list[Tensor], int]:
    """Raise gamma0 from zero: unknowns on coarse grids, second moments of all layers, sweeps.

    Raises:
        ScopeError: A tilted law outgrows every grid.
        ConvergenceError: The solution that starts at the NNGP cannot be followed to `gamma0`.
    """
    size, seconds = len(stack.targets), _untilted(stack)
    unknowns = torch.zeros((stack.depth - 1) * size * (size + 1) // 2 + size, dtype=torch.float64)
    done, step, count = 0.0, 0.125, 0
    reason = "Newton's method does not arrive"
    while done < 1.0:
        share, found = min(done + step, 1.0), None
        try:
            found = newton(stack, unknowns, share * gamma0, boxes_for(seconds), bound=LOOSE)
        except (ScopeError, torch.linalg.LinAlgError) as error:
            reason = str(error)
        if found is None:
            step *= 0.5
            if step < SMALLEST_STEP:
                raise ConvergenceError(
                    f"the saddle could be followed from the NNGP to gamma0 {done * gamma0:.4g} only, not to "
                    f"{gamma0:g} ({reason}); lower gamma0 or the inverse temperature"
                )
            continue
        unknowns, swept, _, used = found
        seconds, done, count = [layer.second for layer in swept.layers], share, count + used
    return unknowns, seconds, count
