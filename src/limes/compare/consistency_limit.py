"""The theory's infinitely wide perceptron in the form of a study's measurements."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from limes.compare.consistency_result import Array
from limes.compare.problem import mlp_problem
from limes.core.errors import LimesError
from limes.data import build_data
from limes.spec import MLPSpec, RunSpec
from limes.store import Store, SweepRow
from limes.theory.dynamics import DMFTResult, MLPProblem, solve_dmft_mlp

NUM_PARTICLES, NUM_SCRAMBLES = 4096, 2


def theory_limit(
    store: Store, rows: Sequence[SweepRow], steps: Sequence[int], *, base_dir: Path | None = None
) -> tuple[Mapping[str, Array], str]:
    """Measurements of the infinitely wide network by name, (K, ...), and a note; empty where the theory does not apply.

    Networks of all widths must state one problem; where they state different ones (`ntk`, `standard`), their family has
    no limit with feature learning, and the largest size stands for the limit instead.
    """
    ordered = sorted(rows, key=lambda row: row.size)
    try:
        first, last = (_problem(store, row, base_dir) for row in (ordered[0], ordered[-1]))
        if (name := _difference(first, last)) is not None:
            return {}, (
                f"networks of width {ordered[0].size} and {ordered[-1].size} state different problems ({name} "
                f"{_words(first, name)} and {_words(last, name)}): the largest width stands for the limit"
            )
        solved = solve_dmft_mlp(
            last, num_particles=NUM_PARTICLES, num_scrambles=NUM_SCRAMBLES, field_times=tuple(steps), two_time=False
        )
    except LimesError as error:
        return {}, f"the theory does not apply, the largest width stands for the limit: {error}"
    run = RunSpec.model_validate(store.spec(ordered[-1].key))
    note = f"limit: the theory's infinitely wide network, gamma0 {last.gamma0:.3g}, {NUM_PARTICLES} particles"
    return _measurements(solved, run, steps), note


def _problem(store: Store, row: SweepRow, base_dir: Path | None) -> MLPProblem:
    run = RunSpec.model_validate(store.spec(row.key))
    seed = run.seed if run.batch_seed is None else run.batch_seed
    return mlp_problem(run, build_data(run.data, seed=seed, batch_size=run.training.batch_size, base_dir=base_dir))


def _difference(one: MLPProblem, other: MLPProblem) -> str | None:
    """Name of the first number in which two problems differ; None if they are the same."""
    names = ("gamma0", "lr", "lr_scale", "weight_var")
    pairs = ((name, getattr(one, name), getattr(other, name)) for name in names)
    return next((name for name, a, b in pairs if not np.allclose(a, b, rtol=1e-6)), None)


def _words(problem: MLPProblem, name: str) -> str:
    return ", ".join(f"{value:.3g}" for value in np.atleast_1d(getattr(problem, name)))


def _measurements(solved: DMFTResult, run: RunSpec, steps: Sequence[int]) -> dict[str, Array]:
    assert isinstance(run.model, MLPSpec) and run.observe is not None
    times = list(steps)
    kept = run.observe.num_kernel
    found: dict[str, Array] = {"probe loss": solved.loss[times][:, None]}
    outputs = solved.outputs[times]
    if outputs.ndim == 2 and outputs.shape[1] <= run.observe.num_outputs:
        found["outputs"] = outputs[:, :, None]
    found["tangent kernel"] = np.stack([solved.ntk(t) for t in times])[:, : run.observe.num_ntk, : run.observe.num_ntk]
    for layer in range(1, run.model.depth + 1):
        pair = ("feature", solved.feature_kernel), ("gradient", solved.gradient_kernel)
        for kind, kernel in pair:
            found[f"{kind} kernel, layer {layer}"] = np.stack([kernel(layer, t) for t in times])[:, :kept, :kept]
        found[f"pre-activations, layer {layer}"] = np.stack([_quantiles(solved, layer, t) for t in times])
    return found


def _quantiles(solved: DMFTResult, layer: int, t: int, count: int = 64) -> Array:
    values = solved.preactivations(layer, t)[: len(solved.outputs[0])]
    return np.quantile(values, (np.arange(count) + 0.5) / count, method="hazen")
