"""`limes spectrum` for networks with many outputs: byte GPTs on the built-in text, and a module of the user's own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limes.core.errors import DataError, SpecError

if TYPE_CHECKING:
    import torch

    from limes.compare.joint_result import JointStudy

CONTEXT = 64


def text_study(
    *,
    windows: int,
    widths: tuple[int, ...],
    parametrizations: tuple[str, ...],
    depth: int,
    steps: int,
    modes: int,
    progress: Callable[[float], Any],
) -> "JointStudy":
    """The networks of the built-in study on the first windows of its text."""
    from limes.compare.joint_spectrum import text_spectrum_study
    from limes.data import build_data
    from limes.spec.data import CorpusSpec

    source = build_data(CorpusSpec(), seed=0, batch_size=windows, context=CONTEXT, base_dir=Path())
    inputs, targets = source.batch(0)
    assert source.vocab_size is not None, "text has a vocabulary"
    return text_spectrum_study(
        inputs,
        targets,
        data="corpus",
        vocab_size=source.vocab_size,
        widths=widths,
        parametrizations=parametrizations,
        depth=depth,
        num_steps=steps,
        num_modes=modes,
        progress=progress,
    )


def module_study(
    target: str,
    *,
    arguments: Sequence[str],
    batch: Path | None,
    steps: int,
    modes: int,
    progress: Callable[[float], Any],
) -> "JointStudy":
    """One network as a function builds it, on the inputs and targets of a file.

    Raises:
        SpecError, DataError: There is no such function or file, or the two do not fit.
    """
    import torch

    from limes.cli.inspect_inputs import build_target, read_batch
    from limes.compare.joint_result import JointStudy
    from limes.compare.joint_spectrum import network_spectrum

    if batch is None:
        raise SpecError("--module needs --batch, a .pt, .safetensors or .npz file with inputs and targets")
    given = read_batch(batch)
    if not isinstance(given.inputs, torch.Tensor):
        raise DataError(f"--batch {batch} names several inputs: expected one tensor under inputs, tokens, x or images")
    if given.targets is None:
        raise DataError(f"--batch {batch} has no targets: save them under targets, labels or y")
    model = build_target(target, arguments).double()
    inputs, goal = _as_double(given.inputs), _as_double(given.targets)
    found = network_spectrum(
        model, inputs, goal, label=target.rpartition(":")[2], num_steps=steps, num_modes=modes, progress=progress
    )
    return JointStudy(
        networks=(found,),
        data=batch.name,
        num_points=found.modes.num_points,
        num_outputs=found.modes.num_outputs,
        setting=f"{target}, one learning rate for all tensors",
    )


def _as_double(tensor: "torch.Tensor") -> "torch.Tensor":
    return tensor.double() if tensor.is_floating_point() else tensor.long()
