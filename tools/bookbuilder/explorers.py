"""Collects the explorers that stand in the lessons: which they are, and where."""

from collections.abc import Iterator
from dataclasses import dataclass

import nbformat

from .execute import STATE, WIDGET
from .manifest import BookError, Chapter, Manifest
from .pages import sections


@dataclass(frozen=True)
class Place:
    """Where an explorer stands."""

    explorer: str  # its module, a file of llmguide_lib/widgets without .js
    chapter: Chapter
    anchor: str
    section: str  # the heading above it, in the notebook's language


def read_explorers(manifest: Manifest, chapter: Chapter, lesson: nbformat.NotebookNode) -> list[Place]:
    """The explorers of one lesson, in order.

    Raises:
        BookError: book.toml does not say what one of them shows.
    """
    places = list(_placed(chapter, lesson))
    if unknown := [place.explorer for place in places if place.explorer not in manifest.explorers]:
        raise BookError(f"{chapter.slug}/lesson: book.toml's [explorers] does not say what {unknown[0]!r} shows")
    return places


def _placed(chapter: Chapter, lesson: nbformat.NotebookNode) -> Iterator[Place]:
    stored = lesson.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    anchor = section = ""
    for cell in lesson.cells:
        anchor, section = [(anchor, section), *sections(cell)][-1]
        for output in cell.get("outputs", ()):
            view = output.get("data", {}).get(WIDGET)
            if view and (explorer := stored[view["model_id"]]["state"].get("explorer")):
                yield Place(explorer, chapter, anchor, section)
