"""Explorers that run a model: started in a notebook and on the website, refused with a sentence, and next token."""

import re
import sys
from pathlib import Path

import pytest
import torch
from browser import violations
from explorer_models import SIZES, TEXT, TOKENIZER, about, decoder, encoder, percent, seen
from explorer_page import answers, complaint, mount, press_start, state_of, type_text, visit_site
from traitlets import TraitError

from llmguide_lib import course
from llmguide_lib.generation import MinP, Temperature, TopK, TopP
from llmguide_lib.models import ModernBERT, ModernBERTConfig
from llmguide_lib.notebook import start
from llmguide_lib.tokenizers import WordPieceTokenizer
from llmguide_lib.widgets import (
    BeamExplorer,
    FillInExplorer,
    LogitLensExplorer,
    ModelAttentionExplorer,
    NextTokenExplorer,
    TokenizerExplorer,
    model_explorer,
)
from llmguide_lib.widgets.explorer import bundle
from llmguide_lib.widgets.model_explorer import course_files
from llmguide_lib.widgets.weights import pack_weights, packed_bytes

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from bookbuilder.site import copy_models  # noqa: E402

PHONE = {"width": 390, "height": 844}


def next_token(model=None, text=TEXT):
    return NextTokenExplorer(model or decoder(), TOKENIZER, text)


def begin(page):
    """Starts the first explorer of the page that is not yet started."""
    press_start(page)
    page.locator(".llm-chips button").first.wait_for()


def typed(page, text):
    page.locator("textarea").fill(text)
    tokens = len(TOKENIZER.encode(text))
    page.wait_for_function("n => document.querySelectorAll('.llm-chips button').length === n", arg=tokens)


