"""The website in a browser: every page in both languages, on a desktop and on a phone, and what a reader does there."""

import dataclasses
import functools
import gzip
import re
import sys
import threading
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
import torch
from browser import violations
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from bookbuilder import site as builder  # noqa: E402
from bookbuilder.building import read_notebook  # noqa: E402
from bookbuilder.claims import Claim, read_claims  # noqa: E402
from bookbuilder.execute import PNG  # noqa: E402
from bookbuilder.explorers import read_explorers  # noqa: E402
from bookbuilder.manifest import LANGUAGES, BookError, read_manifest  # noqa: E402
from bookbuilder.pages import fold_results, make_page  # noqa: E402
from sample_site import write_sample_site  # noqa: E402
from scripts import benchmark  # noqa: E402

from llmguide_lib import course  # noqa: E402
from llmguide_lib.notebook.verdicts import VERDICTS  # noqa: E402

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
MANIFEST = read_manifest(ROOT)


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The book's site, built once."""
    return builder.make_site(MANIFEST, tmp_path_factory.mktemp("site") / "html").parent


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The site of the sample book, which has an explorer and a repository and shows no solutions."""
    root = tmp_path_factory.mktemp("sample") / "书 with space"
    with pytest.MonkeyPatch.context() as monkeypatch:
        manifest = write_sample_site(root, monkeypatch)
    return builder.make_site(manifest, root / "site" / "_build" / "html").parent


class Server(ThreadingHTTPServer):
    """A server to whom a page that is left, and breaks off what it still loads, is no error worth printing."""

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a line per request."""

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def serve():
    """A function that serves a folder on loopback and returns its address."""
    servers = []

    def start(folder):
        server = Server(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def book(html, serve):
    return serve(html)


@pytest.fixture
def page(browser, book):
    """A page on the book's site; the test fails where anything on it went wrong or asked another host."""
    yield from watched(browser, book)


@pytest.fixture
def sample_page(browser, serve, sample):
    yield from watched(browser, serve(sample))


def watched(browser, address):
    context = browser.new_context(base_url=address, viewport=DESKTOP, reduced_motion="reduce", locale="zh-CN")
    context.set_default_timeout(8000)
    page = context.new_page()
    wrong = page.wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}") if broken(request) else None)
    page.on(
        "response",
        lambda response: wrong.append(f"{response.status} {response.url}") if response.status >= 400 else None,
    )
    page.route(lambda url: not url.startswith(address), lambda route: (wrong.append(route.request.url), route.abort()))
    yield page
    context.close()
    assert wrong == []


def broken(request):
    """Leaving a page ends what it still loads, which is no fault."""
    return "ERR_ABORTED" not in request.failure


def visit(page, path):
    page.goto(path)
    page.evaluate("window.MathJax?.startup.promise")


def pages(folder):
    """The pages of both languages; the theme leaves pieces of HTML in _static."""
    paths = [path.relative_to(folder) for lang in LANGUAGES for path in (folder / lang).glob("**/*.html")]
    return sorted(path.as_posix() for path in paths if "_static" not in path.parts)


# -- every page -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lang", "size", "theme"),
    [("en", DESKTOP, "light"), ("en", PHONE, "dark"), ("zh", DESKTOP, "dark"), ("zh", PHONE, "light")],
    ids=["en-desktop", "en-phone", "zh-desktop", "zh-phone"],
)
def test_every_page_opens_without_a_fault_and_fits_the_window(html, page, lang, size, theme):
    page.set_viewport_size(size)
    page.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
    paths = [path for path in pages(html) if path.startswith(f"{lang}/")]
    assert len(paths) == 4 + 2 * len(MANIFEST.finished)
    for path in paths:
        visit(page, path)
        assert page.locator("html").get_attribute("data-theme") == theme
        assert page.locator(".math:not(:has(mjx-container))").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than the window"
        cut = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth + 1).length"
        assert page.locator("div.math").evaluate_all(cut) == 0, f"{path} has a formula that is cut off"
        check_explorers(page)
        if size == DESKTOP:  # both languages have the same elements: one is looked at in light, the other in dark
            assert violations(page) == [], path


