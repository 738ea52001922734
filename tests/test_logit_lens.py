"""Logit lens and head switch: equal to hooks in PyTorch, in the engine and on the page."""

import re

import pytest
import torch
from browser import clean_page, violations
from engine_page import engine_page, keep_model, tensor
from explorer_models import MASK, SIZES, TEXT, TOKENIZER, about, decoder, encoder, seen
from explorer_page import answers, complaint, mount, press_start, state_of, type_text, visit_site

from llmguide_lib import course
from llmguide_lib.notebook import start
from llmguide_lib.widgets import LogitLensExplorer
from llmguide_lib.widgets.blanks import ids_with_blanks
from llmguide_lib.widgets.explorer import bundle
from llmguide_lib.widgets.logit_lens import FEED_FORWARD, lens_of
from llmguide_lib.widgets.model_explorer import course_files
from llmguide_lib.widgets.weights import pack_weights

MODEL = decoder()
IDS = TOKENIZER.encode(TEXT)
LAYERS, HEADS = SIZES["num_layers"], SIZES["num_heads"]
PARTS = [*range(HEADS), FEED_FORWARD]
PHONE = {"width": 390, "height": 844}


def without(model, ids, off):
    """The lens of a model in which parts are silenced by hooks: the scores (rows, T, V)."""
    hooks = []
    width = model.blocks[0].attention.out_proj.in_features // model.config.num_heads

    def silence(head):
        def hook(_, args):
            heads = args[0].clone()
            heads[..., head * width : (head + 1) * width] = 0
            return (heads,)

        return hook

    for layer, part in off:
        block = model.blocks[layer]
        if part == FEED_FORWARD:
            hooks.append(block.feed_forward.register_forward_hook(lambda _, args, result: torch.zeros_like(result)))
        else:
            hooks.append(block.attention.out_proj.register_forward_pre_hook(silence(part)))
    try:
        return lens_of(model, ids)
    finally:
        for hook in hooks:
            hook.remove()


def lens(text=TEXT, model=MODEL, **settings):
    return LogitLensExplorer(model, TOKENIZER, text, **settings)


def begin(page):
    press_start(page)
    page.locator(".llm-cells td .llm-chosen").first.wait_for()


@pytest.fixture(scope="module")
def running(browser):
    """One page for the tests that type a text of their own."""
    with clean_page(browser) as page:
        mount(page, lens())
        begin(page)
        yield page


@pytest.fixture(scope="module")
def engine(browser):
    with engine_page(browser) as page:
        yield page


def typed(page, text=TEXT):
    """Types another text in between, so that all is as at the beginning, and switches all parts on."""
    page.evaluate("model.set('off', [])")
    ids = ids_with_blanks(TOKENIZER, text, MASK)
    for one, count in (("§", len(TOKENIZER.encode("§"))), (text, len(ids))):
        page.locator("textarea").fill(one)
        page.wait_for_function("n => document.querySelector('.llm-cells thead tr').cells.length === n + 1", arg=count)
    page.locator(".llm-cells").first.locator("td button").last.click()
    return ids


def cell(page, row, place):
    return page.locator(".llm-cells").first.locator("tbody tr").nth(row).locator("td button").nth(place)


def choose(page, row, place):
    cell(page, row, place).click()
    page.wait_for_function("cell => cell.classList.contains('llm-chosen')", arg=cell(page, row, place).element_handle())


def switch(page, layer, part):
    """Clicks a switch and waits for what it changes; a part of None is the layer's name."""
    row = page.locator(".llm-cells").nth(1).locator("tbody tr").nth(layer)
    before = page.locator(".llm-note[role=status]").inner_text()
    (row.locator("th button") if part is None else row.locator("td button").nth(PARTS.index(part))).click()
    page.wait_for_function(
        "before => document.querySelector('.llm-note[role=status]').textContent !== before", arg=before
    )


def shown(page):
    rows = page.locator(".llm-bars:visible tbody tr").all()
    return [(row.locator("th").inner_text(), *row.locator("td").all_inner_texts()) for row in rows]


def assert_shows(page, *logits):
    columns = [one.double().softmax(dim=-1) for one in logits]
    order = columns[0].argsort(descending=True)[:10].tolist()
    for row, id in zip(shown(page), order, strict=False):
        assert len(row) == 1 + len(columns)
        assert all(about(text, column[id].item()) for text, column in zip(row[1:], columns, strict=True))


def number(text):
    return float(text.replace("−", "-"))


