#!/usr/bin/env python3
"""What finetuning brings, by method and number of labels: chapter 09's table, and what it costs elsewhere.

    python benchmarks/finetuning.py         # about two hours on one thread; goes on where it stopped

It runs the cells of the lesson itself, so that the record and what a reader trains cannot differ. Every method reads
the same first 32 tokens of a text. Learning rates (and what holds linear models back) are chosen on the validation
part with draws of labels of their own, then used with five other draws, the same for every method.
Each result goes to llmguide_lib/data/runs/finetuning.json as soon as it is there; chapter 09 reads them.
"""

import ast
import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from bookbuilder.source import read_source  # noqa: E402

from llmguide_lib import course, tasks, training  # noqa: E402
from llmguide_lib.adapters import add_lora, remove_lora  # noqa: E402
from llmguide_lib.corpora import documentation  # noqa: E402
from llmguide_lib.corpora.storage import token_row  # noqa: E402
from llmguide_lib.evaluation import bits_per_byte, masked_accuracy  # noqa: E402
from llmguide_lib.objectives import MaskedTokens, NextToken, Windows, masked_cross_entropy  # noqa: E402
from llmguide_lib.runs import report  # noqa: E402
from llmguide_lib.runs.recipes import masking  # noqa: E402

LESSON = ROOT / "chapters" / "09_finetuning" / "lesson.py"
RESULTS = ROOT / "llmguide_lib" / "data" / "runs" / "finetuning.json"
CELLS = ("imports", "task", "classifier", "linear", "methods", "finetune")
TRIALS, SEEDS, LABELS, TUNED_AT = (100, 101), (0, 1, 2, 3, 4), (50, 200, 1000), 200
RATES = {  # five for each, the best of them not at an edge
    "from scratch": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    "head only": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    "last layers": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "full": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    "LoRA 1": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "LoRA 4": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "LoRA 16": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "bottleneck": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "prompt": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
}
SECOND = ("from scratch", "full", "LoRA 4")  # the methods of the second task
LONGER, LONGER_RATE = 3, 1e-3  # times the steps, and the rate, of another try from scratch
MORE = 128  # tokens of a text in another try, in which all may read more
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
STRENGTHS = (1.0, 10.0, 100.0)
NGRAMS = {
    "words": lambda: TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
    "characters": lambda: TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
}
SHOWN, SHOT_LENGTH = 140, 20  # texts asked after seven others; tokens of each of those
KNOWN_AS = {"stdlib": "Python", "numpy": "NumPy", "torch": "PyTorch", "matplotlib": "Matplotlib", "sympy": "SymPy",
            "networkx": "NetworkX", "fonttools": "fontTools"}  # fmt: skip
SPECIAL, SPECIAL_STEPS, SPECIAL_ROWS, SPECIAL_LENGTH, SPECIAL_SEEDS = "sympy", 60, 8, 128, (0, 1, 2)
SPECIAL_RATES = {"full": 3e-4, "LoRA 4": 3e-3}


def cells() -> dict[str, str]:
    """The code of the lesson's cells, by name."""
    found = {item.id: item.cell.text for item in read_source(LESSON).items if item.id in CELLS}
    return {name: found[name] for name in CELLS}


def cells_hash() -> str:
    """Hash of what the cells do: comments and line breaks do not count, nor what is imported for other cells."""
    work = [ast.dump(ast.parse(code)) for name, code in cells().items() if name != "imports"]
    return hashlib.sha256("".join(work).encode()).hexdigest()[:16]


@cache
def names() -> dict:
    """The names that the lesson's cells define."""
    found: dict = {}
    for name, code in cells().items():
        exec(compile(code, f"{LESSON.name}:{name}", "exec"), found)
    return found


@contextmanager
def altered(**values: object) -> Iterator[None]:
    """Other values than the lesson's, for a while."""
    before = {name: names()[name] for name in values}
    try:
        _put(values)
        yield
    finally:
        _put(before)


