"""From a docstring to plain prose: what a person would read aloud.

Examples, literal blocks, tables, formulas, directives and headings go; parameter lists of all three styles
become ``name (type): description``; markup inside a sentence is removed and a sentence that does not survive
that (a formula, an address, a placeholder) is left out.
"""

import inspect
import re

# Directives whose body is prose; the body of every other one (code, math, plot, image, table) is dropped.
_PROSE_DIRECTIVES = frozenset("note warning important tip hint caution attention versionadded versionchanged".split())
_DROPPED_SECTIONS = frozenset(["references", "see also", "examples", "example", "doctest"])
_GOOGLE_HEADING = re.compile(r"[A-Z]\w*( [a-z]+)?:{1,2}$")
_UNDERLINE = re.compile(r"([=\-~^*#+_.\"'])\1{2,}$")
_TABLE = re.compile(r"[|+]|[=\-]{2,}[ \t]+[=\-]{2,}")
_PROMPT = re.compile(r">>>|\.\.\. |In \[\d+\]:|\$ ")
_DIRECTIVE = re.compile(r"\.\. ?([\w-]+)::\s*(.*)")
_MARKUP = re.compile(r"\.\.(\s|$)")  # footnote, link target, comment
_BULLET = re.compile(r"([-*•+]|\(?\d+[.)]|#\.)\s+")
_ENTRY = re.compile(r"\*{0,2}\w[\w.]*(, \w+)* ?(\([^)]*\))?: ")
_TERM = re.compile(r"(\*{0,2}\w[\w.]*(?:, \*{0,2}\w[\w.]*)*) ?: (.+)")
_FIELD = re.compile(r":(param|parameter|arg|keyword|raises?|returns?|type|rtype|ivar|cvar|var|exception)\b([^:`]*):\s*")

_INLINE = [
    (re.compile(r":math:`([^`]*)`"), r"$\1$"),
    (re.compile(r"(?::[a-zA-Z][\w:.+-]*:)?`[~.](?:[^`<\s]*\.)?([^`.<\s]+)`"), r"\1"),
    (re.compile(r"(?::[a-zA-Z][\w:.+-]*:)?`!?([^`<]+?)\s*<[^`>]*>`_{0,2}"), r"\1"),
    (re.compile(r":[a-zA-Z][\w:.+-]*:`!?([^`]*)`"), r"\1"),
    (re.compile(r"``(.*?)``"), r"\1"),
    (re.compile(r"`([^`]*)`_{0,2}"), r"\1"),
    (re.compile(r"(?<![\w*])\*{1,2}([^\s*](?:[^*]*[^\s*])?)\*{1,2}(?![\w*])"), r"\1"),
    (re.compile(r"\s*\[[\w#]+\]_"), ""),
    (re.compile(r"\$([\w\s(),.+*/=<>-]*)\$"), r"\1"),  # a formula that is plain text
    (re.compile(r"\\([*_`|])"), r"\1"),
    (re.compile(r"\s+"), " "),
]
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z(\"'])")
_SIGNATURE = re.compile(r"[\w.]+\(.*\)( ?->.*)?")
_UNREADABLE = re.compile(r"[\\$`{}|]|://|%\(|\*\*|>>>|::|__doc__")


