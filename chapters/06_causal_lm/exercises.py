# %% name="imports"
import math
from collections import Counter

import torch
from torch.nn import functional as F

# %% [markdown] lang="en" role="exercise" exercise="hand" difficulty=1 minutes=8 points=2
# ## 1. Three tokens by hand
#
# A text of three tokens and 15 bytes. A model gave the tokens that came the probabilities $1/4$, $1/8$ and $1/16$. To three
# decimals: the *loss* in nats per token, the *perplexity*, and the *bits per byte*.
# %% [markdown] lang="zh" of="18e40e21"
# ## 1. 手算三个词元
#
# 一段文本有三个词元，共 15 个字节。模型给真正出现的词元的概率是 $1/4$、$1/8$、$1/16$。算到小数点后三位：
# *损失*（每词元的奈特数）、*困惑度*、*每字节比特数*。
# %% exercise="hand" answer="by_hand"
by_hand = [
    # BEGIN SOLUTION
    2.079,  # (2 + 3 + 4) * ln 2 / 3
    8.0,  # e^2.079 = 2^3
    0.6,  # 9 / 15
    # END SOLUTION
    # BEGIN STUB
    # ...,  # loss
    # ...,  # perplexity
    # ...,  # bits per byte
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. How many times must 1 be halved to get $1/8$? That is its surprise in bits. One bit is $\ln 2 = 0.693$ nats.
# 2. The loss is a mean per token, the perplexity is $e$ to the loss, and bits per byte need *all* bits of the text.
# 3. The tokens cost 2, 3 and 4 bits: 9 bits, $9 \cdot 0.693 = 6.238$ nats. Divide the nats by 3 tokens, the bits by 15 bytes.
# %% [markdown] lang="zh" of="31e32102"
# 1. 1 要减半几次才是 $1/8$？这就是以比特计的意外程度。1 比特是 $\ln 2 = 0.693$ 奈特。
# 2. 损失是每个词元的平均，困惑度是 $e$ 的损失次方，每字节比特数要用整段文本的*全部*比特。
# 3. 三个词元分别花 2、3、4 比特，一共 9 比特，合 $9 \cdot 0.693 = 6.238$ 奈特。奈特除以 3 个词元，比特除以 15 个字节。
# %% [markdown] lang="en" role="exercise" exercise="loss" difficulty=2 minutes=15 points=3
# ## 2. The loss of a batch
#
# Complete `next_token_loss(logits, tokens, lengths)`: the mean surprise, in nats, over all tokens of the batch that are to be
# predicted.
#
# - `logits` is $(B, T, V)$, `tokens` is $(B, T)$; the logits at place $t$ bet on the token at place $t+1$;
# - `lengths` is a tensor of $B$ integers: text $b$ has `lengths[b]` tokens; what stands behind them is filling and must not count;
# - every real target counts equally, whatever text it belongs to; a text of one token has no target;
# - it must also work where logits are very large; `F.cross_entropy` is allowed, the library's `cross_entropy` is not.
# %% [markdown] lang="zh" of="c5f0cf9a"
# ## 2. 一批文本的损失
#
# 完成 `next_token_loss(logits, tokens, lengths)`：对整批里所有要预测的词元，求意外程度的平均，单位是奈特。
#
# - `logits` 是 $(B, T, V)$，`tokens` 是 $(B, T)$；位置 $t$ 的 logits 押的是位置 $t+1$ 的词元；
# - `lengths` 是 $B$ 个整数的张量：第 $b$ 段文本有 `lengths[b]` 个词元，后面的都是填充，不能算；
# - 每个真正的目标都算同样的分量，不管它属于哪一段；只有一个词元的文本没有目标；
# - logits 非常大时也要正确；可以用 `F.cross_entropy`，不能用本书库里的 `cross_entropy`。
# %% exercise="loss" answer="next_token_loss"
def next_token_loss(logits, tokens, lengths):
    # BEGIN SOLUTION
    surprise = F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")  # (B, T-1)
    real = torch.arange(1, tokens.shape[1]) < lengths[:, None]
    return surprise[real].mean()
    # END SOLUTION
# %% [markdown] lang="en" role="hints"
# 1. Which places of `logits` have a token to bet on? Which places of `tokens` are bet on? Both must be equally many.
# 2. `F.cross_entropy(..., reduction="none")` gives one number for each target and wants the vocabulary as its second axis. Which of these numbers belong to real tokens?
# 3. `logits[:, :-1].transpose(1, 2)` against `tokens[:, 1:]`; real are those where `torch.arange(1, T) < lengths[:, None]`;
#    pick them, then `.mean()`.
# %% [markdown] lang="zh" of="5f9a236c"
# 1. `logits` 的哪些位置有词元可押？`tokens` 的哪些位置被押？两边的个数必须相等。
# 2. `F.cross_entropy(..., reduction="none")` 给每个目标一个数，它要求词表在第二个轴。这些数里，哪些属于真正的词元？
# 3. `logits[:, :-1].transpose(1, 2)` 对 `tokens[:, 1:]`；真正的目标满足 `torch.arange(1, T) < lengths[:, None]`；
#    挑出它们，再 `.mean()`。
# %% [markdown] lang="en" role="exercise" exercise="top-p" difficulty=2 minutes=15 points=3
# ## 3. Write top-p
#
# Complete `keep_top_p(probabilities, p)`. `probabilities` is $(B, V)$, each row adds up to one. In each row keep the fewest most
# probable tokens that together have *at least* probability $p$, set the others to zero, and make the row add up to one again. At
# least one token is always kept. Each probability stays at its token. Do not use the library's `TopP`.
# %% [markdown] lang="zh" of="d7afe1d6"
# ## 3. 写出 top-p
#
# 完成 `keep_top_p(probabilities, p)`。`probabilities` 是 $(B, V)$，每行加起来等于一。每一行里，从概率最大的开始，留下尽可能少的词元，
# 使它们的总概率*至少*是 $p$；其余的置为零，再让这一行加起来等于一。至少要留一个。每个概率都留在原来的词元上。不要用库里的 `TopP`。
# %% exercise="top-p" answer="keep_top_p"
def keep_top_p(probabilities, p):
    # BEGIN SOLUTION
    ordered, order = probabilities.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = torch.zeros_like(ordered).scatter(-1, order, ordered * (before < p))
    return kept / kept.sum(dim=-1, keepdim=True)
    # END SOLUTION
# %% [markdown] lang="en" role="hints"
# 1. Sort each row in descending order and add up from the left (`cumsum`). When does a token still belong to the set?
# 2. A token is needed if those *before* it do not reach $p$ yet. So compare the sum without the token itself. The first one has nothing before it.
# 3. `ordered, order = probabilities.sort(dim=-1, descending=True)`; `before = ordered.cumsum(-1) - ordered`; put
#    `ordered * (before < p)` back with `torch.zeros_like(ordered).scatter(-1, order, ...)`; divide by the row's sum.
# %% [markdown] lang="zh" of="d57ba803"
# 1. 每行从大到小排序，再从左往右累加（`cumsum`）。什么情况下，一个词元还该留下？
# 2. 如果*前面*的还没有达到 $p$，就还需要它。所以要比较的是不含它自己的累加和。第一个词元前面什么也没有。
# 3. `ordered, order = probabilities.sort(dim=-1, descending=True)`；`before = ordered.cumsum(-1) - ordered`；
#    用 `torch.zeros_like(ordered).scatter(-1, order, ...)` 把 `ordered * (before < p)` 放回原处；再除以每行的和。
# %% [markdown] lang="en" role="exercise" exercise="cache" difficulty=3 minutes=20 points=3
# ## 4. Two bugs in the cache
#
# A colleague wrote causal attention with a cache: the text comes in parts, and the keys and values of earlier parts are kept. The shapes
# fit and nothing raises an error; but however the text is cut, the results differ from those without
# cache. **Two** lines have a bug. Mend them.
#
# - `x` is $(T, D)$, a row for each token; `positions` has a vector for each position of the text, to be added;
# - `parts` are the sizes of the parts, such as `[3, 1, 1]`; the result, $(T, D)$, must be the same for every way of cutting.
# %% [markdown] lang="zh" of="3904d5fc"
# ## 4. 缓存里的两处错误
#
# 同事写了带缓存的因果注意力：文本分段送入，前面各段的键和值都留着。形状都对，也不报错，但无论怎么切，结果都与不用缓存时不同。
# 有**两行**出了错，请改正。
#
# - `x` 是 $(T, D)$，每个词元一行；`positions` 里，文本的每个位置有一个向量，要加上去；
# - `parts` 是各段的长度，例如 `[3, 1, 1]`；结果是 $(T, D)$，不管怎么切，都必须一样。
# %% exercise="cache" answer="attend_in_parts"
def attend_in_parts(x, positions, w_q, w_k, w_v, parts):
    keys, values, outputs, seen = x[:0] @ w_k, x[:0] @ w_v, [], 0
    for part in x.split(parts):
        # BEGIN SOLUTION
        part = part + positions[seen : seen + len(part)]
        # END SOLUTION
        # BEGIN STUB
        # part = part + positions[: len(part)]
        # END STUB
        keys, values = torch.cat([keys, part @ w_k]), torch.cat([values, part @ w_v])
        query = part @ w_q
        scores = query @ keys.T / math.sqrt(query.shape[-1])  # (new tokens, all tokens so far)
        # BEGIN SOLUTION
        allowed = torch.arange(len(keys)) <= seen + torch.arange(len(part))[:, None]
        # END SOLUTION
        # BEGIN STUB
        # allowed = torch.ones(len(part), len(keys), dtype=torch.bool)
        # END STUB
        outputs.append(scores.masked_fill(~allowed, -math.inf).softmax(dim=-1) @ values)
        seen += len(part)
    return torch.cat(outputs)
# %% [markdown] lang="en" role="hints"
# 1. Write down, for `parts = [3, 1, 1]`, which positions of the text the second part has, and which it gets in the code.
# 2. May all tokens of a part see all of that part? In which single case does it make no difference?
# 3. `positions[seen : seen + len(part)]`; and query number $t$ of the part stands at `seen + t`, so it may see the keys
#    `torch.arange(len(keys)) <= seen + torch.arange(len(part))[:, None]`.
# %% [markdown] lang="zh" of="46b7846e"
# 1. 设 `parts = [3, 1, 1]`，写下第二段在文本里的位置，再看代码给它的是哪些位置。
# 2. 一段里的每个词元，都可以看到这一段的全部吗？只有哪一种情况下没有区别？
# 3. `positions[seen : seen + len(part)]`；这一段的第 $t$ 个查询在位置 `seen + t`，所以它能看的键是
#    `torch.arange(len(keys)) <= seen + torch.arange(len(part))[:, None]`。
# %% [markdown] lang="en" role="exercise" exercise="tree" difficulty=2 minutes=10 points=2
# ## 5. A tree by hand
#
# Texts of two tokens. The first token and its probability, and behind it the probabilities of what may follow:
#
# | first | probability | then |
# |---|---|---|
# | A | 0.5 | 0.3, 0.3, 0.2, 0.2 |
# | B | 0.3 | 0.55, 0.45 |
# | C | 0.2 | 0.95, 0.05 |
#
# Write down the probability of the text that *greedy* finds, of the text that *beam search with two beams* finds, of the *most probable*
# text, and the *smallest number of beams* that finds the last one.
# %% [markdown] lang="zh" of="23b6871e"
# ## 5. 手算一棵树
#
# 两个词元的文本。下面是第一个词元和它的概率，以及它后面各个词元的概率：
#
# | 第一个 | 概率 | 后面 |
# |---|---|---|
# | A | 0.5 | 0.3、0.3、0.2、0.2 |
# | B | 0.3 | 0.55、0.45 |
# | C | 0.2 | 0.95、0.05 |
#
# 写出四个数：*贪心*找到的文本的概率，*两束的束搜索*找到的文本的概率，*概率最大*的文本的概率，以及找到它*最少要几束*。
# %% exercise="tree" answer="tree"
tree = [
    # BEGIN SOLUTION
    0.5 * 0.3,
    0.3 * 0.55,
    0.2 * 0.95,
    3,
    # END SOLUTION
    # BEGIN STUB
    # ...,  # greedy
    # ...,  # two beams
    # ...,  # the most probable text
    # ...,  # number of beams
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. Which first token does greedy take? After that it cannot go back.
# 2. Two beams keep two *beginnings*. Which two? Then compare all texts that start with them.
# 3. A gives $0.5 \cdot 0.3$, B gives $0.3 \cdot 0.55$, C gives $0.2 \cdot 0.95$. C is only the third of the beginnings.
# %% [markdown] lang="zh" of="4b35622f"
# 1. 贪心的第一个词元选谁？选了就不能回头。
# 2. 两束保留两个*前缀*。是哪两个？再比较以它们开头的所有文本。
# 3. A 得 $0.5 \cdot 0.3$，B 得 $0.3 \cdot 0.55$，C 得 $0.2 \cdot 0.95$。C 在前缀里只排第三。
# %% [markdown] lang="en" role="exercise" exercise="context" difficulty=2 minutes=15 points=2
# ## 6. Measure what one character of context is worth
#
# For the characters of `text` measure, in *bits per character*, to three decimals:
#
# 1. the surprise if all characters that occur in it are equally probable;
# 2. the mean surprise of somebody who knows how frequent each character is *in this text*;
# 3. the mean surprise at the second character of each pair of neighbours, of somebody who knows the first one and how often each pair
#    occurs in this text: $p(b \mid a)$ is the number of pairs $ab$ divided by the number of pairs that begin with $a$.
#
# Why would 3 become far too small if you took ten characters of context instead of one?
# %% [markdown] lang="zh" of="dff05a3e"
# ## 6. 量一量，一个字符的上下文值多少
#
# 对 `text` 里的字符测量下面三个数，单位是*每字符比特数*，精确到小数点后三位：
#
# 1. 如果出现过的字符都同样可能，意外程度是多少；
# 2. 如果知道每个字符*在这段文本里*的频率，平均意外程度是多少；
# 3. 对每个字符对（相邻的两个字符），如果知道前一个，也知道各字符对在这段文本里出现的次数，那么对后一个的平均意外程度是多少：
#    $p(b \mid a)$ 等于字符对 $ab$ 出现的次数，除以第一个字符是 $a$ 的字符对的总数。
#
# 想一想：如果用十个字符的上下文，而不是一个，为什么第 3 个数会小得离谱？
# %% exercise="context" answer="measured"
text = (
    "return the sum of the values along the given axis. if the axis is not given, the sum of all the values is "
    "returned. the values are read from left to right, and the sum has the type of the values. if there are no "
    "values, the sum is zero. the axis may be negative, and then it is counted from the last to the first."
)


def bits(counts):
    """Mean surprise at items that are as frequent as these counts say."""
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())


measured = [
    # BEGIN SOLUTION
    math.log2(len(set(text))),
    bits(Counter(text)),
    bits(Counter(zip(text, text[1:], strict=False))) - bits(Counter(text[:-1])),
    # END SOLUTION
    # BEGIN STUB
    # ...,  # equally probable
    # ...,  # by frequency
    # ...,  # with one character of context
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. `len(set(text))` is the number of different characters; `Counter(text)` says how often each occurs.
# 2. By the chain rule the surprise at a pair is the surprise at its first character plus that at the second given the first. `zip(text, text[1:])` gives the pairs.
# 3. `bits(Counter(zip(text, text[1:]))) - bits(Counter(text[:-1]))`: pairs, minus first characters. With ten characters nearly every context
#    occurs only once in this text, and what follows it is then certain: the counts remember the text, they do not predict. On text that was not counted it would show.
# %% [markdown] lang="zh" of="83882cd5"
# 1. `len(set(text))` 是不同字符的个数，`Counter(text)` 是每个字符出现的次数。
# 2. 按链式法则，对一个字符对的意外程度，等于对第一个字符的意外程度，加上已知第一个时对第二个的意外程度。`zip(text, text[1:])` 给出所有的字符对。
# 3. `bits(Counter(zip(text, text[1:]))) - bits(Counter(text[:-1]))`：字符对的，减去第一个字符的。如果用十个字符，
#    几乎每种上下文在这段文本里都只出现一次，后面是什么也就确定了：这样的计数是在背这段文本，不是在预测；换一段没数过的文本，就会露馅。
