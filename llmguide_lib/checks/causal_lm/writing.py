"""Exercises on writing: top-p, the cache, a tree of texts by hand."""

import math

import torch
from torch import Tensor

from ..attention import draw
from ..registry import NOT_MET, Case, Exercise, Misconception, entry

# -- 3. top-p ---------------------------------------------------------------------------------------------------------


def _top_p(keep=None, finish=None, descending: bool = True):
    """Top-p in which a step may be replaced; ``keep`` gets probabilities in order, what stands before each, and p."""

    def answer(probabilities: Tensor, p: float) -> Tensor:
        ordered, order = probabilities.sort(dim=-1, descending=descending, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        kept = ordered * (before < p if keep is None else keep(ordered, before, p))
        return (finish or _finished)(kept, order)

    return answer


def _finished(kept: Tensor, order: Tensor) -> Tensor:
    return _normalised(_put_back(kept, order), order)


def _put_back(kept: Tensor, order: Tensor) -> Tensor:
    return torch.zeros_like(kept).scatter(-1, order, kept)


def _normalised(kept: Tensor, order: Tensor) -> Tensor:
    return kept / kept.sum(dim=-1, keepdim=True)


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
            "nothing may be left",
            _top_p(lambda ordered, before, p: before + ordered <= p),
            {
                "en": "Only tokens whose sum stays within p are kept: the one that crosses p is missing, and where the "
                "first alone has more than p, nothing is left.",
                "zh": "只留下了累计不超过 p 的词元：跨过 p 的那个丢了；第一个词元自己就超过 p 时，什么也没留下。",
            },
            {
                "en": "Look at what stands *before* a token: for the first one that is zero.",
                "zh": "看它*前面*的总和：对第一个词元来说，那是零。",
            },
            "a reader of this chapter",
        ),
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
            _top_p(finish=_put_back),
            {"en": "The kept probabilities do not add up to one.", "zh": "留下的概率加起来不等于一。"},
            {"en": "Divide each row by its sum.", "zh": "每一行除以它的总和。"},
            "https://github.com/facebookresearch/fairseq/pull/882",
        ),
        Misconception(
            "left in order",
            _top_p(finish=_normalised),
            {
                "en": "The result is still sorted: probabilities stand at the wrong tokens.",
                "zh": "结果还是排过序的：概率没有放回各自的词元。",
            },
            {
                "en": "Put each back to where it came from: scatter with the order that sort returned.",
                "zh": "把每个概率放回原处：用 sort 返回的次序做 scatter。",
            },
            "https://github.com/lucidrains/PaLM-rlhf-pytorch/issues/60",
        ),
        Misconception(
            "least probable first",
            _top_p(descending=False),
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
            NOT_MET,
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


def _put_in_too_late(x: Tensor, positions: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, parts: list[int]) -> Tensor:
    keys, values, outputs, seen = x[:0] @ w_k, x[:0] @ w_v, [], 0
    for part in x.split(parts):
        part = part + _place(positions, seen, len(part))
        scores = (part @ w_q) @ keys.T / math.sqrt(keys.shape[-1])
        outputs.append(scores.softmax(dim=-1) @ values)
        keys, values = _kept(keys, part @ w_k), _kept(values, part @ w_v)
        seen += len(part)
    return torch.cat(outputs)


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
        Case("prompt", {"en": "A whole prompt at once", "zh": "整段提示词一次送入"}, lambda: _parts([5], 20)),
        Case(
            "both",
            {"en": "A prompt, then token by token", "zh": "先送提示词，再逐个词元"},
            lambda: _parts([3, 1, 1], 30),
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
                "zh": "第二段是从文本的第几个位置开始的？",
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
            "https://github.com/alex-hh/profam/pull/168",
        ),
        Misconception(
            "new tokens do not see themselves",
            _put_in_too_late,
            {
                "en": "New tokens look into the cache before their own keys and values have been put in.",
                "zh": "新词元看完缓存之后，才把自己的键和值放进去。",
            },
            {
                "en": "A token may see itself: first put in, then look.",
                "zh": "词元也要看到自己：先放进缓存，再去看。",
            },
            "https://github.com/harvard-edge/cs249r_book/pull/1953",
        ),
        Misconception(
            "a mask for the new tokens only",
            _cached(allowed=lambda seen, queries, keys: _everything(seen, queries, queries).tril()),
            {
                "en": "The mask is a square of the new tokens: with more keys in the cache it fits only single tokens.",
                "zh": "掩码是按新词元的个数做的方阵：缓存里还有别的键时，只有单个词元才凑巧对得上。",
            },
            {
                "en": "A row for each new token, a column for each key; the new tokens are the last columns.",
                "zh": "每个新词元一行，缓存里每个键一列；新词元对应最后几列。",
            },
            "a reader of this chapter",
        ),
        Misconception(
            "a mask for all tokens",
            _cached(allowed=lambda seen, queries, keys: _everything(seen, keys, keys).tril()),
            {
                "en": "The mask has a row for every key; there are only as many queries as new tokens.",
                "zh": "掩码给每个键都留了一行，可是查询只有新词元那么多。",
            },
            {
                "en": "Of the square of all tokens only the last rows are needed, those of the new ones.",
                "zh": "在所有词元的方阵里，只需要最后几行，也就是新词元的那几行。",
            },
            "a reader of this chapter",
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
        Case("greedy", {"en": "Greedy's text", "zh": "贪心的文本"}, lambda: (0,)),
        Case("two", {"en": "The text of two beams", "zh": "两束的文本"}, lambda: (1,)),
        Case("best", {"en": "The most probable text", "zh": "概率最大的文本"}, lambda: (2,)),
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
            NOT_MET,
        ),
        Misconception(
            "two beams find the best",
            [0.15, 0.19, 0.19, 2.0],
            {
                "en": "Two beams are taken to find the best text, but they keep A and B and have dropped C.",
                "zh": "以为两束就能找到最好的文本，其实它们留下的是 A 和 B，C 已经丢了。",
            },
            {
                "en": "Which beginnings are left after the first step?",
                "zh": "第一步之后，留下的是哪几个前缀？",
            },
            NOT_MET,
        ),
        Misconception(
            "greedy looks ahead",
            [0.19, 0.19, 0.19, 1.0],
            {
                "en": "Greedy is taken to find the most probable text.",
                "zh": "以为贪心会找到概率最大的文本。",
            },
            {"en": "Greedy takes A, and never looks back.", "zh": "贪心选了 A，就不再回头。"},
            "https://github.com/gchaperon/pointer-networks/issues/1",
        ),
    ),
)
