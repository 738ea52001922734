#!/usr/bin/env python3
"""Bits per byte of compressors and of counting on the documentation's validation text: what a model must beat."""

import json
import platform
import sys
import time
import zlib
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from llmguide_lib.corpora import coverage, documentation  # noqa: E402
from llmguide_lib.evaluation import COMPRESSORS, compressed_bits_per_byte, counted_bits_per_byte  # noqa: E402
from llmguide_lib.runtime import peak_memory_bytes  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "compression.json"
ORDERS = (3, 5, 7)


def joined(split: str) -> str:
    """The documents of a split as one text, a blank line between two of them."""
    return "\n\n".join(document.text for document in documentation(split))


def main() -> None:
    train, validation = joined("train"), joined("validation")
    began = time.perf_counter()
    alone = {name: compressed_bits_per_byte(validation, compress) for name, compress in COMPRESSORS.items()}
    after = {name: compressed_bits_per_byte(validation, compress, train) for name, compress in COMPRESSORS.items()}
    compressed = time.perf_counter()
    after |= {f"{order} bytes counted": counted_bits_per_byte(validation, train, order) for order in ORDERS}
    counted = time.perf_counter()
    result = {
        "machine": f"{platform.system()} {platform.machine()}, one thread",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
        },
        "text": {
            "train_bytes": len(train.encode()),
            "validation_bytes": len(validation.encode()),
            "share_of_corpus": round(coverage().share, 4),
        },
        "figures": {
            "bits_per_byte_alone": {name: round(value, 3) for name, value in alone.items()},
            "bits_per_byte_after_training_text": {name: round(value, 3) for name, value in after.items()},
            "compressing_seconds": round(compressed - began),
            "counting_seconds": round(counted - compressed),
            "peak_mb": round(peak_memory_bytes() / 1e6),
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
