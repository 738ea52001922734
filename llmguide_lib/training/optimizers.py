"""Optimizers as recipes: what a run notes and compares, and what makes the optimizer once the model is there."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from ..transformer import blocks_of

Parameters = list[nn.Parameter]


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """AdamW with decay for matrices only.

    Norms, biases and other parameters with one axis are not pulled towards zero: they are few, and a norm's scale of
    zero switches its layer off. The embedding is a matrix and decays.

    Raises:
        ValueError: a number is out of range.
    Source: Loshchilov and Hutter 2019, algorithm 2, https://arxiv.org/abs/1711.05101
    """

    lr: float | int = 3e-3
    weight_decay: float | int = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _check(self.lr, self.weight_decay)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas ({self.betas}) must be at least 0 and less than 1")

    def __call__(self, model: nn.Module) -> list[torch.optim.Optimizer]:
        """The optimizer of a model's trainable parameters."""
        return [self.of(_trainable(model))]

    def of(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer of these parameters, fused into one kernel where torch has one for their device."""
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
        groups = [group for group in groups if group["params"]]
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=fused)


@dataclass(frozen=True, kw_only=True)
class Muon:
    """Muon for the matrices inside the blocks, AdamW for everything else (embedding, head, norms).

    A matrix moves by its momentum with all singular values made equal, so that rare directions move too. The step is
    scaled so that its size is AdamW's: one learning rate does for both.

    Args:
        lr: of the matrices.
        momentum: share of the last direction that is kept.
        weight_decay: of the matrices.
        rest: the recipe for everything else.
    Raises:
        ValueError: a number is out of range, or a torch without Muon.
    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; the scale: Liu et al. 2025, section 2.2,
        https://arxiv.org/abs/2502.16982
    """

    lr: float | int = 3e-3
    momentum: float = 0.95
    weight_decay: float | int = 0.1
    rest: AdamW = field(default_factory=AdamW)

    def __post_init__(self) -> None:
        _check(self.lr, self.weight_decay)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum ({self.momentum}) must be at least 0 and less than 1")

    def __call__(self, model: nn.Module) -> list[torch.optim.Optimizer]:
        """The two optimizers of a model with blocks."""
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(f"torch {torch.__version__} has no Muon; use AdamW, or torch 2.9 or newer")
        inside = {id(p) for block in blocks_of(model) for p in block.parameters() if p.ndim == 2 and p.requires_grad}
        matrices = [p for p in _trainable(model) if id(p) in inside]
        muon = torch.optim.Muon(
            matrices, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        return [muon, self.rest.of([p for p in _trainable(model) if id(p) not in inside])]


# What makes optimizers for a model.
Recipe = Callable[[nn.Module], Iterable[torch.optim.Optimizer]]


def _trainable(model: nn.Module) -> Parameters:
    found = [p for p in model.parameters() if p.requires_grad]
    if not found:
        raise ValueError("model has no parameter that may be trained: all are frozen")
    return found


def _check(lr: float | int, weight_decay: float | int) -> None:
    if not lr > 0:
        raise ValueError(f"lr ({lr}) must be positive")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay ({weight_decay}) must not be negative")
