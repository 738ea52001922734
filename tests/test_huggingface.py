"""Our models against Hugging Face's: same weights, float64, differences below 1e-10; and planted bugs must show."""

import contextlib
import dataclasses
import json
from importlib import resources
from unittest import mock

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: hub)")

from transformers.models.llama import modeling_llama  # noqa: E402
from transformers.models.modernbert import modeling_modernbert  # noqa: E402
from transformers.models.qwen2 import modeling_qwen2  # noqa: E402
from transformers.models.qwen3 import modeling_qwen3  # noqa: E402

from llmguide_lib import attention, models, positions  # noqa: E402
from llmguide_lib.attention import KVCache, MultiHeadAttention, causal_attention, causal_mask, fused_attention  # noqa: E402
from llmguide_lib.huggingface import FAMILIES, from_hf, to_hf  # noqa: E402
from llmguide_lib.layers import FeedForward  # noqa: E402
from llmguide_lib.models import GPT, GPTConfig, Seq2SeqConfig, Seq2SeqTransformer, gpt, inputs, llama, modernbert  # noqa: E402
from llmguide_lib.transformer import pre_norm  # noqa: E402

EXACT = {"atol": 1e-10, "rtol": 0}
B, T, V = 3, 9, 61
GPT2 = {"vocab_size": V, "n_positions": 24, "n_embd": 24, "n_head": 4, "n_layer": 2, "n_inner": 40}
BERT = {
    "vocab_size": V, "max_position_embeddings": 24, "hidden_size": 24, "num_attention_heads": 4,
    "num_hidden_layers": 2, "intermediate_size": 40,
}  # fmt: skip
MODERNBERT = {  # local layers 1, 2 and 4 of 5, in which two words on each side are seen
    **BERT, "num_hidden_layers": 5, "global_attn_every_n_layers": 3, "local_attention": 4, "cls_token_id": 0,
    "sep_token_id": 0, "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 100.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
    },
}  # fmt: skip
LLAMA = {**BERT, "num_key_value_heads": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}
STRETCHED = {
    "rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
CONFIGS = {
    "gpt2": ("gpt2", GPT2),
    "bert": ("bert", BERT),
    "modernbert": ("modernbert", MODERNBERT),
    "modernbert, all layers global": ("modernbert", {**MODERNBERT, "global_attn_every_n_layers": 1}),
    "llama": ("llama", LLAMA),
    "llama, stretched and tied": ("llama", {**LLAMA, "rope_parameters": STRETCHED, "tie_word_embeddings": True}),
    "qwen2": ("qwen2", LLAMA),
    "qwen3": ("qwen3", {**LLAMA, "head_dim": 8, "tie_word_embeddings": True}),
}
DECODERS = [name for name, (model_type, _) in CONFIGS.items() if "bert" not in model_type]


@pytest.fixture(autouse=True)
def kept_in_float64(monkeypatch):
    """Hugging Face's RMSNorm and ModernBERT's rotation round to float32 whatever the type; here they must not."""

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    for cls in (modeling_llama.LlamaRMSNorm, modeling_qwen2.Qwen2RMSNorm, modeling_qwen3.Qwen3RMSNorm):
        monkeypatch.setattr(cls, "forward", forward)
    monkeypatch.setattr(modeling_modernbert, "apply_rotary_pos_emb", modeling_llama.apply_rotary_pos_emb)


def theirs(name):
    """A tiny model of Hugging Face's, its weights large enough for every mistake to show."""
    model_type, sizes = CONFIGS[name]
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    config = transformers.AutoConfig.for_model(model_type, **sizes, **ends, attn_implementation="sdpa")
    model = getattr(transformers, FAMILIES[model_type].architecture)(config).double().eval()
    for parameter_name, parameter in model.named_parameters():
        nn.init.normal_(parameter, std=0.2)
        if parameter.ndim == 1 and parameter_name.endswith("weight"):
            parameter.data += 1  # norms
    return model


def texts(side):
    """Tokens, and the mask of texts of 9, 5 and 1 words, filled up on one side; no mask without filling."""
    tokens = torch.randint(0, V, (B, T))
    if side == "none":
        return tokens, None
    real = torch.arange(T) < torch.tensor([[9], [5], [1]])
    return tokens, real.flip(1) if side == "left" else real


def ask(model, tokens, mask, **more):
    """Hugging Face's outputs; the positions count real tokens, as ours do."""
    mask = torch.ones_like(tokens).bool() if mask is None else mask
    places = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    return model(tokens, attention_mask=mask.long(), position_ids=places, output_hidden_states=True, **more)


def logits_of(outputs):
    return outputs.prediction_logits if "prediction_logits" in outputs else outputs.logits


def last_state(outputs):
    return outputs.hidden_states[-1]


# -- parity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["none", "left", "right"])
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_and_states_are_equal(name, side):
    model = theirs(name)
    ours = from_hf(model)
    tokens, mask = texts(side)
    real = slice(None) if mask is None else mask
    expected = ask(model, tokens, mask)
    torch.testing.assert_close(ours(tokens, mask)[real], logits_of(expected)[real], **EXACT)
    torch.testing.assert_close(ours.hidden(tokens, mask)[real], last_state(expected)[real], **EXACT)


@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_of_every_parameter_are_equal(name, side):
    model = theirs(name)
    ours = from_hf(model)
    tokens, mask = texts(side)
    real = slice(None) if mask is None else mask
    pull = torch.randn_like(logits_of(ask(model, tokens, mask))[real])
    (logits_of(ask(model, tokens, mask))[real] * pull).sum().backward()
    (ours(tokens, mask)[real] * pull).sum().backward()
    rows = list(FAMILIES[CONFIGS[name][0]].table.rows(ours.state_dict(), ours.config.num_layers))
    own = dict(ours.named_parameters(remove_duplicate=False))
    compared = 0
    for row in rows:
        if own[row.ours[0]].grad is not None:
            gradient = row.write([own[one].grad for one in row.ours])
            torch.testing.assert_close(gradient, model.get_parameter(row.theirs).grad, **EXACT)
            compared += 1
    unused = 4 if name == "bert" else 0  # pooler and next sentence
    assert compared == len(rows) - unused


@pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated:FutureWarning")  # newer versions call it cache
@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize("name", DECODERS)
def test_every_step_of_cached_generation_is_equal(name, side):
    model = theirs(name)
    ours = from_hf(model)
    tokens, mask = texts(side)
    cache, past = KVCache(ours.config.num_layers, 24), None
    for step in range(5):
        fed = tokens if step == 0 else tokens[:, -1:]
        known = torch.ones_like(tokens).bool() if mask is None else mask
        expected = ask(model, fed, known, past_key_values=past, use_cache=True)
        past = expected.past_key_values
        now = ours(fed, mask, cache)
        torch.testing.assert_close(now[:, -1], expected.logits[:, -1], **EXACT)
        tokens = torch.cat([tokens, now[:, -1:].argmax(-1)], dim=1)
        mask = None if mask is None else torch.cat([mask, torch.ones(B, 1, dtype=torch.bool)], dim=1)


def test_berts_segments_and_next_sentence_are_equal():
    model = theirs("bert")
    ours = from_hf(model)
    tokens, mask = texts("right")
    segments = (torch.arange(T) > 3).long().expand(B, T)
    expected = model(tokens, attention_mask=mask.long(), token_type_ids=segments)
    torch.testing.assert_close(ours.next_sentence(tokens, mask, segments), expected.seq_relationship_logits, **EXACT)
    torch.testing.assert_close(ours(tokens, mask, segments)[mask], expected.prediction_logits[mask], **EXACT)


@pytest.mark.parametrize("name", ["llama", "modernbert"])
def test_float32_as_released_is_equal_up_to_rounding(name, monkeypatch):
    monkeypatch.undo()  # their norm and rotation as they are
    model = theirs(name).float()
    tokens, _ = texts("none")
    torch.testing.assert_close(from_hf(model)(tokens), model(tokens).logits, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("post", [True, False])
def test_the_original_transformer_is_torchs_with_weights_copied(post):
    config = Seq2SeqConfig(
        vocab_size=V, max_seq_len=12, d_model=24, num_heads=4, num_encoder_layers=2, num_decoder_layers=2, d_ff=40
    )
    ours = Seq2SeqTransformer(config).eval()
    torchs = nn.Transformer(24, 4, 2, 2, 40, 0.0, batch_first=True, norm_first=not post).eval()
    torchs.encoder.norm, torchs.decoder.norm = nn.Identity(), nn.Identity()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.2)
    if not post:
        for block in (*ours.encoder.blocks, *ours.decoder.blocks):
            block.residual = pre_norm
    with torch.no_grad():
        for stack, blocks in ((torchs.encoder, ours.encoder.blocks), (torchs.decoder, ours.decoder.blocks)):
            for layer, block in zip(stack.layers, blocks, strict=True):
                copy_block(block, layer)
    source, target = torch.randint(0, V, (B, 7)), torch.randint(0, V, (B, 5))
    source_mask, target_mask = torch.arange(7) < torch.tensor([[7], [3], [1]]), torch.ones(B, 5).bool()
    embed = lambda tokens: ours._embed(tokens, torch.arange(tokens.shape[1]))  # noqa: E731
    expected = torchs(
        embed(source), embed(target), tgt_mask=~causal_mask(5), src_key_padding_mask=~source_mask,
        memory_key_padding_mask=~source_mask, tgt_is_causal=False,
    )  # fmt: skip
    torch.testing.assert_close(ours.hidden(source, target, source_mask, target_mask), expected, **EXACT)
    torch.testing.assert_close(ours.hidden(source, target, source_mask), expected, **EXACT)


def copy_block(block, layer):
    """Copies our block's weights into one of ``nn.Transformer``'s layers."""
    pairs = [(block.attention, layer.self_attn)]
    if hasattr(block, "cross_attention"):
        pairs.append((block.cross_attention, layer.multihead_attn))
    for own, other in pairs:
        for part in ("weight", "bias"):
            stacked = torch.cat([getattr(getattr(own, name), part) for name in ("q_proj", "k_proj", "v_proj")])
            getattr(other, f"in_proj_{part}").copy_(stacked)
        other.out_proj.load_state_dict(own.out_proj.state_dict())
    layer.linear1.load_state_dict(block.feed_forward.up_proj.state_dict())
    layer.linear2.load_state_dict(block.feed_forward.down_proj.state_dict())
    for number in range(1, 2 + len(pairs)):
        getattr(layer, f"norm{number}").load_state_dict(getattr(block, f"norm{number}").state_dict())


# -- planted bugs: parity must fail -----------------------------------------------------------------------------------


def leak(query, key, value, mask=None, **more):
    return fused_attention(query, key, value, causal_mask(T).roll(1, dims=1) | causal_mask(T), **more)


def interleaved(self, x):
    turned = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
    return x * self.cos + turned * torch.cat([self.sin.chunk(2, dim=-1)[1]] * 2, dim=-1)


def repeated_in_turn(query, key, value, mask=None, **more):
    repeats = query.shape[1] // key.shape[1]
    return causal_attention(query, key.repeat(1, repeats, 1, 1), value.repeat(1, repeats, 1, 1), mask, **more)


def every(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


def drop_biases(model):
    for linear in every(model, nn.Linear):
        linear.bias = None


def set_all(kind, **values):
    def change(model):
        for module in every(model, kind):
            for name, value in values.items():
                setattr(module, name, value)

    return change


def exchange_gates(model):
    for layer in every(model, modernbert.GatedFeedForward):
        layer.gate_proj, layer.up_proj = layer.up_proj, layer.gate_proj


def configured(**changes):
    return lambda model: setattr(model, "config", dataclasses.replace(model.config, **changes))


def untie(model):
    model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight))


