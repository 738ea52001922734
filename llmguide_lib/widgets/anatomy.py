"""Model anatomy: the parts of a model, with shapes, parameters, FLOPs and memory, from its published sizes.

The arithmetic stands here and in anatomy-numbers.js, and is tested to be the same; here it is also tested against
models of the library. A *plan* is a flat dictionary of numbers, the same for all families.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import traitlets

from .. import course
from ..huggingface.families import FAMILIES
from ..huggingface.loading import read_config
from ..models import BERT_SIZES, GPT_SIZES, LLAMA_SIZES, BERTConfig, GPTConfig, LlamaConfig, ModernBERTConfig
from .explorer import Explorer

Plan = Mapping[str, int]
Part = dict[str, object]

QWEN3_8B = replace(
    LLAMA_SIZES["qwen3-0.6b"], d_model=4096, num_heads=32, num_layers=36, d_ff=12288, tied=False
)  # https://arxiv.org/abs/2505.09388, table 1
# What is offered: the configuration, and the number of parameters that its authors publish.
PUBLISHED: dict[str, tuple[Callable[[], object], str]] = {
    "gpt2": (lambda: GPT_SIZES["gpt2"], "124M"),
    "gpt2-xl": (lambda: GPT_SIZES["gpt2-xl"], "1.5B"),
    "bert-base-uncased": (lambda: BERT_SIZES["bert-base-uncased"], "110M"),
    "llama-3-8b": (lambda: LLAMA_SIZES["llama-3-8b"], "8B"),
    "qwen3-0.6b": (lambda: LLAMA_SIZES["qwen3-0.6b"], "0.6B"),
    "qwen3-8b": (lambda: QWEN3_8B, "8.2B"),
    "gpt-course": (lambda: _course("gpt"), ""),
    "bert-course": (lambda: _course("bert"), ""),
}


class ModelAnatomy(Explorer):
    """A drawn model whose parts can be asked what they are, what they hold and what they cost.

    Args:
        model: with which of ``PUBLISHED`` it begins.
    Raises:
        ValueError: no such model.
    """

    explorer = traitlets.Unicode("anatomy").tag(sync=True)
    plans = traitlets.Dict().tag(sync=True)
    published = traitlets.Dict().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    part = traitlets.Unicode("attention").tag(sync=True)
    context = traitlets.Int().tag(sync=True)
    batch = traitlets.Int(1).tag(sync=True)
    bits = traitlets.Int(16).tag(sync=True)

    def __init__(self, model: str = "gpt2") -> None:
        if model not in PUBLISHED:
            raise ValueError(f"model ({model!r}) must be one of {', '.join(PUBLISHED)}")
        plans = {name: plan(config()) for name, (config, _) in PUBLISHED.items()}
        published = {name: number for name, (_, number) in PUBLISHED.items()}
        context = min(1024, plans[model]["max_seq_len"])
        super().__init__(model=model, plans=plans, published=published, context=context)


def plan(config: GPTConfig | BERTConfig | LlamaConfig | ModernBERTConfig) -> dict[str, int]:
    """The numbers from which everything else follows; what is yes or no is 1 or 0.

    ``positions`` and ``segments`` are rows of tables; ``norm_vectors`` is 2 where a norm has a shift; ``global_every``
    says which layers see the whole text (1: all), and the others see ``span`` positions.
    """
    heads = {"num_heads": config.num_heads, "num_kv_heads": config.num_heads}
    common = {
        "vocab_size": config.vocab_size, "max_seq_len": config.max_seq_len, "d_model": config.d_model, **heads,
        "head_dim": config.d_model // config.num_heads, "num_layers": config.num_layers,
        "d_ff": config.d_ff or 4 * config.d_model, "positions": 0, "segments": 0, "gated": 0, "bias": 0,
        "qkv_bias": 0, "norm_vectors": 1, "head_norm": 0, "embedding_norm": 0, "first_norm": 1, "final_norm": 1,
        "post_norm": 0, "tied": 1, "causal": 1, "transform": 0, "sentences": 0, "global_every": 1, "span": 0,
    }  # fmt: skip
    return common | _PLANS[type(config)](config)


def _gpt(config: GPTConfig) -> dict[str, int]:
    return {"positions": config.max_seq_len, "bias": 1, "qkv_bias": 1, "norm_vectors": 2}


def _bert(config: BERTConfig) -> dict[str, int]:
    changed = {"segments": config.num_segments, "embedding_norm": 1, "final_norm": 0, "post_norm": 1, "causal": 0}
    return {"positions": config.max_seq_len, "bias": 1, "qkv_bias": 1, "norm_vectors": 2, "transform": 1,
            "sentences": 1, **changed}  # fmt: skip


def _llama(config: LlamaConfig) -> dict[str, int]:
    return {
        "num_kv_heads": config.num_kv_heads or config.num_heads, "head_dim": config.head_width, "gated": 1,
        "qkv_bias": int(config.attention_bias), "head_norm": int(config.head_norm), "tied": int(config.tied),
    }  # fmt: skip


def _modernbert(config: ModernBERTConfig) -> dict[str, int]:
    return {"gated": 1, "embedding_norm": 1, "first_norm": 0, "causal": 0, "transform": 1,
            "global_every": config.global_every, "span": 2 * config.window - 1}  # fmt: skip


_PLANS: dict[type, Callable] = {GPTConfig: _gpt, BERTConfig: _bert, LlamaConfig: _llama, ModernBERTConfig: _modernbert}


def parts(p: Plan) -> list[Part]:
    """The parts from input to output: name, how many there are, matrices and vectors of one of them.

    A matrix is (name, inputs, outputs, kind): "map" is multiplied with, "table" is looked up, "shared" is multiplied
    with and is another part's.
    """
    d, f = p["d_model"], p["d_ff"]
    norm = [["norm weight", d], ["norm bias", d]][: p["norm_vectors"]]
    tables = [["tokens", p["vocab_size"], d, "table"], ["positions", p["positions"], d, "table"],
              ["segments", p["segments"], d, "table"]]  # fmt: skip
    layers = p["num_layers"]
    found = [
        _part("embedding", 1, [table for table in tables if table[1]], norm * p["embedding_norm"]),
        _part("norm1", layers - 1 + p["first_norm"], [], norm),
        _attention(p),
        _part("norm2", layers, [], norm),
        _part(
            "feed_forward",
            layers,
            [["gate_proj", d, f, "map"]] * p["gated"] + [["up_proj", d, f, "map"], ["down_proj", f, d, "map"]],
            [["up_proj bias", f], ["down_proj bias", d]] * p["bias"],
        ),
        _part("final_norm", p["final_norm"], [], norm),
        _head(p, norm),
    ]
    return [part for part in found if part["times"]]


def _attention(p: Plan) -> Part:
    d, width, shared = p["d_model"], p["num_heads"] * p["head_dim"], p["num_kv_heads"] * p["head_dim"]
    matrices = [["q_proj", d, width, "map"], ["k_proj", d, shared, "map"], ["v_proj", d, shared, "map"],
                ["out_proj", width, d, "map"]]  # fmt: skip
    biases = [["q_proj bias", width], ["k_proj bias", shared], ["v_proj bias", shared]] * p["qkv_bias"]
    norms = [["query_norm weight", p["head_dim"]], ["key_norm weight", p["head_dim"]]] * p["head_norm"]
    return _part("attention", p["num_layers"], matrices, biases + [["out_proj bias", d]] * p["bias"] + norms)


def _head(p: Plan, norm: list) -> Part:
    d = p["d_model"]
    transform = [["transform", d, d, "map"]] * p["transform"]
    sentences = [["pooler", d, d, "map"], ["sentences", d, 2, "map"]] * p["sentences"]
    scores = ["scores", d, p["vocab_size"], "shared" if p["tied"] else "map"]
    vectors = (norm + [["scores bias", p["vocab_size"]]]) * p["transform"]
    vectors = vectors + [["transform bias", d]] * p["transform"] * p["bias"]
    vectors = vectors + [["pooler bias", d], ["sentences bias", 2]] * p["sentences"]
    return _part("head", 1, [*transform, scores, *sentences], vectors)


def _part(name: str, times: int, matrices: list, vectors: list) -> Part:
    return {"name": name, "times": times, "matrices": matrices, "vectors": vectors}


def parameters(part: Part) -> int:
    """How many numbers are learned in one part of this kind."""
    matrices = sum(inputs * outputs for _, inputs, outputs, kind in part["matrices"] if kind != "shared")
    return matrices + sum(length for _, length in part["vectors"])


def flops(p: Plan, part: Part, context: int) -> int:
    """FLOPs of all parts of this kind for one token that sees ``context`` positions, in the forward pass.

    Two for each number of a matrix that is multiplied with; attention also compares with every position and mixes what
    it fetches. BERT's ``pooler`` and ``sentences`` work once for a text and are left out, norms and activations too.
    """
    maps = sum(
        2 * inputs * outputs
        for name, inputs, outputs, kind in part["matrices"]
        if kind != "table" and name not in ("pooler", "sentences")
    )
    seen = 4 * p["num_heads"] * p["head_dim"] * keys(p, context) if part["name"] == "attention" else 0
    return maps * part["times"] + seen


def keys(p: Plan, context: int) -> int:
    """How many positions a token sees, all layers together."""
    whole = math.ceil(p["num_layers"] / p["global_every"])
    return whole * context + (p["num_layers"] - whole) * min(context, p["span"])


def cache_numbers(p: Plan) -> int:
    """How many numbers are kept for each token while generating; an encoder keeps none."""
    return 2 * p["num_layers"] * p["num_kv_heads"] * p["head_dim"] * p["causal"]


def total_parameters(p: Plan) -> int:
    """How many numbers are learned in the whole model."""
    return sum(part["times"] * parameters(part) for part in parts(p))


def total_flops(p: Plan, context: int) -> int:
    """FLOPs of the forward pass for one token that sees ``context`` positions."""
    return sum(flops(p, part, context) for part in parts(p))


def _course(name: str) -> object:
    config = read_config(course.folder(name))
    return FAMILIES[config["model_type"]].read_config(config)
