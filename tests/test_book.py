"""The builder on a sample book, then the book itself: checked, re-run and compared."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from sample_book import write_sample_book

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from bookbuilder import building, execute, glossary, notebooks, readme  # noqa: E402
from bookbuilder.assignments import assignment  # noqa: E402
from bookbuilder.checking import check  # noqa: E402
from bookbuilder.manifest import BookError, read_manifest  # noqa: E402
from bookbuilder.source import accept, read_source, text_hash, write_atomically  # noqa: E402
from bookbuilder.workspace import make_workspace  # noqa: E402

from llmguide_lib import runtime  # noqa: E402

LESSON = Path("chapters/01_sample/lesson.py")
EXERCISES = Path("chapters/01_sample/exercises.py")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sample book, built once; tests that change it work on a copy."""
    root = write_sample_book(tmp_path_factory.mktemp("book") / "书 with space")
    list(building.build(read_manifest(root), []))
    return root


@pytest.fixture
def book(built, tmp_path):
    return Path(shutil.copytree(built, tmp_path / "book"))


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def problems(root):
    return [str(problem) for problem in check(read_manifest(root))[0]]


def lesson(root, lang="en", kind="lesson"):
    return nbformat.read(root / f"chapters/01_sample/{kind}.{lang}.ipynb", as_version=4)


def cell(notebook, cell_id):
    return next(cell for cell in notebook.cells if cell.id == cell_id)


# -- building ---------------------------------------------------------------------------------------------------------


def test_a_built_book_has_no_problems_and_no_warnings(built):
    assert check(read_manifest(built)) == ([], [])


def test_building_twice_changes_nothing(book):
    before = {path: path.read_bytes() for path in book.rglob("*.ipynb")}
    assert list(building.build(read_manifest(book), [])) == []
    assert {path: path.read_bytes() for path in book.rglob("*.ipynb")} == before


def test_both_languages_share_code_outputs_and_ids_but_for_the_first_cell(built):
    en, zh = lesson(built), lesson(built, "zh")
    assert [cell.id for cell in en.cells] == [cell.id for cell in zh.cells]
    code = [(a.source, b.source) for a, b in zip(en.cells, zh.cells, strict=True) if a.cell_type == "code"]
    assert code[0][0].replace('"en"', '"zh"') == code[0][1]
    assert all(a == b for a, b in code[1:])
    assert cell(zh, "sum").outputs[0].text == "2\n"
    assert "因为" in cell(zh, "why").source


def test_the_caption_is_the_pictures_text_alternative_in_both_languages(built):
    for lang, words in (("en", "A line that rises from 0 to 1."), ("zh", "一条从 0 升到 1 的直线。")):
        (picture,) = cell(lesson(built, lang), "picture").outputs
        assert picture.metadata["image/png"]["alt"] == words


def test_a_stored_verdict_is_in_the_notebooks_language(built):
    shown = [cell(lesson(built, lang), "verdict").outputs[0].data["text/plain"] for lang in ("en", "zh")]
    assert shown == ["2.1a: holds\n  yes  two", "2.1a: 成立\n  是  two"]


def test_line_breaks_inside_chinese_text_leave_no_blank():
    kept = "如下：\n- 列表\n\n表：\n| a |\n\n式：\n$$x$$"
    assert notebooks.CHINESE_BREAK.sub("", kept) == kept
    assert notebooks.CHINESE_BREAK.sub("", "相反，\n`code` 与此一致") == "相反，`code` 与此一致"
    entries = "1. 没有；\n   四个\n   词，\n   `code` 也在\n2. 另一条：\n   - 里面的\n"
    assert notebooks.CHINESE_BREAK.sub("", entries) == "1. 没有；四个词，`code` 也在\n2. 另一条：\n   - 里面的\n"
    text = "第一行，\n第二行\n\n- 列表\n- `code`\n再来"
    assert notebooks.CHINESE_BREAK.sub("", text) == "第一行，第二行\n\n- 列表\n- `code`\n再来"


