"""Prints numbers so that every machine prints the same: four significant digits, differences by their order."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

DIGITS = 4
NEGLIGIBLE = 1e-12


def show(*values: object, **named: object) -> None:
    """Prints values on one line, tensors as aligned tables, named values behind their name.

    Floats have four significant digits, what is below 1e-12 is zero, booleans in tables are 1 and a dot.

    Example:
        >>> show(weights=torch.tensor([[0.25, 0.75]]))
        weights (1, 2)
          0.25  0.75
    """
    if values:
        print(*map(_text, values), sep="\n" if any(_is_table(value) for value in values) else " ")
    for name, value in named.items():
        if _is_table(value):
            print(f"{name} {tuple(value.shape)}\n{_text(value, indent='  ')}")
        else:
            print(f"{name} = {_text(value)}")


def difference(first: Tensor, second: Tensor, tolerance: float = NEGLIGIBLE) -> str:
    """How far two tensors are apart: "equal" (integers, booleans), "< 1e-12", or the order of the largest difference.

    Floats never read "equal": whether the last bits agree depends on the machine.

    Raises:
        ValueError: the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"first {tuple(first.shape)} and second {tuple(second.shape)} must have the same shape")
    if not first.is_floating_point() and not second.is_floating_point():
        return "equal" if torch.equal(first, second) else "different"
    largest = (first - second).abs().max().item() if first.numel() else 0.0
    if math.isnan(largest):
        return "nan"
    return f"< {tolerance:.0e}" if largest < tolerance else f"~ 1e{math.floor(math.log10(largest)):+03d}"


def _is_table(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def _text(value: object, indent: str = "") -> str:
    if isinstance(value, Tensor):
        return _table(value, indent) if _is_table(value) else _text(value.item())
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        inside = ", ".join(_text(entry) for entry in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    return str(value)


def _number(value: float) -> str:
    if abs(value) < NEGLIGIBLE:
        return "0"
    return f"{value:.{DIGITS}g}"


def _table(tensor: Tensor, indent: str) -> str:
    if tensor.ndim > 2:
        return "\n\n".join(_table(part, indent) for part in tensor)
    rows = [_cells(row) for row in (tensor if tensor.ndim == 2 else tensor[None]).tolist()]
    width = max((len(cell) for row in rows for cell in row), default=0)
    return "\n".join(indent + "  ".join(cell.rjust(width) for cell in row) for row in rows)


def _cells(row: Iterable[object]) -> list[str]:
    symbols = {True: "1", False: "."}
    return [symbols[cell] if isinstance(cell, bool) else _text(cell) for cell in row]
