"""The book's own Python environment, .venv: made, renewed, and never half believed in."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .torch_choice import choose

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "llmguide-stamp.json"
TORCH_MB = 190  # the CPU wheel of the pinned version for Linux
DISK_MB = 1700  # .venv with all extras, by du -sm


class SetupError(Exception):
    """Something that the user has to do; the message says what."""


def venv_python(venv: Path = VENV) -> Path:
    """The interpreter inside the environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment() -> dict[str, str]:
    """Environment variables for programs of the book: its own programs first, its notebooks in UTF-8."""
    path = os.pathsep.join([str(venv_python().parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "PYTHONUTF8": "1", "VIRTUAL_ENV": str(VENV)}


def lock_hash() -> str:
    """Hash of what decides the contents of the environment."""
    parts = [sys.version.split()[0]]
    parts += [(ROOT / name).read_text(encoding="utf-8") for name in ("constraints.txt", "pyproject.toml")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def read_stamp(stamp: Path = STAMP) -> dict:
    """What the environment is known to hold; empty where it is unknown."""
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def installed_extras() -> set[str]:
    """Which extras are known to be there; none where the lock changed or the environment moved."""
    stamp = read_stamp()
    if stamp.get("lock") != lock_hash() or stamp.get("root") != str(ROOT) or not venv_python().exists():
        return set()
    return set(stamp["extras"])


def ensure(extras: set[str], offline: Path | None = None) -> None:
    """Makes the environment hold these extras; in under a second where it already does.

    The stamp is removed first and written last, so an interruption only means doing it again.
    """
    installed = installed_extras()
    if extras <= installed:
        return
    wanted = extras | installed
    STAMP.unlink(missing_ok=True)
    _make_venv()
    _announce(wanted, offline)
    source = [] if offline is None else ["--no-index", "--find-links", str(offline.resolve())]
    pip("install", "--quiet", "--upgrade", "pip", "setuptools", "wheel", *_constrained(), *source)
    _install_torch(source)
    names = ",".join(sorted(wanted))
    pip("install", "--quiet", *_constrained(), *source, "--no-build-isolation", "--editable", f"{ROOT}[{names}]")
    part = STAMP.with_suffix(".part")
    stamp = {"lock": lock_hash(), "root": str(ROOT), "extras": sorted(wanted)}
    part.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    part.replace(STAMP)


def pip(*arguments: str) -> None:
    """Runs pip in the environment.

    Raises:
        SetupError: pip failed.
    """
    command = [str(venv_python()), "-m", "pip", "--disable-pip-version-check", *arguments]
    # Build tools warn at length about what is meant here, such as an editable installation.
    if subprocess.run(command, env={**environment(), "PYTHONWARNINGS": "ignore"}).returncode:
        raise SetupError(
            "pip could not install what the book needs; its last lines above say why. Without network use a "
            "wheelhouse: `python tools/setup.py --offline DIR lab`. Running the same command again goes on from here."
        )


def _make_venv() -> None:
    if VENV.exists() and not _is_ours():
        print(f"{VENV.name} belongs to another folder or another Python; making it anew.", flush=True)
        shutil.rmtree(VENV)
    if not venv_python().exists():
        print(f"Making the environment {VENV.name} with Python {sys.version.split()[0]} ...", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
        if made.returncode:
            shutil.rmtree(VENV, ignore_errors=True)
            raise SetupError(f"the environment could not be made: {(made.stdout + made.stderr).strip()[-500:]}")


def _is_ours() -> bool:
    """Whether the environment's Python starts, is of this version, and stands where it was made."""
    ask = "import sys, pip; print(sys.prefix); print(*sys.version_info[:2])"
    try:
        told = subprocess.run([str(venv_python()), "-c", ask], capture_output=True, text=True)
    except OSError:
        return False
    prefix, _, version = told.stdout.strip().partition("\n")
    same = version == f"{sys.version_info[0]} {sys.version_info[1]}" and prefix and Path(prefix).samefile(VENV)
    return told.returncode == 0 and bool(same)


def _announce(extras: set[str], offline: Path | None) -> None:
    where = (
        f"from {offline}"
        if offline
        else f"a CPU build of torch is about {TORCH_MB} MB to download, the rest somewhat less"
    )
    names = ", ".join(sorted(extras))
    print(f"Installing torch and the extras {names}: {where}; about {DISK_MB} MB on disk with a CPU build.", flush=True)
    free = shutil.disk_usage(ROOT).free // 1_000_000
    if free < 1.5 * DISK_MB:
        raise SetupError(f"{free} MB are free on this disk, the installation needs {int(1.5 * DISK_MB)} MB; make room")


def _constrained() -> list[str]:
    return ["--constraint", str(ROOT / "constraints.txt")]


def _install_torch(source: list[str]) -> None:
    if source:
        return  # the wheelhouse holds the one that was chosen when it was made
    choice = choose(torch_pin(), venv_python())
    print(choice.says, flush=True)
    pip("install", "--quiet", *choice.arguments)


def torch_pin() -> str:
    """The torch requirement of the lock, such as "torch==2.13.0"."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line.strip() for line in lines if line.startswith("torch=="))
