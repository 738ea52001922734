#!/usr/bin/env python3
"""What masking rate, the 80/10/10 rule and next sentence prediction do, each with three seeds.

    python benchmarks/masking.py            # about fifteen minutes on one thread; goes on where it stopped

Rates and shares: small encoders, trained anew, the same number of tokens read by each. Next sentence: the course
encoder goes on with pairs of sentences, once with and once without that task, on the same texts.
Results go to llmguide_lib/data/runs/masking.json after each cell; chapter 05 reads them.
"""

import json
import platform
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmguide_lib import course, files, runtime, training  # noqa: E402
from llmguide_lib.corpora import documentation  # noqa: E402
from llmguide_lib.corpora.storage import token_row  # noqa: E402
from llmguide_lib.evaluation import masked_accuracy  # noqa: E402
from llmguide_lib.models import ModernBERT, ModernBERTConfig  # noqa: E402
from llmguide_lib.objectives import MaskedTokens, Masking, Windows, masked_cross_entropy  # noqa: E402
from llmguide_lib.runs.recipes import SPECIAL_TOKENS, VOCAB_SIZE  # noqa: E402
from llmguide_lib.tasks.views import Classified, SentencePair, consecutive_sentences, which_library  # noqa: E402

RESULTS = Path(__file__).resolve().parent.parent / "llmguide_lib" / "data" / "runs" / "masking.json"
SEEDS = (0, 1, 2)
RATES = (0.05, 0.15, 0.3, 0.8)
SHARES = {  # of the chosen tokens: hidden behind the mask, replaced by another one; the rest stays
    "80 mask, 10 random, 10 kept": (0.8, 0.1),
    "100 mask": (1.0, 0.0),
    "80 mask, 20 kept": (0.8, 0.0),
    "80 mask, 20 random": (0.8, 0.2),
}
SHARES_RATE = 0.3
STEPS, LENGTH, ROWS = 250, 64, 32
PAIR_STEPS, PAIRS, HALF = 100, 24, 30
END, MASK, PAD = (SPECIAL_TOKENS.index(token) for token in ("<|endoftext|>", "<|mask|>", "<|pad|>"))
WHAT = {
    "masked": "share found of held-out tokens behind a mask, 15 % hidden",
    "kept": "the same where the chosen tokens stand there unchanged",
    "mended": "the same where another token, drawn at random, stands there",
    "library": "which of seven libraries a held-out text is of, from the frozen mean state (linear probe, 420 labels)",
    "next": "pairs of held-out sentences told apart (follows or random) by the head",
    "probe": "the same by a linear probe on the frozen mean states, 600 pairs to learn from",
    "order": "pairs that do follow each other for which the head prefers the right order to the exchanged one",
    "words": "the same pairs told apart by the number of words that they share",
}


def masking(rate: float, shares: tuple[float, float]) -> Masking:
    """BERT's rule with other numbers; those tokens that belong to no text are never chosen."""
    special = tuple(range(len(SPECIAL_TOKENS)))
    return Masking(rate, MASK, VOCAB_SIZE, special=special, shares=shares)


def small_encoder() -> ModernBERT:
    """The course encoder's kind, a fifth of its size: one layer sees everything, two see four tokens on each side."""
    return ModernBERT(
        ModernBERTConfig(
            vocab_size=VOCAB_SIZE, max_seq_len=LENGTH, d_model=96, num_heads=3, num_layers=3, d_ff=288,
            rope_theta=10_000.0, window=5, global_every=3,
        )
    )  # fmt: skip


class Held(NamedTuple):
    """What every run is measured on: windows of held-out text, labelled texts, pairs of sentences."""

    windows: Tensor
    texts: tuple[list[Classified], list[Classified]]
    pairs: tuple[list[SentencePair], list[SentencePair]]


class Frequencies(nn.Module):
    """Knows only how frequent the tokens of the training text are: its scores are the same at every place."""

    def __init__(self, row: Tensor) -> None:
        super().__init__()
        counts = torch.bincount(row.long(), minlength=VOCAB_SIZE)
        counts[: len(SPECIAL_TOKENS)] = 0  # never asked for
        self.scores = nn.Parameter(counts.float())

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """As encoders are called; neither tokens nor mask are looked at."""
        return self.scores.expand(*tokens.shape, -1)


