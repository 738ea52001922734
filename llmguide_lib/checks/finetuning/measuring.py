"""Exercises with numbers: what LoRA costs, how low the rank of an update is, whether one method is better."""

import itertools
import math
import statistics

import torch
from torch import Tensor

from ..inputs import draw
from ..registry import Case, Exercise, Misconception, entry

# -- 1. what it costs, by hand ----------------------------------------------------------------------------------------

ALL = 10_000_000  # numbers of the model


def _trained(v_outputs: int = 128) -> int:
    """Numbers of A and B: rank 16, four blocks, two maps with 512 inputs each."""
    return 4 * 16 * ((512 + 512) + (512 + v_outputs))


LORA_NUMBERS = float(_trained())
FULL_MB, LORA_MB, FILE_MB = 16 * ALL / 1e6, (4 * ALL + 16 * LORA_NUMBERS) / 1e6, 4 * LORA_NUMBERS / 1e6

COST = Exercise(
    name="cost",
    points=2,
    reference=[LORA_NUMBERS, FULL_MB, LORA_MB, FILE_MB],
    ask=entry,
    tolerance=5e-3,
    cases=(
        Case("numbers", {"en": "The numbers that LoRA trains", "zh": "LoRA 要训练的参数个数"}, lambda: (0,)),
        Case("full", {"en": "The memory of full finetuning", "zh": "全量微调的内存"}, lambda: (1,)),
        Case("lora", {"en": "The memory of LoRA", "zh": "LoRA 的内存"}, lambda: (2,)),
        Case("file", {"en": "The file", "zh": "文件的大小"}, lambda: (3,)),
    ),
    misconceptions=(
        Misconception(
            "v_proj as wide as q_proj",
            [
                float(_trained(512)),
                FULL_MB,
                (4 * ALL + 16 * _trained(512)) / 1e6,
                4 * _trained(512) / 1e6,
            ],
            {"en": "You gave v_proj as many outputs as q_proj.", "zh": "把 v_proj 的输出算得和 q_proj 一样宽了。"},
            {
                "en": "B of v_proj is 128 × 16: the heads share their values.",
                "zh": "v_proj 的 B 是 128 × 16：几个头共用同一份值。",
            },
            "https://github.com/vllm-project/vllm/pull/36603",
        ),
        Misconception(
            "three numbers for each",
            [LORA_NUMBERS, 12 * ALL / 1e6, (4 * ALL + 12 * LORA_NUMBERS) / 1e6, FILE_MB],
            {
                "en": "These are 12 bytes, three numbers, for each number that is trained; it takes four.",
                "zh": "每个要训练的参数只算了 12 字节，也就是三个数；实际要四个。",
            },
            {
                "en": "The number itself, its gradient, and two of Adam's.",
                "zh": "参数本身、它的梯度，再加上 Adam 的两个数。",
            },
            "https://github.com/AI-Hypercomputer/maxtext/issues/606",
        ),
        Misconception(
            "LoRA saves nothing",
            [LORA_NUMBERS, FULL_MB, 16 * (ALL + LORA_NUMBERS) / 1e6, FILE_MB],
            {
                "en": "You gave the frozen numbers a gradient and Adam's two as well.",
                "zh": "给冻结的参数也算了梯度和 Adam 的两个数。",
            },
            {"en": "What never changes needs none of the three.", "zh": "不变的参数，这三样都不需要。"},
            "https://github.com/huggingface/sentence-transformers/issues/3274",
        ),
        Misconception(
            "frozen weights forgotten",
            [LORA_NUMBERS, FULL_MB, 16 * LORA_NUMBERS / 1e6, FILE_MB],
            {
                "en": "The ten million frozen numbers are missing: they must be there to compute with.",
                "zh": "漏了一千万个冻结的参数：它们不训练，但计算时也得在内存里。",
            },
            {"en": "Add 4 bytes for each of them.", "zh": "它们每个还要 4 字节。"},
            "https://github.com/QwenLM/Qwen/issues/761",
        ),
        Misconception(
            "the whole model stored",
            [LORA_NUMBERS, FULL_MB, LORA_MB, 4 * (ALL + LORA_NUMBERS) / 1e6],
            {"en": "This file holds the whole model.", "zh": "这个文件里存了整个模型。"},
            {
                "en": "Everybody has the pretrained weights already. What is new?",
                "zh": "预训练权重大家都有了，新的是什么？",
            },
            "https://github.com/OptimalScale/LMFlow/issues/232",
        ),
        Misconception(
            "Adam's state stored",
            [LORA_NUMBERS, FULL_MB, LORA_MB, 12 * LORA_NUMBERS / 1e6],
            {"en": "This file holds Adam's numbers too.", "zh": "这个文件里还存了 Adam 的数。"},
            {
                "en": "They are needed to go on training, not to use the adapter.",
                "zh": "那是接着训练才需要的，使用适配器并不需要。",
            },
            "https://github.com/tensorflow/tensorflow/issues/16767",
        ),
    ),
)

