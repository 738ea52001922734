#!/usr/bin/env python3
"""How soon the course encoder begins to use context, and what decides it.

    python benchmarks/plateau.py            # about three minutes for a cell on one thread; goes on where it stopped

A masked language model first learns how frequent the tokens are and may stay with that for long. Every cell trains the
recipe of bert-course for its first 200 steps with one thing changed and notes the training loss. Results go to
llmguide_lib/data/runs/plateau.json after each cell; chapter 05 reads them.
"""

import dataclasses
import json
import platform
import sys
from itertools import product
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmguide_lib import files, runtime, training  # noqa: E402
from llmguide_lib.corpora import documentation  # noqa: E402
from llmguide_lib.corpora.storage import token_row  # noqa: E402
from llmguide_lib.models import ModernBERT  # noqa: E402
from llmguide_lib.objectives import MaskedTokens, Windows, masked_cross_entropy  # noqa: E402
from llmguide_lib.runs.recipes import LENGTH, RECIPES, course_tokenizer, masking  # noqa: E402

RESULTS = Path(__file__).resolve().parent.parent / "llmguide_lib" / "data" / "runs" / "plateau.json"
STEPS, SEEDS, TOKENS = 200, (0, 1), 4096
RECIPE = RECIPES["bert-course"]

# what is changed: of the model's config, of the training, or the length of the texts
CELLS = {
    "as shipped: local layers see 4 tokens on each side": {},
    "local layers see 8": {"window": 9},
    "local layers see 16": {"window": 17},
    "all layers see everything": {"global_every": 1},
    "all layers see everything, texts of 64 tokens": {"global_every": 1, "length": 64},
    "all layers see everything, AdamW at 3e-3": {"global_every": 1, "optimizer": training.AdamW(lr=3e-3)},
}


def cell(row: torch.Tensor, seed: int, length: int = LENGTH, optimizer: object = None, **sizes: int) -> list[float]:
    """The training loss of every 50 steps, noted at each tenth."""
    runtime.seed_everything(seed)
    model = ModernBERT(dataclasses.replace(RECIPE.model().config, **sizes))
    whole = RECIPE.config
    config = dataclasses.replace(
        whole,
        steps=STEPS,
        optimizer=optimizer or whole.optimizer,
        schedule=training.Constant(warmup_steps=20),  # the first 200 of 4,500 steps of the cosine hardly differ
        log_every=10,
        eval_every=STEPS,
        seed=seed,
    )
    batches = MaskedTokens(Windows(row, length, TOKENS // length), masking(0.3))
    records = training.train(model, batches, config, loss=masked_cross_entropy)
    losses = [loss for step, loss in zip(*records.curve("loss"), strict=True) if step]
    return [round(sum(losses[at : at + 5]) / len(losses[at : at + 5]), 3) for at in range(0, len(losses), 5)]


def main() -> None:
    texts, tokenizer = [document.text for document in documentation("train")], course_tokenizer()
    row = token_row(texts, tokenizer)
    done = json.loads(RESULTS.read_text(encoding="utf-8"))["cells"] if RESULTS.exists() else {}
    for (name, changed), seed in product(CELLS.items(), SEEDS):
        if str(seed) not in done.get(name, {}):
            done.setdefault(name, {})[str(seed)] = cell(row, seed, **changed)
            content = {
                "command": "python benchmarks/plateau.py",
                "what": "training loss up to steps 50, 100, 150 and 200, each the mean of five of its steps, by seed",
                "measured_on": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
                "cells": done,
            }
            files.write_atomically(RESULTS, [(json.dumps(content, indent=1) + "\n").encode()])


if __name__ == "__main__":
    main()
