"""Chapter 05, exercises 3, 5 and 6: pseudo-perplexity, levels of the loss, and what the encoder of the course finds."""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import course
from ..corpora import documentation
from ..corpora.storage import token_row
from ..objectives import IGNORED, Masking
from .registry import NOT_MET, Case, Exercise, Misconception, entry

MASK = 1

# -- 3. pseudo-perplexity ---------------------------------------------------------------------------------------------


def _toy_model(seed: int, vocab_size: int = 7) -> Callable[[Tensor], Tensor]:
    """Scores from the token itself and its neighbours on both sides: a model that can be asked for any hole."""
    generator = torch.Generator().manual_seed(seed)
    itself, left, right = (
        2 * torch.rand(vocab_size, vocab_size, generator=generator, dtype=torch.float64) - 1 for _ in range(3)
    )
    itself = itself + 3 * torch.eye(vocab_size, dtype=torch.float64)  # who sees a token, bets on it

    def model(tokens: Tensor) -> Tensor:
        own = itself[tokens]
        before = F.pad(left[tokens], (0, 0, 1, 0))[:, :-1]
        after = F.pad(right[tokens], (0, 0, 0, 1))[:, 1:]
        return own + before + after

    return model


def _pseudo(
    read: Callable[[Tensor, int], Tensor] | None = None,
    mean: Callable[[Tensor], Tensor] | None = None,
    row: Callable[[Tensor], Tensor] | None = None,
) -> Callable[..., float]:
    """Pseudo-perplexity in which one step may be replaced."""

    def pseudo_perplexity(model: Callable[[Tensor], Tensor], tokens: Tensor, mask_id: int) -> float:
        scores = model((read or _one_hole_each)(tokens, mask_id)).log_softmax(dim=-1)
        places = torch.arange(len(tokens))
        logs = (row or (lambda scores: scores[places, places]))(scores).gather(1, tokens[:, None])
        return (mean or (lambda logs: (-logs.mean()).exp()))(logs).item()

    return pseudo_perplexity


def _one_hole_each(tokens: Tensor, mask_id: int) -> Tensor:
    return tokens.expand(len(tokens), -1).masked_fill(torch.eye(len(tokens), dtype=torch.bool), mask_id)


def _pseudo_case(seed: int, length: int) -> tuple:
    tokens = torch.randint(2, 7, (length,), generator=torch.Generator().manual_seed(seed))
    return _toy_model(seed + 100), tokens, MASK


PSEUDO = Exercise(
    name="pseudo",
    points=3,
    reference=_pseudo(),
    cases=(
        Case("hand", {"en": "A text of two tokens", "zh": "两个词元的文本"}, lambda: _pseudo_case(1, 2)),
        Case("general", {"en": "A text of five tokens", "zh": "五个词元的文本"}, lambda: _pseudo_case(2, 5)),
        Case("general", {"en": "A text of twelve tokens", "zh": "十二个词元的文本"}, lambda: _pseudo_case(3, 12)),
        Case("edge", {"en": "A text of one token", "zh": "只有一个词元的文本"}, lambda: _pseudo_case(4, 1)),
    ),
    misconceptions=(
        Misconception(
            "nothing hidden",
            _pseudo(read=lambda tokens, mask_id: tokens.expand(len(tokens), -1)),
            {
                "en": "Nothing is hidden: the model reads the token that it is asked for.",
                "zh": "什么也没盖住：模型读得到要猜的词元。",
            },
            {"en": "Row t of the input has the mask at place t.", "zh": "输入的第 t 行，在位置 t 放掩码。"},
            "https://github.com/ntranoslab/esm-variants/issues/12",
        ),
        Misconception(
            "all hidden at once",
            _pseudo(read=lambda tokens, mask_id: torch.full((len(tokens),) * 2, mask_id)),
            {
                "en": "All tokens are hidden at once: no context is left to guess from.",
                "zh": "所有词元同时盖住了，没有上下文可供猜测。",
            },
            {"en": "One hole at a time; all other tokens stay.", "zh": "一次只盖一个，其余词元都保留。"},
            NOT_MET,
        ),
        Misconception(
            "holes stay open",
            _pseudo(
                read=lambda tokens, mask_id: tokens.expand(len(tokens), -1).masked_fill(
                    torch.ones(len(tokens), len(tokens), dtype=torch.bool).tril(), mask_id
                )
            ),
            {
                "en": "Holes made earlier are still open when the next one is asked.",
                "zh": "问下一个空的时候，前面的空还没有填回去。",
            },
            {"en": "Start from a fresh copy for every place.", "zh": "每个位置都从一份新的副本开始。"},
            NOT_MET,
        ),
        Misconception(
            "mean of probabilities",
            _pseudo(mean=lambda logs: 1 / logs.exp().mean()),
            {
                "en": "The probabilities are averaged, not their logarithms.",
                "zh": "平均的是概率，而不是概率的对数。",
            },
            {"en": "exp of minus the mean of log p.", "zh": "应当是：对 log p 取平均，取负，再取指数。"},
            "https://github.com/JerryZhong/LDA/issues/1",
        ),
        Misconception(
            "mean of perplexities",
            _pseudo(mean=lambda logs: (-logs).exp().mean()),
            {
                "en": "Each place is given a perplexity of its own, and these are averaged.",
                "zh": "先给每个位置各算一个困惑度，再对它们取平均。",
            },
            {
                "en": "The mean comes first, over log p, and the exponential last.",
                "zh": "先对 log p 取平均，最后才取指数。",
            },
            "https://github.com/magenta/magenta/pull/239",
        ),
        Misconception(
            "a sum",
            _pseudo(mean=lambda logs: (-logs.sum()).exp()),
            {"en": "The logarithms are added up, not averaged.", "zh": "对数是加起来的，没有取平均。"},
            {"en": "A longer text must not be worse for being long.", "zh": "文本不应当因为更长就显得更差。"},
            "https://github.com/facebookresearch/XLM/issues/272",
        ),
        Misconception(
            "still a loss",
            _pseudo(mean=lambda logs: -logs.mean()),
            {
                "en": "This is the mean surprise; the exponential is missing.",
                "zh": "这是平均的意外程度，还没有取指数。",
            },
            {"en": "Perplexity = exp(mean surprise).", "zh": "困惑度 = exp(平均意外程度)。"},
            "https://github.com/IINemo/lm-polygraph/issues/273",
        ),
        Misconception(
            "the first place",
            _pseudo(row=lambda scores: scores[:, 0]),
            {
                "en": "In every row the scores of the first place are read, wherever the mask stands.",
                "zh": "不管掩码在哪里，每一行取的都是第一个位置的分数。",
            },
            {"en": "Row t is asked at place t: the diagonal.", "zh": "第 t 行问的是位置 t，也就是对角线。"},
            "https://github.com/keitakurita/contextual_embedding_bias_measure/issues/1",
        ),
    ),
)

