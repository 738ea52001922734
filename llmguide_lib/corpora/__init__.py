"""Text to learn from, found on the reader's own machine: nothing to download, and the same for everyone.

Importing this package imports neither torch nor NumPy: any Python can read the corpus. (``storage``, which makes
tokens of it, does.)
"""

from .documents import LIBRARIES, Coverage, Document, LibraryCoverage, coverage, documentation
from .installation import OBJECT_KINDS
from .records import Record, records
from .splits import SPLITS
from .topics import topics