def shifted(tokens, mask, start):
    return torch.arange(start + 1, start + 1 + tokens.shape[1])


def patched(owner, name, new):
    return lambda model: mock.patch.object(owner, name, new)


BUGS = {
    "no scale": ("gpt2", patched(attention, "_scale", lambda query, scale: 1.0)),
    "scaled by d_model": ("gpt2", patched(attention, "_scale", lambda query, scale: 24**-0.5)),
    "exact GELU": ("gpt2", set_all(FeedForward, activation=nn.GELU())),
    "tanh GELU": ("bert", set_all(FeedForward, activation=nn.GELU("tanh"))),
    "another eps": ("gpt2", set_all(gpt.LayerNorm, norm_eps=1e-12)),
    "a mask that leaks": ("gpt2", set_all(MultiHeadAttention, core=leak)),
    "positions off by one": ("gpt2", patched(inputs, "positions", shifted)),
    "positions off by one in BERT": ("bert", patched(inputs, "positions", shifted)),
    "an untied head": ("gpt2", untie),
    "heads split wrongly": (
        "gpt2",
        patched(MultiHeadAttention, "_split", lambda self, x, heads: x.reshape(len(x), heads, -1, self.head_dim)),
    ),
    "no biases": ("qwen2", drop_biases),
    "rotary pairs of neighbours": ("llama", patched(positions.Rotation, "__call__", interleaved)),
    "rotary base": ("llama", lambda model: setattr(model.rotary, "rope_theta", 101.0)),
    "key-value heads repeated in turn": ("llama", set_all(MultiHeadAttention, core=repeated_in_turn)),
    "heads not normalised": ("qwen3", set_all(MultiHeadAttention, query_norm=nn.Identity())),
    "no gate": ("llama", set_all(llama.GatedFeedForward, activation=nn.Identity())),
    "gate and input exchanged": ("modernbert", exchange_gates),
    "a window one too wide": ("modernbert", configured(window=4)),
    "a window one too narrow": ("modernbert", configured(window=2)),
    "every second layer global": ("modernbert", configured(global_every=2)),
    "the base of global layers in local ones": (
        "modernbert",
        lambda model: setattr(model, "local_rotary", model.rotary),
    ),
    "a norm before the first attention": (
        "modernbert",
        lambda model: setattr(model.blocks[0], "norm1", modernbert.LayerNorm(24, bias=False)),
    ),
    "a transform without norm": ("modernbert", lambda model: model.mlm_transform.pop(2) and None),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_breaks_parity(bug, unchecked):
    name, plant = BUGS[bug]
    model = theirs(name)
    ours = from_hf(model)
    tokens, _ = texts("none")
    expected = logits_of(ask(model, tokens, None))
    torch.testing.assert_close(ours(tokens), expected, **EXACT)
    with plant(ours) or contextlib.nullcontext():
        assert (ours(tokens) - expected).abs().max() > 1e-6


# -- both ways, and from disk -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_the_round_trip_returns_every_number_and_setting(name):
    ours = from_hf(theirs(name))
    back = from_hf(to_hf(ours))
    assert settings(back) == settings(ours)
    assert all(torch.equal(back.state_dict()[key], value) for key, value in ours.state_dict().items())
    assert back.lm_head.weight.dtype == torch.float64


def settings(model):
    """The configuration with sizes that follow from others written out."""
    written = dataclasses.asdict(model.config)
    written["d_ff"] = inputs.inner_width(model.config)
    if hasattr(model.config, "head_width"):
        written["head_dim"] = model.config.head_width
    return written


def test_a_narrow_model_keeps_its_rotary_frequencies_wide():
    model = to_hf(from_hf(theirs("llama")).bfloat16())
    assert model.lm_head.weight.dtype == torch.bfloat16
    assert {buffer.dtype for name, buffer in model.named_buffers() if "inv_freq" in name} == {torch.float32}


def test_making_theirs_draws_no_random_numbers():
    ours = from_hf(theirs("gpt2"))
    before = torch.get_rng_state()
    to_hf(ours)
    assert torch.equal(torch.get_rng_state(), before)


def test_our_model_shares_no_memory_with_theirs():
    model = theirs("gpt2")
    ours = from_hf(model)
    before = model.transformer.wte.weight.clone()
    with torch.no_grad():
        ours.token_embedding.weight.zero_()
    assert torch.equal(model.transformer.wte.weight, before) and ours.lm_head.weight.eq(0).all()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("shard", ["1GB", "10KB"])
def test_what_transformers_saved_is_read(name, shard, tmp_path):
    model = theirs(name)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "10KB")
    tokens, _ = texts("none")
    torch.testing.assert_close(from_hf(tmp_path)(tokens), logits_of(ask(model, tokens, None)), **EXACT)
    torch.testing.assert_close(from_hf(str(tmp_path))(tokens), logits_of(ask(model, tokens, None)), **EXACT)


