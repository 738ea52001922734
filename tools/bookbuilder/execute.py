"""Runs a notebook in an empty directory and makes what it printed small, neutral and the same every time."""

import base64
import io
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from .manifest import BookError

PNG = "image/png"
WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
COLOURS = 64
TIMEOUT_SECONDS = 300

# What stands in a stored widget instead of its JavaScript: opened before it is run, it says what to do.
UNSTARTED = (
    'export default {render({el}) {el.textContent = "\\u25b6 Run this cell to start the explorer. / '
    '\\u8fd0\\u884c\\u6b64\\u5355\\u5143\\u5373\\u53ef\\u542f\\u52a8\\u3002"}}'
)


def execute(notebook: nbformat.NotebookNode) -> None:
    """Runs all cells in an empty directory and stores normalised outputs.

    Raises:
        BookError: a cell raised or wrote on stderr; the message names the cell.
    """
    with tempfile.TemporaryDirectory() as empty:
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT_SECONDS,
            kernel_name="python3",
            record_timing=False,
            store_widget_state=True,
            coalesce_streams=True,  # else what is printed slowly falls apart, as it happens to arrive
            resources={"metadata": {"path": empty}},
        )
        try:
            # A kernel's own stderr (not the cells') only warns about unencrypted loopback connections.
            client.execute(stderr=subprocess.DEVNULL, env=kernel_environment())
        except CellExecutionError as error:
            raise BookError(f"the notebook does not run: {error}") from None
        except AssertionError:
            if client.km is None:  # nbclient takes Ctrl-C for itself, stops the kernel, and then trips over its absence
                raise KeyboardInterrupt from None
            raise
    notebook.metadata.language_info = {"name": "python"}  # without the version of this machine's Python
    normalise(notebook)


def kernel_environment() -> dict[str, str]:
    """This process's environment without Python's switches for warnings: a test run's must not reach the outputs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHONWARN")}


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Counts from one, shrinks pictures, keeps only the state of widgets that are shown, under stable ids."""
    shown: list[str] = []
    for count, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = count
        cell.outputs = [output for output in cell.outputs if not _is_empty(output)]
        for output in cell.outputs:
            if output.get("name") == "stderr":
                raise BookError(f"cell {cell.id!r} wrote on stderr: {output.text[:300]}")
            if output.output_type == "execute_result":
                output.execution_count = count
            data = output.get("data", {})
            if PNG in data:
                data[PNG] = shrink(data[PNG])
                data.pop("text/plain", None)
            if WIDGET in data:
                shown.append(data[WIDGET]["model_id"])
                data.pop("text/plain", None)
    _store_widgets(notebook, shown)


def code_cells(notebook: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """The code cells, in order."""
    return (cell for cell in notebook.cells if cell.cell_type == "code")


def shrink(png: str) -> str:
    """A base64 PNG with a palette instead of full colour, and without metadata."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    small = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def _is_empty(output: nbformat.NotebookNode) -> bool:
    return output.output_type == "display_data" and not output.data


def _store_widgets(notebook: nbformat.NotebookNode, shown: list[str]) -> None:
    """Keeps the state of the shown explorers and of what they refer to; ids are numbered, JavaScript is left out."""
    state = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    names: dict[str, str] = {}
    waiting = [model for model in shown if model in state]
    while waiting:
        model = waiting.pop(0)
        if model not in names:
            names[model] = f"{len(names) + 1:032x}"
            references = re.findall(r"IPY_MODEL_(\w+)", json.dumps(state[model]))
            waiting += [reference for reference in references if reference in state]
    if not names:
        return
    text = json.dumps({names[model]: _without_code(state[model]) for model in names})
    outputs = json.dumps([cell.outputs for cell in code_cells(notebook)])
    for old, new in names.items():
        text, outputs = text.replace(old, new), outputs.replace(old, new)
    for cell, stored in zip(code_cells(notebook), json.loads(outputs), strict=True):
        cell.outputs = [nbformat.from_dict(output) for output in stored]
    kept = {"state": json.loads(text), "version_major": 2, "version_minor": 0}
    notebook.metadata["widgets"] = nbformat.from_dict({STATE: kept})


def _without_code(model: dict) -> dict:
    state = {key: value for key, value in model["state"].items() if key not in ("_esm", "_css")}
    if "_esm" in model["state"]:
        state["_esm"] = UNSTARTED
    return {key: state if key == "state" else value for key, value in model.items() if key != "buffers"}
