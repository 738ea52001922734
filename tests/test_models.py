"""What holds for every family: counts, start, causality, padding, caching, frozen names, and bad input in sentences."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from llmguide_lib.attention import KVCache
from llmguide_lib.models import (
    BERT,
    BERT_SIZES,
    GPT,
    GPT_SIZES,
    LLAMA_SIZES,
    MODERNBERT_SIZES,
    SEQ2SEQ_SIZES,
    BERTConfig,
    GPTConfig,
    Llama,
    LlamaConfig,
    ModernBERT,
    ModernBERTConfig,
    Seq2SeqConfig,
    Seq2SeqTransformer,
)
from llmguide_lib.positions import Rotary

EXACT = {"atol": 1e-12, "rtol": 0}
B, T, V = 3, 8, 50
SIZES = {"vocab_size": V, "max_seq_len": 16, "d_model": 16, "num_heads": 4}


def gpt(**more):
    return GPT(GPTConfig(**{**SIZES, "num_layers": 2, **more}))


def bert(**more):
    return BERT(BERTConfig(**SIZES, num_layers=2, **more))


def modernbert(**more):
    sizes = {"num_layers": 3, "d_ff": 24, "window": 3, "global_every": 2, **more}
    return ModernBERT(ModernBERTConfig(**{**SIZES, **sizes}))


def llama(**more):
    return Llama(LlamaConfig(**SIZES, num_layers=2, d_ff=24, num_kv_heads=2, **more))


def qwen3():
    return llama(head_dim=6, head_norm=True, tied=True)


def seq2seq(**more):
    return Seq2SeqTransformer(Seq2SeqConfig(**SIZES, num_encoder_layers=2, num_decoder_layers=2, **more))


DECODERS = [gpt, llama, qwen3]


def loud(model):
    """Weights large enough that every influence shows."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def tokens(length=T):
    return torch.randint(0, V, (B, length))


# -- published sizes --------------------------------------------------------------------------------------------------

# As counted from the released checkpoints (tied matrices once); the paper's own models round to these.
PARAMETERS = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "bert-base-uncased": 110_106_428,
    "bert-large-uncased": 336_226_108,
    "bert-base-chinese": 102_882_442,
    "modernbert-base": 149_655_232,
    "modernbert-large": 395_881_664,
    "llama-2-7b": 6_738_415_616,
    "llama-3-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,
    "qwen2-0.5b": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "transformer-base": 63_082_496,
    "transformer-big": 214_245_376,
}
FAMILIES = {
    GPTConfig: GPT,
    BERTConfig: BERT,
    ModernBERTConfig: ModernBERT,
    LlamaConfig: Llama,
    Seq2SeqConfig: Seq2SeqTransformer,
}
PRESETS = {**GPT_SIZES, **BERT_SIZES, **MODERNBERT_SIZES, **LLAMA_SIZES, **SEQ2SEQ_SIZES}


def test_every_preset_has_a_published_count():
    assert PARAMETERS.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_presets_have_the_published_number_of_parameters(name):
    config = PRESETS[name]
    with torch.device("meta"):
        model = FAMILIES[type(config)](config)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


# -- names ------------------------------------------------------------------------------------------------------------


def linear(*names):
    return [f"{name}.{part}" for name in names for part in ("weight", "bias")]


ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
BLOCK = linear(
    *(f"attention.{name}" for name in ATTENTION), "feed_forward.up_proj", "feed_forward.down_proj", "norm1", "norm2"
)
CROSS = BLOCK + linear(*(f"cross_attention.{name}" for name in ATTENTION), "norm3")
GATED = [f"feed_forward.{name}_proj.weight" for name in ("gate", "up", "down")] + ["norm1.weight", "norm2.weight"]
LLAMA_BLOCK = [f"attention.{name}.weight" for name in ATTENTION] + GATED
EMBEDDINGS = ["token_embedding.weight", "position_embedding.weight"]
NAMES = {
    gpt: ([*EMBEDDINGS, "lm_head.weight", *linear("final_norm")], {"blocks": BLOCK}),
    bert: (
        [
            *EMBEDDINGS,
            "segment_embedding.weight",
            *linear("embedding_norm", "mlm_transform.0", "mlm_transform.2", "lm_head", "pooler", "nsp_head"),
        ],
        {"blocks": BLOCK},
    ),
    llama: (["token_embedding.weight", "final_norm.weight", "lm_head.weight"], {"blocks": LLAMA_BLOCK}),
    qwen3: (
        ["token_embedding.weight", "final_norm.weight", "lm_head.weight"],
        {"blocks": [*LLAMA_BLOCK, "attention.query_norm.weight", "attention.key_norm.weight"]},
    ),
    seq2seq: (["token_embedding.weight", "lm_head.weight"], {"encoder.blocks": BLOCK, "decoder.blocks": CROSS}),
}