def _put(values: dict) -> None:
    names().update(values)
    for made in (texts, held_states):  # with the other values
        made.cache_clear()


@cache
def examples(task: str, split: str) -> list:
    """The examples of a task."""
    return getattr(tasks, task)(split)


@cache
def classes(task: str) -> list[str]:
    """The names of the classes, in order."""
    return sorted({example.label for example in examples(task, "train")})


@cache
def texts(task: str, split: str):
    """All texts of a part."""
    return names()["numbered"](examples(task, split), classes(task))


def labelled(task: str, number: int, seed: int):
    """A draw of labels."""
    return names()["numbered"](names()["drawn"](examples(task, "train"), number, seed), classes(task))


def packed(hits: Tensor) -> str:
    """Which texts were right, as hexadecimal digits; the first text is the last bit."""
    return f"{sum(1 << place for place, hit in enumerate(hits.tolist()) if hit):x}"


def scored(hits: Tensor, **more: float) -> dict:
    """What is kept of a run."""
    return {"accuracy": round(hits.double().mean().item(), 4), "hits": packed(hits), **more}


class Record:
    """What is measured so far, unless the lesson's cells have changed since; every new value is written at once."""

    def __init__(self) -> None:
        kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        self.content = kept if kept.get("lesson") == cells_hash() else {}
        self.content |= {
            "lesson": cells_hash(),
            "command": "python benchmarks/finetuning.py",
            "what": "share of right answers on the test part by task, method, labels and draw (hits: one bit for each "
            "test text); seconds are CPU seconds of training on one thread: compare those under timed, which were "
            "measured in turn on one machine",
            "measured_on": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "corpus": report.corpus_hash(),
        }
        for part in ("trials", "chosen", "cells", "tests", "timed"):
            self.content.setdefault(part, {})

    def once(self, part: str, name: str, seed: int, run: Callable[..., dict], *arguments: object) -> dict:
        """What ``run(*arguments, seed)`` measures, if it is not there yet."""
        values = self.content[part].setdefault(name, {})
        if str(seed) not in values:
            values[str(seed)] = run(*arguments, seed)
            report.write(RESULTS, self.content)
            shown = {key: value for key, value in values[str(seed)].items() if "hits" not in key}
            sys.stdout.write(f"{time.strftime('%X')} {name}, seed {seed}: {shown}\n")
            sys.stdout.flush()
        return values[str(seed)]

    def forget(self, name: str, seed: int, rate: float) -> None:
        """Drops a result of another rate than the one that is best now."""
        values = self.content["cells"].get(name, {})
        if values.get(str(seed), {}).get("rate", rate) != rate:
            del values[str(seed)]

    def choose(self, name: str, options: dict, seeds: tuple[int, ...], run: Callable[..., dict]) -> object:
        """The option with which ``run(option, seed)`` is best on average over trials on the validation part."""

        def mean(label: str) -> float:
            trials = [self.once("trials", f"{name}, {label}", seed, run, options[label]) for seed in seeds]
            return sum(trial["accuracy"] for trial in trials) / len(trials)

        best = max(options, key=mean)
        self.content["chosen"][name] = best
        return options[best]


def trained(task: str, method: str, reader: nn.Module, number: int, rate: float, seed: int):
    """A finetuned classifier and the CPU seconds that it took."""
    rows = labelled(task, number, seed)
    started = time.process_time()
    model, _ = names()["finetuned"](method, reader, rows, rate, seed)
    return model, round(time.process_time() - started, 2)


def trial(task: str, method: str, reader: nn.Module, rate: float, seed: int) -> dict:
    """How good a rate is."""
    model, _ = trained(task, method, reader, TUNED_AT, rate, seed)
    return {"accuracy": round(names()["hits"](model, texts(task, "validation")).double().mean().item(), 4)}


def result(task: str, method: str, reader: nn.Module, number: int, rate: float, seed: int) -> dict:
    """A cell of the table, for one draw."""
    model, seconds = trained(task, method, reader, number, rate, seed)
    more = kept(task, method, number, model)
    return scored(names()["hits"](model, texts(task, "test")), rate=rate, seconds=seconds, **more)


