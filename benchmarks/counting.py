#!/usr/bin/env python3
"""What counting reaches on the texts of chapter 06: with the million tokens of its scaling law, and with all.

    python benchmarks/counting.py           # about three minutes on one thread; goes on where it stopped

Kneser-Ney models of tokens count (a) what the models of benchmarks/scaling.py read with seed 0, and are scored on the
same held-out windows as those, (b) the whole training text, scored on the windows of the lesson's live run.
Results go to llmguide_lib/data/runs/counting.json after each model: bits per byte, for (b) of each window as well.
"""

import json
import math
import platform
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmguide_lib import files  # noqa: E402
from llmguide_lib.corpora import coverage, documentation  # noqa: E402
from llmguide_lib.corpora.storage import token_row  # noqa: E402
from llmguide_lib.counting import KneserNey  # noqa: E402
from llmguide_lib.objectives import Windows  # noqa: E402
from llmguide_lib.runs.recipes import VOCAB_SIZE, course_tokenizer  # noqa: E402
from llmguide_lib.runs.report import corpus_hash  # noqa: E402

RECORD = Path(__file__).resolve().parent.parent / "llmguide_lib" / "data" / "runs" / "counting.json"
SCALING = {"length": 128, "batch": 16, "steps": 512}  # as in benchmarks/scaling.py
LIVE_LENGTH, LIVE_WINDOWS = 256, 24  # as in the lesson
ORDERS = {"million": (3, 4), "all": (3, 5, 7)}


def read_data() -> dict[str, dict]:
    """For both questions: the tokens to count, the held-out windows (R, T + 1), and the bytes of each."""
    texts = {split: [document.text for document in documentation(split)] for split in ("train", "validation")}
    tokenizer = course_tokenizer()
    train, held_out = (token_row(texts[split], tokenizer) for split in ("train", "validation"))
    windows = Windows(train, SCALING["length"], SCALING["batch"], seed=0)
    million = torch.cat([windows.rows(step)[:, :-1].flatten() for step in range(SCALING["steps"])])
    length = SCALING["length"]
    starts = torch.arange(0, len(held_out) - length - 1, 4 * length)
    bytes_per_token = sum(len(text.encode()) for text in texts["validation"]) / (len(held_out) - 1)
    live = torch.linspace(0, len(held_out) - LIVE_LENGTH - 1, LIVE_WINDOWS).long()
    live = held_out[live[:, None] + torch.arange(LIVE_LENGTH + 1)].long()
    return {
        "million": {
            "read": million.tolist(),
            "windows": held_out[starts[:, None] + torch.arange(length + 1)].long(),
            "bytes": [length * bytes_per_token] * len(starts),
        },
        "all": {
            "read": train.tolist(),
            "windows": live,
            "bytes": [len(tokenizer.decode(window[1:]).encode()) for window in live.tolist()],
        },
    }


def window_bits(model: KneserNey, windows: Tensor) -> list[float]:
    """Bits that each window (R, T + 1) costs: the surprise at all its tokens but the first."""
    return [
        -math.fsum(math.log2(model.probability(window[:t], window[t])) for t in range(1, len(window)))
        for window in windows.tolist()
    ]


def main() -> None:
    cells = json.loads(RECORD.read_text(encoding="utf-8"))["cells"] if RECORD.exists() else {}
    data = read_data()
    for question, orders in ORDERS.items():
        part = data[question]
        for order in orders:
            key = f"{question}, {order} tokens"
            if key in cells:
                continue
            bits = window_bits(KneserNey(order, VOCAB_SIZE).count(part["read"]), part["windows"])
            cells[key] = {"tokens": len(part["read"]), "bits_per_byte": round(math.fsum(bits) / sum(part["bytes"]), 5)}
            if question == "all":
                cells[key]["window_bits"] = [round(value, 2) for value in bits]
            write(cells)


def write(cells: dict) -> None:
    """The record so far, with how it comes about."""
    content = {
        "command": "python benchmarks/counting.py",
        "what": "bits per byte on held-out text of Kneser-Ney models of so many tokens",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "corpus": {"hash": corpus_hash(), "share_found": round(coverage().share, 4)},
        "cells": cells,
    }
    files.write_atomically(RECORD, [(json.dumps(content, indent=1) + "\n").encode()])


if __name__ == "__main__":
    main()
