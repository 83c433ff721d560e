r"""How an optimizer's settings must move when the size of an update, or of a gradient, changes.

Letters: n_in, n_out fan-in and fan-out relative to the base; D change of an entry of the effective weight
that the parametrization asks for, G gradient entry, both relative to the base; theta a forward multiplier.

An update of a matrix is lr * N(G), where N normalizes the gradient partly (SGD: not at all; Adam: entry by
entry; Muon: by singular value). With the sides over which N normalizes jointly, N(G) has entries of size
(G s)^power / s, where s = n_in^side_in n_out^side_out; hence

    lr = D s / (G s)^power        eps = (G s)^eps_power.

Moving a multiplier theta into the forward pass replaces D by D/theta and G by G theta; every row of the
symmetry table follows from that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from limes.core.errors import PlanError
from limes.core.source import Source
from limes.spec.training import OptimizerSpec

Shape = Sequence[int]


def _no_shape_factor(rows: int, columns: int) -> float:
    return 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateRule:
    """The algebra of one optimizer, all quantities relative to the base.

    Args:
        gradient_power: Power of the gradient's size that survives in the update: 1 for SGD, 0 for Adam, Lion
            and Muon, 1 - 2E for Shampoo with total inverse power E.
        side_in: Power of the fan-in in s.
        side_out: Power of the fan-out in s.
        eps_power: Power of the gradient's size to which eps is added; 0 when there is no eps.
        block_in: Power by which the learning rate falls with the number of blocks along the fan-in.
        block_out: The same along the fan-out.
        eps_block_in: Power by which eps falls with the number of blocks along the fan-in.
        eps_block_out: The same along the fan-out.
        block_size: Block of a blocked preconditioner; None for one block.
        decay_in_gradient: Weight decay is added to the gradient before it is normalized.
        matrices_only: Tensors that are no hidden matrices follow AdamW.
        shape_factor: Factor on the learning rate that the implementation already applies to a matrix of
            (rows, columns).
    """

    gradient_power: float = 0.0
    side_in: float = 0.0
    side_out: float = 0.0
    eps_power: float = 1.0
    block_in: float = 0.0
    block_out: float = 0.0
    eps_block_in: float = 0.0
    eps_block_out: float = 0.0
    block_size: int | None = None
    decay_in_gradient: bool = False
    matrices_only: bool = False
    shape_factor: Callable[[int, int], float] = _no_shape_factor

    def _side(self, n_in: float, n_out: float) -> float:
        return n_in**self.side_in * n_out**self.side_out

    def lr(self, change: float, gradient: float, *, n_in: float = 1.0, n_out: float = 1.0) -> float:
        """Learning rate that moves each entry of the effective weight by `change`; all relative to the base.

        Source: limes, docs/parametrize.md; reproduces arXiv:2203.03466 Table 8 and the code of
            arXiv:2512.05620.

        >>> UpdateRule(gradient_power=1.0, eps_power=0.0).lr(1 / 4, 1 / 8)   # SGD, hidden, n_in 4, n_out 8
        2.0
        """
        side = self._side(n_in, n_out)
        return change * side / (gradient * side) ** self.gradient_power

    def eps(self, gradient: float, *, n_in: float = 1.0, n_out: float = 1.0) -> float:
        """The eps that keeps its weight against a gradient entry of size `gradient`, relative to the base.

        Source: limes, docs/parametrize.md.

        >>> UpdateRule(eps_power=2.0).eps(1 / 4)
        0.0625
        """
        return (gradient * self._side(n_in, n_out)) ** self.eps_power

    def decay(self, lr: float, gradient: float) -> float:
        """Weight decay that shrinks the weights per step as at the base ("independent"), relative to it.

        Source: arXiv:2510.19093; limes for decay inside the gradient, docs/parametrize.md.

        >>> UpdateRule().decay(0.25, 1.0)
        4.0
        """
        return gradient ** (1.0 - self.gradient_power) / lr if self.decay_in_gradient else 1.0 / lr

    def move(self, theta: float) -> tuple[float, float, float]:
        """Factors on (lr, weight decay, eps) when the forward multiplier is multiplied by `theta`.

        The init mean and std are divided by `theta`; function and training stay the same.

        Source: arXiv:2011.14522, arXiv:2407.05872 (Adam), limes for eps and decay, docs/parametrize.md.

        >>> UpdateRule(gradient_power=1.0, eps_power=0.0).move(2.0)   # SGD
        (0.25, 4.0, 1.0)
        """
        lr = theta ** -(1.0 + self.gradient_power)
        decay = theta**2 if self.decay_in_gradient else 1.0 / lr
        return lr, decay, theta**self.eps_power

    def blocks(self, base: Shape, target: Shape) -> tuple[float, float]:
        """Factors on (lr, eps) from the number of blocks; `base` and `target` are (fan-out, fan-in).

        Source: code of arXiv:2512.05620.

        >>> UpdateRule(block_size=128, block_in=0.5, block_out=0.5).blocks((128, 128), (512, 128))
        (0.5, 1.0)
        """
        if self.block_size is None:
            return 1.0, 1.0
        counts = [-(-new // self.block_size) / -(-old // self.block_size) for old, new in zip(base, target)]
        nb_out, nb_in = counts
        lr = nb_in**-self.block_in * nb_out**-self.block_out
        return lr, nb_in**-self.eps_block_in * nb_out**-self.eps_block_out

    def built_in(self, base: Shape, target: Shape) -> float:
        """What the implementation's own shape factor does to the learning rate; shapes are (rows, columns).

        Source: docs of `torch.optim.Muon`.

        >>> rule = UpdateRule(shape_factor=lambda rows, columns: max(1, rows / columns) ** 0.5)
        >>> rule.built_in((8, 8), (32, 8))
        2.0
        """
        return self.shape_factor(target[0], target[1]) / self.shape_factor(base[0], base[1])


Groups = list[dict[str, Any]]
Builder = Callable[[Groups, OptimizerSpec], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerFamily:
    """An optimizer: how it is built and how its settings scale.

    Args:
        name: Key in the table.
        rule: Its algebra.
        build: From parameter groups and a spec to the optimizer; None where only the rule is known here.
        source: Where the rule comes from.
        variants: Other settings of the same optimizer that scale differently, by name.
    """

    name: str
    rule: UpdateRule
    build: Builder | None
    source: Source
    variants: Mapping[str, UpdateRule]

    def variant(self, name: str | None) -> UpdateRule:
        """The rule of a variant; None for the default."""
        if name is None:
            return self.rule
        if name not in self.variants:
            known = ", ".join(sorted(self.variants)) or "none"
            raise PlanError(f"{self.name} has no variant {name!r}; known: {known}")
        return self.variants[name]


def fused_where_possible(groups: Groups) -> bool | None:
    """True where all parameters are floating point on a device with fused kernels; None lets torch choose."""
    tensors = [tensor for group in groups for tensor in group["params"]]
    dense = all(type(tensor.data) is torch.Tensor and tensor.is_floating_point() for tensor in tensors)
    return True if dense and {tensor.device.type for tensor in tensors} <= {"cpu", "cuda"} else None
