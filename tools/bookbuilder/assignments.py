"""Makes nbgrader's course from the exercises, and runs nbgrader over what students handed in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from .building import as_text
from .execute import code_cells
from .manifest import LANGUAGES, BookError, Chapter, Manifest
from .notebooks import Edition, compose
from .source import Source, read_source, write_atomically

SCHEMA_VERSION = 3


def assignment_id(chapter: Chapter, lang: str) -> str:
    """One assignment per language: two notebooks in one would double the points."""
    return f"{chapter.slug}-{lang}"


def make_assignments(manifest: Manifest, course: Path) -> list[Path]:
    """Writes the course directory: configuration and one source notebook per finished chapter and language."""
    course.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(manifest.root / "classroom" / "nbgrader_config.py", course / "nbgrader_config.py")
    paths = []
    for chapter in manifest.finished:
        source = read_source(manifest.source(chapter, "exercises"))
        for lang in LANGUAGES:
            name = assignment_id(chapter, lang)
            path = course / "source" / name / f"{name}.ipynb"
            write_atomically(path, as_text(assignment(manifest, chapter, source, lang)))
            paths.append(path)
    return paths


def assignment(manifest: Manifest, chapter: Chapter, source: Source, lang: str) -> nbformat.NotebookNode:
    """The exercises as nbgrader wants them: stubs to fill in, checks that cannot be edited, graded cells."""
    notebook = compose(manifest, chapter, source, lang, Edition.ASSIGNMENT)
    for cell in code_cells(notebook):
        options = cell.metadata.llmguide
        if "answer" in options:
            cell.metadata["nbgrader"] = _nbgrader(f"answer-{options.exercise}", solution=True, locked=False)
        elif "points" in options:
            cell.metadata["nbgrader"] = {**_nbgrader(cell.id, grade=True), "points": options.points}
        else:
            cell.metadata["nbgrader"] = _nbgrader(cell.id)
    return notebook


def _nbgrader(grade_id: str, *, grade: bool = False, solution: bool = False, locked: bool = True) -> dict:
    return {
        "grade": grade,
        "grade_id": grade_id,
        "locked": locked,
        "schema_version": SCHEMA_VERSION,
        "solution": solution,
        "task": False,
    }


def release(course: Path) -> list[Path]:
    """Makes what students get of every assignment that was not released before; returns all released notebooks.

    A released assignment stays as it is, so that an update of the book in mid-term changes nobody's exercises.

    Raises:
        BookError: nbgrader failed; the message holds the end of what it said.
    """
    for source in sorted((course / "source").iterdir()):
        if not (course / "release" / source.name).exists():
            nbgrader(course, "generate_assignment", source.name, "--create")
    return sorted((course / "release").glob("*/*.ipynb"))


def grade(course: Path) -> Path:
    """Grades everything under ``submitted/``; writes feedback and ``grades.csv``.

    Raises:
        BookError: nbgrader failed; the message holds the end of what it said.
    """
    for released in release(course):
        name = released.parent.name
        if any(course.glob(f"submitted/*/{name}")):
            nbgrader(course, "autograde", name)
            nbgrader(course, "generate_feedback", name)
    grades = course / "grades.csv"
    nbgrader(course, "export", "--to", str(grades))
    return grades


def nbgrader(course: Path, *arguments: str) -> str:
    """Runs one nbgrader command in the course directory and returns what it said."""
    # nbgrader finds alembic through PATH, so the environment's own programs must come first there.
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    command = [sys.executable, "-m", "nbgrader", *arguments]
    done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise BookError(f"nbgrader {' '.join(arguments)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout + done.stderr
