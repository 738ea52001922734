"""Positions explorer: the turning pairs of sinusoidal and rotary positions, and what a dot product makes of them."""

import traitlets

from .explorer import Explorer

PAIRS = 6
LARGEST_POSITION = 63


class PositionsExplorer(Explorer):
    """Hands of clocks that turn with the position, and the dot product of a query and a key against their distance.

    Args:
        query, key: the vectors before rotary positions turn them, of an even width; None means a vector in which every
            pair counts the same.
        theta: the base; a larger one means slower clocks.
    Raises:
        ValueError: the widths differ or are odd, or ``theta`` is outside what the slider reaches.
    """

    explorer = traitlets.Unicode("positions").tag(sync=True)
    kind = traitlets.Enum(["rotary", "sinusoidal"], "rotary").tag(sync=True)
    query = traitlets.List(traitlets.Float()).tag(sync=True)
    key = traitlets.List(traitlets.Float()).tag(sync=True)
    theta = traitlets.Float().tag(sync=True)
    query_at = traitlets.Int(12).tag(sync=True)
    key_at = traitlets.Int(7).tag(sync=True)
    largest = traitlets.Int(LARGEST_POSITION).tag(sync=True)

    def __init__(
        self, query: list[float] | None = None, key: list[float] | None = None, theta: float | int = 10_000
    ) -> None:
        query = [1.0] * PAIRS + [0.0] * PAIRS if query is None else query
        key = query if key is None else key
        if len(query) != len(key) or len(query) % 2 or not query:
            raise ValueError(f"query has {len(query)} entries, key has {len(key)}: both must have the same even number")
        if not 10 <= theta <= 1_000_000:
            raise ValueError(f"theta ({theta}) must be between 10 and 1000000")
        super().__init__(query=list(map(float, query)), key=list(map(float, key)), theta=float(theta))
