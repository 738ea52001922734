"""Records, topics, tasks and exercises: read without running anything, right by hand, and without leakage."""

import ast
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from llmguide_lib.corpora import OBJECT_KINDS, SPLITS, documentation, documents, installation, records, splits, topics
from llmguide_lib.corpora.cache import CACHE_VARIABLE
from llmguide_lib.corpora.documents import Document
from llmguide_lib.corpora.prose import clean, sentences
from llmguide_lib.corpora.records import Record
from llmguide_lib.tasks import (
    arithmetic,
    consecutive_sentences,
    copying,
    function_summaries,
    kind_of_object,
    parameter_extraction,
    retrieval_questions,
    views,
    which_library,
    without_names,
)
from llmguide_lib.tasks.views import TASK_KINDS, Classified, Question, Summary

SMALL = ["jinja2", "pillow"]
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import corpus  # noqa: E402

TWO = ["networkx", "fonttools"]  # read in two seconds; every split has documents and all kinds of objects


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """One cache for this file, so that every library is read once."""
    folder = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder
    documents._read.cache_clear()


@pytest.fixture(scope="session")
def parts(cache):
    """Every task's examples by split, of two libraries; made by a process that does not check a million calls."""
    code = (
        "import pickle, sys; from llmguide_lib.corpora import SPLITS, records; from corpus import TASKS\n"
        "from llmguide_lib.tasks import views\n"
        f"views.documentation = records; records('test', {SMALL})  # read once: a record is a document too\n"
        f"parts = {{task: {{split: task(split, {TWO}) for split in SPLITS}} for task in TASKS}}\n"
        "pickle.dump(parts, open(sys.argv[1], 'wb'))"
    )
    line = [sys.executable, "-c", code, str(cache / "parts.pickle")]
    subprocess.run(
        line, env=os.environ | {"PYTHONPATH": str(ROOT / "tools"), "PYTHONWARNDEFAULTENCODING": ""}, check=True
    )
    return pickle.loads((cache / "parts.pickle").read_bytes())


def record_of(source, name, text="Words that nobody counts."):
    """The record of an object in a source file."""
    source = source.encode()
    for docstring in installation._in_tree(ast.parse(source), "module", source.split(b"\n")):
        if docstring.name == name:
            return Record.of("jinja2", docstring, text)
    raise KeyError(name)


def corpus_of(monkeypatch, **texts):
    """A corpus of these texts by split, each a document of its own or a record."""
    rows = {
        split: [t if isinstance(t, Document) else Document("stdlib", "m", f"f{at}", t) for at, t in enumerate(own)]
        for split, own in texts.items()
    }
    for name in ("documentation", "records"):
        monkeypatch.setattr(views, name, lambda split, libraries: rows[split])


# Records


SOURCE = '''"""Module."""
import functools

class Base(dict, metaclass=abc.ABCMeta):
    """Class."""

    @functools.lru_cache
    def method(self, x: int, *rest, y="é", **more) -> str:
        """Method.

        More.
        """
        # é
        text = """a
    b"""
        return text

    @functools.cached_property
    def prop(self):
        """Property."""
        return 1

    def empty(self):
        """Nothing else."""

async def late(x): """One line."""; return x
def function(x=1, /):
    """Function."""
    def inner():
        """Inner."""
        pass
add_docstr(torch.abs, "Attached.")
'''


def test_a_record_holds_kind_signature_and_source_without_docstring():
    method = record_of(SOURCE, "Base.method")
    assert method.kind == "method"
    assert method.signature == "method(self, x: int, *rest, y='é', **more) -> str"
    assert method.docstring.split() == ["Method.", "More."]
    assert method.source == (
        '@functools.lru_cache\ndef method(self, x: int, *rest, y="é", **more) -> str:\n'
        '    # é\n    text = """a\nb"""\n    return text'
    )
    kinds = {name: record_of(SOURCE, name).kind for name in ("", "Base", "Base.prop", "late", "function.inner")}
    assert list(kinds.values()) == ["module", "class", "property", "function", "function"]
    assert record_of(SOURCE, "torch.abs").kind == "builtin"
    assert record_of(SOURCE, "Base").signature == "Base(dict)"
    assert record_of(SOURCE, "").signature == record_of(SOURCE, "torch.abs").signature == ""
    assert record_of(SOURCE, "function").source.splitlines()[:2] == ["def function(x=1, /):", "    def inner():"]
    assert [record_of(SOURCE, name).source for name in ("", "Base", "Base.empty", "late", "torch.abs")] == [""] * 5