def test_what_we_saved_is_read_by_transformers(tmp_path):
    ours = GPT(GPTConfig(vocab_size=V, max_seq_len=16, d_model=16, num_heads=2, num_layers=1)).eval()
    to_hf(ours).save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    tokens, _ = texts("none")
    torch.testing.assert_close(again(tokens).logits, ours(tokens), **EXACT)


def test_an_encoder_that_we_saved_fills_masks_in_transformers(tmp_path):
    config = modernbert.ModernBERTConfig(
        vocab_size=V, max_seq_len=16, d_model=16, num_heads=2, num_layers=3, d_ff=24, window=3, global_every=2
    )
    ours = modernbert.ModernBERT(config).eval()
    to_hf(ours).save_pretrained(tmp_path)
    again = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, dtype=torch.float64)
    tokens, _ = texts("none")
    torch.testing.assert_close(again(tokens).logits, ours(tokens), **EXACT)
    assert from_hf(tmp_path).config == config


def test_files_of_the_class_without_heads_and_with_old_names_are_read(tmp_path):
    model = theirs("gpt2")
    save(tmp_path, model, {name.removeprefix("transformer."): t for name, t in model.transformer.state_dict().items()})
    tokens, _ = texts("none")
    torch.testing.assert_close(from_hf(tmp_path)(tokens), model(tokens).logits, **EXACT)
    model = theirs("bert")
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    state = dict(model.state_dict())
    for new, name in old.items():
        state = {key.replace(new, name): tensor for key, tensor in state.items()}
    save(tmp_path, model, state)
    expected = model(tokens).prediction_logits
    torch.testing.assert_close(from_hf(tmp_path)(tokens), expected, **EXACT)


