"""Blanks in a text that an encoder reads: how they are typed, as blanks.js has it in the page."""

import re

from ..tokenizers import BPETokenizer

SIGN = "[MASK]"  # what a reader types for a blank, whatever the tokenizer's own mask is called


def ids_with_blanks(tokenizer: BPETokenizer, text: str, mask_token: str) -> list[int]:
    """The ids of a text whose blanks are typed as [MASK]; a space before a blank belongs to it, as to every token.

    Raises:
        ValueError: a mask token that is none of the tokenizer's special tokens.

    Example:
        >>> ids_with_blanks(tokenizer, "the number of [MASK]", "<|mask|>")
    """
    if mask_token not in tokenizer.special_tokens:
        known = ", ".join(tokenizer.special_tokens)
        raise ValueError(f"mask_token ({mask_token!r}) must be a special token of the tokenizer; it has {known}")
    signs = "|".join(map(re.escape, (SIGN, mask_token)))
    marked = re.sub(rf" ?(?:{signs})", lambda _: mask_token, text, flags=re.IGNORECASE)
    return tokenizer.encode(marked, [mask_token])
