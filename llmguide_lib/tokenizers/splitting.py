"""Splitting: texts are cut into pieces before anything is merged, and no token ever spans two pieces."""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache

import regex

# GPT-2 keeps the blank with the word that follows it. Llama 3 also keeps a mark with the word (".name"), ends a
# piece after a line break, and cuts numbers into groups of three digits.
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}
# BERT forgets the space between words, and every mark is a word of its own: all of ASCII's, \p{P} of the others.
_BERT = regex.compile(r"[!-/:-@\[-`{-~\p{P}]|[^\s!-/:-@\[-`{-~\p{P}]+")


@cache
def splitter(pattern: str) -> Callable[[str], list[str]]:
    """The function that cuts a text into pieces.

    Args:
        pattern: a name in ``PATTERNS``. The pieces joined are the text.
    Raises:
        ValueError: an unknown name.

    Example:
        >>> splitter("gpt2")("We'll see  2024!")
        ['We', "'ll", ' see', ' ', ' 2024', '!']

    Source: Radford et al. 2019, section 2.2, and the tokenizer file published with Llama 3.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"pattern ({pattern!r}) must be one of {', '.join(PATTERNS)}")
    return regex.compile(PATTERNS[pattern]).findall


def split_bert(text: str) -> list[str]:
    """Cuts a text into words and marks, as BERT does.

    Example:
        >>> split_bert("We'll see  2024!")
        ['We', "'", 'll', 'see', '2024', '!']
    """
    return _BERT.findall(text)


def count_pieces(texts: str | Iterable[str], split: Callable[[str], list[str]]) -> Counter[str]:
    """How often each piece occurs; texts are read one after the other and only the counts are kept.

    Raises:
        ValueError: one of the texts is not a string of Unicode characters, or there is no piece in them.
    """
    if not isinstance(texts, Iterable):
        raise ValueError(f"texts ({texts!r}) must be a string or strings, not {type(texts).__name__}")
    counts: Counter[str] = Counter()
    for place, text in enumerate([texts] if isinstance(texts, str) else texts):
        counts.update(split(checked_text(text, f"texts[{place}]")))
    if not counts:
        raise ValueError("texts must hold something to learn from, they are empty")
    return counts


def checked_text(text: str, name: str = "text") -> str:
    """The text itself.

    Raises:
        ValueError: not a string, or it holds a lone surrogate, which is half a character and has no bytes.
    """
    if not isinstance(text, str):
        raise ValueError(f"{name} ({text!r:.80}) must be a string, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} has a lone surrogate ({text[error.start]!r}) at position {error.start}, which is no character; "
            "replace it first: text.encode('utf-8', 'replace').decode()"
        ) from None
    return text
