"""Attention explorer: queries and keys as arrows in a plane, their weights as a matrix."""

import traitlets
from jaxtyping import Float
from torch import Tensor

from .explorer import Explorer


class AttentionExplorer(Explorer):
    """Queries and keys of two features to be moved, with every step from dot product to weight.

    What the reader moves comes back: ``query_vectors`` and ``key_vectors`` hold the arrows as they are now.

    Args:
        words: labels of the positions.
        queries, keys: two features per position.
        values: what each position hands over, a number; None leaves the output away.
        divisor: what the scores are divided by; None means the square root of 2, the number of features.
    Raises:
        ValueError: the numbers of words, queries, keys and values differ, there is none, they are not of two features,
            or ``divisor`` is not positive.
    """

    explorer = traitlets.Unicode("attention").tag(sync=True)
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)
    query_vectors = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    key_vectors = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    values = traitlets.List(traitlets.Float()).tag(sync=True)
    divisor = traitlets.Float().tag(sync=True)
    mask = traitlets.Enum(["none", "causal"], "none").tag(sync=True)
    asking = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        words: list[str],
        queries: Float[Tensor, "T 2"],
        keys: Float[Tensor, "T 2"],
        values: list[float] | None = None,
        divisor: float | None = None,
    ) -> None:
        for name, vectors in (("queries", queries), ("keys", keys)):
            if not words or tuple(vectors.shape) != (len(words), 2):
                raise ValueError(f"{name} {tuple(vectors.shape)} must have the shape ({len(words)}, 2), a row per word")
        if values is not None and len(values) != len(words):
            raise ValueError(f"values has {len(values)} entries, it must have {len(words)}, one per word")
        divisor = 2**0.5 if divisor is None else divisor
        if not divisor > 0:
            raise ValueError(f"divisor ({divisor}) must be positive")
        super().__init__(
            words=list(words),
            query_vectors=queries.tolist(),
            key_vectors=keys.tolist(),
            values=list(values or ()),
            divisor=float(divisor),
            asking=len(words) - 1,
        )
