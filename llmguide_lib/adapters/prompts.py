"""Learned beginnings: vectors before the text (prompt tuning), or keys and values in every layer (prefix tuning).

Shape letters: N length of the beginning.
"""

from inspect import signature

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..attention import KVCache
from ..sizes import check_positive


class PromptTuned(nn.Module):
    """A frozen model of ours that reads learned vectors before every text.

    Args:
        model: a model with ``token_embedding`` and ``hidden``; all of it is frozen.
        length: how many vectors. They begin as the embeddings of tokens drawn at random.
    Raises:
        ValueError: a length that is not positive or leaves no room for a text, or a model that is none of ours.
    Source: Lester et al. 2021, section 2, https://arxiv.org/abs/2104.08691
    """

    def __init__(self, model: nn.Module, length: int) -> None:
        super().__init__()
        _check(model, length)
        self.model = model.requires_grad_(False)
        self.config = model.config
        drawn = torch.randint(model.config.vocab_size, (length,), device=model.token_embedding.weight.device)
        self.prompt = nn.Parameter(model.token_embedding.weight.detach()[drawn].clone())

    def hidden(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None = None) -> Float[Tensor, "B T D"]:
        """The final state of each token of the text."""
        length = len(self.prompt)
        begun = F.pad(tokens, (length, 0))  # any id: its embedding is replaced

        def replace(module: nn.Module, inputs: tuple, embedded: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
            return torch.cat([self.prompt.expand(len(tokens), -1, -1), embedded[:, length:]], dim=1)

        handle = self.model.token_embedding.register_forward_hook(replace)
        try:
            return self.model.hidden(begun, _begun(mask, length))[:, length:]
        finally:
            handle.remove()

    def scores(self, states: Float[Tensor, "*n D"]) -> Float[Tensor, "*n V"]:
        """The scores (logits) of every token for these final states."""
        return self.model.scores(states)

    def forward(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None = None) -> Float[Tensor, "B T V"]:
        """The scores (logits) at each token of the text."""
        return self.scores(self.hidden(tokens, mask))


class PrefixTuned(nn.Module):
    """A frozen decoder of ours whose layers attend to learned keys and values before every text.

    It is the model with a cache that is not empty: what a text before would have left there is learned instead.

    Args:
        model: a model that takes a ``KVCache``; all of it is frozen.
        length: how many keys and values in each layer.
    Raises:
        ValueError: a length that is not positive or leaves no room for a text, a model without a cache or none of ours.
    Source: Li and Liang 2021, section 4, https://arxiv.org/abs/2101.00190 (without their reparametrisation)
    """

    def __init__(self, model: nn.Module, length: int) -> None:
        super().__init__()
        _check(model, length)
        if "cache" not in signature(model.hidden).parameters:
            raise ValueError(f"model ({type(model).__name__}) reads both sides and has no cache: use PromptTuned")
        self.model = model.requires_grad_(False)
        self.config = model.config
        cache = KVCache(model.config.num_layers, length)
        drawn = torch.randint(model.config.vocab_size, (1, length), device=model.token_embedding.weight.device)
        with torch.no_grad():
            model.hidden(drawn, None, cache)  # begins as a text drawn at random leaves it
        self.prefix = nn.Parameter(torch.stack([torch.stack(cache.kept(layer)) for layer in range(cache.num_layers)]))

    def hidden(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None = None) -> Float[Tensor, "B T D"]:
        """The final state of each token of the text."""
        length = self.prefix.shape[4]
        cache = KVCache(self.config.num_layers, length + tokens.shape[1])
        for layer, (keys, values) in enumerate(self.prefix):
            cache.append(layer, keys.expand(len(tokens), -1, -1, -1), values.expand(len(tokens), -1, -1, -1))
        return self.model.hidden(tokens, _begun(mask, length), cache)

    scores, forward = PromptTuned.scores, PromptTuned.forward


def _check(model: nn.Module, length: int) -> None:
    if not hasattr(model, "hidden") or not hasattr(model, "token_embedding"):
        raise ValueError(f"model ({type(model).__name__}) is none of this library's; from_hf makes one of it")
    check_positive(length=length)
    if length >= model.config.max_seq_len:
        raise ValueError(f"length ({length}) must be less than the model's max_seq_len ({model.config.max_seq_len})")


def _begun(mask: Bool[Tensor, "B T"] | None, length: int) -> Bool[Tensor, "B S"] | None:
    return None if mask is None else F.pad(mask, (length, 0), value=True)
