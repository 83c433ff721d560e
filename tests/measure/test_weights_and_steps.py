"""Spikes, weight spectra, noise scale, gradients and updates, movement: against slow computations and known answers."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from limes.core.errors import SpecError
from limes.measure.activations import record_forward_pass
from limes.measure.movement import feature_movement, weight_movement
from limes.measure.noise_scale import fit_critical_batch, gradient_noise_scale
from limes.measure.optimizer_health import gradient_health, update_sizes
from limes.measure.roles import guess_roles, matrix_modules
from limes.measure.spikes import SpikeDetector, find_spikes
from limes.measure.weight_spectra import outlier_edge, weight_spectrum
from support.odd_network import assert_untouched, odd_network, token_loss, whole_state
from support.stats import assert_golden, assert_mean, load_golden

GOLDEN = load_golden("diagnostics")
DTYPES = (torch.float32, torch.float64)


def noisy(num_steps: int, *, seed: int = 0) -> np.ndarray:
    """A falling loss with noise."""
    return 2 + np.exp(-np.arange(num_steps) / 200) + 0.02 * np.random.default_rng(seed).standard_normal(num_steps)


def naive_spikes(losses: list[float], window: int, threshold: float) -> list[tuple[int, int | None]]:
    """(start, recovery) by the definition, from the whole past at each step."""
    found: list[tuple[int, int | None]] = []
    flagged = [False] * len(losses)
    inside = False
    for t, loss in enumerate(losses):
        past = [losses[s] for s in range(t) if not flagged[s]][-window:]
        if len(past) < 20:
            continue
        median = float(np.median(past))
        scale = max(1.4826 * float(np.median([abs(v - median) for v in past])), 1e-3 * median)
        if inside and loss - median < threshold / 2 * scale:
            found[-1], inside = (found[-1][0], t - found[-1][0]), False
        elif inside or loss - median > threshold * scale:
            if not inside:
                found.append((t, None))
            inside = flagged[t] = True
    return found


def test_spikes_equal_the_definition() -> None:
    losses = noisy(400)
    losses[150:160] += np.linspace(2, 0, 10)
    losses[300:] += 1.0
    found = find_spikes(losses)
    assert [(spike.start, spike.recovery_steps) for spike in found] == naive_spikes(losses.tolist(), 100, 6.0)
    assert [spike.start for spike in found] == [150, 300]
    assert found[0].recovery_steps is not None and 5 < found[0].recovery_steps <= 10 and found[0].peak == 150
    assert found[1].recovery_steps is None


def test_spikes_that_are_none_and_spikes_that_never_end() -> None:
    assert find_spikes(noisy(600)) == []
    assert find_spikes(np.linspace(5, 1, 300)) == []
    # Converged to the last digit: noise far below a thousandth of the loss.
    assert find_spikes(2 + 1e-7 * np.random.default_rng(1).standard_normal(300)) == []
    broken = [*noisy(50), math.nan, *noisy(50)]
    (spike,) = find_spikes(broken)
    assert (spike.start, spike.height, spike.recovery_steps) == (50, math.inf, None)
    assert find_spikes([math.inf, *noisy(50)])[0].start == 0
    detector = SpikeDetector()
    assert detector.per_thousand_steps == 0.0
    assert sum(detector.update(loss) for loss in broken) == 51
    assert detector.per_thousand_steps == pytest.approx(1000 / 101)
    with pytest.raises(SpecError, match="window"):
        find_spikes([], window=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weight_spectrum(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = 0.1 * torch.randn(30, 12, generator=generator, dtype=torch.float64).to(dtype)
    found = weight_spectrum(weight, init_std=0.1)
    expected = np.sqrt(np.linalg.eigvalsh(weight.double().T.numpy() @ weight.double().numpy()))[::-1]
    assert found.singular_values.numpy() == pytest.approx(expected)
    assert found.stable_rank == pytest.approx((expected**2).sum() / expected[0] ** 2)
    assert found.frobenius_norm == pytest.approx(weight.double().norm().item())
    assert found.spectral_norm == pytest.approx(expected[0])
    conv = weight.reshape(30, 3, 2, 2)
    assert weight_spectrum(conv, initial=conv).init_std == pytest.approx(weight.double().square().mean().sqrt().item())
    for wrong in (weight[0], torch.full((2, 2), math.nan)):
        with pytest.raises(SpecError):
            weight_spectrum(wrong, init_std=1.0)
    with pytest.raises(SpecError, match="initial"):
        weight_spectrum(weight, initial=weight.T)


def test_bulk_edges_and_outliers() -> None:
    found = weight_spectrum(torch.zeros(100, 400), init_std=0.1)
    assert_golden(found.bulk_high, GOLDEN["marchenko_pastur"]["upper_edge_100_by_400"])
    assert_golden(found.bulk_low, GOLDEN["marchenko_pastur"]["lower_edge_100_by_400"])
    assert (found.num_outliers, found.outlier_energy, found.stable_rank) == (0, 0.0, 0.0)
    stds = []
    for seed in range(16):
        weight = torch.randn(60, 150, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert weight_spectrum(weight, init_std=1.0).num_outliers == 0
        # Two directions planted far beyond the bulk are found, with the deviation known or fitted.
        weight[:2] *= 5
        assert weight_spectrum(weight, init_std=1.0).num_outliers == 2
        fitted = weight_spectrum(weight)
        assert fitted.fitted and fitted.num_outliers == 2
        stds.append(weight_spectrum(weight[2:]).init_std)
    # The fitted deviation has a bias of order 1 / (number of singular values).
    assert_mean(stds, 1.0, bias=1 / 58)
    assert outlier_edge(60, 150) > math.sqrt(60) + math.sqrt(150)


class _Gradients(nn.Module):
    """A network whose gradient is the batch: loss = w.x + nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, dtype=torch.float64))


