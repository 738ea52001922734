"""Text to learn from, found on the reader's own machine: nothing to download, and the same for everyone."""

from .documents import LIBRARIES, Coverage, Document, LibraryCoverage, coverage, documentation
from .hub import HUB_DATASETS, Labelled, Summarised, hub_examples
from .localized import LOCALIZED_KINDS, LOCALIZED_SPLITS, localized_pairs
from .splits import SPLITS
from .translation import TRANSLATION_SOURCES, Pair, translation_pairs

__all__ = [
    "HUB_DATASETS",
    "LOCALIZED_KINDS",
    "LIBRARIES",
    "LOCALIZED_SPLITS",
    "TRANSLATION_SOURCES",
    "SPLITS",
    "Coverage",
    "Document",
    "Labelled",
    "LibraryCoverage",
    "Pair",
    "Summarised",
    "coverage",
    "documentation",
    "hub_examples",
    "localized_pairs",
    "translation_pairs",
]
