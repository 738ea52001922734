"""What every model does with its input: checks it, finds the positions, draws the initial weights, checks sizes."""

import math

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from ..attention import KVCache
from ..sizes import check_positive


def check_tokens(tokens: Tensor, vocab_size: int, max_seq_len: int, name: str = "tokens") -> None:
    """Refuses tokens that a model cannot read.

    Raises:
        ValueError: not two axes, not integers, none, too many, or an id that the vocabulary does not have. (Ids are
            looked at on the CPU only: on a GPU that would make every step wait, and CUDA checks them itself.)
    """
    if tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{name} {tuple(tokens.shape)} {tokens.dtype} must be integers of shape (B, T)")
    if tokens.numel() == 0:
        raise ValueError(f"{name} {tuple(tokens.shape)} must hold at least one token")
    if tokens.shape[1] > max_seq_len:
        raise ValueError(f"{name} has {tokens.shape[1]} positions, max_seq_len is {max_seq_len}")
    if _may_look(tokens):
        lowest, highest = tokens.aminmax()
        if lowest < 0 or highest >= vocab_size:
            wrong = int(lowest) if lowest < 0 else int(highest)
            known = f"ids go from 0 to vocab_size - 1 = {vocab_size - 1}"
            raise ValueError(f"{name} holds the id {wrong}, {known}; is it another tokenizer's?")


def check_mask(mask: Tensor | None, tokens: Tensor, num_keys: int, name: str = "mask") -> None:
    """Refuses a mask of real tokens that does not belong to the tokens.

    Raises:
        ValueError: not boolean, another shape than (B, number of keys), another device, or a text without real token.
    """
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise ValueError(f"{name} has dtype {mask.dtype}, it must be boolean, True for real tokens")
    if mask.shape != (len(tokens), num_keys):
        raise ValueError(f"{name} {tuple(mask.shape)} must have the shape (B, S) = {(len(tokens), num_keys)}")
    if mask.device != tokens.device:
        raise ValueError(f"{name} is on {mask.device}, the tokens are on {tokens.device}; move one of them")
    if _may_look(mask) and not mask.any(dim=1).all():
        raise ValueError(f"{name} has no real token in row {int((~mask.any(dim=1)).nonzero()[0])}")


def check_cache(cache: KVCache | None, num_layers: int, num_tokens: int, max_seq_len: int) -> int:
    """How many tokens the cache holds; 0 without one.

    Raises:
        ValueError: a cache of a model with another number of layers, or the text grows beyond ``max_seq_len``.
    """
    if cache is None:
        return 0
    if cache.num_layers != num_layers:
        raise ValueError(f"cache has {cache.num_layers} layers, this model has {num_layers}: it is another model's")
    if cache.length + num_tokens > max_seq_len:
        raise ValueError(f"cache holds {cache.length} tokens and {num_tokens} are new, max_seq_len is {max_seq_len}")
    return cache.length


def prepared(
    config: object,
    tokens: Tensor,
    mask: Tensor | None,
    cache: KVCache | None = None,
    num_layers: int = 0,
    name: str = "",
) -> tuple[Tensor, Tensor | None]:
    """The places of the tokens in their own texts, and the mask as blocks take it, (B, 1, S).

    Args:
        config: with ``vocab_size`` and ``max_seq_len``.
        tokens, mask, cache: what the model is given.
        num_layers: of the model, where it may have a cache.
        name: of the text in messages, where a model reads two.
    Raises:
        ValueError: tokens, mask or cache do not fit the model or each other.
    """
    check_tokens(tokens, config.vocab_size, config.max_seq_len, name or "tokens")
    start = check_cache(cache, num_layers, tokens.shape[1], config.max_seq_len)
    check_mask(mask, tokens, start + tokens.shape[1], f"{name}_mask" if name else "mask")
    return positions(tokens, mask, start), None if mask is None else mask[:, None]


def positions(tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B S"] | None, start: int) -> Tensor:
    """The place of each token in its own text, (T,) without a mask and (B, T) with one: filling counts for nothing."""
    if mask is None:
        return torch.arange(start, start + tokens.shape[1], device=tokens.device)
    return (mask.cumsum(dim=1) - 1).clamp(min=0)[:, start:]


def initialise(model: nn.Module, std: float) -> None:
    """Linear and embedding weights normal with this spread, biases zero, as GPT-2 and BERT begin."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def initialise_stack(model: nn.Module, std: float) -> None:
    """As ``initialise``; what writes into the residual stream starts smaller, so that the stream does not grow."""
    initialise(model, std)
    for block in model.blocks:
        for layer in (block.attention.out_proj, block.feed_forward.down_proj):
            nn.init.normal_(layer.weight, std=std / math.sqrt(2 * len(model.blocks)))


def check_sizes(config: object) -> None:
    """Refuses a configuration with a number that is not positive, or a dropout or width of heads that cannot be.

    Raises:
        ValueError: it names the first one.
    """
    choices = {"dropout"} | {name for name, value in vars(config).items() if isinstance(value, bool)}
    numbers = {name: value for name, value in vars(config).items() if isinstance(value, int | float)}
    check_positive(**{name: number for name, number in numbers.items() if name not in choices})
    if not 0 <= getattr(config, "dropout", 0) < 1:
        raise ValueError(f"dropout ({config.dropout}) must be at least 0 and less than 1")
    if getattr(config, "head_dim", None) is None and config.d_model % config.num_heads:
        raise ValueError(f"d_model ({config.d_model}) must be a multiple of num_heads ({config.num_heads})")


def inner_width(config: object) -> int:
    """The width inside the feed-forward layers: ``d_ff``, or what it is if not given."""
    return config.d_ff or 4 * config.d_model


def _may_look(tensor: Tensor) -> bool:
    """Whether looking at values is free: not where it would wait for a GPU or break a compiled graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()
