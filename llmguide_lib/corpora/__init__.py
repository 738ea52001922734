"""Text to learn from, found on the reader's own machine: nothing to download, and the same for everyone.

Importing this package imports neither torch nor NumPy: any Python can read the corpus. (``storage``, which makes
tokens of it, does.)
"""

from .documents import LIBRARIES, Coverage, Document, LibraryCoverage, coverage, documentation
from .generated import GENERATED_SPLITS, OPERATORS, Exercise, arithmetic, copying
from .hub import HUB_DATASETS, hub_examples
from .installation import OBJECT_KINDS
from .localized import LOCALIZED_KINDS, LOCALIZED_SPLITS, localized_pairs
from .records import Record, records
from .splits import SPLITS
from .tasks import (
    consecutive_sentences,
    function_summaries,
    kind_of_object,
    parameter_extraction,
    retrieval_questions,
    which_library,
    without_names,
)
from .topics import topics
from .translation import TRANSLATION_SOURCES, Pair, translation_pairs
