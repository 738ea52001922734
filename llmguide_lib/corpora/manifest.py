"""The list of what belongs to the corpus: hashes of cleaned documents by library and split, in order.

A hash is the first 6 bytes of the text's SHA-256 (among 30,000 listed and 60,000 read texts, one in 150,000
corpora has two that collide), written in base64, 8 characters each. ``tools/corpus.py`` writes the list.
"""

import base64
import functools
import hashlib
import json
from importlib import resources
from typing import NamedTuple

from .splits import SPLITS

FILE = "documentation.json"
_HASH_BYTES = 6


class Listing(NamedTuple):
    """What the manifest lists of one library: hashes by split, and the version they were taken from."""

    version: str
    hashes: dict[str, tuple[str, ...]]

    @property
    def size(self) -> int:
        """How many documents are listed, all splits together."""
        return sum(map(len, self.hashes.values()))


def text_hash(text: str) -> str:
    """The hash of a cleaned text as the manifest writes it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:_HASH_BYTES]).decode()


@functools.cache
def load() -> dict[str, Listing]:
    """The manifest that the package ships, by library."""
    text = resources.files("llmguide_lib").joinpath("data", FILE).read_text(encoding="utf-8")
    libraries = json.loads(text)["libraries"]
    return {
        library: Listing(entry["version"], {split: _cut(entry[split]) for split in SPLITS})
        for library, entry in libraries.items()
    }


def _cut(lines: list[str]) -> tuple[str, ...]:
    joined = "".join(lines)
    return tuple(joined[at : at + 8] for at in range(0, len(joined), 8))