def longer(reader: nn.Module, seed: int) -> dict:
    """Training from scratch with more steps, in case equal steps are too few for it."""
    with altered(STEPS=names()["STEPS"] | {1000: LONGER * names()["STEPS"][1000]}):
        return result("which_library", "from scratch", reader, 1000, LONGER_RATE, seed)


def kept(task: str, method: str, number: int, model: nn.Module) -> dict:
    """What is left of the exam of pretraining, where that is asked."""
    asked = task == "which_library" and number == 1000 and method in ("full", "LoRA 4", "last layers")
    if not asked or not hasattr(model.reader, "mlm_transform"):  # a decoder has another exam
        return {}
    return {"masked": round(masked_accuracy(model.reader, masked_texts()), 4)}


@cache
def rows_of(split: str) -> Tensor:
    """The documentation as one row of tokens."""
    return token_row([document.text for document in documentation(split)], names()["tokenizer"])


@cache
def masked_texts() -> list:
    """Held-out windows, 15 % of the tokens hidden."""
    row, starts = rows_of("validation"), torch.arange(60) * 1024
    windows = row[starts[:, None] + torch.arange(128)].long()
    return [masking(0.15)(windows, torch.Generator().manual_seed(0))]


def by_rate(
    record: Record,
    task: str,
    reader: nn.Module,
    methods: tuple[str, ...],
    labels: tuple[int, ...] = LABELS,
    prefix: str = "",
) -> None:
    """The part of the table that gradients make, one draw after the other."""
    best = {
        method: record.choose(
            f"{prefix}{task}, {method}",
            {f"{rate:g}": rate for rate in RATES[method]},
            TRIALS,
            partial(trial, task, method, reader),
        )
        for method in methods
    }
    for seed, method, number in product(SEEDS, methods, labels):
        name = f"{prefix}{task}, {method}, {number}"
        record.forget(name, seed, best[method])
        record.once("cells", name, seed, result, task, method, reader, number, best[method])


def linear(record: Record, task: str, prefix: str = "") -> None:
    """Frozen features and TF-IDF, each with a logistic regression."""
    record.content["tests"][f"{prefix}{task}"] = len(examples(task, "test"))
    strengths = {f"{kind} {strength:g}": (kind, strength) for kind, strength in product(NGRAMS, STRENGTHS)}
    kinds = {"frozen features": (frozen, {f"{one:g}": one for one in PENALTIES}), "TF-IDF": (tfidf, strengths)}
    for number, (kind, (run, options)) in product(LABELS, kinds.items()):
        name = f"{prefix}{task}, {kind}, {number}"
        best = record.choose(name, options, TRIALS, partial(run, task, "validation", number))
        for seed in SEEDS:
            record.once("cells", name, seed, run, task, "test", number, best)


def mean_states(rows) -> Tensor:
    """What the frozen encoder makes of texts."""
    return names()["in_parts"](names()["Classifier"](names()["pretrained"], 2).mean_state, rows)


@cache
def held_states(task: str, split: str) -> Tensor:
    """The frozen states of a part."""
    return mean_states(texts(task, split))


def frozen(task: str, split: str, number: int, penalty: float, seed: int) -> dict:
    """A logistic regression on frozen states."""
    rows, held = labelled(task, number, seed), texts(task, split)
    started = time.process_time()
    head = names()["fitted_head"](mean_states(rows), rows.targets, len(classes(task)), penalty)
    seconds = round(time.process_time() - started, 2)
    return scored(head(held_states(task, split)).argmax(dim=-1) == held.targets, seconds=seconds)