def test_measured_and_free_cells_are_not_compared_and_others_are(built):
    tags = {c.id: "nbval-ignore-output" in c.metadata.get("tags", []) for c in lesson(built).cells}
    assert [name for name, ignored in tags.items() if ignored] == ["time", "picture"]


def test_prose_alone_does_not_run_the_lesson_again(book, monkeypatch):
    monkeypatch.setattr(building, "execute", lambda notebook: pytest.fail("was run"))
    edit(book / LESSON, "is not obvious", "is less obvious than it looks")
    assert len(list(building.build(read_manifest(book), []))) == 1
    assert cell(lesson(book), "sum").outputs[0].text == "2\n"


def test_changed_code_runs_the_whole_lesson_again(book):
    edit(book / LESSON, "total = 1 + 1", "total = 2")
    list(building.build(read_manifest(book), []))
    assert problems(book) == []
    assert cell(lesson(book), "time").outputs[0].data["text/plain"] != ""


def test_a_lesson_that_raises_is_not_written(book):
    before = (book / "chapters/01_sample/lesson.en.ipynb").read_bytes()
    edit(book / LESSON, "total = 1 + 1", "total = 1 / 0")
    with pytest.raises(BookError, match="ZeroDivisionError"):
        list(building.build(read_manifest(book), []))
    assert (book / "chapters/01_sample/lesson.en.ipynb").read_bytes() == before


def test_a_lesson_that_writes_on_stderr_is_refused(book):
    edit(book / LESSON, "total = 1 + 1", "import sys; sys.stderr.write('careful'); total = 2")
    with pytest.raises(BookError, match="'sum' wrote on stderr: careful"):
        list(building.build(read_manifest(book), []))


def test_what_is_printed_slowly_stays_together():
    cell = nbformat.v4.new_code_cell("import time\nfor n in range(3):\n    print(n, flush=True)\n    time.sleep(0.4)")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    execute.execute(notebook)
    assert [output.text for output in notebook.cells[0].outputs] == ["0\n1\n2\n"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal to a group of processes")
def test_ctrl_c_in_a_running_lesson_is_an_interrupt(tmp_path):
    cell = f"import pathlib, time; pathlib.Path({str(tmp_path / 'runs')!r}).touch(); time.sleep(60)"
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r})\n"
        "import nbformat\nfrom bookbuilder.execute import execute\n"
        f"cell = {cell!r}\n"
        "try:\n    execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]))\n"
        "except KeyboardInterrupt:\n    print('interrupted')"
    )
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    end = time.monotonic() + 40
    while not (tmp_path / "runs").exists() and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    assert running.communicate(timeout=30)[0] == b"interrupted\n"


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "notebook.ipynb"
    write_atomically(path, "old")

    def interrupt(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "old"


def test_widgets_are_stored_without_their_code_and_with_stable_ids():
    shown, layout, closed = (letter * 32 for letter in "abc")
    first, second = (str(number).rjust(32, "0") for number in (1, 2))
    model = {"state": {"_esm": "long", "_css": "css", "lang": "en", "layout": f"IPY_MODEL_{layout}"}}
    state = {shown: model, layout: {"state": {}}, closed: {"state": {}}}
    data = {execute.WIDGET: {"model_id": shown, "version_major": 2, "version_minor": 0}, "text/plain": "Widget"}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("w")])
    notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", data=data)]
    notebook.metadata["widgets"] = {execute.STATE: {"state": state}}
    execute.normalise(notebook)
    stored = building.widget_states(notebook)
    assert sorted(stored) == [first, second]
    kept = {"_esm": execute.UNSTARTED, "lang": "en", "layout": f"IPY_MODEL_{second}"}
    assert stored[first]["state"] == kept
    assert notebook.cells[0].outputs[0].data == {execute.WIDGET: {**data[execute.WIDGET], "model_id": first}}


# -- exercises --------------------------------------------------------------------------------------------------------


