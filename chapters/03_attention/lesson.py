# %% [markdown] lang="en" name="question"
# ## A question you cannot answer yet
#
# Somebody reads documentation aloud to you and stops in the middle of a sentence:
#
# > *fill_value: what to put where an entry is missing. If the table is empty, the result is a row of* ▁▁▁
#
# You would bet on `fill_value`. The word that you need stood at the beginning, eighteen words ago. A model that counts
# what usually follows the last two words ("row of …") has never seen it there. And next time the helpful word
# stands somewhere else: three words ago, or two hundred.
#
# A neural network is a fixed list of multiplications and additions. How can a *fixed* list fetch something from a
# place that is different in every text?
# %% [markdown] lang="zh" of="70f9dc15"
# ## 一个你现在还答不出的问题
#
# 有人给你念一段英文文档，念到半句停住了：
#
# > *fill_value: what to put where an entry is missing. If the table is empty, the result is a row of* ▁▁▁
# >
# > （fill_value：缺失的条目用什么来填。如果表是空的，结果就是一行……）
#
# 你多半会猜 `fill_value`。你需要的那个词在开头，隔了十八个词。只统计“最后两个词（row of）后面通常是什么”的模型，
# 根本看不到它。而且换一段文字，有用的词就换了地方：也许在三个词之前，也许在两百个词之前。
#
# 神经网络不过是一串*固定的*乘法和加法。固定的运算，怎么能从每段文字里都不一样的位置取到东西？
# %% [markdown] lang="en" name="guess-store" role="prediction"
# **Write down your guess.** Suppose that every earlier word may leave a note for later words. What must the note say
# so that the right one can be found, and what must the searching word bring along?
# %% [markdown] lang="zh" of="37b30a10"
# **先写下你的猜测。** 假设前面的每个词都可以给后面的词留一张纸条。纸条上要写什么，才能被找到？来找的那个词，自己又要带上什么？
# %% name="imports"
import math

import torch

from llmguide_lib.notebook import decide, difference, show

torch.set_default_dtype(torch.float64)
# %% [markdown] lang="en" name="dictionary"
# ## From a dictionary to a soft lookup
#
# A Python dictionary answers a **query** with the **value** whose **key** is *equal* to it. Equality has no gradient:
# nudge the query a little and nothing changes, or everything does. So a network cannot learn it by small steps.
#
# Replace "equal" by "similar". Keys and queries become vectors, and their dot product says how well they fit: large
# where they point the same way, zero where they have nothing in common. Then, instead of picking the best entry,
# take *all* values, each weighted by how well its key fits. The weights should be positive and add up to one; that is
# what softmax makes of any list of scores $s_1, \dots, s_S$:
#
# $$w_j = \frac{e^{s_j}}{\sum_i e^{s_i}}$$
# %% [markdown] lang="zh" of="826aaa24"
# ## 从字典到“软”查找
#
# Python 字典收到一个**查询**（query），返回**键**（key）与它*相等*的那个**值**（value）。
# “相等”没有梯度：查询稍微动一动，结果要么完全不变，要么整个换掉，网络没法靠一小步一小步的调整学会它。
#
# 于是把“相等”换成“相似”。键和查询都用向量表示，用点积衡量它们有多合拍：方向一致，点积就大；毫不相干，点积就是零。
# 然后不再只挑最合适的一条，而是把*所有*的值都取来，键越合拍，分到的权重越大。
# 权重应当是正数，加起来等于一。softmax 正好能把任意一串分数 $s_1, \dots, s_S$ 变成这样的权重：
#
# $$w_j = \frac{e^{s_j}}{\sum_i e^{s_i}}$$
# %% name="soft-lookup"
keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # three entries, described by two features
values = torch.tensor([[10.0], [20.0], [30.0]])
query = torch.tensor([1.0, 0.0])  # asks for the first feature

for sharpness in (1, 3, 30):
    weights = (keys @ (sharpness * query)).softmax(dim=-1)
    show(sharpness, weights, weights @ values)
