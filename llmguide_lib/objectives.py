"""Objectives: what a model is asked to predict. Each has a batch maker and is scored by cross-entropy.

A *batch* is a named tuple of tensors whose first axis counts texts, with a field ``targets`` in which -100 marks what
is not asked. A *loss* takes a model and a batch and returns the *sum* of nats over the targets: whoever trains
divides by their number, so that it makes no difference how a large batch is cut into smaller ones.
Batches are counted from 0 and each follows from its number and the seed alone, so that a run that was stopped can
go on with the very batch at which it was.

Shape letters: B windows, T positions, V vocabulary.
"""

import itertools
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

IGNORED = -100


class Batch(NamedTuple):
    """Tokens, what stands to be predicted at each of them, and which of them are real (None means all)."""

    tokens: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B T"] | None = None


def cross_entropy(model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
    """Minus the log-probability of all targets together, in nats.

    Raises:
        ValueError: targets are no int64 of the tokens' shape, or one is not among the model's tokens (looked at on the
            CPU only, as with tokens).
    """
    logits = model(batch.tokens, batch.mask)
    _check_targets(batch.targets, logits.shape[:-1])
    return _nats(logits.flatten(0, 1), batch.targets.flatten())


def masked_cross_entropy(model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
    """The same for a model of which few positions are asked: the head, its largest part, runs at those only."""
    states = model.hidden(batch.tokens, batch.mask)
    _check_targets(batch.targets, states.shape[:-1])
    asked = batch.targets != IGNORED
    return _nats(model.scores(states[asked]), batch.targets[asked])


def _check_targets(targets: Tensor, shape: torch.Size) -> None:
    if targets.dtype != torch.int64 or targets.shape != shape:
        raise ValueError(f"targets {tuple(targets.shape)} {targets.dtype} must be int64 of shape {tuple(shape)}")


def _nats(scores: Float[Tensor, "N V"], targets: Int[Tensor, "N"]) -> Float[Tensor, ""]:
    if targets.device.type == "cpu" and not torch.compiler.is_compiling():
        last = scores.shape[1] - 1
        wrong = targets[(targets != IGNORED) & ((targets < 0) | (targets > last))]
        if len(wrong):
            raise ValueError(f"targets holds the id {wrong[0]}, ids go from 0 to vocab_size - 1 = {last}")
    return F.cross_entropy(scores, targets, ignore_index=IGNORED, reduction="sum")


class Windows:
    """A long row of tokens cut into windows, in another order and with other cuts in each epoch.

    Args:
        tokens: one row of ids (N,), texts one after the other with an end token between them.
        length: tokens in a window.
        batch_size: windows in a batch.
        seed: of the orders.
    Raises:
        ValueError: a size is not positive, tokens are not one row of integers, or not even one window long.
    """

    def __init__(self, tokens: Tensor, length: int, batch_size: int, seed: int = 0) -> None:
        for name, size in (("length", length), ("batch_size", batch_size)):
            if size < 1:
                raise ValueError(f"{name} ({size}) must be positive")
        if tokens.ndim != 1 or tokens.is_floating_point():
            raise ValueError(f"tokens {tuple(tokens.shape)} {tokens.dtype} must be one row of integers")
        self.num_windows = (len(tokens) - 1) // length - 1  # the first cut may be up to one window late
        if self.num_windows < 1:
            raise ValueError(f"tokens ({len(tokens)}) must hold at least two windows of length ({length}) and one more")
        self.tokens, self.length, self.batch_size, self.seed = tokens, length, batch_size, seed
        self._epoch: tuple[int, int, Tensor] = (-1, 0, tokens)

    def rows(self, number: int) -> Int[Tensor, "B U"]:
        """The windows of one batch, each with the token that follows it (U = length + 1)."""
        places = range(number * self.batch_size, (number + 1) * self.batch_size)
        starts = torch.tensor([self._start(*divmod(place, self.num_windows)) for place in places])
        return self.tokens[starts[:, None] + torch.arange(self.length + 1)].long()

    def _start(self, epoch: int, place: int) -> int:
        if self._epoch[0] != epoch:
            generator = _generator(self.seed, epoch)
            first = int(torch.randint(self.length, (1,), generator=generator))
            self._epoch = (epoch, first, torch.randperm(self.num_windows, generator=generator))
        return self._epoch[1] + self.length * int(self._epoch[2][place])


class NextToken:
    """Batches for a causal language model: at each position the token that follows, without end.

    Example:
        >>> batches = NextToken(Windows(torch.arange(100), length=8, batch_size=2))
        >>> next(iter(batches)).targets.shape
        torch.Size([2, 8])
    """

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __iter__(self) -> Iterator[Batch]:
        return self.starting_at(0)

    def starting_at(self, number: int) -> Iterator[Batch]:
        """The batches from this one on."""
        for at in itertools.count(number):
            rows = self.windows.rows(at)
            yield Batch(rows[:, :-1], rows[:, 1:])


class Masking:
    """BERT's rule: of the chosen tokens 80 % become the mask, 10 % another token, and 10 % stay as they are.

    Args:
        rate: share of tokens chosen.
        mask_id: the token that hides another.
        vocab_size: where the other tokens are drawn from.
        special: tokens that are never chosen, such as the end of a text.
        shares: of the chosen, those that become the mask and those that become another token.
    Raises:
        ValueError: ``rate`` or a share is not between 0 and 1, or an id is not in the vocabulary.
    Source: Devlin et al. 2019, section 3.1, https://arxiv.org/abs/1810.04805
    """

    def __init__(
        self,
        rate: float | int,
        mask_id: int,
        vocab_size: int,
        *,
        special: tuple[int, ...] = (),
        shares: tuple[float | int, float | int] = (0.8, 0.1),
    ) -> None:
        if not 0 < rate <= 1:
            raise ValueError(f"rate ({rate}) must be above 0 and at most 1")
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(f"shares ({shares}) must not be negative, and together at most 1")
        for id in (mask_id, *special):
            if not 0 <= id < vocab_size:
                raise ValueError(f"id {id} must be at least 0 and below vocab_size ({vocab_size})")
        self.rate, self.mask_id, self.vocab_size, self.shares = rate, mask_id, vocab_size, shares
        self.special = torch.tensor(special, dtype=torch.long)

    def __call__(self, tokens: Int[Tensor, "B T"], generator: torch.Generator | None = None) -> Batch:
        """Hides a part of the tokens and asks for them."""
        draw = torch.rand(tokens.shape, generator=generator, dtype=torch.float32)  # whatever the default type is
        chosen = (draw < self.rate) & ~torch.isin(tokens, self.special)
        fate = draw / self.rate  # of a chosen token: uniform between 0 and 1
        others = torch.randint(self.vocab_size, tokens.shape, generator=generator)
        hidden, replaced = self.shares
        read = tokens.where(~(chosen & (fate < hidden)), torch.tensor(self.mask_id))
        read = read.where(~(chosen & (fate >= hidden) & (fate < hidden + replaced)), others)
        return Batch(read, tokens.where(chosen, torch.tensor(IGNORED)))


class MaskedTokens:
    """Batches for a masked language model, without end: windows in which a part of the tokens is hidden."""

    def __init__(self, windows: Windows, masking: Masking) -> None:
        self.windows, self.masking = windows, masking

    def __iter__(self) -> Iterator[Batch]:
        return self.starting_at(0)

    def starting_at(self, number: int) -> Iterator[Batch]:
        """The batches from this one on."""
        for at in itertools.count(number):
            yield self.masking(self.windows.rows(at)[:, :-1], _generator(self.windows.seed, -1 - at))


def _generator(seed: int, number: int) -> torch.Generator:
    """A source of random numbers for one epoch (from 0) or batch (from -1 down); torch looks at 32 bits of a seed."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {number}".encode()))
