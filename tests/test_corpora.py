"""The documentation corpus: cleaned as it should be, the same everywhere, honest about what is missing."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmguide_lib.corpora import (
    LIBRARIES,
    SPLITS,
    Coverage,
    LibraryCoverage,
    coverage,
    documentation,
    documents,
    installation,
    manifest,
    splits,
)
from llmguide_lib.corpora import __main__ as command
from llmguide_lib.corpora.cache import CACHE_VARIABLE, cache_directory
from llmguide_lib.corpora.installation import Docstring, Reading
from llmguide_lib.corpora.prose import clean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import corpus  # noqa: E402

PERMISSIVE = "BSD MIT PSF Apache 0BSD Zlib CC0 BSL Python".split()
SMALL = ["jinja2", "pillow"]  # read in half a second
SENTENCE = "This sentence has quite enough words to be kept as a document."


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    documents._read.cache_clear()
    yield
    documents._read.cache_clear()


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The corpus of this installation, read anew by another process: splits and coverage."""
    code = (
        "import json, dataclasses; from llmguide_lib.corpora import *\n"
        "texts = {split: [dataclasses.astuple(d) for d in documentation(split)] for split in SPLITS}\n"
        "print(json.dumps([texts, {c.library: c.share for c in coverage().libraries}]))"
    )
    return json.loads(run(sys.executable, code, tmp_path_factory.mktemp("cache")))


def run(python, code, cache, path=ROOT):
    """What ``python`` prints, run on this library alone."""
    environment = {"PYTHONPATH": str(path), "PYTHONUTF8": "1", CACHE_VARIABLE: str(cache), "HOME": str(cache)}
    command_line = [python, "-W", "ignore", "-c", code]
    return subprocess.run(
        command_line, env=environment, capture_output=True, encoding="utf-8", check=True, cwd=cache
    ).stdout


def found(version):
    """The Python of this version, on the path or with pyenv; skips the test where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for python in [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]:
        line = [python or "", "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
        try:
            if subprocess.run(line, capture_output=True, encoding="utf-8").stdout.strip() == version:
                return python
        except OSError:
            continue
    pytest.skip(f"no Python {version} here")


def package(folder, name, files, version="1.0"):
    """An installed package without an installer."""
    metadata = folder / f"{name}-{version}.dist-info" / "METADATA"
    for path, text in {metadata: f"Name: {name}\nVersion: {version}\n"}.items():
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    for path, text in files.items():
        file = folder / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder / name


def copied(folder, change, version):
    """This installation's jinja2 with its source changed, under another version."""
    source = installation.locate("jinja2").directory
    files = {path.name: change(path.read_text(encoding="utf-8")) for path in source.glob("*.py")}
    return package(folder, "jinja2", files, version)


# Cleaning


@pytest.mark.parametrize(
    "dirty, expected",
    [
        (f"{SENTENCE}\n\n>>> 1 + 1\n2\n", SENTENCE),
        (f"{SENTENCE}\n\n    $ pip install it\n", SENTENCE),
        (f"{SENTENCE} As in::\n\n    a = b\n\n    c = d\n\nIt goes on here.", f"{SENTENCE}\nIt goes on here."),
        (f"{SENTENCE}\n\n.. math:: x^2\n\n    y^2\n", SENTENCE),
        (f"{SENTENCE}\n\n.. code-block:: python\n   :linenos:\n\n   a = b\n", SENTENCE),
        (f".. note::\n    {SENTENCE}\n", SENTENCE),
        (f".. note:: {SENTENCE}\n", SENTENCE),
        (f".. versionchanged:: 3.1\n    {SENTENCE}\n", SENTENCE),
        (f"{SENTENCE}\n\n.. [1] A. Author, a paper with a name.\n", SENTENCE),
        (f"{SENTENCE}\n\n=====  =====\na one  b two\n=====  =====\n", SENTENCE),
        (f"{SENTENCE}\n\n+---+\n| a |\n+---+\n", SENTENCE),
        (f"Title\n=====\n\n{SENTENCE}", SENTENCE),
        (f"{SENTENCE}\n\nSee Also\n--------\nother : a function that is like it\n", SENTENCE),
        (f"{SENTENCE}\n\nArgs:\n    x (int): the number to add.", f"{SENTENCE}\nx (int): the number to add."),
        (f"{SENTENCE}\n\nParameters\n----------\n*x : int\n    The number.", f"{SENTENCE}\nx (int): The number."),
        (f"{SENTENCE}\n\nRaises\n------\nKeyError\n    When it is gone.", f"{SENTENCE}\nKeyError: When it is gone."),
        (f"{SENTENCE}\n:param int x: The number to add.\n:type x: int", f"{SENTENCE}\nx: The number to add."),
        (f"{SENTENCE}\n:returns: The sum of both.", f"{SENTENCE}\nThe sum of both."),
        (f"{SENTENCE}\n\n- one of many things\n- the other\n  of them all", None),
        (f"add(x, y) -> number of things\n\n{SENTENCE}", SENTENCE),
        (f"{SENTENCE} It is :math:`x^2` here.", SENTENCE),
        (f"{SENTENCE} See https://example.org for it. The end is near.", f"{SENTENCE} The end is near."),
        (f"{SENTENCE} The {{placeholder}} stays.", SENTENCE),
        ("A :class:`~torch.nn.Linear` and ``code`` with `names` and **bold** and *light* words.", None),
        ("Too short to keep.", ""),
        ("Это предложение написано по-русски и потому не остаётся здесь.", ""),
        ("", ""),
    ],
)
def test_what_is_not_prose_goes_and_prose_stays(dirty, expected):
    special = {
        "- one": f"{SENTENCE}\none of many things\nthe other of them all",
        "A :cl": "A Linear and code with names and bold and light words.",
    }
    if expected is None:
        expected = next(text for mark, text in special.items() if mark in dirty)
    assert clean(dirty) == expected


