"""The beam explorer: the library's search, its tree by mouse and keyboard, and what is said about it."""

import math

import pytest
import torch
from browser import clean_page, violations
from explorer_models import SIZES, TOKENIZER, decoder, seen
from explorer_page import complaint, mount, press_start, type_text, visible, visit_site

from llmguide_lib import course
from llmguide_lib.generation import Greedy, StopTokens, beam_search, generate
from llmguide_lib.models import ModernBERT, ModernBERTConfig
from llmguide_lib.widgets import BeamExplorer
from llmguide_lib.widgets.explorer import bundle
from llmguide_lib.widgets.model_explorer import course_files, scores_of, spelled

TEXT = "the row of 注意"
SETTINGS = {"text": TEXT, "num_beams": 3, "length": 5, "length_penalty": 1.0, "ends": ""}


def explorer(text=TEXT, **changes):
    return BeamExplorer(decoder(**changes), TOKENIZER, text)


@pytest.fixture(scope="module")
def opened(browser):
    torch.set_default_dtype(torch.float32)
    with clean_page(browser) as page:
        mount(page, explorer())
        press_start(page)
        yield page


@pytest.fixture
def page(opened):
    search(opened)
    return opened


def search(page, **changes):
    """Sets everything and waits until the tree of these settings is there."""
    wanted = SETTINGS | changes
    code = """(wanted) => {
      document.querySelector(".llm-found").replaceChildren();
      for (const [name, value] of Object.entries(wanted)) if (name !== "text") model.set(name, value);
    }"""
    page.evaluate(code, wanted)
    type_text(page, wanted["text"])
    page.wait_for_function("document.querySelectorAll('.llm-found tr').length > 2")
    page.wait_for_function("document.querySelector('.llm-explorer button:disabled')?.textContent === 'Stop'")
    return [row.locator("th, td").all_inner_texts() for row in page.locator(".llm-found tr").all()[1:]]


def number(text):
    return float(text.replace("−", "-"))


def greedy_of(model, ids, length, end_id=None):
    stop = None if end_id is None else StopTokens(end_id)
    text = generate(model, torch.tensor([ids]), length, sampler=Greedy(), stop=stop)[0].tolist()
    logs = scores_of(model, text).log_softmax(dim=-1)
    return text[len(ids) :], sum(logs[at - 1, text[at]].item() for at in range(len(ids), len(text)))


def likely_end():
    """A token that is likely after the second greedy one, and that is spelled like no other."""
    ids = TOKENIZER.encode(TEXT)
    ids += greedy_of(decoder(), ids, 2)[0]
    best = scores_of(decoder(), ids)[-1].topk(9).indices.tolist()
    return next(id for id in best if id < 700 and spelled(TOKENIZER, id).isprintable() and id > 300)


# -- the search -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_beams", "length", "length_penalty", "ends"), [(1, 4, 1.0, False), (3, 5, 0.0, True), (6, 7, 2.0, True)]
)
def test_the_texts_found_are_the_librarys_and_the_greedy_one_stands_below(
    page, num_beams, length, length_penalty, ends
):
    end_id = likely_end() if ends else None
    given = {"num_beams": num_beams, "length": length, "length_penalty": length_penalty}
    rows = search(page, **given, ends=spelled(TOKENIZER, end_id) if ends else "")
    ids, model = TOKENIZER.encode(TEXT), decoder()
    options = {"num_beams": num_beams, "length_penalty": length_penalty, "end_id": end_id}
    text, score = beam_search(model, torch.tensor([ids]), length, **options)
    made = text[len(ids) :].tolist()
    assert rows[0][:2] == [seen(*made), str(len(made))]
    assert number(rows[0][3]) == pytest.approx(score, abs=6e-4)
    assert number(rows[0][2]) == pytest.approx(score * len(made) ** length_penalty, abs=6e-3)
    scores = [number(row[3]) for row in rows[:-1]]
    assert scores == sorted(scores, reverse=True)
    made, total = greedy_of(model, ids, length, end_id)
    assert rows[-1][:2] == [f"greedy: {seen(*made)}", str(len(made))]
    assert number(rows[-1][2]) == pytest.approx(total, abs=6e-3)


