"""Reads book.toml, the only place that lists chapters."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

LANGUAGES = ("en", "zh")
KINDS = ("lesson", "exercises")
STATUSES = ("finished", "draft", "planned")  # a draft has sources and is not built yet


class BookError(Exception):
    """Something in the book's sources is wrong; the message names file, place and fix."""


@dataclass(frozen=True)
class Chapter:
    """One chapter of the book, as book.toml describes it."""

    slug: str
    title: dict[str, str]
    status: str
    guide: tuple[str, ...]
    objectives: dict[str, tuple[str, ...]]
    needs: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    seconds: float = 0.0
    exercise_seconds: float = 0.0
    points: float = 0.0

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def number(self) -> int:
        return int(self.slug.split("_")[0])


@dataclass(frozen=True)
class Part:
    """A named run of chapters."""

    title: dict[str, str]
    chapters: tuple[Chapter, ...]


@dataclass(frozen=True)
class Repository:
    """Where the book is published; launch buttons and install lines need it."""

    url: str
    branch: str


@dataclass(frozen=True)
class Manifest:
    """The whole book: title, parts, chapters, and where it stands on disk."""

    root: Path
    title: dict[str, str]
    authors: str
    src: Path
    repository: Repository | None
    parts: tuple[Part, ...]
    solutions: bool = True  # whether the site shows them
    claims: dict[str, dict[str, str]] = field(default_factory=dict)  # what the guide says, by id and language
    explorers: dict[str, dict[str, str]] = field(default_factory=dict)  # what each shows, by module and language

    @property
    def chapters(self) -> tuple[Chapter, ...]:
        return tuple(chapter for part in self.parts for chapter in part.chapters)

    @property
    def finished(self) -> tuple[Chapter, ...]:
        return tuple(chapter for chapter in self.chapters if chapter.finished)

    @property
    def written(self) -> tuple[Chapter, ...]:
        """The finished chapters and the drafts."""
        return tuple(chapter for chapter in self.chapters if chapter.status != "planned")

    def chapter(self, slug: str) -> Chapter:
        for chapter in self.chapters:
            if chapter.slug == slug:
                return chapter
        raise BookError(f"book.toml: no chapter {slug!r}; it lists {', '.join(c.slug for c in self.chapters)}")

    def source(self, chapter: Chapter, kind: str) -> Path:
        return self.src / chapter.slug / f"{kind}.py"

    def notebook(self, chapter: Chapter, kind: str, lang: str) -> Path:
        return self.src / chapter.slug / f"{kind}.{lang}.ipynb"


def read_manifest(root: Path) -> Manifest:
    """Parses and validates ``root/book.toml``.

    Raises:
        BookError: the file is missing, is not TOML, or breaks a rule; the message says which.
    """
    path = root / "book.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BookError(f"{path}: not found; run this from a checkout of the book") from None
    except tomllib.TOMLDecodeError as error:
        raise BookError(f"{path}: not valid TOML: {error}") from None
    book = data["book"]
    repository = Repository(**data["repository"]) if "repository" in data else None
    parts = tuple(
        Part(_both(part, "title", "a [[part]]"), tuple(_chapter(entry) for entry in part.get("chapter", ())))
        for part in data.get("part", ())
    )
    title, solutions = _both(book, "title", "[book]"), book.get("solutions", True)
    claims, explorers = (
        {name: _both({name: texts}, name, f"[{table}]") for name, texts in data.get(table, {}).items()}
        for table in ("claims", "explorers")
    )
    src = root / book["src"]
    manifest = Manifest(root, title, book["authors"], src, repository, parts, solutions, claims, explorers)
    _validate(manifest)
    return manifest


def _both(table: dict, key: str, where: str) -> dict:
    value = table.get(key)
    if not isinstance(value, dict) or set(value) != set(LANGUAGES):
        raise BookError(f"book.toml: {where} needs {key}.en and {key}.zh, got {value!r}")
    return value


def _chapter(entry: dict) -> Chapter:
    slug = entry.get("slug", "?")
    known = Chapter.__dataclass_fields__
    if unknown := set(entry) - set(known):
        raise BookError(f"book.toml: chapter {slug}: unknown key {sorted(unknown)[0]!r}; known: {', '.join(known)}")
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    fields["title"] = _both(entry, "title", f"chapter {slug}")
    fields["objectives"] = {lang: tuple(v) for lang, v in _both(entry, "objectives", f"chapter {slug}").items()}
    if fields.get("status") not in STATUSES:
        raise BookError(f"book.toml: chapter {slug}: status must be one of {STATUSES}, got {fields.get('status')!r}")
    return Chapter(**fields)


def _validate(manifest: Manifest) -> None:
    slugs = [chapter.slug for chapter in manifest.chapters]
    if len(set(slugs)) < len(slugs):
        raise BookError(f"book.toml: chapter {max(slugs, key=slugs.count)} is listed twice")
    finished = {chapter.slug for chapter in manifest.finished}
    for chapter in manifest.chapters:
        for claim in chapter.claims:
            if claim not in manifest.claims:
                raise BookError(f"book.toml: chapter {chapter.slug} decides {claim!r}, which [claims] does not list")
        for need in chapter.needs:
            if need not in finished:
                raise BookError(f"book.toml: chapter {chapter.slug} needs {need!r}, which is not a finished chapter")
        if len(chapter.objectives["en"]) != len(chapter.objectives["zh"]):
            raise BookError(f"book.toml: chapter {chapter.slug}: objectives.en and objectives.zh differ in number")
        if chapter.finished and not (chapter.seconds and chapter.exercise_seconds and chapter.points):
            raise BookError(
                f"book.toml: chapter {chapter.slug} is finished and needs seconds, exercise_seconds, points"
            )
