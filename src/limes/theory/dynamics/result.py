"""What a solver of the dynamics returns: curves, two-time kernels, samples of the fields, responses, and their errors.

Letters: T times, P training and P_all = P + test samples, C outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limes.core.errors import SpecError
from limes.core.status import SolveStatus
from limes.numerics.ensemble import mean_half_width
from limes.theory.dynamics.problem import Columns
from limes.theory.dynamics.revealed import RevealedMatrix
from limes.theory.dynamics.trajectory import FieldStore, TableStore, Trajectory


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DMFTResult:
    """Solution of the mean field dynamics. All arrays float64; sample order: training, then held-out.

    Args:
        loss: (T,) training loss before update t.
        loss_error: (T,) half-width of its 95 % interval, NaN with a single randomization, 0 for exact solvers.
        outputs: (T, P), or (T, P, C) for targets with an output axis; f - f(0).
        outputs_error: As `outputs`.
        test_outputs: (T, num_test[, C]), or None without held-out inputs.
        status: How the solver ended.
        stats: Plain numbers of the run: seconds, ranks, particles.
        problem: The problem that was solved.
        columns: The samples as the solver walked them.
        trajectories: One per randomization; the kernels are averages over them.
        responses: The response functions where a solver knows them in closed form; empty otherwise.
    """

    loss: np.ndarray
    loss_error: np.ndarray
    outputs: np.ndarray
    outputs_error: np.ndarray
    test_outputs: np.ndarray | None
    status: SolveStatus
    stats: dict[str, float]
    problem: Any
    columns: Columns = field(repr=False)
    trajectories: tuple[Trajectory, ...] = field(repr=False)
    responses: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def relative_error(self) -> float:
        """Half-width of the loss curve's interval over the curve, both in L2 norm over times."""
        return float(np.linalg.norm(self.loss_error) / np.linalg.norm(self.loss))

    def feature_kernel(self, layer: int, t: int, s: int | None = None) -> np.ndarray:
        """Phi^layer(t, s) = <phi(h(t)) phi(h(s))>.

        Args:
            layer: 1 .. depth; 0 is the kernel of the inputs.
            t: First time.
            s: Second time; None is t.

        Returns:
            (P_all, P_all).
        """
        if layer == 0:
            return self.columns.input_kernel
        stores = [run.features[self._index("layer", layer, len(run.features))] for run in self.trajectories]
        return self._average(stores, t, s)

    def gradient_kernel(self, layer: int, t: int, s: int | None = None) -> np.ndarray:
        """G^layer(t, s) = <g(t) g(s)>, with g = gamma0 * width * df/dh.

        Args:
            layer: 1 .. depth; depth + 1 is the readout, whose kernel is constant.
            t: First time.
            s: Second time; None is t.

        Returns:
            (P_all, P_all), or (P_all, C, P_all, C) for targets with an output axis.
        """
        num_layers = len(self.trajectories[0].gradients)
        num_all, num_outputs = self.columns.targets.shape
        if layer == num_layers + 1:
            flat = np.kron(np.ones((num_all, num_all)), np.eye(num_outputs))
        else:
            index = self._index("layer", layer, num_layers)
            flat = self._average([run.gradients[index] for run in self.trajectories], t, s)
        if self.problem.targets.ndim == 1:
            return flat
        return flat.reshape(num_all, num_outputs, num_all, num_outputs)

    def ntk(self, t: int) -> np.ndarray:
        """The kernel of the output's velocity at time t: sum over matrices of lr_scale * gradient * feature kernel.

        A diagnostic: outputs advance by it exactly only for small learning rates.

        Returns:
            (P_all, P_all), or (P_all, C, P_all, C) for targets with an output axis.
        """
        scales = self.problem.tangent_scales
        total = 0.0
        for layer, scale in enumerate(scales):
            features = self.feature_kernel(layer, t)
            if self.problem.targets.ndim == 2:
                features = features[:, None, :, None]
            total = total + scale * features * self.gradient_kernel(layer + 1, t)
        return np.asarray(total)

    def preactivations(self, layer: int, t: int) -> np.ndarray:
        """Samples of the single-site field h^layer(t): (P_all, num_particles * num_scrambles)."""
        return np.concatenate([_stored(run.preactivations, layer, t) for run in self.trajectories], axis=-1)

    def backfields(self, layer: int, t: int) -> np.ndarray:
        """Samples of z^layer(t), the field that phi' turns into g: (P_all, C, num_particles * num_scrambles)."""
        return np.concatenate([_stored(run.backfields, layer, t) for run in self.trajectories], axis=-1)

    def forward_response(self, layer: int, t: int) -> np.ndarray:
        """A^layer(t, s): how phi(h^layer(t)) answers a field added to z^layer(s), from the first randomization.

        Only its action on the gradients that occur is determined; of all responses with that action this is the one
        of least norm.

        Args:
            layer: 1 .. depth - 1.
            t: Time of the answer; s runs over 0 .. t - 1.

        Returns:
            (P_all, t, P_all * C).
        """
        matrix, features, gradients = self._matrix(layer)
        values = features[t]
        known = values @ matrix.known_forward()[: values.shape[1]]
        return _least_norm(known, gradients[:t])

    def backward_response(self, layer: int, t: int) -> np.ndarray:
        """B^layer(t, s): how g^{layer+1}(t) answers a field added to h^{layer+1}(s), from the first randomization.

        Of least norm, as `forward_response`.

        Args:
            layer: 1 .. depth - 1.
            t: Time of the answer; s runs over 0 .. t.

        Returns:
            (P_all * C, t + 1, P_all).
        """
        matrix, features, gradients = self._matrix(layer)
        values = gradients[t]
        known = values @ matrix.known_backward()[: values.shape[1]]
        return _least_norm(known, features[: t + 1])

    def to_rows(self) -> list[dict[str, float]]:
        """One row per time: time, loss, loss_error."""
        return [
            {"time": float(t), "loss": float(self.loss[t]), "loss_error": float(self.loss_error[t])}
            for t in range(len(self.loss))
        ]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The curves by name."""
        arrays = {"loss": self.loss, "loss_error": self.loss_error, "outputs": self.outputs}
        if self.test_outputs is not None:
            arrays["test_outputs"] = self.test_outputs
        return arrays

    def _matrix(self, layer: int) -> tuple[RevealedMatrix, list[np.ndarray], list[np.ndarray]]:
        """The matrix above `layer`, and the coordinates of what it acts on at all times, forward and backward."""
        run = self.trajectories[0]
        index = self._index("layer of a response", layer, len(run.matrices))
        features, gradients = run.features[index], run.gradients[index + 1]
        assert isinstance(features, FieldStore) and isinstance(gradients, FieldStore), "revealed, hence stored"
        return run.matrices[index], features.values, gradients.values

    def _index(self, name: str, value: int, count: int) -> int:
        if not 1 <= value <= count:
            raise SpecError(f"{name} is {value}; expected 1 to {count}")
        return value - 1

    def _average(self, stores: list[FieldStore | TableStore], t: int, s: int | None) -> np.ndarray:
        s = t if s is None else s
        for time in (t, s):
            if not 0 <= time < len(self.loss):
                raise SpecError(f"time is {time}; recorded times are 0 to {len(self.loss) - 1}")
        return np.mean([store.kernel(t, s) for store in stores], axis=0)


def summarise(
    trajectories: Sequence[Trajectory],
    *,
    problem: Any,
    columns: Columns,
    status: SolveStatus,
    stats: dict[str, float],
    exact: bool = False,
    responses: Mapping[str, np.ndarray] | None = None,
) -> DMFTResult:
    """Average independent randomizations and attach Student-t intervals; `exact` states that there is no error."""
    runs = np.stack([run.outputs for run in trajectories])
    num_train = columns.num_train
    losses = 0.5 * ((runs[:, :, :num_train] - columns.targets[:num_train]) ** 2).sum(-1).mean(-1)
    shape = problem.targets.shape[1:]
    outputs = runs.reshape(*runs.shape[:3], *shape)
    mean = outputs.mean(0)
    return DMFTResult(
        loss=losses.mean(0),
        loss_error=half_width(losses, exact=exact),
        outputs=mean[:, :num_train],
        outputs_error=half_width(outputs, exact=exact)[:, :num_train],
        test_outputs=mean[:, num_train:] if problem.num_test else None,
        status=status,
        stats=stats,
        problem=problem,
        columns=columns,
        trajectories=tuple(trajectories),
        responses=responses or {},
    )


def half_width(samples: np.ndarray, *, exact: bool = False) -> np.ndarray:
    """Half-width of the 95 % Student-t interval of the mean over the first axis; NaN with one sample, 0 if exact."""
    count = len(samples)
    if exact:
        return np.zeros(samples.shape[1:])
    if count < 2:
        return np.full(samples.shape[1:], np.nan)
    return mean_half_width(samples, level=0.95)


def _stored(fields: dict[tuple[int, int], np.ndarray], layer: int, t: int) -> np.ndarray:
    if (layer, t) not in fields:
        kept = sorted({time for _, time in fields})
        raise SpecError(f"fields of layer {layer} at time {t} were not kept; kept times: {kept}; see field_times")
    return fields[layer, t]


def _least_norm(known: np.ndarray, values: list[np.ndarray]) -> np.ndarray:
    """Solve response @ values = known for the response of least norm: (rows, times, columns)."""
    if not values:
        return np.zeros((len(known), 0, 0))
    width = max(known.shape[1], values[-1].shape[1])
    stack = np.concatenate([np.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in values])
    right = np.pad(known, ((0, 0), (0, width - known.shape[1])))
    # Directions below this share of the largest were cut from the basis at about this level too.
    response = right @ np.linalg.pinv(stack, rcond=1e-6)
    return response.reshape(len(known), len(values), -1)
