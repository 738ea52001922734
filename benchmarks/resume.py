#!/usr/bin/env python3
"""How many kills (SIGKILL, at random moments, also while a state is being written) training survives to the bit.

    python benchmarks/resume.py             # about two minutes

The killing is that of tests/test_training.py, where a run that ends with other weights than an undisturbed one is an
error. Linux and macOS only. Writes benchmarks/results/resume.json.
"""

import json
import platform
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from test_training import kills_survived  # noqa: E402

from llmguide_lib import files  # noqa: E402


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        kills = kills_survived(Path(folder), 20)
    result = {
        "command": "python benchmarks/resume.py",
        "measured_on": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "figures": {"resume_kills_survived": kills},
    }
    written = json.dumps(result, indent=1) + "\n"
    files.write_atomically(ROOT / "benchmarks" / "results" / "resume.json", [written.encode()])
    print(written)


if __name__ == "__main__":
    main()
