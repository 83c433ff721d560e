"""Shaped blocks: their formulas, tokens that stay apart at depth 64 where unshaped ones collapse, training."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from limes.compare.signal_profile import profile_signal
from limes.core.errors import SpecError
from limes.core.rng import stream
from limes.data.corpus import load_corpus
from limes.models.shaped import ShapedAttention, ShapedBlock, ShapedReLU, build_shaped_transformer
from limes.spec import TransformerSpec
from limes.spec.data import CorpusSpec

SPEC = TransformerSpec(width=32, head_dim=16, depth=64, context=12, vocab_size=17, mlp_ratio=1)
# The logarithm of the signal spreads like branch share times depth over width, here 2.
SHARE = 0.1


def unshaped(spec=SPEC, branch_weight=SHARE):
    """The same network with plain softmax attention and plain relu in He scaling, nothing else changed."""
    model = build_shaped_transformer(spec, generator=stream(0, "init"), branch_weight=branch_weight)
    generator = stream(1, "init")
    for block in model.blocks:
        block.activation = nn.ReLU()
        nn.init.normal_(block.down.weight, std=(2.0 / 32) ** 0.5, generator=generator)
        block.attention.forward = lambda x, attention=block.attention: plain(x, attention)
    return model


def plain(x, attention):
    q, k, v = (part.view(*x.shape[:2], 2, 16).transpose(1, 2) for part in attention.qkv(x).chunk(3, -1))
    mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return mixed.transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_equals_its_formula(causal):
    attention = ShapedAttention(8, 2, causal=causal, temperature=0.7)
    x = torch.randn(2, 5, 8, generator=stream(0, "data"))
    weight = torch.randn(24, 8, generator=stream(1, "data"))
    attention.qkv.weight.data = weight
    found = attention(x)
    for sample in range(2):
        for head in range(2):
            q, k, v = (x[sample] @ weight[8 * i + 4 * head : 8 * i + 4 * head + 4].T for i in range(3))
            expected = v.clone()
            for i in range(5):
                last = i + 1 if causal else 5
                logits = q[i] @ k[:last].T / (0.7 * math.sqrt(8 * 4))
                expected[i] += (torch.softmax(logits, 0) - 1.0 / last) @ v[:last]
            torch.testing.assert_close(found[sample, :, 4 * head : 4 * head + 4], expected, rtol=1e-4, atol=1e-4)


def test_activation_keeps_the_mean_square_and_the_block_is_its_formula():
    phi = ShapedReLU(16, positive=0.5, negative=-2.0)
    x = torch.tensor([-2.0, 3.0])
    up, down = 1.125, 0.5
    torch.testing.assert_close(phi(x), torch.tensor([-2.0 * down, 3.0 * up]) * (2 / (up**2 + down**2)) ** 0.5)
    settings = {"mlp_ratio": 2, "causal": True, "branch_weight": 0.36, "temperature": 1.0, "negative_slope": -1.0}
    block = ShapedBlock(8, 2, **settings)
    block.draw_(stream(0, "init"))
    x = torch.randn(1, 4, 8, generator=stream(0, "data"))
    y = 0.8 * x + 0.6 * block.attention(x)
    torch.testing.assert_close(block(x), 0.8 * y + 0.6 * block.down(block.activation(block.up(y))))


def test_sixty_four_blocks_train_and_keep_tokens_apart_where_unshaped_ones_collapse():
    tokens = torch.randint(17, (4, 12), generator=stream(0, "data"))
    shaped = build_shaped_transformer(SPEC, generator=stream(0, "init"), branch_weight=SHARE)
    bare = unshaped()
    profiles = [profile_signal(m, lambda m=m: m(tokens), generator=stream(0, "probe")) for m in (shaped, bare)]
    assert profiles[0].verdict == "stable"
    assert profiles[1].verdict == "collapsing" and profiles[0].likeness[-1] < 0.5
    losses, optimizer = [], torch.optim.Adam(shaped.parameters(), lr=1e-3)
    for _ in range(10):
        loss = nn.functional.cross_entropy(shaped(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.5, losses


@pytest.mark.parametrize(("setting", "value"), [("branch_weight", 0.0), ("branch_weight", 1.5), ("temperature", -1.0)])
def test_bad_settings_are_one_sentence(setting, value):
    with pytest.raises(SpecError, match=f"{setting} is {value}"):
        build_shaped_transformer(SPEC, generator=stream(0, "init"), **{setting: value})


def text():
    """Bytes of the built-in text, how many there are, and the loss of knowing only how often each comes."""
    tokens = torch.from_numpy(load_corpus(CorpusSpec(), base_dir=Path()).train.astype("int64"))
    counts = torch.bincount(tokens)
    shares = counts[counts > 0] / counts.sum()
    return tokens, len(counts), float(-(shares * shares.log()).sum())


def learn(model, tokens, lr, steps):
    """Mean loss of the last ten steps; NaN where training ran away."""
    optimizer, generator, losses = torch.optim.Adam(model.parameters(), lr=lr), stream(0, "batch"), []
    for _ in range(steps):
        start = torch.randint(len(tokens) - 25, (12, 1), generator=generator)
        batch = tokens[start + torch.arange(25)]
        loss = nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return sum(losses[-10:]) / 10


@pytest.mark.sim
def test_sixty_four_shaped_blocks_learn_text_and_blocks_that_collapse_do_not_pass_the_frequencies_of_bytes():
    tokens, vocab_size, frequencies = text()
    spec = SPEC.model_copy(update={"vocab_size": vocab_size, "context": 24})
    shaped = build_shaped_transformer(spec, generator=stream(0, "init"), branch_weight=SHARE)
    assert learn(shaped, tokens, 1e-3, 110) < frequencies - 0.1
    for lr in (1e-4, 1e-3):
        bare = unshaped(spec, branch_weight=1.0)
        similarity = profile_signal(bare, lambda m=bare: m(tokens[None, :24]), generator=stream(0, "probe")).likeness[
            -1
        ]
        assert similarity > 0.999
        assert not learn(bare, tokens, lr, 110) < frequencies