def test_the_example_in_the_docstring_of_clean_is_true():
    docstring = "Return the ``mean``.\n\nParameters\n----------\nx : list\n    The numbers to take it of."
    assert clean(docstring) == "Return the mean.\nx (list): The numbers to take it of."


# Reading


def test_docstrings_are_read_in_order_without_running_anything(tmp_path, monkeypatch):
    source = (
        '"""Module."""\nraise SystemExit("this file was run")\n'
        'class A:\n    """Class."""\n    if True:\n        def f(self):\n            """Method."""\n'
        'def g():\n    def inner():\n        """Inner."""\n'
        'add_docstr(torch.abs, "head" + "{} tail".format(1))\n'
        'add_newdoc("pkg", "ufunc", ("shape", "Tuple of sizes."))\nadd_docstr(torch.abs)\nother(1, "no")\n'
    )
    files = {"__init__.py": source, "sub/late.py": '"""Late."""', "broken.py": "def (", "tests/test_it.py": '"""No."""'}
    package(tmp_path, "PIL", files)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    reading = installation.locate("pillow")
    assert list(installation.docstrings("pillow", reading)) == [
        Docstring("PIL", "", "Module."),
        Docstring("PIL", "torch.abs", "head{} tail"),
        Docstring("PIL", "pkg.ufunc.shape", "Tuple of sizes."),
        Docstring("PIL", "A", "Class."),
        Docstring("PIL", "A.f", "Method."),
        Docstring("PIL", "g.inner", "Inner."),
        Docstring("PIL.sub.late", "", "Late."),
    ]
    assert reading.unreadable == []
    assert reading.version == "unknown"  # the distribution pillow brings the package PIL, and here it is missing


def test_nothing_heavy_is_imported_to_read_the_corpus(tmp_path):
    code = "import sys; from llmguide_lib.corpora import *; coverage(['jinja2']); print(*sys.modules)"
    path = Path(installation.locate("jinja2").directory).parent
    loaded = run(sys.executable, code, tmp_path, f"{ROOT}:{path}").split()
    assert "llmguide_lib.corpora" in loaded
    assert set(loaded) & {"torch", "numpy", "jinja2", "matplotlib", "sympy"} == set()


# The same corpus everywhere


def test_a_pinned_installation_has_the_whole_corpus_exactly(whole):
    texts, shares = whole
    pinned = {library: manifest.load()[library].version for library in LIBRARIES if library != "stdlib"}
    exact = [library for library, version in pinned.items() if installation.locate(library).version == version]
    if f"{sys.version_info.major}.{sys.version_info.minor}" in manifest.load()["stdlib"].version:
        exact.append("stdlib")
    if not exact:
        pytest.skip("no library of this installation has the pinned version")
    for library in exact:
        if library in ("torch", "stdlib"):  # a build for a GPU, another patch release: nearly all
            assert shares[library] >= 0.98
        else:
            assert shares[library] == 1
        for split in SPLITS:
            hashes = [manifest.text_hash(text) for of, _, _, text in texts[split] if of == library]
            listed = manifest.load()[library].hashes[split]
            assert hashes == [h for h in listed if h in set(hashes)]