# -- 5. the level of the own place ------------------------------------------------------------------------------------


def _binary_entropy(p: float, base: float | int = math.e) -> float:
    return sum(-q * math.log(q, base) for q in (p, 1 - p) if q)


def _level(right: float, masked: float = 0.8, base: float | int = math.e) -> list[float]:
    """That the token read is right, the entropy then, the loss altogether; two equally frequent tokens."""
    seen = _binary_entropy(right, base)
    return [right, seen, masked * math.log(2, base) + (1 - masked) * seen]


LEVEL = Exercise(
    name="level",
    points=2,
    reference=_level(0.75),
    ask=entry,
    tolerance=2e-3,
    cases=(
        Case("right", {"en": "The probability", "zh": "概率"}, lambda: (0,)),
        Case("entropy", {"en": "The entropy", "zh": "熵"}, lambda: (1,)),
        Case("level", {"en": "The loss", "zh": "损失"}, lambda: (2,)),
    ),
    misconceptions=(
        Misconception(
            "a random token is always wrong",
            _level(0.5),
            {
                "en": "The random token was taken to be always a wrong one.",
                "zh": "把随机词元当成了永远是错的。",
            },
            {
                "en": "Drawn from two tokens, it is the old one half of the time.",
                "zh": "从两个词元里随机抽，有一半的可能正好抽到原来那个。",
            },
            NOT_MET,
        ),
        Misconception(
            "what is seen is right",
            _level(1.0),
            {"en": "What can be seen was taken to be right.", "zh": "把看得见的词元当成了一定正确。"},
            {"en": "Half of the visible ones are random.", "zh": "看得见的里面，有一半是随机换上的。"},
            NOT_MET,
        ),
        Misconception(
            "masked places forgotten",
            _level(0.75, masked=0.0),
            {
                "en": "The last number forgets the places behind [MASK].",
                "zh": "最后一个数漏掉了 [MASK] 的位置。",
            },
            {"en": "Four of five questions are asked behind [MASK].", "zh": "五个问题里有四个问的是 [MASK] 的位置。"},
            NOT_MET,
        ),
        Misconception(
            "masked places cost nothing",
            [*_level(0.75)[:2], 0.2 * _binary_entropy(0.75)],
            {
                "en": "The last number is the visible places' part of the loss; places behind [MASK] have a loss too.",
                "zh": "最后一个数只是看得见的位置对损失的贡献；[MASK] 的位置也有损失。",
            },
            {
                "en": "Nothing is known behind [MASK]: how large is the surprise at one of two equal tokens?",
                "zh": "[MASK] 的位置上什么也不知道：两个词元同样常见，猜其中一个，意外程度是多少？",
            },
            "a reader of this chapter",
        ),
        Misconception(
            "bits",
            _level(0.75, base=2),
            {"en": "These are bits: the logarithm to base 2.", "zh": "这是以 2 为底的对数，单位是比特。"},
            {"en": "The natural logarithm was asked for: nats.", "zh": "题目要的是自然对数，单位是 nat。"},
            "a reader of this chapter",
        ),
        Misconception(
            "shares of all tokens",
            [0.95, _binary_entropy(0.95), 0.8 * math.log(2) + 0.2 * _binary_entropy(0.95)],
            {
                "en": "Tenths of all chosen tokens were taken, not of those that can be seen.",
                "zh": "分母用了所有选中的词元，而不是其中看得见的那些。",
            },
            {
                "en": "Given that a token is seen, the two tenths are halves.",
                "zh": "已知看得见的条件下，两个 10 % 各占一半。",
            },
            NOT_MET,
        ),
    ),
)

