"""NNGP and tangent kernels of residual networks of infinite width, at any depth, the infinite one included.

Source: arXiv:2309.16620 (branch scale depth^(-1/2)); arXiv:2210.00688; the general exponent: docs/theory/kernels.md.
Letters: H covariance of the residual stream, Theta its tangent kernel, s = beta depth^-alpha the scale of a branch,
eta the learning rate of the blocks over that of the other layers, k and kdot the dual maps, tau = block / depth.

    H = Theta = weight_var x.x'/D + bias_var;      each block: h + s (sqrt(weight_var / n) W phi(h) + sqrt(bias_var) b)
    depth times:  M = weight_var k(H) + bias_var,  Theta += s^2 (eta M + weight_var kdot(H) Theta),  H += s^2 M
    alpha = 1/2 and depth infinite:  dH/dtau = beta^2 M,  dTheta/dtau = beta^2 (eta M + weight_var kdot(H) Theta)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.integrate import DOP853
from torch import Tensor

from limes.core.errors import ScopeError, SpecError
from limes.theory.activations import Activation, get_activation
from limes.theory.kernels.recursion import Layers, check_variances, kernel_matrix

Readout = Literal["activation", "linear"]
State = tuple[Tensor, Tensor]
# (index of the evaluation, covariance) -> k and kdot
Map = Callable[[int, Tensor], tuple[Tensor, Tensor]]

_NODES = [[float(a) for a in row[:i]] for i, row in enumerate(DOP853.A[:12])]
_WEIGHTS = [float(b) for b in DOP853.B]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResidualRecursion:
    """A residual network in NTK parametrization: linear stem, `depth` branches of one matrix, readout.

    Args:
        depth: Number of blocks, or math.inf.
        activation: Name or object, inside the branch.
        weight_var: Variance of a weight times its fan-in, the same in every layer.
        bias_var: Variance of a bias.
        branch_scale: beta.
        branch_exponent: alpha; a branch enters times beta depth^-alpha.
        readout: "activation" reads phi of the last stream, "linear" the stream itself.
        scale_block_lr: Multiply the blocks' learning rate by depth^(2 alpha - 1), which keeps them learning.

    **Source**: arXiv:2309.16620.

    >>> ResidualRecursion(depth=math.inf, activation="relu", weight_var=1.0, bias_var=0.0).branch_exponent
    0.5
    """

    depth: float
    activation: str | Activation
    weight_var: float
    bias_var: float
    branch_scale: float = 1.0
    branch_exponent: float = 0.5
    readout: Readout = "activation"
    scale_block_lr: bool = False

    def __post_init__(self) -> None:
        if not (self.depth == math.inf or (self.depth >= 1 and self.depth == int(self.depth))):
            raise SpecError(f"depth {self.depth}: expected a whole number of blocks, 1 or more, or math.inf")
        if not math.isfinite(self.branch_scale) or self.branch_scale < 0:
            raise SpecError(f"branch_scale {self.branch_scale}: expected zero or a positive number")
        if not math.isfinite(self.branch_exponent):
            raise SpecError(f"branch_exponent {self.branch_exponent}: expected a finite number such as 0.5")
        if self.readout not in ("activation", "linear"):
            raise SpecError(f"readout {self.readout!r}: expected 'activation' or 'linear'")
        check_variances(self.weight_var, self.bias_var)
        get_activation(self.activation)
        if self.depth == math.inf and self.branch_exponent < 0.5 and self.branch_scale > 0:
            raise ScopeError(
                f"branch_exponent {self.branch_exponent} < 0.5 at infinite depth: the kernel diverges; "
                "use 0.5 or more, or a finite depth"
            )

    def diagonal(self, variance: Tensor, *, tangent: bool) -> tuple[Layers, Tensor]:
        """Features of every evaluation and the kernel at equal inputs; see `Recursion`."""
        dual, layers = get_activation(self.activation).dual, []

        def maps(_: int, q: Tensor) -> tuple[Tensor, Tensor]:
            layers.append(dual.features(q))
            return dual.diagonal(q)

        return layers, self._run(maps, variance, tangent)

    def propagate(self, left: Layers, right: Layers, cov: Tensor, *, tangent: bool) -> Tensor:
        """The kernel of a rectangle of pairs; see `Recursion`."""
        dual = get_activation(self.activation).dual

        def maps(index: int, h: Tensor) -> tuple[Tensor, Tensor]:
            value, slope = dual.pair(left[index], right[index], h, tangent)
            return value, value if slope is None else slope

        return self._run(maps, cov, tangent)

    def _run(self, maps: Map, cov: Tensor, tangent: bool) -> Tensor:
        h = self.weight_var * cov + self.bias_var
        state, count = self._blocks(maps, (h, h), tangent)
        h, theta = state
        if self.readout == "linear":
            top = self.weight_var * h + self.bias_var
            return top + self.weight_var * theta if tangent else top
        k, kdot = maps(count, h)
        top = self.weight_var * k + self.bias_var
        return top + self.weight_var * kdot * theta if tangent else top

    def _rate(self, maps: Map, index: int, state: State, eta: float, tangent: bool) -> State:
        """Growth of (H, Theta) per unit of s^2."""
        k, kdot = maps(index, state[0])
        mean = self.weight_var * k + self.bias_var
        return mean, eta * mean + self.weight_var * kdot * state[1] if tangent else mean

    def _blocks(self, maps: Map, state: State, tangent: bool) -> tuple[State, int]:
        """The stream after all blocks, and the number of evaluations of the dual so far."""
        strength = self.branch_scale**2
        if self.depth < math.inf:
            depth = int(self.depth)
            step = strength * depth ** (-2.0 * self.branch_exponent)
            eta = depth ** (2.0 * self.branch_exponent - 1.0) if self.scale_block_lr else 1.0
            for index in range(depth):
                growth = self._rate(maps, index, state, eta, tangent)
                state = (state[0] + step * growth[0], state[1] + step * growth[1])
            return state, depth
        if self.branch_exponent > 0.5:
            # The stream stays as it was; the blocks' own gradients survive only with their learning rate scaled.
            if not self.scale_block_lr:
                return state, 0
            mean = self._rate(maps, 0, state, 1.0, False)[0]
            return (state[0], state[1] + strength * mean), 1
        return self._integrate(maps, state, strength, tangent)

    def _integrate(self, maps: Map, state: State, strength: float, tangent: bool) -> tuple[State, int]:
        """The depth flow by Dormand and Prince's rule of order 8, steps of at most 1/8 of the growth time."""
        num_steps = max(4, math.ceil(8.0 * strength * self.weight_var))
        step = strength / num_steps
        index = 0
        for _ in range(num_steps):
            rates: list[State] = []
            for nodes in _NODES:
                rates.append(self._rate(maps, index, _advance(state, rates, nodes, step), 1.0, tangent))
                index += 1
            state = _advance(state, rates, _WEIGHTS, step)
        return state, index


