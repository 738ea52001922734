"""The installer: what it chooses, what it says, and that its three lists agree. Nothing is installed here."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from installer import commands, doctor, environment, torch_choice  # noqa: E402

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
LOCKED = doctor.locked_versions(ROOT / "constraints.txt")


def name_of(requirement):
    return doctor.canonical(re.match(r"[A-Za-z0-9_.-]+", requirement)[0])


# -- the three lists --------------------------------------------------------------------------------------------------


def test_every_dependency_is_locked():
    wanted = [*PYPROJECT["project"]["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
    assert {name_of(line) for line in wanted} <= LOCKED.keys()


def test_exact_versions_in_pyproject_are_the_locked_ones():
    for lines in EXTRAS.values():
        for line in lines:
            if "==" in line:
                assert LOCKED[name_of(line)] == line.split("==")[1]


def test_conda_takes_only_python_and_pip_and_the_lock():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    conda = re.findall(r"^  - ([a-z]+)", text, flags=re.MULTILINE)
    assert conda == ["conda", "python", "pip", "pip"]
    assert "--constraint constraints.txt" in text and ".[lab]" in text


def test_every_dependency_has_a_reason():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lines = text[text.index("dependencies") : text.index("[tool.")].splitlines()
    first = {}
    for line in lines:
        if found := re.match(r'    "([A-Za-z0-9_-]+)[^"]*",(.*)', line):
            first.setdefault(found[1], found[2])
    assert [name for name, rest in first.items() if "#" not in rest] == []


def test_the_lock_names_no_machine_and_no_local_build():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "+" not in text and "file:" not in text and "://" not in text


def test_the_wheel_carries_all_that_the_library_reads(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "llmguide_lib", source / "llmguide_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    subprocess.run([*command, str(source)], check=True, capture_output=True, env={**os.environ, "PYTHONWARNINGS": ""})
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("llmguide_lib/")}
    here = {path.relative_to(source).as_posix() for path in (source / "llmguide_lib").rglob("*") if path.is_file()}
    assert here == packed


# -- which torch ------------------------------------------------------------------------------------------------------

CPU = {"install": [{"metadata": {"requires_dist": ["filelock", "sympy>=1.13"]}}]}
CUDA = {"install": [{"metadata": {"requires_dist": ["filelock", "nvidia-cublas-cu12==1; platform_system == 'Linux'"]}}]}
PIN = "torch==2.13.0"


@pytest.mark.parametrize(
    ("system", "gpu", "offered", "index", "arguments"),
    [
        ("Linux", False, CPU, None, (PIN,)),
        ("Linux", False, CUDA, None, (PIN, "--no-deps", "--index-url", torch_choice.CPU_INDEX)),
        ("Linux", False, {}, None, (PIN, "--no-deps", "--index-url", torch_choice.CPU_INDEX)),
        ("Linux", True, CUDA, None, (PIN,)),
        ("Darwin", False, CUDA, None, (PIN,)),
        ("Windows", False, CUDA, None, (PIN,)),
        ("Linux", True, CUDA, "https://mirror.example/cpu", (PIN, "--no-deps", "--index-url", "https://mirror.example/cpu")),
    ],
)  # fmt: skip
def test_torch_is_the_small_build_unless_there_is_a_gpu(monkeypatch, system, gpu, offered, index, arguments):
    monkeypatch.setattr(torch_choice.platform, "system", lambda: system)
    monkeypatch.setattr(torch_choice.shutil, "which", lambda name: "/bin/nvidia-smi" if gpu else None)
    monkeypatch.setattr(torch_choice, "report", lambda pin, python: offered)
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    if index:
        monkeypatch.setenv("TORCH_INDEX", index)
    assert torch_choice.choose(PIN, Path("python")).arguments == arguments


# -- the doctor -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problems", "message"),
    [
        (doctor.python_problems(lambda name: None), r"no module venv; on Debian and Ubuntu run: sudo apt install"),
        (doctor.system_problems("Darwin", "x86_64", "15.0"), "Macs with an Intel processor have no build"),
        (doctor.system_problems("Darwin", "arm64", "13.6"), "This is macOS 13.6, and torch needs macOS 14"),
        (doctor.disk_problems(100, False), "100 MB are free on this disk, and the book needs 3000 MB"),
        (doctor.environment_problems(False, {}), r"There is no .venv yet: run `make lab`"),
        (doctor.environment_problems(True, {}), "was not finished: run the same command again"),
        (doctor.environment_problems(True, {"root": "elsewhere"}), "The folder was moved or copied"),
        (doctor.environment_problems(True, {"root": str(ROOT), "lock": "old"}), "The book was updated"),
        (doctor.package_problems({"numpy": "1.0"}, {"numpy": "2.0"}), r"1 packages differ .*1.0 \(tested with 2.0\)"),
    ],
)  # fmt: skip
def test_the_doctor_says_what_is_wrong(problems, message):
    found = list(problems)
    assert found and re.search(message, found[0])


def test_the_doctor_is_silent_where_all_is_well():
    stamp = {"root": str(ROOT), "lock": environment.lock_hash()}
    healthy = [
        doctor.python_problems(lambda name: name),
        doctor.system_problems("Darwin", "arm64", "14.1"),
        doctor.system_problems("Linux", "x86_64", ""),
        doctor.disk_problems(9000, False),
        doctor.environment_problems(True, stamp),
        doctor.package_problems({"torch": "2.13.0+cpu"}, {"torch": "2.13.0"}),
    ]
    assert [list(problems) for problems in healthy] == [[]] * len(healthy)


def test_a_taken_port_is_named():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"Port {port} is taken" in next(doctor.port_problems(port))
    assert list(doctor.port_problems(port)) == []


def test_an_old_python_can_read_the_installer_far_enough(tmp_path):
    """Simulated, since old Pythons are not everywhere: the guard runs before anything that they cannot parse."""
    code = "import sys; sys.version_info = (3, 8, 0); exec(open(sys.argv[1], encoding='utf-8').read())"
    done = subprocess.run([sys.executable, "-c", code, "tools/setup.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "needs Python 3.11 or newer, and this is Python 3.8" in done.stderr
    head = (ROOT / "tools/setup.py").read_text(encoding="utf-8").split("from installer")[0]
    assert not re.search(r"\bf\"|:=|print ", head)


# -- the stamp --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A clone in a folder with a space and Chinese characters, with an environment that looks installed."""
    root = tmp_path / "书 folder"
    (root / ".venv" / "bin").mkdir(parents=True)
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    for name, value in (("ROOT", root), ("VENV", root / ".venv"), ("STAMP", root / ".venv" / "stamp.json")):
        monkeypatch.setattr(environment, name, value)
    monkeypatch.setattr(environment, "venv_python", lambda: Path(sys.executable))
    monkeypatch.setattr(environment.read_stamp, "__defaults__", (environment.STAMP,))
    monkeypatch.setattr(environment, "_make_venv", lambda: None)
    monkeypatch.setattr(environment, "_install_torch", lambda source: None)
    calls = []
    monkeypatch.setattr(environment, "pip", lambda *arguments: calls.append(arguments))
    return calls


