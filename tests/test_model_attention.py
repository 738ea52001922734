"""The model attention explorer: PyTorch's weights and predictions, as trained and changed, by mouse and keyboard."""

import pytest
import torch
from browser import clean_page, violations
from explorer_models import MASK, MASK_ID, SIZES, TOKENIZER, about, decoder, encoder, seen
from explorer_page import answers, complaint, mount, press_start, state_of, type_text, visible, visit_site
from test_engine import MASKS, attends, observed

from llmguide_lib import course
from llmguide_lib.models import GPT, GPTConfig
from llmguide_lib.widgets import BeamExplorer, ModelAttentionExplorer
from llmguide_lib.widgets.blanks import ids_with_blanks
from llmguide_lib.widgets.explorer import bundle
from llmguide_lib.widgets.model_explorer import course_files

TEXTS = {"decoder": "the row of 注意", "encoder": "the row [MASK] of words"}
SETTINGS = {"layer": 0, "head": 0, "asking": -1, "mask": "trained", "window": 3, "temperature": 1, "only": -1}


MAKERS = {"decoder": decoder, "encoder": encoder}


def ids_of(name):
    text = TEXTS[name]
    return ids_with_blanks(TOKENIZER, text, MASK) if name == "encoder" else TOKENIZER.encode(text)


@pytest.fixture(scope="module")
def pages(browser):
    torch.set_default_dtype(torch.float32)
    with clean_page(browser) as first, clean_page(browser) as second:
        for page, name in ((first, "decoder"), (second, "encoder")):
            mount(page, ModelAttentionExplorer(MAKERS[name](), TOKENIZER, TEXTS[name]))
            press_start(page)
        yield {"decoder": first, "encoder": second}


def ready(pages, name, **changes):
    """The page of a model with these settings."""
    page = pages[name]
    type_text(page, TEXTS[name])
    settle(page)
    page.evaluate("values => Object.entries(values).forEach((one) => model.set(...one))", SETTINGS | changes)
    settle(page)
    return page


def settle(page):
    """Until what was asked for is drawn. The worker answers in order; an answer may lead to one more request, twice."""
    code = """async () => {
      const [{ ready }] = llmguideModels.values();
      for (let round = 0; round < 4; round++) await (await ready).link.ask("encode", { text: "a" }).result;
    }"""
    page.evaluate(code)


def table(page, place):
    rows = page.locator(".llm-bars").nth(place).locator("tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def assert_shows(page, name, model, *, layer, head, asking):
    """Compares the weights and both predictions with those of PyTorch; returns how much moved."""
    ids = ids_of(name)
    tokens = torch.tensor([ids])
    inside = observed(model, tokens)
    row = inside["weights"][layer][head, asking]
    found = table(page, 0)
    assert len(found) == min(8, int((row > 0).sum()))
    for (label, share), place in zip(found, row.argsort(descending=True, stable=True).tolist(), strict=False):
        assert label == f"{seen(ids[place])} ({place})" or about(share, row[int(label.split("(")[-1][:-1])].item())
        assert about(share, row[place].item())
    with torch.no_grad():
        before = MAKERS[name]()(tokens)[0, asking].softmax(dim=-1)
    now = inside["logits"][asking].softmax(dim=-1)
    spelt = {seen(id): id for id in reversed(range(710))} | {"[MASK]": MASK_ID}
    rows = table(page, 1)
    assert rows[0][0] == seen(before.argmax().item()) and 6 <= len(rows) <= 9
    for piece, own, changed in rows:
        assert about(own, before[spelt[piece]].item()) and about(changed, now[spelt[piece]].item())
    return (now - before).abs().sum().item() / 2


# -- weights and predictions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_weights_and_predictions_are_pytorchs_for_every_head_and_token(pages, name):
    page = ready(pages, name)
    last = len(ids_of(name)) - 1
    for layer, head, asking in ((0, 0, last), (1, 3, 2), (0, 2, 0)):
        page.evaluate(
            "(set) => Object.entries(set).forEach((one) => model.set(...one))", {"layer": layer, "head": head}
        )
        page.locator(".llm-chips button").nth(asking).click()
        assert assert_shows(page, name, MAKERS[name](), layer=layer, head=head, asking=asking) == 0
        assert page.get_by_role("status").last.inner_text().startswith("Attention is as trained")


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("mask", "temperature", "only"), [("everything", 1, -1), ("near", 1, 1), ("past", 0.5, -1), ("trained", 4.0, 0)]
)
def test_mask_and_temperature_change_them_as_in_pytorch(pages, name, mask, temperature, only):
    page = ready(pages, name, mask=mask, temperature=temperature, only=only, layer=1, head=1, asking=3)
    changed = attends(MAKERS[name](), MASKS[mask], temperature, None if only < 0 else only)
    moved = assert_shows(page, name, changed, layer=1, head=1, asking=3)
    note = page.get_by_role("status").last.inner_text()
    assert about(note.split("attention ")[1].split(" of")[0], moved)


