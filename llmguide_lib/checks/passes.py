"""Chapter 03, exercises 4, 7 and 8: what the scale does to the weights, what attention costs, and its backward pass."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..attention import attention, causal_mask
from .inputs import draw
from .registry import Case, Exercise, Misconception, entry

READER = "a reader of this chapter, November 2026"

# -- 4. measure -------------------------------------------------------------------------------------------------------


def _largest(d_k: int, scaled: bool) -> float:
    """Mean of the largest of 128 weights, over 500 queries."""
    scores = (draw(500, 1, d_k, seed=1) @ draw(500, 128, d_k, seed=2).mT).squeeze(1)
    return (scores / math.sqrt(d_k) if scaled else scores).softmax(-1).amax(-1).mean().item()


def _measured() -> list[float]:
    return [0.5, _largest(64, scaled=False), _largest(64, scaled=True)]


MEASURE = Exercise(
    name="measure",
    points=2,
    reference=_measured(),
    ask=entry,
    tolerance=0.04,
    cases=(
        Case("exponent", {"en": "The exponent a", "zh": "指数 a"}, lambda: (0,)),
        Case(
            "raw",
            {"en": "Each query's largest weight, averaged, without the scale", "zh": "不缩放时，各查询最大权重的平均"},
            lambda: (1,),
        ),
        Case(
            "scaled",
            {"en": "Each query's largest weight, averaged, with the scale", "zh": "缩放之后，各查询最大权重的平均"},
            lambda: (2,),
        ),
    ),
    misconceptions=(
        Misconception(
            "variance for spread",
            [1.0, *_measured()[1:]],
            {
                "en": "This is the exponent of the variance, not of the standard deviation.",
                "zh": "这是方差的指数，不是标准差的指数。",
            },
            {"en": "The standard deviation is the square root of the variance.", "zh": "标准差是方差的平方根。"},
            "https://github.com/charliezchen/scaling-matrix-preconditioning/issues/2",
        ),
        Misconception(
            "scaled and unscaled exchanged",
            [0.5, *_measured()[:0:-1]],
            {"en": "The results with and without the scale are exchanged.", "zh": "缩放与不缩放的两个结果写反了。"},
            {
                "en": "Large scores make softmax pick one key. Which scores are larger?",
                "zh": "分数越大，softmax 越倾向于只选一个键。哪一种分数更大？",
            },
            "https://github.com/omihub777/ViT-CIFAR/pull/12",
        ),
    ),
)

# -- 7. what it costs, by hand ----------------------------------------------------------------------------------------

COST = Exercise(
    name="cost",
    points=1,
    reference=[1.0, 4.0, 8192.0],
    ask=entry,
    tolerance=1e-3,
    cases=(
        Case("cache", {"en": "The cache, in GiB", "zh": "缓存的大小（GiB）"}, lambda: (0,)),
        Case("weights", {"en": "The weights of one layer, in GiB", "zh": "一层的权重（GiB）"}, lambda: (1,)),
        Case("length", {"en": "The length at which both are equal", "zh": "两者相等时的长度"}, lambda: (2,)),
    ),
    misconceptions=(
        Misconception(
            "cache for every head",
            [4.0, 4.0, 8192.0],
            {
                "en": "This is the cache with keys and values for all 32 heads.",
                "zh": "这是 32 个头都有自己的键和值时的缓存。",
            },
            {"en": "Only 8 heads have keys and values.", "zh": "只有 8 个头有键和值。"},
            "https://github.com/hahnyuan/LLM-Viewer/issues/12",
        ),
        Misconception(
            "gigabytes instead of GiB",
            [1.0737, 4.295, 8192.0],
            {"en": "These are GB, of 10^9 bytes.", "zh": "这是以 10^9 字节为单位的 GB。"},
            {"en": "One GiB is 2^30 bytes.", "zh": "1 GiB 是 2^30 字节。"},
            READER,
        ),
        Misconception(
            "bytes",
            [2.0**30, 2.0**32, 8192.0],
            {"en": "These are bytes, not GiB.", "zh": "这是字节数，不是 GiB。"},
            {"en": "Divide by 2^30.", "zh": "再除以 2^30。"},
            READER,
        ),
        Misconception(
            "four bytes a number",
            [2.0, 8.0, 8192.0],
            {"en": "Four bytes are counted for each number.", "zh": "每个数按 4 字节算了。"},
            {"en": "Numbers of this model take 2 bytes each.", "zh": "这个模型的每个数占 2 字节。"},
            READER,
        ),
        Misconception(
            "keys without values",
            [0.5, 4.0, 8192.0],
            {"en": "Half of it is missing.", "zh": "少了一半。"},
            {
                "en": "Are keys and values both counted, with two bytes each?",
                "zh": "键和值都算了吗？每个数两个字节算了吗？",
            },
            READER,
        ),
        Misconception(
            "cache of one layer",
            [1 / 32, 4.0, 8192.0],
            {"en": "This is the cache of one layer.", "zh": "这是一层的缓存。"},
            {"en": "Each of the 32 layers has keys and values of its own.", "zh": "32 层各有自己的键和值。"},
            READER,
        ),
        Misconception(
            "width times heads",
            [32.0, 4.0, 8192.0],
            {
                "en": "Each key-value head is counted with the width of the whole model.",
                "zh": "每个键值头都按整个模型的宽度算了。",
            },
            {"en": "A head has 4096 / 32 = 128 numbers.", "zh": "每个头只有 4096 / 32 = 128 个数。"},
            "https://github.com/jranaraki/vllm-fit/issues/14",
        ),
        Misconception(
            "weights of one head",
            [1.0, 0.125, 8192.0],
            {"en": "This is the weight matrix of one head.", "zh": "这是一个头的权重矩阵。"},
            {
                "en": "Each of the 32 query heads has its own weights, groups or not.",
                "zh": "不管分不分组，32 个查询头各有自己的权重。",
            },
            READER,
        ),
        Misconception(
            "weights of the groups",
            [1.0, 1.0, 8192.0],
            {"en": "Weights are counted for 8 heads.", "zh": "权重只算了 8 个头。"},
            {"en": "Groups share keys and values, not weights.", "zh": "分组共用的是键和值，权重不共用。"},
            READER,
        ),
        Misconception(
            "scores or mixture only",
            [1.0, 4.0, 16384.0],
            {
                "en": "Of the two products, scores and mixture, only one is counted.",
                "zh": "算分数、取加权平均，两个乘积只算了一个。",
            },
            {"en": "QKᵀ costs T²D and the weights times V another T²D.", "zh": "QKᵀ 要 T²D 次，权重乘 V 又要 T²D 次。"},
            READER,
        ),
        Misconception(
            "one projection",
            [1.0, 4.0, 2048.0],
            {"en": "Of the four projections only one is counted.", "zh": "四个投影只算了一个。"},
            {"en": "Queries, keys, values, output: 4TD² in all.", "zh": "查询、键、值、输出：一共 4TD²。"},
            READER,
        ),
    ),
)

# -- 8. implement: backward -------------------------------------------------------------------------------------------


def _softmax_step(weights: Tensor, moved: Tensor) -> Tensor:
    return weights * (moved - (weights * moved).sum(dim=-1, keepdim=True))


def _backward(weights: Tensor, value: Tensor, grad: Tensor) -> Tensor:
    return _softmax_step(weights, grad @ value.mT)


def _arrived(change: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Backward passes whose step through softmax is another function of weights and arriving gradient."""
    return lambda weights, value, grad: change(weights, grad @ value.mT)


