"""Random generators: numpy's, or a torch generator from which one integer is drawn."""

from typing import Any

import numpy as np

from limes.core.errors import SpecError


def as_numpy(generator: Any) -> np.random.Generator:
    """A numpy generator from a numpy or a torch generator, without importing torch.

    Raises:
        SpecError: anything else.

    >>> as_numpy(np.random.default_rng(0)).integers(10) < 10
    np.True_
    """
    if isinstance(generator, np.random.Generator):
        return generator
    if isinstance(generator, np.random.RandomState):
        return np.random.Generator(generator._bit_generator)
    if type(generator).__module__.startswith("torch"):
        import torch

        return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    raise SpecError(f"generator is {generator!r}; give numpy.random.default_rng(seed) or a torch.Generator")
