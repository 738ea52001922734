"""Explorers on a page: as JupyterLab mounts them, with a kernel to ask, and as the website does, with files."""

import base64
import json
import unicodedata
from pathlib import Path

from llmguide_lib.widgets import explorer as module

ROOT = Path(__file__).resolve().parent.parent

# Stands in for JupyterLab's widget manager: models over plain state, and each explorer's text as a module.
MOUNT = """
window.asModel = (state, index) => {
  const listeners = {};
  const model = {
    get: (name) => state[name],
    set: (name, value) => {
      const same = JSON.stringify(state[name]) === JSON.stringify(value);
      state[name] = value;
      if (!same) (listeners["change:" + name] || []).forEach((tell) => tell());
    },
    save_changes: () => {},
    on: (name, tell) => (listeners[name] ??= []).push(tell),
    off: (name, tell) => (listeners[name] = (listeners[name] || []).filter((other) => other !== tell)),
    send: async (content) => {
      for (const answer of await window.kernel(index, content)) {
        const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        const buffers = answer.buffers.map((text) => new DataView(bytes(text).buffer));
        (listeners["msg:custom"] || []).forEach((tell) => tell(answer.content, buffers));
      }
    },
  };
  return model;
};
window.views = [];
window.view = (index) => {
  const el = document.querySelector("main").appendChild(document.createElement("div"));
  const stop = modules[index].default.render({ model: models[index], el });
  views.push({ el, stop });
  window.stop = stop;
};
window.mount = async (css, sources, states) => {
  const style = document.createElement("style");
  style.textContent = css;
  document.head.append(style);
  window.models = states.map(asModel);
  window.model = models[0];
  const load = (source) => import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  window.modules = await Promise.all(sources.map(load));
  states.forEach((_, index) => view(index));
};
// Every worker that was made and still runs.
window.workers = new Set();
window.Worker = class extends Worker {
  constructor(...given) {
    super(...given);
    workers.add(this);
  }
  terminate() {
    workers.delete(this);
    super.terminate();
  }
};
"""
PRIVATE = ("layout", "tooltip", "tabbable")
ADDRESS = "http://explorer.test/"
TYPES = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".html": "text/html"}


def state_of(explorer):
    """What travels to the page or is stored in a notebook, without the JavaScript."""
    state = explorer.get_state()
    return {name: value for name, value in state.items() if not name.startswith("_") and name not in PRIVATE}


def answers(explorer, content):
    """What the kernel sends back for one message of the page."""
    sent = []

    def send(content, buffers=()):
        sent.append({"content": content, "buffers": [base64.b64encode(one).decode() for one in buffers]})

    explorer.send = send
    explorer._handle_custom_msg(content, [])
    return sent


def mount(page, *explorers, theme="light", kernel=answers):
    """Shows explorers of one notebook; the first one's model is ``model``, ``view(index)`` opens one once more."""
    page.set_content(
        f'<!doctype html><html lang="{explorers[0].lang}" data-theme="{theme}"><head><title>explorer</title></head>'
        "<body><main><h1>explorer</h1></main></body></html>"
    )
    page.expose_function("kernel", lambda index, content: kernel(explorers[index], content))
    page.add_script_tag(content=MOUNT)
    given = [explorers[0]._css, [one._esm for one in explorers], [state_of(one) for one in explorers]]
    page.evaluate("(given) => mount(...given)", given)


def visit_site(page, folder, *explorers, lang="en", theme="light"):
    """Shows explorers as a page of the website does: stored states, the site's loader, the files of its builder.

    Args:
        folder: where ``site.copy_models`` has written; what a test changes there arrives changed.
    Returns:
        the addresses that the page asked for, growing.
    """
    modules = Path(module.__file__).parent
    places = {"en/_static/explorers/": modules, "en/_static/": ROOT / "site" / "static", "models/": folder}
    asked = []

    def serve(route):
        path = route.request.url.removeprefix(ADDRESS)
        asked.append(path)
        if path == "en/chapter/lesson.html":
            return route.fulfill(content_type="text/html", body=_stored_page(explorers, lang, theme))
        prefix = next(prefix for prefix in places if path.startswith(prefix))
        file = places[prefix] / path.removeprefix(prefix)
        if not file.exists():
            return route.fulfill(status=404)
        route.fulfill(content_type=TYPES.get(file.suffix, "application/octet-stream"), body=file.read_bytes())

    page.route(f"{ADDRESS}**", serve)
    page.goto(f"{ADDRESS}en/chapter/lesson.html")
    return asked


def _stored_page(explorers, lang, theme):
    states = {str(at): {"state": state_of(one) | {"lang": lang}} for at, one in enumerate(explorers)}
    stored = json.dumps({"state": states}).replace("<", "\\u003c")
    views = "".join(
        f'<script type="application/vnd.jupyter.widget-view+json">{{"model_id": "{at}"}}</script>' for at in states
    )
    return (
        f'<!doctype html><html lang="{lang}" data-theme="{theme}"><head><meta charset="utf-8"><title>lesson</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="../_static/explorers/explorers.css"></head>'
        f"<body><main><h1>lesson</h1>{views}</main>"
        f'<script type="application/vnd.jupyter.widget-state+json">{stored}</script>'
        '<script type="module" src="../_static/explorers.js"></script></body></html>'
    )


def press_start(page):
    """Starts the first explorer of the page that is not yet started, in whatever language."""
    boxes = page.locator("textarea").count()
    page.locator(".llm-start button").first.click()
    page.wait_for_function("n => document.querySelectorAll('textarea').length > n", arg=boxes)


def type_text(page, text):
    """What the reader types, half characters too, which Playwright itself does not send."""
    code = """(text) => {
      const box = document.querySelector("textarea");
      box.value = text;
      box.dispatchEvent(new Event("input"));
    }"""
    page.evaluate(f"() => ({code})({json.dumps(text)})")


def visible(piece):
    """How explorers write a token, so that all of it can be seen."""
    signs = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}
    hidden = (one if unicodedata.category(one)[0] not in "CZ" else f"⟨U+{ord(one):04X}⟩" for one in piece)
    return "".join(signs.get(one, shown) for one, shown in zip(piece, hidden, strict=True))


def complaint(page):
    """The sentence that says what is wrong, as soon as there is one."""
    page.wait_for_function("document.querySelector('[role=alert]').textContent")
    return page.get_by_role("alert").first.inner_text()
