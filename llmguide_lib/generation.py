"""Generation: token by token from any decoder, with samplers that are put together from small pieces, and beam search.

Shape letters: B texts, T tokens so far, V vocabulary.

A *model* is called as ``model(tokens, mask, cache) -> logits`` and has ``config.num_layers`` and
``config.max_seq_len``: GPT and Llama as they are, an encoder-decoder as ``Conditioned``.
A *filter* is any function ``(logits, tokens) -> logits``: it may forbid tokens with -inf, and so constrain the output.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .attention import KVCache
from .packing import packed
from .sizes import check_positive

Filter = Callable[[Tensor, Tensor], Tensor]
NEVER = -torch.inf
WORTH_PACKING = 16  # new tokens from which on laying out the matrices saves more time than it takes


# -- filters ----------------------------------------------------------------------------------------------------------


class Temperature:
    """Divides the logits: below 1 sharpens the distribution, above 1 flattens it.

    Raises:
        ValueError: ``temperature`` is not positive (for the limit 0 use ``Greedy``).
    """

    def __init__(self, temperature: float | int) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature ({temperature}) must be positive; for temperature 0 use Greedy()")
        self.temperature = temperature

    def __call__(self, logits: Float[Tensor, "B V"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B V"]:
        """The divided logits."""
        return logits / self.temperature


class TopK:
    """Keeps the ``k`` most probable tokens, and those as probable as the last of them.

    Raises:
        ValueError: ``k`` is not positive.
    Source: Fan et al. 2018, section 5.4, https://arxiv.org/abs/1805.04833
    """

    def __init__(self, k: int) -> None:
        check_positive(k=k)
        self.k = k

    def __call__(self, logits: Float[Tensor, "B V"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B V"]:
        """The logits of the kept tokens; -inf for the others."""
        lowest = logits.topk(min(self.k, logits.shape[-1])).values[:, -1:]
        return logits.masked_fill(logits < lowest, NEVER)


class TopP:
    """Keeps the smallest set of most probable tokens that together have at least the probability ``p``.

    Raises:
        ValueError: ``p`` is not above 0 and at most 1.
    Source: Holtzman et al. 2020, section 3.1, https://arxiv.org/abs/1904.09751
    """

    def __init__(self, p: float | int) -> None:
        _check_share("p", p)
        self.p = p

    def __call__(self, logits: Float[Tensor, "B V"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B V"]:
        """The logits of the kept tokens; -inf for the others."""
        if self.p == 1:
            return logits
        ordered, order = logits.float().sort(descending=True, stable=True)  # sums of narrow types lose the tail
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities  # of the tokens in front of each
        forbidden = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= self.p)
        return logits.masked_fill(forbidden, NEVER)


class MinP:
    """Keeps the tokens that are at least ``p`` times as probable as the most probable one.

    Raises:
        ValueError: ``p`` is not above 0 and at most 1.
    Source: Nguyen et al. 2024, section 3, https://arxiv.org/abs/2407.01082
    """

    def __init__(self, p: float | int) -> None:
        _check_share("p", p)
        self.p = p

    def __call__(self, logits: Float[Tensor, "B V"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B V"]:
        """The logits of the kept tokens; -inf for the others."""
        probabilities = logits.softmax(dim=-1)
        return logits.masked_fill(probabilities < self.p * probabilities.amax(dim=-1, keepdim=True), NEVER)


class RepetitionPenalty:
    """Makes tokens that stand in the text already less probable: positive logits are divided, negative multiplied.

    Raises:
        ValueError: ``penalty`` is not positive.
    Source: Keskar et al. 2019, section 4.1, https://arxiv.org/abs/1909.05858
    """

    def __init__(self, penalty: float | int) -> None:
        if not penalty > 0:
            raise ValueError(f"penalty ({penalty}) must be positive; 1 changes nothing")
        self.penalty = penalty

    def __call__(self, logits: Float[Tensor, "B V"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B V"]:
        """The logits, those of earlier tokens made smaller."""
        seen = logits.gather(-1, tokens)
        return logits.scatter(-1, tokens, torch.where(seen > 0, seen / self.penalty, seen * self.penalty))


def _check_share(name: str, share: float | int) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"{name} ({share}) must be above 0 and at most 1")


# -- samplers ---------------------------------------------------------------------------------------------------------


class Greedy:
    """Takes the most probable token that the filters leave."""

    def __init__(self, *filters: Filter) -> None:
        self.filters = filters

    def __call__(self, logits: Float[Tensor, "B V"], tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B"]:
        """The next token of each text."""
        return _filtered(self.filters, logits, tokens).argmax(dim=-1)


class Sample:
    """Draws from the distribution that the filters leave; they work in the order in which they are given.

    Args:
        filters: such as ``Temperature(0.8), TopP(0.9)``.
        seed: makes the draws repeatable; None draws from torch's global state. A sampler that is used again goes on
            drawing where it ended.

    Example:
        >>> sampler = Sample(Temperature(0.8), TopK(50), seed=0)
    """

    def __init__(self, *filters: Filter, seed: int | None = None) -> None:
        self.filters = filters
        self.seed = seed
        self._generator: torch.Generator | None = None

    def __call__(self, logits: Float[Tensor, "B V"], tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B"]:
        """The next token of each text."""
        if self.seed is not None and self._generator is None:
            self._generator = torch.Generator(logits.device).manual_seed(self.seed)
        probabilities = _filtered(self.filters, logits, tokens).softmax(dim=-1)
        return torch.multinomial(probabilities, 1, generator=self._generator).squeeze(-1)


def _filtered(filters: Sequence[Filter], logits: Tensor, tokens: Tensor) -> Tensor:
    for keep in filters:
        logits = keep(logits, tokens)
    if filters and (logits == NEVER).all(dim=-1).any():
        raise ValueError("filters left no token to choose from; loosen one of them")
    return logits


# -- stopping ---------------------------------------------------------------------------------------------------------


class StopTokens:
    """A text ends with one of these tokens (an end-of-text token, say)."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids

    def __call__(self, new: Int[Tensor, "B N"]) -> Bool[Tensor, "B"]:
        """Which texts end with their last token."""
        return torch.isin(new[:, -1], torch.tensor(self.ids, device=new.device))


