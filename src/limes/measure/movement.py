"""Movement from initialization, layer by layer: which tensors and features changed (rich), which hardly did (lazy).

Source: arXiv:1812.07956 (lazy training); arXiv:2011.14522 (feature learning); limes, docs/diagnostics.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.measure.activations import Recording
from limes.measure.kernels import centered_alignment
from limes.measure.roles import check_roles

# Features that changed by less than this share of their size are called lazy.
LAZY = 0.1
# Samples that enter a kernel; it takes their square in memory.
MAX_SAMPLES = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightMovement:
    """A tensor, or all of one group pooled, against its initialization.

    Attributes:
        relative: |W - W0| / |W0| (Frobenius norms); infinite if it began at zero and moved.
        norm_ratio: |W| / |W0|.
        cosine: Between W and W0; NaN if one is zero.
    """

    relative: float
    norm_ratio: float
    cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureMovement:
    """A layer's output on one batch against what it was at initialization.

    Attributes:
        relative: |h - h0| / |h0| over all entries.
        alignment: Centred alignment of the two feature kernels, 1 if they agree up to scale; NaN where one is constant.
    """

    relative: float
    alignment: float

    @property
    def lazy(self) -> bool:
        """Whether the features hardly moved (less than `LAZY` of their size)."""
        return self.relative < LAZY


def weight_movement(
    model: nn.Module, initial: Mapping[str, Tensor], *, groups: Mapping[str, str] | None = None
) -> tuple[dict[str, WeightMovement], dict[str, WeightMovement]]:
    """Movement of every tensor, and of each group of tensors, since initialization.

    Args:
        model: Now.
        initial: Parameters at initialization by name (a state dict will do); tied ones once.
        groups: Group of each tensor, such as that of its learning rate; what is missing goes by its role.

    Returns:
        By parameter name, and by group. Frozen tensors are included: they show 0.

    Raises:
        SpecError: A parameter has no initial value of its shape.

    Source: arXiv:1812.07956, section 1. **Accuracy**: sums in float64.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(layer.weight, 3.0)
    >>> weight_movement(layer, {"weight": torch.ones(1, 2)})[0]["weight"].relative
    2.0
    """
    named = check_roles(model, groups)
    sums: dict[str, list[float]] = {}
    tensors = {}
    for name, parameter in model.named_parameters():
        old = initial.get(name)
        if old is None or old.shape != parameter.shape:
            got = "none" if old is None else f"shape {tuple(old.shape)}"
            raise SpecError(f"initial value of {name!r}: {got}, expected shape {tuple(parameter.shape)}")
        new, old = parameter.detach().double(), old.detach().to(parameter.device).double()
        parts = [float(x) for x in ((new - old).square().sum(), old.square().sum(), new.square().sum())]
        parts.append(float((new * old).sum()))
        tensors[name] = _movement(parts)
        total = sums.setdefault(named[name], [0.0] * 4)
        for place, value in enumerate(parts):
            total[place] += value
    return tensors, {group: _movement(parts) for group, parts in sums.items()}


def feature_movement(
    first: Recording, last: Recording, *, max_samples: int = MAX_SAMPLES
) -> dict[str, FeatureMovement]:
    """Movement of every module's output between two forward passes on the same batch, such as at init and now.

    Args:
        first: From `record_forward_pass` at initialization.
        last: From `record_forward_pass` now, same batch, same mode.
        max_samples: Rows (samples and tokens) that enter the kernels, the first ones.

    Returns:
        By module path; modules without a real output, or with another shape, are left out.

    Source: arXiv:2011.14522; arXiv:1905.00414 (alignment). **Accuracy**: sums in float64.

    >>> from limes.measure.activations import record_forward_pass
    >>> net = nn.Linear(1, 1, bias=False)
    >>> passes = []
    >>> for value in (1.0, 1.5):
    ...     _ = nn.init.constant_(net.weight, value)
    ...     passes.append(record_forward_pass(net, torch.tensor([[1.0], [2.0]])))
    >>> feature_movement(*passes)[""]
    FeatureMovement(relative=0.5, alignment=1.0...)
    """
    result = {}
    for path, outputs in last.outputs.items():
        old, new = first.outputs.get(path, []), outputs
        if not old or [x.shape for x in old] != [x.shape for x in new] or new[0].dim() < 2:
            continue
        before = torch.cat([_rows(x) for x in old])
        after = torch.cat([_rows(x) for x in new])
        size = before.norm().item()
        moved = (after - before).norm().item()
        relative = moved / size if size else (float("inf") if moved else 0.0)
        result[path] = FeatureMovement(relative=relative, alignment=_alignment(before, after, max_samples))
    return result


def _rows(output: Tensor) -> Tensor:
    """A row per token of (batch, tokens, d), per sample of an image."""
    return output.double().flatten(1) if output.dim() > 3 else output.double().flatten(0, -2)


def _movement(parts: list[float]) -> WeightMovement:
    moved, old, new, product = parts
    nan, inf = float("nan"), float("inf")
    return WeightMovement(
        relative=(moved / old) ** 0.5 if old else (inf if moved else 0.0),
        norm_ratio=(new / old) ** 0.5 if old else (inf if new else nan),
        cosine=product / (old * new) ** 0.5 if old and new else nan,
    )


def _alignment(before: Tensor, after: Tensor, max_samples: int) -> float:
    one, two = before[:max_samples], after[:max_samples]
    try:
        return centered_alignment(one @ one.T, two @ two.T)
    except SpecError:
        return float("nan")
