"""Public data sets of the Hugging Face Hub, where they can be had: an option, the course needs none of them.

Files are fetched once, into the cache of huggingface_hub, which also reads HF_ENDPOINT (a mirror), HF_HOME and
HF_HUB_OFFLINE. Each data set has its own licence and terms, on its page there.
"""

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ..extras import imported
from .translation import Pair
from .views import Classified, Summary

Example = str | Classified | Pair | Summary


class HubDataset(NamedTuple):
    """Where a data set lies, and what its rows become."""

    repository: str
    folder: str
    read: Callable[[Iterable[dict]], Iterable[Example]]
    splits: tuple[str, ...] = ("train", "validation", "test")


def hub_examples(
    name: str, split: str = "train", count: int | None = None, folder: str | os.PathLike | None = None
) -> list[Example]:
    """The examples of one split, in the order of the data set.

    ============= ================================== ==============================================
    name          an example                         of the Hub's data set
    ============= ================================== ==============================================
    TinyStories   a story                            roneneldan/TinyStories (train: 1 GB; no test)
    WikiText      an article                         Salesforce/wikitext, wikitext-2-raw-v1
    SST-2         Classified, 1 = positive           stanfordnlp/sst2 (its test has no labels)
    ChnSentiCorp  Classified, 1 = positive, Chinese  lansinuote/ChnSentiCorp
    OPUS-100      Pair                               Helsinki-NLP/opus-100, en-zh
    CNN/DailyMail Summary                            abisee/cnn_dailymail, 3.0.0
    ============= ================================== ==============================================

    Args:
        name: one of HUB_DATASETS.
        split: "train", "validation" or "test".
        count: only so many, from the beginning; the files are fetched whole all the same.
        folder: where the files are instead, laid out as on the Hub (``hf download --repo-type dataset``); parquet or
            JSON lines.
    Raises:
        ValueError: an unknown name or split, a count below 1, the Hub cannot be reached, or the files are not there or
            not what they should be.
        ImportError: a package of the extra hub is missing.
    """
    if name not in HUB_DATASETS:
        raise ValueError(f"name ({name!r}) must be one of {', '.join(HUB_DATASETS)}")
    dataset = HUB_DATASETS[name]
    if split not in dataset.splits:
        raise ValueError(f"split ({split!r}) of {name} must be one of {', '.join(dataset.splits)}")
    if count is not None and count < 1:
        raise ValueError(f"count ({count}) must be at least 1")
    arrow = imported("pyarrow.dataset", "hub")
    root = _fetched(dataset, split) if folder is None else Path(folder)
    files = sorted((root / dataset.folder).glob(f"{split}*"))
    if not files:
        raise ValueError(f"{name}: no files {split}* in {root / dataset.folder}")
    try:
        return list(itertools.islice(dataset.read(_rows(arrow, files)), count))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name}: the rows of {files[0]} are not those of {dataset.repository}: {error!r}") from error


def _fetched(dataset: HubDataset, split: str) -> Path:
    hub = imported("huggingface_hub", "hub")
    wanted = f"{dataset.folder}/{split}*"
    try:
        return Path(hub.snapshot_download(dataset.repository, repo_type="dataset", allow_patterns=wanted))
    except (OSError, hub.errors.HfHubHTTPError) as error:
        raise ValueError(
            f"{dataset.repository} could not be fetched from {hub.constants.ENDPOINT} ({type(error).__name__}): "
            "connect to the network, set HF_ENDPOINT to a mirror, or pass a folder that has the files"
        ) from error


def _rows(arrow: ModuleType, files: list[Path]) -> Iterator[dict]:
    kind = "parquet" if files[0].suffix == ".parquet" else "json"
    try:
        for batch in arrow.dataset([str(file) for file in files], format=kind).to_batches(batch_size=1024):
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise ValueError(f"file ({files[0]}) must be readable as {kind}: {error}") from error


def _articles(rows: Iterable[dict]) -> Iterator[str]:
    """WikiText has a row per line; an article begins at a heading between single signs: `` = Title = ``."""
    lines: list[str] = []
    for row in rows:
        if re.fullmatch(r" = [^=].*[^=] = \n?", row["text"]) and any(map(str.strip, lines)):
            yield "".join(lines).strip()
            lines = []
        lines.append(row["text"])
    if any(map(str.strip, lines)):
        yield "".join(lines).strip()


def _each(example: Callable[[dict], Example]) -> Callable[[Iterable[dict]], Iterable[Example]]:
    return lambda rows: map(example, rows)


_stories = _each(lambda row: row["text"].strip())
_phrases = _each(lambda row: Classified(row["sentence"].strip(), row["label"]))
_reviews = _each(lambda row: Classified(row["text"].strip(), row["label"]))
_pairs = _each(lambda row: Pair(row["translation"]["en"], row["translation"]["zh"], "OPUS-100"))
_news = _each(lambda row: Summary(row["article"], row["highlights"]))
HUB_DATASETS = {
    "TinyStories": HubDataset("roneneldan/TinyStories", "data", _stories, ("train", "validation")),
    "WikiText": HubDataset("Salesforce/wikitext", "wikitext-2-raw-v1", _articles),
    "SST-2": HubDataset("stanfordnlp/sst2", "data", _phrases, ("train", "validation")),
    "ChnSentiCorp": HubDataset("lansinuote/ChnSentiCorp", "data", _reviews),
    "OPUS-100": HubDataset("Helsinki-NLP/opus-100", "en-zh", _pairs),
    "CNN/DailyMail": HubDataset("abisee/cnn_dailymail", "3.0.0", _news),
}
