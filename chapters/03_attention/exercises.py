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
# 一个查询，三个键，维度 $d_k = 4$，每个键的值是一个数：
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
#    softmax, and is a score of zero low enough for that, given that $e^0 = 1$? And what does softmax make of a row in which everything is masked?
# 3. `scores = query @ key.mT / math.sqrt(...)`; `masked_fill(~mask, torch.finfo(scores.dtype).min)`; softmax;
#    `masked_fill(~mask, 0.0)` on the weights; times `value`.
# %% [markdown] lang="zh" of="577af2da"
# 1. 加起来等于一的，是查询那个轴，还是键那个轴？
# 2. 被遮住的键权重必须是零，其余的权重加起来仍要等于一。那么掩码该放在 softmax 之前还是之后？
#    想一想 $e^0 = 1$：把分数改成零够不够？如果一整行都被遮住，softmax 会给出什么？
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
    """(B, T, D) -> (B, H, T, d_k)"""
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
    output = scores.softmax(dim=-1) @ value  # (B, H, T, d_k)
    return output.transpose(1, 2).flatten(2)  # (B, T, D)
# %% [markdown] lang="en" role="hints"
# 1. Try `split` on `torch.arange(12).reshape(1, 3, 4)` with two heads. Which numbers should head 0 get of the first word?
# 2. `scores` has the axes (B, H, T, S), `mask` has (B, T, S). Broadcasting aligns axes from the right: what does the
#    first axis of the mask meet, and why does that raise no error when $B = H$?
# 3. `reshape` to (B, T, H, d_k) first, then `transpose(1, 2)`. And the mask needs an axis for the heads: `mask[:, None]`.
# %% [markdown] lang="zh" of="fa9e6376"
# 1. 对 `torch.arange(12).reshape(1, 3, 4)` 用两个头试一下 `split`。第 0 个头应当拿到第一个词的哪几个数？
# 2. `scores` 的轴是 (B, H, T, S)，`mask` 的轴是 (B, T, S)。广播从右边对齐：掩码的第一个轴会对上谁？为什么 $B = H$ 时不报错？
# 3. 先 `reshape` 成 (B, T, H, d_k)，再 `transpose(1, 2)`。掩码还缺一个头的轴：`mask[:, None]`。
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
# %% [markdown] lang="en" role="exercise" exercise="groups" difficulty=2 minutes=15 points=2
# ## 5. Two bugs in grouped queries
#
# Causal attention with grouped queries, as it is used while a text is being written: the queries are the *last* $T$ of $S$ positions.
# With as many groups as heads and $T = S$ the function is right. **Two** lines have a bug. Find and mend them, without PyTorch's or
# the library's attention.
#
# - `query` is $(B, H, T, d_k)$, `key` is $(B, G, S, d_k)$, `value` is $(B, G, S, d_v)$; $H$ is a multiple of $G$;
# - neighbouring heads share a group; query $t$ may see its own position and those before it.
# %% [markdown] lang="zh" of="d46cdb05"
# ## 5. 分组查询注意力里的两处错误
#
# 下面是因果的分组查询注意力，用在逐词生成文本的时候：查询是 $S$ 个位置中*最后*的 $T$ 个。
# 组数等于头数、并且 $T = S$ 时，这个函数是对的。有**两**行出了错，请找出来改正；不要用 PyTorch 或本书的库里现成的注意力。
#
# - `query` 的形状是 $(B, H, T, d_k)$，`key` 是 $(B, G, S, d_k)$，`value` 是 $(B, G, S, d_v)$，$H$ 是 $G$ 的倍数；
# - 相邻的头共用一组；第 $t$ 个查询可以看自己的位置和它之前的位置。
# %% exercise="groups" answer="grouped"
def grouped(query, key, value):
    repeats = query.shape[1] // key.shape[1]
    # BEGIN SOLUTION
    key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    # END SOLUTION
    # BEGIN STUB
    # key, value = key.repeat(1, repeats, 1, 1), value.repeat(1, repeats, 1, 1)
    # END STUB
    num_queries, num_keys = query.shape[2], key.shape[2]
    # BEGIN SOLUTION
    mask = torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries)
    # END SOLUTION
    # BEGIN STUB
    # mask = torch.ones(num_queries, num_keys, dtype=torch.bool).tril()
    # END STUB
    scores = query @ key.mT / math.sqrt(query.shape[-1])  # (B, H, T, S)
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1) @ value
# %% [markdown] lang="en" role="hints"
# 1. Four heads, two groups: which group does each head read? Try `repeat` on `torch.arange(2)`.
# 2. One query, five keys: print the mask. Which keys may the newest word see?
# 3. `repeat_interleave(repeats, dim=1)` repeats each entry before the next. And `tril(k)` shifts the triangle by $k$ columns to the right.
# %% [markdown] lang="zh" of="be4effe1"
# 1. 四个头、两组：每个头读的是哪一组？对 `torch.arange(2)` 试试 `repeat`。
# 2. 一个查询、五个键：把掩码打印出来。最新的词可以看哪些键？
# 3. `repeat_interleave(repeats, dim=1)` 会先把每一项重复完，再轮到下一项。`tril(k)` 把三角形向右移 $k$ 列。
# %% [markdown] lang="en" role="exercise" exercise="rotary" difficulty=2 minutes=20 points=3
# ## 6. Rotary positions as GPT-J has them
#
# GPT-J pairs *neighbours*, and it turns only the first numbers of each head; the others carry no position at all. Complete
# `rotate(x, positions, turned, theta)`, which returns a tensor of the shape of `x`.
#
# - `x` is $(\dots, T, d_k)$; `positions` holds the $T$ positions, which need not begin at 0 nor be all different;
# - `turned` is even and at most $d_k$: the first `turned` numbers are turned, the others stay as they are. With $n$ for `turned` and
#   $i = 0, \dots, n/2 - 1$, the numbers $2i$ and $2i + 1$ (counted from 0) are a pair, turned by the angle $t\,\theta^{-2i/n}$;
# - turned by $\alpha$, the pair $(a, b)$ becomes $(a \cos\alpha - b \sin\alpha,\; b \cos\alpha + a \sin\alpha)$;
# - do not use the library's `Rotary`.
# %% [markdown] lang="zh" of="d04252a6"
# ## 6. GPT-J 的旋转位置编码
#
# GPT-J 把*相邻的*两个数配成一对，而且每个头只转动最前面的一部分数，其余的数不带位置信息。
# 完成 `rotate(x, positions, turned, theta)`，返回的张量形状与 `x` 相同。
#
# - `x` 的形状是 $(\dots, T, d_k)$；`positions` 是 $T$ 个位置，不一定从 0 开始，也可能有重复；
# - `turned` 是偶数，不超过 $d_k$：前 `turned` 个数要转动，其余的保持不变。把 `turned` 记作 $n$，设 $i = 0, \dots, n/2 - 1$：
#   编号为 $2i$ 和 $2i + 1$ 的两个数是一对（编号从 0 开始），转动的角度是 $t\,\theta^{-2i/n}$；
# - 转过 $\alpha$ 之后，$(a, b)$ 变成 $(a \cos\alpha - b \sin\alpha,\; b \cos\alpha + a \sin\alpha)$；
# - 不要用本书的库里的 `Rotary`。
# %% exercise="rotary" answer="rotate"
def rotate(x, positions, turned, theta=10_000.0):
    # BEGIN SOLUTION
    frequencies = theta ** -(torch.arange(0, turned, 2, dtype=torch.float64) / turned)
    angles = positions[:, None] * frequencies  # (T, turned / 2)
    a, b = x[..., :turned:2], x[..., 1:turned:2]
    pairs = [a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()]
    return torch.cat([torch.stack(pairs, dim=-1).flatten(-2), x[..., turned:]], dim=-1)
    # END SOLUTION