# %% [markdown] lang="en" name="soft-lookup-read"
# The second entry has nothing that the query asks for and loses its weight as the query gets sharper. The first and the
# third fit equally well, so they share: the answer tends to the mean of 10 and 30. Between "average of everything" and
# "dictionary" lies a smooth path, and on a smooth path gradients can lead the way. This smooth lookup is **attention**.
# %% [markdown] lang="zh" of="a24bfe2f"
# 第二条完全没有查询要找的特征，查询越“尖锐”，它分到的权重就越少。第一条和第三条同样合拍，于是平分权重，结果趋向 10 和 30 的平均。
# 从“全部取平均”到“字典”，中间是一条平滑的路；路是平滑的，梯度就能指路。这种平滑的查找就是**注意力**（attention）。
# %% [markdown] lang="en" name="equation"
# ## The equation, every symbol and every shape
#
# A text has many positions, and all of them search at once. Put the queries, keys and values as rows into matrices:
#
# $$\operatorname{Attention}(Q, K, V) = \operatorname{softmax}\!\left(\frac{Q K^{\top}}{\sqrt{d_k}}\right) V$$
#
# | symbol | what it is | shape | in code |
# |---|---|---|---|
# | $Q$ | one query per row: what each position looks for | $T \times d_k$ | `query` |
# | $K$ | one key per row: what each position offers to be found by | $S \times d_k$ | `key` |
# | $V$ | one value per row: what is handed over | $S \times d_v$ | `value` |
# | $QK^{\top}$ | all dot products: row $t$, column $s$ says how well key $s$ fits query $t$ | $T \times S$ | `scores` |
# | $\sqrt{d_k}$ | a number; what it is for is measured below | | `math.sqrt(d_k)` |
# | softmax | along each *row*, so that each query's weights add up to one | $T \times S$ | `weights` |
# | result | for each query a weighted mean of the values | $T \times d_v$ | `output` |
#
# $T$ counts queries, $S$ counts keys. When a text attends to itself (**self-attention**), $T = S$, and $Q$, $K$, $V$ are
# three different linear maps of the same vectors: $Q = X W_Q$, $K = X W_K$, $V = X W_V$.
# %% [markdown] lang="zh" of="365f243f"
# ## 公式里的每个符号、每个形状
#
# 一段文字有许多位置，它们同时在查找。把查询、键、值各自按行排成矩阵：
#
# $$\operatorname{Attention}(Q, K, V) = \operatorname{softmax}\!\left(\frac{Q K^{\top}}{\sqrt{d_k}}\right) V$$
#
# | 符号 | 含义 | 形状 | 代码里 |
# |---|---|---|---|
# | $Q$ | 每行一个查询：这个位置在找什么 | $T \times d_k$ | `query` |
# | $K$ | 每行一个键：这个位置凭什么被找到 | $S \times d_k$ | `key` |
# | $V$ | 每行一个值：被找到以后交出什么 | $S \times d_v$ | `value` |
# | $QK^{\top}$ | 所有点积：第 $t$ 行第 $s$ 列表示键 $s$ 与查询 $t$ 有多合拍 | $T \times S$ | `scores` |
# | $\sqrt{d_k}$ | 一个数，有什么用后面会测量 | | `math.sqrt(d_k)` |
# | softmax | 沿着每一*行*做，使每个查询的权重加起来等于一 | $T \times S$ | `weights` |
# | 结果 | 每个查询得到各个值的加权平均 | $T \times d_v$ | `output` |
#
# $T$ 是查询的个数，$S$ 是键的个数。一段文字对自己做注意力，就叫**自注意力机制**，这时 $T = S$，
# $Q$、$K$、$V$ 是同一组向量的三个不同的线性变换：$Q = X W_Q$，$K = X W_K$，$V = X W_V$。
# %% [markdown] lang="en" name="by-hand"
# ## By hand, once
#
# Take pencil and calculator. One query, three keys, $d_k = 4$, so $\sqrt{d_k} = 2$:
#
# | | | | $q \cdot k$ | $\div 2$ | $e^{\dots}$ | $\div$ sum | value |
# |---|---|---|---|---|---|---|---|
# | $k_1$ | $(1, 1, 0, 0)$ | | $2$ | $1$ | $2.718$ | $0.665$ | $(1, 0)$ |
# | $k_2$ | $(0, 0, 3, 0)$ | | $0$ | $0$ | $1.000$ | $0.245$ | $(0, 1)$ |
# | $k_3$ | $(-1, 0, 0, 2)$ | | $-2$ | $-1$ | $0.368$ | $0.090$ | $(1, 1)$ |
#
# with $q = (2, 0, 0, 0)$. The exponentials add up to $4.086$. The output is
# $0.665\,(1, 0) + 0.245\,(0, 1) + 0.090\,(1, 1) = (0.755, 0.335)$. Now by machine:
# %% [markdown] lang="zh" of="5ab6629e"
# ## 亲手算一次
#
# 拿出纸笔和计算器。一个查询，三个键，$d_k = 4$，所以 $\sqrt{d_k} = 2$。设 $q = (2, 0, 0, 0)$：
#
# | | | | $q \cdot k$ | $\div 2$ | $e^{\dots}$ | $\div$ 总和 | 值 |
# |---|---|---|---|---|---|---|---|
# | $k_1$ | $(1, 1, 0, 0)$ | | $2$ | $1$ | $2.718$ | $0.665$ | $(1, 0)$ |
# | $k_2$ | $(0, 0, 3, 0)$ | | $0$ | $0$ | $1.000$ | $0.245$ | $(0, 1)$ |
# | $k_3$ | $(-1, 0, 0, 2)$ | | $-2$ | $-1$ | $0.368$ | $0.090$ | $(1, 1)$ |
#
# 三个指数加起来是 $4.086$。输出是
# $0.665\,(1, 0) + 0.245\,(0, 1) + 0.090\,(1, 1) = (0.755, 0.335)$。再让机器算一遍：
# %% name="by-machine"
q = torch.tensor([[2.0, 0, 0, 0]])
k = torch.tensor([[1.0, 1, 0, 0], [0, 0, 3, 0], [-1, 0, 0, 2]])
v = torch.tensor([[1.0, 0], [0, 1], [1, 1]])

