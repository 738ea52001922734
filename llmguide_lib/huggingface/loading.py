"""Finds and reads Hugging Face's checkpoints: a folder or a Hub id, with weights in one or in several files."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

SAFE, PICKLE = "model.safetensors", "pytorch_model.bin"
FILES = ["config.json", "*.safetensors", "*.safetensors.index.json"]


def find(source: str | os.PathLike, *, allow_pickle: bool) -> Path:
    """The folder of a checkpoint; what looks like a Hub id and is no folder is downloaded (HF_ENDPOINT is honoured).

    Raises:
        ValueError: there is neither such a folder nor, as far as can be told from here, such an id.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if isinstance(source, os.PathLike) or str(source).count("/") > 1 or str(source).startswith((".", "/", "~")):
        raise ValueError(f"source ({str(source)!r}) must be a folder with config.json, or the id of a model on the Hub")
    from huggingface_hub import snapshot_download

    patterns = [*FILES, "pytorch_model*"] if allow_pickle else FILES
    try:
        return Path(snapshot_download(str(source), allow_patterns=patterns))
    except Exception as error:  # the Hub's client has a dozen kinds of them: offline, unknown, forbidden, broken off
        raise ValueError(
            f"source ({str(source)!r}) is no folder here and could not be downloaded ({type(error).__name__}): check "
            "the id and the network, set HF_ENDPOINT to a mirror, or give a folder that holds the checkpoint"
        ) from None


def read_config(folder: Path) -> dict:
    """The checkpoint's configuration.

    Raises:
        ValueError: there is none, or it is not JSON with a model_type.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(f"source ({folder}) has no config.json: it is not a checkpoint of Hugging Face's") from None
    except ValueError:
        raise ValueError(f"{path} is not JSON: the file is damaged") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise ValueError(f"{path} names no model_type: it is not a checkpoint of Hugging Face's")
    return config


def read_weights(folder: Path, *, allow_pickle: bool) -> Mapping[str, Tensor]:
    """All tensors of the checkpoint, on the CPU.

    Raises:
        ValueError: no weights, a file of several is missing or damaged, or only pickled ones and they are not allowed.
    """
    for name, read in ((SAFE, _read_safe), (PICKLE, _read_pickle)):
        files = _shards(folder, name)
        if not files:
            continue
        if name == PICKLE and not allow_pickle:
            raise ValueError(
                f"source ({folder}) has only pickled weights ({PICKLE}), and unpickling can run any code: ask for "
                "safetensors, or pass allow_pickle=True if you trust whoever made the file"
            )
        weights: dict[str, Tensor] = {}
        for path in files:
            weights |= read(path)
        return weights
    raise ValueError(f"source ({folder}) has no weights: neither {SAFE} nor {PICKLE}, whole or in parts")


def _shards(folder: Path, name: str) -> list[Path]:
    """The files of this kind of weights: one, or those that an index lists."""
    if (folder / name).exists():
        return [folder / name]
    index = folder / f"{name}.index.json"
    if not index.exists():
        return []
    files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    for file in files:
        if not (folder / file).exists():
            raise ValueError(f"source ({folder}) lacks {file}, one of the {len(files)} files that {index.name} lists")
    return [folder / file for file in files]


def _read_safe(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); download it again") from None


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in many ways
        raise ValueError(f"{path} is damaged ({type(error).__name__}); download it again") from None
