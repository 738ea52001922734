"""Exercises on what a model is scored by: by hand, the loss of a batch, what one character of context is worth."""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..attention import draw
from ..registry import NOT_MET, Case, Exercise, Misconception, entry

# -- 1. by hand -------------------------------------------------------------------------------------------------------

BITS, BYTES = (2, 3, 4), 15  # the tokens had the probabilities 1/4, 1/8, 1/16
NATS = sum(BITS) * math.log(2)
MEAN = NATS / len(BITS)
AVERAGED = -math.log(sum(2.0**-bits for bits in BITS) / len(BITS))  # of the probabilities instead of the logarithms

HAND = Exercise(
    name="hand",
    points=2,
    reference=[MEAN, math.exp(MEAN), sum(BITS) / BYTES],
    ask=entry,
    tolerance=5e-3,
    cases=(
        Case("loss", {"en": "The loss", "zh": "损失"}, lambda: (0,)),
        Case("perplexity", {"en": "The perplexity", "zh": "困惑度"}, lambda: (1,)),
        Case("bits", {"en": "Bits per byte", "zh": "每字节比特数"}, lambda: (2,)),
    ),
    misconceptions=(
        Misconception(
            "loss in bits",
            [sum(BITS) / len(BITS), math.exp(MEAN), sum(BITS) / BYTES],
            {
                "en": "This is the loss in bits, with the logarithm of base 2.",
                "zh": "这是以 2 为底的对数，单位是比特。",
            },
            {"en": "Nats are natural logarithms: ln 4 = 1.386.", "zh": "奈特用自然对数：ln 4 = 1.386。"},
            "https://github.com/huggingface/evaluate/issues/241",
        ),
        Misconception(
            "e to the bits",
            [MEAN, math.exp(sum(BITS) / len(BITS)), sum(BITS) / BYTES],
            {
                "en": "The perplexity is e to a mean in bits: base and logarithm do not fit.",
                "zh": "困惑度用了 e 的“比特数”次方：底数和对数对不上。",
            },
            {"en": "e to the nats, or 2 to the bits.", "zh": "要么 e 的奈特次方，要么 2 的比特次方。"},
            "https://github.com/facebookresearch/fairseq/issues/182",
        ),
        Misconception(
            "mean of the probabilities",
            [AVERAGED, math.exp(AVERAGED), len(BITS) * AVERAGED / math.log(2) / BYTES],
            {
                "en": "The probabilities are averaged and then the logarithm is taken.",
                "zh": "先对概率取平均，再取了对数。",
            },
            {"en": "Logarithms first, then their mean.", "zh": "先取对数，再取平均。"},
            "https://github.com/JerryZhong/LDA/issues/1",
        ),
        Misconception(
            "sum instead of mean",
            [NATS, math.exp(NATS), sum(BITS) / BYTES],
            {"en": "This adds up the surprises and does not divide.", "zh": "只把意外程度加起来，没有除以个数。"},
            {"en": "Three tokens: divide by 3.", "zh": "有三个词元，要除以 3。"},
            "https://github.com/apache/mxnet/pull/5905",
        ),
        Misconception(
            "nats per byte",
            [MEAN, math.exp(MEAN), NATS / BYTES],
            {"en": "These are nats per byte.", "zh": "这是每字节的奈特数。"},
            {"en": "A nat is 1 / ln 2 = 1.443 bits.", "zh": "1 奈特是 1 / ln 2 = 1.443 比特。"},
            "https://github.com/EleutherAI/lm-evaluation-harness/pull/242",
        ),
        Misconception(
            "bits per token",
            [MEAN, math.exp(MEAN), sum(BITS) / len(BITS)],
            {"en": "These are bits per token, not per byte.", "zh": "这是每词元的比特数，不是每字节的。"},
            {"en": "All bits of the text, divided by its 15 bytes.", "zh": "整段文本的比特数，除以它的 15 个字节。"},
            "https://github.com/lucidrains/MEGABYTE-pytorch/issues/14",
        ),
    ),
)


# -- 2. the loss ------------------------------------------------------------------------------------------------------


