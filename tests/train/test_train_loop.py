"""The loop: schedules, losses, exact resume, divergence as data, centring, probes, precision."""

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from limes.core.errors import StoreError
from limes.core.status import RunStatus
from limes.data import build_data
from limes.models import build_model
from limes.optim import OPTIMIZERS
from limes.spec import MLPSpec, OptimizerSpec, TrainingSpec, TransformerSpec
from limes.spec.data import CorpusSpec, DigitsSpec, GaussianSpec
from limes.train import LOSSES, SCHEDULES, RunTrace, TrainState, lr_factor, train

DATA = GaussianSpec(num_inputs=5, num_outputs=2)
MODEL = MLPSpec(width=8, depth=2, num_inputs=5, num_outputs=2)
BUILDABLE = [name for name, family in OPTIMIZERS.items() if family.build is not None]


def make(training: TrainingSpec, *, optimizer: str | None = None, lr: float = 0.02, seed: int = 0) -> tuple:
    data = build_data(DATA, seed=seed, batch_size=training.batch_size)
    model = build_model(MODEL, generator=torch.Generator().manual_seed(seed))
    if training.dtype == "float64":
        model = model.double()
    groups = [{"params": list(model.parameters()), "lr": lr, "weight_decay": 0.1, "eps": 1e-10}]
    name = optimizer or training.optimizer.name
    if name == "sgd":
        del groups[0]["eps"]
    return model, data, OPTIMIZERS[name].build(groups, training.optimizer)


def assert_same_trace(one: RunTrace, two: RunTrace) -> None:
    assert one.status == two.status and one.steps_done == two.steps_done
    for name, values in one.to_arrays().items():
        np.testing.assert_array_equal(values, two.to_arrays()[name])
    assert (one.validation_loss, one.last_finite_loss) == (two.validation_loss, two.last_finite_loss)


class Stop:
    """Stops a run after some updates and keeps the bytes of its state."""

    def __init__(self, at: int) -> None:
        self.at, self.data = at, b""

    def checkpoint(self, done: int, capture: Callable[[], TrainState]) -> None:
        if done == self.at:
            self.data = capture().to_bytes()

    def on_step(self, step: int, loss: float) -> bool:
        return step + 1 == self.at


# -- schedule ----------------------------------------------------------------------------------------------------------


def test_linear_schedule_is_that_of_the_default_experiment():
    training = TrainingSpec(steps=200, warmup_steps=20)
    expected = [(t + 1) / 20 if t < 20 else (200 - t) / 180 for t in range(200)]
    assert [lr_factor(t, training) for t in range(200)] == expected


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 7])
def test_schedules_stay_in_their_range_and_end_near_the_final_fraction(schedule: str, warmup: int):
    training = TrainingSpec(steps=4000, warmup_steps=warmup, schedule=schedule, final_lr_fraction=0.1)
    factors = np.array([lr_factor(t, training) for t in range(4000)])
    assert factors[warmup] == 1.0 and factors[warmup:].min() >= 0.1 and factors.max() <= 1.0
    assert (np.diff(factors[warmup:]) <= 1e-15).all()
    end = 1.0 if schedule == "constant" else 0.1
    # One step of the steepest schedule (the last fifth, linear) is 0.9 / 800.
    assert abs(factors[-1] - end) < 0.9 / 799


def test_wsd_is_flat_until_its_decay():
    training = TrainingSpec(steps=100, warmup_steps=10, schedule="wsd", decay_fraction=0.2)
    factors = [lr_factor(t, training) for t in range(100)]
    assert set(factors[10:81]) == {1.0} and factors[81] == 0.95 and factors[99] == pytest.approx(0.05)


@pytest.mark.parametrize("step", [-1, 200])
def test_steps_outside_are_refused(step: int):
    with pytest.raises(ValueError, match=r"outside 0 .. 199"):
        lr_factor(step, TrainingSpec(steps=200))