def _passed(queries: tuple[int, ...], keys: tuple[int, ...], seed: int, mask: Tensor | None = None) -> tuple:
    """Weights, values and arriving gradient for queries and keys of these numbers, after axes of texts and heads."""
    query, key = draw(*queries, 4, seed=seed), draw(*keys, 4, seed=seed + 1)
    return attention(3 * query, key, key, mask)[1], draw(*keys, 3, seed=seed + 2), draw(*queries, 3, seed=seed + 3)


def _saturated(seed: int) -> tuple:
    _, value, grad = _passed((2,), (6,), seed)
    return (1000 * draw(2, 6, seed=seed)).softmax(dim=-1), value, grad


def _small_numbers() -> tuple:
    weights = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    value = torch.tensor([[4.0], [0.0], [8.0]], dtype=torch.float64)
    return weights, value, torch.tensor([[1.0]], dtype=torch.float64)


BACKWARD = Exercise(
    name="backward",
    points=2,
    reference=_backward,
    forbidden=("torch.autograd.grad", "torch.autograd.backward", "torch.autograd.functional.jacobian"),
    cases=(
        Case("hand", {"en": "Three keys, by hand", "zh": "三个键，手算"}, _small_numbers),
        Case("general", {"en": "Four queries, five keys", "zh": "四个查询、五个键时"}, lambda: _passed((4,), (5,), 1)),
        Case(
            "general",
            {"en": "Texts and heads, with a causal mask", "zh": "多段文本、多个头、有因果掩码时"},
            lambda: _passed((2, 2, 3), (2, 2, 3), 5, causal_mask(3)),
        ),
        Case(
            "edge",
            {"en": "With weights near one and zero", "zh": "权重接近 1 和 0 时"},
            lambda: _saturated(9),
        ),
    ),
    misconceptions=(
        Misconception(
            "stopped at the weights",
            _arrived(lambda weights, moved: moved),
            {
                "en": "This is the gradient of the weights, before softmax.",
                "zh": "这是损失对权重的梯度，还没有经过 softmax。",
            },
            {"en": "How do the weights move when a score moves?", "zh": "分数动一动，权重会怎样变？"},
            READER,
        ),
        Misconception(
            "diagonal only",
            _arrived(lambda weights, moved: weights * (1 - weights) * moved),
            {
                "en": "Only w(1 - w) is used: a score also moves the weights of the other keys.",
                "zh": "只用了 w(1 - w)：改动一个分数，其他键的权重也会变。",
            },
            {
                "en": "Off the diagonal the Jacobian is -w_i w_j. Sum over all i.",
                "zh": "对角线以外，雅可比矩阵的元素是 -w_i w_j。对所有的 i 求和。",
            },
            "https://github.com/deeplearning4j/libnd4j/issues/440",
        ),
        Misconception(
            "no mean taken off",
            _arrived(lambda weights, moved: weights * moved),
            {"en": "The weighted mean is not taken off.", "zh": "没有减去加权平均。"},
            {
                "en": "Raising all scores alike changes nothing, so each row of the result adds up to zero.",
                "zh": "所有分数一起升高，结果不变，所以每一行加起来应当是零。",
            },
            "https://github.com/HomericIntelligence/Odyssey/issues/2134",
        ),
        Misconception(
            "plain mean taken off",
            _arrived(lambda weights, moved: weights * (moved - moved.mean(dim=-1, keepdim=True))),
            {"en": "The plain mean is taken off, not the weighted one.", "zh": "减去的是普通平均，不是加权平均。"},
            {"en": "Weigh each entry by its w before adding up.", "zh": "求和之前，每一项先乘上自己的 w。"},
            READER,
        ),
        Misconception(
            "summed over the queries",
            _arrived(lambda weights, moved: weights * (moved - (weights * moved).sum(dim=-2, keepdim=True))),
            {"en": "The mean runs over the queries.", "zh": "平均是对查询求的。"},
            {"en": "Each query has a softmax of its own: dim=-1.", "zh": "每个查询各有自己的 softmax：dim=-1。"},
            READER,
        ),
        Misconception(
            "the other sign",
            _arrived(lambda weights, moved: -_softmax_step(weights, moved)),
            {"en": "The sign is wrong.", "zh": "符号反了。"},
            {
                "en": "Where more weight on a key would raise the loss, the gradient of its score is positive.",
                "zh": "如果多看某个键会让损失变大，它的分数的梯度就应当是正的。",
            },
            "https://github.com/mantasu/cs231n/issues/10",
        ),
    ),
)


EXERCISES = (COST, BACKWARD)
