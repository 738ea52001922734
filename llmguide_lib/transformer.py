"""Blocks and stacks of a Transformer. Shape letters: B batch, T positions, S positions of the source, D d_model.

A block is given its parts: which norm, which activation, how many key-value heads, whether attention looks
back only are decided by what is passed in. So BERT, GPT, Llama and the first Transformer are the same few lines.

Source: Vaswani et al. 2017, section 3.1, https://arxiv.org/abs/1706.03762
"""

from collections.abc import Callable, Sequence

from jaxtyping import Bool, Float
from torch import Tensor, nn

from .attention import KVCache, MultiHeadAttention

Sublayer = Callable[[Tensor], Tensor]


def pre_norm(x: Tensor, sublayer: Sublayer, norm: nn.Module) -> Tensor:
    """x + sublayer(norm(x)): the residual stream itself is never normalised (GPT-2, Llama).

    Source: Xiong et al. 2020, https://arxiv.org/abs/2002.04745
    """
    return x + sublayer(norm(x))


def post_norm(x: Tensor, sublayer: Sublayer, norm: nn.Module) -> Tensor:
    """norm(x + sublayer(x)): the first Transformer and BERT."""
    return norm(x + sublayer(x))


# How a sublayer joins the residual stream.
Residual = Callable[[Tensor, Sublayer, nn.Module], Tensor]


class EncoderBlock(nn.Module):
    """Self-attention, then feed-forward. With ``causal_attention`` as its core it is the block of GPT and Llama.

    Despite its name: models that only decode are made of it, and ``DecoderBlock`` is for those with a source.

    Args:
        attention, feed_forward: the two sublayers.
        norm1, norm2: their norms.
        residual: ``pre_norm`` or ``post_norm``.
        dropout: probability of dropping a number of a sublayer's result in training.
    """

    def __init__(
        self,
        attention: MultiHeadAttention,
        feed_forward: nn.Module,
        norm1: nn.Module,
        norm2: nn.Module,
        *,
        residual: Residual = pre_norm,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        self.norm1, self.norm2 = norm1, norm2
        self.residual = residual
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Bool[Tensor, "..."] | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        *,
        rotate: Callable[[Tensor], Tensor] | None = None,
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Passes the residual stream through both sublayers; arguments as in ``MultiHeadAttention.forward``."""

        def attend(y: Tensor) -> Tensor:
            return self.dropout(self.attention(y, None, mask, cache, layer, rotate=rotate, bias=bias))

        x = self.residual(x, attend, self.norm1)
        return self.residual(x, lambda y: self.dropout(self.feed_forward(y)), self.norm2)


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention to a source, then feed-forward.

    Args:
        attention: self-attention, with ``causal_attention`` as its core.
        cross_attention: asks the source.
        feed_forward: the third sublayer.
        norms: their norms, in this order; kept as ``norm1``, ``norm2``, ``norm3``.
        residual: ``pre_norm`` or ``post_norm``.
        dropout: probability of dropping a number of a sublayer's result in training.
    """

    def __init__(
        self,
        attention: MultiHeadAttention,
        cross_attention: MultiHeadAttention,
        feed_forward: nn.Module,
        norms: tuple[nn.Module, nn.Module, nn.Module],
        *,
        residual: Residual = pre_norm,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention, self.cross_attention, self.feed_forward = attention, cross_attention, feed_forward
        self.norm1, self.norm2, self.norm3 = norms
        self.residual = residual
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        source: Float[Tensor, "B S D"],
        mask: Bool[Tensor, "..."] | None = None,
        source_mask: Bool[Tensor, "..."] | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        *,
        rotate: Callable[[Tensor], Tensor] | None = None,
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Passes the residual stream through the three sublayers.

        Args:
            x: the target so far.
            source: the encoder's result.
            mask: of the self-attention.
            source_mask: of the cross-attention.
            cache, layer: as in ``MultiHeadAttention.forward``.
            rotate, bias: of the self-attention.
        """

        def attend(y: Tensor) -> Tensor:
            return self.dropout(self.attention(y, None, mask, cache, layer, rotate=rotate, bias=bias))

        def ask(y: Tensor) -> Tensor:
            return self.dropout(self.cross_attention(y, source, source_mask, cache, layer))

        x = self.residual(x, attend, self.norm1)
        x = self.residual(x, ask, self.norm2)
        return self.residual(x, lambda y: self.dropout(self.feed_forward(y)), self.norm3)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """All blocks of a model, those of an encoder and a decoder inside it too.

    Raises:
        ValueError: it has none.
    """
    stacks = [module.blocks for module in model.modules() if isinstance(getattr(module, "blocks", None), nn.ModuleList)]
    if not stacks:
        raise ValueError(f"model ({type(model).__name__}) must have blocks, in a list of modules with this name")
    return [block for stack in stacks for block in stack]


class Encoder(nn.Module):
    """A stack of blocks and a last norm; ``nn.Identity()`` where there is none (post-norm)."""

    def __init__(self, blocks: Sequence[EncoderBlock], final_norm: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = final_norm

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Bool[Tensor, "..."] | None = None,
        *,
        rotate: Callable[[Tensor], Tensor] | None = None,
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The source, read in both directions; arguments as in ``MultiHeadAttention.forward``, for every block."""
        for block in self.blocks:
            x = block(x, mask, rotate=rotate, bias=bias)
        return self.final_norm(x)


class Decoder(nn.Module):
    """A stack of decoder blocks and a last norm."""

    def __init__(self, blocks: Sequence[DecoderBlock], final_norm: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = final_norm

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        source: Float[Tensor, "B S D"],
        mask: Bool[Tensor, "..."] | None = None,
        source_mask: Bool[Tensor, "..."] | None = None,
        cache: KVCache | None = None,
        *,
        rotate: Callable[[Tensor], Tensor] | None = None,
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The target so far, with an eye on the source; arguments as in ``DecoderBlock.forward``."""
        for layer, block in enumerate(self.blocks):
            x = block(x, source, mask, source_mask, cache, layer, rotate=rotate, bias=bias)
        return self.final_norm(x)
