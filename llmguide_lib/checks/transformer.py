"""The exercises of chapter 04: those by hand and to measure here, the others in ``blocks`` and ``decoder_block``."""

import math

from .blocks import DEBUG, LAYER_NORM
from .decoder_block import BLOCK
from .registry import NOT_MET, Case, Exercise, Misconception, entry

# -- 1. norms by hand -------------------------------------------------------------------------------------------------

_LAYER, _RMS, _POST = 2 / math.sqrt(2), 4 / math.sqrt(6), 4 / math.sqrt(12)

NORMS = Exercise(
    name="norms",
    points=2,
    reference=[_LAYER, _RMS, _POST],
    ask=entry,
    tolerance=5e-3,
    cases=(
        Case("layer", {"en": "The fourth number after LayerNorm", "zh": "LayerNorm 之后的第四个数"}, lambda: (0,)),
        Case("rms", {"en": "The fourth number after RMSNorm", "zh": "RMSNorm 之后的第四个数"}, lambda: (1,)),
        Case("post", {"en": "The first number after post-norm", "zh": "后归一化之后的第一个数"}, lambda: (2,)),
    ),
    misconceptions=(
        Misconception(
            "divided by D - 1",
            [2 / math.sqrt(8 / 3), _RMS, _POST],
            {"en": "The variance is divided by D - 1 = 3.", "zh": "方差除以了 D - 1 = 3。"},
            {"en": "Here it is the mean of the squares: divide by 4.", "zh": "这里取平方的平均：除以 4。"},
            "https://github.com/harvardnlp/annotated-transformer/pull/119",
        ),
        Misconception(
            "divided by the variance",
            [2 / 2, 4 / 6, 4 / 12],
            {"en": "You divided by the variance instead of its root.", "zh": "除以的是方差，没有开平方。"},
            {"en": "A length is measured by a root.", "zh": "衡量长度要开平方。"},
            "https://github.com/elith-co-jp/book-llm-from-scratch/issues/24",
        ),
        Misconception(
            "not centred",
            [4 / math.sqrt(2), _RMS, _POST],
            {"en": "LayerNorm takes the mean off first.", "zh": "LayerNorm 要先减去平均值。"},
            {"en": "What is left of the 4 when the mean is taken off?", "zh": "4 减去平均值之后是多少？"},
            NOT_MET,
        ),
        Misconception(
            "RMSNorm centred",
            [_LAYER, _LAYER, _POST],
            {"en": "You centred for RMSNorm too.", "zh": "RMSNorm 也减了平均值。"},
            {
                "en": "RMSNorm knows no mean: only the squares of x itself.",
                "zh": "RMSNorm 不管平均值，只看 x 自身的平方。",
            },
            "https://github.com/mit-han-lab/omniserve/issues/32",
        ),
        Misconception(
            "variance for the mean square",
            [_LAYER, 4 / math.sqrt(2), _POST],
            {
                "en": "For RMSNorm you divided by the standard deviation, which has the mean taken off.",
                "zh": "算 RMSNorm 时除以的是标准差，而标准差是减去平均值之后算的。",
            },
            {"en": "The mean of the squares of x itself.", "zh": "要的是 x 自身平方的平均。"},
            "https://github.com/huggingface/pytorch-image-models/issues/2380",
        ),
        Misconception(
            "LayerNorm of the sum",
            [_LAYER, _RMS, 1 / math.sqrt(3)],
            {
                "en": "You took the mean off the sum: that is post-norm with LayerNorm, and RMSNorm was asked for.",
                "zh": "对和减去了平均值：这是用 LayerNorm 做后归一化，题目要的是 RMSNorm。",
            },
            {
                "en": "The sum is (4, 0, 4, 4). The mean of its squares, the root, and what is left of the first 4?",
                "zh": "和是 (4, 0, 4, 4)。先求平方的平均，再开方，第一个 4 变成多少？",
            },
            "a reader of this chapter",
        ),
        Misconception(
            "only the answer normed",
            [_LAYER, _RMS, 2 / math.sqrt(2)],
            {
                "en": "You normalised the sublayer's answer alone, without x.",
                "zh": "只归一化了子层给出的结果，没有加上 x。",
            },
            {"en": "Post-norm: add first, then normalise the sum.", "zh": "后归一化：先相加，再对和做归一化。"},
            "a reader of this chapter",
        ),
        Misconception(
            "normed before adding",
            [_LAYER, _RMS, 2 / math.sqrt(6) + 2],
            {
                "en": "You normalised x and then added: that is neither of the two.",
                "zh": "先归一化 x 再相加：这不是那两种方式中的任何一种。",
            },
            {"en": "Post-norm: add first, then normalise the sum.", "zh": "后归一化：先相加，再对和做归一化。"},
            "https://github.com/Howuhh/faster-trajectory-transformer/issues/3",
        ),
    ),
)

