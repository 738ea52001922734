"""Beam explorer: the tree of a beam search on a text that the reader types."""

import math

import torch
import traitlets

from ..generation import beam_search
from ..models import Llama
from ..tokenizers import BPETokenizer
from .model_explorer import ModelExplorer

STILL_TOKENS, STILL_BEAMS = 6, 3


class BeamExplorer(ModelExplorer):
    """A text box and the search for its most probable continuation: kept, dropped and finished candidates, their sums
    of log probabilities, and the greedy text among them.

    What the reader types and sets comes back: ``text``, ``num_beams``, ``length`` (tokens to add), ``length_penalty``
    (the exponent) and ``ends`` (what the token spells that ends a text; empty for none).

    Args:
        model: a decoder, the course's or the reader's own.
        tokenizer: the model's.
        text: what the text box begins with.
    Raises:
        ValueError: as ``ModelExplorer`` does, or a text that leaves no room for six more tokens.

    Example:
        >>> BeamExplorer(*course.load("gpt"), "Return a new array of the given")
    """

    families = (Llama,)

    explorer = traitlets.Unicode("beams").tag(sync=True)
    num_beams = traitlets.Int(STILL_BEAMS, min=1, max=6).tag(sync=True)
    length = traitlets.Int(STILL_TOKENS, min=1, max=20).tag(sync=True)
    length_penalty = traitlets.Float(1.0, min=0.0, max=2.0).tag(sync=True)
    ends = traitlets.Unicode("").tag(sync=True)

    def __init__(self, model: Llama, tokenizer: BPETokenizer, text: str = "Return a new array of the given") -> None:
        super().__init__(model, tokenizer, text)

    def _encode(self, text: str) -> list[int]:
        ids = super()._encode(text)
        if len(ids) + STILL_TOKENS > (most := self._model.config.max_seq_len):
            raise ValueError(f"text has {len(ids)} tokens, {STILL_TOKENS} more must fit into the {most} of this model")
        return ids

    def _result(self, ids: list[int]) -> dict:
        training, device = self._model.training, next(self._model.parameters()).device
        try:
            tokens = torch.tensor([ids], device=device)
            options = [{"num_beams": count, "length_penalty": 0} for count in (STILL_BEAMS, 1)]  # scores are sums
            found = [beam_search(self._model.eval(), tokens, STILL_TOKENS, **one) for one in options]
        finally:
            self._model.train(training)
        rows = [[self._spelled(text[len(ids) :].tolist()), round(math.exp(score), 6)] for text, score in found]
        return super()._result(ids) | {"rows": rows}

    def _spelled(self, ids: list[int]) -> str:
        """A model may have more tokens than its tokenizer; those spell nothing."""
        return self._tokenizer.decode(id for id in ids if id < self._tokenizer.vocab_size)
