"""What the reader sees while a loop runs: progress, time left, a stop button, the curve so far."""

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..training.progress import Lines
from ..training.records import Records
from .session import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REDRAW_SECONDS = 1.0
TEXTS = {
    "stop": {"en": "Stop", "zh": "停止"},
    "tip": {
        "en": "Stops after this step and keeps what was learned. The notebook's own stop button does the same.",
        "zh": "这一步之后停下，保留已经学到的结果。笔记本自带的停止按钮也一样。",
    },
    "progress": {"en": "step {step} · {left:.0f} s left", "zh": "第 {step} 步 · 还剩 {left:.0f} 秒"},
}


class LiveCurve:
    """A bar, a stop button and a curve in the output of the running cell; at the end a still picture of the curve.

    Args:
        stop: called when the reader presses the button.
        figure: draws the curve; None while there is nothing to draw.
    """

    def __init__(self, stop: Callable[[], None], figure: Callable[[], "Figure | None"]) -> None:
        import ipywidgets
        from IPython.display import display

        self._figure, self._drawn = figure, time.perf_counter()
        self._bar = ipywidgets.FloatProgress(max=1.0)
        self._text = ipywidgets.Label()
        self._image = ipywidgets.Image(format="png", layout={"visibility": "hidden"})
        button = ipywidgets.Button(description=say(TEXTS["stop"]), tooltip=say(TEXTS["tip"]), icon="stop")
        button.on_click(lambda _: stop())
        row = ipywidgets.HBox([button, self._bar, self._text])
        self._box = ipywidgets.VBox([row, self._image])
        self._handle = display(self._box, display_id=True)

    def update(self, step: int, progress: float, seconds_left: float) -> None:
        """Draws anew if the last drawing is a second old."""
        if time.perf_counter() - self._drawn < REDRAW_SECONDS:
            return
        self._bar.value = progress
        self._text.value = say(TEXTS["progress"]).format(step=step, left=seconds_left)
        if picture := self._picture():
            self._image.value = picture
            self._image.layout.visibility = "visible"
        self._drawn = time.perf_counter()

    def close(self) -> None:
        """Leaves a still picture."""
        from IPython.display import Image

        if picture := self._picture():
            self._handle.update(Image(picture))
        else:
            self._handle.update({}, raw=True)
        for widget in (*self._box.children[0].children, *self._box.children, self._box):
            widget.close()

    def _picture(self) -> bytes | None:
        import matplotlib.pyplot as plt

        figure = self._figure()
        if figure is None:
            return None
        data = io.BytesIO()
        figure.savefig(data, format="png", bbox_inches="tight")
        plt.close(figure)
        return data.getvalue()


class TrainingView:
    """Shows ``training.train`` in a notebook (see ``training.progress.View``)."""

    def __init__(self) -> None:
        self._curve: LiveCurve | None = None

    def update(self, records: Records, progress: float) -> None:
        """Called after each step."""
        if self._curve is None:
            self._curve = LiveCurve(lambda: setattr(records, "stopped", True), lambda: _losses(records))
        left = records.seconds * (1 - progress) / max(progress, 1e-9)
        self._curve.update(records.step, min(progress, 1.0), max(left, 0.0))

    def close(self) -> None:
        """Called once at the end."""
        if self._curve is not None:
            self._curve.close()


def training_view() -> TrainingView | Lines:
    """A live view in a notebook, lines of text elsewhere."""
    return TrainingView() if in_notebook() else Lines()


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this."""
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _losses(records: Records) -> "Figure | None":
    return records.plot("loss") if any("loss" in row for row in records.rows) else None
