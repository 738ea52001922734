"""What models are taught to do: examples with fixed splits, from the corpus, from catalogues, generated, or of the Hub.

Like the corpus, and unlike the rest of the library, this imports neither torch nor NumPy.
"""

from .generated import GENERATED_SPLITS, OPERATORS, Exercise, arithmetic, copying
from .hub import HUB_DATASETS, hub_examples
from .localized import LOCALIZED_KINDS, LOCALIZED_SPLITS, localized_pairs
from .translation import TRANSLATION_SOURCES, Pair, translation_pairs
from .views import (
    consecutive_sentences,
    function_summaries,
    kind_of_object,
    parameter_extraction,
    retrieval_questions,
    which_library,
    without_names,
)
