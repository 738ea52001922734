"""Exercises in which LoRA is written and merged: the forward pass, several adapters in one weight."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..inputs import draw
from ..registry import Case, Exercise, Misconception

# -- 2. the forward pass ----------------------------------------------------------------------------------------------


def _lora(scale: Callable[[float, int], float]) -> Callable:
    """LoRA beside a linear map, with a scale that depends on alpha and rank."""

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, alpha: float | int) -> Tensor:
        return F.linear(x, weight, bias) + scale(alpha, len(a)) * (x @ a.T @ b.T)

    return linear


def _all_scaled(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, alpha: float | int) -> Tensor:
    return alpha / len(a) * (F.linear(x, weight, bias) + x @ a.T @ b.T)


def _after(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, alpha: float | int) -> Tensor:
    """The correction reads the map's result; this runs where a map has as many outputs as inputs."""
    y = F.linear(x, weight, bias)
    return y + alpha / len(a) * (y @ a.T @ b.T)


def _without_bias(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, alpha: float | int) -> Tensor:
    return x @ (weight + alpha / len(a) * b @ a).T


def _hand_lora() -> tuple:
    """The map gives 3.5, 0, 0; the correction 3, 2, 1 before its scale of 6 / 2."""
    rows = (
        [[1.0, 0.0, 2.0]],
        [[1.0, 0.0, 1.0], [0.0, 2.0, 0.0], [1.0, 0.0, 0.0]],
        [0.5, 0.0, -1.0],
        [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]],
        [[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]],
    )
    return (*(torch.tensor(row, dtype=torch.float64) for row in rows), 6)


def _beside(shape: tuple[int, ...], outputs: int, rank: int, alpha: float | int, seed: int) -> list:
    """Inputs of a shape, a map from the last axis, and a correction of this rank."""
    inputs = shape[-1]
    a, b = draw(rank, inputs, seed=seed + 3), draw(outputs, rank, seed=seed + 4)
    return [
        draw(*shape, seed=seed),
        draw(outputs, inputs, seed=seed + 1),
        draw(outputs, seed=seed + 2),
        *(a, b, alpha),
    ]


def _no_bias() -> tuple:
    x, weight, _, a, b, alpha = _beside((3, 4), 6, 2, 8, 30)
    return x, weight, None, a, b, alpha


def _nothing_learned() -> tuple:
    x, weight, bias, a, b, alpha = _beside((3, 4), 6, 2, 8, 40)
    return x, weight, bias, a, torch.zeros_like(b), alpha


