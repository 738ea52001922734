# %% [markdown] lang="en" name="question"
# ## A question you cannot answer yet
#
# Three people read half a sentence and bet on the next word. *Return a new list* … One puts everything on *of*. One spreads
# the stake over a hundred words. One says "containing, maybe 20 %". Then the next word comes, then the next, ten thousand of them.
#
# Nobody can be *right*: many words fit. How do you score such bets fairly, so that neither boasting nor shrugging pays? And
# how can something that does nothing but bet on the next word write a whole page?
# %% [markdown] lang="zh" of="00000000"
# ## 一个你现在还答不出的问题
#
# 三个人读到半句话 *Return a new list* …，各自押注下一个词。第一个人全押 *of*；第二个人把筹码撒在一百个词上；第三个人说：“大概是 containing，
# 两成把握。”然后下一个词揭晓，接着再押下一个，一共押一万次。
#
# 没有谁能说自己“对”，因为合适的词很多。怎样打分才公平，让吹牛和和稀泥都占不到便宜？
# 一个只会押下一个词的东西，又怎么能写出一整页文字？
# %% [markdown] lang="en" name="guess-zip" role="prediction"
# **Write down your guess.** A byte of English documentation has 8 bits. The compressor `xz`, after reading 8 MB of such text, needs
# 1.8 bits for each further byte. How many will a small neural model (3 million numbers) need that has read the same 8 MB? And
# how many bits does *somebody who knows nothing* need?
# %% [markdown] lang="zh" of="00000000"
# **先写下你的猜测。** 英文文档的一个字节有 8 比特。压缩程序 `xz` 读过 8 MB 同类文本之后，后面每个字节还需要 1.8 比特。
# 一个小的神经网络模型（300 万个参数）读过同样的 8 MB，每个字节需要几比特？如果对文本*一无所知*，又需要几比特？
# %% name="imports"
import json
import math
from importlib import resources

import torch
from torch.nn import functional as F

from llmguide_lib.notebook import decide, difference, show

