"""Blanks in a text that an encoder reads: how they are typed and shown, as blanks.js has it in the page."""

import re

import traitlets
from torch import nn

from ..models import Llama
from ..tokenizers import BPETokenizer
from .model_explorer import ModelExplorer

SIGN = "[MASK]"  # what a reader types for a blank, whatever the tokenizer's own mask is called


class BlankExplorer(ModelExplorer):
    """What explorers share whose model may be an encoder: the reader types a blank as [MASK], and sees it so.

    Args:
        model: of one of the families in ``families``.
        tokenizer: the model's.
        text: what the reader finds in the text box.
        mask_token: the special token that an encoder was trained to fill in; a decoder has no blanks.
    Raises:
        ValueError: as ``ModelExplorer`` does, or a ``mask_token`` that an encoder's tokenizer does not have.
    """

    mask_token = traitlets.Unicode().tag(sync=True)  # empty for a decoder

    def __init__(self, model: nn.Module, tokenizer: BPETokenizer, text: str, mask_token: str) -> None:
        self._mask = "" if isinstance(model, Llama) else mask_token
        super().__init__(model, tokenizer, text)
        self.mask_token = self._mask

    def _ids(self, text: str) -> list[int]:
        return ids_with_blanks(self._tokenizer, text, self._mask) if self._mask else super()._ids(text)

    def _spelled(self, id: int) -> str:
        piece = super()._spelled(id)
        return SIGN if piece == self._mask else piece

    def _places(self, ids: list[int]) -> list[int]:
        """Where the blanks are."""
        return [place for place, id in enumerate(ids) if self._mask and id == self._tokenizer.token_to_id(self._mask)]


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
