"""Name tables: which of our parameters is which of Hugging Face's, and how its numbers are laid out."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """One parameter of Hugging Face's and ours that stand in it.

    Attributes:
        theirs: its name; ``{}`` stands for the number of the layer.
        ours: our name; several where Hugging Face stacks them along the outputs (GPT-2's queries, keys and values).
        transposed: whether Hugging Face stores (inputs, outputs), as GPT-2's ``Conv1D`` does, where ours are
            ``nn.Linear`` and store (outputs, inputs).
    """

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False

    def read(self, tensor: Tensor) -> Iterator[Tensor]:
        """Our tensors from theirs."""
        return iter((tensor.T if self.transposed else tensor).chunk(len(self.ours)))

    def write(self, tensors: list[Tensor]) -> Tensor:
        """Their tensor from ours."""
        stacked = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
        return stacked.T.contiguous() if self.transposed else stacked


@dataclass(frozen=True)
class Table:
    """All parameters of a family.

    Attributes:
        once, per_layer: rows outside the layers, and of each layer.
        ignored: their names without a counterpart, each with the reason in a comment where it is listed.
        heads: patterns of the names of parts that some of their classes lack, each of them wholly.
    """

    once: tuple[Row, ...]
    per_layer: tuple[Row, ...]
    ignored: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    def rows(self, num_layers: int) -> Iterator[Row]:
        """The rows of a model with so many layers."""
        yield from self.once
        for layer in range(num_layers):
            for row in self.per_layer:
                names = tuple(f"blocks.{layer}.{name}" for name in row.ours)
                yield Row(row.theirs.replace("{}", str(layer)), names, row.transposed)

    def read(
        self, theirs: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], num_layers: int
    ) -> dict[str, Tensor]:
        """Our state from theirs, without the heads that theirs lacks.

        Args:
            theirs: Hugging Face's state, by name.
            shapes: what our model expects.
            num_layers: number of layers.
        Raises:
            ValueError: a parameter is missing, left over or of another shape; the message names the first ones.
        """
        rows = {row.theirs: row for row in self.rows(num_layers)}
        given = {name for name in theirs if not any(name.endswith(ignored) for ignored in self.ignored)}
        absent = [head for head in self.heads if not any(re.match(head, name) for name in given)]
        lacking = {name for name in rows if any(re.match(head, name) for head in absent)}
        left_out = {name for row in lacking for name in rows.pop(row).ours}
        _refuse("is missing from the checkpoint", rows.keys() - given)
        _refuse("of the checkpoint has no place in this family", given - rows.keys())
        ours = {
            name: tensor
            for row in rows.values()
            for name, tensor in zip(row.ours, row.read(theirs[row.theirs]), strict=True)
        }
        _refuse("of our model is not in the name table", shapes.keys() - ours.keys() - left_out)
        for name, tensor in ours.items():
            if tensor.shape != shapes[name]:
                raise ValueError(f"{name} {tuple(shapes[name])} does not fit the checkpoint's {tuple(tensor.shape)}")
        return ours

    def write(self, ours: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
        """Their state from ours."""
        return {row.theirs: row.write([ours[name] for name in row.ours]) for row in self.rows(num_layers)}


def linear(theirs: str, *ours: str, bias: bool = True, transposed: bool = False) -> tuple[Row, ...]:
    """The rows of a linear map or norm: weight and, unless there is none, bias."""
    weight = Row(f"{theirs}.weight", tuple(f"{name}.weight" for name in ours), transposed)
    return (weight, Row(f"{theirs}.bias", tuple(f"{name}.bias" for name in ours))) if bias else (weight,)


def _refuse(what: str, names: set[str]) -> None:
    if names:
        shown = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise ValueError(f"{shown} {what}")
