"""Composes notebooks from a script: one script, two languages, three editions of the exercises."""

import re
import textwrap
from enum import Enum
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from .manifest import BookError, Chapter, Manifest, read_manifest
from .source import Item, Source, read_source

# A line break beside Chinese: Markdown would show it as a blank, which Chinese has neither between characters nor
# after its own punctuation. What begins a list, a quotation, a table or a formula keeps its line; what goes on with an
# entry of a list is set in.
CHINESE_BREAK = re.compile(
    r"(?<=[\u3001-\u9fff\uff01-\uff60”])\n(?: {2,})?(?=[\u3001-\u9fff\uff01-\uff60“])"
    r"|(?<=[，。；：、！？）])\n(?: {2,}(?=\S))?(?![-*+>|#\s]|\d+\. |\$\$|```|<)"
)
UNCOMPARED = {"measured", "free", "device"}
STUB = 'raise NotImplementedError("your code here")'
REGION = re.compile(r"^([ \t]*)# BEGIN (SOLUTION|STUB)\n(.*?)^[ \t]*# END \2\n?", re.MULTILINE | re.DOTALL)

TEXTS = {
    "guide": {
        "en": "This chapter follows sections {0} of the guide that the book puts to the test, "
        "“大语言模型应用指南：基础” (a guide to applying large language models).",
        "zh": "本章对应《大语言模型应用指南：基础》（下称“指南”）第 {0} 节，并用实验检验其中的说法。",
    },
    "goals": {"en": "After this chapter you can:", "zh": "学完这一章，你能够："},
    "colon": {"en": ": ", "zh": "："},
    "comma": {"en": ", ", "zh": "、"},
    "exercises": {"en": "Exercises", "zh": "练习"},
    "how": {
        "en": "Write your answer where the cell says so, run it, then run the check below it. The check tells you what "
        "is right, or which mistake it recognises. Hints unfold one by one; try before you look.",
        "zh": "在标明的位置写下你的答案，运行它，再运行下面的检查。检查会告诉你答案对不对，"
        "如果是常见的错误，会说出是哪一种。提示可以逐条展开，先自己试一试。",
    },
    "card": {"en": "Difficulty {0} · {1} minutes · {2} points", "zh": "难度 {0} · 约 {1} 分钟 · {2} 分"},
    "hint": {"en": "Hint {0}", "zh": "提示 {0}"},
}


class Edition(Enum):
    """What stands in the answer cells."""

    STUDENT = "student"
    SOLVED = "solved"
    ASSIGNMENT = "assignment"


def compose(
    manifest: Manifest, chapter: Chapter, source: Source, lang: str, edition: Edition = Edition.STUDENT
) -> nbformat.NotebookNode:
    """The notebook of one language and edition, without outputs."""
    kind = source.path.stem
    points = {item.options["exercise"]: item.options.get("points", 0) for item in source.items if _is_exercise(item)}
    cells = [_title(chapter, kind, lang), _start(manifest, chapter, kind, lang, edition)]
    for item in source.items:
        if "answer" in item.options:
            cells.extend(_answer(item, points.get(item.options["exercise"], 0), edition))
        elif item.is_code:
            cells.append(_code(item.id, item.cell.text, item.options))
        else:
            cells.append(_prose(item, lang))
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "llmguide": {"chapter": chapter.slug, "kind": kind, "lang": lang, "edition": edition.value},
    }
    return new_notebook(cells=cells, metadata=metadata)


def solved_notebook(root: Path, slug: str, lang: str) -> nbformat.NotebookNode:
    """The exercises of a chapter with every answer filled in, for the site and for the tests."""
    manifest = read_manifest(root)
    chapter = manifest.chapter(slug)
    return compose(manifest, chapter, read_source(manifest.source(chapter, "exercises")), lang, Edition.SOLVED)


def _is_exercise(item: Item) -> bool:
    return item.options.get("role") == "exercise"


def _title(chapter: Chapter, kind: str, lang: str) -> nbformat.NotebookNode:
    number = chapter.number
    if kind == "exercises":
        text = f"# {number}. {chapter.title[lang]}{TEXTS['colon'][lang]}{TEXTS['exercises'][lang]}"
        text += f"\n\n{TEXTS['how'][lang]}"
    else:
        goals = "\n".join(f"- {goal}" for goal in chapter.objectives[lang])
        guide = TEXTS["guide"][lang].format(TEXTS["comma"][lang].join(chapter.guide))
        text = f"# {number}. {chapter.title[lang]}\n\n{guide}\n\n{TEXTS['goals'][lang]}\n\n{goals}"
    return new_markdown_cell(text, id="title", metadata={"llmguide": {"generated": True}})


