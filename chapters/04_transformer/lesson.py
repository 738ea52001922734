# %% [markdown] lang="en" name="question"
# ## A question you cannot answer yet
#
# Attention lets every word fetch from every other (chapter 3). One layer is a weighted mean; surely twelve layers on top of each
# other understand more than one? In 2017 eight authors called their paper *Attention Is All You Need*, and the block they
# stacked has five other parts: an addition that carries the input around every layer, a normalisation, a second small network,
# a mask, and an attention that asks another text. (What tells attention the order of the words, positions, was in chapter 3.)
#
# What happens if you take the title at its word and stack *only* attention?
# %% [markdown] lang="zh" of="84dfa012"
# ## 一个你现在还答不出的问题
#
# 有了注意力，每个词都能从其他任何一个词那里取东西（第 3 章）。一层注意力就是一次加权平均；那么叠上十二层，总该比一层懂得更多吧？
# 2017 年，八位作者把论文题为 *Attention Is All You Need*（只要注意力就够了），可他们叠起来的那个“块”里还有另外五样东西：
# 绕过每一层把输入原样送过去的加法、归一化、另一个小网络、掩码，还有去问另一段文字的注意力。（告诉注意力词序的位置编码，第 3 章已经讲过。）
#
# 如果真像标题说的那样，*只*叠注意力，会怎么样？
# %% [markdown] lang="en" name="guess-collapse" role="prediction"
# **Write down your guess.** Ten words, as ten random vectors, go through twelve layers of attention with random weights. How
# similar are the ten vectors at the end: the mean cosine between two of them, from 0 (nothing in common) to 1 (the same direction)?
# And if each layer's result is *added* to its input instead?
# %% [markdown] lang="zh" of="55afdae6"
# **先写下你的猜测。** 十个词，即十个随机向量，依次通过十二层权重随机的注意力。最后这十个向量有多像？
# 用两两之间余弦的平均值来衡量：0 表示毫无共同之处，1 表示方向完全相同。如果每一层的结果不是取代输入，而是*加到*输入上呢？
# %% name="imports"
import math

import torch
from torch import nn
from torch.nn import functional as F  # in equations, F is the width of the feed-forward layer

from llmguide_lib.attention import MultiHeadAttention, attention, causal_attention, causal_mask
from llmguide_lib.notebook import decide, difference, show

torch.set_default_dtype(torch.float64)


def draw(*shape, seed):
    """Uniform numbers of mean 0 and variance 1, the same on every machine."""
    generator = torch.Generator().manual_seed(seed)
    return math.sqrt(3) * (2 * torch.rand(*shape, generator=generator) - 1)


def fill(module, seed=0):
    """Matrices with variance 1 / width, which keep the size of a vector; biases zero; norms as they are."""
    for number, (name, parameter) in enumerate(module.named_parameters()):
        if parameter.ndim > 1:
            parameter.data = draw(*parameter.shape, seed=1000 * seed + number) / math.sqrt(parameter.shape[-1])
        elif "bias" in name:
            nn.init.zeros_(parameter)
    return module


# %% name="collapse"
def alike(x):
    """The mean cosine between two positions of (T, D)."""
    x = F.normalize(x, dim=-1)
    return ((x @ x.T).sum() - len(x)) / (len(x) * (len(x) - 1))


layers = [fill(MultiHeadAttention(32, num_heads=4), seed) for seed in range(12)]
replaced = added = draw(1, 10, 32, seed=1)
print("layer  replaced   added  growth")
for number, layer in enumerate(layers, 1):
    replaced, added = layer(replaced).detach(), (added + layer(added)).detach()
    if number in (1, 2, 4, 8, 12):
        growth = added.norm() / draw(1, 10, 32, seed=1).norm()  # of the stream's length
        show(f"{number:5} {alike(replaced[0]):9.4f} {alike(added[0]):7.4f} {growth:7.1f}")
# %% [markdown] lang="en" name="collapse-read"
# After two layers the ten words point in nearly the same direction, after four there is no difference left: means of means of means. Whatever stood at position 3 is gone, and
# no later layer can bring it back. Dong et al. (2021) prove it for attention alone, and that additions work against it. Here they
# delay it. But every layer adds something as long as the stream has become by then, nearly the same for all words, and the last column says how little of the stream is
# still the input after twelve. Two ways to keep the words apart for longer are measured further down, under *depth*.
#
# This chapter builds the block part by part, and for each part shows what goes wrong without it.
# %% [markdown] lang="zh" of="c837655a"
# 只过了两层，十个词的方向就几乎一样，四层之后再也看不出差别：剩下的只是平均的平均的平均。第 3 个位置上原来是什么已经无从知道，后面哪一层都找不回来。
# Dong 等人（2021）证明了：只有注意力时，各个词一定会坍缩到一起，而相加能与之抗衡。在这里，相加只是推迟了坍缩：每一层加上去的东西，都和累加到那时的向量一样长，而且对所有词几乎相同；
# 从最后一列看得出，十二层之后的向量里，原来的输入还剩多少。怎样让各个词更久地保持差别，下面讲“深度方向”时会测量两种办法。
#
# 这一章把这个块一件一件地搭起来，每一件都要让你看到：少了它会坏在哪里。
# %% [markdown] lang="en" name="stream"
# ## The residual stream
#
# Do not replace, add. With $x^{(0)}$ the embeddings of a text and $f_1, f_2, \dots$ the layers,
#
# $$x^{(l)} = x^{(l-1)} + f_l\bigl(x^{(l-1)}\bigr) \qquad\Longrightarrow\qquad x^{(L)} = x^{(0)} + \sum_{l=1}^{L} f_l\bigl(x^{(l-1)}\bigr)$$
#
# | symbol | what it is | shape |
# |---|---|---|
# | $x^{(l)}$ | the **residual stream** after layer $l$: a vector of width $D$ for each of $T$ positions | $B \times T \times D$ |
# | $f_l$ | a **sublayer**: attention, or a small network | $B \times T \times D \to B \times T \times D$ |
#
# The right-hand side says it all: the end is a *sum* of what everybody wrote. A layer reads the stream, computes, and writes its
# contribution; what it does not touch stays. And the derivative is $I + \partial f_l / \partial x$. $I$ is the identity, the matrix that changes nothing:
# move $x$ a little, and the sum moves by the same amount, plus what the layer makes of it. So a gradient has a road with nothing on it all
# the way back to the first layer. Remember that $I$; the second half of the chapter tests how far it carries.
# %% [markdown] lang="zh" of="eed93b19"
# ## 残差流
#
# 不要取代，要相加。设 $x^{(0)}$ 是一段文字的词嵌入，$f_1, f_2, \dots$ 是各层：
#
# $$x^{(l)} = x^{(l-1)} + f_l\bigl(x^{(l-1)}\bigr) \qquad\Longrightarrow\qquad x^{(L)} = x^{(0)} + \sum_{l=1}^{L} f_l\bigl(x^{(l-1)}\bigr)$$
#
# | 符号 | 含义 | 形状 |
# |---|---|---|
# | $x^{(l)}$ | 第 $l$ 层之后的**残差流**（residual stream）：$T$ 个位置，每个位置一个宽度为 $D$ 的向量 | $B \times T \times D$ |
# | $f_l$ | 一个**子层**：注意力，或者一个小网络 | $B \times T \times D \to B \times T \times D$ |
#
# 右边的式子说得很清楚：最后的结果是各层写进去的东西之*和*。一层从流里读，算一算，把自己的那份写回去；没碰过的部分原样留着。
# 它的导数是 $I + \partial f_l / \partial x$。$I$ 是单位矩阵，乘上去什么也不变：$x$ 挪动一点，和就跟着挪动同样多，再加上这一层由此引起的变化。
# 于是梯度有一条畅通无阻的路，一直通到第一层。记住这个 $I$，本章后半部分要检验它究竟有多管用。
# %% [markdown] lang="en" name="norms"
# ## Normalisation
#
# If everybody adds, the stream grows: the last column of the table above says how many times as long its vectors became. A layer that read numbers of ever
# different size could not do the same work at every depth. So bring every vector to a standard size first, each position by itself:
#
# $$\operatorname{LayerNorm}(x) = \gamma \odot \frac{x - \bar x}{\sqrt{\operatorname{Var}(x) + \epsilon}} + \beta \qquad\qquad \operatorname{RMSNorm}(x) = \gamma \odot \frac{x}{\sqrt{\overline{x^2} + \epsilon}}$$
#
# $\bar x$ is the mean of the $D$ numbers of *one* vector, $\operatorname{Var}(x)$ the mean of the squared deviations from it, $\overline{x^2}$ the mean of the
# squares; $\gamma$ and $\beta$ (width $D$; in code `weight` and `bias`) are learned, and $\epsilon$ keeps a zero vector from being divided by zero. RMSNorm, in
# Llama and most open decoders after it, leaves out the mean and $\beta$.
#
# **By hand.** $x = (1, 3, 5, 7)$ has the mean 4 and the deviations $(-3, -1, 1, 3)$; their squares have the mean 5, and $\sqrt 5 = 2.236$. LayerNorm gives
# $(-1.342, -0.447, 0.447, 1.342)$. The squares of $x$ itself have the mean 21, and $\sqrt{21} = 4.583$: RMSNorm gives $(0.218, 0.655, 1.091, 1.528)$.
# %% [markdown] lang="zh" of="92d121a7"
# ## 归一化
#
# 大家都往里加，流就越来越大：上面那张表的最后一列就是向量变长的倍数。如果一层读到的数忽大忽小，就没法在每个深度都做同样的工作。
# 所以先把每个向量变成标准大小，各个位置各做各的：
#
# $$\operatorname{LayerNorm}(x) = \gamma \odot \frac{x - \bar x}{\sqrt{\operatorname{Var}(x) + \epsilon}} + \beta \qquad\qquad \operatorname{RMSNorm}(x) = \gamma \odot \frac{x}{\sqrt{\overline{x^2} + \epsilon}}$$
#
# $\bar x$ 是*一个*向量里 $D$ 个数的平均，$\operatorname{Var}(x)$ 是它们与平均值之差的平方的平均，$\overline{x^2}$ 是平方的平均；
# $\gamma$ 和 $\beta$（宽度都是 $D$，代码里叫 `weight` 和 `bias`）要靠训练得到，$\epsilon$ 防止零向量除以零。Llama 和它之后的多数开源解码器用的是 RMSNorm，它省去了均值和 $\beta$。
#
# **手算。** $x = (1, 3, 5, 7)$ 的平均是 4，偏差是 $(-3, -1, 1, 3)$，偏差平方的平均是 5，$\sqrt 5 = 2.236$，
# 所以 LayerNorm 得到 $(-1.342, -0.447, 0.447, 1.342)$。$x$ 自身平方的平均是 21，$\sqrt{21} = 4.583$，所以 RMSNorm 得到 $(0.218, 0.655, 1.091, 1.528)$。
# %% name="norms-scratch"
from llmguide_lib.layers import FeedForward, GatedFeedForward, LayerNorm, RMSNorm


