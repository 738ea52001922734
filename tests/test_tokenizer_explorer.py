"""The tokenizer explorer: a text cut as Python cuts it, the merges of a word, and what other languages cost."""

import pytest
from browser import clean_page, violations
from explorer_page import answers, complaint, mount, press_start, state_of, type_text, visible, visit_site
from hard_texts import HARD

from llmguide_lib import course
from llmguide_lib.tokenizers import BPETokenizer, WordPieceTokenizer
from llmguide_lib.tokenizers.bpe import merge
from llmguide_lib.widgets import TokenizerExplorer
from llmguide_lib.widgets.explorer import bundle
from llmguide_lib.widgets.model_explorer import spelled

TOKENIZER = BPETokenizer.train(HARD.values(), 700, ["<|end|>"])
TEXT = "unbelievable 注意 words"


@pytest.fixture(scope="module")
def sent():
    return []


@pytest.fixture(scope="module")
def opened(browser, sent):
    """The explorer in a notebook, shown twice and started once; ``sent`` holds what the kernel answered."""

    def kernel(one, content):
        sent.append(answers(one, content))
        return sent[-1]

    with clean_page(browser) as page:
        mount(page, TokenizerExplorer(TOKENIZER, TEXT), TokenizerExplorer(TOKENIZER, TEXT), kernel=kernel)
        press_start(page)
        page.locator(".llm-costs tr").nth(1).wait_for()
        yield page


@pytest.fixture
def page(opened):
    type_text(opened, TEXT)
    opened.evaluate("model.set('chosen', 0); model.set('below', 'ids')")
    wait_for(opened, TEXT)
    return opened


def chips(page):
    return page.locator(".llm-chips").first.locator("button")


def wait_for(page, text):
    """Until the text is cut; what is below each token is its id."""
    ids = [str(id) for id in TOKENIZER.encode(text)]
    code = """(ids) => {
      const chips = [...document.querySelector(".llm-chips").children];
      return JSON.stringify(chips.map((one) => one.lastChild.textContent)) === JSON.stringify(ids);
    }"""
    page.wait_for_function(code, arg=ids)


# -- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Chinese", "emoji", "contractions", "spaces", "undecodable bytes, replaced"])
def test_a_text_is_cut_as_python_cuts_it(page, name):
    text = HARD[name]
    type_text(page, text)
    wait_for(page, text)
    ids = TOKENIZER.encode(text)
    note = page.get_by_role("status").nth(1).inner_text()
    assert note.startswith(f"{len(text)} characters, {len(text.encode())} bytes, {len(ids)} tokens: ")
    assert note.endswith("cut into its bytes.") == any("⟨" in spelled(TOKENIZER, id) for id in ids)
    page.evaluate("model.set('below', 'bytes')")
    shown = [one.split("\n")[-1] for one in chips(page).all_inner_texts()]
    assert bytes.fromhex("".join(shown)) == text.encode()
    page.evaluate("model.set('below', 'nothing')")
    assert "\n" not in chips(page).first.inner_text()


def test_two_shades_tell_the_words_apart(page):
    words = [TOKENIZER.encode(word) for word in ("unbelievable", " 注意", " words")]
    shades = [one.get_attribute("class") for one in chips(page).all()]
    assert shades == sum(([f"llm-{('even', 'odd')[at % 2]}"] * len(word) for at, word in enumerate(words)), [])


def reference(word):
    """The merges of a word by the definition: rule after rule, each everywhere."""
    ids = [TOKENIZER.token_to_id(bytes([byte])) for byte in word.encode()]
    steps = [(None, ids)]
    for rank, (left, right) in enumerate(TOKENIZER.merges):
        pair = TOKENIZER.token_to_id(left), TOKENIZER.token_to_id(right)
        merged = merge(ids, pair, TOKENIZER.token_to_id(left + right))
        if merged != ids:
            steps.append((rank + 1, merged))
            ids = merged
    return steps


