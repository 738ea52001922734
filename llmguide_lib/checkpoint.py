"""Checkpoints: one safetensors file that holds the weights, the configuration and a hash of both.

Nothing in it is code, so reading one is safe. It is written beside its place and then moved there: a reader sees
the old file or the new one, never half of one. (To give a model to transformers, use ``huggingface.to_hf``.)
"""

import dataclasses
import hashlib
import json
import os
import typing
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .files import write_atomically

KEY = "llmguide"
VERSION = 1


def save_checkpoint(path: str | os.PathLike, model: nn.Module, notes: Mapping[str, object] | None = None) -> None:
    """Writes a model with its configuration.

    Args:
        path: the file; its folder is made if need be.
        model: a model with a ``config``; tied weights are stored once.
        notes: anything that JSON can hold, such as the recipe and the loss.
    Raises:
        ValueError: a weight is NaN or infinite.
        OSError: no room, or no right to write; an older file at this place is still whole then.
    """
    from safetensors.torch import save

    # A parameter that is shared comes under its first name only.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.named_parameters()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} of the model holds NaN or infinity; a checkpoint of it would be of no use")
    about = {
        "version": VERSION,
        "family": type(model).__name__,
        "config": dataclasses.asdict(model.config),
        "notes": dict(notes or {}),
    }
    about["hash"] = _hash(tensors, about)
    # One entry: safetensors writes several in no fixed order, and the same model should give the same bytes.
    write_atomically(Path(path), [save(tensors, metadata={KEY: json.dumps(about, sort_keys=True)})])


def load_checkpoint(path: str | os.PathLike, model_class: type[nn.Module]) -> nn.Module:
    """The model that a file holds, in evaluation mode.

    Args:
        path: the file.
        model_class: the family, such as ``GPT``.
    Raises:
        ValueError: the file is not there or is truncated, altered, foreign, of a newer version or of another family,
            or its weights do not fit its configuration.
    """
    tensors, about = _read(Path(path))
    if about["family"] != model_class.__name__:
        raise ValueError(f"{path} holds a {about['family']}, not a {model_class.__name__}")
    model = model_class(_made(model_class.__init__.__annotations__["config"], about["config"]))
    wanted = dict(model.named_parameters())
    if wanted.keys() != tensors.keys():
        odd = sorted(wanted.keys() ^ tensors.keys())[0]
        raise ValueError(f"{path} does not fit its own configuration: {odd} is in one of the two only")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(f"{path}: {name} {tuple(tensor.shape)} must have the shape {tuple(wanted[name].shape)}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            wanted[name].data = tensor
    return model.eval()


def read_notes(path: str | os.PathLike) -> dict:
    """What was noted when the checkpoint was written.

    Raises:
        ValueError: as ``load_checkpoint``.
    """
    return _read(Path(path))[1]["notes"]


def _made(config_class: type, values: dict) -> object:
    """A dataclass from the values of its fields, some of which may be dataclasses again."""
    hints = typing.get_type_hints(config_class)
    if unknown := sorted(values.keys() - hints.keys()):
        raise ValueError(f"{unknown[0]} is not a setting of {config_class.__name__}: a newer version wrote this file")
    made = {}
    for name, value in values.items():
        inner = [kind for kind in typing.get_args(hints[name]) if dataclasses.is_dataclass(kind)]
        made[name] = _made(inner[0], value) if inner and isinstance(value, dict) else value
    return config_class(**made)


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"{path} is not a file; save_checkpoint writes one")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no checkpoint ({error})") from None
    if text is None:
        raise ValueError(f"{path} was not written by save_checkpoint; for a model of Hugging Face's use from_hf")
    about = json.loads(text)
    if about["version"] > VERSION:
        raise ValueError(f"{path} has version {about['version']}, this library reads up to {VERSION}; update it")
    if about["hash"] != _hash(tensors, {name: value for name, value in about.items() if name != "hash"}):
        raise ValueError(f"{path} was altered after it was written: its hash differs")
    return tensors, about


def _hash(tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> str:
    """SHA-256 of every number and setting, in the order of names."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
