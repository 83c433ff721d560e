"""Dynamical mean field theory: what an infinitely wide network does while it learns features."""

from limes.theory.dynamics.cost import Cost, predict_cost
from limes.theory.dynamics.mlp import solve_dmft_mlp
from limes.theory.dynamics.network import initial_weights, train_network
from limes.theory.dynamics.problem import MLPProblem
from limes.theory.dynamics.result import DMFTResult

__all__ = [
    "Cost",
    "DMFTResult",
    "MLPProblem",
    "initial_weights",
    "predict_cost",
    "solve_dmft_mlp",
    "train_network",
]
