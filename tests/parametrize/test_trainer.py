"""Hugging Face's Trainer applies a plan as a plain loop does, and what undoes the plan there is noticed."""

import pytest
import torch
import transformers as tf

from limes.core.errors import PlanError
from limes.parametrize import plan
from support.hf import HF

STEPS, BATCH = 4, 4
TOKENS = torch.arange(STEPS * BATCH * 8).view(STEPS * BATCH, 8) * 7 % 61


class Clip(tf.TrainerCallback):
    def __init__(self, made):
        self.made = made

    def on_pre_optimizer_step(self, args, state, control, *, model, optimizer, **_):
        self.made.clip_grad_norm_(model, 0.5)
        self.made.verify(model, optimizer, max_grad_norm=args.max_grad_norm)


class InOrder(tf.Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def prepared(case, form):
    build, base, target = HF[case]
    made = plan(build, base=base, target=target, parametrization="completep", form=form)
    model = made.apply_multipliers(made.init_(build(target), seed=0))
    optimizer = torch.optim.AdamW(made.param_groups(model, lr=0.01, weight_decay=0.1), betas=(0.9, 0.95))
    return made, model, optimizer


def halving(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)


def fit(made, model, optimizer, schedule, folder, **options):
    settings = {"report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
                "dataloader_pin_memory": False, "use_cpu": True, "max_grad_norm": 0.0}  # fmt: skip
    arguments = tf.TrainingArguments(
        str(folder), max_steps=STEPS, per_device_train_batch_size=BATCH, **{**settings, **options}
    )
    data = [{"input_ids": row, "labels": row} for row in TOKENS]
    trainer = InOrder(model, arguments, train_dataset=data, optimizers=(optimizer, schedule), callbacks=[Clip(made)])
    # Else it divides the sum of the losses by a count of its own, which moves the last bit.
    trainer.model_accepts_loss_kwargs = False
    trainer.train()
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("form", ["no_multiplier", "multiplier"])
@pytest.mark.parametrize("case", ["gpt2 tied", "llama"])
def test_trainer_equals_a_plain_loop_bitwise(case, form, tmp_path):
    made, model, optimizer = prepared(case, form)
    theirs = fit(made, model, optimizer, halving(optimizer), tmp_path)
    made, model, optimizer = prepared(case, form)
    schedule = halving(optimizer)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    model.train()
    for tokens in TOKENS.split(BATCH):
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        assert made.clip_grad_norm_(model, 0.5) > 0.5
        optimizer.step()
        schedule.step()
    for name, value in model.named_parameters():
        assert torch.equal(theirs[name], value) and not torch.equal(start[name], value), name


def test_schedulers_that_overwrite_and_trainers_that_clip_are_noticed(tmp_path):
    made, model, optimizer = prepared("gpt2 tied", "no_multiplier")
    overwriting = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=STEPS, cycle_momentum=False)
    with pytest.raises(PlanError, match="a scheduler or trainer overwrote it"):
        fit(made, model, optimizer, overwriting, tmp_path)
    made, model, optimizer = prepared("gpt2 tied", "no_multiplier")
    with pytest.warns(UserWarning, match="clips the gradient at 1 by its plain norm"):
        fit(made, model, optimizer, halving(optimizer), tmp_path, max_grad_norm=1.0)
