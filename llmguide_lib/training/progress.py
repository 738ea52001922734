"""What is shown while a run goes on: a line of text now and then.

In a notebook, ``llmguide_lib.notebook.start`` puts a live curve with a stop button in its place (``show_with``).
"""

import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO, runtime_checkable

from .records import Records

LINE_SECONDS = 10.0


@runtime_checkable
class View(Protocol):
    """Shows a run; may set ``records.stopped``."""

    def update(self, records: Records, progress: float) -> None:
        """Called after each step with the share of the run that is over."""

    def close(self) -> None:
        """Called once at the end, whatever ended it."""


class Lines:
    """A line every ten seconds: the last values, and how long it will take."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._last = time.monotonic()

    def update(self, records: Records, progress: float) -> None:
        """Writes the line if it is time."""
        if time.monotonic() - self._last < LINE_SECONDS or not records.rows:
            return
        self._last = time.monotonic()
        left = records.seconds * (1 - progress) / max(progress, 1e-9)
        values = ", ".join(f"{name} {value:.4g}" for name, value in records.rows[-1].items() if name != "seconds")
        self.stream.write(f"{progress:4.0%}, {left:.0f} s left: {values}\n")
        self.stream.flush()

    def close(self) -> None:
        """Nothing is left to do."""


_make: Callable[[], View] = Lines


def show_with(make: Callable[[], View]) -> None:
    """From now on runs are shown by what ``make`` returns."""
    global _make
    _make = make


def current_view() -> View:
    """What shows the next run."""
    return _make()
