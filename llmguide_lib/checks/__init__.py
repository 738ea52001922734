"""Checks of exercises: one engine for the notebook (`check`), for grading (`marks`) and for its own tests."""

import html

from ..notebook import session
from .judging import Verdict, judge
from .observing import observe
from .registry import Case, Exercise, Misconception, exercise, exercises

SHOWN_CHARACTERS = 1000

__all__ = [
    "Case",
    "Exercise",
    "Misconception",
    "Verdict",
    "check",
    "exercise",
    "exercises",
    "judge",
    "marks",
    "observe",
]


def check(name: str, answer: object) -> None:
    """Says whether an answer is right, or which mistake it is, in the notebook's language. Carries no points.

    Args:
        name: the exercise, of the chapter that the notebook started.
        answer: the function or the list of values asked for.
    Raises:
        ValueError: the chapter has no exercise of this name.
    """
    asked = exercise(session.chapter() or "", name)
    from IPython.display import display

    observations = observe(asked, answer)
    printed = next((seen["printed"] for seen in observations if seen.get("printed")), "")
    display(_Shown(judge(asked, observations), printed))


def marks(name: str, answer: object) -> float:
    """The points of an answer, a bare number; prints nothing.

    Raises:
        ValueError: the chapter has no exercise of this name.
    """
    asked = exercise(session.chapter() or "", name)
    try:
        fraction = judge(asked, observe(asked, answer)).fraction
    except Exception:  # whatever an answer brings about, it must not earn marks by breaking the judge
        fraction = 0.0
    return float(asked.points * fraction)


class _Shown:
    """A verdict on the page: a mark, a sentence, the hint, and what the answer printed on the first input."""

    def __init__(self, verdict: Verdict, printed: str = "") -> None:
        self._printed = printed[:SHOWN_CHARACTERS]
        self._mark = "✔" if verdict.right else "✘"
        self._says = session.say(verdict.says)
        self._hint = session.say(verdict.hint) if verdict.hint else ""
        self._colour = "#2e7d32" if verdict.right else "#c62828"

    def __repr__(self) -> str:
        between = session.say({"en": " ", "zh": ""})  # no blank follows a full-width stop
        return f"{self._mark} " + between.join(filter(None, [self._says, self._hint, self._printed]))

    def _repr_html_(self) -> str:
        hint = f"<br>{html.escape(self._hint)}" if self._hint else ""
        style = f"border-left:4px solid {self._colour};padding:4px 10px"
        printed = f"<pre>{html.escape(self._printed)}</pre>" if self._printed else ""
        return f'<div role="status" style="{style}">{self._mark} {html.escape(self._says)}{hint}{printed}</div>'