# -- 5. measure: the rank of an update --------------------------------------------------------------------------------

WIDTH, LABELLED = 24, 60


def _finetuned() -> tuple[Tensor, Tensor, Tensor]:
    """A pretrained map, the one that the new task asks for (a change of rank 2), and the finetuned one."""
    before = draw(WIDTH, WIDTH, seed=1) / math.sqrt(WIDTH)
    right = before + 2 * draw(WIDTH, 2, seed=2) @ draw(2, WIDTH, seed=3) / WIDTH
    x = draw(LABELLED, WIDTH, seed=4)
    y = x @ right.T + 0.5 * draw(LABELLED, WIDTH, seed=5)
    after = before.clone()
    for _ in range(200):
        after -= 0.3 * (x @ after.T - y).T @ x / LABELLED
    return before, right, after


def _error(weight: Tensor, right: Tensor) -> float:
    new = draw(1000, WIDTH, seed=6)
    return (new @ (weight - right).T).square().mean().item()


def _share(matrix: Tensor, power: int = 2) -> float:
    sizes = torch.linalg.svdvals(matrix) ** power
    return (sizes[:2].sum() / sizes.sum()).item()


def _nearest(matrix: Tensor) -> Tensor:
    """The nearest matrix of rank 2."""
    u, s, vh = torch.linalg.svd(matrix)
    return (u[:, :2] * s[:2]) @ vh[:2]


def _vh_for_v(matrix: Tensor) -> Tensor:
    u, s, vh = torch.linalg.svd(matrix)
    return (u[:, :2] * s[:2]) @ vh.T[:2]


def _measured() -> list[float]:
    before, right, after = _finetuned()
    update = after - before
    return [_share(update), _share(before), _error(after, right), _error(before + _nearest(update), right)]


def _changed(place: int, value: float) -> list[float]:
    return [*_measured()[:place], value, *_measured()[place + 1 :]]


def _unsquared() -> list[float]:
    before, _, after = _finetuned()
    return [_share(after - before, 1), _share(before, 1), *_measured()[2:]]


def _whole_matrix() -> list[float]:
    """Everything that is asked of the update, asked of the finetuned matrix instead."""
    before, right, after = _finetuned()
    return [_share(after), _share(before), _error(after, right), _error(_nearest(after), right)]


def _wrong_directions() -> float:
    before, right, after = _finetuned()
    return _error(before + _vh_for_v(after - before), right)


RANK = Exercise(
    name="rank",
    points=2,
    reference=_measured(),
    ask=entry,
    tolerance=5e-3,
    cases=(
        Case("update", {"en": "The share of the update", "zh": "更新量的占比"}, lambda: (0,)),
        Case("before", {"en": "The share of the pretrained matrix", "zh": "预训练矩阵的占比"}, lambda: (1,)),
        Case("full", {"en": "The error of full finetuning", "zh": "全量微调的误差"}, lambda: (2,)),
        Case("low", {"en": "The error with rank 2", "zh": "只留秩 2 时的误差"}, lambda: (3,)),
    ),
    misconceptions=(
        Misconception(
            "not squared",
            _unsquared(),
            {"en": "These are shares of the singular values themselves.", "zh": "这是奇异值本身的占比，没有平方。"},
            {
                "en": "The squares add up to the sum of the squared entries; so take shares of squares.",
                "zh": "奇异值的平方加起来，才等于矩阵各元素的平方和，所以要用平方来算占比。",
            },
            "https://github.com/PyDMD/PyDMD/issues/88",
        ),
        Misconception(
            "the finetuned matrix",
            _whole_matrix(),
            {
                "en": "You looked at the finetuned matrix, not at what finetuning added to it.",
                "zh": "看的是微调之后的矩阵，而不是微调带来的更新量。",
            },
            {
                "en": "Low rank is claimed of after - before only.",
                "zh": "低秩说的只是 after - before。",
            },
            "https://github.com/r-three/git-theta/issues/158",
        ),
        Misconception(
            "Vh transposed",
            _changed(3, _wrong_directions()),
            {"en": "The third result of svd is transposed once too often.", "zh": "svd 的第三个结果多转置了一次。"},
            {
                "en": "torch.linalg.svd returns V transposed already: its first rows are wanted.",
                "zh": "torch.linalg.svd 返回的已经是 V 的转置：要的是它的前几行。",
            },
            "https://github.com/pytorch/pytorch/issues/55006",
        ),
    ),
)

# -- 6. is it better? -------------------------------------------------------------------------------------------------

A = [33.0, 25.0, 37.5, 31.0, 22.0, 36.0, 28.5, 31.0]
B = [31.0, 24.5, 36.5, 28.0, 22.5, 33.5, 27.0, 30.0]
DIFFERENCES = [a - b for a, b in zip(A, B, strict=True)]
MEAN, DRAWS = statistics.mean(DIFFERENCES), len(DIFFERENCES)
T_PAIRED, T_TWO_GROUPS = 2.365, 2.145


