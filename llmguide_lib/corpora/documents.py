"""The documentation corpus: those documents of the manifest that this installation has."""

import contextlib
import functools
import hashlib
import inspect
import json
import warnings
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

from ..files import write_atomically
from . import installation, manifest
from .cache import cache_directory
from .prose import clean
from .splits import SPLITS

LIBRARIES = tuple(installation.PACKAGES)


@dataclass(frozen=True)
class Document:
    """The cleaned documentation of one object: a paragraph per line; ``name`` is empty for a module's own."""

    library: str
    module: str
    name: str
    text: str

    @classmethod
    def of(cls, library: str, docstring: installation.Docstring, text: str) -> "Document":
        """What the corpus holds of a docstring with this cleaned text."""
        return cls(library, docstring.module, docstring.name, text)


Row = TypeVar("Row", bound=Document)


@dataclass(frozen=True)
class LibraryCoverage:
    """How much of what the corpus lists of one library was found; ``version`` is None where it is not installed."""

    library: str
    version: str | None
    listed_version: str
    found: int
    listed: int
    unreadable: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The part that was found, between 0 and 1."""
        return self.found / self.listed


@dataclass(frozen=True)
class Coverage:
    """How much of the corpus this installation has."""

    libraries: tuple[LibraryCoverage, ...]

    @property
    def found(self) -> int:
        """How many listed documents were found."""
        return sum(library.found for library in self.libraries)

    @property
    def listed(self) -> int:
        """How many documents the corpus lists."""
        return sum(library.listed for library in self.libraries)

    @property
    def share(self) -> float:
        """The part that was found, between 0 and 1."""
        return self.found / self.listed

    def sentence(self) -> str:
        """One sentence that says how much was found, what is missing, and what follows."""
        if self.found == self.listed:
            return f"This installation has all {self.listed:,} documents of the corpus."
        partial = [library for library in self.libraries if library.found < library.listed]
        causes = [_cause(library) for library in partial if library.version is not None]
        if missing := [library.library for library in partial if library.version is None]:
            causes.append(f"not installed: {', '.join(missing)}")
        if self.share < 0.9:
            causes.append("with so little of it, the ranges that the lessons state may not hold")
        part = f"{self.found:,} of the corpus's {self.listed:,} documents ({self.share:.1%})"
        return f"This installation has {part}: {'; '.join(causes)}."


def documentation(split: str = "train", libraries: Sequence[str] | None = None) -> list[Document]:
    """The documents of one split, in the manifest's order, cleaned and the same on every machine.

    The texts are taken from the libraries that are installed (nothing is downloaded and none is imported) and
    kept where their hash is listed. Reading everything takes some twenty seconds the first time; after
    that the texts come from a cache, in the directory that the environment variable LLMGUIDE_CACHE names or
    else in the user's cache directory. Where nothing can be written there, it works without.

    Args:
        split: "train", "validation" or "test"; no module is in two of them, and no near-duplicate.
        libraries: some of LIBRARIES; None means all. Fewer are read sooner.
    Raises:
        ValueError: an unknown split or library, or not one listed document of these libraries was found.
    Warns:
        UserWarning: a part of the documents was not found; says how much and why.

    Example:
        >>> documentation("validation", ["stdlib"])[0].library
        'stdlib'
    """
    return listed(Document, split, libraries)


def listed(row: type[Row], split: str, libraries: Sequence[str] | None) -> list[Row]:
    """What ``documentation`` does, for a row that may hold more than a Document."""
    if split not in SPLITS:
        raise ValueError(f"split ({split!r}) must be one of {', '.join(SPLITS)}")
    corpus = [_rows(row, library) for library in _checked(libraries)]
    report = Coverage(tuple(coverage for _, coverage in corpus))
    if not report.found:
        raise ValueError(f"libraries ({', '.join(c.library for c in report.libraries)}): {report.sentence()}")
    if report.found < report.listed:
        warnings.warn(report.sentence(), stacklevel=3)
    hashes = [(rows, hashed) for rows, c in corpus for hashed in manifest.load()[c.library].hashes[split]]
    return [rows[hashed] for rows, hashed in hashes if hashed in rows]


def coverage(libraries: Sequence[str] | None = None) -> Coverage:
    """How much of the corpus, or of some libraries' part of it, this installation has.

    Raises:
        ValueError: an unknown library.
    """
    return Coverage(tuple(_rows(Document, library)[1] for library in _checked(libraries)))


def _cause(library: LibraryCoverage) -> str:
    found = f"{library.library} {library.version}"
    if library.unreadable:
        number = len(library.unreadable)
        return f"{library.library} has {number} files or folders that cannot be read ({library.share:.1%})"
    if not {library.version, str(library.version).rpartition(".")[0]} & set(library.listed_version.split(", ")):
        found += f" instead of {library.listed_version}"
    return f"{found} has {library.share:.1%}"


def _checked(libraries: Sequence[str] | None) -> list[str]:
    """The libraries in the corpus's order, each once."""
    if libraries is None:
        return list(LIBRARIES)
    unknown = [library for library in libraries if library not in LIBRARIES]
    if isinstance(libraries, str) or not libraries or unknown:
        raise ValueError(f"libraries ({libraries!r}) must be a list of some of {', '.join(LIBRARIES)}")
    return [library for library in LIBRARIES if library in libraries]


