"""Adapters change nothing before training, train little, come off without a trace, and LoRA is peft's."""

import copy
import json
import math

import pytest
import safetensors.torch
import torch
from torch import nn

from llmguide_lib import adapters
from llmguide_lib.adapters import DoRA, LoRA, PrefixTuned, PromptTuned
from llmguide_lib.huggingface import lora_to_hf, to_hf
from llmguide_lib.models import BERT, GPT, BERTConfig, GPTConfig, Llama, LlamaConfig
from llmguide_lib.objectives import Batch, cross_entropy

SIZES = {"vocab_size": 32, "max_seq_len": 16, "d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 24}
MODELS = {
    "gpt": lambda: GPT(GPTConfig(**SIZES)),
    "llama": lambda: Llama(LlamaConfig(**SIZES, num_kv_heads=2)),
    "bert": lambda: BERT(BERTConfig(**SIZES)),
}
TOKENS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 0]])
ADD = {
    "LoRA": lambda model: adapters.add_lora(model, 2, 4),
    "DoRA": lambda model: adapters.add_lora(model, 2, 4, kind=DoRA),
    "Bottleneck": lambda model: adapters.add_bottlenecks(model, 3, ["out_proj"]),
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    made = MODELS[request.param]()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made.eval()


@pytest.fixture
def llama():
    torch.manual_seed(0)
    return MODELS["llama"]().eval()


def scores(model, tokens=TOKENS):
    found = model(tokens)
    found = found[0] if isinstance(found, tuple) else found  # BERT answers two questions
    return getattr(found, "logits", found)


def shake(model):
    """As if the adapters had been trained."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.rand(parameter.shape) - 0.5)


# -- every kind -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ADD)
def test_an_adapter_changes_nothing_before_training_and_is_all_that_learns(model, kind):
    before, count = scores(model), sum(p.numel() for p in model.parameters())
    ADD[kind](model)
    torch.testing.assert_close(scores(model), before, atol=1e-12, rtol=0)
    added = sum(p.numel() for p in model.parameters()) - count
    assert adapters.trainable(model) == added > 0
    scores(model).square().sum().backward()
    learning = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learning == {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any(".base." in name for name in learning)


@pytest.mark.parametrize("kind", ADD)
def test_removed_it_leaves_the_model_as_it_was(model, kind):
    before, names = scores(model), set(model.state_dict())
    ADD[kind](model)
    shake(model)
    assert (scores(model) - before).abs().max() > 1e-3
    (adapters.remove_bottlenecks if kind == "Bottleneck" else adapters.remove_lora)(model)
    assert torch.equal(scores(model), before) and set(model.state_dict()) == names
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("kind", ["LoRA", "DoRA"])
def test_merged_it_is_the_same_model_and_unmerged_the_weights_are_back_to_the_last_bit(model, kind):
    ADD[kind](model)
    shake(model)
    with_adapter, weights = scores(model), copy.deepcopy(model.state_dict())
    adapters.merge_lora(model)
    torch.testing.assert_close(scores(model), with_adapter, atol=1e-12, rtol=0)
    adapters.unmerge_lora(model)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    adapters.merge_lora(model)
    adapters.remove_lora(model)
    torch.testing.assert_close(scores(model), with_adapter, atol=1e-12, rtol=0)
    assert not any("lora" in name for name in model.state_dict())


@pytest.mark.parametrize("kind", ["LoRA", "DoRA"])
def test_merged_a_map_has_the_same_weight_and_its_state_cannot_be_mistaken(llama, kind):
    ADD[kind](llama)
    shake(llama)
    plain, state, corrected = copy.deepcopy(llama), llama.state_dict(), llama.blocks[0].attention.q_proj
    weight, correction = corrected.weight().detach(), corrected.correction().detach()
    torch.testing.assert_close(weight - corrected.base.weight, correction)
    adapters.merge_lora(llama)
    torch.testing.assert_close(corrected.weight().detach(), weight)
    torch.testing.assert_close(corrected.correction().detach(), correction)
    for use in (llama.state_dict, lambda: llama.load_state_dict(state)):
        with pytest.raises(ValueError, match="its LoRA is merged into the weights; unmerge it, or remove it"):
            use()
    adapters.unmerge_lora(llama)
    llama.load_state_dict(plain.state_dict())
    assert torch.equal(scores(llama), scores(plain))


def test_dora_leaves_a_row_of_zeros_as_it_is():
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].weight.data[1] = 0
    before = model(torch.ones(1, 4))
    adapters.add_lora(model, 2, 4, ["0"], kind=DoRA)
    torch.testing.assert_close(model(torch.ones(1, 4)), before)
    shake(model)
    model(torch.ones(1, 4)).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    torch.testing.assert_close(model(torch.eye(4)), torch.eye(4) @ model[0].weight().T + model[0].base.bias)


def test_lora_by_hand():
    base = nn.Linear(2, 2, bias=False)
    base.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    lora = LoRA(base, rank=1, alpha=2)
    lora.lora_A.data, lora.lora_B.data = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [0.0]])
    assert lora.correction().tolist() == [[6, 12], [0, 0]]
    assert lora(torch.tensor([1.0, 1.0])).tolist() == [19, 1]


def test_an_adapter_is_made_in_the_type_and_the_mode_of_its_map(llama):
    llama.to(torch.bfloat16).train()
    adapters.add_lora(llama, 2, 4, dropout=0.5)
    lora = llama.blocks[0].attention.q_proj
    assert lora.lora_A.dtype == torch.bfloat16 and lora.training
    lora.eval()
    x = torch.rand(3, 16, dtype=torch.bfloat16)
    assert torch.equal(lora(x), lora(x))


QUIET = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft's business

# -- equal to peft ----------------------------------------------------------------------------------------------------


def theirs(family):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 32}
    if family == "llama":
        config = transformers.LlamaConfig(**sizes, intermediate_size=24, num_key_value_heads=2)
        made = transformers.LlamaForCausalLM(config)
    else:
        made = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=16, n_head=4, n_layer=2, vocab_size=32))
    torch.manual_seed(1)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made.double().eval()


@QUIET
@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
@pytest.mark.parametrize(("family", "target"), [("llama", "v_proj"), ("gpt2", "c_attn")])
def test_equal_to_peft_in_scores_and_gradients_and_files_both_ways(family, target, dora, tmp_path):
    peft = pytest.importorskip("peft")
    ours, plain = theirs(family), theirs(family)
    adapters.add_lora(ours, 3, 5, [target], kind=DoRA if dora else LoRA)
    shake(ours)
    adapters.save_lora(ours, tmp_path / "ours")
    other = peft.PeftModel.from_pretrained(plain, tmp_path / "ours", is_trainable=True)
    torch.testing.assert_close(scores(other), scores(ours), atol=1e-10, rtol=0)

    for model in (ours, other):
        scores(model).square().sum().backward()
    gradients = {name: p.grad for name, p in other.named_parameters() if p.grad is not None}
    expected = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert len(gradients) == len(expected) == 2 * (3 if dora else 2)
    for name, gradient in expected.items():
        path, _, last = name.rpartition(".")
        key = {"magnitude": "lora_magnitude_vector.default.weight"}.get(last, f"{last}.default.weight")
        torch.testing.assert_close(gradients[f"base_model.model.{path}.{key}"], gradient, atol=1e-10, rtol=0)

    other.save_pretrained(tmp_path / "theirs")
    again = theirs(family)
    adapters.load_lora(again, tmp_path / "theirs")
    assert torch.equal(scores(again), scores(ours))


@QUIET
def test_lora_of_our_model_goes_to_peft_through_to_hf(llama, tmp_path):
    peft = pytest.importorskip("peft")
    plain = to_hf(llama)
    adapters.add_lora(llama, 2, 4, ["q_proj", "down_proj"])
    shake(llama)
    adapters.save_lora(lora_to_hf(llama), tmp_path)
    loaded = peft.PeftModel.from_pretrained(plain, tmp_path)
    adapters.merge_lora(llama)
    adapters.remove_lora(llama)
    torch.testing.assert_close(scores(loaded), scores(to_hf(llama)), atol=1e-10, rtol=0)


def test_only_the_corrections_are_saved(llama, tmp_path):
    adapters.add_lora(llama, 2, 4)
    shake(llama)
    adapters.save_lora(llama, tmp_path)
    numbers = 2 * (2 * (16 + 16) + 2 * (16 + 8))
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < numbers * 8 + 1500
    again = MODELS["llama"]().eval()
    again.load_state_dict(
        {name.replace(".base", ""): t for name, t in llama.state_dict().items() if "lora" not in name}
    )
    adapters.load_lora(again, tmp_path)
    assert torch.equal(scores(again), scores(llama))


# -- learned beginnings -----------------------------------------------------------------------------------------------


def test_a_prompt_of_real_embeddings_is_that_text(model):
    prompted = PromptTuned(model, 3)
    before = torch.tensor([[7, 8, 9]])
    prompted.prompt.data = model.token_embedding.weight[before[0]].detach().clone()
    expected = model.hidden(torch.cat([before.expand(2, -1), TOKENS], dim=1))[:, 3:]
    torch.testing.assert_close(prompted.hidden(TOKENS), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("family", ["gpt", "llama"])
def test_a_prefix_of_a_real_text_is_that_text(family):
    torch.manual_seed(0)
    model = MODELS[family]().eval()
    torch.manual_seed(0)
    tuned = PrefixTuned(model, 3)
    torch.manual_seed(0)  # the same draw
    before = torch.randint(32, (1, 3))
    expected = model(torch.cat([before.expand(2, -1), TOKENS], dim=1))[:, 3:]
    torch.testing.assert_close(tuned(TOKENS), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", [PromptTuned, PrefixTuned])
def test_a_beginning_learns_and_the_model_does_not(llama, kind):
    for parameter in llama.parameters():
        nn.init.normal_(parameter, std=0.2)
    tuned, weights = kind(llama, 4), copy.deepcopy(llama.state_dict())
    batch = Batch(TOKENS, TOKENS.roll(-1, dims=1), torch.ones_like(TOKENS, dtype=torch.bool))
    optimizer = torch.optim.Adam([p for p in tuned.parameters() if p.requires_grad], lr=0.3)
    losses = []
    for _ in range(40):
        loss = cross_entropy(tuned, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    assert all(torch.equal(weights[name], tensor) for name, tensor in llama.state_dict().items())


def test_a_beginning_respects_the_mask(llama):
    mask = torch.tensor([[True] * 5, [False, False, True, True, True]])
    other = torch.where(mask, TOKENS, 31 - TOKENS)
    for tuned in (PromptTuned(llama, 2), PrefixTuned(llama, 2)):
        torch.testing.assert_close(tuned(TOKENS, mask)[mask], tuned(other, mask)[mask], atol=1e-12, rtol=0)


# -- what learns, and how fast ----------------------------------------------------------------------------------------


def test_freeze_by_pattern(llama):
    adapters.freeze(llama, ["token_embedding.*", "blocks.0.*"])
    learning = {name for name, p in llama.named_parameters() if p.requires_grad}
    assert learning == {n for n, _ in llama.named_parameters() if not n.startswith(("token_embedding", "blocks.0."))}
    adapters.freeze(llama)
    assert adapters.trainable(llama) == 0


@pytest.mark.parametrize("theirs_too", [False, True])
def test_layers_learn_slower_the_deeper_they_lie(llama, theirs_too):
    model = theirs("llama") if theirs_too else llama
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {names[id(group["params"][0])]: group["lr"] for group in adapters.layerwise(model, 0.1, 0.5)}
    word = "layers" if theirs_too else "blocks"
    by_depth = {
        part: {r for name, r in rates.items() if part in name} for part in ("embed", f"{word}.0.", f"{word}.1.")
    }
    assert by_depth == {"embed": {0.025}, f"{word}.0.": {0.05}, f"{word}.1.": {0.1}}
    assert rates["lm_head.weight"] == 0.1 and len(rates) == len(names)


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: adapters.add_lora(m, 0, 1), r"rank \(0\) must be positive"),
        (lambda m: adapters.add_lora(m, 9, 1), r"rank \(9\) must not exceed the matrix's \(8, 16\)"),
        (lambda m: adapters.add_lora(m, 2, 0), r"alpha \(0\) must be positive and finite"),
        (lambda m: adapters.add_lora(m, 2, math.inf), r"alpha \(inf\) must be positive and finite"),
        (lambda m: adapters.add_lora(m, 2, 1, dropout=1), r"dropout \(1\) must be at least 0 and less than 1"),
        (lambda m: adapters.add_lora(m, 2, 1, ["query"]), r"'query' is no part of this model; .*q_proj"),
        (lambda m: adapters.add_lora(m, 2, 1, ["norm1"]), r"blocks.0.norm1 is a RMSNorm, it must be a linear map"),
        (lambda m: adapters.add_lora(m, 2, 1, "q_proj"), r"targets \('q_proj'\) must be a list of names"),
        (lambda m: adapters.add_lora(m, 2, 1, []), r"targets \(\[\]\) must name at least one linear map"),
        (lambda m: adapters.add_bottlenecks(m, 0), r"size \(0\) must be positive"),
        (lambda m: adapters.merge_lora(m), r"model \(Llama\) has no LoRA: add it first"),
        (lambda m: adapters.remove_lora(m), r"model \(Llama\) has no LoRA: add it first"),
        (lambda m: adapters.remove_bottlenecks(m), r"model \(Llama\) has no Bottleneck: add it first"),
        (lambda m: adapters.save_lora(m, "nowhere"), r"model \(Llama\) has no LoRA: add it first"),
        (lambda m: adapters.freeze(m, ["block.*"]), r"'block.\*' fits no parameter; they are called like token_emb"),
        (lambda m: adapters.freeze(m, "norm*"), r"patterns \('norm\*'\) must be a list of patterns, not one text"),
        (lambda m: adapters.layerwise(m, 0, 0.5), r"lr \(0\) must be positive"),
        (lambda m: adapters.layerwise(m, 1, 1.5), r"decay \(1.5\) must be more than 0 and at most 1"),
        (lambda m: adapters.layerwise(nn.Linear(2, 2), 1, 1), r"model \(Linear\) has no numbered blocks"),
        (lambda m: PromptTuned(m, 0), r"length \(0\) must be positive"),
        (lambda m: PromptTuned(m, 16), r"length \(16\) must be less than the model's max_seq_len \(16\)"),
        (lambda m: PromptTuned(nn.Linear(2, 2), 1), r"model \(Linear\) is none of this library's; from_hf makes"),
        (lambda m: PrefixTuned(nn.Linear(2, 2), 1), r"model \(Linear\) is none of this library's; from_hf makes"),
        (lambda m: PrefixTuned(MODELS["bert"](), 2), r"model \(BERT\) reads both sides and has no cache"),
    ],
)
def test_what_is_wrong_is_said_and_the_model_is_as_before(llama, call, message):
    before, names = scores(llama), set(llama.state_dict())
    with pytest.raises(ValueError, match=message):
        call(llama)
    assert torch.equal(scores(llama), before) and set(llama.state_dict()) == names
    assert all(p.requires_grad for p in llama.parameters())


def test_twice_is_refused(llama):
    adapters.add_lora(llama, 2, 4)
    with pytest.raises(ValueError, match=r"blocks.0.attention.q_proj has a LoRA already; remove that first"):
        adapters.add_lora(llama, 2, 4)
    with pytest.raises(ValueError, match=r"blocks.0.attention.q_proj is not merged"):
        adapters.unmerge_lora(llama)
    adapters.merge_lora(llama)
    with pytest.raises(ValueError, match=r"blocks.0.attention.q_proj is merged already"):
        adapters.merge_lora(llama)
    with pytest.raises(ValueError, match=r"its LoRA is merged into the weights; unmerge it"):
        adapters.save_lora(llama, "nowhere")
    with pytest.raises(ValueError, match=r"blocks.0.attention.q_proj is merged; unmerge it"):
        lora_to_hf(llama)


def test_a_tied_weight_is_refused():
    model = MODELS["gpt"]()
    with pytest.raises(ValueError, match="lm_head shares its weight with another part"):
        adapters.add_lora(model, 2, 4, ["lm_head"])


def test_a_map_that_theirs_stacks_has_no_place_there():
    pytest.importorskip("transformers")
    model = MODELS["gpt"]()
    adapters.add_lora(model, 2, 4)
    with pytest.raises(ValueError, match="attention.q_proj is stacked with other parts"):
        lora_to_hf(model)


def test_files_of_another_model_or_kind_are_refused(llama, tmp_path):
    adapters.add_lora(llama, 2, 4)
    adapters.save_lora(llama, tmp_path)
    wider = Llama(LlamaConfig(**SIZES | {"d_model": 32}, num_kv_heads=2))
    with pytest.raises(ValueError, match=r"q_proj.lora_A.weight is \(2, 32\) in this model and \(2, 16\) in"):
        adapters.load_lora(wider, tmp_path)
    assert not any("lora" in name for name in wider.state_dict())
    shorter = Llama(LlamaConfig(**SIZES | {"num_layers": 1}, num_kv_heads=2))
    with pytest.raises(ValueError, match=r"has a correction for blocks.1.attention.q_proj, which this model does not"):
        adapters.load_lora(shorter, tmp_path)
    with pytest.raises(ValueError, match=r"must hold adapter_config.json and adapter_model.safetensors"):
        adapters.load_lora(shorter, tmp_path / "elsewhere")
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": True}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"has use_rslora = True; load_lora knows False only"):
        adapters.load_lora(MODELS["llama"](), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_lora_weights": "pissa"}, "has init_lora_weights = 'pissa'; load_lora knows True only"),
        ({"rank_pattern": {"q_proj": 8}}, r"has rank_pattern = \{'q_proj': 8\}; load_lora knows False only"),
        ({"r": None}, "adapter_config.json must name r and lora_alpha"),
        (None, "adapter_config.json must name r and lora_alpha"),
    ],
)
def test_settings_that_would_be_read_wrongly_are_refused(llama, tmp_path, changes, message):
    adapters.add_lora(llama, 2, 4)
    adapters.save_lora(llama, tmp_path)
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | (changes or {})
    kept = {name: value for name, value in config.items() if value is not None} if changes else []
    path.write_text(json.dumps(kept), encoding="utf-8")
    plain = MODELS["llama"]()
    with pytest.raises(ValueError, match=message):
        adapters.load_lora(plain, tmp_path)
    assert all(p.requires_grad for p in plain.parameters())


def test_files_of_an_older_peft_say_less_and_are_read(llama, tmp_path):
    adapters.add_lora(llama, 2, 4)
    shake(llama)
    adapters.save_lora(llama, tmp_path)
    older = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(older), encoding="utf-8")
    again = copy.deepcopy(llama)
    adapters.remove_lora(again)
    adapters.load_lora(again, tmp_path)
    assert torch.equal(scores(again), scores(llama))


@pytest.mark.parametrize("what", ["lora_B.bias", "lora_magnitude_vector"])
def test_a_file_that_holds_more_than_its_corrections_is_refused(llama, tmp_path, what):
    adapters.add_lora(llama, 2, 4)
    adapters.save_lora(llama, tmp_path)
    path, name = tmp_path / "adapter_model.safetensors", f"base_model.model.blocks.0.attention.q_proj.{what}"
    safetensors.torch.save_file(safetensors.torch.load_file(path) | {name: torch.zeros(16)}, path)
    plain = MODELS["llama"]()
    with pytest.raises(ValueError, match=f"has {name}, which is no part of its corrections"):
        adapters.load_lora(plain, tmp_path)
    assert not any("lora" in key for key in plain.state_dict())
    safetensors.torch.save_file({}, path)
    with pytest.raises(ValueError, match=r"targets \(\[\]\) must name at least one linear map"):
        adapters.load_lora(plain, tmp_path)


def test_corrections_of_several_kinds_do_not_fit_one_file(llama, tmp_path):
    adapters.add_lora(llama, 2, 4, ["q_proj"])
    adapters.add_lora(llama, 3, 4, ["v_proj"])
    with pytest.raises(ValueError, match="its corrections differ in rank, alpha, dropout or kind"):
        adapters.save_lora(llama, tmp_path)
