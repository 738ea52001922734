"""Texts as one long row of token ids, kept in a file of the cache directory and read from there page by page."""

import hashlib
import itertools
import os
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from ..files import write_atomically
from ..tokenizers.base import Tokenizer
from .cache import cache_directory

COMPLETE = b"complete"  # the end of a file that was not cut off


def token_row(texts: Iterable[str], tokenizer: Tokenizer, end_token: str = "<|endoftext|>") -> Int[Tensor, "N"]:
    """The ids of all texts with an end token before each and after the last.

    The row is mapped into memory from a file that bears a hash of texts and tokenizer: it is made once, several
    processes may read it or make it at the same time, and neither texts nor ids need fit into memory. Where
    nothing can be written, it is made in memory each time.

    Args:
        texts: read twice, one after the other.
        tokenizer: what makes the ids.
        end_token: what stands between texts.
    Raises:
        ValueError: no text, texts that can be read only once, or an end token that the tokenizer does not have.
    """
    if isinstance(texts, str):
        raise ValueError("texts must be several texts, not one string; give a list")
    if iter(texts) is texts:
        raise ValueError(f"texts ({type(texts).__name__}) can be read only once; give a list")
    end = tokenizer.token_to_id(end_token)
    # 16 bits hold every id of a small vocabulary; read as signed numbers, as torch indexes those on all devices.
    code, dtype = ("h", torch.int16) if tokenizer.vocab_size <= 1 << 15 else ("i", torch.int32)
    path = cache_directory() / f"tokens-{_key(texts, tokenizer, end)}.bin"
    if (row := _mapped(path, dtype)) is None:
        try:
            rows = (array(code, ids).tobytes() for ids in _ids(texts, tokenizer, end))
            write_atomically(path, itertools.chain(rows, [COMPLETE]))
        except OSError:
            return torch.tensor([id for ids in _ids(texts, tokenizer, end) for id in ids], dtype=dtype)
        row = _mapped(path, dtype)
    return row


def _mapped(path: Path, dtype: torch.dtype) -> Tensor | None:
    """The ids of a file; None where there is none, or not the whole of it."""
    with suppress(OSError), open(path, "rb") as file:
        length = file.seek(-len(COMPLETE), os.SEEK_END)
        if file.read() == COMPLETE:
            return torch.from_file(str(path), shared=False, size=length // dtype.itemsize, dtype=dtype)
    return None


def _ids(texts: Iterable[str], tokenizer: Tokenizer, end: int) -> Iterator[list[int]]:
    for text in texts:
        yield [end, *tokenizer.encode(text)]
    yield [end]


def _key(texts: Iterable[str], tokenizer: Tokenizer, end: int) -> str:
    digest = hashlib.sha256(f"{tokenizer.fingerprint} {end}".encode())
    count = 0
    for count, text in enumerate(texts, 1):  # noqa: B007
        digest.update(f"{len(text)} {text}".encode(errors="surrogatepass"))
    if not count:
        raise ValueError("texts must hold at least one text")
    return digest.hexdigest()[:24]
