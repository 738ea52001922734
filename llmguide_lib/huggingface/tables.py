"""Name tables: which of our parameters is which of Hugging Face's, and how its numbers are laid out."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """One parameter of Hugging Face's and ours that stand in it.

    Attributes:
        theirs: its name.
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


# Ours in one part of theirs; several where they are stacked.
Ours = str | tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Which part of Hugging Face's model is which of ours.

    A part is a module, whose weight and bias are exchanged as far as our model has them, or a single parameter. What
    our model lacks (an optional norm, say) makes no row.

    Attributes:
        once: ours by their names, outside the layers.
        layers: what stands before the names in a layer; ``{}`` stands for its number.
        per_layer: ours by their names, in each layer.
        transposed: their names of the parts of a layer whose weights are transposed.
        ignored: their parameters without a counterpart, each with the reason in a comment where it is listed.
        heads: patterns of the names of parts that some of their classes lack, each of them wholly.
    """

    once: Mapping[str, Ours]
    layers: str
    per_layer: Mapping[str, Ours]
    transposed: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    def rows(self, names: Collection[str], num_layers: int) -> Iterator[Row]:
        """The rows of a model with so many layers whose parameters have these names."""
        parts = [("", "", self.once)]
        parts += [(self.layers.format(layer), f"blocks.{layer}.", self.per_layer) for layer in range(num_layers)]
        for their_start, our_start, listed in parts:
            for theirs, ours in listed.items():
                stacked = [our_start + name for name in ([ours] if isinstance(ours, str) else ours)]
                for end in ("", ".weight", ".bias"):
                    if stacked[0] + end in names:
                        transposed = end == ".weight" and theirs in self.transposed
                        yield Row(their_start + theirs + end, tuple(name + end for name in stacked), transposed)

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
        rows = {row.theirs: row for row in self.rows(shapes, num_layers)}
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
        return {row.theirs: row.write([ours[name] for name in row.ours]) for row in self.rows(ours, num_layers)}


def _refuse(what: str, names: set[str]) -> None:
    if names:
        shown = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise ValueError(f"{shown} {what}")
