"""A model as one HTML file: opened from the disk, without network, it says what torch says."""

import re

import pytest
import torch
from browser import violations
from explorer_models import TEXT, TOKENIZER, decoder, seen
from test_model_explorers import assert_shows, begin, expected, shown

from llmguide_lib import course, widgets
from llmguide_lib.models import GPT, GPTConfig, Llama
from llmguide_lib.notebook import start
from llmguide_lib.widgets import NextTokenExplorer, export_page, model_explorer
from llmguide_lib.widgets.explorer import bundle
from llmguide_lib.widgets.export import all_explorers
from llmguide_lib.widgets.model_explorer import ModelExplorer

SAMPLE = "Return a new array of the given"


# How many workers were made.
COUNT_WORKERS = """
window.workers = 0;
window.Worker = class extends Worker {
  constructor(...given) {
    super(...given);
    window.workers += 1;
  }
};
"""


@pytest.fixture
def disk(page):
    """Opens a file in a browser without network; everything else that it asks for is an error."""
    asked = []
    page.set_default_timeout(20_000)
    page.context.set_offline(True)
    page.on("request", lambda request: asked.append(request.url))

    def visit(path):
        page.goto(path.as_uri())
        page.locator(".llm-start button").first.wait_for()
        return page

    yield visit
    assert [url for url in asked if not url.startswith(("file://", "blob:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file://")]) == 1


def written(tmp_path, model=None, **options):
    return export_page(model or decoder(), TOKENIZER, tmp_path / "model.html", **options)


def only_next_token(model, text=TEXT):
    return [NextTokenExplorer(model, TOKENIZER, text)]


@pytest.mark.parametrize(("lang", "theme"), [("en", "light"), ("zh", "dark")])
def test_the_file_opens_from_the_disk_and_says_what_torch_says(disk, tmp_path, lang, theme):
    model = decoder()
    path = written(tmp_path, model, lang=lang, title="Ours </script> & <b>", explorers=only_next_token(model))
    disk_page = disk(path)
    if theme == "dark":
        disk_page.get_by_role("button", name={"en": "Dark", "zh": "深色"}[lang]).click()
    assert disk_page.evaluate("document.documentElement.dataset.theme") == theme
    assert disk_page.title() == disk_page.get_by_role("heading", level=1).inner_text() == "Ours </script> & <b>"
    assert violations(disk_page) == []
    begin(disk_page)
    own, drawn = expected(model, TOKENIZER.encode(TEXT))
    assert_shows(disk_page, own, drawn)
    best = disk_page.locator(".llm-bars tbody th").first.inner_text()
    assert best == seen(int(own.argmax()))
    assert violations(disk_page) == []
    disk_page.set_viewport_size({"width": 390, "height": 844})
    assert disk_page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_other_language_goes_on_with_what_was_typed_and_started(disk, tmp_path):
    disk_page = disk(written(tmp_path, explorers=only_next_token(model := decoder()) * 2, model=model))
    begin(disk_page)
    disk_page.locator("textarea").first.fill("another")
    english = disk_page.locator("#llm-facts").inner_text()
    disk_page.get_by_role("button", name="中文").click()
    disk_page.get_by_role("button", name="接着写").first.wait_for()
    disk_page.wait_for_function("document.querySelectorAll('textarea').length === 2")  # one start is for both
    assert disk_page.locator("textarea").first.input_value() == "another"
    assert disk_page.evaluate("[document.documentElement.lang, llmguideModels.size]") == ["zh-CN", 1]
    assert disk_page.locator("#llm-facts").inner_text().startswith("Llama，2 层")
    assert disk_page.get_by_text("模型就在这个文件里").is_visible()
    assert not disk_page.get_by_text("The model is inside this file").is_visible()
    assert violations(disk_page) == []
    disk_page.get_by_role("button", name="English").click()
    disk_page.get_by_role("button", name="Continue the text").first.wait_for()
    assert disk_page.locator("#llm-facts").inner_text() == english and "2 layers" in english


