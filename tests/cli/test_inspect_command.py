"""`limes inspect`: a model with checkpoint and batch, a monitor's files, an interrupted study; and what it refuses."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from limes.measure.monitor import Monitor
from limes.measure.stability import edge_of_stability
from limes.measure.writers import JsonLines
from limes.spec import RunSpec, StudySpec
from limes.store import Store
from limes.sweep import expand
from limes.sweep.build import build_run
from limes.sweep.watch import watch_run
from limes.sweep.worker import Worker
from limes.train import train
from support.odd_network import odd_network, token_loss

BUILD = """
import torch
from torch import nn
from support.odd_network import odd_network

def build(seed=0, dtype="float32"):
    return odd_network(getattr(torch, dtype), seed=seed)[0]

def regressor(width: int):
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))

def classifier():
    return nn.Linear(3, 2)

class Picky(nn.Linear):
    def forward(self, inputs):
        assert len(inputs) > 9
        return super().forward(inputs)

def picky():
    return Picky(3, 2)

def broken():
    return 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a file of networks, a checkpoint and a batch; the working directory too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(BUILD)
    model, tokens, targets = odd_network(seed=1)
    with torch.no_grad():
        model.qkv.weight.mul_(12)
    torch.save({"model": {f"module.{name}": value for name, value in model.state_dict().items()}}, "end.pt")
    # A file format without aliases keeps a tied tensor once.
    plain = {name: value for name, value in model.state_dict().items() if name != "readout.weight"}
    save_file(plain, "end.safetensors")
    torch.save(odd_network(seed=0)[0].state_dict(), "init.pt")
    torch.save({"inputs": tokens, "targets": targets}, "batch.pt")
    np.savez("batch.npz", inputs=tokens.numpy(), labels=targets.numpy())
    return tmp_path


def signs(out: str, index: int = 0) -> dict:
    """By name, from the JSON that was printed."""
    return {row["sign"]: row for row in json.loads(out)["inspected"][index]["signs"]}


def test_a_checkpoint_in_every_format(limes, folder: Path) -> None:
    common = ("inspect", "net.py:build", "--initial", "init.pt", "--curvature", "--json")
    first = limes(*common, "--checkpoint", "end.pt", "--batch", "batch.pt", "--report", "page.html")
    second = limes(*common, "--checkpoint", "end.safetensors", "--batch", "batch.npz")
    assert first.code == second.code == 0, first.err + second.err
    assert first.out == second.out
    found = signs(first.out)
    assert (
        found["max_attention_logit"]["level"] in ("watch", "danger")
        and "QK-norm" in found["max_attention_logit"]["advice"]
    )
    model, tokens, targets = odd_network(seed=1)
    with torch.no_grad():
        model.qkv.weight.mul_(12)
    assert found["loss"]["value"] == pytest.approx(token_loss(model.eval(), (tokens, targets)).item(), rel=1e-5)
    judged = {"kurtosis", "int8_error", "dead_units", "gradient_over_eps", "attention_entropy"}
    shown = {"sharpness", "noise_scale", "weight_outliers", "weight_movement", "stable_rank"}
    assert judged | shown <= found.keys()
    assert all(found[name]["level"] == "note" for name in shown)
    page = (folder / "page.html").read_text()
    assert "max attention logit" in page and "QK-norm" in page


def test_weights_alone_and_a_regression(limes, folder: Path) -> None:
    alone = limes("inspect", "net.py:regressor", "--arg", "width=4")
    assert alone.code == 0 and "stable_rank" in alone.out and "attention" not in alone.out
    np.savez("pairs.npz", x=np.ones((5, 3), np.float32), y=np.zeros((5, 2), np.float32))
    paired = limes("inspect", "net.py:regressor", "--arg", "width=4", "--batch", "pairs.npz", "--json")
    found = signs(paired.out)
    assert "loss" in found and "logit_max" not in found


def test_what_it_refuses(limes, folder: Path) -> None:
    (folder / "notes.pt").write_text("no tensors")
    np.savez("double.npz", x=np.ones((5, 3)), y=np.zeros((5, 2)))
    torch.save(torch.zeros(2, 3), "real.pt")
    for arguments, word in (
        (("net.py",), "function"),
        (("absent.py:build",), "absent.py"),
        (("net.py:nothing",), "nothing"),
        (("net.py:broken",), "int"),
        (("net.py:regressor",), "--arg"),
        (("net.py:build", "--arg", "seed"), "name=value"),
        (("net.py:build", "--checkpoint", "absent.pt"), "absent.pt"),
        (("net.py:build", "--checkpoint", "notes.pt"), "notes.pt"),
        (("net.py:regressor", "--arg", "width=4", "--checkpoint", "end.pt"), "another network"),
        (("net.py:build", "--batch", "end.pt"), "expected"),
        (("net.py:build", "--batch", "real.pt"), "cannot be run"),
        (("net.py:regressor", "--arg", "width=4", "--batch", "double.npz"), "save the inputs as float32"),
        (("net.py:build", "--batch", "batch.pt", "--task", "chess"), "chess"),
        (("net.py:build", "--report", "absent/page.html"), "absent"),
        (("net.py:build", "net.py:build"), "2 targets"),
        (("absent.jsonl",), "absent.jsonl"),
    ):
        outcome = limes("inspect", *arguments)
        assert outcome.code == 2 and word in outcome.err and outcome.err.count("\n") == 1, (arguments, outcome)


