"""The studies that come with the code can be planned, and Hugging Face's GPT-2 trains as any other network."""

from pathlib import Path

import pytest

from limes.core.status import RunStatus
from limes.spec import load_study
from limes.sweep import Curve, Workbench, build_run
from limes.train import train

FOLDER = Path(__file__).resolve().parents[2] / "studies"
STUDIES = sorted(FOLDER.glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_plans_its_largest_networks(path):
    study = load_study(path)
    bench = Workbench(study, base_dir=path.parent)
    for panel in study.panels:
        for choice in panel.parametrizations:
            curve = Curve(axis=panel.axis, parametrization=choice.label, size=panel.sizes[-1], seed=0)
            for point in (panel.grid.low, panel.grid.high):
                planned = bench.point(curve, point)
                assert planned.new_run().flops > 0 and getattr(planned.spec.model, panel.axis) == panel.sizes[-1]


def test_a_hugging_face_model_trains_and_its_runs_repeat_bitwise():
    settings = ["training.steps=3", "training.warmup_steps=1", "data.num_bytes=50000", "data.validation_bytes=5000"]
    study = load_study(FOLDER / "gpt2_hugging_face.toml", settings=settings)
    bench = Workbench(study, base_dir=FOLDER)
    spec = bench.point(Curve(axis="width", parametrization="mup", size=64, seed=0), -6.0).spec
    assert "transformers" in spec.model.packages and "GPT2LMHeadModel" in spec.model.source
    assert spec.tensors["lm_head.weight"].multiplier == 0.5  # tied: the multiplier stays on the logits
    traces = [train(*build_run(spec), spec.training) for _ in range(2)]
    assert traces[0].status is RunStatus.DONE and traces[0].validation_loss < traces[0].initial_loss
    assert traces[0].train_loss.tolist() == traces[1].train_loss.tolist()