@pytest.mark.parametrize("split", ["validation", "test"])
def test_records_are_the_documents_and_their_sources_are_python(split, parts):
    rows, texts = records(split, SMALL), documentation(split, SMALL)
    assert [Document(r.library, r.module, r.name, r.text) for r in rows] == texts
    assert all(clean(row.docstring) == row.text and row.kind in OBJECT_KINDS for row in rows)
    for row in rows:
        (function,) = ast.parse(row.source).body or [None]
        assert (function is None) or (ast.get_docstring(function) is None and function.name == row.name.split(".")[-1])
    with_source = [row for row in rows if row.source]
    assert len(with_source) > 0.5 * len(rows)
    assert {row.kind for row in with_source} <= {"function", "method", "property"}


def test_records_come_from_the_cache_unless_the_reader_changed(cache, monkeypatch):
    first = records("train", ["jinja2"])
    documents._read.cache_clear()
    monkeypatch.setattr(installation, "docstrings", None)
    assert records("train", ["jinja2"]) == first
    documents._read.cache_clear()
    monkeypatch.setattr(documents.inspect, "getsource", lambda module: "another reader")
    with pytest.raises(TypeError):
        records("train", ["jinja2"])


def test_records_work_where_nothing_can_be_written(cache, tmp_path, monkeypatch):
    first = records("test", ["jinja2"])
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    assert records("test", ["jinja2"]) == first


# Topics


def test_topics_are_the_chapters_of_the_language_reference():
    found = {topic.name: topic.text for topic in topics()}
    assert 60 < len(found) < 100
    assert 'The simple form, "assert expression", is equivalent to' in found["assert"]
    assert list(found) == sorted(found)
    assert all("\n\n" not in text and len(text.split()) >= 8 for text in found.values())


def test_a_python_without_topics_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(installation, "locate", lambda library: installation.Reading("3", tmp_path))
    with pytest.raises(ValueError, match=r"topics: this Python has no readable pydoc_data\.topics: .*No such file"):
        topics()
    (tmp_path / "pydoc_data").mkdir()
    (tmp_path / "pydoc_data" / "topics.py").write_text("topics = 3", encoding="utf-8")
    with pytest.raises(ValueError, match=r"topics: this Python has no readable pydoc_data\.topics: not enough values"):
        topics()


# Tasks, by hand


def test_names_that_give_the_library_away_are_removed():
    text = "Draw the Artist with numpy's np.array, MyClass, x_y, conv2d or TTFont (see torch.nn) e.g. 3.5 times."
    assert without_names(text, ["artist"]) == "Draw the with, or (see) e.g. 3.5 times."
    assert without_names("data_format (str): What PyTorch calls it.") == "(str): What calls it."
    assert without_names("x_y: What it is.\nA Module is not in a module.", ["nn", "modules"]) == (
        "What it is.\nA Module is not in a module."
    )


def test_classes_are_equally_frequent_from_the_beginning():
    examples = [Classified(f"text {at}", "often") for at in range(9)] + [
        Classified("b", "rare"),
        Classified("c", "rare"),
    ]
    chosen = views._balanced(examples + examples, ("often", "rare"))
    assert [label for _, label in chosen] == ["often", "rare"] * 2
    assert len(set(chosen)) == 4
    with pytest.raises(ValueError, match="this split must have examples of every class, but has none of never, no"):
        views._balanced(examples, ("often", "never", "no"))


def test_negative_pairs_have_the_second_sentences_of_other_documents(monkeypatch):
    corpus_of(monkeypatch, train=[f"This is the beginning of number {n}. And this is its end {n}." for n in range(40)])
    pairs = consecutive_sentences("train")
    assert [pair.is_next for pair in pairs] == [True, False] * 20
    for first, second, is_next in pairs:
        assert (first.split()[-1] == second.split()[-1]) == is_next
    seconds = Counter(pair.second for pair in pairs)
    assert set(seconds.values()) == {1}