class StopStrings:
    """A text ends as soon as what was generated holds one of these strings, wherever tokens cut it.

    Args:
        decode: from a list of ids to text, such as a tokenizer's ``decode``.
        strings: what to stop at.
    Raises:
        ValueError: no string, or an empty one.
    """

    def __init__(self, decode: Callable[[list[int]], str], strings: Sequence[str]) -> None:
        if isinstance(strings, str) or not strings or not all(strings):
            raise ValueError(f"strings ({strings!r}) must be a list of strings that are not empty")
        self.decode, self.strings = decode, tuple(strings)
        # Of a character whose bytes are cut in two, up to three stand for a sign each where the tail begins.
        self._reach = max(map(len, strings)) + 3

    def __call__(self, new: Int[Tensor, "B N"]) -> Bool[Tensor, "B"]:
        """In which texts the last token completes a string."""
        texts = [self._tail(row) for row in new.tolist()]
        ended = [any(string in text for string in self.strings) for text in texts]
        return torch.tensor(ended, device=new.device)

    def _tail(self, ids: list[int]) -> str:
        """The last token with as much in front of it as a string can need; decoding all would cost more every time."""
        length = self._reach
        while length < len(ids) and len(self.decode(ids[-length:-1])) < self._reach:
            length *= 2
        return self.decode(ids[-length:])


# -- token by token ---------------------------------------------------------------------------------------------------


class Conditioned:
    """An encoder-decoder with a source that it has read: to be called like a decoder.

    Args:
        model: such as ``Seq2SeqTransformer``, with ``encode``, ``decode`` and ``lm_head``.
        source, source_mask: as the model's ``forward`` takes them; one source per text, or one for all of them.
    """

    def __init__(
        self, model: nn.Module, source: Int[Tensor, "B S"], source_mask: Bool[Tensor, "B S"] | None = None
    ) -> None:
        self.model, self.source_mask = model, source_mask
        with torch.no_grad():
            self.encoded = model.encode(source, source_mask)
        self.config = SimpleNamespace(num_layers=model.config.num_decoder_layers, max_seq_len=model.config.max_seq_len)

    @property
    def training(self) -> bool:
        """Whether the model is in training mode."""
        return self.model.training

    def __call__(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B U"] | None = None, cache: KVCache | None = None
    ) -> Float[Tensor, "B T V"]:
        """Scores of the token that follows each position of the target."""
        encoded = self.encoded.expand(len(tokens), -1, -1)
        source_mask = None if self.source_mask is None else self.source_mask.expand(len(tokens), -1)
        return self.model.lm_head(self.model.decode(tokens, encoded, source_mask, mask, cache))

    def select(self, rows: Int[Tensor, "N"]) -> "Conditioned":
        """The same model with the sources of these texts."""
        chosen = copy.copy(self)
        chosen.encoded = self.encoded[rows]
        chosen.source_mask = None if self.source_mask is None else self.source_mask[rows]
        return chosen


