"""The first exercises of chapter 03: references, inputs that tell answers apart, and well-known mistakes."""

import math

import torch
from torch import Tensor

from ..attention import attention, causal_mask, padding_mask
from . import passes, positions
from .inputs import LOWEST, draw
from .registry import Case, Exercise, Misconception, entry

FORBIDDEN = (
    "torch.nn.functional.scaled_dot_product_attention",
    "torch.nn.MultiheadAttention",
    "llmguide_lib.attention.attention",
    "llmguide_lib.attention.fused_attention",
)
READER = "a reader of this chapter, November 2026"


# -- 1. by hand -------------------------------------------------------------------------------------------------------


def _hand(scale: float, exponential: bool = True, values: tuple[float, ...] = (4.0, 2.0, 1.0)) -> list[float]:
    """Scaled first score, second weight, output, for scores 2, 0, 4."""
    scores = [score * scale for score in (2.0, 0.0, 4.0)]
    raised = [math.exp(score) if exponential else score for score in scores]
    weights = [one / sum(raised) for one in raised]
    return [scores[0], weights[1], sum(w * v for w, v in zip(weights, values, strict=True))]


HAND = Exercise(
    name="hand",
    points=2,
    reference=_hand(0.5),
    ask=entry,
    tolerance=5e-3,
    cases=(
        Case("score", {"en": "The scaled score of the first key", "zh": "第一个键缩放后的分数"}, lambda: (0,)),
        Case("weight", {"en": "The weight of the second key", "zh": "第二个键的权重"}, lambda: (1,)),
        Case("output", {"en": "The output", "zh": "输出"}, lambda: (2,)),
    ),
    misconceptions=(
        Misconception(
            "unscaled",
            _hand(1.0),
            {"en": "The scores are not divided by √d_k.", "zh": "分数没有除以 √d_k。"},
            {"en": "Here d_k = 4, so every dot product is halved.", "zh": "这里 d_k = 4，每个点积都要除以 2。"},
            "https://github.com/mlc-ai/mlc-llm/pull/3426",
        ),
        Misconception(
            "divided by d_k",
            _hand(0.25),
            {"en": "The scores are divided by d_k instead of √d_k.", "zh": "分数除以了 d_k，而不是 √d_k。"},
            {"en": "Divide by the square root: √4 = 2.", "zh": "应当除以平方根：√4 = 2。"},
            "https://github.com/charliezchen/scaling-matrix-preconditioning/issues/2",
        ),
        Misconception(
            "no exponential",
            _hand(0.5, exponential=False),
            {"en": "The scores are divided by their sum, without e^….", "zh": "直接用分数除以总和，没有先取指数。"},
            {
                "en": "Softmax raises first: a score of zero still gets a weight.",
                "zh": "softmax 要先取指数：分数为零的键也有权重。",
            },
            "https://github.com/yangrchen/llm-from-scratch-notes",
        ),
        Misconception(
            "no weight for a score of zero",
            [1.0, 0.0, (4 * math.e + math.e**2) / (math.e + math.e**2)],
            {"en": "A score of zero got the weight zero.", "zh": "分数为零的键，权重被当成了零。"},
            {"en": "e to the power 0 is 1, not 0.", "zh": "e 的 0 次方是 1，不是 0。"},
            READER,
        ),
    ),
)

# -- 2. implement -----------------------------------------------------------------------------------------------------


