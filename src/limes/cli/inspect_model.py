"""`limes inspect file.py:build`: all signs of one model, with what was given of it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from limes.cli import inspect_inputs as given
from limes.cli.console import ShareProgress
from limes.cli.inspect_optimizer import read_optimizer
from limes.core.errors import DataError, LimesError, SpecError, first_line
from limes.measure.inspection import batch_signs, equal_parts, gradient_signs, weight_signs


def inspect_model(
    target: str,
    *,
    checkpoint: Path | None,
    batch: Path | None,
    initial: Path | None,
    arguments: Sequence[str],
    task: str | None,
    eps: float | None,
    curvature: bool,
    silent: bool,
) -> dict[str, float]:
    """All signs of the model that `target` builds, as far as what is given lets them be measured."""
    if batch is None and (task is not None or eps is not None or curvature):
        raise SpecError(f"{target}: --task, --eps and --curvature need a --batch, from which the loss is computed")
    if eps is not None and not math.isfinite(eps):
        raise SpecError(f"--eps {eps}: expected a finite number")
    model = given.build_target(target, arguments)
    optimizer = None
    if checkpoint is not None:
        weights = given.read_weights(checkpoint, flag="--checkpoint")
        given.load_weights(model, weights, flag="--checkpoint", path=checkpoint)
        optimizer = read_optimizer(checkpoint, model)
    start = None if initial is None else given.read_weights(initial, flag="--initial")
    data = None if batch is None else given.read_batch(batch)
    return _all_signs(
        model,
        data,
        initial=start,
        task=task,
        eps=1e-8 if eps is None else eps,
        curvature=curvature,
        silent=silent,
        optimizer=optimizer,
    )


def _all_signs(
    model: nn.Module,
    data: Any,
    *,
    initial: Mapping[str, Any] | None,
    task: str | None,
    eps: float,
    curvature: bool,
    silent: bool,
    optimizer: Optimizer | None,
) -> dict[str, float]:
    """Everything that can be measured with what is there."""
    with ShareProgress("inspecting", silent=silent) as progress:
        signs = weight_signs(model, initial=initial)
        if data is None:
            return signs
        progress(0.3, "forward pass")
        try:
            chosen = given.choose_task(model, data, task)
            inputs = data.inputs if isinstance(data.inputs, Mapping) else (data.inputs,)
            signs |= batch_signs(model, inputs, logits=chosen != "regression")
        except LimesError:
            raise
        except Exception as error:
            reason = _other_precision(model, data.first) or first_line(error)
            raise DataError(f"the model cannot be run on the batch: {reason}") from error
        if chosen is None:
            return signs
        size, bounds = equal_parts(len(data.first))
        shares = {"gradient": 0.4, "noise scale": 0.5, "curvature": 0.7}
        try:
            signs |= gradient_signs(
                model,
                given.loss_function(chosen),
                data,
                optimizer=optimizer,
                eps=eps,
                micro_batches=[data.part(start, stop) for start, stop in bounds],
                batch_size=size,
                curvature=curvature,
                progress=lambda note: progress(shares[note], note),
            )
        except LimesError:
            raise
        except Exception as error:
            raise DataError(f"the loss cannot be computed on the batch: {first_line(error)}") from error
    return signs


def _other_precision(model: nn.Module, inputs: Tensor) -> str:
    """What numpy's default of float64 leads to, for which torch has other words in every layer; empty if it is not."""
    own = next((parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()), inputs.dtype)
    if not inputs.is_floating_point() or inputs.dtype == own:
        return ""
    given, wanted = (str(dtype).removeprefix("torch.") for dtype in (inputs.dtype, own))
    return f"its inputs are {given} and the model's weights {wanted}; save the inputs as {wanted}"
