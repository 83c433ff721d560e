"""Studies of a user's own network: the key of a run covers what it trains, and what it cannot cover is refused."""

from importlib import metadata
from types import SimpleNamespace

import pytest
import torch

from limes.core.errors import PlanError, SpecError
from limes.models import num_params
from limes.spec import StudySpec
from limes.sweep import Workbench, build_run, expand, run_cost
from limes.train import train

NETWORK = """
from dataclasses import dataclass
from torch import nn

@dataclass
class Outputs:
    logits: object

class Network(nn.Module):
    def __init__(self, width, depth, inputs, outputs, slope):
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, outputs)
        self.slope = slope

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = x + layer(nn.functional.leaky_relu(x, self.slope))
        return Outputs(logits=self.head(x))

def build(width, depth, num_inputs, num_outputs, slope=0.0):
    return Network(width, depth, num_inputs, num_outputs, slope)
"""


def study(build="network.py:build", *, arguments=None, axis="width", sizes=(8, 16), **changes):
    panel = {"axis": axis, "sizes": sizes, "seeds": [1, 1], "parametrizations": [{"name": "standard"}, {"name": "mup"}]}
    content = {
        "name": "x",
        "data": {"source": "gaussian", "num_inputs": 4, "num_outputs": 2},
        "model": {"family": "module", "build": build, "width": 8, "depth": 2, "arguments": arguments or {}},
        "training": {"steps": 6, "warmup_steps": 1, "batch_size": 4},
        "panels": [panel],
    }
    return StudySpec.model_validate(content | changes)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "network.py").write_text(NETWORK)
    return tmp_path


def keys(folder, **options):
    return {item.spec.key for item in expand(study(**options), base_dir=folder)}


def test_a_users_network_is_planned_and_trained(folder):
    planned = expand(study(), base_dir=folder)
    assert len(planned) == 2 * 2 * 5
    base, wide = (
        {item.spec.key for item in planned if (item.member.size, item.member.parametrization) == (16, name)}
        for name in ("standard", "mup")
    )
    assert not base & wide and len({item.spec.key for item in planned if item.member.size == 8}) == 5
    item = planned[-1]
    assert item.spec.tensors["layers.0.weight"].lr == pytest.approx(2.0**item.member.log2_lr / 2)
    again = type(item.spec).model_validate(item.spec.to_dict())
    (folder / "network.py").unlink()  # the run carries the text
    traces = []
    for spec in (item.spec, again):
        torch.rand(3)  # the global generator decides nothing
        traces.append(train(*build_run(spec), spec.training))
    assert traces[0].validation_loss == traces[1].validation_loss
    assert num_params(item.spec.model) == sum(value.numel() for value in build_run(item.spec)[0].parameters())
    assert run_cost(item.spec).flops > 0


def test_the_key_covers_text_arguments_and_imported_versions(folder, monkeypatch):
    first = keys(folder)
    assert first == keys(folder)
    assert not first & keys(folder, arguments={"slope": 0.1})
    (folder / "network.py").write_text(NETWORK + "\nimport pandas\n")
    second = keys(folder)
    assert not first & second
    assert Workbench(study(), base_dir=folder).model.packages == {"pandas": metadata.version("pandas")}
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(version="0", read_text=lambda _: None))
    assert not second & keys(folder)


@pytest.mark.parametrize(
    "text, words",
    [
        (None, r"network\.py cannot be read \(No such file"),
        ("def build(:", "is not Python"),
        ("import helpers_beside_it", "'helpers_beside_it', which is no installed package"),
        ("from . import helpers", "relative import"),
        ("def other(): pass", "has no function 'build'"),
        ("raise RuntimeError('no')", "failed on import: RuntimeError: no"),
        ("def build(width, rank): pass", r"needs 'rank', but there is only width, depth, num_inputs"),
        ("def build(width): raise ValueError(width)", "failed: ValueError: 8"),
        ("def build(width): return width", "returned int, expected a torch.nn.Module"),
        (
            "from torch import nn\ndef build(width): return nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.1))",
            r"draws random numbers \(dropout\?\)",
        ),
        ("from torch import nn\ndef build(width): return nn.Linear(4, 3)", r"returns \(4, 3\) .* expected \(4, 2\)"),
        ("from torch import nn\ndef build(width): return nn.Linear(5, 2)", r"fails on inputs of shape \(4, 4\)"),
    ],
)
def test_what_cannot_be_trained_or_keyed_is_refused(tmp_path, text, words):
    if text is not None:
        (tmp_path / "network.py").write_text(text)
    with pytest.raises(SpecError, match=words):
        Workbench(study(), base_dir=tmp_path)


def test_editable_installations_and_unknown_arguments_are_refused(folder, monkeypatch):
    with pytest.raises(SpecError, match=r"'slop', which 'network\.py:build' does not take"):
        Workbench(study(arguments={"slop": 1.0}), base_dir=folder)
    with pytest.raises(SpecError, match="'width', which is a field of the model itself"):
        Workbench(study(arguments={"width": 1}), base_dir=folder)
    (folder / "network.py").write_text("import mine\n" + NETWORK)
    editable = SimpleNamespace(version="1", read_text=lambda _: '{"dir_info": {"editable": true}}')
    monkeypatch.setattr(metadata, "distribution", lambda name: editable)
    with pytest.raises(SpecError, match="'mine', an editable installation"):
        Workbench(study(), base_dir=folder)


def test_an_axis_that_the_function_ignores_does_not_grow(folder):
    (folder / "network.py").write_text(
        NETWORK.replace("def build(width, depth,", "def build(width,").replace(
            "Network(width, depth", "Network(width, 2"
        )
    )
    made = Workbench(study(axis="depth", sizes=(2, 4)), base_dir=folder).plan("depth", "mup", 4)[1]
    assert made.depth_ratio == 1.0


def test_a_growing_head_dimension_is_folded_into_the_queries_or_refused(folder):
    attention = """
from torch import nn

class Attention(nn.Module):
    def __init__(self, width, vocab):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.head = nn.Linear(width, vocab)

    def forward(self, tokens):
        x = self.embed(tokens)
        q, k, v = (part(x)[:, None] for part in (self.query, self.key, self.value))
        return self.head(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0])

def build(width, vocab_size):
    return Attention(width, vocab_size)
"""
    (folder / "network.py").write_text(attention)
    words = {"data": {"source": "corpus", "num_bytes": 20_000, "validation_bytes": 2_000}}
    model = {"family": "module", "build": "network.py:build", "width": 8, "context": 6}
    bench = Workbench(study(sizes=(8, 32), model=model, **words), base_dir=folder)
    made = bench.plan("width", "mup", 32)[1]
    assert made.attention_scale == 1.0
    # muP's 1/m_in, and (8/32)^(1/2) for logits q.k/d, folded into init and learning rate.
    assert made.row("query.weight").lr_scale == pytest.approx(made.row("key.weight").lr_scale / 2)
    (folder / "network.py").write_text(
        attention.replace(
            "(part(x)[:, None] for part in (self.query, self.key, self.value))", "self.packed(x)[:, None].chunk(3, -1)"
        ).replace(
            "self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))",
            "self.packed = nn.Linear(width, 3 * width)",
        )
    )
    with pytest.raises(PlanError, match="query and key share a packed map"):
        Workbench(study(sizes=(8, 32), model=model, **words), base_dir=folder).plan("width", "mup", 32)
