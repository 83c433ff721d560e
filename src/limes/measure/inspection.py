"""All signs of one model at one moment: what `limes inspect` measures.

Source: limes, docs/diagnostics.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.measure.hessian import LossFn
from limes.measure.movement import weight_movement
from limes.measure.noise_scale import gradient_noise_scale
from limes.measure.optimizer_health import gradient_size_signs
from limes.measure.quantization import quantization_error
from limes.measure.sharpness import sharpness
from limes.measure.stability import edge_of_stability, has_stability_limit
from limes.measure.still import call, held_still
from limes.measure.watch import ForwardWatch
from limes.measure.weight_spectra import weight_spectrum

# Singular values of a larger matrix (shorter side) take minutes.
MAX_SIDE = 4096
# Hessian-vector products for one eigenvalue.
MAX_PRODUCTS = 100
# Parts of a batch for the noise scale.
MICRO_BATCHES = 8


def weight_signs(model: nn.Module, *, initial: Mapping[str, Tensor] | None = None) -> dict[str, float]:
    """Signs that need the weights alone: spectra, 8-bit errors, movement from initialization.

    Args:
        model: Any module; tied tensors count once.
        initial: Parameters at initialization by name. Without them the bulk of a spectrum is fitted to its own median.

    Returns:
        "sign/parameter" -> value. Matrices whose shorter side exceeds `MAX_SIDE` have no spectrum.

    Raises:
        SpecError: A weight is not finite, or has no initial value of its shape though `initial` is given.

    Source: limes, docs/diagnostics.md.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> _ = nn.init.eye_(layer.weight)
    >>> weight_signs(layer)["stable_rank/weight"]
    2.0
    """
    signs: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise SpecError(f"{name!r} has entries that are not finite: the checkpoint is of a run that has diverged")
        if parameter.dim() < 2:
            continue
        if min(parameter.flatten(1).shape) <= MAX_SIDE:
            found = weight_spectrum(parameter, initial=None if initial is None else initial.get(name))
            signs[f"weight_outliers/{name}"] = float(found.num_outliers)
            signs[f"stable_rank/{name}"] = found.stable_rank
            signs[f"spectral_norm/{name}"] = found.spectral_norm
        signs[f"int8_error/{name}"] = quantization_error(parameter, "int8").item()
        signs[f"fp8_error/{name}"] = quantization_error(parameter, "fp8_e4m3").item()
    if initial is not None:
        tensors, _ = weight_movement(model, initial)
        # What started at zero, as biases do, has moved infinitely far, which says nothing.
        moving = {name: moved.relative for name, moved in tensors.items() if math.isfinite(moved.relative)}
        signs |= {f"weight_movement/{name}": relative for name, relative in moving.items()}
    return signs


def batch_signs(model: nn.Module, inputs: Any, *, logits: bool = True) -> dict[str, float]:
    """Signs of one forward pass in evaluation mode: features, attention, outputs, 8-bit errors of activations.

    Args:
        model: Not compiled.
        inputs: A tensor, a tuple of arguments, or a mapping of named ones.
        logits: Whether the output's last axis are classes.

    Source: limes, docs/diagnostics.md.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
    >>> "dead_units/2" in batch_signs(net, torch.ones(5, 2))
    True
    """
    watch = ForwardWatch(model, logits=logits, quantization=True)
    with held_still(model), torch.no_grad(), watch.watching():
        call(model, inputs)
    return watch.take()


def equal_parts(num_samples: int) -> tuple[int, list[tuple[int, int]]]:
    """Samples in each of `MICRO_BATCHES` equal parts of a batch, and where the parts begin and end.

    Fewer samples make as many parts of one; what is left over at the end of a batch is left out.

    Source: limes, docs/diagnostics.md.

    >>> equal_parts(17)[1][-1], equal_parts(2)
    ((14, 16), (1, [(0, 1), (1, 2)]))
    """
    size = max(1, num_samples // MICRO_BATCHES)
    return size, [(size * index, size * (index + 1)) for index in range(min(MICRO_BATCHES, num_samples))]


def gradient_signs(
    model: nn.Module,
    loss_fn: LossFn,
    batch: Any,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    eps: float | None = None,
    micro_batches: Sequence[Any] = (),
    batch_size: int = 1,
    curvature: bool = False,
    progress: Callable[[str], None] = lambda note: None,
) -> dict[str, float]:
    """Signs of the loss on one batch: its gradient against epsilon, the noise scale, the sharpness.

    Args:
        model: Any module, held in evaluation mode meanwhile and left as found.
        loss_fn: From (model, batch) to a scalar.
        batch: Fixed.
        optimizer: With its state, if there is one; else
        eps: epsilon of the Adam that trains it.
        micro_batches: At least three equal parts of a batch, for the noise scale; fewer leave it out.
        batch_size: Samples in each part.
        curvature: As `curvature_signs`, too.
        progress: Told what comes next.

    Raises:
        SpecError: The loss is not finite.

    Source: limes, docs/diagnostics.md.

    >>> net = nn.Linear(1, 1, bias=False)
    >>> signs = gradient_signs(net, lambda m, x: 0.5 * m(x).square().sum(), torch.ones(1, 1), curvature=True)
    >>> round(signs["sharpness"], 4)
    1.0
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    progress("gradient")
    with held_still(model), torch.enable_grad():
        loss = loss_fn(model, batch)
        if not bool(torch.isfinite(loss)):
            raise SpecError(f"the loss on this batch is {loss.item()}: expected a finite one")
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    gradients = {name: gradient for name, gradient in zip(parameters, found) if gradient is not None}
    judged = optimizer
    if optimizer is None and eps is not None:
        # Never stepped: it says which epsilon belongs to which tensor, and nothing else.
        optimizer = torch.optim.Adam(list(parameters.values()), eps=eps)
    signs = {"loss": loss.item()} | gradient_size_signs(model, optimizer, gradients, stepped=False)
    if len(micro_batches) > 2:
        progress("noise scale")
        signs["noise_scale"] = gradient_noise_scale(model, loss_fn, micro_batches, batch_size=batch_size).value
    if curvature:
        progress("curvature")
        signs |= curvature_signs(model, loss_fn, batch, judged)
    return signs


def curvature_signs(
    model: nn.Module, loss_fn: LossFn, batch: Any, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, float]:
    """The largest eigenvalue of the Hessian, and how near the optimizer's steps bring it to its limit.

    Args:
        model: As for `gradient_signs`.
        loss_fn: From (model, batch) to the loss that is trained.
        batch: Fixed.
        optimizer: With its learning rates and second moments of this moment.

    Returns:
        "sharpness", and "edge_of_stability" if the optimizer's limit is known (`has_stability_limit`). Each takes at
        most `MAX_PRODUCTS` Hessian-vector products, of about three gradients each; what has not converged by then is a
        lower bound.

    Source: arXiv:2103.00065; arXiv:2207.14484.

    >>> net = nn.Linear(1, 1, bias=False)
    >>> step = torch.optim.SGD(net.parameters(), lr=1.0)
    >>> signs = curvature_signs(net, lambda m, x: 0.5 * m(x).square().sum(), torch.ones(1, 1), step)
    >>> round(signs["edge_of_stability"], 4)
    0.5
    """
    found = sharpness(model, loss_fn, batch, tolerance=1e-3, max_products=MAX_PRODUCTS)
    signs = {"sharpness": found.value}
    if optimizer is not None and has_stability_limit(optimizer):
        edge = edge_of_stability(model, loss_fn, batch, optimizer, tolerance=1e-3, max_products=MAX_PRODUCTS)
        signs["edge_of_stability"] = edge.ratio
    return signs