def test_what_is_said_of_the_two_texts_is_so(page):
    for text in (TEXT, "a", "the row"):
        rows = search(page, text=text)
        note = page.get_by_role("status").last.inner_text()
        best, greedy = number(rows[0][2]), number(rows[-1][2])
        if rows[0][0] == rows[-1][0].removeprefix("greedy: "):
            assert note == "Greedy choices give the best text too."
        else:
            times = float(note.split(" is ")[1].split(" times")[0])
            assert note.startswith("The best" if best > greedy else "The greedy")
            assert math.log(times) == pytest.approx(abs(best - greedy), abs=0.02)


def test_a_new_search_replaces_the_one_that_runs(page):
    page.evaluate("model.set('length', 20); model.set('num_beams', 6)")
    rows = search(page, text="a row", num_beams=2, length=3)
    ids = TOKENIZER.encode("a row")
    text, _ = beam_search(decoder(), torch.tensor([ids]), 3, num_beams=2)
    assert rows[0][0] == seen(*text[len(ids) :].tolist()) and page.locator(".llm-node:not(.llm-root)").count() == 12


def test_it_can_be_stopped_in_the_middle(page):
    code = """() => {
      const watch = new MutationObserver(() => {
        if (!document.body.innerText.includes("Searching: 2 of 20")) return;
        watch.disconnect();
        [...document.querySelectorAll("button")].find((one) => one.textContent === "Stop").click();
      });
      watch.observe(document.body, { subtree: true, childList: true, characterData: true });
      model.set("num_beams", 6);
      model.set("length", 20);
    }"""
    page.evaluate(code)
    page.wait_for_function("document.body.innerText.includes('Stopped after')")
    note = page.get_by_role("status").last.inner_text()
    columns = int(note.split("after ")[1].split()[0])
    assert 2 <= columns < 20 and page.locator(".llm-node:not(.llm-root)").count() == 12 * columns


# -- the tree ---------------------------------------------------------------------------------------------------------


def test_the_tree_shows_every_candidate_and_marks_the_best_and_the_greedy_text(page):
    assert page.locator(".llm-node:not(.llm-root)").count() == 6 * 5
    assert page.locator(".llm-node.llm-kept").count() == 3 * 5
    assert page.locator(".llm-node.llm-best").count() == page.locator("path.llm-best").count() == 5
    ids = TOKENIZER.encode(TEXT)
    first = page.locator(".llm-node.llm-greedy").first
    shares = scores_of(decoder(), ids)[-1].softmax(dim=-1)
    best = shares.argmax().item()
    assert f"“{seen(best)}”, probability {100 * shares[best]:.1f}%" in first.get_attribute("aria-label")


def test_a_candidate_explains_its_sum_its_score_and_its_fate(page):
    nodes = page.locator(".llm-node:not(.llm-root)")
    nodes.nth(2 * 6 + 5).click()  # the last of the third column
    text = page.locator("p[aria-live]").inner_text()
    terms, total = text.split("”: ")[1].split(". Divided")[0].split(" = ")
    numbers = [float(one.replace("−", "-").replace(" ", "")) for one in terms.replace(" − ", "|−").split("|")]
    assert len(numbers) == 3 and sum(numbers) == pytest.approx(number(total), abs=0.02)
    assert "Divided by its length, 3, to the power 1.0" in text and text.endswith("have a larger sum.")
    score = number(text.split("the score ")[1].split(". ")[0])
    assert score == pytest.approx(number(total) / 3, abs=0.01)
    assert page.locator(".llm-way").count() == 3 and nodes.nth(17).get_attribute("aria-pressed") == "true"
    nodes.first.click()
    assert page.locator("p[aria-live]").inner_text().endswith("Kept: it is among the 3 best.")


def test_ended_candidates_are_marked_and_say_so(page):
    search(page, ends=spelled(TOKENIZER, likely_end()), num_beams=6, length=4)
    ended = page.locator(".llm-node.llm-ended")
    assert ended.count() >= 1 and "■" in ended.first.text_content()
    ended.first.click()
    assert page.locator("p[aria-live]").inner_text().endswith("Ended: it waits with its score, and no longer grows.")


def test_the_keyboard_walks_the_tree(page):
    nodes = page.locator(".llm-node:not(.llm-root)")
    assert page.locator('.llm-tree [tabindex="0"]').count() == 1
    nodes.first.click()
    page.keyboard.press("ArrowDown")
    here = "document.activeElement.getAttribute('aria-label') + document.activeElement.ariaPressed"
    assert page.evaluate(here) == nodes.nth(1).get_attribute("aria-label") + "true"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    assert page.locator(".llm-way").count() == 2
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(here) == nodes.first.get_attribute("aria-label") + "true"


