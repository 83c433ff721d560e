"""What is known of networks with many outputs before training, and what came: results of `compare.joint_spectrum`."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limes.measure.joint_spectrum import JointSpectrum

Array = NDArray[np.float64]
# A difference of this share of what was learned counts as a departure.
DEPARTURE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LossPair:
    """One loss, of the linearized network and of the network itself.

    Attributes:
        name: Of the loss, with its unit.
        low: (n,) of the linearized network, lower bound.
        high: (n,) upper bound; the same where it was stepped itself.
        trained: (n,) of the network.
        lr: Learning rate.
        start: Before training.
    """

    name: str
    low: Array
    high: Array
    trained: Array
    lr: float
    start: float

    @property
    def gap(self) -> Array:
        """(n,) how far training is outside the bounds, as a share of what the linearized network has learned."""
        outside = np.maximum(self.trained - self.high, 0.0) + np.minimum(self.trained - self.low, 0.0)
        return outside / np.maximum(self.start - self.high, 1e-300)

    @property
    def deviation(self) -> float:
        """Largest size of `gap`; infinite where training diverged."""
        return float(np.abs(self.gap).max()) if np.isfinite(self.trained).all() else math.inf


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NetworkSpectrum:
    """One network before training, and what was predicted and what came.

    Attributes:
        label: How it is called.
        width: None for a user's own network.
        steps: (n,) on a logarithmic scale, from 1.
        squared: Half the squared error, summed over outputs.
        entropy: Cross-entropy in nats; None where the targets are no classes.
    """

    label: str
    width: int | None
    modes: JointSpectrum
    steps: Array
    squared: LossPair
    entropy: LossPair | None

    def departs_at(self, pair: LossPair) -> float | None:
        """The first recorded step at which training is off by a tenth of what was learned."""
        off = np.flatnonzero(~(np.abs(pair.gap) <= DEPARTURE))
        return float(self.steps[off[0]]) if len(off) else None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JointStudy:
    """Networks on one task."""

    networks: tuple[NetworkSpectrum, ...]
    data: str
    num_points: int
    num_outputs: int
    setting: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "data": self.data,
            "num_points": self.num_points,
            "num_outputs": self.num_outputs,
            "setting": self.setting,
            "networks": [_plain(one) for one in self.networks],
        }


def _plain(one: NetworkSpectrum) -> dict[str, Any]:
    pairs = {"squared": one.squared, "entropy": one.entropy}
    modes = one.modes
    return {
        "label": one.label,
        "width": one.width,
        "steps": one.steps.tolist(),
        "eigenvalues": modes.eigenvalues.tolist(),
        "eigenvalue_error": modes.error,
        "power": modes.power.tolist(),
        "total_power": modes.total_power,
        "trace": modes.trace,
        "blocks": [
            {
                "name": block.name,
                "trace_share": block.trace_share,
                "trace_error": block.trace_error,
                "rate_share": block.rate_share,
            }
            for block in modes.blocks
        ],
        "losses": {
            name: {
                "lr": pair.lr,
                "low": pair.low.tolist(),
                "high": pair.high.tolist(),
                "trained": [float(value) if np.isfinite(value) else None for value in pair.trained],
                "deviation": pair.deviation if np.isfinite(pair.deviation) else None,
                "departs_at": one.departs_at(pair),
            }
            for name, pair in pairs.items()
            if pair is not None
        },
    }
