"""What an exercise is: a reference, the inputs that tell answers apart, and the well-known wrong answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module

import numpy as np
from torch import Tensor

Texts = Mapping[str, str]  # {"en": ..., "zh": ...}

# In place of where a mistake was met: its chapter's author expects it, and nobody has made it yet.
NOT_MET = "expected, not met yet"
# What numpy's functions return, of which a list of numbers may consist.
NUMPY_NUMBERS = (np.float64, np.float32, np.int64)
# The parts of a function's marks; a later one counts only if the earlier ones are right.
LAYERS = {"hand": 0.25, "general": 0.5, "edge": 0.25}
CHAPTERS = {
    "03_attention": "attention",
    "04_transformer": "transformer",
    "05_masked_lm": "masked_lm",
    "06_causal_lm": "causal_lm",
    "09_finetuning": "finetuning",
}


@dataclass(frozen=True)
class Misconception:
    """A well-known wrong answer that runs. It diagnoses students and it tests the check.

    Attributes:
        name: short name.
        wrong: behaves as the exercise's answer does for somebody who makes this mistake.
        says: which mistake it is.
        hint: what to look at.
        seen: where it was met.
    """

    name: str
    wrong: object
    says: Texts
    hint: Texts
    seen: str


@dataclass(frozen=True)
class Case:
    """One input. ``layer`` is a name of ``LAYERS``, or any other name for a value that counts alone."""

    layer: str
    name: Texts
    arguments: Callable[[], tuple]


class Unusable(Exception):
    """An answer that cannot even be asked; says why."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.says: Texts = {"en": en, "zh": zh}


def call(answer: object, arguments: tuple) -> object:
    """How an answer that is a function is asked."""
    if not callable(answer):
        name = type(answer).__name__
        raise Unusable(
            f"the check needs the function itself and got {name}: give its name, without parentheses",
            f"检查需要函数本身，得到的却是 {name}：写函数名，后面不加括号",
        )
    return answer(*arguments)


def entry(answer: object, arguments: tuple) -> object:
    """How an answer that is a list of numbers is asked: for one of them. Tuples, tensors and arrays will do."""
    numbers = answer.tolist() if type(answer) in (Tensor, np.ndarray) else answer
    numbers = list(numbers) if type(numbers) is tuple else numbers
    if type(numbers) is not list:
        name = type(answer).__name__
        raise Unusable(f"a list of numbers is expected, not {name}", f"应当是一个由数组成的列表，而不是 {name}")
    if arguments[0] >= len(numbers):
        raise Unusable(f"the list ends after {len(numbers)} entries", f"列表只有 {len(numbers)} 项，少了")
    number = numbers[arguments[0]]
    if number is ...:
        raise NotImplementedError
    single = type(number) in NUMPY_NUMBERS or (type(number) is Tensor and number.numel() == 1)
    return number.item() if single else number


@dataclass(frozen=True, eq=False)
class Exercise:
    """An exercise as the engine sees it.

    Attributes:
        name, points: as in the chapter's exercises.py.
        reference: a right answer.
        cases: inputs, in the order in which a student should get them right.
        misconceptions: wrong answers to be recognised.
        ask: how the answer is asked for a case: ``call`` or ``entry``.
        forbidden: dotted names of functions that the answer may not use.
        tolerance: how far a number may be off.
    """

    name: str
    points: float | int
    reference: object
    cases: tuple[Case, ...]
    misconceptions: tuple[Misconception, ...]
    ask: Callable[[object, tuple], object] = call
    forbidden: tuple[str, ...] = ()
    tolerance: float = 1e-6  # a root taken in float32 is still right
    shares: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        layers = list(dict.fromkeys(case.layer for case in self.cases))
        known = {layer: LAYERS[layer] for layer in layers if layer in LAYERS}
        parts = known or dict.fromkeys(layers, 1.0)
        total = sum(parts.values())
        object.__setattr__(self, "shares", {layer: part / total for layer, part in parts.items()})


def exercises(chapter: str) -> tuple[Exercise, ...]:
    """All exercises of a chapter.

    Raises:
        ValueError: the chapter has none.
    """
    if chapter not in CHAPTERS:
        raise ValueError(f"chapter ({chapter!r}) must be one with exercises: {', '.join(CHAPTERS)}")
    return import_module(f".{CHAPTERS[chapter]}", __package__).EXERCISES


def exercise(chapter: str, name: str) -> Exercise:
    """The exercise of this name.

    Raises:
        ValueError: the chapter has no exercise of this name.
    """
    found = {entry.name: entry for entry in exercises(chapter)}
    if name not in found:
        raise ValueError(f"name ({name!r}) must be an exercise of {chapter}: {', '.join(found)}")
    return found[name]