torch.set_default_dtype(torch.float64)
# %% [markdown] lang="en" name="chain"
# ## The chain rule: a text is a row of bets
#
# A **language model** gives every text a probability. No table could hold them all. But the probability of a text is the
# product of the probabilities of its tokens, each given those before it. That is no approximation, it is the
# definition of a conditional probability used $T$ times:
#
# $$p(x_1, \dots, x_T) = \prod_{t=1}^{T} p(x_t \mid x_1, \dots, x_{t-1})$$
#
# So a model that can do just one thing, bet on the next token, has a probability for every text: this is a **causal language
# model** (CLM). Products of thousands of small numbers underflow, so we add logarithms; and to have a number that is small
# when the model is good, we change the sign:
#
# $$L = -\frac{1}{T} \sum_{t=1}^{T} \log p(x_t \mid x_{<t})$$
#
# | symbol | what it is | shape | in code |
# |---|---|---|---|
# | $x_t$ | the token at place $t$, a number below $V$ | | `tokens[:, t]` |
# | $x_{<t}$ | everything before it | | `tokens[:, :t]` |
# | logits | a score for every token of the vocabulary, at every place | $B \times T \times V$ | `model(tokens)` |
# | $p(\cdot \mid x_{<t})$ | softmax of the logits at place $t-1$ | $V$ | `logits[:, t - 1].softmax(-1)` |
# | $-\log p(x_t \mid x_{<t})$ | **surprise** at the token that came, in nats | | |
# | $L$ | mean surprise: the **cross-entropy** loss | one number | `F.cross_entropy` |
# %% [markdown] lang="zh" of="00000000"
# ## 链式法则：一段文字就是一连串押注
#
# **语言模型**给每段文字一个概率。没有哪张表装得下所有文字的概率。但一段文字的概率，等于各个词元在前文条件下的概率之积。
# 这不是近似，只是把条件概率的定义用了 $T$ 次：
#
# $$p(x_1, \dots, x_T) = \prod_{t=1}^{T} p(x_t \mid x_1, \dots, x_{t-1})$$
#
# 所以，一个只会押下一个词元的模型，就已经给每段文字都定了概率。这就是**因果语言模型**（CLM）。
# 几千个小数相乘会下溢，所以改为把对数相加；再变一下号，让“模型越好，数越小”：
#
# $$L = -\frac{1}{T} \sum_{t=1}^{T} \log p(x_t \mid x_{<t})$$
#
# | 符号 | 含义 | 形状 | 代码里 |
# |---|---|---|---|
# | $x_t$ | 位置 $t$ 上的词元，小于 $V$ 的整数 | | `tokens[:, t]` |
# | $x_{<t}$ | 它前面的全部词元 | | `tokens[:, :t]` |
# | logits | 每个位置上，词表里每个词元的得分 | $B \times T \times V$ | `model(tokens)` |
# | $p(\cdot \mid x_{<t})$ | 位置 $t-1$ 的 logits 做 softmax | $V$ | `logits[:, t - 1].softmax(-1)` |
# | $-\log p(x_t \mid x_{<t})$ | 对真正出现的词元的**意外程度**，单位是奈特 | | |
# | $L$ | 意外程度的平均，即**交叉熵**损失 | 一个数 | `F.cross_entropy` |
# %% [markdown] lang="en" name="by-hand"
# ## By hand, once
#
# A text of three tokens and 12 bytes. The model gave the tokens that came these probabilities:
#
# | token | probability | surprise in nats | in bits |
# |---|---|---|---|
# | first | $1/2$ | $0.693$ | $1$ |
# | second | $1/4$ | $1.386$ | $2$ |
# | third | $1/8$ | $2.079$ | $3$ |
#
# The text's probability is $\frac12 \cdot \frac14 \cdot \frac18 = \frac1{64}$. Three ways to say the same:
#
# * **loss**: mean surprise, $4.159 / 3 = 1.386$ nats per token;
# * **perplexity**: $e^{1.386} = 4$. The model is as unsure as somebody who has to choose among 4 equally probable tokens;
# * **bits per byte**: $1 + 2 + 3 = 6$ bits for 12 bytes, $0.5$. An ideal compressor that uses this model needs so much.
# %% [markdown] lang="zh" of="00000000"
# ## 亲手算一次
#
# 一段文字，三个词元，共 12 个字节。对真正出现的词元，模型给出的概率是：
#
# | 词元 | 概率 | 意外程度（奈特） | 比特 |
# |---|---|---|---|
# | 第一个 | $1/2$ | $0.693$ | $1$ |
# | 第二个 | $1/4$ | $1.386$ | $2$ |
# | 第三个 | $1/8$ | $2.079$ | $3$ |
#
# 整段文字的概率是 $\frac12 \cdot \frac14 \cdot \frac18 = \frac1{64}$。同一件事有三种说法：
#
# * **损失**：平均意外程度，$4.159 / 3 = 1.386$ 奈特每词元；
# * **困惑度**：$e^{1.386} = 4$。模型的犹豫，相当于要在 4 个同样可能的词元里挑一个；
# * **每字节比特数**：12 个字节用了 $1 + 2 + 3 = 6$ 比特，即 $0.5$。用这个模型做的理想压缩器，正好需要这么多。
# %% name="by-machine"
probabilities = torch.tensor([1 / 2, 1 / 4, 1 / 8])
surprise = -probabilities.log()
show(text=probabilities.prod().item(), loss=surprise.mean().item())
show(perplexity=surprise.mean().exp().item(), bits_per_byte=(surprise.sum() / math.log(2) / 12).item())
# %% [markdown] lang="en" name="fair"
# **Is the score fair?** Suppose that after some words *of* follows in 70 %, *that* in 20 % and *with* in 10 % of all texts.
# Whoever bets $q$ has the mean surprise $-\sum_i p_i \log q_i$, the cross-entropy of $p$ and $q$. Try boasting, shrugging, and honesty:
# %% [markdown] lang="zh" of="00000000"
# **这样打分公平吗？** 假设某些词后面，*of* 占 70 %，*that* 占 20 %，*with* 占 10 %。押注 $q$ 的人，平均意外程度是
# $-\sum_i p_i \log q_i$，也就是 $p$ 与 $q$ 的交叉熵。看看吹牛、和稀泥、老实人各得多少：
# %% name="fair-scores"
truth = torch.tensor([0.7, 0.2, 0.1])
for name, bet in (("boasts ", [0.98, 0.01, 0.01]), ("shrugs ", [1 / 3, 1 / 3, 1 / 3]), ("honest ", [0.7, 0.2, 0.1])):
    show(name, -(truth * torch.tensor(bet).log()).sum().item())
