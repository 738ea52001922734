"""A page that has the engine's modules as the website serves them, and one of Python's numbers for each of theirs."""

import base64
from contextlib import contextmanager
from pathlib import Path

import torch

from llmguide_lib.widgets import explorer

ADDRESS = "http://engine.test/"  # served from the files below; a page over plain http, where browsers hash nothing
FOLDER = Path(explorer.__file__).parent
MODULES = (
    "attending beam bpe connection families generate hooks lens model numbers refusals sample sha256 weights".split()
)
PRELUDE = """async (names) => {
  window.engine = {};
  for (const name of names) Object.assign(engine, await import(`./${name}.js`));
  window.bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  window.refusal = async (act) => {
    try {
      await act();
    } catch (error) {
      return [error.key, error.message, engine.REFUSALS[error.key].zh];
    }
    return null;
  };
}"""


def _serve(route):
    name = route.request.url.removeprefix(ADDRESS)
    if not name:
        route.fulfill(content_type="text/html", body="<!doctype html><title>engine</title>")
    else:
        route.fulfill(content_type="text/javascript", body=(FOLDER / name).read_bytes())


@contextmanager
def engine_page(browser):
    """The page; what the modules export is in ``engine``, and nothing may go wrong on it."""
    page = browser.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.route(f"{ADDRESS}**", _serve)
    page.goto(ADDRESS)
    page.evaluate(PRELUDE, MODULES)
    yield page
    page.close()
    assert wrong == []


def as_text(data: bytes) -> str:
    """Bytes as they travel to the page."""
    return base64.b64encode(data).decode()


def keep_model(page, data: bytes, name: str = "model") -> None:
    """Builds a model from a weight file; it stays on the page as ``engine[name]``."""
    page.evaluate(
        "([name, data]) => void (engine[name] = engine.buildModel(engine.readWeights(bytesOf(data))))",
        [name, as_text(data)],
    )


def tensor(numbers, *shape) -> torch.Tensor:
    """Numbers from the page as float32 in this shape."""
    return torch.tensor(numbers, dtype=torch.float32).reshape(shape)