def test_the_student_gets_the_stub_the_card_folded_hints_and_a_check(built):
    notebook = lesson(built, "zh", "exercises")
    text = "\n".join(c.source for c in notebook.cells)
    assert "return a - b" in text and "SOLUTION" not in text
    assert "return a + b" not in text.replace(cell(notebook, notebooks_hints(notebook)).source, "")
    assert "难度 ●○○ · 约 2 分钟 · 2 分" in text
    assert text.count("<details><summary>提示") == 3
    assert cell(notebook, "check-add").source == 'check("add", add)'


def notebooks_hints(notebook):
    return next(c.id for c in notebook.cells if c.metadata.llmguide.get("role") == "hints")


def test_the_solved_edition_proves_its_marks(built):
    notebook = notebooks.solved_notebook(built, "01_sample", "en")
    assert "return a + b" in "\n".join(c.source for c in notebook.cells)
    assert cell(notebook, "proof-add").source == 'assert marks("add", add) == 2'


def test_a_stub_without_its_own_text_raises():
    text = "def f(x):\n    # BEGIN SOLUTION\n    return x\n    # END SOLUTION\n"
    assert notebooks.stub(text) == 'def f(x):\n    raise NotImplementedError("your code here")'
    assert notebooks.solution(text) == "def f(x):\n    return x"


def test_only_the_answers_of_an_assignment_can_be_edited(built):
    manifest = read_manifest(built)
    chapter = manifest.finished[0]
    notebook = assignment(manifest, chapter, read_source(built / EXERCISES), "en")
    settings = {c.id: c.metadata.nbgrader for c in notebook.cells if c.cell_type == "code"}
    assert [name for name, setting in settings.items() if not setting["locked"]] == [
        name for name, setting in settings.items() if setting["solution"]
    ]
    assert {name: s["points"] for name, s in settings.items() if s["grade"]} == {"marks-add": 2}
    assert (
        "return a + b" not in cell(notebook, next(iter(settings.keys() - {"start", "check-add", "marks-add"}))).source
    )


# -- check ------------------------------------------------------------------------------------------------------------

LINE = {"lesson": LESSON, "exercises": EXERCISES, "manifest": Path("book.toml")}
MISTAKES = [
    ("lesson", 'of="7bbb764b"', 'of="00000000"', r"lesson.py:5: the translation is of an older English text"),
    ("lesson", "is not obvious", "is obvious", r"lesson.py:5: the translation is of an older English text"),
    ("lesson", ' of="7bbb764b"', "", r"lesson.py:5: the translation does not say of which English text it is"),
    ("lesson", '# %% [markdown] lang="zh" of="7bbb764b"', "# %%", r"lesson.py:1: English prose without its Chinese"),
    ("lesson", '[markdown] lang="en" name="why"', "[markdown]", r"lesson.py:1: prose without a language"),
    ("lesson", "assert 0 <= guess < 1", "guess = 1", r"lesson.py:12: measured, but not asserted"),
    ("lesson", 'decide("2.1a"', 'decide("2.1b"', r"lesson.py:29: a claim without its verdict"),
    ("lesson", ' role="caption"', "", r"lesson.py:18: a picture or explorer without caption"),
    ("lesson", 'tags=["free"]', 'tags=["fee"]', r"lesson.py:18: unknown tag 'fee'"),
    ("lesson", "print(total)", "print(total", r"lesson.py:\d+: not Python: '\(' was never closed, in line \d"),
    ("lesson", "print(total)", "print(total, '/home/someone')", r"lesson.en.ipynb:1: its code differs"),
    ("lesson", 'name="picture"', 'name="why"', r"lesson.py:18: a second cell named 'why'; give it a name of its own"),
    ("exercises", "3. Write", "   Write", r"2 hints; write a numbered list of exactly three"),
    ("exercises", "points=2", "points=3", r"3 points, book.toml says 2"),
    ("exercises", "difficulty=1 ", "", r"exercise card without difficulty"),
    ("exercises", ' answer="add"', "", r"exercise 'add' without an answer cell"),
    ("exercises", "# BEGIN SOLUTION", "# BEGIN", r"answer cell without a solution"),
    ("manifest", 'claims = ["2.1a"]', 'claims = ["2.1a", "2.1b"]', r"claim 2.1b: book.toml lists it"),
    ("manifest", 'status = "finished"', 'status = "planned"', r"01_sample:1: not a chapter"),
]


