"""Which network: one spec per family of reference models. Sizes only; no scaling rule appears here.

`width` is d_model (channels of the first stage for the CNN), `depth` the number of blocks (hidden layers for the
MLP). What the data fix (vocabulary, inputs, outputs) is None until `sweep.build` fills it in from the data source; so
is the text of a user's own file.
"""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from limes.spec.base import Spec, content_hash

Size = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Depth = Annotated[int, Field(ge=1, le=10_000, strict=True)]
Activation = Literal["relu", "gelu", "tanh", "erf", "linear"]


class _Attention(Spec):
    width: Size
    head_dim: Size | None = None
    num_heads: Size | None = None
    # Against growing attention logits: RMS norm with gains on the queries and keys of each head.
    qk_norm: bool = False
    # "outlier_protected": no norm inside the blocks, norms on queries and keys, small gains on the branches instead.
    block: Literal["pre_norm", "outlier_protected"] = "pre_norm"

    @model_validator(mode="after")
    def _heads(self) -> "_Attention":
        if (self.head_dim is None) == (self.num_heads is None):
            raise ValueError(
                "give exactly one of head_dim (heads grow with width) and num_heads (the head dimension grows)"
            )
        unit = self.head_dim or self.num_heads or 1
        if self.width % unit:
            name = "head_dim" if self.head_dim else "num_heads"
            raise ValueError(f"width {self.width} is not a multiple of {name} {unit}")
        return self


class TransformerSpec(_Attention):
    """Pre-LN decoder on tokens (the byte GPT)."""

    family: Literal["transformer"] = "transformer"
    width: Size = 32
    depth: Depth = 2
    context: Size = 64
    mlp_ratio: Size = 4
    tied: bool = False
    vocab_size: Size | None = None


class ViTSpec(_Attention):
    """Small vision transformer: patches, learned positions, mean pooling."""

    family: Literal["vit"] = "vit"
    width: Size = 32
    depth: Depth = 2
    patch: Size = 2
    mlp_ratio: Size = 4
    input_shape: tuple[int, int, int] | None = None
    num_outputs: Size | None = None


class MLPSpec(Spec):
    """Fully connected network with `depth` hidden layers and a linear readout."""

    family: Literal["mlp"] = "mlp"
    width: Size = 64
    depth: Depth = 2
    activation: Activation = "relu"
    bias: bool = False
    num_inputs: Size | None = None
    num_outputs: Size | None = None


class ResMLPSpec(Spec):
    """Residual MLP: linear stem, `depth` pre-norm branches of one or two matrices, linear readout."""

    family: Literal["resmlp"] = "resmlp"
    width: Size = 64
    depth: Depth = 4
    matrices_per_branch: Literal[1, 2] = 2
    activation: Activation = "relu"
    num_inputs: Size | None = None
    num_outputs: Size | None = None


class CNNSpec(Spec):
    """Small residual CNN: 3x3 stem, `depth` residual blocks, global average pooling, linear readout."""

    family: Literal["cnn"] = "cnn"
    width: Size = 16
    depth: Depth = 3
    input_shape: tuple[int, int, int] | None = None
    num_outputs: Size | None = None


class ModuleSpec(Spec):
    """A network of the user's own: `build = "file.py:function"`, the file relative to the study.

    The function gets those of the following that its signature names: `width`, `depth`, `context`, the entries of
    `arguments`, and what the data fix. It returns a module that maps a batch of inputs to outputs (or to an object
    with `logits`, as Hugging Face models do), and draws nothing in its forward pass.

    Args:
        source: Text of the file; it is what runs, and so what the key of a run covers.
        packages: Versions of the installed packages that the file imports.
    """

    family: Literal["module"] = "module"
    build: Annotated[str, Field(pattern=r"^[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*$")]
    width: Size
    depth: Depth = 1
    context: Size | None = None
    arguments: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = Field(default_factory=dict)
    source: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    vocab_size: Size | None = None
    num_inputs: Size | None = None
    input_shape: tuple[int, int, int] | None = None
    num_outputs: Size | None = None

    def __hash__(self) -> int:
        return hash(content_hash(self.to_dict()))


ModelSpec = Annotated[
    TransformerSpec | ViTSpec | MLPSpec | ResMLPSpec | CNNSpec | ModuleSpec,
    Field(discriminator="family"),
]