def test_the_manifest_was_made_with_the_pinned_versions():
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower()
    pins = dict(line.split("==") for line in constraints.splitlines() if "==" in line)
    for library in LIBRARIES[1:]:
        assert manifest.load()[library].version == pins[library], f"{library}: write the manifest anew"


def test_the_manifest_is_compact_and_lists_each_text_once():
    file = ROOT / "llmguide_lib" / "data" / manifest.FILE
    text = file.read_text(encoding="utf-8")
    assert file.stat().st_size < 300_000
    assert corpus.dump(manifest.load()) == text
    hashes = [h for listing in manifest.load().values() for split in SPLITS for h in listing.hashes[split]]
    assert len(hashes) == len(set(hashes)) > 20_000
    assert {len(h) for h in hashes} == {8}


def test_writing_the_manifest_twice_gives_the_same_bytes(tmp_path, monkeypatch):
    texts = {f"m{at}.py": f'"""{SENTENCE} {at} of many."""' for at in range(60)}
    package(tmp_path, "PIL", texts | {"__init__.py": ""})
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(installation, "PACKAGES", {"jinja2": "jinja2", "pillow": "PIL"})
    first, second = corpus.listings([]), corpus.listings([])
    assert corpus.dump(first) == corpus.dump(second)
    assert first["pillow"].size == 1, "sixty texts that differ in one word are near-duplicates"
    monkeypatch.setattr(installation, "PACKAGES", {"numpy": "no_such_package"})
    with pytest.raises(ValueError, match=r"numpy must be installed and readable"):
        corpus.listings([])


def test_the_standard_librarys_part_is_what_several_pythons_share(tmp_path):
    other = tmp_path / "python3.99"
    other.mkdir()
    (other / "module.py").write_text(f'"""{SENTENCE}"""', encoding="utf-8")
    records = [("a", SENTENCE), ("b", "Only in this Python")]
    assert corpus.common(records, Reading("3.98.1"), [other]) == ([("a", SENTENCE)], "3.98, 3.99")
    with pytest.raises(ValueError, match=r"--stdlib \(.*empty\) must be the library folder of a Python"):
        corpus.common(records, Reading("3.98.1"), [tmp_path / "empty"])


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_another_python_gives_the_same_documents(python, whole, tmp_path):
    code = (
        "import json; from llmguide_lib.corpora import *; print(coverage(['stdlib']).share);"
        "print(json.dumps([d.text for d in documentation('validation', ['stdlib'])]))"
    )
    share, texts = run(found(python), code, tmp_path).splitlines()
    own = [text for library, _, _, text in whole[0]["validation"] if library == "stdlib"]
    assert float(share) >= 0.98
    assert len(set(json.loads(texts)) ^ set(own)) <= 0.02 * len(own)


def test_documents_come_in_the_manifests_order_whatever_the_order_asked_for():
    one, other = documentation("test", SMALL), documentation("test", SMALL[::-1])
    assert one == other
    assert [document.library for document in one] == sorted(document.library for document in one)


# Splits


def test_splits_share_no_module_and_no_near_duplicate(whole, record_testsuite_property):
    texts, _ = whole
    modules = {split: {(library, module) for library, module, _, _ in texts[split]} for split in SPLITS}
    assert modules["train"] & modules["validation"] == modules["train"] & modules["test"] == set()
    assert modules["validation"] & modules["test"] == set()
    seen = set()
    for split in SPLITS:
        own = [text for *_, text in texts[split]]
        shares = [splits.overlap(text, seen) for text in own] if seen else [0]
        mean = sum(shares) / len(shares)
        record_testsuite_property(f"{split}: share of 6-grams in earlier splits, mean and largest", (mean, max(shares)))
        assert mean < 0.02
        assert max(shares) <= splits.ACROSS
        seen |= {gram for text in own for gram in splits.ngrams(text)}


def test_near_duplicates_are_noticed():
    texts = {"train": [SENTENCE], "validation": [SENTENCE + " Indeed."], "test": ["It is about other things entirely."]}
    assert corpus.without_leakage(texts) == texts | {"validation": []}
    assert splits.overlap(SENTENCE, splits.ngrams(SENTENCE.upper().replace(".", "!"))) == 1
    assert splits.overlap("short", splits.ngrams(SENTENCE)) == 0


