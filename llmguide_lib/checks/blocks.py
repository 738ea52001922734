"""Exercises of chapter 04 in which a part of a block is written or mended: LayerNorm, a decoder block, SwiGLU."""

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

# -- 4. implement a decoder block -------------------------------------------------------------------------------------

Parts = tuple[Callable, ...]


def _block(look: Callable | None = None, ask: Callable | None = None, think: Callable | None = None) -> Callable:
    """A pre-norm decoder block in which one step may be replaced."""

    def block(x: Tensor, source: Tensor, attend: Callable, cross: Callable, feed: Callable, norms: list) -> Tensor:
        for step in (look or _look, ask or _ask, think or _think):
            x = step(x, source, (attend, cross, feed), norms)
        return x

    return block


def _look(x: Tensor, source: Tensor, f: Parts, norms: list) -> Tensor:
    return x + f[0](norms[0](x))


def _ask(x: Tensor, source: Tensor, f: Parts, norms: list) -> Tensor:
    return x + f[1](norms[1](x), source)


def _think(x: Tensor, source: Tensor, f: Parts, norms: list) -> Tensor:
    return x + f[2](norms[2](x))


def _added(add: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable:
    """A block with another sum in all its steps, made of the stream, of what the sublayer reads and of its answer."""

    def step(at: int) -> Callable:
        def one(x: Tensor, source: Tensor, f: Parts, norms: list) -> Tensor:
            y = norms[at](x)
            return add(x, y, f[at](y, source) if at == 1 else f[at](y))

        return one

    return _block(*map(step, range(3)))


def _post(x: Tensor, source: Tensor, attend: Callable, cross: Callable, feed: Callable, norms: list) -> Tensor:
    x = norms[0](x + attend(x))
    x = norms[1](x + cross(x, source))
    return norms[2](x + feed(x))


def _asks_without_the_stream(
    x: Tensor, source: Tensor, attend: Callable, cross: Callable, feed: Callable, norms: list
) -> Tensor:
    answer = attend(norms[0](x))
    x = x + answer
    x = x + cross(norms[1](answer), source)
    return x + feed(norms[2](x))


def _pieces(seed: int) -> tuple:
    """Sublayers that can be told apart: causal means, a mixture of the source, a small network; three norms."""
    mix, value, first, second = (draw(6, 6, seed=seed + place) / 3 for place in range(4))
    gains = [1 + draw(6, seed=seed + 10 + place) / 4 for place in range(3)]

    def attend(y: Tensor) -> Tensor:
        counts = torch.arange(1, y.shape[1] + 1, dtype=y.dtype)[:, None]
        return y.cumsum(dim=1) / counts @ value

    def cross(y: Tensor, source: Tensor) -> Tensor:
        return (y @ mix @ source.mT).softmax(dim=-1) @ source

    def feed(y: Tensor) -> Tensor:
        return (y @ first).clamp(min=0) @ second

    return attend, cross, feed, [lambda y, gain=gain: F.rms_norm(y, (6,), gain) for gain in gains]


def _texts(seed: int, positions: int = 5, sources: int = 5, scale: float = 1.0) -> tuple:
    x, source = scale * draw(2, positions, 6, seed=seed + 20), draw(2, sources, 6, seed=seed + 21)
    return (x, source, *_pieces(seed))


BLOCK = Exercise(
    name="decoder_block",
    points=3,
    reference=_block(),
    cases=(
        Case(
            "hand",
            {"en": "One position, one source position", "zh": "目标和源都只有一个位置时"},
            lambda: _texts(100, 1, 1),
        ),
        Case(
            "general", {"en": "Five positions, five of the source", "zh": "目标和源各五个位置时"}, lambda: _texts(200)
        ),
        Case("general", {"en": "A longer source", "zh": "源文本更长时"}, lambda: _texts(300, 4, 7)),
        Case(
            "edge",
            {"en": "A stream that has grown large", "zh": "残差流已经变得很大时"},
            lambda: _texts(400, scale=100.0),
        ),
    ),
    misconceptions=(
        Misconception(
            "post-norm",
            _post,
            {"en": "This is post-norm: the sum is normalised.", "zh": "这是后归一化：归一化的是和。"},
            {
                "en": "In pre-norm only what a sublayer *reads* is normalised.",
                "zh": "前归一化只归一化子层*读到*的东西。",
            },
            "https://github.com/harvardnlp/annotated-transformer/issues/13",
        ),
        Misconception(
            "residual from the normalised",
            _added(lambda x, y, answer: y + answer),
            {
                "en": "The sublayer's result is added to norm(x), not to x: the stream itself is normalised away.",
                "zh": "子层的结果加到了 norm(x) 上，而不是 x 上：残差流本身被归一化掉了。",
            },
            {
                "en": "Keep x for the addition; only the sublayer gets norm(x).",
                "zh": "相加时用 x，只有子层读的是 norm(x)。",
            },
            "https://github.com/Howuhh/faster-trajectory-transformer/issues/3",
        ),
        Misconception(
            "no residual",
            _added(lambda x, y, answer: answer),
            {
                "en": "The residuals are missing: each sublayer replaces the stream.",
                "zh": "没有残差：每个子层都把残差流替换掉了。",
            },
            {"en": "x = x + ...", "zh": "x = x + ..."},
            "https://github.com/ge-xing/SegMamba/issues/5",
        ),
        Misconception(
            "one residual round everything",
            lambda x, s, attend, cross, feed, norms: x + feed(norms[2](cross(norms[1](attend(norms[0](x))), s))),
            {
                "en": "x is added only once, at the end: the second and third sublayer do not read the stream.",
                "zh": "x 只在最后加了一次：第二、第三个子层读到的不是残差流。",
            },
            {"en": "Each of the three sublayers has an addition of its own.", "zh": "三个子层各有自己的一次相加。"},
            "a reader of this chapter",
        ),
        Misconception(
            "added to itself",
            _added(lambda x, y, answer: answer + answer),
            {
                "en": "x is overwritten by the sublayer's answer before it is added: the answer is added to itself.",
                "zh": "x 在相加之前就被子层的结果覆盖了：等于把结果和自己相加。",
            },
            {
                "en": "After `x = attend(...)` the old x is gone: do both in one line, or name the answer differently.",
                "zh": "写了 `x = attend(...)` 之后，原来的 x 就没有了。写成一行，或者给结果另起一个名字。",
            },
            "https://github.com/kyegomez/BitNet/issues/32",
        ),
        Misconception(
            "back to the beginning",
            lambda x, s, f0, f1, f2, n: x + f2(n[2](_ask(_look(x, s, (f0,), n), s, (f0, f1), n))),
            {
                "en": "The feed-forward layer's result is added to the block's input: what attention wrote is lost.",
                "zh": "前馈层的结果加到了整个块的输入上：两次注意力写进去的内容都丢了。",
            },
            {
                "en": "Each sublayer adds to the stream as the one before has left it.",
                "zh": "每个子层都要加到前一个子层留下的残差流上。",
            },
            "https://github.com/strutive07/transformer-tensorflow2.0/issues/14",
        ),
        Misconception(
            "source normalised",
            _block(ask=lambda x, s, f, n: x + f[1](n[1](x), n[1](s))),
            {"en": "The source went through norm 2 as well.", "zh": "源文本也过了第 2 个归一化。"},
            {
                "en": "The encoder has normalised its result already; norm 2 belongs to the stream.",
                "zh": "编码器的结果已经归一化过了，第 2 个归一化只用于残差流。",
            },
            "https://github.com/lucidrains/recurrent-interface-network-pytorch/issues/17",
        ),
        Misconception(
            "source asks",
            _block(ask=lambda x, s, f, n: x + f[1](s, n[1](x))[:, : x.shape[1]] if s.shape[1] >= x.shape[1] else x),
            {
                "en": "In cross-attention the source asks and the target answers.",
                "zh": "交叉注意力里，变成了源文本提问、目标文本回答。",
            },
            {
                "en": "Queries come from what is being written: the first argument.",
                "zh": "查询来自正在写的文字，是第一个参数。",
            },
            "https://github.com/rexrex9/nlp_torchtext/pull/2",
        ),
        Misconception(
            "asks with the answer alone",
            _asks_without_the_stream,
            {
                "en": "Cross-attention asks with self-attention's answer instead of the stream that it was added to.",
                "zh": "交叉注意力用来提问的，是自注意力的结果，而不是加上这个结果之后的残差流。",
            },
            {
                "en": "After the first addition every sublayer reads the same thing: norm(x).",
                "zh": "第一次相加之后，每个子层读的都是 norm(x)。",
            },
            "https://github.com/ml-explore/mlx/pull/3382",
        ),
        Misconception(
            "cross-attention not normalised",
            _block(ask=lambda x, s, f, n: x + f[1](x, s)),
            {"en": "Cross-attention reads the stream without its norm.", "zh": "交叉注意力读残差流时没有先归一化。"},
            {"en": "Every sublayer has a norm of its own.", "zh": "每个子层都有自己的归一化。"},
            NOT_MET,
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