def test_a_summary_is_the_first_sentence_of_the_docstring(monkeypatch):
    def record(name, docstring):
        source = f'def {name}(x):\n    """{docstring}"""\n    return x + 1\n'
        return record_of(source, name, docstring.replace("`", ""))

    whole, short = record("f", "Adds one to `x`. Then stops."), record("g", "Adds one.")
    other = record_of('def h(x):\n    """:math:`y` is it. It adds two."""\n    return x', "h", "It adds two to x.")
    repeated = record_of('def k(x):\n    """It adds two."""\n    # It adds two.\n    return x', "k", "It adds two.")
    long = record_of(f'def m(x):\n    """Adds one to x."""\n    return x{" + 1" * 600}', "m", "Adds one to x.")
    corpus_of(monkeypatch, train=[whole, short, other, repeated, long])
    assert function_summaries("train") == [Summary("def f(x):\n    return x + 1", "Adds one to x.")]


def test_a_passage_does_not_repeat_its_question(monkeypatch):
    question = "Where does the quick brown fox jump to?"
    passage = "It jumps over the lazy dog and then over the fence, as it has done on all of the days before this one."
    copied = f"{passage} Note where does the quick brown fox jump to?"
    corpus_of(
        monkeypatch,
        train=[
            f"{question} {passage}",
            f"{question} Not {passage}",
            f"And {question} {copied}",
            f"Too short? {passage}",
            "Is this a question without an answer to it? No.",
        ],
    )
    assert retrieval_questions("train") == [Question(question, passage)]


@pytest.mark.parametrize(
    "docstring",
    [
        "Add.\n\nParameters\n----------\nx : int, optional\n    The first number\n    of two.\ny\n    The next number.",
        "Adds them.\n\nArgs:\n    x (int, optional): The first number\n        of two.\n    y: The next number.",
        "Adds them.\n\n:param x: The first number\n    of two.\n:param y: The next number.",
    ],
)
def test_parameters_are_found_where_they_stand(docstring, monkeypatch):
    source = (
        f'def f(x, y):\n    """{docstring}\n\n    Raises:\n        KeyError: It is not there.\n    """\n    return x'
    )
    corpus_of(
        monkeypatch, train=[record_of(source, "f", clean(docstring + "\n\nRaises:\n    KeyError: It is not there."))]
    )
    ((text, (x, y)),) = parameter_extraction("train")
    assert (x.name, x.description, y.name, y.type, y.description) == (
        "x",
        "The first number of two.",
        "y",
        "",
        "The next number.",
    )
    assert x.type == ("" if ":param" in docstring else "int, optional")
    for parameter in (x, y):
        assert text[parameter.start :].startswith(parameter.description)


def test_equal_descriptions_are_told_apart(monkeypatch):
    docstring = "Adds.\n\nArgs:\n    x: Some number or other.\n    y: Some number or other."
    corpus_of(monkeypatch, train=[record_of(f'def f(x, y):\n    """{docstring}"""', "f", clean(docstring + " It is."))])
    corpus_of(
        monkeypatch,
        train=[
            record_of(f'def f(x, y):\n    """{docstring}"""', "f", "x: Some number or other.\ny: Some number or other.")
        ],
    )
    ((text, (x, y)),) = parameter_extraction("train")
    assert text[: x.start].endswith("x: ") and text[: y.start].endswith("y: ")


def extracted(monkeypatch, docstring, signature="f(x, y)"):
    """The parameters found in a docstring, each with the text before it."""
    corpus_of(monkeypatch, train=[record_of(f'def {signature}:\n    """{docstring}"""', "f", clean(docstring))])
    ((text, parameters),) = parameter_extraction("train")
    return [(text[: parameter.start], parameter) for parameter in parameters]


def test_a_description_is_found_after_its_name_even_if_its_words_stand_before(monkeypatch):
    docstring = (
        "Counts the items in a list of all things and in the rest.\n\nArgs:\n"
        "    x (:class:`List`): list of all things\n    y: the rest of them, list of all things"
    )
    (before, x), _ = extracted(monkeypatch, docstring)
    assert x == ("x", "List", "list of all things", len(before)) and before.endswith("x (:class:`List`): ")