# -- losses and the loop itself ----------------------------------------------------------------------------------------


def test_losses_equal_their_definitions():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, generator=generator)
    targets = torch.randint(0, 5, (3, 4), generator=generator)
    naive = -logits.log_softmax(-1).gather(-1, targets[..., None]).mean()
    torch.testing.assert_close(LOSSES["next_token"](logits, targets), naive)
    torch.testing.assert_close(
        LOSSES["classification"](logits[0], targets[0]), -logits[0].log_softmax(-1)[range(4), targets[0]].mean()
    )
    torch.testing.assert_close(LOSSES["regression"](logits, logits + 2), torch.tensor(2.0))


def test_loop_equals_a_plain_one_bitwise():
    training = TrainingSpec(steps=12, warmup_steps=3, batch_size=4, clip_norm=0.5, eval_every=5)
    model, data, optimizer = make(training)
    trace = train(model, data, optimizer, training)
    plain, data, optimizer = make(training)
    losses, evals = [], []
    for step in range(12):
        optimizer.param_groups[0]["lr"] = 0.02 * ((step + 1) / 3 if step < 3 else (12 - step) / 9)
        inputs, targets = data.batch(step)
        loss = 0.5 * ((plain(inputs) - targets) ** 2).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        if step + 1 in (5, 10, 12):
            with torch.no_grad():
                evals.append(np.mean([0.5 * ((plain(x) - y) ** 2).mean().item() for x, y in data.validation()]))
    np.testing.assert_array_equal(trace.train_loss, losses)
    np.testing.assert_array_equal(trace.eval_steps, [5, 10, 12])
    np.testing.assert_allclose(trace.eval_loss, evals, rtol=1e-6)
    for one, two in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, two)
    assert trace.status is RunStatus.DONE and trace.steps_done == 12 and trace.validation_loss == trace.eval_loss[-1]


@pytest.mark.parametrize(
    ("spec", "data"),
    [
        (
            TransformerSpec(width=16, head_dim=8, depth=1, context=8, vocab_size=96),
            CorpusSpec(num_bytes=50_000, validation_bytes=5_000),
        ),
        (MLPSpec(width=16, depth=1, num_inputs=64, num_outputs=10), DigitsSpec()),
    ],
    ids=["next_token", "classification"],
)
def test_other_tasks_learn(spec: MLPSpec | TransformerSpec, data: CorpusSpec | DigitsSpec):
    training = TrainingSpec(steps=40, warmup_steps=4)
    context = getattr(spec, "context", None)
    source = build_data(data, seed=0, batch_size=8, context=context)
    if context:
        spec = spec.model_copy(update={"vocab_size": source.vocab_size})
    model = build_model(spec, generator=torch.Generator().manual_seed(0))
    groups = [{"params": list(model.parameters()), "lr": 0.01, "weight_decay": 0.0, "eps": 1e-12}]
    trace = train(model, source, OPTIMIZERS["adamw"].build(groups, training.optimizer), training)
    assert trace.status is RunStatus.DONE and trace.validation_loss < 0.9 * trace.initial_loss


# -- exact resume ------------------------------------------------------------------------------------------------------


def resume(training: TrainingSpec, *, at: int, optimizer: str | None = None) -> tuple[RunTrace, RunTrace, nn.Module]:
    whole_model, data, opt = make(training, optimizer=optimizer)
    whole = train(whole_model, data, opt, training)
    stop = Stop(at)
    model, data, opt = make(training, optimizer=optimizer)
    part = train(model, data, opt, training, checkpoint=stop.checkpoint, on_step=stop.on_step)
    assert part.status is RunStatus.RUNNING and part.steps_done == at and part.validation_loss is None
    model, data, opt = make(training, optimizer=optimizer)
    rest = train(model, data, opt, training, state=TrainState.from_bytes(stop.data))
    for one, two in zip(whole_model.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, two)
    return whole, rest, model


