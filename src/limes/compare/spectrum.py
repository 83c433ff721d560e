"""From a network's own spectrum to its loss curve and its exponents, beside the trained network.

Before training, the tangent kernel gives the modes of the task and what each holds of the target. The full sum over
modes predicts the loss at every step of a network that stays lazy; two exponents summarize it, and the theory of random
features turns them into the exponents of time, width and samples.

Source: arXiv:2402.01092, sections 2 and 4; arXiv:2409.17858 (feature learning).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from limes.compare.full_batch import FullBatch
from limes.core.errors import SpecError
from limes.measure.spectrum import SourceCapacity, Spectrum, fit_source_capacity, measure_spectrum
from limes.models import build_model
from limes.optim import build_optimizer
from limes.parametrize import plan
from limes.spec.model import Activation, MLPSpec
from limes.spec.training import OptimizerSpec
from limes.theory.scaling import ScalingExponents, scaling_exponents
from limes.train import train

Array = NDArray[np.float64]
# Of the largest stable learning rate: close to it the first modes oscillate, far below it nothing is learned.
LR_SHARE = 0.5
NUM_POINTS = 60


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SpectrumCurve:
    """One network, predicted and trained.

    Attributes:
        spectrum: Before training, each tensor weighted by its own learning rate.
        exponents: Of that spectrum.
        steps: (n,) on a logarithmic scale, from 1.
        predicted: (n,) training loss, the full mode sum.
        trained: (n,) training loss.
        lr: Learning rate at the base.
        diverged_step: Where training left all bounds, and the curves end; None if it did not.
    """

    parametrization: str
    width: int
    spectrum: Spectrum
    exponents: SourceCapacity
    steps: Array
    predicted: Array
    trained: Array
    lr: float
    diverged_step: int | None

    @property
    def deviation(self) -> float:
        """Largest |ln(trained / predicted)| over the steps."""
        return float(np.abs(np.log(self.trained / self.predicted)).max())

    @property
    def theory(self) -> ScalingExponents | None:
        """What the theory makes of the exponents; None where one of them is not above 1."""
        if self.exponents.a <= 1 or self.exponents.b <= 1:
            return None
        return scaling_exponents(self.exponents.a, self.exponents.b, batch_noise=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SpectrumStudy:
    """Networks on one task.

    Attributes:
        curves: One for each parametrization and width.
        data: How the data are called.
    """

    curves: tuple[SpectrumCurve, ...]
    data: str
    num_samples: int
    depth: int
    activation: str
    base_width: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "data": self.data,
            "num_samples": self.num_samples,
            "depth": self.depth,
            "activation": self.activation,
            "base_width": self.base_width,
            "curves": [_plain(curve) for curve in self.curves],
        }


def _plain(curve: SpectrumCurve) -> dict[str, Any]:
    found, theory = curve.exponents, curve.theory
    return {
        "parametrization": curve.parametrization,
        "width": curve.width,
        "lr": curve.lr,
        "a": found.a,
        "a_interval": list(found.a_interval),
        "b": found.b,
        "b_interval": list(found.b_interval),
        "level": found.level,
        "modes": list(found.modes),
        "time_exponent": None if theory is None else theory.time,
        "task": None if theory is None else theory.task,
        "deviation": curve.deviation,
        "diverged_step": curve.diverged_step,
        "steps": curve.steps.tolist(),
        "predicted": curve.predicted.tolist(),
        "trained": curve.trained.tolist(),
        "eigenvalues": curve.spectrum.eigenvalues.tolist(),
        "power": curve.spectrum.power.tolist(),
    }


def spectrum_study(
    inputs: Array,
    targets: Array,
    *,
    data: str,
    widths: Sequence[int] = (32, 128, 512),
    parametrizations: Sequence[str] = ("ntk", "mup"),
    base_width: int = 4,
    depth: int = 2,
    activation: str = "tanh",
    num_steps: int = 1000,
    seed: int = 0,
    progress: Callable[[float], Any] | None = None,
) -> SpectrumStudy:
    """Measure the spectrum of each network before training, predict its loss curve, and train it.

    Args:
        inputs: (P, num_inputs).
        targets: (P,) or (P, num_outputs).
        data: How the data are called on the page.
        widths: Of the networks.
        parametrizations: By name.
        base_width: Where all parametrizations are one.
        depth: Hidden layers.
        activation: tanh, relu, erf, gelu or linear.
        num_steps: Updates on all samples.
        seed: Of the weights.
        progress: Told the share of the work that is done.

    Raises:
        SpecError: Shapes do not fit, or a number is not positive.
    """
    goal = targets[:, None] if targets.ndim == 1 else targets
    if len(inputs) != len(goal) or inputs.ndim != 2:
        raise SpecError(
            f"inputs {inputs.shape} and targets {targets.shape}: expected (P, num_inputs) and as many targets"
        )
    if not widths or min(*widths, base_width, depth, num_steps - 1) < 1:
        raise SpecError(
            f"widths {list(widths)}, base_width {base_width}, depth {depth}: all >= 1; num_steps {num_steps}: >= 2"
        )
    if activation not in get_args(Activation):
        raise SpecError(f"activation {activation!r}: expected one of {', '.join(get_args(Activation))}")
    task = FullBatch(torch.from_numpy(inputs).double(), torch.from_numpy(goal).double())
    cases = [(name, width) for name in parametrizations for width in widths]
    work = np.array([float(depth * width**2 + width * inputs.shape[1] + 1000) for _, width in cases])
    curves = []
    for index, (name, width) in enumerate(cases):
        network = _Network(task, base_width=base_width, depth=depth, activation=activation, seed=seed)
        curves.append(network.curve(name, width, num_steps))
        if progress is not None:
            progress(float(work[: index + 1].sum() / work.sum()))
    return SpectrumStudy(
        curves=tuple(curves),
        data=data,
        num_samples=len(inputs),
        depth=depth,
        activation=activation,
        base_width=base_width,
    )


class _Network:
    def __init__(self, task: FullBatch, *, base_width: int, depth: int, activation: str, seed: int) -> None:
        self.task, self.base_width, self.depth, self.seed = task, base_width, depth, seed
        self.activation = activation

    def build(self, width: int) -> nn.Module:
        spec = MLPSpec.model_validate(
            {
                "width": width,
                "depth": self.depth,
                "activation": self.activation,
                "num_inputs": self.task.full[0].shape[1],
                "num_outputs": self.task.full[1].shape[1],
            }
        )
        return build_model(spec, generator=torch.Generator().manual_seed(self.seed))

    def curve(self, name: str, width: int, num_steps: int) -> SpectrumCurve:
        made = plan(
            self.build,
            base=self.base_width,
            target=width,
            parametrization=name,
            optimizer="sgd",
            allow_no_growth=True,
        )
        model = made.apply_multipliers(made.init_(self.build(width).double(), seed=self.seed))
        inputs, targets = self.task.full
        scales = {row["name"]: row["lr_scale"] for row in made.rows}
        spectrum = measure_spectrum(model, inputs, targets, parameter_weights=scales, center_output=True)
        # Losses are means over outputs too: each output's rate is that of the mean loss over all of them.
        outputs = targets.shape[1]
        lr = LR_SHARE * 2.0 / spectrum.eigenvalues[0]
        spec = OptimizerSpec(name="sgd")
        optimizer = build_optimizer(made.param_groups(model, lr=lr * outputs), spec)
        trace = train(model, self.task, optimizer, self.task.training(spec, steps=num_steps))
        steps = np.unique(np.geomspace(1, len(trace.train_loss) - 1, NUM_POINTS).astype(int))
        return SpectrumCurve(
            parametrization=name,
            width=width,
            spectrum=spectrum,
            exponents=fit_source_capacity(spectrum),
            steps=steps.astype(float),
            predicted=spectrum.loss(steps, lr=lr) / outputs,
            trained=trace.train_loss[steps],
            lr=lr,
            diverged_step=trace.diverged_step,
        )