weights = (q @ k.T / math.sqrt(4)).softmax(dim=-1)
show(weights=weights, output=weights @ v)


# %% [markdown] lang="en" name="scratch"
# ## In PyTorch
#
# The equation is three lines. `.mT` transposes the last two axes only, so the same function serves one text, a batch of
# texts, or a batch of texts with several heads: whatever stands in front is carried along.
# %% [markdown] lang="zh" of="ebbaf81a"
# ## 用 PyTorch 写出来
#
# 公式就是三行代码。`.mT` 只转置最后两个轴，前面不管有几个轴都原样带着，
# 所以同一个函数既能处理一段文字，也能处理一批文字，还能处理一批文字的多个头。
# %% name="scratch-code"
def my_attention(query, key, value):
    """softmax(query key^T / sqrt(d_k)) value, and the weights."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])  # (..., T, S)
    weights = scores.softmax(dim=-1)  # each row adds up to one
    return weights @ value, weights  # (..., T, d_v)


def draw(*shape, seed):
    """Uniform numbers of mean 0 and variance 1, the same on every machine."""
    generator = torch.Generator().manual_seed(seed)
    return math.sqrt(3) * (2 * torch.rand(*shape, generator=generator) - 1)


# %% [markdown] lang="en" name="scratch-proof"
# Is it right? Two others must agree: the function of this book's library, which later chapters use, and PyTorch's own.
# Sizes are chosen so that a mix-up of axes cannot hide: $T \ne S$ and $d_k \ne d_v$.
# %% [markdown] lang="zh" of="32745e96"
# 写对了吗？要和另外两个实现对得上：一个是本书的库（后面各章都用它），一个是 PyTorch 自带的。
# 各个尺寸有意取得互不相同，$T \ne S$，$d_k \ne d_v$，这样轴弄混了就藏不住。
# %% name="scratch-check"
from torch.nn.functional import scaled_dot_product_attention

from llmguide_lib.attention import attention

query, key, value = draw(2, 5, 8, seed=1), draw(2, 7, 8, seed=2), draw(2, 7, 3, seed=3)
mine, weights = my_attention(query, key, value)
show(shape=tuple(mine.shape), rows_sum_to=weights.sum(dim=-1).mean())
show(library=difference(mine, attention(query, key, value)[0]))
show(torch=difference(mine, scaled_dot_product_attention(query, key, value)))
