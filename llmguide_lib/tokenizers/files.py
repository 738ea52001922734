"""tokenizer.json, the file of Hugging Face's ``tokenizers``: what stands in it, and a refusal of what is not done here.

Source: https://huggingface.co/docs/tokenizers (the format itself is only defined by that library's code).
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..files import write_atomically
from .normalizing import STEPS
from .splitting import PATTERNS

# The file is text, so each byte has a character. Bytes that print as themselves are themselves; the others, blank
# and control bytes among them, are moved up from U+0100 on. Their order by character is also the order of their ids.
_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_BYTE_ORDER = _PRINTABLE + [byte for byte in range(256) if byte not in _PRINTABLE]
_CHARACTER = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(256 + place) for place, byte in enumerate(_BYTE_ORDER[len(_PRINTABLE) :])
}
_BYTE = {character: byte for byte, character in _CHARACTER.items()}
BYTES = [bytes([byte]) for byte in _BYTE_ORDER]
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def spell(token: bytes) -> str:
    """A token as the file spells it.

    Example:
        >>> spell(b" the")
        'Ġthe'
    """
    return "".join(_CHARACTER[byte] for byte in token)


def spelled_bytes(spelling: str) -> bytes | None:
    """The bytes of a spelling; None where a character of it stands for no byte.

    Example:
        >>> spelled_bytes("Ġthe"), spelled_bytes("a b")
        (b' the', None)
    """
    return bytes(map(_BYTE.get, spelling)) if all(character in _BYTE for character in spelling) else None


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Writes the object as readable text."""
    text = json.dumps(content, ensure_ascii=False, indent=2)
    write_atomically(Path(path), [text.encode()])


def read_json(path: str | os.PathLike) -> dict:
    """The object in a file.

    Raises:
        ValueError: not JSON, or not an object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a tokenizer.json, it is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a tokenizer.json, it holds no object")
    return content


def bpe_to_json(
    tokens: Sequence[bytes | str], merges: Iterable[tuple[bytes, bytes]], pattern: str, whole_pieces: bool
) -> dict:
    """The file of a byte-level BPE; its special tokens are the strings among the tokens."""
    spelled = [spell(token) if isinstance(token, bytes) else token for token in tokens]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": whole_pieces,
        "vocab": {token: id for id, token in enumerate(spelled)},
        "merges": [[spell(left), spell(right)] for left, right in merges],
    }
    return _file(
        special_tokens={token: id for id, token in enumerate(tokens) if isinstance(token, str)},
        normalizer=None,
        pre_tokenizer=_splits_by(pattern),
        post_processor=None,
        decoder=_BYTE_LEVEL,
        model=model,
    )


def bpe_from_json(content: dict) -> tuple[list[bytes | str], list[tuple[bytes, bytes]], str, bool]:
    """Tokens, merges, pattern, and whether whole pieces come before merges.

    Raises:
        ValueError: what the file asks for is not done here, or its parts contradict each other.
    """
    _check_common(content, "BPE", decoder="ByteLevel")
    model = content["model"]
    _require("normalizer", content.get("normalizer"), None)
    for name in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        _require(f"model.{name}", model.get(name) or None, None)
    listed, special = _tokens(content)
    tokens = [token if token in special else _bytes(token) for token in listed]
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]  # "a b" is older
    merges = [(_bytes(left), _bytes(right)) for left, right in pairs]
    return tokens, merges, _pattern(content["pre_tokenizer"]), bool(model.get("ignore_merges"))


def wordpiece_to_json(tokens: Sequence[str], special_tokens: dict[str, int], steps: Sequence, longest: int) -> dict:
    """The file of a WordPiece tokenizer; in Hugging Face's hands it puts [CLS] and [SEP] around a text, if there."""
    normalizer = {"type": "BertNormalizer"} | {name: step in steps for name, step in STEPS.items()}
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": longest,
        "vocab": {token: id for id, token in enumerate(tokens)},
    }
    around = {name: special_tokens[name] for name in ("[CLS]", "[SEP]") if name in special_tokens}
    return _file(
        special_tokens=special_tokens,
        normalizer=normalizer if steps else None,
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=_bert_template(around) if len(around) == 2 else None,
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
        model=model,
    )


