"""The original Transformer: an encoder reads the source, a decoder writes the target with an eye on it.

Shape letters: B batch, T positions of the target, S positions of the source, D d_model, V vocabulary.

Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
"""

import math
from dataclasses import dataclass, replace

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..attention import Core, KVCache, MultiHeadAttention, causal_attention, fused_attention
from ..layers import FeedForward, LayerNorm
from ..positions import SinusoidalPositions
from ..transformer import Decoder, DecoderBlock, Encoder, EncoderBlock, post_norm
from .inputs import check_sizes, inner_width, prepared


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig:
    """Sizes of an encoder-decoder; source and target share one vocabulary, as in the paper.

    Attributes:
        vocab_size: number of tokens known.
        max_seq_len: largest number of positions of source and target.
        d_model, num_heads: width, heads per layer.
        num_encoder_layers, num_decoder_layers: layers.
        d_ff: width inside the feed-forward layers; None means ``4 * d_model``.
        dropout: probability, everywhere.
        norm_eps: added to the variance in every norm.
    """

    vocab_size: int
    max_seq_len: int
    d_model: int
    num_heads: int
    num_encoder_layers: int
    num_decoder_layers: int
    d_ff: int | None = None
    dropout: float | int = 0.0
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        check_sizes(self)


_BASE = Seq2SeqConfig(
    vocab_size=37000, max_seq_len=512, d_model=512, num_heads=8, num_encoder_layers=6, num_decoder_layers=6, dropout=0.1
)
SEQ2SEQ_SIZES = {"transformer-base": _BASE, "transformer-big": replace(_BASE, d_model=1024, num_heads=16, dropout=0.3)}


class Seq2SeqTransformer(nn.Module):
    """One embedding for source, target and head, sinusoidal positions, post-norm encoder and decoder."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = SinusoidalPositions(config.max_seq_len, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = Encoder([_encoder_block(config) for _ in range(config.num_encoder_layers)], nn.Identity())
        self.decoder = Decoder([_decoder_block(config) for _ in range(config.num_decoder_layers)], nn.Identity())
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.lm_head.weight = self.token_embedding.weight
        self._initialise()

    def forward(
        self,
        source: Int[Tensor, "B S"],
        target: Int[Tensor, "B T"],
        source_mask: Bool[Tensor, "B S"] | None = None,
        target_mask: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Scores (logits) of the token that follows each position of the target.

        Args:
            source, target: ids; the target begins with a start token.
            source_mask, target_mask: True for real tokens; None means that all are real.
        Raises:
            ValueError: tokens or masks do not fit the model or each other.
        """
        return self.lm_head(self.hidden(source, target, source_mask, target_mask))

    def hidden(
        self,
        source: Int[Tensor, "B S"],
        target: Int[Tensor, "B T"],
        source_mask: Bool[Tensor, "B S"] | None = None,
        target_mask: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The final state of each position of the target; arguments as in ``forward``."""
        return self.decode(target, self.encode(source, source_mask), source_mask, target_mask)

    def encode(
        self, source: Int[Tensor, "B S"], source_mask: Bool[Tensor, "B S"] | None = None
    ) -> Float[Tensor, "B S D"]:
        """The states of the source, once per text."""
        places, seen = prepared(self.config, source, source_mask, name="source")
        return self.encoder(self._embed(source, places), seen)

    def decode(
        self,
        target: Int[Tensor, "B T"],
        encoded: Float[Tensor, "B S D"],
        source_mask: Bool[Tensor, "B S"] | None = None,
        target_mask: Bool[Tensor, "B U"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The states of the target, given those of the source; with a cache the target holds only the new tokens."""
        num_layers = self.config.num_decoder_layers
        places, seen = prepared(self.config, target, target_mask, cache, num_layers=num_layers, name="target")
        source_seen = None if source_mask is None else source_mask[:, None]
        return self.decoder(self._embed(target, places), encoded, seen, source_seen, cache)

    def _embed(self, tokens: Tensor, places: Tensor) -> Tensor:
        scaled = self.token_embedding(tokens) * math.sqrt(self.config.d_model)  # section 3.4
        # The table of positions is no weight and may be of another type.
        return self.dropout(scaled + self.position_embedding(places).to(scaled.dtype))

    def _initialise(self) -> None:
        """Xavier's spread for the linear maps; D^-1/2 for the embedding, which the scale above brings back to 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.token_embedding.weight, std=self.config.d_model**-0.5)


def _attention(config: Seq2SeqConfig, core: Core = fused_attention) -> MultiHeadAttention:
    return MultiHeadAttention(config.d_model, config.num_heads, dropout=config.dropout, core=core)


def _feed_forward(config: Seq2SeqConfig) -> FeedForward:
    return FeedForward(config.d_model, inner_width(config), nn.ReLU())


def _norm(config: Seq2SeqConfig) -> LayerNorm:
    return LayerNorm(config.d_model, config.norm_eps)


def _encoder_block(config: Seq2SeqConfig) -> EncoderBlock:
    return EncoderBlock(
        _attention(config),
        _feed_forward(config),
        _norm(config),
        _norm(config),
        residual=post_norm,
        dropout=config.dropout,
    )


def _decoder_block(config: Seq2SeqConfig) -> DecoderBlock:
    return DecoderBlock(
        _attention(config, causal_attention),
        _attention(config),
        _feed_forward(config),
        (_norm(config), _norm(config), _norm(config)),
        residual=post_norm,
        dropout=config.dropout,
    )
