"""Fill in the blank: what the page shows is what the encoder says in Python; blanks typed, chosen, filled and kept."""

import pytest
import torch
from browser import clean_page, violations
from explorer_models import MASK, MASK_ID, SIZES, TEXT, TOKENIZER, about, decoder, encoder, seen
from explorer_page import answers, complaint, mount, press_start, state_of, type_text, visit_site

from llmguide_lib import course
from llmguide_lib.notebook import start
from llmguide_lib.widgets import FillInExplorer
from llmguide_lib.widgets.blanks import ids_with_blanks
from llmguide_lib.widgets.explorer import bundle
from llmguide_lib.widgets.model_explorer import course_files

MODEL = encoder()
IDS = TOKENIZER.encode(TEXT)
PHONE = {"width": 390, "height": 844}


def fill_in(text=TEXT, **settings):
    return FillInExplorer(MODEL, TOKENIZER, text, **settings)


def begin(page):
    press_start(page)
    page.locator(".llm-chips button:not(:disabled)").first.wait_for()


@pytest.fixture(scope="module")
def running(browser):
    """One page for the tests that type a text of their own."""
    with clean_page(browser) as page:
        mount(page, fill_in())
        begin(page)
        yield page


def typed(page, text):
    """Types another text in between, so that no blank is left from the test before."""
    page.locator("textarea").fill("§")
    page.wait_for_function("document.querySelectorAll('.llm-chips button').length <= 2")
    page.locator("textarea").fill(text)
    ids = ids_with_blanks(TOKENIZER, text, MASK)
    page.wait_for_function("n => document.querySelectorAll('.llm-chips button').length === n", arg=len(ids))
    return page.locator(".llm-chips button")


def hide(page, place):
    chip = page.locator(".llm-chips button").nth(place)
    chip.click()
    page.wait_for_function("chip => chip.ariaPressed === 'true'", arg=chip.element_handle())


def after(ids, hidden, place):
    """The probabilities at one place when these are hidden."""
    read = [MASK_ID if at in hidden else id for at, id in enumerate(ids)]
    with torch.no_grad():
        return MODEL(torch.tensor([read]))[0, place].double().softmax(dim=-1)


def shown(page):
    rows = page.locator(".llm-bars tbody tr").all()
    return [(row.locator("th").inner_text(), row.locator("td").inner_text()) for row in rows]


def assert_shows(page, shares):
    for (_, text), share in zip(shown(page), shares.sort(descending=True).values[:10].tolist(), strict=False):
        assert about(text, share)


def note(page):
    return page.get_by_role("status").last.inner_text()


# -- arithmetic -------------------------------------------------------------------------------------------------------


def blanks(page, expression, *given):
    code = (
        "async ([source, x]) => { const blanks = await import(URL.createObjectURL(new Blob([source], "
        f"{{ type: 'text/javascript' }}))); return {expression}; }}"
    )
    return page.evaluate(code, [bundle("blanks"), given])


def test_blanks_are_typed_as_in_python_and_come_back_as_they_were(running):
    for text in (
        "a [MASK] b",
        "[MASK] a",
        "a[mask].",
        "a [MASK] [MASK]",
        "a  [MASK]",
        "x <|MASK|> [MASKS]",
        "[[MASK]]",
    ):
        page_reads = blanks(running, "blanks.marked(x[0], x[1])", text, MASK)
        assert TOKENIZER.encode(page_reads, [MASK]) == ids_with_blanks(TOKENIZER, text, MASK)
        again = blanks(
            running, "blanks.readable(x[0], x[1])", TOKENIZER.decode(TOKENIZER.encode(page_reads, [MASK])), MASK
        )
        assert ids_with_blanks(TOKENIZER, again, MASK) == ids_with_blanks(TOKENIZER, text, MASK)
    assert ids_with_blanks(TOKENIZER, "a [MASK] b", MASK) == [*TOKENIZER.encode("a"), MASK_ID, *TOKENIZER.encode(" b")]