def shown(page):
    """The rows of the table: the token, its probability and that of being drawn, in percent."""
    rows = page.locator(".llm-bars tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def expected(model, ids, *filters):
    with torch.no_grad():
        logits = model(torch.tensor([ids]))[:, -1].double()
    drawn = logits
    for one in filters:
        drawn = one(drawn, torch.tensor([ids]))
    return logits[0].softmax(dim=-1), drawn[0].softmax(dim=-1)


def assert_shows(page, own, drawn):
    rows = shown(page)
    assert len(rows) == 10
    for row, id in zip(rows, own.argsort(descending=True).tolist(), strict=False):
        for text, share in zip(row[1:], (own[id], drawn[id]), strict=True):
            assert about(text, share.item())


# -- a notebook -------------------------------------------------------------------------------------------------------


def test_nothing_of_the_model_is_stored_and_the_page_asks_for_it_only_at_the_start(page):
    explorer, asked = next_token(), []

    def kernel(one, content):
        asked.append(content["kind"])
        return answers(one, content)

    assert len(str(state_of(explorer))) < 3000
    mount(page, explorer, kernel=kernel)
    assert asked == [] and page.evaluate("workers.size") == 0
    assert page.get_by_role("button").all_inner_texts()[0] == f"Start the model ({explorer.size_bytes / 1e6:.1f} MB)"
    begin(page)
    assert asked == ["start"] and page.evaluate("workers.size") == 1


def test_the_stored_picture_is_what_the_model_says(page):
    model = decoder()
    mount(page, next_token(model))
    own, _ = expected(model, TOKENIZER.encode(TEXT))
    shares = [percent(round(share, 4)) for share in own[: TOKENIZER.vocab_size].topk(10).values.tolist()]
    assert [row[1] for row in shown(page)] == shares
    html = next_token(model)._repr_mimebundle_()[0]["text/html"]
    assert "<th>next token</th>" in html
    assert all(f"<td>{share.replace('<', '&lt;')}</td>" in html for share in shares)


def test_two_explorers_of_one_model_share_a_worker_and_its_bytes_until_both_are_gone(page):
    model, sent = decoder(), []

    def kernel(one, content):
        sent.append(answers(one, content))
        return sent[-1]

    mount(page, next_token(model), next_token(model), next_token(decoder(seed=1)), kernel=kernel)
    for count in (1, 2, 3):
        begin(page)
        page.wait_for_function("n => document.querySelectorAll('textarea').length === n", arg=count)
    assert page.evaluate("workers.size") == 2
    assert [bool(one[0]["content"].get("parts")) for one in sent] == [True, False, True]
    page.evaluate("views[0].stop()")
    assert page.evaluate("workers.size") == 2
    page.evaluate("views[1].stop(); views[2].stop()")
    assert page.evaluate("[workers.size, llmguideModels.size]") == [0, 0]


def test_a_widget_opened_twice_runs_twice_and_a_model_trained_further_is_another_one(page):
    model = decoder()
    mount(page, next_token(model))
    page.evaluate("view(0)")
    begin(page)
    begin(page)
    page.wait_for_function("document.querySelectorAll('.llm-chips button:not(:disabled)').length > 0")
    assert page.evaluate("workers.size") == 1
    with torch.no_grad():
        model.token_embedding.weight.mul_(2)
    page.evaluate("view(0)")
    begin(page)
    page.wait_for_function("document.querySelectorAll('textarea').length === 3")
    assert page.evaluate("workers.size") == 2


def test_it_can_be_given_up_while_python_is_busy_and_started_again(page):
    calls = []

    def kernel(one, content):
        calls.append(content)
        return answers(one, content) if len(calls) > 1 else []

    page.clock.install()
    mount(page, next_token(), kernel=kernel)
    page.get_by_role("button", name="Start the model").click()
    assert page.get_by_role("status").inner_text() == "Waiting for the model…"
    page.clock.run_for(5000)
    assert "No answer from Python yet" in page.get_by_role("status").inner_text()
    page.get_by_role("button", name="Cancel").click()
    page.clock.resume()
    begin(page)
    assert page.get_by_role("alert").inner_text() == ""


@pytest.mark.parametrize(
    ("lang", "value", "sentence"),
    [
        ("en", float("nan"), "The weight blocks.0.norm1.weight holds NaN or infinity."),
        ("zh", float("inf"), "权重 blocks.0.norm1.weight 中有 NaN 或无穷大。"),
        ("en", 1e9, "Python cannot send this model: blocks.0.norm1.weight of the model holds NaN, infinity or"),
    ],
)
def test_weights_that_training_has_spoilt_are_refused_with_a_sentence(page, lang, value, sentence):
    model = decoder()
    explorer = next_token(model)
    explorer.lang = lang
    with torch.no_grad():
        model.blocks[0].norm1.weight[3] = value
    mount(page, explorer)
    page.get_by_role("button").first.click()
    page.wait_for_function("document.querySelector('[role=alert]').textContent")
    assert sentence in page.get_by_role("alert").inner_text()
    assert page.locator(".llm-start button").count() == 1


def test_without_workers_there_is_a_sentence_and_the_stored_picture(page):
    mount(page, next_token())
    page.evaluate("() => { window.Worker = class { constructor() { throw new Error(); } }; }")
    page.get_by_role("button").first.click()
    page.wait_for_function("document.querySelector('[role=alert]').textContent")
    assert "lets pages start no worker" in page.get_by_role("alert").inner_text()
    assert len(shown(page)) == 10


# -- while it computes ------------------------------------------------------------------------------------------------

# Timers of a moment run when `moment()` is called.
MOMENT = """
window.timers = new Map();
window.realTimeout = setTimeout;
window.realClear = clearTimeout;
window.setTimeout = (act, time, ...given) => {
  const id = time === 150 ? Symbol() : realTimeout(act, time, ...given);
  if (time === 150) timers.set(id, act);
  return id;
};
window.clearTimeout = (id) => timers.delete(id) || (typeof id === "symbol" ? null : realClear(id));
window.moment = () => {
  const due = [...timers.values()];
  timers.clear();
  due.forEach((act) => act());
};
"""
# Keeps what is asked of workers while `held` is a list; `open` is the number of questions without an answer.
HOLD = """
window.held = null;
window.open = 0;
window.Worker = class extends Worker {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => ["done", "refused"].includes(data.type) && (window.open -= 1));
  }
  postMessage(message) {
    window.open += 1;
    const post = () => super.postMessage(message);
    held ? held.push(post) : post();
  }
};
window.release = () => {
  held.splice(0).forEach((post) => post());
  held = null;
};
window.boxes = () => [...document.querySelectorAll(".llm-explorer, .llm-explorer :not(.llm-sign)")].map((one) => {
  const { x, y, width, height } = one.getBoundingClientRect();
  return [one.className, x, y, width, height].join(" ");
});
"""
KINDS = {
    "next token": lambda: next_token(),
    "lens": lambda: LogitLensExplorer(decoder(), TOKENIZER, TEXT),
    "attention": lambda: ModelAttentionExplorer(decoder(), TOKENIZER, TEXT),
    "beams": lambda: BeamExplorer(decoder(), TOKENIZER, TEXT),
    "blanks": lambda: FillInExplorer(encoder(), TOKENIZER, "the [MASK] of words"),
    "tokenizer": lambda: TokenizerExplorer(TOKENIZER, TEXT),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("lang", "theme", "words"), [("en", "light", "Computing…"), ("zh", "dark", "正在计算……")])
def test_an_answer_that_takes_longer_than_a_moment_has_a_sign_that_moves_nothing(page, kind, lang, theme, words):
    explorer = KINDS[kind]()
    explorer.lang = lang
    mount(page, explorer, theme=theme)
    page.evaluate(MOMENT + HOLD)
    press_start(page)
    page.wait_for_function("window.open === 0")
    sign, body = page.locator(".llm-sign"), page.locator(".llm-body")

    def ask(text):
        page.evaluate("window.held = []")
        page.locator("textarea").fill(text)
        page.wait_for_function("held.length > 0")
        assert sign.inner_text() == "" and body.get_attribute("aria-busy") != "true"

    ask("quick")
    page.evaluate("release()")
    page.wait_for_function("window.open === 0")
    page.evaluate("moment()")
    assert sign.inner_text() == ""
    ask("slow")
    before = page.evaluate("boxes()")
    page.evaluate("moment()")
    assert sign.inner_text() == words and sign.get_attribute("role") == "status"
    assert body.get_attribute("aria-busy") == "true" and page.evaluate("boxes()") == before
    place = sign.bounding_box()
    outline = 3  # of the text box, which has the keyboard
    assert place["y"] + place["height"] + outline <= body.bounding_box()["y"] and place["height"] >= 12
    assert violations(page) == []
    page.evaluate("release()")
    page.wait_for_function("window.open === 0")
    page.evaluate("moment()")
    assert sign.inner_text() == "" and body.get_attribute("aria-busy") == "false"


def test_what_tells_how_far_it_is_needs_no_sign_and_a_refusal_ends_one(page):
    page.evaluate(MOMENT)
    page.evaluate(
        """async (source) => {
          const { awaited } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
          window.asked = [];
          window.heard = [];
          const ask = (job, request, tell) => {
            const one = { tell, told: [] };
            one.result = new Promise((resolve, reject) => Object.assign(one, { resolve, reject }));
            asked.push(one);
            return { id: asked.length, result: one.result };
          };
          window.ask = awaited(ask, (waiting) => heard.push(waiting));
        }""",
        bundle("waiting"),
    )

    def heard(code):
        """What was said after a moment, if this happened before."""
        page.evaluate(f"async () => {{ {code}; await null; moment(); }}")
        return page.evaluate("heard.splice(0)")

    assert heard("ask('generate', {}, (answer) => asked[0].told.push(answer))") == [True]
    assert heard("asked[0].tell('a'); asked[0].tell('b')") == [False]
    assert page.evaluate("asked[0].told") == ["a", "b"]
    assert heard("ask('forward', {}).result.catch(() => {})") == [True]
    assert heard("asked[0].resolve()") == []  # which was no longer awaited
    assert heard("asked[1].reject(new Error()); await null") == [False]
    assert heard("ask('say'); asked[2].resolve()") == [False]  # as before


# -- the website ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "models"
    copy_models(folder)
    return folder


@pytest.fixture(scope="module")
def stored():
    torch.set_default_dtype(torch.float32)
    return NextTokenExplorer(*course.load("gpt"), text="Return a new array of the given")


@pytest.mark.parametrize(("lang", "theme"), [("en", "light"), ("zh", "dark")])
def test_a_course_model_runs_on_the_website_and_costs_nothing_before(page, files, stored, lang, theme):
    page.set_viewport_size(PHONE)
    asked = visit_site(page, files, stored, stored, lang=lang, theme=theme)
    page.locator(".llm-start button").first.wait_for()
    button = page.locator(".llm-start button").first.inner_text()
    assert button.startswith({"en": "Start the model (", "zh": "启动模型（"}[lang])
    assert stored.course == "gpt" and not [path for path in asked if "models/" in path or "engine" in path]
    assert violations(page) == []
    begin(page)
    page.wait_for_function("document.querySelectorAll('.llm-bars tbody tr button').length === 10")
    first = page.locator(".llm-bars tbody tr").first
    assert first.locator("th").inner_text() == "␣shape" and stored.still["rows"][0][0] == " shape"
    assert abs(float(first.locator("td").first.inner_text()[:-1]) / 100 - stored.still["rows"][0][1]) < 0.03
    begin(page)
    page.wait_for_function("document.querySelectorAll('textarea').length === 2")
    assert sorted(path for path in asked if "models/" in path) == ["models/gpt.bin", "models/gpt.json"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []


@pytest.mark.parametrize("damage", ["absent", "altered", "cut"])
def test_a_file_that_did_not_arrive_as_it_was_is_refused_and_can_be_fetched_again(
    browser, files, stored, tmp_path, damage
):
    whole = (files / "gpt.bin").read_bytes()
    changed = {"altered": whole[:-9] + b"\x01" + whole[-8:], "cut": whole[:-100]}
    (tmp_path / "gpt.json").write_bytes((files / "gpt.json").read_bytes())
    if damage in changed:
        (tmp_path / "gpt.bin").write_bytes(changed[damage])
    page = browser.new_page()  # one that may complain of a missing file
    visit_site(page, tmp_path, stored)
    page.get_by_role("button", name="Start the model").click()
    page.wait_for_function("document.querySelector('[role=alert]').textContent")
    words = {"absent": "gpt.bin could not be fetched", "altered": "its hash differs", "cut": "did not arrive whole"}
    assert words[damage] in page.get_by_role("alert").inner_text()
    (tmp_path / "gpt.bin").write_bytes(whole)
    begin(page)
    assert page.get_by_role("alert").inner_text() == ""
    page.close()


def test_another_model_shows_its_stored_result_and_a_sentence(page, tmp_path):
    visit_site(page, tmp_path, next_token(), lang="zh")
    page.locator(".llm-bars tr").first.wait_for()
    assert "这个模型只在笔记本里" in page.get_by_role("status").inner_text()
    assert page.locator(".llm-start button").count() == 0 and len(shown(page)) == 10


def test_the_site_has_a_file_for_each_shipped_model(files):
    assert sorted(path.name for path in files.iterdir()) == ["bert.bin", "bert.json", "gpt.bin", "gpt.json"]
    assert all((files / f"{name}.bin").stat().st_size <= 4_000_000 for name in course.NAMES)


# -- next token -------------------------------------------------------------------------------------------------------


def test_the_probabilities_are_the_models_after_every_token(page):
    model = decoder()
    mount(page, next_token(model))
    begin(page)
    ids = TOKENIZER.encode(TEXT)
    chips = page.locator(".llm-chips button")
    assert chips.count() == len(ids)
    for place in (len(ids) - 1, 0, 3):
        chips.nth(place).click()
        own, drawn = expected(model, ids[: place + 1])
        assert_shows(page, own, drawn)
        assert chips.nth(place).get_attribute("aria-pressed") == "true"


def test_the_filters_are_the_librarys(page):
    model = decoder()
    mount(page, next_token(model))
    begin(page)
    for values, filters in (
        ({"temperature": 0.5}, [Temperature(0.5)]),
        ({"temperature": 1.5, "top_k": 7}, [Temperature(1.5), TopK(7)]),
        ({"temperature": 1.0, "top_k": 0, "top_p": 0.3}, [TopP(0.3)]),
        ({"top_p": 1.0, "min_p": 0.2}, [MinP(0.2)]),
    ):
        page.evaluate("values => Object.entries(values).forEach((one) => model.set(...one))", values)
        own, drawn = expected(model, TOKENIZER.encode(TEXT), *filters)
        assert_shows(page, own, drawn)
        kept = int((drawn > 0).sum())
        assert page.locator(".llm-note").inner_text().startswith(f"With these settings {kept} of 710 tokens")
    page.evaluate("model.set('temperature', 0)")
    assert [row[2] for row in shown(page)] == ["100.0%"] + ["0.0%"] * 9


def test_sliders_and_seed_tell_python_and_have_labels(page):
    mount(page, next_token())
    begin(page)
    for label, key, name, value in (
        ("Temperature", "Home", "temperature", 0),
        ("Top-k", "Home", "top_k", 1),
        ("Top-k", "End", "top_k", 0),
        ("Top-p", "ArrowLeft", "top_p", 0.95),
        ("Min-p", "ArrowRight", "min_p", 0.01),
    ):
        page.get_by_role("slider", name=label).press(key)
        assert page.evaluate(f"model.get('{name}')") == pytest.approx(value)
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Seed").press("Enter")
    assert page.evaluate("model.get('seed')") == 7


@pytest.mark.parametrize(
    ("lang", "sentence"),
    [
        ("en", "A seed is a whole number from 0 to 4294967295. It stays 7."),
        ("zh", "种子应为 0 到 4294967295 的整数，现在仍是 7。"),
    ],
)
def test_what_is_no_seed_is_refused_beside_the_field_and_the_last_good_one_stays(page, lang, sentence):
    explorer = next_token()
    explorer.set_trait("lang", lang)
    explorer.set_trait("seed", 7)
    mount(page, explorer)
    begin(page)
    field = page.locator(".llm-number")
    said = page.locator(".llm-controls [role=alert]")
    assert said.is_hidden()

    def enter(text):
        field.press("Control+a")
        field.press("Delete")
        page.keyboard.type(text)
        field.press("Enter")

    for text in ("-3", "4294967296", "1.5", "1e99", "e", ""):
        enter(text)
        assert said.inner_text() == sentence and page.evaluate("model.get('seed')") == 7
        assert field.input_value() == "7"
    assert violations(page) == []
    for text, seed in (("0", 0), ("4294967295", 2**32 - 1), ("1e3", 1000)):
        enter(text)
        assert said.is_hidden() and page.evaluate("model.get('seed')") == seed
        assert field.input_value() == str(seed)


def test_tokens_are_added_by_the_model_by_chance_and_by_the_reader(page):
    model = decoder()
    mount(page, next_token(model))
    begin(page)
    ids = TOKENIZER.encode(TEXT)
    count = "n => document.querySelectorAll('.llm-chips button').length === n"
    page.get_by_role("button", name="Add the most likely token").press("Enter")
    page.wait_for_function(count, arg=len(ids) + 1)
    ids.append(int(expected(model, ids)[0].argmax()))
    assert page.locator(".llm-chips button").all_inner_texts()[-1] == seen(ids[-1])
    page.locator(".llm-bars tbody tr").nth(2).get_by_role("button").click()
    page.wait_for_function(count, arg=len(ids) + 1)
    ids.append(int(expected(model, ids)[0].argsort(descending=True)[2]))
    assert page.evaluate("model.get('text')") == page.locator("textarea").input_value() == TOKENIZER.decode(ids)
    page.get_by_role("button", name="Add a drawn token").click()
    page.wait_for_function(count, arg=len(ids) + 1)
    drawn = page.locator("textarea").input_value()
    page.locator("textarea").fill("")
    typed(page, TEXT)
    assert page.locator("textarea").input_value() != drawn


def test_it_writes_on_until_it_is_stopped_and_the_same_seed_writes_the_same(page):
    mount(page, next_token(text="a"))
    begin(page)
    texts = []
    for _ in range(2):
        typed(page, "a")
        page.get_by_role("button", name="Continue the text").click()
        page.get_by_role("button", name="Continue the text").wait_for()
        page.wait_for_function("/^\\d+ tokens added/.test(document.querySelector('.llm-note').textContent)")
        texts.append(page.locator("textarea").input_value())
    assert texts[0] == texts[1] and len(texts[0]) > 5
    added = int(re.match(r"\d+", page.locator(".llm-note").inner_text())[0])
    assert page.locator(".llm-chips button").count() == added + 1


def test_writing_can_be_stopped_in_the_middle(page):
    mount(page, next_token(decoder(max_seq_len=3000), text="a"))
    begin(page)
    page.evaluate("model.set('temperature', 0.9)")
    stop = "() => [...document.querySelectorAll('button')].find((one) => one.textContent === 'Stop')?.click()"
    page.get_by_role("button", name="Continue the text").click()
    page.evaluate(stop)
    page.wait_for_function("/^\\d+ tokens added/.test(document.querySelector('.llm-note').textContent)")
    assert int(re.match(r"\d+", page.locator(".llm-note").inner_text())[0]) < 60
    assert page.get_by_role("button", name="Continue the text").is_visible()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There is no text yet"),
        ("a b c d " * 40, "the model reads at most 64. Shorten it."),
        ("ab\ud800c", "Character 3 of the text is half a character"),
    ],
)
def test_bad_text_has_a_sentence_and_good_text_helps(page, text, sentence):
    mount(page, next_token())
    begin(page)
    type_text(page, text)
    assert sentence in complaint(page)
    assert page.locator(".llm-chips button").count() == 0 and page.locator(".llm-bars").is_hidden()
    assert page.get_by_role("button", name="Continue the text").is_disabled()
    typed(page, "good")
    assert page.get_by_role("alert").inner_text() == ""