def test_the_split_of_a_module_depends_on_its_name_only():
    drawn = [splits.split_of("numpy", f"numpy.module{at}") for at in range(2000)]
    assert 0.04 < drawn.count("validation") / 2000 < 0.08
    assert 0.10 < drawn.count("test") / 2000 < 0.14
    assert splits.split_of("numpy", "numpy.linalg") == splits.split_of("numpy", "numpy.linalg")


# Less than the whole corpus


def test_an_older_version_gives_what_did_not_change_and_says_so(tmp_path, monkeypatch):
    complete = documentation("train", ["jinja2"])
    copied(tmp_path, lambda text: text.replace(" the ", " that "), "2.9")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match=r"jinja2 2\.9 instead of 3\.1\.6 has \d\d\.\d%; with so little of it, the"):
        partial = documentation("train", ["jinja2"])
    assert 0.2 * len(complete) < len(partial) < 0.8 * len(complete)
    assert [document for document in complete if document in partial] == partial


def test_a_version_with_little_change_is_said_without_alarm(tmp_path, monkeypatch):
    copied(tmp_path, lambda text: text.replace("Undefined", "Undefine"), "9.0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(
        UserWarning, match=r"This installation has \d+ of the corpus's 327 documents \(9\d\.\d%\)"
    ) as said:
        documentation("train", ["jinja2"])
    assert "may not hold" not in str(said[0].message)
    assert str(said[0].message).endswith(
        "jinja2 9.0 instead of 3.1.6 has " + re.search(r"9\d\.\d%\.", str(said[0].message))[0]
    )


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    copied(tmp_path, str, "3.1.6")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.warns(UserWarning, match=r"documents \(\d+\.\d%\): not installed: numpy, torch; with so little of it"):
        rest = documentation("train", ["jinja2", "numpy", "torch"])
    assert {document.library for document in rest} == {"jinja2"}
    with pytest.raises(
        ValueError, match=r"libraries \(numpy\): This installation has 0 of the corpus's \d,\d+ documents"
    ):
        documentation("train", ["numpy"])


def test_what_cannot_be_read_is_counted_and_not_cached(tmp_path, monkeypatch):
    read = Path.read_bytes

    def refuse(path):
        if path.name == "filters.py":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.warns(UserWarning, match=r"jinja2 has 1 files or folders that cannot be read \(\d\d\.\d%\)"):
        documentation("train", ["jinja2"])
    assert not (tmp_path / "cache").exists()
    monkeypatch.undo()
    documents._read.cache_clear()
    assert coverage(["jinja2"]).share == 1


def test_a_folder_that_cannot_be_listed_is_counted(tmp_path, monkeypatch):
    reading = Reading("1", tmp_path / "nowhere")
    assert list(installation.docstrings("jinja2", reading)) == []
    assert len(reading.unreadable) == 1


def test_coverage_says_what_is_missing():
    full = LibraryCoverage("numpy", "2.4.6", "2.4.6", 30, 30)
    none = LibraryCoverage("torch", None, "2.13.0", 0, 20)
    same = LibraryCoverage("stdlib", "3.11.2", "3.11, 3.12", 48, 50)
    assert Coverage((full,)).sentence() == "This installation has all 30 documents of the corpus."
    assert Coverage((full, same)).sentence() == (
        "This installation has 78 of the corpus's 80 documents (97.5%): stdlib 3.11.2 has 96.0%."
    )
    assert Coverage((none, full)).sentence() == (
        "This installation has 30 of the corpus's 50 documents (60.0%): not installed: torch; "
        "with so little of it, the ranges that the lessons state may not hold."
    )


# The cache


def count_readings(monkeypatch):
    calls, read = [], installation.docstrings
    monkeypatch.setattr(installation, "docstrings", lambda *a: calls.append(a[0]) or read(*a))
    return calls


def test_the_second_process_reads_the_cache_and_a_damaged_cache_is_not_believed(tmp_path, monkeypatch):
    calls = count_readings(monkeypatch)
    first = documentation("train", ["jinja2"])
    (file,) = (tmp_path / "cache").iterdir()
    for damage, readings in [
        (lambda text: text, 1),
        (lambda text: text.replace("template", "temple"), 2),
        (lambda text: text[:1000], 3),
        (lambda text: "[1, 2]", 4),
        (lambda text: "{}", 5),
    ]:
        file.write_text(damage(file.read_text(encoding="utf-8")), encoding="utf-8")
        documents._read.cache_clear()
        assert documentation("train", ["jinja2"]) == first
        assert len(calls) == readings
    documentation("test", ["jinja2"])
    assert len(calls) == 5, "one process reads a library once"


