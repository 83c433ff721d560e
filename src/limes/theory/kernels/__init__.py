"""Kernels of infinitely wide networks: NNGP and tangent, with depth finite or not, and what follows from them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from limes.theory.kernels.depth_limit import DepthLimit, depth_limit
from limes.theory.kernels.dual import dual_activation
from limes.theory.kernels.lazy import LazyProblem, LazyResult, lazy_dynamics
from limes.theory.kernels.mlp import MLPRecursion, nngp_kernel, ntk_kernel
from limes.theory.kernels.order_chaos import OrderChaos, decay_length, edge_of_chaos, order_chaos
from limes.theory.kernels.recursion import KernelBlock, Recursion, kernel_blocks, kernel_matmul
from limes.theory.kernels.regression import KernelRegression, kernel_regression
from limes.theory.kernels.residual import ResidualRecursion, residual_nngp_kernel, residual_ntk_kernel

KERNELS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        "nngp": nngp_kernel,
        "ntk": ntk_kernel,
        "residual_nngp": residual_nngp_kernel,
        "residual_ntk": residual_ntk_kernel,
    }
)

__all__ = [
    "KERNELS",
    "DepthLimit",
    "KernelBlock",
    "KernelRegression",
    "LazyProblem",
    "LazyResult",
    "MLPRecursion",
    "OrderChaos",
    "Recursion",
    "ResidualRecursion",
    "decay_length",
    "depth_limit",
    "dual_activation",
    "edge_of_chaos",
    "kernel_blocks",
    "kernel_matmul",
    "kernel_regression",
    "lazy_dynamics",
    "nngp_kernel",
    "ntk_kernel",
    "order_chaos",
    "residual_nngp_kernel",
    "residual_ntk_kernel",
]