def test_an_encoders_mask_is_a_token_and_looked_at_first(pages):
    page = ready(pages, "encoder")
    chosen = page.locator('.llm-chips [aria-pressed="true"]')
    assert chosen.inner_text() == "[MASK]"
    assert page.locator(".llm-bars caption").last.inner_text() == "The model expects in place of “[MASK]”"
    options = [page.locator("select option").all_inner_texts() for page in pages.values()]
    assert "only what came before" in options[1] and "only what came before" not in options[0]
    type_text(pages["decoder"], TEXTS["encoder"])  # where it is no token
    settle(pages["decoder"])
    assert "[MASK]" not in pages["decoder"].locator(".llm-chips button").all_inner_texts()


def test_a_prediction_follows_the_end_of_the_text_until_a_token_is_chosen(pages):
    page = ready(pages, "decoder")
    type_text(page, "the row")
    settle(page)
    chips = page.locator(".llm-chips button")
    assert chips.last.get_attribute("aria-pressed") == "true"
    chips.first.click()
    type_text(page, "the row of")
    settle(page)
    assert chips.first.get_attribute("aria-pressed") == "true" and page.evaluate("model.get('asking')") == 0
    chips.last.click()
    assert page.evaluate("model.get('asking')") == -1


@pytest.mark.parametrize("name", MAKERS)
def test_a_token_that_is_looked_from_moves_with_the_text_and_is_given_up_with_it(pages, name):
    page = ready(pages, name, asking=2, temperature=0.5)
    longer = "me " + TEXTS[name]
    ids = ids_with_blanks(TOKENIZER, longer, MASK) if name == "encoder" else TOKENIZER.encode(longer)
    moved = len(ids) - len(ids_of(name)) + 2
    assert ids[moved:] == ids_of(name)[2:]
    type_text(page, longer)
    settle(page)
    chips = page.locator(".llm-chips button")
    assert chips.nth(moved).get_attribute("aria-pressed") == "true" and page.evaluate("model.get('asking')") == moved
    page.locator(".llm-map image").hover()
    said = page.locator(".llm-map + p")
    assert "the weight" in said.inner_text()
    type_text(page, "§[MASK]")
    settle(page)
    assert page.evaluate("['asking', 'temperature'].map((name) => model.get(name))") == [-1, 0.5]
    assert chips.nth(-1).get_attribute("aria-pressed") == "true"
    assert said.inner_text().startswith("Point at a cell")


def test_moved_is_half_the_sum_of_differences(pages):
    code = """async (source) => {
      const { moved } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      return [moved([0.5, 0.5, 0], [0.2, 0.5, 0.3]), moved([1, 0], [0, 1])];
    }"""
    first, second = pages["decoder"].evaluate(code, bundle("numbers"))
    assert first == pytest.approx(0.3) and second == 1


# -- controls ---------------------------------------------------------------------------------------------------------