# -- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [decoder, encoder])
def test_the_engines_readings_are_those_of_pytorchs_hooks(engine, make):
    model = make(seed=3)
    keep_model(engine, pack_weights(model, "float16"))
    for off in ([], [(0, 1)], [(1, FEED_FORWARD), (0, 0), (0, 3)], [(1, part) for part in PARTS]):
        plain = [
            {"kind": "feedForward", "layer": layer}
            if part == FEED_FORWARD
            else {"kind": "head", "layer": layer, "head": part}
            for layer, part in off
        ]
        found = engine.evaluate(
            """([ids, off]) => {
              const hooks = engine.together(...off.map((one) => engine.intervention(one, engine.model)));
              const { states, best, shares } = engine.readings(engine.model, ids, hooks);
              const said = states.map((row) => Array.from(engine.lens(engine.model, row)));
              return { said, best: best.map((row) => Array.from(row)), shares: shares.map((row) => Array.from(row)) };
            }""",
            [IDS, plain],
        )
        ours = without(model, IDS, off)
        torch.testing.assert_close(tensor(found["said"], *ours.shape), ours, atol=1e-4, rtol=0)
        assert found["best"] == ours.argmax(dim=-1).tolist()
        shares = ours.double().softmax(dim=-1).amax(dim=-1)
        torch.testing.assert_close(torch.tensor(found["shares"]), shares, atol=1e-4, rtol=0)