def tfidf(task: str, split: str, number: int, option: tuple[str, float], seed: int) -> dict:
    """A logistic regression on TF-IDF of what the tokens that the others read say."""
    kind, strength = option
    rows, held = labelled(task, number, seed), texts(task, split)
    started = time.process_time()
    table = NGRAMS[kind]()
    model = LogisticRegression(C=strength, max_iter=2000).fit(table.fit_transform(said(rows)), rows.targets.numpy())
    seconds = round(time.process_time() - started, 2)
    return scored(torch.from_numpy(model.predict(table.transform(said(held)))) == held.targets, seconds=seconds)


def said(rows) -> list[str]:
    """The texts, as far as they are read."""
    return [names()["tokenizer"].decode(row[mask].tolist()) for row, mask in zip(rows.tokens, rows.mask, strict=True)]


class Mixed(NamedTuple):
    """Labelled texts, and windows of which some tokens are hidden."""

    tokens: Tensor
    mask: Tensor
    targets: Tensor
    windows: Tensor
    hidden: Tensor


def mixed(rate: float, seed: int) -> dict:
    """Full finetuning whose every batch also asks for hidden tokens, as pretraining did."""
    rows, steps = labelled("which_library", 1000, seed), names()["STEPS"][1000]
    hidden = iter(MaskedTokens(Windows(rows_of("train"), 64, 8, seed=seed), masking(0.3)))
    both = [Mixed(*part, *next(hidden)[:2]) for part in names()["batches"](rows, steps, seed)]

    def loss(model: nn.Module, batch: Mixed) -> Tensor:
        asked = (batch.hidden != -100).sum()
        words = masked_cross_entropy(model.reader, names()["Texts"](batch.windows, None, batch.hidden)) / asked
        return names()["class_loss"](model, names()["Texts"](*batch[:3])) + words * len(batch.targets)

    torch.manual_seed(seed)
    model = names()["Classifier"](course.load("bert")[0], len(classes("which_library")))
    started = time.process_time()
    training.train(model, both, recipe(rate, steps, seed), loss=loss)
    seconds = round(time.process_time() - started, 2)
    hits = names()["hits"](model, texts("which_library", "test"))
    return scored(hits, seconds=seconds) | kept("which_library", "full", 1000, model)


