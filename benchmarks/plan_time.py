"""Time and memory of `limes.plan` on a Llama-like configuration of 100 billion parameters.

Run: python benchmarks/plan_time.py. The budget is 10 s and 2 GB; the base has 8 layers of width 512.
"""

import json
import os
import resource
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import limes


def config(width: int, heads: int, kv_heads: int, depth: int, inner: int) -> LlamaConfig:
    """A Llama with head dimension 128 at the target."""
    return LlamaConfig(
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        num_hidden_layers=depth,
        intermediate_size=inner,
        vocab_size=128_256,
        head_dim=128,
    )


def main() -> None:
    """Print one JSON object."""
    base, target = config(512, 4, 2, 8, 1792), config(10_240, 80, 40, 88, 35_840)
    before = time.process_time(), time.perf_counter()
    made = limes.plan(LlamaForCausalLM, base=base, target=target, parametrization="completep", optimizer="adamw")
    seconds = time.process_time() - before[0], time.perf_counter() - before[1]
    with torch.device("meta"):
        num_params = sum(tensor.numel() for tensor in LlamaForCausalLM(target).parameters())
    print(
        json.dumps(
            {
                "num_params": num_params,
                "num_rows": len(made.rows),
                "cpu_s": round(seconds[0], 2),
                "wall_s": round(seconds[1], 2),
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, 2),
                "groups": len({tuple(entry.values())[3:] for row in made.rows for entry in [_scales(row)]}),
            }
        )
    )


def _scales(row: dict[str, object]) -> dict[str, object]:
    keys = ("name", "role", "init_std", "lr_scale", "weight_decay_scale", "eps_scale")
    return {key: row[key] for key in keys}


if __name__ == "__main__":
    main()
