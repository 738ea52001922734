"""What is measured of a course model when its run has ended, and how it is written down: a record and a model card."""

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from ..corpora import coverage, manifest
from ..evaluation import COMPRESSORS, bits_per_byte, compressed_bits_per_byte, counted_bits_per_byte, masked_accuracy
from ..files import write_atomically
from ..generation import Sample, Temperature, TopP, generate
from ..objectives import IGNORED, Batch
from ..tokenizers import BPETokenizer
from ..training import Records
from .recipes import LENGTH, RECIPES, masking

Texts = dict[str, list[str]]
PROMPTS = ("Returns", "Raises a ValueError if", "The number of", "Whether to", "This class")
# For the card: the kind of model, and what its examples are.
KINDS = {
    "gpt-course": (
        "a decoder, of Llama's kind",
        "What it writes",
        "The first tries with fixed seeds, good and bad, none left out:",
    ),
    "bert-course": (
        "an encoder, of ModernBERT's kind",
        "What it fills in",
        "Sentences made up for this purpose, the last one far from what it has read:",
    ),
}
MEMORISED = (
    "Memorised: given 24 tokens of a document, the model writes the next 16 word for word for {train:.1%} of training "
    "documents and {test:.1%} of held-out ones (which it never read: so much is guessed right without learning by "
    "heart).\n\n"
)


def measure(name: str, model: nn.Module, tokenizer: BPETokenizer, texts: Texts) -> dict:
    """The figures of a model on the test documents, beside baselines on the same."""
    return (_measure_decoder if name == "gpt-course" else _measure_encoder)(model, tokenizer, texts)


def _measure_decoder(model: nn.Module, tokenizer: BPETokenizer, texts: Texts) -> dict:
    end = tokenizer.token_to_id("<|endoftext|>")
    train, test = ("\n\n".join(texts[split]) for split in ("train", "test"))
    model_bits = {split: bits_per_byte(model, texts[split], tokenizer.encode, end) for split in ("validation", "test")}
    seen = bits_per_byte(model, texts["train"][::20], tokenizer.encode, end)
    samples = [_sample(model, tokenizer, end, prompt, seed) for seed, prompt in enumerate(PROMPTS)]
    return {
        "test_bits_per_byte": model_bits["test"],
        "validation_bits_per_byte": model_bits["validation"],
        "training_bits_per_byte": seen,
        "baselines": {
            "xz after the training text": compressed_bits_per_byte(test, COMPRESSORS["xz"], train),
            "7 bytes counted (Kneser-Ney)": counted_bits_per_byte(test, train, 7),
        },
        "memorised": {
            split: _memorised(model, tokenizer, end, texts[split]) for split in ("train", "test")
        },
        "samples": samples,
    }  # fmt: skip


def _sample(model: nn.Module, tokenizer: BPETokenizer, end: int, prompt: str, seed: int) -> str:
    tokens = torch.tensor([[end, *tokenizer.encode(prompt)]])
    written = generate(model, tokens, 60, sampler=Sample(Temperature(0.8), TopP(0.95), seed=seed))[0].tolist()[1:]
    text = tokenizer.decode(written[: written.index(end)] if end in written else written)
    return text[:200]


