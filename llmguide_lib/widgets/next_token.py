"""Next-token explorer: what a decoder expects after each token of a text that the reader types."""

import traitlets

from ..models import Llama
from ..tokenizers import BPETokenizer
from .model_explorer import ModelExplorer, scores_of
from .still import shares

ROWS = 10


class NextTokenExplorer(ModelExplorer):
    """A text box, its tokens, the probabilities of what comes next, and a sampler whose settings can be moved.

    What the reader types and sets comes back: ``text``, ``temperature``, ``top_k`` (0 means all), ``top_p``, ``min_p``
    and ``seed``.

    Args:
        model: a decoder, the course's or the reader's own.
        tokenizer: the model's.
        text: what the text box begins with.
    Raises:
        ValueError: as ``ModelExplorer`` does.

    Example:
        >>> NextTokenExplorer(*course.load("gpt"), "Return a new array of the given")
    """

    families = (Llama,)
    first = True

    explorer = traitlets.Unicode("next_token").tag(sync=True)
    temperature = traitlets.Float(1.0, min=0.0, max=2.0).tag(sync=True)
    top_k = traitlets.Int(0, min=0).tag(sync=True)
    top_p = traitlets.Float(1.0, min=0.05, max=1.0).tag(sync=True)
    min_p = traitlets.Float(0.0, min=0.0, max=0.5).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**32 - 1).tag(sync=True)

    def __init__(self, model: Llama, tokenizer: BPETokenizer, text: str = "Return a new array of the given") -> None:
        super().__init__(model, tokenizer, text)

    def _result(self, ids: list[int]) -> dict:
        return super()._result(ids) | {"rows": self._rows(scores_of(self._model, ids)[-1], ROWS)}

    def _page(self) -> str:
        return super()._page() + shares("next token", self.still["rows"])
