"""The model anatomy: its counts against published totals, the library's models and PyTorch's counter; its page."""

import re
from dataclasses import replace

import pytest
import torch
from browser import violations
from explorer_page import mount, visit_site
from torch.utils.flop_counter import FlopCounterMode

from llmguide_lib.attention import KVCache, MultiHeadAttention, attention
from llmguide_lib.models import (
    BERT,
    BERT_SIZES,
    GPT,
    GPT_SIZES,
    LLAMA_SIZES,
    BERTConfig,
    GPTConfig,
    Llama,
    LlamaConfig,
    ModernBERT,
    ModernBERTConfig,
)
from llmguide_lib.notebook import start
from llmguide_lib.widgets import ModelAnatomy, anatomy
from llmguide_lib.widgets.explorer import bundle

CLASSES = {GPTConfig: GPT, BERTConfig: BERT, LlamaConfig: Llama, ModernBERTConfig: ModernBERT}
SMALL = {"vocab_size": 40, "max_seq_len": 32, "d_model": 24, "num_heads": 4, "num_layers": 5, "d_ff": 56}
VARIED = [
    GPTConfig(**SMALL),
    BERTConfig(**SMALL, num_segments=3),
    LlamaConfig(**SMALL, num_kv_heads=2),
    LlamaConfig(**SMALL, num_kv_heads=1, head_dim=10, head_norm=True, tied=True),
    LlamaConfig(**SMALL, attention_bias=True),
    ModernBERTConfig(**SMALL, window=4, global_every=2),
    ModernBERTConfig(**SMALL, global_every=1),
]
# What the authors publish, in words; GPT-2's own paper miscounted, these are the sizes of the released files.
PUBLISHED = {
    "gpt2": 124e6, "gpt2-xl": 1.56e9, "bert-base-uncased": 110e6, "llama-3-8b": 8.03e9, "qwen3-0.6b": 0.6e9,
    "qwen3-8b": 8.2e9,
}  # fmt: skip
# Which modules belong to which part.
PLACES = {
    "embedding": r"(token|position|segment)_embedding|embedding_norm",
    "norm1": r"blocks\.\d+\.norm1",
    "attention": r"blocks\.\d+\.attention",
    "norm2": r"blocks\.\d+\.norm2",
    "feed_forward": r"blocks\.\d+\.feed_forward",
    "final_norm": r"final_norm",
    "head": r"lm_head|mlm_transform|pooler|nsp_head",
}


def empty(config):
    """A model with shapes and no memory."""
    with torch.device("meta"):
        return CLASSES[type(config)](config)


def names(config):
    return repr(config)[:60]


@pytest.mark.parametrize("name", anatomy.PUBLISHED)
def test_totals_are_those_of_the_librarys_models_and_those_that_were_published(name):
    config = anatomy.PUBLISHED[name][0]()
    total = anatomy.total_parameters(anatomy.plan(config))
    assert total == sum(p.numel() for p in empty(config).parameters())
    if name in PUBLISHED:
        assert total == pytest.approx(PUBLISHED[name], rel=0.01)


@pytest.mark.parametrize("config", VARIED, ids=names)
def test_each_part_has_the_parameters_of_its_modules(config):
    found = {name: 0 for name in PLACES}
    for name, parameter in empty(config).named_parameters():
        (place,) = [place for place, pattern in PLACES.items() if re.match(pattern, name)]
        found[place] += parameter.numel()
    parts = {part["name"]: part["times"] * anatomy.parameters(part) for part in anatomy.parts(anatomy.plan(config))}
    assert parts == {name: size for name, size in found.items() if size or name in parts}


@pytest.mark.parametrize("config", VARIED, ids=names)
def test_flops_are_those_that_pytorch_counts(config):
    length = 7
    if isinstance(config, ModernBERTConfig):  # written out, a window saves nothing
        config = replace(config, global_every=1)
    model = CLASSES[type(config)](config)
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.core = attention  # the counter does not know the fused kernel of the CPU
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(3, length, dtype=torch.long))
    assert counter.get_total_flops() == 3 * length * anatomy.total_flops(anatomy.plan(config), length)


def test_a_window_limits_what_is_looked_at():
    plan = anatomy.plan(ModernBERTConfig(**SMALL, window=4, global_every=2))
    assert anatomy.keys(plan, 5) == 5 * 5  # shorter than the span of 7
    assert anatomy.keys(plan, 100) == 3 * 100 + 2 * 7


@pytest.mark.parametrize("config", [VARIED[0], VARIED[2], VARIED[3]], ids=names)
def test_the_cache_is_as_large_as_a_real_one(config):
    cache = KVCache(config.num_layers, config.max_seq_len)
    CLASSES[type(config)](config)(torch.zeros(2, 9, dtype=torch.long), cache=cache)
    kept = sum(part[:, :, : cache.length].numel() for pair in cache._stored for part in pair)
    assert kept == 2 * 9 * anatomy.cache_numbers(anatomy.plan(config))


def test_an_encoder_keeps_nothing():
    assert anatomy.cache_numbers(anatomy.plan(BERT_SIZES["bert-base-uncased"])) == 0


# -- in the browser ---------------------------------------------------------------------------------------------------


