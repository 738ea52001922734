"""``python -m llmguide_lib.corpora`` says how much of the corpus this installation has."""

import sys

from .documents import coverage
from .manifest import load
from .splits import SPLITS


def main() -> None:
    """The command."""
    for library, listing in load().items():
        sizes = ", ".join(f"{split} {len(listing.hashes[split])}" for split in SPLITS)
        sys.stdout.write(f"{library} {listing.version}: {sizes}\n")
    sys.stdout.write(coverage().sentence() + "\n")


if __name__ == "__main__":
    main()
