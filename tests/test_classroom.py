"""nbgrader from source to grades, on the book's own exercises."""

import csv
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("nbgrader", reason="nbgrader is not installed (extra: classroom)")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from bookbuilder import notebooks  # noqa: E402
from bookbuilder.assignments import grade, make_assignments, release  # noqa: E402
from bookbuilder.building import as_text  # noqa: E402
from bookbuilder.manifest import read_manifest  # noqa: E402

NAME = "03_attention-zh"
EXERCISES = ("hand", "attention", "heads", "measure", "groups", "rotary", "cost", "backward")
WRONG_BUT_QUIET = "lambda query, key, value, mask=None: value.mean(-2, keepdim=True) + 0 * query[..., :1]"


def cell(notebook, grade_id):
    return next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id)


def solve(notebook):
    solved = notebooks.solved_notebook(ROOT, "03_attention", "zh")
    answers = {c.metadata.llmguide.exercise: c.source for c in solved.cells if "answer" in c.metadata.llmguide}
    for exercise, source in answers.items():
        cell(notebook, f"answer-{exercise}").source = source


def half_right(notebook):
    solve(notebook)
    answer = cell(notebook, "answer-attention")
    answer.source = answer.source.replace("weights = weights.masked_fill(~mask, 0.0)", "pass")
    cell(notebook, "answer-hand").source = "by_hand = [1.0, 0.0, 0.0]"


def altered_check(notebook):
    for exercise in EXERCISES:
        cell(notebook, f"marks-{exercise}").source = "100.0"


def noisy_and_wrong(notebook):
    cell(notebook, "answer-attention").source = (
        "import sys, warnings\nprint('a line'); warnings.warn('careful')\n"
        f"def attend(*a):\n    print('again'); sys.stderr.write('no')\n    return ({WRONG_BUT_QUIET})(*a)"
    )


def noisy_and_right(notebook):
    solve(notebook)
    answer = cell(notebook, "answer-attention")
    answer.source = answer.source.replace(
        "    scores =", "    import warnings; warnings.warn('careful'); print('line')\n    scores =", 1
    )


def deleted_answers(notebook):
    for exercise in EXERCISES:
        cell(notebook, f"answer-{exercise}").source = ""


def untouched(notebook):
    pass


# Marks that each student deserves, worked out by hand from the points (2, 3, 3, 2, 2, 3, 1, 2) and the layers.
STUDENTS = {
    solve: 18.0,
    untouched: 0.0,
    half_right: 2 / 3 + 3 * 0.75 + 3 + 2 + 2 + 3 + 1 + 2,
    altered_check: 0.0,
    noisy_and_wrong: 0.0,
    noisy_and_right: 18.0,
    deleted_answers: 0.0,
}


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    course = tmp_path_factory.mktemp("course")
    make_assignments(read_manifest(ROOT), course)
    for folder in (course / "source").iterdir():
        if folder.name != NAME:
            shutil.rmtree(folder)  # one chapter in one language is enough here
    (handed_out,) = release(course)
    for student in STUDENTS:
        notebook = nbformat.read(handed_out, as_version=4)
        student(notebook)
        handed_in = course / "submitted" / student.__name__ / NAME / handed_out.name
        handed_in.parent.mkdir(parents=True)
        handed_in.write_text(as_text(notebook), encoding="utf-8")
    with grade(course).open(encoding="utf-8") as file:
        scores = {row["student_id"]: float(row["raw_score"] or row["score"]) for row in csv.DictReader(file)}
    return course, scores


@pytest.mark.parametrize("student", STUDENTS, ids=lambda student: student.__name__)
def test_a_student_earns_what_the_answers_deserve(grades, student):
    assert grades[1][student.__name__] == pytest.approx(STUDENTS[student])


def test_a_release_stays_as_it_is(grades):
    path = grades[0] / "release" / NAME / f"{NAME}.ipynb"
    before = path.stat().st_mtime_ns
    assert path in release(grades[0]) and path.stat().st_mtime_ns == before


def test_the_release_holds_no_solution(grades):
    notebook = nbformat.read(grades[0] / "release" / NAME / f"{NAME}.ipynb", as_version=4)
    answer = cell(notebook, "answer-attention").source
    assert "NotImplementedError" in answer and "softmax" not in answer
    assert all("SOLUTION" not in one.source for one in notebook.cells)


def test_every_student_gets_feedback(grades):
    pages = list(grades[0].glob(f"feedback/*/{NAME}/*.html"))
    assert len(pages) == len(STUDENTS) and all(page.stat().st_size > 1000 for page in pages)
