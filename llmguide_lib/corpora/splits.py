"""Which documents go into which split, and how much two sets of texts have in common.

Splits are made by module, so that a model is tested on modules that it has not read. Modules repeat each
other, so a document whose word 6-grams stand too often in another split, or in an earlier document of its own,
is left out.
"""

import re
import zlib
from collections.abc import Collection

SPLITS = ("train", "validation", "test")
NGRAM = 6
ACROSS = 0.2  # the largest share of a text's 6-grams that may stand in another split
_PERCENT = {"validation": range(0, 6), "test": range(6, 18)}


def split_of(library: str, module: str) -> str:
    """The split of a module: a fixed pseudorandom choice by its name, 6 % validation, 12 % test."""
    draw = zlib.crc32(f"{library} {module}".encode()) % 100
    return next((split for split, draws in _PERCENT.items() if draw in draws), "train")


def ngrams(text: str) -> set[int]:
    """The hashes of the text's word 6-grams, without case and punctuation."""
    words = re.findall(r"\w+", text.lower())
    return {zlib.crc32(" ".join(words[at : at + NGRAM]).encode()) for at in range(len(words) - NGRAM + 1)}


def overlap(text: str, seen: Collection[int]) -> float:
    """The share of the text's 6-grams that are in ``seen``, 0 for a text too short to have one."""
    own = ngrams(text)
    return sum(gram in seen for gram in own) / max(len(own), 1)
