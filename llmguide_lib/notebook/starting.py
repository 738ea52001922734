"""What the first cell of every notebook does."""

import importlib.util

from ..training.progress import show_with
from .live import training_view
from .session import enter, say

LANGUAGES = ("en", "zh")
NEEDED = ("torch", "matplotlib", "ipywidgets")
LACKING = {
    "en": "this installation lacks {packages}; run `make lab` (or `python tools/setup.py lab`) in the book's folder, "
    "or `pip install 'llmguide-lib[lab]'`",
    "zh": "当前环境缺少 {packages}；请在书的目录里运行 `make lab`（或 `python tools/setup.py lab`），"
    "也可以 `pip install 'llmguide-lib[lab]'`",
}
COMMA = {"en": ", ", "zh": "、"}


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
    enter(chapter, lang)
    show_with(training_view)
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ImportError(say(LACKING).format(packages=say(COMMA).join(missing)))
