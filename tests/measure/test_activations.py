"""Recorders: they see what a naive loop sees, on any module, and leave no trace."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from limes.measure import (
    effective_shrinkage,
    main_tensor,
    record_forward_pass,
    second_order_ratios,
    split_updates,
)
from limes.measure.updates import owner_of, root_mean_square


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Inplace(nn.Module):
    """Changes what its layers returned, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.act = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.shared = nn.Linear(4, 4)

    def forward(self, x, *, flag=None):
        y = self.first(x)
        return {"logits": self.shared(self.shared(self.drop(self.norm(self.act(y))))), "loss": y.sum()}


def test_recorded_tensors_are_those_of_a_naive_loop_in_spite_of_ops_in_place() -> None:
    model = Inplace().double().eval()
    x = drawn(5, 3)
    recording = record_forward_pass(model, x, flag=None)
    h = x @ model.first.weight.T + model.first.bias
    torch.testing.assert_close(recording.outputs["first"][0], h)
    torch.testing.assert_close(recording.inputs["act"][0][0][0], h)
    torch.testing.assert_close(recording.outputs["act"][0], h.clamp(min=0))
    assert len(recording.outputs["shared"]) == 2
    torch.testing.assert_close(recording.inputs["shared"][1][0][0], recording.outputs["shared"][0])
    assert torch.equal(recording.outputs[""][0], main_tensor(recording.result))


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_random_state_stay_as_they_were(fails: bool) -> None:
    model = Inplace().double().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    if fails:
        with pytest.raises(RuntimeError):
            record_forward_pass(model, drawn(5, 7))
    else:
        record_forward_pass(model, drawn(5, 3))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    hooks = [module._forward_hooks or module._forward_pre_hooks for module in model.modules()]
    assert not any(hooks) and model.training


def test_attention_logits_of_multihead_attention_give_its_weights() -> None:
    for batched in (True, False):
        layer = nn.MultiheadAttention(8, 2, batch_first=batched).double()
        x = drawn(3, 5, 8) if batched else drawn(5, 8)
        wrapped = nn.ModuleDict({"attention": layer})
        wrapped.forward = lambda y, layer=layer: layer(y, y, y, average_attn_weights=False)[1]
        weights = wrapped(x)
        logits = record_forward_pass(wrapped, x).attention["attention"][0]
        torch.testing.assert_close(logits.softmax(-1).reshape(weights.shape), weights)


@pytest.mark.parametrize("closed", [torch.finfo(torch.float64).min, -1e9, -torch.inf])
def test_attention_logits_of_fused_grouped_and_written_out_attention_agree(closed: float) -> None:
    q, k = drawn(2, 4, 3, 6), drawn(2, 2, 3, 6, seed=1)

    class Attend(nn.Module):
        def forward(self, fused):
            if fused:
                return F.scaled_dot_product_attention(q, k, k, scale=0.3, enable_gqa=True, is_causal=True)
            wide = k.repeat_interleave(2, dim=1)
            mask = torch.zeros(3, 3, dtype=torch.float64).masked_fill(torch.ones(3, 3).triu(1) > 0, closed)
            return F.softmax(0.3 * q @ wide.transpose(-2, -1) + mask, dim=-1) @ wide

    model = Attend()
    fused, written = (record_forward_pass(model, way).attention[""][0] for way in (True, False))
    torch.testing.assert_close(fused.tril(), written)
    torch.testing.assert_close(model(True), model(False))


def test_split_of_an_update_is_that_of_the_definition() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = drawn(6, 3)
    first = record_forward_pass(model, x)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for value in model.parameters():
            value += 0.1 * drawn(*value.shape, seed=3)
    last = record_forward_pass(model, x)
    found = split_updates(model, before, first, last)
    x0, x1 = first.outputs["1"][0], last.outputs["1"][0]
    old, new = before["2.weight"], model[2].weight.detach()
    assert found["2.weight"].effective == pytest.approx(root_mean_square([x1 @ (new - old).T]), rel=1e-12)
    assert found["2.weight"].propagating == pytest.approx(root_mean_square([(x1 - x0) @ old.T]), rel=1e-12)
    shift = (model[2].bias.detach() - before["2.bias"]).expand(6, 2)
    assert found["2.bias"].effective == pytest.approx(root_mean_square([shift]), rel=1e-12)
    assert found["0.weight"].propagating == 0.0
    assert found["2.weight"].inputs_after == pytest.approx(root_mean_square([x1]), rel=1e-12)
    assert torch.equal(model[2].weight.detach(), new), "the model keeps its weights"


