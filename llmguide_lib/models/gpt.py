"""GPT: a stack of causal blocks that predicts the next token (the GPT-2 family).

Shape letters: B batch, T positions, S positions with those in the cache, D d_model, V vocabulary.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3
"""

from dataclasses import dataclass, replace

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..attention import KVCache, MultiHeadAttention, causal_attention
from ..layers import FeedForward, LayerNorm
from ..positions import LearnedPositions
from ..transformer import EncoderBlock
from .inputs import check_sizes, initialise_stack, inner_width, prepared


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """Sizes of a GPT.

    Attributes:
        vocab_size: number of tokens known.
        max_seq_len: largest number of positions.
        d_model, num_heads, num_layers: width, heads per layer, layers.
        d_ff: width inside the feed-forward layers; None means ``4 * d_model``.
        dropout: probability, everywhere.
        norm_eps: added to the variance in every norm.
    """

    vocab_size: int
    max_seq_len: int
    d_model: int
    num_heads: int
    num_layers: int
    d_ff: int | None = None
    dropout: float | int = 0.0
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        check_sizes(self)


_GPT2 = GPTConfig(vocab_size=50257, max_seq_len=1024, d_model=768, num_heads=12, num_layers=12, dropout=0.1)
GPT_SIZES = {
    "gpt2": _GPT2,
    "gpt2-medium": replace(_GPT2, d_model=1024, num_heads=16, num_layers=24),
    "gpt2-large": replace(_GPT2, d_model=1280, num_heads=20, num_layers=36),
    "gpt2-xl": replace(_GPT2, d_model=1600, num_heads=25, num_layers=48),
}


class GPT(nn.Module):
    """Token and position embeddings, pre-norm causal blocks, a last norm, and scores for every token of the vocabulary.

    The head shares its matrix with the token embedding.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = LearnedPositions(config.max_seq_len, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.num_layers))
        self.final_norm = LayerNorm(config.d_model, config.norm_eps)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.lm_head.weight = self.token_embedding.weight
        initialise_stack(self, 0.02)

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
        x = self.dropout(self.token_embedding(tokens) + self.position_embedding(places))
        for layer, block in enumerate(self.blocks):  # which look back only, by themselves
            x = block(x, seen, cache, layer)
        return self.final_norm(x)


def _block(config: GPTConfig) -> EncoderBlock:
    return EncoderBlock(
        MultiHeadAttention(config.d_model, config.num_heads, dropout=config.dropout, core=causal_attention),
        FeedForward(config.d_model, inner_width(config), nn.GELU("tanh")),
        LayerNorm(config.d_model, config.norm_eps),
        LayerNorm(config.d_model, config.norm_eps),
        dropout=config.dropout,
    )
