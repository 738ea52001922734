"""Fill-in explorer: what an encoder expects where a token of a text is hidden."""

from collections.abc import Sequence

import traitlets

from ..models import ModernBERT
from ..tokenizers import BPETokenizer
from .blanks import SIGN, BlankExplorer
from .model_explorer import scores_of
from .still import shares

ROWS = 10


class FillInExplorer(BlankExplorer):
    """A text box and its tokens, of which the reader hides some; for each blank the model's candidates.

    A blank may also be typed, as [MASK]; a space before it belongs to the blank, as it belongs to a token. What the
    reader types and hides comes back in ``text`` and ``blanks``.

    Args:
        model: an encoder, the course's or the reader's own.
        tokenizer: the model's.
        text: what the text box begins with.
        blanks: places of the tokens that are hidden at the beginning, from 0; those typed as [MASK] are hidden anyway.
        mask_token: the special token that the model was trained to fill in.
    Raises:
        ValueError: as ``BlankExplorer`` does, or blanks that are no places of the text.

    Example:
        >>> FillInExplorer(*course.load("bert"), "Return a new array of the given shape.", blanks=[3])
    """

    families = (ModernBERT,)
    first = True

    explorer = traitlets.Unicode("fill_in").tag(sync=True)
    blanks = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(
        self,
        model: ModernBERT,
        tokenizer: BPETokenizer,
        text: str = "Returns the number of [MASK] in the list.",
        blanks: Sequence[int] = (),
        mask_token: str = "<|mask|>",
    ) -> None:
        self._hidden = list(blanks)
        super().__init__(model, tokenizer, text, mask_token)
        self.blanks = self._hidden

    def _result(self, ids: list[int]) -> dict:
        strange = [place for place in self._hidden if not 0 <= place < len(ids)]
        if strange:
            raise ValueError(f"blanks holds {strange[0]}, it must hold places of tokens, from 0 to {len(ids) - 1}")
        places = sorted({*self._hidden, *self._places(ids)})
        mask = self._tokenizer.token_to_id(self._mask)
        read = [mask if place in places else id for place, id in enumerate(ids)]
        rows = self._rows(scores_of(self._model, read)[places[0]], ROWS) if places else []
        return super()._result(read) | {"places": places, "rows": rows}

    def _page(self) -> str:
        return super()._page() + (shares(f"first {SIGN}", self.still["rows"]) if self.still["rows"] else "")
