"""Explorers that run a model in the page: its weights travel when the reader starts it, never with the notebook."""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor, nn

from .. import course
from ..tokenizers import BPETokenizer
from .explorer import Explorer, bundle
from .still import tokens
from .weights import FAMILIES, pack_weights, packed_bytes

DTYPE = "int8"  # half the bytes of float16 for 0.0013 nats, see benchmarks/results/engine.json
MOST_BYTES = 32_000_000  # four times as many in the page, where weights are float32
PART_BYTES = 1 << 20


class EngineExplorer(Explorer):
    """What explorers share that run something in the page: the page asks for it when the reader starts it, the kernel
    sends it.

    On the website there is no kernel; what belongs to a course model is fetched from the site, of anything else the
    page shows ``still``.

    Args:
        tokenizer: what is sent; subclasses add weights to it.
        text: what the reader finds in the text box.
        course: name of the course model whose files the website has; empty for none.
        size_bytes: how much is sent.
    Raises:
        ValueError: a tokenizer of another kind.
    """

    text = traitlets.Unicode().tag(sync=True)
    course = traitlets.Unicode().tag(sync=True)
    size_bytes = traitlets.Int().tag(sync=True)
    still = traitlets.Dict().tag(sync=True)

    def __init__(self, tokenizer: BPETokenizer, text: str, course: str, size_bytes: int) -> None:
        self._tokenizer = check_tokenizer(tokenizer)
        still = self._result(self._encode(text))
        super().__init__(text=text, course=course, size_bytes=size_bytes, still=still)
        self.on_msg(self._answer)

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)

    def _result(self, ids: list[int]) -> dict:
        """What is stored to be shown without running anything: numbers and tokens, no sentences."""
        return {"pieces": [self._spelled(id) for id in ids]}

    def _spelled(self, id: int) -> str:
        """A token as this explorer shows it."""
        return spelled(self._tokenizer, id)

    def _page(self) -> str:
        """``still`` as HTML."""
        return tokens(self.still["pieces"])

    def _weights(self) -> bytes:
        """What is sent beside the tokenizer."""
        return b""

    def _refusal(self, error: ValueError) -> tuple[str, list[str]]:
        """The key and values of the sentence in refusals.js for weights that cannot be sent."""
        return "unpacked", [str(error)]

    def _answer(self, _: Explorer, message: dict, buffers: Sequence[Any]) -> None:
        if message.get("kind") != "start":
            return
        reply = {"id": message["id"]}
        try:
            weights = self._weights()
        except ValueError as error:
            key, values = self._refusal(error)
            return self.send(reply | {"kind": "refused", "key": key, "values": values})
        key = _key(weights, self._tokenizer)
        if key in message["running"]:
            return self.send(reply | {"kind": "shared", "key": key})
        last = {"key": key, "tokenizer": self._tokenizer._to_json(), "engine": bundle("engine.worker")}
        starts = range(0, max(1, len(weights)), PART_BYTES)  # without weights one empty part
        for place, start in enumerate(starts):
            told = {"kind": "part", "part": place, "parts": len(starts)}
            whole = last if place == len(starts) - 1 else {}
            self.send(reply | told | whole, buffers=[weights[start : start + PART_BYTES]])