@pytest.mark.parametrize(
    ("places", "before", "now", "expected"),
    [
        ([1, 3], [5, 6, 7, 8], [5, 6, 7, 8], [1, 3]),
        ([1, 3], [5, 6, 7, 8], [5, 6, 9, 9, 7, 8], [1, 5]),
        ([0, 1, 3], [5, 6, 7, 8], [9, 6, 7, 8], [1, 3]),
        ([0, 2, 3], [5, 6, 7, 8], [5, 8], [0, 1]),
        ([0, 2], [5, 5, 5], [5, 5], [0]),
        ([0, 1], [5, 6], [], []),
        ([0], [5], [7], []),
    ],
)
def test_blanks_stay_with_their_tokens_while_the_text_changes(running, places, before, now, expected):
    assert blanks(running, "blanks.carriedOver(...x)", places, before, now) == expected


# -- the explorer -----------------------------------------------------------------------------------------------------


def test_a_hidden_token_has_the_models_candidates_and_its_own_rank(running):
    typed(running, TEXT)
    for place in (3, 0, len(IDS) - 1):
        hide(running, place)
        shares = after(IDS, [place], place)
        assert_shows(running, shares)
        rank = int((shares > shares[IDS[place]]).sum()) + 1
        assert f"its choice number {rank}." in note(running) and f"“{seen(IDS[place])}”" in note(running)
        marked = running.locator(".llm-marked").inner_text()
        assert marked.startswith(f"{seen(IDS[place])} (hidden here)")
        assert about(marked.split("\t")[-1].strip(), shares[IDS[place]].item())
        running.get_by_role("button", name="Show “").click()
        running.wait_for_function("document.querySelector('.llm-bars').hidden")


def test_several_blanks_are_hidden_together_and_guessed_one_by_one(running):
    chips = typed(running, TEXT)
    for place in (1, 4, 2):
        hide(running, place)
    for place in (4, 1, 2):
        chips.nth(place).click()
        assert_shows(running, after(IDS, [1, 2, 4], place))
        assert "(hidden here)" in running.locator(".llm-marked").inner_text()
    assert running.locator("caption").inner_text().startswith("Blank 2 of 3: what the model would put there.")
    assert "Each blank is guessed by itself" in note(running)
    assert running.evaluate("model.get('blanks')") == [1, 2, 4]
    assert running.locator("textarea").input_value() == TEXT


def test_a_typed_blank_is_the_same_without_a_hidden_token(running):
    chips = typed(running, "the [MASK] of 注意")
    ids = ids_with_blanks(TOKENIZER, "the [MASK] of 注意", MASK)
    place = ids.index(MASK_ID)
    assert chips.nth(place).inner_text() == "[MASK]" and chips.nth(place).get_attribute("aria-label") == "Blank 1"
    assert_shows(running, after(ids, [], place))
    assert len(shown(running)) == 10 and not running.get_by_role("button", name="Show “").is_visible()
    assert note(running) == ""


def test_a_candidate_goes_into_the_blank_and_into_the_text(running):
    typed(running, "the [MASK] of 注意")
    ids = ids_with_blanks(TOKENIZER, "the [MASK] of 注意", MASK)
    place = ids.index(MASK_ID)
    chosen = after(ids, [], place).argsort(descending=True)[2].item()
    running.locator(".llm-bars th button").nth(2).press("Enter")
    running.wait_for_function("document.querySelector('.llm-bars').hidden")
    assert running.evaluate("document.activeElement.textContent") == seen(chosen)
    ids[place] = chosen
    assert running.locator("textarea").input_value() == running.evaluate("model.get('text')") == TOKENIZER.decode(ids)
    assert note(running).startswith("Nothing is hidden yet: choose a token above, or type [MASK]")


def test_the_mask_itself_fills_nothing(page):
    model = encoder()
    with torch.no_grad():
        model.lm_head.bias[MASK_ID] = 50  # above all other tokens
    mount(page, FillInExplorer(model, TOKENIZER, "the [MASK] of 注意"))
    begin(page)
    for _ in range(2):
        page.locator(".llm-bars th button").first.click()
        page.wait_for_function("document.activeElement.textContent === '[MASK]'")
        assert page.locator("caption").inner_text().startswith("Blank 1 of 1")


def test_what_is_filled_in_leaves_other_blanks_in_the_text(running):
    typed(running, "the [MASK] of [MASK]")
    running.locator(".llm-bars th button").nth(1).click()
    running.wait_for_function("document.querySelector('caption').textContent.startsWith('Blank 1 of 1')")
    text = running.locator("textarea").input_value()
    assert text.endswith(" of [MASK]") and text.startswith("the") and "<|mask|>" not in text


