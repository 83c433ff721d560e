"""Outputs of a deep mean-field network on test inputs, and how far the outputs of one network scatter around them.

N times the covariance of two outputs is the derivative of the mean of one by a force on the other: a force j on an
output tilts the posterior by exp(N j f). On a training output it is a shift of the target by j / (b g^2). On a test
input it makes e = j / (b g^2) take part in the tilt like one more residual; to first order in e the neurons of layer l
are tilted by -e F_l more, and all kernels and conjugates follow, which the slope of the saddle equations gives:

    F_l = (p_l . phi) phi(h_x) + t_l phi(h_x)^2 / 2,      p_L = -(b g)^2 d,   t_L = 0,
    p_(l-1) = <F' dW/dh + phi'(h_x) phi' p_l>_l,          t_(l-1) = <F''>_l,  W = -phi' H_l phi / 2,

' the derivative by h_x. At each order this counts the fluctuations of the kernels of all layers.

Source: limes, derivation in docs/theory/deep_adaptive_kernels.md.
Letters: as in `layers` and `deep_sweep`; v = p . phi.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limes.theory.activations import Activation
from limes.theory.statics.deep_sweep import Stack, Swept, sweep
from limes.theory.statics.layers import Below, Box, pack, with_tests

# Units without a bound tilt ever more steeply: a longer step sees the third order.
STEP = 1e-6
# The slope is a one-sided difference, good to a few digits: its inverse is used three times.
REFINEMENTS = 3
NUM_NODES = 32


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Force:
    """p (P,) and t of one layer."""

    way: Tensor
    square: float


def _nodes(z: Tensor, below: Below) -> tuple[list[tuple[Tensor, float, float]], float]:
    """(h_x, node, weight) over the part of h_x that z leaves free, and the deviation of that part."""
    center, deviation = z @ below.test_rows[0], float(below.test_deviation[0])
    nodes, weights = np.polynomial.hermite_e.hermegauss(NUM_NODES if deviation > 0.0 else 1)
    rows = zip(nodes.tolist(), (weights / weights.sum()).tolist(), strict=True)
    return [(center + deviation * node, node, weight) for node, weight in rows], deviation


def _powers(z: Tensor, below: Below, activation: Activation) -> list[Tensor]:
    """E[phi(h_x)^k | z], k = 1..4, each (Q,)."""
    total = [torch.zeros(len(z), dtype=torch.float64) for _ in range(4)]
    for h, _, weight in _nodes(z, below)[0]:
        phi = activation.value(h)
        square = phi * phi
        for target, value in zip(total, (phi, square, phi * square, square * square), strict=True):
            target.add_(value, alpha=weight)
    return total


def _slopes(z: Tensor, below: Below, activation: Activation) -> list[Tensor]:
    """E[. | z] of phi', (phi^2)' / 2, phi'', (phi^2)'' / 2 at h_x, each (Q,)."""
    total = [torch.zeros(len(z), dtype=torch.float64) for _ in range(4)]
    nodes, deviation = _nodes(z, below)
    for h, node, weight in nodes:
        phi, slope = activation.value(h), activation.derivative(h)
        if deviation > 0.0:
            # By parts, which holds at a kink too.
            bends = (slope * (node / deviation), phi * slope * (node / deviation))
        else:
            second = _second(activation, h)
            bends = (second, slope**2 + phi * second)
        for target, value in zip(total, (slope, phi * slope, *bends), strict=True):
            target.add_(value, alpha=weight)
    return total


def _second(activation: Activation, h: Tensor) -> Tensor:
    if activation.second_derivative is not None:
        return activation.second_derivative(h)
    return (activation.derivative(h + 1e-5) - activation.derivative(h - 1e-5)) / 2e-5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Carried:
    """A test input carried through all layers.

    Args:
        belows: Its factors in each layer.
        powers: E[phi(h_x)^k | z], k = 1..4, in each layer.
        row: (P,) <phi(h_x) phi> of the last layer.
        variance: <phi(h_x)^2> there.
    """

    belows: list[Below]
    powers: list[list[Tensor]]
    row: Tensor
    variance: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Solved:
    """A solved network, on the grids where the slope of its equations was taken.

    Args:
        stack: Network and data.
        gamma0: Feature-learning strength.
        boxes: The grids.
        unknowns: q.
        swept: Its sweep.
        slope: dR/dq.
    """

    stack: Stack
    gamma0: float
    boxes: Sequence[Box]
    unknowns: Tensor
    swept: Swept
    slope: Tensor

    def train_fluctuation(self) -> Tensor:
        """(P,) width times the variances of the outputs on the training inputs."""
        size = len(self.stack.targets)
        inverse = torch.linalg.inv(self.slope)[-size:, -size:]
        return (1.0 + inverse.diagonal()) / (self.stack.inverse_temperature * self.gamma0**2)


def carry(
    solved: Solved,
    row: Tensor,
    variance: Tensor,
    *,
    swept: Swept | None = None,
    forces: Sequence[Force] = (),
    size: float = 0.0,
) -> Carried:
    """Rows (P,) and variance of a test input, layer after layer, to first order in a force of a given size."""
    swept = swept or solved.swept
    belows, powers = list[Below](), list[list[Tensor]]()
    for index, (box, layer, below) in enumerate(zip(solved.boxes, swept.layers, swept.belows, strict=True)):
        belows.append(with_tests(below, row[None], variance[None]))
        powers.append(_powers(box.z, belows[-1], solved.stack.activation))
        one, two, three, four = powers[-1]
        first_change, second_change = torch.zeros_like(one), torch.zeros_like(one)
        if forces:
            v, t = layer.values @ forces[index].way, forces[index].square
            first_change = size * (v * (two - one**2) + 0.5 * t * (three - one * two))
            second_change = size * (v * (three - one * two) + 0.5 * t * (four - two**2))
        row = (layer.weights * (one - first_change)) @ layer.values
        variance = layer.weights @ (two - second_change)
    return Carried(belows=belows, powers=powers, row=row, variance=variance)


def _forces(solved: Solved, carried: Carried) -> tuple[list[Force], list[Tensor]]:
    """p and t of all layers, and what the conjugates of all but the last are asked to change by, per unit of force.

    By parts in z instead of with derivatives of phi: equal on the grid to the equations that the slope belongs to.
    """
    stack = solved.stack
    residuals = stack.conjugates(solved.unknowns, solved.gamma0)[1]
    forces = [Force(way=-((stack.inverse_temperature * solved.gamma0) ** 2) * residuals, square=0.0)]
    asked = list[Tensor]()
    for index in range(stack.depth - 1, 0, -1):
        layer, below, z = solved.swept.layers[index], carried.belows[index], solved.boxes[index].z
        slope, square_slope, bend, square_bend = _slopes(z, below, stack.activation)
        v, t = layer.values @ forces[0].way, forces[0].square
        square = float(layer.weights @ (v * bend + t * square_bend))
        push = layer.weights * (v * slope + t * square_slope)
        a, b = below.lift.T @ (push @ z), below.lift.T @ below.test_rows[0]
        asked.insert(0, square * torch.outer(b, b) - torch.outer(a, b) - torch.outer(b, a))
        forces.insert(0, Force(way=a - square * b, square=square))
    return forces, asked


def test_fluctuation(solved: Solved, row: Tensor, variance: Tensor, carried: Carried) -> float:
    """Width times the variance of the output on a test input with this row (P,) and variance of the input kernel."""
    stack, beta = solved.stack, solved.stack.inverse_temperature
    forces, asked = _forces(solved, carried)
    tilts = [
        (layer.values @ force.way) * powers[0] + 0.5 * force.square * powers[1]
        for layer, powers, force in zip(solved.swept.layers, carried.powers, forces, strict=True)
    ]

    def ends(moved: Tensor) -> list[tuple[float, Tensor, Swept]]:
        """Size of the force, unknowns, sweep, on both sides."""
        places = [(size, solved.unknowns + size * moved) for size in (STEP, -STEP)]
        pushed = [[-size * tilt for tilt in tilts] for size, _ in places]
        return [
            (size, place, sweep(stack, place, solved.gamma0, solved.boxes, extras=extras))
            for (size, place), extras in zip(places, pushed, strict=True)
        ]

    # The force itself drives the training outputs through the kernel.
    direct, moved = pack(asked, -beta * carried.row), torch.zeros_like(solved.unknowns)
    for _ in range(REFINEMENTS):
        ahead, back = (swept.lack for _, _, swept in ends(moved))
        moved = moved - torch.linalg.solve(solved.slope, (ahead - back) / (2.0 * STEP) + direct)
    outputs = []
    for size, place, swept in ends(moved):
        there = carry(solved, row, variance, swept=swept, forces=forces, size=size)
        outputs.append(float(there.row @ stack.conjugates(place, solved.gamma0)[1] + size * there.variance))
    return (outputs[0] - outputs[1]) / (2.0 * STEP) / solved.gamma0**2
