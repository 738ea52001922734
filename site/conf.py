"""Sphinx's settings for one language; tools/book.py site runs it and names the book and the language."""

import os
import sys
from pathlib import Path

from docutils import nodes

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tools"))

from bookbuilder.manifest import read_manifest  # noqa: E402
from bookbuilder.site import launch_links, texts  # noqa: E402

LANG = os.environ["BOOK_LANG"]
BOOK = read_manifest(Path(os.environ["BOOK_ROOT"]))
WORDS = texts(LANG)
PUNCTUATION = tuple("，。；：、！？）」》,.;:!?)")
SHORT = 30  # characters of a formula that fits on a line of a phone
EMPTY_HEAD = '<th class="head"><p></p></th>'
VIEW = 'type="application/vnd.jupyter.widget-view+json"'

project = html_title = BOOK.title[LANG]
author = BOOK.authors
language = WORDS["sphinx"]
extensions = ["myst_nb"]
templates_path = [str(HERE / "templates")]

nb_execution_mode = "off"
nb_ipywidgets_js = {}  # explorers are started by static/explorers.js
nb_code_prompt_show, nb_code_prompt_hide = WORDS["code_show"], WORDS["code_hide"]
myst_enable_extensions = ["dollarmath", "attrs_block"]  # attrs_block: anchors before headings
# Prose is CommonMark: what else MyST would read into it means nothing there.
myst_disable_syntax = ["myst_block_break", "myst_line_comment", "myst_role", "myst_target"]
mathjax_path = "mathjax/startup.js"  # and the parts that it is told to load: half of the size of the whole
mathjax3_config = {
    "loader": {"load": ["core", "input/tex", "output/chtml", "a11y/assistive-mml"]},
    "options": {"enableMenu": False},  # the menu would load files that are not there
}

html_theme = "sphinx_book_theme"
html_static_path = [os.environ["BOOK_STATIC"]]
html_favicon = str(HERE / "static" / "favicon.svg")
html_css_files = ["book.css"]
html_js_files = [(name, {"type": "module"}) for name in ("search.js", "switch.js", "scrolling.js")]
html_sidebars = {"**": ["course.html"]}
html_copy_source = html_use_index = False
html_permalinks_icon = "#"
html_theme_options = {
    "article_header_end": ["buttons.html"],
    "disable_search": True,  # the theme's; ours is templates/search.html
    "footer_content_items": [],
    "secondary_sidebar_items": ["page-toc.html"],
    "show_toc_level": 2,
}
html_context = {"default_mode": "auto", "book": BOOK, "lang": LANG, "t": WORDS}


def name_sections(app, doctree):
    """Gives each section the anchor that its heading's class asks for; a heading's own text differs by language."""
    for section in doctree.findall(nodes.section):
        if asked := [name for name in section["classes"] if name.startswith("anchor-")]:
            name = asked[0].removeprefix("anchor-")
            section["ids"], section[0]["ids"] = [name], [f"{name}-title"]  # the search looks for anchors of titles
            section["classes"].remove(asked[0])


def keep_punctuation(app, doctree):
    """Keeps a short formula and the mark after it on one line: browsers may break between the two."""
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        if len(formula.astext()) <= SHORT and isinstance(after, nodes.Text) and after.startswith(PUNCTUATION):
            parent = formula.parent
            kept = nodes.inline("", "", formula.deepcopy(), nodes.Text(after[0]), classes=["keep"])
            parent.replace(after, nodes.Text(after[1:]))
            parent.replace(formula, kept)


def complete_page(app, pagename, templatename, context, doctree):
    """Tells the templates which notebook a page is, and loads the explorers only where there are some."""
    slug, _, kind = pagename.partition("/")
    context["notebook"] = f"{kind}.{LANG}.ipynb" if kind else None
    context["launch_links"] = launch_links(BOOK, f"{slug}/{kind}.{LANG}.ipynb") if kind else {}
    body = context.get("body", "")
    body = body.replace("Toggle hidden content", WORDS["code_show"])  # MyST-NB knows it in English only
    context["body"] = body.replace(EMPTY_HEAD, "<td></td>")  # a corner of a table heads nothing
    if VIEW in body:
        app.add_css_file("explorers/explorers.css")
        app.add_js_file("explorers.js", type="module")


def setup(app):
    """Connects the above, and leaves out Sphinx's own search, which does not know Chinese words."""
    app.connect("builder-inited", lambda app: setattr(app.builder, "search", False))
    app.connect("doctree-read", name_sections, priority=400)  # before the table of contents is collected
    app.connect("doctree-read", keep_punctuation)
    app.connect("html-page-context", complete_page)