LORA = Exercise(
    name="lora",
    points=3,
    reference=_lora(lambda alpha, rank: alpha / rank),
    cases=(
        Case("hand", {"en": "Three inputs, rank 2, by hand", "zh": "手算的例子（三个输入，秩为 2）"}, _hand_lora),
        Case(
            "general",
            {"en": "A batch, as many outputs as inputs", "zh": "一批输入、输出与输入一样宽时"},
            lambda: tuple(_beside((2, 3, 5), 5, 3, 16, 10)),
        ),
        Case(
            "general",
            {"en": "More outputs than inputs", "zh": "输出比输入宽时"},
            lambda: tuple(_beside((2, 4), 7, 3, 2, 20)),
        ),
        Case("edge", {"en": "A map without bias (None)", "zh": "没有偏置（None）时"}, _no_bias),
        Case("edge", {"en": "B is zero, nothing has been learned", "zh": "B 全为零、还没学到东西时"}, _nothing_learned),
    ),
    misconceptions=(
        Misconception(
            "no scale",
            _lora(lambda alpha, rank: 1.0),
            {"en": "The correction is added without its scale.", "zh": "修正没有乘缩放系数就加上去了。"},
            {"en": "What are alpha and the rank there for?", "zh": "alpha 和秩是用来做什么的？"},
            "https://ttsugriy.github.io/llm-first-principles/stages/stage-09/common-mistakes",
        ),
        Misconception(
            "alpha alone",
            _lora(lambda alpha, rank: alpha),
            {
                "en": "The correction is multiplied by alpha and not divided by the rank.",
                "zh": "修正乘了 alpha，却没有除以秩。",
            },
            {
                "en": "Twice the rank adds up twice as many terms; the scale makes up for that.",
                "zh": "秩大一倍，求和的项数也多一倍，缩放系数要把它抵消掉。",
            },
            "https://github.com/rasbt/LLMs-from-scratch/issues/821",
        ),
        Misconception(
            "root of the rank",
            _lora(lambda alpha, rank: alpha / math.sqrt(rank)),
            {
                "en": "It is divided by the root of the rank: that is rsLoRA, another method.",
                "zh": "除以的是秩的平方根：那是另一种方法 rsLoRA。",
            },
            {"en": "Here the scale is alpha / R.", "zh": "这里的缩放系数是 alpha / R。"},
            "https://github.com/huggingface/peft/pull/3449",
        ),
        Misconception(
            "divided twice",
            _lora(lambda alpha, rank: alpha / rank**2),
            {"en": "It is divided by the rank twice.", "zh": "除以了两次秩。"},
            {"en": "Where do you divide? Once is enough.", "zh": "看看哪些地方做了除法，除一次就够了。"},
            "https://github.com/Guitaricet/my_pefty_llama/issues/2",
        ),
        Misconception(
            "everything scaled",
            _all_scaled,
            {
                "en": "The frozen map's own result is scaled too.",
                "zh": "被冻结的线性映射自己的结果也被缩放了。",
            },
            {
                "en": "With B = 0 the result must be the old one. Is it?",
                "zh": "B = 0 时，结果应当和原来一样。现在一样吗？",
            },
            "https://github.com/KohakuBlueleaf/LyCORIS/pull/26",
        ),
        Misconception(
            "after the map",
            _after,
            {
                "en": "The correction reads the map's result instead of its input.",
                "zh": "修正读的是线性映射的结果，而不是它的输入。",
            },
            {
                "en": "It stands beside the map: both read x.",
                "zh": "修正与线性映射并排，两者读的都是 x。",
            },
            "https://github.com/Xiaojiu-z/EasyControl/issues/82",
        ),
        Misconception(
            "bias forgotten",
            _without_bias,
            {"en": "The bias is missing.", "zh": "漏了偏置。"},
            {"en": "The old map is W x + b, whole.", "zh": "原来的映射是完整的 W x + b。"},
            "https://github.com/ooples/AiDotNet/pull/256",
        ),
    ),
)

# -- 3. several adapters in one weight --------------------------------------------------------------------------------


def _merging(shares: Callable[[list], list[float]]) -> Callable:
    """The weight with the adapters' products, each times a number that follows from all adapters."""

    def merge(weight: Tensor, adapters: list) -> Tensor:
        scaled = zip(shares(adapters), adapters, strict=True)
        return (weight + sum(number * b @ a for number, (a, b, _, _) in scaled)).to(weight.dtype)

    return merge


def _each(scale: Callable[[Tensor, float, float], float]) -> Callable:
    """Each adapter's number follows from itself alone."""
    return _merging(lambda adapters: [scale(a, alpha, share) for a, _, alpha, share in adapters])


_merge = _each(lambda a, alpha, share: share * alpha / len(a))


def _apart(weight_b: Callable[[float], float]) -> Callable:
    """Mixes the A and the B, and multiplies afterwards; this runs where the ranks are equal."""

    def merge(weight: Tensor, adapters: list) -> Tensor:
        if not adapters:
            return weight
        a = sum(share * alpha / len(a) * a for a, _, alpha, share in adapters)
        b = sum(weight_b(share) * b for _, b, _, share in adapters)
        return (weight + b @ a).to(weight.dtype)

    return merge


def _transposed(weight: Tensor, adapters: list) -> Tensor:
    """This runs where a map has as many outputs as inputs."""
    return (weight + sum(share * alpha / len(a) * a.T @ b.T for a, b, alpha, share in adapters)).to(weight.dtype)


def _first_only(weight: Tensor, adapters: list) -> Tensor:
    return _merge(weight, adapters[:1])


