"""The engine in the browser against the library: the same ids, states, scores, texts, and a sentence for the rest."""

import copy
import hashlib
import json
import re
import struct

import pytest
import torch
from engine_page import as_text, engine_page, keep_model, tensor
from hard_texts import HARD

from llmguide_lib import course
from llmguide_lib.attention import attention, causal_mask, sliding_window_mask
from llmguide_lib.generation import Greedy, MinP, StopTokens, Temperature, TopK, TopP, beam_search, generate
from llmguide_lib.models import GPT, GPTConfig, Llama, LlamaConfig, ModernBERT, ModernBERTConfig
from llmguide_lib.positions import RopeScaling
from llmguide_lib.runs.recipes import RECIPES
from llmguide_lib.tokenizers import BPETokenizer
from llmguide_lib.widgets.explorer import bundle
from llmguide_lib.widgets.model_explorer import spelled
from llmguide_lib.widgets.weights import pack_weights

SIZES = {"vocab_size": 67, "max_seq_len": 24, "d_model": 24, "num_heads": 4, "num_layers": 3, "d_ff": 37}
TINY = {
    "llama": (Llama, LlamaConfig(**SIZES)),
    "grouped, wide heads": (Llama, LlamaConfig(**SIZES, num_kv_heads=2, head_dim=10, rope_theta=500.0)),
    "qwen2": (Llama, LlamaConfig(**SIZES, num_kv_heads=1, attention_bias=True, tied=True)),
    "qwen3": (Llama, LlamaConfig(**SIZES, num_kv_heads=2, head_norm=True, norm_eps=1e-3)),
    "modernbert": (ModernBERT, ModernBERTConfig(**SIZES, window=4, global_every=2, local_rope_theta=300.0)),
    "modernbert, global": (ModernBERT, ModernBERTConfig(**SIZES, global_every=1)),
}
COURSE = {"gpt": "gpt-course", "bert": "bert-course"}
END = "<|end|>"
TOKENIZER = BPETokenizer.train(HARD.values(), 700, [END, "<|end|>>", "<|a.b|>"])


@pytest.fixture(scope="module")
def site(browser):
    with engine_page(browser) as page:
        yield page


def rounded(model):
    """In float32, with weights that float16 can hold, large enough for attention to choose."""
    model = model.float().eval()
    spread = 0.3 if model.config.d_model < 100 else 0.06
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            noise = spread * torch.randn(weight.shape, generator=generator)
            weight.copy_((noise + (weight if weight.ndim == 1 else 0)).half().float())
    return model


def made(name):
    family, config = TINY[name]
    return rounded(family(config))