def test_the_browser_counts_the_same(page):
    plans = [anatomy.plan(config) for config in [*VARIED, *(make() for make, _ in anatomy.PUBLISHED.values())]]
    code = (
        "async ([source, plans]) => { const n = await import(URL.createObjectURL(new Blob([source], "
        "{ type: 'text/javascript' }))); return plans.map((p) => ({ parts: n.parts(p), cache: n.cacheNumbers(p), "
        "total: n.totalParameters(p), each: n.parts(p).map(n.parameters), "
        "flops: [1, 100, 5000].map((t) => n.parts(p).map((part) => n.flops(p, part, t))) })); }"
    )
    for plan, seen in zip(plans, page.evaluate(code, [bundle("anatomy-numbers"), plans]), strict=True):
        parts = anatomy.parts(plan)
        assert seen["parts"] == parts and seen["each"] == [anatomy.parameters(part) for part in parts]
        assert (seen["total"], seen["cache"]) == (anatomy.total_parameters(plan), anatomy.cache_numbers(plan))
        for context, flops in zip((1, 100, 5000), seen["flops"], strict=True):
            assert flops == [anatomy.flops(plan, part, context) for part in parts]


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1234567, "1.23 M"), (15.5e9, "15.5 G"), (124e15, "124 P")]
)
def test_large_numbers_are_shortened(page, number, text):
    code = (
        "async ([source, x]) => (await import(URL.createObjectURL(new Blob([source], "
        "{ type: 'text/javascript' })))).short(x)"
    )
    assert page.evaluate(code, [bundle("anatomy-numbers"), number]) == text


def test_a_clicked_part_shows_its_shapes_and_numbers(page):
    mount(page, ModelAnatomy("llama-3-8b"))
    told = page.locator(".llm-part")
    assert "k_proj\t4096 × 1024\t4,194,304\t8,388,608" in told.inner_text()
    page.get_by_role("button", name="Feed-forward").click()
    assert page.evaluate("model.get('part')") == "feed_forward"
    assert "gate_proj\t4096 × 14336\t58,720,256\t117,440,512" in told.inner_text()
    assert page.get_by_role("button", name="Feed-forward").get_attribute("aria-pressed") == "true"


def test_memory_follows_the_sliders(page):
    mount(page, ModelAnatomy("llama-3-8b"))
    page.get_by_role("slider", name="Context").fill("13")
    page.get_by_role("slider", name="Texts at once").fill("4")
    whole = page.locator(".llm-whole").inner_text()
    assert "8,030,261,248 (published: 8B)" in whole and "15.0 GiB" in whole and "16.0 GiB (128 KiB" in whole
    page.get_by_label("Bits per number").select_option("4")
    whole = page.locator(".llm-whole").inner_text()
    assert "3.74 GiB" in whole and "4.00 GiB (32.0 KiB" in whole


def test_another_model_keeps_what_it_can(page):
    mount(page, ModelAnatomy("llama-3-8b"))
    page.get_by_role("slider", name="Context").fill("13")
    page.get_by_role("button", name="Final norm").click()
    page.get_by_role("combobox", name="Model").select_option("bert-base-uncased")
    state = page.evaluate("[model.get('model'), model.get('context'), model.get('part')]")
    assert state == ["bert-base-uncased", 512, "attention"]  # it reads no more, and has no last norm
    assert page.get_by_role("slider", name="Context").get_attribute("max") == "9"
    assert "none: an encoder keeps nothing" in page.locator(".llm-whole").inner_text()


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("gpt2", "+ residual, Feed-forward, Norm 2, + residual, Attention, Norm 1"),
        ("bert-base-uncased", "Norm 2, + residual, Feed-forward, Norm 1, + residual, Attention"),
    ],
)
def test_the_norm_is_drawn_where_it_stands(page, name, order):
    mount(page, ModelAnatomy(name))
    lines = page.locator(".llm-block").inner_text().split("\n")
    assert [line for line in lines if line] == ["× 12", *order.split(", ")]


def test_arrow_keys_walk_the_parts_and_enter_chooses(page):
    mount(page, ModelAnatomy("gpt2"))
    page.get_by_role("button", name="Scores").focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    assert page.evaluate("model.get('part')") == "feed_forward"
    page.keyboard.press("ArrowUp")  # the focus has stayed where it was
    page.keyboard.press("Enter")
    assert page.evaluate("model.get('part')") == "final_norm"


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_either_language_and_theme(page, lang, theme):
    start("03_attention", lang=lang)
    try:
        mount(page, ModelAnatomy("qwen3-0.6b"), theme=theme)
    finally:
        start("03_attention")
    assert ("整个模型" in page.locator("main").inner_text()) == (lang == "zh")
    assert violations(page) == []


def test_it_is_alive_on_the_website(page, tmp_path):
    visit_site(page, tmp_path, ModelAnatomy("gpt2"))
    page.get_by_role("button", name="Embeddings").click()
    assert "tokens\t50257 × 768\t38,597,376\tlooked up" in page.locator(".llm-part").inner_text()


def test_its_state_is_small():
    explorer = ModelAnatomy("gpt2")
    assert len(repr(explorer.plans)) < 10_000 and explorer.context == 1024
    assert anatomy.plan(GPT_SIZES["gpt2"])["d_ff"] == 3072 and LLAMA_SIZES["llama-3-8b"].num_kv_heads == 8


def test_an_unknown_model_is_named(unchecked):
    with pytest.raises(ValueError, match=r"model \('gpt5'\) must be one of gpt2, gpt2-xl, bert-base-uncased"):
        ModelAnatomy("gpt5")
