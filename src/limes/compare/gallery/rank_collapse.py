"""Rank collapse of transformers at initialization, and its cure: branches scaled by depth^-1/2.

Source: arXiv:2206.03126, section 3; arXiv:2103.03404. Letters: T tokens.
"""

import math

import numpy as np
import torch
from torch import Tensor

from limes.compare.gallery.picture import NEUTRAL, Curve, Panel, Picture, Progress, Reading, points
from limes.compare.gallery.readings import limit_reading
from limes.theory.initialization import (
    TokenProblem,
    expected_query_gradient,
    mean_cosine,
    simulate_tokens,
    solve_tokens,
)

NUM_TOKENS = 16
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
RULES = {"plain residual branches": 0.0, "branches x depth^-1/2": 0.5}
LINEAR = "mean cosine of linear blocks at depth 4096, branches x depth^-1/2"
NETWORKS = "mean cosine after 8 blocks as width grows, {}"


def draw(*, reduced: bool, progress: Progress) -> Picture:
    """Similarity of tokens through and over depth, finite transformers beside it, and the gradient of the queries."""
    widths, count = ((16, 32, 64), 16) if reduced else ((32, 64, 128, 256), 32)
    generator = torch.Generator().manual_seed(0)
    readings = [_linear_reading()]
    finite: dict[str, list[np.ndarray]] = {}
    for index, (rule, exponent) in enumerate(RULES.items()):
        stated = _problem(8, exponent)
        groups = [
            mean_cosine(simulate_tokens(stated, width=width, num_draws=count, generator=generator)).numpy()
            for width in widths
        ]
        expected = float(solve_tokens(stated).similarity[-1])
        source = "infinite width, arXiv:2206.03126"
        readings.append(limit_reading(NETWORKS.format(rule), widths, groups, expected=expected, source=source))
        depths = [depth for depth in DEPTHS if depth <= 16 or not reduced]
        finite[rule] = [
            mean_cosine(
                simulate_tokens(_problem(depth, exponent), width=widths[-1], num_draws=count, generator=generator)
            ).numpy()
            for depth in depths
        ]
        progress((index + 1) / len(RULES))
    ends = [float(solve_tokens(_problem(DEPTHS[-1], exponent)).similarity[-1]) for exponent in RULES.values()]
    return Picture(
        question="Why can a transformer not simply be stacked deeper?",
        answer=(
            f"Attention averages tokens: after {DEPTHS[-1]} plain blocks the mean cosine between two of them is "
            f"{ends[0]:.4f}, and the queries get no gradient.",
            f"Branches scaled by depth^-1/2 leave it at {ends[1]:.2f}, whatever the depth.",
        ),
        panels=(_depth_panel(finite, widths[-1]), _gradient_panel()),
        readings=tuple(readings),
        setting=(
            f"{NUM_TOKENS} orthogonal tokens, uniform attention and relu blocks with residual branches, no norms, at "
            f"initialization; lines infinitely wide, points {count} networks of width {widths[-1]}."
        ),
    )


def _problem(depth: int, exponent: float, activation: str = "relu") -> TokenProblem:
    tokens = torch.eye(NUM_TOKENS, dtype=torch.float64)
    return TokenProblem(tokens, depth, activation, branch_exponent=exponent)


def _linear_reading() -> Reading:
    """Mean of V's entries grows as e^2, the rest of its diagonal as e; the cosine follows."""
    mean, rest = math.exp(2.0) / NUM_TOKENS, math.e * (1.0 - 1.0 / NUM_TOKENS)
    diagonal = mean + rest
    expected = (NUM_TOKENS * mean - diagonal) / (NUM_TOKENS - 1) / diagonal
    measured = float(solve_tokens(_problem(4096, 0.5, "linear")).similarity[-1])
    return Reading(name=LINEAR, measured=measured, expected=expected, source="arXiv:2206.03126, section 3")


def _depth_panel(finite: dict[str, list[np.ndarray]], width: int) -> Panel:
    curves = []
    for color, (rule, exponent) in enumerate(RULES.items()):
        theory = np.array([float(solve_tokens(_problem(depth, exponent)).similarity[-1]) for depth in DEPTHS])
        curves.append(Curve(label=rule, x=np.array(DEPTHS, dtype=float), y=theory, color=color))
        samples = np.stack(finite[rule], 1)
        curves.append(points(f"width {width}", DEPTHS[: samples.shape[1]], samples, color=color, legend=color == 0))
    return Panel(
        title="Tokens become alike",
        x_title="blocks",
        y_title="mean cosine between two tokens",
        curves=tuple(curves),
        log_x=True,
        ticks=tuple(float(depth) for depth in DEPTHS),
    )


def _gradient_panel() -> Panel:
    """The gradient of the queries, relative to what orthogonal tokens would give them."""
    depths = np.array(DEPTHS, dtype=float)
    curves = []
    for color, (rule, exponent) in enumerate(RULES.items()):
        shares = []
        for depth in DEPTHS:
            final = solve_tokens(_problem(depth, exponent)).covariance[-1]
            shares.append(_query_gradient(final) / _query_gradient(torch.eye(NUM_TOKENS, dtype=torch.float64)))
        curves.append(Curve(label=rule, x=depths, y=np.array(shares), color=color))
    curves.append(Curve(label="orthogonal tokens", x=depths, y=np.ones(len(depths)), color=NEUTRAL, style="dash"))
    return Panel(
        title="Queries lose their gradient",
        x_title="blocks",
        y_title="squared query gradient, relative",
        curves=tuple(curves),
        log_x=True,
        log_y=True,
        ticks=tuple(float(depth) for depth in DEPTHS),
    )


def _query_gradient(covariance: Tensor) -> float:
    """Of tokens with this covariance, brought to mean square one."""
    scaled = covariance / covariance.diagonal().mean()
    values, vectors = torch.linalg.eigh(scaled)
    tokens = vectors * values.clamp_min(0.0).sqrt()
    return expected_query_gradient(tokens, value_dim=1, key_std=1.0, value_std=1.0)
