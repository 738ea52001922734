"""Positions: added to the embeddings (sinusoidal, learned), turned into queries and keys (rotary), or added to
the scores (relative bias). Shape letters: B batch, T queries, S keys, D d_model, H heads, K head_dim.

Positions are integers (B, T) or (T,): with padding on the left they differ from text to text.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .sizes import check_positive


class SinusoidalPositions(nn.Module):
    r"""Fixed vectors: sines and cosines of the position, from fast to slow.

    .. math:: p_{t,2i} = \sin(t / 10000^{2i/D}), \qquad p_{t,2i+1} = \cos(t / 10000^{2i/D})

    Args:
        max_seq_len: largest number of positions.
        d_model: width, even.
    Raises:
        ValueError: a size is not positive, or ``d_model`` is odd.
    Source: Vaswani et al. 2017, section 3.5, https://arxiv.org/abs/1706.03762
    """

    def __init__(self, max_seq_len: int, d_model: int) -> None:
        super().__init__()
        check_positive(max_seq_len=max_seq_len)
        _even("d_model", d_model)
        angles = torch.arange(max_seq_len).double()[:, None] * _frequencies(
            d_model, 10_000.0, torch.float64
        )  # (T, D / 2)
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # sine and cosine take turns
        self.register_buffer("table", table.to(torch.get_default_dtype()), persistent=False)

    def forward(self, positions: Int[Tensor, "*b T"]) -> Float[Tensor, "*b T D"]:
        """The vectors of these positions."""
        return self.table[positions]


class LearnedPositions(nn.Embedding):
    """A learned vector for each position (GPT-2, BERT): nothing is known beyond ``max_seq_len``.

    Args:
        max_seq_len: largest number of positions.
        d_model: width.
    """

    def __init__(self, max_seq_len: int, d_model: int) -> None:
        super().__init__(max_seq_len, d_model)


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How Llama 3.1 stretches rotary positions to texts longer than those it was first trained on.

    Waves longer than ``original_max_seq_len / low_freq_factor`` are slowed down by ``factor``, those shorter than
    ``original_max_seq_len / high_freq_factor`` stay, and between the two lies a smooth passage.

    Raises:
        ValueError: a number is not positive, or ``high_freq_factor`` is not larger than ``low_freq_factor``.
    Source: the released code of Llama 3.1; Dubey et al. 2024, section 3.4.2, https://arxiv.org/abs/2407.21783
    """

    factor: float | int = 8.0
    low_freq_factor: float | int = 1.0
    high_freq_factor: float | int = 4.0
    original_max_seq_len: int = 8192

    def __post_init__(self) -> None:
        check_positive(**vars(self))
        if not self.high_freq_factor > self.low_freq_factor:
            high, low = self.high_freq_factor, self.low_freq_factor
            raise ValueError(f"high_freq_factor ({high}) must be larger than low_freq_factor ({low})")

    def __call__(self, frequencies: Float[Tensor, "K"]) -> Float[Tensor, "K"]:
        """The stretched frequencies."""
        turns = self.original_max_seq_len * frequencies / (2 * math.pi)  # of each wave over the original length
        share = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        share = share.clamp(0, 1)  # 1 keeps the frequency, 0 slows it down
        return (1 - share) * frequencies / self.factor + share * frequencies


@dataclass(frozen=True)
class Rotation:
    """Turns queries or keys (B, H, T, K) by the angles of their positions; made once per forward pass."""

    cos: Float[Tensor, "*b T K"]
    sin: Float[Tensor, "*b T K"]  # its first half negative

    def __call__(self, x: Float[Tensor, "B H T K"]) -> Float[Tensor, "B H T K"]:
        """The turned vectors: (a, b) becomes (a cos - b sin, b cos + a sin), a and b being the halves of x."""
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)  # under autocast x is narrower than they are
        return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


