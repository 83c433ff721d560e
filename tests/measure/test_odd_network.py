"""Every diagnostic that takes a model, on one with batch norm, dropout, attention, tied and frozen weights.

Training mode, gradients in place, an optimizer with a past: all must be left as found, bit for bit. Values are
compared with a slow computation where no other test does so on this network.
"""

import copy
import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from limes import measure
from limes.measure import DIAGNOSTICS
from limes.measure.hessian_spectrum import hessian_density
from support.odd_network import OddNetwork, assert_untouched, odd_network, token_loss, whole_state

DTYPES = (torch.float32, torch.float64)
Batch = tuple[Tensor, Tensor]
LAYERS = ["up", "down"]


def moved(model: nn.Module) -> dict[str, Tensor]:
    """Weights somewhere else."""
    return {name: 0.9 * parameter.detach() for name, parameter in model.named_parameters()}


def recordings(model: OddNetwork, batch: Batch) -> tuple[dict[str, Tensor], object, object]:
    """Weights before a step, and the forward pass before and after it."""
    after, before = copy.deepcopy(model.state_dict()), moved(model)
    model.load_state_dict(after | before)
    first = measure.record_forward_pass(model, batch[0])
    model.load_state_dict(after)
    return before, first, measure.record_forward_pass(model, batch[0])


CASES: dict[str, Callable[[OddNetwork, Batch, torch.optim.Optimizer], object]] = {
    "feature_kernels": lambda m, b, o: measure.feature_kernels(m, b[0], layers=LAYERS),
    "gradient_kernels": lambda m, b, o: measure.gradient_kernels(m, b[0], layers=LAYERS),
    "empirical_ntk": lambda m, b, o: measure.empirical_ntk(m, b[0]),
    "measure_spectrum": lambda m, b, o: measure.measure_spectrum(m, *regression(m, b)),
    "measure_joint_spectrum": lambda m, b, o: measure.measure_joint_spectrum(
        m, *regression(m, b), generator=torch.Generator().manual_seed(0), num_modes=8, num_products=8
    ),
    "tangent_operator": lambda m, b, o: product(m, b),
    "record_forward_pass": lambda m, b, o: measure.record_forward_pass(m, b[0]),
    "split_updates": lambda m, b, o: measure.split_updates(m, *recordings(m, b)),
    "second_order_ratios": lambda m, b, o: measure.second_order_ratios(
        m, "up", moved(m), recordings(m, b)[2], {"all": moved(m)}
    ),
    "effective_shrinkage": lambda m, b, o: measure.effective_shrinkage(m, o),
    "weight_movement": lambda m, b, o: measure.weight_movement(m, moved(m)),
    "feature_movement": lambda m, b, o: measure.feature_movement(*[recordings(m, b)[i] for i in (1, 2)]),
    "gradient_health": lambda m, b, o: measure.gradient_health(m, o),
    "update_sizes": lambda m, b, o: measure.update_sizes(m, moved(m)),
    "gradient_noise_scale": lambda m, b, o: measure.gradient_noise_scale(
        m, token_loss, [(b[0][i : i + 1], b[1][i : i + 1]) for i in range(4)], batch_size=1
    ),
    "sharpness": lambda m, b, o: measure.sharpness(m, token_loss, b, max_products=20),
    "hessian_trace": lambda m, b, o: measure.hessian_trace(
        m, token_loss, b, generator=torch.Generator().manual_seed(0), num_probes=2
    ),
    "hessian_density": lambda m, b, o: measure.hessian_density(
        m, token_loss, b, generator=torch.Generator().manual_seed(0), num_steps=5
    ),
    "edge_of_stability": lambda m, b, o: measure.edge_of_stability(m, token_loss, b, o, max_products=20),
}


# Their output for one sample must not depend on the others, as that of batch norm does in training.
PER_SAMPLE = {"empirical_ntk", "measure_spectrum", "measure_joint_spectrum", "split_updates", "second_order_ratios"}


def regression(model: OddNetwork, batch: Batch) -> tuple[Tensor, Tensor]:
    """Tokens, and real targets in the shape of the outputs."""
    with torch.no_grad():
        return batch[0], 0.5 * model(batch[0])


def product(model: OddNetwork, batch: Batch) -> Tensor:
    """One product with the tangent kernel."""
    with measure.tangent_operator(model, batch[0]) as kernel:
        size = batch[0].numel() * model.readout.out_features
        return kernel.product(torch.ones(size, dtype=model.qkv.weight.dtype))