def some_tokens(model, length):
    return torch.randint(model.config.vocab_size, (1, length), generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def observed(model, tokens):
    """What PyTorch has on the way: per layer attention weights, heads side by side, and the state after the block."""
    seen = {"weights": [], "heads": [], "block": []}

    def look(attention, args, kwargs):
        seen["weights"].append(attention.weights(args[0], None, args[2], rotate=kwargs["rotate"])[0])

    for block in model.blocks:
        block.attention.register_forward_pre_hook(look, with_kwargs=True)
        block.attention.out_proj.register_forward_pre_hook(lambda _, args: seen["heads"].append(args[0][0]))
        block.register_forward_hook(lambda _, args, result: seen["block"].append(result[0]))
    seen["final"] = [model.hidden(tokens)[0]]
    for part in model.modules():
        part._forward_pre_hooks.clear()
        part._forward_hooks.clear()
    return seen | {"logits": model.scores(seen["final"][0]), "lens": [_lens(model, x) for x in seen["block"]]}


def _lens(model, states):
    return model.scores(model.final_norm(states))


def shown(site, tokens):
    """The same from the engine, with the model that is kept on the page."""
    code = """(ids) => {
      const { found, hooks } = engine.capture(["weights", "heads", "block", "final"]);
      const states = engine.hiddenStates(engine.model, ids, { hooks });
      const plain = (one) => Array.from(one);
      const listed = ([name, list]) => [name, list.map(({ values }) => plain(values))];
      const seen = Object.fromEntries(Object.entries(found).map(listed));
      const lens = found.block.map(({ values }) => plain(engine.lens(engine.model, values)));
      return { ...seen, logits: plain(engine.scores(engine.model, states)), lens };
    }"""
    return site.evaluate(code, tokens[0].tolist())


def assert_equal(site, model, tokens):
    ours, theirs = observed(model, tokens), shown(site, tokens)
    for name, expected in ours.items():
        pairs = [(theirs[name], expected)] if name == "logits" else zip(theirs[name], expected, strict=True)
        for found, wanted in pairs:
            error = (tensor(found, *wanted.shape) - wanted).abs().max().item()
            assert error <= 1e-4, (name, error)


# -- tokenizer --------------------------------------------------------------------------------------------------------


def tokenizer_json():
    return TOKENIZER._to_json()


def keep_tokenizer(site, content):
    site.evaluate("(content) => void (engine.tokenizer = new engine.Tokenizer(content))", content)


@pytest.mark.parametrize("old", [False, True], ids=["pairs", "strings"])
def test_ids_are_those_of_python_on_hard_texts(site, old):
    content = tokenizer_json()
    if old:  # as files of 2020 have them
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    keep_tokenizer(site, content)
    texts = list(HARD.values())
    ids = site.evaluate("(texts) => texts.map((text) => engine.tokenizer.encode(text))", texts)
    for text, found in zip(texts, ids, strict=True):
        assert found == TOKENIZER.encode(text)
    assert site.evaluate("(ids) => ids.map((one) => engine.tokenizer.decode(one))", ids) == texts


def test_special_tokens_are_recognised_only_where_allowed(site):
    keep_tokenizer(site, tokenizer_json())
    text = f"a{END}>b{END} <|a.b|> <|axb|>{END}{END}"
    for allowed in ([], [END], [END, "<|end|>>", "<|a.b|>"]):
        found = site.evaluate("([text, allowed]) => engine.tokenizer.encode(text, allowed)", [text, allowed])
        assert found == TOKENIZER.encode(text, allowed)
    assert site.evaluate("(ids) => engine.tokenizer.decode(ids)", found) == text


def test_bytes_that_are_no_text_are_replaced_as_in_python_at_once_or_one_by_one(site):
    keep_tokenizer(site, tokenizer_json())
    generator = torch.Generator().manual_seed(4)
    rows = [torch.randint(3, 259, (30,), generator=generator).tolist() for _ in range(50)]
    rows.append(TOKENIZER.encode("\ufeff👍")[:-1])
    code = """(rows) => rows.map((ids) => {
      const stream = engine.tokenizer.stream();
      return [engine.tokenizer.decode(ids), ids.map(stream.add).join("") + stream.end()];
    })"""
    for ids, texts in zip(rows, site.evaluate(code, rows), strict=True):
        assert texts == [TOKENIZER.decode(ids)] * 2


TOKENIZER_REFUSALS = {
    "surrogate": ('engine.tokenizer.encode("a😀\\ud800b")', "Character 3 of the text is half a character"),
    "id": ("engine.tokenizer.decode([1, 700])", "700 is no token: ids are whole numbers from 0 to 699"),
    "unknown": ('engine.tokenizer.encode("a", ["<x>"])', "<x> is unknown; known are <|end|>, <|end|>>, <|a.b|>"),
    "tokenizer": (
        "new engine.Tokenizer({ ...x, pre_tokenizer: { type: 'Sequence' } })",
        "pre_tokenizer.type must be ByteLevel",
    ),
    "uncoded": (
        "new engine.Tokenizer({ ...x, model: { ...x.model, vocab: { a: 3 }, merges: [] } }).encode('ab')",
        "Byte 98 is no token",
    ),
}


@pytest.mark.parametrize("key", TOKENIZER_REFUSALS)
def test_what_the_tokenizer_does_not_do_is_said(site, key):
    keep_tokenizer(site, tokenizer_json())
    code, message = TOKENIZER_REFUSALS[key]
    found = site.evaluate(f"(x) => refusal(() => {code})", tokenizer_json())
    assert found[0] == key and message in found[1] and found[2]


# -- weight files -----------------------------------------------------------------------------------------------------


def test_sha256_is_pythons(site):
    data = [bytes(range(256))[:length] for length in range(130)] + [bytes(7) * 30_000]
    found = site.evaluate("(list) => list.map((text) => engine.sha256(bytesOf(text)))", [as_text(one) for one in data])
    assert found == [hashlib.sha256(one).hexdigest() for one in data]


def read(site, data):
    code = """(data) => [...engine.readWeights(bytesOf(data)).tensors]
        .map(([name, { shape, values }]) => [name, shape, Array.from(values)])"""
    return {name: tensor(values, *shape) for name, shape, values in site.evaluate(code, as_text(data))}


def test_every_float16_arrives_exactly(site):
    model = Llama(LlamaConfig(**SIZES | {"d_model": 64, "vocab_size": 1024})).half().float()
    bits = torch.arange(2**16).to(torch.uint16).view(torch.float16)
    finite = bits[bits.isfinite()].float()
    with torch.no_grad():
        model.token_embedding.weight.view(-1)[: len(finite)] = finite
    found = read(site, pack_weights(model))
    assert found.keys() == dict(model.named_parameters()).keys()
    assert torch.equal(found["token_embedding.weight"], model.token_embedding.weight)


def in_rows(weight):
    """What int8 keeps of a matrix: in each row whole numbers up to 127 times a scale."""
    scales = (weight.abs().amax(dim=1, keepdim=True) / 127).clamp(min=torch.finfo(torch.float32).tiny)
    return (weight / scales).round() * scales


def test_int8_keeps_a_row_to_half_a_step_of_its_scale(site):
    model = made("qwen2")
    with torch.no_grad():
        model.token_embedding.weight[3] = 0.0
    found = read(site, pack_weights(model, "int8"))
    for name, weight in model.named_parameters():
        kept = in_rows(weight) if weight.ndim == 2 else weight
        torch.testing.assert_close(found[name], kept.detach(), atol=1e-7, rtol=1e-6)
        if weight.ndim == 2:
            assert ((found[name] - weight).abs() <= weight.abs().amax(dim=1, keepdim=True) / 254 + 1e-6).all()
    assert len(pack_weights(model, "int8")) < 0.7 * len(pack_weights(model))


def damaged(change):
    """A weight file whose header or numbers are changed, with the hash that fits them."""
    data = pack_weights(made("llama"))
    size = struct.unpack_from("<I", data, 8)[0]
    header, numbers = change(json.loads(data[48 : 48 + size]), bytearray(data[48 + size :]))
    body = json.dumps(header).encode(), bytes(numbers)
    hash = hashlib.sha256(b"".join(body)).digest()
    return data[:8] + struct.pack("<II", *map(len, body)) + hash + b"".join(body)


def with_nan(header, numbers):
    start = header["tensors"][2]["start"]
    numbers[start : start + 2] = b"\x00\x7e"
    return header, numbers


def with_header(**changes):
    return lambda header, numbers: (header | changes, numbers)


def with_config(**changes):
    return lambda header, numbers: (header | {"config": header["config"] | changes}, numbers)


WEIGHT_REFUSALS = {
    "cut": ("truncated", lambda: pack_weights(made("llama"))[:-1], "bytes and should have"),
    "nearly nothing": ("truncated", lambda: b"LLMW", "has 4 bytes and should have 48"),
    "another file": ("foreign", lambda: bytes(100), "not a weight file of the course"),
    "newer": ("foreign", lambda: b"LLMW\x02" + pack_weights(made("llama"))[5:], "one of a newer version"),
    "last byte": ("altered", lambda: pack_weights(made("llama"))[:-1] + b"\x07", "its hash differs"),
    "header": (
        "altered",
        lambda: pack_weights(made("llama")).replace(b'"d_ff": 37', b'"d_ff": 38'),
        "its hash differs",
    ),
    "hash": (
        "altered",
        lambda: pack_weights(made("llama")).replace(pack_weights(made("llama"))[16:20], b"abcd"),
        "hash",
    ),
    "NaN": ("notFinite", lambda: damaged(with_nan), "blocks.0.attention.k_proj.weight holds NaN"),
    "family": ("family", lambda: damaged(with_header(family="GPT")), "GPT do not run here; those of Llama, ModernBERT"),
    "missing": ("missing", lambda: damaged(with_config(num_layers=4)), "blocks.3.attention.q_proj.weight is not in"),
    "shape": ("shape", lambda: damaged(with_config(d_ff=36)), r"has the shape \(37, 24\).* asks for \(36, 24\)"),
    "setting": ("setting", lambda: damaged(with_config(rope_scaling={"factor": 8})), "the setting rope_scaling"),
}


@pytest.mark.parametrize("name", WEIGHT_REFUSALS)
def test_a_bad_weight_file_is_refused(site, name):
    key, make, message = WEIGHT_REFUSALS[name]
    found = site.evaluate(
        "(data) => refusal(() => engine.buildModel(engine.readWeights(bytesOf(data))))", as_text(make())
    )
    assert found is not None and found[0] == key and found[2]
    with pytest.raises(ValueError, match=message):
        raise ValueError(found[1])


def with_weight(value):
    model = made("llama")
    with torch.no_grad():
        model.final_norm.weight[0] = value
    return model


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pack_weights(GPT(GPTConfig(**SIZES))), "model is a GPT; the engine in the browser runs Llama and Mod"),
        (lambda: pack_weights(made("llama"), "int4"), r"dtype \('int4'\) must be one of float16, int8"),
        (lambda: pack_weights(with_weight(torch.nan)), "final_norm.weight of the model holds NaN"),
        (lambda: pack_weights(with_weight(70_000.0), "int8"), "a number too large for float16"),
        (lambda: pack_weights(stretched()), "rope_scaling .* must be None; the engine in the browser does not stretch"),
    ],
)
def test_python_packs_nothing_that_the_engine_could_not_run(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()


def stretched():
    return Llama(LlamaConfig(**SIZES, rope_scaling=RopeScaling(factor=2.0)))


# -- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_states_weights_and_scores_are_pytorchs(site, name):
    model = made(name)
    keep_model(site, pack_weights(model))
    for length in (1, 2, 13, 24):
        assert_equal(site, model, some_tokens(model, length))


@pytest.mark.parametrize("name", COURSE)
def test_so_they_are_in_the_sizes_of_the_course_models(site, name, unchecked):
    model = rounded(RECIPES[COURSE[name]].model())
    keep_model(site, pack_weights(model))
    assert_equal(site, model, some_tokens(model, 12))


def test_so_they_are_with_weights_of_int8(site):
    model = made("grouped, wide heads")
    keep_model(site, pack_weights(model, "int8"))
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(in_rows(weight) if weight.ndim == 2 else weight)
    assert_equal(site, model, some_tokens(model, 9))


@pytest.mark.parametrize("cuts", [[1] * 13, [5, 1, 7], [12, 1]])
def test_reading_in_parts_with_a_cache_changes_nothing(site, cuts):
    model = made("grouped, wide heads")
    keep_model(site, pack_weights(model))
    code = """([ids, cuts]) => {
      const cache = new engine.Cache(engine.model, 24);
      const whole = engine.hiddenStates(engine.model, ids);
      let start = 0;
      const read = (count) => engine.hiddenStates(engine.model, ids.slice(start, (start += count)), { cache });
      const parts = cuts.flatMap((count) => [...read(count)]);
      return Math.max(...parts.map((value, at) => Math.abs(value - whole[at])));
    }"""
    assert site.evaluate(code, [some_tokens(model, 13)[0].tolist(), cuts]) < 1e-6


def test_two_hundred_greedy_tokens_are_the_librarys(site, unchecked):
    model = rounded(RECIPES["gpt-course"].model())
    keep_model(site, pack_weights(model))
    prompt = some_tokens(model, 9)
    code = """(ids) => [...engine.continuation(engine.model, ids, { choose: engine.greedy, maxNewTokens: 200 })]
        .map(({ id }) => id)"""
    found = site.evaluate(code, prompt[0].tolist())
    assert found == generate(model, prompt, 200, sampler=Greedy())[0, 9:].tolist()
    assert len(set(found)) > 20  # no loop that anything would get right


def test_generation_ends_at_a_stop_token_and_where_the_context_is_full(site):
    model = made("llama")
    keep_model(site, pack_weights(model))
    code = """([ids, stopIds]) => [...engine.continuation(engine.model, ids, { choose: engine.greedy, stopIds })]
        .map(({ id }) => id)"""
    prompt = some_tokens(model, 4)
    full = site.evaluate(code, [prompt[0].tolist(), []])
    assert full == generate(model, prompt, 20)[0, 4:].tolist()
    end = next(id for place, id in enumerate(full) if place > 2 and id not in full[:place])
    ended = generate(model, prompt, 20, stop=StopTokens(end))[0, 4:].tolist()
    assert site.evaluate(code, [prompt[0].tolist(), [end]]) == ended and ended[-1] == end


# -- hooks ------------------------------------------------------------------------------------------------------------


def with_interventions(site, tokens, interventions):
    code = """([ids, list]) => {
      const hooks = engine.together(...list.map((one) => engine.intervention(one, engine.model)));
      return [...engine.scores(engine.model, engine.hiddenStates(engine.model, ids, { hooks }))];
    }"""
    return tensor(site.evaluate(code, [tokens[0].tolist(), interventions]), tokens.shape[1], -1)


@pytest.mark.parametrize("name", ["qwen3", "modernbert"])
def test_a_silent_head_is_one_whose_mixture_is_zero(site, name):
    model, head_dim = made(name), 6
    keep_model(site, pack_weights(model))
    tokens = some_tokens(model, 7)
    plain = with_interventions(site, tokens, [])
    for layer, head in ((0, 0), (2, 3), (1, 2)):
        changed = copy.deepcopy(model)
        with torch.no_grad():
            changed.blocks[layer].attention.out_proj.weight[:, head * head_dim : (head + 1) * head_dim] = 0
            expected = changed(tokens)[0]
        found = with_interventions(site, tokens, [{"kind": "head", "layer": layer, "head": head}])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        assert (found - plain).abs().max() > 1e-2


@torch.no_grad()
def test_a_silent_layer_hands_on_what_it_reads(site):
    model = made("llama")
    keep_model(site, pack_weights(model))
    tokens = some_tokens(model, 7)
    found = with_interventions(site, tokens, [{"kind": "layer", "layer": 1}])
    del model.blocks[1]
    torch.testing.assert_close(found, model(tokens)[0], atol=1e-4, rtol=0)


def test_a_state_patched_from_another_text_makes_everything_after_it_the_other_texts(site):
    model = made("llama")
    keep_model(site, pack_weights(model))
    tokens = some_tokens(model, 7)
    other = tokens.clone()
    other[0, 0] = (tokens[0, 0] + 1) % 67  # an earlier token differs, which only the state at position 0 knows of
    ours = observed(model, other)
    patch = {"kind": "replace", "place": "block", "layer": 1, "position": 0, "values": ours["block"][1][0].tolist()}
    rest = [patch | {"position": t, "values": ours["block"][1][t].tolist()} for t in range(1, 7)]
    found = with_interventions(site, tokens, [patch, *rest])
    torch.testing.assert_close(found, ours["logits"], atol=1e-4, rtol=0)
    alone = with_interventions(site, tokens, [patch])
    torch.testing.assert_close(alone[0], ours["logits"][0], atol=1e-4, rtol=0)
    assert (alone[1:] - ours["logits"][1:]).abs().max() > 1e-2


def test_a_silent_head_stays_silent_while_a_text_is_generated(site):
    model = made("llama")
    keep_model(site, pack_weights(model))
    prompt = some_tokens(model, 4)
    code = """(ids) => {
      const hooks = engine.intervention({ kind: "head", layer: 0, head: 1 }, engine.model);
      return [...engine.continuation(engine.model, ids, { choose: engine.greedy, hooks })].map(({ id }) => id);
    }"""
    plain = generate(model, prompt, 20)[0, 4:].tolist()
    with torch.no_grad():
        model.blocks[0].attention.out_proj.weight[:, 6:12] = 0
    found = site.evaluate(code, prompt[0].tolist())
    assert found == generate(model, prompt, 20)[0, 4:].tolist() != plain


# -- attention changed ------------------------------------------------------------------------------------------------


def attends(model, allow, temperature, layer):
    """The model in PyTorch with another mask and temperature: ``allow`` gets the trained mask, (T, S) or None."""

    def core(query, key, value, mask=None, *, bias=None, dropout=0.0):
        size = query.shape[-2]
        trained = causal_mask(size) if isinstance(model, Llama) else mask
        allowed = allow(torch.ones(size, size, dtype=torch.bool) if trained is None else trained)
        return attention(query, key, value, allowed, bias=bias, scale=query.shape[-1] ** -0.5 / temperature)

    for place, block in enumerate(model.blocks):
        if layer in (None, place):
            block.attention.core = core
    return model


MASKS = {
    "trained": lambda trained: trained,
    "everything": torch.ones_like,
    "past": lambda trained: trained & causal_mask(trained.shape[-1]),
    "near": lambda trained: trained & sliding_window_mask(trained.shape[-1], 3),
}


@pytest.mark.parametrize("name", ["grouped, wide heads", "modernbert"])
@pytest.mark.parametrize("mask", MASKS)
def test_another_mask_and_temperature_are_what_pytorch_makes_of_them(site, name, mask):
    tokens = some_tokens(made(name), 11)
    for temperature, layer in ((1, None), (0.4, 1), (3.0, None)):
        keep_model(site, pack_weights(made(name)))
        given = {"mask": mask, "window": 3, "temperature": temperature, "layer": layer}
        site.evaluate("(given) => void (engine.model = engine.attending(engine.model, given))", given)
        changed = attends(made(name), MASKS[mask], temperature, layer)
        assert_equal(site, changed, tokens)
    assert (changed(tokens) - made(name)(tokens)).abs().max() > 1e-2


# -- beam search ------------------------------------------------------------------------------------------------------

SEARCH = """([ids, request]) => {
  const levels = [...engine.beamSearch(engine.model, ids, request)];
  return { levels, best: levels.at(-1).found[0], greedy: engine.greedyText(engine.model, ids, request) };
}"""


def searched(site, tokens, num_beams, max_new_tokens, length_penalty, end_id):
    request = {"numBeams": num_beams, "maxNewTokens": max_new_tokens, "lengthPenalty": length_penalty, "endId": end_id}
    return site.evaluate(SEARCH, [tokens[0].tolist(), request])


def frequent_end(model, tokens):
    """A token among the likely ones, so that texts end at different lengths."""
    return int(model(tokens)[0, -1].topk(3).indices[2])


def test_beam_search_is_the_librarys(site):
    ended = set()
    for name in ("grouped, wide heads", "qwen2"):
        model = made(name)
        keep_model(site, pack_weights(model))
        for seed in range(3):
            tokens = torch.randint(67, (1, 5), generator=torch.Generator().manual_seed(seed))
            for num_beams, length_penalty, end in ((1, 1.0, True), (2, 0.0, True), (4, 0.7, False), (5, 2.0, True)):
                end_id = frequent_end(model, tokens) if end else None
                options = {"num_beams": num_beams, "length_penalty": length_penalty, "end_id": end_id}
                text, score = beam_search(model, tokens, 9, **options)
                found = searched(site, tokens, num_beams, 9, length_penalty, end_id)["best"]
                assert found["ids"] == text[5:].tolist()
                assert found["score"] == pytest.approx(score, abs=1e-4)
                ended.add((found["ended"], len(found["ids"]) < 9))
    assert ended >= {(True, True), (False, False)}


def test_so_it_is_with_the_course_model(site, unchecked):
    model, tokenizer = course.load("gpt")
    keep_model(site, pack_weights(model))  # float16, as it is shipped
    tokens = torch.tensor([tokenizer.encode("Return a new array")])
    for num_beams, end in ((4, "."), (3, "<|endoftext|>")):
        end_id = tokenizer.encode(end, "all")[0]
        text, score = beam_search(model, tokens, 10, num_beams=num_beams, length_penalty=0.8, end_id=end_id)
        found = searched(site, tokens, num_beams, 10, 0.8, end_id)["best"]
        assert found["ids"] == text[tokens.shape[1] :].tolist()
        assert found["score"] == pytest.approx(score, abs=1e-4)


@torch.no_grad()
def test_every_candidate_of_the_tree_has_its_own_path_and_sum(site):
    model = made("llama")
    keep_model(site, pack_weights(model))
    tokens = some_tokens(model, 4)
    tree = searched(site, tokens, 3, 5, 1.0, frequent_end(model, tokens))
    texts = [[([], 0.0)]]
    for place, step in enumerate(tree["levels"]):
        level, before = step["level"], texts[-1]
        assert len(level) == 6 and [one["sum"] for one in level] == sorted((one["sum"] for one in level), reverse=True)
        assert sum(one["fate"] == "kept" for one in level) == 3
        texts.append([])
        for one in level:
            assert place == 0 or tree["levels"][place - 1]["level"][one["parent"]]["fate"] == "kept"
            ids, total = before[one["parent"] if place else 0]
            logits = model(torch.cat([tokens, torch.tensor([ids], dtype=torch.long)], dim=1))[0, -1]
            share = logits.log_softmax(dim=-1)[one["id"]].item()
            assert one["logProbability"] == pytest.approx(share, abs=1e-4)
            assert one["sum"] == pytest.approx(total + share, abs=1e-4)
            texts[-1].append(([*ids, one["id"]], one["sum"]))
    for text in tree["levels"][-1]["found"]:
        assert texts[len(text["path"])][text["path"][-1]] == (text["ids"], text["sum"])


@torch.no_grad()
def test_the_greedy_text_has_the_sum_of_its_log_probabilities(site):
    model = made("llama")
    keep_model(site, pack_weights(model))
    tokens = some_tokens(model, 4)
    found = searched(site, tokens, 2, 6, 0.5, None)["greedy"]
    text = generate(model, tokens, 6, sampler=Greedy())
    assert found["ids"] == text[0, 4:].tolist()
    total = sum(model(text)[0].log_softmax(dim=-1)[t, text[0, t + 1]].item() for t in range(3, 9))
    assert found["sum"] == pytest.approx(total, abs=1e-4) and found["score"] == pytest.approx(total / 6**0.5, abs=1e-4)


MODEL_REFUSALS = {
    "nothing": ("empty", "engine.hiddenStates(engine.model, [])", "There is no text yet"),
    "long": (
        "long",
        "engine.hiddenStates(engine.model, Array(25).fill(1))",
        "has 25 tokens, the model reads at most 24",
    ),
    "full": ("long", "[...engine.continuation(engine.model, Array(24).fill(1), {})]", "reads at most 23"),
    "id": ("id", "engine.hiddenStates(engine.model, [3, 67])", "67 is no token: ids are whole numbers from 0 to 66"),
    "half an id": ("id", "engine.hiddenStates(engine.model, [0.5])", "0.5 is no token"),
    "tokens": ("range", "[...engine.continuation(engine.model, [1], { maxNewTokens: 0 })]", "maxNewTokens is 0"),
    "head": ("range", "engine.intervention({ kind: 'head', layer: 0, head: 4 }, engine.model)", "head is 4, .* 0 … 3"),
    "layer": ("range", "engine.intervention({ kind: 'layer', layer: 3 }, engine.model)", "layer is 3"),
    "position": (
        "range",
        "engine.intervention({ kind: 'replace', place: 'final', position: -1, values: [] }, engine.model)",
        "position is -1",
    ),
    "width": (
        "range",
        "engine.hiddenStates(engine.model, [1], { hooks: engine.intervention("
        "{ kind: 'replace', place: 'final', position: 0, values: [1] }, engine.model) })",
        "values.length is 1, it must be 24",
    ),
    "mask": ("unknown", "engine.attending(engine.model, { mask: 'x' })", "x is unknown; known are trained, everything"),
    "window": ("range", "engine.attending(engine.model, { window: 0 })", "window is 0, it must be 1, 2, …"),
    "temperature": ("range", "engine.attending(engine.model, { temperature: 0 })", "temperature is 0, it must be > 0"),
    "one layer": ("range", "engine.attending(engine.model, { layer: 3 })", "layer is 3, it must be 0 … 2"),
    "beams": (
        "range",
        "engine.beamSearch(engine.model, [1], { numBeams: 0, maxNewTokens: 2 }).next()",
        "numBeams is 0, it must be 1, 2, …",
    ),
    "no length": (
        "range",
        "engine.beamSearch(engine.model, [1], { numBeams: 1, maxNewTokens: 0.5 }).next()",
        "maxNewTokens is 0.5",
    ),
    "penalty": (
        "range",
        "engine.beamSearch(engine.model, [1], { numBeams: 1, maxNewTokens: 1, lengthPenalty: NaN }).next()",
        "lengthPenalty is NaN",
    ),
    "room": (
        "room",
        "engine.beamSearch(engine.model, Array(20).fill(1), { numBeams: 1, maxNewTokens: 5 }).next()",
        "20 tokens of text and 5 new ones are more than the 24 that the model reads",
    ),
    "kind": (
        "unknown",
        "engine.intervention({ kind: 'x' }, engine.model)",
        "x is unknown; known are head, feedForward, layer, rep",
    ),
    "place": ("unknown", "engine.capture(['x'])", "x is unknown; known are embedding, weights"),
    "weights": (
        "unknown",
        "engine.intervention({ kind: 'replace', place: 'weights', layer: 0, position: 0, values: [] }, engine.model)",
        "weights is unknown; known are embedding, heads",
    ),
}


@pytest.mark.parametrize("name", MODEL_REFUSALS)
def test_what_the_model_does_not_do_is_said(site, name):
    keep_model(site, pack_weights(made("llama")))
    key, code, message = MODEL_REFUSALS[name]
    found = site.evaluate(f"() => refusal(() => {code})")
    assert found is not None and found[0] == key and found[2]
    with pytest.raises(ValueError, match=message):
        raise ValueError(found[1])


def test_an_encoder_neither_continues_a_text_nor_has_a_cache(site):
    keep_model(site, pack_weights(made("modernbert")))
    for code in (
        "[...engine.continuation(engine.model, [1], {})]",
        "engine.beamSearch(engine.model, [1], { numBeams: 1, maxNewTokens: 1 }).next()",
        "engine.hiddenStates(engine.model, [1], { cache: new engine.Cache(engine.model, 4) })",
    ):
        assert site.evaluate(f"() => refusal(() => {code})")[0] == "bothWays"


def test_scores_that_are_no_numbers_are_refused(site):
    model = made("llama")
    with torch.no_grad():
        model.lm_head.weight.fill_(60_000.0)
        model.final_norm.weight.fill_(60_000.0)
    keep_model(site, pack_weights(model))
    code = "engine.scores(engine.model, new Float32Array(24).fill(1e38).map((x, at) => (at % 2 ? x : -x) * 10))"
    assert site.evaluate(f"() => refusal(() => {code})")[0] == "nan"


# -- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "filters"),
    [
        ({}, []),
        ({"temperature": 0.7}, [Temperature(0.7)]),
        ({"topK": 5}, [TopK(5)]),
        ({"topK": 500}, [TopK(500)]),
        ({"topP": 0.8}, [TopP(0.8)]),
        ({"minP": 0.1}, [MinP(0.1)]),
        (
            {"temperature": 1.7, "topK": 30, "topP": 0.6, "minP": 0.2},
            [Temperature(1.7), TopK(30), TopP(0.6), MinP(0.2)],
        ),
    ],
)
def test_filters_leave_what_the_librarys_leave(site, settings, filters):
    logits = 3 * torch.randn(4, 60, generator=torch.Generator().manual_seed(5))
    logits[:, 7] = logits[:, 9]  # ties
    expected = logits
    for keep in filters:
        expected = keep(expected, torch.zeros(4, 1, dtype=torch.long))
    code = "([rows, settings]) => rows.map((row) => Array.from(engine.distribution(row, settings)))"
    found = torch.tensor(site.evaluate(code, [logits.tolist(), settings]))
    torch.testing.assert_close(found, expected.softmax(dim=-1), atol=1e-9, rtol=0)


