"""The chapter table of the READMEs: titles and states from the manifest, seconds and memory as last measured."""

import json
import re
from pathlib import Path

from .manifest import LANGUAGES, BookError, Chapter, Manifest
from .source import write_atomically

TABLE = re.compile(r"(<!-- chapters: [^>]*-->\n).*?(<!-- end of chapters -->)", re.DOTALL)
TEXTS = {
    "head": {
        "en": "| | chapter | sections of the guide | lesson | solved exercises |",
        "zh": "| | 章节 | 对应指南 | 课文 | 练习（含解答） |",
    },
    "planned": {"en": "planned", "zh": "计划中"},
    "draft": {"en": "in the making", "zh": "编写中"},
    "figures": {"en": "{seconds:g} s, {peak_mb} MB", "zh": "{seconds:g} 秒，{peak_mb} MB"},
    "unmeasured": {"en": "not measured", "zh": "未测量"},
}


def files(manifest: Manifest) -> dict[str, Path]:
    """The READMEs that there are, by language."""
    named = {lang: manifest.root / ("README.md" if lang == "en" else f"README.{lang}.md") for lang in LANGUAGES}
    return {lang: path for lang, path in named.items() if path.exists()}


def update(manifest: Manifest) -> list[Path]:
    """Writes the table into every README; returns those that changed."""
    return [path for lang, path in files(manifest).items() if write_atomically(path, fresh(manifest, path, lang))]


def fresh(manifest: Manifest, path: Path, lang: str) -> str:
    """The README as it should be.

    Raises:
        BookError: it has no place for the table.
    """
    text = path.read_text(encoding="utf-8")
    if not TABLE.search(text):
        raise BookError(
            f"{path}:1: no table of chapters; put `<!-- chapters: -->` and `<!-- end of chapters -->` there"
        )
    return TABLE.sub(lambda found: f"{found[1]}{table(manifest, lang)}\n{found[2]}", text)


def table(manifest: Manifest, lang: str) -> str:
    """One row per chapter."""
    results = manifest.root / "benchmarks" / "results" / "chapters.json"
    figures = json.loads(results.read_text(encoding="utf-8"))["figures"] if results.exists() else {}
    rows = [_row(chapter, figures.get(chapter.slug), lang) for chapter in manifest.chapters]
    return "\n".join([TEXTS["head"][lang], "|---|---|---|---|---|", *rows])


def _row(chapter: Chapter, figures: dict | None, lang: str) -> str:
    number = int(chapter.slug.split("_")[0])
    cells = [TEXTS[chapter.status][lang], ""] if not chapter.finished else [TEXTS["unmeasured"][lang]] * 2
    if chapter.finished and figures:
        cells = [TEXTS["figures"][lang].format(**figures[kind]) for kind in ("lesson", "exercises")]
    return f"| {number} | {chapter.title[lang]} | {', '.join(chapter.guide)} | {cells[0]} | {cells[1]} |"
