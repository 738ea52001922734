"""The directory in which what was read or computed once is kept for the next time."""

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "LLMGUIDE_CACHE"


def cache_directory() -> Path:
    """The directory that the environment variable LLMGUIDE_CACHE names, or else one in the user's cache directory."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "llmguide"
