"""Builds the committed notebooks: composes both languages, runs the English lesson where its code changed."""

import ast
import copy
import hashlib
from collections.abc import Iterator
from pathlib import Path

import nbformat

from llmguide_lib.notebook.verdicts import MIME as VERDICT
from llmguide_lib.notebook.verdicts import in_chinese

from .execute import PNG, STATE, code_cells, execute
from .manifest import KINDS, LANGUAGES, BookError, Chapter, Manifest
from .notebooks import compose
from .source import Item, Source, read_source, write_atomically


def build(manifest: Manifest, slugs: list[str], *, run_all: bool = False) -> Iterator[Path]:
    """Writes the notebooks of the chapters; yields those that changed.

    A lesson is run whole when any of its code changed, or with ``run_all``. Each file is replaced
    in one step, so an interruption leaves the old notebook or the new one, never half of one.
    """
    for chapter in manifest.finished:
        if slugs and chapter.slug not in slugs:
            continue
        for kind in KINDS:
            yield from _build_pair(manifest, chapter, kind, run_all)


def _build_pair(manifest: Manifest, chapter: Chapter, kind: str, run_all: bool) -> Iterator[Path]:
    source = read_source(manifest.source(chapter, kind))
    english = compose(manifest, chapter, source, "en")
    if kind == "lesson":
        stored = read_notebook(manifest.notebook(chapter, kind, "en"))
        if run_all or stored is None or code_hash(stored) != code_hash(english):
            try:
                execute(english)
            except BookError as error:
                raise BookError(f"{source.path}: {error}") from None
            english.metadata.llmguide["library"] = library_hash(manifest, source)
        else:
            take_outputs(english, stored)
    for lang in LANGUAGES:
        notebook = english if lang == "en" else compose(manifest, chapter, source, lang)
        finish(notebook, english, source, lang)
        path = manifest.notebook(chapter, kind, lang)
        if write_atomically(path, as_text(notebook)):
            yield path


def finish(notebook: nbformat.NotebookNode, english: nbformat.NotebookNode, source: Source, lang: str) -> None:
    """Gives a language's notebook the English outputs in its own: captions as alternatives, verdicts, widgets."""
    if notebook is not english:
        take_outputs(notebook, english)
    alternatives = captions(source, lang)
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if PNG in output.get("data", {}):
                output.metadata[PNG] = {"alt": alternatives.get(cell.id, "")}
            if VERDICT in output.get("data", {}) and lang == "zh":
                output.data["text/plain"] = in_chinese(output.data["text/plain"])
    for model in widget_states(notebook).values():
        if "lang" in model["state"]:
            model["state"]["lang"] = lang


def take_outputs(notebook: nbformat.NotebookNode, stored: nbformat.NotebookNode) -> None:
    """Copies outputs, counts and widget states from a notebook with the same code."""
    for cell, old in zip(code_cells(notebook), code_cells(stored), strict=True):
        cell.outputs = copy.deepcopy(old.outputs)
        cell.execution_count = old.execution_count
    if "widgets" in stored.metadata:
        notebook.metadata["widgets"] = copy.deepcopy(stored.metadata.widgets)
    if "library" in stored.metadata.get("llmguide", {}):
        notebook.metadata.llmguide["library"] = stored.metadata.llmguide.library


def captions(source: Source, lang: str) -> dict[str, str]:
    """Text alternative of each drawing cell, by the cell's id: the caption that follows it."""
    found: dict[str, str] = {}
    previous: Item | None = None
    for item in source.items:
        if item.options.get("role") == "caption" and previous is not None and previous.is_code:
            found[previous.id] = " ".join(item.text(lang).replace("*", "").replace("$", "").replace("`", "").split())
        previous = item
    return found


def widget_states(notebook: nbformat.NotebookNode) -> dict:
    """The stored widget models, by id."""
    return notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """Hash of all code; notebooks with the same one have the same outputs."""
    return _hash("\0".join(f"{cell.id}\0{cell.source}" for cell in code_cells(notebook)))


def imported_modules(source: Source) -> list[str]:
    """The modules of the library that a script's code cells import, without what those import in turn."""
    names: set[str] = set()
    for node in (node for item in source.items if item.is_code for node in ast.walk(ast.parse(item.cell.text))):
        if isinstance(node, ast.ImportFrom) and node.module == "llmguide_lib":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llmguide_lib."):
            names.add(node.module.split(".")[1])
    return sorted(names)


def library_hash(manifest: Manifest, source: Source) -> str:
    """Hash of the library's modules that a lesson imports. JavaScript does not count: it changes no stored output."""
    files: list[Path] = []
    for module in imported_modules(source):
        stem = manifest.root / "llmguide_lib" / module
        files += sorted(stem.rglob("*.py")) if stem.is_dir() else [stem.with_suffix(".py")]
    return _hash("\0".join(path.read_text(encoding="utf-8") for path in files))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_notebook(path: Path) -> nbformat.NotebookNode | None:
    """A stored notebook; None where there is none or it cannot be read."""
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (FileNotFoundError, ValueError):
        return None


def as_text(notebook: nbformat.NotebookNode) -> str:
    """The notebook as it is stored: valid, keys sorted, one trailing line end.

    Raises:
        BookError: it does not fit the notebook format.
    """
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        raise BookError(f"not a valid notebook: {error.message}") from None
    return nbformat.writes(notebook).rstrip("\n") + "\n"