class ModelExplorer(EngineExplorer):
    """What explorers share that run a model.

    Args:
        model: of one of the families in ``families``.
        tokenizer: the model's.
        text: what the reader finds in the text box.
    Raises:
        ValueError: a model of another family or too large for a page, a tokenizer of another kind or with more tokens
            than the model, or a text without tokens or with more than the model reads.
    """

    families: tuple[type[nn.Module], ...] = FAMILIES
    first = False  # whether a page of all explorers begins with it

    def __init__(self, model: nn.Module, tokenizer: BPETokenizer, text: str) -> None:
        self._check(model, tokenizer)
        self._model = model
        super().__init__(tokenizer, text, course_name(model, tokenizer), packed_bytes(model, DTYPE))

    def _encode(self, text: str) -> list[int]:
        ids = self._ids(text)
        most = self._model.config.max_seq_len
        if not 0 < len(ids) <= most:
            raise ValueError(f"text has {len(ids)} tokens, it must have 1 to {most} for this model")
        return ids

    def _ids(self, text: str) -> list[int]:
        """What the model reads of this text, however long."""
        return self._tokenizer.encode(text)

    def _check(self, model: nn.Module, tokenizer: BPETokenizer) -> None:
        if not isinstance(model, self.families):
            known = " or ".join(family.__name__ for family in self.families)
            raise ValueError(f"model is a {type(model).__name__}; {type(self).__name__} takes a {known}")
        if check_tokenizer(tokenizer).vocab_size > model.config.vocab_size:
            sizes = f"{tokenizer.vocab_size} tokens, the model only {model.config.vocab_size}"
            raise ValueError(f"tokenizer has {sizes}: it is not this model's")
        size = packed_bytes(model, DTYPE)
        if size > MOST_BYTES:
            raise ValueError(
                f"model takes {size / 1e6:.0f} MB in the page, at most {MOST_BYTES / 1e6:.0f} MB are allowed"
            )

    def _weights(self) -> bytes:
        return pack_weights(self._model, DTYPE)

    def _refusal(self, error: ValueError) -> tuple[str, list[str]]:
        for name, weight in self._model.named_parameters():
            if not weight.isfinite().all():  # with a sentence of its own, because training makes it
                return "notFinite", [name]
        return super()._refusal(error)

    def _rows(self, logits: Float[Tensor, "V"], count: int) -> list[list]:
        """The most probable tokens and their probabilities, for ``still``."""
        shares = logits.softmax(dim=-1)[: self._tokenizer.vocab_size]
        best = shares.topk(min(count, len(shares)))
        found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [[self._spelled(id), round(share, 4)] for id, share in found]


def check_tokenizer(tokenizer: BPETokenizer) -> BPETokenizer:
    """The tokenizer itself.

    Raises:
        ValueError: one that the engine in the browser does not run.
    """
    if not isinstance(tokenizer, BPETokenizer):
        raise ValueError(f"tokenizer is a {type(tokenizer).__name__}, it must be a BPETokenizer")
    return tokenizer


def spelled(tokenizer: BPETokenizer, id: int) -> str:
    """A token by itself, as the engine's ``spell`` has it: one that is only a part of a character as its bytes."""
    token = tokenizer.id_to_token(id)
    try:
        return token if isinstance(token, str) else token.decode()
    except UnicodeDecodeError:
        return "".join(f"⟨{byte:02X}⟩" for byte in token)


@torch.no_grad()
def scores_of(model: nn.Module, ids: list[int]) -> Float[Tensor, "T V"]:
    """The model's logits for one text, without dropout and on the CPU; the model is left in the mode it was in."""
    with at_rest(model):
        return model(torch.tensor([ids], device=next(model.parameters()).device))[0].float().cpu()


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards the model is in the mode it was in."""
    training = model.training
    try:
        model.eval()
        yield
    finally:
        model.train(training)


def course_name(model: nn.Module, tokenizer: BPETokenizer) -> str:
    """The name of the shipped course model that this is, to the last weight; empty if it is none."""
    for name in course.NAMES:
        shipped = _shipped(name)
        if shipped[0] == model.config and shipped[1] == _key(pack_weights(model, DTYPE), tokenizer):
            return name
    return ""


def course_of_tokenizer(tokenizer: BPETokenizer) -> str:
    """The name of a shipped course model with this tokenizer; empty if there is none."""
    return next((name for name in course.NAMES if _shipped(name)[2] == tokenizer.fingerprint), "")


def course_files(name: str) -> dict[str, bytes]:
    """What the website's explorers fetch of a course model, by file name."""
    model, _ = course.load(name)
    tokenizer = (course.folder(name) / "tokenizer.json").read_bytes()
    return {f"{name}.bin": pack_weights(model, DTYPE), f"{name}.json": tokenizer}


@functools.cache
def _shipped(name: str) -> tuple:
    model, tokenizer = course.load(name)
    return model.config, _key(pack_weights(model, DTYPE), tokenizer), tokenizer.fingerprint


def _key(weights: bytes, tokenizer: BPETokenizer) -> str:
    """Explorers with the same key share one engine."""
    parts = (weights, tokenizer.fingerprint.encode(), bundle("engine.worker").encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()