def test_all_blanks_are_filled_the_surest_first(running):
    typed(running, TEXT)
    hidden, ids = [1, 2, 5], list(IDS)
    for place in hidden:
        hide(running, place)
    running.get_by_role("button", name="Fill all").click()
    running.wait_for_function("document.querySelector('.llm-bars').hidden")
    while hidden:
        offers = {place: after(ids, hidden, place) for place in hidden}
        for shares in offers.values():
            shares[MASK_ID] = 0
        place = max(offers, key=lambda place: offers[place].max())
        ids[place] = int(offers[place].argmax())
        hidden.remove(place)
    assert running.locator(".llm-chips button").all_inner_texts() == [seen(id) for id in ids]


def test_every_token_is_hidden_in_turn(running):
    chips = typed(running, TEXT)
    hide(running, 2)  # a blank makes no difference: each token is hidden alone
    running.get_by_role("button", name="Hide every token").click()
    running.get_by_role("button", name="Stop").wait_for(state="hidden")
    shares = [after(IDS, [place], place) for place in range(len(IDS))]
    own = torch.stack([one[id] for one, id in zip(shares, IDS, strict=True)])
    for place in range(len(IDS)):
        assert about(chips.nth(place).locator("small").inner_text(), own[place].item())
    first = sum(int(one.argmax()) == id for one, id in zip(shares, IDS, strict=True))
    said = running.locator(".llm-chips + .llm-note").inner_text()
    assert said.startswith(f"{first} of {len(IDS)} tokens are the model's first choice")
    assert about(said.split("gets ")[1].split(" ")[0], own.log().mean().exp().item())
    chips.nth(4).click()
    running.wait_for_function("model.get('blanks').length === 2")
    assert chips.nth(1).locator("small").count() == 1  # still what it was: nothing of the text has changed
    running.locator("textarea").fill(TEXT + "!")
    running.wait_for_function("!document.querySelector('.llm-guess')")


def test_it_can_be_stopped_in_the_middle(running):
    text = " ".join("abcdefghijklmno")
    typed(running, text)
    running.evaluate("""() => {
      const done = () => document.querySelectorAll(".llm-guess").length;
      const stop = () => [...document.querySelectorAll("button")].find((one) => one.textContent === "Stop").click();
      new MutationObserver((_, watch) => done() >= 2 && (stop(), watch.disconnect())).observe(
        document.querySelector(".llm-chips"), { subtree: true, attributes: true });
    }""")
    running.get_by_role("button", name="Hide every token").click()
    running.get_by_role("button", name="Hide every token").and_(running.locator(":enabled")).wait_for()
    assert 2 <= running.locator(".llm-guess").count() < 15
    assert running.locator("textarea").evaluate("one => !one.readOnly")


def test_a_changed_text_keeps_its_blanks_and_chooses_one_that_was_typed(running):
    chips = typed(running, "the row of")
    hide(running, 0)
    running.locator("textarea").fill("the row of [MASK]")
    running.wait_for_function("model.get('blanks').length === 2")
    assert chips.last.get_attribute("aria-pressed") == "true"
    running.locator("textarea").fill("the new row of [MASK]")
    running.wait_for_function("model.get('text').includes('new') && model.get('blanks').length === 2")
    assert chips.first.inner_text() == chips.last.inner_text() == "[MASK]"


def test_arrow_keys_walk_without_hiding_and_enter_hides(running):
    chips = typed(running, TEXT)
    chips.first.focus()
    running.keyboard.press("ArrowRight")
    running.keyboard.press("ArrowRight")
    assert (
        chips.nth(2).evaluate("one => one === document.activeElement") and running.evaluate("model.get('blanks')") == []
    )
    running.keyboard.press("Enter")
    running.wait_for_function("model.get('blanks')[0] === 2")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There is no text yet"),
        ("a b c d " * 40, "the model reads at most 64. Shorten it."),
        ("ab\ud800c", "Character 3 of the text is half a character"),
    ],
)
def test_bad_text_has_a_sentence_and_good_text_helps(running, text, sentence):
    typed(running, "good [MASK]")
    type_text(running, text)
    assert sentence in complaint(running)
    assert running.locator(".llm-chips button").count() == 0 and not running.locator(".llm-bars").is_visible()
    running.get_by_role("button", name="Hide every token").click()
    typed(running, "good")
    assert running.get_by_role("alert").inner_text() == ""