def _real(tokens: Tensor, lengths: Tensor) -> Tensor:
    """(B, T): which tokens are no filling."""
    return torch.arange(tokens.shape[1]) < lengths[:, None]


def _loss(logits: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    surprise = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return surprise[_real(tokens, lengths)[:, 1:].flatten()].mean()


def _moved(first: int, second: int):
    """A loss that compares the logits from one place on with the tokens from another place on."""

    def wrong(logits: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        number = tokens.shape[1] - max(first, second)
        asked = tokens[:, second : second + number]
        surprise = F.cross_entropy(logits[:, first : first + number].transpose(1, 2), asked, reduction="none")
        return surprise[_real(tokens, lengths)[:, max(first, second) :]].mean()

    return wrong


def _over_filling(logits: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def _mean_of_means(logits: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    rows = zip(logits, tokens, lengths.tolist(), strict=True)
    means = [F.cross_entropy(row[: size - 1], ids[1:size]) for row, ids, size in rows if size > 1]
    return torch.stack(means).mean()


def _one_too_many(logits: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    return _loss(logits, tokens, (lengths + 1).clamp(max=tokens.shape[1]))


def _summed(logits: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    return _loss(logits, tokens, lengths) * _real(tokens, lengths)[:, 1:].sum()


def _zeroed(logits: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    """The surprise at filling is set to zero, but it is counted in the mean."""
    return _summed(logits, tokens, lengths) / tokens[:, 1:].numel()


def _bets(probabilities: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    """The probabilities that the real targets got."""
    chosen = probabilities[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return chosen[_real(tokens, lengths)[:, 1:]]


def _overflows(logits: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    raised = logits.exp()
    return -_bets(raised / raised.sum(dim=-1, keepdim=True), tokens, lengths).log().mean()


def _texts(lengths: Sequence[int], seed: int, scale: float = 1.0, longest: int = 6) -> tuple:
    """Texts of these lengths, filled up with token 0, which real tokens are too now and then; 7 tokens are known."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(7, (len(lengths), longest), generator=generator)
    sizes = torch.tensor(lengths)
    tokens = tokens.masked_fill(torch.arange(longest) >= sizes[:, None], 0)
    return scale * draw(len(lengths), longest, 7, seed=seed + 1), tokens, sizes


def _hand_text() -> tuple:
    """Two tokens known, three tokens read: the bets on the second and third are 1/2 and 3/4."""
    logits = torch.tensor([[[0.0, 0.0], [math.log(3), 0.0], [5.0, 1.0]]], dtype=torch.float64)
    return logits, torch.tensor([[1, 1, 0]]), torch.tensor([3])


LOSS = Exercise(
    name="loss",
    points=3,
    reference=_loss,
    forbidden=("llmguide_lib.objectives.cross_entropy",),
    cases=(
        Case("hand", {"en": "One text, by hand", "zh": "手算的一段文本"}, _hand_text),
        Case("general", {"en": "Texts of equal length", "zh": "长度相同的文本"}, lambda: _texts([6, 6, 6], 1)),
        Case("general", {"en": "Texts of different lengths", "zh": "长短不一的文本"}, lambda: _texts([6, 2, 4], 3)),
        Case("edge", {"en": "A text of a single token", "zh": "只有一个词元的文本"}, lambda: _texts([5, 1, 3], 5)),
        Case("edge", {"en": "Very large logits", "zh": "非常大的 logits"}, lambda: _texts([6, 3], 7, 1000.0)),
    ),
    misconceptions=(
        Misconception(
            "not shifted",
            _moved(0, 0),
            {
                "en": "Nothing is shifted: each place is asked for the token that it has just read.",
                "zh": "没有移位：每个位置被问的，是它刚读到的那个词元。",
            },
            {
                "en": "The logits at place 0 bet on the token at place 1.",
                "zh": "位置 0 的 logits 押的是位置 1 的词元。",
            },
            "https://github.com/macrocosm-os/pretraining/pull/64",
        ),
        Misconception(
            "shifted twice",
            _moved(0, 2),
            {
                "en": "The shift is done twice: it asks for the token after the next.",
                "zh": "移了两次：问的是下下个词元。",
            },
            {"en": "One place, not two.", "zh": "移一位，不是两位。"},
            "https://github.com/huggingface/transformers/pull/46898",
        ),
        Misconception(
            "wrong direction",
            _moved(1, 0),
            {"en": "Shifted the wrong way: it asks for the token before.", "zh": "移反了：问的是上一个词元。"},
            {
                "en": "Which of the two loses its last place, logits or tokens?",
                "zh": "logits 和 tokens，该去掉最后一个位置的是哪一个？",
            },
            "https://github.com/alibaba/Megatron-LLaMA/issues/53",
        ),
        Misconception(
            "mean over filling",
            _over_filling,
            {"en": "The filling behind short texts is scored too.", "zh": "短文本后面的填充也被算进去了。"},
            {
                "en": "Leave out targets at places from lengths[b] on.",
                "zh": "从 lengths[b] 开始的位置都是填充，不能算。",
            },
            "https://github.com/NovaSky-AI/SkyRL/pull/462",
        ),
        Misconception(
            "filling counted",
            _zeroed,
            {
                "en": "The surprise at filling is zero, but it still counts in the number that you divide by.",
                "zh": "填充处的意外程度是零了，但除的时候仍把它算进了个数。",
            },
            {"en": "Divide by the number of real targets.", "zh": "应当除以真正的目标个数。"},
            "https://github.com/meta-pytorch/torchtune/pull/1875",
        ),
        Misconception(
            "mean of means",
            _mean_of_means,
            {
                "en": "Each text gets its own mean first, so a token of a short text counts more.",
                "zh": "先对每段文本取平均，短文本里的词元就占了更大的分量。",
            },
            {"en": "One mean over all real targets of the batch.", "zh": "对整批里所有真正的目标取一次平均。"},
            "https://github.com/huggingface/transformers/issues/24725",
        ),
        Misconception(
            "one filling too many",
            _one_too_many,
            {"en": "The first filling token of each text is scored.", "zh": "每段文本后面的第一个填充被算进去了。"},
            {
                "en": "A text of n tokens has n - 1 targets.",
                "zh": "n 个词元的文本，只有 n - 1 个目标。",
            },
            "https://github.com/Goekdeniz-Guelmez/mlx-lm-lora/issues/80",
        ),
        Misconception(
            "sum instead of mean",
            _summed,
            {"en": "This is the sum of the surprises, not their mean.", "zh": "这是意外程度之和，不是平均。"},
            {"en": "Divide by the number of real targets.", "zh": "除以真正的目标个数。"},
            "https://github.com/thinking-machines-lab/tinker-cookbook/issues/271",
        ),
        Misconception(
            "softmax twice",
            lambda logits, tokens, lengths: _loss(logits.softmax(dim=-1), tokens, lengths),
            {
                "en": "Softmax is taken twice: cross_entropy takes logits and does it itself.",
                "zh": "softmax 做了两遍：cross_entropy 接收的是 logits，它自己会做。",
            },
            {"en": "Hand it the logits as they are.", "zh": "直接把 logits 交给它。"},
            "https://github.com/tflearn/tflearn/pull/562",
        ),
        Misconception(
            "log of zero",
            lambda logits, tokens, lengths: -_bets(logits.softmax(dim=-1), tokens, lengths).log().mean(),
            {
                "en": "Very large logits break it: softmax rounds small probabilities to zero, and log 0 is infinite.",
                "zh": "logits 很大时会出错：softmax 把很小的概率舍入成了零，而零的对数是无穷大。",
            },
            {
                "en": "log_softmax, or cross_entropy, never computes the probability itself.",
                "zh": "log_softmax 和 cross_entropy 不会先算出概率本身。",
            },
            "a reader of this chapter",
        ),
        Misconception(
            "exponentials overflow",
            _overflows,
            {
                "en": "Very large logits break it: exp overflows, or the log of zero is taken.",
                "zh": "logits 很大时会出错：exp 溢出，或者对零取了对数。",
            },
            {"en": "log_softmax does both in one, safely.", "zh": "log_softmax 把两步合成一步，不会溢出。"},
            "https://github.com/tracel-ai/burn/issues/315",
        ),
    ),
)


# -- 6. measure -------------------------------------------------------------------------------------------------------

TEXT = (
    "return the sum of the values along the given axis. if the axis is not given, the sum of all the values is "
    "returned. the values are read from left to right, and the sum has the type of the values. if there are no "
    "values, the sum is zero. the axis may be negative, and then it is counted from the last to the first."
)


def _bits(counts: Counter) -> float:
    """Mean surprise in bits at items that are as frequent as these."""
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())


def _entropies(unit: float = 1.0) -> list[float]:
    """Bits per character if nothing is known, from frequencies, and with one character of context."""
    pairs = _bits(Counter(zip(TEXT, TEXT[1:], strict=False)))
    return [math.log2(len(set(TEXT))) * unit, _bits(Counter(TEXT)) * unit, (pairs - _bits(Counter(TEXT[:-1]))) * unit]


MEASURE = Exercise(
    name="context",
    points=2,
    reference=_entropies(),
    ask=entry,
    tolerance=1e-3,
    cases=(
        Case("equal", {"en": "All characters equally probable", "zh": "所有字符同样可能"}, lambda: (0,)),
        Case("frequencies", {"en": "From frequencies", "zh": "按频率"}, lambda: (1,)),
        Case("context", {"en": "With one character of context", "zh": "知道前一个字符"}, lambda: (2,)),
    ),
    misconceptions=(
        Misconception(
            "nats",
            _entropies(math.log(2)),
            {"en": "These are nats.", "zh": "这是奈特。"},
            {"en": "math.log2, or divide by ln 2.", "zh": "用 math.log2，或者除以 ln 2。"},
            "https://github.com/EleutherAI/lm-evaluation-harness/pull/242",
        ),
        Misconception(
            "the second character taken off",
            [*_entropies()[:2], _bits(Counter(zip(TEXT, TEXT[1:], strict=False))) - _bits(Counter(TEXT[1:]))],
            {
                "en": "This is the surprise at the first character of a pair for somebody who knows the second.",
                "zh": "这是知道第二个字符时，对第一个字符的意外程度。",
            },
            {
                "en": "Take off the surprise at what is known: the characters with which pairs begin.",
                "zh": "要减去的是已知部分的意外程度，也就是字符对开头的那些字符。",
            },
            "https://github.com/cbueth/infomeasure/pull/12",
        ),
        Misconception(
            "whole pairs",
            [*_entropies()[:2], _bits(Counter(zip(TEXT, TEXT[1:], strict=False)))],
            {
                "en": "This is the surprise at a whole pair, not at its second character given the first.",
                "zh": "这是对整个字符对的意外程度，不是已知第一个时对第二个的意外程度。",
            },
            {
                "en": "p(second | first) = number of the pair / number of pairs that begin with the first.",
                "zh": "p(第二个 | 第一个) = 这个字符对的次数 / 以第一个字符开头的字符对的总数。",
            },
            NOT_MET,
        ),
        Misconception(
            "pairs halved",
            [*_entropies()[:2], _bits(Counter(zip(TEXT, TEXT[1:], strict=False))) / 2],
            {
                "en": "This is the surprise at a pair, divided by its two characters.",
                "zh": "这是对一个字符对的意外程度除以二。",
            },
            {
                "en": "By the chain rule the pair's first character costs more than the second: take its cost off.",
                "zh": "按链式法则，字符对里第一个字符花得更多：要把它那份减掉，而不是平分。",
            },
            NOT_MET,
        ),
        Misconception(
            "26 letters",
            [math.log2(26), *_entropies()[1:]],
            {
                "en": "It counts the alphabet, not the characters that the text has.",
                "zh": "数的是字母表，不是文本里出现的字符。",
            },
            {"en": "len(set(text)): blanks and dots count too.", "zh": "len(set(text))：空格和标点也算。"},
            NOT_MET,
        ),
    ),
)
