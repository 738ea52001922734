"""Mask builder: combines causal, padding and window masks of two texts, flips single cells, says what follows."""

import traitlets

from .explorer import Explorer


class MaskBuilder(Explorer):
    """Masks of the texts of a batch, to be put together and looked at.

    Args:
        size: number of positions, filling included.
        lengths: number of words of each text.
    Raises:
        ValueError: ``size`` is not positive, there is no text, or a length is negative or larger than ``size``.
    """

    explorer = traitlets.Unicode("masks").tag(sync=True)
    size = traitlets.Int().tag(sync=True)
    causal = traitlets.Bool(True).tag(sync=True)
    lengths = traitlets.List(traitlets.Int()).tag(sync=True)
    window = traitlets.Int(0).tag(sync=True)
    layers = traitlets.Int(1).tag(sync=True)
    flipped = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)

    def __init__(self, size: int = 6, lengths: tuple[int, ...] = (6, 4)) -> None:
        if size < 1:
            raise ValueError(f"size ({size}) must be positive")
        if not lengths or not 0 <= min(lengths) <= max(lengths) <= size:
            raise ValueError(f"lengths ({list(lengths)}) must be between 0 and size ({size}), one for each text")
        super().__init__(size=size, lengths=list(lengths))
