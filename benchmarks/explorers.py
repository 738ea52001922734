#!/usr/bin/env python3
"""The built site in Chromium: what a page weighs before an explorer is started, and what starting one takes.

    python benchmarks/explorers.py                 # builds the site into a temporary folder first
    python benchmarks/explorers.py --site DIR      # takes one that is built

The first page's explorer is started, `--runs` times in new windows, as a reader starts it: seconds are from the click
until the table shows what follows the text, tokens per second are those that "Continue the text" adds to the page,
drawing included. Memory is what the page's process holds for itself alone after that, less what it held before the
start (both after a collection of garbage). What must be reached (issue 6) stands beside each figure.
"""

import argparse
import functools
import gzip
import json
import platform
import statistics
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tools")]

from bookbuilder.manifest import read_manifest  # noqa: E402
from bookbuilder.site import make_site  # noqa: E402
from browser import FLAGS, NAMES, installed  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "explorers.json"
TEXTS = ("Notes", "Parameters", "This class", "The number of", "Examples", "Raises")  # some texts end after few tokens
PAGES = ("en/index.html", "zh/index.html", "zh/03_attention/lesson.html")
LIMITS = {
    "first_token_seconds": ("at most", 1.0),
    "tokens_per_second": ("at least", 50),
    "weights_bytes": ("at most", 4_000_000),
    "page_bytes": ("at most", 1_500_000),
    "memory_bytes": ("at most", 150_000_000),
    "foreign_requests": ("at most", 0),
}
START = """() => new Promise((resolve) => {
  const began = performance.now();
  const look = () => document.querySelector(".llm-bars tbody tr button") && resolve((performance.now() - began) / 1000);
  new MutationObserver(look).observe(document.querySelector(".llm-view"), { childList: true, subtree: true });
  document.querySelector(".llm-start button").click();
})"""
WRITE = """() => new Promise((resolve) => {
  const chips = document.querySelector(".llm-chips");
  const buttons = [...document.querySelectorAll(".llm-view button")];
  const write = buttons.find((one) => one.textContent === "Continue the text");
  const times = [];
  const grown = new MutationObserver(() => times.push([performance.now(), chips.children.length]));
  grown.observe(chips, { childList: true });
  new MutationObserver((_, self) => {
    if (write.textContent !== "Continue the text") return;
    self.disconnect();
    grown.disconnect();
    if (times.length < 2) return resolve({ tokens: 0, seconds: 0 }); // it ended the text at once
    const [[from, before], [to, after]] = [times[0], times.at(-1)];
    resolve({ tokens: after - before, seconds: (to - from) / 1000 });
  }).observe(write, { childList: true });
  write.click();
})"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a line per request."""

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


def serve(folder: Path) -> str:
    """Serves the folder on this machine only, until the program ends; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def weigh(browser, folder: Path, address: str, path: str) -> dict[str, int]:
    """The bytes of all files that a page loads by itself, as they are and compressed as web servers send them."""
    page, asked = browser.new_page(viewport={"width": 1280, "height": 800}), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address + path)
    page.evaluate("window.MathJax?.startup.promise")
    page.wait_for_load_state("networkidle")
    page.close()
    local = [url for url in asked if url.startswith(address)]
    files = [(folder / unquote(urlsplit(url).path).lstrip("/")).read_bytes() for url in local]
    foreign = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    return {
        "page_bytes": sum(map(len, files)),
        "page_bytes_compressed": sum(len(gzip.compress(file)) for file in files),
        "files": len(files),
        "foreign_requests": len(foreign),
    }


def own_bytes(browser, page) -> int:
    """Memory of the page's process that no other process shares, after a collection of garbage."""
    session = page.context.new_cdp_session(page)
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    running = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    sizes = [_private(one["id"]) for one in running if one["type"] == "renderer"]
    return max(sizes)  # the page's; those that are kept in reserve hold little


def _private(process: int) -> int:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


def write(page, text: str) -> dict[str, float]:
    """Lets the model write on from a text; the tokens after the first one, and the seconds that they took."""
    page.locator("textarea").fill(text)
    shown = "document.querySelector('.llm-chips').textContent.replaceAll('␣', ' ')"
    page.wait_for_function(f"text => {shown} === text", arg=text)  # shown with what follows it
    return page.evaluate(WRITE)


def start(browser, address: str) -> dict[str, float]:
    """One reader: opens the first page, starts the model, lets it write on."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}en/index.html")
    page.locator(".llm-start button").wait_for()
    page.wait_for_load_state("networkidle")
    before = own_bytes(browser, page)
    first = page.evaluate(START)
    written = [write(page, text) for text in TEXTS]
    figures = {
        "first_token_seconds": first,
        "tokens_per_second": sum(one["tokens"] for one in written) / sum(one["seconds"] for one in written),
        "memory_bytes": own_bytes(browser, page) - before,
        "foreign_requests": len([url for url in asked if not url.startswith((address, "data:", "blob:"))]),
    }
    context.close()
    return figures


def measure(browser, folder: Path, runs: int) -> dict:
    """All figures of a built site."""
    address = serve(folder)
    pages = {path: weigh(browser, folder, address, path) for path in PAGES}
    rounds = [start(browser, address) for _ in range(runs)]
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    figures = medians | {
        "memory_bytes": max(one["memory_bytes"] for one in rounds),
        "weights_bytes": max(path.stat().st_size for path in (folder / "models").glob("*.bin")),
        "page_bytes": max(page["page_bytes_compressed"] for page in pages.values()),
        "foreign_requests": sum(one["foreign_requests"] for one in [*rounds, *pages.values()]),
    }
    reached = {
        name: figures[name] <= limit if rule == "at most" else figures[name] >= limit
        for name, (rule, limit) in LIMITS.items()
    }
    limits = {name: f"{rule} {limit}" for name, (rule, limit) in LIMITS.items()}
    shown = {name: round(figures[name], 3) for name in LIMITS}
    return {"figures": shown, "limits": limits, "reached": reached, "pages": pages, "rounds": rounds}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, help="a built site; made anew if not given")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    program = installed()
    if program is None:
        sys.exit(f"no browser found (looked for {', '.join(NAMES)})")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = options.site or make_site(read_manifest(ROOT), Path(folder) / "html").parent
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        found = measure(browser, site, options.runs)
        versions = {"chromium": browser.version}
        browser.close()
    result = {"machine": f"{platform.system()} {platform.machine()}, one core", "versions": versions, **found}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
