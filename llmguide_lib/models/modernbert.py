"""ModernBERT: an encoder with what decoders have learned since BERT, and a head for masked words.

Pre-norm, rotary positions, a gated feed-forward, no biases; most layers look only at what is near.
Shape letters: B batch, T positions, D d_model, V vocabulary.

Source: Warner et al. 2024, section 2.1 and appendix A, https://arxiv.org/abs/2412.13663
"""

from dataclasses import dataclass, replace

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..attention import MultiHeadAttention, sliding_window_mask
from ..layers import GatedFeedForward, LayerNorm
from ..positions import Rotary
from ..transformer import EncoderBlock
from .inputs import check_sizes, initialise_stack, prepared


@dataclass(frozen=True, kw_only=True)
class ModernBERTConfig:
    """Sizes and choices of a ModernBERT.

    Attributes:
        vocab_size: number of tokens known.
        max_seq_len: largest number of positions.
        d_model, num_heads, num_layers: width, heads per layer, layers.
        d_ff: width inside the feed-forward layers.
        dropout: probability, everywhere.
        norm_eps: added to the variance in every norm.
        rope_theta: base of the rotary positions of global layers.
        local_rope_theta: base of those of local layers.
        window: a position of a local layer sees those less than this away, on both sides (``sliding_window_mask``);
            the paper counts both sides together, its 128 is our 65.
        global_every: layers 0, n, 2n, ... are global and see the whole text, the others local; 1 makes all global.
    """

    vocab_size: int
    max_seq_len: int
    d_model: int
    num_heads: int
    num_layers: int
    d_ff: int
    dropout: float | int = 0.0
    norm_eps: float = 1e-5
    rope_theta: float | int = 160_000.0
    local_rope_theta: float | int = 10_000.0
    window: int = 65
    global_every: int = 3

    def __post_init__(self) -> None:
        check_sizes(self)


_BASE = ModernBERTConfig(vocab_size=50368, max_seq_len=8192, d_model=768, num_heads=12, num_layers=22, d_ff=1152)
MODERNBERT_SIZES = {
    "modernbert-base": _BASE,
    "modernbert-large": replace(_BASE, d_model=1024, num_heads=16, num_layers=28, d_ff=2624),
}


class ModernBERT(nn.Module):
    """Normalised token embedding, pre-norm blocks that read in both directions, a last norm, and a head.

    ``lm_head`` (after ``mlm_transform``) shares its matrix with the token embedding.
    """

    def __init__(self, config: ModernBERTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.embedding_norm = _norm(config)
        self.dropout = nn.Dropout(config.dropout)
        head_dim = config.d_model // config.num_heads
        self.rotary = Rotary(head_dim, config.rope_theta)
        self.local_rotary = Rotary(head_dim, config.local_rope_theta)
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.num_layers))
        self.blocks[0].norm1 = nn.Identity()  # what it reads was normalised just before
        self.final_norm = _norm(config)
        self.mlm_transform = nn.Sequential(
            nn.Linear(config.d_model, config.d_model, bias=False), nn.GELU(), _norm(config)
        )
        self.lm_head = nn.Linear(config.d_model, config.vocab_size)
        self.lm_head.weight = self.token_embedding.weight
        initialise_stack(self, 0.02)

    def forward(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None = None) -> Float[Tensor, "B T V"]:
        """Scores (logits) of every token at each position, for masked words; arguments as in ``hidden``."""
        return self.scores(self.hidden(tokens, mask))

    def scores(self, states: Float[Tensor, "*n D"]) -> Float[Tensor, "*n V"]:
        """The scores (logits) of every token for these final states."""
        return self.lm_head(self.mlm_transform(states))

    def hidden(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None = None) -> Float[Tensor, "B T D"]:
        """The final state of each position.

        Args:
            tokens: ids.
            mask: True for real tokens; None means that all are real.
        Raises:
            ValueError: tokens or mask do not fit the model or each other.
        """
        places, seen = prepared(self.config, tokens, mask)
        x = self.dropout(self.embedding_norm(self.token_embedding(tokens)))
        whole = seen, self.rotary(places, x.dtype)
        near = _nearby(seen, tokens, self.config.window), self.local_rotary(places, x.dtype)
        for layer, block in enumerate(self.blocks):
            seen, rotate = near if layer % self.config.global_every else whole
            x = block(x, seen, rotate=rotate)
        return self.final_norm(x)


def _nearby(seen: Tensor | None, tokens: Tensor, window: int) -> Tensor | None:
    """What a local layer may see of what a global one does: the same where the text is no longer than the window."""
    if tokens.shape[1] <= window:
        return seen
    near = sliding_window_mask(tokens.shape[1], window, device=tokens.device)
    return near if seen is None else near & seen


def _norm(config: ModernBERTConfig) -> LayerNorm:
    return LayerNorm(config.d_model, config.norm_eps, bias=False)


def _block(config: ModernBERTConfig) -> EncoderBlock:
    return EncoderBlock(
        MultiHeadAttention(config.d_model, config.num_heads, bias=False, dropout=config.dropout),
        GatedFeedForward(config.d_model, config.d_ff, nn.GELU()),
        _norm(config),
        _norm(config),
        dropout=config.dropout,
    )