@pytest.mark.parametrize(
    ("build", "targets", "task", "word"),
    [
        # Torch broadcasts the first, and takes the second for probabilities.
        ("regressor", torch.zeros(5), None, "real targets of shape (5,)"),
        ("classifier", torch.zeros(5, 2), "classification", "whole numbers"),
        ("classifier", torch.zeros(5, 1, dtype=torch.long), None, "whole targets of shape (5, 1)"),
        ("classifier", torch.zeros(5, dtype=torch.long), "next_token", "3 axes"),
        ("classifier", torch.zeros(5, dtype=torch.long), "regression", "real targets of the shape"),
        ("classifier", torch.zeros(4, dtype=torch.long), None, "as many targets as samples"),
        ("classifier", None, "regression", "needs targets"),
        ("picky", torch.zeros(5, dtype=torch.long), None, "AssertionError"),
    ],
)
def test_targets_that_do_not_fit_are_refused(limes, folder: Path, build, targets, task, word) -> None:
    given = {"inputs": torch.ones(5, 3)} | ({} if targets is None else {"targets": targets})
    torch.save(given, "odd.pt")
    told = ("--arg", "width=4") if build == "regressor" else ()
    outcome = limes("inspect", f"net.py:{build}", *told, "--batch", "odd.pt", *(("--task", task) if task else ()))
    assert outcome.code == 2 and word in outcome.err and outcome.err.count("\n") == 1, outcome


def test_a_flag_that_would_be_ignored_is_refused(limes, folder: Path) -> None:
    monitored(folder / "log.jsonl", scale=1.0)
    (folder / "study").mkdir()
    torch.save({"inputs": torch.ones(0, 3)}, "empty.pt")
    torch.save({"inputs": torch.tensor(1.0)}, "scalar.pt")
    for arguments, word in (
        (("net.py:classifier", "--curvature"), "need a --batch"),
        (("net.py:classifier", "--task", "regression"), "need a --batch"),
        (("net.py:classifier", "--eps", "inf"), "--eps"),
        (("net.py:build", "--batch", "batch.pt", "--eps", "inf"), "finite"),
        (("net.py:classifier", "--batch", "empty.pt"), "(0, 3)"),
        (("net.py:classifier", "--batch", "scalar.pt"), "samples first"),
        (("log.jsonl", "--curvature"), "--curvature: not for the .jsonl"),
        (("log.jsonl", "--where", "size=3"), "--where: not for the .jsonl"),
        (("study", "--batch", "batch.pt", "--eps", "1e-6"), "--batch, --eps: not for the folder"),
    ):
        outcome = limes("inspect", *arguments)
        assert outcome.code == 2 and word in outcome.err and outcome.err.count("\n") == 1, (arguments, outcome)
    executing = limes("inspect", "net.py:build", "--checkpoint", "net.py")
    assert executing.code == 2 and "weights_only" not in executing.err


def test_labels_that_repeat_the_tokens_are_shifted_though_some_do_not_count(limes, folder: Path) -> None:
    model, tokens, _ = odd_network(seed=0)
    labels = tokens.clone()
    labels[:, -2:] = -100
    torch.save({"inputs": tokens, "labels": labels}, "padded.pt")
    found = signs(limes("inspect", "net.py:build", "--batch", "padded.pt", "--json").out)
    # Attention of this network sees all tokens, the last one too.
    logits = model.eval()(tokens)
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert found["loss"]["value"] == pytest.approx(expected.item(), rel=1e-5)
    mutant = token_loss(model, (tokens, labels)).item()
    assert found["loss"]["value"] != pytest.approx(mutant, rel=1e-3)


def monitored(path: Path, *, scale: float) -> None:
    """A file as a Monitor writes it."""
    model, tokens, targets = odd_network()
    with torch.no_grad():
        model.qkv.weight.mul_(scale)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    with Monitor(model, optimizer, every=1, writers=[JsonLines(path)]) as monitor:
        for _ in range(3):
            loss = token_loss(model, (tokens, targets))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            monitor.step(loss)


