"""Long runs that were recorded with a command of this repository and are drawn beside what runs live."""

import json
from importlib import resources


def recorded(name: str) -> dict:
    """The record of this name: the command that wrote it, where it was measured, and the figures.

    Raises:
        ValueError: there is no such record.

    Example:
        >>> recorded("warmup")["command"]
        'python benchmarks/warmup.py'
    """
    folder = resources.files("llmguide_lib").joinpath("data", "runs")
    names = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
    if name not in names:
        raise ValueError(f"name ({name!r}) must be one of {', '.join(names)}")
    return json.loads(folder.joinpath(f"{name}.json").read_text(encoding="utf-8"))
