"""Tokenizer explorer: how a text that the reader types is cut into tokens, and what that costs in other languages."""

import json

import traitlets

from ..tokenizers import BPETokenizer
from .model_explorer import EngineExplorer, course_of_tokenizer
from .still import code, table

MOST_CHARACTERS = 2000


class TokenizerExplorer(EngineExplorer):
    """A text box, its tokens with ids or bytes, the merges that made a word's tokens, and the tokens that the same
    sentence takes in several languages. Only the tokenizer travels to the page, no model.

    Args:
        tokenizer: the course's or the reader's own.
        text: what the text box begins with.
    Raises:
        ValueError: a tokenizer of another kind, or a text that is empty or has more than 2000 characters.

    Example:
        >>> TokenizerExplorer(course.load("gpt")[1], "unbelievable tokenizers")
    """

    explorer = traitlets.Unicode("tokenizer").tag(sync=True)
    chosen = traitlets.Int(0, min=0).tag(sync=True)
    below = traitlets.Enum(["ids", "bytes", "nothing"], "ids").tag(sync=True)

    def __init__(
        self, tokenizer: BPETokenizer, text: str = "Unbelievable: 3 tokenizers cut 分词器 differently."
    ) -> None:
        size = len(json.dumps(tokenizer._to_json())) if isinstance(tokenizer, BPETokenizer) else 0
        course = course_of_tokenizer(tokenizer) if isinstance(tokenizer, BPETokenizer) else ""
        super().__init__(tokenizer, text, course, size)

    def _encode(self, text: str) -> list[int]:
        ids = super()._encode(text)
        if not 0 < len(text) <= MOST_CHARACTERS:
            raise ValueError(f"text has {len(text)} characters, it must have 1 to {MOST_CHARACTERS}")
        return ids

    def _result(self, ids: list[int]) -> dict:
        return super()._result(ids) | {"ids": ids}

    def _page(self) -> str:
        return table(["token", *map(code, self.still["pieces"])], [["id", *map(str, self.still["ids"])]])
