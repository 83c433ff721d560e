"""A made-up transfer study for tests of the report: parabolas whose optimum drifts as told."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from limes.compare.result import (
    DriftClaim,
    FixedLrRow,
    Forecast,
    LrCurve,
    PanelResult,
    Recommendation,
    TransferResult,
    Verdict,
)
from limes.numerics.vertex import fit_vertex

GRID = (-11.0, -10.0, -9.0, -8.0, -7.0, -6.0, -5.0, -4.0, -3.0)


def make_curve(size: int, seed: int, *, optimum: float, floor: float, limit: float) -> LrCurve:
    """A valley around `optimum`; runs above `limit` diverged."""
    diverged = tuple(place > limit for place in GRID)
    loss = tuple(
        None if lost else floor + 0.03 * (place - optimum) ** 2 + 0.002 * max(place - optimum, 0.0) ** 3
        for place, lost in zip(GRID, diverged)
    )
    values = [math.inf if value is None else value for value in loss]
    keys = tuple(f"key-{size}-{seed}-{place:g}" for place in GRID)
    vertex = fit_vertex(GRID, values, step=1.0)
    return LrCurve(size=size, seed=seed, log2_lr=GRID, loss=loss, diverged=diverged, keys=keys, vertex=vertex)


def make_panel(
    parametrization: str,
    *,
    slope: float,
    verdict: Verdict,
    axis: str = "width",
    sizes: tuple[int, ...] = (32, 64, 128, 256),
) -> PanelResult:
    """One panel whose optimum moves by `slope` octaves per doubling; the two smallest sizes have two seeds."""
    curves = [
        make_curve(
            size,
            seed,
            optimum=-5.8 + slope * place + 0.2 * seed,
            floor=2.42 - 0.04 * place + 0.01 * seed,
            limit=-3.5 + slope * place,
        )
        for place, size in enumerate(sizes)
        for seed in range(2 if place < 2 else 1)
    ]
    optima = tuple(
        float(np.mean([curve.vertex.x for curve in curves if curve.size == size and curve.vertex.x is not None]))
        for size in sizes
    )
    drift = optima[-1] - optima[0]
    fixed = []
    for index, place in enumerate(GRID):
        losses = tuple(next(curve for curve in curves if curve.size == size).loss[index] for size in sizes)
        finite = [loss for loss in losses if loss is not None]
        improves = all(b < a for a, b in itertools.pairwise(finite)) if len(finite) == len(losses) else None
        fixed.append(FixedLrRow(log2_lr=place, loss=losses, improves=improves))
    return PanelResult(
        axis=axis,
        parametrization=parametrization,
        sizes=sizes,
        curves=tuple(curves),
        log2_optimal_lr=optima,
        intervals=tuple((value - 0.4, value + 0.4) for value in optima),
        not_found=tuple(() for _ in sizes),
        best_loss=tuple(2.42 - 0.04 * place for place in range(len(sizes))),
        num_params=tuple(12 * size * size * 2 + 160 * size for size in sizes),
        seed_deviation=0.28,
        degrees_of_freedom=2,
        drift_octaves=drift,
        drift_interval=(drift - 0.55, drift + 0.55),
        verdict=verdict,
        transfer_regret=0.03 * drift**2,
        regret_note="",
        seed_drifts=((0, drift - 0.1), (1, drift + 0.1)),
        fixed_lr=tuple(fixed),
        improves_with_size=abs(slope) < 0.5,
    )


def make_lost_panel(parametrization: str, axis: str = "depth") -> PanelResult:
    """A panel of which nothing is known: no optimum, no interval, no shared learning rate."""
    sizes = (2, 8)
    curves = tuple(
        LrCurve(
            size=size, seed=0, log2_lr=(-6.0, -5.0), loss=(None, None), diverged=(True, False),
            keys=(f"lost-{size}-a", f"lost-{size}-b"), vertex=fit_vertex([-6.0, -5.0], [math.inf, math.inf], step=1.0),
        )
        for size in sizes
    )  # fmt: skip
    return PanelResult(
        axis=axis,
        parametrization=parametrization,
        sizes=sizes,
        curves=curves,
        log2_optimal_lr=(None, None),
        intervals=(None, None),
        not_found=(("seed 0: Fewer than 5 points with a finite value.",),) * 2,
        best_loss=(None, None),
        num_params=(30_000, 100_000),
        seed_deviation=0.35,
        degrees_of_freedom=0,
        drift_octaves=None,
        drift_interval=None,
        verdict="undecided",
        transfer_regret=None,
        regret_note="The optimum of the smallest size is not known.",
        seed_drifts=(),
        fixed_lr=(),
        improves_with_size=None,
    )


def make_recommendation() -> Recommendation:
    """Two layers of one block matrix, an embedding, a readout."""
    lr = 2.0**-5.8
    rows = [
        ("embed.weight", "embed.weight", "input", 1.0, lr, 1.0),
        *((f"blocks.{layer}.up.weight", "blocks.*.up.weight", "hidden", 0.03125, lr / 32, 1.0) for layer in range(24)),
        ("readout.weight", "readout.weight", "output", 0.1768, lr, 0.03125),
    ]
    tensors = tuple(
        {
            "name": name, "template": template, "role": role, "init": "normal", "init_mean": 0.0, "init_std": std,
            "lr": rate, "weight_decay": 0.0, "eps": 1e-12, "multiplier": multiplier,
            "why": f"{role}: both sides fixed by the rule",
        }
        for name, template, role, std, rate, multiplier in rows
    )  # fmt: skip
    return Recommendation(
        parametrization="completep",
        optimizer="adamw",
        base={"width": 32, "depth": 2},
        target={"width": 1024, "depth": 24},
        log2_lr=-5.8,
        lr_note="mean optimum over 2 seed(s) at the base, width 32",
        attention_scale=0.25,
        tensors=tensors,
    )


def make_forecast() -> Forecast:
    """A power law with its band."""
    params = [float(value) for value in np.geomspace(3e4, 3e8, 30)]
    curve = tuple(
        {
            "num_params": size,
            "value": 2 + 2 * size**-0.15,
            "low": 2 + 2 * size**-0.15 - spread,
            "high": 2 + 2 * size**-0.15 + spread,
        }
        for size, spread in zip(params, np.geomspace(0.01, 0.12, 30).tolist())
    )
    sizes = tuple(
        {"size": width, "axis": "width", "num_params": 24 * width**2, "loss": 2 + 2 * (24.0 * width**2) ** -0.15}
        for width in (32, 64, 128, 256)
    )
    value = 2 + 2 * 3e8**-0.15
    return Forecast(
        target={"width": 1024, "depth": 24},
        num_params=302_000_000,
        num_tokens=102_400,
        level=0.9,
        value=value,
        low=value - 0.12,
        high=value + 0.12,
        law="E + A / N^alpha",
        sizes=sizes,
        curve=curve,
        decades=2.3,
        warnings=("The target lies 2.3 decades beyond the largest model.", "Four sizes fix three parameters."),
    )


def make_claim(
    other: str, *, num_seeds: int, difference: float | None, interval: tuple[float, float] | None
) -> DriftClaim:
    """That `completep` drifts less with depth than `other`."""
    return DriftClaim(
        axis="depth",
        winner="completep",
        other=other,
        num_seeds=num_seeds,
        difference=difference,
        interval=interval,
        holds=interval is not None and interval[0] > 0,
    )


def make_result(**changes: object) -> TransferResult:
    """A complete study over width and depth; any field may be replaced."""
    depths = (2, 4, 8, 16)
    fields: dict[str, object] = {
        "study": {
            "name": "byte-gpt",
            "data": {"source": "corpus", "num_bytes": 2_500_000},
            "model": {"family": "transformer", "width": 32, "depth": 2, "vocab_size": None},
            "training": {"steps": 200, "optimizer": {"name": "adamw", "betas": [0.9, 0.95], "eps": 1e-12}},
            "panels": [{"axis": "width", "sizes": [32, 64, 128, 256]}, {"axis": "depth", "sizes": list(depths)}],
        },
        "level": 0.9,
        "tolerance_octaves": 1.0,
        "prior_octaves": 0.35,
        "panels": (
            make_panel("standard", slope=-0.92, verdict="moves"),
            make_panel("mup", slope=-0.03, verdict="transfers"),
            make_panel("completep", slope=0.02, verdict="transfers"),
            make_panel("mup", slope=-0.3, verdict="undecided", axis="depth", sizes=depths),
            make_panel("depth_mup(alpha=0.5)", slope=0.37, verdict="undecided", axis="depth", sizes=depths),
            make_panel("completep", slope=0.12, verdict="transfers", axis="depth", sizes=depths),
        ),
        "claims": (
            make_claim("mup", num_seeds=2, difference=0.5, interval=(-0.2, 1.2)),
            make_claim("depth_mup(alpha=0.5)", num_seeds=3, difference=0.7, interval=(0.3, 1.1)),
            make_claim("standard", num_seeds=1, difference=None, interval=None),
        ),
        "recommendation": make_recommendation(),
        "forecast": make_forecast(),
        "status": "complete",
        "notes": (),
        "counts": {"done": 96, "diverged": 8},
        "provenance": {
            "versions": {"limes": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
            "data": {"source": "corpus", "fingerprint": "8a9de81e614826a9"},
            "seeds": [0, 1],
        },
        "loss_unit": "nats per token",
    }
    return TransferResult(**{**fields, **changes})


def make_curves(key: str) -> dict[str, NDArray[np.float64]]:
    """200 noisy training losses of the run, the same at each call."""
    generator = np.random.default_rng(sum(key.encode()))
    steps = np.arange(200)
    return {"train_loss": 2.4 + 2.2 * np.exp(-steps / 40) + 0.08 * generator.standard_normal(200)}
