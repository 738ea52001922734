"""What a notebook calls besides the subject itself: its start, its language, its printing, its verdicts."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

LANGUAGES = ("en", "zh")


@dataclass
class _Session:
    chapter: str | None = None
    lang: str = "en"


_session = _Session()


def start(chapter: str, lang: str = "en") -> None:
    """Opens a notebook of the book: checks the installation and sets chapter and language. Silent when all is right.

    Args:
        chapter: slug of the chapter, as in book.toml; checks and marks look exercises up under it.
        lang: language of checks, explorers and progress, "en" or "zh".
    Raises:
        ValueError: ``lang`` is not a language of the book.
    """
    if lang not in LANGUAGES:
        raise ValueError(f"lang ({lang!r}) must be one of {LANGUAGES}")
    _session.chapter, _session.lang = chapter, lang
    import torch

    torch.set_printoptions(precision=4, sci_mode=False)


def language() -> str:
    """Language of this notebook: "en" or "zh"."""
    return _session.lang


def chapter() -> str | None:
    """Slug of this notebook's chapter; None outside one."""
    return _session.chapter


def say(texts: Mapping[str, str]) -> str:
    """The text in the notebook's language.

    Args:
        texts: ``{"en": ..., "zh": ...}``.
    """
    return texts[_session.lang]
