"""Chapter 09's checks: right answers of other styles pass, wrong ones that nobody registered do not, numbers agree."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from llmguide_lib.adapters import LoRA
from llmguide_lib.checks import exercise, judge, observe
from llmguide_lib.checks.finetuning.measuring import DIFFERENCES, DRAWS, LORA_NUMBERS, A, B
from llmguide_lib.evaluation import paired_permutation, t_interval

COST, LORA, MERGE, DEBUG, RANK, SEEDS = (
    exercise("09_finetuning", name) for name in ("cost", "lora", "merge", "debug", "rank", "seeds")
)


def verdict(asked, answer):
    return judge(asked, observe(asked, answer))


# -- right answers of other styles ------------------------------------------------------------------------------------


def lora_by_library(x, weight, bias, a, b, alpha):
    base = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).double()
    base.weight.data, wrapped = weight, LoRA(base, len(a), alpha).double()
    if bias is not None:
        base.bias.data = bias
    wrapped.lora_A.data, wrapped.lora_B.data = a, b
    return wrapped(x).detach()


def lora_merged(x, weight, bias, a, b, alpha):
    return F.linear(x, weight + (alpha / b.shape[1]) * (b @ a), bias)


def merge_by_loop(weight, adapters):
    total = torch.zeros_like(weight, dtype=torch.float64)
    for a, b, alpha, share in adapters:
        total += torch.einsum("or,ri->oi", b.double(), a.double()) * (share * alpha / a.shape[0])
    return (weight.double() + total).type_as(weight)


class Beside(nn.Module):
    def __init__(self, base, a, b):
        super().__init__()
        self.base, self.a, self.b = base, nn.Parameter(a.clone()), nn.Parameter(b.clone())

    def forward(self, x):
        return self.base(x) + x @ self.a.T @ self.b.T


def trained(model, parameters, x, y, steps):
    optimizer = torch.optim.SGD(parameters, lr=0.2)
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    return model(x).detach()


def frozen_by_leaving_out(model, a, b, x, y, steps):
    model[0] = Beside(model[0], a, b)
    return trained(model, [model[0].a, model[0].b, *model[2].parameters()], x, y, steps)


def frozen_before_wrapping(model, a, b, x, y, steps):
    model[0].requires_grad_(False)
    model[0] = Beside(model[0], a, b)
    return trained(model, [p for p in model.parameters() if p.requires_grad], x, y, steps)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (COST, (106_496, 160, 41.7, 0.43)),
        (LORA, lora_by_library),
        (LORA, lora_merged),
        (MERGE, merge_by_loop),
        (DEBUG, frozen_by_leaving_out),
        (DEBUG, frozen_before_wrapping),
        (RANK, [0.672, 0.257, 0.168, torch.tensor(0.026)]),
        (SEEDS, np.array([1.375, 0.942, 5.296, 0.0234])),
    ],
)
def test_right_answers_of_other_styles_pass(asked, answer):
    assert verdict(asked, answer).right


# -- broken code and mistakes that nobody registered ------------------------------------------------------------------


def handed_out(model, a, b, x, y, steps):
    known = list(model.parameters())
    model[0] = Beside(model[0], a, b)
    return trained(model, known, x, y, steps)


def frozen_with_the_map(model, a, b, x, y, steps):
    model[0] = Beside(model[0], a, b)
    model[0].requires_grad_(False)
    return trained(model, model.parameters(), x, y, steps)


def test_broken_code_as_handed_out_earns_nothing_and_freezing_too_much_is_named():
    found = verdict(DEBUG, handed_out)
    assert (found.fraction, found.misconception) == (0.0, "both bugs left")
    assert verdict(DEBUG, frozen_with_the_map).misconception == "A and B never learn"


def everything_frozen(model, a, b, x, y, steps):
    model[0] = Beside(model[0], a, b)
    model.requires_grad_(False)
    return trained(model, model.parameters(), x, y, steps)


def last_adapter_only(weight, adapters):
    merged = weight
    for a, b, alpha, share in adapters:
        merged = weight + share * alpha / len(a) * b @ a
    return merged.to(weight.dtype)


def adapters_unscaled_and_in_place(weight, adapters):
    for a, b, alpha, share in adapters:
        weight += share * alpha / len(a) * b @ a
    return weight


def lora_by_weights(x, weight, bias, a, b, alpha):
    return x @ weight.T + bias + alpha / len(b) * (x @ a.T @ b.T)


@pytest.mark.parametrize(
    ("asked", "answer", "told"),
    [
        (DEBUG, everything_frozen, "it raises RuntimeError: element 0 of tensors does not require grad"),
        (MERGE, last_adapter_only, "Two adapters of rank 2: at ["),
        (MERGE, adapters_unscaled_and_in_place, "it changes its inputs; work on new tensors"),
        (LORA, lora_by_weights, "Three inputs, rank 2, by hand: at ["),
        (SEEDS, [1.375, 0.94, 5.3, 0.5], "The share of the signs: 0.5 is not right"),
    ],
)
def test_unregistered_wrong_answers_are_told_where_they_differ(asked, answer, told):
    found = verdict(asked, answer)
    assert not found.right and found.misconception is None and told in found.says["en"], found.says


# -- the numbers are those of the library -----------------------------------------------------------------------------


def test_the_numbers_of_lora_are_counted_by_the_library():
    maps = [nn.Linear(512, 512), nn.Linear(512, 128)]
    assert LORA_NUMBERS == 4 * sum(
        lora.lora_A.numel() + lora.lora_B.numel() for lora in (LoRA(m, 16, 16) for m in maps)
    )


def test_intervals_and_signs_are_those_of_the_library():
    mean, reach, _, share = SEEDS.reference
    interval = t_interval(torch.tensor(DIFFERENCES))
    assert (interval.value, interval.high - mean) == pytest.approx((mean, reach), abs=1e-3)
    assert paired_permutation(torch.tensor(A), torch.tensor(B), num_samples=20_000) == pytest.approx(share, abs=4e-3)
    assert DRAWS == 8
