"""Four bits a weight: NormalFloat as published, errors within their bounds, beneath LoRA and out of the gradient."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from llmguide_lib import adapters
from llmguide_lib.adapters import NF4, DoRA, FourBitLinear
from llmguide_lib.generation import generate
from llmguide_lib.huggingface import to_hf
from llmguide_lib.models import GPT, GPTConfig, Llama, LlamaConfig

SIZES = {"vocab_size": 32, "max_seq_len": 16, "d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 24}
TOKENS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 0]])
MAPS = ["q_proj", "v_proj", "down_proj"]
EVEN = [level / 7.5 - 1 for level in range(16)]


@pytest.fixture
def llama():
    torch.manual_seed(0)
    made = Llama(LlamaConfig(**SIZES, num_kv_heads=2)).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made


def linear(rows, columns, *, bias=True, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Linear(columns, rows, bias=bias, dtype=dtype)


# -- the levels -------------------------------------------------------------------------------------------------------


def test_the_levels_are_those_of_the_papers_rule_to_its_digits():
    """Appendix E: quantiles of the normal distribution, eight spaces above zero and seven below, stretched to one."""
    edge = 1 - (1 / 32 + 1 / 30) / 2
    below = torch.special.ndtri(torch.linspace(1 - edge, 0.5, 8))[:-1]
    levels = torch.cat([below, torch.special.ndtri(torch.linspace(0.5, edge, 9))])
    torch.testing.assert_close(torch.tensor(NF4), levels / levels.abs().max(), atol=2e-7, rtol=0)


def test_by_hand():
    base = linear(1, 64, bias=False)
    base.weight.data.zero_()
    base.weight.data[0, :5] = torch.tensor([-4.0, 2.0, 1.9, 0.1, 0.5])
    four = FourBitLinear(base)
    assert four.scales.tolist() == [[4]]
    expected = [-4, 4 * 0.44070982933044434, 4 * 0.44070982933044434, 0, 4 * 0.16093020141124725]
    torch.testing.assert_close(four.weight[0, :5], torch.tensor(expected), atol=1e-15, rtol=0)
    assert four.weight[0, 5:].eq(0).all()
    assert [four.codes[0, 0].item(), four.codes[0, 1].item()] == [0 * 16 + 12, 12 * 16 + 7]


# -- what is lost and what is saved -----------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [NF4, EVEN], ids=["normal", "even"])
def test_no_weight_moves_further_than_half_the_gap_around_it(levels):
    base = linear(48, 64)
    four = FourBitLinear(base, levels)
    q = torch.tensor(levels)
    place = torch.searchsorted(q, base.weight.detach() / four.scales, right=True).clamp(1, 15)
    gap = (q[place] - q[place - 1]) * four.scales
    error = (four.weight - base.weight).abs()
    assert (error <= gap / 2 + 1e-15).all() and error.max() > 0
    largest = base.weight.abs().argmax(dim=1, keepdim=True)
    assert torch.equal(four.weight.gather(1, largest), base.weight.gather(1, largest))


def test_normal_weights_lose_less_with_normal_levels():
    base = linear(64, 256)
    nn.init.normal_(base.weight)
    lost = [(FourBitLinear(base, levels).weight - base.weight).square().mean() for levels in (NF4, EVEN)]
    assert lost[0] < 0.9 * lost[1]


@pytest.mark.parametrize("shape", [(3, 5), (1, 64), (7, 64), (13, 29)])
def test_any_shape_is_cut_into_blocks_of_64_and_twice_is_once(shape):
    base = linear(*shape)
    four = FourBitLinear(base)
    num_blocks = math.ceil(math.prod(shape) / 64)
    assert four.weight.shape == shape and four.codes.shape == (num_blocks, 32) and four.scales.shape == (num_blocks, 1)
    assert torch.equal(FourBitLinear(four).weight, four.weight)
    x = torch.rand(2, 3, shape[1])
    torch.testing.assert_close(four(x), F.linear(x, four.weight, base.bias), atol=1e-15, rtol=0)


def test_a_weight_takes_four_and_a_half_bits():
    model = nn.Sequential(linear(128, 256, bias=False, dtype=torch.float32))
    assert adapters.stored_bytes(model) == 4 * 128 * 256
    adapters.quantize(model, ["0"])
    assert adapters.stored_bytes(model) == 4.5 / 8 * 128 * 256


def test_what_is_shared_counts_once():
    model = GPT(GPTConfig(**SIZES))
    assert model.lm_head.weight is model.token_embedding.weight
    assert adapters.stored_bytes(model) == sum(8 * p.numel() for p in model.parameters())


# -- on a model, beneath LoRA -----------------------------------------------------------------------------------------


def rounded(model):
    """A copy whose maps hold the rounded matrices as ordinary weights."""
    plain = copy.deepcopy(model)
    adapters.quantize(plain, MAPS)
    adapters.dequantize(plain)
    return plain


@pytest.mark.parametrize("kind", [adapters.LoRA, DoRA])
def test_lora_learns_above_it_and_gets_the_gradient_of_the_rounded_matrices(llama, kind):
    expected = rounded(llama)
    adapters.quantize(llama, MAPS)
    assert adapters.trainable(llama) == 0 and llama.blocks[1].feed_forward.gate_proj.weight.requires_grad is False
    for model in (llama, expected):
        torch.manual_seed(1)
        adapters.add_lora(model, 2, 4, MAPS, kind=kind)
        for parameter in filter(lambda p: p.requires_grad, model.parameters()):
            parameter.data.add_(torch.rand(parameter.shape) - 0.5)
        model(TOKENS).square().sum().backward()
    torch.testing.assert_close(llama(TOKENS), expected(TOKENS), atol=1e-12, rtol=0)
    learned, wanted = (
        {name: p.grad for name, p in model.named_parameters() if p.grad is not None} for model in (llama, expected)
    )
    assert learned.keys() == wanted.keys() == {name for name, p in llama.named_parameters() if p.requires_grad}
    assert all("lora" in name or "magnitude" in name for name in learned) and len(learned) >= 12
    for name, gradient in wanted.items():
        torch.testing.assert_close(learned[name], gradient, atol=1e-10, rtol=0)


def test_a_bias_may_still_learn():
    four = FourBitLinear(linear(4, 8))
    four(torch.rand(3, 8)).sum().backward()
    assert four.bias.grad.tolist() == [3] * 4


def test_autograd_keeps_no_matrix():
    four, kept = FourBitLinear(linear(48, 64)), []
    x = torch.rand(2, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()), lambda packed: packed):
        F.linear(x, linear(48, 64).weight)
        assert max(kept) == 48 * 64
        kept.clear()
        four(x)
    assert not kept


def test_under_autocast_it_is_as_narrow_as_a_linear_map():
    base = linear(48, 64, dtype=torch.float32)
    four, x = FourBitLinear(base), torch.rand(2, 64, dtype=torch.float32, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = four(x)
        assert y.dtype == base(x).dtype == torch.bfloat16
    y.sum().backward()
    torch.testing.assert_close(x.grad, four.weight.sum(dim=0).expand(2, -1), atol=0.05, rtol=0)


def test_merging_needs_a_whole_matrix(llama):
    names = set(llama.state_dict())
    adapters.quantize(llama, ["v_proj"])
    adapters.add_lora(llama, 2, 4)
    for lora in (block.attention.q_proj for block in llama.blocks):
        nn.init.normal_(lora.lora_B)
    expected = llama(TOKENS)
    with pytest.raises(ValueError, match=r"base is a FourBitLinear, too coarse for a correction: dequantize it first"):
        adapters.merge_lora(llama)
    with pytest.raises(ValueError, match=r"base is a FourBitLinear"):
        llama.blocks[0].attention.v_proj.merge()
    assert not any(block.attention.q_proj.merged for block in llama.blocks)
    adapters.dequantize(llama)
    assert torch.equal(llama(TOKENS), expected)
    adapters.merge_lora(llama)
    torch.testing.assert_close(llama(TOKENS), expected, atol=1e-12, rtol=0)
    adapters.remove_lora(llama)
    torch.testing.assert_close(llama(TOKENS), expected, atol=1e-12, rtol=0)
    assert set(llama.state_dict()) == names


def test_its_state_is_read_again(llama):
    other = copy.deepcopy(llama)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    for model in (llama, other):
        adapters.quantize(model, MAPS)
    assert not torch.equal(other(TOKENS), llama(TOKENS))
    other.load_state_dict(llama.state_dict())
    assert torch.equal(other(TOKENS), llama(TOKENS))
    assert not any(name.endswith(("q_proj.weight", "levels")) for name in llama.state_dict())


def test_corrections_are_saved_and_read_above_it(llama, tmp_path):
    adapters.quantize(llama, MAPS)
    again = copy.deepcopy(llama)
    adapters.add_lora(llama, 2, 4)
    nn.init.normal_(llama.blocks[1].attention.v_proj.lora_B)
    adapters.save_lora(llama, tmp_path)
    adapters.load_lora(again, tmp_path)
    assert torch.equal(again(TOKENS), llama(TOKENS))


def test_it_writes_as_its_rounded_model_does(llama):
    expected = rounded(llama).float()
    adapters.quantize(llama.float(), MAPS)
    assert torch.equal(generate(llama, TOKENS, 6), generate(expected, TOKENS, 6))


def test_maps_of_transformers_too():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=16, n_head=4, n_layer=2, vocab_size=32)).eval()
    weight = model.transformer.h[0].attn.c_attn.weight.detach().clone()
    adapters.quantize(model, ["c_attn"])
    four = model.transformer.h[0].attn.c_attn
    assert isinstance(four, FourBitLinear) and (four.weight - weight.T).abs().max() < 0.16 * weight.abs().max()
    scores = model(TOKENS).logits
    adapters.add_lora(model, 2, 4, ["c_attn"])
    assert torch.equal(model(TOKENS).logits, scores)
    adapters.dequantize(model)
    torch.testing.assert_close(model(TOKENS).logits, scores)
    adapters.remove_lora(model)
    again = transformers.GPT2LMHeadModel(model.config).eval()  # whose Conv1D keeps its matrix the other way round
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(TOKENS).logits, scores)


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: adapters.quantize(m, ["query"]), r"'query' is no part of this model; .*q_proj"),
        (lambda m: adapters.quantize(m, ["norm1"]), r"blocks.0.norm1 is a RMSNorm, it must be a linear map"),
        (lambda m: adapters.quantize(m, "q_proj"), r"targets \('q_proj'\) must be a list of names"),
        (lambda m: adapters.quantize(m, MAPS, NF4[1:]), r"levels \(.*\) must be 16 ascending numbers from -1 to 1"),
        (lambda m: adapters.quantize(m, MAPS, NF4[::-1]), r"levels \(.*\) must be 16 ascending numbers from -1 to 1"),
        (lambda m: adapters.quantize(m, MAPS, [0.0, *NF4[1:]]), r"levels \(.*\) must be 16 ascending numbers"),
        (lambda m: adapters.dequantize(m), r"model \(Llama\) has no FourBitLinear: add it first"),
    ],
)
def test_what_is_wrong_is_said_and_the_model_is_as_before(llama, call, message):
    before = llama(TOKENS)
    with pytest.raises(ValueError, match=message):
        call(llama)
    assert torch.equal(llama(TOKENS), before) and all(p.requires_grad for p in llama.parameters())


def test_a_weight_that_is_not_finite_is_refused():
    for bad in (math.nan, math.inf):
        base = linear(2, 3)
        base.weight.data[1, 2] = bad
        with pytest.raises(ValueError, match="base has a weight that is not finite: its block would lose all others"):
            FourBitLinear(base)


def test_it_comes_before_lora(llama):
    adapters.add_lora(llama, 2, 4)
    with pytest.raises(ValueError, match=r"blocks.0.attention.q_proj has a LoRA already; remove that first"):
        adapters.quantize(llama, ["q_proj"])


def test_theirs_has_no_place_for_it(llama):
    pytest.importorskip("transformers")
    adapters.quantize(llama, ["q_proj"])
    with pytest.raises(ValueError, match=r"model lacks model.layers.0.self_attn.q_proj.weight: merge and remove"):
        to_hf(llama)
    adapters.dequantize(llama)
    adapters.add_lora(llama, 2, 4, ["v_proj"])
    with pytest.raises(ValueError, match=r"model lacks model.layers.0.self_attn.v_proj.weight: merge and remove"):
        to_hf(llama)
