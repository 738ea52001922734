"""What all tokenizers share: tokens have ids, special tokens are kept apart, and files are written and read."""

import hashlib
import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from os import PathLike

import regex

from .files import read_json, write_json
from .splitting import checked_text

# The same pieces come again and again; this many are remembered, none longer than that.
CACHED_PIECES, CACHED_LENGTH = 100_000, 100


class Tokenizer(ABC):
    """A list of tokens; the id of a token is its place in the list.

    Special tokens (end of text, padding) belong to whoever builds the input of a model, not to the text: ``encode``
    takes them for ordinary characters unless it is told otherwise, so that nobody can write one into a text
    to end a prompt or to fake another speaker.

    Args:
        tokens: all tokens, special ones among them.
        special_tokens: those that are special.
    Raises:
        ValueError: a token occurs twice, or a special token is not a text or not among the tokens.
    """

    def __init__(self, tokens: Sequence[str | bytes], special_tokens: Sequence[str]) -> None:
        self.tokens = list(tokens)
        ids = {token: place for place, token in enumerate(self.tokens)}
        twice = [token for place, token in enumerate(self.tokens) if ids[token] != place]
        if twice:
            raise ValueError(f"tokens must differ from each other, {twice[0]!r} is there twice")
        missing = [token for token in checked_special_tokens(special_tokens) if token not in ids]
        if missing:
            raise ValueError(f"special_tokens: {missing[0]!r} must be among the tokens")
        self.special_tokens = {token: ids[token] for token in special_tokens}
        self._ordinary = {token: place for token, place in ids.items() if token not in self.special_tokens}
        self._cache: dict[str, list[int]] = {}

    @property
    def vocab_size(self) -> int:
        """Number of tokens; every id is below it."""
        return len(self.tokens)

    @property
    def fingerprint(self) -> str:
        """Names the tokenizer by all that it does: tokenizers with the same one give the same ids."""
        return hashlib.sha256(json.dumps(self._to_json(), sort_keys=True).encode()).hexdigest()

    def token_to_id(self, token: str | bytes) -> int:
        """The place of a token.

        Raises:
            ValueError: there is no such token.
        """
        ids = self.special_tokens if token in self.special_tokens else self._ordinary
        if token not in ids:
            raise ValueError(f"token ({token!r}) must be one of the {self.vocab_size} tokens")
        return ids[token]

    def id_to_token(self, id: int) -> str | bytes:
        """The token at a place.

        Raises:
            ValueError: not an integer from 0 to ``vocab_size - 1``.
        """
        try:
            place = operator.index(id)
        except TypeError:
            place = None
        if place is None or isinstance(id, bool):
            raise ValueError(f"id ({id!r}) must be an integer, not {type(id).__name__}")
        if not 0 <= place < self.vocab_size:
            raise ValueError(f"id ({place}) must be at least 0 and below vocab_size ({self.vocab_size})")
        return self.tokens[place]

    def encode(self, text: str, allowed_special: Collection[str] = ()) -> list[int]:
        """The ids of a text.

        Nothing is put around it: who needs an end-of-text or a [CLS] token appends its id.

        Args:
            text: any string without lone surrogates.
            allowed_special: special tokens that are recognised where the text spells them, or "all". Use it
                for texts that you wrote yourself.
        Raises:
            ValueError: the text is not a string or holds a lone surrogate; an allowed token is not special.
        """
        ids: list[int] = []
        for part, special in self._parts(checked_text(text), allowed_special):
            if special:
                ids.append(self.special_tokens[part])
            else:
                for piece in self._split(part):
                    ids.extend(self._cache.get(piece) or self._encode_new(piece))
        return ids

    @abstractmethod
    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """The text of some ids.

        Args:
            ids: integers.
            skip_special: whether special tokens are left out.
        Raises:
            ValueError: an id that is no integer or not in the vocabulary.
        """

    def save(self, path: str | PathLike) -> None:
        """Writes a ``tokenizer.json`` that ``tokenizers.Tokenizer.from_file`` reads too, and gives the same ids.

        That library recognises special tokens in every text; its attribute ``encode_special_tokens`` set to True
        makes it as careful as ``encode``. The file is complete or not there: it is written beside and then renamed.
        """
        write_json(path, self._to_json())

    @classmethod
    def load(cls, path: str | PathLike) -> "Tokenizer":
        """Reads a ``tokenizer.json``, whether written here or by Hugging Face's library.

        Its post-processor, which puts tokens such as [CLS] around a text, is left out.

        Raises:
            ValueError: the file is damaged, or asks for something that this class does not do.
        """
        json = read_json(path)
        try:
            return cls._from_json(json)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{path} is not a complete tokenizer.json: {type(error).__name__} {error}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _parts(self, text: str, allowed: Collection[str]) -> Iterator[tuple[str, bool]]:
        """The text cut at the special tokens that are allowed; of two that start together the longer one counts."""
        allowed = self.special_tokens if allowed == "all" else allowed
        unknown = [token for token in allowed if token not in self.special_tokens]
        if unknown or isinstance(allowed, str):
            given = allowed if isinstance(allowed, str) else unknown[0]
            raise ValueError(f'allowed_special ({given!r}) must be "all" or some of {list(self.special_tokens)}')
        if not allowed:
            yield text, False
            return
        longest_first = "|".join(map(regex.escape, sorted(allowed, key=len, reverse=True)))
        for place, part in enumerate(regex.split(f"({longest_first})", text)):
            yield part, place % 2 == 1  # what the group matched stands between the rest

    def _tokens(self, ids: Iterable[int], skip_special: bool) -> list[str | bytes]:
        tokens = [self.id_to_token(id) for id in ids]
        return [token for token in tokens if not (skip_special and token in self.special_tokens)]

    def _encode_new(self, piece: str) -> list[int]:
        ids = self._encode_piece(piece)
        if len(piece) <= CACHED_LENGTH:
            if len(self._cache) >= CACHED_PIECES:
                self._cache.clear()
            self._cache[piece] = ids
        return ids

    @abstractmethod
    def _split(self, text: str) -> list[str]: ...

    @abstractmethod
    def _encode_piece(self, piece: str) -> list[int]: ...

    @abstractmethod
    def _to_json(self) -> dict: ...

    @classmethod
    @abstractmethod
    def _from_json(cls, json: dict) -> "Tokenizer": ...


def checked_special_tokens(special_tokens: Iterable[str]) -> list[str]:
    """The special tokens as a list.

    Raises:
        ValueError: one string instead of several, an empty one, or one that is there twice.
    """
    if isinstance(special_tokens, str):
        raise ValueError(f"special_tokens ({special_tokens!r}) must be a sequence of strings, not one string")
    listed = [checked_text(token, "special token") for token in special_tokens]
    for place, token in enumerate(listed):
        if not token:
            raise ValueError("special_tokens must not hold an empty string")
        if token in listed[:place]:
            raise ValueError(f"special_tokens must differ from each other, {token!r} is there twice")
    return listed


def checked_vocab_size(vocab_size: int, least: int, why: str) -> int:
    """The vocabulary size itself.

    Raises:
        ValueError: not an integer, or smaller than what every vocabulary holds.
    """
    if not isinstance(vocab_size, int) or isinstance(vocab_size, bool):
        raise ValueError(f"vocab_size ({vocab_size!r}) must be an integer")
    if vocab_size < least:
        raise ValueError(f"vocab_size ({vocab_size}) must be at least {least}: {why}")
    return vocab_size
