"""The commands of tools/setup.py."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .doctor import diagnose
from .environment import ROOT, VENV, SetupError, ensure, environment, torch_pin, venv_python
from .torch_choice import choose

LAB = {"lab"}
CLASSROOM = {"lab", "classroom"}
TEST = {"lab", "dev", "classroom", "site", "hub", "evaluation"}
LANGUAGES = {"en": "default", "zh": "zh_CN"}


def main(arguments: list[str]) -> int:
    """Runs one command; what goes wrong is a sentence, not a traceback."""
    options = parse(arguments)
    try:
        return options.run(options)
    except SetupError as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again: it goes on from here.", file=sys.stderr)
        return 130
    except OSError as error:
        print(
            f"{error.filename or 'the disk'}: {error.strerror}; make it writable or make room, then run it again.",
            file=sys.stderr,
        )
    return 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="setup.py", description="Set up the book and run it.")
    parser.add_argument("--offline", type=Path, metavar="DIR", help="install from a wheelhouse, without network")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, says in (
        ("lab", lab, "install, copy the notebooks to workspace/, open JupyterLab (BOOK_LANG=zh for Chinese)"),
        ("lab-check", lab_check, "the same without a browser: start, run the first lesson, stop"),
        ("test", test, "install and run all tests; --all adds the slow ones, --gpu runs those of a GPU"),
        ("book", book, "build the website in both languages"),
        ("assignments", assignments, "make the exercises to hand out to a class"),
        ("grade", grade, "grade what was handed in"),
        ("bench", bench, "measure each chapter, and the library beside its peers"),
        ("doctor", doctor, "say what is wrong with the installation"),
        ("lock", lock, "renew constraints.txt from the environment"),
    ):
        command = commands.add_parser(name, help=says)
        command.set_defaults(run=run)
        if name == "test":
            command.add_argument("--all", action="store_true")
            command.add_argument("--gpu", action="store_true")
            command.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    wheels = commands.add_parser("wheelhouse", help="collect everything for a class without network")
    wheels.add_argument("folder", type=Path)
    wheels.set_defaults(run=wheelhouse)
    return parser.parse_args(arguments)


def language() -> str:
    """The edition asked for, from BOOK_LANG.

    Raises:
        SetupError: it is not a language of the book.
    """
    lang = os.environ.get("BOOK_LANG", "en")
    if lang not in LANGUAGES:
        raise SetupError(f"BOOK_LANG is {lang!r}; it must be en or zh")
    return lang


def lab(options: argparse.Namespace) -> int:
    lang = language()
    ensure(LAB, options.offline)
    page = prepare_lab(lang)
    command = [str(venv_python()), "-m", "jupyterlab", f"--ServerApp.root_dir={ROOT / 'workspace'}"]
    print(f"Opening JupyterLab at {page}. Stop it with Ctrl-C in this window.", flush=True)
    return run([*command, f"--LabApp.default_url=/lab/tree/{page}"])


def prepare_lab(lang: str) -> str:
    """Copies the notebooks, sets JupyterLab's language inside .venv; returns the start page's path in workspace/."""
    settings = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    overrides = {
        "@jupyterlab/translation-extension:plugin": {"locale": LANGUAGES[lang]},
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    settings.write_text(json.dumps(overrides, indent=1), encoding="utf-8")
    said = capture([str(venv_python()), "tools/book.py", "workspace", "--lang", lang]).strip().splitlines()
    print("\n".join(said[:-1]), end="\n" if said[:-1] else "")
    return said[-1]


def lab_check(options: argparse.Namespace) -> int:
    lang = language()
    ensure(LAB, options.offline)
    page = prepare_lab(lang)
    return run([str(venv_python()), "tools/installer/lab_check.py", str(ROOT / "workspace"), page])


def test(options: argparse.Namespace) -> int:
    ensure(TEST, options.offline)
    marks = "not gpu and not network" if options.all else "gpu" if options.gpu else None
    chosen = ["-m", marks] if marks else []
    return run([str(venv_python()), "-m", "pytest", *chosen, *options.pytest], PYTHONWARNDEFAULTENCODING="1")


def book(options: argparse.Namespace) -> int:
    ensure({"lab", "site"}, options.offline)
    return run([str(venv_python()), "tools/book.py", "site"])


def assignments(options: argparse.Namespace) -> int:
    ensure(CLASSROOM, options.offline)
    return run([str(venv_python()), "tools/book.py", "assignments"])


def grade(options: argparse.Namespace) -> int:
    ensure(CLASSROOM, options.offline)
    return run([str(venv_python()), "tools/book.py", "grade"])


def bench(options: argparse.Namespace) -> int:
    ensure({"lab", "dev", "hub", "evaluation"}, options.offline)
    scripts = sorted((ROOT / "benchmarks").glob("*.py"))
    return max(run([str(venv_python()), str(script)]) for script in scripts)


def doctor(options: argparse.Namespace) -> int:
    problems = list(diagnose())
    print("\n".join(problems) or "Nothing is wrong with this installation.")
    return 1 if problems else 0


def lock(options: argparse.Namespace) -> int:
    """Writes the versions of the environment, so that everybody gets those that the tests ran with."""
    ensure(TEST, options.offline)
    frozen = capture([str(venv_python()), "-m", "pip", "freeze", "--all", "--exclude-editable"]).splitlines()
    pins = [line.split("+")[0] for line in frozen if "==" in line and not line.startswith("llmguide")]
    head = "# Exact versions that the tests ran with. Renewed by: python tools/setup.py lock\n"
    (ROOT / "constraints.txt").write_text(head + "\n".join(pins) + "\n", encoding="utf-8")
    return 0


def wheelhouse(options: argparse.Namespace) -> int:
    """Downloads every wheel that `--offline` needs, torch included, for computers like this one."""
    ensure(LAB, options.offline)
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    pip = [str(venv_python()), "-m", "pip", "--disable-pip-version-check"]
    constrained = ["--constraint", "constraints.txt"]
    torch = choose(torch_pin(), venv_python()).arguments
    names = ["pip", "setuptools", "wheel", f".[{','.join(sorted(TEST))}]"]
    for arguments in (
        ["download", "--quiet", "--no-deps", "--dest", str(folder), *(word for word in torch if word != "--no-deps")],
        ["wheel", "--quiet", *constrained, "--find-links", str(folder), "--wheel-dir", str(folder), *names],
    ):
        if run([*pip, *arguments]):
            raise SetupError("the wheelhouse is not complete; pip's last lines above say why")
    for built in folder.glob("llmguide_lib-*.whl"):
        built.unlink()  # the book itself is installed from its folder
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    size = sum(path.stat().st_size for path in folder.iterdir()) // 1_000_000
    print(f"{folder}: {size} MB. Copy it, then: python tools/setup.py --offline {folder} lab")
    return 0


def run(command: list[str], **variables: str) -> int:
    """Runs a program of the book in its folder and returns its status."""
    try:
        return subprocess.run(command, cwd=ROOT, env={**environment(), **variables}).returncode
    except KeyboardInterrupt:
        return 130


def capture(command: list[str]) -> str:
    """What a program of the book prints.

    Raises:
        SetupError: it failed.
    """
    done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, encoding="utf-8")
    if done.returncode:
        raise SetupError(f"{' '.join(command[1:3])} failed; what it said stands above")
    return done.stdout
