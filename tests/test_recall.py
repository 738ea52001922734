"""Chapter 03's recall experiment: the task is what the lesson says, and the record is of the lesson's own cells."""

import json
from itertools import product

import pytest
import torch
from scripts import benchmark

from llmguide_lib.notebook import recorded


@pytest.fixture(scope="module")
def recall():
    return benchmark("recall")


@pytest.fixture(scope="module")
def lesson(recall):
    return recall.lesson()


@pytest.fixture(autouse=True)
def _single_precision():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("distance", [None, 1, 5, 11])
def test_the_note_that_is_asked_for_stands_where_it_should_and_holds_the_answer(lesson, distance):
    names, values, answers = lesson["recall_texts"](50, 12, 4, torch.Generator().manual_seed(0), distance)
    for name, value, answer in zip(names.tolist(), values.tolist(), answers.tolist(), strict=True):
        assert sum(map(bool, name[:-1])) == sum(map(bool, value)) == 4 and value[-1] == 0
        assert [bool(one) for one in name[:-1]] == [bool(one) for one in value[:-1]]
        places = [place for place, one in enumerate(name[:-1]) if one == name[-1]]
        assert len(places) == 1 and value[places[0]] - 1 == answer
        assert distance is None or places == [11 - distance]


def test_without_a_distance_the_note_stands_anywhere(lesson):
    names, _, _ = lesson["recall_texts"](2000, 9, 2, torch.Generator().manual_seed(0))
    share = (names[:, :-1] == names[:, -1:]).double().mean(dim=0)
    assert (share - 1 / 8).abs().max() < 0.03


def test_all_models_are_of_one_size_and_none_sees_an_answer_beforehand(recall, lesson):
    sizes = [lesson["size_of"](lesson["Recall"](kind)) for kind in recall.KINDS]
    assert max(sizes) < 1.08 * min(sizes)
    assert 0 < lesson["recalled"](lesson["Recall"]("none"), 4, 20) < 0.2


def test_the_convolution_sees_127_places_and_no_more(lesson):
    model = lesson["Recall"]("CNN")
    names, values = torch.zeros(2, 200, dtype=torch.long), torch.zeros(2, 200, dtype=torch.long)
    before = model(names, values)
    for distance, seen in ((126, True), (127, False)):
        changed = names.clone()
        changed[1, 199 - distance] = 1
        assert torch.equal(model(changed, values)[1], before[1]) != seen


def test_attention_learns_to_recall(lesson):
    model, losses = lesson["learn_recall"]("none", 1, 0.01, seed=0, steps=120)
    assert lesson["recalled"](model, 1, 40) > 0.9 and len(losses) == 120


def test_the_record_is_whole_and_belongs_to_this_benchmark(recall, lesson):
    record = recorded("recall")
    assert record["command"] == "python benchmarks/recall.py" and record["distances"] == list(recall.DISTANCES)
    assert record["cells"] == recall.cells_hash()
    runs = record["runs"]
    assert {run["parameters"] for run in runs} == {lesson["size_of"](lesson["Recall"](kind)) for kind in recall.KINDS}
    for kind, notes in product(recall.KINDS, recall.NOTES):
        mine = [run for run in runs if (run["kind"], run["notes"], run["longer"]) == (kind, notes, 1)]
        trials = {run["rate"]: recall.within(run) for run in mine if run["seed"] == recall.TRIAL_SEED}
        chosen = {run["rate"] for run in mine if run["seed"] in recall.SEEDS}
        assert set(trials) == set(recall.RATES) and len(mine) == len(recall.RATES) + len(recall.SEEDS)
        assert [trials[rate] for rate in chosen] == [max(trials.values())]
        assert all(len(run["loss"]) == lesson["STEPS"] // recall.EVERY for run in mine)
    for (kind, notes), longer in recall.LONGER.items():
        seeds = {run["seed"] for run in runs if (run["kind"], run["notes"], run["longer"]) == (kind, notes, longer)}
        assert seeds == set(recall.SEEDS)


def test_runs_of_other_cells_are_not_reused(recall, tmp_path, monkeypatch):
    monkeypatch.setattr(recall, "STATE", tmp_path / "recall.json")
    assert recall.earlier_runs() == []
    recall.STATE.write_text(json.dumps({"cells": recall.cells_hash(), "runs": [{"kind": "none"}]}), encoding="utf-8")
    assert recall.earlier_runs() == [{"kind": "none"}]
    changed = {name: code + "\nSTEPS = 1" for name, code in recall.cells().items()}
    monkeypatch.setattr(recall, "cells", lambda: changed)
    assert recall.earlier_runs() == []


def test_a_comment_changes_no_hash(recall, monkeypatch):
    before, commented = recall.cells_hash(), {name: code + "\n# why" for name, code in recall.cells().items()}
    monkeypatch.setattr(recall, "cells", lambda: commented)
    assert recall.cells_hash() == before


def test_a_training_that_was_cut_off_is_refused(recall, lesson):
    cut = lesson | {"learn_recall": lambda *_: (None, [1.0] * 3)}
    with pytest.raises(RuntimeError, match="GRU with 4 notes took 3 of 800 steps"):
        recall.one(cut, "GRU", 4, 0.01, seed=1)
