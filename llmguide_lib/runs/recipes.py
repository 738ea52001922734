"""How the course models come about: sizes, what they read, how they are trained."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..corpora import documentation
from ..evaluation import masked_accuracy
from ..models import Llama, LlamaConfig, ModernBERT, ModernBERTConfig
from ..objectives import Batch, MaskedTokens, Masking, NextToken, Windows, cross_entropy, masked_cross_entropy
from ..tokenizers import BPETokenizer
from ..training import AdamW, Cosine, Muon, TrainConfig

SPECIAL_TOKENS = ("<|endoftext|>", "<|mask|>", "<|pad|>", "<|user|>", "<|assistant|>")
VOCAB_SIZE, LENGTH = 2048, 256


@dataclass(frozen=True)
class Recipe:
    """How a course model comes about.

    Attributes:
        model: makes it, untrained.
        batches: what it reads, from the row of training tokens.
        loss: what it minimises.
        evaluate: what is noted on the way, from the row of held-out tokens and their number of bytes.
        config: how it is trained.
    """

    model: Callable[[], nn.Module]
    batches: Callable[[Tensor], object]
    loss: Callable[[nn.Module, Batch], Tensor]
    evaluate: Callable[[Tensor, int], Callable[[nn.Module], dict[str, float]]]
    config: TrainConfig


def course_tokenizer() -> BPETokenizer:
    """The tokenizer of both course models, learned from the training documents: the same wherever all are there."""
    texts = (document.text for document in documentation("train"))
    return BPETokenizer.train(texts, VOCAB_SIZE, special_tokens=SPECIAL_TOKENS)


def _decoder() -> Llama:
    return Llama(
        LlamaConfig(
            vocab_size=VOCAB_SIZE, max_seq_len=LENGTH, d_model=192, num_heads=6, num_layers=5, d_ff=608, tied=True
        )
    )


def _encoder() -> ModernBERT:
    """Three of its five layers see only four tokens on each side: where all see everything, it stays for minutes with
    what the frequencies of tokens say (benchmarks/plateau.py)."""
    return ModernBERT(
        ModernBERTConfig(
            vocab_size=VOCAB_SIZE, max_seq_len=LENGTH, d_model=192, num_heads=6, num_layers=5, d_ff=608,
            rope_theta=10_000.0, window=5, global_every=3,
        )
    )  # fmt: skip


def masking(rate: float | int) -> Masking:
    """BERT's rule with the course's tokens; those that belong to no text are never hidden."""
    special = tuple(range(len(SPECIAL_TOKENS)))  # they have the first ids
    return Masking(rate, SPECIAL_TOKENS.index("<|mask|>"), VOCAB_SIZE, special=special)


def _bits_per_byte(row: Tensor, num_bytes: int) -> Callable[[nn.Module], dict[str, float]]:
    """Of every fourth window of the held-out row: enough to follow a run."""
    windows = _windows(row)

    def evaluate(model: nn.Module) -> dict[str, float]:
        parts = windows.to(next(model.parameters()).device).split(32)
        nats = sum(cross_entropy(model, Batch(part[:, :-1], part[:, 1:])).item() for part in parts)
        per_token = nats / windows[:, 1:].numel()
        return {"validation_bits_per_byte": per_token * (len(row) - 1) / num_bytes / math.log(2)}

    return evaluate


def _masked_accuracy(row: Tensor, num_bytes: int) -> Callable[[nn.Module], dict[str, float]]:
    """Share of hidden tokens that are guessed, 15 % hidden, of every fourth window of the held-out row."""
    batch = masking(0.15)(_windows(row)[:, :-1], torch.Generator().manual_seed(0))

    parts = list(map(Batch, batch.tokens.split(32), batch.targets.split(32)))
    return lambda model: {"validation_masked_accuracy": masked_accuracy(model, parts)}


def _windows(row: Tensor) -> Tensor:
    starts = torch.arange(0, len(row) - LENGTH - 1, 4 * LENGTH)
    return row[starts[:, None] + torch.arange(LENGTH + 1)].long()


CONFIG = TrainConfig(
    steps=4500,
    optimizer=Muon(lr=1e-2, rest=AdamW(lr=6e-3)),
    schedule=Cosine(warmup_steps=20),
    eval_every=250,
    save_every=50,
)
RECIPES = {
    "gpt-course": Recipe(
        model=_decoder,
        batches=lambda row: NextToken(Windows(row, LENGTH, batch_size=16)),
        loss=cross_entropy,
        evaluate=_bits_per_byte,
        config=CONFIG,
    ),
    "bert-course": Recipe(
        model=_encoder,
        batches=lambda row: MaskedTokens(Windows(row, LENGTH, batch_size=16), masking(0.3)),
        loss=masked_cross_entropy,
        evaluate=_masked_accuracy,
        config=CONFIG,
    ),
}
