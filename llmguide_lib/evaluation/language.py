"""How well a language model predicts text: perplexity, bits per byte, share of masked words found.

Shape letters: N documents, B windows in a batch, T positions, V vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..objectives import IGNORED, Batch

Documents = Sequence[Sequence[int]]


class _Window(NamedTuple):
    """A part of a document that the model can read at once."""

    document: int
    tokens: list[int]
    targets: list[int]


def perplexity(
    model: nn.Module, documents: Documents, begin_id: int, *, stride: int | None = None, batch_tokens: int = 4096
) -> float:
    """e to the mean surprise per token: among how many equally probable tokens the model seems to choose.

    It depends on the tokenizer, so only models with the same one can be compared. Arguments and errors as in
    ``document_nats``.
    """
    nats = document_nats(model, documents, begin_id, stride=stride, batch_tokens=batch_tokens)
    return math.exp(nats.sum().item() / sum(map(len, documents)))


def bits_per_byte(
    model: nn.Module,
    texts: Sequence[str],
    encode: Callable[[str], list[int]],
    begin_id: int,
    *,
    stride: int | None = None,
    batch_tokens: int = 4096,
) -> float:
    """Bits that the model needs for a byte of the texts in UTF-8, whatever its tokenizer.

    The tokenizer must lose nothing: what it drops or makes equal costs no bits. A text can be cut into tokens in
    several ways and one of them is scored, so that the model's own figure could only be smaller.

    Args:
        model, begin_id, stride, batch_tokens: as in ``document_nats``.
        texts: what is to be predicted.
        encode: from a text to ids, such as a tokenizer's ``encode``.
    Raises:
        ValueError: as in ``document_nats``; an empty text counts as a document without tokens.
    """
    nats = document_nats(model, [encode(text) for text in texts], begin_id, stride=stride, batch_tokens=batch_tokens)
    return nats.sum().item() / math.log(2) / sum(len(text.encode()) for text in texts)


@torch.no_grad()
def document_nats(
    model: nn.Module, documents: Documents, begin_id: int, *, stride: int | None = None, batch_tokens: int = 4096
) -> Float[Tensor, "N"]:
    """Each document's surprise, -log of its probability, in nats; what can be resampled for an interval.

    The model reads ``begin_id`` and then the document, and every token of the document is scored exactly once; that
    the document ends after them is not (append the end token to score it). A document longer than the model can read
    is cut into windows that overlap: each is ``stride`` tokens further on and scores only what those before it did
    not, so that every token but the first ``max_seq_len`` sees at least ``max_seq_len - stride`` tokens before it.
    The last window is moved back to be as long as the others.

    Args:
        model: causal, with ``config.max_seq_len``, called as ``model(tokens, mask)``.
        documents: ids, without a begin token.
        begin_id: the token before each document, often end-of-text.
        stride: None means half of ``max_seq_len``. Smaller is slower and gives more context.
        batch_tokens: read at once at most (but always one window). Documents of similar length are read together.
    Returns:
        float64, on the CPU.
    Raises:
        ValueError: no document, an empty one, a stride that does not fit, a model in training mode or that gives NaN.
    """
    window = model.config.max_seq_len
    stride = max(1, window // 2) if stride is None else stride
    _check(model, documents, stride, batch_tokens)
    windows = [part for place, ids in enumerate(documents) for part in _windows(place, begin_id, ids, window, stride)]
    windows.sort(key=lambda part: len(part.tokens), reverse=True)
    nats, done = torch.zeros(len(documents), dtype=torch.float64), 0
    while done < len(windows):
        batch = windows[done : done + max(1, batch_tokens // len(windows[done].tokens))]  # its first is its longest
        nats.index_add_(0, torch.tensor([part.document for part in batch]), _nats(model, batch))
        done += len(batch)
    if nats.isnan().any():
        raise ValueError("model gives NaN scores: its weights hold NaN, or they overflowed")
    return nats


@torch.no_grad()
def masked_accuracy(model: nn.Module, batches: Iterable[Batch]) -> float:
    """Share of masked tokens that an encoder finds.

    Args:
        model: called as ``model(tokens, mask)``.
        batches: such as ``itertools.islice(MaskedTokens(windows, Masking(...)), 50)``; without end they would be
            scored without end. Their maker decides how many tokens are asked for, whether these always read
            [MASK] (``shares=(1, 0)``), and with which seed: only equal batches give comparable figures.
    Raises:
        ValueError: not one token is asked for, or the model is in training mode.
    """
    _check_mode(model)
    device, right, asked = next(model.parameters()).device, 0, 0
    for batch in batches:
        mask = None if batch.mask is None else batch.mask.to(device)
        found = model(batch.tokens.to(device), mask).argmax(dim=-1).cpu() == batch.targets.cpu()
        right += int(found.sum())  # no prediction equals -100
        asked += int((batch.targets != IGNORED).sum())
    if not asked:
        raise ValueError("batches must ask for at least one token: all targets are -100, or there is no batch")
    return right / asked


def _windows(document: int, begin_id: int, ids: Sequence[int], window: int, stride: int) -> Iterator[_Window]:
    text, scored = [begin_id, *ids], 0
    for end in [*range(window, len(ids), stride), len(ids)]:
        start = max(0, end - window)
        yield _Window(document, text[start:end], [IGNORED] * (scored - start) + text[scored + 1 : end + 1])
        scored = end


def _nats(model: nn.Module, batch: list[_Window]) -> Float[Tensor, "B"]:
    device = next(model.parameters()).device
    tokens = pad_sequence([torch.tensor(part.tokens) for part in batch], batch_first=True)
    targets = pad_sequence([torch.tensor(part.targets) for part in batch], batch_first=True, padding_value=IGNORED)
    mask = torch.arange(tokens.shape[1]) < torch.tensor([[len(part.tokens)] for part in batch])
    logits = model(tokens.to(device), None if mask.all() else mask.to(device))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1)  # (B*T, V)
    losses = nn.functional.cross_entropy(logits, targets.flatten().to(device), reduction="none", ignore_index=IGNORED)
    return losses.cpu().double().view(targets.shape).sum(dim=1)  # not every device has float64


def _check(model: nn.Module, documents: Documents, stride: int, batch_tokens: int) -> None:
    _check_mode(model)
    if not documents:
        raise ValueError("documents must hold at least one document")
    if empty := [place for place, ids in enumerate(documents) if not len(ids)]:
        raise ValueError(f"documents[{empty[0]}] has no tokens; leave empty documents out")
    if not 1 <= stride <= model.config.max_seq_len:
        raise ValueError(f"stride ({stride}) must be from 1 to max_seq_len ({model.config.max_seq_len})")
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens ({batch_tokens}) must be positive")


def _check_mode(model: nn.Module) -> None:
    if model.training:
        raise ValueError("model is in training mode, where dropout makes its scores random; call model.eval() first")
