"""The exercises of chapter 06: references, inputs that tell answers apart, and well-known mistakes."""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .registry import Case, Exercise, Misconception, entry

WRITER = "the writer of this chapter, November 2026"


def draw(*shape: int, seed: int) -> Tensor:
    """Uniform float64 numbers of mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(seed)
    return math.sqrt(3) * (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1)


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
            "https://github.com/magenta/magenta/pull/239",
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
            {"en": "All bits of the text, divided by its 15 bytes.", "zh": "整段文字的比特数，除以它的 15 个字节。"},
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


def _overflows(logits: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    raised = logits[:, :-1].exp()
    chosen = (raised / raised.sum(dim=-1, keepdim=True)).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return -chosen[_real(tokens, lengths)[:, 1:]].log().mean()


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
        Case("hand", {"en": "One text, by hand", "zh": "手算的一段文字"}, _hand_text),
        Case("general", {"en": "Texts of equal length", "zh": "长度相同的文字"}, lambda: _texts([6, 6, 6], 1)),
        Case("general", {"en": "Texts of different lengths", "zh": "长短不一的文字"}, lambda: _texts([6, 2, 4], 3)),
        Case("edge", {"en": "A text of a single token", "zh": "只有一个词元的文字"}, lambda: _texts([5, 1, 3], 5)),
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
            {"en": "The filling behind short texts is scored too.", "zh": "短文字后面的填充也被算进去了。"},
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
                "zh": "先对每段文字取平均，短文字里的词元就占了更大的分量。",
            },
            {"en": "One mean over all real targets of the batch.", "zh": "对整批里所有真正的目标取一次平均。"},
            "https://github.com/huggingface/transformers/issues/24725",
        ),
        Misconception(
            "one filling too many",
            _one_too_many,
            {"en": "The first filling token of each text is scored.", "zh": "每段文字后面的第一个填充被算进去了。"},
            {
                "en": "A text of n tokens has n - 1 targets.",
                "zh": "n 个词元的文字，只有 n - 1 个目标。",
            },
            WRITER,
        ),
        Misconception(
            "sum instead of mean",
            _summed,
            {"en": "This is the sum of the surprises, not their mean.", "zh": "这是意外程度之和，不是平均。"},
            {"en": "Divide by the number of real targets.", "zh": "除以真正的目标个数。"},
            WRITER,
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
            "exponentials overflow",
            _overflows,
            {
                "en": "Very large logits break it: exp overflows, or the log of zero is taken.",
                "zh": "logits 很大时会出错：exp 溢出，或者对零取了对数。",
            },
            {"en": "log_softmax does both in one, safely.", "zh": "log_softmax 把两步合成一步，不会溢出。"},
            WRITER,
        ),
    ),
)

# -- 3. top-p ---------------------------------------------------------------------------------------------------------


def _top_p(keep=None, ascending: bool = False, normalised: bool = True, restored: bool = True):
    """Top-p in which one step may be replaced; ``keep`` gets probabilities in order, what stands before each, and p."""

    def answer(probabilities: Tensor, p: float) -> Tensor:
        ordered, order = probabilities.sort(dim=-1, descending=not ascending, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        kept = ordered * (before < p if keep is None else keep(ordered, before, p))
        kept = torch.zeros_like(kept).scatter(-1, order, kept) if restored else kept
        return kept / kept.sum(dim=-1, keepdim=True) if normalised else kept

    return answer


def _first_always(kept: Tensor) -> Tensor:
    return kept | (torch.arange(kept.shape[-1]) == 0)


def _distributions(rows: list[list[int]], p: float) -> tuple:
    """Probabilities in 64ths, which add up without rounding."""
    return torch.tensor(rows, dtype=torch.float64) / 64, p


FLAT = [[20, 4, 16, 8, 10, 6], [2, 40, 1, 3, 12, 6], [11, 10, 9, 12, 13, 9]]

TOP_P = Exercise(
    name="top-p",
    points=3,
    reference=_top_p(),
    forbidden=("llmguide_lib.generation.TopP",),
    cases=(
        Case("hand", {"en": "By hand", "zh": "手算的例子"}, lambda: _distributions([[8, 32, 16, 4, 4]], 0.8)),
        Case("general", {"en": "Three rows, p = 0.6", "zh": "三行，p = 0.6"}, lambda: _distributions(FLAT, 0.6)),
        Case("general", {"en": "Three rows, p = 0.9", "zh": "三行，p = 0.9"}, lambda: _distributions(FLAT, 0.9)),
        Case(
            "edge",
            {"en": "p is exactly reached", "zh": "恰好达到 p"},
            lambda: _distributions([[8, 32, 16, 4, 4], [16, 16, 16, 16, 0]], 0.75),
        ),
        Case(
            "edge", {"en": "The first alone has more than p", "zh": "第一个就超过 p"}, lambda: _distributions(FLAT, 0.1)
        ),
    ),
    misconceptions=(
        Misconception(
            "without the one that crosses",
            _top_p(lambda ordered, before, p: _first_always(before + ordered <= p)),
            {
                "en": "The token that crosses p is left out, so less than p is kept.",
                "zh": "跨过 p 的那个词元被丢掉了，留下的总概率不到 p。",
            },
            {
                "en": "Look at what stands *before* a token, not at the sum with it.",
                "zh": "看它*前面*的总和，不要看包括它在内的总和。",
            },
            "https://github.com/rasbt/reasoning-from-scratch/issues/164",
        ),
        Misconception(
            "one too many",
            _top_p(lambda ordered, before, p: before <= p),
            {
                "en": "Where p is reached exactly, one token too many is kept.",
                "zh": "恰好达到 p 时，多留了一个词元。",
            },
            {"en": "Less than p, or at most p?", "zh": "是小于 p，还是不大于 p？"},
            "https://github.com/huggingface/transformers/issues/18976",
        ),
        Misconception(
            "not made to add up to one",
            _top_p(normalised=False),
            {"en": "The kept probabilities do not add up to one.", "zh": "留下的概率加起来不等于一。"},
            {"en": "Divide each row by its sum.", "zh": "每一行除以它的总和。"},
            WRITER,
        ),
        Misconception(
            "left in order",
            _top_p(restored=False),
            {
                "en": "The result is still sorted: probabilities stand at the wrong tokens.",
                "zh": "结果还是排过序的：概率对错了词元。",
            },
            {
                "en": "Put each back to where it came from: scatter with the order that sort returned.",
                "zh": "把每个概率放回原处：用 sort 返回的次序做 scatter。",
            },
            "https://github.com/lucidrains/PaLM-rlhf-pytorch/issues/60",
        ),
        Misconception(
            "least probable first",
            _top_p(ascending=True),
            {"en": "The least probable tokens are kept.", "zh": "留下的是概率最小的词元。"},
            {"en": "Sort in descending order.", "zh": "要从大到小排序。"},
            "https://github.com/dmlc/gluon-nlp/issues/1481",
        ),
        Misconception(
            "1 - p",
            lambda probabilities, p: _top_p()(probabilities, 1 - p),
            {"en": "It keeps tokens up to 1 - p instead of p.", "zh": "取到 1 - p 就停了，应当取到 p。"},
            {"en": "p is what is kept, not what is cut.", "zh": "p 是留下的部分，不是切掉的部分。"},
            "https://github.com/lucidrains/x-transformers/issues/184",
        ),
        Misconception(
            "a bound for each token",
            _top_p(lambda ordered, before, p: _first_always(ordered >= 1 - p)),
            {
                "en": "Each token is compared with a fixed bound; nothing is added up.",
                "zh": "每个词元只和固定的界限比较，没有累加。",
            },
            {"en": "cumsum along the sorted row.", "zh": "沿排好序的一行做 cumsum。"},
            WRITER,
        ),
    ),
)

# -- 4. the cache -----------------------------------------------------------------------------------------------------


def _cached(place=None, allowed=None, kept=None):
    """Causal attention over a text that comes in parts; each wrong answer below replaces one step."""

    def answer(x: Tensor, positions: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, parts: list[int]) -> Tensor:
        keys, values, outputs, seen = x[:0] @ w_k, x[:0] @ w_v, [], 0
        for part in x.split(parts):
            part = part + (place or _place)(positions, seen, len(part))
            query = part @ w_q
            keys, values = (kept or _kept)(keys, part @ w_k), (kept or _kept)(values, part @ w_v)
            scores = query @ keys.T / math.sqrt(query.shape[-1])
            scores = scores.masked_fill(~(allowed or _allowed)(seen, len(part), len(keys)), -math.inf)
            outputs.append(scores.softmax(dim=-1) @ values)
            seen += len(part)
        return torch.cat(outputs)

    return answer


def _place(positions: Tensor, seen: int, number: int) -> Tensor:
    return positions[seen : seen + number]


def _from_zero(positions: Tensor, seen: int, number: int) -> Tensor:
    return positions[:number]


def _allowed(seen: int, queries: int, keys: int) -> Tensor:
    return torch.arange(keys) <= seen + torch.arange(queries)[:, None]


def _everything(seen: int, queries: int, keys: int) -> Tensor:
    return torch.ones(queries, keys, dtype=torch.bool)


def _kept(old: Tensor, new: Tensor) -> Tensor:
    return torch.cat([old, new])


def _parts(parts: list[int], seed: int) -> tuple:
    """A text of as many vectors of width 4 as the parts have together, and tables for it."""
    x, positions = draw(sum(parts), 4, seed=seed), draw(8, 4, seed=seed + 1)
    return x, positions, *(draw(4, 4, seed=seed + place) for place in (2, 3, 4)), parts


CACHE = Exercise(
    name="cache",
    points=3,
    reference=_cached(),
    # Three parts that count alone: who has mended only one bug has a third, at least.
    cases=(
        Case("positions", {"en": "Token by token", "zh": "逐个词元"}, lambda: _parts([1, 1, 1, 1, 1], 10)),
        Case("prompt", {"en": "A whole prompt at once", "zh": "整段提示一次送入"}, lambda: _parts([5], 20)),
        Case(
            "both", {"en": "A prompt, then token by token", "zh": "先送提示，再逐个词元"}, lambda: _parts([3, 1, 1], 30)
        ),
        Case("both", {"en": "Two parts of several tokens", "zh": "分两段，每段几个词元"}, lambda: _parts([3, 4], 40)),
    ),
    misconceptions=(
        Misconception(
            "both bugs left",
            _cached(place=_from_zero, allowed=_everything),
            {"en": "Both bugs are still there.", "zh": "两处错误都还在。"},
            {
                "en": "At which position of the text does the second part begin?",
                "zh": "第二段是从文字的第几个位置开始的？",
            },
            "https://github.com/meta-pytorch/torchtune/issues/959",
        ),
        Misconception(
            "positions from zero",
            _cached(place=_from_zero),
            {
                "en": "Each part gets the positions from 0 on, as if nothing stood before it.",
                "zh": "每一段的位置都从 0 开始，好像前面什么也没有。",
            },
            {"en": "Go on at `seen`.", "zh": "应当从 `seen` 接着往后。"},
            "https://github.com/mlfoundations/open_lm/pull/74",
        ),
        Misconception(
            "the prompt sees its future",
            _cached(allowed=_everything),
            {
                "en": "Within a part each token sees the later ones too.",
                "zh": "同一段里，前面的词元看得到后面的。",
            },
            {
                "en": "One new token may see everything, several may not.",
                "zh": "只有一个新词元时可以全看，有几个就不行。",
            },
            "https://github.com/meta-pytorch/torchtune/issues/959",
        ),
        Misconception(
            "mask in the upper left corner",
            _cached(allowed=lambda seen, queries, keys: _everything(seen, queries, keys).tril()),
            {
                "en": "The mask starts at key 0: new tokens do not see what is in the cache.",
                "zh": "掩码从第 0 个键算起：新词元看不到缓存里的内容。",
            },
            {
                "en": "The new tokens are the *last* positions: query t stands at seen + t.",
                "zh": "新词元是*最后*几个位置：第 t 个查询在 seen + t。",
            },
            "https://github.com/pytorch/pytorch/issues/103082",
        ),
        Misconception(
            "only the last part is kept",
            _cached(kept=lambda old, new: new, allowed=lambda seen, queries, keys: _allowed(0, queries, keys)),
            {"en": "Only the keys and values of the last part are there.", "zh": "缓存里只剩最后一段的键和值。"},
            {"en": "Put the new ones behind the old ones.", "zh": "新的要接在旧的后面。"},
            WRITER,
        ),
        Misconception(
            "new before old",
            _cached(kept=lambda old, new: torch.cat([new, old])),
            {"en": "New keys stand in front of the old ones.", "zh": "新的键放到了旧的前面。"},
            {"en": "The mask counts keys in the order of the text.", "zh": "掩码按文字的顺序数键。"},
            WRITER,
        ),
    ),
)

# -- 5. the tree ------------------------------------------------------------------------------------------------------

FIRST = {"A": 0.5, "B": 0.3, "C": 0.2}
BEST = {"A": 0.3, "B": 0.55, "C": 0.95}  # the most probable continuation of each

TREE = Exercise(
    name="tree",
    points=2,
    reference=[0.15, 0.165, 0.19, 3.0],
    ask=entry,
    tolerance=1e-3,
    cases=(
        Case("greedy", {"en": "Greedy's text", "zh": "贪心的文字"}, lambda: (0,)),
        Case("two", {"en": "The text of two beams", "zh": "两束的文字"}, lambda: (1,)),
        Case("best", {"en": "The most probable text", "zh": "概率最大的文字"}, lambda: (2,)),
        Case("beams", {"en": "The number of beams", "zh": "束数"}, lambda: (3,)),
    ),
    misconceptions=(
        Misconception(
            "added instead of multiplied",
            [0.8, 0.85, 1.15, 3.0],
            {"en": "Probabilities along a path are added.", "zh": "把一条路上的概率相加了。"},
            {"en": "Chain rule: multiply. (Logarithms are added.)", "zh": "链式法则：要相乘。（对数才相加。）"},
            "https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Image-Captioning/issues/72",
        ),
        Misconception(
            "only the last step",
            [0.3, 0.55, 0.95, 3.0],
            {"en": "Only the second step's probability is given.", "zh": "只写了第二步的概率。"},
            {"en": "Times the probability of the first token.", "zh": "还要乘以第一个词元的概率。"},
            WRITER,
        ),
        Misconception(
            "two beams find the best",
            [0.15, 0.19, 0.19, 2.0],
            {
                "en": "Two beams are taken to find the best text, but they keep A and B and have dropped C.",
                "zh": "以为两束就能找到最好的文字，其实它们留下的是 A 和 B，C 已经丢了。",
            },
            {
                "en": "Which beginnings are left after the first step?",
                "zh": "第一步之后，留下的是哪几个开头？",
            },
            WRITER,
        ),
        Misconception(
            "greedy looks ahead",
            [0.19, 0.19, 0.19, 1.0],
            {
                "en": "Greedy is taken to find the most probable text.",
                "zh": "以为贪心会找到概率最大的文字。",
            },
            {"en": "Greedy takes A, and never looks back.", "zh": "贪心选了 A，就不再回头。"},
            "https://github.com/gchaperon/pointer-networks/issues/1",
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
    """Bits per letter if nothing is known, from frequencies, and with one letter of context."""
    pairs = _bits(Counter(zip(TEXT, TEXT[1:], strict=False)))
    return [math.log2(len(set(TEXT))) * unit, _bits(Counter(TEXT)) * unit, (pairs - _bits(Counter(TEXT[:-1]))) * unit]


MEASURE = Exercise(
    name="context",
    points=2,
    reference=_entropies(),
    ask=entry,
    tolerance=1e-3,
    cases=(
        Case("equal", {"en": "All letters equally probable", "zh": "所有字符同样可能"}, lambda: (0,)),
        Case("frequencies", {"en": "From frequencies", "zh": "按频率"}, lambda: (1,)),
        Case("context", {"en": "With one letter of context", "zh": "知道前一个字符"}, lambda: (2,)),
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
            "whole pairs",
            [*_entropies()[:2], _bits(Counter(zip(TEXT, TEXT[1:], strict=False)))],
            {
                "en": "This is the surprise at a whole pair, not at its second letter given the first.",
                "zh": "这是对一整对字符的意外程度，不是已知第一个时对第二个的意外程度。",
            },
            {
                "en": "p(second | first) = number of the pair / number of the first.",
                "zh": "p(第二个 | 第一个) = 这对的次数 / 第一个的次数。",
            },
            WRITER,
        ),
        Misconception(
            "pairs halved",
            [*_entropies()[:2], _bits(Counter(zip(TEXT, TEXT[1:], strict=False))) / 2],
            {
                "en": "This is the surprise at a pair, divided by two letters.",
                "zh": "这是对一对字符的意外程度除以二。",
            },
            {
                "en": "By the chain rule the first letter of the pair costs more than the second: take its cost off.",
                "zh": "按链式法则，一对里第一个字符花得更多：要把它那份减掉，而不是平分。",
            },
            WRITER,
        ),
        Misconception(
            "26 letters",
            [math.log2(26), *_entropies()[1:]],
            {
                "en": "It counts the alphabet, not the characters that the text has.",
                "zh": "数的是字母表，不是文字里出现的字符。",
            },
            {"en": "len(set(text)): blanks and dots count too.", "zh": "len(set(text))：空格和标点也算。"},
            WRITER,
        ),
    ),
)

EXERCISES = (HAND, LOSS, TOP_P, CACHE, TREE, MEASURE)
