"""Rows of a made-up sweep whose optima are known: loss = floor + curvature (log2 lr - optimum)^2."""

from collections.abc import Callable, Iterable

from limes.core.status import RunStatus
from limes.store import SweepRow


def make_row(*, axis: str, parametrization: str, size: int, seed: int, log2_lr: float, loss: float | None) -> SweepRow:
    """One finished row; `loss` None means that it diverged."""
    return SweepRow(
        axis=axis,
        parametrization=parametrization,
        size=size,
        seed=seed,
        log2_lr=log2_lr,
        key=f"{parametrization}-{size}-{seed}-{log2_lr}",
        status=RunStatus.DIVERGED if loss is None else RunStatus.DONE,
        loss=loss,
        initial_loss=5.0,
        diverged_step=3 if loss is None else None,
        last_finite_loss=9.0 if loss is None else loss,
        cpu_seconds=1.0,
        wall_seconds=1.0,
        num_params=12 * size * size,
        num_tokens=1000,
        steps=10,
        flops=1e6,
        attempts=1,
        error=None,
    )


def make_rows(
    optimum: Callable[[int, int], float],
    *,
    axis: str = "width",
    parametrization: str = "mup",
    sizes: Iterable[int] = (32, 64, 128, 256),
    seeds: int = 3,
    grid: Iterable[float] = range(-12, 0),
    curvature: float = 0.05,
    diverge_above: float = 100.0,
) -> list[SweepRow]:
    """Rows whose optimum is `optimum(size, seed)` and whose floor falls with size."""
    return [
        make_row(
            axis=axis,
            parametrization=parametrization,
            size=size,
            seed=seed,
            log2_lr=float(log2_lr),
            loss=None
            if log2_lr > diverge_above
            else 2.0 + 10.0 / size + curvature * (log2_lr - optimum(size, seed)) ** 2,
        )
        for size in sizes
        for seed in range(seeds)
        for log2_lr in grid
    ]