@pytest.mark.parametrize(("where", "old", "new", "message"), MISTAKES, ids=[mistake[3] for mistake in MISTAKES])
def test_check_names_file_line_and_fix(book, where, old, new, message):
    edit(book / LINE[where], old, new)
    found = problems(book)
    assert any(re.search(message, problem) for problem in found), found
    assert all("; " in problem for problem in found)


def test_check_finds_an_untranslated_cell(book):
    edit(
        book / LESSON,
        "# ## 为什么要做加法？\n#\n# 因为 $1 + 1$ 并不显然。",
        "# ## Why add?\n#\n# Because $1 + 1$ is not obvious.",
    )
    assert any("the Chinese cell is the English text" in problem for problem in problems(book))


def test_check_finds_what_is_too_large(book, monkeypatch):
    from bookbuilder import checking

    monkeypatch.setattr(checking, "NOTEBOOK_BYTES", 100)
    monkeypatch.setattr(checking, "FIGURE_BYTES", 100)
    found = " ".join(problems(book))
    assert "more than 100; show less" in found and "figure of cell 'picture'" in found


def test_check_finds_an_edited_or_missing_notebook(book):
    edit(book / "chapters/01_sample/lesson.zh.ipynb", "并不显然", "显然")
    (book / "chapters/01_sample/exercises.en.ipynb").unlink()
    found = " ".join(problems(book))
    assert "lesson.zh.ipynb:1: its prose or its outputs differ" in found
    assert "exercises.en.ipynb:1: missing or not a notebook" in found


def test_check_finds_an_altered_or_lost_output(book):
    edit(book / "chapters/01_sample/lesson.zh.ipynb", '"2\\n"', '"3\\n"')
    assert any("lesson.zh.ipynb:1: its prose or its outputs differ" in problem for problem in problems(book))
    for lang in ("en", "zh"):
        path = book / f"chapters/01_sample/lesson.{lang}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        cell(notebook, "verdict").outputs = []
        path.write_text(building.as_text(notebook), encoding="utf-8")
    assert any(re.search(r"lesson.py:\d+: its stored output is gone", problem) for problem in problems(book)), problems(
        book
    )


def test_check_warns_when_the_library_changed(book):
    edit(book / "llmguide_lib/notebook.py", "1", "2")
    assert "(notebook) changed since" in str(check(read_manifest(book))[1][0])


def test_a_finished_chapter_without_its_exercises_is_named(book):
    (book / EXERCISES).unlink()
    assert any("exercises.py:1: missing; write it, or set" in problem for problem in problems(book))


def test_a_draft_is_checked_as_far_as_it_stands(book):
    edit(book / "book.toml", 'status = "finished"', 'status = "draft"')
    (book / EXERCISES).unlink()
    for notebook in book.rglob("*.ipynb"):
        notebook.unlink()
    list(readme.update(read_manifest(book)))
    assert problems(book) == []
    edit(book / LESSON, "assert 0 <= guess < 1", "guess = 1")
    assert any("measured, but not asserted" in problem for problem in problems(book))


def test_accept_renews_the_hash_and_shows_both_texts(book):
    edit(book / LESSON, "is not obvious", "is obvious")
    english, chinese = accept(book / LESSON, 1)
    assert "is obvious" in english and "并不显然" in chinese
    assert read_source(book / LESSON).problems == []
    with pytest.raises(BookError, match="they start at lines 1, 22, 29"):
        accept(book / LESSON, 2)


GLOSSARY = '[[term]]\nen = "addition"\nzh = "加法"\nchapter = "01"\navoid = ["相加"]\n'


def test_a_chinese_word_that_the_glossary_replaces_is_named(book):
    (book / "llmguide_lib/data").mkdir()
    (book / glossary.FILE).write_text(GLOSSARY, encoding="utf-8")
    edit(book / LESSON, "并不显然", "相加不显然，`相加` 是代码")
    assert any("lesson.py:5: 相加 for 'addition'; the glossary says 加法" in problem for problem in problems(book))


