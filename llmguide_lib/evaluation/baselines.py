"""What a language model must beat: bits per byte of general compressors and of counting bytes."""

import bz2
import gzip
import lzma
import math
from collections.abc import Callable
from functools import partial

from ..counting import KneserNey

COMPRESSORS = {
    "gzip": partial(gzip.compress, compresslevel=9, mtime=0),
    "bz2": partial(bz2.compress, compresslevel=9),
    "xz": partial(lzma.compress, preset=9 | lzma.PRESET_EXTREME),
}


def compressed_bits_per_byte(text: str, compress: Callable[[bytes], bytes], before: str = "") -> float:
    """Bits that a compressor adds for each byte of a text, in UTF-8, when it follows another text.

    gzip looks back 32 kB and bz2 900 kB, xz 64 MB: only xz can use a large training text. All of them go on learning
    while they read the text itself.

    Args:
        text: what is measured.
        compress: such as ``COMPRESSORS["xz"]``.
        before: the training text; without one the compressor's header counts too.
    Raises:
        ValueError: the text is empty.
    """
    data, known = _bytes(text), before.encode()
    return 8 * (len(compress(known + data)) - (len(compress(known)) if known else 0)) / len(data)


def counted_bits_per_byte(text: str, before: str, order: int = 7) -> float:
    """Bits per byte of a Kneser-Ney model of bytes that has counted a training text, and goes on learning nothing.

    With seven bytes, some twenty seconds and 1 GB for 8 MB of training text.

    Args:
        text: what is measured, in UTF-8.
        before: the training text.
        order: bytes looked at, the predicted one included.
    Raises:
        ValueError: the text is empty, or the order is not positive.
    """
    data, model = _bytes(text), KneserNey(order, vocab_size=256).count(before.encode())
    nats = (-math.log(model.probability(data[max(0, at - order + 1) : at], data[at])) for at in range(len(data)))
    return math.fsum(nats) / math.log(2) / len(data)


def _bytes(text: str) -> bytes:
    if not text:
        raise ValueError("text must not be empty")
    return text.encode()
