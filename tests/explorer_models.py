"""Small random models for tests of explorers, with a tokenizer: what arrives in the page is exactly what Python has."""

import torch
from explorer_page import visible
from hard_texts import HARD

from llmguide_lib.models import Llama, LlamaConfig, ModernBERT, ModernBERTConfig
from llmguide_lib.tokenizers import BPETokenizer
from llmguide_lib.widgets.model_explorer import spelled

END, MASK = "<|endoftext|>", "<|mask|>"
TOKENIZER = BPETokenizer.train(HARD.values(), 700, [END, MASK])
MASK_ID = TOKENIZER.token_to_id(MASK)
SIZES = {"vocab_size": 710, "max_seq_len": 64, "d_model": 24, "num_heads": 4, "num_layers": 2, "d_ff": 40}
TEXT = "the row of 注意"


def decoder(seed=0, **changes):
    """In float32, with weights that int8 keeps exactly: whole multiples, the largest in each row."""
    return _exact(Llama(LlamaConfig(**SIZES | changes)), seed)


def encoder(seed=0, **changes):
    """The same; one layer looks at the whole text, the next one only at what is near."""
    return _exact(ModernBERT(ModernBERTConfig(**SIZES | {"window": 3, "global_every": 2} | changes)), seed)


@torch.no_grad()
def _exact(model, seed):
    model = model.float().eval()
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.copy_(torch.randint(-127, 128, weight.shape, generator=generator) / 512)
            weight[:, 0] = 127 / 512
    return model


def seen(*ids):
    """Tokens as explorers write them; a model has some that its tokenizer does not know."""
    return visible("".join(spelled(TOKENIZER, id) if id < TOKENIZER.vocab_size else f"#{id}" for id in ids))


def percent(share):
    """A probability as explorers write it."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def about(text, share):
    """Whether a percentage on the page is this share, to rounding."""
    return text == percent(share) or abs(float(text.strip("<%")) - 100 * share) < 0.15