@pytest.mark.parametrize("make", NAMES)
def test_the_names_in_a_state_dict_are_frozen(make):
    once, stacks = NAMES[make]
    layers = [f"{stack}.{layer}.{name}" for stack, names in stacks.items() for layer in range(2) for name in names]
    assert sorted(make().state_dict()) == sorted([*once, *layers])


def test_a_modernberts_first_block_has_no_norm_before_attention():
    once = ["token_embedding.weight", "embedding_norm.weight", "final_norm.weight"]
    head = ["mlm_transform.0.weight", "mlm_transform.2.weight", *linear("lm_head")]
    layers = [f"blocks.{layer}.{name}" for layer in range(3) for name in LLAMA_BLOCK]
    layers.remove("blocks.0.norm1.weight")
    assert sorted(modernbert().state_dict()) == sorted([*once, *head, *layers])


# -- behaviour --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [gpt, bert, modernbert, llama, qwen3])
def test_an_untrained_model_knows_nothing(make):
    logits = make()(torch.randint(0, V, (8, 16)))
    loss = F.cross_entropy(logits.flatten(0, 1), torch.randint(0, V, (128,)))
    assert abs(loss.item() - math.log(V)) < 0.05


def test_an_untrained_encoder_decoder_knows_next_to_nothing():
    logits = seq2seq()(torch.randint(0, V, (8, 16)), torch.randint(0, V, (8, 16)))
    loss = F.cross_entropy(logits.flatten(0, 1), torch.randint(0, V, (128,)))
    assert abs(loss.item() - math.log(V)) < 1.0  # the tied, unit-spread states make scores of spread 1


@pytest.mark.parametrize("make", [gpt, modernbert])
def test_the_residual_stream_starts_at_the_same_size_whatever_the_depth(make):
    spreads = []
    for num_layers in (2, 24):
        model = make(num_layers=num_layers, d_model=64)
        seen = []
        model.final_norm.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0].std()))
        model(tokens())
        spreads.append(seen[0].item())
    assert spreads[1] < 1.2 * spreads[0]


