"""A workbench for scaling neural networks: prescribe, predict, verify.

The names below load their package on first use, so that `import limes` costs milliseconds and imports no torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("limes")

_HOMES = {
    "plan": "limes.parametrize",
    "Plan": "limes.parametrize",
    "fit_law": "limes.laws",
    "load_recommendation": "limes.spec",
    "load_study": "limes.spec",
    "StudySpec": "limes.spec",
    "Monitor": "limes.measure",
    "run_sweep": "limes.sweep",
    "analyse_transfer": "limes.compare",
    "coord_check": "limes.compare",
    "classify_abc": "limes.parametrize",
    "solve_abc": "limes.parametrize",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'limes' has no attribute {name!r}; its public names are {', '.join(sorted(_HOMES))}")


def __dir__() -> list[str]:
    return sorted(__all__)