@pytest.mark.parametrize(
    ("lang", "size", "theme", "start", "write"),
    [("en", DESKTOP, "light", "Start the model", "Continue the text"), ("zh", PHONE, "dark", "启动模型", "接着写")],
)
def test_in_the_first_screen_the_reader_types_and_the_model_answers(page, lang, size, theme, start, write):
    page.set_viewport_size(size)
    page.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    visit(page, f"{lang}/index.html")
    page.get_by_role("button", name=start).wait_for()
    assert not [url for url in asked if "/models/" in url or "engine" in url]
    assert page.locator(".llm-bars tbody tr:visible").count() == 5 and inside(page, ".llm-try")
    page.get_by_role("button", name=start).click()
    page.locator(".llm-bars tbody tr button").first.wait_for()
    first = page.locator(".llm-bars tbody th").first
    assert first.inner_text() == "␣shape" and inside(page, "textarea") and inside(page, ".llm-bars")
    page.locator("textarea").fill("Raises a ValueError if the")
    page.wait_for_function("document.querySelector('.llm-chips').textContent.endsWith('␣if␣the')")
    assert first.inner_text() == likeliest_after("Raises a ValueError if the").replace(" ", "␣")
    page.get_by_role("button", name=write).click()
    page.wait_for_function("/^Raises a ValueError if the../.test(document.querySelector('textarea').value)")
    assert violations(page) == []


def likeliest_after(text):
    """What torch says."""
    torch.set_default_dtype(torch.float32)
    model, tokenizer = course.load("gpt")
    with torch.no_grad():
        return tokenizer.decode([int(model(torch.tensor([tokenizer.encode(text)]))[0, -1].argmax())])


def inside(page, selector):
    """Whether all of an element is in the first screen."""
    box = page.locator(selector).first.bounding_box()
    return box["y"] + box["height"] <= page.viewport_size["height"] and page.evaluate("scrollY") == 0


@pytest.mark.parametrize("lang", LANGUAGES)
def test_without_javascript_the_first_page_shows_what_the_model_said(browser, book, lang):
    page = browser.new_page(base_url=book, java_script_enabled=False)
    page.goto(f"{lang}/index.html")
    assert (
        page.locator(".llm-try noscript p").first.inner_text().startswith({"en": "The model", "zh": "运行模型"}[lang])
    )
    assert page.locator(".llm-try noscript tr:has(td)").first.inner_text().split() == ["␣shape", "66.2%"]
    page.close()


def test_the_first_page_leads_to_the_readers_language(page):
    page.goto("index.html")
    page.wait_for_url("**/zh/index.html")
    page.locator(".llm-switch").click()
    page.wait_for_url("**/en/index.html")
    page.goto("index.html")
    page.wait_for_url("**/en/index.html")


@pytest.mark.parametrize(("lang", "other"), [("en", "zh"), ("zh", "en")])
def test_the_language_switch_leads_to_the_same_section(page, lang, other):
    visit(page, f"{lang}/03_attention/lesson.html#any-two")
    page.locator(".llm-switch").click()
    page.wait_for_url(f"**/{other}/03_attention/lesson.html#any-two")
    assert page.locator("section#any-two").count() == 1


@pytest.mark.parametrize(
    ("lang", "words", "place"),
    [
        ("en", "attention", "03_attention/lesson.html"),
        ("en", "softmax", "03_attention/lesson.html"),
        ("zh", "注意力机制", "03_attention/lesson.html"),
        ("zh", "掩码", "03_attention/lesson.html#masks"),
        ("zh", "softmax", "03_attention/lesson.html"),
    ],
)
def test_the_search_opens_by_keyboard_and_finds_words_of_both_languages(page, lang, words, place):
    visit(page, f"{lang}/index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type(words)
    page.wait_for_selector("#llm-search li a")
    links = page.locator("#llm-search li a")
    found = links.evaluate_all("links => links.map(link => link.pathname + link.hash)")
    assert any(link.startswith(f"/{lang}/{place}") for link in found), found
    assert all(link.startswith(f"/{lang}/") for link in found)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(re.escape(found[0].split("#")[0])))