def test_a_full_text_is_said_and_takes_no_more(page):
    text = TOKENIZER.decode(TOKENIZER.encode("a b " * 32)[:63])
    mount(page, next_token(text=text))
    begin(page)
    page.get_by_role("button", name="Continue the text").click()
    page.wait_for_function(
        "/^1 tokens added. The text is full: .* at most 64 /.test(document.querySelector('.llm-note').textContent)"
    )
    assert page.locator(".llm-chips button").count() == 64 and page.get_by_role("alert").inner_text() == ""
    for name in ("Add the most likely token", "Add a drawn token", "Continue the text"):
        assert page.get_by_role("button", name=name).is_disabled()
    assert page.locator(".llm-bars tbody button").count() == 0
    typed(page, "good")
    assert page.get_by_role("button", name="Continue the text").is_enabled()


def test_bytes_without_a_token_of_their_own_are_explained(page):
    mount(page, next_token(text="good"))
    begin(page)
    said = page.get_by_text("are single bytes of a character")
    assert said.is_hidden()
    typed(page, "\u00b7\u4e2d")
    said.wait_for()
    typed(page, "good")
    said.wait_for(state="hidden")  # both texts have four tokens


def test_arrow_keys_walk_the_tokens(page):
    mount(page, next_token())
    begin(page)
    chips = page.locator(".llm-chips button")
    chips.last.focus()
    page.keyboard.press("ArrowLeft")
    assert chips.nth(chips.count() - 2).evaluate("one => one === document.activeElement && one.ariaPressed === 'true'")
    page.keyboard.press("Home")
    assert (
        page.locator('.llm-chips [tabindex="0"]').count() == 1 and chips.first.get_attribute("aria-pressed") == "true"
    )


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_before_and_after_the_start(page, lang, theme):
    start("03_attention", lang=lang)
    try:
        mount(page, next_token(), theme=theme)
    finally:
        start("03_attention")
    assert violations(page) == []
    begin(page)
    assert violations(page) == []