@pytest.mark.parametrize("word", ["unbelievable", " 注意", " words"])
def test_the_merges_of_the_chosen_word_are_those_of_the_definition(page, word):
    place = len(TOKENIZER.encode(TEXT[: TEXT.index(word)]))
    chips(page).nth(place).click()
    title = f"How “{visible(word)}” is put together"
    page.wait_for_function("title => document.querySelector('.llm-merges caption')?.textContent === title", arg=title)
    rows = page.locator(".llm-merges tr").all()[1:]
    shown = [(row.locator("th").inner_text(), row.locator(".llm-word code").all_inner_texts()) for row in rows]
    expected = reference(word)
    last = dict(expected)  # the definition does all places of a rule at once, the explorer one by one
    found = {int(rank) if rank != "–" else None: pieces for rank, pieces in shown}
    assert found == {rank: [visible(spelled(TOKENIZER, id)) for id in ids] for rank, ids in last.items()}
    assert expected[-1][1] == TOKENIZER.encode(word) and len(expected) > 1


def test_the_arrow_keys_walk_the_tokens_and_python_hears_it(page):
    chips(page).first.focus()
    for _ in TOKENIZER.encode("unbelievable"):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.llm-merges caption').textContent.includes('注')")
    assert page.evaluate("model.get('chosen')") == len(TOKENIZER.encode("unbelievable"))
    assert page.locator(".llm-chips").first.locator('[tabindex="0"]').count() == 1


def test_a_chosen_token_moves_with_the_text_and_is_given_up_with_it(page):
    place = len(TOKENIZER.encode("unbelievable"))
    chips(page).nth(place).click()
    for text, expected in (
        ("words " + TEXT, len(TOKENIZER.encode("words unbelievable"))),
        ("", None),
        ("entirely other", 0),
    ):
        type_text(page, text)
        if expected is None:
            complaint(page)
            continue
        wait_for(page, text)
        assert chips(page).nth(expected).get_attribute("aria-pressed") == "true"
        assert page.evaluate("model.get('chosen')") == expected


def test_the_last_token_stays_chosen_when_a_letter_makes_it_another(page):
    type_text(page, "unbelievabl")
    wait_for(page, "unbelievabl")
    chips(page).last.click()
    assert TOKENIZER.encode("unbelievabl")[-1] != TOKENIZER.encode("unbelievable")[-1]
    type_text(page, "unbelievable")
    wait_for(page, "unbelievable")
    assert chips(page).last.get_attribute("aria-pressed") == "true"
    assert page.evaluate("model.get('chosen')") == len(TOKENIZER.encode("unbelievable")) - 1


def test_a_word_too_long_to_be_watched_has_a_sentence(page):
    type_text(page, "w" * 81)
    page.wait_for_function("document.body.innerText.includes('is too long to show each merge')")
    assert page.locator(".llm-merges").count() == 0
    type_text(page, "w" * 80)
    page.locator(".llm-merges").wait_for()


def test_the_costs_are_those_of_python(page):
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator(".llm-costs tr").all()[1:]]
    samples = [one.get_attribute("title") for one in page.locator(".llm-costs button").all()]
    assert len(rows) == len(samples) == 9 and rows[0][0] == "English" and rows[-1][0] == "Python"
    english = len(TOKENIZER.encode(samples[0]))
    for row, sample in zip(rows, samples, strict=True):
        tokens = len(TOKENIZER.encode(sample))
        assert row[1:4] == [str(len(sample)), str(len(sample.encode())), str(tokens)]
        assert float(row[5]) == pytest.approx(tokens / len(sample), abs=0.0051)
        assert row[6] == "" if row[0] == "Python" else float(row[6]) == pytest.approx(tokens / english, abs=0.051)
        if row[0] in ("English", "German", "Spanish", "Russian", "Python"):  # where words stand between blanks
            assert float(row[4]) == pytest.approx(tokens / len(sample.split()), abs=0.051)


