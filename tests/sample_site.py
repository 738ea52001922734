"""The sample book for the site: built without a kernel, with an explorer and a repository, without solutions."""

import shutil
from pathlib import Path

import nbformat
from bookbuilder import building
from bookbuilder.execute import STATE, WIDGET
from bookbuilder.manifest import read_manifest
from sample_book import write_sample_book

from llmguide_lib import checks
from llmguide_lib.checks.judging import Verdict
from llmguide_lib.plots import TokenMap
from llmguide_lib.widgets import explorer

MODEL = "1".rjust(32, "0")
EXPLORER = """import {line} from "./sibling.js";

export default {
  render({model, el}) {
    const input = Object.assign(document.createElement("input"), {type: "range", max: 9, value: model.get("height")});
    input.ariaLabel = "height";
    const figure = document.createElement("div");
    const draw = () => { figure.innerHTML = line(model.get("height")); };
    model.on("change:height", draw);
    input.oninput = () => { model.set("height", Number(input.value)); model.save_changes(); };
    el.append(input, figure);
    draw();
  },
};
"""
SIBLING = 'export const line = (y) => `<svg role="img" aria-label="line"><line x2="9" y2="${y}"/></svg>`;\n'


def stored(notebook):
    """Gives the lesson the outputs that a run would leave, and an explorer besides."""
    cells = {cell.id: cell for cell in notebook.cells}
    verdict = {"claim": "2.1a", "verdict": "holds"}
    data = {"application/vnd.llmguide.verdict+json": verdict, "text/plain": "2.1a: holds"}
    cells["verdict"].outputs = [nbformat.v4.new_output("execute_result", data=data, execution_count=1)]
    wrong = Verdict(0.0, {"en": "Not yet.", "zh": ""}, {"en": "Look at the sign.", "zh": ""})
    shown = [TokenMap(["a", "b"], [0.1, 1.0], marked=0), checks._Shown(wrong)]
    pages = [{"text/html": thing._repr_html_(), "text/plain": repr(thing)} for thing in shown]
    cells["time"].outputs = [nbformat.v4.new_output("display_data", data=data) for data in pages]
    view = {WIDGET: {"model_id": MODEL, "version_major": 2, "version_minor": 0}}
    cells["picture"].outputs = [nbformat.v4.new_output("display_data", data=view)]
    state = {"explorer": "sample", "height": 3, "lang": "en"}
    model = {"model_module": "anywidget", "model_module_version": "*", "model_name": "AnyModel", "state": state}
    notebook.metadata["widgets"] = {STATE: {"state": {MODEL: model}, "version_major": 2, "version_minor": 0}}


def write_sample_site(root, monkeypatch):
    """Writes and builds the sample book under ``root``; returns its manifest."""
    write_sample_book(root)
    manifest = root / "book.toml"
    text = manifest.read_text(encoding="utf-8").replace('src = "chapters"', 'src = "chapters"\nsolutions = false')
    repository = '\n[repository]\nurl = "https://github.com/someone/book"\nbranch = "main"\n'
    explorers = '\n[explorers]\nsample = {en = "a line that rises", zh = "一条会升高的线"}\n'
    manifest.write_text(text + repository + explorers, encoding="utf-8")
    widgets = root / "llmguide_lib" / "widgets"
    widgets.mkdir()
    for path in Path(explorer.__file__).parent.glob("*.[jc]s*"):
        shutil.copyfile(path, widgets / path.name)
    for name, content in (("sample.js", EXPLORER), ("sibling.js", SIBLING)):
        (widgets / name).write_text(content, encoding="utf-8")
    monkeypatch.setattr(building, "execute", stored)
    list(building.build(read_manifest(root), []))
    return read_manifest(root)