def test_the_highest_are_sorted_and_of_equals_the_smaller_id_comes_first(engine):
    values = torch.randint(0, 40, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    for count in (1, 7, 200, 300):
        expected = sorted(range(200), key=lambda id: (-values[id], id))[:count]
        assert engine.evaluate("([values, count]) => engine.highest(values, count)", [values, count]) == expected


def test_log_probabilities_are_those_of_log_softmax(engine):
    for logits in ([1.0, 2.0, -3.0], [5000.0, -5000.0, 0.0], [0.0]):
        ours = torch.tensor(logits).log_softmax(dim=0).tolist()
        theirs = engine.evaluate("x => x.map((_, id) => engine.logProbability(Float32Array.from(x), id))", logits)
        assert theirs == pytest.approx(ours, abs=1e-9)


def test_switches_toggle_a_part_or_a_layer(engine):
    code = (
        "async ([source, x]) => { const one = await import(URL.createObjectURL(new Blob([source], "
        "{ type: 'text/javascript' }))); return one.switched(...x); }"
    )

    def switched(*given):
        return engine.evaluate(code, [bundle("switches"), given])

    assert switched([], 1, 2, 3) == [[1, 2]] and switched([[1, 2], [0, 2]], 1, 2, 3) == [[0, 2]]
    whole = [[1, 0], [1, 1], [1, 2], [1, FEED_FORWARD]]
    assert switched([[1, 2]], 1, None, 3) == whole and switched([[0, 0], *whole], 1, None, 3) == [[0, 0]]


# -- the explorer -----------------------------------------------------------------------------------------------------


def test_every_cell_says_what_its_layer_would_say(running):
    typed(running)
    ours = lens_of(MODEL, IDS)
    for row, said in enumerate(ours):
        for place, logits in enumerate(said):
            share = logits.double().softmax(dim=-1).max().item()
            one = cell(running, row, place)
            assert one.inner_text() == seen(int(logits.argmax())) and about(one.get_attribute("title"), share)
            assert f"after “{seen(IDS[place])}”" in one.get_attribute("aria-label")
    rows = running.locator(".llm-cells").first.locator("tbody th").all_inner_texts()
    assert rows == ["embedding", "layer 0", "layer 1: answer"]


def test_a_cell_shows_its_candidates_and_the_token_that_really_comes_next(running):
    typed(running)
    ours = lens_of(MODEL, IDS)
    for row, place in ((0, 0), (1, 3), (2, len(IDS) - 1)):
        choose(running, row, place)
        running.wait_for_function(
            "name => document.querySelector('.llm-bars caption').textContent.startsWith(name)",
            arg=["embedding, after", "layer 0, after", "layer 1: answer, after"][row],
        )
        assert_shows(running, ours[row, place])
        real = [token for token, _ in shown(running) if "comes next" in token]
        assert real == ([f"{seen(IDS[place + 1])} (comes next in the text)"] if place + 1 < len(IDS) else [])


def test_a_head_that_is_switched_off_changes_the_prediction_as_in_pytorch(running):
    typed(running)
    before = lens_of(MODEL, IDS)[-1, -1]
    off = []
    for layer, part in ((0, 2), (1, FEED_FORWARD), (1, 0)):
        switch(running, layer, part)
        off.append((layer, part))
        after = without(MODEL, IDS, off)[-1, -1]
        assert_shows(running, before, after)
        watched = int(before.argmax())
        change = (after.log_softmax(dim=-1) - before.log_softmax(dim=-1))[watched].item()
        note = running.locator(".llm-note[role=status]").inner_text()
        assert note.startswith(f"“{seen(watched)}”: from ")
        assert number(re.search(r"by (\S+) nats", note)[1]) == pytest.approx(change, abs=0.006)
    assert running.evaluate("model.get('off')") == [[0, 2], [1, FEED_FORWARD], [1, 0]]
    ours, plain = without(MODEL, IDS, off), lens_of(MODEL, IDS)
    moved = int((ours.argmax(dim=-1) != plain.argmax(dim=-1)).sum())
    assert running.locator(".llm-moved").count() == moved > 0
    running.get_by_role("button", name="Switch all on").click()
    running.wait_for_function("!document.querySelector('.llm-moved') && !document.querySelector('.llm-off')")
    assert_shows(running, before)


def test_a_whole_layer_that_is_off_hands_on_what_it_reads(running):
    typed(running)
    switch(running, 0, None)
    assert running.locator(".llm-off").count() == len(PARTS)
    for place in range(len(IDS)):
        assert cell(running, 1, place).inner_text() == cell(running, 0, place).inner_text()
    switch(running, 0, None)
    assert running.locator(".llm-off").count() == 0


def test_a_followed_token_is_the_one_that_is_told_about(running):
    typed(running)
    before = lens_of(MODEL, IDS)[-1, -1]
    id = before.argsort(descending=True)[4].item()
    running.get_by_role("button", name=f"follow “{seen(id)}”", exact=True).press("Enter")
    told = running.locator(".llm-note[role=status]").inner_text()
    assert told.startswith(f"“{seen(id)}” has ")
    assert running.evaluate("document.activeElement.ariaPressed") == "true"  # the keyboard stays where it was
    value = before.log_softmax(dim=-1)[id].item()
    assert number(re.search(r"of (\S+) nats", told)[1]) == pytest.approx(value, abs=0.006)
    assert running.locator(".llm-marked:visible").count() == 1


def test_every_part_is_measured_by_itself(running):
    typed(running)
    choose(running, LAYERS, 2)
    switch(running, 0, 1)  # makes no difference: each part is compared with the whole model
    running.get_by_role("button", name="Measure every part").click()
    running.get_by_role("button", name="Stop").wait_for(state="hidden")
    before = lens_of(MODEL, IDS)[-1, 2].log_softmax(dim=-1)
    id = int(before.argmax())
    for layer in range(LAYERS):
        row = running.locator(".llm-cells").nth(1).locator("tbody tr").nth(layer).locator("td button")
        for text, part in zip(row.all_inner_texts(), PARTS, strict=True):
            change = without(MODEL, IDS, [(layer, part)])[-1, 2].log_softmax(dim=-1)[id] - before[id]
            assert number(text) == pytest.approx(change.item(), abs=0.006)
    assert f"“{seen(id)}” after “{seen(IDS[2])}”" in running.locator(".llm-note").last.inner_text()
    choose(running, LAYERS, 3)  # another question: what was measured is no answer to it
    running.wait_for_function("document.querySelectorAll('.llm-cells tbody')[1].rows[0].cells[1].textContent === 'on'")


def test_measuring_can_be_stopped_in_the_middle(running):
    typed(running)
    running.evaluate("""() => {
      const stop = () => [...document.querySelectorAll("button")].find((one) => one.textContent === "Stop").click();
      const measured = () => document.querySelectorAll(".llm-cells td [aria-label*=alone]").length;
      new MutationObserver((_, watch) => measured() >= 2 && (stop(), watch.disconnect())).observe(
        document.querySelectorAll(".llm-cells")[1], { subtree: true, attributes: true });
    }""")
    running.get_by_role("button", name="Measure every part").click()
    running.get_by_role("button", name="Measure every part").and_(running.locator(":enabled")).wait_for()
    assert 2 <= running.locator(".llm-cells td [aria-label*=alone]").count() < LAYERS * len(PARTS)
    assert running.locator("textarea").evaluate("one => !one.readOnly")


def test_switches_stay_while_the_text_changes(running):
    typed(running)
    switch(running, 1, 3)
    running.locator("textarea").fill(TEXT + " me")
    ids = TOKENIZER.encode(TEXT + " me")
    running.wait_for_function("n => document.querySelector('.llm-cells thead tr').cells.length === n + 1", arg=len(ids))
    assert_shows(running, lens_of(MODEL, ids)[-1, -1], without(MODEL, ids, [(1, 3)])[-1, -1])
    assert "Parts switched off: 1. Underlined" in running.locator(".llm-heading").first.inner_text()


def test_a_token_is_chosen_while_it_stands_in_the_text_and_otherwise_the_last_one_is(running):
    typed(running)
    choose(running, 1, 2)
    longer = TOKENIZER.encode("me " + TEXT)
    moved = len(longer) - len(IDS) + 2
    assert longer[moved:] == IDS[2:]
    for text, place in ((TEXT + " me", 2), ("me " + TEXT + " me", moved), ("me § words", -1)):
        running.locator("textarea").fill(text)
        count = len(TOKENIZER.encode(text))
        running.wait_for_function(
            "n => document.querySelector('.llm-cells thead tr').cells.length === n + 1", arg=count
        )
        chosen = cell(running, 1, place % count)
        assert chosen.get_attribute("aria-pressed") == "true"
        assert running.locator(".llm-cells .llm-chosen").count() == 1


def test_arrow_keys_walk_the_cells_and_the_switches_and_enter_acts(running):
    typed(running)
    cell(running, 1, 1).focus()
    for key, place in (("ArrowRight", (1, 2)), ("ArrowDown", (2, 2)), ("ArrowLeft", (2, 1)), ("ArrowDown", (2, 1))):
        running.keyboard.press(key)
        assert cell(running, *place).evaluate("one => one === document.activeElement && one.tabIndex === 0")
    running.keyboard.press("Enter")
    running.wait_for_function("document.activeElement.classList.contains('llm-chosen')")
    running.locator(".llm-cells").nth(1).locator("th button").first.focus()
    running.keyboard.press("ArrowRight")
    running.keyboard.press("Enter")
    running.wait_for_function("document.activeElement.classList.contains('llm-off')")
    assert running.evaluate("model.get('off')") == [[0, 0]]
    assert running.locator(".llm-cells").nth(1).locator("[tabindex='0']").count() == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There is no text yet"),
        ("a b c d " * 40, "the model reads at most 64. Shorten it."),
        ("ab\ud800c", "Character 3 of the text is half a character"),
    ],
)
def test_bad_text_has_a_sentence_and_good_text_helps(running, text, sentence):
    type_text(running, text)
    assert sentence in complaint(running)
    assert not running.locator(".llm-cells").first.is_visible()
    typed(running)
    assert running.get_by_role("alert").inner_text() == "" and cell(running, 0, 0).is_visible()