def test_what_is_installed_is_not_installed_again(fake):
    environment.ensure({"lab"})
    assert len(fake) == 2 and str(fake[-1][-1]).endswith("[lab]")
    environment.ensure({"lab"})
    assert len(fake) == 2
    environment.ensure({"dev"})
    assert str(fake[-1][-1]).endswith("[dev,lab]")


def test_a_changed_lock_and_an_interruption_install_again(fake, monkeypatch):
    environment.ensure({"lab"})
    lock = environment.ROOT / "constraints.txt"
    lock.write_text(lock.read_text(encoding="utf-8") + "new==1\n", encoding="utf-8")
    assert environment.installed_extras() == set()
    monkeypatch.setattr(environment, "pip", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        environment.ensure({"lab"})
    assert environment.installed_extras() == set() and not environment.STAMP.exists()


def test_an_offline_installation_asks_no_index(fake, tmp_path):
    environment.ensure({"lab"}, offline=tmp_path)
    assert all("--no-index" in arguments and str(tmp_path) in arguments for arguments in fake)


def test_a_full_disk_is_a_sentence(fake, monkeypatch):
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10_000_000}))
    with pytest.raises(environment.SetupError, match="10 MB are free on this disk"):
        environment.ensure({"lab"})


def test_a_moved_environment_is_not_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "VENV", tmp_path)
    monkeypatch.setattr(environment, "venv_python", lambda: Path(sys.executable))
    assert not environment._is_ours()
    monkeypatch.setattr(environment, "VENV", Path(sys.prefix))
    assert environment._is_ours()


def test_an_unknown_language_is_a_sentence(monkeypatch, capsys):
    monkeypatch.setenv("BOOK_LANG", "fr")
    assert commands.main(["lab"]) == 1
    assert "BOOK_LANG is 'fr'; it must be en or zh" in capsys.readouterr().err


# -- JupyterLab -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_jupyterlab_starts_runs_the_first_lesson_and_stops(lang, tmp_path):
    work = tmp_path / "工作 space"
    tool = [sys.executable, "tools/book.py", "workspace", "--lang", lang, "--out", str(work)]
    environment_ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHONWARN")}
    page = subprocess.run(tool, cwd=ROOT, capture_output=True, text=True, check=True, encoding="utf-8").stdout.split()[
        -1
    ]
    run = [sys.executable, "tools/installer/lab_check.py", str(work), page]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", env=environment_)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"03_attention/lesson.{lang}.ipynb" in done.stdout and "The server has stopped." in done.stdout
