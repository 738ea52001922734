"""What benchmarks make of their measurements: by hand, without measuring anything."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from explorer_page import visit_site
from torch import nn

from llmguide_lib import course
from llmguide_lib.widgets import NextTokenExplorer
from llmguide_lib.widgets.model_explorer import course_files

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def script(name):
    """A benchmark as a module; of the same names there are parts of the library."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def training():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS.parent)
        yield script("training")


def cells(*bits):
    return {"60": {str(seed): {"bits_per_byte": b, "loading_share": 0.01 * seed} for seed, b in enumerate(bits)}}


def test_the_gain_is_over_the_best_peer_and_its_spread_over_all_pairs_of_seeds(training):
    found = training.figures({"ours": cells(2.0, 2.1), "good": cells(2.3, 2.2), "bad": cells(2.1, 2.9)}, {})
    assert found == {
        "bits_per_byte_gain_60s": 0.2,
        "bits_per_byte_gain_60s_over_pairs_of_seeds": [0.1, 0.3],
        "best_peer_60s": "good",
        "data_loading_share": 0.01,
    }


def test_an_ablation_is_compared_with_the_same_seed(training):
    base, without = cells(2.0, 2.1), cells(2.5, 2.2, 9.9)
    lost = training.figures({"ours": cells(1.0, 1.0)}, {training.BASE: base, "without": without})
    assert lost["bits_per_byte_lost_60s"] == {training.BASE: [0.0, 0.0], "without": [0.5, 0.1]}
    assert training.figures({}, {"without": without}) == {}


def test_the_number_of_steps_that_fits_is_found_and_kept(training, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WORK", tmp_path)
    asked = []

    def run(steps):
        asked.append(steps)
        return training.Outcome(nn.Identity(), steps, 1 + 0.1 * steps)  # the first second is not a step's

    assert training.fitted("peer", 60, run).steps == 588 and asked == [40, 480, 588]
    assert training.fitted("peer", 60, run).steps == 590 and asked[3:] == [590]


def test_where_no_number_of_steps_fits_the_nearest_run_counts(training, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WORK", tmp_path)
    times = iter([4.0, 50.0, 66.0, 54.5])
    assert (
        training.fitted("peer", 60, lambda steps: training.Outcome(nn.Identity(), steps, next(times))).seconds == 54.5
    )


def test_few_labels_are_balanced_and_the_seed_decides_which():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'llmguide-lib[evaluation]'")
    tasks = script("tasks")
    examples = [((f"text {at}",), "abc"[at % 3]) for at in range(60)]
    few = tasks.chosen(examples, 12, seed=0)
    assert Counter(label for _, label in few) == {"a": 4, "b": 4, "c": 4}
    assert few == tasks.chosen(examples, 12, seed=0) == tasks.chosen(examples, 30, seed=0)[:12]
    assert few != tasks.chosen(examples, 12, seed=1)
    assert sorted(tasks.chosen(examples, None, seed=0)) == sorted(examples)


def test_of_a_pair_the_linear_model_sees_what_stands_in_both():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'llmguide-lib[evaluation]'")
    tasks = script("tasks")
    pairs = [(("big cat", "cat runs"), True), (("big dog", "it runs"), False)]
    table = tasks.Features(tasks.FEATURES["words"], pairs)
    words, rows = len(table.vectorizer.vocabulary_), table(pairs).toarray()
    both = rows[:, 2 * words :]
    assert rows.shape == (2, 3 * words) and both[1].max() == 0
    assert both[0].nonzero()[0].tolist() == [table.vectorizer.vocabulary_["cat"]]


def test_the_benchmark_of_explorers_finds_what_it_starts_and_lets_write(page, tmp_path):
    torch.set_default_dtype(torch.float32)
    for name, data in course_files("gpt").items():
        (tmp_path / name).write_bytes(data)
    visit_site(page, tmp_path, NextTokenExplorer(*course.load("gpt")))
    page.locator(".llm-start button").wait_for()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.path", [*sys.path])
        explorers = script("explorers")
    assert page.evaluate(explorers.START) > 0
    written = explorers.write(page, explorers.TEXTS[0])
    assert written["tokens"] > 1 and written["seconds"] > 0
