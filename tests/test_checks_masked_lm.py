"""Chapter 05's checks: right answers of other styles pass, wrong ones that nobody registered do not."""

import math

import pytest
import torch
from torch.nn import functional as F

from llmguide_lib.checks import exercise, judge, observe

HIDE, PSEUDO, DEBUG = (exercise("05_masked_lm", name) for name in ("hide", "pseudo", "debug"))


def verdict(asked, answer):
    return judge(asked, observe(asked, answer))


def hide_by_loops(tokens, draw, fate, others, rate, mask_id, special):
    read, targets = tokens.clone(), torch.full_like(tokens, -100)
    for row in range(tokens.shape[0]):
        for place in range(tokens.shape[1]):
            token = int(tokens[row, place])
            if token in special or draw[row, place] >= rate:
                continue
            targets[row, place] = token
            if fate[row, place] < 0.8:
                read[row, place] = mask_id
            elif fate[row, place] < 0.9:
                read[row, place] = others[row, place]
    return torch.stack((read, targets))


def pseudo_by_loops(model, tokens, mask_id):
    nats = 0.0
    for place, token in enumerate(tokens.tolist()):
        read = tokens.clone()
        read[place] = mask_id
        nats -= math.log(model(read[None])[0, place].softmax(-1)[token])
    return math.exp(nats / len(tokens))


def loss_by_choosing(logits, tokens, read, chosen):
    return F.cross_entropy(logits[chosen], tokens[chosen])


@pytest.mark.parametrize(
    ("asked", "answer"), [(HIDE, hide_by_loops), (PSEUDO, pseudo_by_loops), (DEBUG, loss_by_choosing)]
)
def test_right_answers_of_another_style_pass(asked, answer):
    assert verdict(asked, answer).right


def hide_at_a_fixed_rate(tokens, draw, fate, others, rate, mask_id, special):
    return hide_by_loops(tokens, draw, fate, others, 0.15, mask_id, special)


def hide_the_filling_only(tokens, draw, fate, others, rate, mask_id, special):
    return hide_by_loops(tokens, draw, fate, others, rate, mask_id, special[:1])


def pseudo_of_the_middle(model, tokens, mask_id):
    return pseudo_by_loops(model, tokens[1:-1] if len(tokens) > 2 else tokens, mask_id)


@pytest.mark.parametrize(
    ("asked", "answer"), [(HIDE, hide_at_a_fixed_rate), (HIDE, hide_the_filling_only), (PSEUDO, pseudo_of_the_middle)]
)
def test_unregistered_wrong_answers_are_told_where_they_differ(asked, answer):
    found = verdict(asked, answer)
    assert not found.right and found.misconception is None
    assert found.says["en"] and found.says["zh"] and found.fraction < 1


def test_half_a_mended_loss_earns_half():
    def targets_only(logits, tokens, read, chosen):
        answers = tokens.masked_fill(~chosen, -100).flatten()
        return F.cross_entropy(logits.flatten(0, 1), answers, reduction="none").mean()

    found = verdict(DEBUG, targets_only)
    assert (found.fraction, found.misconception) == (0.5, "mean over all places")
