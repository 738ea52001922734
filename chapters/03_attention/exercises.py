# %% name="imports"
import math

import torch

# %% [markdown] lang="en" role="exercise" exercise="hand" difficulty=1 minutes=8 points=2
# ## 1. One query by hand
#
# One query and three keys of width $d_k = 4$, each key with one number as its value:
#
# $$q = (1, 1, 1, 1)$$
#
# $$k_1 = (1, 1, 0, 0) \quad k_2 = (0, 0, 0, 0) \quad k_3 = (1, 1, 1, 1)$$
#
# $$v_1 = 4 \quad v_2 = 2 \quad v_3 = 1$$
#
# With pencil and calculator, to three decimals: the *scaled score* of $k_1$, the *weight* of $k_2$, and the *output*.
# %% [markdown] lang="zh" of="11bfa988"
# ## 1. 手算一个查询
#
# 一个查询，三个键，宽度 $d_k = 4$，每个键的值是一个数：
#
# $$q = (1, 1, 1, 1)$$
#
# $$k_1 = (1, 1, 0, 0) \quad k_2 = (0, 0, 0, 0) \quad k_3 = (1, 1, 1, 1)$$
#
# $$v_1 = 4 \quad v_2 = 2 \quad v_3 = 1$$
#
# 用纸笔和计算器，算到小数点后三位：$k_1$ *缩放之后的分数*、$k_2$ 的*权重*，以及*输出*。
# %% exercise="hand" answer="by_hand"
by_hand = [
    # BEGIN SOLUTION
    1.0,  # 2 / sqrt(4)
    0.090,  # 1 / (e + 1 + e^2) = 1 / 11.107
    1.824,  # 0.245 * 4 + 0.090 * 2 + 0.665 * 1
    # END SOLUTION
    # BEGIN STUB
    # ...,  # q . k1, scaled
    # ...,  # weight of k2
    # ...,  # output
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. What is left of a dot product with a vector of ones? And what is $\sqrt{4}$?
# 2. A score of zero is not a weight of zero: $e^0 = 1$. Divide each exponential by the sum of all three.
# 3. The scaled scores are 1, 0 and 2, and the sum is $2.718 + 1 + 7.389$. Weight each value and add up.
# %% [markdown] lang="zh" of="f0b68085"
# 1. 与全 1 向量做点积，结果是什么？$\sqrt{4}$ 又是多少？
# 2. 分数是零，权重并不是零：$e^0 = 1$。每个指数都要除以三个指数之和。
# 3. 缩放后的分数是 1、0、2，三个指数之和是 $2.718 + 1 + 7.389$。再把每个值乘上权重加起来。
# %% [markdown] lang="en" role="exercise" exercise="attention" difficulty=2 minutes=15 points=3
# ## 2. Write attention
#
# Complete `attend(query, key, value, mask=None)`; it returns the output only.
#
# - shapes: `query` $(\dots, T, d_k)$, `key` $(\dots, S, d_k)$, `value` $(\dots, S, d_v)$; the output is $(\dots, T, d_v)$;
# - `mask` is boolean and broadcasts to $(\dots, T, S)$; `True` means "may attend";
# - a query that may see no key at all gets zeros;
# - it must also work where scores are very large, a thousand and more;
# - do not use PyTorch's or the library's attention.
# %% [markdown] lang="zh" of="968fa50d"
# ## 2. 写出注意力
#
# 完成 `attend(query, key, value, mask=None)`，只返回输出。
#
# - 形状：`query` 是 $(\dots, T, d_k)$，`key` 是 $(\dots, S, d_k)$，`value` 是 $(\dots, S, d_v)$，输出是 $(\dots, T, d_v)$；
# - `mask` 是布尔张量，能广播成 $(\dots, T, S)$，`True` 表示“可以看”；
# - 如果一个查询什么键都不能看，它的输出是零；
# - 分数非常大（上千）时也要正确；
# - 不要用 PyTorch 或本书的库里现成的注意力。
# %% exercise="attention" answer="attend"
def attend(query, key, value, mask=None):
    # BEGIN SOLUTION
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ value
    # END SOLUTION
# %% [markdown] lang="en" role="hints"
# 1. Which axis has to add up to one, the one of the queries or the one of the keys?
# 2. A masked key must get the weight zero and the others must still add up to one. So must the mask come before or after
#    softmax? And what does softmax make of a row in which everything is masked?
# 3. `scores = query @ key.mT / math.sqrt(...)`; `masked_fill(~mask, torch.finfo(scores.dtype).min)`; softmax;
#    `masked_fill(~mask, 0.0)` on the weights; times `value`.
# %% [markdown] lang="zh" of="e7978822"
# 1. 加起来等于一的，是查询那个轴，还是键那个轴？
# 2. 被遮住的键权重必须是零，其余的权重加起来仍要等于一。那么掩码该放在 softmax 之前还是之后？如果一整行都被遮住，softmax 会给出什么？
# 3. `scores = query @ key.mT / math.sqrt(...)`；`masked_fill(~mask, torch.finfo(scores.dtype).min)`；softmax；
#    对权重再做 `masked_fill(~mask, 0.0)`；最后乘 `value`。
# %% [markdown] lang="en" role="exercise" exercise="heads" difficulty=3 minutes=20 points=3
# ## 3. Two bugs in the heads
#
# A colleague wrote multi-head self-attention. With one head and one text it is right. With as many heads as texts it runs
# too, the loss even falls, and it is wrong: **two** lines have a bug. Find and mend them, without PyTorch's or the
# library's attention.
#
# - `x` is $(B, T, D)$; `w_q`, `w_k`, `w_v` are $(D, D)$; `mask` is $(B, T, S)$, one mask for each text;
# - the result is $(B, T, D)$, the heads side by side.
# %% [markdown] lang="zh" of="74d67013"
# ## 3. 多头里的两处错误
#
# 同事写了一个多头自注意力。只有一个头、一段文本时，结果是对的；头数与文本数相等时，程序照样能跑，甚至损失也会下降，但结果是错的：
# 有**两**行出了错。请找出来，改正它们；不要用 PyTorch 或本书的库里现成的注意力。
#
# - `x` 的形状是 $(B, T, D)$；`w_q`、`w_k`、`w_v` 是 $(D, D)$；`mask` 是 $(B, T, S)$，每段文本一个掩码；
# - 结果是 $(B, T, D)$，各个头并排放在一起。
# %% exercise="heads" answer="multi_head"
def split(x, num_heads):
    """(B, T, D) -> (B, H, T, K)"""
    batch, length, width = x.shape
    # BEGIN SOLUTION
    return x.reshape(batch, length, num_heads, width // num_heads).transpose(1, 2)
    # END SOLUTION
    # BEGIN STUB
    # return x.reshape(batch, num_heads, length, width // num_heads)
    # END STUB


def multi_head(x, w_q, w_k, w_v, num_heads, mask):
    query, key, value = split(x @ w_q, num_heads), split(x @ w_k, num_heads), split(x @ w_v, num_heads)
    scores = query @ key.mT / math.sqrt(query.shape[-1])  # (B, H, T, S)
    # BEGIN SOLUTION
    scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)
    # END SOLUTION
    # BEGIN STUB
    # scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    # END STUB
    output = scores.softmax(dim=-1) @ value  # (B, H, T, K)
    return output.transpose(1, 2).flatten(2)  # (B, T, D)
# %% [markdown] lang="en" role="hints"
# 1. Try `split` on `torch.arange(12).reshape(1, 3, 4)` with two heads. Which numbers should head 0 get of the first word?
# 2. `scores` has the axes (B, H, T, S), `mask` has (B, T, S). Broadcasting aligns axes from the right: what does the
#    first axis of the mask meet, and why does that raise no error when $B = H$?
# 3. `reshape` to (B, T, H, K) first, then `transpose(1, 2)`. And the mask needs an axis for the heads: `mask[:, None]`.
# %% [markdown] lang="zh" of="06429d9a"
# 1. 对 `torch.arange(12).reshape(1, 3, 4)` 用两个头试一下 `split`。第 0 个头应当拿到第一个词的哪几个数？
# 2. `scores` 的轴是 (B, H, T, S)，`mask` 的轴是 (B, T, S)。广播从右边对齐：掩码的第一个轴会对上谁？为什么 $B = H$ 时不报错？
# 3. 先 `reshape` 成 (B, T, H, K)，再 `transpose(1, 2)`。掩码还缺一个头的轴：`mask[:, None]`。
# %% [markdown] lang="en" role="exercise" exercise="measure" difficulty=2 minutes=15 points=2
# ## 4. Measure what the scale is for
#
# Entries of queries and keys are drawn with mean 0 and variance 1 by `draw`. Measure, and put in the list:
#
# 1. the exponent $a$ in "standard deviation of $q \cdot k$ grows like $d_k^{\,a}$", from measurements at $d_k = 16$ and $1024$;
# 2. for $d_k = 64$ and 128 keys: the largest weight of softmax, averaged over 500 queries, *without* the scale;
# 3. the same *with* the scale $1/\sqrt{d_k}$.
#
# Values within 0.04 are right: your random numbers are not ours.
# %% [markdown] lang="zh" of="f119e4a2"
# ## 4. 量一量缩放有什么用
#
# `draw` 产生均值为 0、方差为 1 的查询和键。请测量下面三个数，填进列表：
#
# 1. 设 $q \cdot k$ 的标准差与 $d_k^{\,a}$ 成正比，用 $d_k = 16$ 和 $1024$ 两处的测量估计 $a$；
# 2. $d_k = 64$、128 个键：*不*缩放时，softmax 最大的权重，对 500 个查询取平均；
# 3. 同一个量，但*用* $1/\sqrt{d_k}$ 缩放。
#
# 误差在 0.04 以内都算对：你的随机数和我们的不一样。
# %% exercise="measure" answer="measured"
def draw(*shape):
    return math.sqrt(3) * (2 * torch.rand(*shape, dtype=torch.float64) - 1)


measured = [
    # BEGIN SOLUTION
    math.log((draw(4000, 1024) * draw(4000, 1024)).sum(-1).std() / (draw(4000, 16) * draw(4000, 16)).sum(-1).std())
    / math.log(1024 / 16),
    (draw(500, 1, 64) @ draw(500, 128, 64).mT).softmax(-1).amax(-1).mean().item(),
    (draw(500, 1, 64) @ draw(500, 128, 64).mT / math.sqrt(64)).softmax(-1).amax(-1).mean().item(),
    # END SOLUTION
    # BEGIN STUB
    # ...,  # exponent
    # ...,  # largest weight without the scale
    # ...,  # largest weight with the scale
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. Many dot products at once: multiply two matrices entry by entry and add up each row. What is `.std()` of that?
# 2. If $y = c\,x^a$, then $\log y$ is a straight line in $\log x$: the exponent is its slope.
# 3. `(draw(500, 1, 64) @ draw(500, 128, 64).mT).softmax(-1).amax(-1).mean()`, and the same divided by `math.sqrt(64)`
#    before softmax. `.item()` makes a number of a tensor.
# %% [markdown] lang="zh" of="379993a5"
# 1. 一次算许多个点积：两个矩阵逐元素相乘，再把每行加起来。它的 `.std()` 是多少？
# 2. 如果 $y = c\,x^a$，那么 $\log y$ 对 $\log x$ 是一条直线，指数就是斜率。
# 3. `(draw(500, 1, 64) @ draw(500, 128, 64).mT).softmax(-1).amax(-1).mean()`；另一个在 softmax 之前除以 `math.sqrt(64)`。
#    `.item()` 把张量变成数。
