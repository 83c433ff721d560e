"""Signal and gradients of any network through its blocks at initialization, measured on one batch.

A block is a child of the longest list of modules that the network runs through. What enters each block is recorded, and
what leaves the last one where a module follows it.

Source: the quantities of arXiv:1611.01232 (signal propagation) and arXiv:2206.03126 (likeness of tokens).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.measure.activations import unchanged
from limes.measure.features import token_similarity

Real = NDArray[np.float64]
Verdict = Literal["stable", "vanishing", "exploding", "collapsing"]
FACTOR = 100.0
LIKENESS = 0.95


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SignalProfile:
    """One network, from its first block to behind its last.

    Args:
        names: (K,) which block's input each point is.
        signal: (K,) mean square of the entries.
        gradient: (K,) squared norm of the derivative of a random projection of the output.
        likeness: (K,) mean cosine between different tokens of a sequence, or between different samples.
        first: (groups, m, m) covariance of tokens or samples at the first point.
    """

    names: tuple[str, ...]
    signal: Real
    gradient: Real
    likeness: Real
    first: Tensor

    @property
    def signal_factor(self) -> float:
        """Last over first."""
        return float(self.signal[-1] / self.signal[0])

    @property
    def gradient_factor(self) -> float:
        """First over last: what the gradient becomes on its way back."""
        return float(self.gradient[0] / self.gradient[-1])

    @property
    def verdict(self) -> Verdict:
        """Exploding or vanishing beyond a factor of 100 either way, collapsing where the likeness closes in on 1."""
        logs = np.array([self.signal_factor, self.gradient_factor])
        if not np.isfinite(logs).all() or logs.max() > FACTOR:
            return "exploding"
        if logs.min() < 1.0 / FACTOR:
            return "vanishing"
        risen = self.likeness[-1] - self.likeness[0]
        return "collapsing" if self.likeness[-1] > LIKENESS and risen > 0.5 * (1.0 - self.likeness[0]) else "stable"


def profile_signal(model: nn.Module, call: Callable[[], Any], *, generator: torch.Generator) -> SignalProfile:
    """Run a batch forward and back, once.

    Args:
        model: Any module with a list of blocks.
        call: Runs the model on the batch and returns its output, or a structure whose first float tensor is it.
        generator: Of the projection of the output.

    Returns:
        `SignalProfile`.

    Raises:
        SpecError: No list of at least two blocks was run, or the output has no float tensor.

    >>> net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    >>> x = torch.ones(2, 4)
    >>> len(profile_signal(net, lambda: net(x), generator=torch.Generator().manual_seed(0)).names)
    3
    """
    prefix, blocks = _chain(model)
    seen: dict[str, Tensor] = {}
    handles = [
        module.register_forward_pre_hook(_keeper(seen, name), with_kwargs=True) for name, module in blocks.items()
    ]
    last = next(reversed(blocks))
    inside = {id(m) for block in blocks.values() for m in block.modules()}
    for name, module in model.named_modules():
        if id(module) not in inside and name and not list(module.children()):
            handles.append(module.register_forward_pre_hook(_keeper(seen, name, after=last), with_kwargs=True))
    try:
        with unchanged(model), torch.enable_grad():
            output = _first_float(call())
            if output is None:
                raise SpecError(f"{type(model).__name__} returns no tensor of floats; expected its outputs")
            points = {name: value for name, value in seen.items() if value.ndim >= 2}
            if len(points) < 2:
                raise SpecError(
                    f"{type(model).__name__} ran {len(points)} blocks of its longest list {prefix or 'of children'!r}; "
                    "expected two or more blocks that take a tensor"
                )
            weights = torch.randn(output.shape, generator=generator).to(output)
            gradients = torch.autograd.grad((output * weights).sum(), list(points.values()), allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    return _summarize(points, gradients)


def _chain(model: nn.Module) -> tuple[str, dict[str, nn.Module]]:
    """Name and members of the longest list of modules."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList | nn.Sequential)]
    if not lists:
        raise SpecError(f"{type(model).__name__} has no nn.ModuleList or nn.Sequential; keep its blocks in one")
    name, longest = max(lists, key=lambda pair: len(pair[1]))
    return name, {f"{name}.{i}".lstrip("."): block for i, block in enumerate(longest)}


def _keeper(seen: dict[str, Tensor], name: str, after: str = "") -> Any:
    """A hook that keeps the first tensor of floats that enters; behind the chain, of the first module only."""

    def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = _first_float((args, kwargs))
        if value is None or name in seen or (after and (after not in seen or next(reversed(seen)) != after)):
            return None
        if not value.requires_grad and args and args[0] is value:
            value = value.detach().requires_grad_()
            seen[name] = value
            return (value, *args[1:]), kwargs
        if value.requires_grad:
            seen[name] = value
        return None

    return keep


def _first_float(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return next((found for part in value if (found := _first_float(part)) is not None), None)
    return None


def _groups(value: Tensor) -> Tensor:
    """(groups, m, features): tokens of each sequence, or all samples as one group."""
    x = value.detach().double()
    if x.ndim == 3:
        return x
    return x.flatten(1)[None]


def _summarize(points: dict[str, Tensor], gradients: tuple[Tensor | None, ...]) -> SignalProfile:
    grouped = {name: _groups(value) for name, value in points.items()}
    likeness = [float(token_similarity(x)) if x.shape[1] > 1 else np.nan for x in grouped.values()]
    first = next(iter(grouped.values()))
    return SignalProfile(
        names=tuple(points),
        signal=np.array([float(value.detach().double().square().mean()) for value in points.values()]),
        gradient=np.array([0.0 if g is None else float(g.double().square().sum()) for g in gradients]),
        likeness=np.array(likeness),
        first=first @ first.mT / first.shape[-1],
    )