# %% [markdown] lang="en" role="hints"
# 1. How many angles are there in all? One for each position and each pair: which shape is that?
# 2. `x[..., 0:turned:2]` are the first numbers of all pairs. Which slice are the second ones? After turning, they must take turns
#    again: what does `torch.stack(..., dim=-1)` make of two tensors, and what does `flatten(-2)` make of that?
# 3. The frequencies are `theta ** -(torch.arange(0, turned, 2) / turned)`, the angles `positions[:, None] * frequencies`. At the end
#    `torch.cat` joins the turned numbers and `x[..., turned:]`.
# %% [markdown] lang="zh" of="c31b5cbd"
# 1. 一共有多少个角度？每个位置、每个数对各一个：它们排成什么形状？
# 2. `x[..., 0:turned:2]` 是各个数对的第一个数，第二个数用什么切片？转动之后，它们还要重新交错排好：
#    `torch.stack(..., dim=-1)` 把两个张量变成什么？再做 `flatten(-2)` 呢？
# 3. 频率是 `theta ** -(torch.arange(0, turned, 2) / turned)`，角度是 `positions[:, None] * frequencies`。
#    最后用 `torch.cat` 把转动过的数和 `x[..., turned:]` 拼起来。
# %% [markdown] lang="en" role="exercise" exercise="cost" difficulty=1 minutes=10 points=1
# ## 7. What attention costs, by hand
#
# A model like Llama 3 8B: $L = 32$ layers, width $D = 4096$, $H = 32$ query heads and $G = 8$ key-value heads of width $d_k = 128$, numbers
# of 2 bytes. One GiB is $2^{30}$ bytes. For one text of $8192$ words:
#
# 1. How many GiB does the **KV cache** take, all layers together?
# 2. How many GiB do the weights $T \times S$ of all heads of *one* layer take, if they are written out, with $T = S = 8192$?
# 3. And for a model *without* groups ($G = H$): at which length $T$ do the two products $QK^\top$ and $WV$ ($W$: the weights) need as many multiplications
#    as the four projections?
# %% [markdown] lang="zh" of="d2e3b917"
# ## 7. 手算注意力的代价
#
# 一个类似 Llama 3 8B 的模型：$L = 32$ 层，模型宽度 $D = 4096$，$H = 32$ 个查询头，$G = 8$ 个键值头，头的维度 $d_k = 128$，每个数占 2 字节。
# 1 GiB 是 $2^{30}$ 字节。对一段 $8192$ 个词的文本：
#
# 1. 所有层的 **KV 缓存**一共占多少 GiB？
# 2. 如果把*一层*里所有头的 $T \times S$ 权重都写出来，$T = S = 8192$，要占多少 GiB？
# 3. 再看*不*分组的模型（$G = H$）：长度 $T$ 是多少时，$QK^\top$ 和 $WV$（$W$ 是注意力权重）两个乘积的乘法次数与四个投影一样多？
# %% exercise="cost" answer="costs"
costs = [
    # BEGIN SOLUTION
    1.0,  # 2 * 32 layers * 8 heads * 128 * 8192 words * 2 bytes = 2^30
    4.0,  # 32 heads * 8192^2 * 2 bytes = 2^32
    8192,  # 4 T D^2 = 2 T^2 D, so T = 2 D
    # END SOLUTION
    # BEGIN STUB
    # ...,  # GiB of the cache
    # ...,  # GiB of one layer's weights
    # ...,  # length
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. Everything here is a power of two: $8192 = 2^{13}$. Add exponents instead of multiplying.
# 2. The cache holds keys *and* values, in every layer, for the key-value heads only. Weights exist for every query head.
# 3. One projection costs $T D^2$, one product of attention $T^2 D$. Set four of the first equal to two of the second.
# %% [markdown] lang="zh" of="a4dd85b7"
# 1. 这里的数都是二的幂：$8192 = 2^{13}$。不用相乘，把指数加起来就行。
# 2. 缓存里有键*和*值，每层都有，但只算键值头；权重则是每个查询头都有。
# 3. 一个投影要 $T D^2$ 次，注意力的一个乘积要 $T^2 D$ 次。令前者的四倍等于后者的两倍。
# %% [markdown] lang="en" role="exercise" exercise="backward" difficulty=3 minutes=20 points=2
# ## 8. Back through softmax
#
# In the forward pass `weights` $= \operatorname{softmax}(\text{scores})$ along each row and the output is `weights @ value`. Complete
# `scores_gradient(weights, value, grad)`: given the gradient `grad` of the loss by the *output*, it returns the gradient by the *scores*,
# $(\dots, T, S)$.
#
# - `weights` is $(\dots, T, S)$, `value` $(\dots, S, d_v)$, `grad` $(\dots, T, d_v)$;
# - do not use autograd (`torch.autograd.grad`, `.backward` and `jacobian`).
# %% [markdown] lang="zh" of="b9931285"
# ## 8. 穿过 softmax 往回走
#
# 前向计算时，`weights` 是分数沿每一行做 softmax 的结果，输出是 `weights @ value`。完成 `scores_gradient(weights, value, grad)`：
# 已知损失对*输出*的梯度 `grad`，返回损失对*分数*的梯度，形状是 $(\dots, T, S)$。
#
# - `weights` 是 $(\dots, T, S)$，`value` 是 $(\dots, S, d_v)$，`grad` 是 $(\dots, T, d_v)$；
# - 不要用自动求导（`torch.autograd.grad`、`.backward`、`jacobian`）。
# %% exercise="backward" answer="scores_gradient"
def scores_gradient(weights, value, grad):
    # BEGIN SOLUTION
    moved = grad @ value.mT  # gradient by the weights, (..., T, S)
    return weights * (moved - (weights * moved).sum(dim=-1, keepdim=True))
    # END SOLUTION
# %% [markdown] lang="en" role="hints"
# 1. First the gradient by the weights: the output is a matrix product, and its derivative by the left factor is `grad @ value.mT`.
# 2. Softmax's derivative is $\partial w_i / \partial s_j = w_i(\delta_{ij} - w_j)$. Multiply by the gradient of $w_i$ and add up over $i$.
# 3. What comes out is $w_j$ times (its own gradient minus the *weighted* mean of the row): `keepdim=True` keeps the axis for subtracting.
# %% [markdown] lang="zh" of="ada1a73c"
# 1. 先求对权重的梯度：输出是矩阵乘积，对左边因子的梯度是 `grad @ value.mT`。
# 2. softmax 的导数是 $\partial w_i / \partial s_j = w_i(\delta_{ij} - w_j)$。乘上 $w_i$ 的梯度，再对 $i$ 求和。
# 3. 结果是 $w_j$ 乘以“它自己的梯度减去这一行的*加权*平均”；`keepdim=True` 保留那个轴，才好相减。