def _start(manifest: Manifest, chapter: Chapter, kind: str, lang: str, edition: Edition) -> nbformat.NotebookNode:
    lines = []
    if manifest.repository and edition is not Edition.ASSIGNMENT:
        wheel = f"llmguide-lib[lab] @ git+{manifest.repository.url}@{manifest.repository.branch}"
        lines += ["import sys", 'if "google.colab" in sys.modules:', f'    %pip install -q "{wheel}"', ""]
    if kind == "exercises":
        names = "check" if edition is Edition.STUDENT else "check, marks"
        lines.append(f"from llmguide_lib.checks import {names}")
    lines += ["from llmguide_lib.notebook import start", "", f'start("{chapter.slug}", lang="{lang}")']
    return _code("start", "\n".join(lines), {})


def _code(cell_id: str, text: str, options: dict) -> nbformat.NotebookNode:
    metadata = {"llmguide": {key: value for key, value in options.items() if key != "name"}}
    tags = list(options.get("tags", []))
    if UNCOMPARED & set(tags):
        tags.append("nbval-ignore-output")
    if tags:
        metadata["tags"] = tags
    return new_code_cell(text, id=cell_id, metadata=metadata)


def _prose(item: Item, lang: str) -> nbformat.NotebookNode:
    text, options = CHINESE_BREAK.sub("", item.text(lang)), item.options
    if options.get("role") == "exercise":
        text = _with_card(text, options, lang)
    elif options.get("role") == "hints":
        text = _folded(text, lang, item)
    metadata = {key: value for key, value in options.items() if key not in ("name", "lang", "of")}
    return new_markdown_cell(text, id=item.id, metadata={"llmguide": metadata})


def _with_card(text: str, options: dict, lang: str) -> str:
    heading, _, body = text.partition("\n")
    level, minutes, points = (options.get(key, 0) for key in ("difficulty", "minutes", "points"))
    card = TEXTS["card"][lang].format("●" * level + "○" * (3 - level), minutes, points)
    return f"{heading}\n\n{card}\n{body}"


def hints(text: str) -> list[str]:
    """The hints of a numbered list, in order."""
    return [textwrap.dedent("   " + part).strip() for part in re.split(r"^\d+\. ", text, flags=re.MULTILINE)[1:]]


def _folded(text: str, lang: str, item: Item) -> str:
    found = hints(text)
    if len(found) != 3:
        raise BookError(str(item.cell.problem(f"{len(found)} hints", "write a numbered list of exactly three")))
    return "\n\n".join(
        f"<details><summary>{TEXTS['hint'][lang].format(number)}</summary>\n\n{hint}\n\n</details>"
        for number, hint in enumerate(found, 1)
    )


def _answer(item: Item, points: float, edition: Edition) -> list[nbformat.NotebookNode]:
    """The answer cell, its check, and where the edition asks for it the proof of full marks or the graded cell."""
    exercise, answer = item.options["exercise"], item.options["answer"]
    text = solution(item.cell.text) if edition is Edition.SOLVED else stub(item.cell.text)
    cells = [_code(item.id, text, item.options)]
    cells.append(_code(f"check-{exercise}", f'check("{exercise}", {answer})', {"tags": ["free"]}))
    call = f'marks("{exercise}", {answer})'
    if edition is Edition.SOLVED:
        cells.append(_code(f"proof-{exercise}", f"assert {call} == {points}", {}))
    elif edition is Edition.ASSIGNMENT:
        cells.append(_code(f"marks-{exercise}", call, {"points": points}))
    return cells


def solution(text: str) -> str:
    """The code with its solution, markers and stub removed."""
    return REGION.sub(lambda found: found[3] if found[2] == "SOLUTION" else "", text).rstrip("\n")


def stub(text: str) -> str:
    """The code that the student gets: the commented stub where there is one, else a line that raises."""
    has_stub = "# BEGIN STUB" in text

    def replace(found: re.Match) -> str:
        if found[2] == "STUB":
            return re.sub(r"^([ \t]*)# ?", r"\1", found[3], flags=re.MULTILINE)
        return "" if has_stub else f"{found[1]}{STUB}\n"

    return REGION.sub(replace, text).rstrip("\n")
