"""Which parameters learn, and how fast."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

# Names of ours, and of transformers'.
LAYER = re.compile(r"\b(?:blocks|layers|layer|h)\.(\d+)\.")
EMBEDDING = re.compile(r"embed|\bw[tp]e\b")


def freeze(model: nn.Module, patterns: Sequence[str] = ("*",)) -> None:
    """Lets no parameter learn whose name fits one of the patterns (``token_embedding.*``, ``blocks.[0-2].*``).

    Raises:
        ValueError: one text instead of a list, or a pattern that fits no parameter.
    """
    if isinstance(patterns, str):
        raise ValueError(f"patterns ({patterns!r}) must be a list of patterns, not one text")
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"patterns: {pattern!r} fits no parameter; they are called like {names[0]}, {names[-1]}")
    for name, parameter in model.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)


def trainable(model: nn.Module) -> int:
    """How many numbers learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def layerwise(model: nn.Module, lr: float | int, decay: float | int) -> Iterable[dict]:
    r"""Groups for an optimizer: the last block and what follows it learn with ``lr``, each block before it slower.

    Block l of L gets :math:`\mathrm{lr} \cdot \mathrm{decay}^{L - 1 - l}`, the embeddings one power more.

    Raises:
        ValueError: lr is not positive, decay outside (0, 1], or a model without blocks.
    Source: Howard and Ruder 2018, section 3.2, https://arxiv.org/abs/1801.06146
    """
    if not lr > 0:
        raise ValueError(f"lr ({lr}) must be positive")
    if not 0 < decay <= 1:
        raise ValueError(f"decay ({decay}) must be more than 0 and at most 1")
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    numbers = {name: int(found[1]) for name, _ in model.named_parameters() if (found := LAYER.search(name))}
    if not numbers:
        raise ValueError(f"model ({type(model).__name__}) has no numbered blocks")
    last = max(numbers.values())
    below = {name: last + 1 for name, _ in named if EMBEDDING.search(name)}
    return [
        {"params": [parameter], "lr": lr * decay ** below.get(name, last - numbers.get(name, last))}
        for name, parameter in named
    ]