def test_the_search_says_when_it_finds_nothing_and_closes(page):
    visit(page, "zh/index.html")
    page.locator(".llm-search-button").click()
    page.keyboard.type("龘龘")
    page.wait_for_function("document.querySelector('#llm-search [role=status]').textContent.includes('没有找到')")
    assert violations(page) == []
    page.keyboard.press("Escape")
    assert not page.locator("#llm-search").is_visible()


def test_the_download_is_the_notebook_of_the_language(page):
    visit(page, "zh/03_attention/exercises.html")
    with page.expect_download() as download:
        page.locator(".llm-download").click()
    saved = Path(download.value.path()).read_bytes()
    assert download.value.suggested_filename == "exercises.zh.ipynb"
    assert saved == MANIFEST.notebook(MANIFEST.chapter("03_attention"), "exercises", "zh").read_bytes()


# -- explorers --------------------------------------------------------------------------------------------------------


def check_explorers(page):
    """Every explorer of the page is alive: its text box or, without one, its first slider changes what it shows."""
    courses = page.evaluate(
        """() => {
            const states = [...document.querySelectorAll('script[type="application/vnd.jupyter.widget-state+json"]')];
            const models = Object.assign({}, ...states.map(tag => JSON.parse(tag.textContent).state));
            const views = [...document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]')];
            const shown = views.map(view => models[JSON.parse(view.textContent).model_id]?.state);
            return shown.filter(state => state?.explorer).map(state => state.course ?? null);
        }"""
    )
    page.wait_for_function("count => document.querySelectorAll('.llm-view > *').length >= count", arg=len(courses))
    explorers = page.locator(".llm-view")
    assert explorers.count() == len(courses)
    for explorer, course_model in zip(explorers.all(), courses, strict=True):
        explorer.locator("> *").first.wait_for(state="attached")
        if course_model == "":  # a model that only the notebook has: the page shows its stored result
            assert explorer.locator(".llm-start button").count() == 0 and explorer.locator("table tr").count() > 1
            continue
        for starting in explorer.locator(".llm-start button").all():
            starting.click()
            explorer.locator("textarea").wait_for()
            explorer.locator("svg, table, .llm-chips button").locator("visible=true").first.wait_for()
        for drawing in explorer.locator(".llm-wide > svg[width]").all():  # squeezed instead of scrolled it has no rest
            assert drawing.bounding_box()["width"] == float(drawing.get_attribute("width"))
        before = explorer.inner_html()
        moved = explorer.locator("textarea, input[type=range]").first
        if moved.get_attribute("type") == "range":
            moved.press("ArrowLeft")
        else:
            moved.fill("a list of")
        given = [explorer.element_handle(), before]
        page.wait_for_function("([explorer, before]) => explorer.innerHTML !== before", arg=given)
    return len(courses)


@pytest.mark.parametrize(("lang", "theme"), [("en", "light"), ("zh", "dark")])
def test_an_explorer_runs_from_its_stored_state(sample_page, lang, theme):
    sample_page.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
    visit(sample_page, f"{lang}/01_sample/lesson.html")
    assert check_explorers(sample_page) == 1
    assert 'y2="2"' in sample_page.locator(".llm-view svg").inner_html()
    assert violations(sample_page) == []  # the page also has a map of words and a check's verdict
    sample_page.set_viewport_size(PHONE)
    assert sample_page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_explorer_that_cannot_start_says_so_and_leaves_its_description(sample_page):
    sample_page.route("**/sample.js", lambda route: route.fulfill(content_type="text/javascript", body="throw Error()"))
    visit(sample_page, "zh/01_sample/lesson.html")
    sample_page.wait_for_selector(".llm-failed")
    assert "没能启动" in sample_page.locator(".llm-view").inner_text()
    assert "升到" in sample_page.locator(".llm-caption").inner_text()