def test_the_first_line_of_a_description_is_not_a_type(monkeypatch):
    docstring = (
        "Waits until everything is done.\n\nArgs:\n"
        "    x: The maximum number of seconds to wait. If None, then there\n        is no limit on the wait time.\n"
        "    y: a rather short type\n        the one to wait for in the end"
    )
    (before, x), (_, y) = extracted(monkeypatch, docstring)
    whole = "The maximum number of seconds to wait. If None, then there is no limit on the wait time."
    assert x == ("x", "", whole, len(before)) and before.endswith(" x: ")
    assert y[1:3] == ("a rather short type", "the one to wait for in the end")


def test_a_description_of_two_words_does_not_count(monkeypatch):
    docstring = "Adds two numbers of any size.\n\nArgs:\n    x (int): First number.\n    y (int): The second number."
    assert [parameter.name for _, parameter in extracted(monkeypatch, docstring)] == ["y"]


def test_what_resembles_an_earlier_split_is_left_out(monkeypatch):
    text = "One two three four five six seven eight nine. Ten eleven twelve thirteen fourteen fifteen."
    other = "It is about entirely other things than all the rest. Nobody has ever read of them before today."
    corpus_of(
        monkeypatch,
        train=[text] * 2,
        validation=[other] * 2,
        test=[text + " Ever.", other]
        + [f"A test has texts of its own, and here is one, {n}. Numbers {n} and {n + 9} are in it." for n in range(8)],
    )
    pairs = consecutive_sentences("test")
    assert len(pairs) == 8
    assert all(pair.first.startswith("A test") and pair.second.startswith("Numbers") for pair in pairs)


def test_sentences_end_where_another_one_begins():
    assert sentences("It ends. Here, e.g. with a stop.") == ["It ends.", "Here, e.g. with a stop."]


# Tasks, on the corpus


@pytest.mark.parametrize("task", corpus.TASKS, ids=lambda task: task.__name__)
def test_no_example_resembles_one_of_an_earlier_split(task, parts, record_testsuite_property):
    seen = set()
    for split in SPLITS:
        texts = [views._texts(example) for example in parts[task][split]]
        shares = [max(splits.overlap(text, seen) for text in fields) for fields in texts]
        mean = sum(shares) / len(shares)
        record_testsuite_property(f"{task.__name__}, {split}: 6-grams seen before, mean, largest", (mean, max(shares)))
        assert mean < 0.05
        assert max(shares) <= splits.ACROSS
        seen |= {gram for fields in texts for text in fields for gram in splits.ngrams(text)}


@pytest.mark.parametrize("task", [which_library, consecutive_sentences], ids=lambda task: task.__name__)
def test_a_task_is_the_same_every_time(task, parts, monkeypatch):
    monkeypatch.setattr(views, "documentation", records)
    assert task("validation", TWO) == parts[task]["validation"]


def test_no_task_repeats_itself_much(parts):
    for task in corpus.TASKS:
        for examples in parts[task].values():
            assert len(set(examples)) >= 0.95 * len(examples) > 0
        assert len(parts[task]["train"]) > 2 * len(parts[task]["test"])