def left_padded(texts: Sequence[Sequence[int]], pad_id: int = 0) -> tuple[Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Texts of different lengths as one batch, filled up on the left, so that all of them end where generation begins.

    Returns:
        tokens and the mask of real ones.
    Raises:
        ValueError: no text, or an empty one.

    Example:
        >>> left_padded([[5], [6, 7]])[0].tolist()
        [[0, 5], [6, 7]]
    """
    if not texts or not all(texts):
        raise ValueError("texts must hold at least one text, and each at least one token")
    longest = max(map(len, texts))
    tokens = torch.tensor([[pad_id] * (longest - len(text)) + list(text) for text in texts])
    real = torch.arange(longest) >= longest - torch.tensor([[len(text)] for text in texts])
    return tokens, real


@torch.no_grad()
def stream(
    model: Callable[..., Tensor],
    tokens: Int[Tensor, "B T"],
    max_new_tokens: int,
    *,
    sampler: Callable[[Tensor, Tensor], Tensor] | None = None,
    mask: Bool[Tensor, "B T"] | None = None,
    stop: Callable[[Tensor], Tensor] | None = None,
    pad_id: int = 0,
    cache: bool = True,
) -> Iterator[Int[Tensor, "B"]]:
    """Yields the next token of every text, again and again; arguments and errors as in ``generate``.

    As with all generators, errors come when the first token is asked for.
    """
    _check_request(model, tokens, max_new_tokens)
    if mask is not None and not mask[:, -1].all():
        raise ValueError("mask must be True for every text's last token: fill up on the left (left_padded)")
    memory = KVCache(model.config.num_layers, tokens.shape[1] + max_new_tokens) if cache else None
    if cache and max_new_tokens >= WORTH_PACKING:
        model = _packed(model, len(tokens))
    start, fed = tokens.shape[1], tokens
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for _ in range(max_new_tokens):
        logits = model(fed, mask, memory)[:, -1]
        _check_logits(logits)
        # A filter must not take filling for text: it sees the text's own last token there.
        history = tokens if mask is None else tokens.where(mask, tokens[:, -1:])
        new = (sampler or Greedy())(logits, history).masked_fill(ended, pad_id)
        yield new
        tokens = torch.cat([tokens, new[:, None]], dim=1)
        if stop is not None:
            ended = ended | stop(tokens[:, start:])
            if ended.all():
                return
        fed = new[:, None] if cache else tokens
        mask = None if mask is None else torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)


def generate(
    model: Callable[..., Tensor],
    tokens: Int[Tensor, "B T"],
    max_new_tokens: int,
    *,
    sampler: Callable[[Tensor, Tensor], Tensor] | None = None,
    mask: Bool[Tensor, "B T"] | None = None,
    stop: Callable[[Tensor], Tensor] | None = None,
    pad_id: int = 0,
    cache: bool = True,
) -> Int[Tensor, "B N"]:
    """Goes on with every text of a batch.

    Args:
        model: a decoder in evaluation mode, or ``Conditioned``.
        tokens: the texts so far; those shorter than the longest are filled up on the left (``left_padded``).
        max_new_tokens: largest number of tokens to add.
        sampler: chooses the next token from logits (B, V) and the tokens so far; None means ``Greedy()``.
        mask: True for real tokens.
        stop: tells from the new tokens (B, N) which texts have ended: ``StopTokens``, ``StopStrings``.
        pad_id: what a text that has ended is filled up with.
        cache: whether keys and values are kept; without, every step reads everything again.
    Returns:
        the texts so far with the new tokens behind them.
    Raises:
        ValueError: the request does not fit the model, or the model's scores are no numbers.
    """
    options = {"sampler": sampler, "mask": mask, "stop": stop, "pad_id": pad_id, "cache": cache}
    new = list(stream(model, tokens, max_new_tokens, **options))
    return torch.cat([tokens, *(column[:, None] for column in new)], dim=1)


def _check_request(model: Callable[..., Tensor], tokens: Tensor, max_new_tokens: int) -> None:
    check_positive(max_new_tokens=max_new_tokens)
    if tokens.ndim != 2 or tokens.numel() == 0:
        raise ValueError(f"tokens {tuple(tokens.shape)} must have the shape (B, T) with at least one token")
    if getattr(model, "training", False):
        raise ValueError("model is in training mode, where dropout makes its scores random; call model.eval() first")
    there, limit = tokens.shape[1], model.config.max_seq_len
    if there + max_new_tokens > limit:
        room = f"{limit - there}: {there} tokens are there and max_seq_len is {limit}"
        raise ValueError(f"max_new_tokens ({max_new_tokens}) must be at most {room}")


def _packed(model: Callable[..., Tensor], num_rows: int) -> Callable[..., Tensor]:
    """The model with matrices laid out for so many rows; whatever is no module stays as it is."""
    if isinstance(model, Conditioned):
        twin = copy.copy(model)
        twin.model = packed(model.model, num_rows)
        return twin
    return packed(model, num_rows) if isinstance(model, nn.Module) else model


def _check_logits(logits: Tensor) -> None:
    if logits.isnan().any():
        raise ValueError("model gives NaN scores: its weights hold NaN, or they overflowed")


# -- beam search ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def beam_search(
    model: Callable[..., Tensor],
    tokens: Int[Tensor, "1 T"],
    max_new_tokens: int,
    *,
    num_beams: int,
    length_penalty: float | int = 1.0,
    end_id: int | None = None,
) -> tuple[Int[Tensor, "N"], float]:
    r"""The most probable continuation of one text that keeping ``num_beams`` candidates finds.

    A finished text y is scored :math:`\log p(y) / |y|^{\alpha}`, where |y| counts its new tokens, the end included.
    The search ends when ``num_beams`` are finished and none that still grows is ahead of the worst of them.

    Args:
        model: a decoder in evaluation mode, or ``Conditioned``.
        tokens: the text so far.
        max_new_tokens: largest number of tokens to add.
        num_beams: candidates kept at every step.
        length_penalty: the exponent; 0 favours short texts, larger values long ones.
        end_id: the token that ends a text; None for none.
    Returns:
        the text with its continuation, and the score.
    Raises:
        ValueError: ``num_beams`` is not positive, more than one text, or a request that does not fit the model.
    Source: Wu et al. 2016, section 7 (there with another length penalty), https://arxiv.org/abs/1609.08144
    """
    _check_request(model, tokens, max_new_tokens)
    check_positive(num_beams=num_beams)
    if len(tokens) != 1:
        raise ValueError(f"tokens {tuple(tokens.shape)} must be one text: (1, T)")
    memory = KVCache(model.config.num_layers, tokens.shape[1] + max_new_tokens)
    if max_new_tokens >= WORTH_PACKING:
        model = _packed(model, num_beams)
    beams, scores, fed = tokens, torch.zeros(1, device=tokens.device), tokens
    finished: list[tuple[float, Tensor]] = []
    for length in range(1, max_new_tokens + 1):
        logits = model(fed, None, memory)[:, -1]
        _check_logits(logits)
        totals = scores[:, None] + logits.log_softmax(dim=-1)  # (beams, V)
        # Twice as many as beams: so that enough remain if half of them end here.
        best = totals.flatten().topk(min(2 * num_beams, totals.numel()))
        rows, ids = best.indices // totals.shape[1], best.indices % totals.shape[1]
        ends = ids == end_id if end_id is not None else torch.zeros_like(ids, dtype=torch.bool)
        for place in ends[:num_beams].nonzero().flatten():  # only an end among the best counts as one
            text = torch.cat([beams[rows[place]], ids[place : place + 1]])
            finished.append((best.values[place].item() / length**length_penalty, text))
        finished = sorted(finished, key=lambda one: -one[0])[:num_beams]
        going = (~ends).nonzero().flatten()[:num_beams]
        rows, ids, scores = rows[going], ids[going], best.values[going]
        beams = torch.cat([beams[rows], ids[:, None]], dim=1)
        if len(finished) == num_beams and scores[0].item() / length**length_penalty <= finished[-1][0]:
            break
        memory.select(rows)
        fed = ids[:, None]
    else:
        finished += [(score / length**length_penalty, beam) for score, beam in zip(scores.tolist(), beams, strict=True)]
    score, text = max(finished, key=lambda one: one[0])
    return text, score
