#!/usr/bin/env python3
"""What Hugging Face's BERT answers, for lessons that run where transformers is not installed.

    python benchmarks/bert_reference.py            # seconds; needs the extra "hub"

A tiny BERT whose weights follow from a rule, in float64: the record llmguide_lib/data/runs/bert-reference.json holds
both heads' logits by transformers' own implementation for a text of two sentences. Chapter 05 holds ours against them.
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
from llmguide_lib.models import BERT, BERTConfig  # noqa: E402

RECORD = Path(__file__).resolve().parent.parent / "llmguide_lib" / "data" / "runs" / "bert-reference.json"
CONFIG = BERTConfig(vocab_size=11, max_seq_len=8, d_model=12, num_heads=3, num_layers=2)
TOKENS, SEGMENTS = [3, 1, 4, 1, 5, 9], [0, 0, 0, 1, 1, 1]


@torch.no_grad()
def main() -> None:
    model = BERT(CONFIG).double().eval()
    for seed, (_, weight) in enumerate(sorted(model.named_parameters())):
        generator = torch.Generator().manual_seed(seed)
        weight.copy_(torch.rand(weight.shape, generator=generator, dtype=torch.float64) - 0.5)
    theirs = to_hf(model).double().eval()
    answer = theirs(input_ids=torch.tensor([TOKENS]), token_type_ids=torch.tensor([SEGMENTS]))
    content = {
        "command": "python benchmarks/bert_reference.py",
        "implementation": type(theirs).__name__,
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
        "config": dataclasses.asdict(CONFIG),
        "weights": "of the parameters in the order of their names, number i is torch.rand with seed i, minus 0.5",
        "tokens": TOKENS,
        "segments": SEGMENTS,
        "hidden_tokens": answer.prediction_logits[0].tolist(),
        "next_sentence": answer.seq_relationship_logits[0].tolist(),
    }
    files.write_atomically(RECORD, [(json.dumps(content, indent=1) + "\n").encode()])


if __name__ == "__main__":
    main()