def test_explorers_are_loaded_only_where_there_are_some(sample):
    loads = {path: "explorers/explorers.css" in (sample / path).read_text(encoding="utf-8") for path in pages(sample)}
    assert [path for path, loaded in loads.items() if loaded] == [
        f"{lang}/{name}.html" for lang in LANGUAGES for name in ("01_sample/lesson", "index")
    ]
    assert "<noscript>这个交互图需要 JavaScript" in (sample / "zh/01_sample/lesson.html").read_text(encoding="utf-8")


# -- what the files hold ----------------------------------------------------------------------------------------------


def test_both_languages_have_the_same_pages_and_anchors(html):
    anchors = {}
    for path in pages(html):
        lang, _, name = path.partition("/")
        text = (html / path).read_text(encoding="utf-8")
        anchors.setdefault(name, {})[lang] = re.findall(r'<section [^>]*\bid="([^"]+)"', text)
    for name, found in anchors.items():
        assert found["en"] == found["zh"] != [], name
        assert not [anchor for anchor in found["en"] if re.fullmatch(r"id\d+", anchor)]


def test_every_internal_link_leads_somewhere(html, sample):
    for folder in (html, sample):
        texts = {path: (folder / path).read_text(encoding="utf-8") for path in pages(folder)}
        for path, text in texts.items():
            for link in re.findall(r'(?:href|src)="([^"]*)"', text):
                if re.match(r"[a-z]+:", link):
                    continue
                target, fragment = urldefrag(urljoin(path, link.split("?")[0]))
                assert (folder / unquote(target)).is_file(), f"{path}: {link}"
                if fragment and target in texts:
                    assert f'id="{fragment}"' in texts[target], f"{path}: {link}"


def test_nothing_is_loaded_from_another_host(html):
    for path in pages(html):
        text = (html / path).read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?//[^"]*"', text) == []


def test_the_chinese_edition_names_everything_in_chinese(html):
    for path in pages(html):
        if path.startswith("zh/"):
            text = (html / path).read_text(encoding="utf-8").replace('<nav aria-label="Page">', "")  # for printing only
            named = re.findall(r'\s(?:title|aria-label|placeholder)="([^"]*)"', text)
            foreign = [name for name in named if re.search("[A-Za-z]", name) and not re.search("[\u4e00-\u9fff]", name)]
            assert named and foreign == []


def test_a_short_formula_and_the_mark_after_it_stay_on_one_line(html):
    text = (html / "zh/03_attention/lesson.html").read_text(encoding="utf-8")
    formulas = re.findall(r'(<span class="keep">)?<span class="math[^>]*>(.*?)</span>(.?)', text)
    loose = [formula for kept, formula, after in formulas if after in tuple("，。；：、") and not kept]
    assert len([kept for kept, *_ in formulas if kept]) > 10 and all(len(formula) > 30 for formula in loose)


def test_a_page_without_its_explorers_weighs_little(page, html):
    """Explorers cost nothing until started: what a page loads by itself, compressed as web servers send it."""
    loaded = []
    page.on("response", lambda answer: loaded.append(html / urlsplit(answer.url).path.lstrip("/")))
    for path, formulas in (("en/index.html", False), ("zh/03_attention/lesson.html", True)):
        loaded.clear()
        page.goto(path)
        if formulas:
            page.wait_for_selector("mjx-container", state="attached")
        page.wait_for_load_state("networkidle")
        assert 100_000 < sum(len(gzip.compress(file.read_bytes())) for file in loaded) <= 1_000_000, path


