"""Attention: masks, the equation written out, the fused path, several heads, and a cache for generation.

Shape letters: B batch, T queries, S keys, D d_model, H heads, G key-value heads, K head_dim.
A mask is boolean everywhere, and True means "may attend". (Models take a mask (B, S) of real tokens and give it the
axis of the queries.)

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2, https://arxiv.org/abs/1706.03762
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from .sizes import check_positive


def causal_mask(num_queries: int, num_keys: int | None = None, *, device=None) -> Bool[Tensor, "T S"]:
    """Each query may attend to itself and to what came before.

    Where there are more keys than queries, the queries are the last positions: row t may see the
    first ``num_keys - num_queries + t + 1`` keys, as generation with a cache needs it.

    Raises:
        ValueError: a size is not positive, or there are fewer keys than queries.

    Example:
        >>> causal_mask(2, 3).int().tolist()
        [[1, 1, 0], [1, 1, 1]]
    """
    queries, keys = _positions(num_queries, num_keys, device)
    return keys <= queries


def prefix_mask(lengths: Int[Tensor, "B"], num_keys: int) -> Bool[Tensor, "B 1 S"]:
    """Every query may attend to the first ``lengths[b]`` positions of its text, even to those that come later.

    ``|`` with a causal mask gives a prefix language model's: the prefix is read both ways, the rest is written. It is
    for the core ``fused_attention``; ``causal_attention`` would forbid the future again.

    Raises:
        ValueError: a length is negative or larger than ``num_keys``.

    Example:
        >>> (causal_mask(3) | prefix_mask(torch.tensor([2]), 3)).int().tolist()
        [[[1, 1, 0], [1, 1, 0], [1, 1, 1]]]
    Source: Raffel et al. 2020, section 3.2.1, https://arxiv.org/abs/1910.10683
    """
    return padding_mask(lengths, num_keys)


def padding_mask(lengths: Int[Tensor, "B"], num_keys: int) -> Bool[Tensor, "B 1 S"]:
    """Every query may attend to the real tokens of its own text: the first ``lengths[b]`` keys of text b.

    The middle axis is 1, so that ``&`` with a causal mask (T, S) gives (B, T, S).

    Raises:
        ValueError: a length is negative or larger than ``num_keys``.

    Example:
        >>> padding_mask(torch.tensor([1, 3]), 3).int().tolist()
        [[[1, 0, 0]], [[1, 1, 1]]]
    """
    if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= num_keys:
        raise ValueError(f"lengths ({lengths.tolist()}) must be between 0 and num_keys ({num_keys})")
    return (torch.arange(num_keys, device=lengths.device) < lengths[:, None])[:, None]


def sliding_window_mask(
    num_queries: int, window: int, num_keys: int | None = None, *, device=None
) -> Bool[Tensor, "T S"]:
    """Each query may attend to the positions less than ``window`` away from its own, on both sides.

    ``&`` with a causal mask leaves the last ``window`` positions, the query's own among them. Where there are
    more keys than queries, the queries are the last positions.

    Raises:
        ValueError: a size is not positive, or there are fewer keys than queries.

    Example:
        >>> sliding_window_mask(4, 2).int().tolist()
        [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    Source: Beltagy et al. 2020, section 3.1, https://arxiv.org/abs/2004.05150
    """
    check_positive(window=window)
    queries, keys = _positions(num_queries, num_keys, device)
    return (queries - keys).abs() < window


def attention(
    query: Float[Tensor, "*q T K"],
    key: Float[Tensor, "*k S K"],
    value: Float[Tensor, "*v S V"],
    mask: Bool[Tensor, "*m T S"] | Bool[Tensor, "*m 1 S"] | None = None,
    *,
    bias: Float[Tensor, "..."] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "*o T V"], Float[Tensor, "*w T S"]]:
    r"""Scaled dot-product attention, written out: a weighted mean of the values for each query.

    .. math:: \operatorname{softmax}(Q K^\top / \sqrt{d_k} + \text{bias}) V

    A query that may attend to no key gets weights and output zero, and no gradient.

    Args:
        query, key, value: leading dimensions broadcast; the value may be of another width than the key. With four
            or more axes, the third from the end counts heads: where key and value have fewer, each of theirs serves
            neighbouring heads of the query.
        mask: True where query t may attend to key s; None means everywhere.
        bias: added to the scaled scores (relative positions).
        scale: what the scores are multiplied by; None means 1 / sqrt(d_k).
        dropout: probability of dropping a weight; the caller passes 0 outside training.
    Returns:
        output and weights (before dropout).
    Raises:
        ValueError: widths of query and key or numbers of keys and values differ, numbers of heads do not divide, or
            the mask is not boolean or does not end in (T, S).
    Source: Vaswani et al. 2017, equation 1.
    """
    _check_shapes(query, key, value, mask)
    key, value = _for_each_head(query, key), _for_each_head(query, value)
    scores = query @ key.mT * _scale(query, scale)  # (..., T, S)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if mask is not None:
        # The lowest finite value, not -inf: softmax of a row of -inf is NaN, and NaN times zero stays NaN.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)  # a fully masked row is uniform until here
    return F.dropout(weights, dropout) @ value, weights


def fused_attention(
    query: Float[Tensor, "*q T K"],
    key: Float[Tensor, "*k S K"],
    value: Float[Tensor, "*v S V"],
    mask: Bool[Tensor, "*m T S"] | Bool[Tensor, "*m 1 S"] | None = None,
    *,
    bias: Float[Tensor, "..."] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "*o T V"], None]:
    """The same output as ``attention`` from PyTorch's fused kernel, which never stores the weights; they are None.

    Raises:
        ValueError: as ``attention``.
    """
    _check_shapes(query, key, value, mask)
    if bias is not None:
        lowest = torch.finfo(query.dtype).min
        added = bias.to(query.dtype) if mask is None else bias.to(query.dtype).masked_fill(~mask, lowest)
    else:
        added = mask
    if added is not None and query.is_cuda:  # with a mask the GPU's kernels know no grouped heads
        key, value = _for_each_head(query, key), _for_each_head(query, value)
    output = F.scaled_dot_product_attention(
        query, key, value, added, dropout, scale=_scale(query, scale), enable_gqa=_grouped(query, key)
    )
    if mask is not None:  # a fully masked row: with a bias it is uniform until here
        output = output.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
    return output, None


def causal_attention(
    query: Float[Tensor, "*q T K"],
    key: Float[Tensor, "*k S K"],
    value: Float[Tensor, "*v S V"],
    mask: Bool[Tensor, "*m T S"] | Bool[Tensor, "*m 1 S"] | None = None,
    *,
    bias: Float[Tensor, "..."] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "*o T V"], None]:
    """Fused attention in which no query sees what comes after it: the core of a decoder.

    The queries are the last of the S positions, and ``mask`` forbids more. Without mask and bias, and with as many
    queries as keys, PyTorch's kernel knows by itself what is past, and no T x S mask is stored.

    Raises:
        ValueError: as ``attention``.
    """
    num_queries, num_keys = query.shape[-2], key.shape[-2]
    if mask is None and bias is None and num_queries == num_keys:
        _check_shapes(query, key, value, None)
        output = F.scaled_dot_product_attention(
            query, key, value, None, dropout, True, scale=_scale(query, scale), enable_gqa=_grouped(query, key)
        )
        return output, None
    if num_queries > 1:  # one query is the last position and may see everything
        past = causal_mask(num_queries, num_keys, device=query.device)
        mask = past if mask is None else past & mask
    return fused_attention(query, key, value, mask, bias=bias, scale=scale, dropout=dropout)


# What a MultiHeadAttention computes inside its heads: one of the functions above, or another with their signature.
Core = Callable[..., tuple[Tensor, Tensor | None]]


class KVCache:
    """Keys and values of the tokens read so far, one pair per layer; ``length`` is how many there are.

    The layers append in their order, each its keys and values of the new tokens; when the last one has done so,
    ``length`` moves on. So all layers of one forward pass see the same. Filling counts: a token's place in its own text
    follows from the mask. Keys are kept as they were turned by their positions. Beside them the cache keeps the
    keys and values of a context (the source of an encoder-decoder), which do not grow.

    Args:
        num_layers: how many attention layers share the cache.
        max_seq_len: how many tokens it can hold.
    Raises:
        ValueError: a size is not positive.

    Example:
        >>> cache = KVCache(num_layers=1, max_seq_len=8)
        >>> keys, values = cache.append(0, torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
        >>> cache.length, keys.shape
        (3, torch.Size([1, 2, 3, 4]))
    """

    def __init__(self, num_layers: int, max_seq_len: int) -> None:
        check_positive(num_layers=num_layers, max_seq_len=max_seq_len)
        self.num_layers = num_layers
        self.max_seq_len = max_seq_len
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.length = 0
        self._stored: list[tuple[Tensor, Tensor] | None] = [None] * self.num_layers
        self._sources: list[tuple[Tensor, Tensor] | None] = [None] * self.num_layers

    def append(
        self, layer: int, key: Float[Tensor, "B G T K"], value: Float[Tensor, "B G T K"]
    ) -> tuple[Float[Tensor, "B G S K"], Float[Tensor, "B G S K"]]:
        """Stores the new keys and values of one layer and returns all of it, old and new.

        Raises:
            ValueError: no such layer, no room, or a shape or dtype other than what is stored.
        """
        if not 0 <= layer < self.num_layers:
            raise ValueError(f"layer ({layer}) must be below num_layers ({self.num_layers})")
        end = self.length + key.shape[2]
        if end > self.max_seq_len:
            raise ValueError(f"{end} tokens do not fit: max_seq_len of this cache is {self.max_seq_len}")
        stored = self._stored[layer] or self._allocate(layer, key, value)
        for name, new, old in (("key", key, stored[0]), ("value", value, stored[1])):
            if new.shape[:2] != old.shape[:2] or new.shape[3] != old.shape[3] or new.dtype != old.dtype:
                held = f"{(*old.shape[:2], '_', old.shape[3])} {old.dtype}"
                raise ValueError(f"{name} {tuple(new.shape)} {new.dtype} does not belong to this cache of {held}")
            old[:, :, self.length : end] = new
        if layer == self.num_layers - 1:
            self.length = end
        return stored[0][:, :, :end], stored[1][:, :, :end]

    def source(
        self, layer: int, context: Float[Tensor, "B S D"], project: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Float[Tensor, "B G S K"], Float[Tensor, "B G S K"]]:
        """Keys and values of the context in one layer: projected when they are first asked for, then kept.

        Of a later context only the length is compared with the first one's. Where the first one was a single text, it
        serves every text of the batch.

        Raises:
            ValueError: the context is longer or shorter than the one that is kept.
        """
        if self._sources[layer] is None:
            self._sources[layer] = project(context)
        key, value = self._sources[layer]
        if key.shape[2] != context.shape[1]:
            raise ValueError(f"context has {context.shape[1]} positions, the cache's {key.shape[2]}: reset it first")
        return tuple(kept.expand(len(context), -1, -1, -1) for kept in (key, value))

    def kept(self, layer: int) -> tuple[Float[Tensor, "B G S K"], Float[Tensor, "B G S K"]]:
        """Keys and values of all tokens so far in one layer."""
        key, value = self._stored[layer]
        return key[:, :, : self.length], value[:, :, : self.length]

    def select(self, rows: Int[Tensor, "N"]) -> None:
        """Keeps these texts, in this order; one may come more than once (beam search)."""
        self._stored = [pair and (pair[0][rows], pair[1][rows]) for pair in self._stored]
        # A single context serves all texts and stays as it is.
        self._sources = [
            (pair[0][rows], pair[1][rows]) if pair and len(pair[0]) > 1 else pair for pair in self._sources
        ]

    def _allocate(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        room = (new.new_empty(*new.shape[:2], self.max_seq_len, new.shape[3]) for new in (key, value))
        self._stored[layer] = pair = tuple(room)
        return pair


class MultiHeadAttention(nn.Module):
    """Attention in several heads: project, split, attend in each head, merge, project.

    With fewer key-value heads than heads (grouped queries), each key-value head serves ``num_heads /
    num_kv_heads`` neighbouring heads.

    Args:
        d_model: width of the input and the output.
        num_heads: number of query heads; must divide ``d_model`` unless ``head_dim`` is given.
        num_kv_heads: number of key-value heads; None means as many as heads.
        head_dim: width of one head; None means ``d_model / num_heads``.
        bias: whether the four projections have a bias.
        dropout: probability of dropping an attention weight in training.
        core: what computes attention inside the heads; ``causal_attention`` makes it a decoder's.
    Attributes:
        query_norm, key_norm: change nothing; replaced, they normalise every head's queries and keys (Qwen 3).
    Raises:
        ValueError: sizes that do not divide, or are not positive.
    Source: Vaswani et al. 2017, section 3.2.2; grouped queries: Ainslie et al. 2023, https://arxiv.org/abs/2305.13245
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        *,
        head_dim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        core: Core = fused_attention,
    ) -> None:
        super().__init__()
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_heads < 1 or (head_dim is None and d_model % num_heads):
            raise ValueError(f"d_model ({d_model}) must be a multiple of num_heads ({num_heads})")
        if num_kv_heads < 1 or num_heads % num_kv_heads:
            raise ValueError(f"num_heads ({num_heads}) must be a multiple of num_kv_heads ({num_kv_heads})")
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_dim = d_model // num_heads if head_dim is None else head_dim
        check_positive(head_dim=self.head_dim)
        self.dropout = dropout
        self.core = core
        self.q_proj = nn.Linear(d_model, num_heads * self.head_dim, bias=bias)
        self.k_proj = nn.Linear(d_model, num_kv_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(d_model, num_kv_heads * self.head_dim, bias=bias)
        self.out_proj = nn.Linear(num_heads * self.head_dim, d_model, bias=bias)
        self.query_norm = nn.Identity()
        self.key_norm = nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        context: Float[Tensor, "B S D"] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        *,
        rotate: Callable[[Tensor], Tensor] | None = None,
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Mixes the context's vectors for each vector of ``x``.

        Args:
            x: what asks.
            context: what is asked; None means ``x`` itself (self-attention).
            mask: (T, S), one for all; (B, T, S), one per text; or (B, H, T, S), one per head. T may be 1: a mask of
                real tokens (B, S) goes in as ``mask[:, None]``.
            cache: keys and values of earlier tokens; the new ones are appended under ``layer``. Those of a context
                stay the same from token to token, so they are projected once and kept there.
            layer: place of this module in the cache.
            rotate: turns queries and keys by their positions (see ``positions.Rotary``); self-attention only.
            bias: added to the scores of every head, (H, T, S) (see ``positions.RelativeBias``); not the projections'.
        Raises:
            ValueError: the mask has other than 2, 3 or 4 axes, or does not fit, or ``rotate`` with a context.
        """
        query, key, value = self._heads(x, context, cache, layer, rotate)
        dropout = self.dropout if self.training else 0.0
        output, _ = self.core(query, key, value, _per_head(mask), bias=bias, dropout=dropout)
        return self.out_proj(output.transpose(1, 2).flatten(2))  # (B, H, T, K) -> (B, T, D)

    def weights(
        self,
        x: Float[Tensor, "B T D"],
        context: Float[Tensor, "B S D"] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        *,
        rotate: Callable[[Tensor], Tensor] | None = None,
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B H T S"]:
        """The attention weights of every head, for looking at."""
        query, key, _ = self._heads(x, context, None, 0, rotate)
        # Where value s is the s-th unit vector, the mixture of values is the list of their weights: so whatever
        # the core computes, this shows what it weighs, and every core is looked at in the same way.
        units = torch.eye(key.shape[2], dtype=key.dtype, device=key.device).expand(*key.shape[:2], -1, -1)
        return self.core(query, key, units, _per_head(mask), bias=bias)[0]

    def _heads(
        self,
        x: Tensor,
        context: Tensor | None,
        cache: KVCache | None,
        layer: int,
        rotate: Callable[[Tensor], Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        query = self.query_norm(self._split(self.q_proj(x), self.num_heads))  # (B, H, T, K)
        if context is not None:
            if rotate is not None:
                raise ValueError("rotate turns by positions in one text; a context is another one")
            key, value = (
                cache.source(layer, context, self._keys_and_values) if cache else self._keys_and_values(context)
            )
            return query, key, value
        key, value = self._keys_and_values(x)
        if rotate is not None:
            query, key = rotate(query), rotate(key)
        if cache is not None:
            key, value = cache.append(layer, key, value)
        return query, key, value

    def _keys_and_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        key = self.key_norm(self._split(self.k_proj(context), self.num_kv_heads))  # (B, G, S, K)
        return key, self._split(self.v_proj(context), self.num_kv_heads)

    def _split(self, x: Tensor, num_heads: int) -> Tensor:
        return x.unflatten(-1, (num_heads, self.head_dim)).transpose(1, 2)  # (B, T, D) -> (B, H, T, K)


def _positions(num_queries: int, num_keys: int | None, device) -> tuple[Tensor, Tensor]:
    """Positions of queries (T, 1) and keys (S,) in the same text; the queries are its last ones."""
    num_keys = num_queries if num_keys is None else num_keys
    check_positive(num_queries=num_queries)
    if num_keys < num_queries:
        raise ValueError(f"num_keys ({num_keys}) must be at least num_queries ({num_queries})")
    keys = torch.arange(num_keys, device=device)
    return keys[num_keys - num_queries :, None], keys


def _per_head(mask: Tensor | None) -> Tensor | None:
    """Gives a mask per text its head axis; without it, (B, T, S) would broadcast as (H, T, S) where B equals H."""
    if mask is None or mask.ndim in (2, 4):
        return mask
    if mask.ndim == 3:
        return mask[:, None]
    raise ValueError(f"mask {tuple(mask.shape)} must have the shape (T, S), (B, T, S) or (B, H, T, S)")


def _grouped(query: Tensor, key: Tensor) -> bool:
    """Whether several heads of the query share one of the key."""
    return query.ndim > 3 and key.ndim > 3 and query.shape[-3] > key.shape[-3]


def _for_each_head(query: Tensor, x: Tensor) -> Tensor:
    """Keys or values once for each head of the query: its head h reads their head h // repeats."""
    return x.repeat_interleave(query.shape[-3] // x.shape[-3], dim=-3) if _grouped(query, x) else x


def _scale(query: Tensor, scale: float | None) -> float:
    return 1 / math.sqrt(query.shape[-1]) if scale is None else scale


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> None:
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(f"query {tuple(query.shape)} and key {tuple(key.shape)} must have the same last size")
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(f"key {tuple(key.shape)} and value {tuple(value.shape)} must have the same number of rows")
    if _grouped(query, key) and query.shape[-3] % key.shape[-3]:
        raise ValueError(f"query has {query.shape[-3]} heads, no multiple of the {key.shape[-3]} of the key")
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, it must be boolean, True where a query may attend")
    if mask.shape[-1] != key.shape[-2] or mask.shape[-2] not in (1, query.shape[-2]):
        raise ValueError(f"mask {tuple(mask.shape)} must end in (T, S) = {(query.shape[-2], key.shape[-2])}")