def test_it_works_where_no_cache_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    assert documentation("train", ["jinja2"])
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "full"))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert documentation("train", ["jinja2"])
    assert list((tmp_path / "full").iterdir()) == []


@pytest.mark.parametrize(
    "platform, variable, folder",
    [("linux", "XDG_CACHE_HOME", "x"), ("win32", "LOCALAPPDATA", "x"), ("darwin", "HOME", "x/Library/Caches")],
)
def test_the_cache_stands_where_the_platform_keeps_caches(platform, variable, folder, tmp_path, monkeypatch):
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path / "x"))
    assert cache_directory() == tmp_path / folder / "llmguide"


def test_two_processes_may_build_the_cache_at_once(tmp_path):
    code = "from llmguide_lib.corpora import *; print(len(documentation('train', ['stdlib'])))"
    environment = {"PYTHONPATH": str(ROOT), CACHE_VARIABLE: str(tmp_path), "HOME": str(tmp_path)}
    line = [sys.executable, "-W", "ignore", "-c", code]
    both = [subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, encoding="utf-8") for _ in range(2)]
    answers = [process.communicate()[0] for process in both]
    assert answers[0] == answers[1]
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


# Bad arguments, licences, the command


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("dev",), r"split \('dev'\) must be one of train, validation, test"),
        (("train", ["numpy", "flask"]), r"libraries \(\['numpy', 'flask'\]\) must be a list of some of stdlib, numpy"),
        (("train", "numpy"), r"libraries \('numpy'\) must be a list of some of stdlib, numpy"),
        (("train", []), r"libraries \(\[\]\) must be a list of some of stdlib, numpy"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        documentation(*arguments)


@pytest.mark.parametrize("library", LIBRARIES[1:])
def test_a_librarys_licence_is_permissive(library):
    try:
        metadata = importlib.metadata.metadata(library)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{library} is not installed")
    classifiers = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier") or [] if "License" in line]
    expression = metadata["License-Expression"] or ("" if classifiers else metadata["License"] or "")
    stated = re.split(r" AND | OR ", expression) if expression else classifiers
    assert stated, f"{library} states no licence"
    for licence in stated:
        assert licence.startswith(tuple(PERMISSIVE)), f"{library}: {licence}"


def test_the_notice_names_every_library_with_the_version_listed():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for library in LIBRARIES:
        assert re.search(rf"^{library} +{re.escape(manifest.load()[library].version)} ", notice, re.MULTILINE)


def test_the_command_says_how_much_there_is(capsys, monkeypatch):
    said = Coverage((LibraryCoverage("numpy", "2", "2", 3, 3),))
    monkeypatch.setattr(command, "coverage", lambda: said)
    command.main()
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == said.sentence()
    assert [line.split()[0] for line in out[:-1]] == list(LIBRARIES)


def test_the_tool_writes_what_it_reads(tmp_path, monkeypatch, capsys):
    place = Path("llmguide_lib", "data", manifest.FILE)
    (tmp_path / place).parent.mkdir(parents=True)
    monkeypatch.setattr(corpus, "ROOT", tmp_path)
    monkeypatch.setattr(corpus, "listings", lambda others: manifest.load())
    corpus.main(["write"])
    assert (tmp_path / place).read_bytes() == (ROOT / place).read_bytes()
    assert capsys.readouterr().out == f"wrote {tmp_path / place}\n"


@pytest.mark.slow
def test_the_committed_manifest_is_what_the_tool_writes(tmp_path):
    code = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    pythons = [found(version) for version in manifest.load()["stdlib"].version.split(", ")]
    folders = [Path(run(python, code, tmp_path).strip()) for python in pythons]
    written, shipped = corpus.listings(folders), manifest.load()
    for library in LIBRARIES:
        listed = {split: set(shipped[library].hashes[split]) for split in SPLITS}
        again = {split: set(written[library].hashes[split]) for split in SPLITS}
        assert sum(len(listed[split] ^ again[split]) for split in SPLITS) <= 0.02 * shipped[library].size
