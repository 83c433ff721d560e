"""Hugging Face's GPT-2 from a configuration: nothing is downloaded, nothing in it knows about scaling."""

from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel


def build(width: int, depth: int, context: int, vocab_size: int, head_dim: int, init_std: float) -> nn.Module:
    """Tied embeddings, heads of a fixed dimension; GPT-2's own std of 0.02 belongs to a width of 768."""
    sizes = {"n_embd": width, "n_head": width // head_dim, "n_layer": depth, "n_positions": context}
    sizes |= {"vocab_size": vocab_size, "initializer_range": init_std}
    quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "use_cache": False}
    return GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, **sizes, **quiet))
