"""Attention by hand, against torch, and its two paths against each other."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from llmguide_lib.attention import (
    KVCache,
    MultiHeadAttention,
    attention,
    causal_attention,
    causal_mask,
    fused_attention,
    padding_mask,
    prefix_mask,
    sliding_window_mask,
)

B, T, D, H = 4, 5, 16, 4  # as many texts as heads, so that a mask on the wrong axis is noticed
EXACT = {"atol": 1e-12, "rtol": 0}


def module(num_kv_heads=None, **options):
    made = MultiHeadAttention(D, H, num_kv_heads, **options)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made


def every_mask(num_queries=T, num_keys=T):
    lengths = torch.tensor([num_keys, 3, 1, 0])
    generator = torch.Generator().manual_seed(1)
    free = torch.rand(B, H, num_queries, num_keys, generator=generator) < 0.5
    free[0, 0, 0] = False  # a fully masked row
    causal = causal_mask(num_queries, num_keys)
    return {
        "none": None,
        "causal": causal,
        "padding": padding_mask(lengths, num_keys),
        "both": causal & padding_mask(lengths, num_keys),
        "per head": free,
    }


MASKS = list(every_mask())

# -- by hand ----------------------------------------------------------------------------------------------------------


def test_one_query_by_hand():
    query = torch.tensor([[2.0, 0, 0, 0]])
    key = torch.tensor([[1.0, 1, 0, 0], [0, 0, 3, 0], [-1, 0, 0, 2]])
    value = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    output, weights = attention(query, key, value)
    total = math.e + 1 + 1 / math.e
    torch.testing.assert_close(weights, torch.tensor([[math.e, 1, 1 / math.e]]) / total, **EXACT)
    torch.testing.assert_close(output, torch.tensor([[math.e + 1 / math.e, 1 + 1 / math.e]]) / total, **EXACT)


def test_causal_masks_by_hand():
    assert causal_mask(3).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert causal_mask(2, 4).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_sliding_windows_by_hand():
    rows = sliding_window_mask(4, 2).int().tolist()
    assert rows == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert (causal_mask(4) & sliding_window_mask(4, 3)).sum(dim=-1).tolist() == [1, 2, 3, 3]
    assert torch.equal(sliding_window_mask(2, 3, 6), sliding_window_mask(6, 3)[4:])


def test_padding_and_causal_combine_per_text():
    mask = causal_mask(2) & padding_mask(torch.tensor([1, 2]), 2)
    assert mask.int().tolist() == [[[1, 0], [1, 0]], [[1, 0], [1, 1]]]


# -- against torch ----------------------------------------------------------------------------------------------------


def test_equal_to_torchs_function_with_leading_dimensions_that_broadcast():
    query, key, value = torch.randn(2, 3, T, 8), torch.randn(3, 7, 8), torch.randn(2, 1, 7, 5)
    expected = F.scaled_dot_product_attention(query, key.expand(2, 3, 7, 8), value.expand(2, 3, 7, 5))
    torch.testing.assert_close(attention(query, key, value)[0], expected, **EXACT)


def test_bias_and_scale_are_torchs():
    query, key, value, bias = torch.randn(T, 8), torch.randn(7, 8), torch.randn(7, 8), torch.randn(T, 7)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=0.3)
    for core in (attention, fused_attention):
        torch.testing.assert_close(core(query, key, value, bias=bias, scale=0.3)[0], expected, **EXACT)


@pytest.mark.parametrize("masked", [False, True])
def test_equal_to_torchs_module_with_weights_copied(masked):
    mine, theirs = module(), nn.MultiheadAttention(D, H, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([mine.q_proj.weight, mine.k_proj.weight, mine.v_proj.weight]))
        theirs.in_proj_bias.copy_(torch.cat([mine.q_proj.bias, mine.k_proj.bias, mine.v_proj.bias]))
        theirs.out_proj.load_state_dict(mine.out_proj.state_dict())
    x, context = torch.randn(B, T, D), torch.randn(B, 7, D)
    mask = padding_mask(torch.tensor([7, 3, 1, 5]), 7) if masked else None
    expected, weights = theirs(
        x, context, context, key_padding_mask=~mask[:, 0] if masked else None, average_attn_weights=False
    )
    torch.testing.assert_close(mine(x, context, mask), expected, **EXACT)
    torch.testing.assert_close(mine.weights(x, context, mask), weights, **EXACT)


# -- the two paths ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_kv_heads", [None, 2, 1])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_written_out_and_fused_agree_forward_and_backward(num_kv_heads, cached, name):
    fused = module(num_kv_heads)
    written = MultiHeadAttention(D, H, num_kv_heads, core=attention)
    written.load_state_dict(fused.state_dict())
    past, x = torch.randn(B, 3, D), torch.randn(B, T, D)
    results = []
    for model in (written, fused):
        cache = KVCache(1, 8) if cached else None
        if cached:
            with torch.no_grad():
                model(past, cache=cache)
        mask = every_mask(T, T + 3 if cached else T)[name]
        seen = x.clone().requires_grad_()
        output = model(seen, mask=mask, cache=cache)
        output.square().sum().backward()
        results.append([output, seen.grad, *(parameter.grad for parameter in model.parameters())])
        assert all(torch.isfinite(tensor).all() for tensor in results[-1])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, atol=1e-12, rtol=1e-12)


def test_a_fully_masked_row_gives_zeros_and_no_gradient_in_both_paths():
    mask = torch.ones(T, T, dtype=torch.bool)
    mask[2] = False
    for core in (attention, fused_attention):
        query, key, value = (torch.randn(T, 8, requires_grad=True) for _ in range(3))
        output, weights = core(query, key, value, mask)
        assert output[2].eq(0).all() and (weights is None or weights[2].eq(0).all())
        output.sum().backward()
        assert query.grad[2].eq(0).all() and torch.isfinite(key.grad).all() and torch.isfinite(value.grad).all()


def test_a_masked_bias_gives_zeros_in_both_paths():
    query, key, value, bias = torch.randn(T, 8), torch.randn(T, 8), torch.randn(T, 8), torch.randn(T, T)
    mask = causal_mask(T).clone()
    mask[0] = False
    outputs = [core(query, key, value, mask, bias=bias)[0] for core in (attention, fused_attention)]
    assert outputs[0][0].eq(0).all()
    torch.testing.assert_close(*outputs, **EXACT)


# -- what must not matter, and what must ------------------------------------------------------------------------------


def test_future_tokens_cannot_change_the_past():
    model, x = module(), torch.randn(B, T, D)
    changed = x.clone()
    changed[:, 3] += 1
    before, after = model(x, mask=causal_mask(T)), model(changed, mask=causal_mask(T))
    assert torch.equal(before[:, :3], after[:, :3]) and not torch.allclose(before[:, 3:], after[:, 3:])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_change_real_rows(side):
    model, x = module(), torch.randn(1, 3, D)
    noise = torch.randn(1, 2, D)
    padded = torch.cat([noise, x] if side == "left" else [x, noise], dim=1)
    real = torch.tensor([[[0, 0, 1, 1, 1] if side == "left" else [1, 1, 1, 0, 0]]]).bool()
    rows = slice(2, 5) if side == "left" else slice(0, 3)
    torch.testing.assert_close(model(padded, mask=real)[:, rows], model(x), **EXACT)


def test_a_mask_with_three_axes_is_per_text_even_with_as_many_texts_as_heads():
    model, x = module(), torch.randn(B, T, D)
    mask = padding_mask(torch.tensor([5, 3, 1, 2]), T)
    alone = torch.cat([model(x[place : place + 1], mask=mask[place : place + 1]) for place in range(B)])
    torch.testing.assert_close(model(x, mask=mask), alone, **EXACT)


def test_reordering_the_words_reorders_the_outputs():
    model, x, order = module(), torch.randn(1, T, D), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(model(x[:, order]), model(x)[:, order], **EXACT)


def test_inputs_that_are_not_contiguous():
    query, key, value = (torch.randn(8, T).mT for _ in range(3))
    expected = attention(query.contiguous(), key.contiguous(), value.contiguous())[0]
    torch.testing.assert_close(attention(query, key, value)[0], expected, **EXACT)


@pytest.mark.parametrize("num_kv_heads", [None, 2])
def test_cached_equals_uncached_at_every_step(num_kv_heads):
    first, second, x = module(num_kv_heads), module(num_kv_heads), torch.randn(B, T, D)
    expected = second(first(x, mask=causal_mask(T)), mask=causal_mask(T))
    cache = KVCache(num_layers=2, max_seq_len=T)
    for step in range(T):
        assert cache.length == step
        now = first(x[:, step : step + 1], cache=cache, layer=0)
        now = second(now, cache=cache, layer=1)
        torch.testing.assert_close(now[:, 0], expected[:, step], **EXACT)
    cache.reset()
    assert cache.length == 0


def test_a_context_is_projected_once_for_all_tokens_and_serves_every_text():
    asking, x, context = module(2), torch.randn(B, T, D), torch.randn(1, 7, D)
    expected, cache, projected = asking(x, context.expand(B, -1, -1)), KVCache(1, T), []
    asking.k_proj.register_forward_hook(lambda *call: projected.append(call))
    asking(x[:1, :1], context, cache=cache)
    cache.select(torch.zeros(B, dtype=torch.long))
    for step in range(T):
        now = asking(x[:, step : step + 1], context.expand(B, -1, -1), cache=cache)
        torch.testing.assert_close(now[:, 0], expected[:, step], **EXACT)
    assert len(projected) == 1


def test_kept_sources_follow_the_texts_that_are_selected_and_are_not_taken_for_others(unchecked):
    asking, x, context, cache = module(), torch.randn(B, 1, D), torch.randn(B, 7, D), KVCache(1, T)
    asking(x, context, cache=cache)
    rows = torch.tensor([2, 0, 2, 1])
    cache.select(rows)
    torch.testing.assert_close(asking(x, context[rows], cache=cache), asking(x, context[rows]), **EXACT)
    with pytest.raises(ValueError, match=r"context has 6 positions, the cache's 7: reset it first"):
        asking(x, context[:, :6], cache=cache)
    cache.reset()
    asking(x, context[:, :6], cache=cache)


def test_grouped_heads_are_read_alike_by_all_cores():
    query, key, value = torch.randn(B, 6, T, 4), torch.randn(B, 2, T, 4), torch.randn(B, 2, T, 4)
    wide = [tensor.repeat_interleave(3, dim=1) for tensor in (key, value)]
    for core in (attention, fused_attention, causal_attention):
        torch.testing.assert_close(core(query, key, value)[0], core(query, *wide)[0], **EXACT)


def test_a_grouped_head_reads_its_own_key_value_head():
    grouped, full = module(2), module()
    with torch.no_grad():
        for name in ("k_proj", "v_proj"):
            for part in ("weight", "bias"):
                small = getattr(getattr(grouped, name), part).unflatten(0, (2, 4))
                getattr(getattr(full, name), part).copy_(small.repeat_interleave(2, dim=0).flatten(0, 1))
        full.q_proj, full.out_proj = grouped.q_proj, grouped.out_proj
    x = torch.randn(B, T, D)
    torch.testing.assert_close(grouped(x), full(x), **EXACT)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.parametrize("name", MASKS)
def test_a_gpu_agrees_with_the_cpu_in_float64(name):
    model, x, mask = module(2), torch.randn(B, T, D), every_mask()[name]
    expected = model(x, mask=mask)
    there = model.cuda()(x.cuda(), mask=None if mask is None else mask.cuda())
    torch.testing.assert_close(there.cpu(), expected, atol=1e-10, rtol=0)


def test_dropout_only_in_training():
    model, x = module(dropout=0.5), torch.randn(B, T, D)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("num_queries", [T, 2, 1])
@pytest.mark.parametrize("name", MASKS)
def test_the_causal_core_is_the_fused_one_with_a_causal_mask(name, num_queries):
    mask = every_mask()[name]
    mask = mask if mask is None or mask.shape[-2] == 1 else mask[..., -num_queries:, :]
    query, key, value = torch.randn(B, H, num_queries, 4), torch.randn(B, H, T, 4), torch.randn(B, H, T, 3)
    past = causal_mask(num_queries, T)
    mask = mask[:, None] if mask is not None and mask.ndim == 3 else mask
    expected = attention(query, key, value, past if mask is None else past & mask)[0]
    torch.testing.assert_close(causal_attention(query, key, value, mask)[0], expected, **EXACT)


@pytest.mark.parametrize("core", [attention, fused_attention, causal_attention])
def test_the_weights_that_are_looked_at_are_those_that_are_used(core):
    model, x = module(2, core=core), torch.randn(B, T, D)
    weights = model.weights(x, mask=padding_mask(torch.tensor([5, 4, 3, 5]), T))
    value = model._split(model.v_proj(x), 2).repeat_interleave(2, dim=1)
    output = model.out_proj((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(output, model(x, mask=padding_mask(torch.tensor([5, 4, 3, 5]), T)), **EXACT)
    assert (weights.triu(1).abs().sum() == 0) == (core is causal_attention)


def test_a_prefix_is_read_in_both_directions():
    rows = (causal_mask(3) | prefix_mask(torch.tensor([2, 0]), 3)).int().tolist()
    assert rows == [[[1, 1, 0], [1, 1, 0], [1, 1, 1]], [[1, 0, 0], [1, 1, 0], [1, 1, 1]]]


# -- bad input --------------------------------------------------------------------------------------------------------

Z = torch.zeros
FULL = KVCache(1, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: attention(Z(2, 2), Z(2, 2), Z(2, 2), Z(2, 2)), r"mask has dtype torch.float64, it must be boolean"),
        (lambda: causal_mask(0), r"num_queries \(0\) must be positive"),
        (lambda: causal_mask(3, 2), r"num_keys \(2\) must be at least num_queries \(3\)"),
        (lambda: sliding_window_mask(3, 0), r"window \(0\) must be positive"),
        (lambda: padding_mask(torch.tensor([4]), 3), r"lengths \(\[4\]\) must be between 0 and num_keys \(3\)"),
        (lambda: attention(Z(2, 3), Z(2, 4), Z(2, 4)), r"query \(2, 3\) and key \(2, 4\) must have the same last"),
        (lambda: attention(Z(2, 3), Z(4, 3), Z(5, 3)), r"key \(4, 3\) and value \(5, 3\) must have the same number"),
        (lambda: attention(Z(2, 3), Z(4, 3), Z(4, 3), causal_mask(3)), r"mask \(3, 3\) must end in \(T, S\)"),
        (lambda: attention(Z(1, 4, 2, 3), Z(1, 3, 2, 3), Z(1, 3, 2, 3)), r"query has 4 heads, no multiple of the 3 of"),
        (lambda: module()(Z(B, T, D), Z(B, T, D), rotate=lambda x: x), r"rotate turns by positions in one text; a con"),
        (lambda: MultiHeadAttention(10, 4), r"d_model \(10\) must be a multiple of num_heads \(4\)"),
        (lambda: MultiHeadAttention(8, 4, head_dim=0), r"head_dim \(0\) must be positive"),
        (lambda: MultiHeadAttention(8, 4, 3), r"num_heads \(4\) must be a multiple of num_kv_heads \(3\)"),
        (lambda: module()(Z(B, T, D), mask=Z(1, 1, 1, T, T).bool()), r"mask \(1, 1, 1, 5, 5\) must have the shape"),
        (lambda: KVCache(0, 3), r"num_layers \(0\) must be positive"),
        (lambda: KVCache(1, 0), r"max_seq_len \(0\) must be positive"),
        (lambda: FULL.append(1, Z(1, 1, 1, 1), Z(1, 1, 1, 1)), r"layer \(1\) must be below num_layers \(1\)"),
        (lambda: FULL.append(0, Z(1, 1, 3, 1), Z(1, 1, 3, 1)), r"3 tokens do not fit: max_seq_len of this cache is 2"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()


def test_keys_of_another_model_do_not_enter_a_cache():
    cache = KVCache(1, 4)
    cache.append(0, Z(1, 2, 1, 4), Z(1, 2, 1, 4))
    with pytest.raises(ValueError, match=r"key \(1, 3, 1, 4\) torch.float64 does not belong to this cache"):
        cache.append(0, Z(1, 3, 1, 4), Z(1, 3, 1, 4))
    with pytest.raises(ValueError, match=r"key \(1, 2, 1, 4\) torch.float32 does not belong to this cache"):
        cache.append(0, Z(1, 2, 1, 4).float(), Z(1, 2, 1, 4))


def test_importing_costs_little_more_than_torch():
    code = (
        "import time; import torch; began = time.perf_counter(); import llmguide_lib.attention; "
        "print(time.perf_counter() - began)"
    )
    seconds = [float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(3)]
    assert min(seconds) < 0.2