HEADLESS = {
    "BertModel": ["lm_head.bias", "mlm_transform.0.weight", "nsp_head.bias", "nsp_head.weight"],
    "BertForMaskedLM": ["nsp_head.bias", "nsp_head.weight", "pooler.bias", "pooler.weight"],
}


@pytest.mark.parametrize("name", HEADLESS)
def test_a_bert_without_some_heads_is_read_with_a_warning_and_can_be_written(name, tmp_path):
    _, sizes = CONFIGS["bert"]
    model = getattr(transformers, name)(transformers.BertConfig(**sizes)).double().eval()
    model.save_pretrained(tmp_path)
    tokens, _ = texts("none")
    for source in (model, tmp_path):
        with pytest.warns(UserWarning, match="untrained in our model") as caught:
            ours = from_hf(source)
        assert all(untrained in str(caught[0].message) for untrained in HEADLESS[name])
        outputs = model(tokens, output_hidden_states=True)
        torch.testing.assert_close(ours.hidden(tokens), last_state(outputs), **EXACT)
        if name == "BertForMaskedLM":
            torch.testing.assert_close(ours(tokens), outputs.logits, **EXACT)
        assert {parameter.dtype for parameter in ours.parameters()} == {torch.float64}
        torch.testing.assert_close(from_hf(to_hf(ours)).state_dict(), ours.state_dict(), atol=0, rtol=0)


