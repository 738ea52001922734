"""Model attention explorer: what every head of a model looks at in a text that the reader types."""

import traitlets
from jaxtyping import Float
from torch import Tensor, nn

from ..models import Llama
from ..tokenizers import BPETokenizer
from .blanks import BlankExplorer
from .model_explorer import scores_of
from .still import code, shares, table

ROWS = 6
TEXTS = {
    True: "Return a new array of the same shape as the given array",
    False: "Return a new [MASK] of the given shape",
}


class ModelAttentionExplorer(BlankExplorer):
    """All layers and heads as a grid of small maps, one of them large, and mask and temperature to be changed.

    What the reader types and sets comes back: ``text``, ``layer`` and ``head`` (the large map), ``asking`` (the
    position whose weights are read; -1 for an encoder's first blank, otherwise the last), ``mask``
    ("trained", "everything", "past" or "near"), ``window`` (of the mask "near"), ``temperature`` and ``only`` (-1: they
    hold in all layers; otherwise in that one).

    Args:
        model: a decoder or an encoder, the course's or the reader's own.
        tokenizer: the model's.
        text: what the text box begins with; None for a sentence of the course.
        layer, head: the map that is shown large at first.
        mask_token: what an encoder was trained to fill in; a decoder does without.
    Raises:
        ValueError: as ``BlankExplorer`` does, or no such layer or head.

    Example:
        >>> ModelAttentionExplorer(*course.load("gpt"), "a list of words, a list of")
    """

    explorer = traitlets.Unicode("model_attention").tag(sync=True)
    layer = traitlets.Int().tag(sync=True)
    head = traitlets.Int().tag(sync=True)
    asking = traitlets.Int(-1, min=-1).tag(sync=True)
    mask = traitlets.Enum(["trained", "everything", "past", "near"], "trained").tag(sync=True)
    window = traitlets.Int(3, min=1, max=16).tag(sync=True)
    temperature = traitlets.Float(1.0, min=0.1, max=10.0).tag(sync=True)
    only = traitlets.Int(-1, min=-1).tag(sync=True)

    def __init__(
        self,
        model: nn.Module,
        tokenizer: BPETokenizer,
        text: str | None = None,
        layer: int = 0,
        head: int = 0,
        mask_token: str = "<|mask|>",
    ) -> None:
        self._check(model, tokenizer)
        self._ends = {"layer": model.config.num_layers, "head": model.config.num_heads, "only": model.config.num_layers}
        self._large = self._checked("layer", layer), self._checked("head", head)
        super().__init__(model, tokenizer, TEXTS[isinstance(model, Llama)] if text is None else text, mask_token)
        self.layer, self.head = layer, head

    @traitlets.validate("layer", "head", "only")
    def _validate_place(self, proposal: traitlets.Bunch) -> int:
        return self._checked(proposal["trait"].name, proposal["value"], -1 if proposal["trait"].name == "only" else 0)

    def _checked(self, name: str, value: int, least: int = 0) -> int:
        if not least <= value < self._ends[name]:
            raise ValueError(f"{name} ({value}) must be at least {least} and below {self._ends[name]}")
        return value

    def _result(self, ids: list[int]) -> dict:
        weights = weights_of(self._model, ids, *self._large)
        rounded = [[round(weight, 3) for weight in row] for row in weights.tolist()]
        shown = {"weights": rounded, "asking": self._asking(ids), "causal": isinstance(self._model, Llama)}
        return super()._result(ids) | shown | {"rows": self._rows(scores_of(self._model, ids)[shown["asking"]], ROWS)}

    def _asking(self, ids: list[int]) -> int:
        """The position that is looked at first: an encoder's first blank, otherwise the last."""
        return next(iter(self._places(ids)), len(ids) - 1)

    def _page(self) -> str:
        layer, head = self._large
        pieces = list(map(code, self.still["pieces"]))
        rows = [
            [piece, *(f"{weight:.2f}" for weight in row)]
            for piece, row in zip(pieces, self.still["weights"], strict=True)
        ]
        asked = f"{'after' if self.still['causal'] else 'at'} {pieces[self.still['asking']]}"
        return table([f"layer {layer}, head {head}", *pieces], rows) + shares(asked, self.still["rows"])


def weights_of(model: nn.Module, ids: list[int], layer: int, head: int) -> Float[Tensor, "T T"]:
    """The attention weights of one head for one text: row t is what position t looks at."""
    seen = []

    def look(attention: nn.Module, args: tuple, kwargs: dict) -> None:
        seen.append(attention.weights(args[0], None, args[2], rotate=kwargs["rotate"])[0, head])

    handle = model.blocks[layer].attention.register_forward_pre_hook(look, with_kwargs=True)
    try:
        scores_of(model, ids)
    finally:
        handle.remove()
    return seen[0].float().cpu()
