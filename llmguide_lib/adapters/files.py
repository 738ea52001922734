"""LoRA on disk, in the two files of Hugging Face's peft: either library loads what the other saved."""

import json
import os
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from ..files import write_atomically
from .lora import DoRA, LoRA, add_lora, remove_lora
from .wrapping import wrappers

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."  # what peft puts around a model
# What peft can do to a correction or keep beside it, and this library does not.
UNKNOWN = (
    "use_rslora", "rank_pattern", "alpha_pattern", "layer_replication", "modules_to_save", "lora_bias", "use_qalora",
    "use_bdlora", "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip
BEGINNINGS = (True, False, "gaussian")  # peft's others, such as pissa, change the weights beneath the correction
NAMES = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight", "magnitude": "lora_magnitude_vector"}


def save_lora(model: nn.Module, folder: str | os.PathLike) -> None:
    """Writes the corrections of a model, and nothing else, so that ``load_lora`` and peft can read them.

    Raises:
        ValueError: the model has no LoRA, it is merged, or its corrections differ in rank, alpha, dropout or kind.
    """
    found = dict(wrappers(model, LoRA))
    if any(lora.merged for lora in found.values()):
        raise ValueError("model: its LoRA is merged into the weights; unmerge it, or save the whole model")
    settings = {(type(lora), lora.rank, lora.alpha, lora.dropout) for lora in found.values()}
    if len(settings) > 1:
        raise ValueError("model: its corrections differ in rank, alpha, dropout or kind; peft's files know one of each")
    kind, rank, alpha, dropout = settings.pop()
    config = {
        "peft_type": "LORA", "r": rank, "lora_alpha": alpha, "lora_dropout": dropout, "use_dora": kind is DoRA,
        "target_modules": sorted(found), "bias": "none", "task_type": None, "base_model_name_or_path": None,
        "fan_in_fan_out": any(type(lora.base).__name__ == "Conv1D" for lora in found.values()),
    }  # fmt: skip
    state = {PREFIX + name: tensor.contiguous() for name, tensor in _state(found).items()}
    write_atomically(Path(folder) / WEIGHTS, [safetensors.torch.save(state, metadata={"format": "pt"})])
    write_atomically(Path(folder) / CONFIG, [(json.dumps(config, indent=1) + "\n").encode()])


def load_lora(model: nn.Module, folder: str | os.PathLike) -> None:
    """Puts the corrections that ``save_lora`` or peft wrote onto a model; everything else of it is frozen.

    Raises:
        ValueError: no such files, a kind that is not done here, or corrections of another model.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        stored = safetensors.torch.load_file(folder / WEIGHTS)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise ValueError(f"folder ({folder}) must hold {CONFIG} and {WEIGHTS}: {error}") from None
    settings = _settings(config, folder)
    names = sorted({name.removeprefix(PREFIX).partition(".lora_")[0] for name in stored})
    if unknown := sorted(set(names) - {name for name, _ in model.named_modules()}):
        raise ValueError(f"folder ({folder}) has a correction for {unknown[0]}, which this model does not have")
    add_lora(model, targets=names, **settings)
    try:
        _fill(_state(dict(wrappers(model, LoRA))), stored, folder)
    except ValueError:
        remove_lora(model)
        raise


def _fill(wanted: dict[str, Tensor], stored: dict[str, Tensor], folder: Path) -> None:
    if surplus := sorted(stored.keys() - {PREFIX + name for name in wanted}):
        raise ValueError(f"folder ({folder}) has {surplus[0]}, which is no part of its corrections")
    for name, tensor in wanted.items():
        new = stored.get(PREFIX + name)
        if new is None or new.shape != tensor.shape:
            model_has, file_has = tuple(tensor.shape), "nothing" if new is None else tuple(new.shape)
            raise ValueError(f"{name} is {model_has} in this model and {file_has} in {folder}: it is another's")
        tensor.data.copy_(new)


def _settings(config: object, folder: Path) -> dict:
    """What ``add_lora`` is given."""
    if not isinstance(config, dict) or not {"r", "lora_alpha"} <= config.keys():
        raise ValueError(f"folder ({folder}): {CONFIG} must name r and lora_alpha")
    asked = {"peft_type": ("LORA",), "bias": ("none",), "init_lora_weights": BEGINNINGS}
    asked |= {name: (False, None, {}) for name in UNKNOWN}
    for name, known in asked.items():
        if (found := config.get(name, known[0])) not in known:
            raise ValueError(f"folder ({folder}) has {name} = {found!r}; load_lora knows {known[0]!r} only")
    kind = DoRA if config.get("use_dora") else LoRA
    return {
        "rank": config["r"],
        "alpha": config["lora_alpha"],
        "dropout": config.get("lora_dropout", 0.0),
        "kind": kind,
    }


def _state(found: dict[str, LoRA]) -> dict[str, Tensor]:
    """The trained numbers by peft's names, without what it puts around a model."""
    return {
        f"{name}.{theirs}": getattr(lora, ours)
        for name, lora in found.items()
        for ours, theirs in NAMES.items()
        if hasattr(lora, ours)
    }
