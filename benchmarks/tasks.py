#!/usr/bin/env python3
"""What a linear model gets on the tasks with classes: the bar for whoever finetunes on them.

    python benchmarks/tasks.py              # about fifteen minutes on one thread; goes on where it stopped

TF-IDF of words (one and two in a row) or of characters (two to five, within words) and a logistic regression, learned
from 50, 200 or 1,000 labels of the training part, or from all. Which labels, five seeds decide, and classes stay
equally frequent. The strength of regularisation is the one that is best on the validation part, which is a little
generous where labels are few. Texts are cut to the tokens that the course models can read, so that all may see the
same. Of a pair, the linear model gets both sentences and, as a third part, their product: what stands in both.

Writes benchmarks/results/tasks.json after each cell.
"""

import json
import platform
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from pathlib import Path

import scipy.sparse
import sklearn
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from llmguide_lib import files  # noqa: E402
from llmguide_lib.corpora import SPLITS  # noqa: E402
from llmguide_lib.evaluation import bootstrap_mean, t_interval  # noqa: E402
from llmguide_lib.runs.recipes import LENGTH, course_tokenizer  # noqa: E402
from llmguide_lib.tasks import consecutive_sentences, kind_of_object, which_library  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "tasks.json"
TASKS = {task.__name__: task for task in (which_library, kind_of_object, consecutive_sentences)}
FEATURES = {
    "words": lambda: TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
    "characters": lambda: TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
}
LABELS, SEEDS, STRENGTHS = (50, 200, 1000, None), 5, (1.0, 10.0, 100.0)
Example = tuple[tuple[str, ...], str | int]  # the texts of an example (one or two) and its class

tokenizer = cache(course_tokenizer)


def cut(text: str, length: int) -> str:
    """The part of a text that a model with so many positions sees."""
    return tokenizer().decode(tokenizer().encode(text)[:length])


@cache
def examples(task: str, split: str) -> list[Example]:
    """The examples of a task; two sentences share the model's positions."""
    found = []
    for *texts, label in TASKS[task](split):
        found.append((tuple(cut(text, LENGTH // len(texts)) for text in texts), label))
    return found


def chosen(found: Sequence[Example], number: int | None, seed: int) -> list[Example]:
    """So many labelled examples; as the task gives the classes in turn, whole turns are drawn."""
    classes = len({label for _, label in found})
    turns = [found[at : at + classes] for at in range(0, len(found), classes)]
    random.Random(seed).shuffle(turns)
    return [example for turn in turns for example in turn][:number]


class Features:
    """TF-IDF learned from texts; of pairs also the product."""

    def __init__(self, make: Callable[[], TfidfVectorizer], found: Sequence[Example]) -> None:
        self.vectorizer = make().fit(text for texts, _ in found for text in texts)

    def __call__(self, found: Sequence[Example]) -> scipy.sparse.csr_matrix:
        """A row for each example."""
        sides = [self.vectorizer.transform(texts) for texts in zip(*(texts for texts, _ in found), strict=True)]
        return scipy.sparse.hstack([*sides, sides[0].multiply(sides[1])]) if len(sides) == 2 else sides[0]


def right(task: str, features: str, number: int | None, seed: int) -> tuple[torch.Tensor, float]:
    """Which test examples the linear model gets right, and the strength that the validation part chose."""
    labelled = chosen(examples(task, "train"), number, seed)
    table = Features(FEATURES[features], labelled)
    rows, answers = table(labelled), [label for _, label in labelled]
    held_out = {split: (table(examples(task, split)), [label for _, label in examples(task, split)]) for split in
                ("validation", "test")}  # fmt: skip
    models = [LogisticRegression(C=strength, max_iter=2000).fit(rows, answers) for strength in STRENGTHS]
    best = max(range(len(models)), key=lambda at: models[at].score(*held_out["validation"]))
    inputs, expected = held_out["test"]
    return torch.from_numpy(models[best].predict(inputs) == expected), STRENGTHS[best]


def cell(task: str, features: str, number: int | None) -> dict[str, object]:
    """Accuracy in percent with its interval: over seeds, or over test examples where all labels are used."""
    runs = [right(task, features, number, seed) for seed in range(SEEDS if number else 1)]
    scores = [round(100 * hits.double().mean().item(), 1) for hits, _ in runs]
    found = t_interval(torch.tensor(scores)) if number else bootstrap_mean(100 * runs[0][0].double())
    return {
        "accuracy": round(found.value, 1),
        "interval": [round(found.low, 1), round(found.high, 1)],
        "of_seeds": scores,
        "strengths": [strength for _, strength in runs],
    }


def majority(task: str) -> float:
    """Accuracy in percent of always giving the most frequent class of the training part."""
    ((most, _),) = Counter(label for _, label in examples(task, "train")).most_common(1)
    test = [label for _, label in examples(task, "test")]
    return round(100 * test.count(most) / len(test), 1)


def main() -> None:
    done = json.loads(RESULTS.read_text(encoding="utf-8"))["tasks"] if RESULTS.exists() else {}
    for task, features, number in product(TASKS, FEATURES, LABELS):
        found = done.setdefault(task, {})
        if str(number or "all") in found.get(features, {}):
            continue
        found.setdefault("examples", {split: len(examples(task, split)) for split in SPLITS})
        found.setdefault("majority", majority(task))
        found.setdefault(features, {})[str(number or "all")] = cell(task, features, number)
        print(task, features, number or "all", found[features][str(number or "all")], flush=True)
        content = {
            "command": "python benchmarks/tasks.py",
            "what": "accuracy in percent on the test part by number of labels, with 95 % intervals: over the choice of "
            "labels (five seeds, test examples fixed), or over test examples where all labels are used",
            "measured_on": f"{platform.system()} {platform.machine()}",
            "versions": {"python": platform.python_version(), "scikit-learn": sklearn.__version__},
            "tasks": done,
        }
        files.write_atomically(RESULTS, [(json.dumps(content, indent=1) + "\n").encode()])


if __name__ == "__main__":
    main()
