"""Beam explorer: the tree of a beam search on a text that the reader types."""

import torch
import traitlets

from ..generation import Greedy, StopTokens, beam_search, generate
from ..models import Llama
from ..tokenizers import BPETokenizer
from .model_explorer import ModelExplorer, at_rest, scores_of
from .still import code, table

STILL_TOKENS, STILL_BEAMS = 6, 3
END = "<|endoftext|>"


class BeamExplorer(ModelExplorer):
    """A text box and the search for its most probable continuation: kept, dropped and finished candidates, their sums
    of log probabilities, and the greedy text among them.

    What the reader types and sets comes back: ``text``, ``num_beams``, ``length`` (tokens to add), ``length_penalty``
    (the exponent) and ``ends`` (what the token spells that ends a text; empty for none, and then all are as long).

    Args:
        model: a decoder, the course's or the reader's own.
        tokenizer: the model's.
        text: what the text box begins with.
        ends: what ``ends`` begins with; None for the course's end of text, if the tokenizer has it.
    Raises:
        ValueError: as ``ModelExplorer`` does, a text that leaves no room for six more tokens, or ``ends`` is no token.

    Example:
        >>> BeamExplorer(*course.load("gpt"), "The function returns")
    """

    families = (Llama,)

    explorer = traitlets.Unicode("beams").tag(sync=True)
    num_beams = traitlets.Int(STILL_BEAMS, min=1, max=6).tag(sync=True)
    length = traitlets.Int(STILL_TOKENS, min=1, max=20).tag(sync=True)
    length_penalty = traitlets.Float(1.0, min=0.0, max=2.0).tag(sync=True)
    ends = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self, model: Llama, tokenizer: BPETokenizer, text: str = "The function returns", ends: str | None = None
    ) -> None:
        self._check(model, tokenizer)
        if ends is None:
            ends = END if END in tokenizer.special_tokens else ""
        self._end = tokenizer.token_to_id(ends if ends in tokenizer.special_tokens else ends.encode()) if ends else None
        super().__init__(model, tokenizer, text)
        self.ends = ends

    def _encode(self, text: str) -> list[int]:
        ids = super()._encode(text)
        most = self._model.config.max_seq_len
        if len(ids) + STILL_TOKENS > most:
            raise ValueError(f"text has {len(ids)} tokens, {STILL_TOKENS} more must fit into the {most} of this model")
        return ids

    def _result(self, ids: list[int]) -> dict:
        tokens = torch.tensor([ids], device=next(self._model.parameters()).device)
        stop = StopTokens(self._end) if self._end is not None else None
        with at_rest(self._model):
            beam, _ = beam_search(self._model, tokens, STILL_TOKENS, num_beams=STILL_BEAMS, end_id=self._end)
            greedy = generate(self._model, tokens, STILL_TOKENS, sampler=Greedy(), stop=stop)[0]
        return super()._result(ids) | {"texts": [self._added(text.tolist(), len(ids)) for text in (beam, greedy)]}

    def _added(self, ids: list[int], start: int) -> list:
        """What was added to a text, and the sum of its log probabilities."""
        logs = scores_of(self._model, ids).log_softmax(dim=-1)
        total = sum(logs[place - 1, ids[place]].item() for place in range(start, len(ids)))
        return [self._decoded(ids[start:]), round(total, 4)]

    def _decoded(self, ids: list[int]) -> str:
        """A model may have more tokens than its tokenizer; those spell nothing."""
        return self._tokenizer.decode(id for id in ids if id < self._tokenizer.vocab_size)

    def _page(self) -> str:
        names = ("beam search", "greedy")
        rows = [
            [name, code(text), f"{total:.2f}"] for name, (text, total) in zip(names, self.still["texts"], strict=True)
        ]
        return super()._page() + table(["", "continuation", "sum of log probabilities"], rows)
