"""Which data: one spec per source. Paths are as the user wrote them; `data.build` opens and checks them."""

from typing import Annotated, Literal

from pydantic import Field

from limes.spec.base import Spec

Count = Annotated[int, Field(ge=1, le=100_000_000, strict=True)]
Dimension = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class CorpusSpec(Spec):
    """Built-in text: the running Python's documentation topics and standard library, split by position."""

    source: Literal["corpus"] = "corpus"
    num_bytes: Annotated[int, Field(ge=10_000)] = 2_500_000
    validation_bytes: Annotated[int, Field(ge=1_000)] = 60_000


class TextSpec(Spec):
    """Text files read as bytes; validation files are named, or the last `validation_fraction` of the files."""

    source: Literal["text"] = "text"
    paths: Annotated[tuple[str, ...], Field(min_length=1)]
    validation_paths: tuple[str, ...] = ()
    validation_fraction: Fraction = 0.1


class TokensSpec(Spec):
    """Token ids in flat little-endian binary files, memory-mapped."""

    source: Literal["tokens"] = "tokens"
    path: str
    validation_path: str
    dtype: Literal["uint16", "uint32"] = "uint16"
    vocab_size: Annotated[int, Field(ge=2)]


class ArraysSpec(Spec):
    """Inputs and targets in `.npz` (one file) or `.npy` (two files). Pickled content is refused."""

    source: Literal["arrays"] = "arrays"
    path: str
    targets_path: str | None = None
    inputs_key: str = "inputs"
    targets_key: str = "targets"
    validation_fraction: Fraction = 0.2


class ParquetSpec(Spec):
    """Columns of a Parquet file: numbers as inputs, one column as the target."""

    source: Literal["parquet"] = "parquet"
    path: str
    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    target: str
    task: Literal["classification", "regression"]
    validation_fraction: Fraction = 0.2


class DigitsSpec(Spec):
    """The 1797 8x8 digits that scikit-learn ships; the task `parity` is one number, +1 for even digits, -1 for odd."""

    source: Literal["digits"] = "digits"
    layout: Literal["flat", "image"] = "flat"
    task: Literal["classification", "regression", "parity"] = "classification"
    num_samples: Count | None = None
    validation_fraction: Fraction = 0.2


class GaussianSpec(Spec):
    """Standard normal inputs; targets a fixed random linear function of them, plus noise."""

    source: Literal["gaussian"] = "gaussian"
    num_inputs: Dimension = 16
    num_outputs: Dimension = 1
    num_samples: Count | None = None
    noise_std: Annotated[float, Field(ge=0)] = 0.0
    num_validation: Count = 512


class PowerLawSpec(Spec):
    """Gaussian inputs with covariance eigenvalues k^-b; linear target with power per mode k^-a."""

    source: Literal["power_law"] = "power_law"
    num_inputs: Dimension = 64
    capacity: Annotated[float, Field(gt=0)] = 1.5
    source_exponent: Annotated[float, Field(gt=1)] = 2.0
    num_samples: Count | None = None
    noise_std: Annotated[float, Field(ge=0)] = 0.0
    num_validation: Count = 512


class TeacherSpec(Spec):
    """Standard normal inputs; targets from a random two-layer teacher."""

    source: Literal["teacher"] = "teacher"
    num_inputs: Dimension = 16
    num_outputs: Dimension = 1
    teacher_width: Dimension = 4
    activation: Literal["relu", "tanh", "erf"] = "tanh"
    num_samples: Count | None = None
    noise_std: Annotated[float, Field(ge=0)] = 0.0
    num_validation: Count = 512


class CircleSpec(Spec):
    """Inputs on the unit circle; target a Fourier series whose power falls as k^-exponent."""

    source: Literal["circle"] = "circle"
    exponent: Annotated[float, Field(gt=1)] = 2.0
    num_modes: Dimension = 64
    num_samples: Count | None = None
    num_validation: Count = 512


DataSpec = Annotated[
    CorpusSpec
    | TextSpec
    | TokensSpec
    | ArraysSpec
    | ParquetSpec
    | DigitsSpec
    | GaussianSpec
    | PowerLawSpec
    | TeacherSpec
    | CircleSpec,
    Field(discriminator="source"),
]
