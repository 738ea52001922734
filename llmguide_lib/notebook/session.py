"""The state of a notebook: which chapter of the book it is, and in which language it speaks."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from ..training.progress import show_with

LANGUAGES = ("en", "zh")
NEEDED = ("torch", "matplotlib", "ipywidgets")


@dataclass
class _Session:
    chapter: str | None = None
    lang: str = "en"


_session = _Session()


def start(chapter: str, lang: str = "en") -> None:
    """Opens a notebook of the book: sets chapter and language, checks the installation. Silent when all is right.

    Args:
        chapter: slug of the chapter, as in book.toml; checks and marks look exercises up under it.
        lang: language of checks, explorers and progress, "en" or "zh".
    Raises:
        ValueError: ``lang`` is not a language of the book.
        ImportError: a package that the notebooks need is not installed; the message says what to do.
    """
    if lang not in LANGUAGES:
        raise ValueError(f"lang ({lang!r}) must be one of {LANGUAGES}")
    from .live import training_view  # which speaks the language that is set here

    _session.chapter, _session.lang = chapter, lang
    show_with(training_view)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            say(
                {
                    "en": f"this installation lacks {', '.join(missing)}; run `make lab` (or `python tools/setup.py "
                    "lab`) in the book's folder, or `pip install 'llmguide-lib[lab]'`",
                    "zh": f"当前环境缺少 {'、'.join(missing)}；请在书的目录里运行 `make lab`"
                    "（或 `python tools/setup.py lab`），也可以 `pip install 'llmguide-lib[lab]'`",
                }
            )
        )


def language() -> str:
    """Language of this notebook: "en" or "zh"."""
    return _session.lang


def chapter() -> str | None:
    """Slug of this notebook's chapter; None where no notebook was started."""
    return _session.chapter


def say(texts: Mapping[str, str]) -> str:
    """The one of ``{"en": ..., "zh": ...}`` that is in the notebook's language."""
    return texts[_session.lang]