# %% [markdown] lang="en" name="fair-why"
# The honest bet wins, and always does: the difference $-\sum_i p_i \log q_i + \sum_i p_i \log p_i$ is the Kullback-Leibler
# divergence, which is positive unless $q = p$. What is left, $-\sum_i p_i \log p_i$, is the entropy of the language itself; no
# model gets below it. So minimising this loss has one goal only: to say the true probabilities.
# %% [markdown] lang="zh" of="00000000"
# 老实人赢，而且永远会赢：两者之差 $-\sum_i p_i \log q_i + \sum_i p_i \log p_i$ 是 KL 散度，只要 $q \ne p$ 就大于零。
# 剩下的 $-\sum_i p_i \log p_i$ 是语言本身的熵，任何模型都不可能更低。所以把这个损失降到最低，目标只有一个：说出真实的概率。
# %% [markdown] lang="en" name="guess-perplexity" role="prediction"
# **Predict.** Two models read the same text of 8 bytes. Model A cuts it into two tokens and has perplexity 10. Model B has
# larger tokens: it sees one token and has perplexity 60. Which of them predicts the *text* better?
# %% [markdown] lang="zh" of="00000000"
# **先预测。** 两个模型读同一段 8 个字节的文字。模型 A 把它切成两个词元，困惑度是 10；模型 B 的词元更大，只有一个词元，困惑度是 60。
# 哪个模型把这段*文字*预测得更好？
# %% name="perplexity-compared"
for name, perplexity, num_tokens in (("A", 10, 2), ("B", 60, 1)):
    show(name, "bits per byte", num_tokens * math.log2(perplexity) / 8, "probability of the text", perplexity**-num_tokens)
# %% [markdown] lang="en" name="perplexity-why"
# B, although its perplexity is six times as high. Perplexity counts *per token*, and whoever cuts a text into more
# tokens has easier ones. **Compare perplexities only between models with the same tokenizer**; bits per byte can
# always be compared, and this book uses them.
# %% [markdown] lang="zh" of="00000000"
# 是 B，尽管它的困惑度是 A 的六倍。困惑度是*按词元*算的，切得越碎，每个词元就越好猜。
# **只有分词器相同的模型，才能比较困惑度**；每字节比特数则总能比较，本书用的就是它。
# %% [markdown] lang="en" name="shift"
# ## Teacher forcing: all bets in one pass
#
# To score a text of $T$ tokens, must the model run $T$ times, once for each beginning? No. With causal attention (chapter 3)
# place $t$ sees only what came before, so *one* pass over the whole text makes all bets at once. In training every bet
# is made after the *true* tokens, whatever the model would have said itself: **teacher forcing**.
#
# The one thing to get right is the **shift**: the logits at place $t$ bet on the token at place $t+1$.
#
# | place | 0 | 1 | 2 | 3 |
# |---|---|---|---|---|
# | reads (`tokens[:, :-1]`) | `Return` | `a` | `new` | `list` |
# | must bet on (`tokens[:, 1:]`) | `a` | `new` | `list` | `of` |
#
# The loss, and a proof that one pass equals $T$ separate runs and the product of the chain rule:
# %% [markdown] lang="zh" of="00000000"
# ## 教师强制：一次算出全部押注
#
# 给一段 $T$ 个词元的文字打分，模型是不是要运行 $T$ 次，每个开头一次？不必。用因果注意力（第 3 章），位置 $t$ 只看得到前面的内容，
# 所以把整段文字*一次*送进去，全部押注就都有了。训练时，每次押注之前给的都是*真正的*前文，不管模型自己会写什么，这叫**教师强制**（teacher forcing）。
#
# 唯一不能弄错的是**移位**：位置 $t$ 的 logits，押的是位置 $t+1$ 的词元。
#
# | 位置 | 0 | 1 | 2 | 3 |
# |---|---|---|---|---|
# | 读到（`tokens[:, :-1]`） | `Return` | `a` | `new` | `list` |
# | 该押（`tokens[:, 1:]`） | `a` | `new` | `list` | `of` |
#
# 下面写出损失，并验证：运行一次，等于分开运行 $T$ 次，也等于链式法则里的乘积。
# %% name="shift-code"
def next_token_loss(logits, tokens):
    """Mean surprise at every token but the first, in nats."""
    bets = logits[:, :-1].log_softmax(dim=-1)  # (B, T-1, V): the last place bets on a token that is not there
    return -bets.gather(-1, tokens[:, 1:, None]).mean()


