"""``python -m llmguide_lib.runs gpt-course`` trains a model that the package ships, measures it and puts it there.

A run keeps its state in ``runs/NAME`` below the working directory (or ``--folder``) and goes on from there whenever it
is started again; a finished one is only measured again.
"""

import argparse
import sys
from pathlib import Path

from .. import course, runtime
from ..corpora import documentation
from ..corpora.storage import token_row
from ..training import train
from . import report
from .recipes import RECIPES, course_tokenizer


def run(name: str, folder: Path, target: Path) -> None:
    """Trains a course model, or goes on with it; then measures it and writes it with its card and its record.

    Raises:
        ValueError: a folder that holds another run.
    """
    recipe, tokenizer = RECIPES[name], course_tokenizer()
    texts = {split: [document.text for document in documentation(split)] for split in ("train", "validation", "test")}
    rows = {split: token_row(texts[split], tokenizer) for split in ("train", "validation")}
    runtime.seed_everything(recipe.config.seed)
    model = recipe.model().to(runtime.device())
    evaluate = recipe.evaluate(rows["validation"], sum(len(text.encode()) for text in texts["validation"]))
    records = train(
        model, recipe.batches(rows["train"]), recipe.config, loss=recipe.loss, evaluate=evaluate, folder=folder
    )
    if records.stopped:
        sys.stdout.write(f"{name} was stopped after step {records.step}; the same command goes on.\n")
        return
    model = model.cpu().half().float()  # what is shipped is what is measured
    measured = report.measure(name, model, tokenizer, texts)
    record = report.record(name, model, records, measured)
    course.write(target / "models" / name, model, tokenizer, report.card(name, record))
    report.write(target / "runs" / f"{name}.json", record)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m llmguide_lib.runs", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--folder", type=Path, help="where the state is kept; runs/NAME if not given")
    parser.add_argument("--target", type=Path, default=Path(__file__).resolve().parent.parent / "data")
    options = parser.parse_args(arguments)
    run(options.name, options.folder or Path("runs", options.name), options.target)


if __name__ == "__main__":
    main()