@pytest.mark.parametrize(
    ("text", "message"),
    [(GLOSSARY * 2, "'addition' is listed twice"), (GLOSSARY.replace("zh =", "cn ="), "term 'addition': .*'cn'")],
)
def test_a_glossary_that_is_wrong_is_named(book, text, message):
    (book / "llmguide_lib/data").mkdir()
    (book / glossary.FILE).write_text(text, encoding="utf-8")
    with pytest.raises(BookError, match=message):
        glossary.read_glossary(book)


def test_every_name_of_the_glossary_exists_in_the_library():
    library = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "llmguide_lib").rglob("*.py"))
    later = {"LoRA", "bits_per_byte", "perplexity"}  # come with chapters that are not there yet
    named = {term.here for term in glossary.read_glossary(ROOT) if term.here} - later
    assert len(named) > 25 and [name for name in sorted(named) if not re.search(rf"\b{name}\b", library)] == []


README = "# Sample\n<!-- chapters: written by tools/book.py build -->\nold\n<!-- end of chapters -->\nEnd.\n"


def test_the_readmes_table_is_the_manifests(book):
    (book / "README.md").write_text(README, encoding="utf-8")
    assert any("README.md:1: its table of chapters is stale" in problem for problem in problems(book))
    (book / "benchmarks/results").mkdir(parents=True)
    figures = {"01_sample": {kind: {"seconds": 2.5, "peak_mb": 300} for kind in ("lesson", "exercises")}}
    (book / "benchmarks/results/chapters.json").write_text(json.dumps({"figures": figures}), encoding="utf-8")
    assert readme.update(read_manifest(book)) == [book / "README.md"]
    text = (book / "README.md").read_text(encoding="utf-8")
    assert "| 1 | Sample | 1, 2.1 | 2.5 s, 300 MB | 2.5 s, 300 MB |" in text
    assert "| 2 | Later | 3 | planned |  |" in text and "old" not in text and text.endswith("End.\n")
    assert problems(book) == []


def test_a_readme_without_a_place_for_the_table_is_named(book):
    (book / "README.md").write_text("# Sample\n", encoding="utf-8")
    with pytest.raises(BookError, match="README.md:1: no table of chapters"):
        readme.update(read_manifest(book))


def test_accept_names_a_script_that_is_not_there(book):
    with pytest.raises(BookError, match="99_none/lesson.py: not found"):
        accept(book / "chapters/99_none/lesson.py", 1)


def test_the_hash_of_a_text_ignores_surrounding_blanks_only():
    assert text_hash("a b\n") == text_hash("a b") != text_hash("a  b")


def test_a_script_must_begin_with_a_marker(book):
    edit(book / LESSON, '# %% [markdown] lang="en" name="why"', '"""Docstring."""\n# %% [markdown] lang="en"')
    with pytest.raises(BookError, match="must begin with a cell marker"):
        read_source(book / LESSON)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('status = "planned"', 'status = "soon"', "status must be one of"),
        ('slug = "02_later"', 'slug = "01_sample"', "listed twice"),
        ('guide = ["3"]', 'guides = ["3"]', "unknown key 'guides'"),
        ('objectives.zh = ["等待"]', 'objectives.zh = ["等待", "再等"]', "differ in number"),
        ("\nseconds = 30", "", "is finished and needs seconds"),
        ('guide = ["3"]', 'guide = ["3"]\nneeds = ["09_missing"]', "not a finished chapter"),
        ("title.zh", "title.fr", "needs title.en and title.zh"),
        ('claims = ["2.1a"]', 'claims = ["9.9z"]', r"decides '9.9z', which \[claims\] does not list"),
        ('{en = "one and one are two", ', "{", r"\[claims\] needs 2.1a.en and 2.1a.zh"),
        ("[claims]", '[explorers]\nmap = {en = "a map"}\n[claims]', r"\[explorers\] needs map.en and map.zh"),
        ("[book]", "[book", "not valid TOML"),
    ],
)
def test_the_manifest_says_what_is_wrong_with_it(book, old, new, message):
    edit(book / "book.toml", old, new)
    with pytest.raises(BookError, match=message):
        read_manifest(book)


