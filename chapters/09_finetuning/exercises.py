# %% name="imports"
import itertools
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# %% [markdown] lang="en" role="exercise" exercise="cost" difficulty=1 minutes=10 points=2
# ## 1. What LoRA costs, by hand
#
# A model of 10,000,000 numbers, each of 4 bytes. It has four blocks. In each, LoRA of rank 16 goes beside two maps: `q_proj`
# (512 inputs, 512 outputs) and `v_proj` (512 inputs, 128 outputs, because the heads share values). For every number that is trained,
# training also keeps its gradient and two numbers of Adam, of 4 bytes each. What the layers compute on the way is not counted here.
#
# Write down: how many numbers LoRA trains; the memory of *full* finetuning, in MB of a million bytes; the memory of finetuning with
# LoRA, in MB; the size of the file that must be stored for one task with LoRA, in MB.
# %% [markdown] lang="zh" of="4dbee526"
# ## 1. 手算 LoRA 的开销
#
# 一个模型有 10,000,000 个参数，每个 4 字节。它有四个块，每个块里，在两个线性映射旁边加上秩为 16 的 LoRA：`q_proj`
# （512 个输入、512 个输出）和 `v_proj`（512 个输入、128 个输出，因为几个头共用值）。训练时，每个要训练的参数还要保存它的梯度，
# 以及 Adam 的两个数，各 4 字节。各层算出来的中间结果，这里不计入。
#
# 写出四个数：LoRA 要训练多少个参数；*全量*微调要多少内存（MB，按一百万字节算）；用 LoRA 微调要多少内存（MB）；
# 用 LoRA 时，每个任务要存多大的文件（MB）。
# %% exercise="cost" answer="costs"
costs = [
    # BEGIN SOLUTION
    4 * 16 * ((512 + 512) + (512 + 128)),
    160.0,  # 10 million times 4 numbers of 4 bytes
    41.7,  # 40 for the frozen ones, 16 bytes for each of the trained
    0.426,  # 4 bytes for each of the trained
    # END SOLUTION
    # BEGIN STUB
    # ...,  # numbers that LoRA trains
    # ...,  # MB, full finetuning
    # ...,  # MB, LoRA
    # ...,  # MB, file
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. A map from $I$ inputs to $O$ outputs gets $A$ of shape $(R, I)$ and $B$ of shape $(O, R)$.
# 2. In full finetuning there are four numbers of 4 bytes for every number of the model. With LoRA a frozen number is only there: 4 bytes.
# 3. Each block trains $16 \cdot (512 + 512) + 16 \cdot (512 + 128) = 26{,}624$ numbers, four blocks $n = 106{,}496$. LoRA needs
#    $40 + 16 n / 10^6$ MB. The file holds $A$ and $B$ and nothing else.
# %% [markdown] lang="zh" of="0e781605"
# 1. $I$ 个输入、$O$ 个输出的线性映射，配上形状为 $(R, I)$ 的 $A$ 和形状为 $(O, R)$ 的 $B$。
# 2. 全量微调时，模型的每个参数对应四个 4 字节的数。用 LoRA 时，冻结的参数只是放在那里：4 字节。
# 3. 每个块训练 $16 \cdot (512 + 512) + 16 \cdot (512 + 128) = 26{,}624$ 个参数，四个块一共 $n = 106{,}496$ 个。
#    LoRA 需要 $40 + 16 n / 10^6$ MB。文件里只有 $A$ 和 $B$，没有别的。
# %% [markdown] lang="en" role="exercise" exercise="lora" difficulty=1 minutes=10 points=3
# ## 2. Write LoRA
#
# Complete `lora_linear(x, weight, bias, a, b, alpha)`: what a linear map gives with a correction of low rank beside it,
#
# $$y = W x + c + \frac{\alpha}{R}\, B A\, x$$
#
# for every row `x` of the last axis.
#
# - `x` is $(\ldots, I)$, `weight` is $W$, $(O, I)$ as in `nn.Linear`; `bias` is $c$, $(O,)$, or `None`;
# - `a` is $A$, $(R, I)$, and `b` is $B$, $(O, R)$; the rank $R$ is not given;
# - the result is $(\ldots, O)$; where `b` is zero it must be what the map alone gives.
# %% [markdown] lang="zh" of="747ccafe"
# ## 2. 写出 LoRA
#
# 完成 `lora_linear(x, weight, bias, a, b, alpha)`：在一个线性映射旁边加上低秩的修正，
#
# $$y = W x + c + \frac{\alpha}{R}\, B A\, x$$
#
# 最后一个轴上的每个向量都这样算。
#
# - `x` 是 $(\ldots, I)$；`weight` 是 $W$，形状 $(O, I)$，与 `nn.Linear` 相同；`bias` 是 $c$，形状 $(O,)$，也可能是 `None`；
# - `a` 是 $A$，形状 $(R, I)$；`b` 是 $B$，形状 $(O, R)$；秩 $R$ 没有给出；
# - 结果是 $(\ldots, O)$；`b` 全为零时，结果必须与只用线性映射时相同。
# %% exercise="lora" answer="lora_linear"
def lora_linear(x, weight, bias, a, b, alpha):
    # BEGIN SOLUTION
    return F.linear(x, weight, bias) + alpha / len(a) * (x @ a.T @ b.T)
    # END SOLUTION
# %% [markdown] lang="en" role="hints"
# 1. `F.linear(x, weight, bias)` is the map as it was, also without a bias. What has to be added?
# 2. Vectors stand in rows here, so $A x$ becomes `x @ a.T`. From right to left in the formula is from left to right in the code.
# 3. The rank is `len(a)`. Take `x @ a.T @ b.T` times `alpha / len(a)`, and nothing else times it. In this order no matrix as large
#    as $W$ is made.
# %% [markdown] lang="zh" of="4ec51da7"
# 1. `F.linear(x, weight, bias)` 就是原来的映射，没有偏置也行。还要加上什么？
# 2. 这里的向量是行向量，所以 $A x$ 写成 `x @ a.T`。公式里从右往左，代码里就是从左往右。
# 3. 秩是 `len(a)`。`x @ a.T @ b.T` 乘 `alpha / len(a)`，别的都不乘。按这个顺序算，不会产生像 $W$ 那么大的矩阵。
# %% [markdown] lang="en" role="exercise" exercise="merge" difficulty=2 minutes=20 points=3
# ## 3. Merge several adapters
#
# One adapter was trained on questions, one on translations, and one model is to have a part of each. Complete
# `merge(weight, adapters)`: the weight of one linear map with all adapters in it. `adapters` is a list, maybe empty, of
# `[a, b, alpha, share]`. Each adapter is to act as it did in training (exercise 2), times its share.
#
# - `weight` is $(O, I)$, `a` is $(R, I)$, `b` is $(O, R)$; every adapter may have another rank and another `alpha`;
# - a share is any number: 1 is the adapter as it is, 0.5 is half of it, a negative one takes it away;
# - the result has the type of `weight`, which may be coarser than that of `a` and `b`. Between 1 and 1.0078 `bfloat16` has no
#   number; four corrections of 0.002 must count all the same;
# - `weight` and the adapters must stay as they are.
# %% [markdown] lang="zh" of="ce344b6e"
# ## 3. 合并几个适配器
#
# 一个适配器学的是问答，一个学的是翻译，现在想让一个模型两样都会一些。完成 `merge(weight, adapters)`：返回一个线性映射的权重，
# 里面合并了所有适配器。`adapters` 是一个列表，可能为空，每一项是 `[a, b, alpha, share]`。每个适配器都要像训练时那样起作用
# （见第 2 题），再乘上自己的份额 `share`。
#
# - `weight` 是 $(O, I)$，`a` 是 $(R, I)$，`b` 是 $(O, R)$；各个适配器的秩和 `alpha` 可以不同；
# - 份额可以是任意的数：1 是原样，0.5 是一半，负数是反过来抵消它的作用；
# - 结果的类型与 `weight` 相同，它的精度可能比 `a` 和 `b` 的低：`bfloat16` 在 1 和 1.0078 之间一个数也表示不了，但四个 0.002 的修正加在一起不能丢；
# - 不许改动 `weight` 和适配器。
# %% exercise="merge" answer="merge"
def merge(weight, adapters):
    # BEGIN SOLUTION
    correction = sum(share * alpha / len(a) * b @ a for a, b, alpha, share in adapters)
    return (weight + correction).to(weight.dtype)
    # END SOLUTION
# %% [markdown] lang="en" role="hints"
# 1. What has to be added to $W$ so that the map alone gives what exercise 2 gives? Shapes: which product of `a` and `b` is $(O, I)$?
# 2. Each adapter has one matrix of that shape, with its own number before it. These matrices are added. Is it the same if the `a` are
#    added, the `b` are added, and then multiplied?
# 3. Add up `share * alpha / len(a) * b @ a` over the adapters (`sum` of nothing is 0), add the result to `weight` once, and end with
#    `.to(weight.dtype)`.
# %% [markdown] lang="zh" of="8b0521f8"
# 1. 要给 $W$ 加上什么，才能让线性映射自己就给出第 2 题的结果？看形状：`a` 和 `b` 怎样相乘才是 $(O, I)$？
# 2. 每个适配器对应一个这种形状的矩阵，前面乘一个自己的数，再把这些矩阵相加。如果先把各个 `a` 相加、各个 `b` 相加，再相乘，结果一样吗？
# 3. 对所有适配器，把 `share * alpha / len(a) * b @ a` 加起来（空的 `sum` 是 0），一次性加到 `weight` 上，最后 `.to(weight.dtype)`。
# %% [markdown] lang="en" role="exercise" exercise="debug" difficulty=3 minutes=20 points=3
# ## 4. Two bugs in the finetuning
#
# A colleague finetunes a small model: a pretrained map, which is to stay as it is, gets a correction beside it; the last map
# is a new head. Correction and head are to learn. The loss falls nicely. But the two matrices that he stores are as they were at the
# beginning, and the pretrained map is not what it was. The code has **two** bugs: one line stands in the wrong
# place, and one is missing. Mend them.
#
# - `model` is a pretrained map, `Tanh`, and a head; `a` and `b` are the matrices that the correction starts with;
# - returned are the finetuned model's answers to `x`.
# %% [markdown] lang="zh" of="3089a6bb"
# ## 4. 微调里的两处错误
#
# 同事在微调一个小模型：预训练好的线性映射要保持不变，在它旁边加一个修正；最后一个映射是新的输出头（head）。要学的是修正和输出头。损失降得很顺利，
# 可是他存下来的那两个矩阵和一开始一模一样，而预训练好的线性映射却变了。代码里有**两处**错误：一行放错了地方，还缺一行。请改正。
#
# - `model` 依次是预训练好的线性映射、`Tanh` 和输出头；`a`、`b` 是修正的两个矩阵的初始值；
# - 返回微调后的模型对 `x` 的输出。
# %% exercise="debug" answer="finetune"
class Corrected(nn.Module):
    """A linear map and a correction of low rank beside it."""

    def __init__(self, base, a, b):
        super().__init__()
        self.base, self.a, self.b = base, nn.Parameter(a.clone()), nn.Parameter(b.clone())

    def forward(self, x):
        return self.base(x) + x @ self.a.T @ self.b.T


def finetune(model, a, b, x, y, steps):
    # BEGIN SOLUTION
    model[0] = Corrected(model[0], a, b)
    model[0].base.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    # END SOLUTION
    # BEGIN STUB
    # optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    # model[0] = Corrected(model[0], a, b)
    # END STUB
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    return model(x).detach()
# %% [markdown] lang="en" role="hints"
# 1. Print `[name for name, _ in model.named_parameters()]` where the optimizer is built, and once more where the loop begins.
# 2. Which parameters are to learn, and which are not? Each of them must be known to the optimizer *and* have `requires_grad`.
# 3. First put the correction in, then build the optimizer. Between the two, `requires_grad_(False)` belongs to the map inside the
#    correction, `model[0].base`, and not to `model[0]`, which has $A$ and $B$ as well.
# %% [markdown] lang="zh" of="2ff33d38"
# 1. 在创建优化器的地方打印 `[name for name, _ in model.named_parameters()]`，循环开始前再打印一次。
# 2. 哪些参数要学，哪些不要？要学的参数，必须优化器认识它，*而且* `requires_grad` 为真。
# 3. 先加修正，再创建优化器。在两者之间，对修正里面的线性映射 `model[0].base` 调用 `requires_grad_(False)`；
#    不能对 `model[0]` 调用，$A$ 和 $B$ 也在里面。
# %% [markdown] lang="en" role="exercise" exercise="rank" difficulty=2 minutes=20 points=2
# ## 5. Measure how low the rank of an update is
#
# A map with 24 inputs and 24 outputs is finetuned, all of it, on 60 noisy examples. Because the task is made here, the truth is known: it asks
# for a change of rank 2. The last line gives the map `before` and `after`; `error` is its mean squared error on new
# examples without noise. Measure, to three decimals:
#
# 1. the share that the two largest singular values of the *update* have in the sum of the squares of all of them;
# 2. the same share for the pretrained matrix `before`;
# 3. the error after full finetuning;
# 4. the error if only the nearest matrix of rank 2 to the update is added to `before`.
#
# Which of the two errors is smaller, and why? Is 2 a rank that you could have known without having made the task?
# %% [markdown] lang="zh" of="4ba1bc44"
# ## 5. 量一量，更新量的秩有多低
#
# 一个 24 个输入、24 个输出的线性映射，用 60 个带噪声的样本做全量微调。任务是我们自己造的，所以知道标准答案：它要求的改变，秩为 2。
# 最后一行给出微调前的映射 `before` 和微调后的 `after`；`error(weight)` 是权重为 `weight` 的映射在不带噪声的新样本上的均方误差。测量下面四个数，精确到小数点后三位：
#
# 1. *更新量*最大的两个奇异值，平方之和占全部奇异值平方之和的多少；
# 2. 预训练矩阵 `before` 的同一个占比；
# 3. 全量微调之后的误差；
# 4. 如果只把与更新量最接近的秩为 2 的矩阵加到 `before` 上，误差是多少。
#
# 两个误差，哪个更小？为什么？如果任务不是自己造的，你能知道秩应该取 2 吗？
# %% exercise="rank" answer="measured"
def drawn(*shape, seed):
    """Uniform numbers of mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(seed)
    return math.sqrt(3) * (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1)


before = drawn(24, 24, seed=1) / math.sqrt(24)
right = before + 2 * drawn(24, 2, seed=2) @ drawn(2, 24, seed=3) / 24
x, noise = drawn(60, 24, seed=4), 0.5 * drawn(60, 24, seed=5)
y = x @ right.T + noise


def full_finetuning(weight):
    weight = weight.clone()
    for _ in range(200):
        weight -= 0.3 * (x @ weight.T - y).T @ x / len(x)
    return weight


def error(weight):
    return (drawn(1000, 24, seed=6) @ (weight - right).T).square().mean().item()


after = full_finetuning(before)


# BEGIN SOLUTION
def share(matrix):
    squares = torch.linalg.svdvals(matrix) ** 2
    return (squares[:2].sum() / squares.sum()).item()


u, s, vh = torch.linalg.svd(after - before)
nearest = (u[:, :2] * s[:2]) @ vh[:2]
# END SOLUTION
measured = [
    # BEGIN SOLUTION
    share(after - before),
    share(before),
    error(after),
    error(before + nearest),
    # END SOLUTION
    # BEGIN STUB
    # ...,  # share, update
    # ...,  # share, pretrained matrix
    # ...,  # error, full
    # ...,  # error, rank 2
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. The update is what finetuning *added*. `torch.linalg.svdvals` gives the singular values, the largest one first.
# 2. `u, s, vh = torch.linalg.svd(update)`: the update is the sum of `s[i]` times column `i` of `u` times row `i` of `vh`. The nearest matrix
#    of rank 2 is the sum of the first two.
# 3. `(u[:, :2] * s[:2]) @ vh[:2]`. The rank-2 part has the smaller error: what the task asks for lies in two directions, the noise of
#    60 examples lies in all 24, and full finetuning learns both. On a real task nobody tells the rank; it is chosen on validation data.
# %% [markdown] lang="zh" of="cbeff650"
# 1. 更新量就是微调*加上去*的部分。`torch.linalg.svdvals` 从大到小给出奇异值。
# 2. `u, s, vh = torch.linalg.svd(update)`：更新量等于各项之和，第 `i` 项是 `s[i]` 乘 `u` 的第 `i` 列，再乘 `vh` 的第 `i` 行。
#    最接近的秩为 2 的矩阵，就是前两项之和。
# 3. `(u[:, :2] * s[:2]) @ vh[:2]`。只留秩 2 的那一个误差更小：任务要求的改变只在两个方向上，60 个样本的噪声却散布在全部 24 个方向上，
#    全量微调把两样都学了。真实任务里没人告诉你秩是多少，要用验证集来选。
# %% [markdown] lang="en" role="exercise" exercise="seeds" difficulty=2 minutes=15 points=2
# ## 6. Is it better, or was it luck?
#
# Two methods were finetuned eight times each. Every time, 50 labelled texts were drawn, and *both* methods got the same ones. The accuracies
# in percent (made up, but like real ones) stand below, draw by draw. Compute, to three decimals:
#
# 1. the mean of the differences, A minus B;
# 2. how far the 95 % interval of this mean reaches to each side: $2.365 \cdot s / \sqrt 8$ with $s$ the standard deviation of the
#    differences (divided by $N - 1$). 2.365 is Student's bound for seven degrees of freedom;
# 3. how far it would reach if the lists had nothing to do with each other: $2.145 \cdot \sqrt{s_A^2 / 8 + s_B^2 / 8}$, fourteen degrees of freedom;
# 4. a test without any assumption about the spread: were both methods equally good, each difference could just as well have had
#    the other sign. Of all $2^8$ choices of signs, which share gives a sum that is, in absolute value, at least as large as the one seen?
#
# Which of the two intervals excludes zero? What would have been concluded if the eight draws had been different ones for B?
# %% [markdown] lang="zh" of="70460573"
# ## 6. 是真的更好，还是运气？
#
# 两种方法各微调了八次。每次抽 50 段带标注的文本，*两种*方法用的是同一批。准确率（单位是百分数；数据是编的，但与真实情况相仿）按抽样的次序列在下面。
# 计算下面四个数，精确到小数点后三位：
#
# 1. 差（A 减 B）的平均值；
# 2. 这个平均值的 95 % 置信区间的半宽：$2.365 \cdot s / \sqrt 8$，其中 $s$ 是差的标准差（除以 $N - 1$），
#    2.365 是自由度为 7 的 t 分布的临界值；
# 3. 如果把两列数当成互不相干的，半宽会是多少：$2.145 \cdot \sqrt{s_A^2 / 8 + s_B^2 / 8}$，自由度为 14；
# 4. 一个不必知道波动有多大的检验：如果两种方法一样好，每个差都有同样的机会取相反的符号。在全部 $2^8$ 种符号中，
#    差之和的绝对值不小于实际值的，占多少？
#
# 两个区间，哪个不含零？假如 B 用的不是这八次抽样，而是另外八次，会得出什么结论？
# %% exercise="seeds" answer="compared"
a = np.array([33.0, 25.0, 37.5, 31.0, 22.0, 36.0, 28.5, 31.0])
b = np.array([31.0, 24.5, 36.5, 28.0, 22.5, 33.5, 27.0, 30.0])
# BEGIN SOLUTION
differences = a - b
sums = [abs(differences @ signs) for signs in itertools.product((1, -1), repeat=8)]
# END SOLUTION
compared = [
    # BEGIN SOLUTION
    float(differences.mean()),
    float(2.365 * differences.std(ddof=1) / math.sqrt(8)),
    float(2.145 * math.sqrt(a.var(ddof=1) / 8 + b.var(ddof=1) / 8)),
    sum(value >= abs(differences.sum()) for value in sums) / len(sums),
    # END SOLUTION
    # BEGIN STUB
    # ...,  # mean difference
    # ...,  # reach with pairs
    # ...,  # reach without pairs
    # ...,  # share of the signs
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. Everything but number 3 needs the differences `a - b` only. What does numpy's `std` divide by if nothing is said?
# 2. `itertools.product((1, -1), repeat=8)` gives all 256 choices of signs, the one seen among them.
# 3. `differences.std(ddof=1)`; and the share of signs with `abs(differences @ signs) >= abs(differences.sum())`. With pairs the interval is
#    1.375 ± 0.94 and excludes zero, without pairs ± 5.3 drowns it: draws differ much more than methods do. So give all methods the same draws.
# %% [markdown] lang="zh" of="b45916b7"
# 1. 除了第 3 个数，都只需要差 `a - b`。不特别说明时，numpy 的 `std` 除以几？
# 2. `itertools.product((1, -1), repeat=8)` 给出全部 256 种符号，实际的那一种也在里面。
# 3. `differences.std(ddof=1)`；再数出满足 `abs(differences @ signs) >= abs(differences.sum())` 的符号占多少。
#    配对时，区间是 1.375 ± 0.94，不含零；不配对时是 ± 5.3，差别就淹没在里面了：各次抽样之间的差别，比两种方法之间的差别大得多。
#    所以，各种方法要用同样的抽样。
