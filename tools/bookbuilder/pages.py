"""Turns a committed notebook into a page of the site: the same cells, with anchors, boxes and solutions.

Notebook prose is CommonMark. What the site adds is written as plain HTML around it; only a heading's anchor needs
a line of MyST, a class that site/conf.py makes the section's id. Anchors come from the cells' ids, so that both
languages have the same ones.
"""

import html
import re
from collections.abc import Iterator

import nbformat
from markdown_it import MarkdownIt
from nbformat.v4 import new_markdown_cell

from .claims import VERDICT
from .execute import PNG, WIDGET, code_cells
from .manifest import Chapter, Manifest
from .notebooks import solved_notebook

BOXES = {"caption", "prediction", "exercise", "deeper"}
NOTEBOOK_LINK = re.compile(r"(?<=\]\()([^)\s#]+)\.(?:en|zh)\.ipynb")
PARSER = MarkdownIt("commonmark")
TEXTS = {
    "solution": {"en": "Solution", "zh": "参考答案"},
    "deeper": {"en": "Deeper: may be skipped", "zh": "深入内容，可以跳过"},
    "noscript": {
        "en": "This explorer needs JavaScript. What it shows is described below.",
        "zh": "这个交互图需要 JavaScript。它展示的内容见下面的说明。",
    },
}


def read_solutions(manifest: Manifest, chapter: Chapter, lang: str) -> dict[str, str]:
    """Code of each exercise's solution by the exercise's name; none where the book leaves them out."""
    if not manifest.solutions:
        return {}
    answers = [cell for cell in code_cells(solved_notebook(manifest.root, chapter.slug, lang)) if _is_answer(cell)]
    return {cell.metadata.llmguide.exercise: cell.source for cell in answers}


def _is_answer(cell: nbformat.NotebookNode) -> bool:
    return "answer" in cell.metadata.llmguide


def make_page(notebook: nbformat.NotebookNode, lang: str, solutions: dict[str, str]) -> None:
    """Changes the notebook in place to what the site shows; a solution is folded after the hints of its exercise."""
    cells: list[nbformat.NotebookNode] = []
    exercise = ""
    fold_results(notebook)
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "code":
            cells += _after_outputs(cell, lang)
            exercise = cell.metadata.llmguide.exercise if _is_answer(cell) else exercise
            continue
        cell.source = _dressed(cell, lang)
        if cell.metadata.llmguide.get("role") == "hints" and exercise in solutions:
            cells.append(_markup(_folded(solutions[exercise], lang)))
    notebook.cells = cells


def fold_results(notebook: nbformat.NotebookNode) -> None:
    """Folds what answers a prediction: the results of the code up to the next prose, unless there is none yet."""
    waiting = folded = False
    for cell in notebook.cells:
        role = cell.metadata.llmguide.get("role")
        if cell.cell_type != "code":
            waiting, folded = role == "prediction" or (waiting and (not folded or role == "caption")), False
        elif waiting and cell.outputs and not any(WIDGET in output.get("data", {}) for output in cell.outputs):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-output"]
            folded = True


def _folded(code: str, lang: str) -> str:
    summary = f'<details class="llm-solution"><summary>{TEXTS["solution"][lang]}</summary>'
    return f"{summary}\n\n```python\n{code}\n```\n\n</details>"


def _after_outputs(cell: nbformat.NotebookNode, lang: str) -> list[nbformat.NotebookNode]:
    """Makes outputs fit MyST-NB; returns what follows an explorer: a sentence for readers without JavaScript."""
    shown, still = set(), ""
    for output in cell.outputs:
        data = output.get("data", {})
        if WIDGET in data:
            still += data.pop("text/html", "")
        data.pop(VERDICT, None)  # its text stands beside it
        shown |= data.keys()
        if alternative := output.get("metadata", {}).get(PNG, {}).get("alt"):
            cell.metadata["mystnb"] = {"image": {"alt": alternative}}
    if WIDGET not in shown:
        return []
    return [_markup(f'<div class="llm-noscript"><noscript>{TEXTS["noscript"][lang]}{still}</noscript></div>')]


def _markup(text: str) -> nbformat.NotebookNode:
    return new_markdown_cell(text, metadata={"llmguide": {}})


def anchor(cell: nbformat.NotebookNode) -> str:
    """The cell's anchor on the page: readable where the cell has a name, the same in both languages everywhere."""
    options = cell.metadata.llmguide
    if options.get("role") == "exercise":
        return f"exercise-{options.exercise}"
    return f"claim-{options.claim}" if "claim" in options else f"cell-{cell.id}" if cell.id[0].isdigit() else cell.id


def _dressed(cell: nbformat.NotebookNode, lang: str) -> str:
    """The prose with an anchor before each heading and the box of the cell's role around what is between them."""
    lines = NOTEBOOK_LINK.sub(r"\1.ipynb", cell.source).splitlines()
    options, pieces, done = cell.metadata.llmguide, [], 0
    for name, (start, stop) in _headings(cell):
        pieces += [_boxed(lines[done:start], options, lang), f'{{class="anchor-{name}"}}', *lines[start:stop], ""]
        done = stop
    return "\n".join([*pieces, _boxed(lines[done:], options, lang)])


def sections(cell: nbformat.NotebookNode) -> Iterator[tuple[str, str]]:
    """Anchor and heading of each section that begins in the cell."""
    lines = cell.source.splitlines()
    for name, (start, _) in _headings(cell):
        yield name, lines[start].lstrip("# ")


def _headings(cell: nbformat.NotebookNode) -> Iterator[tuple[str, tuple[int, int]]]:
    """Anchor, first line, and the line after the last, of each heading; a # inside a code block is none."""
    tokens = PARSER.parse(cell.source) if cell.cell_type == "markdown" else []
    maps = (token.map for token in tokens if token.type == "heading_open" and token.level == 0)
    for count, (start, stop) in enumerate(maps, 1):
        yield (anchor(cell) if count == 1 else f"{anchor(cell)}-{count}"), (start, stop)


def _boxed(lines: list[str], options: dict, lang: str) -> str:
    text = "\n".join(lines).strip()
    role = "claim" if "claim" in options else options.get("role")
    if not text or role not in BOXES | {"claim"}:
        return text + "\n"
    name = f' id="claim-{html.escape(options["claim"])}"' if role == "claim" else ""
    label = f'<p class="llm-label">{TEXTS["deeper"][lang]}</p>\n' if role == "deeper" else ""
    return f'<div class="llm-{role}"{name}>\n{label}\n{text}\n\n</div>\n'
