"""Kernels of a finite network, measured: features, gradients, tangent kernel, and how well two of them agree.

Source: Jacot et al., arXiv:1806.07572 (tangent kernel); Bordelon & Pehlevan, arXiv:2205.09653 (feature and gradient
kernels); Cortes et al. 2012 and Kornblith et al., arXiv:1905.00414 (alignment).
Letters: P inputs, C outputs, p parameters, n features of a layer, J (P, C, p) derivatives of outputs by parameters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from limes.core.errors import SpecError
from limes.measure.activations import unchanged

Jacobian = dict[str, Tensor]
Method = Literal["vmap", "loop"]
Side = Literal["output", "input"]


def feature_kernels(
    model: nn.Module, inputs: Tensor, *, layers: Sequence[str], side: Side = "output"
) -> dict[str, Tensor]:
    """Mean over features of h(x) h(x') for the outputs of named modules, or for what goes into them.

    Args:
        model: Any module; it is run once, in the mode it is in.
        inputs: (P, ...), samples first.
        layers: Names as in `model.named_modules()`; each must return one tensor (P, ...), flattened to (P, n).
        side: "input" takes the module's first argument in place of its output: of a linear layer, the activations
            below it, whatever function computed them.

    Returns:
        For each layer (P, P) float64, in squared units of the activation.

    Raises:
        SpecError: A name is unknown, or there is no tensor with samples first on that side.

    **Source**: arXiv:2205.09653, the order parameters of section 2. **Accuracy**: the products are summed in float64.

    >>> net = nn.Sequential(nn.Identity())
    >>> feature_kernels(net, torch.tensor([[1.0, 1.0], [2.0, 0.0]]), layers=["0"])["0"].tolist()
    [[1.0, 1.0], [1.0, 2.0]]
    """
    if side not in ("output", "input"):
        raise SpecError(f"side {side!r}: expected 'output' or 'input'")
    with torch.no_grad(), unchanged(model), _captured(model, layers, len(inputs), side=side) as outputs:
        model(inputs)
    return {name: _gram(_flat(name, outputs)) / _flat(name, outputs).shape[1] for name in layers}


def gradient_kernels(
    model: nn.Module,
    inputs: Tensor,
    *,
    layers: Sequence[str],
    scalar: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Sum over features of df(x)/dh(x) df(x')/dh(x') for the outputs h of named modules.

    Nothing is averaged: for a layer of n features read out as f = w.h / (gamma0 n), the kernel of the field theory,
    the mean over features of (gamma0 n df/dh)^2, is this times gamma0^2 n.

    Args:
        model: Any module whose output for one input does not depend on the others (no batch statistics).
        inputs: (P, ...), samples first.
        layers: Names as in `model.named_modules()`.
        scalar: From the model's output to (P,), one number per sample; None sums each sample's outputs.

    Returns:
        For each layer (P, P) float64.

    Raises:
        SpecError: A name is unknown, a module returns no tensor with samples first, or `scalar` gives another shape.

    **Source**: arXiv:2205.09653, the order parameters of section 2.
    **Accuracy**: gradients in the model's dtype, products in float64.

    >>> net = nn.Sequential(nn.Identity(), nn.Linear(2, 1, bias=False))
    >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    >>> gradient_kernels(net, torch.ones(1, 2), layers=["0"])["0"].item()
    5.0
    """
    with torch.enable_grad(), unchanged(model), _captured(model, layers, len(inputs)) as outputs:
        # A leaf that asks for gradients, so that layers in front of the first parameter have them too.
        start = inputs.detach().clone().requires_grad_() if inputs.is_floating_point() else inputs
        result = model(start)
        values = result.flatten(1).sum(1) if scalar is None else scalar(result)
        if values.shape != (len(inputs),):
            raise SpecError(f"scalar returned shape {tuple(values.shape)}: expected ({len(inputs)},), one per sample")
        for name in layers:
            _flat(name, outputs)
        gradients = torch.autograd.grad(values.sum(), [outputs[name] for name in layers], allow_unused=True)
    kernels = {}
    for name, gradient in zip(layers, gradients, strict=True):
        if gradient is None:
            raise SpecError(f"layer {name!r}: the output does not depend on it; name a layer on the path to the output")
        kernels[name] = _gram(gradient.flatten(1))
    return kernels


def empirical_ntk(
    model: nn.Module,
    inputs: Tensor,
    inputs2: Tensor | None = None,
    *,
    trace_outputs: bool = True,
    parameter_weights: Mapping[str, float] | None = None,
    block_size: int = 64,
    method: Method = "vmap",
) -> Tensor:
    """The tangent kernel of a finite network, exact: sum over parameters of df(x)/dp df(x')/dp.

    Args:
        model: Any module whose output for one input does not depend on the others (no batch statistics, no dropout).
        inputs: (P1, ...), samples first.
        inputs2: (P2, ...), or None for the same.
        trace_outputs: True: the mean over outputs of their own kernels, (P1, P2); False: (P1, P2, C, C).
        parameter_weights: Factor per parameter name, such as relative learning rates; 1 where absent, 0 freezes.
        block_size: Samples whose derivatives are held at a time: 2 x block_size x C x num_params numbers.
        method: "vmap" (torch.func), or "loop": one backward pass per sample and output, for modules vmap cannot do.

    Returns:
        (P1, P2) or (P1, P2, C, C) float64.

    Raises:
        SpecError: A weight names no trainable parameter, or block_size is not positive.

    **Source**: arXiv:1806.07572, section 4. **Accuracy**: derivatives in the model's dtype, products in float64.

    >>> empirical_ntk(nn.Linear(2, 1, bias=False), torch.tensor([[1.0, 0.0], [1.0, 2.0]])).tolist()
    [[1.0, 1.0], [1.0, 5.0]]
    """
    weights = trainable_weights(model, parameter_weights)
    if block_size < 1:
        raise SpecError(f"block_size {block_size}: expected at least 1")
    if method not in ("vmap", "loop"):
        raise SpecError(f"method {method!r}: expected 'vmap' or 'loop'")
    jacobian = _vmap_jacobian if method == "vmap" else _loop_jacobian
    names = [name for name, weight in weights.items() if weight != 0.0]
    rows: list[list[Tensor]] = []
    # Fused attention has no batching rule: vmap would run it sample by sample, and warn.
    with unchanged(model), sdpa_kernel(SDPBackend.MATH):
        for i, block in enumerate(inputs.split(block_size)):
            left = jacobian(model, block, names)
            row: list[Tensor] = []
            for j, other in enumerate((inputs if inputs2 is None else inputs2).split(block_size)):
                if inputs2 is None and j < i:
                    row.append(rows[j][i].transpose(0, 1).transpose(2, 3))
                    continue
                right = left if inputs2 is None and i == j else jacobian(model, other, names)
                row.append(_contract(left, right, weights))
            rows.append(row)
    kernel = torch.cat([torch.cat(row, 1) for row in rows])
    return kernel.diagonal(dim1=2, dim2=3).mean(2) if trace_outputs else kernel


def trainable_weights(model: nn.Module, given: Mapping[str, float] | None) -> dict[str, float]:
    """The given factors of trainable parameters, 1 where absent.

    Raises:
        SpecError: A factor is for none of them.

    Source: limes.

    >>> trainable_weights(nn.Linear(1, 1), {"bias": 0.5})
    {'weight': 1.0, 'bias': 0.5}
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    unknown = [name for name in given or {} if name not in names]
    if unknown:
        raise SpecError(f"parameter_weights for {unknown}: expected names among {', '.join(names)}")
    return {name: float((given or {}).get(name, 1.0)) for name in names}


def centered_alignment(kernel1: Tensor, kernel2: Tensor) -> float:
    """Centred kernel alignment (CKA): cosine between two kernels after removing the means of their features.

    Args:
        kernel1: (P, P) symmetric.
        kernel2: (P, P) symmetric, on the same inputs in the same order.

    Returns:
        Dimensionless, 1 for kernels equal up to scale and an added constant, in [0, 1] for positive semidefinite ones.

    Raises:
        SpecError: Shapes differ, or a kernel is constant (its centred part is 0).

    **Source**: Cortes et al. 2012; arXiv:1905.00414, section 3 (biased estimate).

    >>> round(centered_alignment(torch.eye(3), 2 * torch.eye(3) + 1), 12)
    1.0
    """
    return _cosine(_centered(_square("kernel1", kernel1)), _centered(_square("kernel2", kernel2)))


def target_alignment(kernel: Tensor, targets: Tensor, *, centered: bool = True) -> float:
    """Alignment of a kernel with the kernel y y' of the targets.

    Args:
        kernel: (P, P) symmetric.
        targets: (P,) or (P, C).
        centered: Remove means first, as in `centered_alignment`.

    Returns:
        Dimensionless, at most 1.

    Raises:
        SpecError: Shapes differ, or one of the two is 0 after centring.

    **Source**: Cristianini et al. 2001; Cortes et al. 2012.

    >>> round(target_alignment(torch.eye(2), torch.tensor([1.0, -1.0]), centered=False), 6)  # = 1 / sqrt 2
    0.707107
    """
    y = (targets[:, None] if targets.ndim == 1 else targets).to(torch.float64)
    first, second = _square("kernel", kernel), y @ y.T
    return _cosine(_centered(first), _centered(second)) if centered else _cosine(first, second)


@contextmanager
def _captured(
    model: nn.Module, layers: Sequence[str], num_samples: int, *, side: Side = "output"
) -> Iterator[dict[str, Tensor]]:
    modules = dict(model.named_modules())
    unknown = [name for name in layers if name not in modules]
    if unknown or not layers:
        raise SpecError(f"layers {unknown or list(layers)}: expected names among {', '.join(n for n in modules if n)}")
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(_: nn.Module, arguments: tuple[object, ...], output: object) -> None:
            value = output if side == "output" else next(iter(arguments), None)
            if not isinstance(value, Tensor) or value.ndim < 1 or len(value) != num_samples:
                verb = "returned" if side == "output" else "was given"
                raise SpecError(f"layer {name!r} {verb} no tensor of {num_samples} samples: name another module")
            outputs[name] = value

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _flat(name: str, outputs: dict[str, Tensor]) -> Tensor:
    if name not in outputs:
        raise SpecError(f"layer {name!r} did not run in the forward pass: name a module that the model calls")
    return outputs[name].detach().flatten(1)


def _gram(rows: Tensor) -> Tensor:
    wide = rows.to(torch.float64)
    return wide @ wide.T


def _vmap_jacobian(model: nn.Module, inputs: Tensor, names: list[str]) -> Jacobian:
    """{name: (P, C, numel)} by reverse mode, all samples at once."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = {name: b.detach() for name, b in model.named_buffers()}
    moving = {name: parameters.pop(name) for name in names}

    def outputs(chosen: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(model, {**parameters, **buffers, **chosen}, (x[None],)).flatten()

    derivatives = vmap(jacrev(outputs), in_dims=(None, 0))(moving, inputs)
    return {name: d.flatten(2) for name, d in derivatives.items()}


def _loop_jacobian(model: nn.Module, inputs: Tensor, names: list[str]) -> Jacobian:
    """The same, one sample and one output at a time, in the model itself."""
    own = dict(model.named_parameters())
    moving = [own[name] for name in names]
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    with torch.enable_grad():
        for x in inputs:
            values = model(x[None]).flatten()
            gradients = [torch.autograd.grad(v, moving, retain_graph=True, allow_unused=True) for v in values]
            for k, name in enumerate(names):
                parts = [torch.zeros_like(own[name]) if g[k] is None else g[k] for g in gradients]
                rows[name].append(torch.stack([part.flatten() for part in parts]))
    return {name: torch.stack(parts) for name, parts in rows.items()}


def _contract(left: Jacobian, right: Jacobian, weights: dict[str, float]) -> Tensor:
    """(P1, P2, C, C), parameter by parameter, so that no concatenated Jacobian is made."""
    first, second = next(iter(left.values())), next(iter(right.values()))
    total = torch.zeros(len(first), len(second), first.shape[1], second.shape[1], dtype=torch.float64)
    for name, part in left.items():
        flat1 = part.to(torch.float64).flatten(0, 1)
        flat2 = right[name].to(torch.float64).flatten(0, 1)
        product = (flat1 @ flat2.T).reshape(len(first), first.shape[1], len(second), second.shape[1])
        total += weights[name] * product.permute(0, 2, 1, 3).cpu()
    return total


def _square(name: str, kernel: Tensor) -> Tensor:
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise SpecError(f"{name} of shape {tuple(kernel.shape)}: expected (num_samples, num_samples)")
    return kernel.to(torch.float64)


def _centered(kernel: Tensor) -> Tensor:
    return kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()


def _cosine(kernel1: Tensor, kernel2: Tensor) -> float:
    if kernel1.shape != kernel2.shape:
        raise SpecError(f"{len(kernel1)} and {len(kernel2)} samples: expected the same inputs on both sides")
    sizes = kernel1.norm() * kernel2.norm()
    if not sizes > 0:
        raise SpecError("a kernel is 0 after centring, its alignment is undefined: use inputs or targets that differ")
    return ((kernel1 * kernel2).sum() / sizes).item()
