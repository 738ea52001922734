"""Collects the guide's claims that the lessons decide: what is claimed, the verdict, and where it was measured."""

from collections.abc import Iterator
from dataclasses import dataclass

import nbformat

from .manifest import BookError, Chapter

VERDICT = "application/vnd.llmguide.verdict+json"  # llmguide_lib.notebook.verdicts.MIME


@dataclass(frozen=True)
class Claim:
    """A claim of the guide as a lesson decided it."""

    id: str
    chapter: Chapter
    verdict: str  # in English
    text: str  # the prose that follows the verdict, in the notebook's language


def read_claims(chapter: Chapter, lesson: nbformat.NotebookNode) -> list[Claim]:
    """The claims of one lesson, in order.

    Raises:
        BookError: a claim that book.toml lists for the chapter has no stored verdict.
    """
    claims = list(_decided(chapter, lesson))
    if missing := sorted(set(chapter.claims) - {claim.id for claim in claims}):
        raise BookError(
            f"{chapter.slug}/lesson: claim {missing[0]} has no stored verdict; end the cell before its prose in "
            f'decide("{missing[0]}", ...) and run: tools/book.py build {chapter.slug}'
        )
    return claims


def _decided(chapter: Chapter, lesson: nbformat.NotebookNode) -> Iterator[Claim]:
    for before, cell in zip(lesson.cells, lesson.cells[1:], strict=False):
        claim = cell.metadata.llmguide.get("claim")
        for output in before.get("outputs", ()):
            verdict = output.get("data", {}).get(VERDICT)
            if claim and verdict and verdict["claim"] == claim:
                yield Claim(claim, chapter, verdict["verdict"], cell.source)
