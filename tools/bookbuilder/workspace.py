"""Copies the built notebooks to where the student works, and never over what the student has written."""

import hashlib
import json
import shutil
from pathlib import Path

from nbformat.v4 import new_markdown_cell, new_notebook

from .building import as_text
from .manifest import KINDS, Manifest
from .source import write_atomically

RECORD = ".copied.json"
TEXTS = {
    "intro": {
        "en": "Open a lesson, run its cells from top to bottom with **Shift+Enter**, then try its exercises. "
        "Everything here is yours: an update of the book never overwrites what you have changed.",
        "zh": "打开一章的课文，用 **Shift+Enter** 从上到下逐个运行单元，然后做练习。"
        "这里的文件都是你的：更新这本书时，绝不会覆盖你改过的内容。",
    },
    "head": {
        "en": "| | Chapter | Guide | | |\n|---|---|---|---|---|",
        "zh": "| | 章节 | 指南 | | |\n|---|---|---|---|---|",
    },
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
            if beside := _copy(source, target, record, str(target.relative_to(folder).as_posix())):
                said.append(TEXTS["kept"][lang].format(target.relative_to(folder), beside.name))
    page = folder / f"start.{lang}.ipynb"
    write_atomically(page, as_text(start_page(manifest, lang)))
    write_atomically(record_path, json.dumps(record, indent=1, sort_keys=True) + "\n")
    return page, said


def _copy(source: Path, target: Path, record: dict[str, str], name: str) -> Path | None:
    """Copies one file unless the student changed it; returns where a newer edition was put beside it."""
    edition = _hash(source)
    if not target.exists() or _hash(target) == record.get(name):
        _replace(source, target)
        record[name] = edition
    elif _hash(target) != edition and record.get(name) != edition:
        beside = target.with_suffix(".new.ipynb")
        _replace(source, beside)
        return beside
    return None


def _replace(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    part.replace(target)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
            lines.append(f"| {number} | {title} | {', '.join(chapter.guide)} | {links[0]} | {links[1]} |")
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return new_notebook(cells=[new_markdown_cell("\n".join(lines), id="map")], metadata=metadata)