class Rotary(nn.Module):
    r"""Rotary positions: pairs of numbers of a query or key are turned by an angle that grows with the position.

    Number i and number i + K/2 form a pair, turned by :math:`t\,\theta^{-2i/K}`; a dot product of a turned query
    and a turned key then depends on their distance only. (The paper pairs neighbours, 2i and 2i + 1; the released
    Llama weights in Hugging Face's order pair halves. The two differ by a reordering of the rows of q_proj and k_proj.)

    Args:
        head_dim: width of a head, even.
        rope_theta: the base; larger means slower waves.
        scaling: changes the frequencies for longer texts; None leaves them.
    Raises:
        ValueError: ``head_dim`` is odd, or ``rope_theta`` is not positive.
    Source: Su et al. 2021, section 3.2.2, https://arxiv.org/abs/2104.09864
    """

    def __init__(self, head_dim: int, rope_theta: float | int = 10_000.0, scaling: RopeScaling | None = None) -> None:
        super().__init__()
        _even("head_dim", head_dim)
        check_positive(rope_theta=rope_theta)
        self.head_dim, self.rope_theta, self.scaling = head_dim, rope_theta, scaling

    def forward(self, positions: Int[Tensor, "*b T"], dtype: torch.dtype) -> Rotation:
        """The rotation of these positions, for vectors of this type.

        Angles are computed in float32 whatever the type, as in the models that were released with them.
        """
        frequencies = _frequencies(self.head_dim, self.rope_theta, torch.float32, positions.device)
        if self.scaling is not None:
            frequencies = self.scaling(frequencies)
        angles = positions[..., None].float() * frequencies  # (*b, T, K / 2)
        if positions.ndim == 2:
            angles = angles[:, None]  # an axis for the heads
        cos, sin = angles.cos(), angles.sin()
        return Rotation(torch.cat([cos, cos], dim=-1).to(dtype), torch.cat([-sin, sin], dim=-1).to(dtype))


class RelativeBias(nn.Module):
    """A learned number for each head and distance between query and key, added to the scores (T5).

    Near distances have a bucket each, far ones share buckets that widen logarithmically up to ``max_distance``.

    Args:
        num_heads: number of heads.
        num_buckets: number of distances told apart; where both directions are seen, half of them for each.
        max_distance: distances from here on share the last bucket.
        bidirectional: whether keys after the query are told apart from keys before it.
    Raises:
        ValueError: a number is too small.
    Source: Raffel et al. 2020, section 2.1, https://arxiv.org/abs/1910.10683
    """

    def __init__(
        self, num_heads: int, num_buckets: int = 32, max_distance: int = 128, *, bidirectional: bool = True
    ) -> None:
        super().__init__()
        check_positive(num_heads=num_heads)
        sides = 2 if bidirectional else 1
        if num_buckets < 2 * sides or num_buckets % sides:
            raise ValueError(f"num_buckets ({num_buckets}) must be a multiple of {sides}, at least {2 * sides}")
        if max_distance <= num_buckets // sides // 2:
            raise ValueError(f"max_distance ({max_distance}) must be larger than {num_buckets // sides // 2}")
        self.num_buckets, self.max_distance, self.bidirectional = num_buckets, max_distance, bidirectional
        self.embedding = nn.Embedding(num_buckets, num_heads)

    def forward(self, queries: Int[Tensor, "T"], keys: Int[Tensor, "S"]) -> Float[Tensor, "H T S"]:
        """The bias for queries and keys at these positions."""
        return self.embedding(self._buckets(keys - queries[:, None])).permute(2, 0, 1)

    def _buckets(self, offset: Tensor) -> Tensor:
        """The bucket of each offset (key's position minus query's)."""
        if self.bidirectional:
            size = self.num_buckets // 2
            start, distance = (offset > 0) * size, offset.abs()
        else:
            size = self.num_buckets
            start, distance = 0, (-offset).clamp(min=0)  # what comes later is masked anyway
        exact = size // 2
        growth = (distance.clamp(min=1).float() / exact).log() / math.log(self.max_distance / exact)
        far = (exact + (growth * (size - exact)).long()).clamp(max=size - 1)
        return start + torch.where(distance < exact, distance, far)


def _frequencies(width: int, base: float | int, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    """Angle per position of each pair: base^(-2i / width)."""
    return 1.0 / base ** (torch.arange(0, width, 2, device=device).to(dtype) / width)


def _even(name: str, size: int) -> None:
    if size < 2 or size % 2:
        raise ValueError(f"{name} ({size}) must be positive and even")
