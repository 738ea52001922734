"""What is asked of a size, wherever one is given."""


def check_positive(**sizes: float | int) -> None:
    """Refuses sizes that are not positive.

    Raises:
        ValueError: it names the first one.

    Example:
        >>> check_positive(d_model=64, d_ff=256)
    """
    for name, size in sizes.items():
        if not size > 0:
            raise ValueError(f"{name} ({size}) must be positive")
