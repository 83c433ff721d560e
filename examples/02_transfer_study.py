"""A transfer study of one's own, from Python: a small MLP on synthetic data, two widths, two parametrizations."""

import sys
import tempfile
from pathlib import Path

from limes.compare import analyse_panels
from limes.spec import parse_study
from limes.store import Store
from limes.sweep import run_sweep

STUDY = {
    "name": "mlp-teacher",
    "data": {"source": "teacher", "num_inputs": 8},
    "model": {"family": "mlp", "width": 16, "depth": 2},
    "training": {"steps": 60, "warmup_steps": 5, "batch_size": 32},
    "recommend": {"name": "mup"},
    "panels": [
        {
            "axis": "width",
            "sizes": [16, 64],
            "seeds": [2, 2],
            "parametrizations": [{"name": "standard"}, {"name": "mup"}],
            "grid": {"center": -5, "count": 5},
        }
    ],
}


def main() -> None:
    """Train what is missing, then judge."""
    study = parse_study(STUDY, name="example")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    outcome = run_sweep(study, folder, workers=2)
    print(f"{outcome.status}: {outcome.progress.total} runs in {folder}")
    with Store.open(folder) as store:
        for panel in analyse_panels(study, store.rows()):
            optima = ["not found" if x is None else f"{x:.2f}" for x in panel.log2_optimal_lr]
            print(f"{panel.parametrization:10s} log2 of the best learning rate: {optima}, verdict: {panel.verdict}")


if __name__ == "__main__":
    main()
