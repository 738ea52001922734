"""The families that can be exchanged with Hugging Face: their configurations and their name tables, both ways."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..models import BERT, GPT, BERTConfig, GPTConfig, Llama, LlamaConfig, ModernBERT, ModernBERTConfig
from ..models.inputs import inner_width
from ..positions import RopeScaling
from .settings import Settings, require
from .tables import Table


@dataclass(frozen=True)
class Family:
    """How one of Hugging Face's model types and ours belong together.

    Attributes:
        model: our class; it is made from a configuration.
        architecture: the name of their class with all heads.
        read_config: our configuration from theirs (a dictionary, as in config.json); raises ValueError where theirs
            asks for something that ours does not do.
        write_config: theirs from ours.
        table: which of their parameters is which of ours.
        base: what stands before the names of their class without heads ("transformer.", "model.", "bert.").
    """

    model: Callable[[Any], nn.Module]
    architecture: str
    read_config: Callable[[dict], Any]
    write_config: Callable[[Any], dict]
    table: Table
    base: str


# What most families call by the same names.
_USUAL = {
    "vocab_size": "vocab_size",
    "max_seq_len": "max_position_embeddings",
    "d_model": "hidden_size",
    "num_heads": "num_attention_heads",
    "num_layers": "num_hidden_layers",
    "d_ff": "intermediate_size",
}
_QKV = ("attention.q_proj", "attention.k_proj", "attention.v_proj")

# -- GPT-2 ------------------------------------------------------------------------------------------------------------

_GPT2 = Settings(
    names={
        "vocab_size": "vocab_size",
        "max_seq_len": "n_positions",
        "d_model": "n_embd",
        "num_heads": "n_head",
        "num_layers": "n_layer",
        "d_ff": "n_inner",
        "dropout": "resid_pdrop",
        "norm_eps": "layer_norm_epsilon",
    },
    fixed={
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
        "tie_word_embeddings": (True,),
    },
    equal={"attn_pdrop": "resid_pdrop", "embd_pdrop": "resid_pdrop"},
    absent={"resid_pdrop": 0.1},
)
_GPT2_TABLE = Table(
    once={
        "transformer.wte": "token_embedding",
        "transformer.wpe": "position_embedding",
        "transformer.ln_f": "final_norm",
        "lm_head": "lm_head",
    },
    layers="transformer.h.{}.",
    per_layer={
        "ln_1": "norm1",
        "attn.c_attn": _QKV,
        "attn.c_proj": "attention.out_proj",
        "ln_2": "norm2",
        "mlp.c_fc": "feed_forward.up_proj",
        "mlp.c_proj": "feed_forward.down_proj",
    },
    # Conv1D computes x W with W of shape (inputs, outputs); nn.Linear computes x W^T.
    transposed=("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
    ignored=(".attn.bias", ".attn.masked_bias"),  # causal masks that old files store as if they were parameters
)


def _read_gpt2(config: dict) -> GPTConfig:
    return GPTConfig(**_GPT2.read(config))


def _write_gpt2(config: GPTConfig) -> dict:
    return _GPT2.write(config) | {"n_inner": inner_width(config)}


# -- BERT -------------------------------------------------------------------------------------------------------------

_BERT = Settings(
    names={**_USUAL, "num_segments": "type_vocab_size", "dropout": "hidden_dropout_prob", "norm_eps": "layer_norm_eps"},
    fixed={
        "hidden_act": ("gelu",),
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "tie_word_embeddings": (True,),
    },
    equal={"attention_probs_dropout_prob": "hidden_dropout_prob"},
    absent={"hidden_dropout_prob": 0.1},
)
_BERT_TABLE = Table(
    once={
        "bert.embeddings.word_embeddings": "token_embedding",
        "bert.embeddings.position_embeddings": "position_embedding",
        "bert.embeddings.token_type_embeddings": "segment_embedding",
        "bert.embeddings.LayerNorm": "embedding_norm",
        "bert.pooler.dense": "pooler",
        "cls.predictions.transform.dense": "mlm_transform.0",
        "cls.predictions.transform.LayerNorm": "mlm_transform.2",
        "cls.predictions.decoder.weight": "lm_head.weight",
        "cls.predictions.bias": "lm_head.bias",
        "cls.seq_relationship": "nsp_head",
    },
    layers="bert.encoder.layer.{}.",
    per_layer={
        "attention.self.query": "attention.q_proj",
        "attention.self.key": "attention.k_proj",
        "attention.self.value": "attention.v_proj",
        "attention.output.dense": "attention.out_proj",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "feed_forward.up_proj",
        "output.dense": "feed_forward.down_proj",
        "output.LayerNorm": "norm2",
    },
    ignored=(
        "cls.predictions.decoder.bias",  # the same numbers as cls.predictions.bias
        "embeddings.position_ids",  # 0, 1, 2, ...
    ),
    heads=(r"bert\.pooler", r"cls\.predictions\.(transform|bias)", r"cls\.seq_relationship"),
)


def _read_bert(config: dict) -> BERTConfig:
    return BERTConfig(**_BERT.read(config))


def _write_bert(config: BERTConfig) -> dict:
    return _BERT.write(config) | {"intermediate_size": inner_width(config)}


# -- ModernBERT -------------------------------------------------------------------------------------------------------

_MODERNBERT = Settings(
    names={**_USUAL, "dropout": "attention_dropout", "norm_eps": "norm_eps"},
    fixed={
        **dict.fromkeys(("hidden_activation", "classifier_activation"), ("gelu",)),
        **dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), (False,)),
        **dict.fromkeys(("decoder_bias", "tie_word_embeddings"), (True,)),
        "rope_scaling": (None,),
    },
    equal={"embedding_dropout": "attention_dropout", "mlp_dropout": "attention_dropout"},
    absent={"attention_dropout": 0.0},
)
_MODERNBERT_TABLE = Table(
    once={
        "model.embeddings.tok_embeddings": "token_embedding",
        "model.embeddings.norm": "embedding_norm",
        "model.final_norm": "final_norm",
        "head.dense": "mlm_transform.0",
        "head.norm": "mlm_transform.2",
        "decoder": "lm_head",
    },
    layers="model.layers.{}.",
    per_layer={
        "attn_norm": "norm1",  # the first layer has none
        "attn.Wqkv": _QKV,
        "attn.Wo": "attention.out_proj",
        "mlp_norm": "norm2",
        "mlp.Wi": ("feed_forward.gate_proj", "feed_forward.up_proj"),
        "mlp.Wo": "feed_forward.down_proj",
    },
)


def _read_modernbert(config: dict) -> ModernBERTConfig:
    return ModernBERTConfig(
        **_MODERNBERT.read(config),
        rope_theta=_theta(config, "full_attention", "global_rope_theta", 160_000.0),
        local_rope_theta=_theta(config, "sliding_attention", "local_rope_theta", 10_000.0),
        window=config.get("local_attention", 128) // 2 + 1,  # theirs counts both sides together
        global_every=_global_every(config),
    )


def _theta(config: dict, kind: str, old_name: str, default: float) -> float | int:
    """The base of the rotary positions of one kind of layers; files of transformers 4 have a name for each."""
    rope = (config.get("rope_parameters") or {}).get(kind) or {}
    require(rope, "rope_type", "default")
    return rope.get("rope_theta") or config.get(old_name, default)


def _global_every(config: dict) -> int:
    """How often a layer is global: a number in most files, in others to be found in the list of all layers."""
    num_layers, listed = config["num_hidden_layers"], config.get("layer_types")
    fitting = (every for every in range(1, num_layers + 1) if _kinds(num_layers, every) == listed)
    every = config.get("global_attn_every_n_layers") or next(fitting, 3)
    require(config, "layer_types", None, _kinds(num_layers, every))
    return every


def _kinds(num_layers: int, every: int) -> list[str]:
    return ["sliding_attention" if layer % every else "full_attention" for layer in range(num_layers)]


def _write_modernbert(config: ModernBERTConfig) -> dict:
    thetas = {"full_attention": config.rope_theta, "sliding_attention": config.local_rope_theta}
    return _MODERNBERT.write(config) | {
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()},
        "local_attention": 2 * (config.window - 1),
        "global_attn_every_n_layers": config.global_every,
        **dict.fromkeys(("cls_token_id", "sep_token_id")),  # the tokenizer's knowledge, not the model's
    }


# -- Llama, Qwen 2, Qwen 3 --------------------------------------------------------------------------------------------

_LLAMA = Settings(
    names={
        **_USUAL,
        "num_kv_heads": "num_key_value_heads",
        "head_dim": "head_dim",
        "norm_eps": "rms_norm_eps",
        "tied": "tie_word_embeddings",
    },
    fixed={"hidden_act": ("silu",), "mlp_bias": (False,), "use_sliding_window": (False,)},
    absent={"rms_norm_eps": 1e-6},
)
_SCALING = {
    "factor": "factor",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
    "original_max_seq_len": "original_max_position_embeddings",
}
_LLAMA_TABLE = Table(
    once={"model.embed_tokens": "token_embedding", "model.norm": "final_norm", "lm_head": "lm_head"},
    layers="model.layers.{}.",
    per_layer={
        "input_layernorm": "norm1",
        **{f"self_attn.{name}": f"attention.{name}" for name in ("q_proj", "k_proj", "v_proj")},
        "self_attn.q_norm": "attention.query_norm",
        "self_attn.k_norm": "attention.key_norm",
        "self_attn.o_proj": "attention.out_proj",
        "post_attention_layernorm": "norm2",
        **{f"mlp.{name}": f"feed_forward.{name}" for name in ("gate_proj", "up_proj", "down_proj")},
    },
    ignored=("rotary_emb.inv_freq",),  # the frequencies, which follow from the configuration
)


def _read_llama(config: dict) -> LlamaConfig:
    kind = config["model_type"]
    require(config, "attention_bias", kind == "qwen2", None)
    rope = config.get("rope_parameters") or {
        **(config.get("rope_scaling") or {}),
        "rope_theta": config.get("rope_theta"),
    }
    return LlamaConfig(
        **_LLAMA.read(config),
        rope_theta=rope.get("rope_theta") or 10_000.0,
        rope_scaling=_read_scaling(rope),
        attention_bias=kind == "qwen2",
        head_norm=kind == "qwen3",
    )


def _read_scaling(rope: dict) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind != "llama3":
        raise ValueError(f"rope_type ({kind!r}) of this checkpoint must be 'default' or 'llama3'")
    return RopeScaling(**{ours: rope[theirs] for ours, theirs in _SCALING.items()})


def _write_llama(config: LlamaConfig) -> dict:
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": config.rope_theta}
    if config.rope_scaling:
        rope["rope_type"] = "llama3"
        rope |= {theirs: getattr(config.rope_scaling, ours) for ours, theirs in _SCALING.items()}
    return _LLAMA.write(config) | {
        "num_key_value_heads": config.num_kv_heads or config.num_heads,
        "head_dim": config.head_width,
        "rope_parameters": rope,
    }


# -- all of them ------------------------------------------------------------------------------------------------------


def _llama(architecture: str) -> Family:
    return Family(Llama, architecture, _read_llama, _write_llama, _LLAMA_TABLE, "model.")


FAMILIES = {
    "gpt2": Family(GPT, "GPT2LMHeadModel", _read_gpt2, _write_gpt2, _GPT2_TABLE, "transformer."),
    "bert": Family(BERT, "BertForPreTraining", _read_bert, _write_bert, _BERT_TABLE, "bert."),
    "modernbert": Family(
        ModernBERT, "ModernBertForMaskedLM", _read_modernbert, _write_modernbert, _MODERNBERT_TABLE, "model."
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
