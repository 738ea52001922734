"""Positions: by hand, by their defining property, and against Hugging Face where it has the same."""

import math

import pytest
import torch

from llmguide_lib.attention import MultiHeadAttention, attention, causal_mask, fused_attention
from llmguide_lib.positions import LearnedPositions, RelativeBias, RopeScaling, Rotary, SinusoidalPositions

EXACT = {"atol": 1e-12, "rtol": 0}
ROUNDED = {"atol": 1e-5, "rtol": 0}  # angles are float32


def test_sinusoidal_positions_by_hand():
    table = SinusoidalPositions(50, 4)(torch.tensor([0, 3]))
    slow = 3 / 100  # 10000^(2/4) = 100
    expected = [[0, 1, 0, 1], [math.sin(3), math.cos(3), math.sin(slow), math.cos(slow)]]
    torch.testing.assert_close(table, torch.tensor(expected), **EXACT)


def test_a_sinusoidal_shift_is_a_rotation_that_does_not_depend_on_the_place():
    table = SinusoidalPositions(50, 8)(torch.arange(50))
    products = table @ table.T  # dot products depend on the distance alone
    torch.testing.assert_close(products[0, 5], products[30, 35], **EXACT)
    assert products[0, 5] != products[0, 6]


def test_sinusoidal_positions_take_no_place_in_a_checkpoint():
    assert SinusoidalPositions(5, 4).state_dict() == {}


def test_learned_positions_are_rows_of_a_table():
    positions = LearnedPositions(5, 3)
    assert torch.equal(positions(torch.tensor([[4, 0]]))[0, 0], positions.weight[4])


def test_a_rotary_turn_by_hand():
    rotate = Rotary(4, rope_theta=100.0)(torch.tensor([2]), torch.float64)
    x = torch.tensor([1.0, 10.0, 0.0, 0.0]).view(1, 1, 1, 4)
    fast, slow = 2.0, 2.0 / 10  # 100^(-2/4) = 1/10
    expected = [math.cos(fast), 10 * math.cos(slow), math.sin(fast), 10 * math.sin(slow)]
    torch.testing.assert_close(rotate(x).flatten(), torch.tensor(expected), **ROUNDED)


@pytest.mark.parametrize("scaling", [None, RopeScaling(original_max_seq_len=32)])
def test_rotary_products_depend_on_the_distance_alone(scaling):
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    rotary = Rotary(8, scaling=scaling)

    def product(t, s):
        turned = [rotary(torch.tensor([place]), torch.float64)(x) for place, x in ((t, query), (s, key))]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(product(3, 1), product(40, 38), atol=1e-4, rtol=0)
    assert (product(3, 1) - product(3, 2)).abs() > 1e-3
    torch.testing.assert_close(product(7, 7), (query * key).sum(), **ROUNDED)


def test_rotary_keeps_lengths_and_takes_positions_per_text():
    x = torch.randn(2, 3, 5, 8)
    places = torch.stack([torch.arange(5), torch.arange(5) + 9])
    turned = Rotary(8)(places, torch.float64)(x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), **ROUNDED)
    torch.testing.assert_close(turned[1:], Rotary(8)(places[1], torch.float64)(x[1:]), **EXACT)


def test_llama_3_slows_down_long_waves_only():
    scaling = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_seq_len=100)
    short, middle, long = (2 * math.pi / wavelength for wavelength in (20.0, 40.0, 200.0))
    stretched = scaling(torch.tensor([short, middle, long]))
    assert stretched[0] == short and stretched[2] == pytest.approx(long / 8)
    share = (100 / 40 - 1) / 3
    assert stretched[1] == pytest.approx((1 - share) * middle / 8 + share * middle)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_relative_buckets_are_t5s(bidirectional):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: hub)")
    theirs = transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket
    offset = torch.arange(-300, 300)
    bias = RelativeBias(2, 32, 128, bidirectional=bidirectional)
    seen = offset if bidirectional else offset.clamp(max=0)
    expected = theirs(seen, bidirectional=bidirectional, num_buckets=32, max_distance=128)
    assert torch.equal(bias._buckets(offset), expected)


def test_the_bias_depends_on_the_distance_and_reaches_every_head():
    bias = RelativeBias(3, 8, 16)(torch.arange(5), torch.arange(5))
    assert bias.shape == (3, 5, 5)
    assert torch.equal(bias[:, 0, 1], bias[:, 3, 4]) and not torch.equal(bias[:, 0, 1], bias[:, 1, 0])
    query, key, value = (torch.randn(2, 3, 5, 4) for _ in range(3))
    written, fused = (core(query, key, value, causal_mask(5), bias=bias)[0] for core in (attention, fused_attention))
    torch.testing.assert_close(written, fused, **EXACT)
    assert not torch.allclose(written, attention(query, key, value, causal_mask(5))[0])


def test_rotary_attention_notices_order_and_attention_alone_does_not():
    model, x = MultiHeadAttention(16, 2), torch.randn(1, 4, 16)
    order = torch.tensor([2, 0, 3, 1])
    rotate = Rotary(8)(torch.arange(4), torch.float64)
    torch.testing.assert_close(model(x[:, order]), model(x)[:, order], **EXACT)
    assert not torch.allclose(model(x[:, order], rotate=rotate), model(x, rotate=rotate)[:, order])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SinusoidalPositions(0, 4), r"max_seq_len \(0\) must be positive"),
        (lambda: SinusoidalPositions(4, 3), r"d_model \(3\) must be positive and even"),
        (lambda: Rotary(5), r"head_dim \(5\) must be positive and even"),
        (lambda: Rotary(4, rope_theta=-1.0), r"rope_theta \(-1.0\) must be positive"),
        (lambda: RopeScaling(factor=0.0), r"factor \(0.0\) must be positive"),
        (lambda: RopeScaling(high_freq_factor=1.0), r"high_freq_factor \(1.0\) must be larger than low_freq_factor"),
        (lambda: RelativeBias(0), r"num_heads \(0\) must be positive"),
        (lambda: RelativeBias(1, 7), r"num_buckets \(7\) must be a multiple of 2, at least 4"),
        (lambda: RelativeBias(1, 32, 8), r"max_distance \(8\) must be larger than 8"),
    ],
)
def test_bad_input_is_named(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()
