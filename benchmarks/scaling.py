#!/usr/bin/env python3
"""A scaling law on four small decoders, and a fifth that it predicts before that one is trained.

    python benchmarks/scaling.py            # about twenty minutes on one thread; goes on where it stopped

Models of four sizes read the same million tokens, three seeds each, at a learning rate that is chosen on two of the
sizes. Two laws are fitted to bits per byte on held-out text, and what they say about the fifth size is written to the
record, llmguide_lib/data/runs/scaling.json, before the fifth is trained; a prediction once written is never renewed.
"""

import json
import math
import platform
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmguide_lib import files, runtime, training  # noqa: E402
from llmguide_lib.corpora import coverage, documentation  # noqa: E402
from llmguide_lib.corpora.storage import token_row  # noqa: E402
from llmguide_lib.generation import Sample, generate  # noqa: E402
from llmguide_lib.models import Llama, LlamaConfig  # noqa: E402
from llmguide_lib.objectives import Batch, NextToken, Windows, cross_entropy  # noqa: E402
from llmguide_lib.runs.recipes import VOCAB_SIZE, course_tokenizer  # noqa: E402
from llmguide_lib.runs.report import corpus_hash  # noqa: E402

RECORD = Path(__file__).resolve().parent.parent / "llmguide_lib" / "data" / "runs" / "scaling.json"
LENGTH, BATCH, STEPS, SEEDS = 128, 16, 512, (0, 1, 2)
SIZES = {"16x2": (16, 2), "32x2": (32, 2), "48x3": (48, 3), "64x4": (64, 4)}  # width, layers
FIFTH = {"96x5": (96, 5)}
RATES, TUNED_ON = (1e-2, 2e-2, 4e-2), ("32x2", "64x4")
DRAWS, LEVEL = 2000, 0.95


def decoder(width: int, layers: int) -> Llama:
    """Of the course decoder's kind, every head 16 wide."""
    sizes = {"d_model": width, "num_heads": width // 16, "num_layers": layers, "d_ff": width * 8 // 3 // 8 * 8}
    return Llama(LlamaConfig(vocab_size=VOCAB_SIZE, max_seq_len=LENGTH, tied=True, **sizes))


def cell(data: dict, size: tuple[int, int], rate: float, seed: int) -> dict:
    """Trains one model: bits per byte on the way, and what it writes then."""
    runtime.seed_everything(seed)
    model, samples = decoder(*size), []

    def evaluate(model: Llama) -> dict[str, float]:
        start = torch.tensor([[data["end"], *data["tokenizer"].encode("Returns the")]])
        written = generate(model, start, 24, sampler=Sample(seed=0))[0, 1:].tolist()
        samples.append(data["tokenizer"].decode(written)[:120])
        parts = data["held_out"].split(64)
        nats = sum(cross_entropy(model, Batch(part[:, :-1], part[:, 1:])).item() for part in parts)
        per_token = nats / data["held_out"][:, 1:].numel()
        return {"bits_per_byte": per_token * data["tokens_per_byte"] / math.log(2)}

    config = training.TrainConfig(
        steps=STEPS,
        optimizer=training.Muon(lr=rate, rest=training.AdamW(lr=0.6 * rate)),
        schedule=training.Cosine(warmup_steps=20),
        eval_every=64,
        seed=seed,
    )
    batches = NextToken(Windows(data["train"], LENGTH, BATCH, seed=seed))
    records = training.train(model, batches, config, evaluate=evaluate)
    steps, bits = records.curve("bits_per_byte")
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(records.seconds, 1),
        "bits_per_byte": dict(zip(map(str, steps), (round(value, 5) for value in bits), strict=True)),
        "samples": dict(zip(map(str, steps), samples, strict=True)),
    }


def read_data() -> dict:
    """Tokens to train on, every fourth window of the held-out text, and how many tokens a byte of that has."""
    texts = {split: [document.text for document in documentation(split)] for split in ("train", "validation")}
    tokenizer = course_tokenizer()
    rows = {split: token_row(texts[split], tokenizer) for split in texts}
    starts = torch.arange(0, len(rows["validation"]) - LENGTH - 1, 4 * LENGTH)
    return {
        "tokenizer": tokenizer,
        "end": tokenizer.token_to_id("<|endoftext|>"),
        "train": rows["train"],
        "held_out": rows["validation"][starts[:, None] + torch.arange(LENGTH + 1)].long(),
        "tokens_per_byte": (len(rows["validation"]) - 1) / sum(len(text.encode()) for text in texts["validation"]),
    }


def final(entry: dict) -> float:
    """Bits per byte at the end of a run."""
    return entry["bits_per_byte"][str(STEPS)]


