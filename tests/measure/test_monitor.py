"""The monitor: its numbers are those of the instruments, it leaves no trace, and it sees what it should."""

import json
import math
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from limes.core.errors import SpecError
from limes.measure.attention_entropy import attention_statistics
from limes.measure.features import dead_units, effective_rank, token_similarity
from limes.measure.health import SIGNS, Level, first_alarms, health_rows
from limes.measure.monitor import Monitor
from limes.measure.monitor_probe import MonitorProbe
from limes.measure.outliers import kurtosis, max_median_ratio
from limes.measure.outputs import output_statistics
from limes.measure.watch import ForwardWatch
from limes.measure.writers import JsonLines, TensorBoard, WandB, read_json_lines
from support.odd_network import HEADS, OddNetwork, assert_untouched, odd_network, token_loss, whole_state

DTYPES = (torch.float32, torch.float64)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    """Over what is trainable."""
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)


def by_hand(model: OddNetwork, tokens: torch.Tensor) -> dict[str, float]:
    """Signs of the odd network in evaluation mode, from its formula."""
    with torch.no_grad():
        x = model.embedding(tokens)
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in model.qkv(x).chunk(3, -1))
        causal = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril()
        logits = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~causal, -math.inf)
        first = attention_statistics(logits, query=q, key=k)
        mixed = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
        y = x + model.frozen(mixed)
        q, k, _ = F.linear(y, model.packaged.in_proj_weight, model.packaged.in_proj_bias).chunk(3, -1)
        q, k = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (q, k))
        second = attention_statistics(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, query=q, key=k)
        y = y + model.packaged(y, y, y, need_weights=False)[0]
        up = model.norm(y.transpose(1, 2)).transpose(1, 2)
        down = model.up(up).relu()
        output = output_statistics(model(tokens))
    rows = up.shape[:-1].numel()
    return {
        "max_attention_logit": first["max_logit"].item(),
        "attention_entropy": first["entropy"].item(),
        "query_norm": first["query_norm"].item(),
        "attention_entropy/packaged": second["entropy"].item(),
        "head_similarity/packaged": second["head_similarity"].item(),
        "kurtosis/frozen": kurtosis(mixed).item(),
        "kurtosis/down": kurtosis(down).item(),
        "max_median_ratio/up": max_median_ratio(up).item(),
        "dead_units/down": dead_units(down).item(),
        "effective_rank/up": (rank := effective_rank(up, kind="participation").item()),
        "rank_share/up": math.log(rank) / math.log(rows * up.shape[-1] / (rows + up.shape[-1])),
        "token_similarity/up": token_similarity(up).item(),
        "preactivation_rms/up": model.up(up).square().mean().sqrt().item(),
        "log_z": output["log_z"].item(),
        "logit_max": output["logit_max"].item(),
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_signs_are_those_of_the_formula(dtype: torch.dtype) -> None:
    model, tokens, _ = odd_network(dtype)
    model.eval()
    expected = by_hand(model, tokens)
    before = whole_state(model)
    watch = ForwardWatch(model)
    with torch.no_grad(), watch.watching():
        model(tokens)
    found = watch.take()
    assert_untouched(before, model)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4 if dtype == DTYPES[0] else 1e-9)
    assert not any("readout" in name and name.startswith("attention") for name in found)


def test_a_rank_is_judged_against_that_of_random_features() -> None:
    """Eight samples of five inputs use about 3 directions at best, which is no alarm; one direction is."""

    def judged(inputs: torch.Tensor) -> tuple[float, dict[str, Level]]:
        net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
        with torch.no_grad():
            for index, parameter in enumerate(net.parameters()):
                drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
                parameter.copy_(drawn / parameter.shape[-1] ** 0.5 if parameter.dim() > 1 else 0 * drawn)
        watch = ForwardWatch(net)
        with torch.no_grad(), watch.watching():
            net(inputs)
        found = watch.take()
        levels = {name: SIGNS["rank_share"].level(value) for name, value in found.items() if "rank_share" in name}
        return found["effective_rank/0"], levels

    random = torch.randn(8, 5, generator=torch.Generator().manual_seed(7))
    directions, levels = judged(random)
    assert levels == {"rank_share/0": Level.OK, "rank_share/2": Level.OK}
    assert directions < 3.0, "a line at 3 directions, whatever the size, would be an alarm"
    for alike in (random[:1] + 0.05 * random, torch.zeros(8, 5)):
        assert judged(alike)[1] == {"rank_share/0": Level.DANGER, "rank_share/2": Level.DANGER}
    watch = ForwardWatch(nn.Sequential(nn.Linear(2, 1)))
    with torch.no_grad(), watch.watching():
        watch.model(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    found = watch.take()
    assert "effective_rank/0" in found and "rank_share/0" not in found, "of two features one direction is no sign"


def test_uniform_attention_is_no_rank_collapse() -> None:
    """Averages over all tokens are alike, whatever the tokens; the stream that they are added to is not."""

    class Averaging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value, self.out, self.up = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            v = self.value(x)[:, None]
            return self.up(x + self.out(F.scaled_dot_product_attention(torch.zeros_like(v), v, v)[:, 0]))

    watch = ForwardWatch(Averaging())
    with torch.no_grad(), watch.watching():
        watch.model(torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0)))
    found = watch.take()
    assert {name.partition("/")[2] for name in found if name.startswith("token_similarity/")} == {"value", "up"}
    assert {name.partition("/")[2] for name in found if name.startswith("effective_rank/")} == {"value", "up"}
    assert found["token_similarity/up"] < 0.5 and "kurtosis/out" in found