def clean(docstring: str) -> str:
    """The prose of a docstring, a paragraph per line; empty where there is too little of it.

    Example:
        >>> clean("Return the ``mean``.\\n\\nParameters\\n----------\\nx : list\\n    The numbers to take it of.")
        'Return the mean.\\nx (list): The numbers to take it of.'
    """
    paragraphs = [_plain(paragraph) for paragraph in _paragraphs(inspect.cleandoc(docstring).splitlines())]
    text = "\n".join(paragraph for paragraph in paragraphs if _is_prose(paragraph))
    return text if len(re.findall(r"[A-Za-z]{2,}", text)) >= 8 else ""


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph of prose.

    Example:
        >>> sentences("It ends. Here, e.g. with a stop.")
        ['It ends.', 'Here, e.g. with a stop.']
    """
    return _SENTENCE_END.split(paragraph.strip())


def _paragraphs(lines: list[str]) -> list[str]:
    """Joins the lines of each paragraph, list item and parameter; leaves out what is not prose."""
    found: list[list[str]] = [[]]
    at, base, dropping = 0, 0, False
    while at < len(lines):
        line, indent = lines[at].strip(), _indent(lines[at])
        heading = _heading(lines, at)
        if heading is not None:
            dropping, skipped = heading.lower() in _DROPPED_SECTIONS, 2
        elif dropping or not line or _UNDERLINE.match(line):
            skipped = 1
        else:
            skipped = _not_prose(lines, at)
        if skipped:
            found.append([])
            at += skipped
            continue
        line, starts = _item(line, lines, at)
        if starts or (found[-1] and indent < base):
            found.append([])
        if not found[-1]:
            base = indent
        found[-1].append(line)
        at += 1
        if line.endswith("::"):  # a literal block follows
            at += _block(lines, at, indent)
            found.append([])
    return [" ".join(paragraph) for paragraph in found if paragraph]


def _heading(lines: list[str], at: int) -> str | None:
    """The heading that stands at this line with its underline, if one does."""
    following = lines[at + 1].strip() if at + 1 < len(lines) else ""
    line = lines[at].strip()
    underlined = line and len(line) < 60 and not _UNDERLINE.match(line) and _UNDERLINE.match(following)
    return line if underlined else None


def _not_prose(lines: list[str], at: int) -> int:
    """How many lines from here on are an example, a table, a directive or a heading; 0 where prose stands."""
    line, indent = lines[at].strip(), _indent(lines[at])
    if _PROMPT.match(line) or _TABLE.match(line):
        return _until_blank(lines, at)
    if directive := _DIRECTIVE.match(line):
        if directive[1] in _PROSE_DIRECTIVES:
            return 0 if directive[2] else 1
        return 1 + _block(lines, at + 1, indent)
    if _MARKUP.match(line):
        return 1 + _block(lines, at + 1, indent)
    if _GOOGLE_HEADING.match(line):
        is_example = line.startswith("Example") or line.endswith("::")
        return 1 + (_block(lines, at + 1, indent) if is_example else 0)
    return 0


def _item(line: str, lines: list[str], at: int) -> tuple[str, bool]:
    """The line without the marks of a list item, parameter or field, and whether it begins a paragraph."""
    if directive := _DIRECTIVE.match(line):
        return re.sub(r"^\d[\w.]*\s*", "", directive[2]), True
    if field := _FIELD.match(line):
        name = field[2].split()[-1:] if field[1] not in ("type", "rtype") else ["{}"]  # types alone are no prose
        return "".join(f"{word}: " for word in name) + line[field.end() :], True
    if bullet := _BULLET.match(line):
        return line[bullet.end() :], True
    deeper = at + 1 < len(lines) and _indent(lines[at + 1]) > _indent(lines[at]) and lines[at + 1].strip()
    term = _TERM.fullmatch(line)
    if deeper and term and not line.endswith((".", ",", ";")):
        return f"{term[1].replace('*', '')} ({term[2]}):", True
    if deeper and line.isidentifier():
        return f"{line}:", True
    return line, bool(_ENTRY.match(line))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _until_blank(lines: list[str], at: int) -> int:
    end = at
    while end < len(lines) and lines[end].strip():
        end += 1
    return end - at


def _block(lines: list[str], at: int, indent: int) -> int:
    """How many lines from ``at`` on are blank or indented more than ``indent``."""
    end = at
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > indent):
        end += 1
    return end - at


def _plain(paragraph: str) -> str:
    """Removes inline markup, then the sentences that are not plain text."""
    for pattern, replacement in _INLINE:
        paragraph = pattern.sub(replacement, paragraph)
    kept = [
        sentence for sentence in sentences(paragraph) if not _UNREADABLE.search(sentence) and not sentence.endswith(":")
    ]
    return " ".join(kept)


def _is_prose(paragraph: str) -> bool:
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    words = paragraph.count(" ") >= 2 and letters >= 0.8 * len(paragraph)
    return words and paragraph.isascii() and not _SIGNATURE.fullmatch(paragraph)