def _rounded_each_time(weight: Tensor, adapters: list) -> Tensor:
    for adapter in adapters:
        weight = _merge(weight, [adapter])
    return weight


def _not_rounded(weight: Tensor, adapters: list) -> Tensor:
    return weight + sum(share * alpha / len(a) * b @ a for a, b, alpha, share in adapters)


def _adapter(outputs: int, inputs: int, rank: int, alpha: float | int, share: float | int, seed: int) -> list:
    return [draw(rank, inputs, seed=seed), draw(outputs, rank, seed=seed + 1), alpha, share]


def _hand_merge() -> tuple:
    """B A is 1, 2, 3, 7, and counts one and a half times: 6 / 2 by its scale, half of that by its share."""
    a = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, 0.0], [3.0, 1.0]], dtype=torch.float64)
    return torch.eye(2, dtype=torch.float64), [[a, b, 6, 0.5]]


def _equal_ranks() -> tuple:
    return draw(5, 5, seed=1), [_adapter(5, 5, 2, 4, 0.7, 2), _adapter(5, 5, 2, 6, 0.4, 4)]


def _different_ranks() -> tuple:
    adapters = [_adapter(4, 6, 1, 2, 1.0, 11), _adapter(4, 6, 3, 6, -0.5, 13), _adapter(4, 6, 2, 1, 0.25, 15)]
    return draw(4, 6, seed=10), adapters


def _half_precision() -> tuple:
    """Each of four corrections is a quarter of what bfloat16 can still tell from 1; together they count."""
    small = [[torch.ones(1, 3), torch.full((2, 1), 2.0**-9), 1, 1.0] for _ in range(4)]
    return torch.ones(2, 3, dtype=torch.bfloat16), small