def _reference(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    return attention(query, key, value, mask)[0]


def _variant(scale=None, dim=-1, before=None, weigh=None):
    """An attention in which one step is replaced; each wrong answer below replaces one."""

    def wrong(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale(query))
        if mask is not None:
            scores = (before or _lowest)(scores, mask)
        weights = scores.softmax(dim=dim)
        if mask is not None:
            weights = (weigh or _zero)(weights, mask)
        return weights @ value

    return wrong


def _lowest(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask, LOWEST)


def _zero(weights: Tensor, mask: Tensor) -> Tensor:
    return weights.masked_fill(~mask, 0.0)


def _keep(tensor: Tensor, mask: Tensor) -> Tensor:
    return tensor


def _post_scaled(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    return _variant(scale=lambda q: 1.0)(query, key, value, mask) * query.shape[-1] ** -0.5


def _overflowing(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    raised = (query @ key.mT / math.sqrt(query.shape[-1])).exp()
    raised = raised if mask is None else raised.masked_fill(~mask, 0.0)
    total = raised.sum(dim=-1, keepdim=True)
    return (raised / total).masked_fill(total == 0, 0.0) @ value


def _batch(mask: Tensor | None, seed: int, scale: float = 1.0) -> tuple:
    """Three texts, 4 queries, 5 keys, d_k 6, d_v 3."""
    query, key, value = draw(3, 4, 6, seed=seed), draw(3, 5, 6, seed=seed + 1), draw(3, 5, 3, seed=seed + 2)
    return (scale * query, key, value) if mask is None else (scale * query, key, value, mask)


def _hand_case() -> tuple:
    query = torch.tensor([[2.0, 0, 0, 0]], dtype=torch.float64)
    key = torch.tensor([[1.0, 1, 0, 0], [0, 0, 3, 0], [-1, 0, 0, 2]], dtype=torch.float64)
    return query, key, torch.tensor([[1.0, 0], [0, 1], [1, 1]], dtype=torch.float64)


def _empty_rows() -> Tensor:
    mask = causal_mask(4, 5) & padding_mask(torch.tensor([5, 2, 3]), 5)
    mask[1, 2] = False
    return mask


def _transposed() -> tuple:
    """Inputs that are not contiguous in memory."""
    return draw(3, 6, 4, seed=9).mT, draw(3, 6, 5, seed=10).mT, draw(3, 5, 5, seed=11).mT


IMPLEMENT = Exercise(
    name="attention",
    points=3,
    reference=_reference,
    forbidden=FORBIDDEN,
    cases=(
        Case("hand", {"en": "The lesson's case by hand", "zh": "课文里手算的例子"}, _hand_case),
        Case("general", {"en": "Without a mask", "zh": "没有掩码时"}, lambda: _batch(None, 1)),
        Case("general", {"en": "With a causal mask", "zh": "用因果掩码时"}, lambda: _batch(causal_mask(4, 5), 2)),
        Case(
            "general",
            {"en": "With texts of different lengths", "zh": "文本长短不一时"},
            lambda: _batch(padding_mask(torch.tensor([5, 2, 3]), 5), 3),
        ),
        Case("general", {"en": "With transposed inputs", "zh": "输入是转置得来时"}, _transposed),
        Case(
            "edge",
            {"en": "With scores of plus and minus some thousands", "zh": "分数大到正负几千时"},
            lambda: _batch(causal_mask(4, 5), 4, 3000.0),
        ),
        Case(
            "edge",
            {"en": "With a query that may see no key", "zh": "有一个查询什么键都不能看时"},
            lambda: _batch(_empty_rows(), 5),
        ),
    ),
    misconceptions=(
        Misconception(
            "unscaled",
            _variant(scale=lambda q: 1.0),
            {"en": "The scores are not scaled.", "zh": "分数没有缩放。"},
            {
                "en": "Divide query @ key.mT by the square root of the last size.",
                "zh": "query @ key.mT 要除以最后一维大小的平方根。",
            },
            "https://github.com/mlc-ai/mlc-llm/pull/3426",
        ),
        Misconception(
            "divided by d_k",
            _variant(scale=lambda q: 1 / q.shape[-1]),
            {"en": "The scores are divided by d_k instead of √d_k.", "zh": "分数除以了 d_k，而不是 √d_k。"},
            {"en": "math.sqrt is missing.", "zh": "少了 math.sqrt。"},
            "https://github.com/charliezchen/scaling-matrix-preconditioning/issues/2",
        ),
        Misconception(
            "softmax over the queries",
            _variant(dim=-2),
            {
                "en": "Softmax runs down the columns, over the queries.",
                "zh": "softmax 沿着列做了，也就是在查询之间归一。",
            },
            {"en": "Each query's weights add up to one: dim=-1.", "zh": "每个查询的权重加起来等于一：dim=-1。"},
            "https://github.com/nerdai/llms-from-scratch-rs/pull/30",
        ),
        Misconception(
            "scaled after softmax",
            _post_scaled,
            {
                "en": "The scale comes after softmax, where it only shrinks the output.",
                "zh": "缩放放在了 softmax 之后，只会让输出变小。",
            },
            {"en": "Scale the scores, then take softmax.", "zh": "先缩放分数，再做 softmax。"},
            "https://github.com/FrancescoSaverioZuppichini/ViT/issues/2",
        ),
        Misconception(
            "mask inverted",
            _variant(before=lambda s, m: s.masked_fill(m, LOWEST), weigh=lambda w, m: w.masked_fill(m, 0.0)),
            {"en": "The mask is read the wrong way round.", "zh": "掩码用反了。"},
            {"en": "True means may attend: fill where ~mask.", "zh": "True 表示可以看：要填的是 ~mask 的位置。"},
            "https://github.com/rasbt/LLMs-from-scratch/issues/1061",
        ),
        Misconception(
            "mask after softmax",
            _variant(before=_keep),
            {
                "en": "The mask comes only after softmax: the rows no longer add up to one.",
                "zh": "softmax 之后才用掩码，每行的权重加起来就不等于一了。",
            },
            {"en": "Mask the scores, before softmax.", "zh": "应当在 softmax 之前对分数做掩码。"},
            "https://github.com/pytorch/pytorch/issues/103749",
        ),
        Misconception(
            "NaN where nothing may be seen",
            _variant(before=lambda s, m: s.masked_fill(~m, -math.inf), weigh=_keep),
            {"en": "A row without any allowed key becomes NaN.", "zh": "什么键都不能看的那一行变成了 NaN。"},
            {
                "en": "Its weights were normalised as 0/0. What keeps softmax finite there, and what should it give?",
                "zh": "这一行的权重归一化成了 0/0。怎样让 softmax 在这里保持有限？结果又应当是什么？",
            },
            "https://github.com/pytorch/pytorch/issues/24816",
        ),
        Misconception(
            "everything where nothing may be seen",
            _variant(weigh=_keep),
            {
                "en": "A row without any allowed key gets the mean of all values.",
                "zh": "什么键都不能看的那一行，得到了所有值的平均。",
            },
            {
                "en": "After softmax set the weights of masked keys to zero.",
                "zh": "softmax 之后，把被遮住的键的权重置为零。",
            },
            "https://github.com/pytorch/pytorch/pull/131060",
        ),
        Misconception(
            "masked scores are zero",
            _variant(before=lambda scores, mask: scores * mask, weigh=_keep),
            {
                "en": "A forbidden key gets the score zero, which is a score like any other: the key keeps a weight.",
                "zh": "不许看的键，分数变成了零，可零也只是一个普通的分数：这个键仍然分到了权重。",
            },
            {
                "en": "Which score becomes the weight zero, given that e^0 = 1?",
                "zh": "e 的 0 次方是 1。分数要变成多少，权重才是零？",
            },
            READER,
        ),
        Misconception(
            "mask ignored",
            _variant(before=_keep, weigh=_keep),
            {"en": "The mask is not used.", "zh": "没有用掩码。"},
            {"en": "What should the score of a forbidden key become?", "zh": "不许看的键，分数应当变成什么？"},
            READER,
        ),
        Misconception(
            "the value's width",
            lambda query, key, value, mask=None: _variant(scale=lambda q: value.shape[-1] ** -0.5)(
                query, key, value, mask
            ),
            {
                "en": "The scores are divided by √d_v, the value's width.",
                "zh": "分数除以了 √d_v，也就是值的维度的平方根。",
            },
            {"en": "Which two vectors are multiplied in a score?", "zh": "分数是哪两个向量的点积？"},
            READER,
        ),
        Misconception(
            "exponentials overflow",
            _overflowing,
            {
                "en": "Very large scores break it: e to the power of a thousand is infinite.",
                "zh": "分数很大时会出错：e 的一千次方是无穷大。",
            },
            {
                "en": "Weights do not change if the same number is taken off all scores of a row. Which number helps?",
                "zh": "一行的分数都减去同一个数，权重不变。减去哪个数最合适？",
            },
            READER,
        ),
    ),
)

# -- 3. debug ---------------------------------------------------------------------------------------------------------


def _heads(split=None, merge=None, spread=None, scale=None):
    """Multi-head attention in which one step may be replaced."""

    def multi_head(x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, num_heads: int, mask: Tensor) -> Tensor:
        query, key, value = ((split or _split)(x @ w, num_heads) for w in (w_q, w_k, w_v))
        scores = query @ key.mT * (scale(x) if scale else query.shape[-1] ** -0.5)
        seen = (spread or _spread)(mask)
        weights = scores.masked_fill(~seen, LOWEST).softmax(dim=-1)
        return (merge or _merge)(weights @ value)

    return multi_head


def _split(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _spread(mask: Tensor) -> Tensor:
    return mask[:, None]


def _view_split(x: Tensor, num_heads: int) -> Tensor:
    return x.reshape(x.shape[0], num_heads, x.shape[1], -1)


def _view_merge(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], x.shape[2], -1)


def _texts(num_texts: int, lengths: list[int], seed: int, scale: float = 1.0) -> tuple:
    """As many texts as heads, so that a mask on the wrong axis runs without an error."""
    x = draw(num_texts, 5, 8, seed=seed)
    weights = [scale * draw(8, 8, seed=seed + place) / 3 for place in (1, 2, 3)]
    return (x, *weights, num_texts, causal_mask(5) & padding_mask(torch.tensor(lengths), 5))


def _one_text(num_heads: int, seed: int) -> tuple:
    return (*_texts(1, [5], seed)[:4], num_heads, causal_mask(5)[None])


DEBUG = Exercise(
    name="heads",
    points=3,
    reference=_heads(),
    forbidden=FORBIDDEN,
    # Two parts that count alone: who has mended the split and not the mask has done half.
    cases=(
        Case("split", {"en": "Two heads, one text", "zh": "两个头、一段文本时"}, lambda: _one_text(2, 20)),
        Case("split", {"en": "Four heads, one text", "zh": "四个头、一段文本时"}, lambda: _one_text(4, 30)),
        Case("masks", {"en": "Two heads, two texts", "zh": "两个头、两段文本时"}, lambda: _texts(2, [3, 5], 40)),
        Case(
            "masks",
            {"en": "Four texts of different lengths", "zh": "四段长短不一的文本"},
            lambda: _texts(4, [5, 1, 3, 2], 50, 2.0),
        ),
    ),
    misconceptions=(
        Misconception(
            "both bugs left",
            _heads(split=_view_split, spread=lambda mask: mask),
            {"en": "Both bugs are still there.", "zh": "两处错误都还在。"},
            {
                "en": "Look at the head split first: whose numbers does head 0 get?",
                "zh": "先看拆分头的那一行：第 0 个头分到了谁的数？",
            },
            "https://github.com/reczoo/FuxiCTR/issues/30",
        ),
        Misconception(
            "split by view",
            _heads(split=_view_split),
            {
                "en": "The split mixes positions and heads: reshape alone cuts the text into pieces, not the vectors.",
                "zh": "拆分时把位置和头混在了一起：只用 reshape，切开的是文本，不是向量。",
            },
            {
                "en": "First (B, T, H, d_k), which cuts each vector, then transpose to (B, H, T, d_k).",
                "zh": "先变成 (B, T, H, d_k)，切开每个向量，再转置成 (B, H, T, d_k)。",
            },
            "https://github.com/649453932/Chinese-Text-Classification-Pytorch/issues/53",
        ),
        Misconception(
            "merged without transpose",
            _heads(merge=_view_merge),
            {"en": "The merge mixes positions and heads.", "zh": "合并时把位置和头混在了一起。"},
            {
                "en": "Transpose back to (B, T, H, d_k) before joining the last two axes.",
                "zh": "先转置回 (B, T, H, d_k)，再合并最后两个轴。",
            },
            "https://github.com/jsbaan/transformer-from-scratch/pull/6",
        ),
        Misconception(
            "mask on the head axis",
            _heads(spread=lambda mask: mask),
            {
                "en": "The mask of text b is used for head b of every text.",
                "zh": "第 b 段文本的掩码，被用在了每段文本的第 b 个头上。",
            },
            {
                "en": "(B, T, S) needs an axis for the heads: mask[:, None].",
                "zh": "(B, T, S) 要加一个头的轴：mask[:, None]。",
            },
            "https://github.com/lsdefine/attention-is-all-you-need-keras/issues/36",
        ),
        Misconception(
            "scaled by d_model",
            _heads(scale=lambda x: x.shape[-1] ** -0.5),
            {
                "en": "The scores are scaled by d_model, not by the width of a head.",
                "zh": "缩放用的是 d_model，而不是每个头的维度 d_k。",
            },
            {"en": "d_k is the last size of query after the split.", "zh": "d_k 是拆分之后 query 的最后一维。"},
            "https://github.com/aladdinpersson/Machine-Learning-Collection/issues/65",
        ),
        Misconception(
            "every other number",
            _heads(split=lambda x, heads: x.unflatten(-1, (-1, heads)).movedim(-1, 1)),
            {
                "en": "Head 0 gets every H-th number of a vector, not its first d_k numbers.",
                "zh": "第 0 个头拿到的是向量里每隔 H 个的数，而不是前 d_k 个。",
            },
            {"en": "(H, d_k), not (d_k, H): which comes first?", "zh": "是 (H, d_k) 还是 (d_k, H)？哪个在前？"},
            READER,
        ),
        Misconception(
            "mask inverted",
            _heads(spread=lambda mask: ~mask[:, None]),
            {"en": "The mask is read the wrong way round.", "zh": "掩码用反了。"},
            {"en": "True means may attend.", "zh": "True 表示可以看。"},
            "https://github.com/rasbt/LLMs-from-scratch/issues/1061",
        ),
    ),
)

EXERCISES = (HAND, IMPLEMENT, DEBUG, passes.MEASURE, *positions.EXERCISES, *passes.EXERCISES)