def trained(dtype: torch.dtype) -> tuple[OddNetwork, Batch, torch.optim.Optimizer]:
    """In training mode, with gradients and an optimizer that has made two steps."""
    model, tokens, targets = odd_network(dtype)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        token_loss(model, (tokens, targets)).backward()
        optimizer.step()
    return model, (tokens, targets), optimizer


def test_every_diagnostic_of_a_model_is_here() -> None:
    of_models = {
        name
        for name, function in DIAGNOSTICS.items()
        if "model" in inspect.signature(function).parameters or name == "feature_movement"
    }
    assert of_models == CASES.keys()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_everything_is_left_as_found(name: str, dtype: torch.dtype) -> None:
    model, batch, optimizer = trained(dtype)
    if name in PER_SAMPLE:
        model.eval()
    state, past = whole_state(model), copy.deepcopy(optimizer.state_dict())
    CASES[name](model, batch, optimizer)
    assert_untouched(state, model)
    now = optimizer.state_dict()
    assert now["param_groups"] == past["param_groups"]
    for index, entries in past["state"].items():
        assert all(torch.equal(value, now["state"][index][key]) for key, value in entries.items())


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_equal_a_slow_computation(dtype: torch.dtype) -> None:
    model, (tokens, _), _ = trained(dtype)
    model.eval()
    outputs: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda m, a, out, name=name: outputs.update({name: out}))
        for name in LAYERS
    ]
    result = model(tokens)
    gradients = torch.autograd.grad(result.sum(), [outputs[name] for name in LAYERS], retain_graph=True)
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # The tied matrix is one parameter, with the gradients of both its uses; the frozen map is none.
    jacobian = [
        torch.stack(
            [
                torch.cat([g.flatten() for g in torch.autograd.grad(value, moving, retain_graph=True)]).double()
                for value in sample.flatten()
            ]
        )
        for sample in result
    ]
    for hook in hooks:
        hook.remove()
    outputs = {name: output.detach() for name, output in outputs.items()}
    features = measure.feature_kernels(model, tokens, layers=LAYERS)
    found = measure.gradient_kernels(model, tokens, layers=LAYERS)
    tolerance = 200 * torch.finfo(dtype).eps
    for name, gradient in zip(LAYERS, gradients):
        for i in range(len(tokens)):
            for j in range(len(tokens)):
                one, two = outputs[name][i].double().flatten(), outputs[name][j].double().flatten()
                scale = float(features[name].abs().max())
                assert float(features[name][i, j]) == pytest.approx(float(one @ two) / len(one), abs=tolerance * scale)
                one, two = gradient[i].double().flatten(), gradient[j].double().flatten()
                scale = float(found[name].abs().max())
                assert float(found[name][i, j]) == pytest.approx(float(one @ two), abs=tolerance * scale)
    expected = torch.tensor([[float((a * b).sum(1).mean()) for b in jacobian] for a in jacobian], dtype=torch.float64)
    for method in ("vmap", "loop"):
        ntk = measure.empirical_ntk(model, tokens, method=method)
        torch.testing.assert_close(ntk, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def test_the_ends_of_the_density_are_the_extreme_eigenvalues() -> None:
    """Of the dense Hessian, by central differences of the gradient."""
    model, batch, _ = trained(torch.float64)
    model.eval()
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    start = torch.cat([parameter.detach().flatten() for parameter in moving])

    def gradient(flat: Tensor) -> Tensor:
        nn.utils.vector_to_parameters(flat, moving)
        parts = torch.autograd.grad(token_loss(model, batch), moving)
        return torch.cat([part.flatten() for part in parts])

    step, rows = 1e-5, []
    for index in range(len(start)):
        unit = torch.zeros_like(start)
        unit[index] = step
        rows.append((gradient(start + unit) - gradient(start - unit)) / (2 * step))
    nn.utils.vector_to_parameters(start, moving)
    matrix = torch.stack(rows)
    exact = torch.linalg.eigvalsh(0.5 * (matrix + matrix.T))
    found = hessian_density(model, token_loss, batch, generator=torch.Generator().manual_seed(0), num_steps=80)
    scale = float(exact.abs().max())
    assert found.nodes.max().item() == pytest.approx(exact[-1].item(), abs=1e-5 * scale)
    assert found.nodes.min().item() == pytest.approx(exact[0].item(), abs=1e-5 * scale)
    assert measure.sharpness(model, token_loss, batch, tolerance=1e-8).value == pytest.approx(
        exact[-1].item(), abs=1e-6 * scale
    )
