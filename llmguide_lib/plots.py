"""Pictures: heat maps, curves, token maps. They know numbers and labels, no model.

Figures are drawn at 80 dpi with ASCII labels (fonts differ between machines); token maps are HTML,
so that any script can stand in them. Colours keep their order for colour-blind readers and in grey print.
"""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 80
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito's palette
STYLES = ("-", "--", "-.", ":")


def heatmaps(
    matrices: Mapping[str, Tensor],
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    *,
    xlabel: str = "",
    ylabel: str = "",
    top: float | None = None,
) -> "Figure":
    """One heat map per named matrix, side by side on one colour scale that starts at zero.

    Args:
        matrices: name -> matrix.
        rows, columns: labels of the rows and columns; None means numbers.
        xlabel, ylabel: what the axes are.
        top: value of the darkest colour; None means the largest entry.
    Raises:
        ValueError: no matrix, an entry of another number of axes than two, or labels that do not fit.
    """
    if not matrices:
        raise ValueError("matrices must hold at least one matrix")
    for name, matrix in matrices.items():
        if matrix.ndim != 2:
            raise ValueError(f"matrices[{name!r}] {tuple(matrix.shape)} must have two axes")
        for labels, size, what in ((rows, matrix.shape[0], "rows"), (columns, matrix.shape[1], "columns")):
            if labels is not None and len(labels) != size:
                raise ValueError(f"{what} has {len(labels)} labels, matrices[{name!r}] has {size} {what}")
    figure, axes = _subplots(len(matrices))
    top = max(float(matrix.max()) for matrix in matrices.values()) if top is None else top
    for axis, (name, matrix) in zip(axes, matrices.items(), strict=True):
        picture = axis.imshow(matrix.detach().cpu().numpy(), cmap="Blues", vmin=0, vmax=top)
        axis.set(title=name, xlabel=xlabel, ylabel=ylabel)
        if columns is not None:
            axis.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor")
        if rows is not None:
            axis.set_yticks(range(len(rows)), rows)
    figure.colorbar(picture, ax=axes, shrink=0.8)
    return figure


def curves(
    values: Mapping[str, Sequence[float | int]],
    x: Mapping[str, Sequence[float | int]] | Sequence[float | int],
    *,
    xlabel: str = "",
    ylabel: str = "",
    levels: Mapping[str, float | int] | None = None,
    log: str = "",
) -> "Figure":
    """Curves over a common axis, and horizontal lines to compare them with.

    Args:
        values: name -> values.
        x: positions, one sequence for all or name -> sequence.
        xlabel, ylabel: what the axes are.
        levels: name -> height of a horizontal line.
        log: which axes are logarithmic: "", "x", "y" or "xy".
    Raises:
        ValueError: a curve and its positions differ in length, or ``log`` is something else.
    """
    if log not in ("", "x", "y", "xy"):
        raise ValueError(f"log ({log!r}) must be '', 'x', 'y' or 'xy'")
    figure, (axis,) = _subplots(1)
    for number, (name, curve) in enumerate(values.items()):
        places = x[name] if isinstance(x, Mapping) else x
        if len(places) != len(curve):
            raise ValueError(f"values[{name!r}] has {len(curve)} points, x has {len(places)}")
        style = {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number % len(STYLES)]}
        axis.plot(places, curve, label=name, marker="o" if len(curve) < 12 else "", **style)
    for number, (name, height) in enumerate((levels or {}).items(), len(values)):
        axis.axhline(height, label=name, color=COLOURS[number % len(COLOURS)], linestyle=":")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.set_xscale("log" if "x" in log else "linear")
    axis.set_yscale("log" if "y" in log else "linear")
    if values or levels:
        axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    return figure


class TokenMap:
    """Words with a background as dark as their weight; the weight is also in each word's title and in the text form.

    Args:
        words: the text, in order.
        weights: one number between 0 and 1 for each word.
        marked: position of the word that asks, framed; None for no such word.
    Raises:
        ValueError: the numbers of words and weights differ, or ``marked`` is not a position.
    """

    def __init__(self, words: Sequence[str], weights: Sequence[float | int], marked: int | None = None) -> None:
        if len(words) != len(weights):
            raise ValueError(f"words has {len(words)} entries, weights has {len(weights)}")
        if marked is not None and not 0 <= marked < len(words):
            raise ValueError(f"marked ({marked}) must be a position below {len(words)}")
        self.words, self.weights, self.marked = list(words), [float(weight) for weight in weights], marked

    def __repr__(self) -> str:
        strongest = sorted(zip(self.weights, self.words, strict=True), reverse=True)[:3]
        return "  ".join(f"{word} {weight:.2f}" for weight, word in strongest)

    def _repr_html_(self) -> str:
        largest = max([*self.weights, 1e-9])
        spans = [self._span(place, largest) for place in range(len(self.words))]
        return f'<div style="line-height:2;max-width:46em">{" ".join(spans)}</div>'

    def _span(self, place: int, largest: float) -> str:
        weight = self.weights[place]
        shade = f"background:rgba(0,114,178,{0.55 * max(weight, 0) / largest:.2f})"
        frame = ";outline:2px solid #d55e00" if place == self.marked else ""
        word = html.escape(self.words[place])
        return f'<span title="{weight:.3f}" style="{shade}{frame};padding:2px;border-radius:3px">{word}</span>'


def _subplots(number: int):
    import matplotlib.pyplot as plt

    size = (4.2 * number + 1, 3.6) if number > 1 else (6, 3.6)
    figure, axes = plt.subplots(1, number, figsize=size, dpi=DPI, layout="constrained", squeeze=False)
    return figure, list(axes[0])
