"""Reads the percent scripts: code cells written once, prose cells in pairs, English first."""

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jupytext

from .manifest import BookError

MARKER = re.compile(r"^# %%")
OPTIONS = {
    "lang", "of", "name", "role", "claim", "tags", "exercise", "answer", "difficulty", "minutes", "points",
}  # fmt: skip
ROLES = {"caption", "prediction", "exercise", "hints", "deeper"}
TAGS = {"measured", "free", "device"}


@dataclass(frozen=True)
class Problem:
    """Something to mend in a source or a built file."""

    path: Path
    line: int
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}; {self.fix}"


@dataclass(frozen=True)
class Cell:
    """One cell as it stands in a script."""

    kind: str  # "code" or "markdown"
    text: str
    options: dict
    path: Path
    line: int

    def problem(self, what: str, fix: str) -> Problem:
        return Problem(self.path, self.line, what, fix)

    @property
    def tags(self) -> list[str]:
        return self.options.get("tags", [])


@dataclass(frozen=True)
class Item:
    """One place in the notebook: a code cell, or an English prose cell with its Chinese one.

    ``id`` is the same in every edition: the cell's name, or a hash of its code or English text.
    """

    id: str
    cell: Cell
    zh: Cell | None = None

    @property
    def is_code(self) -> bool:
        return self.cell.kind == "code"

    @property
    def options(self) -> dict:
        return self.cell.options

    def text(self, lang: str) -> str:
        return self.zh.text if lang == "zh" and self.zh else self.cell.text


@dataclass(frozen=True)
class Source:
    """A parsed script: its items, and what is wrong with it."""

    path: Path
    items: list[Item]
    problems: list[Problem] = field(default_factory=list)


def text_hash(text: str) -> str:
    """The short hash by which a translation names the English text it translates."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:8]


def read_cells(path: Path) -> list[Cell]:
    """All cells of a percent script, in order, with the line that each starts on.

    Raises:
        BookError: there is no such script, or it does not begin with a cell marker.
    """
    if not path.exists():
        raise BookError(f"{path}: not found; a script stands in chapters/CHAPTER/lesson.py or exercises.py")
    script = path.read_text(encoding="utf-8")
    lines = [number for number, line in enumerate(script.splitlines(), 1) if MARKER.match(line)]
    notebook = jupytext.reads(script, fmt="py:percent")
    if len(lines) != len(notebook.cells):
        raise BookError(f"{path}:1: the script must begin with a cell marker; start it with `# %% [markdown] lang=...`")
    return [
        Cell(cell.cell_type, cell.source.strip(), _options(cell.metadata), path, line)
        for cell, line in zip(notebook.cells, lines, strict=True)
    ]


def _options(metadata: dict) -> dict:
    """The header's options, without what jupytext notes about blank lines."""
    return {key: value for key, value in metadata.items() if not key.startswith("lines_to_")}


def read_source(path: Path) -> Source:
    """Pairs the cells of a script and gives each place its id; what cannot be paired is a problem, not an error."""
    problems: list[Problem] = []
    items: list[Item] = []
    taken: Counter = Counter()
    for cell, zh in _pair(read_cells(path), problems):
        problems.extend(_unknown_words(cell))
        problems.extend(_not_python(cell))
        if taken[cell.options.get("name")]:
            problems.append(cell.problem(f"a second cell named {cell.options['name']!r}", "give it a name of its own"))
        items.append(Item(_unique(cell, taken), cell, zh))
    return Source(path, items, problems)


def _pair(cells: list[Cell], problems: list[Problem]) -> Iterator[tuple[Cell, Cell | None]]:
    waiting = iter([*cells, None])
    cell = next(waiting)
    while cell is not None:
        following = next(waiting)
        if cell.kind == "code":
            yield cell, None
        elif cell.options.get("lang") == "zh":
            problems.append(cell.problem("Chinese prose without its English cell", "put it directly after that cell"))
        elif cell.options.get("lang") != "en":
            problems.append(cell.problem("prose without a language", 'write lang="en" or lang="zh" in its header'))
        elif following is None or following.kind == "code" or following.options.get("lang") != "zh":
            fix = f'write the zh cell after it: # %% [markdown] lang="zh" of="{text_hash(cell.text)}"'
            problems.append(cell.problem("English prose without its Chinese cell", fix))
            yield cell, None
        else:
            problems.extend(_translation_problems(cell, following))
            yield cell, following
            following = next(waiting)
        cell = following


def _translation_problems(en: Cell, zh: Cell) -> Iterator[Problem]:
    if zh.options.get("of") != text_hash(en.text):
        name = f"{en.path.parent.name}/{en.path.stem}:{en.line}"
        old = zh.options.get("of")
        what = f"the translation is of an older English text (of={old!r}, now {text_hash(en.text)!r})"
        what = what if old else "the translation does not say of which English text it is"
        yield zh.problem(what, f"mend the Chinese, then run: tools/book.py accept {name}")
    if zh.text == en.text and re.search(r"[a-z]{4}", re.sub(r"`[^`]*`|\$[^$]*\$", "", en.text)):
        yield zh.problem("the Chinese cell is the English text", "translate it")


def _unknown_words(cell: Cell) -> Iterator[Problem]:
    for what, used, known in (
        ("option", set(cell.options), OPTIONS),
        ("role", {cell.options["role"]} if "role" in cell.options else set(), ROLES),
        ("tag", set(cell.tags), TAGS),
    ):
        for word in sorted(used - known):
            yield cell.problem(f"unknown {what} {word!r}", f"known: {', '.join(sorted(known))}")


def _not_python(cell: Cell) -> Iterator[Problem]:
    if cell.kind == "code":
        try:
            ast.parse(cell.text)
        except SyntaxError as error:
            yield cell.problem(f"not Python: {error.msg}, in line {error.lineno} of the cell", "mend the code")


def _unique(cell: Cell, taken: Counter) -> str:
    name = cell.options.get("name") or text_hash(f"{cell.kind}\n{cell.text}")
    taken[name] += 1
    return name if taken[name] == 1 else f"{name}-{taken[name]}"


def accept(path: Path, line: int) -> tuple[str, str]:
    """Renews the hash of the translation of the English cell at ``line``; returns both texts.

    Raises:
        BookError: no English cell with a translation starts there.
    """
    cells = read_cells(path)
    for en, zh in zip(cells, cells[1:], strict=False):
        if en.line == line and en.options.get("lang") == "en" and zh.options.get("lang") == "zh":
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            header = re.sub(r'\s*\bof="[0-9a-f]*"', "", lines[zh.line - 1].rstrip("\n"))
            lines[zh.line - 1] = header.replace('lang="zh"', f'lang="zh" of="{text_hash(en.text)}"') + "\n"
            write_atomically(path, "".join(lines))
            return en.text, zh.text
    known = ", ".join(str(cell.line) for cell in cells if cell.options.get("lang") == "en")
    raise BookError(f"{path}:{line}: no English cell with a translation starts here; they start at lines {known}")


def write_atomically(path: Path, text: str) -> bool:
    """Writes the file whole or not at all, LF line ends; False where it already held this text."""
    data = text.encode()
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
    return True
