"""Chromium for tests that need to see a page; skipped with a sentence where there is none."""

import shutil
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def installed():
    """The browser's program; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def browser():
    """A running browser, one for all tests."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: dev)")
    program = installed()
    if program is None:
        pytest.skip(f"no browser found (looked for {', '.join(NAMES)}); on Debian: apt-get install chromium")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield running
        running.close()


@contextmanager
def clean_page(browser, width=900):
    """A page on which nothing may go wrong, for as many tests as its fixture serves."""
    made = browser.new_page(viewport={"width": width, "height": 1000})
    wrong = []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield made
    made.close()
    assert wrong == []


@pytest.fixture
def page(browser):
    """A page of one test, on which nothing may go wrong."""
    with clean_page(browser) as made:
        yield made


def violations(page):
    """What axe-core finds on the page, a line for each."""
    from axe_playwright_python.sync_playwright import Axe

    # Without preload: axe would fetch style sheets again and look for what they import beside the page.
    found = Axe().run(page, options={"preload": False, "resultTypes": ["violations"]}).response["violations"]
    return [f"{problem['id']}: {node['html'][:200]}" for problem in found for node in problem["nodes"]]
