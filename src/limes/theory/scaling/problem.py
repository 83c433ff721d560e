"""The random-feature problem of the theory of scaling laws, and power laws with up to a billion modes.

Features psi_k ~ N(0, lam_k), target y = sum_k w_k psi_k + noise, model f = (1/sqrt N) w . A psi with A fixed Gaussian,
trained from w = 0 on P samples with the loss 0.5 * mean((f - y)^2).

Source: Bordelon, Atanasov & Pehlevan, arXiv:2402.01092, section 2.
Letters: M modes, N features, P samples, lam_k eigenvalues, p_k = lam_k w_k^2 target power, k^-b and k^-a power laws.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limes.core.errors import ScopeError, SpecError
from limes.theory.checks import check_number
from limes.theory.scaling.checks import as_nonnegative, check_size


@dataclass(frozen=True, slots=True, eq=False)
class RandomFeatureProblem:
    """What is learned, by how large a model, from how many samples, by which optimizer.

    Times are gradient-flow times (learning rate times steps) where `lr` is None, numbers of steps otherwise.

    Args:
        spectrum: (K,) eigenvalues of the features' covariance, nonnegative, in any order.
        target_power: (K,) variance of the target in each mode, lam_k w_k^2, nonnegative.
        num_features: Width N; math.inf for kernel regression.
        num_samples: Samples P of the one training set; math.inf for the population.
        noise_var: Variance of label noise, 0 or more.
        multiplicity: (K,) how many modes each entry stands for; None is one each.
        ridge: Weight decay 0.5 * ridge * |w|^2 added to the loss.
        lr: Step size of discrete gradient descent; None is gradient flow.
        momentum: Heavy ball coefficient of discrete steps, as in torch.optim.SGD.
        inertia: m in m w'' + w' = -gradient, in units of time; gradient flow only.
        batch_size: One-pass SGD: fresh samples per step. Needs `lr`, and num_samples infinite.
        batch_noise: lr / batch_size of one-pass SGD in continuous time; with `lr` None.

    Raises:
        SpecError: A value is out of range, in one sentence.
        ScopeError: A combination that the theory does not cover.

    >>> problem = RandomFeatureProblem([1.0, 0.5], [1.0, 0.1], num_features=20, num_samples=math.inf)
    >>> problem.total_power, problem.trace
    (1.1, 1.5)
    """

    spectrum: Any
    target_power: Any
    num_features: float = math.inf
    num_samples: float = math.inf
    noise_var: float = 0.0
    multiplicity: Any = field(default=None, kw_only=True)
    ridge: float = field(default=0.0, kw_only=True)
    lr: float | None = field(default=None, kw_only=True)
    momentum: float = field(default=0.0, kw_only=True)
    inertia: float = field(default=0.0, kw_only=True)
    batch_size: float | None = field(default=None, kw_only=True)
    batch_noise: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        settle = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        settle("spectrum", as_nonnegative("spectrum", self.spectrum))
        settle("target_power", as_nonnegative("target_power", self.target_power, size=len(self.spectrum)))
        ones = np.ones(len(self.spectrum))
        counts = ones if self.multiplicity is None else self.multiplicity
        settle("multiplicity", as_nonnegative("multiplicity", counts, size=len(self.spectrum)))
        if not self.trace > 0.0:
            raise SpecError("spectrum is all zero; expected at least one positive eigenvalue")
        for name in ("num_features", "num_samples"):
            settle(name, check_size(name, getattr(self, name)))
        for name in ("noise_var", "ridge", "inertia", "batch_noise"):
            settle(name, check_number(name, getattr(self, name), low=0.0))
        settle("momentum", check_number("momentum", self.momentum, low=0.0, below=1.0))
        if self.lr is not None:
            settle("lr", check_number("lr", self.lr, low=0.0, open_low=True))
        if self.batch_size is not None:
            settle("batch_size", check_number("batch_size", self.batch_size, low=1.0))
        _check_optimizer(self)

    @property
    def trace(self) -> float:
        """Sum of the eigenvalues."""
        return float(self.multiplicity @ self.spectrum)

    @property
    def total_power(self) -> float:
        """Variance of the target without noise: the test loss before training."""
        return float(self.multiplicity @ self.target_power)

    @property
    def num_modes(self) -> float:
        """Modes with a positive eigenvalue, multiplicities counted."""
        return float(self.multiplicity[self.spectrum > 0.0].sum())

    @property
    def one_pass(self) -> bool:
        """Whether every step sees fresh samples, so that batch noise drives the loss."""
        return self.batch_size is not None or self.batch_noise > 0.0


def _check_optimizer(problem: RandomFeatureProblem) -> None:
    if problem.momentum and problem.lr is None:
        raise SpecError(f"momentum {problem.momentum:g} without lr: give lr for discrete steps, or use `inertia`")
    if problem.inertia and problem.lr is not None:
        raise SpecError(f"inertia {problem.inertia:g} with lr {problem.lr:g}: for discrete steps use `momentum`")
    if problem.batch_size is not None and problem.lr is None:
        raise SpecError(f"batch_size {problem.batch_size:g} without lr: give lr, or `batch_noise` in continuous time")
    if problem.batch_noise and problem.lr is not None:
        raise SpecError(f"batch_noise {problem.batch_noise:g} with lr {problem.lr:g}: for steps give `batch_size`")
    if not problem.one_pass:
        return
    if problem.num_samples != math.inf:
        raise ScopeError(
            f"batches drawn again from num_samples {problem.num_samples:g}: only one-pass SGD is covered; set "
            "num_samples to math.inf, or drop the batches for full-batch descent"
        )
    if problem.momentum or problem.inertia or problem.ridge:
        raise ScopeError(
            f"batch noise with momentum {problem.momentum:g}, inertia {problem.inertia:g}, ridge {problem.ridge:g}: "
            "one-pass SGD is covered without them"
        )


def power_law_problem(
    a: float,
    b: float,
    num_modes: float,
    *,
    num_features: float = math.inf,
    num_samples: float = math.inf,
    noise_var: float = 0.0,
    num_exact: int = 128,
    nodes_per_octave: int = 8,
    **optimizer: Any,
) -> RandomFeatureProblem:
    """Eigenvalues k^-b and target power k^-a, k = 1 .. num_modes.

    Modes beyond `num_exact` are not counted one by one: a sum over k becomes the integral over ln k, by Gauss points,
    plus the first Euler-Maclaurin term, which sits in the weights of the last three exact modes.

    Args:
        a: Decay of the target power, above 1.
        b: Decay of the eigenvalues, above 1.
        num_modes: 1 to 1e15.
        num_features, num_samples, noise_var: As in `RandomFeatureProblem`.
        num_exact: Modes that are kept one by one; all of them up to eight times this number.
        nodes_per_octave: Of Gauss points beyond, a multiple of 4.
        **optimizer: Further fields of `RandomFeatureProblem`.

    Returns:
        `RandomFeatureProblem`.

    Raises:
        SpecError: A spectrum or a target that is not summable, or another value out of range.

    **Accuracy**: relative error of the losses below 1e-8 with the defaults, for b up to 4.
    **Source**: arXiv:2402.01092, Eq. 3 and the power laws of its section 4; the quadrature is ours,
    docs/theory/random_features.md.

    >>> problem = power_law_problem(1.5, 1.25, 1e9)
    >>> len(problem.spectrum), round(problem.num_modes)
    (312, 1000000000)
    """
    b = check_number("b", b)
    a = check_number("a", a)
    for name, value, what in (("b", b, "eigenvalues"), ("a", a, "target power")):
        if value <= 1.0:
            raise SpecError(f"{name} is {value:g}; the sum of the {what} k^-{name} converges only for {name} above 1")
    num_modes = check_size("num_modes", num_modes)
    if not 1 <= num_modes <= 1e15:
        raise SpecError(f"num_modes is {num_modes:g}; expected 1 to 1e15 (the loss hardly depends on it beyond)")
    if num_exact < 8 or nodes_per_octave < 4 or nodes_per_octave % 4:
        raise SpecError(
            f"num_exact {num_exact}, nodes_per_octave {nodes_per_octave}: expected at least 8, and a multiple of 4"
        )
    k, weights = _mode_nodes(int(num_modes), num_exact, nodes_per_octave)
    return RandomFeatureProblem(k**-b, k**-a, num_features, num_samples, noise_var, multiplicity=weights, **optimizer)


def _mode_nodes(num_modes: int, num_exact: int, nodes_per_octave: int) -> tuple[np.ndarray, np.ndarray]:
    """Mode numbers and weights that integrate smooth functions of ln k over k = 1 .. num_modes."""
    if num_modes <= 8 * num_exact:
        k = np.arange(1.0, num_modes + 1.0)
        return k, np.ones(num_modes)
    exact = np.arange(1.0, num_exact + 1.0)
    ones = np.ones(num_exact)
    # sum_{k > K} F = int_{K+1/2} F + F'(K+1/2)/24, with F' extrapolated from the last three exact modes.
    ones[-3:] += np.array([1.0, -3.0, 2.0]) / 24.0
    low, high = math.log(num_exact + 0.5), math.log(num_modes + 0.5)
    panels = max(1, math.ceil((high - low) / math.log(2.0) * nodes_per_octave / 4))
    points, shares = np.polynomial.legendre.leggauss(4)
    edges = np.linspace(low, high, panels + 1)
    half = 0.5 * (edges[1] - edges[0])
    logs = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * points).ravel()
    k = np.exp(logs)
    return np.concatenate([exact, k]), np.concatenate([ones, k * np.tile(half * shares, panels)])