def _rows(row: type[Row], library: str) -> tuple[dict[str, Row], LibraryCoverage]:
    """What is listed and installed, by hash."""
    reading = installation.locate(library)
    return _read(row, library, reading.version, reading.directory, cache_directory())


@functools.lru_cache(maxsize=4 * len(LIBRARIES))
def _read(
    row: type[Row], library: str, version: str | None, directory: Path | None, cache: Path
) -> tuple[dict[str, Row], LibraryCoverage]:
    """From the cache or, failing that, from the installation. Keeps the answer for the next call of this process."""
    listing = manifest.load()[library]
    file = cache / f"{row.__name__.lower()}s-{library}-{_key(row, library, version, directory)}.json"
    reading = installation.Reading(version, directory)
    rows = _stored(row, file, library)
    if rows is None:
        rows = _installed(row, library, reading)
        if not reading.unreadable:  # what hides a file may be gone tomorrow
            _store(file, rows)
    found = LibraryCoverage(library, version, listing.version, len(rows), listing.size, tuple(reading.unreadable))
    return rows, found


def _installed(row: type[Row], library: str, reading: installation.Reading) -> dict[str, Row]:
    found: dict[str, Row] = {}
    wanted = _wanted(library)
    for docstring in installation.docstrings(library, reading):
        text = clean(docstring.text)
        hashed = manifest.text_hash(text)
        if hashed in wanted and hashed not in found:
            found[hashed] = row.of(library, docstring, text)
    return found


def _wanted(library: str) -> set[str]:
    return {hashed for hashes in manifest.load()[library].hashes.values() for hashed in hashes}


def _key(row: type[Row], library: str, version: str | None, directory: Path | None) -> str:
    """Changes with the manifest, with the installation, and with the code that reads it."""
    reader = map(inspect.getsource, (installation, inspect.getmodule(row)))
    identity = repr((manifest.load()[library], version, str(directory), *reader))
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _stored(row: type[Row], file: Path, library: str) -> dict[str, Row] | None:
    """What the cache holds; None where there is nothing or where a text is not one of the listed ones."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        documents = [row(*values) for values in rows]
        found = {manifest.text_hash(document.text): document for document in documents}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return found if isinstance(rows, list) and found.keys() <= _wanted(library) else None


def _store(file: Path, rows: dict[str, Row]) -> None:
    with contextlib.suppress(OSError):  # where nothing can be written, it works without
        write_atomically(file, [json.dumps([astuple(row) for row in rows.values()]).encode()])