MERGE = Exercise(
    name="merge",
    points=3,
    reference=_merge,
    cases=(
        Case("hand", {"en": "One adapter, by hand", "zh": "手算的例子（一个适配器）"}, _hand_merge),
        Case("general", {"en": "Two adapters of rank 2", "zh": "两个秩为 2 的适配器"}, _equal_ranks),
        Case("general", {"en": "Three adapters of different ranks", "zh": "三个秩不同的适配器"}, _different_ranks),
        Case("edge", {"en": "No adapter at all", "zh": "一个适配器也没有"}, lambda: (draw(3, 4, seed=20), [])),
        Case(
            "edge",
            {"en": "A bfloat16 weight and four small corrections", "zh": "bfloat16 的权重、四个很小的修正"},
            _half_precision,
        ),
    ),
    misconceptions=(
        Misconception(
            "no scale",
            _each(lambda a, alpha, share: share),
            {"en": "alpha / R is missing.", "zh": "漏了 alpha / R。"},
            {
                "en": "In training each adapter stood beside the map with its scale; without it, it is another one.",
                "zh": "训练时，每个适配器都带着自己的缩放系数；去掉它，就成了另一个适配器。",
            },
            "https://github.com/hao-ai-lab/FastVideo/pull/870",
        ),
        Misconception(
            "alpha alone",
            _each(lambda a, alpha, share: share * alpha),
            {"en": "It is not divided by the rank.", "zh": "没有除以秩。"},
            {"en": "Which axis of A tells the rank?", "zh": "A 的哪个轴的长度是秩？"},
            "https://github.com/Blaizzy/mlx-vlm/issues/841",
        ),
        Misconception(
            "scale twice",
            _each(lambda a, alpha, share: share * (alpha / len(a)) ** 2),
            {"en": "alpha / R is applied twice.", "zh": "alpha / R 乘了两次。"},
            {
                "en": "Once for the product B A, not for A and for B.",
                "zh": "对乘积 B A 乘一次，不是 A 和 B 各乘一次。",
            },
            "https://github.com/huggingface/peft/pull/3111",
        ),
        Misconception(
            "share twice",
            _each(lambda a, alpha, share: share**2 * alpha / len(a)),
            {"en": "The share is applied twice: half becomes a quarter.", "zh": "份额乘了两次：一半变成了四分之一。"},
            {
                "en": "Multiply the product B A by it, not both matrices.",
                "zh": "应当乘在乘积 B A 上，而不是两个矩阵都乘。",
            },
            "https://github.com/kohya-ss/sd-scripts/issues/868",
        ),
        Misconception(
            "A and B apart",
            _apart(lambda share: share),
            {
                "en": "The A are mixed, the B are mixed, and only then they are multiplied.",
                "zh": "你先把各个 A 混在一起，又把各个 B 混在一起，最后才相乘。",
            },
            {
                "en": "(B1 + B2)(A1 + A2) has four terms. Which two are wanted?",
                "zh": "(B1 + B2)(A1 + A2) 展开有四项，要的是哪两项？",
            },
            "https://github.com/onnxsim/onnxsim/pull/1326",
        ),
        Misconception(
            "A mixed, B added",
            _apart(lambda share: 1.0),
            {
                "en": "The weighted A are added, the B are added, and then they are multiplied.",
                "zh": "你把加权的 A 相加、B 也相加，然后才相乘。",
            },
            {
                "en": "Every B then meets every A. Multiply first, add afterwards.",
                "zh": "这样每个 B 都会碰上每个 A。应当先乘，后加。",
            },
            "https://github.com/huggingface/peft/pull/3013",
        ),
        Misconception(
            "the first one's scale",
            _merging(lambda adapters: [share * adapters[0][2] / len(adapters[0][0]) for _, _, _, share in adapters]),
            {"en": "All adapters get the first one's alpha / R.", "zh": "所有适配器用的都是第一个的 alpha / R。"},
            {"en": "Each has its own alpha and rank.", "zh": "每个适配器都有自己的 alpha 和秩。"},
            "https://github.com/huggingface/diffusers/pull/14409",
        ),
        Misconception(
            "only the first",
            _first_only,
            {"en": "Only the first adapter has an effect.", "zh": "只有第一个适配器起了作用。"},
            {"en": "Does the loop end too early?", "zh": "循环是不是结束得太早了？"},
            "https://github.com/cheald/sd-webui-loractl/issues/18",
        ),
        Misconception(
            "shares normalised",
            _merging(
                lambda adapters: [
                    share / sum(other[3] for other in adapters) * alpha / len(a) for a, _, alpha, share in adapters
                ]
            ),
            {
                "en": "The shares are made to add up to one.",
                "zh": "份额被归一化了：加起来等于一。",
            },
            {
                "en": "A share of 0.5 means half of that adapter, whatever the others have.",
                "zh": "份额 0.5 就是这个适配器的一半，与别的适配器无关。",
            },
            "https://github.com/arcee-ai/mergekit/pull/682",
        ),
        Misconception(
            "transposed",
            _transposed,
            {"en": "The correction is transposed.", "zh": "修正被转置了。"},
            {
                "en": "The weight is (outputs, inputs). What are the shapes of B A and of its transpose?",
                "zh": "权重的形状是 (输出, 输入)。B A 和它的转置各是什么形状？",
            },
            "https://github.com/paiml/aprender/pull/2138",
        ),
        Misconception(
            "rounded at each step",
            _rounded_each_time,
            {
                "en": "The weight is rounded to its type after each adapter, and small corrections are lost.",
                "zh": "每加一个适配器，就按权重的类型舍入一次，小的修正都丢了。",
            },
            {
                "en": "Add up the corrections in their own precision, and round once at the end.",
                "zh": "先用修正自己的精度加起来，最后只舍入一次。",
            },
            "https://github.com/huggingface/peft/issues/1388",
        ),
        Misconception(
            "not rounded back",
            _not_rounded,
            {
                "en": "The result has another type than the weight: the merged model would be twice as large.",
                "zh": "结果的类型与权重不同：合并后的模型会大一倍。",
            },
            {"en": "`.to(weight.dtype)` at the end.", "zh": "最后要 `.to(weight.dtype)`。"},
            "https://github.com/axolotl-ai-cloud/axolotl/issues/1510",
        ),
    ),
)
