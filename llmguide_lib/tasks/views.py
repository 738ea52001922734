"""Tasks made of the corpus, to finetune on and to evaluate with: each has a training, a validation and a test part.

The parts inherit the corpus' splits by module, and a text of which more than a fifth of the word 6-grams stand in an
earlier part is left out (functions that were copied, sentences that are repeated everywhere). The last field of an
example is the answer. Sizes and shares in the docstrings are of the whole corpus, printed by
``tools/corpus.py tasks``; an installation with less of the corpus has fewer examples. For a quick
start, every function takes some of the libraries; it raises ValueError for an unknown split or library.
"""

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from ..corpora.documents import documentation
from ..corpora.installation import PACKAGES
from ..corpora.manifest import text_hash
from ..corpora.prose import sentences
from ..corpora.records import Record, records
from ..corpora.splits import ACROSS, SPLITS, ngrams, overlap

TASK_LIBRARIES = ("stdlib", "numpy", "torch", "matplotlib", "sympy", "networkx", "fonttools")
TASK_KINDS = ("module", "class", "method", "property", "function")
MAX_SOURCE = 2000  # characters of a function to be summarised

_LIBRARY_WORDS = {*PACKAGES, *map(str.lower, PACKAGES.values()), *"python cpython np plt mpl pytorch nx".split()}
_WORD = re.compile(r"(\w+(?:\.\w+)*)(?:'s\b)?")
_CODE = re.compile(r"_|[a-z][A-Z]|[A-Z]{2}[a-z]{2}|[A-Za-z]\d|\d[A-Za-z]|[A-Za-z]\.\w\w|[A-Za-z]\w\.\w")
_HOLES = re.compile(r"\([\s,]*\)|(['\"])\1|(?m:^[\s:,]+)|[ \t]*,(?=[ \t]*,)|[ \t]+(?=[ \t.,;:)\n]|$)|(?<=\()[\s,]+")
_ENTRY = re.compile(r"(\w+(?:, \w+)*)(?: \((.+?)\))?: (.+)")


class Classified(NamedTuple):
    """A text and the name or number of its class."""

    text: str
    label: str | int


class SentencePair(NamedTuple):
    """Two sentences, and whether the second follows the first."""

    first: str
    second: str
    is_next: bool


class Summary(NamedTuple):
    """A text, such as the source of a function, and what it says or does in short."""

    text: str
    summary: str


class Question(NamedTuple):
    """What is looked for, and the passage that tells more."""

    question: str
    passage: str


class Parameter(NamedTuple):
    """A parameter's name, type (empty where none is given) and description, and where in the text this begins."""

    name: str
    type: str
    description: str
    start: int


class ParameterSection(NamedTuple):
    """A docstring on one line, and the parameters that it describes."""

    text: str
    parameters: tuple[Parameter, ...]


_Example = TypeVar("_Example", bound=tuple)


def which_library(split: str = "train", libraries: Sequence[str] = TASK_LIBRARIES) -> list[Classified]:
    """Tells from a documentation which library it is of, when nothing in it says so: the main task for finetuning.

    Names of libraries, of the object and of the modules that it stands in are removed, and every word that is spelled
    like code; vocabulary and style remain, of which a pretrained model knows something. All libraries are equally
    frequent, in turn, so the first n examples are a balanced sample for learning from few labels.

    Train 5,866, validation 455, test 595; chance 14.3 %.

    Raises:
        ValueError: fewer than two libraries, or one that has nothing in this split.
    """
    if len(libraries) < 2:
        raise ValueError(f"libraries ({libraries!r}) must name at least two, or there is nothing to tell apart")
    return _balanced(_apart(split, lambda part: _nameless(part, libraries)), libraries)


def kind_of_object(split: str = "train", libraries: Sequence[str] | None = None) -> list[Classified]:
    """Tells from a documentation whether a module, class, method, property or function has it.

    Much of it can be seen in a few words (an imperative verb, "Parameters", "True if"), which any model learns from
    labels alone: the task beside ``which_library`` in which pretraining helps little. All kinds are
    equally frequent, in turn.

    Train 3,405, validation 135, test 455; chance 20.0 %.

    Raises:
        ValueError: a kind of which these libraries have none in this split.
    """
    return _balanced(_apart(split, lambda part: _by_kind(part, libraries)), TASK_KINDS)


