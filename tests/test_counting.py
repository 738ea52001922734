"""Counting by hand."""

import pytest

from llmguide_lib.counting import KneserNey


def test_a_bigram_model_by_hand():
    model = KneserNey(2, vocab_size=4, discount=0.5).count([0, 1, 0, 1, 0, 2])
    # Followers: nothing before -> 0 (start, after 1), 1 (after 0), 2 (after 0); 0 -> 1, 1, 2; 1 -> 0, 0.
    alone = {0: (2 - 0.5 + 1.5 / 4) / 4, 1: (1 - 0.5 + 1.5 / 4) / 4, 2: (1 - 0.5 + 1.5 / 4) / 4, 3: 1.5 / 4 / 4}
    for token, expected in alone.items():
        assert model.probability([], token) == pytest.approx(expected)
    after_zero = {1: (2 - 0.5 + 1.0 * alone[1]) / 3, 2: (1 - 0.5 + 1.0 * alone[2]) / 3, 3: 1.0 * alone[3] / 3}
    for token, expected in after_zero.items():
        assert model.probability([3, 0], token) == pytest.approx(expected)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_add_up_to_one_after_any_context(order):
    model = KneserNey(order, vocab_size=7).count([0, 1, 2, 1, 2, 3, 1, 2, 0, 5] * 3)
    for context in ([], [1], [1, 2], [6, 6, 6], [2, 1, 2]):
        assert sum(model.probability(context, token) for token in range(7)) == pytest.approx(1)


def test_a_shorter_context_counts_contexts_and_not_occurrences():
    model = KneserNey(2, vocab_size=10).count([1, 9] * 20 + [2, 8, 3, 8, 4, 8])
    assert model.probability([7], 8) > model.probability([7], 9)  # 9 came often, but only after 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 3), r"order \(0\) must be positive"),
        ((2, 0), r"vocab_size \(0\) must be positive"),
        ((2, 3, 1.0), r"discount \(1.0\) must be between 0 and 1"),
    ],
)
def test_bad_input_is_named(sizes, message, unchecked):
    with pytest.raises(ValueError, match=message):
        KneserNey(*sizes)