# -- 6. measure -------------------------------------------------------------------------------------------------------

LIBRARIES = ("networkx", "jinja2")
HIDDEN_RATES = (0.15, 0.5, 0.9)


@functools.cache
def _found() -> dict[str, list[float]]:
    """What the course encoder gets right of 32 held-out windows: of the hidden tokens at three rates, and of all."""
    model, tokenizer = course.load("bert")
    row = token_row([document.text for document in documentation("test", LIBRARIES)], tokenizer)
    windows = row[: 32 * 256].view(32, 256).long()
    hidden, everywhere = [], []
    for rate in HIDDEN_RATES:
        rule = Masking(rate, MASK, tokenizer.vocab_size, special=tuple(range(5)), shares=(1, 0))
        batch = rule(windows, torch.Generator().manual_seed(0))
        with torch.no_grad():
            guessed = torch.cat([model(part).argmax(dim=-1) for part in batch.tokens.split(8)])
        hidden.append((guessed == batch.targets)[batch.targets != IGNORED].double().mean().item())
        everywhere.append((guessed == windows).double().mean().item())
    return {"hidden": hidden, "everywhere": everywhere}


def _place(number: int) -> tuple[int]:
    """A place of the list. What is right is measured here, before the clock of the answer runs."""
    _found()
    return (number,)


MEASURE = Exercise(
    name="measure",
    points=2,
    reference=lambda: _found()["hidden"],
    ask=lambda answer, arguments: entry(answer() if callable(answer) else answer, arguments),
    tolerance=0.06,
    cases=(
        Case("few", {"en": "With 15 % hidden", "zh": "盖住 15 % 时"}, lambda: _place(0)),
        Case("half", {"en": "With 50 % hidden", "zh": "盖住 50 % 时"}, lambda: _place(1)),
        Case("most", {"en": "With 90 % hidden", "zh": "盖住 90 % 时"}, lambda: _place(2)),
    ),
    misconceptions=(
        Misconception(
            "all tokens counted",
            lambda: _found()["everywhere"],
            {
                "en": "Tokens that nobody asked for were counted too: those the network only had to copy.",
                "zh": "没有提问的词元也算进去了：那些只要照抄就行。",
            },
            {"en": "Look only where targets != -100.", "zh": "只看 targets != -100 的位置。"},
            "https://github.com/DaoyuanLi2816/Molecule-Generator/pull/21",
        ),
        Misconception(
            "divided by all places",
            lambda: [rate * share for rate, share in zip(HIDDEN_RATES, _found()["hidden"], strict=True)],
            {
                "en": "The right answers were divided by the number of all places, asked or not.",
                "zh": "答对的个数除以了所有位置的个数，没有提问的位置也算在内。",
            },
            {
                "en": "A share of the questions: divide by how many were asked.",
                "zh": "要的是占题目的比例：除以提问的个数。",
            },
            "https://github.com/open-mmlab/mmsegmentation/issues/1209",
        ),
        Misconception(
            "percent",
            lambda: [100 * share for share in _found()["hidden"]],
            {"en": "These are percentages.", "zh": "这是百分数。"},
            {"en": "A share lies between 0 and 1.", "zh": "比例应当在 0 和 1 之间。"},
            "https://github.com/ppy/osu/issues/21843",
        ),
        Misconception(
            "wrong ones counted",
            lambda: [1 - share for share in _found()["hidden"]],
            {"en": "These are the shares of wrong answers.", "zh": "这是答错的比例。"},
            {"en": "== where you have !=?", "zh": "是不是把 == 写成了 !=？"},
            "https://github.com/luispedro/milk/pull/4",
        ),
    ),
)