# -- Python -----------------------------------------------------------------------------------------------------------


def test_scopes_keep_modules_apart_and_the_worker_is_not_in_the_explorer():
    text = bundle("next_token")
    lines = text.splitlines()
    assert not [line for line in lines if line.startswith("import ")] and text.count("function visible(") == 1
    assert [line.split("(")[0] for line in lines if line.startswith("export ")] == ["export default modelExplorer"]
    assert "buildModel" not in text


def test_packed_bytes_are_those_of_the_file():
    for dtype in ("float16", "int8"):
        assert 0 < len(pack_weights(decoder(), dtype)) - packed_bytes(decoder(), dtype) < 4000


def test_a_course_model_is_known_by_its_weights():
    model, tokenizer = course.load("gpt")
    assert NextTokenExplorer(model, tokenizer).course == "gpt" and set(course_files("gpt")) == {"gpt.bin", "gpt.json"}
    with torch.no_grad():
        model.final_norm.weight[0] += 1
    assert NextTokenExplorer(model, tokenizer).course == ""


def test_dropout_does_not_touch_the_stored_result_and_the_model_keeps_its_mode():
    model = decoder().train()
    assert next_token(model).still == next_token(decoder()).still and model.training


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: NextTokenExplorer(ModernBERT(ModernBERTConfig(**SIZES)), TOKENIZER),
            "model is a ModernBERT; NextTokenExplorer takes a Llama",
        ),
        (
            lambda: NextTokenExplorer(decoder(), WordPieceTokenizer.train(["a b"], 20)),
            "tokenizer is a WordPieceTokenizer, it must be a BPETokenizer",
        ),
        (lambda: NextTokenExplorer(decoder(vocab_size=600), TOKENIZER), "tokenizer has 700 tokens, the model only 600"),
        (lambda: next_token(text=""), "text has 0 tokens, it must have 1 to 64 for this model"),
        (lambda: next_token(text="a b c d " * 40), "text has .* tokens, it must have 1 to 64 for this model"),
    ],
)
def test_bad_input_is_named(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_the_field_would_refuse_is_refused_in_python(seed):
    explorer = next_token()
    with pytest.raises(TraitError, match="seed"):
        explorer.seed = seed
    assert explorer.seed == 0


def test_a_model_too_large_for_a_page_is_refused(monkeypatch):
    monkeypatch.setattr(model_explorer, "MOST_BYTES", 10_000)
    with pytest.raises(ValueError, match=r"model takes 0 MB in the page, at most 0 MB are allowed"):
        next_token()
