"""What theory predicts for the signal of a built-in network at initialization, and what to change where it goes wrong.

Source: arXiv:1611.01232 (perceptrons), arXiv:2206.03126 (transformers); limes, docs/theory/init_command.md.
Letters: V covariance of samples or tokens, k the dual of the activation, chi = E phi'(z)^2, q mean square.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limes.compare.signal_profile import Real, SignalProfile
from limes.core.errors import SpecError
from limes.spec import MLPSpec, ModelSpec, ResMLPSpec, TransformerSpec, ViTSpec
from limes.theory.activations import Activation, get_activation
from limes.theory.initialization import PriorProblem, TokenProblem, mean_cosine, prior_log_moments, solve_tokens
from limes.theory.initialization.residual import dual_matrix

MAX_GROUPS = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SignalPrediction:
    """The curves of a `SignalProfile`, at infinite width.

    Args:
        signal: (K,) mean square of the entries.
        gradient: (K,) relative to the last point; None where it is not predicted.
        likeness: (K,) mean cosine.
        spread: Deviation of ln(signal) at the end over random networks of this width and depth; None where unknown.
        theory: What it assumes, for a person.
    """

    signal: Real
    gradient: Real | None
    likeness: Real
    spread: float | None
    theory: str


def predict_signal(spec: ModelSpec, profile: SignalProfile, *, multiplier: float = 1.0) -> SignalPrediction | None:
    """Prediction from the covariance at the first point; None for networks that no theory here covers.

    Args:
        spec: Of a built-in model, filled in.
        profile: Measured; only the covariance at its first point is used.
        multiplier: Of the residual branches.

    **Accuracy**: infinite width; uniform attention. **Source**: arXiv:1611.01232; arXiv:2206.03126.
    """
    if bool((profile.first.diagonal(dim1=1, dim2=2) <= 0).any()):
        raise SpecError("a sample or token of the batch is all zeros; expected inputs that carry a signal")
    if isinstance(spec, MLPSpec) and not spec.bias:
        return _mlp(spec, profile.first[0])
    if isinstance(spec, ResMLPSpec):
        return _resmlp(spec, profile.first[0], multiplier**2)
    if isinstance(spec, TransformerSpec | ViTSpec):
        return _transformer(spec, profile.first, multiplier)
    return None


def _theory_activation(name: str) -> Activation:
    return get_activation({"erf": "erf_sqrt2"}.get(name, name))


def _mlp(spec: MLPSpec, v: Tensor) -> SignalPrediction:
    phi = _theory_activation(spec.activation)
    rows, slopes = [v], []
    for _ in range(spec.depth):
        slopes.append(float(phi.dual.diagonal(v.diagonal())[1].mean()))
        v = dual_matrix(phi, v)
        rows.append(v)
    gradient = np.append(np.cumprod(slopes[::-1])[::-1], 1.0)
    spread = None
    if spec.activation in ("relu", "linear"):
        # Without the readout's own normal variable.
        whole = prior_log_moments(PriorProblem((spec.width,) * spec.depth, spec.activation))[1]
        spread = math.sqrt(max(whole - prior_log_moments(PriorProblem((), "linear"))[1], 0.0))
    return _prediction(torch.stack(rows), gradient, spread, "kernel recursion of infinite width")


def _resmlp(spec: ResMLPSpec, v: Tensor, strength: float) -> SignalPrediction:
    phi, rows, factors = _theory_activation(spec.activation), [v], []
    for _ in range(spec.depth):
        std = v.diagonal().sqrt()
        seen = v / (std[:, None] * std)
        slope = phi.dual.diagonal(torch.ones_like(std))[1]
        factors.append(float((1.0 + strength * slope / v.diagonal()).mean()))
        v = v + strength * dual_matrix(phi, seen)
        rows.append(v)
    gradient = np.append(np.cumprod(factors[::-1])[::-1], 1.0)
    return _prediction(torch.stack(rows), gradient, None, "normed residual branches of infinite width")


def _transformer(spec: TransformerSpec | ViTSpec, first: Tensor, multiplier: float) -> SignalPrediction:
    causal = isinstance(spec, TransformerSpec)
    results = []
    for v in first[:MAX_GROUPS]:
        problem = TokenProblem(v, spec.depth, "gelu", attention_scale=multiplier, causal=causal, normalize=True)
        # The maps of the MLP have variance 1 / fan-in: nothing makes up for the mean square that gelu takes.
        scale = multiplier / math.sqrt(problem.mlp_gain)
        problem = TokenProblem(
            v, spec.depth, "gelu", attention_scale=multiplier, mlp_scale=scale, causal=causal, normalize=True
        )
        results.append(solve_tokens(problem))
    signal = np.mean([result.mean_square.numpy() for result in results], 0)
    likeness = np.mean([result.similarity.numpy() for result in results], 0)
    words = "uniform attention and normed branches of infinite width"
    return SignalPrediction(signal=signal, gradient=None, likeness=likeness, spread=None, theory=words)


def _prediction(rows: Tensor, gradient: Real, spread: float | None, theory: str) -> SignalPrediction:
    signal = rows.diagonal(dim1=1, dim2=2).mean(1).numpy()
    likeness = mean_cosine(rows).numpy() if rows.shape[-1] > 1 else np.full(len(rows), np.nan)
    return SignalPrediction(signal=signal, gradient=gradient, likeness=likeness, spread=spread, theory=theory)


def advice(profile: SignalProfile, *, residual: bool | None) -> str:
    """What to change, in a sentence; `residual` says whether the blocks add to a stream (None: unknown)."""
    verdict, blocks = profile.verdict, len(profile.names) - 1
    if verdict == "stable":
        return "nothing to change"
    branches = "scale the residual branches by depth^-1/2 (`depth_mup`) or depth^-1 (`completep`)"
    if verdict == "collapsing":
        shaped = "make the activation nearly linear (slopes 1 + c / sqrt(width)) or add residual branches"
        return {True: branches, False: shaped, None: f"{branches}, or {shaped}"}[residual]
    if residual:
        return branches
    forward = profile.signal_factor
    factor = (forward if forward > 0 and math.isfinite(forward) else profile.gradient_factor) ** (1.0 / blocks)
    if not math.isfinite(factor) or factor <= 0:
        return "the signal is lost or not finite: check the scale of the weights first"
    weights = f"multiply the standard deviation of each block's weights by {factor**-0.5:.3g}"
    return weights if residual is False else f"{weights}; or, if blocks add to a stream, {branches}"
