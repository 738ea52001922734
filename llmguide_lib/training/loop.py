"""The training loop: one for all models and objectives, that can be stopped at any moment and goes on where it was."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from torch import Tensor, nn

from ..objectives import cross_entropy
from . import state
from .config import TrainConfig
from .engine import Engine
from .parallel import Workers
from .progress import View, current_view
from .records import Records

Loss = Callable[[nn.Module, tuple], Tensor]
Evaluate = Callable[[nn.Module], Mapping[str, float | int]]


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
            which must then be the same (drawn with a seed of their own).
        config: how.
        loss: from model and batch to the sum over the targets, in nats.
        evaluate: from the model, in evaluation mode, to named numbers that are noted before the first step, every
            ``eval_every`` steps and at the end. Nothing that it draws changes the run.
        folder: where the state is kept; None keeps none.
    Returns:
        what was noted. The model is in evaluation mode. An interrupt (Ctrl-C, the notebook's stop button) ends the run
        after the step that is being made; a second one raises KeyboardInterrupt at once.
    Raises:
        ValueError: a batch or a folder that does not fit, or batches that end before the run does.
        FloatingPointError: the loss is no number any more; names the step and the first layer that went wrong.

    Example:
        >>> records = train(model, NextToken(Windows(tokens, 128, 32)), TrainConfig(seconds=60))
        >>> records.plot("loss")
    """
    workers, folder = Workers.here(), None if folder is None else Path(folder)
    with state.claimed(folder, workers), closing(Engine(model, config, loss)) as engine:
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
                    raise ValueError(f"batches ended after step {run.records.step}, before the run did; let them go on")
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
    """The batches of each step, from this step on; those before it are read at once where they must be."""
    first = step * size
    if hasattr(batches, "starting_at"):
        rest = batches.starting_at(first)
    else:
        rest = iter(batches)
        if step and rest is batches:
            raise ValueError(
                f"batches ({type(batches).__name__}) can be read only once, and this run goes on after step {step}: "
                "give a list, or an object whose __iter__ begins anew"
            )
        for _ in islice(rest, first):
            pass
    return iter(lambda: _whole(list(islice(rest, size)), size), [])


def _whole(group: list[tuple], size: int) -> list[tuple]:
    return group if len(group) == size else []


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
