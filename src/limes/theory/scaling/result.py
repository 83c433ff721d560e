"""What the solvers of random-feature dynamics return: losses in time, and their parts.

Source: arXiv:2402.01092, section 3.4 (ensembles, bias and variance); docs/theory/random_features.md.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limes.core.errors import ScopeError, SpecError
from limes.core.status import SolveStatus
from limes.numerics.contour import Real


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RandomFeatureResult:
    """Losses at the requested times, all (T,) float64.

    Args:
        times: As requested.
        test_loss: E(f - y*)^2, without 1/2 and without the noise.
        train_loss: Mean over samples of (f - y)^2, noise included; for one-pass SGD that of the coming batch.
        independent_features: E(f1 - y*)(f2 - y*) for two learners with features of their own and the same data.
        independent_data: The same features, data of their own.
        independent_both: Nothing in common: the squared bias.
        error: Bound on the numerical error of `test_loss`.
        status: CONVERGED, or DIVERGED where a loss is not finite (N = P at the end of training without ridge).
        stats: Seconds, nodes, entries of the spectrum.
        problem: What was asked.
    """

    times: Real
    test_loss: Real
    train_loss: Real
    independent_features: Real | None
    independent_data: Real | None
    independent_both: Real | None
    error: Real
    status: SolveStatus
    stats: dict[str, float]
    problem: Any = field(repr=False)

    def _parts(self) -> tuple[Real, Real, Real]:
        features, data, both = self.independent_features, self.independent_data, self.independent_both
        if features is None or data is None or both is None:
            raise ScopeError("the variance of one-pass SGD is not split into parts; solve without batch noise")
        return features, data, both

    @property
    def bias(self) -> Real:
        """Squared bias: the loss of the average over features and data."""
        return self._parts()[2]

    @property
    def feature_variance(self) -> Real:
        """Variance over features (initializations) of the average over data."""
        _, data, both = self._parts()
        return data - both

    @property
    def data_variance(self) -> Real:
        """Variance over data, noise included, of the average over features."""
        features, _, both = self._parts()
        return features - both

    @property
    def interaction(self) -> Real:
        """What remains of the variance: features and data together."""
        features, data, both = self._parts()
        return self.test_loss - features - data + both

    def ensemble_loss(self, num_members: float, *, own_features: bool = True, own_data: bool = False) -> Real:
        """Test loss of the average of several learners.

        Args:
            num_members: 1 or more; math.inf is allowed.
            own_features: Every member draws its own features.
            own_data: Every member draws its own samples (bagging with fresh data).

        Raises:
            SpecError: Fewer than one member, or members that share everything.
        """
        if not num_members >= 1:
            raise SpecError(f"num_members is {num_members}; expected 1 or more")
        features, data, both = self._parts()
        if own_features and own_data:
            common = both
        elif own_features or own_data:
            common = features if own_features else data
        else:
            raise SpecError("members with the same features and data are equal; let own_features or own_data be True")
        return common + (self.test_loss - common) / num_members

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All curves by name."""
        names = ("times", "test_loss", "train_loss", "independent_features", "independent_data", "independent_both")
        return {name: getattr(self, name) for name in (*names, "error") if getattr(self, name) is not None}

    def to_rows(self) -> list[dict[str, float]]:
        """One dictionary per time."""
        arrays = self.to_arrays()
        return [{name: float(values[i]) for name, values in arrays.items()} for i in range(len(self.times))]
