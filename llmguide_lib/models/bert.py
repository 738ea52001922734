"""BERT: a stack of blocks that read in both directions, with heads for masked words and for the next sentence.

Shape letters: B batch, T positions, D d_model, V vocabulary.

Source: Devlin et al. 2019, section 3, https://arxiv.org/abs/1810.04805
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..attention import MultiHeadAttention
from ..layers import FeedForward, LayerNorm
from ..positions import LearnedPositions
from ..transformer import EncoderBlock, post_norm
from .inputs import check_sizes, check_tokens, initialise, inner_width, prepared


@dataclass(frozen=True, kw_only=True)
class BERTConfig:
    """Sizes of a BERT.

    Attributes:
        vocab_size: number of tokens known.
        max_seq_len: largest number of positions.
        d_model, num_heads, num_layers: width, heads per layer, layers.
        d_ff: width inside the feed-forward layers; None means ``4 * d_model``.
        num_segments: number of segments told apart (sentence A, sentence B).
        dropout: probability, everywhere.
        norm_eps: added to the variance in every norm.
    """

    vocab_size: int
    max_seq_len: int
    d_model: int
    num_heads: int
    num_layers: int
    d_ff: int | None = None
    num_segments: int = 2
    dropout: float | int = 0.0
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        check_sizes(self)


_BASE = BERTConfig(vocab_size=30522, max_seq_len=512, d_model=768, num_heads=12, num_layers=12, dropout=0.1)
BERT_SIZES = {
    "bert-base-uncased": _BASE,
    "bert-large-uncased": replace(_BASE, d_model=1024, num_heads=16, num_layers=24),
    "bert-base-chinese": replace(_BASE, vocab_size=21128),
}


class BERT(nn.Module):
    """Embeddings of token, position and segment, post-norm blocks, and two heads.

    ``lm_head`` (after ``mlm_transform``) shares its matrix with the token embedding; ``pooler`` and ``nsp_head``
    read the first position.
    """

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = LearnedPositions(config.max_seq_len, config.d_model)
        self.segment_embedding = nn.Embedding(config.num_segments, config.d_model)
        self.embedding_norm = LayerNorm(config.d_model, config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.num_layers))
        self.mlm_transform = nn.Sequential(
            nn.Linear(config.d_model, config.d_model), nn.GELU(), LayerNorm(config.d_model, config.norm_eps)
        )
        self.lm_head = nn.Linear(config.d_model, config.vocab_size)
        self.lm_head.weight = self.token_embedding.weight
        self.pooler = nn.Linear(config.d_model, config.d_model)
        self.nsp_head = nn.Linear(config.d_model, 2)
        initialise(self, 0.02)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Scores (logits) of every token at each position, for masked words; arguments as in ``hidden``."""
        return self.scores(self.hidden(tokens, mask, segments))

    def scores(self, states: Float[Tensor, "*n D"]) -> Float[Tensor, "*n V"]:
        """The scores (logits) of every token for these final states."""
        return self.lm_head(self.mlm_transform(states))

    def hidden(
        self,
        tokens: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The final state of each position.

        Args:
            tokens: ids.
            mask: True for real tokens; None means that all are real.
            segments: 0 for the first sentence, 1 for the second; None means 0.
        Raises:
            ValueError: tokens, mask or segments do not fit the model or each other.
        """
        places, seen = prepared(self.config, tokens, mask)
        segments = torch.zeros_like(tokens) if segments is None else segments
        check_tokens(segments, self.config.num_segments, self.config.max_seq_len, "segments")
        x = self.token_embedding(tokens) + self.segment_embedding(segments)
        x = self.dropout(self.embedding_norm(x + self.position_embedding(places)))
        for block in self.blocks:
            x = block(x, seen)
        return x

    def next_sentence(
        self,
        tokens: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B 2"]:
        """Scores (logits): sentence B follows sentence A (0), or is a random one (1)."""
        return self.nsp_head(self.pooler(self.hidden(tokens, mask, segments)[:, 0]).tanh())


def _block(config: BERTConfig) -> EncoderBlock:
    return EncoderBlock(
        MultiHeadAttention(config.d_model, config.num_heads, dropout=config.dropout),
        FeedForward(config.d_model, inner_width(config), nn.GELU()),
        LayerNorm(config.d_model, config.norm_eps),
        LayerNorm(config.d_model, config.norm_eps),
        residual=post_norm,
        dropout=config.dropout,
    )
