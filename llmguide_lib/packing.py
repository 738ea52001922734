"""Matrices laid out for few rows: what generation on a CPU waits for is memory.

A product with one row uses every number of the matrix once, so it takes as long as reading the matrix takes, and that
depends on the order in which its numbers lie. Training is left alone: with many rows the order hardly matters.
Shape letters: D inputs, F outputs.
"""

import copy
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Product = Callable[[Tensor], Tensor]


class PackedLinear(nn.Linear):
    """A linear map that multiplies by a copy of its matrix in another order of memory, and has no gradient.

    It shares weight, bias and hooks with the map that it is made from. Later changes of the weight do not reach the
    copy.

    Args:
        linear: the map, in float32 on the CPU.
        num_rows: how many rows will usually come at a time; any number is allowed.
    """

    def __init__(self, linear: nn.Linear, num_rows: int) -> None:
        self.__dict__.update(linear.__dict__)
        lay_out = _by_columns if num_rows == 1 else _in_blocks
        self.__dict__["_multiply"] = lay_out(linear.weight.detach(), linear.bias, num_rows)

    def forward(self, x: Float[Tensor, "*b D"]) -> Float[Tensor, "*b F"]:
        """The product, up to rounding that of the map it is made from."""
        return self._multiply(x)


def _by_columns(weight: Tensor, bias: Tensor | None, num_rows: int) -> Product:
    """For one row: each input meets its column, and long columns are read faster than many short rows."""
    if weight.shape[0] > weight.shape[1]:
        weight = weight.T.contiguous().T  # the same shape and numbers
    return lambda x: F.linear(x, weight, bias)


def _in_blocks(weight: Tensor, bias: Tensor | None, num_rows: int) -> Product:
    """For several rows: blocks that fit the registers, as oneDNN, a part of PyTorch, chooses them for the processor."""
    blocks = torch.ops.mkldnn._reorder_linear_weight(weight, num_rows)
    return lambda x: torch.ops.mkldnn._linear_pointwise.default(x, blocks, bias, "none", [], "")


def packed(model: nn.Module, num_rows: int) -> nn.Module:
    """A model that shares everything with this one, but whose linear maps are packed where that is possible.

    It is possible in float32 on processors that oneDNN knows, and outside autocast; elsewhere the maps stay as they
    are. Laying out takes the time of about five tokens, and the memory of the matrices once more.

    Args:
        model: any module; it is not changed.
        num_rows: how many rows will usually come at a time: the texts of the batch.
    """
    if type(model) is nn.Linear and _can_be_packed(model.weight):
        return PackedLinear(model, num_rows)
    twin = copy.copy(model)
    twin._modules = {name: child and packed(child, num_rows) for name, child in model._modules.items()}
    return twin


def _can_be_packed(weight: Tensor) -> bool:
    """Whether oneDNN is here and does this matrix; autocast would not know its product."""
    here = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return here and weight.is_cpu and weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
