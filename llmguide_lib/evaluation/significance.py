"""What may be concluded from figures: intervals, and tests of whether one system is better than another.

Shape letters: N items (or seeds).

An interval says how far a figure can be trusted for other items of the same kind. A p-value is the probability of a
difference at least as large as the one seen if both systems were equally good. Everything is repeatable by its seed.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .inputs import check_paired

Statistic = Callable[[Int[Tensor, "N"]], float | Tensor]


class Interval(NamedTuple):
    """A figure, and the ends of the interval around it."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Statistic, num_items: int, *, level: float = 0.95, num_samples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile interval of any figure of a corpus, from corpora drawn with replacement from its items.

    It is a little too narrow for few items (below 30 or so).

    Args:
        statistic: from the places of the chosen items to the figure, such as
            ``lambda rows: bleu([outputs[row] for row in rows], [references[row] for row in rows])``.
        num_items: how many there are.
        level: how often such intervals hold the true figure.
        num_samples: corpora drawn.
        seed: of the draws.
    Raises:
        ValueError: fewer than two items, no samples, or a level that is not between 0 and 1.
    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13
    """
    _check_level(level)
    drawn = _resampled(statistic, num_items, num_samples, seed)
    ends = drawn.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return Interval(float(statistic(torch.arange(num_items))), *ends)


def bootstrap_mean(
    scores: Float[Tensor, "N"], *, level: float = 0.95, num_samples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile interval of a mean over items; of the difference of two systems if given the items' differences."""
    scores = scores.double().cpu()
    return bootstrap(lambda rows: scores[rows].mean(), len(scores), level=level, num_samples=num_samples, seed=seed)


def paired_bootstrap(difference: Statistic, num_items: int, *, num_samples: int = 2000, seed: int = 0) -> float:
    """p-value for a difference of two systems on the same items: twice the share of corpora in which it turns round.

    Args:
        difference: from the places of the chosen items to the first system's figure minus the second one's.
        num_items, num_samples, seed: as in ``bootstrap``.
    Raises:
        ValueError: fewer than two items, or no samples.
    Source: Koehn 2004, https://aclanthology.org/W04-3250 (who counts one side only)
    """
    drawn = _resampled(difference, num_items, num_samples, seed)
    turned = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (turned + 1) / (num_samples + 1))


def paired_permutation(
    scores: Float[Tensor, "N"], others: Float[Tensor, "N"], *, num_samples: int = 2000, seed: int = 0
) -> float:
    """p-value for the difference of two means over the same items, by swapping the systems' scores at random.

    Were both equally good, each item's difference could as well have had the other sign.

    Raises:
        ValueError: fewer than two items, no samples, or the lengths differ.
    """
    check_paired(scores=scores, others=others)
    _check_sampling(len(scores), num_samples)
    differences, generator = (scores - others).double().cpu(), torch.Generator().manual_seed(seed)
    signs = (torch.randint(2, (len(scores),), generator=generator) * 2 - 1 for _ in range(num_samples))
    drawn = torch.stack([(sign * differences).sum().abs() for sign in signs])
    seen = differences.sum().abs() - 1e-9 * differences.abs().sum()  # sums in another order differ by rounding
    return (int((drawn >= seen).sum()) + 1) / (num_samples + 1)


def mcnemar(right: Bool[Tensor, "N"], other_right: Bool[Tensor, "N"]) -> float:
    """Exact p-value for two classifiers on the same items; only items that just one of them gets right count.

    Were both equally good, each such item would be a throw of a coin.

    Raises:
        ValueError: no items, or the lengths differ.
    Source: McNemar 1947, https://doi.org/10.1007/BF02295996
    """
    check_paired(right=right, other_right=other_right)
    first, second = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    throws = first + second
    return min(1.0, 2 * sum(math.comb(throws, k) for k in range(min(first, second) + 1)) / 2**throws)


def t_interval(values: Float[Tensor, "N"], level: float = 0.95) -> Interval:
    """Interval of the mean of a few runs, such as those with different seeds, taken to be spread normally.

    Raises:
        ValueError: fewer than two values, or a level that is not between 0 and 1.
    """
    _check_level(level)
    if len(values) < 2:
        raise ValueError(f"values ({len(values)}) must be at least two: one run says nothing about the spread")
    values = values.double()
    mean, error = values.mean().item(), values.std().item() / math.sqrt(len(values))
    reach = _t_bound(level, len(values) - 1) * error
    return Interval(mean, mean - reach, mean + reach)


def _t_bound(level: float, degrees: int) -> float:
    """What Student's |t| stays below with this probability.

    For t = sqrt(degrees) tan(angle) the density of the angle is proportional to cos(angle)^(degrees - 1).
    """
    angles = torch.linspace(0, math.pi / 2, 200_001, dtype=torch.float64)
    area = torch.cumulative_trapezoid(angles.cos() ** (degrees - 1), dx=angles[1].item())
    area = nn.functional.pad(area, (1, 0))  # nothing before the first angle
    place = int(torch.searchsorted(area, level * area[-1])) - 1
    part = (level * area[-1] - area[place]) / (area[place + 1] - area[place])
    return math.sqrt(degrees) * math.tan(angles[place] + part * angles[1])


def _resampled(statistic: Statistic, num_items: int, num_samples: int, seed: int) -> Float[Tensor, "S"]:
    _check_sampling(num_items, num_samples)
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randint(num_items, (num_items,), generator=generator) for _ in range(num_samples))
    return torch.tensor([float(statistic(rows)) for rows in draws], dtype=torch.float64)


def _check_sampling(num_items: int, num_samples: int) -> None:
    if num_items < 2:
        raise ValueError(f"items ({num_items}) must be at least two: one says nothing about the spread")
    if num_samples < 1:
        raise ValueError(f"num_samples ({num_samples}) must be positive")


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level ({level}) must be between 0 and 1")
