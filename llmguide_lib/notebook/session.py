"""The state of a notebook: which chapter of the book it is, and in which language it speaks."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class _Session:
    chapter: str | None = None
    lang: str = "en"


_session = _Session()


def enter(chapter: str, lang: str) -> None:
    """Sets both."""
    _session.chapter, _session.lang = chapter, lang


def language() -> str:
    """Language of this notebook: "en" or "zh"."""
    return _session.lang


def chapter() -> str | None:
    """Slug of this notebook's chapter; None where no notebook was started."""
    return _session.chapter


def say(texts: Mapping[str, str]) -> str:
    """The one of ``{"en": ..., "zh": ...}`` that is in the notebook's language."""
    return texts[_session.lang]