def test_a_parameter_belongs_to_the_innermost_module_that_was_called() -> None:
    assert owner_of("a.b.weight", {"": 0, "a": 0, "a.b": 0}) == "a.b"
    assert owner_of("a.b.weight", {"": 0}) == ""


def test_second_order_of_a_bilinear_block_and_of_a_linear_one() -> None:
    class Bilinear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(3, 5, bias=False), nn.Linear(5, 3, bias=False)

        def forward(self, x):
            return x + self.down(self.up(x))

    model = nn.Sequential(Bilinear()).double()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    steps = {name: 0.01 * drawn(*value.shape, seed=5) for name, value in before.items()}
    with torch.no_grad():
        for name, value in model.named_parameters():
            value += steps[name]
    x = drawn(4, 3)
    recording = record_forward_pass(model, x)
    du, dd = steps["0.up.weight"], steps["0.down.weight"]
    up, down = before["0.up.weight"], before["0.down.weight"]
    expected = root_mean_square([x @ du.T @ dd.T]) / root_mean_square([x @ du.T @ down.T + x @ up.T @ dd.T])
    ratios = second_order_ratios(model, "0", before, recording, {"all": before, "linear": ["0.up.weight"]})
    assert ratios == {"all": pytest.approx(expected, rel=1e-9)}


@pytest.mark.parametrize(
    ("make", "share"),
    [
        (lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.2), 0.02),
        (lambda groups: torch.optim.SGD(groups, lr=0.1, weight_decay=0.2, momentum=0.9), 0.02),
        (lambda groups: torch.optim.Adam(groups, lr=0.1, weight_decay=0.0), 0.0),
    ],
)
def test_shrinkage_is_learning_rate_times_decay_and_leaves_everything_as_it_was(make, share: float) -> None:
    model = nn.Linear(4, 4).double()
    optimizer = make(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        model(drawn(3, 4)).square().sum().backward()
        optimizer.step()
    weights = [value.detach().clone() for value in model.parameters()]
    gradients = [value.grad.clone() for value in model.parameters()]
    state = {key: value.clone() for key, value in optimizer.state[model.weight].items() if torch.is_tensor(value)}
    found = effective_shrinkage(model, optimizer)
    assert found == {"weight": pytest.approx(share, abs=1e-14), "bias": pytest.approx(share, abs=1e-14)}
    assert all(torch.equal(a, b.detach()) for a, b in zip(weights, model.parameters()))
    assert all(torch.equal(a, b.grad) for a, b in zip(gradients, model.parameters()))
    for key, value in state.items():
        assert torch.equal(value, optimizer.state[model.weight][key])
    assert optimizer.param_groups[0]["weight_decay"] == (0.2 if share else 0.0)


def test_hugging_face_models_are_recorded_with_their_cache_off() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed (extra `hf`)")
    from support.hf import HF

    build, base, _ = HF["llama"]
    model = build(base).eval()
    assert model.config.use_cache
    recording = record_forward_pass(model, input_ids=torch.arange(6).reshape(1, 6))
    assert model.config.use_cache and recording.result.past_key_values is None
    assert list(recording.attention) == [f"model.layers.{layer}.self_attn" for layer in range(2)]
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for value in model.parameters():
            value *= 1.01
    again = record_forward_pass(model, input_ids=torch.arange(6).reshape(1, 6))
    found = split_updates(model, before, recording, again)
    assert found.keys() == before.keys() and all(update.effective > 0 for update in found.values())
    first_layer = {"all": [name for name in before if "layers.0" in name]}
    ratio = second_order_ratios(model, "model.layers.0", before, again, first_layer)["all"]
    assert ratio is not None and 0 < ratio < 0.1
