"""Decides a claim of the guide from what was just measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from .session import say

VERDICTS = {"holds": "成立", "holds within limits": "在一定范围内成立", "does not hold here": "在这里不成立"}
MIME = "application/vnd.llmguide.verdict+json"


@dataclass(frozen=True)
class Decision:
    """A claim's verdict, in the notebook's language, and the evidence that it follows from."""

    claim: str
    verdict: str
    evidence: Mapping[str, bool]

    def __str__(self) -> str:
        lines = [f"{self.claim}: {say({'en': self.verdict, 'zh': VERDICTS[self.verdict]})}"]
        return "\n".join(lines + [f"  {'yes' if seen else ' no'}  {name}" for name, seen in self.evidence.items()])

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {"text/plain": str(self), MIME: {"claim": self.claim, "verdict": self.verdict}}


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
    return Decision(claim, verdict, {**supports, **limits})