def test_heads_are_chosen_by_mouse_and_keyboard(pages):
    page = ready(pages, "decoder")
    heads = page.locator(".llm-heads button")
    assert heads.count() == 8 and page.locator('.llm-heads [tabindex="0"]').count() == 1
    heads.nth(1).click()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("[model.get('layer'), model.get('head')]") == [1, 2]
    here = "document.activeElement.getAttribute('aria-label') + document.activeElement.ariaPressed"
    assert page.evaluate(here) == "layer 1, head 2true"
    assert page.get_by_role("img").get_attribute("aria-label").startswith("Layer 1, head 2: row = who looks")


def test_the_controls_tell_python_and_can_be_reset(pages):
    page = ready(pages, "decoder")
    assert not page.get_by_role("slider", name="Near").is_visible()
    assert page.get_by_role("button", name="Reset").is_disabled()
    page.get_by_label("A token may see").select_option("near")
    page.get_by_role("slider", name="Near").press("ArrowLeft")
    page.get_by_role("slider", name="temperature").press("ArrowLeft")
    page.get_by_label("only in layer 0").check()
    values = page.evaluate("['mask', 'window', 'temperature', 'only'].map((name) => model.get(name))")
    assert values == ["near", 2, pytest.approx(10**-0.05), 0]
    page.locator(".llm-heads button").nth(5).click()
    assert page.evaluate("model.get('only')") == 1 and page.get_by_label("only in layer 1").is_checked()
    page.get_by_role("button", name="Reset").click()
    values = page.evaluate("['mask', 'temperature', 'only'].map((name) => model.get(name))")
    assert values == ["trained", 1, -1]


def test_the_large_map_is_read_by_pointing_and_a_click_chooses_the_row(pages):
    page = ready(pages, "decoder", layer=1, head=2)
    ids = ids_of("decoder")
    box = page.locator(".llm-map rect.llm-frame").bounding_box()
    cell = box["width"] / len(ids)
    at = (box["x"] + 1.5 * cell, box["y"] + 3.5 * cell)
    page.mouse.move(*at)
    weight = observed(decoder(), torch.tensor([ids]))["weights"][1][2, 3, 1].item()
    said = page.locator(".llm-map + p").inner_text()
    assert said.startswith(f"“{seen(ids[3])}” gives “{seen(ids[1])}” the weight ")
    assert float(said.split("weight ")[1][:-1]) == pytest.approx(weight, abs=6e-4)
    page.mouse.click(*at)
    assert page.evaluate("model.get('asking')") == 3
    page.mouse.move(5, 5)
    assert page.locator(".llm-map + p").inner_text().startswith("Point at a cell")


