"""Chapter 03, exercises 5 and 6: grouped queries and rotary positions."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..attention import causal_mask
from .inputs import LOWEST, draw
from .registry import NOT_MET, Case, Exercise, Misconception

READER = "a reader of this chapter, November 2026"
FORBIDDEN = (
    "torch.nn.functional.scaled_dot_product_attention",
    "llmguide_lib.attention.attention",
    "llmguide_lib.attention.fused_attention",
    "llmguide_lib.attention.causal_attention",
)

# -- 5. debug: grouped queries ----------------------------------------------------------------------------------------


def _grouped(
    share: Callable[[Tensor, int], Tensor] | None = None, may: Callable[[int, int], Tensor] | None = None
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Causal attention with shared keys and values, in which one step may be replaced."""

    def grouped(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        repeats = query.shape[1] // key.shape[1]
        key, value = ((share or _neighbours)(x, repeats) for x in (key, value))
        mask = (may or causal_mask)(query.shape[2], key.shape[2])
        scores = (query @ key.mT / math.sqrt(query.shape[-1])).masked_fill(~mask, LOWEST)
        return scores.softmax(dim=-1).masked_fill(~mask, 0.0) @ value

    return grouped


def _neighbours(x: Tensor, repeats: int) -> Tensor:
    return x.repeat_interleave(repeats, dim=1)


def _in_turn(x: Tensor, repeats: int) -> Tensor:
    return x.repeat(1, repeats, 1, 1)


def _first_columns(num_queries: int, num_keys: int) -> Tensor:
    return torch.ones(num_queries, num_keys, dtype=torch.bool).tril()


def _only_keys_shared(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    repeats = query.shape[1] // key.shape[1]
    return _grouped()(query, _neighbours(key, repeats), _in_turn(value, repeats))


def _heads_case(heads: int, groups: int, queries: int, keys: int, seed: int) -> tuple:
    query = draw(2, heads, queries, 6, seed=seed)
    return query, draw(2, groups, keys, 6, seed=seed + 1), draw(2, groups, keys, 5, seed=seed + 2)


GROUPS = Exercise(
    name="groups",
    points=2,
    reference=_grouped(),
    forbidden=FORBIDDEN,
    # Two parts that count alone, as the two bugs can be mended one after the other.
    cases=(
        Case("groups", {"en": "Four heads, two groups", "zh": "四个头、两组时"}, lambda: _heads_case(4, 2, 3, 3, 1)),
        Case("groups", {"en": "Six heads, three groups", "zh": "六个头、三组时"}, lambda: _heads_case(6, 3, 5, 5, 4)),
        Case("last", {"en": "One new word, five keys", "zh": "一个新词、五个键时"}, lambda: _heads_case(2, 2, 1, 5, 7)),
        Case("last", {"en": "Two new words, five keys", "zh": "两个新词、五个键"}, lambda: _heads_case(3, 3, 2, 5, 9)),
    ),
    misconceptions=(
        Misconception(
            "both bugs left",
            _grouped(share=_in_turn, may=_first_columns),
            {"en": "Both bugs are still there.", "zh": "两处错误都还在。"},
            {
                "en": "Begin with four heads and two groups: which group should head 1 read?",
                "zh": "先看四个头、两组的情形：第 1 个头应该读哪一组？",
            },
            READER,
        ),
        Misconception(
            "groups in turn",
            _grouped(share=_in_turn),
            {
                "en": "The groups are dealt out in turn: heads 0, 1, 2, 3 read groups 0, 1, 0, 1.",
                "zh": "各组是轮流分配的：第 0、1、2、3 个头读的是第 0、1、0、1 组。",
            },
            {
                "en": "Neighbours share a group: 0, 0, 1, 1. Which function repeats each entry before the next?",
                "zh": "相邻的头共用一组：0、0、1、1。哪个函数会先把每一项重复完，再轮到下一项？",
            },
            "https://github.com/apple/axlearn/pull/842",
        ),
        Misconception(
            "keys and values of different groups",
            _only_keys_shared,
            {
                "en": "Keys are shared by neighbours, values in turn: a head weighs one group and mixes another.",
                "zh": "键由相邻的头共用，值却是轮流分配的：一个头用一组来算权重，取的却是另一组的值。",
            },
            {"en": "Keys and values are repeated in the same way.", "zh": "键和值要用同一种方式重复。"},
            NOT_MET,
        ),
        Misconception(
            "one group for all",
            _grouped(share=lambda x, repeats: x[:, :1].expand(-1, repeats * x.shape[1], -1, -1)),
            {"en": "Every head reads group 0.", "zh": "所有的头读的都是第 0 组。"},
            {
                "en": "That is multi-query attention. Here there are G groups, each for H / G heads.",
                "zh": "那是多查询注意力。这里有 G 组，每组供 H / G 个头使用。",
            },
            READER,
        ),
        Misconception(
            "groups averaged",
            _grouped(share=lambda x, repeats: x.mean(1, keepdim=True).expand(-1, repeats * x.shape[1], -1, -1)),
            {"en": "Every head reads the mean of all groups.", "zh": "每个头读的都是各组的平均。"},
            {"en": "Each head reads one group, as it is.", "zh": "每个头只读一组，原样读取。"},
            READER,
        ),
        Misconception(
            "mask at the first keys",
            _grouped(may=_first_columns),
            {
                "en": "The mask treats new words as the first of the text: a single new word sees one key.",
                "zh": "掩码把新词当成了文本开头的词：只有一个新词时，它只能看到一个键。",
            },
            {
                "en": "The queries are the last T of the S positions. By how much must the triangle be shifted?",
                "zh": "查询是 S 个位置中的最后 T 个。三角形要移动多少？",
            },
            "https://github.com/pytorch/pytorch/issues/144858",
        ),
        Misconception(
            "no mask",
            _grouped(may=lambda queries, keys: torch.ones(queries, keys, dtype=torch.bool)),
            {"en": "The future is visible.", "zh": "没有遮住后面的词。"},
            {"en": "Shift the triangle, do not remove it.", "zh": "三角形要移动，而不是去掉。"},
            "https://github.com/keras-team/keras/issues/23038",
        ),
    ),
)

# -- 6. implement: rotary positions as GPT-J has them -----------------------------------------------------------------


def _rotary(
    exponents: Callable[[int], Tensor] | None = None,
    signs: tuple[float, float] = (-1.0, 1.0),
    pair: Callable[[Tensor], tuple[Tensor, ...]] | None = None,
    join: Callable[[list[Tensor]], Tensor] | None = None,
) -> Callable[..., Tensor]:
    """A rotation in which the frequencies, the signs of the two sines, the pairs or the way back may be wrong."""

    def rotate(x: Tensor, positions: Tensor, turned: int, theta: float | int = 10_000.0) -> Tensor:
        powers = (exponents or _exponents)(turned)
        angles = positions.double()[:, None] * float(theta) ** -powers  # (T, turned / 2)
        cos, sin = angles.cos(), angles.sin()
        first, rest = x[..., :turned], x[..., turned:]
        a, b = (pair or _next_to_each_other)(first)
        turned_pair = [a * cos + signs[0] * b * sin, b * cos + signs[1] * a * sin]
        return torch.cat([(join or _in_turns)(turned_pair), rest], dim=-1)

    return rotate


def _next_to_each_other(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., ::2], x[..., 1::2]


def _in_turns(pair: list[Tensor]) -> Tensor:
    return torch.stack(pair, dim=-1).flatten(-2)


def _halves(x: Tensor) -> tuple[Tensor, ...]:
    return x.chunk(2, dim=-1)


def _one_behind_the_other(pair: list[Tensor]) -> Tensor:
    return torch.cat(pair, dim=-1)


def _exponents(width: int) -> Tensor:
    return torch.arange(0, width, 2).double() / width


def _from_zero(x: Tensor, positions: Tensor, turned: int, theta: float | int = 10_000.0) -> Tensor:
    return _rotary()(x, torch.arange(x.shape[-2]), turned, theta)


def _added(x: Tensor, positions: Tensor, turned: int, theta: float | int = 10_000.0) -> Tensor:
    angles = positions.double()[:, None] * float(theta) ** -_exponents(turned)
    added = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
    return torch.cat([x[..., :turned] + added, x[..., turned:]], dim=-1)


def _fixed_base(x: Tensor, positions: Tensor, turned: int, theta: float | int = 10_000.0) -> Tensor:
    return _rotary()(x, positions, turned)


def _all_turned(x: Tensor, positions: Tensor, turned: int, theta: float | int = 10_000.0) -> Tensor:
    return _rotary()(x, positions, x.shape[-1], theta)


def _clocks_of_the_head(x: Tensor, positions: Tensor, turned: int, theta: float | int = 10_000.0) -> Tensor:
    return _rotary(exponents=lambda width: _exponents(x.shape[-1])[: width // 2])(x, positions, turned, theta)


def _last_turned(x: Tensor, positions: Tensor, turned: int, theta: float | int = 10_000.0) -> Tensor:
    kept = x.shape[-1] - turned
    return torch.cat([x[..., :kept], _rotary()(x[..., kept:], positions, turned, theta)], dim=-1)


def _turn_by_hand() -> tuple:
    return torch.tensor([[1.0, 0.0, 10.0, 0.0, 5.0, 7.0]], dtype=torch.float64), torch.tensor([2]), 4, 100.0


ROTARY = Exercise(
    name="rotary",
    points=3,
    reference=_rotary(),
    tolerance=1e-3,  # angles in float32, as in released models, are right
    forbidden=("llmguide_lib.positions.Rotary",),
    cases=(
        Case(
            "hand",
            {
                "en": "(1, 0, 10, 0, 5, 7) at position 2, the first four turned",
                "zh": "(1, 0, 10, 0, 5, 7) 在位置 2、前四个数转动时",
            },
            _turn_by_hand,
        ),
        Case(
            "general",
            {"en": "Five positions", "zh": "五个位置时"},
            lambda: (draw(5, 8, seed=1), torch.arange(5), 6, 10_000.0),
        ),
        Case(
            "general",
            {"en": "Texts and heads, another base", "zh": "多段文本、多个头、换一个底数时"},
            lambda: (draw(2, 3, 4, 10, seed=2), torch.arange(4), 4, 500.0),
        ),
        Case(
            "edge",
            {"en": "All numbers turned, words that continue a text", "zh": "全部转动、接着前文继续时"},
            lambda: (draw(2, 3, 4, seed=3), torch.tensor([40, 41, 42]), 4, 100.0),
        ),
        Case(
            "edge",
            {"en": "With positions that repeat", "zh": "位置有重复时"},
            lambda: (draw(4, 6, seed=4), torch.tensor([0, 0, 0, 1]), 4, 100.0),
        ),
    ),
    misconceptions=(
        Misconception(
            "halves paired",
            _rotary(pair=_halves, join=_one_behind_the_other),
            {
                "en": "The two halves are paired, as in the lesson; here neighbours are, 2i with 2i + 1.",
                "zh": "配对的是前后两半，那是课文里的做法；这里是相邻的两个数一对，2i 配 2i + 1。",
            },
            {
                "en": "Both are in use, and weights made for one are wrong for the other. Take every other number.",
                "zh": "两种做法都有人用，但为一种训练的权重不能直接用于另一种。每隔一个数取一个。",
            },
            "https://github.com/huggingface/transformers/issues/25199",
        ),
        Misconception(
            "pairs not put back",
            _rotary(join=_one_behind_the_other),
            {
                "en": "The pairs are turned rightly, but the first numbers of all pairs end up before all second ones.",
                "zh": "每一对都转对了，但放回去的时候，所有数对的第一个数排在了前面，第二个数全排在后面。",
            },
            {
                "en": "They must take turns again, as in x: not `torch.cat`, but `torch.stack` and `flatten`.",
                "zh": "要像 x 里那样一前一后交替排列：不用 `torch.cat`，而用 `torch.stack` 再 `flatten`。",
            },
            READER,
        ),
        Misconception(
            "everything turned",
            _all_turned,
            {
                "en": "All numbers of the vector are turned; `turned` is not used.",
                "zh": "整个向量都转动了，没有用 `turned`。",
            },
            {
                "en": "Only the first `turned` numbers have clocks; the others stay as they are.",
                "zh": "只有前 `turned` 个数才有钟，其余的保持不变。",
            },
            "https://github.com/AI-Hypercomputer/maxtext/issues/4616",
        ),
        Misconception(
            "clocks of the whole head",
            _clocks_of_the_head,
            {
                "en": "The exponents are divided by d_k; they count among the numbers that are turned.",
                "zh": "指数除以了 d_k，应当除以要转动的数的个数。",
            },
            {"en": "The exponents are 2i / turned, from 0 to almost 1.", "zh": "指数是 2i / turned，从 0 到将近 1。"},
            "https://github.com/pie-project/pie/issues/602",
        ),
        Misconception(
            "the last ones turned",
            _last_turned,
            {
                "en": "The last `turned` numbers are turned, not the first.",
                "zh": "转动的是最后 `turned` 个数，不是前面的。",
            },
            {
                "en": "x[..., :turned] turns, x[..., turned:] stays.",
                "zh": "x[..., :turned] 转动，x[..., turned:] 不动。",
            },
            "https://github.com/NVIDIA/Megatron-LM/issues/2733",
        ),
        Misconception(
            "turned backwards",
            _rotary(signs=(1.0, -1.0)),
            {"en": "The vectors turn the other way.", "zh": "旋转方向反了。"},
            {
                "en": "Turned by the angle α, (a, b) becomes (a cos α - b sin α, b cos α + a sin α).",
                "zh": "转过角度 α 之后，(a, b) 变成 (a cos α - b sin α, b cos α + a sin α)。",
            },
            "https://github.com/karpathy/nanochat/pull/489",
        ),
        Misconception(
            "no minus sign",
            _rotary(signs=(1.0, 1.0)),
            {
                "en": "Both sines are added: that is no rotation, it changes lengths.",
                "zh": "两个正弦项都是加，这不是旋转，向量的长度会变。",
            },
            {
                "en": "One of the two has a minus sign. Compare norms before and after.",
                "zh": "其中一个应当是减。比较转动前后向量的长度。",
            },
            READER,
        ),
        Misconception(
            "half of the exponents",
            _rotary(exponents=lambda width: torch.arange(width // 2).double() / width),
            {
                "en": "The exponents go up to a half only: i / turned instead of 2i / turned.",
                "zh": "指数只到二分之一：用了 i / turned，应当是 2i / turned。",
            },
            {
                "en": "There are turned / 2 pairs, and the exponents run from 0 to almost 1.",
                "zh": "一共 turned / 2 个数对，指数从 0 到将近 1。",
            },
            "https://github.com/rasbt/LLMs-from-scratch/issues/410",
        ),
        Misconception(
            "pairs counted from one",
            _rotary(exponents=lambda width: (torch.arange(0, width, 2).double() + 2) / width),
            {"en": "The fastest pair is missing: its exponent is 0.", "zh": "少了转得最快的数对，它的指数是 0。"},
            {"en": "i runs from 0 to turned / 2 - 1.", "zh": "i 从 0 数到 turned / 2 - 1。"},
            "https://github.com/stanford-cs336/assignment1-basics/issues/22",
        ),
        Misconception(
            "exponent without its minus sign",
            _rotary(exponents=lambda width: -_exponents(width)),
            {"en": "Later pairs turn faster instead of slower.", "zh": "越靠后的数对应该转得越慢，这里却越转越快。"},
            {"en": "The base is raised to a negative power.", "zh": "底数的指数是负的。"},
            "https://github.com/xlite-dev/LeetCUDA/issues/289",
        ),
        Misconception(
            "positions ignored",
            _from_zero,
            {
                "en": "It counts from zero, whatever the positions are.",
                "zh": "不管给的是什么位置，它总是从零数起。",
            },
            {"en": "Use `positions`, not the place in the tensor.", "zh": "要用 `positions`，不是在张量里的次序。"},
            "https://github.com/NVIDIA/Megatron-LM/issues/453",
        ),
        Misconception(
            "added instead of turned",
            _added,
            {
                "en": "Sines and cosines are added, as sinusoidal positions are; rotary ones turn.",
                "zh": "正弦和余弦是加上去的，那是正弦位置编码；旋转位置编码不相加，要转动向量。",
            },
            {"en": "Position 0 must leave every vector as it is.", "zh": "位置 0 应当让每个向量保持不变。"},
            READER,
        ),
        Misconception(
            "base fixed",
            _fixed_base,
            {"en": "`theta` is not used: the base is always 10000.", "zh": "没有用 `theta`，底数总是 10000。"},
            {
                "en": "Models differ in their base; Llama 3 has 500000.",
                "zh": "不同的模型底数不同，Llama 3 用的是 500000。",
            },
            READER,
        ),
    ),
)

EXERCISES = (GROUPS, ROTARY)