@pytest.mark.parametrize("optimizer", [name for name in BUILDABLE if name != "muon"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_resume_is_bitwise_exact(optimizer: str, schedule: str):
    spec = OptimizerSpec(name="sgd", momentum=0.9) if optimizer == "sgd" else OptimizerSpec()
    training = TrainingSpec(
        steps=14, warmup_steps=3, batch_size=4, schedule=schedule, clip_norm=1.0, eval_every=4, optimizer=spec
    )
    whole, rest, _ = resume(training, at=6, optimizer=optimizer)
    assert_same_trace(whole, rest)


@pytest.mark.parametrize("at", [1, 4, 13])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_resume_with_centred_output_and_dtypes(at: int, dtype: str):
    training = TrainingSpec(steps=14, warmup_steps=3, batch_size=4, eval_every=4, center_output=True, dtype=dtype)
    whole, rest, _ = resume(training, at=at)
    assert_same_trace(whole, rest)


def test_resume_without_optimizer_state_would_differ():
    training = TrainingSpec(steps=14, warmup_steps=3, batch_size=4)
    model, data, opt = make(training)
    whole = train(model, data, opt, training)
    stop = Stop(6)
    model, data, opt = make(training)
    train(model, data, opt, training, checkpoint=stop.checkpoint, on_step=stop.on_step)
    state = TrainState.from_bytes(stop.data)
    bare = {name: tensor for name, tensor in state.tensors.items() if name.startswith("model/")}
    model, data, opt = make(training)
    rest = train(model, data, opt, training, state=TrainState(step=6, tensors=bare, scalars={}, history=state.history))
    assert whole.validation_loss != rest.validation_loss


def test_state_bytes_are_the_same_for_the_same_state():
    training = TrainingSpec(steps=9, warmup_steps=3, batch_size=4)
    one, two = Stop(6), Stop(6)
    for stop in (one, two):
        train(*make(training), training, checkpoint=stop.checkpoint, on_step=stop.on_step)
    first, second = TrainState.from_bytes(one.data), TrainState.from_bytes(two.data)
    assert first.tensors.keys() == second.tensors.keys() and first.history.train_loss == second.history.train_loss
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())


def test_every_damaged_checkpoint_is_refused():
    training = TrainingSpec(steps=9, warmup_steps=3, batch_size=4)
    stop = Stop(6)
    train(*make(training), training, checkpoint=stop.checkpoint, on_step=stop.on_step)
    data = stop.data
    TrainState.from_bytes(data)
    generator = np.random.default_rng(0)
    for place in generator.integers(0, len(data), 300):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(generator.integers(8))
        try:
            state = TrainState.from_bytes(bytes(flipped))
        except StoreError:
            continue
        # A flip in padding, or in a name's free metadata, that changes nothing of the content is no damage.
        good = TrainState.from_bytes(data)
        assert state.tensors.keys() == good.tensors.keys() and state.history.train_loss == good.history.train_loss
        assert all(torch.equal(tensor, good.tensors[name]) for name, tensor in state.tensors.items())
    for length in (0, 7, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(StoreError, match="damaged"):
            TrainState.from_bytes(data[:length])


def test_checkpoint_of_another_network_is_refused():
    training = TrainingSpec(steps=9, warmup_steps=3, batch_size=4)
    stop = Stop(6)
    train(*make(training), training, checkpoint=stop.checkpoint, on_step=stop.on_step)
    _, data, opt = make(training)
    wide = build_model(MODEL.model_copy(update={"width": 9}), generator=torch.Generator().manual_seed(0))
    with pytest.raises(StoreError, match=r"checkpoint: model/.* expected"):
        train(wide, data, opt, training, state=TrainState.from_bytes(stop.data))


# -- divergence --------------------------------------------------------------------------------------------------------


def test_divergence_is_recorded_as_data():
    training = TrainingSpec(steps=50, warmup_steps=1, batch_size=4, optimizer=OptimizerSpec(name="sgd"))
    trace = train(*make(training, lr=50.0), training)
    assert trace.status is RunStatus.DIVERGED and trace.validation_loss is None
    assert trace.diverged_step == trace.steps_done == len(trace.train_loss) - 1
    last = trace.train_loss[-1]
    assert not math.isfinite(last) or last > 10 * trace.initial_loss
    assert trace.last_finite_loss == trace.train_loss[-2] <= 10 * trace.initial_loss


def test_infinite_factor_free_run_that_ends_outside_is_diverged_too():
    training = TrainingSpec(steps=1, warmup_steps=0, batch_size=4, optimizer=OptimizerSpec(name="sgd"))
    trace = train(*make(training, lr=50.0), training)
    assert (trace.status, trace.diverged_step, len(trace.train_loss)) == (RunStatus.DIVERGED, 1, 1)
    assert trace.last_finite_loss == trace.initial_loss


def test_first_loss_not_finite():
    training = TrainingSpec(steps=5, warmup_steps=0, batch_size=4)
    model, data, opt = make(training)
    with torch.no_grad():
        next(model.parameters()).fill_(float("inf"))
    trace = train(model, data, opt, training)
    assert (trace.status, trace.diverged_step) == (RunStatus.DIVERGED, 0)
    assert trace.initial_loss is None and trace.last_finite_loss is None


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_centred_output_starts_from_zero():
    training = TrainingSpec(steps=3, warmup_steps=0, batch_size=4, center_output=True)
    model, data, opt = make(training)
    trace = train(model, data, opt, training)
    expected = 0.5 * (data.batch(0)[1] ** 2).mean()
    assert trace.train_loss[0] == expected.item()


def test_precision_is_that_of_the_spec():
    losses = {}
    for dtype in ("float32", "float64", "bfloat16"):
        training = TrainingSpec(steps=3, warmup_steps=0, batch_size=4, dtype=dtype)
        losses[dtype] = train(*make(training), training).train_loss[0]
    reference = losses["float64"]
    errors = {dtype: abs(value / reference - 1) for dtype, value in losses.items()}
    # Rounding units: 2^-24 and 2^-8, over a sum of some tens of terms.
    assert 0 < errors["float32"] < 2**-18 and 2**-16 < errors["bfloat16"] < 2**-4


class CountingProbe:
    name, every = "count", 3

    def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor], step: int) -> dict[str, float]:
        return {"inputs": float(batch[0].sum()), "norm": float(sum(p.detach().norm() for p in model.parameters()))}


