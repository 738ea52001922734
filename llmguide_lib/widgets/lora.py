"""LoRA explorer: how much of an update of a model's weights a correction of low rank can hold, and what that costs."""

from collections.abc import Mapping, Sequence

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor, nn

from ..adapters.lora import LoRA
from ..adapters.wrapping import find, matrix, wrappers
from .explorer import Explorer
from .still import code, table

DIGITS = 6
STILL_RANKS = (1, 4, 16)


class LoraExplorer(Explorer):
    """Singular values of what training changed, and a slider for the rank of LoRA.

    For each rank: how much of the update the best matrix of that rank keeps, how many numbers its two thin factors
    train and store, and what a random matrix of the same shape would keep. Where the update is hardly better than the
    random one, it has no low rank. What the reader chooses comes back in ``chosen``, ``rank`` and ``bits``.

    Args:
        updates: matrices (outputs, inputs) by the names of their maps.
        rank: where the slider begins.
    Raises:
        ValueError: there is no update, one is no matrix, not finite or all zeros, or the first one has no such rank.
    Source: Hu et al. 2022, section 7.2, https://arxiv.org/abs/2106.09685; that the best matrix of rank r keeps the
        r largest singular values: Eckart and Young 1936, https://doi.org/10.1007/BF02288367

    Example:
        >>> before, _ = course.load("gpt")
        >>> LoraExplorer.of_finetuning(before, finetuned, ["q_proj", "v_proj"])
    """

    explorer = traitlets.Unicode("lora").tag(sync=True)
    maps = traitlets.List(traitlets.Dict()).tag(sync=True)
    random = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Unicode().tag(sync=True)
    rank = traitlets.Int().tag(sync=True)
    bits = traitlets.Int(16).tag(sync=True)

    def __init__(self, updates: Mapping[str, Float[Tensor, "_ _"]], rank: int = 4) -> None:
        if not updates:
            raise ValueError("updates must hold at least one matrix")
        maps = [_described(name, update) for name, update in updates.items()]
        most = len(maps[0]["values"])
        if not 1 <= rank <= most:
            raise ValueError(f"rank ({rank}) must be from 1 to {most}, the largest of {maps[0]['name']}")
        shapes = {(one["rows"], one["columns"]) for one in maps}
        random = {f"{rows} × {columns}": _random_values(rows, columns) for rows, columns in sorted(shapes)}
        super().__init__(maps=maps, random=random, chosen=maps[0]["name"], rank=rank)

    @classmethod
    def of_finetuning(
        cls, before: nn.Module, after: nn.Module, targets: Sequence[str], rank: int = 4
    ) -> "LoraExplorer":
        """What a full finetuning changed in the maps that ``targets`` name, as in ``add_lora``.

        Raises:
            ValueError: a target names nothing or no linear map, the models differ in its name or shape, or a map did
                not change.
        """
        old = find(before, targets)
        updates = {}
        for name, new in find(after, targets).items():
            if name not in old or matrix(old[name]).shape != matrix(new).shape:
                raise ValueError(f"before has no {name} of the shape {tuple(matrix(new).shape)}: it is another model")
            updates[name] = _exact(matrix(new)) - _exact(matrix(old[name]))
        return cls(updates, rank)

    @classmethod
    def of_lora(cls, model: nn.Module, rank: int = 1) -> "LoraExplorer":
        """The corrections of a model that has LoRA, merged or not.

        Raises:
            ValueError: the model has none, or it was not trained.
        """
        return cls({name: lora.correction() for name, lora in wrappers(model, LoRA)}, rank)

    def _page(self) -> str:
        kept = [(one, torch.tensor(one["values"]).square()) for one in self.maps]
        shares = [[f"{energy[:rank].sum() / energy.sum():.1%}" for rank in STILL_RANKS] for _, energy in kept]
        rows = [
            [code(one["name"]), f"{one['rows']} × {one['columns']}", *share]
            for (one, _), share in zip(kept, shares, strict=True)
        ]
        return table(["energy kept", "shape", *(f"rank {rank}" for rank in STILL_RANKS)], rows)


def _described(name: str, update: Tensor) -> dict:
    if update.ndim != 2:
        raise ValueError(f"updates: {name} has the shape {tuple(update.shape)}, it must be a matrix")
    update = _exact(update)
    if not update.isfinite().all():
        raise ValueError(f"updates: {name} has a number that is not finite")
    if not update.any():
        raise ValueError(f"updates: {name} is all zeros: nothing was trained there, leave it out")
    values = torch.linalg.svdvals(update)
    return {"name": name, "rows": update.shape[0], "columns": update.shape[1], "values": _rounded(values)}


def _exact(matrix: Tensor) -> Tensor:
    return matrix.detach().double().cpu()


def _random_values(rows: int, columns: int) -> list[float]:
    """Singular values of a random matrix whose squares add up to 1."""
    drawn = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return _rounded(torch.linalg.svdvals(drawn / drawn.norm()))


def _rounded(values: Float[Tensor, "R"]) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
