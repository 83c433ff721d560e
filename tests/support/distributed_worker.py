"""Two local processes: FSDP2 (init before and after sharding) and DDP against one process, all from one plan.

Run as `python distributed_worker.py RANK PORT`; rank 0 prints the largest relative differences as JSON.
"""

import copy
import json
import os
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, init_device_mesh

from limes.models import build_model
from limes.parametrize import plan
from limes.spec.model import TransformerSpec

BASE = TransformerSpec(head_dim=8, width=16, vocab_size=32, context=8)
TARGET = BASE.model_copy(update={"width": 64, "depth": 4})


def build(spec):
    return build_model(spec, generator=torch.Generator().manual_seed(0))


def batches(steps):
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 32, (4, 9), generator=generator) for _ in range(steps)]


def loss_of(model, tokens):
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def full(model):
    return {
        name.replace("module.", ""): (value.full_tensor() if isinstance(value, DTensor) else value).detach().clone()
        for name, value in model.named_parameters()
    }


def train(model, made, *, lr=0.001, rank=None, parts=1, steps=10):
    """One process takes the whole batch, in `parts` whose gradients add up; of two processes each takes its half."""
    optimizer = torch.optim.AdamW(made.param_groups(model, lr=lr, weight_decay=0.1), betas=(0.9, 0.95))
    for tokens in batches(steps):
        optimizer.zero_grad()
        for part in tokens.chunk(parts) if rank is None else [tokens.chunk(2)[rank]]:
            (loss_of(model, part) / parts).backward()
        made.clip_grad_norm_(model, 1.0)
        optimizer.step()
    made.verify(model, optimizer)
    return full(model)


def sharded(made, mesh, *, before, dtype=torch.float32):
    """Initialized and then sharded, or built on the meta device, sharded, allocated and then initialized."""
    if before:
        model = made.init_(build(TARGET), seed=7).to(dtype)
    else:
        with torch.device("meta"):
            model = build(TARGET)
    made.apply_multipliers(model)
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    if not before:
        made.init_(model.to_empty(device="cpu"), seed=7)
    return model


def difference(first, second):
    return max(float((first[name] - second[name]).abs().max() / second[name].abs().max()) for name in second)


def main(rank, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    result = {}
    for form in ("no_multiplier", "multiplier"):
        made = plan(build, base=BASE, target=TARGET, form=form)
        single = made.apply_multipliers(made.init_(build(TARGET), seed=7))
        start = full(single)
        whole = train(copy.deepcopy(single), made)
        halves = train(copy.deepcopy(single), made, lr=0.01, parts=2)
        for before in (True, False):
            model = sharded(made, mesh, before=before)
            label = f"fsdp {form} {'before' if before else 'after'}"
            result[f"{label} init"] = difference(full(model), start)
            result[f"{label} trained"] = difference(train(model, made, rank=rank), whole)
            model = sharded(made, mesh, before=before)
            result[f"{label} same halves"] = difference(train(model, made, lr=0.01, rank=rank), halves)
        exact = train(copy.deepcopy(single).double(), made, lr=0.01)
        model = sharded(made, mesh, before=True, dtype=torch.float64)
        result[f"fsdp {form} float64"] = difference(train(model, made, lr=0.01, rank=rank), exact)
        parallel = torch.nn.parallel.DistributedDataParallel(copy.deepcopy(single))
        result[f"ddp {form} trained"] = difference(train(parallel, made, rank=rank), whole)
    if rank == 0:
        print(json.dumps(result))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), int(sys.argv[2]))
