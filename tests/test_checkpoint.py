"""Checkpoints come back bit for bit, and whatever is wrong with a file is said in a sentence."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmguide_lib import checkpoint
from llmguide_lib.checkpoint import load_checkpoint, read_notes, save_checkpoint
from llmguide_lib.models import (
    BERT,
    GPT,
    BERTConfig,
    GPTConfig,
    Llama,
    LlamaConfig,
    ModernBERT,
    ModernBERTConfig,
    Seq2SeqConfig,
    Seq2SeqTransformer,
)
from llmguide_lib.positions import RopeScaling

SIZES = {"vocab_size": 11, "max_seq_len": 8, "d_model": 8, "num_heads": 2}
MODELS = {
    "GPT": lambda: GPT(GPTConfig(**SIZES, num_layers=2)),
    "BERT": lambda: BERT(BERTConfig(**SIZES, num_layers=1)),
    "ModernBERT": lambda: ModernBERT(ModernBERTConfig(**SIZES, num_layers=3, d_ff=12, window=2, global_every=2)),
    "Llama": lambda: Llama(LlamaConfig(**SIZES, num_layers=1, d_ff=12, rope_scaling=RopeScaling(), tied=True)),
    "Seq2Seq": lambda: Seq2SeqTransformer(Seq2SeqConfig(**SIZES, num_encoder_layers=1, num_decoder_layers=1)),
}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "new folder" / "模型.safetensors"
    model = MODELS["GPT"]()
    save_checkpoint(path, model, {"loss": 1.5, "text": "文档"})
    return path, model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_every_family_comes_back_bit_for_bit(name, dtype, tmp_path):
    model = MODELS[name]().to(dtype)
    save_checkpoint(tmp_path / "m.safetensors", model)
    again = load_checkpoint(tmp_path / "m.safetensors", type(model))
    assert again.config == model.config and not again.training
    state = again.state_dict()
    assert all(
        torch.equal(state[key], value) and state[key].dtype == dtype for key, value in model.state_dict().items()
    )
    tied = model.lm_head.weight is model.token_embedding.weight
    assert (again.lm_head.weight is again.token_embedding.weight) == tied


def test_notes_come_back(saved):
    assert read_notes(saved[0]) == {"loss": 1.5, "text": "文档"}


def test_the_same_model_gives_the_same_bytes(saved, tmp_path):
    save_checkpoint(tmp_path / "again", saved[1], {"text": "文档", "loss": 1.5})
    assert (tmp_path / "again").read_bytes() == saved[0].read_bytes()


def test_it_is_refused_when_truncated(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is truncated or no checkpoint"):
        load_checkpoint(path, GPT)


@pytest.mark.parametrize("place", [-3, "n"])
def test_it_is_refused_when_a_number_or_a_setting_was_altered(saved, place):
    path, _ = saved
    data = bytearray(path.read_bytes())
    place = data.index(b"norm_eps") if place == "n" else place
    data[place] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="was altered after it was written"):
        load_checkpoint(path, GPT)


def test_it_is_refused_when_foreign_newer_or_of_another_family(saved, tmp_path, monkeypatch):
    path, model = saved
    with pytest.raises(ValueError, match=r"holds a GPT, not a BERT"):
        load_checkpoint(path, BERT)
    save_file({"x": torch.ones(2)}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="was not written by save_checkpoint; for a model of Hugging Face's"):
        load_checkpoint(tmp_path / "foreign", GPT)
    with pytest.raises(ValueError, match="missing is not a file"):
        load_checkpoint(tmp_path / "missing", GPT)
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    save_checkpoint(path, model)
    monkeypatch.setattr(checkpoint, "VERSION", 1)
    with pytest.raises(ValueError, match="has version 2, this library reads up to 1; update it"):
        load_checkpoint(path, GPT)


def rewritten(path, change):
    """A file with a right hash around wrong contents."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()[checkpoint.KEY])
    tensors = load_file(path)
    change(tensors, about)
    about["hash"] = checkpoint._hash(tensors, {key: value for key, value in about.items() if key != "hash"})
    save_file(tensors, path, metadata={checkpoint.KEY: json.dumps(about, sort_keys=True)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, a: t.pop("final_norm.weight"), "final_norm.weight is in one of the two only"),
        (lambda t, a: t.update(extra=torch.ones(1)), "extra is in one of the two only"),
        (lambda t, a: t.update({"final_norm.weight": torch.ones(3)}), r"final_norm.weight \(3,\) must have the shape"),
        (lambda t, a: a["config"].update(depth=3), "depth is not a setting of GPTConfig"),
    ],
)
def test_it_is_refused_when_it_does_not_fit_itself(saved, change, message):
    rewritten(saved[0], change)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(saved[0], GPT)


def test_weights_that_are_no_numbers_are_not_written(saved):
    path, model = saved
    before = path.read_bytes()
    model.final_norm.weight.data[0] = float("nan")
    with pytest.raises(ValueError, match="final_norm.weight of the model holds NaN"):
        save_checkpoint(path, model)
    assert path.read_bytes() == before


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    path, model = saved
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, model)
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == [path.name]
