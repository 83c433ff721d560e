"""Networks with many outputs, such as language models: their loss predicted from the tangent kernel at initialization.

Squared error on one-hot targets is where the sum over modes is the loss of the linearized network. Cross-entropy is no
quadratic form, so that it has no sum over modes; there the linearized network itself is stepped, with products of the
same kernel, and laid beside the trained one.

Source: arXiv:1806.07572; Lee et al., arXiv:1902.06720 (linearized networks under cross-entropy); docs/spectrum.md.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limes.compare.full_batch import FullBatch
from limes.compare.joint_result import JointStudy, LossPair, NetworkSpectrum
from limes.core.errors import SpecError
from limes.measure.activations import main_tensor
from limes.measure.joint_spectrum import JointSpectrum, measure_joint_spectrum
from limes.measure.tangent import tangent_operator
from limes.models import build_model
from limes.optim import build_optimizer
from limes.parametrize import Plan, plan
from limes.spec.model import TransformerSpec
from limes.spec.training import OptimizerSpec
from limes.train import train
from limes.train.loss import next_token_loss

Array = NDArray[np.float64]
Groups = Callable[[float], list[dict[str, Any]]]
NUM_POINTS = 40
HEAD_DIM = 16
# The curvature of cross-entropy in the outputs is at most 1/2, so that twice the learning rate is as far from unstable.
ENTROPY_LR = 2.0


def network_spectrum(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    label: str,
    width: int | None = None,
    num_steps: int = 200,
    num_modes: int = 96,
    parameter_weights: Mapping[str, float] | None = None,
    groups: Groups | None = None,
    blocks: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    progress: Callable[[float], Any] | None = None,
) -> NetworkSpectrum:
    """Measure the modes of a network before training, predict its losses, train it.

    Args:
        model: Float64, one input; it is trained here.
        inputs: (samples, ...).
        targets: Classes (samples, ...) as int64, or numbers in the shape of the outputs.
        label: How it is called.
        width: Of the network.
        num_steps: Updates of gradient descent on all samples.
        num_modes: Eigenvalues wanted.
        parameter_weights: Relative learning rates.
        groups: Learning rate -> groups of the optimizer, in agreement with the weights; one group by default.
        blocks: Parts of the parameters, by name.
        seed: Of the random vectors.
        progress: Told the share of the work that is done.

    Raises:
        SpecError: Shapes do not fit, or a number is not positive.
    """
    if num_steps < 2:
        raise SpecError(f"num_steps {num_steps}: expected at least 2")
    tell = progress if progress is not None else lambda share: None
    classes = not targets.is_floating_point()
    num_outputs = _check_model(model, inputs)
    goal = _one_hot(targets, num_outputs) if classes else targets.double()
    modes = measure_joint_spectrum(
        model,
        inputs,
        goal,
        generator=torch.Generator().manual_seed(seed),
        parameter_weights=parameter_weights,
        center_output=True,
        num_modes=num_modes,
        blocks=blocks,
        progress=lambda share: tell(0.3 * share),
    )
    steps = np.unique(np.geomspace(1, num_steps - 1, NUM_POINTS).astype(int))
    run = _Run(
        model=model,
        inputs=inputs,
        groups=groups if groups is not None else _one_group(model),
        weights=parameter_weights,
        num_steps=num_steps,
        steps=steps,
    )
    initial = {name: value.detach().clone() for name, value in model.state_dict().items()}
    squared = run.squared(modes, goal, lambda share: tell(0.3 + 0.25 * share))
    entropy = None
    if classes:
        model.load_state_dict(initial)
        entropy = run.entropy(modes, targets, lambda share: tell(0.55 + 0.45 * share))
    return NetworkSpectrum(
        label=label, width=width, modes=modes, steps=steps.astype(float), squared=squared, entropy=entropy
    )


def _check_model(model: nn.Module, inputs: Tensor) -> int:
    """Outputs per point of a network that takes these inputs and is the same function in training and in evaluation."""
    found = []
    for training in (True, False):
        model.train(training)
        try:
            with torch.no_grad():
                output = main_tensor(model(inputs))
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else "no reason given"
            raise SpecError(
                f"the network fails on inputs {tuple(inputs.shape)}, {inputs.dtype}: {type(error).__name__}: {reason}"
            ) from error
        if output is None or output.dim() < 2:
            raise SpecError("the network returned no tensor (samples, ..., outputs) of real numbers for these inputs")
        if not output.isfinite().all():
            raise SpecError("the network's outputs are not finite on these inputs; look for nan or inf in both")
        found.append(output)
    if not torch.allclose(found[0], found[1], rtol=1e-6, atol=1e-9):
        raise SpecError(
            "the network is another function in training than in evaluation (dropout, batch norm): a linearization is "
            "of one function; take these out"
        )
    return int(found[0].shape[-1])


def text_spectrum_study(
    inputs: Tensor,
    targets: Tensor,
    *,
    data: str,
    vocab_size: int,
    widths: Sequence[int] = (16, 32, 64),
    parametrizations: Sequence[str] = ("ntk", "mup"),
    base_width: int = 16,
    depth: int = 2,
    num_steps: int = 200,
    num_modes: int = 96,
    seed: int = 0,
    progress: Callable[[float], Any] | None = None,
) -> JointStudy:
    """Byte GPTs of several widths on windows of text, each predicted before training and trained.

    Args:
        inputs: (windows, context) tokens.
        targets: (windows, context) tokens that follow.
        data: How the data are called on the page.
        vocab_size: Number of tokens.
        widths: Multiples of 16.
        parametrizations: By name.
        base_width: Where all parametrizations are one.
        depth: Blocks.
        num_steps: Updates of gradient descent on all windows.
        num_modes: Eigenvalues wanted.
        seed: Of the weights.
        progress: Told the share of the work that is done.

    Raises:
        SpecError: A number is not positive or a width does not fit.
    """
    if not widths or min(*widths, base_width, depth, num_modes) < 1 or any(width % HEAD_DIM for width in widths):
        raise SpecError(
            f"widths {list(widths)}: expected multiples of {HEAD_DIM}, the size of a head; depth and modes >= 1"
        )
    cases = [(name, width) for name in parametrizations for width in widths]
    work = np.cumsum([0.0, *(40.0 + width for _, width in cases)])

    def build(width: int) -> nn.Module:
        spec = TransformerSpec(
            width=width, depth=depth, head_dim=HEAD_DIM, context=inputs.shape[1], vocab_size=vocab_size
        )
        return build_model(spec, generator=torch.Generator().manual_seed(seed))

    def tell(index: int, share: float) -> None:
        if progress is not None:
            progress(float((work[index] + share * (work[index + 1] - work[index])) / work[-1]))

    networks = []
    for index, (name, width) in enumerate(cases):
        made = plan(build, base=base_width, target=width, parametrization=name, optimizer="sgd", allow_no_growth=True)
        model = made.apply_multipliers(made.init_(build(width).double(), seed=seed))
        networks.append(
            network_spectrum(
                model,
                inputs,
                targets,
                label=name,
                width=width,
                num_steps=num_steps,
                num_modes=num_modes,
                parameter_weights={row["name"]: row["lr_scale"] for row in made.rows},
                groups=functools.partial(_plan_groups, made, model),
                blocks=text_blocks(model),
                seed=seed,
                progress=functools.partial(tell, index),
            )
        )
    return JointStudy(
        networks=tuple(networks),
        data=data,
        num_points=targets.numel(),
        num_outputs=vocab_size,
        setting=f"byte GPT of {depth} blocks, base width {base_width}",
    )


def text_blocks(model: nn.Module) -> dict[str, list[str]]:
    """Parameters by the part of the network that holds them: embeddings, attention and MLP of each block, readout."""
    parts: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        match = re.search(r"(\d+)\.(attention|up|down)", name)
        where = "embedding" if re.match("embedding|position", name) else "readout"
        if match is not None:
            where = f"block {int(match[1]) + 1} {'attention' if match[2] == 'attention' else 'MLP'}"
        parts.setdefault(where, []).append(name)
    return parts


def _plan_groups(made: Plan, model: nn.Module, lr: float) -> list[dict[str, Any]]:
    return made.param_groups(model, lr=lr)


def _one_group(model: nn.Module) -> Groups:
    return lambda lr: [{"params": list(model.parameters()), "lr": lr, "weight_decay": 0.0}]


def _one_hot(classes: Tensor, num_outputs: int) -> Tensor:
    if not ((classes >= 0) & (classes < num_outputs)).all():
        seen = f"classes {int(classes.min())} to {int(classes.max())}"
        raise SpecError(f"{seen}: expected 0 to {num_outputs - 1}, one for each output")
    return nn.functional.one_hot(classes, num_outputs).double()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Run:
    """The trainings of one network."""

    model: nn.Module
    inputs: Tensor
    groups: Groups
    weights: Mapping[str, float] | None
    num_steps: int
    steps: NDArray[np.int64]

    def squared(self, modes: JointSpectrum, goal: Tensor, tell: Callable[[float], Any]) -> LossPair:
        lr = 1.0 / modes.edge
        low, high = modes.loss(self.steps, lr=lr)
        # The loss of a regression is a mean over outputs too; points are averaged in both.
        trained = self.train(FullBatch(self.inputs, goal), lr * modes.num_outputs, tell) * modes.num_outputs
        return LossPair(
            name="half squared error", low=low, high=high, trained=trained, lr=lr, start=0.5 * modes.total_power
        )

    def entropy(self, modes: JointSpectrum, targets: Tensor, tell: Callable[[float], Any]) -> LossPair:
        lr = ENTROPY_LR / modes.edge
        linear = self.linear_entropy(targets, lr, lambda share: tell(0.6 * share))
        task = "next_token" if targets.dim() > 1 else "classification"
        trained = self.train(FullBatch(self.inputs, targets, task=task), lr, lambda share: tell(0.6 + 0.4 * share))
        low = linear[self.steps]
        return LossPair(name="cross-entropy (nats)", low=low, high=low, trained=trained, lr=lr, start=float(linear[0]))

    def train(self, task: FullBatch, lr: float, tell: Callable[[float], Any]) -> Array:
        """(n,) losses at the recorded steps; NaN from where it has diverged."""
        spec = OptimizerSpec(name="sgd")
        optimizer = build_optimizer(self.groups(lr), spec)
        trace = train(
            self.model,
            task,
            optimizer,
            task.training(spec, steps=self.num_steps),
            on_step=lambda step, loss: tell((step + 1) / self.num_steps),
        )
        losses = np.full(self.num_steps, np.nan)
        losses[: len(trace.train_loss)] = trace.train_loss
        return losses[self.steps]

    def linear_entropy(self, targets: Tensor, lr: float, tell: Callable[[float], Any]) -> Array:
        """(num_steps,) cross-entropy of the linearized network, stepped by products with its kernel."""
        losses = np.empty(self.num_steps)
        with tangent_operator(self.model, self.inputs, parameter_weights=self.weights) as kernel:
            outputs = torch.zeros_like(kernel.outputs)
            goal = _one_hot(targets, outputs.shape[-1])
            for step in range(self.num_steps):
                losses[step] = next_token_loss(outputs, targets).item()
                pull = (outputs.softmax(-1) - goal).flatten()
                outputs = outputs - lr * kernel.product(pull).view_as(outputs)
                tell((step + 1) / self.num_steps)
        return losses