def test_an_encoder_says_what_stands_at_each_place(page):
    model, text = encoder(), "the [MASK] of 注意"
    mount(page, lens(text, model))
    begin(page)
    ids = ids_with_blanks(TOKENIZER, text, MASK)
    place = ids.index(TOKENIZER.token_to_id(MASK))
    ours = lens_of(model, ids)
    assert page.locator(".llm-cells").first.locator("thead th").nth(place).inner_text() == "[MASK]"
    assert cell(page, LAYERS, place).get_attribute("aria-pressed") == "true"
    choose(page, LAYERS, place)
    page.wait_for_function("document.querySelector('.llm-bars caption').textContent.includes('at “[MASK]”')")
    assert_shows(page, ours[-1, place])
    assert not [token for token, _ in shown(page) if "stands in the text" in token]
    choose(page, LAYERS, 0)
    page.wait_for_function("!document.querySelector('.llm-bars caption').textContent.includes('[MASK]')")
    assert [token.split(" ")[0] for token, _ in shown(page) if "stands in the text" in token] == [seen(ids[0])]
    before = ours[-1, 0]
    switch(page, 1, 2)
    assert_shows(page, before, without(model, ids, [(1, 2)])[-1, 0])


def test_two_on_one_page_and_one_opened_twice_share_a_worker(page):
    mount(page, lens(), lens(off=[(0, 1)]))
    page.evaluate("view(0)")
    for count in (1, 2, 3):
        begin(page)
        page.wait_for_function("n => document.querySelectorAll('textarea').length === n", arg=count)
    page.wait_for_function("document.querySelectorAll('.llm-off').length === 1")
    assert page.evaluate("workers.size") == 1
    page.evaluate("views.forEach((one) => one.stop())")
    assert page.evaluate("workers.size") == 0


