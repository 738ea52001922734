#!/usr/bin/env python3
"""Writes the list of what belongs to the corpus, for whoever changes the libraries that it is read from.

tools/corpus.py write --stdlib .../lib/python3.11 .../lib/python3.12 .../lib/python3.13
    renews llmguide_lib/data/documentation.json. Its stdlib part is what this Python and those whose library folders are
    given have in common, so that each of them has all of it.
tools/corpus.py tasks
    says how many examples the tasks have, and how often the most frequent answer is right in the test.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from llmguide_lib.corpora import installation, manifest  # noqa: E402
from llmguide_lib.corpora.prose import clean  # noqa: E402
from llmguide_lib.corpora.splits import ACROSS, SPLITS, ngrams, overlap, split_of  # noqa: E402
from llmguide_lib.tasks import views  # noqa: E402

WITHIN = 0.5  # the largest share of a text's 6-grams that may stand in earlier texts of its own split
PER_LINE = 15  # hashes
TASKS = (
    views.which_library,
    views.kind_of_object,
    views.consecutive_sentences,
    views.function_summaries,
    views.retrieval_questions,
    views.parameter_extraction,
)


def listings(others: list[Path]) -> dict[str, manifest.Listing]:
    """Reads every library of the installation and chooses what the corpus lists of it.

    Args:
        others: library folders of other Pythons; a text of the standard library must stand in all of them.
    Raises:
        ValueError: a library is missing or not readable.
    """
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    owner: dict[str, str] = {}
    versions = {}
    for library in installation.PACKAGES:
        reading = installation.locate(library)
        records = list(_records(library, reading))
        if reading.unreadable or not records:
            raise ValueError(f"{library} must be installed and readable: {reading}")
        versions[library] = (reading.version or "").split("+")[0]
        if library == "stdlib":
            records, versions[library] = common(records, reading, others)
        for module, text in records:
            if text not in owner:  # where it stands first, as readers will find it
                owner[text] = library
                splits[split_of(library, module)].append(text)
    chosen = without_leakage(splits)
    hashes = {split: [(owner[text], manifest.text_hash(text)) for text in chosen[split]] for split in SPLITS}
    return {
        library: manifest.Listing(
            version, {split: tuple(hashed for of, hashed in hashes[split] if of == library) for split in SPLITS}
        )
        for library, version in versions.items()
    }


def _records(library: str, reading: installation.Reading) -> Iterator[tuple[str, str]]:
    """Module and cleaned text of every docstring with enough prose."""
    for docstring in installation.docstrings(library, reading):
        text = clean(docstring.text)
        if text:
            yield docstring.module, text


def common(
    records: list[tuple[str, str]], reading: installation.Reading, others: list[Path]
) -> tuple[list[tuple[str, str]], str]:
    """The records that other Pythons have too, and the versions of them all (3.11, 3.12, ...)."""
    versions = {str(reading.version).rpartition(".")[0]}
    for folder in others:
        texts = {text for _, text in _records("stdlib", installation.Reading(None, folder))}
        if not texts:
            raise ValueError(f"--stdlib ({folder}) must be the library folder of a Python")
        records = [record for record in records if record[1] in texts]
        versions.add(folder.name.removeprefix("python"))
    return records, ", ".join(sorted(versions))


def distinct(texts: Iterable[str], others: Collection[int]) -> tuple[list[str], set[int]]:
    """Leaves out near-duplicates, of ``others`` and of earlier texts; returns the texts kept and their 6-grams."""
    kept, seen = [], set()
    for text in texts:
        if overlap(text, others) <= ACROSS and overlap(text, seen) <= WITHIN:
            kept.append(text)
            seen |= ngrams(text)
    return kept, seen


def without_leakage(splits: dict[str, list[str]]) -> dict[str, list[str]]:
    """The splits without near-duplicates; the first split keeps what it shares with a later one."""
    result, others = {}, set()
    for split in SPLITS:
        result[split], own = distinct(splits[split], others)
        others |= own
    return result


def dump(listed: dict[str, manifest.Listing]) -> str:
    """The manifest as text; the same listings give the same bytes."""
    libraries = {
        library: {"version": listing.version} | {split: _lines(listing.hashes[split]) for split in SPLITS}
        for library, listing in listed.items()
    }
    head = {"written_by": "tools/corpus.py write", "hash": "sha256 of the text, 6 bytes, base64"}
    return json.dumps(head | {"libraries": libraries}, indent=1) + "\n"


def _lines(hashes: tuple[str, ...]) -> list[str]:
    return ["".join(hashes[at : at + PER_LINE]) for at in range(0, len(hashes), PER_LINE)]


def task_sizes() -> Iterator[str]:
    """A line for each task: the sizes of its parts, and how often the most frequent answer is right in the test."""
    for task in TASKS:
        parts = {split: task(split) for split in SPLITS}
        sizes = ", ".join(f"{split} {len(examples):,}" for split, examples in parts.items())
        ((_, most),) = Counter(example[-1] for example in parts["test"]).most_common(1)
        yield f"{task.__name__}: {sizes}; the most frequent answer is {most / len(parts['test']):.1%} of the test"


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["write", "tasks"])
    parser.add_argument("--stdlib", nargs="*", type=Path, default=[], help="library folders of other Pythons")
    options = parser.parse_args(arguments)
    if options.command == "write":
        target = ROOT / "llmguide_lib" / "data" / manifest.FILE
        target.write_text(dump(listings(options.stdlib)), encoding="utf-8", newline="\n")
        print(f"wrote {target}")
    else:
        for line in task_sizes():
            print(line)


if __name__ == "__main__":
    main()
