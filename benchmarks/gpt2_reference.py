#!/usr/bin/env python3
"""What Hugging Face's GPT-2 answers, for lessons that run where transformers is not installed.

    python benchmarks/gpt2_reference.py            # seconds; needs the extra "hub"

A tiny GPT-2 whose weights follow from a rule, in float64: the record llmguide_lib/data/runs/gpt2-reference.json holds
the logits that transformers' own implementation gives for six tokens. Chapter 06 holds its own against them.
"""

import dataclasses
import json
import sys
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmguide_lib import files  # noqa: E402
from llmguide_lib.huggingface import to_hf  # noqa: E402
from llmguide_lib.models import GPT, GPTConfig  # noqa: E402

RECORD = Path(__file__).resolve().parent.parent / "llmguide_lib" / "data" / "runs" / "gpt2-reference.json"
CONFIG = GPTConfig(vocab_size=11, max_seq_len=8, d_model=12, num_heads=3, num_layers=2)
TOKENS = [3, 1, 4, 1, 5, 9]


@torch.no_grad()
def main() -> None:
    model = GPT(CONFIG).double().eval()
    for seed, (_, weight) in enumerate(sorted(model.named_parameters())):
        generator = torch.Generator().manual_seed(seed)
        weight.copy_(torch.rand(weight.shape, generator=generator, dtype=torch.float64) - 0.5)
    theirs = to_hf(model).double().eval()
    content = {
        "command": "python benchmarks/gpt2_reference.py",
        "implementation": type(theirs).__name__,
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
        "config": dataclasses.asdict(CONFIG),
        "weights": "of the parameters in the order of their names, number i is torch.rand with seed i, minus 0.5",
        "tokens": TOKENS,
        "logits": theirs(torch.tensor([TOKENS])).logits[0].tolist(),
    }
    files.write_atomically(RECORD, [(json.dumps(content, indent=1) + "\n").encode()])


if __name__ == "__main__":
    main()
