"""Exercises without end that have one exact answer, for what a model must do rather than know.

Training, validation and test share nothing by construction: a fixed pseudorandom choice gives every sum or string
to one of them. A fourth part, "longer", has lengths that no training example has: can what was learned be carried on?
"""

import operator
import random
from collections.abc import Callable
from typing import NamedTuple

from ..corpora.splits import SPLITS, split_of

GENERATED_SPLITS = (*SPLITS, "longer")
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_PATIENCE = 10_000  # draws without anything new, after which there is hardly anything left


class Exercise(NamedTuple):
    """A question and its only right answer."""

    question: str
    answer: str


def arithmetic(
    split: str = "train", count: int = 1000, *, seed: int = 0, operator: str = "+", digits: int = 3
) -> list[Exercise]:
    """Different sums, differences or products of two numbers below ``10**digits``, all equally likely.

    Two numbers are in the same split in either order and with every operator, so 3 + 5 is not tested where 5 + 3 was
    trained. In "longer", both numbers have exactly one digit more.

    Guessing the most frequent answer is right in about one of ``10**digits`` sums or differences.

    Args:
        split: one of GENERATED_SPLITS.
        count: how many; with two digits, there are some 700 for validation.
        seed: which of them, and in which order.
        operator: one of OPERATORS.
        digits: of the largest numbers.
    Raises:
        ValueError: an argument outside of these, or more than there are.

    Example:
        >>> arithmetic("test", 1)
        [Exercise(question='71+24', answer='95')]
    """
    if operator not in OPERATORS:
        raise ValueError(f"operator ({operator!r}) must be one of {' '.join(OPERATORS)}")
    if digits < 1:
        raise ValueError(f"digits ({digits}) must be at least 1")
    smallest, limit = (10**digits, 10 ** (digits + 1)) if split == "longer" else (0, 10**digits)
    generator = random.Random(seed)

    def draw() -> tuple[str, Exercise]:
        one, other = (smallest + int(generator.random() * (limit - smallest)) for _ in range(2))
        answer = str(OPERATORS[operator](one, other))
        return f"{min(one, other)} {max(one, other)}", Exercise(f"{one}{operator}{other}", answer)

    return _different(split, count, draw)


def copying(
    split: str = "train",
    count: int = 1000,
    *,
    seed: int = 0,
    alphabet: str = "abcdefgh",
    lengths: tuple[int, int] = (4, 8),
) -> list[Exercise]:
    """Different random strings, to be repeated: what attention does with ease and a fixed window cannot.

    In "longer", strings are longer than the longest of training, and at most twice as long. The answer cannot be
    guessed: the most frequent letter is right in one of ``len(alphabet)`` positions.

    Args:
        split: one of GENERATED_SPLITS.
        count: how many.
        seed: which of them, and in which order.
        alphabet: the letters, each once.
        lengths: the smallest and the largest number of letters, all equally likely.
    Raises:
        ValueError: an argument outside of these, or more than there are.

    Example:
        >>> copying("test", 1)
        [Exercise(question='hdgc', answer='hdgc')]
    """
    shortest, longest = lengths
    if len(set(alphabet)) < max(len(alphabet), 2):
        raise ValueError(f"alphabet ({alphabet!r}) must be of two or more letters, each once")
    if not 1 <= shortest <= longest:
        raise ValueError(f"lengths ({lengths}) must be the smallest and the largest, from 1 on")
    low, high = (longest + 1, 2 * longest) if split == "longer" else lengths
    generator = random.Random(seed)

    def draw() -> tuple[str, Exercise]:
        length = low + int(generator.random() * (high - low + 1))
        text = "".join(alphabet[int(generator.random() * len(alphabet))] for _ in range(length))
        return text, Exercise(text, text)

    return _different(split, count, draw)


def _different(split: str, count: int, draw: Callable[[], tuple[str, Exercise]]) -> list[Exercise]:
    """Draws until there are ``count`` different exercises whose key is of the split."""
    if split not in GENERATED_SPLITS:
        raise ValueError(f"split ({split!r}) must be one of {', '.join(GENERATED_SPLITS)}")
    if count < 1:
        raise ValueError(f"count ({count}) must be at least 1")
    found: dict[Exercise, None] = {}
    in_vain = 0
    while len(found) < count:
        key, exercise = draw()
        in_vain += 1
        if split in ("longer", split_of("generated", key)) and exercise not in found:
            found[exercise] = None
            in_vain = 0
        if in_vain == _PATIENCE:
            raise ValueError(f"count ({count}) must be at most about {len(found)}, what there is of this kind")
    return list(found)