def test_draws_follow_the_distribution_and_the_seed(site):
    probabilities = torch.tensor([0.5, 0.0, 0.2, 0.3])
    code = """([logits, seed]) => {
      const choose = engine.sampler({ seed });
      return Array.from({ length: 20000 }, () => choose(logits));
    }"""
    logits = [value if value > -100 else -1000.0 for value in probabilities.log().tolist()]
    draws = site.evaluate(code, [logits, 3])
    shares = torch.bincount(torch.tensor(draws), minlength=4) / len(draws)
    torch.testing.assert_close(shares, probabilities, atol=0.02, rtol=0)  # over five standard deviations
    assert draws == site.evaluate(code, [logits, 3]) != site.evaluate(code, [logits, 4])
    assert site.evaluate("(logits) => engine.sampler({ temperature: 0 })(logits)", [0.0, 2.0, 1.0, 2.0]) == 1


@pytest.mark.parametrize("settings", ["temperature: -1", "topK: 0", "topK: 1.5", "topP: 0", "topP: 1.1", "minP: 2"])
def test_settings_out_of_range_are_refused(site, settings):
    found = site.evaluate(f"() => refusal(() => engine.sampler({{ {settings} }}))")
    assert found[0] == "range" and settings.replace(":", " is") in found[1]


# -- in a worker ------------------------------------------------------------------------------------------------------


