"""Exercises of chapter 04 in which a part of a block is written or mended: LayerNorm and SwiGLU."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .attention import draw
from .registry import NOT_MET, Case, Exercise, Misconception

# -- 3. implement LayerNorm -------------------------------------------------------------------------------------------


def _layer_norm(
    centre: Callable | None = None,
    square: Callable | None = None,
    root: Callable | None = None,
    last: Callable | None = None,
) -> Callable:
    """LayerNorm in which one step may be replaced."""

    def norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        centred = (centre or _centred)(x)
        size = (root or _root)((square or _mean_square)(centred), eps)
        return (last or _stretched)(centred / size, weight, bias)

    return norm


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)


def _mean_square(x: Tensor) -> Tensor:
    return x.square().mean(dim=-1, keepdim=True)


def _root(variance: Tensor, eps: float) -> Tensor:
    return (variance + eps).sqrt()


def _stretched(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x * weight + bias


def _vectors(seed: int, scale: float = 1.0, shift: float = 0.0) -> tuple:
    return scale * draw(3, 4, 6, seed=seed) + shift, draw(6, seed=seed + 1), draw(6, seed=seed + 2), 1e-5


def _hand_norm() -> tuple:
    x = torch.tensor([[[1.0, 3.0, 5.0, 7.0]]], dtype=torch.float64)
    return x, torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64), 1e-5


def _everywhere(x: Tensor) -> Tensor:
    return x - x.mean()


LAYER_NORM = Exercise(
    name="layer_norm",
    points=2,
    reference=_layer_norm(),
    forbidden=(
        "torch.nn.functional.layer_norm",
        "torch.nn.LayerNorm",
        "torch.layer_norm",
        "llmguide_lib.layers.LayerNorm",
    ),
    cases=(
        Case("hand", {"en": "The lesson's case by hand", "zh": "课文里手算的例子"}, _hand_norm),
        Case("general", {"en": "Three texts of four words", "zh": "三段文本、每段四个词时"}, lambda: _vectors(1)),
        Case("general", {"en": "Vectors far from zero", "zh": "向量离零很远时"}, lambda: _vectors(4, shift=20.0)),
        Case("edge", {"en": "A vector of equal numbers", "zh": "向量的各个数都相等时"}, lambda: _vectors(7, 0.0, 2.0)),
        Case("edge", {"en": "Very small vectors", "zh": "向量非常小时"}, lambda: _vectors(10, 1e-3)),
    ),
    misconceptions=(
        Misconception(
            "divided by D - 1",
            _layer_norm(square=lambda x: x.square().sum(dim=-1, keepdim=True) / (x.shape[-1] - 1)),
            {
                "en": "The variance is divided by D - 1, as `x.var()` does by itself.",
                "zh": "方差除以了 D - 1，`x.var()` 默认就是这样。",
            },
            {
                "en": "`x.var(dim=-1, correction=0)`, or the mean of the squares.",
                "zh": "用 `x.var(dim=-1, correction=0)`，或者取平方的平均。",
            },
            "https://github.com/harvardnlp/annotated-transformer/pull/119",
        ),
        Misconception(
            "over the whole tensor",
            _layer_norm(_everywhere, lambda x: x.square().mean()),
            {
                "en": "Mean and variance are taken over all texts and positions at once.",
                "zh": "均值和方差是对所有文本、所有位置一起算的。",
            },
            {"en": "Each position by itself: dim=-1, keepdim=True.", "zh": "每个位置各算各的：dim=-1，keepdim=True。"},
            "https://github.com/karpathy/minGPT/issues/113",
        ),
        Misconception(
            "over the positions",
            _layer_norm(lambda x: x - x.mean(dim=1, keepdim=True), lambda x: x.square().mean(dim=1, keepdim=True)),
            {
                "en": "Mean and variance run over the positions: words would see each other, even future ones.",
                "zh": "均值和方差是沿着位置算的：词与词就互相看见了，连后面的也能看见。",
            },
            {"en": "Which axis holds the D numbers of one word?", "zh": "一个词的 D 个数在哪个轴上？"},
            "https://github.com/jadore801120/attention-is-all-you-need-pytorch/pull/17",
        ),
        Misconception(
            "epsilon outside the root",
            _layer_norm(root=lambda variance, eps: variance.sqrt() + eps),
            {"en": "Epsilon is added after the root.", "zh": "ε 加在了开方之后。"},
            {
                "en": "sqrt(variance + eps): for very small vectors it makes a difference.",
                "zh": "应当是 sqrt(方差 + ε)：向量非常小的时候就看得出差别。",
            },
            "https://github.com/hkproj/pytorch-transformer/pull/31",
        ),
        Misconception(
            "RMSNorm",
            _layer_norm(centre=lambda x: x),
            {
                "en": "The mean is not taken off: this is RMSNorm with a shift.",
                "zh": "没有减去均值：这是加了偏置的 RMSNorm。",
            },
            {"en": "Centre first, then divide.", "zh": "先减去均值，再做除法。"},
            NOT_MET,
        ),
        Misconception(
            "no root",
            _layer_norm(root=lambda variance, eps: variance + eps),
            {"en": "It is divided by the variance, not by its root.", "zh": "除以的是方差，没有开方。"},
            {"en": "`.sqrt()` is missing.", "zh": "少了 `.sqrt()`。"},
            "https://github.com/elith-co-jp/book-llm-from-scratch/issues/24",
        ),
        Misconception(
            "multiplied by the root",
            _layer_norm(root=lambda variance, eps: (variance + eps).rsqrt()),
            {
                "en": "It is divided by `rsqrt`, which is one over the root already: large vectors become larger.",
                "zh": "除以了 `rsqrt`，可它本身已经是平方根的倒数：大的向量反而更大了。",
            },
            {"en": "Divide by `sqrt`, or multiply by `rsqrt`.", "zh": "要么除以 `sqrt`，要么乘以 `rsqrt`。"},
            "https://github.com/mosaicml/llm-foundry/issues/371",
        ),
        Misconception(
            "not stretched",
            _layer_norm(last=lambda x, weight, bias: x),
            {"en": "weight and bias are not used.", "zh": "没有用 weight 和 bias。"},
            {"en": "The last step multiplies by weight and adds bias.", "zh": "最后一步要乘 weight、加 bias。"},
            "https://github.com/hyunwoongko/transformer/issues/6",
        ),
    ),
)

# -- 5. debug ---------------------------------------------------------------------------------------------------------


def _swiglu(gate: Callable | None = None, add: Callable | None = None) -> Callable:
    """A pre-norm gated feed-forward sublayer in which one step may be replaced."""

    def sublayer(x: Tensor, weight: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
        y = F.rms_norm(x, (x.shape[-1],), weight, 1e-6)
        return (add or _to_x)(x, y) + (gate or _gate)(y @ w_gate, y @ w_up) @ w_down

    return sublayer


def _gate(a: Tensor, b: Tensor) -> Tensor:
    return F.silu(a) * b


def _to_x(x: Tensor, y: Tensor) -> Tensor:
    return x


def _gate_of_product(a: Tensor, b: Tensor) -> Tensor:
    return F.silu(a * b)


def _to_y(x: Tensor, y: Tensor) -> Tensor:
    return y


def _gated_texts(seed: int, open_gate: bool = True, standard: bool = False) -> tuple:
    """With a closed gate only the residual shows; in standard size x and norm(x) are the same."""
    x = draw(2, 3, 6, seed=seed) * 3
    x = x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + 1e-12) if standard else x
    weight = torch.ones(6, dtype=torch.float64) if standard else 1 + draw(6, seed=seed + 1) / 4
    w_gate, w_up, w_down = draw(6, 16, seed=seed + 2), draw(6, 16, seed=seed + 3), draw(16, 6, seed=seed + 4)
    return x, weight, w_gate * open_gate, w_up, w_down


DEBUG = Exercise(
    name="swiglu",
    points=3,
    reference=_swiglu(),
    tolerance=1e-5,  # epsilon shows where x has standard size
    cases=(
        Case(
            "gate",
            {"en": "Vectors of standard size", "zh": "向量已是标准大小时"},
            lambda: _gated_texts(1, standard=True),
        ),
        Case(
            "stream",
            {"en": "With all gates closed", "zh": "所有的门都关上时"},
            lambda: _gated_texts(10, open_gate=False),
        ),
        Case("both", {"en": "Vectors of any size", "zh": "向量大小任意时"}, lambda: _gated_texts(20)),
    ),
    misconceptions=(
        Misconception(
            "both bugs left",
            _swiglu(_gate_of_product, _to_y),
            {"en": "Both bugs are still there.", "zh": "两处错误都还在。"},
            {
                "en": "Set w_gate to zero: what should be left of the sublayer, and what does it return?",
                "zh": "把 w_gate 设成零：子层应当剩下什么？它返回了什么？",
            },
            NOT_MET,
        ),
        Misconception(
            "activation of the product",
            _swiglu(gate=_gate_of_product),
            {"en": "SiLU is taken of the product.", "zh": "SiLU 作用在了乘积上。"},
            {"en": "The gate alone goes through SiLU; then it is multiplied.", "zh": "只有门要过 SiLU，然后再相乘。"},
            "https://github.com/Nijikadesu/breakdown-minimind/issues/3",
        ),
        Misconception(
            "activation of the other",
            _swiglu(gate=lambda a, b: a * F.silu(b)),
            {
                "en": "SiLU is taken of up, not of gate: with released weights that is another model.",
                "zh": "SiLU 用在了 up 上，而不是 gate 上：用公布的权重，就成了另一个模型。",
            },
            {"en": "Which of the two opens and closes the other?", "zh": "两个当中，哪一个是门，管着另一个的开关？"},
            "https://github.com/ml-explore/mlx-lm/pull/767",
        ),
        Misconception(
            "activation of both",
            _swiglu(gate=lambda a, b: F.silu(a) * F.silu(b)),
            {"en": "SiLU is taken of both branches.", "zh": "两条支路都过了 SiLU。"},
            {
                "en": "In the equation SiLU's bracket closes before W_up begins.",
                "zh": "看公式：SiLU 的括号在 W_up 之前就结束了。",
            },
            "a reader of this chapter",
        ),
        Misconception(
            "the gate alone",
            _swiglu(gate=lambda a, b: F.silu(a)),
            {
                "en": "`w_up` is not used: this is a plain layer with SiLU, without a gate.",
                "zh": "没有用 `w_up`：这是带 SiLU 的普通前馈层，没有门控。",
            },
            {"en": "What does the gate let through?", "zh": "门要放行的是什么？"},
            "https://github.com/google-research/timesfm/issues/493",
        ),
        Misconception(
            "gate added",
            _swiglu(gate=lambda a, b: F.silu(a) + b),
            {"en": "The two branches are added, not multiplied.", "zh": "两条支路是相加的，没有相乘。"},
            {
                "en": "A gate that is closed, at zero, must let nothing through.",
                "zh": "门关上的时候是零，应当什么都过不去。",
            },
            "https://github.com/brineylab/BALM/blob/4956204/balm/activation.py",
        ),
        Misconception(
            "added to the normalised",
            _swiglu(add=_to_y),
            {"en": "The result is added to norm(x), not to x.", "zh": "结果加到了 norm(x) 上，而不是 x 上。"},
            {"en": "The residual stream itself is never normalised.", "zh": "残差流本身从不归一化。"},
            "https://github.com/Howuhh/faster-trajectory-transformer/issues/3",
        ),
        Misconception(
            "sigmoid for SiLU",
            _swiglu(gate=lambda a, b: a.sigmoid() * b),
            {
                "en": "The gate goes through the sigmoid alone (that is the GLU of 2017).",
                "zh": "门只过了 sigmoid（那是 2017 年的 GLU）。",
            },
            {"en": "SiLU(u) is u times sigmoid(u).", "zh": "SiLU(u) 是 u 乘 sigmoid(u)。"},
            "https://github.com/smburbach/pytorch-training/blob/b3ff0ce/balm/activation.py",
        ),
        Misconception(
            "no residual",
            _swiglu(add=lambda x, y: torch.zeros_like(x)),
            {"en": "The residual is gone.", "zh": "残差没有了。"},
            {"en": "x has to be added.", "zh": "还要加上 x。"},
            "https://github.com/ge-xing/SegMamba/issues/5",
        ),
    ),
)