def written_out(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Attention as many models spell it."""
    return F.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + mask, dim=-1) @ v


class _Spelled(nn.Module):
    def __init__(self, *, fused: bool, groups: int) -> None:
        super().__init__()
        self.fused, self.groups = fused, groups
        self.map = nn.Linear(8, 8)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.fused:
            return self.map(F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=self.groups > 1)).mean(1)
        k, v = (part.repeat_interleave(self.groups, 1) for part in (k, v))
        return self.map(written_out(q, k, v, mask)).mean(1)


@pytest.mark.parametrize("groups", [1, 2])
def test_attention_is_seen_however_it_is_spelled(groups: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, heads, 5, 8, generator=generator) for heads in (4, 4 // groups, 4 // groups))
    mask = torch.zeros(3, 1, 5, 5).masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), torch.finfo().min)
    found = []
    for fused in (True, False):
        watch = ForwardWatch(_Spelled(fused=fused, groups=groups), max_sequences=2)
        with torch.no_grad(), watch.watching():
            watch.model(q, k, v, mask)
        found.append(watch.take())
    shared = [name for name in found[1] if "attention" in name or name == "head_similarity"]
    assert len(shared) == 5
    assert [found[0][name] for name in shared] == pytest.approx([found[1][name] for name in shared], rel=1e-5)


def run(*, watched: bool, steps: int = 5, **settings) -> tuple[nn.Module, list, Monitor | None]:
    """A loop of the user's own; the weights at the end, and what the monitor said."""
    model, tokens, targets = odd_network()
    optimizer = adam(model)
    torch.random.default_generator.manual_seed(3)
    monitor = Monitor(model, optimizer, every=2, **settings) if watched else None
    said = []
    for _ in range(steps):
        loss = token_loss(model, (tokens, targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model(tokens[:1])
        if monitor is not None:
            said.append(monitor.step(loss))
    return model, said, monitor


@pytest.mark.parametrize("inputs", [None, torch.zeros(2, 6, dtype=torch.long)])
def test_training_is_the_same_bitwise_with_a_monitor(inputs: torch.Tensor | None) -> None:
    with torch.random.fork_rng():
        plain, _, _ = run(watched=False)
        state = whole_state(plain)
        model, said, monitor = run(watched=True, inputs=inputs)
        assert monitor is not None
        monitor.close()
        monitor.close()
        assert_untouched(state, model)
    assert [values is not None for values in said] == [True, False, True, False, True]
    assert monitor.latest == said[4] and monitor.latest_step == 4
    # The same signs each time, gradients and updates among them.
    assert said[0].keys() == said[2].keys() == said[4].keys()
    assert {"loss", "gradient_over_eps/up.weight", "update_ratio/up.weight", "role_update_ratio/hidden"} <= said[
        0
    ].keys()
    assert {name.partition("/")[0] for name in said[0]} <= SIGNS.keys()


def test_no_hook_between_samples_and_none_after_an_error() -> None:
    model, tokens, targets = odd_network()
    optimizer = adam(model)
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    with Monitor(model, optimizer, every=3) as monitor:
        with pytest.raises(IndexError):
            model(tokens + 1000)
        # The mode that sees attention ended with the failed pass.
        assert torch._C._len_torch_function_stack() == 0
        loss = token_loss(model, (tokens, targets))
        loss.backward()
        optimizer.step()
        assert monitor.step(loss) is not None
        assert sum(hooks) == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
        assert len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks) == 0
        assert monitor.step(1.0) is None and monitor.step(1.0) is None
        assert len(optimizer._optimizer_step_pre_hooks) == 1
    assert hooks == [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    assert len(optimizer._optimizer_step_pre_hooks) == 0


def test_wrong_use_is_said() -> None:
    model, tokens, targets = odd_network()
    optimizer = adam(model)
    with Monitor(model, optimizer, every=1) as monitor:
        loss = token_loss(model, (tokens, targets))
        with pytest.warns(UserWarning, match="after optimizer.step"):
            monitor.step(loss)
        monitor.step(loss)
    with pytest.raises(SpecError, match="every 0"):
        Monitor(model, every=0)
    compiled = nn.Module()
    # What torch.compile returns, without the seconds that it takes.
    compiled._orig_mod = model
    with pytest.raises(SpecError, match="compiled"):
        Monitor(compiled)
    with Monitor(compiled, inputs=tokens) as monitor:
        assert "attention_entropy" in monitor.step(0.0)
    with pytest.raises(SpecError, match="roles"):
        Monitor(model, roles={"nothing": "readout"})


@pytest.mark.parametrize("dtype", DTYPES)
def test_probe_leaves_everything_as_found_and_tells_the_step_to_come(dtype: torch.dtype) -> None:
    model, tokens, targets = odd_network(dtype)
    model.drop.p = model.packaged.dropout = 0.0
    # Biases of keys, and in front of a batch norm, have a gradient that is rounding and nothing else.
    model.packaged.in_proj_bias.requires_grad_(False)
    model.packaged.out_proj.bias.requires_grad_(False)
    optimizer = adam(model)
    for _ in range(2):
        optimizer.zero_grad()
        token_loss(model, (tokens, targets)).backward()
        optimizer.step()
    states = {id(p): {key: value.clone() for key, value in state.items()} for p, state in optimizer.state.items()}
    before = whole_state(model)
    probe = MonitorProbe(optimizer, token_loss)
    found = probe.measure(model, (tokens, targets), 2)
    assert_untouched(before, model)
    for parameter, state in optimizer.state.items():
        assert all(torch.equal(value, states[id(parameter)][key]) for key, value in state.items())
    assert found == probe.measure(model, (tokens, targets), 2)
    # The step that a monitor of the loop itself then sees.
    with Monitor(model, optimizer, every=1) as monitor:
        optimizer.zero_grad()
        loss = token_loss(model, (tokens, targets))
        loss.backward()
        optimizer.step()
        seen = monitor.step(loss)
    assert seen.keys() - found.keys() == {"loss_spike", "spikes_per_1000"}
    assert {name: seen[name] for name in found} == pytest.approx(found, rel=1e-3 if dtype == DTYPES[0] else 1e-9)
    only_forward = MonitorProbe().measure(model, (tokens, targets), 0)
    assert "kurtosis/up" in only_forward and not any(name.startswith("update") for name in only_forward)
    with pytest.raises(SpecError, match="both"):
        MonitorProbe(optimizer)


def test_monitor_sees_trouble() -> None:
    model, tokens, targets = odd_network()
    with torch.no_grad():
        model.packaged.in_proj_weight.mul_(20)
        model.up.bias.fill_(-100.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5, eps=1.0)
    with Monitor(model, optimizer, every=1) as monitor:
        loss = token_loss(model, (tokens, targets))
        loss.backward()
        optimizer.step()
        monitor.step(loss)
        rows = {row.sign: row for row in monitor.rows()}
        assert rows["max_attention_logit"].level is Level.DANGER and rows["max_attention_logit"].place == "packaged"
        assert rows["dead_units"].level is Level.DANGER and rows["dead_units"].place == "down"
        assert rows["gradient_over_eps"].level is Level.DANGER and "epsilon" in rows["gradient_over_eps"].advice
        assert rows["loss"].level is Level.NOTE and rows["loss"].advice == ""
        optimizer.step()
        monitor.step(math.nan)
        assert {row.sign: row.level for row in monitor.rows()}["loss_spike"] is Level.DANGER


def test_gradients_that_are_rounding_are_not_held_against_epsilon() -> None:
    model, tokens, targets = odd_network()
    model.packaged.dropout = 0.0
    optimizer = adam(model)
    with Monitor(model, optimizer, every=1) as monitor:
        loss = token_loss(model, (tokens, targets))
        loss.backward()
        optimizer.step()
        said = monitor.step(loss)
    assert "gradient_rms/packaged.out_proj.bias" in said and "gradient_over_eps/packaged.out_proj.bias" not in said
    assert "gradient_over_eps/packaged.out_proj.weight" in said


def test_health_rows() -> None:
    values = {"attention_entropy/a": 0.5, "attention_entropy/b": 0.05, "kurtosis/c": math.nan, "kurtosis/d": 99.0}
    entropy, kurt = health_rows(values)
    assert (entropy.place, entropy.level, entropy.num_bad, entropy.num_places) == ("b", Level.DANGER, 1, 2)
    assert (kurt.place, kurt.level, kurt.num_bad) == ("c", Level.DANGER, 2)
    log = [(0, {"kurtosis/c": 2.0}), (5, {"kurtosis/c": 20.0}), (9, {"kurtosis/c": 99.0, "logit_max": 60.0})]
    assert first_alarms(log) == {"kurtosis": (9, "c")}
    assert first_alarms(log, level=Level.WATCH) == {"kurtosis": (5, "c"), "logit_max": (9, "")}
    with pytest.raises(SpecError, match="wrong"):
        health_rows({"wrong": 1.0})
    for sign in SIGNS.values():
        assert (sign.watch is None) == (sign.danger is None)
        if sign.watch is not None and sign.danger is not None:
            assert (sign.danger < sign.watch) == sign.falling and sign.advice and sign.null


def test_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "signs.jsonl"
    values = {"loss": math.nan, "log_z": -math.inf, "kurtosis/a": 2.5}
    for step in (0, 5):
        writer = JsonLines(path)
        writer.write(step, values)
        writer.close()
    lines = [json.loads(line, parse_constant=lambda word: pytest.fail(word)) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 5]
    (_, first), _ = read_json_lines(path)
    assert math.isnan(first.pop("loss")) and first == {"log_z": -math.inf, "kurtosis/a": 2.5}
    path.write_text('{"step": 1}\n[]\n')
    with pytest.raises(SpecError, match="line 2"):
        read_json_lines(path)
    with pytest.raises(SpecError, match="cannot be written"):
        JsonLines(tmp_path / "absent" / "a.jsonl")

    logged: list = []
    run_ = types.SimpleNamespace(log=logged.append)
    WandB(run_).write(7, {"loss": 1.0})
    assert logged == [{"limes/loss": 1.0, "limes/step": 7}]
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(run=None))
    with pytest.raises(SpecError, match=r"wandb\.init"):
        WandB()
    for name, make in (("wandb", WandB), ("torch.utils.tensorboard", lambda: TensorBoard(tmp_path))):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SpecError, match="pip install"):
            make()
    scalars: list = []

    class _Board:
        def __init__(self, folder: str) -> None:
            scalars.append(folder)

        def add_scalar(self, *arguments: object) -> None:
            scalars.append(arguments)

        def flush(self) -> None: ...

        def close(self) -> None:
            scalars.append("closed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=_Board))
    board = TensorBoard(tmp_path)
    board.write(2, {"loss": 3.0})
    board.close()
    assert scalars == [str(tmp_path), ("loss", 3.0, 2), "closed"]


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
def test_hugging_face_models_are_watched(kind: str) -> None:
    tf = pytest.importorskip("transformers")
    from support.hf import llama

    with torch.random.fork_rng():
        model = tf.LlamaForCausalLM._from_config(llama(), attn_implementation=kind)
    ids = torch.randint(64, (4, 16), generator=torch.Generator().manual_seed(0))
    padding = torch.ones_like(ids)
    padding[0, :5] = 0
    optimizer = torch.optim.AdamW(model.parameters())
    with Monitor(model, optimizer, every=1) as monitor:
        loss = model(input_ids=ids, attention_mask=padding, labels=ids).loss
        loss.backward()
        optimizer.step()
        said = monitor.step(loss)
    assert {name.partition("/")[2] for name in said if name.startswith("attention_entropy/")} == {
        f"model.layers.{layer}.self_attn" for layer in range(2)
    }
    # Untrained attention is uniform over what the masks leave open, which is what it is compared with.
    assert said["attention_entropy/model.layers.0.self_attn"] == pytest.approx(1.0, abs=1e-3)
    assert "kurtosis/model.layers.1.mlp.down_proj" in said and said["log_z"] == pytest.approx(math.log(64), abs=0.1)
