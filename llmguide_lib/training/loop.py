"""The training loop: one for all models and objectives, that can be stopped at any moment and goes on where it was."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice, takewhile
from pathlib import Path

from torch import Tensor, nn

from ..objectives import cross_entropy
from . import state
from .config import TrainConfig
from .engine import Engine, checked
from .parallel import Workers
from .progress import View, current_view
from .records import Records

Loss = Callable[[nn.Module, tuple], Tensor]
Evaluate = Callable[[nn.Module], Mapping[str, float | int]]
READABLE = "give a list of at least one, or an object whose __iter__ begins anew"


@state.drawing_apart()
def train(
    model: nn.Module,
    batches: Iterable[tuple],
    config: TrainConfig,
    *,
    loss: Loss = cross_entropy,
    evaluate: Evaluate | None = None,
    folder: str | os.PathLike | None = None,
) -> Records:
    """Trains a model in place.

    With a folder the run's state is saved there now and then, when it is interrupted and at the end; called again with
    the same arguments, it goes on from there, to the bit as if it had never been interrupted (with ``steps``; how many
    steps fit into ``seconds`` is another matter). Under ``torchrun`` all processes call it.

    Args:
        model: on the device where it shall be trained.
        batches: named tuples of tensors with a field ``targets`` (see ``objectives``), on the CPU. If it has a method
            ``starting_at``, a run that goes on asks it for the batch it needs; else it reads the earlier ones again,
            which must then be the same (drawn with a seed of their own). A list, and whatever else can be read again,
            begins anew when it ends.
        config: how.
        loss: from model and batch to the sum over the targets, in nats.
        evaluate: from the model, in evaluation mode, to named numbers that are noted before the first step, every
            ``eval_every`` steps and at the end. Nothing that it draws changes the run.
        folder: where the state is kept; None keeps none.
    Returns:
        what was noted. The model is in evaluation mode, and the random numbers outside are where they were. An
        interrupt (Ctrl-C, the notebook's stop button) ends the run after the step that is being made; a second one
        raises KeyboardInterrupt at once.
    Raises:
        ValueError: a batch that does not fit, the folder of a run with another model, first batch, loss or config, or
            batches that end before the run does and cannot begin anew.
        FloatingPointError: the loss is no number any more; names the step and the first layer that went wrong.

    Example:
        >>> records = train(model, NextToken(Windows(tokens, 128, 32)), TrainConfig(seconds=60))
        >>> records.plot("loss")
    """
    workers, folder = Workers.here(), None if folder is None else Path(folder)
    facts = _beginning(batches)
    with state.claimed(folder, workers), closing(Engine(model, config, loss, facts)) as engine:
        run = Run(engine, config, evaluate, folder)
        groups = _groups(batches, run.records.step, config.accumulate)
        view = current_view()
        try:
            with _interrupts_stop(run.records):
                run.begin()
                for micro_batches in groups:
                    if run.over():
                        break
                    run.step(micro_batches)
                    run.show(view)
                if not run.over():
                    ended = f"batches ended after step {run.records.step}, before the run did, and cannot begin anew"
                    raise ValueError(f"{ended}: {READABLE}")
                run.finish()
        finally:
            view.close()
    return run.records


class Run:
    """A run between two steps: what it has noted, and what is due now."""

    def __init__(self, engine: Engine, config: TrainConfig, evaluate: Evaluate | None, folder: Path | None) -> None:
        self.engine, self.config, self.folder = engine, config, folder
        self._evaluate = evaluate
        self._learned: dict[str, float] = {}
        self.records = (folder and engine.restore(folder)) or Records()
        self._saved_step = self.records.step
        self.records.stopped = False
        self._clock = time.perf_counter()

    def progress(self) -> float:
        """The share of the run that is over."""
        return self.config.progress(self.records.step, self.records.seconds)

    def over(self) -> bool:
        """Whether nothing is left to do."""
        self.records.stopped = self.engine.workers.agree(float(self.records.stopped)) > 0
        return self.records.stopped or self.progress() >= 1

    def step(self, micro_batches: list[tuple]) -> None:
        """One optimizer step, and what is due after it."""
        loaded = time.perf_counter()
        factor = self.config.schedule(self.records.step, self.progress())
        loss, targets, norm = self.engine.step(micro_batches, factor, self.records.step)
        now = time.perf_counter()
        self.records.loading_seconds += loaded - self._clock
        self.records.seconds += self.engine.workers.agree(now - self._clock)
        self.records.step += 1
        self.records.targets += targets
        self.records.losses.append(loss)
        self._learned = {"lr_factor": factor, "gradient_norm": norm}
        if self._due(self.config.log_every):
            self._note_loss()
        if self.over():
            return  # the rest is done when the run is finished
        if self._due(self.config.eval_every):
            self._note_evaluation()
        if self._due(self.config.save_every):
            self._save()

    def show(self, view: View) -> None:
        """What the reader sees; the time that it takes is not the run's."""
        view.update(self.records, self.progress())
        self._clock = time.perf_counter()

    def begin(self) -> None:
        """Evaluates the model before its first step."""
        if self.records.step == 0:
            self._note_evaluation()
        self._clock = time.perf_counter()

    def finish(self) -> None:
        """The last state, and at the end of the run the last evaluation; the model takes its mean weights, if any."""
        if self._saved_step != self.records.step:
            self._save()
        if self.progress() >= 1 and not self.records.finished:
            self._note_loss()
            self._note_evaluation()
            self.records.finished = True
            self._save()
        self.engine.finish()

    def _due(self, every: int | None) -> bool:
        return every is not None and self.records.step % every == 0

    def _note_loss(self) -> None:
        """The mean loss since the last time, where there was a step since."""
        if losses := self.records.losses:
            self.records.note(loss=sum(losses) / len(losses), **self._learned)
            losses.clear()

    def _note_evaluation(self) -> None:
        if self._evaluate is not None:
            self.records.note(**self.engine.evaluate(self._evaluate))

    def _save(self) -> None:
        if self.folder is not None:
            self.engine.save(self.folder, self.records)
            self._saved_step = self.records.step


def _groups(batches: Iterable[tuple], step: int, size: int) -> Iterator[list[tuple]]:
    """The batches of each step, from this step on; a last group that is not whole is left out."""
    if step and _once(batches):
        once = f"batches ({type(batches).__name__}) can be read only once, and this run goes on after step {step}"
        raise ValueError(f"{once}: {READABLE}")
    rest = _from(batches, step * size)
    return takewhile(lambda group: len(group) == size, iter(lambda: list(islice(rest, size)), []))


def _from(batches: Iterable[tuple], number: int) -> Iterator[tuple]:
    """The batches from this one on; those before it are read again where they must be."""
    if hasattr(batches, "starting_at"):
        return iter(batches.starting_at(number))
    return islice(_epochs(batches), number, None)


def _epochs(batches: Iterable[tuple]) -> Iterator[tuple]:
    batch = ()
    while batch is not None:  # until it holds none (any more)
        batch = None
        for batch in batches:
            yield batch


def _once(batches: Iterable[tuple]) -> bool:
    return not hasattr(batches, "starting_at") and isinstance(batches, Iterator)


def _beginning(batches: Iterable[tuple]) -> dict[str, str]:
    """What tells these batches from others, where that can be looked at without using one up."""
    first = None if _once(batches) else next(_from(batches, 0), None)
    if first is None:
        return {}
    values = [None if part is None else part.tolist() for part in checked(first)]
    return {"first batch": f"{type(batches).__name__} {hashlib.sha256(repr(values).encode()).hexdigest()[:12]}"}


@contextmanager
def _interrupts_stop(records: Records) -> Iterator[None]:
    """An interrupt lets the step end first: half a step would not be the same when it is made again."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals arrive elsewhere
        return

    def stop(number: int, frame: object) -> None:
        if records.stopped:
            raise KeyboardInterrupt
        records.stopped = True

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
