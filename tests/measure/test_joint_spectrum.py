"""Tangent kernels of many outputs against the kernel written out; bounds of the lazy loss against the loss itself."""

import numpy as np
import pytest
import torch
from torch import nn

from limes.core.errors import SpecError
from limes.measure.joint_spectrum import measure_joint_spectrum
from limes.measure.kernels import empirical_ntk
from limes.measure.tangent import tangent_operator
from limes.numerics.lanczos import lanczos_bracket
from limes.numerics.nystrom import nystrom_eigenpairs
from support.refusals import one_sentence


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Three outputs of two layers, 20 samples."""
    model = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 3, bias=False)).double()
    draws = generator()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=draws))
    inputs = torch.randn(20, 4, generator=draws, dtype=torch.float64)
    return model, inputs, torch.randn(20, 3, generator=draws, dtype=torch.float64)


def written_out(model: nn.Module, inputs: torch.Tensor, weights: dict[str, float]) -> torch.Tensor:
    kernel = empirical_ntk(model, inputs, trace_outputs=False, parameter_weights=weights)
    return kernel.permute(0, 2, 1, 3).reshape(60, 60) / 20


WEIGHTS = {"0.weight": 2.0, "0.bias": 0.0, "2.weight": 0.5}


def test_products_are_those_of_the_kernel_written_out() -> None:
    model, inputs, _ = network()
    exact = written_out(model, inputs, WEIGHTS)
    vector = torch.randn(60, generator=generator(1), dtype=torch.float64)
    with tangent_operator(model, inputs, parameter_weights=WEIGHTS) as kernel:
        assert kernel.product(vector) == pytest.approx(exact @ vector, rel=1e-10)
        parts = kernel.block_sizes(vector)
    last = written_out(model, inputs, {"0.weight": 0.0, "0.bias": 0.0, "2.weight": 0.5})
    assert sum(parts.values()) == pytest.approx(float(vector @ exact @ vector), rel=1e-10)
    assert parts["2.weight"] == pytest.approx(float(vector @ last @ vector), rel=1e-10) and "0.bias" not in parts


def test_all_modes_are_exact_and_few_are_below_by_at_most_the_error() -> None:
    model, inputs, targets = network()
    exact = torch.linalg.eigvalsh(written_out(model, inputs, {})).flip(0).clamp_min(0).numpy()
    whole = measure_joint_spectrum(model, inputs, targets, generator=generator(), num_modes=60)
    assert whole.eigenvalues == pytest.approx(exact, abs=1e-10 * exact[0]) and whole.error == 0.0
    assert whole.power.sum() == pytest.approx(whole.total_power, rel=1e-10)
    for seed in range(16):
        few = measure_joint_spectrum(model, inputs, targets, generator=generator(seed), num_modes=9)
        short = exact[:9] - few.eigenvalues
        assert (short >= -1e-10).all() and (short <= few.error + 1e-10).all() and few.error < exact[0]


def test_bounds_hold_the_lazy_loss_and_close_with_products() -> None:
    model, inputs, targets = network()
    kernel = written_out(model, inputs, {})
    values, vectors = torch.linalg.eigh(kernel)
    power = (vectors.T @ (targets - model(inputs).detach()).flatten()).square() / 20
    steps, lr, widths = np.array([0, 1, 5, 40, 300, 3000]), 1.0 / float(values[-1]), []
    exact = np.array([float(0.5 * ((1 - lr * values) ** (2 * int(step)) * power).sum()) for step in steps])
    for products in (4, 8, 16, 60):
        found = measure_joint_spectrum(
            model, inputs, targets, generator=generator(), num_modes=60, num_products=products
        )
        low, high = found.loss(steps, lr=lr)
        assert (low <= exact + 1e-12).all() and (high >= exact - 1e-12).all()
        widths.append(float((high - low).max()))
    assert widths == sorted(widths, reverse=True) and widths[0] > 1e-3 and widths[-1] < 1e-9
    # The mutant: half the learning rate is outside.
    wrong = np.array([float(0.5 * ((1 - 0.5 * lr * values) ** (2 * int(step)) * power).sum()) for step in steps])
    assert not (wrong <= high + 1e-12).all()


def test_parts_of_the_network_add_up() -> None:
    model, inputs, targets = network()
    blocks = {"first": ["0.weight", "0.bias"], "last": ["2.weight"]}
    found = measure_joint_spectrum(
        model, inputs, targets, generator=generator(), num_modes=60, num_probes=400, blocks=blocks
    )
    last = written_out(model, inputs, {"0.weight": 0.0, "0.bias": 0.0})
    share = float(last.trace() / written_out(model, inputs, {}).trace())
    one = found.blocks[1]
    assert one.name == "last" and sum(block.rate_share for block in found.blocks) == pytest.approx(1.0)
    assert abs(one.trace_share - share) < 4 * one.trace_error < 0.1


@pytest.mark.parametrize("rank", [1, 3, 30])
def test_numerics_on_matrices_of_known_rank(rank: int) -> None:
    draws = torch.randn(30, rank, generator=generator(2), dtype=torch.float64)
    matrix, start = draws @ draws.T, torch.randn(30, generator=generator(3), dtype=torch.float64)
    pairs = nystrom_eigenpairs(lambda v: matrix @ v, 30, num=12, generator=generator())
    exact = torch.linalg.eigvalsh(matrix).flip(0)[:12]
    assert (pairs.values <= exact + 1e-9).all() and (exact <= pairs.values + pairs.error + 1e-9).all()
    if rank < 12:
        assert pairs.values == pytest.approx(exact, abs=1e-9) and pairs.error < 1e-9, "nothing is left out"
    for nodes, weights in lanczos_bracket(lambda v: matrix @ v, start, 30):
        first = float(start @ matrix @ start / start.square().sum())
        assert float(weights.sum()) == pytest.approx(1.0) and float(weights @ nodes) == pytest.approx(first, rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"targets": torch.zeros(20, 2).double()}, "one-hot"),
        ({"targets": torch.zeros(20, 3).double(), "center_output": True}, "nothing to learn"),
        ({"targets": torch.full((20, 3), float("nan")).double()}, "not finite"),
        ({"num_modes": 0}, "num_modes 0"),
        ({"num_products": 1}, "num_products 1"),
        ({"blocks": {"mine": ["nobody"]}}, "nobody"),
        ({"parameter_weights": {"nobody": 1.0}}, "nobody"),
        ({"parameter_weights": {"0.weight": 0.0, "0.bias": 0.0, "2.weight": 0.0}}, "weight 0"),
    ],
)
def test_bad_input_is_one_sentence(settings, words: str) -> None:
    model, inputs, targets = network()
    with one_sentence(SpecError, words):
        measure_joint_spectrum(model, inputs, **({"targets": targets, "generator": generator()} | settings))


def test_what_does_not_fit_into_memory_is_refused_before_the_work(monkeypatch) -> None:
    model, inputs, targets = network()
    monkeypatch.setattr("limes.measure.joint_spectrum.MAX_GIB", 1e-6)
    with pytest.raises(SpecError, match="GiB"):
        measure_joint_spectrum(model, inputs, targets, generator=generator())


@pytest.mark.parametrize(("lr", "steps", "words"), [(0.0, 1, "positive"), (9.0, 1, "up to"), (0.01, -1, "at least 0")])
def test_losses_that_are_none(lr: float, steps: float, words: str) -> None:
    model, inputs, targets = network()
    found = measure_joint_spectrum(model, inputs, targets, generator=generator(), num_modes=5)
    with pytest.raises(SpecError, match=words):
        found.loss(steps, lr=lr)
