"""``python -m llmguide_lib.corpora`` says how much of the corpus this installation has.

With ``tasks`` it says how many examples the tasks have, and with ``write`` it renews the manifest:

    python -m llmguide_lib.corpora write --stdlib .../lib/python3.11 .../lib/python3.12 .../lib/python3.13

The manifest's stdlib part is what this Python and those whose library folders are given have in common, so that
each of them has all of it.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from . import installation, manifest, tasks
from .documents import coverage
from .prose import clean
from .splits import SPLITS, split_of, without_leakage


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
            records, versions[library] = _common(records, reading, others)
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


def _common(
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


def task_sizes() -> Iterator[str]:
    """A line for each task: the sizes of its parts, and how often the most frequent answer is right in the test."""
    for task in tasks.TASKS:
        parts = {split: task(split) for split in SPLITS}
        sizes = ", ".join(f"{split} {len(examples):,}" for split, examples in parts.items())
        ((_, most),) = Counter(example[-1] for example in parts["test"]).most_common(1)
        yield f"{task.__name__}: {sizes}; the most frequent answer is {most / len(parts['test']):.1%} of the test"


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m llmguide_lib.corpora", description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="?", choices=["coverage", "tasks", "write"], default="coverage")
    parser.add_argument("--stdlib", nargs="*", type=Path, default=[], help="library folders of other Pythons")
    options = parser.parse_args(arguments)
    if options.command == "write":
        target = Path(__file__).resolve().parent.parent / "data" / manifest.FILE
        target.write_text(manifest.dump(listings(options.stdlib)), encoding="utf-8", newline="\n")
        manifest.load.cache_clear()
    if options.command == "tasks":
        sys.stdout.writelines(f"{line}\n" for line in task_sizes())
    for library, listing in manifest.load().items():
        sizes = ", ".join(f"{split} {len(listing.hashes[split])}" for split in SPLITS)
        sys.stdout.write(f"{library} {listing.version}: {sizes}\n")
    sys.stdout.write(coverage().sentence() + "\n")


if __name__ == "__main__":
    main()