# %% name="shift-proof"
from llmguide_lib.models import GPT, GPTConfig
from llmguide_lib.objectives import Batch, cross_entropy


def filled(model):
    """The model in float64, its weights the same on every machine: number i is drawn with seed i."""
    for seed, (_, weight) in enumerate(sorted(model.named_parameters())):
        weight.data = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) - 0.5
    return model.eval().requires_grad_(False)


gpt2 = filled(GPT(GPTConfig(vocab_size=11, max_seq_len=8, d_model=12, num_heads=3, num_layers=2)))
tokens = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])

loss = next_token_loss(gpt2(tokens), tokens)
one_by_one = [gpt2(tokens[:, :t])[:, -1].softmax(-1)[range(2), tokens[:, t]] for t in range(1, 6)]
show(loss=loss.item(), chain_rule=difference(loss, -torch.stack(one_by_one).log().mean()))
show(torch=difference(loss, F.cross_entropy(gpt2(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())))
show(library=difference(loss, cross_entropy(gpt2, Batch(tokens[:, :-1], tokens[:, 1:])) / 10))  # which adds up
# %% [markdown] lang="en" name="gpt"
# ## GPT-2, written out
#
# Which network makes the bets? Any causal one. GPT-2 is chapter 4's block, pre-norm, with causal attention, a learned vector
# for each position, and one matrix used twice: as embedding of the tokens and as head. Here it is with nothing but a dictionary of weights.
# (`cache` is for later; ignore it now.)
# %% [markdown] lang="zh" of="00000000"
# ## 把 GPT-2 完整写出来
#
# 押注用什么网络？只要是因果的都行。GPT-2 就是第 4 章的块：归一化在前，因果注意力，每个位置有一个学出来的向量；还有一个矩阵用两次，
# 既做词嵌入，又做输出头。下面只用一个装权重的字典把它写出来。（`cache` 后面才用，先不管它。）
# %% name="gpt-code"
def norm(w, name, x):
    x = x - x.mean(-1, keepdim=True)
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(w, name, x):
    return x @ w[f"{name}.weight"].mT + w[f"{name}.bias"]


def my_gpt2(w, tokens, num_layers, num_heads, cache=None):
    """Logits (B, T, V) from a dictionary of weights; with a cache, tokens are only the new ones."""
    seen = 0 if not cache else cache[0][0].shape[2]
    place = torch.arange(seen, seen + tokens.shape[1])
    x = w["token_embedding.weight"][tokens] + w["position_embedding.weight"][place]  # (B, T, D)
    for layer in range(num_layers):
        at = f"blocks.{layer}"
        normed = norm(w, f"{at}.norm1", x)
        query, key, value = (
            linear(w, f"{at}.attention.{name}_proj", normed).unflatten(-1, (num_heads, -1)).transpose(1, 2)
            for name in "qkv"
        )  # (B, H, T, K)
        if cache is not None:  # in front of the new keys and values stand those of earlier tokens
            if layer in cache:
                key, value = torch.cat([cache[layer][0], key], dim=2), torch.cat([cache[layer][1], value], dim=2)
            cache[layer] = key, value
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        scores = scores.masked_fill(torch.arange(key.shape[2]) > place[:, None], -math.inf)
        heads = scores.softmax(dim=-1) @ value
        x = x + linear(w, f"{at}.attention.out_proj", heads.transpose(1, 2).flatten(2))
        inner = linear(w, f"{at}.feed_forward.up_proj", norm(w, f"{at}.norm2", x))
        x = x + linear(w, f"{at}.feed_forward.down_proj", F.gelu(inner, approximate="tanh"))
    return norm(w, "final_norm", x) @ w["token_embedding.weight"].mT


# %% [markdown] lang="en" name="gpt-proof"
# Is this GPT-2? Three must agree: this function, the library's `GPT`, and Hugging Face's `GPT2LMHeadModel`. The last one needs
# the package `transformers`, which you may not have, so its answer for these weights was recorded
# (`python benchmarks/gpt2_reference.py`); where the package is there, the cell after next asks it again.
# %% [markdown] lang="zh" of="00000000"
# 这真的是 GPT-2 吗？三者必须一致：上面的函数、本书的 `GPT`，以及 Hugging Face 的 `GPT2LMHeadModel`。
# 最后一个需要 `transformers` 包，你不一定装了，所以事先录下了它对这组权重的输出（`python benchmarks/gpt2_reference.py`）；
# 如果装了这个包，再下一个单元格会当场再问一遍。
# %% name="gpt-check"
def recorded(name):
    """A record of a run that was too long, or needs too much, for a lesson."""
    return json.loads((resources.files("llmguide_lib") / "data" / "runs" / f"{name}.json").read_text(encoding="utf-8"))


weights, reference = dict(gpt2.named_parameters()), recorded("gpt2-reference")
mine = my_gpt2(weights, tokens, num_layers=2, num_heads=3)
theirs = torch.tensor(reference["logits"])
show(shape=tuple(mine.shape), library=difference(mine, gpt2(tokens)))
show(hugging_face=difference(mine[0], theirs, tolerance=1e-10))

changed = tokens.clone()
changed[:, 4] = 7  # another token at place 4: what changes in front of it?
before, after = (mine - my_gpt2(weights, changed, 2, 3))[:, :4].abs().max(), (mine - gpt2(changed))[:, 4:].abs().max()
show(changes_before=before.item(), changes_from_there_on=bool(after > 1e-3))
# %% name="gpt-live" tags=["free"]
try:
    import transformers
except ImportError:
    print("transformers is not installed: the recorded answer was used")
else:
    from llmguide_lib.huggingface import to_hf

    live = to_hf(gpt2).double()(tokens).logits
    print("transformers", transformers.__version__, difference(mine, live, tolerance=1e-10))
    assert (mine - live).abs().max() < 1e-10
# %% name="gpt-verdict"
decide(
    "2.2d",
    {
        "GPT-2 is blocks of attention and feed-forward, nothing else": difference(mine, gpt2(tokens)) == "< 1e-12",
        "equal to the released implementation": difference(mine[0], theirs, tolerance=1e-10) == "< 1e-10",
        "the future is hidden": before.item() == 0.0,
    },
)
# %% [markdown] lang="en" claim="2.2d"
# **The guide's claim 2.2d**, GPT's part: GPT is built on the Transformer. What decides it is that thirty lines of embeddings, causal
# attention, feed-forward layers and norms give the numbers of the released implementation to ten digits. Had something else
# been needed, no choice of ours would have made them agree. (BERT's part: chapter 5; XLNet's: chapter 8.)
# %% [markdown] lang="zh" of="00000000"
# **指南的论断 2.2d** 中关于 GPT 的部分：GPT 建立在 Transformer 之上。判据是：词嵌入、因果注意力、前馈层和归一化，三十行代码，
# 算出的数与官方实现有十位数字相同。如果还需要别的东西，怎么写都不可能对得上。（BERT 的部分见第 5 章，XLNet 的见第 8 章。）