def my_layer_norm(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)  # dim=-1: over the D numbers of each position, never over positions
    return weight * centred / (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt() + bias


def my_rms_norm(x, weight, eps=1e-6):
    return weight * x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()


one, zero = torch.ones(4), torch.zeros(4)
x = torch.tensor([1.0, 3.0, 5.0, 7.0])
show(layer_norm=my_layer_norm(x, one, zero), rms_norm=my_rms_norm(x, one))

x, gain, shift = draw(2, 5, 16, seed=2), draw(16, seed=3), draw(16, seed=4)
library, torchs = LayerNorm(16), nn.LayerNorm(16)
for norm in (library, torchs):
    norm.weight.data, norm.bias.data = gain, shift
show(library=difference(my_layer_norm(x, gain, shift), library(x)), torch=difference(library(x), torchs(x)))
library, torchs = RMSNorm(16), nn.RMSNorm(16, eps=1e-6)
for norm in (library, torchs):
    norm.weight.data = gain
show(library=difference(my_rms_norm(x, gain), library(x)), torch=difference(library(x), torchs(x)))
# %% [markdown] lang="en" name="guess-invariant" role="prediction"
# **Predict.** Which of the two gives the same result when all numbers of $x$ are multiplied by ten? When ten is added to all of them?
# %% [markdown] lang="zh" of="d30daf68"
# **先预测。** 把 $x$ 的所有数都乘以十，这两种归一化哪一种结果不变？都加上十呢？
# %% name="norms-invariant"
tiny_eps = 1e-15  # so that it does not disturb
for name, norm in (("LayerNorm", LayerNorm(16, tiny_eps)), ("RMSNorm", RMSNorm(16, tiny_eps))):
    show(name, "times ten:", difference(norm(10 * x), norm(x)), "  plus ten:", difference(norm(x + 10), norm(x)))
# %% [markdown] lang="en" name="norms-read"
# Both forget the *length* of a vector. RMSNorm keeps its direction; LayerNorm first takes out the part that lies along $(1, \dots, 1)$, the mean. Zhang and
# Sennrich (2019) found models with RMSNorm as good, so taking it out seems not to be what matters.
# %% [markdown] lang="zh" of="a2291d2d"
# 两者都忘掉向量的*长度*。RMSNorm 保留方向；LayerNorm 先去掉沿 $(1, \dots, 1)$ 方向的分量，也就是均值。
# Zhang 和 Sennrich（2019）发现用 RMSNorm 的模型一样好，看来去掉均值并不是要紧的那一步。
# %% [markdown] lang="en" name="feed-forward"
# ## The feed-forward layer
#
# Attention moves information between positions, but what it moves is only *averaged*. The second sublayer computes something new at each
# position, by itself, with the same weights everywhere:
#
# $$\operatorname{FF}(x) = W_2\, \phi(W_1 x + b_1) + b_2 \qquad W_1: F \times D, \quad W_2: D \times F, \quad F = 4D \text{ as a rule}$$
#
# $\phi$ is ReLU ($\max(0, \cdot)$) in 2017, GELU in BERT and GPT. Modern decoders let one map **gate** the other (SwiGLU):
#
# $$\operatorname{GatedFF}(x) = W_2 \bigl(\operatorname{SiLU}(W_g x) \odot W_1 x\bigr), \qquad \operatorname{SiLU}(u) = u \cdot \sigma(u) = \frac{u}{1 + e^{-u}}$$
#
# $\odot$ multiplies number by number: where the gate is near 0, nothing passes. ($\sigma$ is the sigmoid: it turns any number into one between 0 and 1.) Three matrices instead of two, so $F = \tfrac83 D$ costs the same as $4D$ did: $3 \cdot \tfrac83 = 2 \cdot 4$.
# %% [markdown] lang="zh" of="8fc7676d"
# ## 前馈层
#
# 注意力在位置之间搬运信息，但对搬来的东西只做*平均*。第二个子层则在每个位置上各自算出新东西，各处用同样的权重：
#
# $$\operatorname{FF}(x) = W_2\, \phi(W_1 x + b_1) + b_2 \qquad W_1: F \times D, \quad W_2: D \times F, \quad \text{通常 } F = 4D$$
#
# $\phi$ 在 2017 年的论文里是 ReLU（即 $\max(0, \cdot)$），在 BERT 和 GPT 里是 GELU。现代的解码器让一个变换给另一个当**门**（SwiGLU）：
#
# $$\operatorname{GatedFF}(x) = W_2 \bigl(\operatorname{SiLU}(W_g x) \odot W_1 x\bigr), \qquad \operatorname{SiLU}(u) = u \cdot \sigma(u) = \frac{u}{1 + e^{-u}}$$
#
# $\odot$ 是逐元素相乘：门接近 0 的地方，什么也过不去。（$\sigma$ 是 sigmoid 函数，把任何数变到 0 和 1 之间。）矩阵从两个变成三个，所以取 $F = \tfrac83 D$ 时，代价与原来的 $4D$ 一样：$3 \cdot \tfrac83 = 2 \cdot 4$。
# %% name="feed-forward-scratch"
plain, gated = fill(FeedForward(24, 96, nn.ReLU())), fill(GatedFeedForward(24, 64))
x = draw(2, 5, 24, seed=5)
mine = plain.down_proj(plain.up_proj(x).clamp(min=0))
mine_gated = (F.silu(x @ gated.gate_proj.weight.T) * (x @ gated.up_proj.weight.T)) @ gated.down_proj.weight.T
show(plain=difference(mine, plain(x)), gated=difference(mine_gated, gated(x)))
show(weights=[sum(p.numel() for p in module.parameters() if p.ndim == 2) for module in (plain, gated)])
changed = x.clone()
changed[:, 3] += 1
moved = (plain(changed) - plain(x)).abs().sum(dim=(0, 2)) > 0
show(positions_that_notice_a_change_at_3=moved.nonzero().flatten().tolist())
# %% [markdown] lang="en" name="orders"
# ## Two places for the norm
#
# A sublayer joins the stream in one of two ways:
#
# $$\text{post-norm (2017, BERT): } x \leftarrow \operatorname{Norm}\bigl(x + f(x)\bigr) \qquad\qquad \text{pre-norm (GPT-2, Llama): } x \leftarrow x + f\bigl(\operatorname{Norm}(x)\bigr)$$
#
# **By hand**, with $x = (3, 1, 1, 3)$ (mean 2, variance 1) and a tiny feed-forward layer without biases, ReLU inside:
#
# $$W_1 = \begin{pmatrix} 0 & 0 & 1 & 0 \\ 1 & 0 & 0 & 0 \end{pmatrix} \qquad W_2 = \begin{pmatrix} 0 & 0 \\ 0 & 0 \\ 2 & 0 \\ 0 & 2 \end{pmatrix}$$
#
# | step | pre-norm | post-norm |
# |---|---|---|
# | norm first? | $(1, -1, -1, 1)$ | no |
# | $W_1 \cdot$ | $(-1, 1)$ | $(1, 3)$ |
# | ReLU | $(0, 1)$ | $(1, 3)$ |
# | $W_2 \cdot$ | $(0, 0, 0, 2)$ | $(0, 0, 2, 6)$ |
# | add to $x$ | $(3, 1, 1, 5)$ | $(3, 1, 3, 9)$ |
# | norm last? | no | $(-\frac13, -1, -\frac13, \frac53)$ (mean 4, variance 9) |
#
# Pre-norm leaves the sum alone: $x$ is still in it. Post-norm squashes the stream itself after every sublayer:
# the road with nothing on it now has a toll gate at every step. That looks like a detail; further down it decides when a model begins to learn.
#
# Nothing has normalised the end of a pre-norm stack, a sum that has grown with every layer. So one more norm stands there, before the scores: the *final norm* of GPT-2 and Llama.
# %% [markdown] lang="zh" of="93593d70"
# ## 归一化放在哪里
#
# 子层接入残差流有两种方式：
#
# $$\text{后归一化（2017、BERT）：} x \leftarrow \operatorname{Norm}\bigl(x + f(x)\bigr) \qquad\qquad \text{前归一化（GPT-2、Llama）：} x \leftarrow x + f\bigl(\operatorname{Norm}(x)\bigr)$$
#
# **手算。** 取 $x = (3, 1, 1, 3)$（平均 2，方差 1）和一个小小的前馈层，没有偏置，中间用 ReLU：
#
# $$W_1 = \begin{pmatrix} 0 & 0 & 1 & 0 \\ 1 & 0 & 0 & 0 \end{pmatrix} \qquad W_2 = \begin{pmatrix} 0 & 0 \\ 0 & 0 \\ 2 & 0 \\ 0 & 2 \end{pmatrix}$$
#
# | 步骤 | 前归一化（pre-norm） | 后归一化（post-norm） |
# |---|---|---|
# | 先归一化？ | $(1, -1, -1, 1)$ | 不做 |
# | 乘 $W_1$ | $(-1, 1)$ | $(1, 3)$ |
# | ReLU | $(0, 1)$ | $(1, 3)$ |
# | 乘 $W_2$ | $(0, 0, 0, 2)$ | $(0, 0, 2, 6)$ |
# | 加到 $x$ 上 | $(3, 1, 1, 5)$ | $(3, 1, 3, 9)$ |
# | 最后归一化？ | 不做 | $(-\frac13, -1, -\frac13, \frac53)$（平均 4，方差 9） |
#
# 前归一化不动那个和，$x$ 原样留在里面。后归一化则在每个子层之后把残差流本身压一遍：
# 那条畅通无阻的路，现在每一步都设了一道关卡。这看起来是细节，后面会看到，它能决定一个模型什么时候才开始学到东西。
#
# 用前归一化时，那个和每过一层就大一些，到了这一叠块的末尾，也没有谁给它做过归一化。所以在算输出分数之前，还要再放一个归一化，这就是 GPT-2 和 Llama 里的*最终归一化*（final norm）。
# %% name="orders-by-machine"
from llmguide_lib.transformer import DecoderBlock, EncoderBlock, post_norm, pre_norm

layer = FeedForward(4, 2, nn.ReLU(), bias=False)
layer.up_proj.weight.data = torch.tensor([[0.0, 0, 1, 0], [1, 0, 0, 0]])
layer.down_proj.weight.data = torch.tensor([[0.0, 0], [0, 0], [2, 0], [0, 2]])
x, norm = torch.tensor([[[3.0, 1.0, 1.0, 3.0]]]), LayerNorm(4, tiny_eps)
show(pre_norm=pre_norm(x, layer, norm)[0, 0].tolist(), post_norm=post_norm(x, layer, norm)[0, 0].tolist())
# %% [markdown] lang="en" name="encoder"
# ## The encoder block
#
# Attention, then feed-forward, each with its residual and its norm. That is all; in torch it is the two lines of `my_encoder_block`.
# (The rest of the cell serves the comparison: `into_torch` carries our weights into PyTorch's block, `stir` draws every parameter at random.)
# %% [markdown] lang="zh" of="e24aa5dd"
# ## 编码器块
#
# 先注意力，再前馈，各带残差和归一化。就这些，用 torch 写出来，就是 `my_encoder_block` 里的那两行。
# （单元格里其余的代码只为对照：`into_torch` 把我们的权重搬进 PyTorch 的块，`stir` 把每个参数都随机取值。）
# %% name="encoder-scratch"
D, HEADS, FF = 24, 4, 96


def my_encoder_block(x, block, mask=None):
    """Post-norm, as in 2017. Every part is one that we have built."""
    x = my_layer_norm(x + block.attention(x, mask=mask), block.norm1.weight, block.norm1.bias)
    return my_layer_norm(x + block.feed_forward(x), block.norm2.weight, block.norm2.bias)


def into_torch(block, layer):
    """Our block's weights into one of PyTorch's, which keeps the three projections in one matrix."""
    pairs = [(block.attention, layer.self_attn)]
    if isinstance(block, DecoderBlock):
        pairs.append((block.cross_attention, layer.multihead_attn))
    for ours, theirs in pairs:
        parts = (ours.q_proj, ours.k_proj, ours.v_proj)
        theirs.in_proj_weight.data = torch.cat([part.weight for part in parts])
        theirs.in_proj_bias.data = torch.cat([part.bias for part in parts])
        theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    layer.linear1.load_state_dict(block.feed_forward.up_proj.state_dict())
    layer.linear2.load_state_dict(block.feed_forward.down_proj.state_dict())
    for name in ("norm1", "norm2", "norm3")[: 1 + len(pairs)]:
        getattr(layer, name).load_state_dict(getattr(block, name).state_dict())
    return layer


def stir(module, seed=0):
    """Every parameter drawn, biases and norms too, so that nothing can hide."""
    for number, parameter in enumerate(module.parameters()):
        parameter.data = draw(*parameter.shape, seed=1000 * seed + number) / math.sqrt(parameter.shape[-1])
        parameter.data += parameter.ndim == 1
    return module


x = draw(3, 7, D, seed=6)
for residual in (post_norm, pre_norm):
    parts = MultiHeadAttention(D, HEADS), FeedForward(D, FF, nn.ReLU()), LayerNorm(D), LayerNorm(D)
    block = stir(EncoderBlock(*parts, residual=residual))
    options = {"batch_first": True, "norm_first": residual is pre_norm}
    theirs = into_torch(block, nn.TransformerEncoderLayer(D, HEADS, FF, dropout=0.0, **options))
    show(residual.__name__, difference(block(x), theirs(x)))
    if residual is post_norm:
        show(by_hand=difference(my_encoder_block(x, block), block(x)))
# %% [markdown] lang="en" name="decoder"
# ## The decoder block
#
# An encoder reads: every position may look both ways. A decoder writes a second text, word by word, so it differs in two points:
#
# - its self-attention is **causal**: position $t$ sees only $1, \dots, t$. While it writes, nothing stands further on; but for training the whole
#   target is put in at once, and each position predicts the word after it. Without the mask it could simply read that word;
# - between the two sublayers stands a third, **cross-attention**: queries from the text being written, keys and values from the
#   encoder's result, $\operatorname{Attention}(X W_Q,\, E W_K,\, E W_V)$ with $X: T \times D$ and $E: S \times D$. There is no causal
#   mask here, for the whole source is known.
#
# So a translation model is: source → encoder blocks → $E$; target so far → decoder blocks, each of which asks $E$ → scores for the next word.
# %% [markdown] lang="zh" of="70f528a8"
# ## 解码器块
#
# 编码器负责读，每个位置两边都能看。解码器要一个词一个词地写出另一段文字，所以有两点不同：
#
# - 它的自注意力是**因果**的：第 $t$ 个位置只能看 $1, \dots, t$。写的时候，后面本来就还没有词；但训练时整段目标文本是一次放进去的，
#   每个位置都要预测下一个词，没有掩码，它直接看一眼就行了；
# - 两个子层之间多了一个**交叉注意力**：查询来自正在写的文字，键和值来自编码器的结果，
#   即 $\operatorname{Attention}(X W_Q,\, E W_K,\, E W_V)$，其中 $X: T \times D$，$E: S \times D$。这里不需要因果掩码，因为源文本全都已知。
#
# 于是翻译模型就是：源文本 → 若干编码器块 → $E$；已写出的译文 → 若干解码器块，每个块都去问 $E$ → 下一个词的分数。
# %% name="decoder-scratch"
def my_decoder_block(x, source, block):
    """Post-norm: look back, ask the source, think."""
    norms = [(norm.weight, norm.bias) for norm in (block.norm1, block.norm2, block.norm3)]
    x = my_layer_norm(x + block.attention(x, mask=causal_mask(x.shape[1])), *norms[0])
    x = my_layer_norm(x + block.cross_attention(x, source), *norms[1])
    return my_layer_norm(x + block.feed_forward(x), *norms[2])


x, source = draw(3, 5, D, seed=7), draw(3, 7, D, seed=8)
attentions = MultiHeadAttention(D, HEADS, core=causal_attention), MultiHeadAttention(D, HEADS)
norms = (LayerNorm(D), LayerNorm(D), LayerNorm(D))
block = stir(DecoderBlock(*attentions, FeedForward(D, FF, nn.ReLU()), norms, residual=post_norm))
theirs = into_torch(block, nn.TransformerDecoderLayer(D, HEADS, FF, dropout=0.0, batch_first=True))
mine = my_decoder_block(x, source, block)
show(library=difference(mine, block(x, source)))
show(torch=difference(mine, theirs(x, source, tgt_mask=~causal_mask(5))))  # their masks say who may NOT look
# %% [markdown] lang="en" name="whole"
# ## The whole Transformer
#
# Six of each, embeddings in front, a matrix of scores behind: that is the model of 2017, `Seq2SeqTransformer` in this book's library. Its two
# stacks must be `torch.nn.Transformer` if the weights are the same. One difference is worth knowing: PyTorch puts one more norm behind each
# stack, which the paper does not have; we take it out.
# %% [markdown] lang="zh" of="94a29473"
# ## 整个 Transformer
#
# 编码器块和解码器块各叠六个，前面是词嵌入，后面是一个给出分数的矩阵，这就是 2017 年的模型，在本书的库里叫 `Seq2SeqTransformer`。
# 只要权重相同，它的两叠块就应当和 `torch.nn.Transformer` 一致。有一点不同值得知道：PyTorch 在每一叠的末尾多放了一个归一化，论文里没有，我们把它拿掉。
# %% name="whole-check"
from llmguide_lib.models import Seq2SeqConfig, Seq2SeqTransformer

sizes = Seq2SeqConfig(
    vocab_size=50, max_seq_len=12, d_model=D, num_heads=HEADS, d_ff=FF, num_encoder_layers=3, num_decoder_layers=3
)
model = stir(Seq2SeqTransformer(sizes)).eval()
theirs = nn.Transformer(D, HEADS, 3, 3, FF, dropout=0.0, batch_first=True)
theirs.encoder.norm = theirs.decoder.norm = None
for ours, stack in ((model.encoder, theirs.encoder), (model.decoder, theirs.decoder)):
    for block, layer in zip(ours.blocks, stack.layers, strict=True):
        into_torch(block, layer)


def embedded(tokens):
    """Embeddings times the root of their width, and the positions: section 3.4 of the paper."""
    positions = model.position_embedding(torch.arange(tokens.shape[1]))
    return model.token_embedding(tokens) * math.sqrt(D) + positions


source, target = torch.arange(14).reshape(2, 7), torch.arange(20, 30).reshape(2, 5)
expected = theirs(embedded(source), embedded(target), tgt_mask=~causal_mask(5)) @ model.lm_head.weight.T
scores = model(source, target)
show(torch=difference(scores, expected), scores=tuple(scores.shape))
# %% [markdown] lang="en" name="whole-leak"
# Built as described. Does the mask really hide the future, through all layers? Change one word, and see who notices: each
# word of the target in turn, then each word of the source, then each word of the target in a copy of the model whose decoder has no causal mask
# (so that we know that this test *can* fail). Rows are the exchanged words, columns the positions of the target that notice.
# %% [markdown] lang="zh" of="5bb998ea"
# 结构与描述一致。那么掩码真的能隔着所有层挡住后面的词吗？改掉一个词，看谁会察觉。先逐个改目标文本里的词，再逐个改源文本里的词；
# 最后换成模型的一个副本，去掉它的解码器里的因果掩码，再逐个改目标文本里的词（这样才知道，这个检验*有可能*失败）。每行是被替换的词，每列是目标文本里会察觉的位置。
# %% name="whole-verdict"
from copy import deepcopy


def noticed(model, source, target, where, place):
    """Which positions of the target change their scores when one token of the source or target is exchanged."""
    texts = {"source": source, "target": target.clone()}
    changed = texts | {where: texts[where].clone()}
    changed[where][:, place] = 49
    apart = (model(**changed) - model(**texts)).abs().amax(dim=(0, 2))
    return (apart > 1e-12).tolist()


unmasked = deepcopy(model)
for block in unmasked.decoder.blocks:
    block.attention.core = attention
later = torch.tensor([noticed(model, source, target, "target", place) for place in range(5)])
asked = torch.tensor([noticed(model, source, target, "source", place) for place in range(7)])
leaking = torch.tensor([noticed(unmasked, source, target, "target", place) for place in range(5)])
show(exchanged_by_noticed=later, source_by_noticed=asked, without_the_mask=leaking)
causal = causal_mask(5).T  # row: the exchanged token, column: who may notice

decide(
    "2.2a",
    {
        "equal to torch.nn.Transformer": torch.allclose(scores, expected, rtol=0, atol=1e-12),
        "no target token changes anything before it": not bool((later & ~causal).any()),
        "each changes its own and all following positions": bool(later[causal].all()),
        "each source token reaches each target position": bool(asked.all()),
        "without the mask the future leaks": bool(leaking[~causal].all()),
    },
)
# %% [markdown] lang="en" claim="2.2a"
# **The guide's claim 2.2a**, that encoder and decoder are built as described and that masking hides the future, is decided by copying
# weights and by exchanging tokens. A difference from PyTorch's model, or one position before the exchanged token that moves, would have decided otherwise.
# %% [markdown] lang="zh" of="495ac023"
# **指南的说法 2.2a**：编码器和解码器的结构如文中所述，掩码能挡住后面的词。判断的办法是复制权重、替换词元。
# 如果与 PyTorch 的模型有差别，或者被替换的词元之前有任何一个位置的输出动了，结论就会相反。
# %% [markdown] lang="en" name="modern"
# ## The modern decoder
#
# A model that only continues a text needs no source: drop the encoder and cross-attention, and a decoder block is an encoder block with a
# causal mask. That is GPT. Five parts have been exchanged since; Llama (2023) took over the first four, its larger models soon the fifth:
#
# | 2017 | today | early in | why |
# |---|---|---|---|
# | post-norm | pre-norm | GPT-2 | trains over a wider range of learning rates; measured below |
# | LayerNorm | RMSNorm | T5 | as good, cheaper |
# | ReLU (GELU in BERT and GPT) | SwiGLU | PaLM | a little better at the same cost |
# | positions added to the input | rotary: queries and keys are *turned* by an angle that grows with the position (chapter 3) | GPT-J | scores depend on distances |
# | a key-value head for each query head | **grouped queries**: several query heads share one | Llama 2 (70B) | less to keep while generating |
#
# The whole block, with nothing but torch:
# %% [markdown] lang="zh" of="edad0474"
# ## 现代的解码器
#
# 只续写一段文字的模型不需要源文本：去掉编码器和交叉注意力，解码器块就是带因果掩码的编码器块，这就是 GPT。
# 此后又陆续换掉了五个零件；Llama（2023）用上了前四个，它的大号模型不久又用上了第五个：
#
# | 2017 | 现在 | 较早用它的 | 为什么 |
# |---|---|---|---|
# | 后归一化 | 前归一化 | GPT-2 | 可用的学习率范围更宽，下面会测量 |
# | LayerNorm | RMSNorm | T5 | 一样好，计算更省 |
# | ReLU（BERT 和 GPT 用 GELU） | SwiGLU | PaLM | 代价相同，略好一些 |
# | 位置加在输入上 | 旋转位置编码：把查询和键*转*一个随位置增大的角度（第 3 章） | GPT-J | 分数取决于距离 |
# | 每个查询头配一个键值头 | **分组查询注意力**：几个查询头共用一个键值头 | Llama 2（70B） | 生成时要保存的东西更少 |
#
# 整个块，只用 torch 写出来：
# %% name="modern-scratch"
from llmguide_lib.models import Llama, LlamaConfig


def turn(x, theta=10_000.0):
    """Rotary positions of (B, H, T, K): number i and number i + K/2 are turned by t * theta^(-2i/K)."""
    half = x.shape[-1] // 2  # angles in float32, as in the models that were released with them
    frequency = 1.0 / theta ** (torch.arange(half, dtype=torch.float32) / half)
    angle = torch.arange(x.shape[-2], dtype=torch.float32)[:, None] * frequency
    (first, second), cos, sin = x.split(half, dim=-1), angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def my_llama_block(x, block, num_heads, num_kv_heads):
    """Pre-norm: x + attention(norm(x)), then x + gated feed-forward(norm(x))."""
    y, parts = my_rms_norm(x, block.norm1.weight, 1e-5), block.attention
    query = (y @ parts.q_proj.weight.T).unflatten(-1, (num_heads, -1)).transpose(1, 2)  # (B, H, T, K)
    key, value = (
        (y @ part.weight.T).unflatten(-1, (num_kv_heads, -1)).transpose(1, 2)  # (B, G, T, K)
        .repeat_interleave(num_heads // num_kv_heads, dim=1)  # each serves neighbouring query heads
        for part in (parts.k_proj, parts.v_proj)
    )  # fmt: skip
    fetched, _ = attention(turn(query), turn(key), value, causal_mask(x.shape[1]))
    x = x + fetched.transpose(1, 2).flatten(2) @ parts.out_proj.weight.T
    y, parts = my_rms_norm(x, block.norm2.weight, 1e-5), block.feed_forward
    return x + (F.silu(y @ parts.gate_proj.weight.T) * (y @ parts.up_proj.weight.T)) @ parts.down_proj.weight.T


sizes = LlamaConfig(vocab_size=50, max_seq_len=16, d_model=D, num_heads=4, num_kv_heads=2, num_layers=3, d_ff=64)
llama = stir(Llama(sizes)).eval()
tokens = torch.arange(22).reshape(2, 11)
x = llama.token_embedding(tokens)
for block in llama.blocks:
    x = my_llama_block(x, block, num_heads=4, num_kv_heads=2)
mine = my_rms_norm(x, llama.final_norm.weight, 1e-5) @ llama.lm_head.weight.T
show(library=difference(mine, llama(tokens)))
# %% [markdown] lang="en" name="modern-theirs"
# And the one that everybody downloads? The next cell copies these weights into Hugging Face's `LlamaForCausalLM`, if the package
# `transformers` is installed (the book does not need it; `pip install 'llmguide-lib[hub]'`). Both run in float32 here; the
# library's tests compare them in float64, to $10^{-10}$.
# %% [markdown] lang="zh" of="01b36afc"
# 那么大家下载使用的那个 Llama 呢？如果装了 `transformers`（本书并不依赖它；安装命令是 `pip install 'llmguide-lib[hub]'`），
# 下一格会把这些权重复制到 Hugging Face 的 `LlamaForCausalLM` 里。这里两边都用 float32；本书的库在测试里用 float64 比较，误差小于 $10^{-10}$。
# %% name="modern-hugging-face" tags=["free"]
from llmguide_lib.huggingface import to_hf
from llmguide_lib.notebook import say

try:
    theirs = to_hf(llama.float())
    show(LlamaForCausalLM=difference(theirs(tokens).logits, llama(tokens), tolerance=1e-4))
except ImportError:
    print(say({"en": "transformers is not installed; nothing was compared.", "zh": "没有安装 transformers，未作比较。"}))
llama = llama.double()
# %% [markdown] lang="en" name="count"
# ## Counting: parameters, FLOPs, memory
#
# How large is such a model, and what does a token cost? Everything follows from a handful of sizes. Without biases and norms (well
# below one percent), this is what a block of the classic kind has (left), and the whole model (right: $N$ parameters, with $L$ blocks and $V$ tokens in the vocabulary):
#
# $$\underbrace{4 D^2}_{\text{attention: } W_Q, W_K, W_V, W_O} + \underbrace{2 D F}_{\text{feed-forward}} = 12 D^2 \text{ for } F = 4D, \qquad N \approx 12\,L D^2 + V D$$
#
# A matrix product of a row of $D$ numbers with $D \times F$ takes $DF$ multiplications and as many additions (each is a *floating-point operation*, a FLOP): **two FLOPs per
# parameter and token**. Attention adds work without parameters. Each query head compares its query with $T$ keys; all heads together have $D$ numbers, so the
# scores take $TD$ multiplications and as many additions, $2TD$ per layer and token, and the mixing of $T$ values takes $2TD$ again. (Query heads that share keys still compare each for itself.)
#
# $$\text{FLOPs per token} \approx 2 N + 4\,L T D \qquad \text{training: three times that, since the backward pass costs twice the forward pass}$$
#
# (Backward, each matrix takes part in two products instead of one: for the gradient of its weights, and for the gradient that travels on to the layer below.)
# Hence the famous $6N$ per token of training, attention's own work left out.
# %% [markdown] lang="zh" of="fcc18208"
# ## 数一数：参数、计算量、内存
#
# 这样一个模型有多大？算一个词元要多少代价？一切都由几个尺寸决定。不算偏置和归一化（远不到百分之一），左边是一个经典的块的参数量，右边是整个模型的参数量 $N$（$L$ 个块，词表里有 $V$ 个词元）：
#
# $$\underbrace{4 D^2}_{\text{注意力：} W_Q, W_K, W_V, W_O} + \underbrace{2 D F}_{\text{前馈层}} = 12 D^2 \text{（} F = 4D \text{ 时）}, \qquad N \approx 12\,L D^2 + V D$$
#
# 一行 $D$ 个数乘以 $D \times F$ 的矩阵，要做 $DF$ 次乘法和同样多次加法：**每个参数、每个词元两次浮点运算**（FLOPs）。
# 注意力还有一份没有参数的计算。每个查询头都要拿自己的查询去比 $T$ 个键；所有头合起来是 $D$ 个数，所以在每一层、对每个词元，
# 算分数要 $TD$ 次乘法和同样多次加法，即 $2TD$；对 $T$ 个值加权平均，又是 $2TD$。（几个查询头共用一组键时，也还是各比各的。）
#
# $$\text{每个词元的 FLOPs} \approx 2 N + 4\,L T D \qquad \text{训练时是三倍，因为反向传播的代价是前向的两倍}$$
#
# （反向时，每个矩阵要参与两次乘法，而不是一次：一次求权重的梯度，一次求继续传给下一层的梯度。）
# 著名的“训练一个词元要 $6N$”就是这么来的，其中没有算注意力的那一份。
# %% [markdown] lang="en" role="deeper" name="count-footnotes"
# **Two footnotes.** A table in which rows are only looked up costs nothing: $VD$ belongs to $N$ here because the same table, or another of its size, gives the scores at the end.
# And $T$ is what a program computes that fills the whole square and then masks it; a causal position looks at $T/2$ others on average, and a kernel that skips the rest needs half.
# %% [markdown] lang="zh" of="858a68a4"
# **两点说明。** 一张表如果只是用来查某一行，就不花计算；$VD$ 之所以算进 $N$，是因为末尾算分数用的正是这张表，或者同样大小的另一张表。
# 另外，式中的 $T$ 对应先算满整个方阵再遮掉的程序；因果注意力里一个位置平均只看 $T/2$ 个位置，能跳过其余部分的实现，计算量只要一半。
# %% [markdown] lang="en" name="guess-share" role="prediction"
# **Predict.** Of the parameters of GPT-2's blocks ($D = 768$, $F = 4D$), what share sits in attention, the part that gave the paper its title? And from
# which length $T$ on does the attention part $4LTD$ cost more than all matrices of the blocks together?
# %% [markdown] lang="zh" of="47ee6133"
# **先预测。** GPT-2 的各个块（$D = 768$，$F = 4D$）里，论文标题所说的注意力占参数的几成？长度 $T$ 从多少开始，注意力那一项 $4LTD$ 会超过块里所有矩阵的计算量？
# %% name="count-check"
from torch.utils.flop_counter import FlopCounterMode

from llmguide_lib.models import BERT, BERT_SIZES, GPT, GPT_SIZES, LLAMA_SIZES, GPTConfig


def gpt_parameters(c):
    """Every single one: embeddings, blocks with biases and norms, last norm. The head shares the embedding's matrix."""
    d, f = c.d_model, c.d_ff or 4 * c.d_model
    block = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 2 * 2 * d
    return c.vocab_size * d + c.max_seq_len * d + c.num_layers * block + 2 * d


def llama_parameters(c):
    """No biases; keys and values of num_kv_heads heads; the head has a matrix of its own unless it is tied."""
    d, width = c.d_model, c.head_width
    heads = c.num_heads * width + 2 * (c.num_kv_heads or c.num_heads) * width + c.num_heads * width
    block = d * heads + 3 * d * c.d_ff + 2 * d + (2 * width if c.head_norm else 0)
    return c.vocab_size * d * (1 if c.tied else 2) + c.num_layers * block + d


def counted(model_class, config, part=""):
    """Parameters with this in their name; on the device "meta" tensors have shapes only, and need no memory."""
    with torch.device("meta"):
        return sum(p.numel() for n, p in model_class(config).named_parameters() if part in n)


print("model            formula    counted")
for formula, family, presets in ((gpt_parameters, GPT, GPT_SIZES), (llama_parameters, Llama, LLAMA_SIZES)):
    for name in ("gpt2", "gpt2-medium", "llama-3-8b", "qwen3-0.6b"):
        if name in presets:
            show(f"{name:12}", formula(presets[name]), counted(family, presets[name]))
            assert formula(presets[name]) == counted(family, presets[name])
# %% name="count-flops"
small = GPTConfig(vocab_size=100, max_seq_len=64, d_model=32, num_heads=4, num_layers=2)
counting = fill(GPT(small))
for block in counting.blocks:
    block.attention.core = attention  # written out: the counter does not know the CPU's fused kernel
texts = torch.zeros(2, 64, dtype=torch.long)
with FlopCounterMode(display=False) as forward:
    loss = counting(texts).sum()
with FlopCounterMode(display=False) as backward:
    loss.backward()
in_matrices = sum(p.numel() for n, p in counting.named_parameters() if p.ndim == 2 and "position" not in n)
formula = texts.numel() * (2 * in_matrices + 4 * 2 * 64 * 32)  # 2N + 4LTD, for each of 128 tokens
twice = backward.get_total_flops() / forward.get_total_flops()
show(formula=formula, machine=forward.get_total_flops(), backward=twice)
assert formula == forward.get_total_flops() and twice == 2

c = GPT_SIZES["gpt2"]
in_attention = counted(GPT, c, ".attention.") / counted(GPT, c, "blocks.")
equal_from = 2 * counted(GPT, c, "proj.weight") / (4 * c.num_layers * c.d_model)  # all matrices of the blocks
show(attention_share=in_attention, equal_from_T=equal_from, six_D=6 * c.d_model)
assert abs(in_attention - 1 / 3) < 0.01 and equal_from == 6 * c.d_model
# %% [markdown] lang="en" name="count-read"
# A third: the feed-forward layers, which nobody puts in a title, hold two thirds. And attention's own cost overtakes the matrices only
# from $T = 6D$ on, 4608 tokens for GPT-2, which reads 1024 at most (from $12D$ on, if the masked half is skipped). "Attention is quadratic" is true, and for short texts not what you pay for.
#
# **Memory while generating.** Keys and values of earlier tokens are kept, not computed anew: $2 \cdot L \cdot G \cdot d_k$ numbers for each token, $G$ being the number
# of key-value heads. Here grouped queries pay:
# %% [markdown] lang="zh" of="175001e8"
# 三分之一：没人写进标题的前馈层占了三分之二。而注意力本身的计算量，要到 $T = 6D$ 才超过各个矩阵，对 GPT-2 来说是 4608 个词元，可它最多只读 1024 个（如果跳过遮掉的那一半，就要到 $12D$）。
# “注意力是平方复杂度”没有错，但在短文本上，花钱的地方不是它。
#
# **生成时的内存。** 前面各个词元的键和值会保存下来，不再重新计算：每个词元 $2 \cdot L \cdot G \cdot d_k$ 个数，$G$ 是键值头的个数。分组查询注意力的好处就在这里：
# %% name="count-cache"
c = LLAMA_SIZES["llama-3-8b"]
for name, kv_heads in (("each head its own", c.num_heads), ("grouped, 8", c.num_kv_heads), ("one for all", 1)):
    numbers = 2 * c.num_layers * kv_heads * c.head_width
    show(f"{name:18}", "KiB per token", numbers * 2 / 2**10, "  GiB for 8192 tokens", numbers * 2 * 8192 / 2**30)

bert = BERT_SIZES["bert-base-uncased"]
embeddings = counted(BERT, bert, "embedding")
largest = max(counted(BERT, bert, f"blocks.0.{part}.") for part in ("attention", "feed_forward"))
gib = [2 * llama_parameters(c) / 2**30, 16 * 8192 * 2 * 2 * c.num_layers * c.num_kv_heads * c.head_width / 2**30]
assert 5 * largest < embeddings < 6 * largest and 14 < gib[0] < 15 < gib[1] == 16
# %% [markdown] lang="en" name="guess-anatomy" role="prediction"
# **Predict, then look it up below.** You serve Llama 3 8B with 16 bits per number to 16 users at once, each with a text of 8,192 tokens. Which needs more memory: the
# weights, or all those keys and values? And which single part of BERT has the most parameters: its embeddings, one of its attentions, or one of its feed-forward layers?
# %% [markdown] lang="zh" of="ccaf3b8a"
# **先预测，再在下面查。** 你用每个数 16 位的 Llama 3 8B 同时服务 16 个用户，每人的文本有 8192 个词元。权重和所有这些键和值，哪一个更占内存？BERT 里哪一个部件参数最多：词嵌入、某一层的注意力，还是某一层的前馈层？
# %% name="explore-anatomy" tags=["free"]
from llmguide_lib.widgets import ModelAnatomy

ModelAnatomy("llama-3-8b")
# %% [markdown] lang="en" role="caption"
# Anatomy of a model at its published sizes. Choose a model, click a part (or reach it with the keyboard): its shapes, parameters and FLOPs, and below the
# memory of weights and of keys and values for the chosen context, batch and precision.
# %% [markdown] lang="zh" of="efbf67bf"
# 按公布的尺寸画出的模型结构。选一个模型，点一个部件（也可以用键盘）：显示它的形状、参数量和计算量；下面是在所选的上下文长度、文本数和精度下，权重以及键和值（KV 缓存）占用的内存。
# %% [markdown] lang="en" name="answer-anatomy"
# <details><summary>What you should have found</summary>
#
# The weights take about 15 GiB, the keys and values of 16 full texts 16 GiB, slightly more. Without grouped queries it would be 64. And in BERT the largest
# single part is the embeddings: as many parameters as five of the twelve feed-forward layers.
#
# </details>
# %% [markdown] lang="zh" of="f3c552c9"
# <details><summary>你应该会发现</summary>
#
# 权重约占 15 GiB，16 段写满的文本，键和值占 16 GiB，比权重还略多一点；没有分组查询注意力的话就是 64 GiB。BERT 里最大的单个部件是词嵌入，抵得上十二个前馈层中的五个。
#
# </details>
# %% [markdown] lang="en" name="depth"
# ## What keeps gradients alive: depth
#
# Back to the $I$ of the residual stream. Training changes the first layer by a gradient that has come through all the others. By the chain rule it is
# a product with one factor for each layer: factors of size 0.8 make $0.8^{48} \approx 2 \cdot 10^{-5}$ over 24 blocks of two sublayers, and factors of size 1.4 make
# $1.4^{48} \approx 10^7$. That is what **vanishing** and **exploding** means.
#
# The guide says: without recurrence there are no vanishing or exploding gradients. So let us take 24 blocks without recurrence, with random weights, in six
# versions, and measure the gradient that arrives at each depth. Since everything may hang on the size of the first weights, we try three *gains*, factors by which all numbers of
# the feed-forward layer's second matrix are multiplied (its variance by the square): variance $1/F$ (gain 1), twice that (gain $\sqrt 2$, which makes up for the half that ReLU throws away: He et al. 2015), and four times that (gain 2).
# %% [markdown] lang="zh" of="ef030985"
# ## 梯度靠什么活下来：深度方向
#
# 回到残差流的那个 $I$。训练要改动第一层，靠的是穿过其余各层传回来的梯度。按链式法则，它是一个连乘积，每层一个因子：
# 24 个块、每块两个子层，如果因子大小是 0.8，就是 $0.8^{48} \approx 2 \cdot 10^{-5}$；如果是 1.4，就是 $1.4^{48} \approx 10^7$。这就是所谓的**梯度消失**和**梯度爆炸**。
#
# 指南说：没有循环结构，就没有梯度消失或爆炸。那我们就取 24 个没有循环的块，权重随机，分成六种版本，测量到达每个深度的梯度。
# 结果也许全看初始权重的大小，所以取三种*增益*，也就是给前馈层第二个矩阵的每个数都乘上的倍数（方差随它的平方变）：方差为 $1/F$（增益 1）；两倍于此（增益 $\sqrt 2$，正好补回 ReLU 丢掉的一半：He 等人 2015）；四倍于此（增益 2）。
# %% [markdown] lang="en" name="guess-depth" role="prediction"
# **Predict** for each of the six whether the gradient at the first block is about as large as at the last one, much smaller, or much larger, and whether the gain matters: (1) neither residual
# nor norm; (2) norm only; (3) residual only; (4) residual only, but what is added is divided by $\sqrt{48}$, the root of the number of sublayers; (5) post-norm; (6) pre-norm.
# %% [markdown] lang="zh" of="a8d2aa34"
# **先预测**六种情况下，第一个块收到的梯度和最后一个块相比，是差不多、小得多，还是大得多，增益要不要紧：（1）既没有残差也没有归一化（表和图里叫 neither）；
# （2）只有归一化（norm_only）；（3）只有残差（residual_only）；（4）只有残差，但加上去的东西先除以 $\sqrt{48}$，即子层个数的平方根（residual_scaled）；
# （5）后归一化（post_norm）；（6）前归一化（pre_norm）。
# %% name="depth-measure"
def neither(x, sublayer, norm):
    return sublayer(x)


def norm_only(x, sublayer, norm):
    return norm(sublayer(x))


def residual_only(x, sublayer, norm):
    return x + sublayer(x)


def residual_scaled(x, sublayer, norm):
    return x + sublayer(x) / math.sqrt(48)  # 24 blocks of two sublayers


def stack(residual, num_layers, seed, gain=1.0, width=32):
    """Causal blocks with random weights; ``gain`` multiplies the second matrix of each feed-forward layer."""
    blocks = [
        fill(
            EncoderBlock(
                MultiHeadAttention(width, num_heads=4, core=causal_attention),
                FeedForward(width, 4 * width, nn.ReLU()),
                LayerNorm(width),
                LayerNorm(width),
                residual=residual,
            ),
            seed=100 * seed + layer,
        )
        for layer in range(num_layers)
    ]
    for block in blocks:
        block.feed_forward.down_proj.weight.data *= gain
    return blocks


def through_depth(residual, gain, seed, num_layers=24):
    """Size of the gradient at the input of every block and at the end, for a random linear loss; likeness at the end."""
    states = [draw(4, 16, 32, seed=seed).requires_grad_()]
    for block in stack(residual, num_layers, seed, gain):
        states.append(block(states[-1]))
        states[-1].retain_grad()
    end = F.layer_norm(states[-1], (32,)) if residual is pre_norm else states[-1]  # the final norm
    (end * draw(*end.shape, seed=seed + 50)).sum().backward()
    likeness = sum(alike(text).item() for text in states[-1].detach()) / 4
    return torch.tensor([state.grad.norm() for state in states]), likeness


versions = (neither, norm_only, residual_only, residual_scaled, post_norm, pre_norm)
gains = {"1": 1.0, "root 2": math.sqrt(2), "2": 2.0}
arriving, ratio, likeness = {}, {}, {}
print("gradient at block 1, relative to the end (smallest and largest of 3 seeds), and mean cosine of positions at the end")
print(f"{'gain':15}", *(f"{gain:>15}" for gain in gains), "  cosine (gain root 2)")
for version in versions:
    name = version.__name__
    for gain, factor in gains.items():
        runs = [through_depth(version, factor, seed) for seed in range(3)]
        arriving[name, gain] = torch.stack([grads for grads, _ in runs])
        ratio[name, gain] = arriving[name, gain][:, 0] / arriving[name, gain][:, -1]
        likeness[name, gain] = [value for _, value in runs]
    ranges = (f"{ratio[name, gain].min():7.0e} {ratio[name, gain].max():7.0e}" for gain in gains)
    print(f"{name:15}", *ranges, f"  {min(likeness[name, 'root 2']):.2f}-{max(likeness[name, 'root 2']):.2f}")
# %% name="depth-plot" tags=["free"]
from llmguide_lib.plots import curves

figure = curves(
    {version.__name__: arriving[version.__name__, "2"].log().mean(dim=0).exp().tolist() for version in versions},
    range(25),
    xlabel="blocks below",
    ylabel="gradient",
    log="y",
)
# %% [markdown] lang="en" role="caption"
# The gradient that arrives at each depth of 24 blocks with random weights and gain 2 (geometric mean of three seeds, logarithmic axis; it travels from right to left). Without a norm it explodes,
# and with the residual alone by far more; with a norm, or with small additions, it stays within about one order of magnitude.
# %% [markdown] lang="zh" of="d6a81def"
# 24 个权重随机、增益为 2 的块里，到达每个深度的梯度（三个随机种子的几何平均，对数刻度；梯度从右向左传）。没有归一化，梯度就爆炸，只有残差时爆炸得厉害得多；
# 有归一化，或者每次只加一点点，梯度的变化就大致不超过一个数量级。
# %% [markdown] lang="en" name="depth-read"
# Leaving out recurrence is not what does it. With neither part, the gradient is a product, and the gain decides, exponentially: it vanishes with 1, about survives with $\sqrt 2$, explodes with 2.
# A fitting gain can be chosen for the first step; nobody holds the weights there while they learn. With the residual alone it explodes at every gain, because $I + \partial f/\partial x$ stretches most vectors
# (as the stream grew at the top of this chapter). Two things make it *insensitive*: a norm, which divides by whatever size there is, or additions that begin small, by $1/\sqrt{\text{number of sublayers}}$. GPT-2 has both.
#
# So the norm or a small beginning bounds the gradient. What, then, is the residual for? See the last column: with a norm alone, nothing vanishes and all positions are the same vector; there is a gradient, but nothing to be
# learned from. Only where the input is carried along *and* not drowned do positions stay apart: in pre-norm, and most of all with small additions. Post-norm carries it too, but shrinks it with each of the 48
# norms, by about $\sqrt 2$ (two vectors of equal length with nothing in common have a sum $\sqrt 2$ times as long, and the norm divides by it): hardly anything is left. Its gradient looks healthy here all the same. Is it?
# %% [markdown] lang="zh" of="56985a42"
# 起作用的并不是“没有循环”。残差和归一化都没有时，梯度是一个连乘积，结果由增益决定，而且是指数式的：增益为 1 就消失，$\sqrt 2$ 大致保住，2 就爆炸。
# 可以为第一步挑一个合适的增益，可是训练一开始，就没有谁能让权重保持在那里了。只有残差时，不管增益多大都会爆炸，因为 $I + \partial f/\partial x$ 会把多数向量拉长（本章开头残差流不断变大，也是这个原因）。
# 有两样东西能让梯度*不敏感*：一是归一化，向量有多大就除以多大；二是让加上去的东西一开始就很小，也就是乘以 $1/\sqrt{\text{子层个数}}$。GPT-2 两样都用了。
#
# 也就是说，限制住梯度的是归一化，或者一开始很小的增量。那残差有什么用？看最后一列：只有归一化时，什么都没有消失，但所有位置成了同一个向量；梯度是有的，却没有什么可学。
# 只有把输入一路带着、*而且*不让它被淹没，各个位置才能保持差别：前归一化如此，每次只加一点点时尤其如此。后归一化也带着输入，可 48 个归一化每次都把它缩小到大约 $1/\sqrt 2$（两个等长而互不相干的向量，和的长度是原来的 $\sqrt 2$ 倍，归一化再除掉它），几乎什么也不剩。
# 尽管如此，它的梯度在这里看上去还是健康的。真的健康吗？
# %% [markdown] lang="en" name="warm-up"
# ## Why post-norm needs a warm-up
#
# The paper of 2017 trains with a **warm-up**: the learning rate starts near zero and rises over 4,000 steps. What for? The experiment: a small decoder
# of eight blocks (about a hundred thousand parameters, matrices drawn as Glorot and Bengio (2010) propose; the paper does not say how) reads Python's documentation byte by byte for 300 steps, with both places of the norm, with and without a warm-up of 100
# steps, at four learning rates. Three seeds each make 48 runs, a matter of minutes: they are *recorded* (`python benchmarks/warmup.py`), and the four most telling ones run here in
# front of you.
#
# Two models that only count are the bars to clear: *unigram* knows how frequent each byte is, *bigram* what follows each byte. They meet the same windows in the same order as the models, and are scored on the same last 50 steps.
# The loss is $-\ln p$, where $p$ is the probability that a model gave to the byte that really came; a mean loss of $3.2$ (its unit is the *nat*) is that of a model which wavers between $e^{3.2} \approx 25$ equally likely bytes. A window is a piece of text 32 bytes long.
# %% [markdown] lang="zh" of="cfe24acb"
# ## 后归一化为什么需要预热
#
# 2017 年的论文训练时用了**预热**（warm-up）：学习率从接近零开始，用 4000 步慢慢升上去。为什么要这样？实验是这样的：一个由八个块组成的小解码器
# （约十万个参数，矩阵按 Glorot 和 Bengio（2010）的办法初始化；2017 年的论文没有说明自己用的是什么办法），逐字节读 Python 的文档，读 300 步；两种归一化位置，有或没有 100 步的预热，四种学习率，
# 各用三个随机种子，共 48 次训练，要好几分钟，所以是*录下来*的（`python benchmarks/warmup.py`）；其中最能说明问题的四次，在这里当着你的面再跑一遍。
#
# 要跨过的门槛是两个只会计数的模型：*unigram* 只知道每个字节有多常见，*bigram* 知道每个字节后面跟什么。它们按同样的顺序读同样的窗口，也在同样的最后 50 步上计分。
# 损失是 $-\ln p$，$p$ 是模型给真正出现的那个字节的概率；平均损失为 $3.2$（单位叫*奈特*，nat），相当于模型在 $e^{3.2} \approx 25$ 个同样可能的字节之间拿不定主意。一个窗口是一段 32 字节长的文字。
# %% [markdown] lang="en" name="guess-warm-up" role="prediction"
# **Predict.** Which of the four arms (post-norm or pre-norm, with or without a warm-up) can use the largest learning rate? And what does failure look like: a loss that flies off to infinity, or something else?
# %% [markdown] lang="zh" of="a6719745"
# **先预测。** 四种组合（后归一化或前归一化，有或没有预热）里，哪一种能承受最大的学习率？训练失败是什么样子：损失冲向无穷大，还是别的情形？
# %% name="warm-up-recorded"
from llmguide_lib.notebook import recorded

record = recorded("warmup")
rates = [0.001, 0.002, 0.004, 0.008]
finals = {}
for name, runs in record["runs"].items():
    place, warmup, rate = name.split(", ")
    arm = f"{place}, {warmup}"
    finals.setdefault(arm, {})[float(rate.split()[1])] = [run["final"] for run in runs.values()]
bars = {name: sum(by_seed.values()) / len(by_seed) for name, by_seed in record["counted"].items()}
show("unigram", bars["unigram"], "bigram", bars["bigram"])
print("mean loss of the last 50 steps: smallest to largest of three seeds")
print(" " * 22, *(f"{rate:>12}" for rate in rates))
for arm, by_rate in finals.items():
    print(f"{arm:22}", *(f" {min(by_rate[rate]):5.2f}-{max(by_rate[rate]):.2f}" for rate in rates))
# %% name="warm-up-plot" tags=["free"]
figure = curves(
    {arm: [sum(by_rate[rate]) / 3 for rate in rates] for arm, by_rate in finals.items()},
    rates,
    xlabel="learning rate",
    ylabel="loss (nats per byte)",
    levels=bars,
    log="x",
)
# %% [markdown] lang="en" role="caption"
# *Recorded.* Loss after 300 steps over the learning rate, mean of three seeds, for the four arms; dotted lines are the two models that count.
# %% [markdown] lang="zh" of="939ed04c"
# *事先录下的结果。* 训练 300 步后的损失随学习率的变化，四种组合，三个随机种子取平均；虚线是两个计数模型。
# %% name="warm-up-live" tags=["free"]
from llmguide_lib.corpora import documentation
from llmguide_lib.notebook import Monitor
from llmguide_lib.objectives import NextToken, Windows

torch.set_default_dtype(torch.float32)
text = "\n\n".join(document.text for document in documentation("train", ["stdlib"]))
row = torch.tensor(list(text.encode()))


def decoder(residual, seed):
    """GPT with its norms in this place, the model of benchmarks/warmup.py: Glorot and Bengio's matrices, its own head."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size=256, max_seq_len=32, d_model=32, num_heads=4, num_layers=8))
    model.lm_head = nn.Linear(32, 256, bias=False)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=32**-0.5)
    for block in model.blocks:
        block.residual = residual
    if residual is post_norm:
        model.final_norm = nn.Identity()  # the last block ends with a norm
    return model


RATE, SEED = 0.002, 1
arms = {}
for residual in (post_norm, pre_norm):
    for warmup_steps in (0, 100):
        model = decoder(residual, SEED)
        optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.0)
        arms[f"{residual.__name__.replace('_', '-')}, warm-up {warmup_steps}"] = model, optimizer, warmup_steps

losses, gradients = {arm: [] for arm in arms}, {arm: {} for arm in arms}
with Monitor(seconds=600, max_steps=300, label="loss (nats per byte)", baselines=bars) as run:
    for step, batch in zip(run, NextToken(Windows(row, 32, 16, seed=SEED)), strict=False):
        for arm, (model, optimizer, warmup_steps) in arms.items():  # all four read the same batch
            optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / (warmup_steps + 1))
            loss = F.cross_entropy(model(batch.tokens).flatten(0, 1), batch.targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            if step in (0, 100, 299):
                gradients[arm][step] = [
                    math.sqrt(sum(p.grad.square().sum().item() for p in block.parameters())) for block in model.blocks
                ]
            optimizer.step()
            losses[arm].append(loss.item())
            if step % 10 == 9:
                run.record(**{arm: sum(losses[arm][-10:]) / 10})
# %% [markdown] lang="en" role="caption"
# Trained just now, one seed, the learning rate 0.002 for all four: the loss over the steps, each point the mean of ten.
# %% [markdown] lang="zh" of="5e53faec"
# 刚刚训练出来的四条曲线，一个随机种子，学习率都是 0.002：损失随步数的变化，每个点是十步的平均。
# %% name="warm-up-check"
for arm, seen in losses.items():  # what ran live is one of the recorded runs
    assert abs(sum(seen[250:300]) / 50 - finals[arm][RATE][SEED]) < 0.05, arm
best = {arm: min(sum(values) / 3 for values in by_rate.values()) for arm, by_rate in finals.items()}
post, post_warm, pre, pre_warm = finals.values()
assert min(post[RATE]) > bars["unigram"] - 0.1 and max(post_warm[RATE]) < 2.8  # post-norm needs the warm-up at this rate,
assert max(post[0.001]) < 2.95  # hardly at the smallest,
assert min(post_warm[0.008]) > bars["unigram"]  # and has no use for it at the largest;
assert max(pre[0.008]) < 2.7 and abs(best["pre-norm, warm-up 0"] - best["pre-norm, warm-up 100"]) < 0.05  # pre-norm,
assert best["pre-norm, warm-up 0"] < best["post-norm, warm-up 100"] < best["post-norm, warm-up 0"]  # not at all;
for by_rate in finals.values():  # so short a training never beats counting pairs, seed by seed
    assert all(value > record["counted"]["bigram"][str(seed)] for v in by_rate.values() for seed, value in enumerate(v))
# %% name="warm-up-gradients" tags=["measured"]
print("gradient of block 1 relative to block 8")
print(f"{'step':22}", *(f"{step:>8}" for step in (0, 100, 299)))
fall = {arm: {step: sizes[0] / sizes[-1] for step, sizes in by_step.items()} for arm, by_step in gradients.items()}
for arm, by_step in fall.items():
    print(f"{arm:22}", *(f"{value:8.3f}" for value in by_step.values()))
# %% name="warm-up-gradients-check"
torch.set_default_dtype(torch.float64)
post, post_warm, pre, pre_warm = fall.values()
assert post[0] > 0.5 and post[100] < 0.01 and post[299] < 0.01  # healthy at the start, then gone, and gone for 300 steps
assert post_warm[100] < 0.2 and post_warm[299] > 0.3  # falls less, and comes back
assert all(value > 0.8 for arm in (pre, pre_warm) for value in arm.values())  # never falls
# %% [markdown] lang="en" name="warm-up-read"
# Post-norm without a warm-up does not explode. It lies on a *plateau*: at this rate, all 300 steps long, at the loss of the unigram model, for which it needs to read nothing. (A plateau, not a grave: in a single longer trial it did come down.
# Let it run on, with `max_steps=1200` above.) With a warm-up the same model at the same rate is off it within the 300 steps; pre-norm hardly notices it.
#
# The last table shows what goes with it (here it is the gradient of each block's own weights). With random weights the gradient was healthy, as above. After 100 steps it has *vanished*: from the last block down to the first it falls by more than two orders of magnitude, and stays so. With the warm-up it falls less, and
# recovers; in pre-norm the first block gets more than the last, always. So post-norm's gradients are not safe; they are safe for the first step.
#
# Careful with the conclusion: at the smallest of our rates post-norm comes off the plateau without a warm-up too, and at the largest it lies there with one. The warm-up widens the range of rates that work; pre-norm widens it more, and was better at its best rate. It does *not* follow that
# large pre-norm models need no warm-up: GPT-3 and Llama have one. And no run has beaten the model that counts pairs: 300 steps are for seeing how training begins, not for a good language model.
# %% [markdown] lang="zh" of="76786395"
# 后归一化没有预热，并不会爆炸，而是停在一个*平台期*上：在这个学习率下，整整 300 步，损失都在 unigram 的水平，要达到这个水平，根本不用读文本。（只是平台，不是终点：在一次更长的试验里，损失后来还是降下来了。
# 把上面改成 `max_steps=1200`，让它继续跑，自己看看。）有了预热，同一个模型用同样的学习率，300 步之内就走了出来；前归一化则几乎看不出平台。
#
# 最后那张表（这里是各块自身权重的梯度）给出了与之相伴的现象。权重随机时，梯度是健康的，和上一节一样。100 步之后梯度却*消失*了：从最后一个块到第一个块，小了两个数量级以上，而且一直如此。有预热时降得少一些，后来又恢复了；
# 前归一化的第一个块得到的梯度始终比最后一个块多。所以后归一化的梯度并不安全，只是在第一步安全。
#
# 下结论要小心：在我们最小的学习率下，后归一化没有预热也走得出平台；在最大的学习率下，有预热也出不来。预热拓宽了可用学习率的范围；前归一化拓得更宽，而且在各自最好的学习率下，结果也更好。
# 但*不能*由此推出大型的前归一化模型不需要预热：GPT-3 和 Llama 都用了预热。还有，没有一次训练胜过统计字节对的模型（bigram）：300 步只够看清训练怎样开始，不足以得到好的语言模型。
# %% [markdown] lang="en" role="deeper" name="warm-up-why"
# **Why do the first steps do that?** Xiong et al. (2020) derive that at the start
# post-norm's gradients near the output are large, and blame steps at full rate along them. For our model that is a hypothesis: its blocks begin with gradients of about the same size, and the table cannot say whether the vanished gradient makes the model ignore its text or the other way round.
# Liu et al. (2020) look elsewhere: post-norm leans more on its sublayers than on the stream, so that a small change of the weights changes the result more.
# %% [markdown] lang="zh" of="ba89227e"
# **最初几步为什么会这样？** Xiong 等人（2020）推导出，训练开始时后归一化在靠近输出处的梯度很大，他们认为，问题就出在一上来便以全额学习率沿这些梯度走。
# 对我们的模型来说，这只是一个假设：它各个块的梯度一开始差不多大；而且这张表说不清，究竟是梯度消失让模型不理会文本，还是反过来。
# Liu 等人（2020）则从别处找原因：后归一化更依赖各个子层，而不是残差流，所以权重稍有改变，结果的变化就更大。
# %% [markdown] lang="en" name="time"
# ## What keeps gradients alive: time
#
# The rival of 2017 was the **recurrent network** (RNN): it reads word by word and keeps what it knows in one state, $h_t = \tanh(W x_t + U h_{t-1})$. A word that stood 127 words ago has
# come through 127 products with $U$: for the gradient, that is a network 127 layers deep. In a Transformer every word is one layer away from every other.
#
# Networks with random weights, all of width 32; the question is how strongly the output at the last position depends on the input $d$ positions earlier. RNNs come with $U$ of variance $1/D$ (gain 1) and with every number three times as large (gain 3). The LSTM (Hochreiter and Schmidhuber 1997) is an
# RNN that also keeps a memory, $c_t = \sigma(b + \dots) \odot c_{t-1} + \dots$; the sigmoid is its *forget gate*, and lets a share of the memory through at each step: about half with the bias $b = 0$, 0.73 with 1 (a usual choice), 0.95 with 3, 0.993 with 5. "Gate only" has $U = 0$, so that nothing comes through $h_{t-1}$: only the road through the memory is left.
# %% [markdown] lang="zh" of="c80a7ec6"
# ## 梯度靠什么活下来：时间方向
#
# 2017 年的对手是**循环神经网络**（RNN）：它一个词一个词地读，把知道的一切都放在一个状态里，$h_t = \tanh(W x_t + U h_{t-1})$。127 个词以前的那个词，要连乘 127 次 $U$ 才到得了这里：
# 对梯度来说，这就是一个 127 层深的网络。而在 Transformer 里，任何两个词之间只隔一层。
#
# 取几个权重随机的网络，宽度都是 32，看最后一个位置的输出对 $d$ 个位置之前的输入有多敏感。RNN 的 $U$ 有两种：方差为 $1/D$（增益 1），以及每个数再乘以 3（增益 3）。
# LSTM（Hochreiter 和 Schmidhuber 1997）是另有一份记忆的 RNN：$c_t = \sigma(b + \dots) \odot c_{t-1} + \dots$，其中的 sigmoid 就是*遗忘门*，每一步由它决定记忆放行多少：偏置 $b = 0$ 时约一半，1 时（常用的取值）0.73，3 时 0.95，5 时 0.993。
# “gate only”表示 $U = 0$，经 $h_{t-1}$ 什么也传不过来，只剩这条记忆的路。
# %% name="time-measure"
def recurrent(kind, seed, bias=0.0, gain=1.0):
    """A recurrent layer of width 32; ``gain`` multiplies the matrix U, ``bias`` is the forget gate's."""
    layer = fill(kind(32, 32, batch_first=True), seed)
    layer.weight_hh_l0.data *= gain
    if kind is nn.LSTM:
        layer.bias_hh_l0.data[32:64] = bias  # PyTorch's order of gates: input, forget, cell, output
    return lambda x: layer(x)[0]


def blocks_of(seed):
    blocks = stack(pre_norm, num_layers=2, seed=seed)

    def run(x):
        for block in blocks:
            x = block(x)
        return x

    return run


def through_time(network, seed, length=128):
    """Gradient of the last output at the input d = 0, 1, ... positions earlier, mean of 8 texts."""
    x = draw(8, length, 32, seed=seed + 70).requires_grad_()
    last = network(x)[:, -1]
    (last * draw(*last.shape, seed=seed + 80)).sum().backward()
    return x.grad.norm(dim=-1).mean(dim=0).flip(0)


networks = {
    "RNN": lambda seed: recurrent(nn.RNN, seed),
    "RNN, gain 3": lambda seed: recurrent(nn.RNN, seed, gain=3.0),
    "LSTM, bias 0": lambda seed: recurrent(nn.LSTM, seed),
    "LSTM, bias 1": lambda seed: recurrent(nn.LSTM, seed, bias=1.0),
    "LSTM, bias 3": lambda seed: recurrent(nn.LSTM, seed, bias=3.0),
    "LSTM, bias 5": lambda seed: recurrent(nn.LSTM, seed, bias=5.0),
    "gate only, bias 3": lambda seed: recurrent(nn.LSTM, seed, bias=3.0, gain=0.0),
    "gate only, bias 5": lambda seed: recurrent(nn.LSTM, seed, bias=5.0, gain=0.0),
    "Transformer": blocks_of,
}
felt = {name: torch.stack([through_time(make(seed), seed) for seed in range(5)]) for name, make in networks.items()}
far = {name: grads[:, 127] / grads[:, 1] for name, grads in felt.items()}
print("smallest and largest of 5 seeds:  d = 127 to d = 1     d = 1 to d = 0")
for name, grads in felt.items():
    near = grads[:, 1] / grads[:, 0]
    print(f"{name:30} {far[name].min():9.0e} {far[name].max():7.0e}   {near.min():9.2f} {near.max():5.2f}")
# %% name="time-plot" tags=["free"]
distances = list(range(1, 128))
drawn = ("RNN", "RNN, gain 3", "LSTM, bias 1", "LSTM, bias 3", "gate only, bias 3", "Transformer")
figure = curves(
    {name: (felt[name] / felt[name][:, 1:2]).log().mean(dim=0).exp()[1:].tolist() for name in drawn},
    distances,
    xlabel="positions between input and output",
    ylabel="gradient relative to one position",
    log="y",
)
# %% [markdown] lang="en" role="caption"
# How strongly the last output depends on inputs further and further back (geometric mean of five seeds, logarithmic axis). In an RNN the gradient dies or explodes exponentially with the distance, depending on its weights;
# in an LSTM it dies the more slowly the further the forget gate is open; in the Transformer it does not depend on the distance.
# %% [markdown] lang="zh" of="18cc1cd5"
# 最后一个输出对越来越远的输入有多敏感（五个随机种子的几何平均，对数刻度）。在 RNN 里，梯度随距离指数式地衰减或爆炸，是哪一种要看权重；在 LSTM 里，遗忘门开得越大，衰减得越慢；在 Transformer 里，它不随距离变化。
# %% [markdown] lang="en" name="time-read"
# An RNN at its first step is at the mercy of $U$, as a bare stack of layers is at that of its gain: it vanishes or explodes. Open gates are a residual road through time: where half got through at each step, it is 0.95 or 0.993 now. But no magic: through the gate alone, with bias 3, less than a
# thousandth arrives ($0.95^{126} \approx 0.002$, and the gate, which every input moves, is often further shut). What keeps the whole LSTM at the size it has at bias 3 and 5 is in part that $U$ amplifies, in the same way in which it makes an RNN explode.
#
# The Transformer's curve is flat *by construction*: with weights as even as random ones are, every earlier position enters the same mean, wherever it stands. (The 2 in the table comes from the second block: the very first word has also entered the mean of every position behind it, and arrives with each of them.) Nothing is lost to distance; something is lost to *number*. The last column shows it: the position before already gets
# only one or two hundredths of what the last position itself gets, for it shares the mean with 127 others. A trained attention can undo that, by looking.
# %% [markdown] lang="zh" of="7465e716"
# 刚开始训练的 RNN 完全听凭 $U$ 摆布，就像一叠光秃秃的层听凭增益摆布一样：要么消失，要么爆炸。打开的门等于在时间方向上修了一条残差路，原来每步只通过一半，现在是 0.95 或 0.993。
# 但这不是魔法：偏置为 3 时，单靠门这条路，传到的还不到千分之一（$0.95^{126} \approx 0.002$，而且门会随输入摆动，时常关得更小）。偏置为 3 和 5 的完整 LSTM，梯度能保持那样的大小，有一部分是因为 $U$ 在放大；它让 RNN 爆炸，也是同样的道理。
#
# Transformer 的曲线是平的，这是*构造决定的*：随机权重下注意力几乎均匀，前面每个位置不管在哪里，都进入同一个平均。（表里的 2 来自第二个块：最前面的那个词还进入过它后面每个位置的平均，又随着它们一起传到。）距离没有造成损失，*数量*却造成了：看最后一列，前一个位置得到的，
# 已经只有最后一个位置自己的百分之一二，因为它要和另外 127 个位置分享这个平均。训练过的注意力可以把它找回来，只要它去看。
# %% name="time-verdict"
assert far["RNN"].max() < 1e-10 and far["LSTM, bias 0"].max() < 1e-10 and far["LSTM, bias 1"].max() < 1e-6
assert far["gate only, bias 3"].max() < 1e-3 < far["LSTM, bias 3"].min() and far["gate only, bias 5"].min() > 0.05
bare = torch.stack([ratio["neither", gain] for gain in gains])
decide(
    "2.2c",
    {
        "over time: an RNN's gradient vanishes or explodes": bool((far["RNN"] < 1e-10).all())
        and bool((far["RNN, gain 3"] > 1e8).all()),
        "over time: a Transformer's does not": bool((far["Transformer"] > 0.05).all())
        and bool((far["Transformer"] < 20).all()),
        "over depth: 24 bare blocks without recurrence do neither": bool(((bare > 1e-2) & (bare < 1e2)).all()),
    },
    limits={
        "over depth: with norm and residual they do neither": all(
            bool(((ratio[name, gain] > 0.1) & (ratio[name, gain] < 20)).all())
            for name in ("post_norm", "pre_norm")
            for gain in gains
        ),
        "nor with small additions": all(
            bool(((ratio["residual_scaled", gain] > 0.5) & (ratio["residual_scaled", gain] < 5)).all()) for gain in gains
        ),
        "trained post-norm without a warm-up: it vanishes": fall["post-norm, warm-up 0"][100] < 0.01,
        "a recurrent net with open gates keeps it (bias 5)": bool((far["gate only, bias 5"] > 0.05).all()),
    },
)
# %% [markdown] lang="en" claim="2.2c"
# **The guide's claim 2.2c**, that without recurrence there are no vanishing or exploding gradients, is right about time: there, products over many steps are gone. As a general sentence it *does not hold here*. Depth is a
# sequence too: 24 blocks without recurrence vanish or explode with the gain of their first weights, like any deep network, until a norm or small additions hold them; and post-norm, which begins healthy, vanished during training. Nor is recurrence
# as such to blame: a gate that is open far enough keeps the gradient alive. Had the bare blocks stayed within two orders of magnitude at all three gains, the claim would have held, within limits; had a Transformer's gradient fallen with the distance, not even the half about time would be left.
# %% [markdown] lang="zh" of="45a1b869"
# **指南的说法 2.2c**：没有循环结构，就没有梯度消失或爆炸。就时间方向而言，它说得对：许多步的连乘没有了。作为一般的说法，它*在这里不成立*。深度也是一个序列：24 个没有循环的块，会随初始权重的增益消失或爆炸，
# 和任何深层网络一样，要靠归一化或者小的增量来管住；而开头健康的后归一化，训练中梯度也消失了。循环本身也不是罪魁祸首：门开得足够大，梯度就能活下来。
# 假如光秃秃的块在三种增益下都保持在两个数量级以内，这个说法就会在一定范围内成立；假如 Transformer 的梯度随距离下降，那么连时间方向上的那一半也站不住。
# %% [markdown] lang="en" name="parallel"
# ## Parallel over time
#
# The other complaint about RNNs: they cannot begin with word 100 before word 99 is done. How many steps must wait for each other, for $T$ words and $L$ layers?
#
# | | training on a text | writing a text |
# |---|---|---|
# | RNN | $T + L - 1$ | $T \cdot L$ |
# | Transformer | $L$ | $T \cdot L$ |
#
# ($T + L - 1$, because the layers of an RNN can work like an assembly line: while the first layer reads word 2, the second already has word 1.)
#
# (Half of an RNN does not wait: $W x_t$ can be had for all words at once, and PyTorch does so. Only $U h_{t-1}$ must come one by one.) In training all words are known, so a Transformer treats them as the rows of one matrix. In writing they are not: the next word must be there before the one after it can be
# asked for, whatever the architecture. The table promises a lot; a clock tells what is left of it *on one core of this machine*. Two Transformer blocks have $24 D^2$ weights, three LSTM layers as well: each has a $W$ and a $U$ for three gates and for what is to be remembered, $8 D^2$.
# %% [markdown] lang="zh" of="e7b548ae"
# ## 沿时间并行
#
# 对 RNN 的另一个抱怨是：第 99 个词没算完，第 100 个词就不能开始。对 $T$ 个词、$L$ 层，有多少步必须一个等一个？
#
# | | 用一段文字训练 | 写一段文字 |
# |---|---|---|
# | RNN | $T + L - 1$ | $T \cdot L$ |
# | Transformer | $L$ | $T \cdot L$ |
#
# （$T + L - 1$ 是因为 RNN 的各层可以像流水线一样干活：第一层读第 2 个词的时候，第二层已经在处理第 1 个词。）
#
# （RNN 有一半不用等：$W x_t$ 可以对所有词一次算完，PyTorch 就是这么做的；只有 $U h_{t-1}$ 非得一步一步来。）训练时所有的词都已知，Transformer 就把它们当作一个矩阵的各行一起算。写的时候不行：不管什么架构，总要先有下一个词，才能问再下一个。
# 表格许诺了很多，*在这台机器的一个核心上*还剩多少，要计时才知道。两个 Transformer 块有 $24 D^2$ 个权重，三层 LSTM 也是：每层为三个门和要记住的内容各备一个 $W$、一个 $U$，共 $8 D^2$。
# %% [markdown] lang="en" name="guess-parallel" role="prediction"
# **Predict** for one core of your machine, at equal parameters ($D = 512$): which trains faster on one text of 256 words? On sixteen such texts at once? And which writes the next word faster, after 32 words, and after 4,096?
# %% [markdown] lang="zh" of="5d7c7b04"
# **先预测**：在你机器的一个核心上，参数量相等（$D = 512$），用一段 256 个词的文字训练，谁更快？同时用十六段呢？写下一个词，前面有 32 个词时谁更快？有 4096 个词时呢？
# %% name="parallel-measure" tags=["measured"]
import time

from llmguide_lib.attention import KVCache

torch.set_default_dtype(torch.float32)
torch.manual_seed(0)
WIDTH = 512
transformer_blocks = nn.ModuleList(
    EncoderBlock(
        MultiHeadAttention(WIDTH, num_heads=4, core=causal_attention),
        FeedForward(WIDTH, 4 * WIDTH, nn.ReLU()),
        LayerNorm(WIDTH),
        LayerNorm(WIDTH),
    )
    for _ in range(2)
)
lstm_layers = nn.LSTM(WIDTH, WIDTH, num_layers=3, batch_first=True)


def forward_pass(model, x, cache=None):
    if isinstance(model, nn.LSTM):
        return model(x)[0]
    for layer, block in enumerate(model):
        x = block(x, None, cache, layer)
    return x


def fastest(tasks, repeats):
    """Milliseconds of each task, the best of several tries in turns: what else the machine does only makes it slower."""
    times = {name: [] for name in tasks}
    for _ in range(repeats + 1):  # the first one warms up
        for name, task in tasks.items():
            begun = time.perf_counter()
            task()
            times[name].append(1000 * (time.perf_counter() - begun))
    return {name: min(taken[1:]) for name, taken in times.items()}


models = {"Transformer": transformer_blocks, "LSTM": lstm_layers}
cores = torch.get_num_threads()
torch.set_num_threads(1)  # the same question on every machine
training_ms = {}
for texts, length in ((1, 64), (1, 256), (16, 64), (16, 256)):
    x = torch.randn(texts, length, WIDTH)
    tasks = {name: lambda model=model, x=x: forward_pass(model, x).sum().backward() for name, model in models.items()}
    training_ms[texts, length] = fastest(tasks, repeats=20 if texts == 1 else 3)

writing_ms = {}
with torch.no_grad():
    state, word = lstm_layers(torch.randn(1, 8, WIDTH))[1], torch.randn(1, 1, WIDTH)
    for length in (32, 512, 4096):
        cache = KVCache(num_layers=2, max_seq_len=length + 100)
        forward_pass(transformer_blocks, torch.randn(1, length, WIDTH), cache)
        tasks = {
            "Transformer": lambda cache=cache: forward_pass(transformer_blocks, word, cache),
            "LSTM": lambda: lstm_layers(word, state),
        }
        writing_ms[length] = fastest(tasks, repeats=40)
torch.set_num_threads(cores)
show(parameters=[sum(p.numel() for p in model.parameters()) for model in models.values()])
print("training, ms per step       Transformer   LSTM   LSTM / Transformer")
for (texts, length), taken in training_ms.items():
    ratios = taken["LSTM"] / taken["Transformer"]
    print(f"{texts:3} texts of {length:4} words {taken['Transformer']:14.1f} {taken['LSTM']:7.1f} {ratios:10.2f}")
print("writing, ms per word")
for length, taken in writing_ms.items():
    ratios = taken["LSTM"] / taken["Transformer"]
    print(f"after {length:5} words        {taken['Transformer']:14.2f} {taken['LSTM']:7.2f} {ratios:10.2f}")
# %% name="parallel-verdict"
def advantage(taken):
    """How many times the LSTM needs the Transformer's time."""
    return taken["LSTM"] / taken["Transformer"]


torch.set_default_dtype(torch.float64)
one_text, many = advantage(training_ms[1, 64]), advantage(training_ms[16, 256])
early, late = advantage(writing_ms[32]), advantage(writing_ms[4096])
grown = writing_ms[4096]["Transformer"] / writing_ms[32]["Transformer"]
assert one_text > 1.25 and many < 0.75 * one_text and late < 0.75 * early and grown > 1.5
decide(
    "2.2b",
    {
        "one text: an LSTM of equal size takes > 1.25 times as long": one_text > 1.25,
    },
    limits={
        "sixteen texts at once: under 3/4 of this advantage": many < 0.75 * one_text,
        "writing: the 4096th word takes > 1.5 times the 32nd": grown > 1.5,
        "and under 3/4 of the advantage is left there": late < 0.75 * early,
    },
)
# %% [markdown] lang="en" claim="2.2b"
# **The guide's claim 2.2b**, that parallelism makes the Transformer efficient, holds where there is something to do in parallel. So the answers to your guesses are: on one text, the Transformer; on sixteen, neither by much, and in our trials the LSTM was even *faster* with texts of 256 words;
# in writing, the Transformer at the beginning of a text, with an advantage that melts as the text grows. The reasons: with one text, the LSTM multiplies $U$ by one vector after the other and
# must fetch all its weights for each; the Transformer does it once for the whole text. With sixteen texts the LSTM has sixteen rows to multiply: the *work*
# is the same, only the *waiting* differs. Waiting costs the more, the more cores could work at the same time; so on a GPU, with its thousands, we expect far more of an advantage; this cell has not been timed on one. And while writing there is nothing to do in parallel, and the text read so far must be looked through for every word. Had the LSTM
# needed less than a quarter more time on one text, the claim would have failed here. How much more it needs depends on the machine and on the width:
# with half of this width it was 1.2 to 1.4 times on the machines that we tried, too close to that line to decide anything.
# %% [markdown] lang="zh" of="8381b331"
# **指南的说法 2.2b**：并行使 Transformer 高效。在有东西可以并行的地方，这个说法成立。所以前面那几个问题的答案是：一段文字，Transformer 快；十六段，两者差不多，而在我们的试验里，文字长 256 个词时，LSTM 甚至*更快*；
# 写的时候，文章开头 Transformer 快，文章越长，这个优势越小。原因是：只有一段文字时，$U$ 一次只能乘一个向量，每次都要把全部权重取一遍；Transformer 对整段文字只做一次。
# 同时有十六段时，LSTM 一次能乘十六行：*工作量*一样，差别只在*等待*。能同时干活的核心越多，等待的代价就越高；GPU 有成千上万个，所以我们预期在 GPU 上优势会大得多，不过这一格没有在 GPU 上计过时。
# 写的时候没有什么可以并行，而且每写一个词都要把已有的文字查看一遍。假如用一段文字训练时，LSTM 多花的时间不到四分之一，这个说法在这里就不成立。究竟多花多少，要看机器和宽度：
# 宽度减半时，在我们试过的机器上是 1.2 到 1.4 倍，离这条线太近，什么也判断不了。
# %% [markdown] lang="en" name="device"
# ## On your GPU, if there is one
#
# The same blocks on the best device at hand; the result agrees with the CPU up to the rounding of float32.
# %% [markdown] lang="zh" of="1dcb1641"
# ## 有 GPU 就用 GPU
#
# 同样的块放到可用的最快设备上运行，结果与 CPU 相差不超过 float32 的舍入误差。
# %% name="device-check" tags=["device"]
from llmguide_lib import runtime

on_cpu = Llama(sizes).eval().float()
expected = on_cpu(tokens)
there = runtime.device()
result = on_cpu.to(there)(tokens.to(there)).cpu()
assert (result - expected).abs().max() < 1e-4
# %% [markdown] lang="en" name="end"
# ## Back to the question
#
# What happens if you stack only attention? All words become the same word. What the other parts are for, in one line each: the **residual** keeps what was there, and with it the words apart;
# the **norm** gives every sublayer an input of standard size (post-norm: and cuts the stream itself down to it), and so bounds the gradient; the **feed-forward layer** computes, where attention can only mix; the **mask** makes training on a whole text at once honest; **cross-attention** lets a
# writer ask a reader.
#
# **Limits.** All experiments here are small: eight blocks of width 32, 24 with random weights. What they show about warm-up agrees with Xiong et al. for models of the paper's size, but the learning rates at which it happens
# do not carry over, we saw 300 steps only, and large pre-norm models are trained with a warm-up all the same. Pre-norm has a price too, which small models do not show: its stream grows, so that late blocks change it little (Liu et al. 2020). And the RNNs here are those of the nineties; recent ones train in parallel too.
#
# **Sources.** [Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), section 3 (the whole model), 5.3 (warm-up);
# [Dong et al. 2021](https://arxiv.org/abs/2103.03404) (attention alone collapses); [Xiong et al. 2020](https://arxiv.org/abs/2002.04745) (post-norm, pre-norm, warm-up);
# [Liu et al. 2020](https://arxiv.org/abs/2004.08249) (why post-norm is hard to train); [Ba et al. 2016](https://arxiv.org/abs/1607.06450) and [Zhang and Sennrich 2019](https://arxiv.org/abs/1910.07467) (the norms);
# [Shazeer 2020](https://arxiv.org/abs/2002.05202) (gates); [Ainslie et al. 2023](https://arxiv.org/abs/2305.13245) (grouped queries); [Kaplan et al. 2020](https://arxiv.org/abs/2001.08361), section 2.1 (6N);
# [Pascanu et al. 2013](https://arxiv.org/abs/1211.5063) (vanishing and exploding gradients in RNNs); [Hochreiter and Schmidhuber 1997](https://doi.org/10.1162/neco.1997.9.8.1735) (LSTM);
# [Glorot and Bengio 2010](https://proceedings.mlr.press/v9/glorot10a.html) and [He et al. 2015](https://arxiv.org/abs/1502.01852) (first weights); [Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415) (GELU); [Su et al. 2021](https://arxiv.org/abs/2104.09864) (rotary positions).
#
# **Next:** [the exercises of this chapter](exercises.en.ipynb). Chapters 5 and 6 give these blocks something to learn.
# %% [markdown] lang="zh" of="3a82f9ef"
# ## 回到开头的问题
#
# 只叠注意力会怎么样？所有的词都变成同一个词。其他零件各有什么用，一句话一件：**残差**留住原有的东西，让各个词保持差别；**归一化**让每个子层读到标准大小的输入（后归一化还把残差流本身压回这个大小），从而限制住梯度；注意力只会混合，
# **前馈层**负责计算；有了**掩码**，一次用整段文字训练才不算作弊；**交叉注意力**让写的一方能问读的一方。
#
# **局限。** 这里的实验都很小：八个宽度为 32 的块，24 个权重随机的块。关于预热的结论与 Xiong 等人在论文规模的模型上得到的一致，但出问题的学习率是多少，不能照搬；我们只看了 300 步；大型的前归一化模型训练时照样用预热。
# 前归一化也有代价，小模型上看不出来：残差流越来越大，靠后的块就很难再改动它（Liu 等人，2020）。另外，这里的 RNN 是上世纪九十年代的；近年来的 RNN 也能并行训练。
#
# **文献。** [Vaswani 等人（2017）](https://arxiv.org/abs/1706.03762)第 3 节（整个模型）、第 5.3 节（预热）；
# [Dong 等人（2021）](https://arxiv.org/abs/2103.03404)（只有注意力就会坍缩）；[Xiong 等人（2020）](https://arxiv.org/abs/2002.04745)（后归一化、前归一化与预热）；
# [Liu 等人（2020）](https://arxiv.org/abs/2004.08249)（后归一化为什么难训练）；[Ba 等人（2016）](https://arxiv.org/abs/1607.06450)与 [Zhang 和 Sennrich（2019）](https://arxiv.org/abs/1910.07467)（两种归一化）；
# [Shazeer（2020）](https://arxiv.org/abs/2002.05202)（门）；[Ainslie 等人（2023）](https://arxiv.org/abs/2305.13245)（分组查询）；[Kaplan 等人（2020）](https://arxiv.org/abs/2001.08361)第 2.1 节（6N）；
# [Pascanu 等人（2013）](https://arxiv.org/abs/1211.5063)（RNN 里的梯度消失与爆炸）；[Hochreiter 和 Schmidhuber（1997）](https://doi.org/10.1162/neco.1997.9.8.1735)（LSTM）；
# [Glorot 和 Bengio（2010）](https://proceedings.mlr.press/v9/glorot10a.html)与 [He 等人（2015）](https://arxiv.org/abs/1502.01852)（初始权重）；[Hendrycks 和 Gimpel（2016）](https://arxiv.org/abs/1606.08415)（GELU）；[Su 等人（2021）](https://arxiv.org/abs/2104.09864)（旋转位置编码）。
#
# **接下来：** 做[这一章的练习](exercises.zh.ipynb)。第 5、6 章会让这些块真正学到东西。
