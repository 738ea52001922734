#!/usr/bin/env python3
"""Does post-norm need a warm-up, and does pre-norm? What chapter 04 draws as *recorded*.

    python benchmarks/warmup.py             # about five minutes on one thread; goes on where it stopped

A decoder of eight blocks reads the documentation of the standard library, byte by byte, for 300 steps that never see
a window twice. It is trained with both places of the norm, with and without a warm-up, at four learning rates, and
with three seeds each, which draw weights and order. The loss noted as "final" is the mean of the last 50 steps. Results
go to llmguide_lib/data/runs/warmup.json after each run.
"""

import json
import math
import platform
import sys
from itertools import product
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from llmguide_lib import training  # noqa: E402
from llmguide_lib.corpora import coverage, documentation  # noqa: E402
from llmguide_lib.counting import KneserNey  # noqa: E402
from llmguide_lib.models import GPT, GPTConfig  # noqa: E402
from llmguide_lib.objectives import NextToken, Windows  # noqa: E402
from llmguide_lib.runs import report  # noqa: E402
from llmguide_lib.transformer import post_norm, pre_norm  # noqa: E402

RESULTS = ROOT / "llmguide_lib" / "data" / "runs" / "warmup.json"
LAYERS, WIDTH, LENGTH, ROWS, STEPS, LAST = 8, 32, 32, 16, 300, 50
PLACES = {"post-norm": post_norm, "pre-norm": pre_norm}
WARMUPS, RATES, SEEDS = (0, 100), (1e-3, 2e-3, 4e-3, 8e-3), (0, 1, 2)


def model(place: str, seed: int) -> GPT:
    """A small decoder with its norms in this place; matrices begin as Glorot and Bengio propose (Xavier)."""
    torch.manual_seed(seed)
    made = GPT(GPTConfig(vocab_size=256, max_seq_len=LENGTH, d_model=WIDTH, num_heads=4, num_layers=LAYERS))
    made.lm_head = nn.Linear(WIDTH, 256, bias=False)
    for module in made.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=WIDTH**-0.5)
    for block in made.blocks:
        block.residual = PLACES[place]
    if place == "post-norm":
        made.final_norm = nn.Identity()  # the last block ends with a norm
    return made


def run(row: torch.Tensor, place: str, warmup_steps: int, rate: float, seed: int) -> dict:
    """The mean loss of every ten steps, and that of the last 50."""
    config = training.TrainConfig(
        steps=STEPS,
        optimizer=training.AdamW(lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
        schedule=training.Constant(warmup_steps=warmup_steps),
        clip_norm=None,
        precision="float32",
        log_every=10,
        eval_every=None,
        seed=seed,
    )
    records = training.train(model(place, seed), NextToken(Windows(row, LENGTH, ROWS, seed=seed)), config)
    losses = [loss for step, loss in zip(*records.curve("loss"), strict=True) if step]  # means of ten steps
    return {"final": round(sum(losses[-LAST // 10 :]) / (LAST // 10), 4), "losses": [round(loss, 3) for loss in losses]}


def counted(row: torch.Tensor, order: int, seed: int) -> float:
    """Nats per byte of counting what followed the last ``order - 1`` bytes, over the last 50 batches of a run.

    It meets the very windows that the models meet with this seed, and like them is asked before it learns from them.
    """
    windows, counts, nats = Windows(row, LENGTH, ROWS, seed=seed), KneserNey(order, 256), []
    for step in range(STEPS):
        rows = windows.rows(step).tolist()
        if step >= STEPS - LAST:
            nats += [-math.log(counts.probability(w[at - 1 : at], w[at])) for w in rows for at in range(1, LENGTH + 1)]
        for window in rows:
            counts.count(window)
    return sum(nats) / len(nats)


def write(runs: dict, baselines: dict) -> None:
    """Everything recorded so far, with what it was measured on."""
    content = {
        "command": "python benchmarks/warmup.py",
        "what": "nats per byte; final is the mean of the last 50 of 300 steps, losses those of every ten, by seed; "
        "counted is what models that only count reach on the same 50 batches, having seen the same 250 before",
        "measured_on": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "corpus": {"hash": report.corpus_hash(), "share_found": round(coverage().share, 4)},
        "sizes": {"layers": LAYERS, "d_model": WIDTH, "length": LENGTH, "rows": ROWS, "steps": STEPS},
        "counted": baselines,
        "runs": runs,
    }
    report.write(RESULTS, content)


def main() -> None:
    text = "\n\n".join(document.text for document in documentation("train", ["stdlib"]))
    row = torch.tensor(list(text.encode()))
    done = json.loads(RESULTS.read_text(encoding="utf-8"))["runs"] if RESULTS.exists() else {}
    orders = {"unigram": 1, "bigram": 2}
    baselines = {
        name: {str(seed): round(counted(row, order, seed), 4) for seed in SEEDS} for name, order in orders.items()
    }
    for seed, place, warmup_steps, rate in product(SEEDS, PLACES, WARMUPS, RATES):
        name = f"{place}, warm-up {warmup_steps}, rate {rate:g}"
        if str(seed) not in done.get(name, {}):
            done.setdefault(name, {})[str(seed)] = run(row, place, warmup_steps, rate, seed)
            write(done, baselines)
    write(done, baselines)


if __name__ == "__main__":
    main()
