#!/usr/bin/env python3
"""How well attention, a GRU and a convolution recall a note over growing distance: chapter 03's experiment, whole.

    python benchmarks/recall.py             # about ten minutes on one thread; goes on where it stopped

It runs the cells of the lesson itself, so that the record and what a reader trains cannot differ. Every kind of model
first tries three learning rates; the best one, judged within the training length, is then used with three other seeds.
Finished runs are kept in runs/recall.json with a hash of those cells, so that none is reused when a cell has changed.
The record is written when all are there.
"""

import ast
import hashlib
import json
import platform
import sys
from itertools import product
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from bookbuilder.source import read_source  # noqa: E402

from llmguide_lib import files  # noqa: E402
from llmguide_lib.attention import MultiHeadAttention  # noqa: E402
from llmguide_lib.positions import Rotary, SinusoidalPositions  # noqa: E402

LESSON = ROOT / "chapters" / "03_attention" / "lesson.py"
STATE = ROOT / "runs" / "recall.json"
RECORD = ROOT / "llmguide_lib" / "data" / "runs" / "recall.json"
CELLS = ("recall-task", "recall-models", "recall-training")
KINDS = ("none", "sinusoidal", "learned", "rotary", "GRU", "CNN")
NOTES, RATES, TRIAL_SEED, SEEDS = (1, 4), (0.003, 0.01, 0.03), 0, (1, 2, 3)
DISTANCES = (8, 16, 32, 63, 126, 252, 504)
# Times the steps, by kind and notes: where it is asked whether more training would help.
LONGER = {("GRU", 4): 4}
EVERY = 50  # steps between the losses that are kept


def cells() -> dict[str, str]:
    """The code of the lesson's cells, by name."""
    return {item.id: item.cell.text for item in read_source(LESSON).items if item.id in CELLS}


def lesson() -> dict:
    """The names that the lesson's cells define."""
    earlier = (MultiHeadAttention, Rotary, SinusoidalPositions)  # what cells before these import
    names: dict = {"torch": torch} | {one.__name__: one for one in earlier}
    for name, code in cells().items():
        exec(compile(code, f"{LESSON.name}:{name}", "exec"), names)
    return names


def cells_hash() -> str:
    """Hash of what the cells do: comments and line breaks do not count."""
    return hashlib.sha256("".join(ast.dump(ast.parse(code)) for code in cells().values()).encode()).hexdigest()[:16]


def one(names: dict, kind: str, notes: int, rate: float, seed: int, longer: int = 1) -> dict:
    """Trains one model and measures it at every distance.

    Raises:
        RuntimeError: the lesson's training was cut off before its last step.
    """
    steps = names["STEPS"] * longer
    model, losses = names["learn_recall"](kind, notes, rate, seed, steps)
    if len(losses) < steps:
        raise RuntimeError(f"{kind} with {notes} notes took {len(losses)} of {steps} steps: its time was over")
    curve = [round(sum(losses[at : at + EVERY]) / EVERY, 4) for at in range(0, len(losses), EVERY)]
    # Trials are judged on other texts than those of the record.
    texts = 1 if seed == TRIAL_SEED else 0
    recalled = [round(names["recalled"](model, notes, distance, texts), 4) for distance in DISTANCES]
    parameters = names["size_of"](model)
    keys = {"kind": kind, "notes": notes, "rate": rate, "seed": seed, "longer": longer}
    return keys | {"parameters": parameters, "recalled": recalled, "loss": curve}


def within(run: dict) -> float:
    """Mean recall at the distances that training contains."""
    return sum(run["recalled"][:4]) / 4


def earlier_runs() -> list[dict]:
    """The runs that an earlier start has kept; none if the lesson's cells have changed since."""
    kept = json.loads(STATE.read_text(encoding="utf-8")) if STATE.exists() else {}
    return kept["runs"] if kept.get("cells") == cells_hash() else []


def runs() -> list[dict]:
    """All runs, those of an earlier start among them."""
    names = lesson()
    done = earlier_runs()

    def run(kind: str, notes: int, rate: float, seed: int, longer: int = 1) -> dict:
        keys = {"kind": kind, "notes": notes, "rate": rate, "seed": seed, "longer": longer}
        found = next((old for old in done if keys.items() <= old.items()), None)
        if found is None:
            found = one(names, **keys)
            done.append(found)
            files.write_atomically(STATE, [json.dumps({"cells": cells_hash(), "runs": done}).encode()])
        return found

    for notes, kind in product(NOTES, KINDS):
        trials = [run(kind, notes, rate, TRIAL_SEED) for rate in RATES]
        best = max(trials, key=within)["rate"]
        for seed in SEEDS:
            run(kind, notes, best, seed)
        if (kind, notes) in LONGER:
            for seed in SEEDS:
                run(kind, notes, best, seed, LONGER[kind, notes])
    return done


def main() -> None:
    torch.set_num_threads(1)
    done = runs()
    content = {
        "command": "python benchmarks/recall.py",
        "what": "chapter 03's recall: share of right answers by distance, for trials of learning rates (seed 0) and "
        "three other seeds at the best one",
        "measured_on": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "cells": cells_hash(),
        "distances": DISTANCES,
        "loss_every": EVERY,
        "runs": done,
    }
    files.write_atomically(RECORD, [(json.dumps(content) + "\n").encode()])


if __name__ == "__main__":
    main()
