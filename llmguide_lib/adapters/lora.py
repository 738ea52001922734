"""Low-rank adaptation: beside a frozen matrix, the product of two thin ones is trained.

Shape letters: I inputs, O outputs, R rank.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..sizes import check_positive
from .wrapping import Wrapped, matrix, unwrap, wrap, wrappers

TARGETS = ("q_proj", "v_proj")  # what the paper trains


class LoRA(Wrapped):
    r"""A linear map with a correction of low rank beside it.

    .. math:: y = W x + \frac{\alpha}{R} B A\, \mathrm{dropout}(x)

    B begins at zero, so that nothing changes before training; A begins as a new linear map does.

    Args:
        base: the map, whose weight stays as it is.
        rank: of the correction; its matrices hold ``rank * (inputs + outputs)`` numbers.
        alpha: the correction's scale is ``alpha / rank``, so that another rank wants about the same learning rate.
        dropout: probability of dropping an input of the correction in training.
    Raises:
        ValueError: a rank that is not positive or larger than the matrix, an alpha that is not positive and
            finite, a dropout outside [0, 1).
    Source: Hu et al. 2022, section 4.1, https://arxiv.org/abs/2106.09685
    """

    def __init__(self, base: nn.Module, rank: int, alpha: float | int, dropout: float | int = 0.0) -> None:
        super().__init__(base)
        check_positive(rank=rank)
        if rank > min(self.in_features, self.out_features):
            raise ValueError(f"rank ({rank}) must not exceed the matrix's ({self.out_features}, {self.in_features})")
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha ({alpha}) must be positive and finite")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout ({dropout}) must be at least 0 and less than 1")
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.lora_A = nn.Parameter(torch.empty(rank, self.in_features))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self._plain: Tensor | None = None  # the weight before merging

    @property
    def merged(self) -> bool:
        """Whether the correction is part of the weight."""
        return self._plain is not None

    def forward(self, x: Float[Tensor, "*b I"]) -> Float[Tensor, "*b O"]:
        """The map's result, corrected."""
        return self.base(x) if self.merged else self._corrected(x)

    def _corrected(self, x: Float[Tensor, "*b I"]) -> Float[Tensor, "*b O"]:
        return self.base(x) + self._low_rank(x)

    def _low_rank(self, x: Float[Tensor, "*b I"]) -> Float[Tensor, "*b O"]:
        x = F.dropout(x, self.dropout, self.training)
        return F.linear(F.linear(x, self.lora_A), self.lora_B) * (self.alpha / self.rank)

    def correction(self) -> Float[Tensor, "O I"]:
        """What is added to the weight."""
        return self._product()

    def _product(self) -> Float[Tensor, "O I"]:
        return self.lora_B @ self.lora_A * (self.alpha / self.rank)

    def weight(self) -> Float[Tensor, "O I"]:
        """The weight with its correction."""
        return matrix(self.base) if self.merged else self._whole()

    def _whole(self) -> Float[Tensor, "O I"]:
        return matrix(self.base) + self._product()

    def merge(self) -> None:
        """Puts the correction into the weight, and keeps a copy of the weight as it was.

        Raises:
            ValueError: the map is kept in four bits.
        """
        self._check_base()
        self._plain, corrected = matrix(self.base).detach().clone(), self.weight().detach()
        matrix(self.base).data.copy_(corrected)

    def _check_base(self) -> None:
        """Refuses a map whose weight is computed, not kept: what is put into it would be lost."""
        if not isinstance(self.base.weight, nn.Parameter):
            raise ValueError(f"base is a {type(self.base).__name__}, too coarse for a correction: dequantize it first")

    def unmerge(self) -> None:
        """Takes the weight back as it was, to the last bit."""
        matrix(self.base).data.copy_(self._plain)
        self._plain = None

    def _save_to_state_dict(self, *arguments: object) -> None:
        self._check_apart()
        super()._save_to_state_dict(*arguments)

    def _load_from_state_dict(self, *arguments: object) -> None:
        self._check_apart()
        super()._load_from_state_dict(*arguments)

    def _check_apart(self) -> None:
        """Refuses a state whose weight holds the correction: whoever loads it would correct it once more."""
        if self.merged:
            raise ValueError("model: its LoRA is merged into the weights; unmerge it, or remove it and keep them so")