def test_noise_scale_of_known_gradients() -> None:
    """Gradients drawn with mean G and covariance C per example: S = tr C, and both estimates are unbiased."""
    model, batch_size = _Gradients(), 4
    mean = torch.arange(5, dtype=torch.float64) / 4
    noises, squares = [], []
    for seed in range(32):
        generator = torch.Generator().manual_seed(seed)
        batches = [
            (mean + 2 * torch.randn(batch_size, 5, generator=generator, dtype=torch.float64)).mean(0) for _ in range(6)
        ]
        found = gradient_noise_scale(model, lambda m, x: m.weight @ x, batches, batch_size=batch_size)
        noises.append(found.noise)
        squares.append(found.squared_gradient)
        assert found.low <= found.value <= found.high and found.critical_batch_size == found.value
    assert_mean(noises, 4.0 * 5)
    assert_mean(squares, (mean @ mean).item())


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_scale_by_hand_on_the_odd_network(dtype: torch.dtype) -> None:
    model, tokens, targets = odd_network(dtype)
    batches = [(tokens[i : i + 1], targets[i : i + 1]) for i in range(4)]
    before = whole_state(model)
    found = gradient_noise_scale(model, token_loss, batches, batch_size=1)
    assert_untouched(before, model)
    model.eval()
    rows = []
    for batch in batches:
        model.zero_grad()
        token_loss(model, batch).backward()
        rows.append(torch.cat([p.grad.flatten().double() for p in model.parameters() if p.requires_grad]))
    mean = sum(rows) / 4
    noise = sum((row - mean).square().sum().item() for row in rows) / 3
    squared = mean.square().sum().item() - noise / 4
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    assert found.noise == pytest.approx(noise, rel=tolerance)
    assert found.squared_gradient == pytest.approx(squared, rel=tolerance)
    with pytest.raises(SpecError, match="at least 3"):
        gradient_noise_scale(model, token_loss, batches[:2], batch_size=1)


