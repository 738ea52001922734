#!/usr/bin/env python3
"""Seconds and peak memory of every lesson and its solved exercises, each in a process of its own: `make bench`."""

import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from bookbuilder.building import as_text  # noqa: E402
from bookbuilder.manifest import read_manifest  # noqa: E402
from bookbuilder.notebooks import solved_notebook  # noqa: E402

RUNS = 3
# The kernel is the largest process below this one; its own count of its memory is printed last.
PROGRAM = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
ask = "from llmguide_lib.runtime import peak_memory_bytes; print(peak_memory_bytes())"
notebook.cells.append(nbformat.v4.new_code_cell(ask))
NotebookClient(notebook, kernel_name="python3").execute()
print(notebook.cells[-1].outputs[0].text)
"""


def measure(path: Path) -> dict[str, float]:
    """Median wall seconds, kernel start included, and the largest peak of the kernel's memory in MB."""
    seconds, peaks = [], []
    for _ in range(RUNS):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True)
        seconds.append(time.perf_counter() - began)
        if done.returncode:
            sys.exit(f"{path} did not run:\n{done.stderr[-3000:]}")
        peaks.append(int(done.stdout) / 1e6)
    return {"seconds": round(sorted(seconds)[RUNS // 2], 1), "peak_mb": round(max(peaks))}


def main() -> None:
    manifest = read_manifest(ROOT)
    figures = {}
    for chapter in manifest.finished:
        with tempfile.TemporaryDirectory() as folder:
            solved = Path(folder) / "exercises.ipynb"
            solved.write_text(as_text(solved_notebook(ROOT, chapter.slug, "en")), encoding="utf-8")
            lesson = measure(manifest.notebook(chapter, "lesson", "en"))
            figures[chapter.slug] = {"lesson": lesson, "exercises": measure(solved)}
    result = {
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "figures": figures,
    }
    path = ROOT / "benchmarks" / "results" / "chapters.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
