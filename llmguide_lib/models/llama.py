"""Llama: the modern decoder. RMSNorm, rotary positions, gated feed-forward, grouped queries, no biases.

By configuration also Qwen 2 (biases on queries, keys and values) and Qwen 3 (normalised queries and keys).
Shape letters: B batch, T positions, S positions with those in the cache, D d_model, K head_dim, V vocabulary.

Source: Touvron et al. 2023, section 2.2, https://arxiv.org/abs/2302.13971; Llama 3: Dubey et al. 2024, table 3,
https://arxiv.org/abs/2407.21783; Qwen 2: https://arxiv.org/abs/2407.10671; Qwen 3: https://arxiv.org/abs/2505.09388
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..attention import KVCache, MultiHeadAttention, causal_attention
from ..layers import GatedFeedForward, RMSNorm
from ..positions import RopeScaling, Rotary
from ..transformer import EncoderBlock
from .inputs import check_sizes, initialise, prepared


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """Sizes and choices of a Llama or Qwen.

    Attributes:
        vocab_size: number of tokens known.
        max_seq_len: largest number of positions.
        d_model, num_heads, num_layers: width, query heads per layer, layers.
        d_ff: width inside the feed-forward layers.
        num_kv_heads: key-value heads per layer; None means as many as query heads.
        head_dim: width of a head; None means ``d_model / num_heads``.
        norm_eps: added to the mean square in every norm.
        rope_theta: base of the rotary positions.
        rope_scaling: Llama 3.1's stretching of them; None for none.
        attention_bias: whether queries, keys and values have a bias (Qwen 2).
        head_norm: whether every head's queries and keys are normalised (Qwen 3).
        tied: whether the head shares its matrix with the token embedding.
    """

    vocab_size: int
    max_seq_len: int
    d_model: int
    num_heads: int
    num_layers: int
    d_ff: int
    num_kv_heads: int | None = None
    head_dim: int | None = None
    norm_eps: float = 1e-5
    rope_theta: float | int = 10_000.0
    rope_scaling: RopeScaling | None = None
    attention_bias: bool = False
    head_norm: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        check_sizes(self)

    @property
    def head_width(self) -> int:
        """``head_dim``, or else ``d_model / num_heads``."""
        return self.head_dim or self.d_model // self.num_heads


LLAMA_SIZES = {
    "llama-2-7b": LlamaConfig(
        vocab_size=32000, max_seq_len=4096, d_model=4096, num_heads=32, num_layers=32, d_ff=11008
    ),
    "llama-3-8b": LlamaConfig(
        vocab_size=128256, max_seq_len=8192, d_model=4096, num_heads=32, num_kv_heads=8, num_layers=32, d_ff=14336,
        rope_theta=500_000.0,
    ),
    "llama-3.2-1b": LlamaConfig(
        vocab_size=128256, max_seq_len=131072, d_model=2048, num_heads=32, num_kv_heads=8, num_layers=16, d_ff=8192,
        rope_theta=500_000.0, rope_scaling=RopeScaling(factor=32.0), tied=True,
    ),
    "qwen2-0.5b": LlamaConfig(
        vocab_size=151936, max_seq_len=131072, d_model=896, num_heads=14, num_kv_heads=2, num_layers=24, d_ff=4864,
        rope_theta=1_000_000.0, norm_eps=1e-6, attention_bias=True, tied=True,
    ),
    "qwen3-0.6b": LlamaConfig(
        vocab_size=151936, max_seq_len=40960, d_model=1024, num_heads=16, num_kv_heads=8, head_dim=128, num_layers=28,
        d_ff=3072, rope_theta=1_000_000.0, norm_eps=1e-6, head_norm=True, tied=True,
    ),
}  # fmt: skip


class Llama(nn.Module):
    """Token embedding, pre-norm causal blocks with rotary positions, a last norm, and scores for every token."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.rotary = Rotary(config.head_width, config.rope_theta, config.rope_scaling)
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.num_layers))
        self.final_norm = RMSNorm(config.d_model, config.norm_eps)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tied:
            self.lm_head.weight = self.token_embedding.weight
        initialise(self, 0.02)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B S"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Scores (logits) of the token that follows each position; arguments as in ``hidden``."""
        return self.scores(self.hidden(tokens, mask, cache))

    def scores(self, states: Float[Tensor, "*n D"]) -> Float[Tensor, "*n V"]:
        """The scores (logits) of every token for these final states."""
        return self.lm_head(states)

    def hidden(
        self,
        tokens: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B S"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The final state of each position.

        Args:
            tokens: ids; with a cache only the new ones.
            mask: True for real tokens, those in the cache first; None means that all are real. Filling may stand
                anywhere, but each text needs a real token at the first call. Once given, a mask must be given, grown,
                at every later call with the same cache.
            cache: keys and values of the tokens before these; the new ones are added to it.
        Raises:
            ValueError: tokens, mask or cache do not fit the model or each other.
        """
        places, seen = prepared(self.config, tokens, mask, cache, num_layers=self.config.num_layers)
        x = self.token_embedding(tokens)
        rotate = self.rotary(places, x.dtype)
        for layer, block in enumerate(self.blocks):  # which look back only, by themselves
            x = block(x, seen, cache, layer, rotate=rotate)
        return self.final_norm(x)


def _block(config: LlamaConfig) -> EncoderBlock:
    attention = MultiHeadAttention(
        config.d_model,
        config.num_heads,
        config.num_kv_heads,
        head_dim=config.head_width,
        bias=config.attention_bias,
        core=causal_attention,
    )
    if config.attention_bias:  # Qwen 2 has none where the heads are merged
        attention.out_proj = nn.Linear(config.num_heads * config.head_width, config.d_model, bias=False)
    if config.head_norm:
        attention.query_norm = RMSNorm(config.head_width, config.norm_eps)
        attention.key_norm = RMSNorm(config.head_width, config.norm_eps)
    return EncoderBlock(
        attention,
        GatedFeedForward(config.d_model, config.d_ff),
        RMSNorm(config.d_model, config.norm_eps),
        RMSNorm(config.d_model, config.norm_eps),
    )
