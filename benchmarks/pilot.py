#!/usr/bin/env python3
"""One short training of a small Llama on the documentation: what the pilots of the course models were made with.

    python benchmarks/pilot.py --seconds 90 --layers 5 --optimizer "Muon(lr=2e-2, rest=AdamW(lr=1e-2))"

prints bits per byte on every third window of the validation text before and after, and the speed.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmguide_lib import training  # noqa: E402
from llmguide_lib.corpora import documentation  # noqa: E402
from llmguide_lib.corpora.storage import token_row  # noqa: E402
from llmguide_lib.models import Llama, LlamaConfig  # noqa: E402
from llmguide_lib.objectives import Batch, NextToken, Windows, cross_entropy  # noqa: E402
from llmguide_lib.tokenizers import BPETokenizer  # noqa: E402

END = "<|endoftext|>"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {"seconds": 60, "vocab-size": 2048, "width": 192, "layers": 5, "d-ff": 512, "length": 128, "batch": 16}
    for name, value in {**numbers, "warmup-steps": 10}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--optimizer", default="AdamW(lr=3e-3)", help="a recipe of llmguide_lib.training")
    parser.add_argument("--precision", choices=["float32", "bfloat16"])
    options = parser.parse_args()

    texts = {split: [document.text for document in documentation(split)] for split in ("train", "validation")}
    tokenizer = BPETokenizer.train(texts["train"], options.vocab_size, special_tokens=(END,))
    rows = {split: token_row(texts[split], tokenizer, END) for split in texts}
    num_bytes = sum(len(text.encode()) for text in texts["validation"])

    def evaluate(model: Llama) -> dict[str, float]:
        starts = torch.arange(0, len(rows["validation"]) - options.length - 1, 3 * options.length)
        windows = rows["validation"][starts[:, None] + torch.arange(options.length + 1)].long()
        nats = sum(cross_entropy(model, Batch(part[:, :-1], part[:, 1:])).item() for part in windows.split(64))
        per_token = nats / (windows.shape[0] * options.length)
        return {"bits_per_byte": per_token * (len(rows["validation"]) - 1) / num_bytes / math.log(2)}

    torch.manual_seed(0)
    model = Llama(
        LlamaConfig(
            vocab_size=options.vocab_size, max_seq_len=options.length, d_model=options.width,
            num_heads=options.width // 32, num_layers=options.layers, d_ff=options.d_ff, tied=True,
        )
    )  # fmt: skip
    config = training.TrainConfig(
        seconds=options.seconds,
        optimizer=eval(options.optimizer, vars(training)),  # the caller's own words, on the caller's own machine
        schedule=training.Cosine(warmup_steps=options.warmup_steps),
        precision=options.precision,
        eval_every=10**9,
    )
    windows = Windows(rows["train"], options.length, options.batch)
    records = training.train(model, NextToken(windows), config, evaluate=evaluate)
    figures = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": records.step,
        "targets_per_second": round(records.targets_per_second),
        "loading_share": round(records.loading_share, 4),
        "bits_per_byte": [round(value, 3) for value in records.curve("bits_per_byte")[1]],
    }
    print(json.dumps(vars(options) | figures))


if __name__ == "__main__":
    main()