def test_files_of_monitors_over_time_and_across_scales(limes, folder: Path) -> None:
    targets = []
    for size in (16, 32, 64, 128):
        # The logits go with the square of the factor: a power 1 of the size, but for the noise of training.
        monitored(folder / f"{size}.jsonl", scale=math.sqrt(size / 16))
        targets.append(f"{size}.jsonl@width={size}")
    outcome = limes("inspect", *targets, "--at", "width=512", "--report", "page.html", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert [entry["name"] for entry in found["inspected"]] == targets
    assert {"loss", "loss_spike", "role_update_ratio"} <= signs(outcome.out).keys()
    trend = next(row for row in found["trends"] if row["sign"] == "max_attention_logit")
    assert trend["slope"] > 0 and trend["target"] == 512 and trend["value_low"] < trend["value"] < trend["value_high"]
    page = (folder / "page.html").read_text()
    assert "Across scales" in page and "Over time" in page
    assert limes("inspect", "16.jsonl").code == 0
    alone = limes("inspect", "16.jsonl@width=16", "--at", "width=512")
    assert alone.code == 2 and "three sizes" in alone.err


def test_a_share_that_grows_is_not_carried_beyond_one(limes, folder: Path) -> None:
    for size, entropy, falling in ((16, 0.3, 0.9), (32, 0.5, 0.6), (64, 0.8, 0.4)):
        for name, value in (("up", entropy), ("down", falling)):
            writer = JsonLines(f"{name}{size}.jsonl")
            writer.write(0, {"attention_entropy/a": value, "max_attention_logit/a": 2.0})
            writer.close()

    def trend(name: str) -> dict:
        files = [f"{name}{size}.jsonl@width={size}" for size in (16, 32, 64)]
        rows = json.loads(limes("inspect", *files, "--at", "width=4096", "--json").out)["trends"]
        return next(row for row in rows if row["sign"] == "attention_entropy")

    assert trend("up")["value"] is None and "moves away" in trend("up")["sentence"]
    # A falling one is forecast, with the size at which it is in danger.
    assert trend("down")["value"] < 0.1 and 64 < trend("down")["crosses_at"] < 4096


STUDY = {
    "name": "tiny",
    "data": {"source": "gaussian", "num_samples": 32, "num_inputs": 4},
    "model": {"family": "mlp", "width": 8},
    "training": {"steps": 4, "warmup_steps": 1, "batch_size": 4},
    "panels": [{"axis": "width", "sizes": [8, 16], "seeds": [1, 1], "parametrizations": [{"name": "mup"}]}],
    "recommend": {"name": "mup"},
}


def test_an_interrupted_run_of_a_store(limes, folder: Path) -> None:
    planned = expand(StudySpec.model_validate(STUDY))
    with Store.create(folder / "study") as store:
        store.freeze(STUDY)
        store.add_runs([run.new_run() for run in planned])
        store.add_members([run.member for run in planned])
        nothing = limes("inspect", "study")
        assert nothing.code == 2 and "none of its 10 runs is finished or has a checkpoint" in nothing.err
        claim = store.claim("someone")
        assert claim is not None
        spec = next(run.spec for run in planned if run.spec.key == claim.key)
        model, data, optimizer = build_run(spec)

        def save(done: int, capture) -> None:
            store.save_checkpoint(claim, capture().to_bytes(), step=done)

        train(model, data, optimizer, spec.training, on_step=lambda step, loss: step == 1, checkpoint=save)
    outcome = limes("inspect", "study", "--json")
    assert outcome.code == 0, outcome.err
    assert "step 2" in json.loads(outcome.out)["inspected"][0]["name"]
    found = signs(outcome.out)
    assert found["weight_movement"]["value"] > 0 and "gradient_over_eps" in found


def test_the_optimizer_of_a_checkpoint_is_judged_too(limes, folder: Path) -> None:
    model, tokens, targets = odd_network(seed=1)
    moving = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=0.01, betas=(0.9, 0.99), eps=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        token_loss(model, (tokens, targets)).backward()
        optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "run.pt")
    told = ("inspect", "net.py:build", "--batch", "batch.pt", "--task", "next_token", "--json", "--checkpoint")
    found = signs(limes(*told, "run.pt", "--curvature").out)
    edge = edge_of_stability(model, token_loss, (tokens, targets), optimizer, tolerance=1e-6)
    assert found["edge_of_stability"]["value"] == pytest.approx(edge.ratio, rel=1e-2)
    assert found["gradient_surprise"]["value"] > 0
    # Without it, neither.
    torch.save(model.state_dict(), "bare.pt")
    bare = signs(limes(*told, "bare.pt", "--curvature").out)
    assert "sharpness" in bare and not {"edge_of_stability", "gradient_surprise"} & bare.keys()
    other = torch.optim.AdamW(torch.nn.Linear(2, 2).parameters())
    torch.save({"model": model.state_dict(), "optimizer": other.state_dict()}, "other.pt")
    refused = limes(*told, "other.pt")
    assert refused.code == 2 and "not the model's" in refused.err


