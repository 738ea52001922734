"""What long runs recorded, for a lesson to draw and to hold its own run against."""

import json
from importlib import resources


def recorded(name: str) -> dict:
    """The record of a long run that the package ships: its command, machine, versions, seeds and curves.

    Args:
        name: of the run, such as "recall".
    Raises:
        ValueError: there is no record of this name.
    """
    folder = resources.files("llmguide_lib").joinpath("data", "runs")
    known = sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))
    if name not in known:
        raise ValueError(f"name ({name!r}) must be one of {', '.join(known)}")
    return json.loads(folder.joinpath(f"{name}.json").read_text(encoding="utf-8"))
