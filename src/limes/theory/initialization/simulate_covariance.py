"""The finite shaped network, sampled exactly without its weights: given V the rows of a layer are independent normals.

Source: the conditional law of a layer, arXiv:2206.02768, section 2.
Letters: g (m, n) preactivations, V' = (c / n) phi_s(g) phi_s(g)^T.
"""

import torch

from limes.theory.checks import check_whole
from limes.theory.initialization.covariance_sde import CovarianceProblem, CovarianceResult


def simulate_covariance(
    problem: CovarianceProblem, *, width: int, num_draws: int, generator: torch.Generator
) -> CovarianceResult:
    """Covariances at the last of round(depth_ratio * width) layers of finite networks.

    Args:
        problem: Covariance at the first layer, depth over width, shape.
        width: n; the activation is shaped for it.
        num_draws: Independent networks.
        generator: Of all layers.

    Returns:
        `CovarianceResult`; a network is never stopped.

    Raises:
        SpecError: A count is out of range.

    **Accuracy**: exact in distribution; costs m n for each layer and network. **Source**: arXiv:2206.02768, section 2.

    >>> problem = CovarianceProblem([[1.0, 0.3], [0.3, 1.0]], 0.5)
    >>> run = simulate_covariance(problem, width=16, num_draws=3, generator=torch.Generator().manual_seed(0))
    >>> run.covariance.shape
    torch.Size([3, 2, 2])
    """
    width, num_draws = check_whole("width", width), check_whole("num_draws", num_draws)
    depth = check_whole("depth_ratio * width", max(round(problem.depth_ratio * width), 0))
    m = problem.num_inputs
    c = problem.shape.normalizer(width)
    v = problem.covariance.expand(num_draws, m, m).clone()
    block = max(1, 2_000_000 // (m * width))
    for start in range(0, num_draws, block):
        part = v[start : start + block]
        for _ in range(depth):
            values, vectors = torch.linalg.eigh(part)
            factor = vectors * values.clamp_min(0.0).sqrt()[:, None, :]
            normal = torch.randn(len(part), m, width, generator=generator, dtype=torch.float64)
            h = problem.shape.value(factor @ normal, width)
            part = c / width * h @ h.mT
        v[start : start + block] = part
    never = torch.zeros(num_draws, dtype=torch.bool)
    ends = torch.full((num_draws,), problem.depth_ratio, dtype=torch.float64)
    return CovarianceResult(covariance=v, stopped=never, stop_time=ends, problem=problem)