# -- workspace --------------------------------------------------------------------------------------------------------


def test_a_workspace_is_never_overwritten_where_the_student_wrote(book, tmp_path):
    manifest, folder = read_manifest(book), tmp_path / "work"
    page, said = make_workspace(manifest, folder, "zh")
    assert said == [] and "[课文](01_sample/lesson.zh.ipynb)" in page.read_text(encoding="utf-8")
    mine = folder / "01_sample/lesson.zh.ipynb"
    edit(mine, "并不显然", "我的笔记")
    edit(book / LESSON, "并不显然", "其实不显然")
    list(building.build(manifest, []))
    assert "lesson.zh.new.ipynb" in make_workspace(manifest, folder, "zh")[1][0]
    assert "我的笔记" in mine.read_text(encoding="utf-8")
    assert "其实不显然" in mine.with_suffix(".new.ipynb").read_text(encoding="utf-8")


def test_a_copy_shows_no_result_before_it_is_run(book, tmp_path):
    make_workspace(read_manifest(book), tmp_path, "en")
    copy = nbformat.read(tmp_path / "01_sample/lesson.en.ipynb", as_version=4)
    code = [c for c in copy.cells if c.cell_type == "code"]
    assert len(code) > 4 and all(not c.outputs and c.execution_count is None for c in code)


def test_an_untouched_copy_is_renewed(book, tmp_path):
    manifest, folder = read_manifest(book), tmp_path / "work"
    make_workspace(manifest, folder, "en")
    edit(book / LESSON, "is not obvious", "is obvious")
    list(building.build(manifest, []))
    assert make_workspace(manifest, folder, "en")[1] == []
    assert "is obvious" in (folder / "01_sample/lesson.en.ipynb").read_text(encoding="utf-8")


# -- the book itself --------------------------------------------------------------------------------------------------

MANIFEST = read_manifest(ROOT)


def test_the_book_checks():
    found, warnings = check(MANIFEST)
    assert [str(problem) for problem in found] == []
    assert [str(warning) for warning in warnings] == []


def run_nbval(*paths):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--nbval"]
    command += ["--nbval-current-env", "--nbval-cell-timeout=180", "-c", os.devnull, *map(str, paths)]
    environment = execute.kernel_environment()
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=ROOT, env=environment)


@pytest.mark.parametrize("chapter", MANIFEST.finished, ids=lambda chapter: chapter.slug)
def test_the_lesson_gives_its_stored_outputs(chapter):
    done = run_nbval(MANIFEST.notebook(chapter, "lesson", "en"))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.gpu
@pytest.mark.skipif(runtime.device().type == "cpu", reason="no accelerator here")
@pytest.mark.parametrize("chapter", MANIFEST.finished, ids=lambda chapter: chapter.slug)
def test_the_lessons_device_cells_agree_with_the_cpu_on_a_gpu(chapter):
    assert any("device" in item.cell.tags for item in read_source(MANIFEST.source(chapter, "lesson")).items)
    done = run_nbval(MANIFEST.notebook(chapter, "lesson", "en"))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("chapter", MANIFEST.finished, ids=lambda chapter: chapter.slug)
def test_the_solved_exercises_run_and_earn_their_points(chapter, lang, tmp_path):
    path = tmp_path / "exercises.ipynb"
    path.write_text(building.as_text(notebooks.solved_notebook(ROOT, chapter.slug, lang)), encoding="utf-8")
    done = run_nbval(path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_nbval_notices_a_changed_output(built, tmp_path):
    path = tmp_path / "lesson.ipynb"
    path.write_text((built / "chapters/01_sample/lesson.en.ipynb").read_text(encoding="utf-8"), encoding="utf-8")
    edit(path, '"2\\n"', '"3\\n"')
    done = run_nbval(path)
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout[-3000:]
