#!/usr/bin/env python3
"""Training and encoding beside Hugging Face's library, in turns, on 5 MB of the standard library's source."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path or ".").resolve() != ROOT / "benchmarks")]

from tokenizers import Tokenizer, models, pre_tokenizers, trainers  # noqa: E402

from llmguide_lib.tokenizers import BPETokenizer, WordPieceTokenizer  # noqa: E402

RUNS, SIZE_BYTES, VOCAB_SIZE = 5, 5_000_000, 4096


def standard_library() -> list[str]:
    """Source files, the same on each machine with this Python, until there are enough."""
    texts, size = [], 0
    for path in sorted(Path(os.__file__).parent.rglob("*.py")):
        if "site-packages" not in path.parts and size < SIZE_BYTES:
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
            size += len(texts[-1].encode())
    return texts


def train_rust(texts: list[str]) -> Tokenizer:
    """Byte-level BPE by Hugging Face's trainer."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCAB_SIZE, initial_alphabet=alphabet, show_progress=False)
    )
    return made


def seconds(function, *arguments) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def measure() -> dict:
    """Seconds of each run, ours and theirs in turns."""
    texts = standard_library()
    mine, theirs = BPETokenizer.train(texts, VOCAB_SIZE), train_rust(texts)
    merges = [[str(token) for token in pair] for pair in json.loads(theirs.to_str())["model"]["merges"]]
    wordpiece = WordPieceTokenizer.train(texts[:50], VOCAB_SIZE)
    runs: dict[str, list[float]] = {}
    for _ in range(RUNS):
        mine._cache.clear()
        for name, function, *arguments in (
            ("bpe_training", BPETokenizer.train, texts, VOCAB_SIZE),
            ("rust_training", train_rust, texts),
            ("bpe_encoding", lambda: [mine.encode(text) for text in texts]),
            ("rust_encoding", theirs.encode_batch_fast, texts),
            ("bpe_100000_letters", mine.encode, "a" * 100_000),
            ("wordpiece_encoding", lambda: [wordpiece.encode(text) for text in texts[:50]]),
        ):
            runs.setdefault(name, []).append(seconds(function, *arguments))
    same = mine._to_json()["model"]["merges"] == merges
    return {"bytes": sum(len(text.encode()) for text in texts), "same_merges": same, "runs": runs}


def measured_apart(threads: int) -> dict:
    """The same in a process of its own, because the number of threads is read once."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": str(threads > 1).lower()}
    command = [sys.executable, __file__, "--measure"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)


def ratio(measured: dict, mine: str, theirs: str) -> float:
    """How many times as long ours takes, by the medians."""
    return round(statistics.median(measured["runs"][mine]) / statistics.median(measured["runs"][theirs]), 2)


def main() -> None:
    one, all_threads = measured_apart(1), measured_apart(os.cpu_count())
    figures = {
        "bpe_training_time_over_rust": ratio(one, "bpe_training", "rust_training"),
        "bpe_training_time_over_parallel_rust": ratio(all_threads, "bpe_training", "rust_training"),
        "same_merges_as_rust": one["same_merges"],
        # Against the fastest call that they have: all texts at once, without places in the text.
        "bpe_encoding_time_over_rust": ratio(one, "bpe_encoding", "rust_encoding"),
        "bpe_encoding_time_over_parallel_rust": ratio(all_threads, "bpe_encoding", "rust_encoding"),
        "seconds": {name: [round(time, 2) for time in sorted(times)] for name, times in one["runs"].items()},
    }
    result = {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": "ours has one; Rust's has one, where it is called parallel one for each core",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("tokenizers", "regex")}},
        "text": f"{one['bytes']} bytes of the standard library's source, vocabulary {VOCAB_SIZE}, {RUNS} runs in turns",
        "figures": figures,
    }
    path = ROOT / "benchmarks" / "results" / "bpe.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    if "--measure" in sys.argv:
        json.dump(measure(), sys.stdout)
    else:
        main()
