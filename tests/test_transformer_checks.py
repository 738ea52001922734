"""Exercises of chapter 04: right answers in other styles pass, broken code as handed out earns nothing."""

import pytest
import torch
from torch.nn import functional as F

from llmguide_lib.checks import exercise, judge, observe
from llmguide_lib.notebook import start

CHAPTER = "04_transformer"


@pytest.fixture(autouse=True)
def _chapter():
    start(CHAPTER)


def verdict(name, answer):
    asked = exercise(CHAPTER, name)
    return judge(asked, observe(asked, answer))


def by_var(x, weight, bias, eps):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return torch.addcmul(bias, (x - mean) * torch.rsqrt(variance + eps), weight)


def by_moments(x, weight, bias, eps):
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / ((x - mean) ** 2).mean(-1, keepdim=True).add(eps) ** 0.5 * weight + bias


def by_loop(x, source, attend, cross, feed, norms):
    for norm, sublayer in zip(norms, (attend, lambda y: cross(y, source), feed), strict=True):
        x = sublayer(norm(x)) + x
    return x


def by_sigmoid(x, weight, w_gate, w_up, w_down):
    y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight
    gate = y @ w_gate
    return x + (gate * gate.sigmoid() * (y @ w_up)) @ w_down


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("layer_norm", by_var),
        ("layer_norm", by_moments),
        ("decoder_block", by_loop),
        ("swiglu", by_sigmoid),
        ("norms", (1.4142, 1.633, 1.1547)),
        ("counts", [960, 3520, 24]),
        ("measure", [0.6663, 3.0, torch.tensor(0.497)]),
    ],
)
def test_right_answers_in_other_styles_pass(name, answer):
    assert verdict(name, answer).right


def test_broken_code_as_handed_out_earns_nothing():
    def stub(x, weight, w_gate, w_up, w_down):
        y = F.rms_norm(x, (x.shape[-1],), weight, 1e-6)
        return y + F.silu((y @ w_gate) * (y @ w_up)) @ w_down

    found = verdict("swiglu", stub)
    assert (found.fraction, found.misconception) == (0.0, "both bugs left")


def test_a_layer_norm_of_pytorch_is_refused():
    found = verdict("layer_norm", lambda x, weight, bias, eps: F.layer_norm(x, x.shape[-1:], weight, bias, eps))
    assert not found.right and "layer_norm" in found.says["en"]


def test_a_block_that_changes_the_stream_in_place_is_told_so():
    def block(x, source, attend, cross, feed, norms):
        x += attend(norms[0](x))
        x += cross(norms[1](x), source)
        return x + feed(norms[2](x))

    assert verdict("decoder_block", block).says["en"].endswith("it changes its inputs; work on new tensors")