def test_two_on_one_page_and_one_opened_twice_share_a_worker(page):
    mount(page, fill_in(), fill_in(blanks=[1]))
    page.evaluate("view(0)")
    for count in (1, 2, 3):
        begin(page)
        page.wait_for_function("n => document.querySelectorAll('textarea').length === n", arg=count)
    assert page.evaluate("workers.size") == 1
    page.evaluate("views.forEach((one) => one.stop())")
    assert page.evaluate("workers.size") == 0


# -- before it is started ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "theme"), [("en", "light"), ("zh", "dark")])
def test_axe_finds_nothing_and_nothing_is_asked_before_the_start(page, lang, theme):
    start("03_attention", lang=lang)
    explorer, asked = None, []

    def kernel(one, content):
        asked.append(content["kind"])
        return answers(one, content)

    try:
        explorer = fill_in("the [MASK] of 注意", blanks=[0])
        mount(page, explorer, theme=theme, kernel=kernel)
    finally:
        start("03_attention")
    assert asked == [] and violations(page) == []
    assert page.locator(".llm-chips button:disabled").first.inner_text() == "[MASK]" and len(shown(page)) == 10
    assert_shows(page, after(ids_with_blanks(TOKENIZER, "the [MASK] of 注意", MASK), [0], 0))
    begin(page)
    page.get_by_role("button", name={"en": "Hide every token", "zh": "逐个遮住"}[lang]).click()
    page.locator(".llm-guess").nth(1).wait_for()
    assert asked == ["start"] and violations(page) == []


def test_without_a_blank_there_is_a_sentence_in_the_readers_language(page):
    start("03_attention", lang="zh")
    try:
        mount(page, fill_in())
    finally:
        start("03_attention")
    assert len(shown(page)) == 0
    begin(page)
    page.wait_for_function("document.querySelectorAll('[role=status]')[1].textContent")
    assert "还没有遮住任何词元" in note(page)


def test_the_course_model_runs_on_the_website_at_the_width_of_a_phone(page, tmp_path):
    torch.set_default_dtype(torch.float32)
    stored = FillInExplorer(*course.load("bert"))
    for name, data in course_files("bert").items():
        (tmp_path / name).write_bytes(data)
    page.set_viewport_size(PHONE)
    asked = visit_site(page, tmp_path, stored, lang="zh", theme="dark")
    page.locator(".llm-start button").wait_for()
    assert stored.course == "bert" and not [path for path in asked if "models/" in path]
    assert len(str(state_of(stored))) < 3000
    before = shown(page)
    begin(page)
    page.locator(".llm-bars th button").first.wait_for()
    for (token, share), (stored_token, stored_share) in zip(shown(page)[:3], before[:3], strict=True):
        assert token == stored_token and abs(float(share[:-1]) - float(stored_share[:-1])) < 3  # int8 and float32
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and violations(page) == []


# -- Python -----------------------------------------------------------------------------------------------------------


def test_the_stored_result_is_html_where_widgets_do_not_run():
    html = fill_in(blanks=[1])._repr_mimebundle_()[0]["text/html"]
    best = after(IDS, [1], 1)[: TOKENIZER.vocab_size].max().item()
    assert "<code>[MASK]</code>" in html and "<th>first [MASK]</th>" in html and f"<td>{best:.1%}</td>" in html
    assert "<table>" not in fill_in()._repr_mimebundle_()[0]["text/html"]


def test_blanks_and_text_are_traits():
    explorer = fill_in("a [MASK] b", blanks=[2])
    assert (explorer.blanks, explorer.mask_token, explorer.text) == ([2], MASK, "a [MASK] b")
    assert explorer.still["places"] == [1, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FillInExplorer(decoder(), TOKENIZER), "model is a Llama; FillInExplorer takes a ModernBERT"),
        (lambda: fill_in(mask_token="[MASK]"), r"mask_token \('\[MASK\]'\) must be a special token of the tokenizer"),
        (lambda: fill_in(blanks=[0, 99]), f"blanks holds 99, it must hold places of tokens, from 0 to {len(IDS) - 1}"),
        (lambda: fill_in(blanks=[-1]), "blanks holds -1"),
        (lambda: fill_in(text=""), f"text has 0 tokens, it must have 1 to {SIZES['max_seq_len']} for this model"),
    ],
)
def test_bad_input_is_named(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()
