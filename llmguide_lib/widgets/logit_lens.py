"""Logit-lens explorer: what each layer of a model would say, and what changes without one of its parts."""

from collections.abc import Sequence

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from ..models import Llama, ModernBERT
from ..tokenizers import BPETokenizer
from .blanks import BlankExplorer
from .model_explorer import at_rest
from .still import code, table

FEED_FORWARD = "feed_forward"


class LogitLensExplorer(BlankExplorer):
    """A text, what the model would say to each of its tokens if it ended early, and a switch for each head.

    A decoder says what comes after the token, an encoder what stands there, most usefully where [MASK] is typed. The
    first row is the embedding, then comes one for each layer; the last is the model's answer. Heads and
    feed-forward layers that are switched off add nothing to the residual stream. What the reader types and switches
    comes back in ``text`` and ``off``.

    Args:
        model: a decoder or an encoder, the course's or the reader's own.
        tokenizer: the model's.
        text: what the text box begins with.
        off: what is switched off at the beginning: pairs of a layer and a head, both from 0, or of a layer and
            "feed_forward".
        mask_token: what an encoder was trained to fill in; a decoder does without.
    Raises:
        ValueError: as ``BlankExplorer`` does, or a part in ``off`` that the model does not have.
    Source: nostalgebraist 2020, "interpreting GPT: the logit lens",
        https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens

    Example:
        >>> LogitLensExplorer(*course.load("gpt"), "Return a new array of the given", off=[(0, 3)])
    """

    families = (Llama, ModernBERT)

    explorer = traitlets.Unicode("logit_lens").tag(sync=True)
    off = traitlets.List().tag(sync=True)

    def __init__(
        self,
        model: Llama | ModernBERT,
        tokenizer: BPETokenizer,
        text: str = "Return a new array of the given",
        off: Sequence[tuple[int, int | str]] = (),
        mask_token: str = "<|mask|>",
    ) -> None:
        super().__init__(model, tokenizer, text, mask_token)
        layers, heads = model.config.num_layers, model.config.num_heads
        for layer, part in off:
            if layer not in range(layers) or part != FEED_FORWARD and part not in range(heads):
                rule = f"a layer from 0 to {layers - 1} with a head from 0 to {heads - 1} or {FEED_FORWARD!r}"
                raise ValueError(f"off holds ({layer!r}, {part!r}), it must hold pairs of {rule}")
        self.off = [[layer, part] for layer, part in off]

    def _result(self, ids: list[int]) -> dict:
        shares = lens_of(self._model, ids).softmax(dim=-1)[..., : self._tokenizer.vocab_size]
        best = shares.max(dim=-1)
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        named = [[[self._spelled(id), round(share, 3)] for id, share in zip(*row, strict=True)] for row in rows]
        return super()._result(ids) | {"layers": named}

    def _page(self) -> str:
        names = ["embedding", *(f"layer {layer}" for layer in range(self._model.config.num_layers))]
        rows = zip(names, self.still["layers"], strict=True)
        said = [[name, *(f"{code(piece)} {share:.0%}" for piece, share in cells)] for name, cells in rows]
        return table(["at" if self._mask else "after", *map(code, self.still["pieces"])], said)


@torch.no_grad()
def lens_of(model: Llama | ModernBERT, ids: list[int]) -> Float[Tensor, "rows T V"]:
    """The scores that the last norm and the head make of the embedding and of the state after each layer."""
    states = []
    places = [getattr(model, "embedding_norm", model.token_embedding), *model.blocks]
    hooks = [place.register_forward_hook(lambda _, args, state: states.append(state[0])) for place in places]
    try:
        with at_rest(model):
            model.hidden(torch.tensor([ids], device=next(model.parameters()).device))
            return model.scores(model.final_norm(torch.stack(states))).float().cpu()
    finally:
        for hook in hooks:
            hook.remove()