def consecutive_sentences(split: str = "train", libraries: Sequence[str] | None = None) -> list[SentencePair]:
    """Tells whether a sentence follows another one: BERT's next sentence prediction.

    Positive pairs follow each other in a paragraph. In negative ones the second sentences have changed places, so
    that the second sentence alone tells nothing. They come from other documents, so a common topic gives much
    away: what this task teaches can be less than it seems. Positive and negative alternate.

    Train 18,548, validation 1,296, test 2,014; chance 50.0 %.
    """
    pairs = _apart(split, lambda part: _following(part, libraries))
    pairs.sort(key=lambda pair: text_hash(pair.first + pair.second))
    positives, others = pairs[::2], pairs[1::2]
    swapped = zip(others, others[1:] + others[:1], strict=True)
    negatives = [SentencePair(one.first, other.second, False) for one, other in swapped if one.of != other.of]
    both = zip(positives, negatives, strict=False)
    return [pair for positive, negative in both for pair in (SentencePair(*positive[:2], True), negative)]


def function_summaries(split: str = "train", libraries: Sequence[str] | None = None) -> list[Summary]:
    """Says in a sentence what a function does: from its source, without docstring, to the docstring's first sentence.

    Summarisation with real data at the size of a lesson (sources of at most MAX_SOURCE characters). Comments and
    names stay, and often say half of it: copying the function's name as words is the baseline to beat.

    Train 15,962, validation 1,201, test 2,105; the most frequent summary is 0.4 % of the test.
    """
    return _apart(split, lambda part: list(_summaries(part, libraries)))


def retrieval_questions(split: str = "train", libraries: Sequence[str] | None = None) -> list[Question]:
    """Finds the passage that goes with a question, among the passages of all examples.

    The question is the first sentence of a documentation, the passage the rest; no six words in a row are in both.
    Every question and every passage is there once, but a passage may well answer the question of another: measure
    ranks rather than the first hit alone.

    Train 9,187, validation 688, test 1,111; chance 0.1 %.
    """
    return _apart(split, lambda part: list(_questions(part, libraries)))


def parameter_extraction(split: str = "train", libraries: Sequence[str] | None = None) -> list[ParameterSection]:
    """Finds the parameters that a docstring describes: name, type, and the first paragraph of the description.

    The text is the docstring as written, in the style of its library, with line breaks as blanks; every
    description stands in it at ``start``, so it serves for spans and for answers. Only parameters of the
    signature count, and only descriptions of at least three words.

    Train 2,639, validation 214, test 320; the most frequent answer is 0.3 % of the test.
    """
    return _apart(split, lambda part: list(_sections(part, libraries)))


def without_names(text: str, names: Iterable[str] = ()) -> str:
    """The text without the names of the corpus' libraries, the given names, and words that are spelled like code.

    Example:
        >>> without_names("Returns the numpy array (see np.asarray) of a Matrix.", ["Matrix"])
        'Returns the array (see) of a.'
    """
    removed = _LIBRARY_WORDS | {name.lower() for name in names if len(name) > 2}
    text = _WORD.sub(lambda word: "" if word[1].lower() in removed or _CODE.search(word[1]) else word[0], text)
    return _HOLES.sub("", text).strip()


def _apart(split: str, examples: Callable[[str], list[_Example]]) -> list[_Example]:
    """The examples of a split in which no text resembles those of earlier splits."""
    own, seen = examples(split), set()
    for earlier in SPLITS[: SPLITS.index(split)]:
        seen.update(*(ngrams(text) for example in examples(earlier) for text in _texts(example)))
    return [example for example in own if all(overlap(text, seen) <= ACROSS for text in _texts(example))]


def _texts(example: tuple) -> list[str]:
    """Each text of an example, and all of them in a row: many short ones look alike only together."""
    fields = [field for field in example if isinstance(field, str)]
    return [*fields, " ".join(fields)]