def test_the_small_maps_are_painted_by_the_weights(pages):
    page = ready(pages, "encoder")
    code = """() => {
      const canvas = document.querySelectorAll(".llm-heads canvas")[5];
      const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return [width, Array.from(data).filter((_, at) => at % 4 === 3)];
    }"""
    size, alphas = page.evaluate(code)
    weights = observed(encoder(), torch.tensor([ids_of("encoder")]))["weights"][1][1]
    painted = torch.tensor(alphas, dtype=torch.float32).reshape(size, size) / 255
    torch.testing.assert_close(painted, weights.sqrt(), atol=0.003, rtol=0)


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There is no text yet"),
        ("a b c d " * 40, "the model reads at most 64. Shorten it."),
        ("ab\ud800c", "Character 3 of the text is half a character"),
    ],
)
def test_bad_text_has_a_sentence_and_good_text_helps(pages, text, sentence):
    page = ready(pages, "decoder")
    type_text(page, text)
    assert sentence in complaint(page)
    assert not page.locator(".llm-map").is_visible() and not page.locator(".llm-bars").first.is_visible()
    type_text(page, TEXTS["decoder"])
    page.locator(".llm-map").wait_for()
    assert page.get_by_role("alert").inner_text() == ""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelAttentionExplorer(GPT(GPTConfig(**SIZES)), TOKENIZER), "takes a Llama or ModernBERT"),
        (lambda: ModelAttentionExplorer(decoder(), TOKENIZER, layer=2), r"layer \(2\) must be at least 0 and below 2"),
        (lambda: ModelAttentionExplorer(decoder(), TOKENIZER, head=-1), r"head \(-1\) must be at least 0 and below 4"),
        (lambda: setattr(ModelAttentionExplorer(decoder(), TOKENIZER), "layer", 2), r"layer \(2\) must be at least 0"),
        (lambda: setattr(ModelAttentionExplorer(decoder(), TOKENIZER), "only", 2), r"only \(2\) must be at least -1"),
        (lambda: ModelAttentionExplorer(decoder(), TOKENIZER, ""), "text has 0 tokens, it must have 1 to 64"),
    ],
)
def test_bad_input_is_named(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


# -- where it runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_the_stored_result_is_one_heads_map_and_the_prediction(name, unchecked):
    explorer = ModelAttentionExplorer(MAKERS[name](), TOKENIZER, TEXTS[name], layer=1, head=2)
    inside = observed(MAKERS[name](), torch.tensor([ids_of(name)]))
    asking = ids_of(name).index(MASK_ID) if name == "encoder" else len(ids_of(name)) - 1
    stored = explorer.still
    torch.testing.assert_close(torch.tensor(stored["weights"]), inside["weights"][1][2].double(), atol=6e-4, rtol=0)
    assert (stored["asking"], stored["causal"]) == (asking, name == "decoder")
    shares = inside["logits"][asking].softmax(dim=-1)[:700].topk(6).values.tolist()
    assert [share for _, share in stored["rows"]] == pytest.approx(shares, abs=6e-5)
    html = explorer._repr_mimebundle_()[0]["text/html"]
    row = "".join(f"<td>{weight:.2f}</td>" for weight in stored["weights"][1])
    assert "<th>layer 1, head 2</th>" in html and f"<code>{seen(ids_of(name)[1])}</code></th>{row}" in html
    assert f"<th>{'after' if name == 'decoder' else 'at'} <code>" in html
    assert len(str(state_of(explorer))) < 4000 and explorer.layer == 1 and explorer.head == 2


def test_it_shares_the_model_with_another_explorer_on_the_page_and_axe_finds_nothing(browser):
    torch.set_default_dtype(torch.float32)
    model, sent = decoder(), []

    def kernel(one, content):
        sent.append(answers(one, content)[0])
        return answers(one, content)

    with clean_page(browser) as page:
        explorers = [ModelAttentionExplorer(model, TOKENIZER, "a row"), BeamExplorer(model, TOKENIZER, "a row")]
        mount(page, *explorers, theme="dark", kernel=kernel)
        press_start(page)
        press_start(page)
        page.locator(".llm-heads").wait_for()
        page.locator(".llm-found tr").nth(2).wait_for()
        assert page.evaluate("workers.size") == 1 and [one["content"]["kind"] for one in sent] == ["part", "shared"]
        assert violations(page) == []


@pytest.mark.parametrize(("name", "lang", "theme"), [("gpt", "zh", "dark"), ("bert", "en", "light")])
def test_the_course_models_are_looked_into_on_the_website(browser, tmp_path, name, lang, theme):
    torch.set_default_dtype(torch.float32)
    for file, content in course_files(name).items():
        (tmp_path / file).write_bytes(content)
    stored = ModelAttentionExplorer(*course.load(name))
    with clean_page(browser, width=390) as page:
        asked = visit_site(page, tmp_path, stored, lang=lang, theme=theme)
        page.locator(".llm-map").wait_for()
        assert violations(page) == [] and not [path for path in asked if "models/" in path or "engine" in path]
        press_start(page)
        page.locator(".llm-heads").wait_for()
        chosen = page.locator('.llm-chips [aria-pressed="true"]').inner_text()
        assert chosen == {"gpt": "␣array", "bert": "[MASK]"}[name]
        first = table(page, 1)[0]
        assert first[0] == visible(stored.still["rows"][0][0])
        assert abs(float(first[1][:-1]) / 100 - stored.still["rows"][0][1]) < 0.05
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert violations(page) == []
