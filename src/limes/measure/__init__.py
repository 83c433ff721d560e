"""Diagnostics: (model, batch) -> numbers. They work on any `nn.Module` and import no model of ours."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from limes.measure.activations import Recording, main_tensor, record_forward_pass
from limes.measure.attention_entropy import attention_entropy, attention_statistics, entropy_bound, head_similarity
from limes.measure.edge_probe import EdgeProbe
from limes.measure.features import dead_units, effective_rank, preactivation_statistics, rank_residual, token_similarity
from limes.measure.hessian import hessian_operator
from limes.measure.hessian_spectrum import SpectralDensity, Trace, hessian_density, hessian_trace
from limes.measure.joint_spectrum import JointSpectrum, KernelBlock, measure_joint_spectrum
from limes.measure.kernels import (
    centered_alignment,
    empirical_ntk,
    feature_kernels,
    gradient_kernels,
    target_alignment,
)
from limes.measure.lr_sensitivity import lr_sensitivity
from limes.measure.monitor import Monitor
from limes.measure.monitor_probe import MonitorProbe
from limes.measure.movement import feature_movement, weight_movement
from limes.measure.noise_scale import fit_critical_batch, gradient_noise_scale
from limes.measure.optimizer_health import gradient_health, update_sizes
from limes.measure.outliers import kurtosis, max_median_ratio, official_kurtosis, official_max_median_ratio
from limes.measure.outputs import output_statistics
from limes.measure.quantization import quantization_error
from limes.measure.sharpness import Sharpness, sharpness
from limes.measure.shrinkage import effective_shrinkage
from limes.measure.spectrum import SourceCapacity, Spectrum, fit_source_capacity, measure_spectrum
from limes.measure.spikes import find_spikes
from limes.measure.stability import EdgeOfStability, edge_of_stability
from limes.measure.tangent import tangent_operator
from limes.measure.updates import TensorUpdate, second_order_ratios, split_updates
from limes.measure.weight_spectra import weight_spectrum
from limes.measure.writers import JsonLines, TensorBoard, WandB, Writer

DIAGNOSTICS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "feature_kernels": feature_kernels,
        "gradient_kernels": gradient_kernels,
        "empirical_ntk": empirical_ntk,
        "centered_alignment": centered_alignment,
        "target_alignment": target_alignment,
        "record_forward_pass": record_forward_pass,
        "split_updates": split_updates,
        "second_order_ratios": second_order_ratios,
        "effective_shrinkage": effective_shrinkage,
        "effective_rank": effective_rank,
        "token_similarity": token_similarity,
        "rank_residual": rank_residual,
        "dead_units": dead_units,
        "preactivation_statistics": preactivation_statistics,
        "weight_movement": weight_movement,
        "feature_movement": feature_movement,
        "attention_entropy": attention_entropy,
        "entropy_bound": entropy_bound,
        "head_similarity": head_similarity,
        "attention_statistics": attention_statistics,
        "kurtosis": kurtosis,
        "official_kurtosis": official_kurtosis,
        "max_median_ratio": max_median_ratio,
        "official_max_median_ratio": official_max_median_ratio,
        "quantization_error": quantization_error,
        "gradient_health": gradient_health,
        "update_sizes": update_sizes,
        "gradient_noise_scale": gradient_noise_scale,
        "fit_critical_batch": fit_critical_batch,
        "output_statistics": output_statistics,
        "find_spikes": find_spikes,
        "lr_sensitivity": lr_sensitivity,
        "weight_spectrum": weight_spectrum,
        "sharpness": sharpness,
        "hessian_trace": hessian_trace,
        "hessian_density": hessian_density,
        "edge_of_stability": edge_of_stability,
        "measure_spectrum": measure_spectrum,
        "measure_joint_spectrum": measure_joint_spectrum,
        "tangent_operator": tangent_operator,
        "fit_source_capacity": fit_source_capacity,
    }
)

__all__ = [
    "DIAGNOSTICS",
    "EdgeOfStability",
    "EdgeProbe",
    "JointSpectrum",
    "JsonLines",
    "KernelBlock",
    "Monitor",
    "MonitorProbe",
    "Recording",
    "Sharpness",
    "SourceCapacity",
    "SpectralDensity",
    "Spectrum",
    "TensorBoard",
    "TensorUpdate",
    "Trace",
    "WandB",
    "Writer",
    "attention_entropy",
    "attention_statistics",
    "centered_alignment",
    "dead_units",
    "edge_of_stability",
    "effective_rank",
    "effective_shrinkage",
    "empirical_ntk",
    "entropy_bound",
    "feature_kernels",
    "feature_movement",
    "find_spikes",
    "fit_critical_batch",
    "fit_source_capacity",
    "gradient_health",
    "gradient_kernels",
    "gradient_noise_scale",
    "head_similarity",
    "hessian_density",
    "hessian_operator",
    "hessian_trace",
    "kurtosis",
    "lr_sensitivity",
    "main_tensor",
    "max_median_ratio",
    "measure_joint_spectrum",
    "measure_spectrum",
    "official_kurtosis",
    "official_max_median_ratio",
    "output_statistics",
    "preactivation_statistics",
    "quantization_error",
    "rank_residual",
    "record_forward_pass",
    "second_order_ratios",
    "sharpness",
    "split_updates",
    "tangent_operator",
    "target_alignment",
    "token_similarity",
    "update_sizes",
    "weight_movement",
    "weight_spectrum",
]