def _advance(state: State, rates: list[State], weights: list[float], step: float) -> State:
    h, theta = state
    for weight, rate in zip(weights, rates, strict=True):
        if weight:
            h, theta = torch.add(h, rate[0], alpha=step * weight), torch.add(theta, rate[1], alpha=step * weight)
    return h, theta


def residual_nngp_kernel(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depth: float,
    activation: str | Activation,
    weight_var: float,
    bias_var: float,
    branch_scale: float = 1.0,
    branch_exponent: float = 0.5,
    readout: Readout = "activation",
) -> Tensor:
    """Covariance of the outputs of a random residual network of infinite width.

    Args:
        x1: (P1, D) inputs, which enter as x.x'/D.
        x2: (P2, D), or None for x1 itself.
        depth: Number of blocks, or math.inf.
        activation: Name or object.
        weight_var: Variance of a weight times its fan-in.
        bias_var: Variance of a bias.
        branch_scale: beta; a branch enters times beta depth^-branch_exponent.
        branch_exponent: 1/2 keeps branches and stream in balance at any depth.
        readout: "activation" or "linear".

    Returns:
        (P1, P2) float64.

    Raises:
        SpecError: An argument is unusable.
        ScopeError: Infinite depth with branch_exponent < 1/2, where the kernel diverges.

    **Source**: arXiv:2309.16620; limes, docs/theory/kernels.md for the general exponent.
    **Accuracy**: rounding at finite depth; 1e-11 relative at infinite depth (1e-7 for nearly parallel inputs, relu).

    >>> import torch
    >>> x = torch.ones(1, 2, dtype=torch.float64)
    >>> net = dict(activation="linear", weight_var=1.0, bias_var=0.0, readout="linear")
    >>> round(residual_nngp_kernel(x, depth=math.inf, **net).item(), 10)  # = e
    2.7182818285
    """
    net = ResidualRecursion(
        depth=depth,
        activation=activation,
        weight_var=weight_var,
        bias_var=bias_var,
        branch_scale=branch_scale,
        branch_exponent=branch_exponent,
        readout=readout,
    )
    return kernel_matrix(net, x1, x2=x2, tangent=False)


def residual_ntk_kernel(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depth: float,
    activation: str | Activation,
    weight_var: float,
    bias_var: float,
    branch_scale: float = 1.0,
    branch_exponent: float = 0.5,
    readout: Readout = "activation",
    scale_block_lr: bool = False,
) -> Tensor:
    """Tangent kernel of a residual network of infinite width; the arguments of `residual_nngp_kernel`, and one more.

    Args:
        x1: (P1, D) inputs, which enter as x.x'/D.
        x2: (P2, D), or None for x1 itself.
        depth: Number of blocks, or math.inf.
        activation: Name or object.
        weight_var: Variance of a weight times its fan-in.
        bias_var: Variance of a bias; 0 also means that no bias is trained.
        branch_scale: beta; a branch enters times beta depth^-branch_exponent.
        branch_exponent: 1/2 keeps branches and stream in balance at any depth.
        readout: "activation" or "linear".
        scale_block_lr: Weigh the blocks' parameters by depth^(2 branch_exponent - 1), as if their learning rate were.

    Returns:
        (P1, P2) float64.

    Raises:
        SpecError: An argument is unusable.
        ScopeError: Infinite depth with branch_exponent < 1/2, where the kernel diverges.

    **Source**: arXiv:2309.16620; limes, docs/theory/kernels.md for the general exponent.
    **Accuracy**: as `residual_nngp_kernel`.

    >>> import torch
    >>> x = torch.ones(1, 2, dtype=torch.float64)
    >>> net = dict(activation="linear", weight_var=1.0, bias_var=0.0, readout="linear")
    >>> round(residual_ntk_kernel(x, depth=math.inf, **net).item(), 10)  # = 3 e: stem, blocks, readout
    8.1548454854
    """
    net = ResidualRecursion(
        depth=depth,
        activation=activation,
        weight_var=weight_var,
        bias_var=bias_var,
        branch_scale=branch_scale,
        branch_exponent=branch_exponent,
        readout=readout,
        scale_block_lr=scale_block_lr,
    )
    return kernel_matrix(net, x1, x2=x2, tangent=True)
