"""How near written texts are to what was expected: BLEU, chrF and ROUGE as the usual packages compute them.

All three go from 0 to 100, and are for texts in English or Chinese.
"""

from collections.abc import Sequence

import regex
import torch
from jaxtyping import Float
from torch import Tensor

from ..extras import imported
from .inputs import check_paired

BLEU_TOKENIZERS = {"en": "13a", "zh": "zh"}
ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")


def bleu(outputs: Sequence[str], references: Sequence[str], lang: str = "en") -> float:
    """Precision of one to four words in a row, times a penalty for outputs that are too short: of the whole corpus.

    sacrebleu splits the words: punctuation stands alone, and in Chinese every character does.

    Args:
        outputs: what a model wrote.
        references: one for each output.
        lang: the language of both, "en" or "zh".
    Raises:
        ValueError: no texts, not one reference for each output, or an unknown language.
        ImportError: sacrebleu is not installed.
    Source: Papineni et al. 2002, https://aclanthology.org/P02-1040; Post 2018, https://arxiv.org/abs/1804.08771
    """
    _check(outputs, references)
    if lang not in BLEU_TOKENIZERS:
        raise ValueError(f"lang ({lang!r}) must be one of {', '.join(BLEU_TOKENIZERS)}")
    metric = imported("sacrebleu", "evaluation").BLEU(tokenize=BLEU_TOKENIZERS[lang])
    return metric.corpus_score(list(outputs), [list(references)]).score


def chrf(outputs: Sequence[str], references: Sequence[str]) -> float:
    """F-score of one to six characters in a row, recall counting twice as much, of the whole corpus; in any language.

    Args, Raises: as in ``bleu``.
    Source: Popović 2015, https://aclanthology.org/W15-3049
    """
    _check(outputs, references)
    return imported("sacrebleu", "evaluation").CHRF().corpus_score(list(outputs), [list(references)]).score


def rouge(outputs: Sequence[str], references: Sequence[str]) -> dict[str, Float[Tensor, "N"]]:
    """F-scores of each output: of single words, of word pairs, and of the longest common subsequence.

    rouge-score's own words are runs of a-z and 0-9, and a Chinese text has none. Here a word is a run of letters
    and digits of any script or one Chinese character; nothing is stemmed. On ASCII text both are the same.

    Args, Raises: as in ``bleu``; it is rouge-score that must be installed.
    Returns:
        "rouge1", "rouge2" and "rougeL"; a figure for the corpus is the mean.
    Source: Lin 2004, https://aclanthology.org/W04-1013
    """
    _check(outputs, references)
    scorer = imported("rouge_score.rouge_scorer", "evaluation").RougeScorer(ROUGE_TYPES, tokenizer=_Words())
    scores = [scorer.score(*pair) for pair in zip(references, outputs, strict=True)]
    return {name: torch.tensor([100 * score[name].fmeasure for score in scores]) for name in ROUGE_TYPES}


class _Words:
    """Splits a text as ``rouge`` says."""

    def tokenize(self, text: str) -> list[str]:
        return regex.findall(r"\p{Han}|[\p{L}\p{M}\p{N}--\p{Han}]+", text.lower(), regex.VERSION1)


def _check(outputs: Sequence[str], references: Sequence[str]) -> None:
    if isinstance(outputs, str) or isinstance(references, str):
        raise ValueError("outputs and references must be lists of texts, not one text")
    check_paired(outputs=outputs, references=references)
