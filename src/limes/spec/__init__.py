"""WHAT is to be done: model, data, training, axes, study. No behaviour, and no torch."""

from limes.spec.data import DataSpec
from limes.spec.io import load_study, parse_study, study_diff
from limes.spec.model import CNNSpec, MLPSpec, ModelSpec, ResMLPSpec, TransformerSpec, ViTSpec
from limes.spec.run import RunSpec, TensorSettings
from limes.spec.study import GridSpec, PanelSpec, ParametrizationChoice, StudySpec, TargetSpec
from limes.spec.training import OptimizerSpec, TrainingSpec

__all__ = [
    "CNNSpec",
    "DataSpec",
    "GridSpec",
    "MLPSpec",
    "ModelSpec",
    "OptimizerSpec",
    "PanelSpec",
    "ParametrizationChoice",
    "ResMLPSpec",
    "RunSpec",
    "StudySpec",
    "TargetSpec",
    "TensorSettings",
    "TrainingSpec",
    "TransformerSpec",
    "ViTSpec",
    "load_study",
    "parse_study",
    "study_diff",
]