def test_answers_are_balanced_or_rare(parts):
    labels = [example.label for example in parts[which_library]["test"]]
    assert labels == TWO * (len(labels) // 2)
    assert [example.label for example in parts[kind_of_object]["test"]] == [*TASK_KINDS] * 2
    pairs = parts[consecutive_sentences]["test"]
    assert 2 * sum(pair.is_next for pair in pairs) == len(pairs)
    summaries = Counter(example.summary for example in parts[function_summaries]["test"])
    assert summaries.most_common(1)[0][1] < 0.05 * summaries.total()
    questions = parts[retrieval_questions]["test"]
    assert len({q.question for q in questions}) == len({q.passage for q in questions}) == len(questions)


def test_no_library_is_named_in_what_asks_for_it(parts):
    for text, _ in parts[which_library]["train"]:
        assert {"networkx", "fonttools", "python"}.isdisjoint(text.lower().replace(".", " ").split())


def test_every_description_stands_where_it_says(parts):
    for text, parameters in parts[parameter_extraction]["train"]:
        assert all(text[p.start :].startswith(p.description) for p in parameters)
        assert [p.start for p in parameters] == sorted({p.start for p in parameters})


def test_the_tool_counts_the_tasks(parts, monkeypatch, capsys):
    def which_of_two(split):
        return parts[which_library][split]

    monkeypatch.setattr(corpus, "TASKS", (which_of_two,))
    corpus.main(["tasks"])
    counts = [f"{split} {len(parts[which_library][split]):,}" for split in SPLITS]
    expected = f"which_of_two: {', '.join(counts)}; the most frequent answer is 50.0% of the test"
    assert capsys.readouterr().out.splitlines()[0] == expected


# Exercises


def test_exercises_are_right_different_and_the_same_for_the_same_seed():
    for operator, value in {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}.items():
        found = arithmetic("train", 50, operator=operator, digits=2)
        for question, answer in found:
            one, other = question.split(operator)
            assert value(int(one), int(other)) == int(answer) and 0 <= int(one) < 100
        assert len(set(found)) == 50
    assert all(question == answer and 4 <= len(answer) <= 8 for question, answer in copying("train", 50))
    for task in (arithmetic, copying):
        assert task("train", 20) == task("train", 50)[:20] != task("train", 20, seed=1)


def test_exercises_need_no_particular_python():
    assert arithmetic("test", 1) == [("511+404", "915")]
    assert copying("test", 1) == [("edfhhgae", "edfhhgae")]


def test_no_exercise_is_in_two_splits_not_even_turned_round():
    def keys(split, operator):
        return {
            frozenset(question.split(operator)) for question, _ in arithmetic(split, 400, operator=operator, digits=2)
        }

    parts = [keys("train", "+") | keys("train", "*"), keys("validation", "*"), keys("test", "+")]
    assert len(set.union(*parts)) == sum(map(len, parts))
    strings = [{question for question, _ in copying(split, 200, alphabet="abc")} for split in SPLITS]
    assert len(set.union(*strings)) == sum(map(len, strings))


def test_longer_exercises_are_longer_than_all_of_training():
    for question, _ in arithmetic("longer", 100):
        assert [len(number) for number in question.split("+")] == [4, 4]
    assert {len(question) for question, _ in copying("longer", 200)} == set(range(9, 17))


# Bad arguments


@pytest.mark.parametrize("task", [records, *corpus.TASKS])
def test_an_unknown_split_or_library_is_named(task):
    with pytest.raises(ValueError, match=r"split \('dev'\) must be one of train, validation, test"):
        task("dev", ["jinja2", "pillow"])
    with pytest.raises(ValueError, match=r"libraries \(\['jinja2', 'flask'\]\) must be a list of some of stdlib"):
        task("train", ["jinja2", "flask"])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: which_library("train", ["jinja2"]), r"libraries \(\['jinja2'\]\) must name at least two"),
        (lambda: which_library("validation", SMALL), "must have examples of every class, but has none of jinja2"),
        (lambda: arithmetic("dev"), r"split \('dev'\) must be one of train, validation, test, longer"),
        (lambda: arithmetic(count=0), r"count \(0\) must be at least 1"),
        (lambda: arithmetic("test", 1000, digits=1), r"count \(1000\) must be at most about \d+, what there is"),
        (lambda: arithmetic(operator="/"), r"operator \('/'\) must be one of \+ - \*"),
        (lambda: arithmetic(digits=0), r"digits \(0\) must be at least 1"),
        (lambda: copying("dev"), r"split \('dev'\) must be one of train, validation, test, longer"),
        (lambda: copying(count=-1), r"count \(-1\) must be at least 1"),
        (lambda: copying(alphabet="a"), r"alphabet \('a'\) must be of two or more letters, each once"),
        (lambda: copying(alphabet="aba"), r"alphabet \('aba'\) must be of two or more letters, each once"),
        (lambda: copying(lengths=(5, 4)), r"lengths \(\(5, 4\)\) must be the smallest and the largest, from 1 on"),
        (lambda: copying(lengths=(0, 4)), r"lengths \(\(0, 4\)\) must be the smallest and the largest, from 1 on"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