@pytest.mark.parametrize("make", DECODERS)
def test_later_tokens_cannot_change_earlier_scores(make):
    model, text = loud(make()), tokens()
    changed = text.clone()
    changed[:, 5] = (changed[:, 5] + 1) % V
    before, after = model(text), model(changed)
    torch.testing.assert_close(before[:, :5], after[:, :5], **EXACT)
    assert not torch.allclose(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("make", [bert, modernbert])
def test_an_encoder_reads_in_both_directions(make):
    model, text = loud(make()), tokens()
    changed = text.clone()
    changed[:, -1] = (changed[:, -1] + 1) % V
    assert (model(text)[:, 0] - model(changed)[:, 0]).abs().min(dim=-1).values.gt(0).all()


class Through(torch.nn.Module):
    """A block that does nothing."""

    def forward(self, x, mask, *, rotate):
        return x


@pytest.mark.parametrize(
    ("window", "at", "reached"), [(3, 4, range(2, 7)), (1, 4, [4]), (7, 0, range(7)), (8, 0, range(8))]
)
def test_a_local_layer_sees_only_what_is_near(window, at, reached):
    model, text = loud(modernbert(num_layers=2, window=window)), tokens()
    model.blocks[0] = Through()
    changed = text.clone()
    changed[:, at] = (changed[:, at] + 1) % V
    differs = (model(text) - model(changed)).abs().amax(dim=2) > 1e-9
    assert differs.tolist() == [[position in reached for position in range(T)]] * B


def test_the_target_cannot_see_its_future_and_sees_all_of_the_source():
    model, source, target = loud(seq2seq()), tokens(), tokens()
    later, other = target.clone(), source.clone()
    later[:, 5] = (later[:, 5] + 1) % V
    other[:, -1] = (other[:, -1] + 1) % V
    before = model(source, target)
    torch.testing.assert_close(model(source, later)[:, :5], before[:, :5], **EXACT)
    assert not torch.allclose(model(other, target)[:, 0], before[:, 0])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("make", [gpt, bert, modernbert, llama, qwen3])
def test_filling_changes_nothing(make, side):
    model, text = loud(make()), tokens(5)
    filling = torch.randint(0, V, (B, 3))
    filled = torch.cat([filling, text] if side == "left" else [text, filling], dim=1)
    real = torch.ones_like(filled).bool()
    real[:, : 3 if side == "left" else None] = side == "right"
    real[:, 5:] = side == "left"
    torch.testing.assert_close(model(filled, real)[real].view(B, 5, V), model(text), **EXACT)


def test_filling_changes_nothing_in_source_or_target():
    model, source, target = loud(seq2seq()), tokens(5), tokens(4)
    filling = torch.randint(0, V, (B, 2))
    expected = model(source, target)
    real_source = torch.tensor([True] * 5 + [False] * 2).expand(B, 7)
    right = model(torch.cat([source, filling], 1), target, real_source)
    left = model(torch.cat([filling, source], 1), torch.cat([filling, target], 1), real_source.flip(1), LEFT)
    torch.testing.assert_close(right, expected, **EXACT)
    torch.testing.assert_close(left[:, 2:], expected, **EXACT)


LEFT = torch.tensor([False] * 2 + [True] * 4).expand(B, 6)


@pytest.mark.parametrize("chunks", [[1] * T, [5, 1, 1, 1], [3, 3, 2]])
@pytest.mark.parametrize("make", DECODERS)
def test_cached_scores_are_the_uncached_ones_at_every_step(make, chunks):
    model, text = loud(make()), tokens()
    real = torch.ones(B, T, dtype=torch.bool)
    real[1, :2] = False
    for mask in (None, real) if chunks[0] > 2 else (None,):  # a first part of filling alone is refused
        cache = KVCache(2, 16)
        parts = []
        for part in text.split(chunks, dim=1):
            end = cache.length + part.shape[1]
            parts.append(model(part, None if mask is None else mask[:, :end], cache))
        seen = slice(None) if mask is None else mask
        torch.testing.assert_close(torch.cat(parts, dim=1)[seen], model(text, mask)[seen], **EXACT)


def test_a_cached_decoder_with_a_source_is_the_uncached_one():
    model, source, target = loud(seq2seq()), tokens(), tokens()
    encoded, cache = model.encode(source), KVCache(2, 16)
    parts = [model.decode(part, encoded, cache=cache) for part in target.split([3, 1, 4], dim=1)]
    torch.testing.assert_close(model.lm_head(torch.cat(parts, dim=1)), model(source, target), **EXACT)


def test_stacks_hand_rotations_and_biases_to_every_block():
    model, x = loud(seq2seq()), torch.randn(2, 5, 16)
    turn = Rotary(4)(torch.arange(5), x.dtype)
    bias = torch.randn(4, 5, 5)
    encoded, decoded = x, x
    for block in model.encoder.blocks:
        encoded = block(encoded, rotate=turn, bias=bias)
    for block in model.decoder.blocks:
        decoded = block(decoded, x, rotate=turn, bias=bias)
    torch.testing.assert_close(model.encoder(x, rotate=turn, bias=bias), encoded, **EXACT)
    torch.testing.assert_close(model.decoder(x, x, rotate=turn, bias=bias), decoded, **EXACT)
    for more in ({"rotate": turn}, {"bias": bias}, {}):
        assert (model.encoder(x, **more) - encoded).abs().max() > 1e-3
        assert (model.decoder(x, x, **more) - decoded).abs().max() > 1e-3


@pytest.mark.parametrize("make", [gpt, bert, modernbert, seq2seq])
def test_dropout_only_in_training(make):
    model = make(dropout=0.5)
    text = (tokens(), tokens()) if make is seq2seq else (tokens(),)
    assert not torch.equal(model(*text), model(*text))
    model.eval()
    assert torch.equal(model(*text), model(*text))


@pytest.mark.parametrize("make", [gpt, llama, bert, modernbert])
def test_a_model_learns_one_batch_by_heart(make):
    torch.set_default_dtype(torch.float32)
    model, text = make(), tokens()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    inputs, targets = (text, text) if make in (bert, modernbert) else (text[:, :-1], text[:, 1:])
    for _ in range(80):
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


COMPILED = """
import sys
sys.path.insert(0, {tests!r})
import torch
from test_models import {make}, loud, tokens
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
model, text = loud({make}()), tokens()
torch.testing.assert_close(torch.compile(model, fullgraph=True)(text), model(text), atol={atol}, rtol=0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("make, atol", [("gpt", 1e-10), ("bert", 1e-10), ("llama", 1e-6), ("modernbert", 1e-6)])
def test_a_compiled_model_is_the_eager_one_without_graph_breaks(make, atol):
    """In a process without pytest's checks of shapes, into which the compiler cannot look.

    Rotary angles are float32 whatever the model's type, and the compiler's sines round differently there.
    """
    root = Path(__file__).resolve().parent
    code = COMPILED.format(tests=str(root), make=make, atol=atol)
    environment = {**os.environ, "PYTHONPATH": str(root.parent)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, check=True)


# -- bad input --------------------------------------------------------------------------------------------------------

L = torch.long


def full_cache():
    cache = KVCache(2, 32)
    gpt()(torch.zeros(1, 12, dtype=L), cache=cache)
    return cache


BAD = [
    (lambda m: m(torch.tensor([[V]])), rf"tokens holds the id {V}, ids go from 0 to vocab_size - 1 = {V - 1}"),
    (lambda m: m(torch.tensor([[3, -1]])), r"tokens holds the id -1, ids go from 0"),
    (lambda m: m(torch.zeros(1, 0, dtype=L)), r"tokens \(1, 0\) must hold at least one token"),
    (lambda m: m(torch.zeros(3, dtype=L)), r"tokens \(3,\) torch.int64 must be integers of shape \(B, T\)"),
    (lambda m: m(torch.zeros(1, 3)), r"tokens \(1, 3\) torch.float64 must be integers"),
    (lambda m: m(torch.zeros(1, 17, dtype=L)), r"tokens has 17 positions, max_seq_len is 16"),
    (lambda m: m(torch.zeros(1, 3, dtype=L), torch.ones(1, 3)), r"mask has dtype torch.float64, it must be boolean"),
    (lambda m: m(torch.zeros(1, 3, dtype=L), torch.ones(1, 2).bool()), r"mask \(1, 2\) must have the .* = \(1, 3\)"),
    (lambda m: m(torch.zeros(2, 3, dtype=L), torch.tensor([[1], [0]]).bool().expand(2, 3)), r"no real token in row 1"),
    (
        lambda m: m(torch.zeros(1, 3, dtype=L), torch.ones(1, 3, device="meta").bool()),
        r"mask is on meta, the tokens are on cpu; move one of them",
    ),
]


@pytest.mark.parametrize("make", [gpt, bert, modernbert, llama])
@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_input_that_a_model_cannot_read_is_named(make, call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call(make())


@pytest.mark.parametrize("make", [gpt, llama])
def test_a_cache_that_does_not_belong_is_named(make, unchecked):
    with pytest.raises(ValueError, match=r"cache has 3 layers, this model has 2: it is another model's"):
        make()(tokens(), cache=KVCache(3, 16))
    with pytest.raises(ValueError, match=r"cache holds 12 tokens and 8 are new, max_seq_len is 16"):
        make()(tokens()[:1], cache=full_cache())


def test_segments_and_source_are_named(unchecked):
    with pytest.raises(ValueError, match=r"segments holds the id 2, ids go from 0 to vocab_size - 1 = 1"):
        bert()(tokens(), segments=torch.full((B, T), 2))
    with pytest.raises(ValueError, match=r"source has 17 positions"):
        seq2seq()(torch.zeros(1, 17, dtype=L), torch.zeros(1, 2, dtype=L))
    with pytest.raises(ValueError, match=r"target \(1, 0\) must hold at least one token"):
        seq2seq()(torch.zeros(1, 2, dtype=L), torch.zeros(1, 0, dtype=L))
    with pytest.raises(ValueError, match=r"source_mask \(1, 3\) must have the shape"):
        seq2seq()(torch.zeros(1, 2, dtype=L), torch.zeros(1, 2, dtype=L), torch.ones(1, 3).bool())


@pytest.mark.parametrize(
    ("config", "changed", "message"),
    [
        (GPTConfig, {"vocab_size": 0}, r"vocab_size \(0\) must be positive"),
        (GPTConfig, {"num_layers": -1}, r"num_layers \(-1\) must be positive"),
        (BERTConfig, {"norm_eps": 0.0}, r"norm_eps \(0.0\) must be positive"),
        (BERTConfig, {"d_ff": 0}, r"d_ff \(0\) must be positive"),
        (GPTConfig, {"dropout": 1.0}, r"dropout \(1.0\) must be at least 0 and less than 1"),
        (GPTConfig, {"num_heads": 3}, r"d_model \(16\) must be a multiple of num_heads \(3\)"),
    ],
)
def test_sizes_that_make_no_model_are_named(config, changed, message):
    with pytest.raises(ValueError, match=message):
        config(**{**SIZES, "num_layers": 1, **changed})


def test_a_modernberts_sizes_are_checked():
    for name in ("window", "global_every", "local_rope_theta", "rope_theta", "d_ff"):
        with pytest.raises(ValueError, match=rf"{name} \(0\) must be positive"):
            modernbert(**{name: 0})
    with pytest.raises(ValueError, match=r"head_dim \(5\) must be positive and even"):
        modernbert(d_model=20)


def test_a_llamas_sizes_are_checked():
    for changed, message in (
        ({"num_kv_heads": 3}, r"num_heads \(4\) must be a multiple of num_kv_heads \(3\)"),
        ({"head_dim": 5}, r"head_dim \(5\) must be positive and even"),
        ({"rope_theta": 0.0}, r"rope_theta \(0.0\) must be positive"),
        ({"d_ff": 0}, r"d_ff \(0\) must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            Llama(LlamaConfig(**{**SIZES, "num_layers": 1, "d_ff": 8, **changed}))
