"""Decides a claim of the guide from what was just measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from .session import say

VERDICTS = {"holds": "成立", "holds within limits": "在一定范围内成立", "does not hold here": "在这里不成立"}
ROWS = {"  yes  ": "  是  ", "   no  ": "  否  ", "  limits:": "  局限："}  # how the lines below the verdict begin
MIME = "application/vnd.llmguide.verdict+json"


@dataclass(frozen=True)
class Decision:
    """A claim's verdict and what it follows from, shown in the notebook's language."""

    claim: str
    verdict: str
    supports: Mapping[str, bool]
    limits: Mapping[str, bool]

    def __str__(self) -> str:
        supports, limits = (
            [f"  {'yes' if seen else ' no'}  {name}" for name, seen in rows.items()]
            for rows in (self.supports, self.limits)
        )
        heading = ["  limits:"] if limits else []
        english = "\n".join([f"{self.claim}: {self.verdict}", *supports, *heading, *limits])
        return say({"en": english, "zh": in_chinese(english)})

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {"text/plain": str(self), MIME: {"claim": self.claim, "verdict": self.verdict}}


def in_chinese(shown: str) -> str:
    """A decision as it is shown in English, with everything in Chinese but the names of the observations."""
    first, *rows = shown.split("\n")
    claim, verdict = first.split(": ", 1)
    for at, row in enumerate(rows):
        begins = next((english for english in ROWS if row.startswith(english)), None)
        if begins is not None:
            rows[at] = ROWS[begins] + row.removeprefix(begins)
    return "\n".join([f"{claim}: {VERDICTS[verdict]}", *rows])


def decide(claim: str, supports: Mapping[str, bool], limits: Mapping[str, bool] | None = None) -> Decision:
    """The verdict on a claim: it holds if everything that it needs was seen, within limits if a limit was seen too.

    Args:
        claim: id of the claim in the guide, such as "2.1c".
        supports: what must be seen for the claim to hold; short names.
        limits: what, if seen, limits the claim; short names.
    Raises:
        ValueError: ``supports`` is empty.
    """
    if not supports:
        raise ValueError(f"supports of claim {claim!r} must name at least one observation")
    limits = dict(limits or {})
    if not all(supports.values()):
        verdict = "does not hold here"
    else:
        verdict = "holds within limits" if any(limits.values()) else "holds"
    return Decision(claim, verdict, dict(supports), limits)
