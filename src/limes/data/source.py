"""What training and measurement may ask of any data source."""

from typing import Literal, Protocol

from torch import Tensor

Task = Literal["next_token", "classification", "regression"]
Batch = tuple[Tensor, Tensor]


class DataSource(Protocol):
    """Batches for one run. Task and validation set are the same for all seeds; a seed decides batches only.

    Inputs are int64 ids (N, context) for `next_token`, else float32 (N, num_inputs) or (N, *input_shape).
    Targets are int64 (N, context) or (N,), or float32 (N, num_outputs) for `regression`.
    """

    @property
    def task(self) -> Task:
        """What the targets are, and so which loss fits."""

    @property
    def vocab_size(self) -> int | None:
        """Number of token ids; None unless the task is `next_token`."""

    @property
    def num_inputs(self) -> int | None:
        """Numbers in one input, flattened; None for tokens."""

    @property
    def input_shape(self) -> tuple[int, int, int] | None:
        """(channels, height, width) of image inputs, else None."""

    @property
    def num_outputs(self) -> int | None:
        """Classes, or components of a regression target; None for tokens."""

    def batch(self, step: int) -> Batch:
        """Training batch of `step` = 0, 1, ...: a pure function of seed and step."""

    def validation(self) -> tuple[Batch, ...]:
        """Fixed batches of equal size, so that the validation loss is the mean of the batch losses. Read only."""

    def fingerprint(self) -> str:
        """SHA-256 (64 hexadecimal digits) over the content and its split; paths and seeds do not enter."""