def _paired(
    bound: float = T_PAIRED, spread: float = statistics.stdev(DIFFERENCES), divisor: float = math.sqrt(DRAWS)
) -> float:
    """How far the interval of the mean difference reaches."""
    return bound * spread / divisor


def _two_groups(
    bound: float = T_TWO_GROUPS, variances: float = statistics.variance(A) + statistics.variance(B)
) -> float:
    """The same if nothing joined the two lists."""
    return bound * math.sqrt(variances / DRAWS)


def _sums() -> list[float]:
    """The sum of the differences under every choice of signs."""
    choices = itertools.product((1, -1), repeat=DRAWS)
    return [sum(sign * value for sign, value in zip(signs, DIFFERENCES, strict=True)) for signs in choices]


P_VALUE = statistics.mean(abs(value) >= sum(DIFFERENCES) for value in _sums())

SEEDS = Exercise(
    name="seeds",
    points=2,
    reference=[MEAN, _paired(), _two_groups(), P_VALUE],
    ask=entry,
    tolerance=2e-3,
    cases=(
        Case("mean", {"en": "The mean difference", "zh": "平均差"}, lambda: (0,)),
        Case("paired", {"en": "The reach with pairs", "zh": "配对时的区间半宽"}, lambda: (1,)),
        Case("groups", {"en": "The reach without pairs", "zh": "不配对时的区间半宽"}, lambda: (2,)),
        Case("signs", {"en": "The share of the signs", "zh": "符号组合的占比"}, lambda: (3,)),
    ),
    misconceptions=(
        Misconception(
            "two groups for pairs",
            [MEAN, _two_groups(), _two_groups(), P_VALUE],
            {
                "en": "You treated the two lists as if nothing joined them.",
                "zh": "你把两列数当成互不相干的了。",
            },
            {
                "en": "On a hard draw both are low. Take the differences first, then their spread.",
                "zh": "抽到难的样本，两种方法都低。先求差，再求差的标准差。",
            },
            "https://github.com/terrier-org/pyterrier/pull/420",
        ),
        Misconception(
            "divided by N",
            [
                MEAN,
                _paired(spread=statistics.pstdev(DIFFERENCES)),
                _two_groups(variances=statistics.pvariance(A) + statistics.pvariance(B)),
                P_VALUE,
            ],
            {
                "en": "The standard deviation is divided by N, as numpy does unless told otherwise.",
                "zh": "标准差除以了 N，numpy 默认就是这样。",
            },
            {"en": "Eight numbers, one mean taken off: divide by 7.", "zh": "八个数，减掉了一个均值：除以 7。"},
            "https://github.com/mwegrzyn/language-performance/issues/27",
        ),
        Misconception(
            "1.96 for few draws",
            [MEAN, _paired(1.96), _two_groups(1.96), P_VALUE],
            {"en": "1.96 is for large samples.", "zh": "1.96 是大样本才用的。"},
            {
                "en": "With eight draws the spread itself is uncertain: the bound is 2.365.",
                "zh": "只有八次抽样，标准差本身也不准，所以要用 2.365。",
            },
            "https://github.com/instadeepai/marl-eval/issues/66",
        ),
        Misconception(
            "spread for error",
            [MEAN, _paired(divisor=1.0), _two_groups() * math.sqrt(DRAWS), P_VALUE],
            {
                "en": "This is the spread of single draws, not of their mean.",
                "zh": "这是单次抽样的波动，不是平均值的波动。",
            },
            {"en": "A mean of N draws varies by 1 / √N as much.", "zh": "N 次抽样的平均值，波动只有单次的 1 / √N。"},
            "https://github.com/marcusGH/edain_paper/issues/1",
        ),
        Misconception(
            "divided by N, not by its root",
            [MEAN, _paired(divisor=8.0), _two_groups() / math.sqrt(DRAWS), P_VALUE],
            {"en": "You divided by 8, not by its root.", "zh": "你除以了 8，应当除以 8 的平方根。"},
            {"en": "The standard error is s / √8.", "zh": "平均值的标准误是 s / √8。"},
            "https://github.com/nmslib/nmslib/issues/81",
        ),
        Misconception(
            "one side",
            [MEAN, _paired(), _two_groups(), P_VALUE / 2],
            {
                "en": "You counted only the sums that favour A.",
                "zh": "只数了偏向 A 的那些和。",
            },
            {
                "en": "Had B won by as much, you would have believed that too: count both sides.",
                "zh": "如果赢这么多的是 B，你同样会下结论，所以两边都要数。",
            },
            "https://github.com/simple-statistics/simple-statistics/issues/469",
        ),
        Misconception(
            "more than seen",
            [MEAN, _paired(), _two_groups(), statistics.mean(abs(value) > sum(DIFFERENCES) for value in _sums())],
            {"en": "Sums as large as the one seen are left out.", "zh": "漏掉了恰好与实际的和一样大的那些。"},
            {"en": "At least as large: ≥, not >.", "zh": "“不小于”，是 ≥，不是 >。"},
            "https://github.com/rasbt/mlxtend/issues/718",
        ),
    ),
)
