"""Text to learn from, found on the reader's own machine: nothing to download, and the same for everyone."""

from .documents import LIBRARIES, Coverage, Document, LibraryCoverage, coverage, documentation
from .splits import SPLITS

__all__ = ["LIBRARIES", "SPLITS", "Coverage", "Document", "LibraryCoverage", "coverage", "documentation"]
