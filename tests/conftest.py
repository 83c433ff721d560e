"""Settings for all tests: one thread per process (two spin against each other), and the real tables."""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("limes", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("limes")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tables() -> Path:
    """Folder of the published run tables; the test skips where it is absent."""
    folder = Path(os.environ.get("LIMES_DATA", REPOSITORY / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no folder of published run tables at {folder}; set LIMES_DATA to it")
    return folder
