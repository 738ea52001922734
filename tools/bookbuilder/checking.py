"""Finds everything stale, unpaired, untranslated, oversized or unlisted, with file, line and fix."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from . import readme
from .building import (
    as_text,
    code_hash,
    finish,
    imported_modules,
    library_hash,
    read_notebook,
    take_outputs,
    widget_states,
)
from .execute import PNG, WIDGET, code_cells
from .glossary import Term, foreign_words, read_glossary
from .manifest import KINDS, LANGUAGES, BookError, Chapter, Manifest
from .notebooks import compose, hints
from .source import Item, Problem, Source, read_source

NOTEBOOK_BYTES = 400_000
FIGURE_BYTES = 40_000
WIDGET_BYTES = 50_000
CARD = ("exercise", "difficulty", "minutes", "points")


def check(manifest: Manifest) -> tuple[list[Problem], list[Problem]]:
    """All problems of the book, and all warnings (a lesson whose library changed since it was run).

    A draft is not built and may lack parts; what stands of it is checked like the rest.
    """
    problems = [*_unlisted(manifest), *_readme_problems(manifest)]
    warnings: list[Problem] = []
    terms = read_glossary(manifest.root)
    for chapter in manifest.written:
        sources = {kind: path for kind in KINDS if (path := manifest.source(chapter, kind)).exists()}
        for kind, path in sources.items():
            source = read_source(path)
            problems += [*source.problems, *_item_problems(source), *_foreign_words(source, terms)]
            if chapter.finished:
                problems += _exercise_problems(chapter, source) if kind == "exercises" else _claims(chapter, source)
                problems += _built_problems(manifest, chapter, source)
                if kind == "lesson" and not source.problems:
                    warnings += _library_changed(manifest, chapter, source)
        if chapter.finished:
            problems += _missing(manifest, chapter, sources)
    return problems, warnings


def _missing(manifest: Manifest, chapter: Chapter, sources: dict[str, Path]) -> Iterator[Problem]:
    for kind in KINDS:
        if kind not in sources:
            fix = "write it, or set the chapter's status to draft"
            yield Problem(manifest.source(chapter, kind), 1, "missing", fix)


def _unlisted(manifest: Manifest) -> Iterator[Problem]:
    listed = {chapter.slug for chapter in manifest.written}
    for folder in sorted(path for path in manifest.src.iterdir() if path.is_dir()):
        if folder.name not in listed:
            yield Problem(folder, 1, "not a chapter of book.toml with this status", "list it there or remove it")


def _readme_problems(manifest: Manifest) -> Iterator[Problem]:
    for lang, path in readme.files(manifest).items():
        if readme.fresh(manifest, path, lang) != path.read_text(encoding="utf-8"):
            yield Problem(path, 1, "its table of chapters is stale", "run: tools/book.py build")


def _foreign_words(source: Source, terms: list[Term]) -> Iterator[Problem]:
    for item in source.items:
        if item.zh is not None:
            for word, term in foreign_words(item.zh.text, terms):
                yield item.zh.problem(f"{word} for {term.en!r}", f"the glossary says {term.zh}")


def _item_problems(source: Source) -> Iterator[Problem]:
    """Rules between neighbours: measured then asserted, decided then claimed, drawn then captioned."""
    items = source.items
    for place, item in enumerate(items):
        before = items[place - 1] if place else None
        later = next((other for other in items[place + 1 :] if other.is_code), None)
        if "measured" in item.cell.tags and (later is None or "assert" not in later.cell.text):
            yield item.cell.problem("measured, but not asserted", "state its range with `assert` in the next code cell")
        if "claim" in item.options and (before is None or not _decides(before.cell.text, item.options["claim"])):
            yield item.cell.problem("a claim without its verdict", "end the code cell before it in decide(CLAIM, ...)")
        if item.options.get("role") == "caption" and (before is None or not before.is_code):
            yield item.cell.problem("a caption that follows no code", "put it directly after the cell that draws")


def _decides(code: str, claim: str) -> bool:
    return bool(re.search(rf"""decide\(\s*["']{re.escape(claim)}["']""", code))


def _claims(chapter: Chapter, source: Source) -> Iterator[Problem]:
    decided = {item.options["claim"] for item in source.items if "claim" in item.options}
    for claim in sorted(decided ^ set(chapter.claims)):
        where = "book.toml lists it for the chapter" if claim in chapter.claims else "book.toml does not list it"
        yield Problem(source.path, 1, f"claim {claim}: {where}", "make both agree")


def _exercise_problems(chapter: Chapter, source: Source) -> Iterator[Problem]:
    cards = {item.options.get("exercise"): item for item in source.items if item.options.get("role") == "exercise"}
    answers = {item.options["exercise"]: item for item in source.items if "answer" in item.options}
    hinted = [item for item in source.items if item.options.get("role") == "hints"]
    for name, item in cards.items():
        if missing := [key for key in CARD if key not in item.options]:
            yield item.cell.problem(f"exercise card without {', '.join(missing)}", "add them to the cell's header")
        if name not in answers:
            yield item.cell.problem(
                f"exercise {name!r} without an answer cell", f'write # %% exercise="{name}" answer='
            )
    for item in answers.values():
        if "# BEGIN SOLUTION" not in item.cell.text or "# END SOLUTION" not in item.cell.text:
            yield item.cell.problem(
                "answer cell without a solution", "put it between # BEGIN SOLUTION and # END SOLUTION"
            )
    for item in hinted:
        for cell in filter(None, (item.cell, item.zh)):
            if len(hints(cell.text)) != 3:
                yield cell.problem(f"{len(hints(cell.text))} hints", "write a numbered list of exactly three")
    if len(hinted) != len(cards):
        yield Problem(source.path, 1, f"{len(cards)} exercises, {len(hinted)} cells of hints", "write one for each")
    total = sum(item.options.get("points", 0) for item in cards.values())
    if total != chapter.points:
        yield Problem(source.path, 1, f"{total} points, book.toml says {chapter.points}", "make both agree")


def _built_problems(manifest: Manifest, chapter: Chapter, source: Source) -> Iterator[Problem]:
    kind = source.path.stem
    rebuild = f"run: tools/book.py build {chapter.slug}"
    stored = {lang: read_notebook(manifest.notebook(chapter, kind, lang)) for lang in LANGUAGES}
    for lang, notebook in stored.items():
        path = manifest.notebook(chapter, kind, lang)
        if notebook is None:
            yield Problem(path, 1, "missing or not a notebook", rebuild)
            return
        try:
            fresh = compose(manifest, chapter, source, lang)
        except BookError as error:
            yield Problem(source.path, 1, str(error), "mend it, then build")
            return
        if code_hash(fresh) != code_hash(notebook):
            yield Problem(path, 1, "its code differs from the script", rebuild)
            return
        outputs = stored["en"] if kind == "lesson" else notebook  # a lesson's are the English ones in both languages
        take_outputs(fresh, outputs)
        finish(fresh, fresh if lang == "en" else outputs, source, lang)
        if as_text(fresh) != path.read_text(encoding="utf-8"):
            yield Problem(path, 1, "its prose or its outputs differ from what the script builds", rebuild)
        yield from _size_problems(path, notebook)
        yield from _output_problems(path, notebook, source)


def _size_problems(path: Path, notebook: nbformat.NotebookNode) -> Iterator[Problem]:
    if (size := path.stat().st_size) > NOTEBOOK_BYTES:
        yield Problem(path, 1, f"{size} bytes, more than {NOTEBOOK_BYTES}", "show less or draw smaller")
    for cell in code_cells(notebook):
        for output in cell.outputs:
            size = len(base64.b64decode(output.get("data", {}).get(PNG, "")))
            if size > FIGURE_BYTES:
                yield Problem(
                    path, 1, f"figure of cell {cell.id!r}: {size} bytes, more than {FIGURE_BYTES}", "simplify"
                )
    size = len(str(widget_states(notebook)).encode())
    if size > WIDGET_BYTES:
        yield Problem(path, 1, f"widgets: {size} bytes of state, more than {WIDGET_BYTES}", "give them less data")


def _output_problems(path: Path, notebook: nbformat.NotebookNode, source: Source) -> Iterator[Problem]:
    """Stored outputs serve both languages and every machine: no prose, no path, a caption to every picture."""
    items: dict[str, Item] = {item.id: item for item in source.items}
    captioned = {
        before.id for before, item in zip(source.items, source.items[1:], strict=False)
        if item.options.get("role") == "caption"
    }  # fmt: skip
    for cell in code_cells(notebook):
        if source.path.stem == "lesson" and not cell.outputs and (cell.id in captioned or "decide(" in cell.source):
            fix = "run: tools/book.py build CHAPTER --all"
            yield items[cell.id].cell.problem("its stored output is gone", fix)
        for output in cell.outputs:
            data = output.get("data", {})
            if (PNG in data or WIDGET in data) and cell.id not in captioned:
                line = items[cell.id].cell
                yield line.problem("a picture or explorer without caption", 'follow it with a role="caption" pair')
            text = output.get("text", "") + str(data.get("text/plain", ""))
            if found := re.search(r"/(home|tmp|root|Users)/|[A-Z]:\\", text):
                yield items[cell.id].cell.problem(f"its output holds a path ({found[0]})", "print no paths")


def _library_changed(manifest: Manifest, chapter: Chapter, source: Source) -> Iterator[Problem]:
    path = manifest.notebook(chapter, "lesson", "en")
    notebook = read_notebook(path)
    if notebook is not None and notebook.metadata.llmguide.get("library") != library_hash(manifest, source):
        what = f"the library ({', '.join(imported_modules(source))}) changed since this lesson was run"
        yield Problem(path, 1, what, f"run: tools/book.py build {chapter.slug} --all")
