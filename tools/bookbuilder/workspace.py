"""Copies the built notebooks to where the student works, and never over what the student has written."""

import hashlib
import json
from pathlib import Path

from nbformat.v4 import new_markdown_cell, new_notebook

from .building import as_text, read_notebook
from .execute import code_cells
from .manifest import KINDS, BookError, Manifest
from .source import write_atomically

RECORD = ".copied.json"
TEXTS = {
    "intro": {
        "en": "Open a lesson, run its cells from top to bottom with **Shift+Enter**, then try its exercises. "
        "Everything here is yours: an update of the book never overwrites what you have changed.",
        "zh": "打开一章的课文，用 **Shift+Enter** 从上到下逐个运行单元格，然后做练习。"
        "这里的文件都是你的：更新这本书时，绝不会覆盖你改过的内容。",
    },
    "head": {
        "en": "| No. | Chapter | Guide | Lesson | Exercises |\n|:--|:--|:--|:--|:--|",
        "zh": "| 章 | 标题 | 指南 | 课文 | 练习 |\n|:--|:--|:--|:--|:--|",
    },
    "comma": {"en": ", ", "zh": "、"},
    "lesson": {"en": "lesson", "zh": "课文"},
    "exercises": {"en": "exercises", "zh": "练习"},
    "planned": {"en": "planned", "zh": "计划中"},
    "kept": {
        "en": "{0}: you have changed it, so it stays; the new edition is beside it as {1}",
        "zh": "{0}：你改过它，所以保持不动；新版放在旁边：{1}",
    },
}


def make_workspace(manifest: Manifest, folder: Path, lang: str) -> tuple[Path, list[str]]:
    """Copies the notebooks of one language; returns the start page and a sentence for each kept file.

    A file that is still as it was copied is renewed; a changed one stays, and where the book has a
    newer edition than the one copied, that is put beside it as NAME.new.ipynb.
    """
    record_path = folder / RECORD
    record = json.loads(record_path.read_text(encoding="utf-8")) if record_path.exists() else {}
    said: list[str] = []
    for chapter in manifest.finished:
        for kind in KINDS:
            source = manifest.notebook(chapter, kind, lang)
            target = folder / chapter.slug / source.name
            if beside := _copy(unrun(source), target, record, target.relative_to(folder).as_posix()):
                said.append(TEXTS["kept"][lang].format(target.relative_to(folder), beside.name))
    page = folder / f"start.{lang}.ipynb"
    write_atomically(page, as_text(start_page(manifest, lang)))
    write_atomically(record_path, json.dumps(record, indent=1, sort_keys=True) + "\n")
    return page, said


def unrun(path: Path) -> str:
    """A notebook as if no cell had been run: who is asked for a prediction must not see the result."""
    notebook = read_notebook(path)
    if notebook is None:
        raise BookError(f"{path}: missing or not a notebook; run: tools/book.py build")
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)
    return as_text(notebook)


def _copy(edition: str, target: Path, record: dict[str, str], name: str) -> Path | None:
    """Writes one file unless the student changed it; returns where a newer edition was put beside it."""
    hashed = _hash(edition.encode())
    mine = _hash(target.read_bytes()) if target.exists() else None
    if mine is None or mine == record.get(name):
        write_atomically(target, edition)
        record[name] = hashed
    elif mine != hashed and record.get(name) != hashed:
        beside = target.with_suffix(".new.ipynb")
        write_atomically(beside, edition)
        return beside
    return None


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def start_page(manifest: Manifest, lang: str):
    """The map of the course as a notebook: what is there, with links, and what is planned."""
    lines = [f"# {manifest.title[lang]}", "", TEXTS["intro"][lang]]
    for part in manifest.parts:
        lines += ["", f"## {part.title[lang]}", "", TEXTS["head"][lang]]
        for chapter in part.chapters:
            number, title = chapter.number, chapter.title[lang]
            links = [TEXTS["planned"][lang], ""]
            if chapter.finished:
                links = [f"[{TEXTS[kind][lang]}]({chapter.slug}/{kind}.{lang}.ipynb)" for kind in KINDS]
            lines.append(
                f"| {number} | {title} | {TEXTS['comma'][lang].join(chapter.guide)} | {links[0]} | {links[1]} |"
            )
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return new_notebook(cells=[new_markdown_cell("\n".join(lines), id="map")], metadata=metadata)
