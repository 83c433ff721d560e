"""WHAT is to be done: model, data, training, axes, study. No behaviour, and no torch."""

from limes.spec.data import DataSpec
from limes.spec.io import load_study, parse_study, study_diff
from limes.spec.model import CNNSpec, MLPSpec, ModelSpec, ModuleSpec, ResMLPSpec, TransformerSpec, ViTSpec
from limes.spec.recommendation import load_recommendation
from limes.spec.run import RunSpec, TensorSettings
from limes.spec.study import GridSpec, PanelSpec, ParametrizationChoice, StudySpec, TargetSpec
from limes.spec.swept import SweptSpec, resolve_point, swept_names
from limes.spec.training import OptimizerSpec, TrainingSpec

__all__ = [
    "CNNSpec",
    "DataSpec",
    "GridSpec",
    "MLPSpec",
    "ModelSpec",
    "ModuleSpec",
    "OptimizerSpec",
    "PanelSpec",
    "ParametrizationChoice",
    "ResMLPSpec",
    "RunSpec",
    "StudySpec",
    "SweptSpec",
    "TargetSpec",
    "TensorSettings",
    "TrainingSpec",
    "TransformerSpec",
    "ViTSpec",
    "load_recommendation",
    "load_study",
    "parse_study",
    "resolve_point",
    "study_diff",
    "swept_names",
]
