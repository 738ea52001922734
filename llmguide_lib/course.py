"""The course's own models, shipped with the package: ``load("gpt")``, a decoder, and ``load("bert")``, an encoder.

Each lies in a folder that Hugging Face's ``AutoModel`` and ``AutoTokenizer`` read too; see its README.md for what it
was trained on, how good it is and what it cannot do.
"""

import hashlib
import json
from pathlib import Path

from torch import nn

from .files import write_atomically
from .huggingface import from_hf, to_hf
from .tokenizers import BPETokenizer

NAMES = ("gpt", "bert")
HASHES = "hashes.json"
FOLDER = Path(__file__).resolve().parent / "data" / "models"


def folder(name: str) -> Path:
    """Where a course model lies, for ``AutoModel.from_pretrained`` and other readers.

    Raises:
        ValueError: no such model.
    """
    if name not in NAMES:
        raise ValueError(f"name ({name!r}) must be one of {', '.join(NAMES)}")
    return FOLDER / f"{name}-course"


def load(name: str) -> tuple[nn.Module, BPETokenizer]:
    """A course model, in float32 and in evaluation mode, and its tokenizer.

    Args:
        name: "gpt" or "bert".
    Raises:
        ValueError: no such model, or files that are missing or not those that were shipped.

    Example:
        >>> model, tokenizer = load("gpt")
    """
    place = folder(name)
    _verify(place)
    return from_hf(place).float(), BPETokenizer.load(place / "tokenizer.json")


def write(place: Path, model: nn.Module, tokenizer: BPETokenizer, card: str) -> None:
    """Writes a model as it is shipped: weights in float16, configuration, tokenizer, card, and hashes of all of them.

    Args:
        place: the folder.
        model: of a family that Hugging Face has.
        tokenizer: with the special tokens <|endoftext|>, <|mask|> and <|pad|>.
        card: the text of README.md.
    """
    theirs = to_hf(model).half()
    ends = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    special = ends | {"mask_token": "<|mask|>", "pad_token": "<|pad|>"}
    for name, token in special.items():
        setattr(theirs.config, f"{name}_id", tokenizer.token_to_id(token))
    theirs.save_pretrained(place)
    tokenizer.save(place / "tokenizer.json")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.config.max_seq_len, **special}
    _write_text(place / "tokenizer_config.json", json.dumps(settings, indent=1) + "\n")
    _write_text(place / "README.md", card)
    hashes = {path.name: _hash(path) for path in sorted(place.iterdir()) if path.name != HASHES}
    _write_text(place / HASHES, json.dumps(hashes, indent=1) + "\n")


def _verify(place: Path) -> None:
    try:
        expected = json.loads((place / HASHES).read_text(encoding="utf-8"))
        found = {name: _hash(place / name) for name in expected}
    except (OSError, ValueError) as error:
        raise ValueError(f"{place} lacks a file of the course model ({error}); install the package again") from None
    for name, digest in expected.items():
        if found[name] != digest:
            raise ValueError(f"{place / name} was changed since it was shipped: its hash differs; install it again")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, [text.encode()])