WORKERS = {
    "joined": "engine.workerFrom(source)",
    "served": 'new Worker("./engine.worker.js", { type: "module" })',
}


def started(site, how, model):
    code = f"""async ([source, weights, tokenizer]) => {{
      window.link?.end();
      window.link = engine.connect({WORKERS[how]});
      return link.ask("load", {{ weights: bytesOf(weights), tokenizer }}).result;
    }}"""
    return site.evaluate(code, [bundle("engine.worker"), as_text(pack_weights(model)), tokenizer_json()])


def speaking(family=Llama, **changes):
    config = {Llama: LlamaConfig, ModernBERT: ModernBERTConfig}[family]
    return rounded(family(config(**SIZES | {"vocab_size": 700, "max_seq_len": 64} | changes)))


@pytest.mark.parametrize("how", WORKERS)
def test_a_worker_encodes_generates_and_shows_what_is_inside(site, how):
    model = speaking(vocab_size=701)  # one more than the tokenizer has
    about = started(site, how, model)
    assert about == {
        "family": "Llama", "maxSeqLen": 64, "numHeads": 4, "numLayers": 3, "causal": True,
        "special": TOKENIZER.special_tokens, "rules": len(TOKENIZER.merges),
    }  # fmt: skip
    code = """async () => {
      const tokens = [];
      const sampling = { temperature: 0 };
      const request = { text: "注意 me", maxNewTokens: 30, sampling };
      const { result } = link.ask("generate", request, (one) => tokens.push(one));
      const plain = (list) => list.map((one) => Array.from(one));
      const inside = await link.ask("forward", { text: "注意 me", places: ["block", "weights"] }).result;
      const said = inside.found.block.map(({ values }) => link.ask("say", { states: values }).result);
      return {
        encoded: await link.ask("encode", { text: "注意 me" }).result,
        decoded: await link.ask("decode", { ids: [1, 2, 3] }).result,
        vocabulary: await link.ask("vocabulary").result,
        made: await result,
        tokens,
        logits: Array.from(inside.logits),
        layers: (await Promise.all(said)).map(({ logits }) => Array.from(logits)),
        weights: plain(inside.found.weights.map(({ values }) => values)),
      };
    }"""
    found = site.evaluate(code)
    ids = TOKENIZER.encode("注意 me")
    assert found["encoded"] == {"ids": ids, "pieces": [spelled(TOKENIZER, id) for id in ids]}
    assert found["decoded"] == {"text": TOKENIZER.decode([1, 2, 3])}
    assert found["vocabulary"] == {"pieces": [*(spelled(TOKENIZER, id) for id in range(700)), "#700"]}
    expected = generate(model, torch.tensor([ids]), 30)[0, len(ids) :].tolist()
    assert found["made"]["ids"] == [one["token"] for one in found["tokens"]] == expected
    assert "".join(one["text"] for one in found["tokens"]) + found["made"]["rest"] == TOKENIZER.decode(expected)
    ours = observed(model, torch.tensor([ids]))
    probability = ours["logits"][-1].softmax(dim=-1)[expected[0]].item()
    assert found["tokens"][0]["probability"] == pytest.approx(probability, abs=1e-4)
    torch.testing.assert_close(tensor(found["logits"], len(ids), -1), ours["logits"], atol=1e-4, rtol=0)
    for name, key in (("layers", "lens"), ("weights", "weights")):
        for mine, theirs in zip(found[name], ours[key], strict=True):
            torch.testing.assert_close(tensor(mine, *theirs.shape), theirs, atol=1e-4, rtol=0)


