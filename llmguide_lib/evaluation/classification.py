"""How well classes are predicted.

Shape letters: N items, C classes.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from .inputs import check_paired

AVERAGES = ("macro", "micro", "binary")


def accuracy(predictions: Int[Tensor, "N"], targets: Int[Tensor, "N"]) -> float:
    """Share of items whose class is predicted.

    Raises:
        ValueError: no items, or the lengths differ.
    """
    check_paired(predictions=predictions, targets=targets)
    return (predictions == targets).double().mean().item()


def confusion_matrix(
    predictions: Int[Tensor, "N"], targets: Int[Tensor, "N"], num_classes: int | None = None
) -> Int[Tensor, "C C"]:
    """How often which class is taken for which: the row is the true class, the column the predicted one.

    Args:
        predictions, targets: classes, counted from 0.
        num_classes: None means one more than the largest class that occurs.
    Raises:
        ValueError: no items, the lengths differ, or a class is negative or not below ``num_classes``.

    Example:
        >>> confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])).tolist()
        [[1, 1], [0, 1]]
    """
    check_paired(predictions=predictions, targets=targets)
    both = torch.stack([predictions, targets])
    num_classes = int(both.max()) + 1 if num_classes is None else num_classes
    if both.min() < 0 or both.max() >= num_classes:
        wrong = int(both.min()) if both.min() < 0 else int(both.max())
        raise ValueError(f"class {wrong} must be at least 0 and below num_classes ({num_classes})")
    return torch.bincount(targets * num_classes + predictions, minlength=num_classes**2).view(num_classes, num_classes)


def f1(predictions: Int[Tensor, "N"], targets: Int[Tensor, "N"], average: str = "macro") -> float:
    r"""Harmonic mean of precision and recall.

    .. math:: F_1 = \frac{2\,\text{right}}{\text{predicted} + \text{true}}

    Args:
        predictions, targets: classes, counted from 0.
        average: "macro" is the mean over the classes that are true or predicted at least once; "micro" adds up the
            counts first, which with one class per item is the accuracy; "binary" is that of class 1
            (0 where it does not occur).
    Raises:
        ValueError: as in ``confusion_matrix``, an unknown average, or "binary" with other classes than 0 and 1.
    """
    if average not in AVERAGES:
        raise ValueError(f"average ({average!r}) must be one of {', '.join(AVERAGES)}")
    counts = confusion_matrix(predictions, targets)
    if average == "binary" and len(counts) > 2:
        raise ValueError(f"average ('binary') needs the classes 0 and 1, class {len(counts) - 1} occurs")
    if average == "micro":
        return (counts.diag().sum().double() / counts.sum()).item()
    met = counts.sum(dim=0) + counts.sum(dim=1)  # predicted or true
    scores = 2 * counts.diag().double() / met.clamp(min=1)
    return (scores[met > 0].mean() if average == "macro" else scores[1:].sum()).item()