def test_the_theme_is_the_systems_until_the_reader_chooses_one(page, disk, tmp_path):
    page.emulate_media(color_scheme="dark")
    model = decoder()
    disk_page = disk(written(tmp_path, model, explorers=only_next_token(model)))
    theme, turn = "document.documentElement.dataset.theme", disk_page.locator("#llm-controls button").last
    turn.focus()
    for system, other in (("dark", "Light"), ("light", "Dark"), ("dark", "Light")):
        page.emulate_media(color_scheme=system)
        disk_page.wait_for_function(f"system => {theme} === system", arg=system)
        assert turn.inner_text() == other and turn.evaluate("one => one === document.activeElement")
    turn.press("Enter")
    for system in ("light", "dark"):
        page.emulate_media(color_scheme=system)
        disk_page.wait_for_function(
            "dark => matchMedia('(prefers-color-scheme: dark)').matches === dark", arg=system == "dark"
        )
        assert disk_page.evaluate(theme) == "light" and turn.inner_text() == "Dark"


def test_a_course_model_is_a_file_of_a_few_megabytes_and_finds_the_same_tokens(disk, tmp_path):
    torch.set_default_dtype(torch.float32)
    model, tokenizer = course.load("gpt")
    path = export_page(model, tokenizer, tmp_path / "gpt.html", explorers=[NextTokenExplorer(model, tokenizer, SAMPLE)])
    assert path.stat().st_size < 4.6e6
    disk_page = disk(path)
    begin(disk_page)
    disk_page.wait_for_function("document.querySelectorAll('.llm-bars tbody tr button').length === 10")
    with torch.no_grad():
        shares = model(torch.tensor([tokenizer.encode(SAMPLE)]))[0, -1].softmax(dim=-1)
    ids = shares.argsort(descending=True)[:10].tolist()
    pieces = [model_explorer.spelled(tokenizer, id).replace(" ", "␣").replace("\n", "⏎") for id in ids]
    rows = shown(disk_page)
    assert rows[0][0] == pieces[0] and len({row[0] for row in rows} & set(pieces)) >= 9  # eight bits may swap two
    assert abs(float(rows[0][1][:-1]) / 100 - shares[ids[0]].item()) < 0.03


def test_without_javascript_there_is_a_sentence_and_the_stored_result(browser, tmp_path):
    path = written(tmp_path, explorers=only_next_token(model := decoder()), model=model, lang="zh")
    page = browser.new_page(java_script_enabled=False)
    page.goto(path.as_uri())
    assert page.locator("noscript [data-lang=zh]").is_visible()
    assert not page.locator("noscript [data-lang=en]").is_visible()
    assert page.locator(".llm-still tr:has(td)").count() == 10
    page.close()


def test_all_explorers_that_take_the_family_are_on_the_page_and_start_together(page, disk, tmp_path):
    """Whatever the package offers: asked of the package, so that a new explorer is on every page."""
    kinds = [one for one in map(vars(widgets).get, widgets.__all__) if isinstance(one, type)]
    taken = [kind for kind in kinds if issubclass(kind, ModelExplorer) and Llama in kind.families]
    torch.set_default_dtype(torch.float32)
    model, tokenizer = course.load("gpt")
    made = all_explorers(model, tokenizer)
    names = sorted(kind.__name__ for kind in taken)  # an explorer's class is made anew for each
    assert sorted(type(one).__name__ for one in made) == names and NextTokenExplorer in taken
    assert type(made[0]).__name__ == NextTokenExplorer.__name__  # what is understood at once stands on top
    page.add_init_script(COUNT_WORKERS)
    disk_page = disk(export_page(model, tokenizer, tmp_path / "all.html"))
    assert disk_page.get_by_role("button", name="Start the model").count() == len(taken)
    disk_page.get_by_role("button", name="Start the model").nth(1).click()  # one is for all, whichever it is
    disk_page.wait_for_function("document.querySelectorAll('.llm-start button').length === 0")
    assert disk_page.locator("textarea").count() == len(taken)
    assert disk_page.evaluate("[llmguideModels.size, workers]") == [1, 1]
    assert disk_page.locator(".llm-view").nth(1).locator("textarea").evaluate("one => one === document.activeElement")
    disk_page.get_by_role("button", name="中文").press("Enter")
    disk_page.wait_for_function(
        "document.querySelectorAll('textarea').length === document.querySelectorAll('.llm-view').length"
    )
    assert disk_page.evaluate("[llmguideModels.size, workers, document.activeElement.lang]") == [1, 1, "en"]
    assert [text for text in disk_page.locator("[role=alert]").all_inner_texts() if text] == []