def test_a_text_can_be_stopped_in_the_middle_while_another_goes_on(site):
    started(site, "joined", speaking(max_seq_len=2000))
    code = """async () => {
      let seen = 0;
      const tell = () => {
        if ((seen += 1) === 5) link.stop(first.id);
      };
      const first = link.ask("generate", { text: "a", maxNewTokens: 1900 }, tell);
      const second = link.ask("generate", { text: "b", maxNewTokens: 40 });
      const made = [(await first.result).ids.length, (await second.result).ids.length];
      await link.stop(first.id); // too late, and no harm
      return made;
    }"""
    first, second = site.evaluate(code)
    assert 5 <= first < 200 and second == 40


def test_a_search_can_be_stopped_in_the_middle(site):
    started(site, "joined", speaking(max_seq_len=2000))
    code = """async () => {
      const levels = [];
      const search = link.ask("beams", { text: "a", numBeams: 2, maxNewTokens: 60 }, (level) => {
        if (levels.push(level) === 4) link.stop(search.id);
      });
      const { greedy } = await search.result;
      return [levels.length, greedy.ids.length, levels.at(-1).found[0].ids.length];
    }"""
    levels, greedy, length = site.evaluate(code)
    assert 4 <= levels < 60 and greedy == 60 and length == levels


def test_a_head_is_switched_off_and_a_state_replaced_by_message(site):
    model = speaking(ModernBERT)
    started(site, "joined", model)
    text = "fill this"
    ids = TOKENIZER.encode(text)
    interventions = [
        {"kind": "head", "layer": 1, "head": 2},
        {"kind": "replace", "place": "embedding", "position": 0, "values": [0.5] * 24},
    ]
    code = """async ([text, interventions]) =>
        Array.from((await link.ask("forward", { text, interventions }).result).logits)"""
    found = tensor(site.evaluate(code, [text, interventions]), len(ids), -1)
    with torch.no_grad():
        model.blocks[1].attention.out_proj.weight[:, 12:18] = 0

        def replace(module, args, result):
            return torch.cat([torch.full((1, 1, 24), 0.5, dtype=torch.float32), result[:, 1:]], dim=1)

        model.embedding_norm.register_forward_hook(replace)
        expected = model(torch.tensor([ids]))[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


WORKER_REFUSALS = {
    "empty": "link.ask('generate', { text: '' })",
    "long": "link.ask('forward', { text: 'a '.repeat(65) })",
    "surrogate": "link.ask('encode', { text: '\\udc00' })",
    "range": "link.ask('generate', { text: 'a', sampling: { temperature: -1 } })",
    "unknown": "link.ask('dance')",
    "truncated": "link.ask('load', { weights: new Uint8Array(9), tokenizer: {} })",
}


@pytest.mark.parametrize("key", WORKER_REFUSALS)
def test_a_worker_refuses_with_a_sentence_and_goes_on(site, key):
    started(site, "joined", speaking())
    found = site.evaluate(f"() => refusal(() => {WORKER_REFUSALS[key]}.result)")
    assert found[0] == key and found[1] and found[2]
    assert site.evaluate("async () => (await link.ask('encode', { text: 'a' }).result).ids") == TOKENIZER.encode("a")


def test_without_weights_there_is_a_tokenizer_and_no_model(site):
    code = """async ([source, tokenizer]) => {
      const other = engine.connect(engine.workerFrom(source));
      const about = await other.ask("load", { weights: new Uint8Array(), tokenizer }).result;
      const { pieces } = await other.ask("vocabulary").result;
      const refused = [];
      for (const job of ["forward", "generate", "beams"]) {
        refused.push((await refusal(() => other.ask(job, { text: "a" }).result))[0]);
      }
      const wide = (await refusal(() => other.ask("cut", { text: "🙂".repeat(2001) }).result))[1];
      other.end();
      return { about, pieces: pieces.length, refused, wide };
    }"""
    found = site.evaluate(code, [bundle("engine.worker"), tokenizer_json()])
    assert found["about"] == {"special": TOKENIZER.special_tokens, "rules": len(TOKENIZER.merges)}
    assert found["pieces"] == 700 and found["refused"] == ["unloaded"] * 3
    assert found["wide"] == "The text has 2001 characters; at most 2000 are cut here. Shorten it."


def test_two_engines_on_a_page_and_one_that_was_ended(site):
    started(site, "joined", speaking())
    code = """async (source) => {
      const other = engine.connect(engine.workerFrom(source));
      const unloaded = await refusal(() => other.ask("encode", { text: "a" }).result);
      const { result } = other.ask("encode", { text: "a" });
      other.end();
      const ended = await result.catch((error) => error.message);
      return [unloaded[0], ended, (await link.ask("encode", { text: "a" }).result).ids];
    }"""
    assert site.evaluate(code, bundle("engine.worker")) == ["unloaded", "the engine was ended", TOKENIZER.encode("a")]


def test_the_joined_worker_imports_nothing_and_exports_nothing():
    lines = bundle("engine.worker").splitlines()
    assert not [line for line in lines if line.startswith(("import ", "export "))]


def test_every_sentence_is_there_in_both_languages_with_the_same_places(site):
    sentences = site.evaluate("() => Object.values(engine.REFUSALS).map(({ en, zh }) => [en, zh])")
    for english, chinese in sentences:
        assert sorted(re.findall(r"\{\d\}", english)) == sorted(re.findall(r"\{\d\}", chinese))
