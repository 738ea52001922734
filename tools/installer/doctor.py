"""Says in a sentence each what is wrong with an installation, and what to do."""

import importlib.util
import json
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .environment import ROOT, VENV, environment, lock_hash, read_stamp, venv_python

DISK_MB = 3000
PORT = 8888


def diagnose() -> Iterator[str]:
    """Everything that is wrong; nothing where all is well."""
    yield from python_problems(importlib.util.find_spec)
    yield from system_problems(platform.system(), platform.machine(), platform.mac_ver()[0])
    yield from disk_problems(shutil.disk_usage(ROOT).free // 1_000_000, VENV.exists())
    yield from port_problems(PORT)
    yield from environment_problems(VENV.exists(), read_stamp())
    if venv_python().exists():
        yield from package_problems(installed_versions(), locked_versions(ROOT / "constraints.txt"))


def python_problems(find_spec) -> Iterator[str]:
    """A Python without what makes environments (Debian packs it apart)."""
    for module in ("venv", "ensurepip"):
        if find_spec(module) is None:
            version = f"{sys.version_info[0]}.{sys.version_info[1]}"
            yield (
                f"This Python has no module {module}; on Debian and Ubuntu run: sudo apt install python{version}-venv, "
                "elsewhere install Python from python.org."
            )


def system_problems(system: str, machine: str, mac_version: str) -> Iterator[str]:
    """Systems for which the pinned torch has no build."""
    if system != "Darwin":
        return
    if machine == "x86_64":
        yield (
            "Macs with an Intel processor have no build of the torch that this book is tested with; use another "
            "computer, or a cloud notebook (Binder, Colab)."
        )
    elif int(mac_version.split(".")[0] or 0) < 14:
        yield f"This is macOS {mac_version}, and torch needs macOS 14 or newer: update macOS."


def disk_problems(free_mb: int, installed: bool) -> Iterator[str]:
    """Too little room for the installation."""
    needed = 200 if installed else DISK_MB
    if free_mb < needed:
        yield f"{free_mb} MB are free on this disk, and the book needs {needed} MB: make room or move the folder."


def port_problems(port: int) -> Iterator[str]:
    """JupyterLab's usual port taken; harmless, but good to know."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            yield (
                f"Port {port} is taken, perhaps by another JupyterLab; this one will take the next free port. To stop "
                "the other: jupyter lab stop."
            )


def environment_problems(exists: bool, stamp: dict) -> Iterator[str]:
    """An environment that is missing, half made, out of date or of another folder."""
    if not exists:
        yield "There is no .venv yet: run `make lab` (or python tools/setup.py lab)."
    elif not stamp:
        yield "The installation was not finished: run the same command again, it goes on from there."
    elif stamp["root"] != str(ROOT):
        yield "The folder was moved or copied after installation: run `make lab`, it makes .venv anew."
    elif stamp["lock"] != lock_hash():
        yield "The book was updated and needs other packages than those installed: run `make lab`."


def package_problems(installed: dict[str, str], locked: dict[str, str]) -> Iterator[str]:
    """Packages that differ from the versions that the tests ran with."""
    differing = [
        f"{name} {version} (tested with {locked[name]})"
        for name, version in sorted(installed.items())
        if name in locked and version.split("+")[0] != locked[name]
    ]
    if differing:
        shown = ", ".join(differing[:5]) + (" ..." if len(differing) > 5 else "")
        yield f"{len(differing)} packages differ from the tested ones: {shown}; delete .venv and run `make lab`."


def installed_versions() -> dict[str, str]:
    """Names and versions of what is in the environment."""
    command = [str(venv_python()), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    return {canonical(entry["name"]): entry["version"] for entry in json.loads(done.stdout or "[]")}


def locked_versions(path: Path) -> dict[str, str]:
    """Names and versions of the lock."""
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [line.split(";")[0].strip().split("==") for line in lines if "==" in line]
    return {canonical(name): version for name, version in pairs}


def canonical(name: str) -> str:
    """A package's name as pip compares it."""
    return name.lower().replace("_", "-").replace(".", "-")
