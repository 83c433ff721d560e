"""Solved theories as curves, with direct simulation laid over them: one file for each theory, one shape for all."""

from limes.compare.curves.balanced_linear import balanced_linear_study
from limes.compare.curves.feature_learning import FeatureLearningSetting, feature_learning_study
from limes.compare.curves.gaussian_mixture import gaussian_mixture_study
from limes.compare.curves.linear_attention import linear_attention_study
from limes.compare.curves.quadratic_network import QuadraticSetting, quadratic_network_study
from limes.compare.curves.ridge import RidgeSetting, ridge_study
from limes.compare.curves.study import Curve, Numbers, Panel, Points, TheoryStudy
from limes.compare.curves.work import DrawPlan, Work

__all__ = [
    "Curve",
    "DrawPlan",
    "FeatureLearningSetting",
    "Numbers",
    "Panel",
    "Points",
    "QuadraticSetting",
    "RidgeSetting",
    "TheoryStudy",
    "Work",
    "balanced_linear_study",
    "feature_learning_study",
    "gaussian_mixture_study",
    "linear_attention_study",
    "quadratic_network_study",
    "ridge_study",
]
