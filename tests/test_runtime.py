"""Device, precision, seeds, memory."""

import random

import pytest
import torch

from llmguide_lib import runtime
from llmguide_lib.layers import FeedForward


def test_the_device_is_one_that_computes():
    assert torch.ones(2, device=runtime.device(), dtype=torch.float32).sum().item() == 2


def test_autocast_computes_in_bfloat16_and_refuses_float16_on_the_cpu():
    cpu = torch.device("cpu")
    a = torch.ones(2, 2, dtype=torch.float32)
    with runtime.autocast(cpu):
        assert (a @ a).dtype == torch.bfloat16
    with runtime.autocast(cpu, torch.float32):
        assert (a @ a).dtype == torch.float32
    with pytest.raises(ValueError, match=r"dtype \(torch.float16\) must be bfloat16 or float32 on the CPU"):
        runtime.autocast(cpu, torch.float16)


def test_a_seed_repeats_python_and_torch():
    drawn = []
    for _ in range(2):
        runtime.seed_everything(3)
        drawn.append((random.random(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    with pytest.raises(ValueError, match=r"seed \(-1\) must not be negative"):
        runtime.seed_everything(-1)


def test_peak_memory_grows_with_what_is_held():
    before = runtime.peak_memory_bytes()
    held = torch.ones(60_000_000, dtype=torch.float64)
    assert held.sum() and (before == 0 or runtime.peak_memory_bytes() - before > 100_000_000)


def test_feed_forward_by_hand_and_bad_sizes():
    layer = FeedForward(2, 3, torch.nn.ReLU(), bias=False)
    with torch.no_grad():
        layer.up_proj.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [-1, 0]]))
        layer.down_proj.weight.copy_(torch.tensor([[1.0, 1, 1], [0, 0, 2]]))
    assert layer(torch.tensor([[[2.0, -3.0], [-1.0, 1.0]]])).tolist() == [[[2.0, 0.0], [2.0, 2.0]]]
    with pytest.raises(ValueError, match=r"d_ff \(0\) must be positive"):
        FeedForward(2, 0)
