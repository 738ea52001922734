"""Chapter 09's experiment: what its parts do, by hand, and that the record is whole and of the lesson's own cells."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch
from scripts import benchmark

from llmguide_lib import course
from llmguide_lib.adapters import trainable
from llmguide_lib.notebook import recorded
from llmguide_lib.tasks import which_library


@pytest.fixture(scope="module")
def experiment():
    pytest.importorskip("sklearn")
    return benchmark("finetuning")


@pytest.fixture(scope="module")
def lesson(experiment):
    return experiment.names()


@pytest.fixture(scope="module")
def record():
    return recorded("finetuning")


@pytest.fixture(autouse=True)
def _single_precision():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def texts(lesson):
    """Two short texts and a long one."""
    long = "Computes the mean of all the values along an axis. " * 9
    labelled = (("Returns a list.", "b"), ("The matrix.", "a"), (long, "b"))
    examples = [SimpleNamespace(text=text, label=label) for text, label in labelled]
    return lesson["numbered"](examples, ["a", "b"])


def test_texts_are_cut_to_the_same_number_of_tokens_and_keep_their_class(lesson, texts):
    assert texts.tokens.shape == (3, lesson["LENGTH"]) and texts.targets.tolist() == [1, 0, 1]
    assert texts.mask.sum(dim=1).tolist()[2] == lesson["LENGTH"] > texts.mask.sum(dim=1)[0]
    assert texts.only(torch.tensor([0, 1])).tokens.shape[1] == texts.mask[:2].sum(dim=1).max()


def test_what_a_linear_model_reads_is_what_the_network_reads(experiment, texts):
    short, _, long = experiment.said(texts)
    assert short == "Returns a list." and long.startswith("Computes the mean") and len(long) < 9 * 52


def test_draws_are_balanced_repeatable_and_nested(lesson):
    examples = [SimpleNamespace(text=str(number), label="abc"[number % 3]) for number in range(300)]
    drawn = lesson["drawn"](examples, 50, seed=3)
    labels = [example.label for example in drawn]
    assert [labels.count(name) for name in "abc"] == [17, 17, 16] and len({example.text for example in drawn}) == 50
    assert drawn == lesson["drawn"](examples, 200, seed=3)[:50] != lesson["drawn"](examples, 50, seed=4)


def test_a_classifier_starts_undecided_and_does_not_see_what_fills_texts_up(lesson, texts):
    model = lesson["Classifier"](course.load("bert")[0], 2)
    assert not model(texts).any()
    alone = model.mean_state(texts.only(torch.tensor([1])))
    assert (alone - model.mean_state(texts)[1]).abs().max() < 1e-4
    assert (lesson["in_parts"](model.mean_state, texts) - model.mean_state(texts)).abs().max() < 1e-4


def test_every_method_trains_what_it_says(lesson):
    reader, _ = course.load("bert")
    whole = trainable(reader)
    sizes = {name: trainable(prepare(course.load("bert")[0])) for name, prepare in lesson["METHODS"].items()}
    assert sizes["from scratch"] == sizes["full"] == whole and sizes["head only"] == 0
    assert [sizes[f"LoRA {rank}"] for rank in (1, 4, 16)] == [5 * 2 * 384 * rank for rank in (1, 4, 16)]
    assert sizes["prompt"] == 8 * 192 and sizes["bottleneck"] == 10 * (192 * 8 + 8 + 8 * 192 + 192)
    assert sizes["last layers"] == sum(p.numel() for p in reader.blocks[-2:].parameters()) + 192


def test_only_training_from_scratch_forgets_what_was_pretrained(lesson, texts):
    reader, _ = course.load("bert")
    expected = lesson["Classifier"](reader, 2).mean_state(texts)
    for name, prepare in lesson["METHODS"].items():
        states = lesson["Classifier"](prepare(course.load("bert")[0]), 2).mean_state(texts)
        assert ((states - expected).abs().max() < 1e-4) == (name not in ("from scratch", "prompt"))


def test_the_fitted_head_separates_what_can_be_separated(lesson):
    states = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 9, 0.1, 1, 1]) + 3
    targets = (states[:, 2] > 3).long()
    head = lesson["fitted_head"](states, targets, 2, penalty=1e-4)
    assert (head(states).argmax(dim=-1) == targets).all()
    held_back = lesson["fitted_head"](states, targets, 2, penalty=10.0)
    assert held_back.weight.abs().max() < head.weight.abs().max() / 10


def test_batches_read_every_text_once_before_any_twice(lesson, texts):
    read = lesson["batches"](texts, 3, seed=0)
    assert len(read) == 3 and all(len(batch.targets) == lesson["BATCH"] for batch in read)
    firsts = torch.cat([batch.targets for batch in read])[:3]
    assert sorted(firsts.tolist()) == [0, 1, 1]


def test_hits_are_packed_with_the_first_text_as_the_last_bit(experiment):
    assert experiment.packed(torch.tensor([True, False, False, True, True])) == "19"
    assert experiment.packed(torch.zeros(9, dtype=torch.bool)) == "0"


def test_the_best_option_over_all_trials_is_chosen_and_nothing_measured_twice(experiment, monkeypatch, tmp_path):
    monkeypatch.setattr(experiment, "RESULTS", tmp_path / "finetuning.json")
    accuracies, asked = {("low", 0): 0.5, ("low", 1): 0.6, ("high", 0): 0.9, ("high", 1): 0.1}, []

    def run(option, seed):
        asked.append((option, seed))
        return {"accuracy": accuracies[option, seed]}

    options = {"a": "low", "b": "high"}
    assert experiment.Record().choose("rate", options, (0, 1), run) == "low"
    again = experiment.Record()
    assert again.choose("rate", options, (0, 1), run) == "low" and again.content["chosen"] == {"rate": "a"}
    assert sorted(asked) == sorted(accuracies)


def test_a_record_of_other_cells_is_not_gone_on_with(experiment, monkeypatch, tmp_path):
    monkeypatch.setattr(experiment, "RESULTS", tmp_path / "finetuning.json")
    experiment.Record().once("cells", "a", 0, lambda seed: {"accuracy": 1.0})
    assert experiment.Record().content["cells"]
    monkeypatch.setattr(experiment, "cells_hash", lambda: "others")
    assert not experiment.Record().content["cells"]


def test_the_record_is_of_the_lessons_cells_and_whole(experiment, record):
    assert record["lesson"] == experiment.cells_hash()
    draws = {str(seed) for seed in experiment.SEEDS}
    first = [*experiment.RATES, "frozen features", "TF-IDF"]
    second = [*experiment.SECOND, "frozen features", "TF-IDF"]
    for task, methods in (("which_library", first), ("kind_of_object", second)):
        for method, number in product(methods, experiment.LABELS):
            assert record["cells"][f"{task}, {method}, {number}"].keys() == draws
    for method, number in product(("full", "frozen features", "TF-IDF"), experiment.LABELS):
        assert record["cells"][f"more tokens, which_library, {method}, {number}"].keys() == draws
    assert record["timed"].keys() == set(first) and all(len(times) == 3 for times in record["timed"].values())


def test_recorded_accuracies_are_those_of_the_recorded_hits(record):
    for task, total in record["tests"].items():
        for name, cells in record["cells"].items():
            if name.startswith(task):
                for cell in cells.values():
                    assert cell["accuracy"] == round(int(cell["hits"], 16).bit_count() / total, 4)


def test_recorded_rates_are_those_that_the_trials_chose_and_lie_within_what_was_tried(experiment, record):
    found = {f"which_library, {method}": method for method in experiment.RATES}
    found |= {f"kind_of_object, {method}": method for method in experiment.SECOND}
    found |= {f"{prefix}, which_library, full": "full" for prefix in ("more tokens", "decoder")}
    for name, method in found.items():
        trials = {rate: record["trials"][f"{name}, {rate:g}"] for rate in experiment.RATES[method]}
        means = {rate: sum(trial["accuracy"] for trial in tried.values()) / 2 for rate, tried in trials.items()}
        assert all(tried.keys() == {str(seed) for seed in experiment.TRIALS} for tried in trials.values())
        chosen = max(means, key=means.get)
        assert record["chosen"][name] == f"{chosen:g}" and min(means) < chosen < max(means)
        assert {cell["rate"] for cell in record["cells"][f"{name}, 200"].values()} == {chosen}


def test_a_result_of_another_rate_is_measured_anew(experiment, monkeypatch, tmp_path):
    monkeypatch.setattr(experiment, "RESULTS", tmp_path / "finetuning.json")
    record = experiment.Record()
    for seed in (0, 1):
        record.once("cells", "a", seed, lambda seed: {"accuracy": 1.0, "rate": 0.1 + seed})
    for seed in (0, 1, 2):
        record.forget("a", seed, 0.1)
    assert record.content["cells"]["a"].keys() == {"0"}


def test_other_values_than_the_lessons_last_for_a_while_only(experiment, lesson):
    short = experiment.texts("which_library", "test")
    with experiment.altered(LENGTH=5):
        assert experiment.texts("which_library", "test").tokens.shape[1] == lesson["LENGTH"] == 5
    assert lesson["LENGTH"] == 32 and torch.equal(experiment.texts("which_library", "test").tokens, short.tokens)


def test_the_tests_texts_are_still_those_of_the_record(record):
    assert record["tests"]["which_library"] == len(which_library("test"))
