"""Remedies against instabilities: what they promise, and runs that go wrong without them."""

import math

import pytest
import torch
from torch import Tensor, nn

from limes.core.errors import SpecError
from limes.models import build_model, sigma_reparametrize
from limes.parametrize import plan
from limes.spec import TransformerSpec, parse_study
from limes.sweep.build import Workbench, build_run
from limes.sweep.grid import Curve
from limes.train import train
from limes.train.loss import z_loss


def gpt(width: int = 32, **remedies: object) -> nn.Module:
    spec = TransformerSpec(width=width, depth=2, head_dim=16, context=16, vocab_size=31, **remedies)
    return build_model(spec, generator=torch.Generator().manual_seed(0))


def attention_logits(model: nn.Module, tokens: Tensor) -> list[Tensor]:
    """Of each block, (batch, heads, queries, keys), by the definition."""
    found: list[Tensor] = []

    def keep(layer: nn.Module, arguments: tuple[Tensor], _: Tensor) -> None:
        x = arguments[0]
        parts = layer.qkv(x).unflatten(-1, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys = layer.query_norm(parts[0]), layer.key_norm(parts[1])
        found.append(queries @ keys.transpose(-1, -2) * layer.scale)

    hooks = [block.attention.register_forward_hook(keep) for block in model.blocks]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    return found


def test_normalized_queries_and_keys_bound_the_logits_whatever_the_weights() -> None:
    model, tokens = gpt(qk_norm=True), torch.arange(16)[None]
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight.mul_(1e4)
    # Unit gains: both have norm sqrt(head_dim), the scale is 1 / sqrt(head_dim).
    assert max(logits.abs().max().item() for logits in attention_logits(model, tokens)) <= math.sqrt(16) * 1.0001
    plain = gpt()
    with torch.no_grad():
        for block in plain.blocks:
            block.attention.qkv.weight.mul_(1e4)
    assert max(logits.abs().max().item() for logits in attention_logits(plain, tokens)) > 1e6


def test_the_protected_block_has_one_norm_and_small_branches() -> None:
    model = gpt(block="outlier_protected")
    kinds = [type(module).__name__ for name, module in model.named_modules() if "norm" in name]
    assert kinds.count("LayerNorm") == 2 and kinds.count("RMSNorm") == 4
    assert all(block.residual_multiplier == pytest.approx(0.2) for block in model.blocks)


@pytest.mark.parametrize("remedies", [{"qk_norm": True}, {"block": "outlier_protected"}])
def test_remedied_networks_can_be_planned(remedies: dict[str, object]) -> None:
    made = plan(lambda width: gpt(width, **remedies), base=32, target=64, parametrization="completep")
    gains = [row for row in made.rows if "query_norm" in row["name"]]
    assert gains and all(row["role"] == "finite" and row["lr_scale"] == 1.0 for row in gains)


def test_sigma_holds_the_spectral_norm_at_its_gain_while_training() -> None:
    model = sigma_reparametrize(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    inputs = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    for _ in range(50):
        optimizer.zero_grad()
        (model(inputs) - inputs[:, :1]).square().mean().backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            gain = layer.parametrizations.weight[0].gamma.abs().item()
            assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(gain, rel=1e-2)
    with pytest.raises(SpecError, match="'9'"):
        sigma_reparametrize(model, ["9"])


def test_z_loss_by_its_definition() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [1.0, 1.0]], dtype=torch.float64)
    expected = (math.log(4.0) ** 2 + (1 + math.log(2.0)) ** 2) / 2
    assert z_loss(logits).item() == pytest.approx(expected)


def test_z_loss_is_refused_for_a_regression() -> None:
    content = {"name": "x", "data": {"source": "gaussian"}, "model": {"family": "mlp", "width": 8}}
    panel = {"axis": "width", "sizes": [8, 16], "seeds": [1, 1], "parametrizations": [{"name": "mup"}]}
    study = parse_study(content | {"panels": [panel], "training": {"z_loss": 1e-4}}, name="test")
    with pytest.raises(SpecError, match="z_loss"):
        Workbench(study)


def trained(log2_lr: float, *, z: float = 0.0, **remedies: object) -> tuple[float, float, float]:
    """A byte GPT of width 64 after 200 steps: validation loss, largest attention logit, mean log Z of the outputs."""
    content = {
        "name": "x",
        "model": {"family": "transformer", "width": 64, "head_dim": 16, **remedies},
        "training": {"z_loss": z, "divergence_factor": 1e6},
        "panels": [{"axis": "width", "sizes": [64, 128], "seeds": [1, 1], "parametrizations": [{"name": "mup"}]}],
    }
    bench = Workbench(parse_study(content, name="test"))
    spec = bench.point(Curve(axis="width", parametrization="mup", size=64, seed=0), log2_lr).spec
    model, data, optimizer = build_run(spec)
    trace = train(model, data, optimizer, spec.training)
    tokens = data.validation()[0][0]
    with torch.no_grad():
        log_z = model(tokens).logsumexp(-1).mean().item()
    largest = max(logits.abs().max().item() for logits in attention_logits(model, tokens))
    assert trace.validation_loss is not None
    return trace.validation_loss, largest, log_z


@pytest.mark.sim
def test_attention_logits_explode_at_a_high_rate_and_the_norm_cures_it() -> None:
    """At 2^-3, eight times the optimum: logits of thousands and 0.2 nats lost; with the norm neither."""
    loss, largest, log_z = trained(-3.0)
    cured_loss, cured_largest, _ = trained(-3.0, qk_norm=True)
    assert largest > 1000 > 50 > cured_largest
    assert cured_loss < loss - 0.1
    _, _, held = trained(-3.0, z=1e-3)
    assert held < 0.6 * log_z, "the z-loss holds the outputs' normalization down"
