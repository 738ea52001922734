"""Norms and feed-forward layers by hand and against torch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from llmguide_lib.layers import FeedForward, GatedFeedForward, LayerNorm, RMSNorm

EXACT = {"atol": 1e-12, "rtol": 0}


def test_norms_by_hand():
    x = torch.tensor([[1.0, 3.0]])
    torch.testing.assert_close(LayerNorm(2, 1e-15)(x), torch.tensor([[-1.0, 1.0]]))
    torch.testing.assert_close(RMSNorm(2, 1e-15)(x), torch.tensor([[1.0, 3.0]]) / 5**0.5)
    torch.testing.assert_close(RMSNorm(2, 3.0)(x), torch.tensor([[1.0, 3.0]]) / 8**0.5)


@pytest.mark.parametrize(
    ("ours", "torchs", "more"),
    [(LayerNorm, nn.LayerNorm, {}), (LayerNorm, nn.LayerNorm, {"bias": False}), (RMSNorm, nn.RMSNorm, {})],
)
def test_norms_are_torchs(ours, torchs, more):
    mine, theirs, x = ours(7, 1e-3, **more), torchs(7, eps=1e-3, **more), torch.randn(2, 3, 7)
    for parameter in mine.parameters():
        nn.init.normal_(parameter)
    theirs.load_state_dict(mine.state_dict())
    torch.testing.assert_close(mine(x), theirs(x), **EXACT)


def test_a_feed_forward_layer_by_hand():
    layer = FeedForward(1, 2, nn.ReLU())
    layer.load_state_dict(
        {
            "up_proj.weight": torch.tensor([[1.0], [-1.0]]),
            "up_proj.bias": torch.tensor([0.0, 1.0]),
            "down_proj.weight": torch.tensor([[2.0, 3.0]]),
            "down_proj.bias": torch.tensor([0.5]),
        }
    )
    x = torch.tensor([[[2.0], [-2.0]]])
    torch.testing.assert_close(layer(x), torch.tensor([[[2 * 2 + 0.5], [3 * 3 + 0.5]]]))


@pytest.mark.parametrize(("activation", "function"), [(None, F.silu), (nn.GELU(), F.gelu)])
def test_a_gate_multiplies_number_by_number(activation, function):
    layer, x = GatedFeedForward(5, 8, activation), torch.randn(2, 3, 5)
    expected = (function(x @ layer.gate_proj.weight.T) * (x @ layer.up_proj.weight.T)) @ layer.down_proj.weight.T
    torch.testing.assert_close(layer(x), expected, **EXACT)
    assert not [name for name, _ in layer.named_parameters() if "bias" in name]


@pytest.mark.parametrize(
    ("kind", "sizes"), [(FeedForward, (4, 8)), (GatedFeedForward, (4, 8)), (LayerNorm, (4,)), (RMSNorm, (4,))]
)
def test_every_position_is_transformed_alone(kind, sizes):
    layer, x, changed = kind(*sizes), torch.randn(1, 3, 4), torch.randn(1, 1, 4)
    torch.testing.assert_close(layer(torch.cat([x, changed], 1))[:, :3], layer(x), **EXACT)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LayerNorm(0), r"d_model \(0\) must be positive"),
        (lambda: LayerNorm(3, 0.0), r"norm_eps \(0.0\) must be positive"),
        (lambda: RMSNorm(-1), r"d_model \(-1\) must be positive"),
        (lambda: FeedForward(3, 0), r"d_ff \(0\) must be positive"),
        (lambda: GatedFeedForward(0, 3), r"d_model \(0\) must be positive"),
    ],
)
def test_bad_input_is_named(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()