def test_half_a_head_is_missing_and_not_absent(tmp_path):
    model = theirs("bert")
    state = dict(model.state_dict())
    del state["bert.pooler.dense.bias"]
    save(tmp_path, model, state)
    with pytest.raises(ValueError, match=r"bert.pooler.dense.bias is missing from the checkpoint"):
        from_hf(tmp_path)


def save(folder, model, state):
    from safetensors.torch import save_file

    own = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    save_file(own, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()), encoding="utf-8")


def test_pickled_weights_are_read_only_when_asked_for(tmp_path):
    model = theirs("gpt2")
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()), encoding="utf-8")
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"has only pickled weights .* pass allow_pickle=True if you trust"):
        from_hf(tmp_path)
    tokens, _ = texts("none")
    torch.testing.assert_close(from_hf(tmp_path, allow_pickle=True)(tokens), model(tokens).logits, **EXACT)


# -- bad input --------------------------------------------------------------------------------------------------------


def broken(folder, change):
    """A checkpoint of which something was changed."""
    model = theirs("gpt2")
    state, config = dict(model.state_dict()), model.config.to_dict()
    change(state, config)
    save(folder, model, state)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def nan(state, config):
    state["transformer.ln_f.weight"] = state["transformer.ln_f.weight"] * float("nan")


