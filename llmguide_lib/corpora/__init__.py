"""Text to learn from, found on the reader's own machine: nothing to download, and the same for everyone."""

from .documents import LIBRARIES, Coverage, Document, LibraryCoverage, coverage, documentation
from .generated import GENERATED_SPLITS, OPERATORS, Exercise, arithmetic, copying
from .installation import OBJECT_KINDS
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

__all__ = [
    "GENERATED_SPLITS",
    "LIBRARIES",
    "OBJECT_KINDS",
    "OPERATORS",
    "SPLITS",
    "TASK_KINDS",
    "TASK_LIBRARIES",
    "Classified",
    "Coverage",
    "Document",
    "Exercise",
    "LibraryCoverage",
    "Parameter",
    "ParameterSection",
    "Question",
    "Record",
    "SentencePair",
    "Summary",
    "arithmetic",
    "consecutive_sentences",
    "copying",
    "coverage",
    "documentation",
    "function_summaries",
    "kind_of_object",
    "parameter_extraction",
    "records",
    "retrieval_questions",
    "topics",
    "which_library",
    "without_names",
]