# -- before it is started ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "theme"), [("en", "light"), ("zh", "dark")])
def test_axe_finds_nothing_and_nothing_is_asked_before_the_start(page, lang, theme):
    start("03_attention", lang=lang)
    asked = []

    def kernel(one, content):
        asked.append(content["kind"])
        return answers(one, content)

    try:
        mount(page, lens(off=[(0, 1)]), theme=theme, kernel=kernel)
    finally:
        start("03_attention")
    assert asked == [] and violations(page) == []
    ours = lens_of(MODEL, IDS)[..., : TOKENIZER.vocab_size].argmax(dim=-1)
    for row, place in ((0, 0), (1, 2), (2, 1)):
        assert cell(page, row, place).inner_text() == seen(int(ours[row, place]))
        assert cell(page, row, place).is_disabled()
    begin(page)
    page.get_by_role("button", name={"en": "Measure every", "zh": "逐个测量"}[lang]).click()
    page.locator(".llm-cells").nth(1).locator("td button").filter(has_text=re.compile(r"\d")).nth(3).wait_for()
    assert asked == ["start"] and violations(page) == []


def test_the_course_model_runs_on_the_website_at_the_width_of_a_phone(page, tmp_path):
    torch.set_default_dtype(torch.float32)
    stored = LogitLensExplorer(*course.load("gpt"))
    for name, data in course_files("gpt").items():
        (tmp_path / name).write_bytes(data)
    page.set_viewport_size(PHONE)
    asked = visit_site(page, tmp_path, stored, lang="zh", theme="dark")
    page.locator(".llm-start button").wait_for()
    assert stored.course == "gpt" and not [path for path in asked if "models/" in path]
    assert len(str(state_of(stored))) < 5000
    before = page.locator(".llm-cells tbody tr").last.locator("td").all_inner_texts()
    begin(page)
    after = page.locator(".llm-cells").first.locator("tbody tr").last.locator("td").all_inner_texts()
    assert len(before) == len(after) and before[-1] == after[-1]  # int8 may turn a close race elsewhere
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and violations(page) == []
    inside = """() => {
      const box = (one) => document.querySelector(one).getBoundingClientRect();
      const [cell, frame] = [".llm-chosen", ".llm-wide"].map(box);
      return cell.left >= frame.left && cell.right <= frame.right + 1;
    }"""
    assert page.evaluate(inside)


# -- Python -----------------------------------------------------------------------------------------------------------


def test_the_last_row_is_the_models_answer_and_hooks_are_taken_off():
    for model in (decoder(), encoder()):
        with torch.no_grad():
            answer = model(torch.tensor([IDS]))[0]
        model.train()
        torch.testing.assert_close(lens_of(model, IDS)[-1], answer, atol=1e-5, rtol=0)
        assert model.training and not any(part._forward_hooks for part in model.modules())


def test_the_stored_result_is_html_where_widgets_do_not_run():
    html = lens()._repr_mimebundle_()[0]["text/html"]
    assert html.count("<tr>") == LAYERS + 2 and html.count("<td>") == (LAYERS + 1) * len(IDS)
    best = lens_of(MODEL, IDS)[1, 0, : TOKENIZER.vocab_size]
    first = f"<td><code>{seen(int(best.argmax()))}</code>"
    assert (
        html.startswith(f"<table><tr><th>after</th><th><code>{seen(IDS[0])}</code>") and f"layer 0</th>{first}" in html
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lens(model=torch.nn.Linear(2, 2)), "model is a Linear; LogitLensExplorer takes a Llama or ModernBERT"),
        (
            lambda: lens(off=[(0, 4)]),
            r"off holds \(0, 4\), it must hold pairs of a layer from 0 to 1 with a head from 0",
        ),
        (lambda: lens(off=[(2, 0)]), r"off holds \(2, 0\)"),
        (lambda: lens(off=[(0, "mlp")]), r"off holds \(0, 'mlp'\)"),
        (
            lambda: lens(model=encoder(), mask_token="?"),
            r"mask_token \('\?'\) must be a special token of the tokenizer",
        ),
        (lambda: lens(text="a b c d " * 40), "text has .* tokens, it must have 1 to 64 for this model"),
    ],
)
def test_bad_input_is_named(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()