# -- 2. counting by hand ----------------------------------------------------------------------------------------------


def _counts(kv_heads: int = 2, matrices: int = 3, per_parameter: int = 2, kept: int = 2) -> list[float]:
    """Weights of a block, its FLOPs per token, numbers kept per token; D 8, F 32, 4 heads of 2, 3 layers, T 50."""
    width, shared = 4 * 2, kv_heads * 2
    parameters = 8 * width + 2 * 8 * shared + width * 8 + matrices * 8 * 32
    return [float(parameters), float(per_parameter * parameters + 4 * 50 * width), float(kept * 3 * shared)]


COUNTS = Exercise(
    name="counts",
    points=2,
    reference=_counts(),
    ask=entry,
    cases=(
        Case("parameters", {"en": "The weights of one block", "zh": "一个块的权重数"}, lambda: (0,)),
        Case("flops", {"en": "The FLOPs of one block for one token", "zh": "一个块处理一个词元的 FLOPs"}, lambda: (1,)),
        Case("cache", {"en": "The numbers kept for one token", "zh": "要为一个词元保存多少个数"}, lambda: (2,)),
    ),
    misconceptions=(
        Misconception(
            "a key head for each query head",
            _counts(kv_heads=4),
            {"en": "You gave every query head keys and values of its own.", "zh": "给每个查询头都配了自己的键和值。"},
            {
                "en": "Two key-value heads serve four query heads: how wide are k_proj and v_proj?",
                "zh": "两个键值头供四个查询头共用：k_proj 和 v_proj 有多宽？",
            },
            "https://github.com/vllm-project/vllm/pull/29736",
        ),
        Misconception(
            "an ungated layer",
            _counts(matrices=2),
            {"en": "A gated feed-forward layer has three matrices.", "zh": "带门的前馈层有三个矩阵。"},
            {"en": "Gate, up and down.", "zh": "gate、up、down 各一个。"},
            "https://github.com/google-research/timesfm/issues/493",
        ),
        Misconception(
            "one FLOP per parameter",
            [_counts()[0], _counts(per_parameter=1)[1], _counts()[2]],
            {"en": "You counted the multiplications and not the additions.", "zh": "只算了乘法，没有算加法。"},
            {
                "en": "Each weight is multiplied with and added: two FLOPs.",
                "zh": "每个权重乘一次、加一次，是两次浮点运算。",
            },
            "https://github.com/facebookresearch/fvcore/issues/69",
        ),
        Misconception(
            "attention's own work forgotten",
            [_counts()[0], 2 * _counts()[0], _counts()[2]],
            {
                "en": "The comparison with 50 keys and the mixing of 50 values are missing.",
                "zh": "漏了与 50 个键比较、混合 50 个值的计算。",
            },
            {"en": "They have no parameters, and cost 2TD each.", "zh": "这两步没有参数，但各要 2TD。"},
            "https://github.com/MrYxJ/calculate-flops.pytorch/issues/48",
        ),
        Misconception(
            "scores for the key heads only",
            [_counts()[0], 2 * _counts()[0] + 4 * 50 * 4, _counts()[2]],
            {
                "en": "You counted the scores of two heads; four heads ask.",
                "zh": "只算了两个头的分数，可是有四个头在查询。",
            },
            {
                "en": "Grouped queries share keys and values, not the comparisons with them.",
                "zh": "分组查询共用的是键和值，比较还是每个查询头各做各的。",
            },
            "a reader of this chapter",
        ),
        Misconception(
            "the scores of all layers",
            [_counts()[0], 2 * _counts()[0] + 3 * 4 * 50 * 8, _counts()[2]],
            {
                "en": "These are the scores of all three layers; one block was asked for.",
                "zh": "这是三层的分数加在一起；题目问的是一个块。",
            },
            {"en": "4LTD belongs to the whole model: what is L here?", "zh": "4LTD 是整个模型的：这里的 L 是多少？"},
            "a reader of this chapter",
        ),
        Misconception(
            "keys only",
            [*_counts()[:2], _counts(kept=1)[2]],
            {"en": "You kept the keys and not the values.", "zh": "只保存了键，没有保存值。"},
            {"en": "What is mixed once the weights are known?", "zh": "有了权重以后，混合的是什么？"},
            "https://github.com/ray-project/llm-numbers/issues/25",
        ),
        Misconception(
            "one layer's cache",
            [*_counts()[:2], 8.0],
            {"en": "This is what one layer keeps.", "zh": "这只是一层要保存的。"},
            {"en": "Each of the three layers has keys and values of its own.", "zh": "三层各有各的键和值。"},
            "https://github.com/mudler/vllm.cpp/issues/357",
        ),
    ),
)