def wordpiece_from_json(content: dict) -> tuple[list[str], list[str], tuple, int]:
    """Tokens, special tokens, steps of the normalizer, and the length from which a word is unknown.

    Raises:
        ValueError: what the file asks for is not done here, or its parts contradict each other.
    """
    _check_common(content, "WordPiece", decoder="WordPiece")
    model, normalizer = content["model"], content.get("normalizer")
    _require("model.unk_token", model["unk_token"], "[UNK]")
    _require("model.continuing_subword_prefix", model["continuing_subword_prefix"], "##")
    _require("pre_tokenizer.type", _type(content["pre_tokenizer"]), "BertPreTokenizer")
    if content.get("decoder"):
        _require("decoder.prefix", content["decoder"]["prefix"], "##")
        _require("decoder.cleanup", content["decoder"]["cleanup"], True)
    for token in content["added_tokens"]:
        _require(f"normalized of the added token {token['content']!r}", token["normalized"], False)
    steps: tuple = ()
    if normalizer is not None:
        _require("normalizer.type", _type(normalizer), "BertNormalizer")
        if normalizer["strip_accents"] is None:  # then it goes with lowercase
            normalizer = normalizer | {"strip_accents": normalizer["lowercase"]}
        steps = tuple(step for name, step in STEPS.items() if normalizer[name])
    tokens, special = _tokens(content)
    return tokens, list(special), steps, model["max_input_chars_per_word"]


def _file(*, special_tokens: dict[str, int], **parts: Any) -> dict:
    """The whole file: what belongs to no model, then the parts."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": id, "content": token} | flags for token, id in special_tokens.items()]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added} | parts


def _bert_template(special_tokens: dict[str, int]) -> dict:
    """What puts [CLS] before a text and [SEP] after it, and after a second one."""

    def part(kind: str, name: str, segment: int) -> dict:
        return {kind: {"id": name, "type_id": segment}}

    single = [part("SpecialToken", "[CLS]", 0), part("Sequence", "A", 0), part("SpecialToken", "[SEP]", 0)]
    pair = [*single, part("Sequence", "B", 1), part("SpecialToken", "[SEP]", 1)]
    named = {name: {"id": name, "ids": [id], "tokens": [name]} for name, id in special_tokens.items()}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": named}


def _check_common(content: dict, model: str, decoder: str) -> None:
    _require("model.type", content["model"].get("type", model), model)  # files of 2020 have none
    _require("truncation", content.get("truncation"), None)
    _require("padding", content.get("padding"), None)
    _require("decoder.type", _type(content.get("decoder")), decoder, None)
    for token in content["added_tokens"]:
        for flag in ("single_word", "lstrip", "rstrip"):
            _require(f"{flag} of the added token {token['content']!r}", token[flag], False)


def _tokens(content: dict) -> tuple[list[str], dict[str, int]]:
    """All tokens in the order of their ids, and the special ones."""
    special = {token["content"]: token["id"] for token in content["added_tokens"]}
    ids = content["model"]["vocab"] | special
    tokens = sorted(ids, key=ids.get)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError(f"the ids of the {len(tokens)} tokens must be 0 to {len(tokens) - 1}, each once")
    return tokens, special


def _splits_by(pattern: str) -> dict:
    """The part that splits texts by a pattern and spells the bytes; it does GPT-2's by itself."""
    if pattern == "gpt2":
        return _BYTE_LEVEL
    split = {"type": "Split", "pattern": {"Regex": PATTERNS[pattern]}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _BYTE_LEVEL | {"use_regex": False}]}


def _pattern(part: dict) -> str:
    """The name of the pattern by which a part of a file splits texts."""
    listed = part["pretokenizers"] if part["type"] == "Sequence" else [part]
    # Older files leave use_regex out; trim_offsets does not matter to ids.
    listed = [_BYTE_LEVEL | step | {"trim_offsets": True} if step["type"] == "ByteLevel" else step for step in listed]
    given = {"type": "Sequence", "pretokenizers": listed} if len(listed) > 1 else listed[0]
    for name in PATTERNS:
        if given == _splits_by(name):
            return name
    known = " or ".join(PATTERNS)
    raise ValueError(f"pre_tokenizer ({given}) must be ByteLevel, without a blank in front, splitting like {known}")


def _bytes(spelling: str) -> bytes:
    token = spelled_bytes(spelling)
    if token is None:
        raise ValueError(f"token {spelling!r} must be spelled in the 256 characters that stand for bytes")
    return token


def _type(part: dict | None) -> str | None:
    return None if part is None else part["type"]


def _require(name: str, value: Any, *supported: Any) -> None:
    if value not in supported:
        raise ValueError(f"{name} ({value!r}) must be {' or '.join(map(repr, supported))}; nothing else is supported")
