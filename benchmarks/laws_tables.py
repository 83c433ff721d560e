"""Tables of runs on which intervals are tuned (synthetic laws) and scored (published tables).

A synthetic table has a law, a flaw that the fitted law does not know, a design, a noise and sometimes outliers, each
drawn on its own, over the ranges met in practice. A published table is cut out of the file it was published in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limes.laws import (
    CHINCHILLA,
    DATA_CONSTRAINED,
    KAPLAN_FLOOR,
    OVER_TRAINING,
    POWER_LAW_FLOOR,
    UPCYCLING,
    Law,
    read_table,
)

Columns = dict[str, np.ndarray]
SIZES = ("num_params", "num_tokens")


@dataclass(frozen=True, kw_only=True)
class RunTable:
    """A table, the law to fit, and the family of data it belongs to (families count once in a mean)."""

    name: str
    family: str
    law: Law
    columns: Columns

    def cost(self) -> np.ndarray:
        """(n,) what orders the runs from cheap to dear."""
        names = [name for name in self.law.cost_names if name in self.columns]
        return np.prod([self.columns[name] for name in names], axis=0)


def synthetic(num: int, *, seed: int) -> Iterator[RunTable]:
    """Tables from laws of the fitted form and of others."""
    for index in range(num):
        rng = np.random.default_rng([seed, index])
        yield _one_size(rng, index) if rng.random() < 0.25 else _two_sizes(rng, index)


def _two_sizes(rng: np.random.Generator, index: int) -> RunTable:
    size, tokens = _design(rng)
    loss, kind = _truth(rng, size, tokens)
    law = (CHINCHILLA, CHINCHILLA, OVER_TRAINING, KAPLAN_FLOOR)[rng.integers(4)]
    loss = loss * np.exp(_noise(rng, size * tokens))
    columns = {"num_params": size, "num_tokens": tokens, "loss": loss}
    return RunTable(name=f"synthetic {index}, {kind}, {law.name}", family=kind, law=law, columns=columns)


def _one_size(rng: np.random.Generator, index: int) -> RunTable:
    count = int(rng.integers(8, 60))
    size = 10 ** np.sort(rng.uniform(0, rng.uniform(2, 5), count))
    floor, alpha, amplitude = rng.uniform(0.3, 2.2), rng.uniform(0.15, 0.8), rng.uniform(0.1, 1.5)
    shape, kind = _flaw(rng, np.log10(size))
    reducible = amplitude * (size / np.exp(np.log(size).mean())) ** -alpha
    loss = (floor + reducible * shape[0]) * shape[1] * np.exp(_noise(rng, size))
    columns = {"size": size, "loss": loss}
    return RunTable(name=f"synthetic {index}, {kind}, one", family=kind, law=POWER_LAW_FLOOR, columns=columns)


def _design(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """IsoFLOP lines, a grid of sizes and ratios, a cloud, or a few sizes with many checkpoints' worth of tokens."""
    least = 10 ** rng.uniform(16, 19.5)
    most = least * 10 ** rng.uniform(2, 4.5)
    kind = rng.integers(4)
    if kind == 0:
        compute = np.repeat(np.geomspace(least, most, rng.integers(4, 10)), rng.integers(4, 12))
        size = np.sqrt(compute / 120) * np.exp(rng.uniform(-1.6, 1.6, len(compute)))
    elif kind == 1:
        sizes = np.geomspace(np.sqrt(least / 120), np.sqrt(most / 120), rng.integers(4, 9))
        ratios = 20 * 2.0 ** np.arange(rng.integers(-2, 1), rng.integers(2, 5))
        size, ratio = (grid.ravel() for grid in np.meshgrid(sizes, ratios))
        compute = 6 * size**2 * ratio
    elif kind == 2:
        compute = least * (most / least) ** rng.random(rng.integers(16, 220))
        size = np.sqrt(compute / 120) * np.exp(rng.normal(0, 0.8, len(compute)))
    else:
        sizes = np.geomspace(np.sqrt(least / 120), np.sqrt(most / 120), rng.integers(3, 8))
        tokens = 20 * np.geomspace(sizes.min(), sizes.max(), rng.integers(5, 16)) * rng.uniform(0.5, 3)
        size, tokens = (grid.ravel() for grid in np.meshgrid(sizes, tokens))
        compute = 6 * size * tokens
    return size, compute / 6 / size


