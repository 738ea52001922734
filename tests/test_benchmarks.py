"""What benchmarks make of their measurements: by hand, without measuring anything."""

from collections import Counter

import pytest
from scripts import BENCHMARKS, benchmark
from torch import nn


@pytest.fixture(scope="module")
def training():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS.parent)
        yield benchmark("training")


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
    tasks = benchmark("tasks")
    examples = [((f"text {at}",), "abc"[at % 3]) for at in range(60)]
    few = tasks.chosen(examples, 12, seed=0)
    assert Counter(label for _, label in few) == {"a": 4, "b": 4, "c": 4}
    assert few == tasks.chosen(examples, 12, seed=0) == tasks.chosen(examples, 30, seed=0)[:12]
    assert few != tasks.chosen(examples, 12, seed=1)
    assert sorted(tasks.chosen(examples, None, seed=0)) == sorted(examples)


def test_of_a_pair_the_linear_model_sees_what_stands_in_both():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'llmguide-lib[evaluation]'")
    tasks = benchmark("tasks")
    pairs = [(("big cat", "cat runs"), True), (("big dog", "it runs"), False)]
    table = tasks.Features(tasks.FEATURES["words"], pairs)
    words, rows = len(table.vectorizer.vocabulary_), table(pairs).toarray()
    both = rows[:, 2 * words :]
    assert rows.shape == (2, 3 * words) and both[1].max() == 0
    assert both[0].nonzero()[0].tolist() == [table.vectorizer.vocabulary_["cat"]]
