"""Weights of controlled spectral norm: W becomes gamma W / sigma(W), gamma trained from 1.

Source: arXiv:2303.06296 (sigma-reparametrization), against the collapse of attention entropy.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from limes.core.errors import SpecError


class SigmaReparam(nn.Module):
    """The map W -> gamma W / sigma(W); sigma by one step of power iteration per pass in training.

    Args:
        weight: (rows, columns), whose singular vectors the iteration starts from.
        num_start: Steps made at once, so that sigma is right from the first pass.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, *, num_start: int = 30) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones((), dtype=weight.dtype, device=weight.device))
        # A start that is no singular vector of anything special, and the same every time.
        start = torch.linspace(1.0, 2.0, weight.shape[1], dtype=weight.dtype, device=weight.device)
        self.register_buffer("v", start / start.norm())
        self.register_buffer("u", torch.zeros(weight.shape[0], dtype=weight.dtype, device=weight.device))
        for _ in range(num_start):
            self._iterate(weight.detach())

    def _iterate(self, weight: Tensor) -> None:
        self.u = nn.functional.normalize(weight @ self.v, dim=0)
        self.v = nn.functional.normalize(weight.T @ self.u, dim=0)

    def forward(self, weight: Tensor) -> Tensor:
        """(rows, columns) -> the same shape; the gradient passes through sigma, not through the iteration."""
        if self.training:
            with torch.no_grad():
                self._iterate(weight)
        return self.gamma * weight / (self.u.clone() @ weight @ self.v.clone())


def sigma_reparametrize(model: nn.Module, names: Sequence[str] | None = None) -> nn.Module:
    """Give the named linear layers of any model, or all of them, weights of controlled spectral norm. In place.

    Args:
        model: Its parameters must have their values; optimizers are to be made afterwards.
        names: Of modules, as in `model.named_modules()`; None takes every `nn.Linear`.

    Raises:
        SpecError: A name is unknown or is no linear layer.

    >>> layer = sigma_reparametrize(nn.Sequential(nn.Linear(8, 4)))[0]
    >>> round(torch.linalg.matrix_norm(layer.weight, 2).item(), 3)
    1.0
    """
    modules = dict(model.named_modules())
    chosen = [name for name, module in modules.items() if isinstance(module, nn.Linear)] if names is None else names
    for name in chosen:
        module = modules.get(name)
        if not isinstance(module, nn.Linear):
            raise SpecError(f"module {name!r}: expected the name of a linear layer, such as {_some(modules)}")
        register_parametrization(module, "weight", SigmaReparam(module.weight))
    return model


def _some(modules: dict[str, nn.Module]) -> list[str]:
    return [name for name, module in modules.items() if isinstance(module, nn.Linear)][:3]
