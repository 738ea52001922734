"""The corpus once more, with the objects: what each document documents, its signature and its source."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from .documents import Document, listed
from .installation import Docstring

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Record(Document):
    """A document and the object that it documents.

    ``kind`` is one of OBJECT_KINDS; a builtin is an object written in C whose documentation Python code attaches.
    ``signature`` is empty for modules and builtins. ``docstring`` is as it stands in the source. ``source`` is
    the code of a function, method or property without its docstring, as if it stood at the left margin; empty for
    everything else, and where the docstring is all there is.
    """

    kind: str
    signature: str
    docstring: str
    source: str

    @classmethod
    def of(cls, library: str, docstring: Docstring, text: str) -> "Record":
        """What the corpus holds of a docstring with this cleaned text."""
        row = (library, docstring.module, docstring.name, text, docstring.kind)
        return cls(*row, _signature(docstring.node), docstring.text, _source(docstring.node, docstring.lines))


def records(split: str = "train", libraries: Sequence[str] | None = None) -> list[Record]:
    """The records of one split: the same documents in the same order as ``documentation``, with their objects.

    A record belongs to the corpus if its cleaned text does, so documents and records have the same splits. They are
    kept in a cache of their own, because most readers of documents do not need four times as much.

    Args:
        split: "train", "validation" or "test".
        libraries: some of LIBRARIES; None means all. Fewer are read sooner.
    Raises:
        ValueError: an unknown split or library, or not one listed document of these libraries was found.
    Warns:
        UserWarning: a part of the documents was not found; says how much and why.
    """
    return listed(Record, split, libraries)


def _signature(node: ast.AST | None) -> str:
    """As in ``name(x, y=1) -> int``, or the name and bases of a class."""
    if isinstance(node, ast.ClassDef):
        return f"{node.name}({', '.join(map(ast.unparse, node.bases))})" if node.bases else node.name
    if not isinstance(node, _FUNCTION):
        return ""
    return f"{node.name}({ast.unparse(node.args)})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


def _source(node: ast.AST | None, lines: list[bytes]) -> str:
    # Lines are sliced: ast.get_source_segment splits the whole file anew for every function.
    if not isinstance(node, _FUNCTION) or len(node.body) < 2:
        return ""
    docstring, following = node.body[:2]
    before = lines[docstring.lineno - 1][: docstring.col_offset]
    if before.strip() or following.lineno <= docstring.end_lineno:
        return ""  # they share a line
    start = min(part.lineno for part in [node, *node.decorator_list])
    kept = lines[start - 1 : docstring.lineno - 1] + lines[docstring.end_lineno : node.end_lineno]
    margin = node.col_offset
    cut = [line[margin:] if not line[:margin].strip() else line for line in kept]
    return b"\n".join(cut).decode(errors="replace")
