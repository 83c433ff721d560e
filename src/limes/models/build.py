"""From a model spec to a network, to an example of its input, and to its cost."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from limes.core.errors import SpecError
from limes.models.cnn import CNN
from limes.models.fill import Drawn, allocate, required_shape
from limes.models.mlp import MLP
from limes.models.module import build_module
from limes.models.resmlp import ResMLP
from limes.models.transformer import Transformer
from limes.models.vit import ViT
from limes.spec.model import CNNSpec, MLPSpec, ModelSpec, ModuleSpec, ResMLPSpec, TransformerSpec, ViTSpec

MODELS: Mapping[str, Callable[..., Drawn]] = MappingProxyType(
    {"transformer": Transformer, "vit": ViT, "mlp": MLP, "resmlp": ResMLP, "cnn": CNN}
)


def build_model(
    spec: ModelSpec,
    *,
    generator: torch.Generator | None,
    attention_scale: float = 1.0,
    residual_multiplier: float = 1.0,
) -> nn.Module:
    """Build the network that `spec` describes, with weights of variance 1/fan-in drawn from `generator`.

    Args:
        spec: Sizes; what the data fix (`vocab_size`, `num_inputs`, `input_shape`, `num_outputs`) must be
            filled in.
        generator: CPU generator of the weights. None leaves the weights as allocated, for callers that fill
            them; a user's own constructor then draws from the global generator.
        attention_scale: Factor on the attention's own 1/sqrt(head_dim).
        residual_multiplier: Factor on every residual branch.

    Returns:
        The network on the default device; under `torch.device("meta")` nothing is drawn.

    Raises:
        SpecError: A size that the data fix is missing, or two sizes do not fit.

    >>> spec = TransformerSpec(width=32, head_dim=16, vocab_size=96)
    >>> model = build_model(spec, generator=torch.Generator().manual_seed(0))
    >>> model(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 96])
    """
    if isinstance(spec, ModuleSpec):
        assert attention_scale == residual_multiplier == 1.0, "a user's own network takes no factors"
        return build_module(spec, generator=generator)
    family = MODELS[spec.family]
    model = allocate(
        lambda: family(spec, attention_scale=float(attention_scale), residual_multiplier=float(residual_multiplier))
    )
    if isinstance(model, Transformer):
        model.tie()
    if generator is not None:
        model.draw_(generator)
    return model


def example_input(spec: ModelSpec, *, num_samples: int = 1) -> Tensor:
    """Zeros of the shape that the network takes, on the default device: tokens (B, T), images or vectors.

    >>> example_input(TransformerSpec(head_dim=16, context=8)).shape
    torch.Size([1, 8])
    """
    if isinstance(spec, TransformerSpec) or (isinstance(spec, ModuleSpec) and spec.vocab_size is not None):
        return torch.zeros(num_samples, spec.context or 1, dtype=torch.long)
    if isinstance(spec, ViTSpec | CNNSpec) or (isinstance(spec, ModuleSpec) and spec.input_shape is not None):
        return torch.zeros(num_samples, *required_shape(spec.input_shape, family=spec.family))
    assert isinstance(spec, MLPSpec | ResMLPSpec | ModuleSpec)
    if spec.num_inputs is None:
        raise SpecError(f"model.num_inputs is None for family {spec.family!r}; it comes from the data")
    return torch.zeros(num_samples, spec.num_inputs)


def num_params(spec: ModelSpec) -> int:
    """Number of parameters, a tied embedding counted once.

    >>> num_params(MLPSpec(width=8, depth=1, num_inputs=4, num_outputs=2))
    48
    """
    with torch.device("meta"):
        model = build_model(spec, generator=None)
    return sum(parameter.numel() for parameter in model.parameters())


@lru_cache(maxsize=1024)
def _forward_flops(spec: Any) -> int:
    # A user's own network may look at values, which the meta device does not have.
    device = "cpu" if isinstance(spec, ModuleSpec) else "meta"
    generator = torch.Generator().manual_seed(0) if device == "cpu" else None
    with torch.device(device), torch.no_grad(), FlopCounterMode(display=False) as counter:
        # One sample: batch statistics need more.
        build_model(spec, generator=generator).eval()(example_input(spec))
    return counter.get_total_flops()


def num_flops(spec: ModelSpec, batch_tokens: int) -> int:
    """Floating-point operations of one training step: matrix products and convolutions, forward and backward
    (2x).

    Args:
        spec: Sizes, filled in.
        batch_tokens: Tokens per step for the transformer (full contexts), samples per step for the others.

    >>> num_flops(MLPSpec(width=8, depth=1, num_inputs=4, num_outputs=2), 10) == 3 * 2 * 48 * 10
    True
    """
    units = spec.context or 1 if isinstance(spec, TransformerSpec | ModuleSpec) else 1
    return 3 * _forward_flops(spec) * batch_tokens // units
