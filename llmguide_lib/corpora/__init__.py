"""Text to learn from, found on the reader's own machine: nothing to download, and the same for everyone.

Importing this package imports neither torch nor NumPy: any Python can read the corpus. (``storage``, which makes
tokens of it, does.)
"""

from .documents import LIBRARIES, Coverage, Document, LibraryCoverage, coverage, documentation
from .generated import GENERATED_SPLITS, OPERATORS, Exercise, arithmetic, copying
from .hub import HUB_DATASETS, Labelled, Summarised, hub_examples
from .installation import OBJECT_KINDS
from .localized import LOCALIZED_KINDS, LOCALIZED_SPLITS, localized_pairs
from .records import Record, records
from .splits import SPLITS
from .tasks import (
    TASK_KINDS,
    TASK_LIBRARIES,
    Classified,
    Parameter,
    ParameterSection,
    Question,
    SentencePair,
    Summary,
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

__all__ = [
    "GENERATED_SPLITS",
    "HUB_DATASETS",
    "LIBRARIES",
    "LOCALIZED_KINDS",
    "LOCALIZED_SPLITS",
    "OBJECT_KINDS",
    "OPERATORS",
    "SPLITS",
    "TASK_KINDS",
    "TASK_LIBRARIES",
    "TRANSLATION_SOURCES",
    "Classified",
    "Coverage",
    "Document",
    "Exercise",
    "Labelled",
    "LibraryCoverage",
    "Pair",
    "Parameter",
    "ParameterSection",
    "Question",
    "Record",
    "SentencePair",
    "Summarised",
    "Summary",
    "arithmetic",
    "consecutive_sentences",
    "copying",
    "coverage",
    "documentation",
    "function_summaries",
    "hub_examples",
    "kind_of_object",
    "localized_pairs",
    "parameter_extraction",
    "records",
    "retrieval_questions",
    "topics",
    "translation_pairs",
    "which_library",
    "without_names",
]