BROKEN = [
    (lambda s, c: s.pop("transformer.wpe.weight"), r"transformer.wpe.weight is missing from the checkpoint"),
    (lambda s, c: s.update(extra=torch.ones(1)), r"extra of the checkpoint has no place in this family"),
    (
        lambda s, c: s.update({"transformer.wpe.weight": torch.ones(3, 24)}),
        r"position_embedding.weight \(24, 24\)",
    ),
    (nan, r"final_norm.weight of this checkpoint holds NaN or infinity"),
    (lambda s, c: c.update(model_type="mamba"), r"model_type \('mamba'\) must be one of gpt2, bert, modernbert, llama"),
    (lambda s, c: c.update(activation_function="relu"), r"activation_function \('relu'\) of this checkpoint must be"),
    (lambda s, c: c.update(scale_attn_weights=False), r"scale_attn_weights \(False\) of this checkpoint must be True"),
    (lambda s, c: c.pop("model_type"), r"names no model_type"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_a_checkpoint_that_does_not_fit_is_refused(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        from_hf(broken(tmp_path, change))


def test_settings_that_our_llama_does_not_have_are_refused():
    scaled = {**LLAMA, "rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0}}
    for sizes, message in ((scaled, r"rope_type \('linear'\)"), ({**LLAMA, "mlp_bias": True}, r"mlp_bias \(True\)")):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
        with pytest.raises(ValueError, match=message):
            from_hf(model)


ROPE = MODERNBERT["rope_parameters"]
OTHER_MODERNBERTS = [
    ({"hidden_activation": "relu"}, r"hidden_activation \('relu'\) of this checkpoint must be 'gelu'"),
    ({"classifier_activation": "relu"}, r"classifier_activation \('relu'\)"),
    ({"attention_bias": True}, r"attention_bias \(True\) of this checkpoint must be False"),
    ({"mlp_bias": True}, r"mlp_bias \(True\)"),
    ({"norm_bias": True}, r"norm_bias \(True\)"),
    ({"classifier_bias": True}, r"classifier_bias \(True\)"),
    ({"decoder_bias": False}, r"decoder_bias \(False\) of this checkpoint must be True"),
    ({"tie_word_embeddings": False}, r"tie_word_embeddings \(False\)"),
    ({"mlp_dropout": 0.1}, r"mlp_dropout \(0.1\) of this checkpoint must be 0.0"),
    ({"embedding_dropout": 0.1}, r"embedding_dropout \(0.1\)"),
    ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, r"rope_scaling \(.*\) of this checkpoint must be None"),
    ({"rope_parameters": {**ROPE, "full_attention": {"rope_type": "yarn", "factor": 2.0}}}, r"rope_type \('yarn'\)"),
    ({"layer_types": ["sliding_attention"] * 5}, r"layer_types \(.*\) of this checkpoint must be None or \['full_att"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), OTHER_MODERNBERTS, ids=[str(list(c)[0]) for c, _ in OTHER_MODERNBERTS])
def test_settings_that_our_modernbert_does_not_have_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FAMILIES["modernbert"].read_config({**MODERNBERT, **changes})


def test_a_modernberts_layers_and_bases_are_read_however_they_are_written():
    read = FAMILIES["modernbert"].read_config
    new = read(MODERNBERT)
    assert (new.global_every, new.window, new.rope_theta, new.local_rope_theta) == (3, 3, 100.0, 10.0)
    bare = {name: value for name, value in MODERNBERT.items() if name not in ("rope_parameters", "local_attention")}
    old = read({**bare, "global_rope_theta": 7.0, "local_rope_theta": 5.0})
    assert (old.rope_theta, old.local_rope_theta) == (7.0, 5.0)
    usual = read(bare)
    assert (usual.window, usual.rope_theta, usual.local_rope_theta) == (65, 160_000.0, 10_000.0)
    del bare["global_attn_every_n_layers"]
    for every in (1, 2, 4, 5):
        kinds = ["sliding_attention" if layer % every else "full_attention" for layer in range(5)]
        assert read({**bare, "layer_types": kinds}).global_every == every
    assert read(bare).global_every == 3


def test_folders_that_hold_no_checkpoint_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"has no config.json"):
        from_hf(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config.json is not JSON"):
        from_hf(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**GPT2, "model_type": "gpt2"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"has no weights: neither model.safetensors nor pytorch_model.bin"):
        from_hf(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x10" * 50)
    with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
        from_hf(tmp_path)
    with pytest.raises(ValueError, match=r"must be a folder with config.json"):
        from_hf(tmp_path / "missing")


def test_a_missing_part_of_the_weights_is_named(tmp_path):
    theirs("gpt2").save_pretrained(tmp_path, max_shard_size="10KB")
    lost = sorted(tmp_path.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(ValueError, match=rf"lacks {lost.name}, one of the \d+ files"):
        from_hf(tmp_path)


def test_an_id_that_cannot_be_downloaded_says_what_to_do(monkeypatch, tmp_path):
    import huggingface_hub

    asked = {}

    def offline(source, allow_patterns):
        asked[source] = allow_patterns
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ValueError, match=r"source \('openai/gpt'\) is no folder here and could not be .*HF_ENDPOINT"):
        from_hf("openai/gpt")
    assert not any("bin" in pattern for pattern in asked["openai/gpt"])


def test_a_downloaded_checkpoint_is_read(monkeypatch, tmp_path):
    import huggingface_hub

    theirs("gpt2").save_pretrained(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda source, allow_patterns: str(tmp_path))
    assert isinstance(from_hf("gpt2"), GPT)


def test_a_damaged_pickle_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**GPT2, "model_type": "gpt2"}), encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02garbage")
    with pytest.raises(ValueError, match=r"pytorch_model.bin is damaged \(\w+\); download it again"):
        from_hf(tmp_path, allow_pickle=True)


def test_dropouts_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"embd_pdrop \(0.3\) of this checkpoint must be 0.1"):
        from_hf(transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2, embd_pdrop=0.3)))