def _truth(rng: np.random.Generator, size: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, str]:
    floor, alpha, beta = rng.uniform(0.3, 2.2), rng.uniform(0.15, 0.6), rng.uniform(0.15, 0.6)
    a, b = rng.uniform(0.05, 1.0, 2)
    x, y = size / np.exp(np.log(size).mean()), tokens / np.exp(np.log(tokens).mean())
    first, second = a * x**-alpha, b * y**-beta
    shape, kind = _flaw(rng, np.log10(size * tokens), ratio=np.log10(tokens / size / 20))
    if rng.random() < 0.3:
        return (floor + (first ** (1 / beta) + second ** (1 / beta)) ** beta * shape[0]) * shape[1], f"joint {kind}"
    return (floor + (first + second) * shape[0]) * shape[1], kind


def _flaw(
    rng: np.random.Generator, decades: np.ndarray, *, ratio: np.ndarray | None = None
) -> tuple[tuple[np.ndarray, np.ndarray], str]:
    """Factors of the reducible part and of the whole loss that the fitted law does not have.

    Args:
        rng: Generator.
        decades: log10 of the cost.
        ratio: log10 of tokens per parameter over 20.
    """
    x = decades - decades.mean()
    one, size = np.ones_like(x), abs(rng.normal(0, 1))
    sign = rng.choice([-1.0, 1.0])
    kind = ("none", "tuning", "bend", "ratio", "short", "wave")[rng.integers(6)]
    if kind == "tuning":  # hyperparameters get better or worse tuned with cost
        return (one, np.exp(0.004 * sign * size * x**2)), kind
    if kind == "bend":  # the exponent changes at some cost
        return (10 ** (0.05 * sign * size * np.log1p(np.exp(4 * (x - rng.normal(0, 0.7)))) / 4), one), kind
    if kind == "ratio" and ratio is not None:  # far from twenty tokens per parameter, costs beyond the law's
        return (one, 1 + 0.01 * size * ratio**2), kind
    if kind == "short":  # the cheap runs were warmed up for too long
        return (one, 1 + 0.05 * size * 10 ** (-1.5 * (decades - decades.min()))), kind
    if kind == "wave":  # groups of runs share a deviation
        return (one, np.exp(0.003 * size * np.sin(rng.uniform(1, 4) * x + rng.uniform(0, 6)))), kind
    return (one, one), "none"


def _noise(rng: np.random.Generator, cost: np.ndarray) -> np.ndarray:
    count, scale = len(cost), 10 ** rng.uniform(-3.3, -1.8)
    noise = scale * (rng.standard_normal(count) if rng.random() < 0.5 else rng.standard_t(3, count))
    if rng.random() < 0.3:  # cheap runs scatter more
        noise = noise * (cost / np.median(cost)) ** -rng.uniform(0, 0.2)
    if rng.random() < 0.3:  # some runs went wrong
        noise = noise + (rng.random(count) < rng.uniform(0.01, 0.06)) * np.abs(rng.normal(0, 0.15, count))
    return noise


def published(folder: Path) -> Iterator[RunTable]:
    """Published tables, each with the law of its columns."""
    yield from _chinchilla_figures(folder)
    yield from _over_trained(folder)
    yield from _isoflop(folder)
    yield from _benchmark_tasks(folder / "scalebench")
    yield from _other(folder)


def _take(name: str, family: str, law: Law, table: Columns, columns: dict[str, str], rows: np.ndarray) -> RunTable:
    taken = {standard: np.asarray(table[source][rows], dtype=float) for standard, source in columns.items()}
    return RunTable(name=name, family=family, law=law, columns=taken)


def _chinchilla_figures(folder: Path) -> Iterator[RunTable]:
    table = read_table(folder / "epoch_chinchilla_svg.csv")
    table["D"] = table["Training FLOP"] / 6 / table["Model Size"]
    kept = np.sort(np.argsort(table["loss"])[:-5])
    columns = {"num_params": "Model Size", "num_tokens": "D", "loss": "loss"}
    yield _take("epoch", "chinchilla figure", CHINCHILLA, table, columns, kept)
    table = read_table(folder / "kyo_chinchilla_df.csv")
    columns = {"num_params": "N", "num_tokens": "D", "loss": "loss"}
    yield _take("kyo", "chinchilla figure", CHINCHILLA, table, columns, np.arange(len(table["N"])))


