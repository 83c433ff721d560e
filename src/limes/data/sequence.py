"""Windows of token ids: what every next-token source becomes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limes.core.errors import DataError
from limes.core.rng import stream_seed
from limes.data.source import Batch, Task

NUM_VALIDATION_WINDOWS = 32
_BLOCK_STEPS = 256


def named_stream_seed(seed: int) -> int:
    """Seed of the window starts of run `seed`: the stream "batch"."""
    return stream_seed(seed, "batch")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SequenceContent:
    """Token ids split into training and validation; shared by all runs of a process.

    Args:
        train: (num_tokens,), unsigned integers, possibly a memory map.
        validation: (num_validation_tokens,), same type.
        vocab_size: Every id is below it.
        fingerprint: Hash of ids and split.
        labels: How messages call the training and the validation tokens.
        batch_seed: Run seed -> seed of the generator of window starts.
    """

    train: np.ndarray
    validation: np.ndarray
    vocab_size: int
    fingerprint: str
    labels: tuple[str, str]
    batch_seed: Callable[[int], int] = named_stream_seed


class StartSequence:
    """Start positions drawn in order from one generator, available at any step.

    The generator's state is kept at every block boundary, so that a step can be asked for in any order, at
    bounded cost (20 bytes per step passed), without changing what it returns.
    """

    def __init__(self, *, seed: int, high: int, batch_size: int) -> None:
        self._high, self._batch_size = high, batch_size
        self._generator = torch.Generator().manual_seed(seed)
        self._states = [self._generator.get_state()]
        self._block: tuple[int, list[Tensor]] = (-1, [])

    def __call__(self, step: int) -> Tensor:
        """(batch_size,) int64, the (step + 1)-th draw."""
        assert step >= 0, f"step {step}"
        index, offset = divmod(step, _BLOCK_STEPS)
        if self._block[0] != index:
            for block in range(min(index, len(self._states) - 1), index + 1):
                self._draw_block(block)
        return self._block[1][offset]

    def _draw_block(self, index: int) -> None:
        self._generator.set_state(self._states[index])
        # One call per step: how many numbers a call consumes may depend on its size.
        draws = [
            torch.randint(0, self._high, (self._batch_size,), generator=self._generator) for _ in range(_BLOCK_STEPS)
        ]
        self._block = (index, draws)
        if index + 1 == len(self._states):
            self._states.append(self._generator.get_state())


class SequenceSource:
    """Windows of `context` tokens and the tokens that follow them."""

    task: Task = "next_token"
    num_inputs: None = None
    input_shape: None = None
    num_outputs: None = None

    def __init__(self, content: SequenceContent, *, seed: int, batch_size: int, context: int) -> None:
        for label, ids in zip(content.labels, (content.train, content.validation), strict=True):
            if len(ids) < context + 2:
                raise DataError(
                    f"{label}: {len(ids)} tokens, expected at least {context + 2} "
                    f"for windows of context {context}; add data or lower the context"
                )
        self.content = content
        self.vocab_size = content.vocab_size
        self._context = context
        # High is exclusive, so the very last token is never a target: the reference runs were drawn so.
        self._starts = StartSequence(
            seed=content.batch_seed(seed), high=len(content.train) - (context + 1), batch_size=batch_size
        )
        self._validation: tuple[Batch, ...] | None = None

    def batch(self, step: int) -> Batch:
        """Inputs and targets, both (batch_size, context) int64."""
        return _windows(self.content.train, self._starts(step).numpy(), self._context)

    def validation(self) -> tuple[Batch, ...]:
        """Two batches of 32 windows at fixed positions."""
        if self._validation is None:
            first, second = validation_starts(len(self.content.validation), context=self._context)
            ids = self.content.validation
            self._validation = (_windows(ids, first, self._context), _windows(ids, second, self._context))
        return self._validation

    def fingerprint(self) -> str:
        """Hash of ids and split."""
        return self.content.fingerprint


def validation_starts(num_tokens: int, *, context: int) -> tuple[np.ndarray, np.ndarray]:
    """32 evenly spaced starts, and the same moved by context + 3 (by less where the tokens end sooner).

    >>> first, second = validation_starts(60_000, context=64)
    >>> int(first[-1]), int(second[-1] - first[-1])
    (58061, 67)
    """
    first = np.arange(NUM_VALIDATION_WINDOWS) * (num_tokens - (context + 2)) // NUM_VALIDATION_WINDOWS
    room = num_tokens - (context + 1) - int(first[-1])
    return first, first + min(context + 3, room)


def byte_vocabulary(content: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Byte values that occur, in increasing order, and the (256,) table from a byte to its token id.

    >>> values, table = byte_vocabulary(np.frombuffer(b"cab", dtype=np.uint8))
    >>> values.tolist(), table[values].tolist()
    ([97, 98, 99], [0, 1, 2])
    """
    values = np.unique(content)
    table = np.zeros(256, dtype=np.uint8)
    table[values] = np.arange(len(values))
    return values, table


def _windows(ids: np.ndarray, starts: np.ndarray, context: int) -> Batch:
    windows = np.lib.stride_tricks.sliding_window_view(ids, context + 1)[starts].astype(np.int64)
    tokens = torch.from_numpy(windows)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
