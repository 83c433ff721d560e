"""Scale Hugging Face models without touching them: plan, initialize, and let `Trainer` train. Nothing is downloaded."""

import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers as tf
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

import limes
from limes.core.errors import PlanError

STEPS = 8


def gpt2(width: int, depth: int) -> tf.GPT2Config:
    """Heads of 16 at any width; tied embeddings."""
    sizes = {"n_embd": width, "n_head": width // 16, "n_layer": depth, "vocab_size": 64, "n_positions": 32}
    return tf.GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)


def llama(width: int, depth: int) -> tf.LlamaConfig:
    """Grouped-query attention; hidden size, heads and inner size grow together."""
    heads = {"num_attention_heads": width // 16, "num_key_value_heads": width // 32, "head_dim": 16}
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": depth, "vocab_size": 64}
    return tf.LlamaConfig(**sizes, **heads, max_position_embeddings=32, bos_token_id=0, eos_token_id=0)


class Clip(tf.TrainerCallback):
    """Clips as the plan does, by the norm in one fixed form, and checks at each step that nobody undid the plan."""

    def __init__(self, plan: limes.Plan) -> None:
        self.plan = plan

    def on_pre_optimizer_step(self, args, state, control, *, model, optimizer, **_) -> None:
        """After the backward pass, before the update."""
        self.plan.clip_grad_norm_(model, 1.0)
        self.plan.verify(model, optimizer, max_grad_norm=args.max_grad_norm)


def warmup_and_decay(optimizer: torch.optim.Optimizer) -> LambdaLR:
    """Works, as all schedulers do that multiply each group's own peak."""
    return LambdaLR(optimizer, lambda step: min((step + 1) / 3, (STEPS - step) / (STEPS - 3)))


def one_cycle(optimizer: torch.optim.Optimizer) -> OneCycleLR:
    """Gives all groups one peak: the plan's ratios are lost (a list of peaks, one per group, would keep them)."""
    return OneCycleLR(optimizer, max_lr=2**-6, total_steps=STEPS, cycle_momentum=False)


def train(build, base, target, schedule=warmup_and_decay) -> None:
    """Everything that a user's script does."""
    plan = limes.plan(build, base=base, target=target, parametrization="completep", optimizer="adamw")
    model = plan.apply_multipliers(plan.init_(build(target), seed=0))
    optimizer = torch.optim.AdamW(plan.param_groups(model, lr=2**-6, weight_decay=0.1), betas=(0.9, 0.95))
    tokens = torch.arange(32 * 16).view(32, 16) * 7 % 61
    first = model(input_ids=tokens, labels=tokens).loss.item()
    with tempfile.TemporaryDirectory() as folder:
        options = tf.TrainingArguments(
            folder, max_steps=STEPS, per_device_train_batch_size=8, max_grad_norm=0.0, use_cpu=True, report_to="none",
            save_strategy="no", logging_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        data, solvers = [{"input_ids": row, "labels": row} for row in tokens], (optimizer, schedule(optimizer))
        tf.Trainer(model, options, train_dataset=data, optimizers=solvers, callbacks=[Clip(plan)]).train()
    last = model(input_ids=tokens, labels=tokens).loss.item()
    print(f"{build.__name__}: {len(optimizer.param_groups)} groups, loss {first:.2f} to {last:.2f}")
    assert last < first


if __name__ == "__main__":
    train(tf.GPT2LMHeadModel, gpt2(32, 2), gpt2(64, 4))
    train(tf.LlamaForCausalLM, llama(32, 2), llama(64, 4))
    try:
        train(tf.GPT2LMHeadModel, gpt2(32, 2), gpt2(64, 4), one_cycle)
        raise AssertionError("a scheduler overwrote the learning rates unnoticed")
    except PlanError as error:
        print(f"refused: {error}")