def test_what_is_no_model_of_theirs_is_refused():
    ours = GPT(GPTConfig(vocab_size=V, max_seq_len=16, d_model=16, num_heads=2, num_layers=1))
    with pytest.raises(ValueError, match=r"source \(GPT\) must be a model of Hugging Face's"):
        from_hf(ours)
    both = llama.Llama(
        llama.LlamaConfig(
            vocab_size=V,
            max_seq_len=8,
            d_model=8,
            num_heads=2,
            num_layers=1,
            d_ff=8,
            attention_bias=True,
            head_norm=True,
        )
    )
    with pytest.raises(ValueError, match=r"has head_norm and attention_bias"):
        to_hf(both)


def test_a_model_without_a_family_there_is_refused():
    with pytest.raises(ValueError, match=r"model \(Linear\) must be a GPT, BERT, ModernBERT or Llama"):
        to_hf(nn.Linear(1, 1))


def test_the_recorded_answer_of_gpt2_is_still_theirs():
    """Lessons that run without transformers hold their own GPT-2 against it."""
    path = resources.files("llmguide_lib") / "data" / "runs" / "gpt2-reference.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    model = GPT(GPTConfig(**record["config"])).double().eval()
    for seed, (_, weight) in enumerate(sorted(model.named_parameters())):
        weight.data = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    answer = to_hf(model).double().eval()(torch.tensor([record["tokens"]])).logits[0]
    torch.testing.assert_close(answer, torch.tensor(record["logits"], dtype=torch.float64), atol=1e-10, rtol=0)


def test_the_recorded_answer_of_bert_is_still_theirs():
    path = resources.files("llmguide_lib") / "data" / "runs" / "bert-reference.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    model = models.BERT(models.BERTConfig(**record["config"])).double().eval()
    for seed, (_, weight) in enumerate(sorted(model.named_parameters())):
        weight.data = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    tokens, segments = (torch.tensor([record[name]]) for name in ("tokens", "segments"))
    answer = to_hf(model).double().eval()(input_ids=tokens, token_type_ids=segments)
    for name, logits in (
        ("hidden_tokens", answer.prediction_logits),
        ("next_sentence", answer.seq_relationship_logits),
    ):
        torch.testing.assert_close(logits[0], torch.tensor(record[name], dtype=torch.float64), atol=1e-10, rtol=0)
