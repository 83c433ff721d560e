"""Small Hugging Face configurations, built offline: (class, base, target) by name."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import transformers as tf


def gpt2(width=32, heads=2, depth=2, *, tied):
    return tf.GPT2Config(
        n_embd=width,
        n_head=heads,
        n_layer=depth,
        vocab_size=64,
        n_positions=32,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )


def llama(width=32, heads=4, kv_heads=2, depth=2, inner=64, **more):
    return tf.LlamaConfig(
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        num_hidden_layers=depth,
        intermediate_size=inner,
        vocab_size=64,
        max_position_embeddings=32,
        head_dim=8,
        bos_token_id=0,
        eos_token_id=0,
        **more,
    )


def mixtral(width=32, heads=4, kv_heads=2, depth=2, inner=64, experts=4):
    return tf.MixtralConfig(
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        num_hidden_layers=depth,
        intermediate_size=inner,
        num_local_experts=experts,
        vocab_size=64,
        max_position_embeddings=32,
        head_dim=8,
        bos_token_id=0,
        eos_token_id=0,
    )


def encoder(kind, width=32, heads=2, depth=2, inner=64, **more):
    return kind(
        hidden_size=width,
        num_attention_heads=heads,
        num_hidden_layers=depth,
        intermediate_size=inner,
        **more,
    )


BERT = {"vocab_size": 64, "max_position_embeddings": 32, "pad_token_id": 0}
VIT = {"image_size": 16, "patch_size": 4}


def resnet(factor=1, depths=(2, 2)):
    sizes = [16 * factor, 32 * factor]
    return tf.ResNetConfig(
        embedding_size=8 * factor, hidden_sizes=sizes, depths=list(depths), layer_type="basic", num_labels=5
    )


HF = {
    "gpt2": (tf.GPT2LMHeadModel, gpt2(tied=False), gpt2(128, 8, 4, tied=False)),
    "gpt2 tied": (tf.GPT2LMHeadModel, gpt2(tied=True), gpt2(128, 8, 4, tied=True)),
    "llama": (tf.LlamaForCausalLM, llama(), llama(128, 16, 8, 4, 256)),
    "llama fixed kv": (tf.LlamaForCausalLM, llama(), llama(128, 16, 2, 4, 256)),
    "bert": (tf.BertForMaskedLM, encoder(tf.BertConfig, **BERT), encoder(tf.BertConfig, 128, 8, 4, 256, **BERT)),
    "vit": (
        tf.ViTForImageClassification,
        encoder(tf.ViTConfig, **VIT),
        encoder(tf.ViTConfig, 128, 8, 4, 256, **VIT),
    ),
    "resnet": (tf.ResNetForImageClassification, resnet(), resnet(4, (3, 4))),
    "mixtral": (tf.MixtralForCausalLM, mixtral(), mixtral(128, 16, 8, 4, 256, 8)),
}
