"""What the commands of the theory read from their flags: lists of numbers, and a few samples by a short name."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limes.core.errors import DataError, SpecError

if TYPE_CHECKING:
    from limes.spec import DataSpec

SYNTHETIC = ("gaussian", "power_law", "teacher", "circle")


def parse_numbers(text: str, *, flag: str, zero: bool = False) -> tuple[float, ...]:
    """Positive numbers (0 too where `zero`) separated by commas, increasing and each once.

    >>> parse_numbers("2,0.5", flag="--gamma0"), parse_numbers("1,0", flag="--gamma", zero=True)
    ((0.5, 2.0), (0.0, 1.0))
    """
    try:
        values = sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise SpecError(f"{flag} {text!r}: expected numbers separated by commas, such as 0.5,1,2") from None
    if not all(0 < value < math.inf or (zero and value == 0) for value in values):
        raise SpecError(f"{flag} {text!r}: expected finite numbers {'of at least' if zero else 'above'} 0")
    return tuple(values)


def parse_gamma0(text: str) -> tuple[float, ...]:
    """The values of --gamma0; the lazy limit is named to whoever asks for 0.

    >>> parse_gamma0("0.5")
    (0.5,)
    """
    try:
        return parse_numbers(text, flag="--gamma0")
    except SpecError as error:
        raise SpecError(f"{error}; the lazy limit gamma0 -> 0 stands on the page beside every solution") from None


def parse_counts(text: str, *, flag: str) -> tuple[int, ...]:
    """Whole numbers of at least 1 separated by commas, increasing and each once.

    >>> parse_counts("128,64", flag="--widths")
    (64, 128)
    """
    values = parse_numbers(text, flag=flag)
    if any(value != int(value) for value in values):
        raise SpecError(f"{flag} {text!r}: expected whole numbers separated by commas, such as 64,128")
    return tuple(int(value) for value in values)


def parse_pairs(text: str, *, flag: str) -> dict[str, str]:
    """Names and values separated by commas.

    >>> parse_pairs("seed=0, parametrization=mup", flag="--where")
    {'seed': '0', 'parametrization': 'mup'}
    """
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and equals and value.strip() for name, equals, value in pairs):
        raise SpecError(f"{flag} {text!r}: expected name=value, separated by commas")
    return {name.strip(): value.strip() for name, _, value in pairs}


def parse_value(text: str) -> Any:
    """A number, a list or a truth value where the text is one in JSON, else the text.

    >>> parse_value("128"), parse_value("[1, 2]"), parse_value("relu")
    (128, [1, 2], 'relu')
    """
    try:
        return json.loads(text)
    except ValueError:
        return text


def sample_spec(name: str, *, num_samples: int) -> "DataSpec":
    """The data source behind `digits` (parity), a synthetic source, or the path of an .npz file.

    Raises:
        SpecError: It is none of these.
    """
    from limes.spec.data import ArraysSpec, CircleSpec, DigitsSpec, GaussianSpec, PowerLawSpec, TeacherSpec

    if name == "digits":
        return DigitsSpec(task="parity", num_samples=num_samples)
    classes: dict[str, Any] = dict(zip(SYNTHETIC, (GaussianSpec, PowerLawSpec, TeacherSpec, CircleSpec), strict=True))
    if name in classes:
        return classes[name](num_samples=num_samples)
    if name.endswith(".npz"):
        return ArraysSpec(path=name)
    raise SpecError(f"--data {name!r}: expected digits, {', '.join(SYNTHETIC)}, or the path of an .npz file")


def load_samples(name: str, *, num_samples: int, num_test: int = 0) -> tuple[Any, Any, Any]:
    """Inputs (num_samples, input_dim), targets (num_samples,) or (num_samples, num_outputs), held-out inputs or None.

    Raises:
        SpecError, DataError: There is no such source, or it has too few samples or is no regression.
    """
    from limes.data import build_data
    from limes.data.samples import SampleSource

    source = build_data(sample_spec(name, num_samples=num_samples), seed=0, batch_size=1, base_dir=Path())
    assert isinstance(source, SampleSource), "every source above is asked for a number of samples"
    content = source.content
    if content.task != "regression":
        raise DataError(
            f"{content.label}: the targets are classes; the theory has squared loss, so save them as floats"
        )
    for what, wanted, rows in (
        ("--samples", num_samples, content.inputs),
        ("--test", num_test, content.validation_inputs),
    ):
        if wanted > len(rows):
            raise DataError(f"{what} {wanted}: {content.label} has {len(rows)} there; lower it")
    inputs = content.inputs.flatten(1).double().numpy()[:num_samples]
    targets = content.targets.double().numpy()[:num_samples]
    held_out = content.validation_inputs.flatten(1).double().numpy()[:num_test] if num_test else None
    return inputs, targets[:, 0] if targets.shape[1] == 1 else targets, held_out
