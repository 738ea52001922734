"""Language models by counting: what followed the last words before. The honest rival of every network."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from .sizes import check_positive


class KneserNey:
    r"""Interpolated Kneser-Ney: a discount from every count pays for a share of the next shorter context.

    .. math:: p_n(w \mid c) = \frac{\max(N(c w) - d, 0) + d\, |\{v : N(c v) > 0\}|\; p_{n-1}(w \mid c')}{\sum_v N(c v)}

    where c' is c without its first token, and :math:`p_0 = 1/V`. For all contexts but the longest, N counts in how
    many different longer contexts a token came, not how often: "Francisco" is frequent, but only after "San".

    Args:
        order: tokens looked at, the predicted one included: 3 is a trigram model.
        vocab_size: number of tokens known.
        discount: taken from each count, between 0 and 1.
    Raises:
        ValueError: a size is not positive, or the discount is not between 0 and 1.
    Source: Chen and Goodman 1999, section 2.7, https://doi.org/10.1006/csla.1999.0128
    """

    def __init__(self, order: int, vocab_size: int, discount: float = 0.85) -> None:
        check_positive(order=order, vocab_size=vocab_size)
        if not 0 < discount < 1:
            raise ValueError(f"discount ({discount}) must be between 0 and 1")
        self.order, self.vocab_size, self.discount = order, vocab_size, discount
        self._followers: list[dict[tuple[int, ...], Counter]] = [defaultdict(Counter) for _ in range(order)]

    def count(self, tokens: Sequence[int]) -> "KneserNey":
        """Counts one text more; returns itself."""
        for place, token in enumerate(tokens):
            for length in range(min(place, self.order - 1), -1, -1):
                followers = self._followers[length][tuple(tokens[place - length : place])]
                followers[token] += 1
                if followers[token] > 1:
                    break  # this longer context is known already: nothing new for the shorter ones
        return self

    def probability(self, context: Sequence[int], token: int) -> float:
        """The probability of a token after a context, of which the last ``order - 1`` tokens are looked at."""
        context = tuple(context[max(0, len(context) - self.order + 1) :])
        probability = 1 / self.vocab_size
        for length in range(len(context) + 1):
            followers = self._followers[length].get(context[len(context) - length :])
            if followers:
                kept = max(followers[token] - self.discount, 0)
                probability = (kept + self.discount * len(followers) * probability) / followers.total()
        return probability