class DoRA(LoRA):
    r"""LoRA that corrects direction and length of each row apart.

    .. math:: W' = m \frac{W + \frac{\alpha}{R} B A}{\lVert W + \frac{\alpha}{R} B A \rVert}

    with one trained length m for each output, which begins as the row's own. The norm counts as a constant in the
    gradient, as the paper advises.

    Source: Liu et al. 2024, section 4, https://arxiv.org/abs/2402.09353
    """

    def __init__(self, base: nn.Module, rank: int, alpha: float | int, dropout: float | int = 0.0) -> None:
        super().__init__(base, rank, alpha, dropout)
        self.magnitude = nn.Parameter(matrix(base).detach().norm(dim=1))

    def _corrected(self, x: Float[Tensor, "*b I"]) -> Float[Tensor, "*b O"]:
        factor = self.magnitude / _lengths(super()._whole().detach())
        bias = 0.0 if self.base.bias is None else self.base.bias
        plain = self.base(x)
        return plain + (factor - 1) * (plain - bias) + factor * self._low_rank(x)

    def correction(self) -> Float[Tensor, "O I"]:
        """What is added to the weight; of full rank, because the lengths change too."""
        return self.weight() - (matrix(self.base) if self._plain is None else self._plain)

    def _whole(self) -> Float[Tensor, "O I"]:
        corrected = super()._whole()
        return corrected * (self.magnitude / _lengths(corrected)).unsqueeze(1)


def _lengths(rows: Float[Tensor, "O I"]) -> Float[Tensor, "O"]:
    return rows.norm(dim=1).clamp(min=torch.finfo(rows.dtype).tiny)  # a row of zeros stays one, not 0/0


def add_lora(
    model: nn.Module,
    rank: int,
    alpha: float | int,
    targets: Sequence[str] = TARGETS,
    *,
    dropout: float | int = 0.0,
    kind: type[LoRA] = LoRA,
) -> None:
    """Puts a correction beside each map that ``targets`` name and freezes everything else; nothing else changes.

    Args:
        model: any model, ours or of transformers.
        targets: names of maps, or the ends of names after a dot.
        kind: ``LoRA`` or ``DoRA``.
    Raises:
        ValueError: as ``LoRA`` says; a target that names nothing, no linear map, one with a correction, or one that
            shares its weight. The model is then as before.
    """
    wrap(model, targets, lambda base: kind(base, rank, alpha, dropout))


def merge_lora(model: nn.Module) -> None:
    """Puts all corrections into the weights: the same model, without the cost of the thin matrices.

    Raises:
        ValueError: the model has none, they are merged already, or a map is kept in four bits (``dequantize`` first).
    """
    found = list(_all(model, merged=False))
    for lora in found:
        lora._check_base()
    for lora in found:
        lora.merge()


def unmerge_lora(model: nn.Module) -> None:
    """Takes the corrections out of the weights again; the weights are then as before, to the last bit.

    Raises:
        ValueError: the model has none, or they are not merged.
    """
    for lora in _all(model, merged=True):
        lora.unmerge()


def remove_lora(model: nn.Module) -> None:
    """Leaves the plain model, all of it trainable: corrected for good if it was merged, else as before ``add_lora``.

    Raises:
        ValueError: the model has no LoRA.
    """
    unwrap(model, LoRA)


def _all(model: nn.Module, *, merged: bool) -> Iterator[LoRA]:
    found = list(wrappers(model, LoRA))
    for name, lora in found:
        if lora.merged is not merged:
            raise ValueError(f"{name} is {'not merged' if merged else 'merged already'}")
    return (lora for _, lora in found)
