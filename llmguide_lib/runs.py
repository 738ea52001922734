"""The long runs of the course: ``python -m llmguide_lib.runs gpt-course`` trains a model that the package ships.

A run keeps its state in ``runs/NAME`` below the working directory (or ``--folder``) and goes on from there whenever it
is started again. The two course models read the same tokens, of the documentation in ``corpora``.
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from . import runtime
from .corpora import documentation
from .corpora.storage import token_row
from .models import Llama, LlamaConfig, ModernBERT, ModernBERTConfig
from .objectives import (
    IGNORED,
    Batch,
    MaskedTokens,
    Masking,
    NextToken,
    Windows,
    cross_entropy,
    masked_cross_entropy,
)
from .tokenizers import BPETokenizer
from .training import AdamW, Cosine, Muon, TrainConfig, train

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
    return ModernBERT(
        ModernBERTConfig(
            vocab_size=VOCAB_SIZE, max_seq_len=LENGTH, d_model=192, num_heads=6, num_layers=5, d_ff=608,
            rope_theta=10_000.0, global_every=1,
        )
    )  # fmt: skip


def _masking(rate: float) -> Masking:
    special = tuple(range(len(SPECIAL_TOKENS)))  # they have the first ids
    return Masking(rate, SPECIAL_TOKENS.index("<|mask|>"), VOCAB_SIZE, special=special)


def _bits_per_byte(row: Tensor, num_bytes: int) -> Callable[[nn.Module], dict[str, float]]:
    """Of every fourth window of the held-out row: enough to follow a run."""
    windows = _windows(row)

    def evaluate(model: nn.Module) -> dict[str, float]:
        nats = sum(cross_entropy(model, Batch(part[:, :-1], part[:, 1:])).item() for part in windows.split(32))
        per_token = nats / windows[:, 1:].numel()
        return {"validation_bits_per_byte": per_token * (len(row) - 1) / num_bytes / math.log(2)}

    return evaluate


def _masked_accuracy(row: Tensor, num_bytes: int) -> Callable[[nn.Module], dict[str, float]]:
    """Share of hidden tokens that are guessed, 15 % hidden, of every fourth window of the held-out row."""
    batch = _masking(0.15)(_windows(row)[:, :-1], torch.Generator().manual_seed(0))

    def evaluate(model: nn.Module) -> dict[str, float]:
        right = asked = 0
        for tokens, targets in zip(batch.tokens.split(32), batch.targets.split(32), strict=True):
            chosen = targets != IGNORED
            guesses = model.scores(model.hidden(tokens)[chosen]).argmax(dim=-1)
            right, asked = right + int((guesses == targets[chosen]).sum()), asked + int(chosen.sum())
        return {"validation_masked_accuracy": right / asked}

    return evaluate


def _windows(row: Tensor) -> Tensor:
    starts = torch.arange(0, len(row) - LENGTH - 1, 4 * LENGTH)
    return row[starts[:, None] + torch.arange(LENGTH + 1)].long()


RECIPES = {
    "gpt-course": Recipe(
        model=_decoder,
        batches=lambda row: NextToken(Windows(row, LENGTH, batch_size=16)),
        loss=cross_entropy,
        evaluate=_bits_per_byte,
        config=TrainConfig(
            steps=4500,
            optimizer=Muon(lr=1e-2, rest=AdamW(lr=6e-3)),
            schedule=Cosine(warmup_steps=20),
            eval_every=250,
            save_every=50,
        ),
    ),
    "bert-course": Recipe(
        model=_encoder,
        batches=lambda row: MaskedTokens(Windows(row, LENGTH, batch_size=16), _masking(0.3)),
        loss=masked_cross_entropy,
        evaluate=_masked_accuracy,
        config=TrainConfig(
            steps=4500,
            optimizer=Muon(lr=1e-2, rest=AdamW(lr=6e-3)),
            schedule=Cosine(warmup_steps=20),
            eval_every=250,
            save_every=50,
        ),
    ),
}


def run(name: str, folder: Path) -> nn.Module:
    """Trains a course model, or goes on with it.

    Raises:
        ValueError: no such recipe, or a folder that holds another run.
    """
    if name not in RECIPES:
        raise ValueError(f"name ({name!r}) must be one of {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    tokenizer = course_tokenizer()
    texts = {split: [document.text for document in documentation(split)] for split in ("train", "validation")}
    rows = {split: token_row(texts[split], tokenizer) for split in texts}
    num_bytes = sum(len(text.encode()) for text in texts["validation"])
    runtime.seed_everything(recipe.config.seed)
    model = recipe.model().to(runtime.device())
    evaluate = recipe.evaluate(rows["validation"], num_bytes)
    train(model, recipe.batches(rows["train"]), recipe.config, loss=recipe.loss, evaluate=evaluate, folder=folder)
    return model


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m llmguide_lib.runs", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--folder", type=Path, help="where the state is kept; runs/NAME if not given")
    options = parser.parse_args(arguments)
    run(options.name, options.folder or Path("runs", options.name))
    sys.stdout.write(f"{options.name} is trained.\n")


if __name__ == "__main__":
    main()
