"""The edge of stability across widths: do networks of all widths train at the same sharpness?

Full-batch training of a two-layer tanh network on a small task, measured along the way in units of the optimizer's own
steps. Where features are learned alike at all widths (muP), sharpness follows the same path to the limit 1 at every
width; in the lazy parametrization (NTK) its growth under gradient descent fades with width, because it is feature
learning that sharpens.

Source: arXiv:2103.00065 (edge of stability), arXiv:2402.17457 (across widths).
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limes.compare.full_batch import FullBatch
from limes.core.errors import SpecError
from limes.core.plain import finite_or_none
from limes.measure.edge_probe import EdgeProbe
from limes.models import build_model
from limes.optim import build_optimizer
from limes.parametrize import plan
from limes.spec.model import MLPSpec
from limes.spec.training import OptimizerSpec
from limes.train import train
from limes.train.loss import regression_loss

Array = NDArray[np.float64]

MAX_WIDTH = 1_000_000
# Activations of one layer on all samples: 0.8 GB in float64.
MAX_ENTRIES = 100_000_000
NUM_INPUTS = 8
# Tuned at the base so that the limit is reached within the steps below; nothing of it is changed with width.
LOG2_LR: dict[str, float] = {"sgd": -1.15, "adam": -4.65}
NEAR = 0.1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EdgeCurve:
    """One network.

    Attributes:
        steps: (n,) steps at which it was measured.
        ratio: (n,) sharpness over the optimizer's limit; NaN before Adam's first step.
        loss: (num_steps,) training loss.
        limit: Of the sharpness: 2 for gradient descent, 38 for Adam with beta1 = 0.9.
    """

    parametrization: str
    optimizer: str
    width: int
    steps: Array
    ratio: Array
    loss: Array
    limit: float

    @property
    def late(self) -> float:
        """Mean ratio over the last third."""
        return float(np.mean(self.ratio[-len(self.ratio) // 3 :]))

    @property
    def growth(self) -> float:
        """How far the ratio rises above its first value at most; Adam's first steps are large, and hide some of it."""
        known = self.ratio[np.isfinite(self.ratio)]
        return float(known.max() - known[0]) if len(known) else float("nan")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EdgeStudy:
    """All networks of a study."""

    curves: tuple[EdgeCurve, ...]
    base_width: int
    num_samples: int
    num_steps: int
    seed: int

    def of(self, parametrization: str, optimizer: str) -> tuple[EdgeCurve, ...]:
        """Curves of one parametrization and optimizer, by width."""
        found = [c for c in self.curves if (c.parametrization, c.optimizer) == (parametrization, optimizer)]
        return tuple(sorted(found, key=lambda curve: curve.width))

    def at_the_edge(self, parametrization: str, optimizer: str) -> bool:
        """Every width ends within 0.1 of the limit."""
        return all(abs(curve.late - 1.0) <= NEAR for curve in self.of(parametrization, optimizer))

    def fades(self, parametrization: str, optimizer: str) -> bool:
        """The rise of sharpness is smaller at every larger width, and at the largest not half that of the smallest."""
        growth = [curve.growth for curve in self.of(parametrization, optimizer)]
        return bool(np.all(np.diff(growth) < 0)) and growth[-1] < 0.5 * growth[0]

    def spread(self, parametrization: str, optimizer: str) -> tuple[float, float]:
        """How far the paths of different widths are apart: of the ratio, and of the loss in units of the first.

        Largest less smallest over the widths, averaged over the steps that all of them made. Where it is small, a wide
        network has the curvature and loss of a narrow one at the same step (super consistency, arXiv:2402.17457).
        """
        curves = self.of(parametrization, optimizer)
        measured, made = (min(len(values) for values in many) for many in zip(*((c.ratio, c.loss) for c in curves)))
        ratio = np.stack([curve.ratio[:measured] for curve in curves])
        loss = np.stack([curve.loss[:made] / curve.loss[0] for curve in curves])
        known = np.isfinite(ratio).all(0)
        return float(np.ptp(ratio[:, known], axis=0).mean()), float(np.ptp(loss, axis=0).mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: settings, and each curve with NaN as null."""
        return {
            "base_width": self.base_width,
            "num_samples": self.num_samples,
            "num_steps": self.num_steps,
            "seed": self.seed,
            "spread": [
                {
                    "parametrization": name,
                    "optimizer": kind,
                    "ratio": finite_or_none(self.spread(name, kind)[0]),
                    "loss": finite_or_none(self.spread(name, kind)[1]),
                }
                for name, kind in dict.fromkeys((c.parametrization, c.optimizer) for c in self.curves)
            ],
            "curves": [
                {
                    "parametrization": curve.parametrization,
                    "optimizer": curve.optimizer,
                    "width": curve.width,
                    "limit": finite_or_none(curve.limit),
                    "steps": curve.steps.tolist(),
                    "ratio": [finite_or_none(value) for value in curve.ratio],
                    "final_loss": finite_or_none(curve.loss[-1]),
                    "late_ratio": finite_or_none(curve.late),
                    "growth": finite_or_none(curve.growth),
                }
                for curve in self.curves
            ],
        }


def edge_study(
    *,
    widths: Sequence[int] = (64, 256, 1024),
    parametrizations: Sequence[str] = ("mup", "ntk"),
    optimizers: Sequence[str] = ("sgd", "adam"),
    base_width: int = 16,
    num_samples: int = 128,
    num_steps: int = 1000,
    every: int = 20,
    seed: int = 0,
    progress: Callable[[float], Any] | None = None,
) -> EdgeStudy:
    """Train the networks one after the other.

    Args:
        widths: At least two.
        parametrizations: By name.
        optimizers: "sgd" (gradient descent), "adam" (beta1 = 0.9).
        base_width: Where all parametrizations are one, and where the learning rate was tuned.
        num_samples: Of the task, all in every step: normal inputs in 8 dimensions, target the sign of the product of
            the first two.
        num_steps: Updates.
        every: Steps between measurements.
        seed: Of data and weights.
        progress: Told the share of the work that is done.

    Raises:
        SpecError: A width is below 2 or there are fewer than two, another number is not positive, or the activations of
            the widest network would not fit into memory (`MAX_ENTRIES`).
    """
    if len(set(widths)) < 2 or min(widths) < 2:
        raise SpecError(f"widths {list(widths)}: expected at least two different ones, each at least 2")
    if min(base_width, num_samples, num_steps, every) < 1 or num_steps < 3 * every:
        raise SpecError(
            f"base_width {base_width}, num_samples {num_samples}, num_steps {num_steps}, every {every}: expected "
            "positive numbers, and at least three measurements"
        )
    if max(widths) > MAX_WIDTH or num_samples * max(widths) > MAX_ENTRIES:
        raise SpecError(
            f"width {max(widths)} with {num_samples} samples: expected a width of at most {MAX_WIDTH}, and width times "
            f"samples at most {MAX_ENTRIES}"
        )
    if unknown := [kind for kind in optimizers if kind not in LOG2_LR]:
        raise SpecError(f"optimizers {unknown}: expected some of {', '.join(LOG2_LR)}")
    kinds, names = dict.fromkeys(optimizers), dict.fromkeys(parametrizations)
    cases = [(name, kind, width) for kind in kinds for name in names for width in sorted(set(widths))]
    data = _task(num_samples, seed)
    curves, done, total = [], 0.0, float(sum(_work(width) for _, _, width in cases))
    for name, kind, width in cases:
        curves.append(_train(name, kind, width, data, base_width=base_width, steps=num_steps, every=every, seed=seed))
        done += _work(width)
        if progress is not None:
            progress(done / total)
    return EdgeStudy(
        curves=tuple(curves), base_width=base_width, num_samples=num_samples, num_steps=num_steps, seed=seed
    )


def _work(width: int) -> float:
    """Relative time: overhead of a step, and what grows with width."""
    return 1.0 + width / 200


def _task(num_samples: int, seed: int) -> FullBatch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num_samples, NUM_INPUTS, generator=generator, dtype=torch.float64)
    return FullBatch(inputs, (inputs[:, :1] * inputs[:, 1:2]).sign())


def _train(
    name: str, kind: str, width: int, data: FullBatch, *, base_width: int, steps: int, every: int, seed: int
) -> EdgeCurve:
    def build(size: int) -> nn.Module:
        spec = MLPSpec(width=size, depth=1, activation="tanh", num_inputs=NUM_INPUTS, num_outputs=1)
        return build_model(spec, generator=torch.Generator().manual_seed(seed))

    made = plan(build, base=base_width, target=width, parametrization=name, optimizer=kind, allow_no_growth=True)
    model = made.apply_multipliers(made.init_(build(width).double(), seed=seed))
    start = copy.deepcopy(model).requires_grad_(False)
    spec = OptimizerSpec(name="sgd") if kind == "sgd" else OptimizerSpec(name="adam", betas=(0.9, 0.999), eps=1e-8)
    optimizer = build_optimizer(made.param_groups(model, lr=2.0 ** LOG2_LR[kind], eps=spec.eps), spec)

    def loss_fn(module: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return regression_loss(module(batch[0]) - start(batch[0]), batch[1])

    probe = EdgeProbe(optimizer, loss_fn, every=every)
    trace = train(model, data, optimizer, data.training(spec, steps=steps), probes=[probe])
    measured, ratio = trace.probes["edge/ratio"]
    known = np.isfinite(ratio)
    limits = trace.probes["edge/sharpness"][1][known] / ratio[known]
    return EdgeCurve(
        parametrization=name,
        optimizer=kind,
        width=width,
        steps=measured,
        ratio=ratio,
        loss=trace.train_loss,
        limit=float(limits[-1]) if len(limits) else float("nan"),
    )
