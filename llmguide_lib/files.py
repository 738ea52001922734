"""Files that are complete or not there."""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path


def write_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Writes a file beside its place and moves it there: a reader sees the old one or the new one, never half of one.

    Args:
        path: the file; its folder is made if need be.
        chunks: the content, in pieces that need not be in memory together.
    Raises:
        OSError: no room, or no right to write; an older file at this place is still whole then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # with the rights that a new file has here
    try:
        with open(part, "xb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
