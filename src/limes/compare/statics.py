"""NNGP, adaptive kernel and sampled networks of growing width on the same data: what `limes theory statics` shows.

Source: arXiv:1711.00165, arXiv:2502.07998; docs/theory/statics_command.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limes.core.errors import SpecError
from limes.core.rng import stream
from limes.theory.statics import (
    AdaptiveProblem,
    AdaptiveResult,
    FiniteNetwork,
    FinitePosterior,
    HyperparameterChoice,
    LearningCurve,
    NNGPProblem,
    NNGPResult,
    choose_hyperparameters,
    learning_curve,
    log_evidence_at_width,
    log_evidence_without_features,
    simulate_posterior,
    solve_adaptive,
    solve_nngp,
)
from limes.theory.statics.simulate_posterior import check_size

Progress = Callable[[float, str], object]
# Factors on the given pair: the grid of the evidence. Little feature learning is often the more probable.
TEMPERATURE_GRID = (0.1, 0.3, 1.0, 3.0, 10.0)
GAMMA0_GRID = (0.03, 0.1, 0.3, 1.0, 3.0)
COLUMNS = ("what", "width", "set", "sample", "mean", "standard_error", "network_deviation")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prediction:
    """Outputs of one theory, or of networks of one width.

    Attributes:
        name: "nngp", "adaptive" or "networks".
        width: None in the limit.
        train: (P,) mean outputs.
        test: (M,).
        train_error, test_error: Standard errors of the means; zero where there is none.
        train_deviation, test_deviation: Of the outputs of one posterior network; of width `at_width` in the limit.
        kernel: (P, P).
    """

    name: str
    width: int | None
    train: Tensor
    test: Tensor
    train_error: Tensor
    test_error: Tensor
    train_deviation: Tensor
    test_deviation: Tensor
    kernel: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StaticsStudy:
    """Everything on the page.

    Attributes:
        data: How the data are called.
        at_width: For which the deviations of the limits and the evidence are stated.
        nngp, adaptive: The limits.
        posteriors: Sampled networks, narrowest first.
        evidence: (adaptive, NNGP) ln p(y) at `at_width`.
        choices: Best hyperparameters of the adaptive kernel and of the NNGP; empty where not asked for.
        curve: Learning curve, or None.
    """

    data: str
    at_width: int
    nngp: NNGPResult
    adaptive: AdaptiveResult
    posteriors: tuple[FinitePosterior, ...]
    evidence: tuple[float, float]
    choices: tuple[HyperparameterChoice, ...]
    curve: LearningCurve | None

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """Limits first, then networks by width."""
        lazy, rich, problem = self.nngp, self.adaptive, self.adaptive.problem
        unit = problem.gamma0**2 * self.at_width
        zero = [torch.zeros_like(lazy.train_mean), torch.zeros_like(lazy.test_mean)]
        rows = [
            Prediction(
                name="nngp",
                width=None,
                train=lazy.train_mean,
                test=lazy.test_mean,
                train_error=zero[0],
                test_error=zero[1],
                train_deviation=(lazy.train_variance / unit).sqrt(),
                test_deviation=(lazy.test_variance / unit).sqrt(),
                kernel=lazy.kernel,
            ),
            Prediction(
                name="adaptive",
                width=None,
                train=rich.train_mean,
                test=rich.test_mean,
                train_error=rich.train_error,
                test_error=rich.test_error,
                train_deviation=(rich.train_fluctuation.clamp_min(0.0) / self.at_width).sqrt(),
                test_deviation=(rich.test_fluctuation.clamp_min(0.0) / self.at_width).sqrt(),
                kernel=rich.kernel,
            ),
        ]
        rows += [
            Prediction(
                name="networks",
                width=one.problem.width,
                train=one.train_mean,
                test=one.test_mean,
                train_error=one.train_error,
                test_error=one.test_error,
                train_deviation=(one.train_fluctuation / one.problem.width).sqrt(),
                test_deviation=(one.test_fluctuation / one.problem.width).sqrt(),
                kernel=one.kernels[-1],
            )
            for one in self.posteriors
        ]
        return tuple(rows)

    def rows(self) -> list[tuple[str | int | float | None, ...]]:
        """One row for each prediction and sample, under `COLUMNS`."""
        found: list[tuple[str | int | float | None, ...]] = []
        for one in self.predictions:
            for part, mean, error, deviation in (
                ("train", one.train, one.train_error, one.train_deviation),
                ("test", one.test, one.test_error, one.test_deviation),
            ):
                numbers = zip(mean.tolist(), error.tolist(), deviation.tolist())
                found += [(one.name, one.width, part, sample, *row) for sample, row in enumerate(numbers)]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        problem, rich = self.adaptive.problem, self.adaptive
        content: dict[str, Any] = {
            "data": self.data,
            "num_samples": len(problem.targets),
            "activation": problem.phi.name,
            "gamma0": problem.gamma0,
            "inverse_temperature": problem.inverse_temperature,
            "at_width": self.at_width,
            "log_evidence": {"adaptive": self.evidence[0], "nngp": self.evidence[1]},
            "adaptive": {"method": rich.method, "residual": rich.residual, "gap": rich.gap},
            "predictions": [
                {"name": one.name, "width": one.width}
                | {
                    field: getattr(one, field).tolist()
                    for field in ("train", "test", "train_error", "test_error", "train_deviation", "test_deviation")
                }
                | {"kernel": one.kernel.tolist()}
                for one in self.predictions
            ],
            "chains": [
                {
                    "width": one.problem.width,
                    "rhat": one.rhat,
                    "effective_size": one.effective_size,
                    "acceptance": float(one.sample.acceptance.mean()),
                    "step_size": one.sample.step_size,
                }
                for one in self.posteriors
            ],
        }
        content["choices"] = [
            {
                "kernel": "adaptive" if one.feature_learning else "nngp",
                "inverse_temperature": one.inverse_temperature,
                "gamma0": one.gamma0,
                "log_evidence": one.log_evidence,
                "at_end": list(one.at_end),
                "num_failed": one.num_failed,
            }
            for one in self.choices
        ]
        if self.curve is not None:
            content["learning_curve"] = {
                "sample_counts": list(self.curve.sample_counts),
                "nngp": self.curve.nngp.tolist(),
                "adaptive": self.curve.adaptive.tolist(),
            }
        return content


def kernel_distance(kernel: Tensor, other: Tensor) -> float:
    """Relative difference of two kernels in Frobenius norm.

    >>> kernel_distance(torch.eye(2), 2.0 * torch.eye(2))
    0.5
    """
    return float((kernel - other).norm() / other.norm())


def output_distance(prediction: Prediction, other: Prediction) -> float:
    """Root mean squared difference of the test outputs; of the training outputs where there are no others."""
    first, second = (prediction.test, other.test) if len(other.test) else (prediction.train, other.train)
    return math.sqrt(float(((first - second) ** 2).mean()))


def alignment(kernel: Tensor, targets: Tensor) -> float:
    """Cosine between a kernel and the targets' own kernel y y'.

    >>> round(alignment(torch.eye(4), torch.ones(4)), 6)
    0.5
    """
    return float(targets @ kernel @ targets / (kernel.norm() * (targets @ targets)))


def statics_study(
    inputs: Any,
    targets: Any,
    test_inputs: Any,
    *,
    data: str,
    activation: str = "erf",
    gamma0: float = 1.0,
    inverse_temperature: float = 1.0,
    widths: Sequence[int] = (),
    num_chains: int = 0,
    num_draws: int = 200,
    choose: bool = False,
    sample_counts: Sequence[int] = (),
    curve_data: tuple[Any, Any] | None = None,
    num_curve_draws: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
) -> StaticsStudy:
    """Solve both limits, sample networks, and, if asked, choose hyperparameters and draw learning curves.

    Args:
        inputs, targets, test_inputs: The data.
        data: How they are called.
        activation: Of the hidden layer.
        gamma0: Feature-learning strength.
        inverse_temperature: Multiplies the SUM over samples of (f - y)^2 / 2.
        widths: Of the sampled networks; the largest is also that of the evidence (128 where there are none).
        num_chains: Of each width, at least 2; 0 samples nothing.
        num_draws: Of each chain, after as many in the warm-up.
        choose: Look for the temperature and gamma0 of largest evidence.
        sample_counts: Of the learning curve; empty for none.
        curve_data: Pool of inputs and targets for it; what is left of twice the largest count is its test set.
        num_curve_draws: Draws of its training sets.
        seed: Of particles, chains and draws.
        progress: Told the share of the work and what is being done.

    Raises:
        SpecError: A number, a shape or a combination is out of range.
        ConvergenceError: The adaptive kernel has no saddle that can be found.
    """
    if num_chains == 1:
        raise SpecError("1 chain has no standard error; sample at least 2, or 0 for none")
    sampled = tuple(sorted(widths)) if num_chains else ()
    works = _Works(len(targets), sampled=sampled, choose=choose, counts=sample_counts, tell=progress)
    settings: dict[str, Any] = {"activation": activation, "inverse_temperature": inverse_temperature}
    problem = AdaptiveProblem(inputs, targets, test_inputs, gamma0=gamma0, **settings)
    # What would stop the sampling stops the command before the work.
    networks = [FiniteNetwork(inputs, targets, test_inputs, gamma0=gamma0, width=n, **settings) for n in sampled]
    for network in networks:
        check_size(network, num_chains)
    works.start("adaptive kernel")
    rich = solve_adaptive(problem, num_particles=1024, num_replicas=4, seed=seed)
    lazy = solve_nngp(NNGPProblem(inputs, targets, test_inputs, **settings))
    posteriors = []
    for network in networks:
        share = works.start(f"networks of width {network.width}")
        generator = stream(seed, "init", "statics", str(network.width))
        counts: dict[str, Any] = {"num_chains": num_chains, "num_draws": num_draws, "num_warmup": max(num_draws, 20)}
        posteriors.append(simulate_posterior(network, generator=generator, progress=share, **counts))
    at_width = max(widths, default=128)
    choices = []
    for learns in (True, False) if choose else ():
        share = works.start(f"evidence of the {'adaptive' if learns else 'prior'} kernel")
        choices.append(_choice(problem, at_width, learns, share, seed=seed))
    curve = None
    if sample_counts:
        assert curve_data is not None, "a learning curve needs a pool"
        curve = _curve(
            curve_data, sample_counts, num_curve_draws, seed, works.start("learning curve"), gamma0, settings
        )
    works.end()
    evidence = (log_evidence_at_width(rich, at_width), log_evidence_without_features(problem, at_width))
    return StaticsStudy(
        data=data,
        at_width=at_width,
        nngp=lazy,
        adaptive=rich,
        posteriors=tuple(posteriors),
        evidence=evidence,
        choices=tuple(choices),
        curve=curve,
    )


def _choice(
    problem: AdaptiveProblem, width: int, learns: bool, share: Callable[[float], object], *, seed: int
) -> HyperparameterChoice:
    return choose_hyperparameters(
        problem,
        width=width,
        inverse_temperatures=[factor * problem.inverse_temperature for factor in TEMPERATURE_GRID],
        gamma0s=[factor * problem.gamma0 for factor in GAMMA0_GRID],
        feature_learning=learns,
        num_refinements=1,
        progress=share,
        num_particles=512,
        num_replicas=2,
        seed=seed,
    )


def _curve(
    pool: tuple[Any, Any],
    counts: Sequence[int],
    draws: int,
    seed: int,
    share: Callable[[float], object],
    gamma0: float,
    settings: dict[str, Any],
) -> LearningCurve:
    inputs, targets = pool
    kept = min(2 * max(counts), len(inputs) - 1)
    return learning_curve(
        inputs[:kept],
        targets[:kept],
        inputs[kept:],
        targets[kept:],
        sample_counts=sorted(counts),
        num_draws=draws,
        generator=stream(seed, "data", "curve"),
        gamma0=gamma0,
        progress=share,
        num_particles=512,
        num_replicas=2,
        seed=seed,
        **settings,
    )


class _Works:
    """Shares of the whole work, by a rough count of what each part costs."""

    def __init__(
        self,
        num_samples: int,
        *,
        sampled: Sequence[int],
        choose: bool,
        counts: Sequence[int],
        tell: Progress | None,
    ) -> None:
        self._costs = [1.0, *(0.03 * width for width in sampled)]
        self._costs += [6.0, 0.02] if choose else []
        self._costs += [1.0 * sum(counts) / max(num_samples, 1)] if counts else []
        self._place, self._tell = -1, tell

    def start(self, what: str) -> Callable[[float], object]:
        """Say what begins; the function takes its share of it."""
        self._place += 1
        done, whole = sum(self._costs[: self._place]), sum(self._costs)
        cost = self._costs[self._place]

        def share(part: float) -> None:
            if self._tell is not None:
                self._tell((done + cost * part) / whole, what)

        share(0.0)
        return share

    def end(self) -> None:
        if self._tell is not None:
            self._tell(1.0, "")
