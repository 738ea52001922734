"""The LoRA explorer: its numbers against torch's singular values, its page by mouse and keyboard."""

import copy

import pytest
import torch
from browser import violations
from explorer_page import mount, visit_site
from torch import nn

from llmguide_lib import adapters
from llmguide_lib.models import GPT, GPTConfig
from llmguide_lib.notebook import start
from llmguide_lib.widgets import LoraExplorer
from llmguide_lib.widgets.explorer import bundle

SIZES = {"vocab_size": 32, "max_seq_len": 16, "d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 24}
STEPS = torch.diag(torch.tensor([4.0, 2.0, 2.0, 1.0]))  # 16, 4, 4, 1 of 25


@pytest.fixture
def updates():
    torch.manual_seed(0)
    return {"steps": STEPS, "wide": torch.rand(6, 40) - 0.5}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(GPTConfig(**SIZES))


def best(update, rank):
    u, s, v = torch.linalg.svd(update)
    return u[:, :rank] * s[:rank] @ v[:rank]


# -- what is stored ---------------------------------------------------------------------------------------------------


def test_what_finetuning_changed(model):
    after = copy.deepcopy(model)
    with torch.no_grad():
        after.blocks[1].feed_forward.up_proj.weight += torch.ones(24, 16)
        after.blocks[0].feed_forward.up_proj.weight += 3 * torch.eye(24, 16)
    explorer = LoraExplorer.of_finetuning(model, after, ["up_proj"])
    assert [one["name"] for one in explorer.maps] == [f"blocks.{at}.feed_forward.up_proj" for at in range(2)]
    assert [(one["rows"], one["columns"]) for one in explorer.maps] == [(24, 16)] * 2
    assert explorer.maps[0]["values"] == [3] * 16
    values = explorer.maps[1]["values"]
    assert values[0] == pytest.approx((24 * 16) ** 0.5, rel=1e-5) and max(values[1:]) < 1e-12
    assert (explorer.chosen, explorer.rank) == ("blocks.0.feed_forward.up_proj", 4)


@pytest.mark.parametrize("merged", [False, True])
def test_what_lora_learned(model, merged):
    adapters.add_lora(model, 3, 6, ["q_proj"])
    for _, lora in adapters.wrapping.wrappers(model, adapters.LoRA):
        nn.init.normal_(lora.lora_B)
    if merged:
        adapters.merge_lora(model)
    explorer = LoraExplorer.of_lora(model)
    lora = model.blocks[1].attention.q_proj
    expected = torch.linalg.svdvals(2 * lora.lora_B @ lora.lora_A)
    torch.testing.assert_close(torch.tensor(explorer.maps[1]["values"]), expected, atol=1e-12, rtol=1e-5)
    assert max(explorer.maps[1]["values"][3:]) < 1e-12


def test_random_matrices_are_one_of_each_shape_with_energy_one_and_draw_nothing_from_the_notebook(updates):
    state = torch.get_rng_state()
    explorer = LoraExplorer({**updates, "again": updates["wide"]})
    assert torch.equal(torch.get_rng_state(), state)
    assert {shape: len(values) for shape, values in explorer.random.items()} == {"4 × 4": 4, "6 × 40": 6}
    assert all(sum(v * v for v in values) == pytest.approx(1, abs=1e-5) for values in explorer.random.values())


def test_its_state_is_small():
    torch.manual_seed(0)
    explorer = LoraExplorer({f"blocks.{at}.attention.q_proj": torch.rand(192, 192) for at in range(10)})
    assert len(repr(explorer.maps)) + len(repr(explorer.random)) < 25_000


def test_without_widgets_there_is_a_table(updates):
    data, _ = LoraExplorer(updates)._repr_mimebundle_()
    row = "<tr><th><code>steps</code></th><td>4 × 4</td><td>64.0%</td><td>100.0%</td><td>100.0%</td></tr>"
    assert row in data["text/html"] and "application/vnd.jupyter.widget-view+json" in data


# -- the arithmetic of the page ---------------------------------------------------------------------------------------


def calls(page, code, *given):
    """What ranks.js makes of a map."""
    source = (
        "async ([source, given]) => { const n = await import(URL.createObjectURL(new Blob([source], "
        f"{{ type: 'text/javascript' }}))); return (({code}))(...given); }}"
    )
    return page.evaluate(source, [bundle("ranks"), list(given)])


def test_the_page_keeps_and_misses_what_the_best_matrix_of_a_rank_does(page, updates):
    maps = LoraExplorer(updates).maps
    whole = sum(update.square().sum() for update in updates.values())
    kept = calls(page, "(maps) => n.kept(maps)", maps)
    missed = calls(page, "(maps) => [1, 2, 3, 4, 5, 6].map((rank) => n.missed(maps, rank))", maps)
    for rank in range(1, 7):
        left = [best(update, rank) - update for update in updates.values()]
        lost = sum(one.square().sum() for one in left) / whole
        assert kept[rank - 1] == pytest.approx(1 - lost.item(), abs=1e-5)
        assert missed[rank - 1] == pytest.approx(lost.sqrt().item(), abs=1e-5)
    assert kept[-1] == 1 and missed[-1] == 0


def test_the_smallest_rank_that_keeps_enough(page, updates):
    maps = LoraExplorer(updates).maps[:1]
    code = "(maps) => [0.64, 0.65, 0.8, 0.9, 0.97, 1].map((share) => n.rankFor(maps, share))"
    assert calls(page, code, maps) == [1, 2, 2, 3, 4, 4]


def test_thin_matrices_hold_what_lora_trains(page, model):
    adapters.add_lora(model, 5, 5, ["up_proj"])
    for _, lora in adapters.wrapping.wrappers(model, adapters.LoRA):
        nn.init.normal_(lora.lora_B)
    maps = LoraExplorer.of_lora(model).maps
    assert calls(page, "(maps) => n.thin(maps, 5)", maps) == adapters.trainable(model)
    assert calls(page, "(maps) => [n.thin(maps, 99), n.whole(maps)]", maps) == [2 * 16 * (24 + 16), 2 * 24 * 16]


@pytest.mark.parametrize(("rows", "columns"), [(192, 192), (192, 608), (24, 16), (1, 7)])
def test_the_last_rank_that_saves_something(page, rows, columns):
    most = calls(page, "(map) => n.worthwhile(map)", {"rows": rows, "columns": columns})
    assert most * (rows + columns) < rows * columns <= (most + 1) * (rows + columns)


# -- the page ---------------------------------------------------------------------------------------------------------


def test_the_slider_tells_what_a_rank_keeps_and_costs(page, updates):
    explorer = LoraExplorer(updates, rank=2)
    mount(page, explorer)
    table = page.locator(".llm-whole")
    random = [torch.tensor(explorer.random[shape]).square() for shape in ("4 × 4", "6 × 40")]
    energies = [update.square().sum().item() for update in updates.values()]
    values = [torch.linalg.svdvals(update).square() for update in updates.values()]

    ours = sum(one[:2].sum().item() for one in values) / sum(energies)
    both = sum(e * r[:2].sum().item() for e, r in zip(energies, random, strict=True)) / sum(energies)
    cells = [row.split("\t")[1:] for row in table.inner_text().split("\n")[2:]]
    assert cells[0] == ["80.0%", f"{ours:.1%}"]
    assert cells[1] == [f"{random[0][:2].sum():.1%}", f"{both:.1%}"]
    assert cells[2][0] == f"{(5 / 25) ** 0.5:.1%}"
    assert cells[3][0] == "3"
    assert cells[5] == ["16 of 16 (100.0%)", "108 of 256 (42.2%)"]
    assert cells[6] == ["32 B of 32 B (100.0%)", "216 B of 512 B (42.2%)"]
    page.get_by_role("slider", name="Rank").press("ArrowRight")
    assert page.evaluate("model.get('rank')") == 3
    assert "At rank 3" in table.inner_text() and "96.0%" in page.locator("figcaption").nth(1).inner_text()
    page.get_by_label("Bits per number").select_option("32")
    assert "96 B of 64 B (150.0%)" in table.inner_text()


def test_another_map_keeps_the_rank_where_it_can(page, updates):
    mount(page, LoraExplorer({"wide": updates["wide"], "steps": STEPS}, rank=6))
    assert page.locator(".llm-bar-kept").count() == 6 and page.locator(".llm-bar-missed").count() == 0
    page.get_by_label("Map").select_option("steps")
    assert page.evaluate("[model.get('chosen'), model.get('rank')]") == ["steps", 4]
    assert page.get_by_role("slider", name="Rank").get_attribute("max") == "4"
    page.get_by_role("slider", name="Rank").fill("1")
    assert page.locator(".llm-bar-kept").count() == 1 and page.locator(".llm-bar-missed").count() == 3
    page.get_by_label("Map").select_option("wide")
    assert page.get_by_role("slider", name="Rank").get_attribute("max") == "6"
    assert page.evaluate("model.get('rank')") == 1


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_either_language_and_theme(page, updates, lang, theme):
    start("03_attention", lang=lang)
    try:
        mount(page, LoraExplorer(updates), theme=theme)
    finally:
        start("03_attention")
    assert ("奇异值" in page.locator("main").inner_text()) == (lang == "zh")
    assert violations(page) == []


def test_it_fits_a_phone(page, updates):
    page.set_viewport_size({"width": 375, "height": 800})
    mount(page, LoraExplorer({"blocks.11.feed_forward.down_proj": updates["wide"], "steps": STEPS}))
    assert page.evaluate("document.documentElement.scrollWidth") == 375


def test_it_is_alive_on_the_website(page, tmp_path, updates):
    visit_site(page, tmp_path, LoraExplorer(updates))
    page.get_by_role("slider", name="Rank").fill("1")
    assert "64.0%" in page.locator(".llm-whole").inner_text()


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: LoraExplorer({}), "updates must hold at least one matrix"),
        (lambda m: LoraExplorer({"a": torch.ones(3)}), r"updates: a has the shape \(3,\), it must be a matrix"),
        (lambda m: LoraExplorer({"a": STEPS / 0}), r"updates: a has a number that is not finite"),
        (lambda m: LoraExplorer({"a": 0 * STEPS}), r"updates: a is all zeros: nothing was trained there, leave it out"),
        (lambda m: LoraExplorer({"a": STEPS}, 0), r"rank \(0\) must be from 1 to 4, the largest of a"),
        (lambda m: LoraExplorer({"a": STEPS}, 5), r"rank \(5\) must be from 1 to 4, the largest of a"),
        (lambda m: LoraExplorer.of_lora(m), r"model \(GPT\) has no LoRA: add it first"),
        (lambda m: LoraExplorer.of_finetuning(m, m, ["up"]), r"targets: 'up' is no part of this model"),
        (lambda m: LoraExplorer.of_finetuning(m, m, "up_proj"), r"targets \('up_proj'\) must be a list of names"),
        (
            lambda m: LoraExplorer.of_finetuning(m, GPT(GPTConfig(**SIZES | {"d_ff": 8})), ["up_proj"]),
            r"before has no blocks.0.feed_forward.up_proj of the shape \(8, 16\): it is another model",
        ),
        (
            lambda m: LoraExplorer.of_finetuning(m, GPT(GPTConfig(**SIZES | {"num_layers": 3})), ["up_proj"]),
            r"before has no blocks.2.feed_forward.up_proj of the shape \(24, 16\)",
        ),
    ],
)
def test_what_is_wrong_is_said(model, make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make(model)
