"""The course models: written as Hugging Face reads them, verified when read, measured on held-out text."""

import dataclasses
import json

import pytest
import torch

from llmguide_lib import course
from llmguide_lib.corpora import Coverage, LibraryCoverage, documentation
from llmguide_lib.evaluation import bits_per_byte, masked_accuracy
from llmguide_lib.models import Llama, LlamaConfig, ModernBERT, ModernBERTConfig
from llmguide_lib.runs import __main__ as command
from llmguide_lib.runs import recipes, report
from llmguide_lib.tokenizers import BPETokenizer
from llmguide_lib.training import TrainConfig

SENTENCE = (
    "Returns the number of {0} in the list, or None if there is none of them. "
    "Raises an error if {0} is empty, is no list, or holds "
    "something that cannot be counted at all, such as a number below zero, a text or another list."
)
TEXTS = [SENTENCE.format(thing) for thing in "abcdefgh"] * 12


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train(TEXTS, 300, special_tokens=recipes.SPECIAL_TOKENS)


def tiny(kind):
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "max_seq_len": recipes.LENGTH, "d_model": 16, "num_heads": 2, "num_layers": 2}
    if kind == "gpt":
        return Llama(LlamaConfig(**sizes, d_ff=24, tied=True)).float()
    return ModernBERT(ModernBERTConfig(**sizes, d_ff=24, global_every=1)).float()


@pytest.fixture(params=["gpt", "bert"])
def written(request, tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(course, "FOLDER", tmp_path)
    model = tiny(request.param).half().float()
    course.write(course.folder(request.param), model, tokenizer, "# A card\n")
    return request.param, model


def test_what_was_written_comes_back(written, tokenizer):
    kind, model = written
    loaded, its_tokenizer = course.load(kind)
    tokens = torch.tensor([tokenizer.encode(TEXTS[0])])
    assert not loaded.training and its_tokenizer.encode(TEXTS[1]) == tokenizer.encode(TEXTS[1])
    assert torch.equal(loaded(tokens), model.eval()(tokens))


def test_transformers_reads_it_from_its_folder(written, tokenizer):
    transformers = pytest.importorskip("transformers")
    kind, model = written
    place = course.folder(kind)
    automatic = transformers.AutoModelForCausalLM if kind == "gpt" else transformers.AutoModelForMaskedLM
    theirs, their_tokenizer = (
        automatic.from_pretrained(place).float(),
        transformers.AutoTokenizer.from_pretrained(place),
    )
    ids = their_tokenizer(TEXTS[0])["input_ids"]
    assert ids == tokenizer.encode(TEXTS[0])
    assert their_tokenizer.mask_token_id == 1 and their_tokenizer.pad_token_id == 2 == theirs.config.pad_token_id
    with torch.no_grad():
        assert torch.allclose(theirs(torch.tensor([ids])).logits, model(torch.tensor([ids])), atol=1e-5)


def test_a_changed_or_missing_file_is_named(written):
    kind, _ = written
    path = course.folder(kind) / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(ValueError, match="tokenizer.json was changed since it was shipped"):
        course.load(kind)
    path.unlink()
    with pytest.raises(ValueError, match="lacks a file of the course model .*tokenizer.json"):
        course.load(kind)


def test_a_model_that_is_missing_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(course, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="bert-course lacks a file of the course model .*install the package again"):
        course.load("bert")


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"name \('t5'\) must be one of gpt, bert"):
        course.load("t5")


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_run_trains_measures_and_writes(name, tmp_path, tokenizer, monkeypatch):
    recipe = dataclasses.replace(
        recipes.RECIPES[name],
        model=lambda: tiny(name.removesuffix("-course")),
        config=TrainConfig(steps=2, precision="float32", log_every=1),
    )
    texts = [type("Document", (), {"text": text}) for text in TEXTS * 5]
    monkeypatch.setattr(recipes, "VOCAB_SIZE", 300)
    for module in (recipes, command):
        monkeypatch.setattr(module, "documentation", lambda split: texts[: 480 if split == "train" else 60])
    for module in (command, report):
        monkeypatch.setattr(module, "RECIPES", {name: recipe})
    monkeypatch.setenv("LLMGUIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(report, "coverage", lambda: Coverage((LibraryCoverage("numpy", "2", "2", 3, 3),)))
    torch.set_default_dtype(torch.float32)
    command.main([name, "--folder", str(tmp_path / "state"), "--target", str(tmp_path)])
    record = json.loads((tmp_path / "runs" / f"{name}.json").read_text(encoding="utf-8"))
    assert record["steps"] == 2 and record["parameters"] == sum(p.numel() for p in recipe.model().parameters())
    card = (tmp_path / "models" / name / "README.md").read_text(encoding="utf-8")
    for value in (v for v in record["measured"].values() if isinstance(v, float)):
        assert f"{value:.3f}" in card
    for what, value in record["measured"]["baselines"].items():
        assert f"| {what} | {value:.3f} |" in card


def test_counting_tokens_is_what_the_encoder_is_compared_with(tokenizer, monkeypatch):
    monkeypatch.setattr(recipes, "VOCAB_SIZE", 300)
    texts = {"train": TEXTS, "validation": TEXTS * 3, "test": TEXTS * 3}
    measured = report.measure("bert-course", tiny("bert").eval(), tokenizer, texts)
    baselines = measured["baselines"]
    assert 0 <= measured["test_masked_accuracy"] < 0.2  # it has learned nothing
    # After most tokens of these texts only one can follow.
    assert 2 * baselines["most frequent token"] < baselines["most frequent after the token before"]


@pytest.mark.parametrize("name", course.NAMES)
def test_the_shipped_model_is_the_one_that_its_record_measured(name):
    place = course.folder(name)
    model, tokenizer = course.load(name)
    assert sum(path.stat().st_size for path in place.iterdir()) <= 6e6
    record = json.loads((course.FOLDER.parent / "runs" / f"{name}-course.json").read_text(encoding="utf-8"))
    assert sum(p.numel() for p in model.parameters()) == record["parameters"]
    assert tokenizer.vocab_size == model.config.vocab_size
    assert (place / "README.md").read_text(encoding="utf-8") == report.card(place.name, record)
    some = [document.text for document in documentation("test", ["networkx", "jinja2"])]  # of fifteen libraries
    if name == "gpt":
        found, noted = bits_per_byte(model, some, tokenizer.encode, 0), record["measured"]["test_bits_per_byte"]
    else:
        found = masked_accuracy(model, report.masked_documents(tokenizer, some))
        noted = record["measured"]["test_masked_accuracy"]
    assert found == pytest.approx(noted, rel=0.2)


def test_the_fifth_size_was_predicted_from_runs_that_are_all_on_record():
    record = json.loads((course.FOLDER.parent / "runs" / "scaling.json").read_text(encoding="utf-8"))
    last = {name: list(cell["bits_per_byte"].values())[-1] for name, cell in record["cells"].items()}
    for size in record["sizes"]:
        assert {f"{size}, rate {record['rate']:g}, seed {seed}" for seed in record["seeds"]} <= set(last)
    tuned = {}  # the rate is the best of those that were tried
    for rate in ("0.01", "0.02", "0.04"):
        tuned[rate] = sum(last[f"{size}, rate {rate}, seed 0"] for size in ("32x2", "64x4"))
    assert f"{record['rate']:g}" == min(tuned, key=tuned.get)
    for law in ("power law", "power law with a floor"):
        low, high = record["prediction"][law]["interval"]
        assert low < record["prediction"][law]["bits_per_byte"] < high
