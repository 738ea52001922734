"""Exchange with Hugging Face: their checkpoints in our models (``from_hf``), ours in theirs (``to_hf``)."""

import copy
import os
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..adapters.lora import LoRA, add_lora, remove_lora
from ..adapters.wrapping import wrappers
from .families import FAMILIES, Family, model_type
from .loading import find, read_config, read_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def from_hf(source: "PreTrainedModel | str | os.PathLike", *, allow_pickle: bool = False) -> nn.Module:
    """Our model with the weights of one of Hugging Face's (GPT-2, BERT, ModernBERT, Llama, Qwen 2, Qwen 3).

    A BERT without some of the heads (``BertModel``, ``BertForMaskedLM``) is read too; a warning says which parts of
    ours are then as in a new model, untrained.

    Args:
        source: a model object, a folder that ``save_pretrained`` wrote, or the id of a model on the Hub.
        allow_pickle: whether weights may be read that exist only as a pickle.
    Returns:
        the model, in evaluation mode, in the type of the weights.
    Raises:
        ValueError: an unknown family, a setting that our model does not have, a parameter that is missing, left
            over, of another shape or not a number, or a source that cannot be found or read.

    Example:
        ``model = from_hf("gpt2")``, or without network ``model = from_hf("folder/with/gpt2")``.
    """
    if isinstance(source, nn.Module):
        if not hasattr(getattr(source, "config", None), "to_dict"):
            raise ValueError(f"source ({type(source).__name__}) must be a model of Hugging Face's, a folder or an id")
        config, theirs = source.config.to_dict(), source.state_dict()
    else:
        folder = find(source, allow_pickle=allow_pickle)
        config, theirs = read_config(folder), read_weights(folder, allow_pickle=allow_pickle)
    if config["model_type"] not in FAMILIES:
        raise ValueError(f"model_type ({config['model_type']!r}) must be one of {', '.join(FAMILIES)}")
    family = FAMILIES[config["model_type"]]
    ours = family.read_config(config)
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        model = family.model(ours)
    tied = model.lm_head.weight is model.token_embedding.weight
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state = family.table.read(_named_as_today(theirs, family, shapes, tied), shapes, ours.num_layers)
    if untrained := sorted(shapes.keys() - state.keys()):
        warnings.warn(f"{', '.join(untrained)}: not in this checkpoint, and untrained in our model", stacklevel=2)
        new, dtype = family.model(ours).state_dict(), next(iter(state.values())).dtype
        state |= {name: new[name].to(dtype) for name in untrained}
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} of this checkpoint holds NaN or infinity: the weights are damaged")
    model.load_state_dict(
        {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}, assign=True
    )
    if tied:
        model.lm_head.weight = model.token_embedding.weight
    return model.eval()


def _named_as_today(
    theirs: Mapping[str, Tensor], family: Family, shapes: Mapping[str, torch.Size], tied: bool
) -> dict[str, Tensor]:
    """The names that Hugging Face's classes have today, whatever wrote the file.

    Old files say gamma and beta; files of the class without heads lack the first word; files of tied models
    leave out the head's matrix, which is the embedding's.
    """
    named = {re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name): tensor for name, tensor in theirs.items()}
    named = {re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name): tensor for name, tensor in named.items()}
    if not any(name.startswith(family.base) for name in named):
        named = {family.base + name: tensor for name, tensor in named.items()}
    rows = {row.ours[0]: row.theirs for row in family.table.rows(shapes, 0)}
    head, embedding = rows["lm_head.weight"], rows["token_embedding.weight"]
    if tied and embedding in named:
        named.setdefault(head, named[embedding])
    return named


def to_hf(model: nn.Module) -> "PreTrainedModel":
    """Hugging Face's model with the weights of ours; ``save_pretrained`` and everything else of theirs works on it.

    Raises:
        ValueError: the model belongs to no family that Hugging Face has, has adapters, or maps in four bits.
    """
    import transformers

    name = model_type(model)
    family = FAMILIES[name]
    # Which tokens begin and end a text is the tokenizer's knowledge, not the model's: their defaults do not fit ours.
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = transformers.AutoConfig.for_model(name, **family.write_config(model.config), **ends)
    with torch.random.fork_rng(devices=[]):  # their random weights are replaced at once
        theirs = getattr(transformers, family.architecture)(config)
    for parameter in theirs.parameters():  # not the buffers: rotary frequencies must stay float32
        parameter.data = parameter.data.to(next(model.parameters()).dtype)
    written = family.table.write(model.state_dict(), model.config.num_layers)
    missing, left_over = theirs.load_state_dict(written, strict=False)
    assert not left_over, left_over
    if lacking := [name for name in missing if not name.endswith(family.table.ignored)]:
        raise ValueError(f"model lacks {lacking[0]}: merge and remove adapters, dequantize what is in four bits")
    return theirs.eval()


def lora_to_hf(model: nn.Module) -> "PreTrainedModel":
    """Hugging Face's model with the corrections of ours on it: ``save_lora`` of it writes what peft loads onto theirs.

    Raises:
        ValueError: no LoRA on the model, it is merged, or it corrects a part that is stacked with others in theirs.
    """
    found = dict(wrappers(model, LoRA))
    plain = copy.deepcopy(model)
    remove_lora(plain)
    table, shapes = FAMILIES[model_type(plain)].table, {name: t.shape for name, t in plain.state_dict().items()}
    rows = {row.ours: row.theirs for row in table.rows(shapes, plain.config.num_layers)}
    theirs = to_hf(plain)
    for name, lora in found.items():
        if lora.merged:
            raise ValueError(f"{name} is merged; unmerge it, or hand the whole model to to_hf")
        if (f"{name}.weight",) not in rows:
            raise ValueError(f"{name} is stacked with other parts in Hugging Face's model: its LoRA has no place there")
        target = rows[f"{name}.weight",].removesuffix(".weight")
        add_lora(theirs, lora.rank, lora.alpha, [target], dropout=lora.dropout, kind=type(lora))
        theirs.get_submodule(target).load_state_dict(lora.state_dict())
    return theirs