def _memorised(model: nn.Module, tokenizer: BPETokenizer, end: int, texts: list[str], num: int = 200) -> float:
    """Share of documents of which the model, given 24 tokens, writes the next 16 word for word (greedy)."""
    rows = [ids for ids in map(tokenizer.encode, texts) if len(ids) >= 40]
    chosen = torch.tensor([[end, *ids[:40]] for ids in rows[:: max(1, len(rows) // num)][:num]])
    written = generate(model, chosen[:, :25], 16)
    return (written[:, 25:] == chosen[:, 25:]).all(dim=1).double().mean().item()


def _measure_encoder(model: nn.Module, tokenizer: BPETokenizer, texts: Texts) -> dict:
    batches = {split: masked_documents(tokenizer, texts[split]) for split in ("validation", "test")}
    train = [tokenizer.encode(text) for text in texts["train"]]
    counts = Counter(token for ids in train for token in ids)
    pairs = Counter(pair for ids in train for pair in pairwise(ids))
    top = counts.most_common(1)[0][0]
    best = {left: right for (left, right), _ in reversed(pairs.most_common())}  # the most frequent one comes last
    tokens, targets = (torch.cat([getattr(batch, part).flatten() for batch in batches["test"]]) for part in
                       ("tokens", "targets"))  # fmt: skip
    asked = (targets != IGNORED).nonzero().flatten()
    left = tokens[(asked - 1).clamp(min=0)].tolist()
    answers = targets[asked].tolist()
    mask_id = tokenizer.token_to_id("<|mask|>")
    return {
        "test_masked_accuracy": masked_accuracy(model, batches["test"]),
        "validation_masked_accuracy": masked_accuracy(model, batches["validation"]),
        "baselines": {
            "most frequent token": sum(answer == top for answer in answers) / len(answers),
            "most frequent after the token before": sum(
                answer == (top if at == mask_id else best.get(at, top))
                for at, answer in zip(left, answers, strict=True)
            )
            / len(answers),
        },
        "fills": _fills(model, tokenizer),
    }


def masked_documents(tokenizer: BPETokenizer, texts: Sequence[str]) -> list[Batch]:
    """The documents one after the other, cut into windows, with 15 % of the tokens hidden, the same in each call."""
    end = tokenizer.token_to_id("<|endoftext|>")
    row = torch.tensor([id for text in texts for id in [end, *tokenizer.encode(text)]])
    rows = row[: len(row) // LENGTH * LENGTH].unflatten(0, (-1, LENGTH))
    generator = torch.Generator().manual_seed(0)
    return [masking(0.15)(part, generator) for part in rows.split(32)]


@torch.no_grad()
def _fills(model: nn.Module, tokenizer: BPETokenizer) -> list[str]:
    """Sentences of our own with a hole, and the three tokens that fill it best."""
    sentences = (
        "Returns the<|mask|> of elements in the list.",
        "If the file does not<|mask|>, an error is raised.",
        "The first argument<|mask|> be a string.",
        "Convert the array<|mask|> a list of integers.",
        "The cat sat on the<|mask|> and slept.",
    )
    lines = []
    for sentence in sentences:
        tokens = torch.tensor([tokenizer.encode(sentence, allowed_special="all")])
        hole = int((tokens[0] == tokenizer.token_to_id("<|mask|>")).nonzero()[0])
        found = model(tokens)[0, hole].softmax(dim=-1).topk(3)
        shown = ", ".join(
            f"{tokenizer.decode([id])!r} {share:.0%}"
            for share, id in zip(found.values.tolist(), found.indices.tolist(), strict=True)
        )
        lines.append(f"{sentence} -> {shown}")
    return lines


def record(name: str, model: nn.Module, records: Records, measured: dict) -> dict:
    """Everything about a run that is not weights."""
    return {
        "command": f"python -m llmguide_lib.runs {name}",
        "measured_on": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "corpus": {"hash": corpus_hash(), "share_found": round(coverage().share, 4)},
        "model": str(model.config),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "recipe": RECIPES[name].config.facts(),
        "steps": records.step,
        "training_seconds": round(records.seconds),
        "targets": records.targets,
        "measured": measured,
        "curve": [row for row in records.rows if row["step"] % 50 == 0],
    }


def corpus_hash() -> str:
    """Names the corpus: the hash of the list of its documents."""
    listed = json.dumps({library: list(listing) for library, listing in manifest.load().items()}, sort_keys=True)
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def write(path: Path, content: dict) -> None:
    """Writes a record."""
    write_atomically(path, [(json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()])


def card(name: str, content: dict) -> str:
    """The model card, in Markdown."""
    measured = content["measured"]
    kind, title, choice = KINDS[name]
    figures = {key: value for key, value in measured.items() if isinstance(value, float)} | measured["baselines"]
    examples = [f"- {line}".replace("\n", " / ") for line in measured.get("samples", measured.get("fills"))]
    template = resources.files("llmguide_lib").joinpath("data", "model_card.md").read_text(encoding="utf-8")
    return template.format(
        name=name,
        kind=kind,
        run=content,
        libraries=", ".join(manifest.load()),
        millions=content["parameters"] / 1e6,
        million_targets=content["targets"] / 1e6,
        minutes=content["training_seconds"] / 60,
        recipe="\n".join(f"- {key}: {value}" for key, value in content["recipe"].items()),
        figures="\n".join(f"| {key.replace('_', ' ')} | {value:.3f} |" for key, value in figures.items()),
        memorised=MEMORISED.format(**measured["memorised"]) if "memorised" in measured else "",
        title=title,
        choice=choice,
        examples="\n".join(examples),
        length=LENGTH,
    )