def test_what_answers_a_prediction_is_folded():
    code = [new_code_cell(name, id=name, outputs=[new_output("stream", text=name)]) for name in "abc"]
    prose = [new_markdown_cell(role, metadata={"llmguide": {"role": role}}) for role in ("prediction", "caption", "")]
    for one in code:
        one.metadata["llmguide"] = {}
    notebook = new_notebook(cells=[prose[0], code[0], prose[1], code[1], prose[2], code[2]])
    fold_results(notebook)
    assert ["hide-output" in one.metadata.get("tags", []) for one in code] == [True, True, False]


def test_planned_chapters_are_on_the_map_without_links(html):
    for lang in LANGUAGES:
        text = (html / lang / "index.html").read_text(encoding="utf-8")
        assert f'href="{MANIFEST.finished[0].slug}/lesson.html"' in text
        for chapter in MANIFEST.chapters:
            assert chapter.title[lang] in text
            assert (f'href="{chapter.slug}/' in text) == chapter.finished


def test_solutions_stand_folded_after_each_exercise_or_not_at_all(html, sample):
    shown = (html / "en/03_attention/exercises.html").read_text(encoding="utf-8")
    assert shown.count('<details class="llm-solution">') == 8
    assert shown.count("<details>") == 3 * 8
    for path in sample.rglob("exercises.html"):
        left = re.sub("(?s)<details>.*?</details>|<[^>]*>", "", path.read_text(encoding="utf-8"))  # without the hints
        assert "return a - b" in left and "return a + b" not in left


def test_launch_buttons_are_there_only_with_a_repository(html, sample):
    launch = 'href="https://colab.research.google.com/github/someone/book/blob/main/chapters/01_sample/lesson.zh.ipynb"'
    assert launch in (sample / "zh/01_sample/lesson.html").read_text(encoding="utf-8")
    assert "mybinder.org" in (sample / "en/01_sample/exercises.html").read_text(encoding="utf-8")
    assert not any("llm-launch" in (html / path).read_text(encoding="utf-8") for path in pages(html))


def test_the_page_of_claims_has_each_claim_with_its_verdict(html):
    text = (html / "zh/claims.html").read_text(encoding="utf-8")
    for chapter in MANIFEST.finished:
        for claim in chapter.claims:
            assert f'href="{chapter.slug}/lesson.html#claim-{claim}"' in text
    assert "在一定范围内成立" in text and "2.1b 注意力不受长度限制" in text[text.index("尚未检验的说法") :]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_of_explorers_leads_to_each_of_them(page, lang):
    page.set_default_timeout(20_000)  # a lesson with everything in it is a large page
    visit(page, f"{lang}/index.html")
    page.get_by_role("main").locator('a[href="explorers.html"]').click()
    item = page.get_by_role("listitem").filter(has_text="top-k")
    item.wait_for()
    links = item.get_by_role("link").evaluate_all("links => links.map(link => link.hash)")
    assert links == ["#decoding", "#own-model"]
    item.get_by_role("link").first.click()
    page.locator("#decoding .llm-explorer").first.wait_for()


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", course.NAMES)
def test_a_whole_model_in_one_file_answers(page, lang, name):
    visit(page, f"{lang}/explorers.html")
    page.locator(f'a[href$="{name}.{lang}.html"]').click()
    assert page.title() == f"{name}-course"
    explorer = page.locator(".llm-explorer").first
    explorer.locator(".llm-start button").click()
    explorer.get_by_role("textbox").first.wait_for()
    assert page.evaluate("document.documentElement.lang").startswith(lang)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="it reads what Linux says of memory")
def test_the_benchmark_of_explorers_finds_what_it_measures(browser, book):
    found = benchmark("explorers").start(browser, f"{book}/")
    assert found["tokens_per_second"] > 0 and found["foreign_requests"] == 0