def test_paths_and_neighbours_of_a_small_tree(page):
    code = """async (source) => {
      const t = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      const level = (...rows) => rows.map(([id, parent]) => ({ id, parent }));
      const levels = [level([5, -1], [6, -1]), level([7, 1], [5, 0], [7, 0])];
      return {
        paths: [t.pathTo(levels, [1, 0]), t.pathTo(levels, [0, 1])],
        rows: [t.rowsOf(levels, [5, 7]), t.rowsOf(levels, [6, 9]), t.rowsOf(levels, [9])],
        keys: ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "x"].map((key) => t.neighbour(levels, [0, 0], key)),
        back: t.neighbour(levels, [1, 0], "ArrowLeft"),
      };
    }"""
    found = page.evaluate(code, bundle("tree"))
    assert found["paths"] == [[1, 0], [1]] and found["rows"] == [[0, 2], [1], []]
    assert found["keys"] == [None, [1, 1], None, [0, 1], None] and found["back"] == [0, 1]


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There is no text yet"),
        ("a b c d " * 40, "the model reads at most 64. Shorten it."),
        ("a!" * 31, "62 tokens of text and 5 new ones are more than the 64"),
        ("ab\ud800c", "Character 3 of the text is half a character"),
    ],
)
def test_bad_text_has_a_sentence_and_good_text_helps(page, text, sentence):
    type_text(page, text)
    assert sentence in complaint(page)
    assert not page.locator(".llm-tree").is_visible() and not page.locator(".llm-found").is_visible()
    search(page)
    assert page.get_by_role("alert").inner_text() == "" and page.locator(".llm-tree").is_visible()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BeamExplorer(ModernBERT(ModernBERTConfig(**SIZES)), TOKENIZER),
            "model is a ModernBERT; BeamExplorer takes a Llama",
        ),
        (lambda: BeamExplorer(decoder(), TOKENIZER, ends="no token"), "token .* must be one of the 700 tokens"),
        (lambda: explorer("a!" * 30), "text has 60 tokens, 6 more must fit into the 64 of this model"),
        (lambda: explorer(""), "text has 0 tokens, it must have 1 to 64"),
    ],
)
def test_bad_input_is_named(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


# -- where it runs ----------------------------------------------------------------------------------------------------


def test_the_stored_result_is_the_search_and_the_greedy_text(unchecked):
    model, tokenizer = course.load("gpt")
    stored = BeamExplorer(model, tokenizer)
    ids, end = tokenizer.encode("The function returns"), tokenizer.token_to_id("<|endoftext|>")
    text, score = beam_search(model, torch.tensor([ids]), 6, num_beams=3, end_id=end)
    made, total = greedy_of(model, ids, 6, end)
    expected = [[tokenizer.decode(text[len(ids) :].tolist()), score * (len(text) - len(ids))]]
    expected.append([tokenizer.decode(made), total])
    assert stored.ends == "<|endoftext|>" and expected[0][0] != expected[1][0]
    html = stored._repr_mimebundle_()[0]["text/html"]
    for name, (text, total), (wanted, log) in zip(
        ("beam search", "greedy"), stored.still["texts"], expected, strict=True
    ):
        assert text == wanted and total == pytest.approx(log, abs=1e-3)
        assert f"<th>{name}</th><td><code>{visible(text)}</code></td><td>{total:.2f}</td>" in html


@pytest.mark.parametrize(("lang", "theme"), [("zh", "dark"), ("en", "light")])
def test_the_course_model_is_searched_on_the_website(browser, tmp_path, lang, theme):
    torch.set_default_dtype(torch.float32)
    for name, content in course_files("gpt").items():
        (tmp_path / name).write_bytes(content)
    stored = BeamExplorer(*course.load("gpt"))
    with clean_page(browser, width=390) as page:
        asked = visit_site(page, tmp_path, stored, lang=lang, theme=theme)
        page.locator(".llm-start button").wait_for()
        assert violations(page) == [] and not [path for path in asked if "models/" in path or "engine" in path]
        total = page.locator(".llm-found td").first.inner_text()
        assert number(total) == pytest.approx(stored.still["texts"][0][1], abs=0.006)
        press_start(page)
        page.locator(".llm-found tr").nth(3).wait_for()
        found = page.locator(".llm-found th").all_inner_texts()
        assert found[4] == visible(stored.still["texts"][0][0])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert violations(page) == []
