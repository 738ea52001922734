"""The families that can be exchanged with Hugging Face: their configurations and their name tables, both ways."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..models import BERT, GPT, BERTConfig, GPTConfig, Llama, LlamaConfig, ModernBERT, ModernBERTConfig
from ..positions import RopeScaling
from .tables import Row, Table, linear


@dataclass(frozen=True)
class Family:
    """How one of Hugging Face's model types and ours belong together.

    Attributes:
        model: our class; it is made from a configuration.
        architecture: the name of their class with all heads.
        read_config: our configuration from theirs (a dictionary, as in config.json); raises ValueError where theirs
            asks for something that ours does not do.
        write_config: theirs from ours.
        table: the name table of a configuration.
        base: what stands before the names of their class without heads ("transformer.", "model.", "bert.").
    """

    model: Callable[[Any], nn.Module]
    architecture: str
    read_config: Callable[[dict], Any]
    write_config: Callable[[Any], dict]
    table: Callable[[Any], Table]
    base: str


def _require(config: dict, name: str, *allowed: object) -> None:
    """Refuses a setting that our models do not have."""
    if name in config and config[name] not in allowed:
        shown = " or ".join(map(repr, allowed))
        raise ValueError(f"{name} ({config[name]!r}) of this checkpoint must be {shown}: our model has nothing else")


# -- GPT-2 ------------------------------------------------------------------------------------------------------------


def _read_gpt2(config: dict) -> GPTConfig:
    _require(config, "activation_function", "gelu_new", "gelu_pytorch_tanh")
    _require(config, "scale_attn_weights", True)
    _require(config, "scale_attn_by_inverse_layer_idx", False)
    _require(config, "add_cross_attention", False)
    for name in ("attn_pdrop", "embd_pdrop"):
        _require(config, name, config.get("resid_pdrop"))
    _require(config, "tie_word_embeddings", True)
    return GPTConfig(
        vocab_size=config["vocab_size"],
        max_seq_len=config["n_positions"],
        d_model=config["n_embd"],
        num_heads=config["n_head"],
        num_layers=config["n_layer"],
        d_ff=config.get("n_inner"),
        dropout=config.get("resid_pdrop", 0.1),
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
    )


def _write_gpt2(config: GPTConfig) -> dict:
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.max_seq_len,
        "n_embd": config.d_model,
        "n_head": config.num_heads,
        "n_layer": config.num_layers,
        "n_inner": config.inner_width,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": config.norm_eps,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
    }


# Conv1D computes x W with W of shape (inputs, outputs); nn.Linear computes x W^T: hence `transposed`.
GPT2 = Table(
    once=(
        Row("transformer.wte.weight", ("token_embedding.weight",)),
        Row("transformer.wpe.weight", ("position_embedding.weight",)),
        *linear("transformer.ln_f", "final_norm"),
        Row("lm_head.weight", ("lm_head.weight",)),
    ),
    per_layer=(
        *linear("transformer.h.{}.ln_1", "norm1"),
        *linear(
            "transformer.h.{}.attn.c_attn", "attention.q_proj", "attention.k_proj", "attention.v_proj", transposed=True
        ),
        *linear("transformer.h.{}.attn.c_proj", "attention.out_proj", transposed=True),
        *linear("transformer.h.{}.ln_2", "norm2"),
        *linear("transformer.h.{}.mlp.c_fc", "feed_forward.up_proj", transposed=True),
        *linear("transformer.h.{}.mlp.c_proj", "feed_forward.down_proj", transposed=True),
    ),
    ignored=(".attn.bias", ".attn.masked_bias"),  # causal masks that old files store as if they were parameters
)

# -- BERT -------------------------------------------------------------------------------------------------------------


def _read_bert(config: dict) -> BERTConfig:
    _require(config, "hidden_act", "gelu")
    _require(config, "position_embedding_type", "absolute")
    _require(config, "is_decoder", False)
    _require(config, "attention_probs_dropout_prob", config.get("hidden_dropout_prob"))
    _require(config, "tie_word_embeddings", True)
    return BERTConfig(
        vocab_size=config["vocab_size"],
        max_seq_len=config["max_position_embeddings"],
        d_model=config["hidden_size"],
        num_heads=config["num_attention_heads"],
        num_layers=config["num_hidden_layers"],
        d_ff=config["intermediate_size"],
        num_segments=config.get("type_vocab_size", 2),
        dropout=config.get("hidden_dropout_prob", 0.1),
        norm_eps=config.get("layer_norm_eps", 1e-12),
    )


def _write_bert(config: BERTConfig) -> dict:
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_seq_len,
        "hidden_size": config.d_model,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "intermediate_size": config.inner_width,
        "type_vocab_size": config.num_segments,
        "hidden_act": "gelu",
        "layer_norm_eps": config.norm_eps,
        **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), config.dropout),
    }


_BERT_LAYER = "bert.encoder.layer.{}"
BERT_TABLE = Table(
    once=(
        Row("bert.embeddings.word_embeddings.weight", ("token_embedding.weight",)),
        Row("bert.embeddings.position_embeddings.weight", ("position_embedding.weight",)),
        Row("bert.embeddings.token_type_embeddings.weight", ("segment_embedding.weight",)),
        *linear("bert.embeddings.LayerNorm", "embedding_norm"),
        *linear("bert.pooler.dense", "pooler"),
        *linear("cls.predictions.transform.dense", "mlm_transform.0"),
        *linear("cls.predictions.transform.LayerNorm", "mlm_transform.2"),
        Row("cls.predictions.decoder.weight", ("lm_head.weight",)),
        Row("cls.predictions.bias", ("lm_head.bias",)),
        *linear("cls.seq_relationship", "nsp_head"),
    ),
    per_layer=(
        *linear(f"{_BERT_LAYER}.attention.self.query", "attention.q_proj"),
        *linear(f"{_BERT_LAYER}.attention.self.key", "attention.k_proj"),
        *linear(f"{_BERT_LAYER}.attention.self.value", "attention.v_proj"),
        *linear(f"{_BERT_LAYER}.attention.output.dense", "attention.out_proj"),
        *linear(f"{_BERT_LAYER}.attention.output.LayerNorm", "norm1"),
        *linear(f"{_BERT_LAYER}.intermediate.dense", "feed_forward.up_proj"),
        *linear(f"{_BERT_LAYER}.output.dense", "feed_forward.down_proj"),
        *linear(f"{_BERT_LAYER}.output.LayerNorm", "norm2"),
    ),
    ignored=(
        "cls.predictions.decoder.bias",  # the same numbers as cls.predictions.bias
        "embeddings.position_ids",  # 0, 1, 2, ...
    ),
    heads=(r"bert\.pooler", r"cls\.predictions\.(transform|bias)", r"cls\.seq_relationship"),
)

# -- ModernBERT -------------------------------------------------------------------------------------------------------


_MODERNBERT_FIXED = {
    **dict.fromkeys(("hidden_activation", "classifier_activation"), "gelu"),
    **dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), False),
    **dict.fromkeys(("decoder_bias", "tie_word_embeddings"), True),
    "rope_scaling": None,
}


def _read_modernbert(config: dict) -> ModernBERTConfig:
    for name, value in _MODERNBERT_FIXED.items():
        _require(config, name, value)
    for name in ("embedding_dropout", "mlp_dropout"):
        _require(config, name, config.get("attention_dropout", 0.0))
    return ModernBERTConfig(
        vocab_size=config["vocab_size"],
        max_seq_len=config["max_position_embeddings"],
        d_model=config["hidden_size"],
        num_heads=config["num_attention_heads"],
        num_layers=config["num_hidden_layers"],
        d_ff=config["intermediate_size"],
        dropout=config.get("attention_dropout", 0.0),
        norm_eps=config.get("norm_eps", 1e-5),
        rope_theta=_theta(config, "full_attention", "global_rope_theta", 160_000.0),
        local_rope_theta=_theta(config, "sliding_attention", "local_rope_theta", 10_000.0),
        window=config.get("local_attention", 128) // 2 + 1,  # theirs counts both sides together
        global_every=_global_every(config),
    )


def _theta(config: dict, kind: str, old_name: str, default: float) -> float | int:
    """The base of the rotary positions of one kind of layers; files of transformers 4 have a name for each."""
    rope = (config.get("rope_parameters") or {}).get(kind) or {}
    _require(rope, "rope_type", "default")
    return rope.get("rope_theta") or config.get(old_name, default)


def _global_every(config: dict) -> int:
    """How often a layer is global: a number in most files, in others to be found in the list of all layers."""
    num_layers, listed = config["num_hidden_layers"], config.get("layer_types")
    fitting = (every for every in range(1, num_layers + 1) if _kinds(num_layers, every) == listed)
    every = config.get("global_attn_every_n_layers") or next(fitting, 3)
    _require(config, "layer_types", None, _kinds(num_layers, every))
    return every


def _kinds(num_layers: int, every: int) -> list[str]:
    return ["sliding_attention" if layer % every else "full_attention" for layer in range(num_layers)]


def _write_modernbert(config: ModernBERTConfig) -> dict:
    thetas = {"full_attention": config.rope_theta, "sliding_attention": config.local_rope_theta}
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_seq_len,
        "hidden_size": config.d_model,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "intermediate_size": config.d_ff,
        "norm_eps": config.norm_eps,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()},
        "local_attention": 2 * (config.window - 1),
        "global_attn_every_n_layers": config.global_every,
        **dict.fromkeys(("embedding_dropout", "attention_dropout", "mlp_dropout"), config.dropout),
        **dict.fromkeys(("cls_token_id", "sep_token_id")),  # the tokenizer's knowledge, not the model's
    }


def _modernbert_table(config: ModernBERTConfig) -> Table:
    layer = "model.layers.{}"
    heads = tuple(f"attention.{name}" for name in ("q_proj", "k_proj", "v_proj"))
    return Table(
        once=(
            Row("model.embeddings.tok_embeddings.weight", ("token_embedding.weight",)),
            *linear("model.embeddings.norm", "embedding_norm", bias=False),
            *(  # the first layer has none
                Row(f"model.layers.{later}.attn_norm.weight", (f"blocks.{later}.norm1.weight",))
                for later in range(1, config.num_layers)
            ),
            *linear("model.final_norm", "final_norm", bias=False),
            *linear("head.dense", "mlm_transform.0", bias=False),
            *linear("head.norm", "mlm_transform.2", bias=False),
            *linear("decoder", "lm_head"),
        ),
        per_layer=(
            *linear(f"{layer}.attn.Wqkv", *heads, bias=False),
            *linear(f"{layer}.attn.Wo", "attention.out_proj", bias=False),
            *linear(f"{layer}.mlp_norm", "norm2", bias=False),
            *linear(f"{layer}.mlp.Wi", "feed_forward.gate_proj", "feed_forward.up_proj", bias=False),
            *linear(f"{layer}.mlp.Wo", "feed_forward.down_proj", bias=False),
        ),
    )


# -- Llama, Qwen 2, Qwen 3 --------------------------------------------------------------------------------------------


def _read_llama(config: dict) -> LlamaConfig:
    _require(config, "hidden_act", "silu")
    _require(config, "mlp_bias", False)
    _require(config, "use_sliding_window", False)
    qwen = config["model_type"]
    _require(config, "attention_bias", *((True, None) if qwen == "qwen2" else (False, None)))
    rope = config.get("rope_parameters") or {
        **(config.get("rope_scaling") or {}),
        "rope_theta": config.get("rope_theta"),
    }
    return LlamaConfig(
        vocab_size=config["vocab_size"],
        max_seq_len=config["max_position_embeddings"],
        d_model=config["hidden_size"],
        num_heads=config["num_attention_heads"],
        num_layers=config["num_hidden_layers"],
        d_ff=config["intermediate_size"],
        num_kv_heads=config.get("num_key_value_heads"),
        head_dim=config.get("head_dim"),
        norm_eps=config.get("rms_norm_eps", 1e-6),
        rope_theta=rope.get("rope_theta") or 10_000.0,
        rope_scaling=_read_scaling(rope),
        attention_bias=qwen == "qwen2",
        head_norm=qwen == "qwen3",
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def _read_scaling(rope: dict) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind != "llama3":
        raise ValueError(f"rope_type ({kind!r}) of this checkpoint must be 'default' or 'llama3'")
    return RopeScaling(
        factor=rope["factor"],
        low_freq_factor=rope["low_freq_factor"],
        high_freq_factor=rope["high_freq_factor"],
        original_max_seq_len=rope["original_max_position_embeddings"],
    )


def _write_llama(config: LlamaConfig) -> dict:
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": config.rope_theta}
    if scaling := config.rope_scaling:
        rope |= {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_seq_len,
        }
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_seq_len,
        "hidden_size": config.d_model,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "intermediate_size": config.d_ff,
        "num_key_value_heads": config.num_kv_heads or config.num_heads,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": rope,
        "tie_word_embeddings": config.tied,
    }


def _llama_table(config: LlamaConfig) -> Table:
    layer = "model.layers.{}"
    heads = [
        row
        for name in ("q_proj", "k_proj", "v_proj")
        for row in linear(f"{layer}.self_attn.{name}", f"attention.{name}", bias=config.attention_bias)
    ]
    if config.head_norm:
        heads += linear(f"{layer}.self_attn.q_norm", "attention.query_norm", bias=False)
        heads += linear(f"{layer}.self_attn.k_norm", "attention.key_norm", bias=False)
    feed_forward = [
        row
        for name in ("gate_proj", "up_proj", "down_proj")
        for row in linear(f"{layer}.mlp.{name}", f"feed_forward.{name}", bias=False)
    ]
    return Table(
        once=(
            Row("model.embed_tokens.weight", ("token_embedding.weight",)),
            *linear("model.norm", "final_norm", bias=False),
            Row("lm_head.weight", ("lm_head.weight",)),
        ),
        per_layer=(
            *linear(f"{layer}.input_layernorm", "norm1", bias=False),
            *heads,
            *linear(f"{layer}.self_attn.o_proj", "attention.out_proj", bias=False),
            *linear(f"{layer}.post_attention_layernorm", "norm2", bias=False),
            *feed_forward,
        ),
        ignored=("rotary_emb.inv_freq",),  # the frequencies, which follow from the configuration
    )


# -- all of them ------------------------------------------------------------------------------------------------------


def _llama(architecture: str) -> Family:
    return Family(Llama, architecture, _read_llama, _write_llama, _llama_table, "model.")


FAMILIES = {
    "gpt2": Family(GPT, "GPT2LMHeadModel", _read_gpt2, _write_gpt2, lambda config: GPT2, "transformer."),
    "bert": Family(BERT, "BertForPreTraining", _read_bert, _write_bert, lambda config: BERT_TABLE, "bert."),
    "modernbert": Family(
        ModernBERT, "ModernBertForMaskedLM", _read_modernbert, _write_modernbert, _modernbert_table, "model."
    ),
    "llama": _llama("LlamaForCausalLM"),
    "qwen2": _llama("Qwen2ForCausalLM"),
    "qwen3": _llama("Qwen3ForCausalLM"),
}


def model_type(model: nn.Module) -> str:
    """Hugging Face's name of our model's family.

    Raises:
        ValueError: the model belongs to no family that Hugging Face has.
    """
    if isinstance(model, Llama):
        if model.config.head_norm and model.config.attention_bias:
            raise ValueError("model (Llama) has head_norm and attention_bias: Hugging Face has no such family")
        return "qwen3" if model.config.head_norm else "qwen2" if model.config.attention_bias else "llama"
    for name, family in FAMILIES.items():
        if type(model) is family.model:
            return name
    raise ValueError(f"model ({type(model).__name__}) must be a GPT, BERT, ModernBERT or Llama")