def test_an_explorer_that_the_book_does_not_describe_stops_the_build():
    chapter = MANIFEST.chapter("06_causal_lm")
    lesson = read_notebook(MANIFEST.notebook(chapter, "lesson", "en"))
    assert {place.explorer for place in read_explorers(MANIFEST, chapter, lesson)} < set(MANIFEST.explorers)
    known = {name: texts for name, texts in MANIFEST.explorers.items() if name != "beams"}
    with pytest.raises(BookError, match=r"06_causal_lm/lesson: book.toml's \[explorers\] does not say what 'beams'"):
        read_explorers(dataclasses.replace(MANIFEST, explorers=known), chapter, lesson)


def test_pictures_have_their_captions_as_text_alternatives(html):
    for lang in LANGUAGES:
        lesson = read_notebook(MANIFEST.notebook(MANIFEST.chapter("03_attention"), "lesson", lang))
        outputs = [output for cell in lesson.cells for output in cell.get("outputs", ())]
        wanted = [output.metadata[PNG]["alt"] for output in outputs if PNG in output.get("data", {})]
        text = (html / lang / "03_attention/lesson.html").read_text(encoding="utf-8")
        assert [unescape(alt) for alt in re.findall(r'<img alt="([^"]*)"', text)] == wanted


def test_prose_gets_anchors_boxes_and_links_between_pages():
    text = "## One\n\n~~~sh\n# a comment\n~~~\n\n[on](../02_b/lesson.zh.ipynb#x)\n\n### Two\n\nmore"
    cell = new_markdown_cell(text, id="7deep", metadata={"llmguide": {"role": "deeper"}})
    notebook = new_notebook(cells=[cell])
    make_page(notebook, "zh", {})
    lines = [line for line in notebook.cells[0].source.splitlines() if line]
    box = ['<div class="llm-deeper">', '<p class="llm-label">深入内容，可以跳过</p>']
    assert lines == [
        '{class="anchor-cell-7deep"}', "## One", *box, "~~~sh", "# a comment", "~~~",
        "[on](../02_b/lesson.ipynb#x)", "</div>",
        '{class="anchor-cell-7deep-2"}', "### Two", *box, "more", "</div>",
    ]  # fmt: skip


def test_a_missing_package_is_named_with_its_fix(monkeypatch, tmp_path):
    monkeypatch.setattr(builder, "PACKAGES", ("sphinx", "no_such_package"))
    with pytest.raises(BookError, match="the site needs no_such_package; run `make book`"):
        builder.make_site(MANIFEST, tmp_path / "html")


def test_a_claim_without_a_verdict_stops_the_build():
    chapter = MANIFEST.chapter("03_attention")
    lesson = read_notebook(MANIFEST.notebook(chapter, "lesson", "en"))
    for cell in lesson.cells:
        cell.outputs = []
    with pytest.raises(BookError, match=r"claim 2.1a has no stored verdict; end the cell"):
        read_claims(chapter, lesson)


def test_a_claim_that_two_chapters_decide_stands_once_with_both_verdicts():
    chapters = [MANIFEST.chapter("03_attention"), MANIFEST.chapter("06_causal_lm")]
    decided = [Claim("2.2d", chapter, verdict, "why") for chapter, verdict in zip(chapters, VERDICTS, strict=False)]
    page = builder._render("claims.md", manifest=MANIFEST, lang="en", claims=decided)
    assert page.count("\n## 2.2d ") == page.count('{class="anchor-claim-2.2d"}') == 1
    assert all(f"**{verdict}**" in page for verdict in list(VERDICTS)[:2])
    assert all(f'href="{chapter.slug}/lesson.html#claim-2.2d"' in page for chapter in chapters)
    assert "- 2.2d " not in page and "- 2.2c " in page  # it is not among those that are open


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BookError, match="holds something that is not the site"):
        builder.make_site(MANIFEST, tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_missing_notebook_is_named_with_its_fix(tmp_path):
    elsewhere = dataclasses.replace(MANIFEST, src=tmp_path)
    with pytest.raises(BookError, match=r"lesson.en.ipynb: missing or not a notebook; run: tools/book.py build"):
        builder.write_sources(elsewhere, tmp_path / "out", "en")
