"""Watches a training loop from inside the notebook: live curve, progress, time left, stop button."""

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from .. import plots
from .live import LiveCurve, in_notebook

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Monitor:
    """A loop over training steps that ends after some seconds, after some steps, or when the reader stops it.

    Only the loop's own seconds count: drawing is left out, so that two models get the same time to learn.
    Elsewhere than in a notebook it counts and records, and draws nothing.

    Args:
        seconds: training time.
        max_steps: largest number of steps; None for no limit.
        baselines: values drawn as horizontal lines to be compared with, by name.
        label: name of the recorded value on the vertical axis.
    Raises:
        ValueError: ``seconds`` is not positive.

    Example:
        with Monitor(seconds=10, label="loss") as run:
            for step in run:
                ...
                run.record(train=loss.item())
    """

    def __init__(
        self,
        seconds: float | int,
        *,
        max_steps: int | None = None,
        baselines: Mapping[str, float | int] | None = None,
        label: str = "loss",
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"seconds ({seconds}) must be positive")
        self.seconds = seconds
        self.max_steps = max_steps
        self.baselines = dict(baselines or {})
        self.label = label
        self.step = 0
        self.records: dict[str, list[tuple[int, float]]] = {}
        self.stopped = False
        self._view: LiveCurve | None = None

    def __enter__(self) -> "Monitor":
        self._view = LiveCurve(self._stop, self._curves) if in_notebook() else None
        return self

    def __iter__(self) -> Iterator[int]:
        spent = 0.0
        while spent < self.seconds and self.step != self.max_steps and not self.stopped:
            began = time.perf_counter()
            yield self.step
            self.step += 1
            spent += time.perf_counter() - began
            if self._view:
                left = self._left(spent)
                self._view.update(self.step, spent / max(spent + left, 1e-9), left)

    def record(self, **values: float | int) -> None:
        """Notes values of this step, each under the name of its curve."""
        for name, value in values.items():
            self.records.setdefault(name, []).append((self.step, value))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        interrupted = kind is KeyboardInterrupt
        self.stopped |= interrupted
        if self._view:
            self._view.close()
        return interrupted

    def figure(self) -> "Figure":
        """The curves recorded so far, and the baselines."""
        curves = {name: [value for _, value in points] for name, points in self.records.items()}
        steps = {name: [step for step, _ in points] for name, points in self.records.items()}
        return plots.curves(curves, steps, xlabel="step", ylabel=self.label, levels=self.baselines)

    def _left(self, spent: float) -> float:
        by_steps = self.max_steps and spent / max(self.step, 1) * (self.max_steps - self.step)
        return min(self.seconds - spent, by_steps) if by_steps is not None else self.seconds - spent

    def _stop(self) -> None:
        self.stopped = True

    def _curves(self) -> "Figure | None":
        return self.figure() if self.records else None
