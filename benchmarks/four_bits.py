#!/usr/bin/env python3
"""What the course models lose when the maps of their blocks are kept in four bits, and how many bytes that saves.

    python benchmarks/four_bits.py          # about a minute on one thread

Each model is scored on every tenth test document with whole matrices, with NormalFloat's levels and with evenly spaced
ones. Results go to llmguide_lib/data/runs/four-bits.json.
"""

import json
import math
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmguide_lib import adapters, course, files  # noqa: E402
from llmguide_lib.corpora import documentation  # noqa: E402
from llmguide_lib.evaluation import bootstrap, document_nats, masked_accuracy  # noqa: E402
from llmguide_lib.objectives import IGNORED, Batch  # noqa: E402
from llmguide_lib.runs.report import corpus_hash, masked_documents  # noqa: E402
from llmguide_lib.tokenizers import BPETokenizer  # noqa: E402

RESULTS = Path(__file__).resolve().parent.parent / "llmguide_lib" / "data" / "runs" / "four-bits.json"
MAPS = ("q_proj", "k_proj", "v_proj", "out_proj", "gate_proj", "up_proj", "down_proj")
EVEN = tuple(level / 7.5 - 1 for level in range(16))
LEVELS = {"normal levels": adapters.NF4, "even levels": EVEN}
Scores = tuple[Tensor, Tensor]  # of each item: what counts, and among how many


def decoder_scores(model: nn.Module, tokenizer: BPETokenizer, texts: list[str]) -> Scores:
    """Bits and bytes of each document."""
    nats = document_nats(model, [tokenizer.encode(text) for text in texts], tokenizer.token_to_id("<|endoftext|>"))
    return nats / math.log(2), torch.tensor([len(text.encode()) for text in texts])


def encoder_scores(model: nn.Module, tokenizer: BPETokenizer, texts: list[str]) -> Scores:
    """Hidden tokens found, and how many are hidden, in each window of the documents."""
    batches = masked_documents(tokenizer, texts)
    tokens, targets = (torch.cat([getattr(batch, part) for batch in batches]) for part in ("tokens", "targets"))
    shares = [
        masked_accuracy(model, [Batch(*window)]) for window in zip(tokens.split(1), targets.split(1), strict=True)
    ]
    asked = (targets != IGNORED).sum(dim=1)
    return torch.tensor(shares) * asked, asked


def measured(name: str, figure: str, score: Callable[..., Scores], texts: list[str]) -> dict:
    """The figure of one model with whole matrices and in four bits, the difference with its interval, and bytes."""
    model, tokenizer = course.load(name)
    whole, among = score(model, tokenizer, texts)
    found = {"whole matrices": {figure: float(whole.sum() / among.sum()), "bytes": adapters.stored_bytes(model)}}
    for title, levels in LEVELS.items():
        model, _ = course.load(name)
        adapters.quantize(model, MAPS, levels)
        scores, _ = score(model, tokenizer, texts)
        change = bootstrap(lambda at, new=scores: (new[at] - whole[at]).sum() / among[at].sum(), len(whole))
        found[title] = {
            figure: float(scores.sum() / among.sum()),
            "change": change._asdict(),
            "bytes": adapters.stored_bytes(model),
        }
    return {"items": len(whole), **found}


def main() -> None:
    texts = [document.text for document in documentation("test")][::10]
    content = {
        "command": "python benchmarks/four_bits.py",
        "what": "the figure, its change against whole matrices with a 95 % interval over the items (documents of the "
        "decoder, windows of the encoder), and the bytes of a file of the model in float32, where only the maps of the "
        "blocks are in four bits",
        "measured_on": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "corpus": corpus_hash(),
        "gpt-course": measured("gpt", "bits_per_byte", decoder_scores, texts),
        "bert-course": measured("bert", "masked_accuracy", encoder_scores, texts),
    }
    files.write_atomically(RESULTS, [(json.dumps(content, indent=1) + "\n").encode()])


if __name__ == "__main__":
    main()