def predict(sizes: torch.Tensor, bits: torch.Tensor, size: int) -> dict:
    """What both laws say about the mean of as many runs at another size, from bits (sizes, seeds).

    Interval: the four means are drawn anew, each with the spread between seeds, fitted anew, and the fifth gets the
    same spread. So it holds what chance between seeds does, not that a law may have the wrong form.
    """
    num_seeds = bits.shape[1]
    spread = bits.var(dim=1).mean().sqrt() / math.sqrt(num_seeds)  # of a mean
    generator = torch.Generator().manual_seed(0)
    noise = spread * torch.randn(DRAWS + 1, len(sizes) + 1, generator=generator, dtype=torch.float64)
    noise[0] = 0  # the first is the fit itself
    drawn = bits.mean(dim=1) + noise[:, :-1]
    told = {}
    for name, fit in (("power law with a floor", with_floor), ("power law", without_floor)):
        values, parameters = fit(sizes, drawn, size)
        low, high = (values[1:] + noise[1:, -1]).quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2]).double())
        told[name] = {"bits_per_byte": values[0].item(), "interval": [low.item(), high.item()], **parameters}
    return told


def with_floor(sizes: torch.Tensor, drawn: torch.Tensor, size: int) -> tuple[torch.Tensor, dict]:
    """L = E + A N^-alpha with E >= 0, by least squares: for each alpha on a grid E and A are linear."""
    alphas = torch.arange(0.01, 2.0, 0.005, dtype=torch.float64)
    best = torch.full((len(drawn),), torch.inf, dtype=torch.float64)
    values, chosen = torch.zeros_like(best), torch.zeros(len(drawn), 3, dtype=torch.float64)
    for alpha in alphas.tolist():
        x = sizes**-alpha
        slope = ((x - x.mean()) * drawn).sum(dim=1) / ((x - x.mean()) ** 2).sum()
        floor = drawn.mean(dim=1) - slope * x.mean()
        slope = torch.where(floor < 0, (x * drawn).sum(dim=1) / (x**2).sum(), slope)
        floor = floor.clamp(min=0)
        error = ((floor[:, None] + slope[:, None] * x - drawn) ** 2).sum(dim=1)
        better = error < best
        best = best.minimum(error)
        values = torch.where(better, floor + slope * size**-alpha, values)
        found = torch.stack([floor, slope, torch.full_like(floor, alpha)], dim=1)
        chosen = torch.where(better[:, None], found, chosen)
    return values, dict(zip(("E", "A", "alpha"), chosen[0].tolist(), strict=True))


def without_floor(sizes: torch.Tensor, drawn: torch.Tensor, size: int) -> tuple[torch.Tensor, dict]:
    """L = A N^-alpha: a straight line between logarithms."""
    x, y = sizes.log() - sizes.log().mean(), drawn.log()
    slope = (x * y).sum(dim=1) / (x**2).sum()
    values = (y.mean(dim=1) + slope * (math.log(size) - sizes.log().mean())).exp()
    alpha = -slope[0].item()
    return values, {"A": (y[0].mean() + alpha * sizes.log().mean()).exp().item(), "alpha": alpha}


def main() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {"cells": {}}
    data = read_data()

    def run(name: str, size: tuple[int, int], rate: float, seed: int) -> dict:
        key = f"{name}, rate {rate:g}, seed {seed}"
        if key not in record["cells"]:
            record["cells"][key] = cell(data, size, rate, seed)
            write(record)
        return record["cells"][key]

    tuned = {rate: sum(final(run(name, SIZES[name], rate, 0)) for name in TUNED_ON) for rate in RATES}
    rate = min(tuned, key=tuned.get)
    runs = {name: [run(name, size, rate, seed) for seed in SEEDS] for name, size in SIZES.items()}
    (name, size), *_ = FIFTH.items()
    if "prediction" not in record:
        parameters = torch.tensor([float(entries[0]["parameters"]) for entries in runs.values()], dtype=torch.float64)
        bits = torch.tensor([list(map(final, entries)) for entries in runs.values()], dtype=torch.float64)
        fifth = sum(parameter.numel() for parameter in decoder(*size).parameters())
        record["prediction"] = {"size": name, "parameters": fifth, **predict(parameters, bits, fifth)}
        record["rate"] = rate
        write(record)
    for seed in SEEDS:
        run(name, size, rate, seed)


def write(record: dict) -> None:
    """The record so far, with how it comes about."""
    content = {
        "command": "python benchmarks/scaling.py",
        "what": f"bits per byte on held-out text by step; {STEPS} steps of {BATCH * LENGTH} tokens",
        "measured_on": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "corpus": {"hash": corpus_hash(), "share_found": round(coverage().share, 4)},
        "sizes": {name: list(size) for name, size in (SIZES | FIFTH).items()},
        "seeds": list(SEEDS),
        **{key: record[key] for key in ("rate", "prediction") if key in record},
        "cells": record["cells"],
    }
    files.write_atomically(RECORD, [(json.dumps(content, indent=1) + "\n").encode()])


if __name__ == "__main__":
    main()
