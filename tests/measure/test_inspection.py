"""What `limes inspect` measures equals the instruments, leaves the model alone; the probe in the training loop."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.measure.hessian import HessianOperator
from limes.measure.inspection import batch_signs, curvature_signs, gradient_signs, weight_signs
from limes.measure.monitor_probe import MonitorProbe
from limes.measure.quantization import quantization_error
from limes.measure.sharpness import sharpness
from limes.measure.stability import edge_of_stability
from limes.measure.weight_spectra import weight_spectrum
from limes.spec import StudySpec
from limes.sweep import expand
from limes.sweep.build import build_run
from limes.train import train
from limes.train.loss import LOSSES
from support.odd_network import assert_untouched, odd_network, token_loss, whole_state

DTYPES = (torch.float32, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_signs_are_those_of_the_instruments(dtype: torch.dtype) -> None:
    model, tokens, targets = odd_network(dtype)
    initial = {name: tensor * 0.5 for name, tensor in model.state_dict().items()}
    before = whole_state(model)
    weights = weight_signs(model, initial=initial)
    features = batch_signs(model, tokens)
    parts = [(tokens[i : i + 1], targets[i : i + 1]) for i in range(4)]
    gradients = gradient_signs(
        model, token_loss, (tokens, targets), eps=1e-4, micro_batches=parts, batch_size=1, curvature=True
    )
    assert_untouched(before, model)
    assert weights["weight_movement/up.weight"] == pytest.approx(1.0)
    spectrum = weight_spectrum(model.up.weight, initial=initial["up.weight"])
    assert weights["weight_outliers/up.weight"] == spectrum.num_outliers
    assert weights["int8_error/qkv.weight"] == pytest.approx(quantization_error(model.qkv.weight).item())
    assert "int8_error/readout.weight" not in weights, "tied tensors count once"
    model.eval()
    entering: list[Tensor] = []
    handle = model.down.register_forward_pre_hook(lambda module, args: entering.append(args[0].detach()))
    loss = token_loss(model, (tokens, targets))
    handle.remove()
    assert features["fp8_error/down"] == pytest.approx(quantization_error(entering[0], "fp8_e4m3").item(), rel=1e-5)
    assert gradients["loss"] == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    rms = model.up.weight.grad.double().square().sum() / (model.up.weight.grad != 0).sum()
    assert gradients["gradient_over_eps/up.weight"] == pytest.approx(rms.sqrt().item() / 1e-4, rel=1e-4)
    found = sharpness(model, token_loss, (tokens, targets), tolerance=1e-3)
    assert gradients["sharpness"] == pytest.approx(found.value, rel=1e-2)
    assert gradients["noise_scale"] > 0


def test_what_started_at_zero_has_no_relative_movement() -> None:
    layer = nn.Linear(2, 2)
    initial = {"weight": layer.weight.detach() * 0.5, "bias": torch.zeros(2)}
    found = weight_signs(layer, initial=initial)
    assert found["weight_movement/weight"] == pytest.approx(1.0) and "weight_movement/bias" not in found


def test_the_edge_of_stability_is_a_sign_where_the_optimizer_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens, targets = odd_network(torch.float64)
    moving = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.Adam(moving, lr=0.01)
    assert "edge_of_stability" not in curvature_signs(model, token_loss, (tokens, targets), adam), "no step, no moments"
    token_loss(model, (tokens, targets)).backward()
    adam.step()
    before = whole_state(model)
    found = curvature_signs(model, token_loss, (tokens, targets), adam)
    assert_untouched(before, model)
    exact = edge_of_stability(model, token_loss, (tokens, targets), adam, tolerance=1e-8)
    assert found["edge_of_stability"] == pytest.approx(exact.ratio, rel=1e-3)
    # Plain gradient descent at a rate of 2 over the sharpness stands at its edge.
    rate = 2.0 / sharpness(model, token_loss, (tokens, targets), tolerance=1e-8).value
    descent = torch.optim.SGD(moving, lr=rate)
    at_edge = curvature_signs(model, token_loss, (tokens, targets), descent)["edge_of_stability"]
    assert at_edge == pytest.approx(1.0, rel=1e-3)
    assert "edge_of_stability" not in curvature_signs(model, token_loss, (tokens, targets), torch.optim.Adagrad(moving))
    products = []
    monkeypatch.setattr(
        HessianOperator, "product", lambda self, v, real=HessianOperator.product: products.append(1) or real(self, v)
    )
    monkeypatch.setattr("limes.measure.inspection.MAX_PRODUCTS", 3)
    curvature_signs(model, token_loss, (tokens, targets), adam)
    assert len(products) <= 6, "each of the two eigenvalues costs no more than its bound"


def test_diverged_weights_and_losses_are_said() -> None:
    model, tokens, targets = odd_network()
    with torch.no_grad():
        model.up.weight[0, 0] = float("nan")
    with pytest.raises(SpecError, match=r"up\.weight"):
        weight_signs(model)
    with pytest.raises(SpecError, match="nan"):
        gradient_signs(model, token_loss, (tokens, targets))


STUDY = {
    "name": "tiny",
    "data": {"source": "gaussian", "num_samples": 32, "num_inputs": 4},
    "model": {"family": "mlp", "width": 8},
    "training": {"steps": 6, "warmup_steps": 1, "batch_size": 4},
    "panels": [{"axis": "width", "sizes": [8, 16], "seeds": [1, 1], "parametrizations": [{"name": "mup"}]}],
    "recommend": {"name": "mup"},
}


def test_probe_in_the_training_loop_survives_a_resume() -> None:
    spec = expand(StudySpec.model_validate(STUDY))[0].spec

    def run(*, probed: bool, state=None, stop: int | None = None):
        model, data, optimizer = build_run(spec)

        def loss(module: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            return LOSSES[data.task](module(batch[0]), batch[1])

        probes = [MonitorProbe(optimizer, loss, every=2, logits=False)] if probed else []
        kept: list = []
        trace = train(
            model,
            data,
            optimizer,
            spec.training,
            probes=probes,
            state=state,
            on_step=lambda step, _: stop is not None and step + 1 == stop,
            checkpoint=lambda done, capture: kept.append(type(capture()).from_bytes(capture().to_bytes())),
        )
        return trace, model, kept

    plain, untouched, _ = run(probed=False)
    whole, model, _ = run(probed=True)
    assert np.array_equal(plain.train_loss, whole.train_loss)
    assert all(torch.equal(a, b) for a, b in zip(untouched.parameters(), model.parameters()))
    assert {"monitor/loss", "monitor/role_update_ratio/hidden"} <= whole.probes.keys()
    assert whole.probes["monitor/loss"][0].tolist() == [0.0, 2.0, 4.0]
    assert whole.probes["monitor/loss"][1] == pytest.approx(whole.train_loss[[0, 2, 4]])
    _, _, kept = run(probed=True, stop=4)
    again, _, _ = run(probed=True, state=kept[2])
    assert again.probes.keys() == whole.probes.keys()
    for name, rows in whole.probes.items():
        assert np.array_equal(rows, again.probes[name]), name