def _balanced(examples: list[Classified], labels: Sequence[str]) -> list[Classified]:
    """As many of each class as the rarest has, in turn; which of them, their hashes decide."""
    texts = [sorted({text for text, label in examples if label == wanted}, key=text_hash) for wanted in labels]
    if empty := [label for label, found in zip(labels, texts, strict=True) if not found]:
        raise ValueError(f"this split must have examples of every class, but has none of {', '.join(empty)}")
    rounds = zip(*texts, strict=False)
    return [Classified(*example) for turn in rounds for example in zip(turn, labels, strict=True)]


def _has_words(text: str, least: int) -> bool:
    return len(text.split()) >= least


def _first_sentence(text: str) -> str:
    return sentences(text.split("\n")[0])[0]


def _nameless(split: str, libraries: Sequence[str]) -> list[Classified]:
    found = [
        Classified(without_names(document.text, f"{document.module}.{document.name}".split(".")), document.library)
        for document in documentation(split, libraries)
    ]
    return [example for example in found if _has_words(example.text, 8)]


def _by_kind(split: str, libraries: Sequence[str] | None) -> list[Classified]:
    return [Classified(record.text, record.kind) for record in records(split, libraries) if record.kind in TASK_KINDS]


class _Following(NamedTuple):
    """Two sentences in a row, and the number of their document."""

    first: str
    second: str
    of: int


def _following(split: str, libraries: Sequence[str] | None) -> list[_Following]:
    found = []
    for number, document in enumerate(documentation(split, libraries)):
        for paragraph in map(sentences, document.text.split("\n")):
            pairs = zip(paragraph[::2], paragraph[1::2], strict=False)
            found += [_Following(*pair, number) for pair in pairs if all(_has_words(text, 4) for text in pair)]
    return found


def _summaries(split: str, libraries: Sequence[str] | None) -> Iterable[Summary]:
    for record in records(split, libraries):
        summary, source = _first_sentence(record.text), record.source
        # Cleaning leaves out sentences, so what is first in the text may be a later one of the docstring.
        is_first = re.findall(r"\w+", summary)[:1] == re.findall(r"\w+", record.docstring)[:1]
        if 0 < len(source) <= MAX_SOURCE and is_first and _has_words(summary, 3) and summary not in source:
            yield Summary(source, summary)


def _questions(split: str, libraries: Sequence[str] | None) -> Iterable[Question]:
    asked = set()
    for document in documentation(split, libraries):
        question = _first_sentence(document.text)
        passage = document.text[len(question) :].strip()
        apart = not ngrams(question) & ngrams(passage)
        if apart and _has_words(question, 6) and _has_words(passage, 20) and not {question, passage} & asked:
            asked |= {question, passage}
            yield Question(question, passage)


def _sections(split: str, libraries: Sequence[str] | None) -> Iterable[ParameterSection]:
    for record in records(split, libraries):
        text = " ".join(record.docstring.split())
        parameters, at = [], 0
        for names, kind, description in _entries(record):
            start = text.find(description, at)
            while start >= 0 and not _bare(text[:start]).endswith(_bare(names + kind)):  # the same words elsewhere
                start = text.find(description, start + 1)
            if len(kind) > 40 and not description[0].isupper() and text[:start].endswith(f"{names}: {kind} "):
                # No type, but the first line of a description that goes on in a second one.
                start, kind, description = start - len(kind) - 1, "", f"{kind} {description}"
            parameters.append(Parameter(names, kind, description, start))
            at = start + len(description)
        if parameters and all(parameter.start >= 0 for parameter in parameters):
            yield ParameterSection(text, tuple(parameters))


def _entries(record: Record) -> list[tuple[str, ...]]:
    """Name (or names), type and description of the parameters in the cleaned text that the signature has too."""
    if record.kind not in ("function", "method"):
        return []
    arguments = ast.walk(ast.parse(f"def {record.signature}: ...").body[0].args)
    names = {argument.arg for argument in arguments if isinstance(argument, ast.arg)}
    matches = [_ENTRY.fullmatch(line) for line in record.text.split("\n")]
    known = (match.groups(default="") for match in matches if match and names >= set(match[1].split(", ")))
    return [entry for entry in known if _has_words(entry[2], 3)]


def _bare(text: str) -> str:
    """Letters and digits only, without roles such as :class:."""
    return re.sub(r":[a-z][\w:.+-]*:(?=`)|\W", "", text)
