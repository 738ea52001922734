"""Watches a training loop from inside the notebook: live curve, progress, time left, stop button."""

import io
import time
from collections.abc import Iterator, Mapping
from types import TracebackType

from .. import plots
from .session import say

REDRAW_SECONDS = 1.0
TEXTS = {
    "stop": {"en": "Stop", "zh": "停止"},
    "tip": {
        "en": "Stops after this step and keeps what was learned. The notebook's own stop button does the same.",
        "zh": "这一步之后停下，保留已经学到的结果。笔记本自带的停止按钮也一样。",
    },
    "progress": {"en": "step {step} · {left:.0f} s left", "zh": "第 {step} 步 · 还剩 {left:.0f} 秒"},
}


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
        self._view: _View | None = None

    def __enter__(self) -> "Monitor":
        self._view = _View(self) if _in_notebook() else None
        return self

    def __iter__(self) -> Iterator[int]:
        spent, drawn = 0.0, time.perf_counter()
        while spent < self.seconds and self.step != self.max_steps and not self.stopped:
            began = time.perf_counter()
            yield self.step
            self.step += 1
            spent += time.perf_counter() - began
            if self._view and time.perf_counter() - drawn > REDRAW_SECONDS:
                self._view.update(self._left(spent))
                drawn = time.perf_counter()

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

    def figure(self):
        """The curves recorded so far, and the baselines."""
        curves = {name: [value for _, value in points] for name, points in self.records.items()}
        steps = {name: [step for step, _ in points] for name, points in self.records.items()}
        return plots.curves(curves, steps, xlabel="step", ylabel=self.label, levels=self.baselines)

    def _left(self, spent: float) -> float:
        by_steps = self.max_steps and spent / max(self.step, 1) * (self.max_steps - self.step)
        return min(self.seconds - spent, by_steps) if by_steps is not None else self.seconds - spent


class _View:
    """What the reader sees while the loop runs; a still picture of the curve takes its place at the end."""

    def __init__(self, monitor: Monitor) -> None:
        import ipywidgets
        from IPython.display import display

        self._monitor = monitor
        self._bar = ipywidgets.FloatProgress(max=monitor.seconds)
        self._text = ipywidgets.Label()
        self._image = ipywidgets.Image(format="png", layout={"visibility": "hidden"})
        button = ipywidgets.Button(description=say(TEXTS["stop"]), tooltip=say(TEXTS["tip"]), icon="stop")
        button.on_click(self._stop)
        row = ipywidgets.HBox([button, self._bar, self._text])
        self._box = ipywidgets.VBox([row, self._image])
        self._handle = display(self._box, display_id=True)

    def _stop(self, button: object) -> None:
        self._monitor.stopped = True

    def update(self, left: float) -> None:
        self._bar.value = self._monitor.seconds - left
        self._text.value = say(TEXTS["progress"]).format(step=self._monitor.step, left=left)
        if self._monitor.records:
            self._image.value = _png(self._monitor.figure())
            self._image.layout.visibility = "visible"

    def close(self) -> None:
        from IPython.display import Image

        if self._monitor.records:
            self._handle.update(Image(_png(self._monitor.figure())))
        else:
            self._handle.update({}, raw=True)
        for widget in (*self._box.children[0].children, *self._box.children, self._box):
            widget.close()


def _in_notebook() -> bool:
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _png(figure) -> bytes:
    import matplotlib.pyplot as plt

    data = io.BytesIO()
    figure.savefig(data, format="png", bbox_inches="tight")
    plt.close(figure)
    return data.getvalue()
