"""Rows of tokens: the same ids as encoding gives, made once, by several processes at the same time if need be."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llmguide_lib.corpora import storage
from llmguide_lib.corpora.cache import CACHE_VARIABLE
from llmguide_lib.corpora.storage import token_row
from llmguide_lib.tokenizers import BPETokenizer

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ["the first text", "a second one, 第二", "the last"]
END = "<|endoftext|>"


@pytest.fixture
def tokenizer(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return BPETokenizer.train(TEXTS, 270, special_tokens=(END,))


def test_a_row_holds_all_texts_between_end_tokens(tokenizer):
    row = token_row(TEXTS, tokenizer)
    assert row.dtype == torch.int16
    assert row.tolist() == [id for text in TEXTS for id in [0, *tokenizer.encode(text)]] + [0]


def test_it_is_made_once_and_anew_for_other_texts_or_tokens(tokenizer, tmp_path, monkeypatch):
    token_row(TEXTS, tokenizer)
    other = BPETokenizer.train(TEXTS, 268, special_tokens=(END,))
    assert token_row(TEXTS, other).tolist() != token_row(TEXTS, tokenizer).tolist()
    token_row(TEXTS[:2], tokenizer)
    token_row(["the first text", "a second one, 第二the last"], tokenizer)
    assert len(list((tmp_path / "cache").iterdir())) == 4
    monkeypatch.setattr(storage, "write_atomically", lambda *_: pytest.fail("was there already"))
    assert len(token_row(tuple(TEXTS), tokenizer))


def test_large_vocabularies_get_wider_numbers(tokenizer, monkeypatch):
    expected = token_row(TEXTS, tokenizer)
    monkeypatch.setattr(BPETokenizer, "vocab_size", 1 << 15 | 1)
    monkeypatch.setenv(CACHE_VARIABLE, str(Path(storage.cache_directory()) / "other"))
    row = token_row(TEXTS, tokenizer)
    assert row.dtype == torch.int32 and row.tolist() == expected.tolist()


def test_where_nothing_can_be_written_it_is_made_in_memory(tokenizer, tmp_path, monkeypatch):
    expected = token_row(TEXTS, tokenizer).tolist()
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    assert token_row(TEXTS, tokenizer).tolist() == expected


@pytest.mark.parametrize("kept", [0, 5, 30, -10, -8, -2, -1])
def test_a_file_that_was_cut_off_is_made_again(kept, tokenizer, tmp_path):
    expected = token_row(TEXTS, tokenizer).tolist()
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    path.unlink()  # pages of the old file may still be mapped
    path.write_bytes(whole[:kept])
    assert token_row(TEXTS, tokenizer).tolist() == expected and path.read_bytes() == whole


def test_several_processes_may_make_it_at_once(tokenizer, tmp_path):
    code = (
        "from llmguide_lib.corpora.storage import token_row; from llmguide_lib.tokenizers import BPETokenizer\n"
        "texts = [f'text number {n} of many' for n in range(20000)]\n"
        "tokenizer = BPETokenizer.train(texts[:100], 270, special_tokens=('<|endoftext|>',))\n"
        "row = token_row(texts, tokenizer); print(len(row), row.long().sum().item())"
    )
    environment = {"PYTHONPATH": str(ROOT), CACHE_VARIABLE: str(tmp_path), "HOME": str(tmp_path)}
    line = [sys.executable, "-W", "ignore", "-c", code]
    running = [subprocess.Popen(line, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    answers = [process.communicate()[0] for process in running]
    assert answers[0] == answers[1] != b""
    assert [path.suffix for path in tmp_path.iterdir()] == [".bin"]


@pytest.mark.parametrize(
    "texts, end, message",
    [
        ([], END, "texts must hold at least one text"),
        ("one text", END, "texts must be several texts, not one string; give a list"),
        (iter(TEXTS), END, r"texts \(list_iterator\) can be read only once"),
        (TEXTS, "<|end|>", r"token \('<\|end\|>'\) must be one of the 270 tokens"),
    ],
)
def test_texts_that_make_no_row_are_refused(texts, end, message, tokenizer):
    with pytest.raises(ValueError, match=message):
        token_row(texts, tokenizer, end)