def test_critical_batch_fit() -> None:
    sizes = np.array([8, 32, 128, 512])
    found = fit_critical_batch(sizes, 100 * (1 + 64 / sizes))
    assert (found.critical_batch_size, found.min_steps, found.min_examples) == pytest.approx((64, 100, 6400))
    with pytest.raises(SpecError, match="fall"):
        fit_critical_batch([8, 32], [100, 200])


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_and_updates(dtype: torch.dtype) -> None:
    model, tokens, targets = odd_network(dtype)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1, eps=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        token_loss(model, (tokens, targets)).backward()
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        optimizer.step()
    state = whole_state(model)
    gradients = gradient_health(model, optimizer)
    tensors, by_role = update_sizes(model, before)
    assert_untouched(state, model)
    assert "frozen.weight" not in gradients and "frozen.weight" not in tensors
    assert "readout.weight" not in gradients, "a tied tensor counts once"
    roles, pooled = guess_roles(model), {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        entries = [v for v in parameter.grad.flatten().tolist() if v != 0]
        assert gradients[name].rms == pytest.approx(math.sqrt(sum(v * v for v in entries) / max(len(entries), 1)))
        second = [v / (1 - 0.999**3) for v in optimizer.state[parameter]["exp_avg_sq"].flatten().tolist() if v != 0]
        root = math.sqrt(sum(second) / max(len(second), 1))
        assert gradients[name].over_eps == pytest.approx(root / 1e-3)
        moments = [max(v / (1 - 0.999**3), 1e-6) for v in optimizer.state[parameter]["exp_avg_sq"].flatten().tolist()]
        squares = [g * g / v for g, v in zip(parameter.grad.flatten().tolist(), moments)]
        assert gradients[name].surprise == pytest.approx(math.sqrt(sum(squares) / len(squares)), rel=1e-4)
        moved = [(a - b) ** 2 for a, b in zip(parameter.flatten().tolist(), before[name].flatten().tolist())]
        size = [b * b for b in before[name].flatten().tolist()]
        assert tensors[name].ratio == pytest.approx(math.sqrt(sum(moved) / sum(size)))
        total = pooled.setdefault(roles[name], [0.0, 0.0])
        total[0] += sum(moved)
        total[1] += sum(size)
    assert {role: math.sqrt(a / b) for role, (a, b) in pooled.items()} == pytest.approx(
        {role: size.ratio for role, size in by_role.items()}
    )
    assert set(by_role) == {"embedding", "hidden", "readout", "gain", "bias"}


def test_gradient_at_ten_epsilon() -> None:
    layer = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1.0, eps=1e-4)
    for _ in range(20):
        before = layer.weight.item()
        layer.weight.grad = torch.tensor([[1e-3]])
        optimizer.step()
    assert gradient_health(layer, optimizer)["weight"].over_eps == pytest.approx(10.0, rel=1e-5)
    assert_golden(1 - abs(layer.weight.item() - before), GOLDEN["epsilon"]["update_lost_at_ten_eps"])
    assert gradient_health(layer)["weight"].over_eps is None


def test_surprise_of_a_gradient_that_grows() -> None:
    """1 while nothing changes; a gradient 1000 times the past gives 1 / sqrt(1 - b2), the largest."""
    layer = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-6, betas=(0.9, 0.99), eps=1e-12)
    assert gradient_health(layer, optimizer, gradients={"weight": torch.ones(1, 1)})["weight"].surprise is None
    for _ in range(500):
        layer.weight.grad = torch.tensor([[1e-3]])
        optimizer.step()
    assert gradient_health(layer, optimizer)["weight"].surprise == pytest.approx(1.0, rel=1e-5)
    grown = {"weight": torch.tensor([[1.0]])}
    to_come = gradient_health(layer, optimizer, gradients=grown, stepped=False)["weight"].surprise
    layer.weight.grad = grown["weight"]
    optimizer.step()
    assert to_come == pytest.approx(gradient_health(layer, optimizer)["weight"].surprise, rel=1e-5)
    assert to_come == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize("dtype", DTYPES)
def test_movement(dtype: torch.dtype) -> None:
    model, tokens, _ = odd_network(dtype)
    initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = record_forward_pass(model.eval(), tokens)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.5)
    last = record_forward_pass(model, tokens)
    state = whole_state(model)
    tensors, groups = weight_movement(model, initial, groups={"up.weight": "mine"})
    assert_untouched(state, model)
    assert tensors["up.weight"].relative == pytest.approx(0.5) and tensors["up.weight"].cosine == pytest.approx(1.0)
    assert groups["mine"] == tensors["up.weight"]
    assert tensors["frozen.weight"].relative == 0.0
    features = feature_movement(first, last)
    one, two = (recording.outputs["up"][0].double().reshape(-1, 16).numpy() for recording in (first, last))
    assert features["up"].relative == pytest.approx(np.linalg.norm(two - one) / np.linalg.norm(one))
    kernels = [x @ x.T for x in (one - one.mean(0), two - two.mean(0))]
    cosine = (kernels[0] * kernels[1]).sum() / np.linalg.norm(kernels[0]) / np.linalg.norm(kernels[1])
    assert features["up"].alignment == pytest.approx(cosine)
    assert features["embedding"].alignment == pytest.approx(1.0) and not features["embedding"].lazy
    with pytest.raises(SpecError, match="up"):
        weight_movement(model, {name: value for name, value in initial.items() if not name.startswith("up.")})


def test_roles_and_matrix_modules() -> None:
    model, *_ = odd_network()
    roles = guess_roles(model)
    assert roles["embedding.weight"] == "embedding" and roles["norm.weight"] == "gain" and roles["up.bias"] == "bias"
    # The tied readout is the embedding; the last other matrix is taken for the readout.
    assert roles["down.weight"] == "readout" and roles["packaged.in_proj_weight"] == "hidden"
    assert [path for path, _ in matrix_modules(model)] == [
        "qkv",
        "frozen",
        "packaged.out_proj",
        "up",
        "down",
        "readout",
    ]