def recipe(rate: float, steps: int, seed: int) -> training.TrainConfig:
    """The lesson's settings."""
    return training.TrainConfig(
        steps=steps,
        optimizer=training.AdamW(lr=rate, weight_decay=0.01, betas=(0.9, 0.98)),
        schedule=training.Cosine(warmup_steps=steps // 10),
        precision="float32",
        eval_every=None,
        seed=seed,
    )


def in_context(shots: int, seed: int) -> dict:
    """The decoder is asked in words, after so many solved examples of each class; nothing is trained.

    Its answer is the class whose name's first token is most probable; calibrated: more probable than on average over
    the test texts, of which no label is used.
    """
    model, tokenizer = course.load("gpt")
    encode, found = tokenizer.encode, []
    shown = names()["drawn"](examples("which_library", "train"), shots * len(KNOWN_AS), seed) if shots else []
    before = [token for example in shown for token in [
        *encode(example.text)[:SHOT_LENGTH], *encode(f"\nLibrary: {KNOWN_AS[example.label]}\n\n")]]  # fmt: skip
    answers = torch.tensor([encode(f" {KNOWN_AS[label]}")[0] for label in classes("which_library")])  # all differ
    asked = SHOWN if shots else len(examples("which_library", "test"))  # examples in front make it slow
    for example in examples("which_library", "test")[:asked]:
        prompt = [*before, *encode(example.text)[: names()["LENGTH"]], *encode("\nLibrary:")]
        with torch.no_grad():
            found.append(model(torch.tensor([prompt]))[0, -1].log_softmax(dim=-1)[answers])
    scores, targets = torch.stack(found), texts("which_library", "test").targets[:asked]
    calibrated = scores - scores.mean(dim=0)
    after = scored(calibrated.argmax(dim=-1) == targets)
    return scored(scores.argmax(dim=-1) == targets) | {f"calibrated_{name}": value for name, value in after.items()}


def specialised(method: str, seed: int) -> dict:
    """The decoder reads on in one library's documentation: bits per byte there and elsewhere, before and after."""
    model, tokenizer = course.load("gpt")
    if method != "full":
        add_lora(model, 4, 8)
    row = token_row([document.text for document in documentation("train", [SPECIAL])], tokenizer)
    measure = {"before": bits(model, tokenizer)}
    batches = NextToken(Windows(row, SPECIAL_LENGTH, SPECIAL_ROWS, seed=seed))
    training.train(model, batches, recipe(SPECIAL_RATES[method], SPECIAL_STEPS, seed))
    measure["after"] = bits(model, tokenizer)
    if method != "full":
        remove_lora(model)
        measure["taken off"] = bits(model, tokenizer)
    return measure


def bits(model: nn.Module, tokenizer) -> dict[str, float]:
    """Bits per byte of test documents of the library and of the others."""
    end, found = tokenizer.token_to_id("<|endoftext|>"), {}
    others = [name for name in KNOWN_AS if name != SPECIAL]
    for name, libraries in ((SPECIAL, [SPECIAL]), ("others", others)):
        part = [document.text for document in documentation("test", libraries)]
        found[name] = round(bits_per_byte(model, part[:: max(1, len(part) // 60)][:60], tokenizer.encode, end), 4)
    return found


def time_all(record: Record, reader: nn.Module) -> None:
    """What each method's training takes with 200 labels, all in turn, three times."""
    task, chosen = "which_library", record.content["chosen"]
    kind, strength = chosen[f"{task}, TF-IDF, {TUNED_AT}"].split()
    linears = {
        "frozen features": (frozen, float(chosen[f"{task}, frozen features, {TUNED_AT}"])),
        "TF-IDF": (tfidf, (kind, float(strength))),
    }

    def timed(method: str, again: int) -> dict:
        if method in linears:
            run, option = linears[method]
            return {"seconds": run(task, "validation", TUNED_AT, option, again)["seconds"]}
        rate = float(chosen[f"{task}, {method}"])
        return {"seconds": trained(task, method, reader, TUNED_AT, rate, again)[1]}

    for again, method in product(range(3), (*linears, *RATES)):
        record.once("timed", method, again, timed, method)


def main() -> None:
    """Measures what is not measured yet, the most important first."""
    torch.set_num_threads(1)
    record, pretrained, decoder = Record(), names()["pretrained"], course.load("gpt")[0]
    record.content["masked_before"] = round(masked_accuracy(pretrained, masked_texts()), 4)
    linear(record, "which_library")
    by_rate(record, "which_library", pretrained, tuple(RATES))
    rate = float(record.content["chosen"]["which_library, full"])
    for seed in SEEDS[:3]:
        record.once("cells", "which_library, full and hidden tokens, 1000", seed, mixed, rate)
        slower = ("which_library", "full", pretrained, 1000, 0.3 * rate)
        record.once("cells", "which_library, full at 0.3 of its rate, 1000", seed, result, *slower)
    record.once("cells", "decoder, which_library, zero-shot", 0, in_context, 0)
    for seed in SEEDS:
        record.once("cells", "decoder, which_library, few-shot", seed, in_context, 1)
    by_rate(record, "which_library", decoder, ("full",), LABELS[:2], "decoder, ")
    linear(record, "kind_of_object")
    by_rate(record, "kind_of_object", pretrained, SECOND)
    for method, seed in product(SPECIAL_RATES, SPECIAL_SEEDS):
        record.once("cells", f"decoder reads {SPECIAL}, {method}", seed, specialised, method)
    for seed in SEEDS:
        record.once("cells", "which_library, from scratch for longer, 1000", seed, longer, pretrained)
    time_all(record, pretrained)
    with altered(LENGTH=MORE):
        linear(record, "which_library", "more tokens, ")
        by_rate(record, "which_library", pretrained, ("full",), LABELS, "more tokens, ")
    report.write(RESULTS, record.content)


if __name__ == "__main__":
    main()
