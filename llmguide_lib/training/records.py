"""What a run notes about itself, and how it is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .. import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Records:
    """The course of a run.

    Attributes:
        step: optimizer steps done.
        seconds: training time, without evaluations and saving.
        loading_seconds: the part of it that went into waiting for batches.
        targets: how many targets have been learned from.
        rows: what was noted, each with its step, seconds and values (loss in nats per target, the schedule's
            factor, the gradient's norm; or the results of an evaluation).
        losses: of the steps since the last row with a loss.
        stopped: whether somebody stopped the run before its end.
        finished: whether the run is over and evaluated.
    """

    step: int = 0
    seconds: float = 0.0
    loading_seconds: float = 0.0
    targets: int = 0
    rows: list[dict[str, float | int]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    stopped: bool = False
    finished: bool = False

    @property
    def targets_per_second(self) -> float:
        """Targets learned from in a second of training."""
        return self.targets / max(self.seconds, 1e-9)

    @property
    def loading_share(self) -> float:
        """The share of the training time that went into waiting for batches."""
        return self.loading_seconds / max(self.seconds, 1e-9)

    def note(self, **values: float | int) -> None:
        """Adds a row for this moment."""
        self.rows.append({"step": self.step, "seconds": round(self.seconds, 2), **values})

    def curve(self, name: str, against: str = "step") -> tuple[list[float | int], list[float | int]]:
        """Where and what: the values noted under a name.

        Raises:
            ValueError: nothing was noted under this name.
        """
        rows = [row for row in self.rows if name in row]
        if not rows:
            known = sorted({key for row in self.rows for key in row})
            raise ValueError(f"name ({name!r}) must be one of {', '.join(known) or '(nothing was noted)'}")
        return [row[against] for row in rows], [row[name] for row in rows]

    def plot(self, *names: str, against: str = "step", levels: Mapping[str, float | int] | None = None) -> "Figure":
        """The curves of these names; of the loss if there are none.

        Args:
            names: such as "loss" and what an evaluation returns.
            against: "step" or "seconds".
            levels: values drawn as horizontal lines to be compared with, by name.
        Raises:
            ValueError: nothing was noted under one of the names.
        """
        points = {name: self.curve(name, against) for name in names or ("loss",)}
        x, y = ({name: point[axis] for name, point in points.items()} for axis in (0, 1))
        ylabel = next(iter(y)) if len(y) == 1 else ""
        return plots.curves(y, x, xlabel=against, ylabel=ylabel, levels=dict(levels or {}))