def test_a_sample_goes_into_the_box(page):
    button = page.locator(".llm-costs button").nth(2)
    button.click()
    sample = button.get_attribute("title")
    wait_for(page, sample)
    assert page.locator("textarea").first.input_value() == page.evaluate("model.get('text')") == sample


def test_words_are_counted_as_readers_of_the_language_count_them(page):
    code = """async (source) => {
      const { wordsIn } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      const given = [["one, two!", "en"], ["今天天气很好", "zh"], ["x = [1, 2]", ""], ["", "en"]];
      return given.map((one) => wordsIn(...one));
    }"""
    english, chinese, python, nothing = page.evaluate(code, bundle("counts"))
    assert (english, python, nothing) == (2, 4, 0) and 2 <= chinese <= 4


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There is no text yet"),
        ("x " * 1001, "The text has 2002 characters; at most 2000 are cut here."),
        ("ab\ud800c", "Character 3 of the text"),
    ],
)
def test_bad_text_has_a_sentence_and_good_text_helps(page, text, sentence):
    type_text(page, text)
    assert sentence in complaint(page)
    assert chips(page).count() == 0 and page.locator(".llm-merges").count() == 0
    assert page.get_by_role("status").nth(1).inner_text() == ""
    type_text(page, TEXT)
    wait_for(page, TEXT)
    assert page.get_by_role("alert").first.inner_text() == ""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TokenizerExplorer(TOKENIZER, ""), "text has 0 characters, it must have 1 to 2000"),
        (lambda: TokenizerExplorer(TOKENIZER, "ab" * 1001), "text has 2002 characters, it must have 1 to 2000"),
        (lambda: TokenizerExplorer(TOKENIZER, "\ud800"), "text has a lone surrogate"),
        (lambda: TokenizerExplorer(WordPieceTokenizer.train(["a b"], 20)), "it must be a BPETokenizer"),
    ],
)
def test_bad_input_is_named(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


# -- where it runs ----------------------------------------------------------------------------------------------------


def test_no_weights_are_sent_and_two_share_a_worker(opened, sent):
    assert opened.evaluate("workers.size") == 1 and [len(one) for one in sent] == [1]
    (only,) = sent[0]
    assert only["buffers"] == [""] and only["content"]["parts"] == 1
    press_start(opened)
    assert opened.evaluate("workers.size") == 1 and sent[1][0]["content"]["kind"] == "shared"
    assert violations(opened) == []


def test_what_is_stored_is_small_and_shows_the_tokens_without_javascript():
    explorer = TokenizerExplorer(TOKENIZER, TEXT)
    assert len(str(state_of(explorer))) < 1500 and explorer.still["ids"] == TOKENIZER.encode(TEXT)
    html = explorer._repr_mimebundle_()[0]["text/html"]
    ids = TOKENIZER.encode(TEXT)
    assert all(f"<th><code>{visible(spelled(TOKENIZER, id))}</code></th>" in html for id in ids)
    assert "<th>id</th>" + "".join(f"<td>{id}</td>" for id in ids) in html


@pytest.mark.parametrize(("lang", "theme"), [("zh", "dark"), ("en", "light")])
def test_the_website_fetches_the_tokenizer_alone(browser, tmp_path, lang, theme):
    (tmp_path / "gpt.json").write_bytes((course.folder("gpt") / "tokenizer.json").read_bytes())
    explorer = TokenizerExplorer(course.load("gpt")[1])
    with clean_page(browser, width=390) as page:
        asked = visit_site(page, tmp_path, explorer, lang=lang, theme=theme)
        page.locator(".llm-start button").wait_for()
        assert not [path for path in asked if "models/" in path or "engine" in path]
        assert violations(page) == []
        press_start(page)
        page.locator(".llm-costs tr").nth(9).wait_for()
        assert [path for path in asked if "models/" in path] == ["models/gpt.json"]
        assert page.locator(".llm-chips button").count() == len(explorer.still["ids"])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert violations(page) == []
