"""Normalizing: what BERT does to a text before it splits it, each step a function from text to text.

A normalizer is a tuple of steps, applied in order. What they remove does not come back when ids are decoded.

Source: Devlin et al. 2019, https://arxiv.org/abs/1810.04805, and the code published with it; where that and Hugging
Face's library differ, the latter is followed.
"""

import unicodedata
from collections.abc import Callable

import regex

Step = Callable[[str], str]

_INVISIBLE = regex.compile(r"(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\uFFFD]")
_CHINESE = regex.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f]"
)


def clean_text(text: str) -> str:
    """Removes control, format and private characters; every kind of space becomes a blank."""
    return regex.sub(r"\s", " ", _INVISIBLE.sub("", text))


def separate_chinese(text: str) -> str:
    """Puts blanks around each Chinese character, so that it becomes a word of its own.

    Example:
        >>> separate_chinese("用BERT")
        ' 用 BERT'
    """
    return _CHINESE.sub(r" \g<0> ", text)


def strip_accents(text: str) -> str:
    """Decomposes characters (NFD) and removes marks that take no space of their own.

    Example:
        >>> strip_accents("Ångström")
        'Angstrom'
    """
    return "".join(part for part in unicodedata.normalize("NFD", text) if unicodedata.category(part) != "Mn")


def lowercase(text: str) -> str:
    """Lowercases each character by itself, so that a final Σ becomes σ and not ς."""
    return "".join(map(str.lower, text))


# BERT's order, under the names that a file has for them.
STEPS: dict[str, Step] = {
    "clean_text": clean_text,
    "handle_chinese_chars": separate_chinese,
    "strip_accents": strip_accents,
    "lowercase": lowercase,
}
UNCASED = (clean_text, separate_chinese, strip_accents, lowercase)
CASED = (clean_text, separate_chinese)


def normalize(text: str, steps: tuple[Step, ...]) -> str:
    """Applies one step after the other."""
    for step in steps:
        text = step(text)
    return text


def checked_steps(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps themselves.

    Raises:
        ValueError: a step that a file has no name for, or another order than BERT's.
    """
    steps = tuple(steps)
    if steps != tuple(step for step in STEPS.values() if step in steps):
        names = [getattr(step, "__name__", repr(step)) for step in steps]
        known = ", ".join(step.__name__ for step in STEPS.values())
        raise ValueError(f"normalizer ({', '.join(names)}) must be some of {known}, in this order")
    return steps
