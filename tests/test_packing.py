"""Packed models give what they are made from gives, and leave it alone."""

import pytest
import torch
from torch import nn

from llmguide_lib.generation import Conditioned, beam_search, generate
from llmguide_lib.models import GPT, GPTConfig, Llama, LlamaConfig, Seq2SeqConfig, Seq2SeqTransformer
from llmguide_lib.packing import PackedLinear, packed

SIZES = {"vocab_size": 23, "max_seq_len": 40, "d_model": 16, "num_heads": 4}
here = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"), reason="this build of PyTorch has no oneDNN"
)


@pytest.fixture(autouse=True)
def float32():
    torch.set_default_dtype(torch.float32)


def loud(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def gpt():
    return loud(GPT(GPTConfig(**SIZES, num_layers=2)))


def llama():
    return loud(Llama(LlamaConfig(**SIZES, num_layers=2, d_ff=24, num_kv_heads=2)))


def seq2seq():
    model = loud(Seq2SeqTransformer(Seq2SeqConfig(**SIZES, num_encoder_layers=1, num_decoder_layers=2)))
    return Conditioned(model, torch.randint(0, 23, (3, 6)))


def linears(model):
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


@here
@pytest.mark.parametrize("num_rows", [1, 16])
@pytest.mark.parametrize("make", [gpt, llama])
def test_scores_are_the_same_up_to_rounding_whatever_the_number_of_rows(make, num_rows):
    model = make()
    twin = packed(model, num_rows)
    assert all(type(module) is PackedLinear for module in linears(twin))
    for batch in (1, 3):
        tokens = torch.randint(0, 23, (batch, 9))
        with torch.no_grad():
            torch.testing.assert_close(twin(tokens), model(tokens), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [gpt, llama, seq2seq])
def test_long_texts_are_generated_with_packed_maps_and_are_the_same(make, monkeypatch):
    rows = []
    monkeypatch.setattr("llmguide_lib.generation.packed", lambda model, n: rows.append(n) or packed(model, n))
    model, tokens = make(), torch.randint(0, 23, (3, 4))
    assert torch.equal(generate(model, tokens, 20), generate(model, tokens, 20, cache=False))
    one = model.select(torch.tensor([0])) if isinstance(model, Conditioned) else model
    assert torch.equal(beam_search(one, tokens[:1], 20, num_beams=1)[0], generate(one, tokens[:1], 20, cache=False)[0])
    generate(model, tokens, 15)  # too short to be worth it
    assert rows == [3, 1]


def test_the_model_itself_is_not_changed_and_shares_its_weights():
    model = llama()
    names = list(model.state_dict())
    twin = packed(model, 2)
    assert all(type(module) is nn.Linear for module in linears(model)) and list(twin.state_dict()) == names
    assert twin.lm_head.weight is model.lm_head.weight and twin.final_norm.weight is model.final_norm.weight


def test_hooks_work_on_packed_maps_too():
    model, seen = gpt(), []
    twin = packed(model, 1)
    model.blocks[0].feed_forward.up_proj.register_forward_hook(lambda *call: seen.append(call[2].shape))
    twin(torch.tensor([[1, 2]]))
    assert seen == [(1, 2, 64)]


def test_what_cannot_be_packed_stays_as_it_is():
    assert not any(type(module) is PackedLinear for module in linears(packed(gpt().double(), 4)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not any(type(module) is PackedLinear for module in linears(packed(gpt(), 4)))
        assert generate(llama(), torch.tensor([[1, 2]]), 20).shape == (1, 22)
