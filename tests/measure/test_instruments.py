"""Each instrument against a slow computation by its definition, in float32 and float64."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from limes.core.errors import SpecError
from limes.measure.attention_entropy import attention_entropy, attention_statistics, entropy_bound, head_similarity
from limes.measure.features import (
    dead_units,
    effective_rank,
    preactivation_statistics,
    rank_residual,
    token_similarity,
)
from limes.measure.health import SIGNS
from limes.measure.lr_sensitivity import lr_sensitivity
from limes.measure.outliers import kurtosis, max_median_ratio, official_kurtosis, official_max_median_ratio
from limes.measure.outputs import output_statistics
from limes.measure.quantization import quantization_error, quantize
from support.stats import assert_golden, assert_mean, load_golden

GOLDEN = load_golden("diagnostics")
DTYPES = (torch.float32, torch.float64)


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def close(found: torch.Tensor | float, expected: float, dtype: torch.dtype) -> None:
    """Equal up to the rounding of a few hundred operations in `dtype`, which is the result's own."""
    if isinstance(found, torch.Tensor):
        assert found.dtype == dtype and found.dim() == 0
    assert float(found) == pytest.approx(expected, rel=500 * torch.finfo(dtype).eps, abs=500 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_features(dtype: torch.dtype) -> None:
    x = draw(2, 5, 7, dtype=dtype)
    x[..., 3] = 0.0
    rows = x.double().reshape(10, 7).numpy()
    sigma = np.linalg.svd(rows, compute_uv=False)
    share = sigma / sigma.sum()
    close(effective_rank(x), math.exp(-sum(p * math.log(p) for p in share if p > 1e-12)), dtype)
    power = sigma**2
    close(effective_rank(x, kind="participation"), power.sum() ** 2 / (power**2).sum(), dtype)
    close(dead_units(x), 1 / 7, dtype)
    cosines, residuals = [], []
    for sequence in x.double().numpy():
        cosines += [
            float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            for i, a in enumerate(sequence)
            for j, b in enumerate(sequence)
            if i != j
        ]
        residuals.append(np.linalg.norm(sequence - sequence.mean(0)) / np.linalg.norm(sequence))
    close(token_similarity(x), sum(cosines) / len(cosines), dtype)
    close(rank_residual(x), sum(residuals) / len(residuals), dtype)


def test_features_at_their_extremes() -> None:
    same = torch.ones(2, 4, 3)
    assert token_similarity(same).item() == pytest.approx(1.0)
    assert effective_rank(torch.zeros(4, 3)).item() == 0.0
    assert effective_rank(same, centered=True).item() == 0.0
    assert math.isnan(effective_rank(torch.full((2, 2), math.nan)).item())
    assert dead_units(torch.zeros(4, 3)).item() == 1.0
    for wrong in (torch.zeros(3), torch.zeros(2, 3, dtype=torch.long)):
        with pytest.raises(SpecError, match="expected"):
            effective_rank(wrong)
    with pytest.raises(SpecError, match="two tokens"):
        token_similarity(torch.zeros(1, 3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_preactivation_statistics(dtype: torch.dtype) -> None:
    values = draw(40, 5, dtype=dtype) * 3 + 1
    found = preactivation_statistics(values, num_bins=8, limit=1.5)
    flat = values.double().flatten().tolist()
    mean = sum(flat) / len(flat)
    std = math.sqrt(sum((v - mean) ** 2 for v in flat) / len(flat))
    assert (found.mean, found.std) == pytest.approx((mean, std))
    assert found.kurtosis == pytest.approx(sum(((v - mean) / std) ** 4 for v in flat) / len(flat))
    edges = [-1.5 + 3.0 * i / 8 for i in range(9)]
    counts = [0] * 10
    for v in flat:
        counts[sum((v - mean) / std >= edge for edge in edges)] += 1
    assert found.counts.tolist() == counts


@pytest.mark.parametrize("dtype", DTYPES)
def test_outliers(dtype: torch.dtype) -> None:
    x = draw(6, 4, dtype=dtype)
    x[:, 2] *= 7
    rows = x.double().tolist()
    power = [sum(row[j] ** 2 for row in rows) / 6 for j in range(4)]
    mean = sum(power) / 4
    close(kurtosis(x), sum(p * p for p in power) / 4 / mean**2, dtype)
    size = sorted(math.sqrt(p) for p in power)
    close(max_median_ratio(x), size[-1] / ((size[1] + size[2]) / 2), dtype)
    ratios = []
    for row in rows:
        order = sorted(abs(v) for v in row)
        ratios.append(order[-1] / ((order[1] + order[2]) / 2))
    close(official_max_median_ratio(x), sum(ratios) / 6, dtype)
    centred = [[v - sum(row) / 4 for v in row] for row in rows]
    power = [sum(row[j] ** 2 for row in centred) / 6 for j in range(4)]
    relative = [p / (sum(power) / 4) for p in power]
    close(official_kurtosis(x), sum((r - 1) ** 2 for r in relative) / 3, dtype)
    # For tokens of mean zero the two definitions are one formula apart.
    centred_x = x - x.mean(1, keepdim=True)
    close(official_kurtosis(x), (kurtosis(centred_x).item() - 1) * 4 / 3, dtype)


def test_silent_and_broken_layers() -> None:
    silent, half = torch.zeros(3, 4), torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    assert [f(silent).item() for f in (kurtosis, max_median_ratio, official_max_median_ratio)] == [1.0, 1.0, 1.0]
    assert official_kurtosis(silent).item() == 0.0
    assert max_median_ratio(half).item() == math.inf and kurtosis(half).item() == 4.0
    for measure in (kurtosis, official_kurtosis, max_median_ratio, official_max_median_ratio):
        assert math.isnan(measure(torch.full((2, 3), math.nan)).item())


def test_kurtosis_of_the_null_and_of_one_large_neuron() -> None:
    samples = [kurtosis(draw(512, 256, seed=seed)).item() for seed in range(16)]
    assert_mean(samples, 1 + 2 / 512)
    assert_golden(1 + 2 / 512, GOLDEN["kurtosis"]["null_512_tokens"])
    one = torch.ones(3, 256, dtype=torch.float64)
    one[:, 5] = 8.0
    assert_golden(kurtosis(one), GOLDEN["kurtosis"]["one_neuron_8_of_256"])
    assert max_median_ratio(one).item() == 8.0


def fp8_values(exponent_bits: int, mantissa_bits: int, largest: float) -> list[float]:
    """All finite numbers of a format, from its definition."""
    bias = 2 ** (exponent_bits - 1) - 1
    found = {0.0}
    for exponent in range(2**exponent_bits):
        for mantissa in range(2**mantissa_bits):
            fraction = mantissa / 2**mantissa_bits
            value = fraction * 2.0 ** (1 - bias) if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - bias)
            if value <= largest:
                found |= {value, -value}
    return sorted(found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("granularity", ["tensor", "row"])
def test_quantization(granularity, dtype: torch.dtype) -> None:
    x = draw(3, 9, dtype=dtype)
    x[1] *= 30
    grids = {
        "int8": [float(i) for i in range(-127, 128)],
        "fp8_e4m3": fp8_values(4, 3, 448.0),
        "fp8_e5m2": fp8_values(5, 2, 57344.0),
    }
    for name, grid in grids.items():
        values = np.array(grid)
        expected = []
        for row in x:
            scale = (row if granularity == "row" else x).abs().max() / max(grid)
            expected.append([float(values[np.abs(values - (v / scale).item()).argmin()]) * scale.item() for v in row])
        found = quantize(x, name, granularity=granularity)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-6)
        error = (found - x).double().norm() / x.double().norm()
        close(quantization_error(x, name, granularity=granularity), error.item(), dtype)
    assert quantization_error(torch.zeros(3)).item() == 0.0
    with pytest.raises(SpecError, match="int4"):
        quantize(x, "int4")


def test_the_null_of_every_format_is_the_one_that_the_signs_name() -> None:
    for name, sign in (("int8", "int8_error"), ("fp8_e4m3", "fp8_error")):
        errors = [quantization_error(draw(512, 128, seed=seed), name).item() for seed in range(16)]
        named = SIGNS[sign].null
        decimals = len(named.partition(".")[2])
        assert f"{np.mean(errors):.{decimals}f}" == f"{float(named):.{decimals}f}"


def test_outliers_cost_int8_and_spare_fp8() -> None:
    plain = draw(64, 256)
    spoiled = plain.clone()
    spoiled[:, 0] *= 50
    bulk = slice(1, None)
    errors = {
        (name, kind): ((quantize(x, name) - x)[:, bulk].norm() / x[:, bulk].norm()).item()
        for name in ("int8", "fp8_e4m3")
        for kind, x in (("plain", plain), ("spoiled", spoiled))
    }
    assert errors["int8", "spoiled"] > 20 * errors["int8", "plain"]
    assert errors["fp8_e4m3", "spoiled"] < 2 * errors["fp8_e4m3", "plain"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_entropy(dtype: torch.dtype) -> None:
    logits = 3 * draw(2, 3, 4, 4, dtype=dtype)
    logits = logits.masked_fill(~torch.ones(4, 4, dtype=torch.bool).tril(), -math.inf)
    rows, bounds, by_head, similarities = [], [], {}, []
    patterns: dict[tuple[int, int], list[float]] = {}
    for b in range(2):
        for h in range(3):
            for i in range(4):
                z = logits[b, h, i, : i + 1].double().tolist()
                total = sum(math.exp(v) for v in z)
                chances = [math.exp(v) / total for v in z]
                patterns.setdefault((b, h), []).extend(c - 1 / len(z) for c in chances)
                if i:
                    entropy = -sum(c * math.log(c) for c in chances) / math.log(i + 1)
                    rows.append(entropy)
                    by_head.setdefault(h, []).append(entropy)
                    sg = math.sqrt(sum((v - sum(z) / len(z)) ** 2 for v in z))
                    t, weight = i + 1, math.exp(-sg * math.sqrt((i + 1) / i))
                    bound = math.log(1 + (t - 1) * weight)
                    bound += sg * math.sqrt(t * (t - 1)) * weight / (1 + (t - 1) * weight)
                    bounds.append(bound / math.log(t))
        for h in range(3):
            for other in range(3):
                if h != other:
                    one, two = np.array(patterns[b, h]), np.array(patterns[b, other])
                    similarities.append(float(one @ two / np.linalg.norm(one) / np.linalg.norm(two)))
    found = attention_statistics(logits, query=logits[..., :2], key=None)
    close(found["entropy"], sum(rows) / len(rows), dtype)
    close(found["entropy_lowest_head"], min(sum(v) / len(v) for v in by_head.values()), dtype)
    close(found["entropy_bound"], sum(bounds) / len(bounds), dtype)
    close(found["head_similarity"], sum(similarities) / len(similarities), dtype)
    close(found["max_logit"], logits[logits.isfinite()].abs().max().item(), dtype)
    assert found["entropy_bound"] <= found["entropy"]


def test_entropy_bound_is_what_a_search_over_logits_finds() -> None:
    for place, golden in GOLDEN["entropy_bound"].items():
        keys, norm = (float(number) for number in place.split(","))
        bound = entropy_bound(torch.tensor(int(keys)), torch.tensor(norm, dtype=torch.float64))
        assert_golden(bound, golden)

    def entropy(free: np.ndarray, norm: float) -> float:
        centred = free - free.mean()
        z = torch.tensor(norm * centred / np.linalg.norm(centred))
        return attention_entropy(z, normalized=False).item()

    for keys, norm in ((2, 0.5), (4, 1.0), (5, 4.0)):
        starts = np.random.default_rng(0).standard_normal((6, keys))
        least = min(minimize(entropy, start, args=(norm,), tol=1e-12).fun for start in starts)
        bound = entropy_bound(torch.tensor(keys), torch.tensor(norm, dtype=torch.float64)).item()
        assert least == pytest.approx(bound, abs=1e-6)


def test_attention_at_its_extremes() -> None:
    closed = torch.full((1, 2, 3, 3), -math.inf)
    closed[..., 0] = 0.0
    found = attention_statistics(closed)
    assert math.isnan(found["entropy"].item()) and found["max_logit"].item() == 0.0
    padded = torch.zeros(1, 2, 2, 3, dtype=torch.bfloat16)
    padded[..., 1, :] = torch.finfo(torch.bfloat16).min
    assert attention_statistics(padded)["entropy"].item() == 1.0
    assert head_similarity(torch.zeros(1, 2, 2, 2)).item() == 0.0
    heads = draw(1, 1, 4, 4).repeat(1, 3, 1, 1)
    assert head_similarity(heads).item() == pytest.approx(1.0)
    with pytest.raises(SpecError, match="heads"):
        head_similarity(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs(dtype: torch.dtype) -> None:
    logits = 4 * draw(3, 5, dtype=dtype)
    found = output_statistics(logits, z_loss=0.5)
    log_z, entropy = [], []
    for row in logits.double().tolist():
        total = sum(math.exp(v) for v in row)
        log_z.append(math.log(total))
        entropy.append(-sum(math.exp(v) / total * math.log(math.exp(v) / total) for v in row))
    close(found["log_z"], sum(log_z) / 3, dtype)
    close(found["z_loss"], 0.5 * sum(v * v for v in log_z) / 3, dtype)
    close(found["entropy"], sum(entropy) / 3, dtype)
    close(found["logit_max"], logits.abs().max().item(), dtype)
    assert math.isfinite(output_statistics(torch.tensor([[0.0, -1e30]]))["entropy"].item())


def test_lr_sensitivity() -> None:
    golden = GOLDEN["lr_sensitivity"]["three_runs"]
    assert_golden(lr_sensitivity([1e-3, 1e-2, 1e-1], [6.40, 6.44, 6.56], initial_loss=10.0).value, golden)
    # Diverged, not recorded, and worse than nothing: each costs what an untrained network costs.
    found = lr_sensitivity([8, 1, 2, 4], [math.nan, 2.0, None, 50.0], initial_loss=5.0)
    assert found.value == pytest.approx((0 + 3 + 3 + 3) / 4)
    assert (found.num_diverged, found.num_worse, found.best_lr, found.trained) == (2, 1, 1.0, True)
    dead = lr_sensitivity([1, 2], [math.inf, 7.0], initial_loss=5.0)
    assert math.isnan(dead.value) and not dead.trained and dead.sentence.startswith("no run trained")
    with pytest.raises(SpecError, match="evenly"):
        lr_sensitivity([1, 2, 8], [1.0, 1.0, 1.0], initial_loss=2.0)
    with pytest.raises(SpecError, match="initial_loss"):
        lr_sensitivity([1, 2], [1.0, 1.0], initial_loss=math.nan)
    for rates in ([1.0, math.inf], [math.nan, 1.0], [0.0, 1.0], [-1.0, 1.0], [1.0, 2.0, 4.0]):
        with pytest.raises(SpecError, match="positive finite"):
            lr_sensitivity(rates, [1.0, 1.0], initial_loss=2.0)
    # An endless loss has diverged whichever its sign.
    assert lr_sensitivity([1, 2], [1.0, -math.inf], initial_loss=2.0).num_diverged == 1