def _over_trained(folder: Path) -> Iterator[RunTable]:
    table = read_table(folder / "gadre_104.csv")
    corpora = table["dataset"].astype(str)
    # the other validation sets are near copies of these three
    laws = {"loss_c4_val": (CHINCHILLA, OVER_TRAINING), "loss_openlm": (CHINCHILLA,), "loss_paloma_ptb": (CHINCHILLA,)}
    for corpus in np.unique(corpora):
        for loss, tried in laws.items():
            for law in tried:
                columns = {"num_params": "N", "num_tokens": "D", "loss": loss}
                yield _take(f"gadre {corpus} {loss} {law.name}", "gadre", law, table, columns, corpora == corpus)


def _isoflop(folder: Path) -> Iterator[RunTable]:
    table = read_table(folder / "porian_isoflop.csv")
    names = ("dataset", "hparams", "warmup", "decay", "param_count", "val")
    labels = np.array([" ".join(map(str, row)) for row in zip(*(table[name] for name in names), strict=True)])
    columns = {"num_params": "n", "num_tokens": "t", "loss": "loss"}
    for label in np.unique(labels):
        yield _take(f"porian {label}", "porian", CHINCHILLA, table, columns, labels == label)


def _benchmark_tasks(folder: Path) -> Iterator[RunTable]:
    def joined(task: str) -> Columns:
        parts = [read_table(folder / f"{task}_scaling_law.{part}.csv") for part in ("train", "test")]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    table = joined("farseer")
    columns = {"num_params": "N", "num_tokens": "D", "loss": "loss"}
    yield _take("farseer", "farseer", CHINCHILLA, table, columns, np.arange(len(table["N"])))
    table = joined("data_constrained")
    columns = {"num_params": "params", "num_tokens": "tokens", "unique_tokens": "unique_tokens", "loss": "loss"}
    every = np.arange(len(table["loss"]))
    yield _take("data constrained", "data constrained", DATA_CONSTRAINED, table, columns, every)
    table = joined("sparsity")
    groups = table["group"].astype(str)
    columns = {"sparsity": "P", "active_params": "N_active", "loss": "loss"}
    for group in np.unique(groups):
        if (groups == group).sum() >= 14:
            yield _take(f"upcycling {group}", "upcycling", UPCYCLING, table, columns, groups == group)
    table = joined("moe")
    experts = table["num_experts"]
    for count in np.unique(experts):
        if (experts == count).sum() >= 8:
            columns = {"size": "dense_parameter_count", "loss": "loss_validation"}
            yield _take(f"moe {count:g} experts", "moe", POWER_LAW_FLOOR, table, columns, experts == count)


def _other(folder: Path) -> Iterator[RunTable]:
    table = read_table(folder / "olmo_ladder_final_rows.csv")
    large = np.isnan(table["throughput/total_tokens"])
    table["D"] = np.where(large, table["_step"] * 8388608, table["throughput/total_tokens"])
    for name in table:
        if name.endswith("CrossEntropyLoss") and np.isfinite(np.asarray(table[name], dtype=float)).all():
            columns = {"num_params": "N", "num_tokens": "D", "loss": name}
            every = np.arange(len(table["N"]))
            yield _take(f"ladder {name.split('/')[1]}", "ladder", CHINCHILLA, table, columns, every)
    table = read_table(folder / "multipowerlaw_loss_curves.csv")
    labels = np.array([f"{model} {schedule}" for model, schedule in zip(table["model"], table["schedule"])])
    for label in np.unique(labels):
        rows = np.flatnonzero((labels == label) & (table["step"] > 1000))
        if np.ptp(table["lr"][rows]) < 1e-9:  # a constant rate: the loss is a power law of the steps
            rows = rows[:: max(1, len(rows) // 80)]
            columns = {"size": "step", "loss": "loss"}
            yield _take(f"curve {label}", "learning curves", POWER_LAW_FLOOR, table, columns, rows)