@pytest.fixture
def finished(folder: Path) -> dict[str, float]:
    """A store with three sizes of one curve each; the validation losses by key."""
    choices = [{"name": "mup"}, {"name": "standard"}]
    panel = {"axis": "width", "sizes": [8, 16, 32], "seeds": [1, 1, 1], "parametrizations": choices}
    study = STUDY | {"panels": [panel], "target": {"width": 512}}
    planned = [run for run in expand(StudySpec.model_validate(study)) if run.member.log2_lr in (-6.0, -5.0)]
    with Store.create(folder / "study") as store:
        store.freeze(study)
        store.add_runs([run.new_run() for run in planned])
        store.add_members([run.member for run in planned])
        Worker(store, name="test").run()
        return {row.key: row.loss for row in store.rows()}


def test_finished_runs_are_trained_once_more_and_end_as_recorded(
    limes, finished: dict[str, float], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = limes("inspect", "study", "--json", "--report", "health.html")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    names = [entry["name"] for entry in found["inspected"]]
    # The base is one run and stands in both panels.
    assert [name.split(", lr")[0] for name in names] == [
        f"{label}, width {size}" for label in ("mup", "standard") for size in (8, 16, 32)
    ]
    assert found["inspected"][0]["values"] == found["inspected"][3]["values"]
    for entry in found["inspected"]:
        # The best of the curve, bitwise.
        assert entry["values"]["validation_loss"] in finished.values()
        assert entry["values"]["weight_movement/readout.weight"] > 0
        assert "update_ratio/readout.weight" in entry["values"]
    trends = {row["sign"]: row for row in found["trends"]}
    assert trends["kurtosis, mup over width"]["target"] == 512, "the study's own target"
    assert found["lr_sensitivity"] == [], "two rates are no grid"
    assert "ended differently" not in outcome.err
    assert "Over time" in (folder / "health.html").read_text()

    def again(*_: object, **__: object) -> None:
        raise AssertionError("what is done is kept")

    monkeypatch.setattr("limes.cli.inspect_store.watch_run", again)
    assert limes("inspect", "study", "--json", "--report", "health.html").out == outcome.out
    other = json.loads(limes("inspect", "study", "--json", "--at", "width=64").out)
    assert {row["target"] for row in other["trends"]} == {64}
    kept = limes("inspect", "study")
    assert "signs in order" in kept.out and "kurtosis, mup over width: " in kept.out


def test_a_killed_inspection_goes_on_and_damage_is_said(
    limes, finished: dict[str, float], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = watch_run, []

    def stops(spec: RunSpec, **settings: object) -> object:
        calls.append(spec.key)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(spec, **settings)

    monkeypatch.setattr("limes.cli.inspect_store.watch_run", stops)
    limes("inspect", "study")
    assert len(list((folder / "study" / "inspected").glob("*.jsonl"))) == 1
    assert limes("inspect", "study").code == 0
    kept = len(list((folder / "study" / "inspected").glob("*.jsonl")))
    assert len(calls) == 1 + kept and len(set(calls)) == kept, "each once, but for the one that was cut short"
    chosen = limes("inspect", "study", "--where", "size=16,log2_lr=-6", "--json", "--curvature")
    entry = json.loads(chosen.out)["inspected"][0]
    assert "lr 2^-6" in entry["name"] and "edge_of_stability" in entry["values"]
    for where, words in (
        ("depth=3", "no column 'depth'"),
        ("size=7", "no finished run has size=7"),
        ("size", "expected name=value"),
    ):
        refused = limes("inspect", "study", "--where", where)
        assert refused.code == 2 and words in refused.err, refused.err
    file = next((folder / "study" / "inspected").glob("*.jsonl"))
    file.write_text("not a measurement\n")
    assert limes("inspect", "study").code == 2


def test_a_second_training_that_ends_differently_is_told(limes, finished: dict[str, float], folder: Path) -> None:
    limes("inspect", "study")
    for file in (folder / "study" / "inspected").glob("*.jsonl"):
        file.write_text(re.sub(r'"validation_loss": [0-9.]+', '"validation_loss": 9.5', file.read_text()))
    told = limes("inspect", "study")
    assert told.code == 0 and "now 9.5" in told.err