class Picky(ModelExplorer):
    """Takes the family, but no model of it."""

    def __init__(self, model, tokenizer):
        raise ValueError("no such token")


def test_an_explorer_that_cannot_show_the_model_is_left_out_with_a_warning(monkeypatch):
    monkeypatch.setattr(widgets, "Picky", Picky, raising=False)
    model = decoder()
    with pytest.warns(UserWarning, match="Picky is left out: no such token"):
        assert Picky not in {type(one) for one in all_explorers(model, TOKENIZER)}


def test_it_is_written_whole_or_not_at_all_and_never_over_another_file_unasked(tmp_path, monkeypatch):
    path = tmp_path / "model.html"
    path.write_text("mine", encoding="utf-8")
    model = decoder()
    with pytest.raises(FileExistsError, match=r"path \(.*model.html\) is there already; overwrite=True replaces it"):
        written(tmp_path, model, explorers=only_next_token(model))
    assert path.read_text(encoding="utf-8") == "mine"
    assert written(tmp_path, model, explorers=only_next_token(model), overwrite=True) == path
    whole = path.read_bytes()
    with pytest.raises(OSError), monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        written(tmp_path, model, explorers=only_next_token(model), overwrite=True)
    assert path.read_bytes() == whole and len(list(tmp_path.iterdir())) == 1
    assert written(tmp_path / "deeper", model, explorers=only_next_token(model)).exists()  # its folder is made


def test_the_language_is_the_notebooks_unless_it_is_given(tmp_path):
    start("03_attention", lang="zh")
    try:
        path = written(tmp_path, model := decoder(), explorers=only_next_token(model))
    finally:
        start("03_attention")
    assert '<html lang="zh-CN">' in path.read_text(encoding="utf-8")


def test_nothing_in_the_file_can_end_an_element_early(tmp_path):
    model = decoder()
    text = written(tmp_path, model, explorers=only_next_token(model)).read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 3 and text.count("<noscript>") == 1
    assert "</script" not in bundle("export") and "<!--" not in bundle("export")
    data = re.search(r'id="llm-page">(.*?)</script>', text, re.DOTALL)[1]
    assert "<" not in data and data.isascii()


def spoilt():
    model = decoder()
    with torch.no_grad():
        model.blocks[0].norm1.weight[3] = float("nan")
    return model


SMALL = {"vocab_size": 710, "max_seq_len": 8, "d_model": 8, "num_heads": 2, "num_layers": 1}


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (lambda: GPT(GPTConfig(**SMALL)), {}, "model is a GPT; explorers take a Llama or ModernBERT"),
        (spoilt, {}, "blocks.0.norm1.weight of the model holds NaN, infinity or a number too large"),
        (lambda: decoder(vocab_size=600), {}, "tokenizer has 700 tokens, the model only 600: it is not this model's"),
        (decoder, {"explorers": []}, "explorers must hold at least one explorer; None stands for all"),
        (
            decoder,
            {"explorers": only_next_token(decoder())},
            r"explorers\[0\] \(NextTokenExplorer\) is of another",
        ),
        (decoder, {"lang": "fr"}, r"lang \('fr'\) must be one of en, zh"),
    ],
)
def test_bad_input_is_named(tmp_path, given, options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        written(tmp_path, given(), **options)
    with pytest.raises(ValueError, match=r"path \(model.txt\) must end in .html, or browsers show its text"):
        export_page(decoder(), TOKENIZER, "model.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_model_too_large_for_a_page_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(model_explorer, "MOST_BYTES", 10_000)
    with pytest.raises(ValueError, match="MB in the page, at most"):
        written(tmp_path)
    assert list(tmp_path.iterdir()) == []
