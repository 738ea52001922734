"""The course's terms in both languages and in code, and where a Chinese text uses another word for one of them."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .manifest import BookError

FILE = Path("llmguide_lib") / "data" / "glossary.toml"


@dataclass(frozen=True)
class Term:
    """One term: its names in both languages and in code, the chapter that explains it, Chinese words not to use."""

    en: str
    zh: str
    chapter: str
    here: str = ""
    symbol: str = ""
    hugging_face: str = ""
    torch: str = ""
    avoid: tuple[str, ...] = ()


def read_glossary(root: Path) -> list[Term]:
    """The book's terms, in the order of the file; none where a book has no glossary.

    Raises:
        BookError: a term is listed twice, or lacks a name.
    """
    path = root / FILE
    if not path.exists():
        return []
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("term", [])
    terms: dict[str, Term] = {}
    for entry in entries:
        try:
            term = Term(**{**entry, "avoid": tuple(entry.get("avoid", ()))})
        except TypeError as error:
            raise BookError(f"{path}: term {entry.get('en', entry)!r}: {error}") from None
        if term.en in terms:
            raise BookError(f"{path}: term {term.en!r} is listed twice")
        terms[term.en] = term
    return list(terms.values())


def foreign_words(text: str, terms: list[Term]) -> Iterator[tuple[str, Term]]:
    """The words of a Chinese text that the glossary replaces by others; code does not count."""
    prose = re.sub(r"`[^`]*`", "", text)
    for term in terms:
        for word in term.avoid:
            if word in prose:
                yield word, term