def found(model: nn.Module, windows: Tensor) -> dict[str, float]:
    """Shares of tokens that the model finds: behind a mask, unchanged, replaced."""
    fates = {"masked": (1.0, 0.0), "kept": (0.0, 0.0), "mended": (0.0, 1.0)}
    return {name: share_found(model, windows, shares) for name, shares in fates.items()}


def share_found(model: nn.Module, windows: Tensor, shares: tuple[float, float]) -> float:
    """The share of 15 % of the tokens that the model finds where they have been treated like this."""
    return masked_accuracy(model, [masking(0.15, shares)(windows, torch.Generator().manual_seed(0))])


@torch.no_grad()
def mean_states(model: nn.Module, rows: list[list[int]]) -> Tensor:
    """The mean final state of each text, without its filling."""
    parts = []
    for start in range(0, len(rows), 64):
        tokens, mask = padded(rows[start : start + 64])
        states = model.hidden(tokens, mask) * mask[..., None]
        parts.append(states.sum(dim=1) / mask.sum(dim=1, keepdim=True))
    return torch.cat(parts)


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Rows filled up to the same length, and which of their tokens are real."""
    tokens = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)
    return tokens, tokens != PAD


def probed(train: Tensor, labels: Tensor, test: Tensor, answers: Tensor) -> float:
    """Accuracy of a logistic regression with a fixed penalty on standardised features."""
    mean, spread = train.mean(dim=0), train.std(dim=0) + 1e-6
    train, test = (train - mean) / spread, (test - mean) / spread
    probe = nn.Linear(train.shape[1], int(labels.max()) + 1)
    nn.init.zeros_(probe.weight)
    optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(probe(train), labels) + 0.01 * probe.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return (probe(test).argmax(dim=-1) == answers).double().mean().item()


def library_probe(model: nn.Module, encode: Callable[[str], list[int]], texts: tuple, length: int) -> float:
    """How well a linear probe tells the libraries apart."""
    names = sorted({example.label for example in texts[0]})
    states = [mean_states(model, [encode(example.text)[:length] for example in part]) for part in texts]
    labels = [torch.tensor([names.index(example.label) for example in part]) for part in texts]
    return probed(states[0], labels[0], states[1], labels[1])


def masked_run(row: Tensor, held: Held, encode: Callable, masks: Masking, seed: int) -> dict[str, float]:
    """A small encoder trained anew, and what it can do."""
    runtime.seed_everything(seed)
    model = small_encoder()
    config = training.TrainConfig(
        steps=STEPS,
        optimizer=training.Muon(lr=2e-2, rest=training.AdamW(lr=6e-3)),
        schedule=training.Cosine(warmup_steps=10),
        precision="float32",
        log_every=STEPS,
        eval_every=None,
        seed=seed,
    )
    batches = MaskedTokens(Windows(row, LENGTH, ROWS, seed=seed), masks)
    training.train(model, batches, config, loss=masked_cross_entropy)
    return found(model, held.windows[:, :LENGTH]) | {"library": library_probe(model, encode, held.texts, LENGTH)}


class PairBatch(NamedTuple):
    """Two sentences in each row with tokens hidden, and whether the second follows (1) or not (0)."""

    tokens: Tensor
    targets: Tensor
    mask: Tensor
    follows: Tensor


class Pairs:
    """Batches of pairs, shuffled by the seed, without end."""

    def __init__(self, pairs: list[SentencePair], encode: Callable[[str], list[int]], seed: int) -> None:
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
        self.pairs, self.encode, self.seed = [pairs[place] for place in order], encode, seed
        self.masks = masking(0.15, (0.8, 0.1))

    def __iter__(self):
        for number in count():
            some = [self.pairs[(number * PAIRS + place) % len(self.pairs)] for place in range(PAIRS)]
            tokens, mask = padded([joined(pair.first, pair.second, self.encode) for pair in some])
            hidden = self.masks(tokens, torch.Generator().manual_seed(1000 * self.seed + number))
            yield PairBatch(hidden.tokens, hidden.targets, mask, torch.tensor([int(pair.is_next) for pair in some]))


def joined(first: str, second: str, encode: Callable[[str], list[int]]) -> list[int]:
    """Both sentences, the first token standing for the pair, as BERT's [CLS] A [SEP] B [SEP]."""
    return [END, *encode(first)[:HALF], END, *encode(second)[:HALF], END]


