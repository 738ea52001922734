#!/usr/bin/env python3
"""The engine in Chromium with models of the course's sizes: bytes, seconds to the first token, tokens per second, loss.

    python benchmarks/engine.py --state runs/gpt-course/state.pt

takes the course models that are shipped; else the weights of a run that is under way (``--state``, the decoder's);
else random ones, for which no loss is measured. The seconds to the first token begin with the making of the worker; an
encoder's are those to the scores of the whole prompt. Each speed is the best of three.
"""

import argparse
import io
import json
import platform
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from browser import FLAGS, NAMES, installed  # noqa: E402
from engine_page import as_text, engine_page, keep_model  # noqa: E402

from llmguide_lib import course  # noqa: E402
from llmguide_lib.corpora import documentation  # noqa: E402
from llmguide_lib.corpora.storage import token_row  # noqa: E402
from llmguide_lib.objectives import IGNORED, Batch, masked_cross_entropy  # noqa: E402
from llmguide_lib.runs.recipes import LENGTH, RECIPES, course_tokenizer, masking  # noqa: E402
from llmguide_lib.widgets.explorer import bundle  # noqa: E402
from llmguide_lib.widgets.weights import DTYPES, pack_weights  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "engine.json"
WINDOWS = 16
PROMPT = "Return a new array of the given shape and type, filled with zeros."
SPEED = """async ([source, weights, tokenizer, text]) => {
  weights = bytesOf(weights);
  const began = performance.now();
  const link = engine.connect(engine.workerFrom(source));
  const { family } = await link.ask("load", { weights, tokenizer }).result;
  const loaded = performance.now();
  const times = [];
  const job = family === "Llama" ? "generate" : "forward";
  const request = { text, maxNewTokens: 150, sampling: { temperature: 0 } };
  await link.ask(job, request, () => times.push(performance.now())).result;
  if (job === "forward") times.push(performance.now());
  link.end();
  const seconds = (from, to) => (to - from) / 1000;
  return {
    load_seconds: seconds(began, loaded),
    first_token_seconds: seconds(began, times[0]),
    tokens_per_second: times.length > 1 ? (times.length - 1) / seconds(times[0], times.at(-1)) : null,
  };
}"""
LOSS = """(windows) => {
  let [sum, asked] = [0, 0];
  for (const [ids, targets] of windows) {
    const logits = engine.scores(engine.model, engine.hiddenStates(engine.model, ids));
    const width = logits.length / ids.length;
    targets.forEach((target, t) => {
      if (target < 0) return;
      const row = Float64Array.from(logits.subarray(t * width, (t + 1) * width));
      engine.softmaxInPlace(row);
      sum -= Math.log(row[target]);
      asked += 1;
    });
  }
  return sum / asked;
}"""


def model_of(name: str, state: Path | None) -> tuple[nn.Module, str]:
    """A model of the course's, and where its weights come from."""
    if (course.folder(name) / course.HASHES).exists():
        return course.load(name)[0], "shipped"
    model = RECIPES[f"{name}-course"].model().eval()
    if state is None or name != "gpt":
        return model, "random"
    content = torch.load(io.BytesIO(state.read_bytes().partition(b"\n")[2]), weights_only=True)
    model.load_state_dict(content["model"])
    return model, f"a run after step {content['records']['step']}"


def held_out(name: str, row: Tensor) -> Batch:
    """Some windows of the validation text, with what the model is asked there."""
    starts = torch.linspace(0, len(row) - LENGTH - 1, WINDOWS).long()
    windows = row[starts[:, None] + torch.arange(LENGTH + 1)].long()
    if name == "gpt":
        return Batch(windows[:, :-1], windows[:, 1:])
    return masking(0.15)(windows[:, :-1], torch.Generator().manual_seed(0))


def measure(page, name: str, model: nn.Module, trained: bool, tokenizer, batch: Batch) -> dict:
    figures = {}
    if trained:
        with torch.no_grad():
            asked = int((batch.targets != IGNORED).sum())
            figures["loss_pytorch_float32"] = masked_cross_entropy(model, batch).item() / asked
    for dtype in DTYPES:
        data = pack_weights(model, dtype)
        figures[f"bytes_{dtype}"] = len(data)
        given = [bundle("engine.worker"), as_text(data), tokenizer._to_json(), PROMPT]
        runs = [page.evaluate(SPEED, given) for _ in range(3)]
        figures |= {f"{key}_{dtype}": _best([run[key] for run in runs], key) for key in runs[0]}
        if trained:
            keep_model(page, data)
            windows = list(zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True))
            figures[f"loss_{dtype}"] = page.evaluate(LOSS, windows)
    return {key: value if isinstance(value, int) else round(value, 4) for key, value in figures.items() if value}


def _best(values: list, key: str) -> float | None:
    """Of several runs the one that was disturbed least."""
    known = [value for value in values if value is not None]
    return (max if key == "tokens_per_second" else min)(known) if known else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, help="state.pt of a run of gpt-course")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    program = installed()
    if program is None:
        sys.exit(f"no browser found (looked for {', '.join(NAMES)})")
    tokenizer = course_tokenizer()
    row = token_row([document.text for document in documentation("validation")], tokenizer)
    figures = {}
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=FLAGS)
        version = running.version
        for name in course.NAMES:
            model, origin = model_of(name, options.state)
            with engine_page(running) as page:
                found = measure(page, name, model, origin != "random", tokenizer, held_out(name, row))
            figures[name] = {"weights": origin, **found}
        running.close()
    result = {
        "machine": f"{platform.system()} {platform.machine()}, one core",
        "versions": {"chromium": version, "torch": torch.__version__},
        "figures": figures,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
