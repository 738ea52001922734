"""How the learning rate rises and falls: a factor for each step, times the optimizer's own learning rate.

A schedule is asked with the number of the step and with the share of the run that is over, between 0 and 1.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class _Warmup:
    """What all schedules share: the first steps are smaller.

    Raises:
        ValueError: ``warmup_steps`` is negative.
    """

    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) must not be negative")

    def __call__(self, step: int, progress: float | int) -> float:
        """The factor of a step (counted from 0)."""
        return min(1.0, (step + 1) / (self.warmup_steps + 1)) * self._after(step, progress)

    def _after(self, step: int, progress: float | int) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Constant(_Warmup):
    """The same factor all along."""


@dataclass(frozen=True, kw_only=True)
class Cosine(_Warmup):
    """Half a wave of the cosine from 1 down to ``floor``.

    Source: Loshchilov and Hutter 2017, equation 5, https://arxiv.org/abs/1608.03983
    """

    floor: float | int = 0.0

    def _after(self, step: int, progress: float | int) -> float:
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(_Warmup):
    """The full rate until a last share ``decay`` of the run, in which it falls to 0 in a straight line.

    Until then nothing depends on how long the run will be: it can be made longer, or ended at any point.

    Raises:
        ValueError: ``decay`` is not between 0 and 1.
    Source: Hu et al. 2024, section 4, https://arxiv.org/abs/2404.06395
    """

    decay: float | int = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay ({self.decay}) must be above 0 and at most 1")

    def _after(self, step: int, progress: float | int) -> float:
        return min(1.0, max(0.0, 1 - progress) / self.decay)


@dataclass(frozen=True, kw_only=True)
class InverseSquareRoot(_Warmup):
    """Falls with the square root of the step after the warm-up, as in the first Transformer.

    Source: Vaswani et al. 2017, equation 3, https://arxiv.org/abs/1706.03762
    """

    warmup_steps: int = 4000

    def _after(self, step: int, progress: float | int) -> float:
        return min(1.0, ((self.warmup_steps + 1) / (step + 1)) ** 0.5)
