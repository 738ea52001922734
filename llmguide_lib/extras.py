"""Packages that only some functions need: the extras of this package bring them."""

import importlib
from types import ModuleType


def imported(module: str, extra: str) -> ModuleType:
    """An optional package's module.

    Raises:
        ImportError: the package is not installed; says which extra has it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0].replace("_", "-")
        raise ImportError(f"{name} is not installed; run: pip install 'llmguide-lib[{extra}]'") from error
