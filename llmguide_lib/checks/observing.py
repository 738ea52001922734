"""Runs an answer on every case of an exercise and notes what happens, as plain data.

Nothing but strings, numbers, booleans, lists and dictionaries leaves this file, so that judging can
happen in another process: no object of a student decides about itself.
"""

import _thread
import contextlib
import importlib
import io
import signal
import threading
import warnings
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor

from .registry import Case, Exercise, Unusable

LIMIT_SECONDS = 10.0
REPEAT_SECONDS = 0.2
MAX_CHARACTERS = 10_000
MAX_NUMBERS = 10_000
MAX_INTEGER = 2**53


class TooMuchOutput(BaseException):
    """The answer prints without end. Not an Exception, so that the answer's own `except Exception` does not hide it."""


class Forbidden(BaseException):
    """The answer called something that the exercise forbids."""


def observe(exercise: Exercise, answer: object, limit_seconds: float = LIMIT_SECONDS) -> list[dict]:
    """What the answer does on each case; after a run out of time the remaining cases are not tried.

    Each entry holds "kind" ("value", "error", "timeout", "output", "forbidden") and what belongs to it.
    """
    used = _uses_forbidden(exercise, answer)
    if used:
        return [{"kind": "forbidden", "name": used} for _ in exercise.cases]
    observations: list[dict] = []
    for case in exercise.cases:
        seen = _observe_case(exercise, answer, case, limit_seconds)
        observations.append(seen)
        if seen["kind"] == "timeout":
            break
    return observations


def _observe_case(exercise: Exercise, answer: object, case: Case, limit_seconds: float) -> dict:
    arguments = case.arguments()
    before = plain(list(arguments))
    printed = _Capped()
    try:
        with _quiet(printed), _guarded(exercise), time_limit(limit_seconds), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            result = exercise.ask(answer, arguments)
            value = plain(result)
    except Unusable as error:
        return {"kind": "unusable", "says": dict(error.says)}
    except TimeoutError:
        return {"kind": "timeout", "seconds": limit_seconds}
    except TooMuchOutput:
        return {"kind": "output", "characters": MAX_CHARACTERS}
    except Forbidden as error:
        return {"kind": "forbidden", "name": str(error)}
    except KeyboardInterrupt:
        raise  # the reader's own, not the watchdog's
    except BaseException as error:  # SystemExit and whatever else an answer may raise
        told = {"kind": "error", "type": type(error).__name__, "message": str(error)[:300]}
    else:
        told = {"kind": "value", "value": value, "changed": plain(list(arguments)) != before}
    return told | {"printed": printed.text}


def plain(value: object) -> dict | list | float | int | bool | str | None:
    """The value as plain data; exact types only, so a subclass with manners of its own is just a name."""
    kind = type(value)
    if kind is int and abs(value) > MAX_INTEGER:
        return {"type": "int"}  # beyond what can be compared with a float
    if kind in (int, float, bool, str) or value is None:
        return value
    if kind is Tensor or kind is torch.nn.Parameter:
        return _plain_tensor(value)
    if kind is tuple:
        return {"type": "tuple"}
    if kind is list:
        return [plain(entry) for entry in value[:MAX_NUMBERS]]
    return {"type": f"{kind.__module__}.{kind.__qualname__}"}


def _plain_tensor(tensor: Tensor) -> dict:
    seen = {"shape": list(tensor.shape), "dtype": str(tensor.dtype), "device": tensor.device.type}
    if tensor.device.type == "cpu" and tensor.numel() <= MAX_NUMBERS:
        seen["numbers"] = tensor.detach().double().flatten().tolist()
    return {"tensor": seen}


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupts Python code of the main thread after some seconds, and again while it holds on.

    Raises:
        TimeoutError: the time ran out.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    finished, expired, lock = threading.Event(), threading.Event(), threading.Lock()
    # Where interrupts are ignored (nohup, jobs in the background) the watchdog could not interrupt either.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def watch() -> None:
        wait = seconds
        while not finished.wait(wait):
            with lock:
                if not finished.is_set():
                    expired.set()
                    _thread.interrupt_main()
            wait = REPEAT_SECONDS

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        try:
            yield
        finally:
            with lock:
                finished.set()
            watcher.join()
            if ignored:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
    except BaseException as error:
        if expired.is_set():
            raise TimeoutError from error
        raise
    if expired.is_set():
        raise TimeoutError


class _Capped(io.TextIOBase):
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        if len(self.text) + len(text) > MAX_CHARACTERS:
            raise TooMuchOutput
        self.text += text
        return len(text)


@contextlib.contextmanager
def _quiet(printed: _Capped) -> Iterator[None]:
    """Keeps what the answer prints, up to a limit, and swallows its warnings."""
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _guarded(exercise: Exercise) -> Iterator[None]:
    """While the answer runs, the forbidden names are functions that tell on it."""

    def tell(name: str):
        def stand_in(*arguments: object, **named: object) -> None:
            raise Forbidden(name)

        return stand_in

    with contextlib.ExitStack() as stack:
        for name in exercise.forbidden:
            stack.enter_context(mock.patch(name, tell(name)))
        yield


def _uses_forbidden(exercise: Exercise, answer: object) -> str | None:
    """The forbidden function that the answer is, or refers to by a name of its notebook."""
    namespace = getattr(answer, "__globals__", {})
    names = _names(getattr(answer, "__code__", None))
    reached = [answer, *(namespace[name] for name in names if name in namespace)]
    for name in exercise.forbidden:
        module, _, attribute = name.rpartition(".")
        if any(thing is getattr(importlib.import_module(module), attribute) for thing in reached):
            return name
    return None


def _names(code: object) -> set[str]:
    if not hasattr(code, "co_names"):
        return set()
    inner = [constant for constant in code.co_consts if hasattr(constant, "co_names")]
    return set(code.co_names).union(*(_names(constant) for constant in inner))