def test_probes_measure_before_the_update_and_change_nothing():
    training = TrainingSpec(steps=8, warmup_steps=0, batch_size=4)
    model, data, opt = make(training)
    norm = sum(parameter.detach().norm() for parameter in model.parameters())
    with_probe = train(model, data, opt, training, probes=[CountingProbe()])
    without = train(*make(training), training)
    np.testing.assert_array_equal(with_probe.train_loss, without.train_loss)
    steps, values = with_probe.to_arrays()["probe/count/norm"]
    assert steps.tolist() == [0, 3, 6] and values[0] == pytest.approx(float(norm))


def test_global_random_state_is_untouched():
    before = torch.get_rng_state()
    training = TrainingSpec(steps=5, warmup_steps=0, batch_size=4)
    train(*make(training), training)
    assert torch.equal(before, torch.get_rng_state())


def test_state_in_memory_can_be_used_twice():
    training = TrainingSpec(steps=9, warmup_steps=3, batch_size=4)
    stop = Stop(6)
    train(*make(training), training, checkpoint=stop.checkpoint, on_step=stop.on_step)
    state = TrainState.from_bytes(stop.data)
    before = copy.deepcopy(state.history.train_loss)
    one = train(*make(training), training, state=state)
    two = train(*make(training), training, state=state)
    assert_same_trace(one, two)
    assert state.history.train_loss == before
