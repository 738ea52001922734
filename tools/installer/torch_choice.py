"""Which build of torch: a CPU build wherever there is no NVIDIA GPU, because the other one is gigabytes."""

import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Choice:
    """What to give pip, and a sentence that says why."""

    arguments: tuple[str, ...]
    says: str


def choose(pin: str, python: Path) -> Choice:
    """The torch to install on this machine.

    ``TORCH_INDEX`` decides if it is set. Otherwise what pip is configured for is taken where that is a CPU
    build, where there is an NVIDIA GPU, or on systems whose default is a CPU build; else PyTorch's CPU index.
    """
    index = os.environ.get("TORCH_INDEX")
    if index:
        return Choice((pin, "--no-deps", "--index-url", index), f"torch from TORCH_INDEX ({pin}).")
    if platform.system() != "Linux":
        return Choice((pin,), f"torch as pip offers it: on {platform.system()} that is the small build ({pin}).")
    if shutil.which("nvidia-smi"):
        return Choice((pin,), f"torch as pip offers it: this machine has an NVIDIA GPU ({pin}, several GB).")
    if offers_cpu_build(report(pin, python)):
        return Choice((pin,), f"torch as pip offers it here: a CPU build ({pin}).")
    says = (
        f"torch from PyTorch's CPU index: the default build is gigabytes of CUDA and this machine has no GPU ({pin})."
    )
    return Choice((pin, "--no-deps", "--index-url", CPU_INDEX), says)


def report(pin: str, python: Path) -> dict:
    """What pip would install for the pin, read from the offered wheel's metadata; empty where it finds nothing."""
    command = [str(python), "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    done = subprocess.run([*command, "--report", "-", pin], capture_output=True, text=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {}


def offers_cpu_build(found: dict) -> bool:
    """Whether the offered wheel needs none of NVIDIA's packages."""
    packages = [entry["metadata"] for entry in found.get("install", [])]
    needs = [requirement.lower() for metadata in packages for requirement in metadata.get("requires_dist", [])]
    return bool(packages) and not any(need.startswith(("nvidia", "cuda", "triton")) for need in needs)
