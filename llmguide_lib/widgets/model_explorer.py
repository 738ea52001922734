"""Explorers that run a model in the page: its weights travel when the reader starts it, never with the notebook."""

import functools
import hashlib
import html
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
from .weights import FAMILIES, pack_weights, packed_bytes

DTYPE = "int8"  # half the bytes of float16 for 0.0013 nats, see benchmarks/results/engine.json
MOST_BYTES = 32_000_000  # four times as many in the page, where weights are float32
PART_BYTES = 1 << 20


class ModelExplorer(Explorer):
    """What explorers share that run a model: the page asks for the weights, the kernel packs and sends them.

    On the website there is no kernel; a course model is fetched from the site, of any other the page shows ``still``.

    Args:
        model: of one of the families in ``families``.
        tokenizer: the model's.
        text: what the reader finds in the text box.
    Raises:
        ValueError: a model of another family or too large for a page, a tokenizer of another kind or with more tokens
            than the model, or a text without tokens or with more than the model reads.
    """

    families: tuple[type[nn.Module], ...] = FAMILIES

    text = traitlets.Unicode().tag(sync=True)
    course = traitlets.Unicode().tag(sync=True)
    size_bytes = traitlets.Int().tag(sync=True)
    still = traitlets.Dict().tag(sync=True)

    def __init__(self, model: nn.Module, tokenizer: BPETokenizer, text: str) -> None:
        self._check(model, tokenizer)
        self._model, self._tokenizer = model, tokenizer
        ids = self._ids(text)
        if not 0 < len(ids) <= model.config.max_seq_len:
            raise ValueError(f"text has {len(ids)} tokens, it must have 1 to {model.config.max_seq_len} for this model")
        size = packed_bytes(model, DTYPE)
        super().__init__(text=text, course=course_name(model, tokenizer), size_bytes=size, still=self._result(ids))
        self.on_msg(self._answer)

    def _check(self, model: nn.Module, tokenizer: BPETokenizer) -> None:
        if not isinstance(model, self.families):
            known = " or ".join(family.__name__ for family in self.families)
            raise ValueError(f"model is a {type(model).__name__}; {type(self).__name__} takes a {known}")
        if not isinstance(tokenizer, BPETokenizer):
            raise ValueError(f"tokenizer is a {type(tokenizer).__name__}, it must be a BPETokenizer")
        if tokenizer.vocab_size > model.config.vocab_size:
            sizes = f"{tokenizer.vocab_size} tokens, the model only {model.config.vocab_size}"
            raise ValueError(f"tokenizer has {sizes}: it is not this model's")
        size = packed_bytes(model, DTYPE)
        if size > MOST_BYTES:
            raise ValueError(
                f"model takes {size / 1e6:.0f} MB in the page, at most {MOST_BYTES / 1e6:.0f} MB are allowed"
            )

    def _ids(self, text: str) -> list[int]:
        """What the explorer's model reads of this text."""
        return self._tokenizer.encode(text)

    def _result(self, ids: list[int]) -> dict:
        """What is stored to be shown without running anything: numbers and tokens, no sentences."""
        return {"pieces": [spelled(self._tokenizer, id) for id in ids]}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_()
        return data | {"text/html": still_page(self.still)}, metadata  # where widgets do not run, as on GitHub

    def _answer(self, _: Explorer, message: dict, buffers: Sequence[Any]) -> None:
        if message.get("kind") != "start":
            return
        reply = {"id": message["id"]}
        try:
            weights = pack_weights(self._model, DTYPE)
        except ValueError as error:
            return self.send(reply | _refusal(self._model, error))
        key = _key(weights, self._tokenizer)
        if key in message["running"]:
            return self.send(reply | {"kind": "shared", "key": key})
        last = {"key": key, "tokenizer": self._tokenizer._to_json(), "engine": bundle("engine.worker")}
        parts = [weights[start : start + PART_BYTES] for start in range(0, len(weights), PART_BYTES)]
        for place, part in enumerate(parts):
            told = {"kind": "part", "part": place, "parts": len(parts)}
            self.send(reply | told | (last if place == len(parts) - 1 else {}), buffers=[part])


def spelled(tokenizer: BPETokenizer, id: int) -> str:
    """A token by itself, as the engine's ``spell`` has it: one that is only a part of a character as its bytes."""
    token = tokenizer.id_to_token(id)
    try:
        return token if isinstance(token, str) else token.decode()
    except UnicodeDecodeError:
        return "".join(f"⟨{byte:02X}⟩" for byte in token)


def still_page(still: dict) -> str:
    """A stored result as plain HTML: the tokens, the rows of its table and what each layer says, where it has them."""
    tokens = " ".join(map(_code, still["pieces"]))
    rows = "".join(f"<tr><td>{_code(piece)}</td><td>{share:.1%}</td></tr>" for piece, share in still.get("rows", ()))
    for layer, cells in enumerate(still.get("layers", ())):
        said = "".join(f"<td>{_code(piece)} {share:.0%}</td>" for piece, share in cells)
        rows += f"<tr><th>{layer}</th>{said}</tr>"
    return f"<p>{tokens}</p>" + (f"<table>{rows}</table>" if rows else "")


def _code(piece: str) -> str:
    return f"<code>{html.escape(repr(piece)[1:-1])}</code>"


def _refusal(model: nn.Module, error: ValueError) -> dict:
    """The key and values of the sentence in refusals.js; NaN has one of its own, because training makes it."""
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            return {"kind": "refused", "key": "notFinite", "values": [name]}
    return {"kind": "refused", "key": "unpacked", "values": [str(error)]}


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


def course_files(name: str) -> dict[str, bytes]:
    """What the website's explorers fetch of a course model, by file name."""
    model, _ = course.load(name)
    tokenizer = (course.folder(name) / "tokenizer.json").read_bytes()
    return {f"{name}.bin": pack_weights(model, DTYPE), f"{name}.json": tokenizer}


@functools.cache
def _shipped(name: str) -> tuple:
    model, tokenizer = course.load(name)
    return model.config, _key(pack_weights(model, DTYPE), tokenizer)


def _key(weights: bytes, tokenizer: BPETokenizer) -> str:
    """Explorers with the same key share one engine."""
    parts = (weights, tokenizer.fingerprint.encode(), bundle("engine.worker").encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()
