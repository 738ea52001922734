"""The exercise of chapter 04 in which a whole decoder block is written."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .attention import draw
from .registry import NOT_MET, Case, Exercise, Misconception

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
