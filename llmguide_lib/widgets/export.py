"""A model as one HTML file: its explorers with the weights inside, opened from a disk without network or Python."""

import base64
import html
import importlib
import json
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ..files import write_atomically
from ..notebook import language
from ..tokenizers import BPETokenizer
from .explorer import _read, bundle
from .model_explorer import DTYPE, ModelExplorer, _key
from .weights import pack_weights

LANGUAGES = {"en": "en", "zh": "zh-CN"}
FACTS = {
    "en": "{kind} with {parameters:,} weights in {layers} layers, a vocabulary of {tokens:,} tokens; it reads at most "
    "{length:,} at once.",
    "zh": "{kind}，{layers} 层，共 {parameters:,} 个权重；词表有 {tokens:,} 个词元，一次最多读 {length:,} 个。",
}
INSIDE = {
    "en": "The model is inside this file and runs in your browser: nothing is fetched, and what you type stays here. "
    "Its weights are rounded to eight bits, so probabilities differ a little from those in Python.",
    "zh": "模型就在这个文件里，在你的浏览器中运行：不需要联网，你输入的内容也不会离开这里。权重取整到了八位，"
    "因此概率与 Python 里的略有不同。",
}
NOSCRIPT = {
    "en": "The model needs JavaScript to run. Below is what it said when this page was made.",
    "zh": "运行模型需要 JavaScript。下面是制作本页时模型给出的结果。",
}
NOT_STATE = ("layout", "tooltip", "tabbable")


def export_page(
    model: nn.Module,
    tokenizer: BPETokenizer,
    path: str | os.PathLike,
    *,
    title: str = "",
    lang: str | None = None,
    explorers: Sequence[ModelExplorer] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a page by itself on which everybody can play with a model: send it, or put it on any web server.

    The file holds the weights, rounded to eight bits, the tokenizer and the explorers, and is about four thirds of the
    model's parameters in bytes; it opens from a disk and fetches nothing.

    Args:
        model: the course's or your own, of a family that some explorer takes.
        tokenizer: the model's.
        path: the file, ending in .html.
        title: heading of the page; the model's kind if it is empty.
        lang: "en" or "zh", the language that is shown first; None for the notebook's.
        explorers: of this model and tokenizer, in this order, with the texts and settings that you gave them; None for
            all that take it, each with its own text.
        overwrite: whether a file that is there already may be replaced.
    Returns:
        the file.
    Raises:
        ValueError: a model that no explorer takes, that is too large for a page or whose weights hold NaN, a tokenizer
            that is not the model's, explorers of another model, a language that the page does not have, or another
            ending than .html.
        FileExistsError: something is there already.
        OSError: the file cannot be written; one that was there is still whole then.
    Warns:
        UserWarning: an explorer that takes the model's family cannot show this model and is left out.

    Example:
        >>> export_page(*course.load("gpt"), "model.html", title="My first model")
    """
    path, lang = Path(path), language() if lang is None else lang
    if path.suffix != ".html":
        raise ValueError(f"path ({path}) must end in .html, or browsers show its text")
    if lang not in LANGUAGES:
        raise ValueError(f"lang ({lang!r}) must be one of {', '.join(LANGUAGES)}")
    shown = all_explorers(model, tokenizer) if explorers is None else _of_model(explorers, model, tokenizer)
    page = _page(model, tokenizer, shown, title or type(model).__name__, lang)
    if path.exists() and not overwrite:
        raise FileExistsError(f"path ({path}) is there already; overwrite=True replaces it")
    write_atomically(path, [page.encode()])
    return path


def all_explorers(model: nn.Module, tokenizer: BPETokenizer) -> list[ModelExplorer]:
    """Every explorer that this package offers and that takes the model's family, with its own text.

    Raises:
        ValueError: there is none, or none can show this model.
    Warns:
        UserWarning: one cannot show this model and is left out.
    """
    offered = vars(importlib.import_module(__package__)).values()
    kinds = [kind for kind in offered if isinstance(kind, type) and issubclass(kind, ModelExplorer)]
    kinds.sort(key=lambda kind: not kind.first)  # what is understood at once stands on top
    taken = [kind for kind in kinds if kind is not ModelExplorer and isinstance(model, kind.families)]
    if not taken:
        known = sorted({family.__name__ for kind in kinds for family in kind.families})
        raise ValueError(f"model is a {type(model).__name__}; explorers take a {' or '.join(known)}")
    pack_weights(model, DTYPE)  # NaN is said of the weights, not of the explorer that stumbles over it
    made, refused = [], []
    for kind in taken:
        try:
            made.append(kind(model, tokenizer))
        except ValueError as error:
            refused.append((kind, error))
    if not made:
        raise refused[0][1]
    for kind, error in refused:
        warnings.warn(f"{kind.__name__} is left out: {error}", stacklevel=3)
    return made


def _of_model(explorers: Sequence[ModelExplorer], model: nn.Module, tokenizer: BPETokenizer) -> list[ModelExplorer]:
    if not explorers:
        raise ValueError("explorers must hold at least one explorer; None stands for all")
    for place, one in enumerate(explorers):
        if one._model is not model or one._tokenizer is not tokenizer:
            raise ValueError(f"explorers[{place}] ({type(one).__name__}) is of another model or tokenizer")
    return list(explorers)


def _page(model: nn.Module, tokenizer: BPETokenizer, explorers: list[ModelExplorer], title: str, lang: str) -> str:
    weights = pack_weights(model, DTYPE)
    facts = {name: _facts(model, tokenizer, sentence) for name, sentence in FACTS.items()}
    held = {
        "states": [stored_state(one) for one in explorers],
        "modules": {one.explorer: bundle(one.explorer) for one in explorers},
        "facts": facts,
        "tokenizer": tokenizer._to_json(),
        "engine": bundle("engine.worker"),
        "key": _key(weights, tokenizer),
    }
    parts = {
        "tag": LANGUAGES[lang],
        "title": html.escape(title),
        "css": _read("explorers.css"),
        "facts": facts[lang],
        "inside": _both(INSIDE, lang),
        "noscript": _both(NOSCRIPT, lang),
        "still": "".join(f'<div class="llm-still">{one._page()}</div>' for one in explorers),
        "page": json.dumps(held, ensure_ascii=True).replace("<", "\\u003c"),  # no text may end the element
        "weights": base64.b64encode(weights).decode(),
        "script": bundle("export"),
    }
    # In one pass, so that what is put in is not looked at again; braces of the style sheet hold no single word.
    return re.sub(r"\{(\w+)\}", lambda found: parts[found[1]], _read("export.html"))


def _facts(model: nn.Module, tokenizer: BPETokenizer, sentence: str) -> str:
    return sentence.format(
        kind=type(model).__name__,
        parameters=sum(weight.numel() for weight in model.parameters()),
        layers=model.config.num_layers,
        tokens=tokenizer.vocab_size,
        length=model.config.max_seq_len,
    )


def _both(sentences: dict[str, str], lang: str) -> str:
    """A paragraph for each language, of which the page shows one."""
    return "".join(
        f'<p lang="{LANGUAGES[name]}" data-lang="{name}"{"" if name == lang else " hidden"}>{sentence}</p>'
        for name, sentence in sentences.items()
    )


def stored_state(explorer: ModelExplorer) -> dict:
    """What pages without a kernel need of an explorer, as a notebook stores it but without the JavaScript."""
    state = explorer.get_state()
    return {name: value for name, value in state.items() if name[0] != "_" and name not in NOT_STATE}
