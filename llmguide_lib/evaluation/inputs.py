"""What several measures ask of their input."""

from collections.abc import Sized


def check_paired(**lists: Sized) -> None:
    """Refuses two lists that do not belong together.

    Raises:
        ValueError: their lengths differ, or both are empty.
    """
    (name, items), (other_name, others) = lists.items()
    if len(items) != len(others) or not len(items):
        raise ValueError(f"{name} ({len(items)}) and {other_name} ({len(others)}) must be equally many, at least one")
