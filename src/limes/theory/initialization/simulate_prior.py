"""Direct simulation of the prior predictive: weight matrices drawn and multiplied, layer by layer.

Source: the definition of the network; nothing is shared with the solver but the problem.
"""

import math

import torch
from torch import Tensor

from limes.theory.checks import check_whole
from limes.theory.initialization.prior import PriorProblem


def simulate_prior(problem: PriorProblem, num_draws: int, *, generator: torch.Generator) -> Tensor:
    """Outputs of independently drawn networks on one input.

    Args:
        problem: Widths, activation, variances, input.
        num_draws: Independent networks.
        generator: Of all weights.

    Returns:
        (num_draws, num_outputs) float64.

    **Source**: definition. **Accuracy**: exact in distribution; costs the product of neighbouring widths.

    >>> simulate_prior(PriorProblem((4, 4)), 3, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([3, 1])
    """
    num_draws = check_whole("num_draws", num_draws)
    # The input enters through its length alone: one coordinate carries it.
    h = torch.full((num_draws, 1, 1), math.sqrt(problem.input_var), dtype=torch.float64)
    variances = [float(problem.weight_var or 0.0)] * len(problem.widths) + [problem.readout_var]
    for layer, (width, var) in enumerate(zip((*problem.widths, problem.num_outputs), variances, strict=True)):
        weights = torch.randn(num_draws, width, h.shape[1], generator=generator, dtype=torch.float64)
        h = math.sqrt(var / h.shape[1]) * weights @ h
        if layer < len(problem.widths) and problem.activation == "relu":
            h = h.clamp_min(0.0)
    return h[:, :, 0]