# -- 6. measure -------------------------------------------------------------------------------------------------------

MEASURE = Exercise(
    name="measure",
    points=2,
    reference=[2 / 3, 3.0, 0.5],
    ask=entry,
    tolerance=0.03,
    cases=(
        Case("share", {"en": "The feed-forward layers' share", "zh": "前馈层所占的比例"}, lambda: (0,)),
        Case("step", {"en": "A training step over a forward pass", "zh": "训练一步与前向一次之比"}, lambda: (1,)),
        Case("growth", {"en": "The exponent of the growth", "zh": "增长的指数"}, lambda: (2,)),
    ),
    misconceptions=(
        Misconception(
            "attention's share",
            [1 / 3, 3.0, 0.5],
            {"en": "This is the share of attention.", "zh": "这是注意力的比例。"},
            {"en": "Names that contain feed_forward.", "zh": "看名字里含 feed_forward 的参数。"},
            NOT_MET,
        ),
        Misconception(
            "backward only",
            [2 / 3, 2.0, 0.5],
            {
                "en": "Twice is the backward pass alone, or a step in which backward costs as much as forward.",
                "zh": "两倍只是反向传播，或者是把反向传播当成了和前向一样多。",
            },
            {
                "en": "A step is forward and backward, and backward takes two products for each matrix. For what?",
                "zh": "训练一步包括前向和反向；反向时每个矩阵要做两次乘法。各是为了什么？",
            },
            "https://github.com/baidu-research/DeepBench/issues/48",
        ),
        Misconception(
            "variance for length",
            [2 / 3, 3.0, 1.0],
            {"en": "This is the exponent of the variance.", "zh": "这是方差的指数。"},
            {"en": "A length is the root of a sum of squares.", "zh": "长度是平方和的平方根。"},
            "https://github.com/microsoft/AI-For-Beginners/pull/742",
        ),
        Misconception(
            "everything counted",
            [0.4554, 3.0, 0.5],
            {"en": "The embeddings are counted too.", "zh": "把词嵌入也算进去了。"},
            {
                "en": "Only what stands in the blocks: names that begin with blocks.",
                "zh": "只看块里的参数：名字以 blocks 开头。",
            },
            "https://github.com/pytorch/torchtitan/pull/280",
        ),
    ),
)

EXERCISES = (NORMS, COUNTS, LAYER_NORM, BLOCK, DEBUG, MEASURE)
