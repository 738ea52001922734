# %% name="imports"
import math

import torch
from torch.nn import functional as F

# %% [markdown] lang="en" role="exercise" exercise="norms" difficulty=1 minutes=8 points=2
# ## 1. Norms by hand
#
# $x = (2, 0, 2, 4)$. Leave $\epsilon$ away; all weights are 1, all biases 0. To three decimals:
#
# 1. the fourth number of LayerNorm$(x)$;
# 2. the fourth number of RMSNorm$(x)$;
# 3. a sublayer answers $f(x) = (2, 0, 2, 0)$. The *first* number after **post-norm** with RMSNorm.
# %% [markdown] lang="zh" of="37d284f6"
# ## 1. 手算归一化
#
# $x = (2, 0, 2, 4)$。不考虑 $\epsilon$，所有权重为 1，所有偏置为 0。算到小数点后三位：
#
# 1. LayerNorm$(x)$ 的第四个数；
# 2. RMSNorm$(x)$ 的第四个数；
# 3. 某个子层给出 $f(x) = (2, 0, 2, 0)$。用 RMSNorm 做**后归一化**之后的*第一个*数。
# %% exercise="norms" answer="norms_by_hand"
norms_by_hand = [
    # BEGIN SOLUTION
    1.414,  # mean 2, deviations 0, -2, 0, 2, variance 2
    1.633,  # squares 4, 0, 4, 16 have the mean 6
    1.155,  # the sum (4, 0, 4, 4): the squares have the mean 12
    # END SOLUTION
    # BEGIN STUB
    # ...,  # LayerNorm, fourth number
    # ...,  # RMSNorm, fourth number
    # ...,  # post-norm, first number
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. LayerNorm: the mean of the four numbers, their deviations from it, the mean of the squared deviations, its root.
# 2. RMSNorm: no deviations. The squares themselves, their mean, its root.
# 3. The deviations are $0, -2, 0, 2$; the mean of $x^2$ is 6. Post-norm normalises the *sum* $x + f(x) = (4, 0, 4, 4)$.
# %% [markdown] lang="zh" of="72be84e9"
# 1. LayerNorm：先求四个数的平均，再求各自的偏差、偏差平方的平均，最后开方。
# 2. RMSNorm：不用偏差，直接求平方、平方的平均，再开方。
# 3. 偏差是 $0, -2, 0, 2$；$x^2$ 的平均是 6。后归一化作用在*和*上：$x + f(x) = (4, 0, 4, 4)$。
# %% [markdown] lang="en" role="exercise" exercise="counts" difficulty=2 minutes=12 points=2
# ## 2. Count a small Llama
#
# $D = 8$, $F = 32$ (gated), 4 query heads and 2 key-value heads of width $d_k = 2$, $L = 3$ layers, no biases. Without the norms:
#
# 1. How many weights does *one block* have?
# 2. How many FLOPs does *one block* need for *one token* that sees $T = 50$ positions (forward pass, matrix products only)?
# 3. How many numbers does the *whole model* keep for *one token* while generating?
# %% [markdown] lang="zh" of="210d2620"
# ## 2. 数一个小 Llama
#
# $D = 8$，$F = 32$（带门），4 个查询头、2 个键值头，头的维度 $d_k = 2$，$L = 3$ 层，没有偏置。不算归一化：
#
# 1. *一个块*有多少个权重？
# 2. *一个词元*能看到 $T = 50$ 个位置，*一个块*处理它需要多少 FLOPs（前向，只算矩阵乘法）？
# 3. 生成时，*整个模型*要为*一个词元*保存多少个数？
# %% exercise="counts" answer="counted_by_hand"
counted_by_hand = [
    # BEGIN SOLUTION
    960,  # q and out 8 x 8, k and v 8 x 4, three of 8 x 32
    3520,  # 2 * 960, and 2 * 50 * 8 for the scores, as much for the mixing
    24,  # keys and values, 3 layers, 2 heads of 2
    # END SOLUTION
    # BEGIN STUB
    # ...,  # weights of one block
    # ...,  # FLOPs of one block for one token
    # ...,  # numbers kept for one token
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. How wide is what `q_proj` puts out, and `k_proj`? How many matrices has a gated feed-forward layer?
# 2. Two FLOPs for each weight. Then the part without weights: 50 dot products in each of 4 heads, and mixing 50 values.
# 3. $2 \cdot 8 \cdot 8 + 2 \cdot 8 \cdot 4 + 3 \cdot 8 \cdot 32$; then $2 \cdot$ that $+\ 4 \cdot 50 \cdot 8$; then $2 \cdot L \cdot G \cdot d_k$.
# %% [markdown] lang="zh" of="e4c8ae05"
# 1. `q_proj` 的输出有多宽？`k_proj` 呢？带门的前馈层有几个矩阵？
# 2. 每个权重两次浮点运算。再加上没有权重的部分：4 个头各做 50 次点积，再混合 50 个值。
# 3. $2 \cdot 8 \cdot 8 + 2 \cdot 8 \cdot 4 + 3 \cdot 8 \cdot 32$；再是它的 $2$ 倍加 $4 \cdot 50 \cdot 8$；最后是 $2 \cdot L \cdot G \cdot d_k$。
# %% [markdown] lang="en" role="exercise" exercise="layer_norm" difficulty=2 minutes=10 points=2
# ## 3. Write LayerNorm
#
# Complete `layer_norm(x, weight, bias, eps)` without PyTorch's or the library's LayerNorm.
#
# - `x` is $(B, T, D)$, `weight` and `bias` are $(D)$; the result has the shape of `x`;
# - a vector whose numbers are all equal must not become NaN.
# %% [markdown] lang="zh" of="fa26bb81"
# ## 3. 写出 LayerNorm
#
# 完成 `layer_norm(x, weight, bias, eps)`，不要用 PyTorch 或本书的库里现成的 LayerNorm。
#
# - `x` 的形状是 $(B, T, D)$，`weight` 和 `bias` 是 $(D)$，结果与 `x` 形状相同；
# - 各个数都相等的向量，结果不能是 NaN。
# %% exercise="layer_norm" answer="layer_norm"
def layer_norm(x, weight, bias, eps):
    # BEGIN SOLUTION
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return centred / (variance + eps).sqrt() * weight + bias
    # END SOLUTION
# %% [markdown] lang="en" role="hints"
# 1. Which axis holds the $D$ numbers of one word? Only that one may be averaged over.
# 2. `keepdim=True` keeps the axis, with size 1, so that the mean can be taken off every number. Is your variance divided by $D$?
# 3. `centred = x - x.mean(dim=-1, keepdim=True)`; the mean of `centred.square()`; divide by the root of (variance + eps); times `weight`, plus `bias`.
# %% [markdown] lang="zh" of="bdd6f9a6"
# 1. 一个词的 $D$ 个数在哪个轴上？只能沿这个轴取平均。
# 2. `keepdim=True` 会保留大小为 1 的轴，这样就能从每个数里减去均值。你的方差是除以 $D$ 的吗？
# 3. `centred = x - x.mean(dim=-1, keepdim=True)`；对 `centred.square()` 取平均；除以（方差 + eps）的平方根；乘 `weight`，加 `bias`。
# %% [markdown] lang="en" role="exercise" exercise="decoder_block" difficulty=2 minutes=12 points=3
# ## 4. A decoder block, pre-norm
#
# In the lesson the decoder block was post-norm. Write the **pre-norm** one, `decoder_block(x, source, attend, cross, feed, norms)`:
#
# - `x` is the stream $(B, T, D)$, `source` the encoder's result $(B, S, D)$;
# - `attend(y)` is causal self-attention, `cross(y, source)` lets `y` ask the source, `feed(y)` is the feed-forward layer;
# - `norms` is a list of three functions, in the order of the sublayers;
# - the encoder's result has been normalised already.
# %% [markdown] lang="zh" of="a4178eb8"
# ## 4. 前归一化的解码器块
#
# 课文里的解码器块是后归一化的。请写出**前归一化**的版本 `decoder_block(x, source, attend, cross, feed, norms)`：
#
# - `x` 是残差流，形状 $(B, T, D)$；`source` 是编码器的结果，形状 $(B, S, D)$；
# - `attend(y)` 是因果自注意力，`cross(y, source)` 让 `y` 去问源文本，`feed(y)` 是前馈层；
# - `norms` 是三个函数的列表，顺序与子层相同；
# - 编码器的结果已经归一化过了。
# %% exercise="decoder_block" answer="decoder_block"
def decoder_block(x, source, attend, cross, feed, norms):
    # BEGIN SOLUTION
    x = x + attend(norms[0](x))
    x = x + cross(norms[1](x), source)
    return x + feed(norms[2](x))
    # END SOLUTION
# %% [markdown] lang="en" role="hints"
# 1. Three sublayers, three lines, each with an addition of its own. What does pre-norm do to the stream itself?
# 2. The norm stands in front of what a sublayer *reads*; its result is added to the stream as it was.
# 3. `x = x + attend(norms[0](x))`, and the other two in the same way; `source` goes into `cross` as it is.
# %% [markdown] lang="zh" of="f6b0d222"
# 1. 三个子层，三行代码，每行各做一次相加。前归一化对残差流本身做了什么？
# 2. 归一化放在子层*读入*的东西前面；子层的结果加到原来的残差流上。
# 3. `x = x + attend(norms[0](x))`，另外两行也一样；`source` 原样交给 `cross`。
# %% [markdown] lang="en" role="exercise" exercise="swiglu" difficulty=3 minutes=15 points=3
# ## 5. Two bugs in a gated sublayer
#
# A colleague wrote Llama's second sublayer with its norm and its residual. It trains, only worse than it should, and with released weights it writes nonsense:
# **two** lines have a bug. Mend them. (In the code a vector is a row, so $W y$ is written `y @ w`, with `w` the transposed matrix: that is not one of the two.)
#
# $$x + W_{\text{down}} \bigl(\operatorname{SiLU}(W_{\text{gate}}\, y) \odot W_{\text{up}}\, y\bigr), \qquad y = \operatorname{RMSNorm}(x)$$
# %% [markdown] lang="zh" of="4a0d0c99"
# ## 5. 门控子层里的两处错误
#
# 同事写了 Llama 的第二个子层，连同归一化和残差。它能训练，只是效果比应有的差；换上公布的权重，写出来的就是胡言乱语：有**两**行出了错。请改正。（代码里向量是一行，所以 $W y$ 写成 `y @ w`，`w` 是转置后的矩阵：这不算错误。）
#
# $$x + W_{\text{down}} \bigl(\operatorname{SiLU}(W_{\text{gate}}\, y) \odot W_{\text{up}}\, y\bigr), \qquad y = \operatorname{RMSNorm}(x)$$
# %% exercise="swiglu" answer="gated_sublayer"
def gated_sublayer(x, weight, w_gate, w_up, w_down):
    y = F.rms_norm(x, (x.shape[-1],), weight, 1e-6)
    # BEGIN SOLUTION
    hidden = F.silu(y @ w_gate) * (y @ w_up)
    return x + hidden @ w_down
    # END SOLUTION
    # BEGIN STUB
    # hidden = F.silu((y @ w_gate) * (y @ w_up))
    # return y + hidden @ w_down
    # END STUB
# %% [markdown] lang="en" role="hints"
# 1. With `w_gate` all zeros nothing passes the gate. What should the sublayer return then, and what does this one return?
# 2. One bug is in what is added to, the other in what goes through SiLU. Compare with the equation, bracket by bracket.
# 3. SiLU is taken of the gate alone, then multiplied; and the residual is `x`, not `y`.
# %% [markdown] lang="zh" of="7d933e82"
# 1. 如果 `w_gate` 全是零，什么都过不了门。这时子层应当返回什么？它实际返回了什么？
# 2. 一处错在“加到谁上”，另一处错在“谁过 SiLU”。对照公式，一个括号一个括号地看。
# 3. 只有门要过 SiLU，然后再相乘；残差是 `x`，不是 `y`。
# %% [markdown] lang="en" role="exercise" exercise="measure" difficulty=2 minutes=15 points=2
# ## 6. Measure
#
# 1. Of the parameters in the *blocks* of GPT-2 (`GPT_SIZES["gpt2"]`), which share is in the feed-forward layers? (Build it under `torch.device("meta")`: that takes no memory.)
# 2. How many times the FLOPs of a forward pass does a whole training step take (forward and backward)? Use `FlopCounterMode` on `small`. (It does not see the CPU's fused attention, neither forward nor backward; take what it counts.)
# 3. A stream that nobody normalises: 64 random vectors, $x \leftarrow x + W x$, with a new random $W$ of variance $1/D$, the same for all 64, at each of 20 steps ($D = 256$). Its *length* grows like $2^{a n}$ with the number $n$ of steps. What is $a$?
#
# Values within 3 percent are right.
# %% [markdown] lang="zh" of="cd63287a"
# ## 6. 测量
#
# 1. GPT-2（`GPT_SIZES["gpt2"]`）的*各个块*里，前馈层占参数的几成？（在 `torch.device("meta")` 下建模型，不占内存。）
# 2. 完整训练一步（前向加反向）的 FLOPs 是前向的几倍？对 `small` 用 `FlopCounterMode` 来数。（它看不到 CPU 上注意力的融合实现，前向和反向都看不到；数到多少就算多少。）
# 3. 一条没人归一化的残差流：64 个随机向量，$x \leftarrow x + W x$，走 20 步，每一步用一个新的、方差为 $1/D$ 的随机矩阵 $W$，64 个向量共用（$D = 256$）。它的*长度*随步数 $n$ 像 $2^{a n}$ 那样增长。$a$ 是多少？
#
# 误差在 3% 以内都算对。
# %% exercise="measure" answer="measured"
from torch.utils.flop_counter import FlopCounterMode

from llmguide_lib.models import GPT, GPT_SIZES, GPTConfig

small = GPT(GPTConfig(vocab_size=100, max_seq_len=32, d_model=32, num_heads=4, num_layers=2))
tokens = torch.zeros(2, 32, dtype=torch.long)
# BEGIN SOLUTION
with torch.device("meta"):
    sizes = {name: p.numel() for name, p in GPT(GPT_SIZES["gpt2"]).named_parameters() if name.startswith("blocks")}
with FlopCounterMode(display=False) as forward:
    small(tokens)
with FlopCounterMode(display=False) as step:
    small(tokens).sum().backward()
stream = start = torch.randn(64, 256)
for _ in range(20):
    stream = stream + stream @ torch.randn(256, 256) / math.sqrt(256)
# END SOLUTION

measured = [
    # BEGIN SOLUTION
    sum(size for name, size in sizes.items() if "feed_forward" in name) / sum(sizes.values()),
    step.get_total_flops() / forward.get_total_flops(),
    math.log2(stream.norm() / start.norm()) / 20,
    # END SOLUTION
    # BEGIN STUB
    # ...,  # share of the feed-forward layers
    # ...,  # training step over forward pass
    # ...,  # exponent
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. `named_parameters()` gives names such as `blocks.0.feed_forward.up_proj.weight`; add up `numel()` where the name fits.
# 2. `with FlopCounterMode(display=False) as counter:` around the call, then `counter.get_total_flops()`; once around `small(tokens)`, once around `small(tokens).sum().backward()`.
# 3. Each step adds to $x$ something as long as $x$ and independent of it: what happens to the *squared* length? Measure: `math.log2(end / start) / 20`.
# %% [markdown] lang="zh" of="8d7a0db5"
# 1. `named_parameters()` 给出的名字像 `blocks.0.feed_forward.up_proj.weight`；名字符合的，把 `numel()` 加起来。
# 2. 用 `with FlopCounterMode(display=False) as counter:` 包住调用，再看 `counter.get_total_flops()`；一次包住 `small(tokens)`，一次包住 `small(tokens).sum().backward()`。
# 3. 每一步都给 $x$ 加上一个与它等长、又与它无关的向量：长度的*平方*会怎样？测量：`math.log2(终点 / 起点) / 20`。