class FirstToken(nn.Module):
    """BERT's head for the next sentence: a tanh layer on the state of the first token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Two scores for each pair: random, follows."""
        return self.layers(states[:, 0])


class BothSentences(nn.Module):
    """A head that compares the mean states of both sentences, as sentence encoders are trained."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4 * width, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Two scores for each pair: random, follows."""
        part = (tokens == END).cumsum(dim=1)  # 1 in the first sentence, 2 in the second, 3 in what is filled up
        first, second = (
            (states * (part == number)[..., None]).sum(dim=1) / (part == number).sum(dim=1, keepdim=True).clamp(min=1)
            for number in (1, 2)
        )
        return self.layers(torch.cat([first, second, (first - second).abs(), first * second], dim=1))


class PairModel(nn.Module):
    """The course encoder and a head for the next sentence."""

    def __init__(self, encoder: ModernBERT, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.blocks, self.head = encoder, encoder.blocks, head


ARMS = {  # the head, and the share of its loss
    "hidden tokens alone": (FirstToken, 0.0),
    "hidden tokens and next sentence": (FirstToken, 1.0),
    "hidden tokens and next sentence, both sentences compared": (BothSentences, 1.0),
}


def pair_loss(share: float) -> Callable[[nn.Module, PairBatch], Tensor]:
    """Mean loss of the hidden tokens plus ``share`` of that of the pairs, as a sum over the tokens."""

    def loss(model: PairModel, batch: PairBatch) -> Tensor:
        asked = batch.targets != -100
        states = model.encoder.hidden(batch.tokens, batch.mask)
        words = F.cross_entropy(model.encoder.scores(states[asked]), batch.targets[asked], reduction="sum")
        return words + share * F.cross_entropy(model.head(states, batch.tokens), batch.follows) * asked.sum()

    return loss


def pair_run(
    pairs: list[SentencePair], held: Held, head: Callable[[int], nn.Module], share: float, seed: int
) -> dict[str, float]:
    """The course encoder, trained further on pairs with or without the second task, and what it can do then."""
    encoder, tokenizer = course.load("bert")
    runtime.seed_everything(seed)
    model = PairModel(encoder, head(encoder.config.d_model))
    config = training.TrainConfig(
        steps=PAIR_STEPS,
        optimizer=training.AdamW(lr=5e-4),
        schedule=training.Cosine(warmup_steps=10),
        precision="float32",
        log_every=PAIR_STEPS,
        eval_every=None,
        seed=seed,
    )
    training.train(model, Pairs(pairs, tokenizer.encode, seed), config, loss=pair_loss(share))
    encoder.eval()
    measured = {
        "masked": share_found(encoder, held.windows[:80, :128], (1.0, 0.0)),
        "library": library_probe(encoder, tokenizer.encode, held.texts, LENGTH),
        "probe": pair_probe(encoder, tokenizer.encode, held.pairs),
    }
    return measured | (head_scores(model, tokenizer.encode, held.pairs[1]) if share else {})


def pair_probe(encoder: nn.Module, encode: Callable[[str], list[int]], pairs: tuple) -> float:
    """How well a linear probe tells from the mean states of both sentences whether one follows the other."""
    features = []
    for part in pairs:
        first, second = (mean_states(encoder, [[END, *encode(text)[:HALF], END] for text in texts]) for texts in (
            [pair.first for pair in part], [pair.second for pair in part]))  # fmt: skip
        features.append(torch.cat([(first - second).abs(), first * second], dim=1))
    labels = [torch.tensor([int(pair.is_next) for pair in part]) for part in pairs]
    return probed(features[0], labels[0], features[1], labels[1])


@torch.no_grad()
def head_scores(model: PairModel, encode: Callable[[str], list[int]], pairs: list[SentencePair]) -> dict[str, float]:
    """What the head says about held-out pairs, as they are and with their sentences exchanged."""

    def margin(rows: list[list[int]]) -> Tensor:
        parts = (padded(rows[at : at + 64]) for at in range(0, len(rows), 64))
        return torch.cat([model.head(model.encoder.hidden(*part), part[0]) for part in parts]).diff(dim=1)[:, 0]

    follows = torch.tensor([pair.is_next for pair in pairs])
    straight = margin([joined(pair.first, pair.second, encode) for pair in pairs])
    turned = margin([joined(pair.second, pair.first, encode) for pair in pairs])
    return {
        "next": ((straight > 0) == follows).double().mean().item(),
        "order": (straight > turned)[follows].double().mean().item(),
    }


def shared_words(pairs: tuple[list[SentencePair], list[SentencePair]]) -> float:
    """Accuracy of: it follows if both share at least so many words; how many is chosen on the training pairs."""
    counts = [
        torch.tensor([len(set(pair.first.lower().split()) & set(pair.second.lower().split())) for pair in part])
        for part in pairs
    ]
    labels = [torch.tensor([pair.is_next for pair in part]) for part in pairs]
    best = max(range(1, 8), key=lambda least: int(((counts[0] >= least) == labels[0]).sum()))
    return ((counts[1] >= best) == labels[1]).double().mean().item()


def main() -> None:
    """Measures what is not measured yet."""
    _, tokenizer = course.load("bert")
    texts = {split: [document.text for document in documentation(split)] for split in ("train", "validation")}
    row, heldout = (token_row(texts[split], tokenizer) for split in ("train", "validation"))
    starts = torch.arange(0, len(heldout) - 256, 1024)[:120]
    pairs = consecutive_sentences("train")
    held = Held(
        heldout[starts[:, None] + torch.arange(256)].long(),
        (which_library("train")[:420], which_library("validation")[:350]),
        (pairs[:600], consecutive_sentences("validation")[:600]),
    )
    plan = {f"rate {rate}": lambda seed, rate=rate: masked_run(
        row, held, tokenizer.encode, masking(rate, (0.8, 0.1)), seed) for rate in RATES}  # fmt: skip
    plan |= {f"shares {name}": lambda seed, shares=shares: masked_run(
        row, held, tokenizer.encode, masking(SHARES_RATE, shares), seed)
        for name, shares in SHARES.items() if shares != (0.8, 0.1)}  # fmt: skip
    plan |= {f"pairs, {name}": lambda seed, arm=arm: pair_run(pairs[600:], held, *arm, seed)
             for name, arm in ARMS.items()}  # fmt: skip
    baselines = found(Frequencies(row).eval(), held.windows[:, :LENGTH]) | {
        "words": shared_words(held.pairs), "library": 1 / 7}  # fmt: skip
    done = json.loads(RESULTS.read_text(encoding="utf-8"))["cells"] if RESULTS.exists() else {}
    for seed in SEEDS:
        for name, run in plan.items():
            if str(seed) not in done.get(name, {}):
                values = {key: round(value, 4) for key, value in run(seed).items()}
                done.setdefault(name, {})[str(seed)] = values
                write(done, baselines)
                sys.stdout.write(f"{name}, seed {seed}: {values}\n")
                sys.stdout.flush()
    write(done, baselines)


def write(done: dict, baselines: dict[str, float]) -> None:
    """The record, whole after each cell."""
    content = {
        "command": "python benchmarks/masking.py",
        "measured_on": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "what": WHAT,
        "settings": {
            "rates and shares": f"{STEPS} steps of {ROWS} texts of {LENGTH} tokens; shares at a rate of {SHARES_RATE}",
            "pairs": f"{PAIR_STEPS} steps of {PAIRS} pairs, each sentence cut to {HALF} tokens",
        },
        "parameters": sum(weight.numel() for weight in small_encoder().parameters()),
        "baselines": {name: round(value, 4) for name, value in baselines.items()},
        "cells": done,
    }
    files.write_atomically(RESULTS, [(json.dumps(content, indent=1) + "\n").encode()])


if __name__ == "__main__":
    main()
