"""The chapters of Python's language reference that ``help("topics")`` lists, as every Python carries them."""

import ast

from . import installation
from .documents import Document
from .prose import clean

_MODULE = "pydoc_data.topics"


def topics() -> list[Document]:
    """The topics of this Python, cleaned, in the order of their names: some seventy, a quarter of a million characters.

    Python's versions word them differently, so they are not in the manifest: they have no split, and nothing
    that is compared to the letter may depend on them. Longer than docstrings and in full sentences, they serve as
    passages to search, or as text to ask about.

    Raises:
        ValueError: this Python has come without them, as some distributions' do.
    """
    folder = installation.locate("stdlib").directory
    file = folder.joinpath(*_MODULE.split(".")).with_suffix(".py")
    try:
        tree = ast.parse(file.read_bytes())
        (table,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.value, ast.Dict)]
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"topics: this Python has no readable {_MODULE}: {error}") from error
    rows = sorted(ast.literal_eval(table).items())
    return [Document("stdlib", _MODULE, name, text) for name, raw in rows if (text := clean(raw))]
