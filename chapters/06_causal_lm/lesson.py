# %% [markdown] lang="en" name="question"
# ## A question you cannot answer yet
#
# Three people read half a sentence and bet on the next word. *Return a new list* … One puts everything on *of*. One spreads
# the stake over a hundred words. One says "containing, maybe 20 %". Then the next word comes, then the next, ten thousand of them.
#
# Nobody can be *right*: many words fit. How do you score such bets fairly, so that neither boasting nor shrugging pays? And
# how can something that does nothing but bet on the next word write a whole page?
# %% [markdown] lang="zh" of="3a8d9020"
# ## 一个你现在还答不出的问题
#
# 三个人读到半句话 *Return a new list* …，各自押注下一个词。第一个人全押 *of*；第二个人把筹码撒在一百个词上；第三个人说：“大概是 containing，
# 两成把握。”然后下一个词揭晓，接着再押下一个，一共押一万次。
#
# 没有谁能说自己“对”，因为合适的词很多。怎样打分才公平，让吹牛的和撒胡椒面的都占不到便宜？
# 一个只会押下一个词的东西，又怎么能写出一整页文字？
# %% [markdown] lang="en" name="guess-zip" role="prediction"
# **Write down your guess.** A byte of English documentation has 8 bits. The compressor `xz`, after reading 8 MB of such text, needs
# 1.8 bits for each further byte. How many will a small neural model (3 million numbers) need that has read the same 8 MB, nearly eight times over? And
# how many bits does *somebody who knows nothing* need?
# %% [markdown] lang="zh" of="6417e246"
# **先写下你的猜测。** 英文文档的一个字节有 8 比特。压缩程序 `xz` 读过 8 MB 同类文本之后，后面每个字节还需要 1.8 比特。
# 一个小的神经网络模型（300 万个参数）把同样的 8 MB 读了将近八遍，每个字节需要几比特？如果对文本*一无所知*，又需要几比特？
# %% name="imports"
import math

import torch
from torch.nn import functional as F

from llmguide_lib.notebook import decide, difference, recorded, show

torch.set_default_dtype(torch.float64)
# %% [markdown] lang="en" name="chain"
# ## The chain rule: a text is a row of bets
#
# A **language model** gives every text a probability. No table could hold them all. But the probability of a text is the
# product of the probabilities of its tokens, each given those before it. That is no approximation, it is the
# definition of a conditional probability used $T$ times:
#
# $$p(x_1, \dots, x_T) = \prod_{t=1}^{T} p(x_t \mid x_0, \dots, x_{t-1})$$
#
# Here $x_0$ is the token `<|endoftext|>`, with which every row begins, so that the first real token is bet on too. So a model that can do just one thing, bet on the next token, has a probability for every text: this is a **causal language
# model** (CLM). Products of thousands of small numbers underflow (the computer rounds them to zero), so we add logarithms; and to have a
# number that is small when the model is good, we change the sign:
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
#
# The logarithm's base is only a unit, as with metres and feet. The natural logarithm, $\log$ in this book, gives **nats**; base 2 gives
# **bits**. A probability of $\frac12$ has a surprise of $\log 2 = 0.693$ nats, or 1 bit; so divide nats by 0.693 to get bits.
# %% [markdown] lang="zh" of="5c6edd82"
# ## 链式法则：一段文本就是一连串押注
#
# **语言模型**给每段文本一个概率。没有哪张表装得下所有文本的概率。但一段文本的概率，等于各个词元在前文条件下的概率之积。
# 这不是近似，只是把条件概率的定义用了 $T$ 次：
#
# $$p(x_1, \dots, x_T) = \prod_{t=1}^{T} p(x_t \mid x_0, \dots, x_{t-1})$$
#
# 其中 $x_0$ 是每行开头的词元 `<|endoftext|>`，这样连第一个真正的词元也要押。
#
# 所以，一个只会押下一个词元的模型，就已经给每段文本都定了概率。这就是**因果语言模型**（CLM）。
# 几千个很小的数相乘会下溢（小到被计算机舍入成零），所以改为把对数相加；再变一下号，让“模型越好，数越小”：
#
# $$L = -\frac{1}{T} \sum_{t=1}^{T} \log p(x_t \mid x_{<t})$$
#
# | 符号 | 含义 | 形状 | 代码里 |
# |---|---|---|---|
# | $x_t$ | 位置 $t$ 上的词元，小于 $V$ 的整数 | | `tokens[:, t]` |
# | $x_{<t}$ | 它前面的全部词元 | | `tokens[:, :t]` |
# | logits | 每个位置上，词表里每个词元的分数 | $B \times T \times V$ | `model(tokens)` |
# | $p(\cdot \mid x_{<t})$ | 位置 $t-1$ 的 logits 做 softmax | $V$ | `logits[:, t - 1].softmax(-1)` |
# | $-\log p(x_t \mid x_{<t})$ | 对真正出现的词元的**意外程度**（surprisal，输出里写作 surprise），单位是奈特 | | |
# | $L$ | 意外程度的平均，即**交叉熵**损失 | 一个数 | `F.cross_entropy` |
#
# 对数取什么底，只是单位不同，好比米和英尺。用自然对数（本书的 $\log$），单位是**奈特**（nat）；以 2 为底，单位是**比特**（bit）。
# 概率为 $\frac12$ 时，意外程度是 $\log 2 = 0.693$ 奈特，也就是 1 比特；所以奈特数除以 0.693 就是比特数。
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
# * **bits per byte**: $1 + 2 + 3 = 6$ bits for 12 bytes, $0.5$. An ideal compressor that uses this model needs so much. Why:
#   to name one of 8 equally probable tokens takes three yes-or-no answers, 3 bits, and $3 = -\log_2 \frac18$. Where the number does not
#   come out whole, *arithmetic coding* comes as near as one likes over a long text.
# %% [markdown] lang="zh" of="ed8ddec0"
# ## 亲手算一次
#
# 一段文本，三个词元，共 12 个字节。对真正出现的词元，模型给出的概率是：
#
# | 词元 | 概率 | 意外程度（奈特） | 比特 |
# |---|---|---|---|
# | 第一个 | $1/2$ | $0.693$ | $1$ |
# | 第二个 | $1/4$ | $1.386$ | $2$ |
# | 第三个 | $1/8$ | $2.079$ | $3$ |
#
# 整段文本的概率是 $\frac12 \cdot \frac14 \cdot \frac18 = \frac1{64}$。同一件事有三种说法：
#
# * **损失**：平均意外程度，$4.159 / 3$，每词元 $1.386$ 奈特；
# * **困惑度**：$e^{1.386} = 4$。模型的犹豫，相当于要在 4 个同样可能的词元里挑一个；
# * **每字节比特数**：12 个字节用了 $1 + 2 + 3 = 6$ 比特，即 $0.5$。用这个模型做的理想压缩器，正好需要这么多。为什么？
#   从 8 个同样可能的词元里指明一个，要答三次“是”或“否”，即 3 比特，而 $3 = -\log_2 \frac18$。如果算出来不是整数，
#   *算术编码*在长文本上也能要多接近就多接近。
# %% name="by-machine"
probabilities = torch.tensor([1 / 2, 1 / 4, 1 / 8])
surprise = -probabilities.log()
show(text=probabilities.prod().item(), loss=surprise.mean().item())
show(perplexity=surprise.mean().exp().item(), bits_per_byte=(surprise.sum() / math.log(2) / 12).item())
# %% [markdown] lang="en" name="fair"
# **Is the score fair?** Suppose that after some words *of* follows in 70 %, *that* in 20 % and *with* in 10 % of all texts.
# Whoever bets $q$ has the mean surprise $-\sum_i p_i \log q_i$, the cross-entropy of $p$ and $q$. Try boasting, shrugging, and honesty (lower is better):
# %% [markdown] lang="zh" of="dd8609fe"
# **这样打分公平吗？** 假设写到某处，下一个词 70 % 是 *of*，20 % 是 *that*，10 % 是 *with*。押注 $q$ 的人，平均意外程度是
# $-\sum_i p_i \log q_i$，也就是 $p$ 与 $q$ 的交叉熵。看看吹牛的、撒胡椒面的和老实人各得多少
# （输出里的 boasts、shrugs、honest；越低越好）：
# %% name="fair-scores"
truth = torch.tensor([0.7, 0.2, 0.1])
for name, bet in (("boasts ", [0.98, 0.01, 0.01]), ("shrugs ", [1 / 3, 1 / 3, 1 / 3]), ("honest ", [0.7, 0.2, 0.1])):
    show(name, -(truth * torch.tensor(bet).log()).sum().item())
# %% [markdown] lang="en" name="fair-why"
# The honest bet wins, and always does: the difference $-\sum_i p_i \log q_i + \sum_i p_i \log p_i$ is the Kullback-Leibler
# divergence, which is positive unless $q = p$. (Since $\log x \le x - 1$, with equality only at $x = 1$, we have
# $\sum_i p_i \log\frac{q_i}{p_i} \le \sum_i p_i \bigl(\frac{q_i}{p_i} - 1\bigr) = \sum_i q_i - \sum_i p_i = 0$; the divergence is minus the left side.) What is left, $-\sum_i p_i \log p_i$, is the entropy of the language itself; no
# model gets below it on average. So minimising this loss has one goal only: to say the true probabilities.
# %% [markdown] lang="zh" of="61431411"
# 老实人赢，而且永远会赢：两者之差 $-\sum_i p_i \log q_i + \sum_i p_i \log p_i$ 是 KL 散度，只要 $q \ne p$ 就大于零。
# （因为 $\log x \le x - 1$，只在 $x = 1$ 时取等号，所以
# $\sum_i p_i \log\frac{q_i}{p_i} \le \sum_i p_i \bigl(\frac{q_i}{p_i} - 1\bigr) = \sum_i q_i - \sum_i p_i = 0$；左边变号，就是 KL 散度。）
# 剩下的 $-\sum_i p_i \log p_i$ 是语言本身的熵，平均而言，任何模型都不可能更低。所以把这个损失降到最低，目标只有一个：说出真实的概率。
# %% [markdown] lang="en" name="guess-perplexity" role="prediction"
# **Predict.** Two models read the same text of 8 bytes. Model A cuts it into two tokens and has perplexity 10. Model B has
# larger tokens: it sees one token and has perplexity 60. Which of them predicts the *text* better?
# %% [markdown] lang="zh" of="f648002b"
# **先预测。** 两个模型读同一段 8 个字节的文本。模型 A 把它切成两个词元，困惑度是 10；模型 B 的词元更大，只有一个词元，困惑度是 60。
# 哪个模型把这段*文本*预测得更好？
# %% name="perplexity-compared"
for name, perplexity, num_tokens in (("A", 10, 2), ("B", 60, 1)):
    show(name, "bits per byte", num_tokens * math.log2(perplexity) / 8, "probability of the text", perplexity**-num_tokens)
# %% [markdown] lang="en" name="perplexity-why"
# B, although its perplexity is six times as high. Perplexity counts *per token*, and whoever cuts a text into more
# tokens has easier ones. **Compare perplexities only between models with the same tokenizer**; bits per byte can
# be compared across tokenizers, on the same text and with all its tokens counted, and this book uses them.
# %% [markdown] lang="zh" of="13d8e9a4"
# 是 B，尽管它的困惑度是 A 的六倍。困惑度是*按词元*算的，切得越碎，每个词元就越好猜。
# **只有分词器相同的模型，才能比较困惑度**；每字节比特数则不受分词器影响，只要是同一段文本，并且把全部词元都算进去，
# 就能比较，本书用的就是它。
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
# Mind one count. In the formula $T$ bets are made, and $x_0$ is not among them. In code $T$ is the length of a row, the first token included:
# there a row holds $T - 1$ bets.
#
# The loss, and a proof that one pass equals separate runs, one for each bet, and the product of the chain rule:
# %% [markdown] lang="zh" of="5e6a981b"
# ## 教师强制：一次算出全部押注
#
# 给一段 $T$ 个词元的文本打分，模型是不是要运行 $T$ 次，每个前缀一次？不必。用因果注意力（第 3 章），位置 $t$ 只看得到前面的内容，
# 所以把整段文本*一次*送进去，全部押注就都有了。训练时，每次押注之前给的都是*真正的*前文，不管模型自己会写什么，这叫**教师强制**（teacher forcing）。
#
# 唯一不能弄错的是**移位**：位置 $t$ 的 logits，押的是位置 $t+1$ 的词元。
#
# | 位置 | 0 | 1 | 2 | 3 |
# |---|---|---|---|---|
# | 读到（`tokens[:, :-1]`） | `Return` | `a` | `new` | `list` |
# | 该押（`tokens[:, 1:]`） | `a` | `new` | `list` | `of` |
#
# 有个数要当心：公式里的 $T$ 是押注的次数，$x_0$ 不算在内；代码里的 $T$ 是一行的长度，包括第一个词元，所以一行里有 $T - 1$ 次押注。
#
# 下面写出损失，并验证：运行一次，等于每次押注分开运行，也等于链式法则里的乘积。
# %% name="shift-code"
def next_token_loss(logits, tokens):
    """Mean surprise in nats at x_1, ..., x_T; the first token of each row, x_0, is given."""
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
# %% [markdown] lang="zh" of="7d31e547"
# ## 把 GPT-2 完整写出来
#
# 押注用什么网络？只要是因果的都行。GPT-2 就是第 4 章的块：前归一化，因果注意力；此外每个位置有一个学出来的向量，还有一个矩阵用两次，
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
# %% [markdown] lang="zh" of="c68afe21"
# 这真的是 GPT-2 吗？三者必须一致：上面的函数、本书的 `GPT`，以及 Hugging Face 的 `GPT2LMHeadModel`。
# 最后一个需要 `transformers` 包，你不一定装了，所以事先存下了它对这组权重的输出（`python benchmarks/gpt2_reference.py`）；
# 如果装了这个包，下下个单元格会当场再算一遍。
# %% name="gpt-check"
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
        "equal to the implementation in wide use": difference(mine[0], theirs, tolerance=1e-10) == "< 1e-10",
        "the future is hidden": before.item() == 0.0,
    },
)
# %% [markdown] lang="en" claim="2.2d"
# **The guide's claim 2.2d**, GPT's part: GPT is built on the Transformer. What decides it is that thirty lines of embeddings, causal
# attention, feed-forward layers and norms give the numbers of the implementation in wide use, Hugging Face's, to ten digits. Had something else
# been needed, no choice of ours would have made them agree. (BERT's part: chapter 5; XLNet's: chapter 8.)
# %% [markdown] lang="zh" of="ba7f2712"
# **指南的说法 2.2d**（GPT 部分）：GPT 建立在 Transformer 之上。判据是：词嵌入、因果注意力、前馈层和归一化，三十行代码，
# 算出的数与通行的实现（Hugging Face）有十位数字相同。如果还需要别的东西，怎么写都不可能对得上。（BERT 的部分见第 5 章，XLNet 的见第 8 章。）
# %% [markdown] lang="en" name="breaks"
# ## What breaks it
#
# Two mistakes that everybody makes once, and that do not raise an error. **Not shifted**: the model is asked for the token
# that it has just read. **No mask**: each place may see the token that it must predict. We train a small model for 100
# steps on real documentation in all three ways, with two seeds each, and note two losses: the one that the training
# shows, and the honest one, on held-out text, with shift and mask.
#
# Three names in the code: `causal_attention` has the mask, `fused_attention` has none. The small model is a `Llama`, chapter 4's modern
# variant of the same block; both mistakes are the same in GPT-2. `Muon` and `AdamW` are optimizers: they turn gradients
# into steps; which of them is not the point here.
# %% [markdown] lang="zh" of="7ba5fb7a"
# ## 哪里会出错
#
# 有两个错误，人人都犯过一次，而且都不报错。**没移位**（not shifted）：让模型预测它刚读到的那个词元。**没掩码**（no mask）：每个位置都看得见自己要预测的词元。
# 下面用真实文档训练一个小模型，正确的（right）和两种错误的各训练 100 步，每种用两个随机种子，记下两个损失：训练时显示的损失（training），
# 和在没见过的文本上、既移位又有掩码的真实损失（honest）。
#
# 代码里有几个名字：`causal_attention` 带掩码，`fused_attention` 不带。小模型用的是 `Llama`，也就是第 4 章那种块的现代变体；
# 换成 GPT-2，这两个错误也是一样的。`Muon` 和 `AdamW` 是优化器，负责把梯度变成一步更新，用哪个不是这里要讲的。
# %% [markdown] lang="en" name="guess-breaks" role="prediction"
# **Predict.** Which of the three shows the lowest training loss? And which would you have deployed?
# %% [markdown] lang="zh" of="880a79e0"
# **先预测。** 三种训练，哪一种显示的训练损失最低？如果只看这个数，你会选哪一个上线？
# %% name="breaks-data"
from llmguide_lib import course, runtime
from llmguide_lib.attention import causal_attention, fused_attention
from llmguide_lib.corpora import documentation
from llmguide_lib.corpora.storage import token_row
from llmguide_lib.models import Llama, LlamaConfig
from llmguide_lib.objectives import Windows
from llmguide_lib.training import AdamW, Constant, Muon, TrainConfig, train

torch.set_default_dtype(torch.float32)
gpt, tokenizer = course.load("gpt")
row = token_row([document.text for document in documentation("train")], tokenizer)
unseen_texts = [document.text for document in documentation("validation")]
unseen = token_row(unseen_texts, tokenizer)


def windows_of(row, length, number):
    """Windows spread evenly over a row, each with one token more."""
    starts = torch.linspace(0, len(row) - length - 1, number).long()
    return row[starts[:, None] + torch.arange(length + 1)].long()


# %% name="breaks-train" tags=["measured"]
def honest_loss(model, windows):
    """Nats per token at the next token."""
    with torch.no_grad():
        return cross_entropy(model.eval(), Batch(windows[:, :-1], windows[:, 1:])).item() / windows[:, 1:].numel()


def small(core, seed):
    """An untrained decoder of two layers, with this attention."""
    runtime.seed_everything(seed)
    sizes = {"d_model": 48, "num_heads": 3, "num_layers": 2, "d_ff": 128}
    model = Llama(LlamaConfig(vocab_size=tokenizer.vocab_size, max_seq_len=64, tied=True, **sizes))
    for block in model.blocks:
        block.attention.core = core
    return model


def trained(batches, core, seed):
    """Mean training loss of the last ten steps, and honest loss on held-out text."""
    model = small(core, seed)
    optimizers, losses = Muon(lr=2e-2, rest=AdamW(lr=1.2e-2))(model), []
    for batch in batches:  # all of pretraining: bet, be surprised, change the weights a little
        loss = cross_entropy(model, batch) / batch.targets.numel()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    for block in model.blocks:  # scored with the mask that belongs there
        block.attention.core = causal_attention
    return sum(losses[-10:]) / 10, honest_loss(model, windows_of(unseen, 64, 64))


def results(shifted, core):
    """Both losses for two seeds, each of which reads other texts."""
    losses = []
    for seed in (0, 1):
        rows = (Windows(row, 64, 16, seed=seed).rows(number) for number in range(100))
        batches = (Batch(part[:, :-1], part[:, 1:] if shifted else part[:, :-1]) for part in rows)
        losses.append(trained(batches, core, seed))
    return losses


broken = {
    "right": results(True, causal_attention),
    "not shifted": results(False, causal_attention),
    "no mask": results(True, fused_attention),
}
print("nats per token     training     honest   (two seeds)")
for name, losses in broken.items():
    print(f"{name:12}", *(f"{shown:11.2f} {real:10.2f}" for shown, real in losses))
# %% name="breaks-check"
unknowing = math.log(tokenizer.vocab_size)  # all tokens equally probable
shown = {name: [loss for loss, _ in losses] for name, losses in broken.items()}
real = {name: [loss for _, loss in losses] for name, losses in broken.items()}
for name in ("not shifted", "no mask"):  # with both seeds: looks far better, is worse than knowing nothing
    assert max(shown[name]) < min(shown["right"]) - 3 and min(real[name]) > unknowing > max(real["right"])
# %% [markdown] lang="en" name="breaks-read"
# The wrong ones look wonderful: their training loss falls far below that of the right one, because copying what one can
# see is easy. Their honest loss is *worse than betting the same on every token* ($\log 2048 = 7.6$ nats). Not shifted: asked for
# the next token, that model repeats the last one with full conviction. No mask: when it comes to predicting, there is no answer left to
# copy, and it is just as sure. A training loss that falls suspiciously fast, far below what counting reaches, is the symptom.
#
# The test needs no training: **exchange the token that a bet is about; the bet must not move.** It finds both mistakes. (Looking
# whether a later token moves anything earlier, as above, finds the missing mask only: the model that is not shifted is causal.)
# %% [markdown] lang="zh" of="8bcef3a1"
# 两个错误的训练看起来都好极了：训练损失远低于正确的那个，因为照抄看得见的东西很容易。可是真实损失*比把筹码平摊给所有词元还差*
# （$\log 2048 = 7.6$ 奈特）。不移位的模型：问它下一个词元，它会信心十足地把上一个重复一遍。没掩码的模型：到了真正要预测的时候，
# 已经没有答案可抄，它却同样自信。训练损失降得快得可疑，远低于计数能达到的水平，就是症状。
#
# 检验不需要训练：**把要押的那个词元换掉，押注不许有任何变化。**两个错误都逃不过。（前面那种办法，看后面的词元会不会影响前面，
# 只能发现没掩码：不移位的模型是因果的。）
# %% name="breaks-test"
def bet_moves(shifted, core, place=5):
    """Whether the bet made at a place moves when the token that it is about is exchanged."""
    model, rows, target = small(core, 0), windows_of(unseen, 16, 1), place + 1 if shifted else place
    changed = rows.clone()
    changed[0, target] = (rows[0, target] + 1) % tokenizer.vocab_size
    with torch.no_grad():
        return (model(rows) - model(changed))[0, place].abs().max().item() > 1e-3


ways = {"right": (True, causal_attention), "not shifted": (False, causal_attention), "no mask": (True, fused_attention)}
show("the bet moves:", *(f"{name}: {bet_moves(*way)};" for name, way in ways.items()))
assert [bet_moves(*way) for way in ways.values()] == [False, True, True]
# %% [markdown] lang="en" name="live"
# ## Forty steps of the long run, live
#
# The course's decoder, `gpt-course` (a GPT in the wide sense; its blocks are Llama's, not GPT-2's), has 2.9 million parameters and learned for 4,500 steps (80 minutes on two cores), in which it
# read its 2.4 million tokens nearly eight times. You now make the first 40 steps yourself: same model, same recipe (the learning rate, which falls
# by a cosine over the 4,500 steps, has not begun to fall), same order of the texts, 4,096 tokens in each step. The
# curve is drawn beside the recorded one. Every ten steps the model also has to go on with the same two words.
#
# Beside it stand two rivals that only count, on exactly the tokens that the 40 steps have read: a **unigram** model
# knows how frequent each token is, a **trigram** model what followed the last two tokens. The less often
# it has met those two, the more it also goes by what followed the last one alone, and by how usual each token is: *Kneser-Ney* is a good way of mixing the three. The long run gets rivals of its own
# size: models that counted the *whole* training text (recorded, `python benchmarks/counting.py`). Brackets in the table are 95 % intervals:
# how far the mean moves if the 24 windows are drawn again, with replacement (bootstrap).
# %% [markdown] lang="zh" of="920f6bd5"
# ## 长跑的前四十步，现场来跑
#
# 本课程的解码器 `gpt-course`（下称课程模型；广义上的 GPT，但用的是 Llama 的块，不是 GPT-2 的）有 290 万个参数，学了 4500 步（用两个 CPU 核，80 分钟），
# 把 240 万个词元读了将近八遍。现在你亲自跑前 40 步：同样的模型，同样的训练方法（学习率按余弦在 4500 步里下降，这时还没有开始降），
# 文本顺序也一样，每步 4096 个词元。现场的曲线和事先记录的曲线会画在同一张图里。每隔十步，还让模型接着同样的两个词往下写。
#
# 旁边有两个只会计数的对手，用的正是这 40 步读过的词元：**一元模型**知道每个词元有多常见，**三元模型**（trigram）知道前两个词元后面跟过什么。
# 这两个词元见得越少，它就越要参考只看前一个词元时后面跟过什么，以及每个词元有多常见；*Kneser-Ney* 是把三者混合起来的一种好办法。
# 长跑也有与它相称的对手：数过*全部*训练文本的模型（事先记录的，`python benchmarks/counting.py`）。
# 表里方括号内是 95 % 区间：把 24 段文本有放回地重新抽取（自助法，bootstrap），平均值会变动多少。
# %% [markdown] lang="en" name="guess-live" role="prediction"
# **Predict.** After these 40 steps (160,000 tokens), who predicts unseen text best: the network, the unigram or the trigram model?
# %% [markdown] lang="zh" of="8ce5ed37"
# **先预测。** 跑完这 40 步（16 万个词元）之后，谁对没见过的文本预测得最好：神经网络、一元模型还是三元模型？
# %% name="live-train" tags=["free"]
import dataclasses

from llmguide_lib.generation import Sample, generate
from llmguide_lib.runs.recipes import RECIPES

STEPS = 40
recipe = RECIPES["gpt-course"]
held_out = windows_of(unseen, 256, 24)
bytes_held_out = sum(len(tokenizer.decode(window[1:]).encode()) for window in held_out.tolist())
start = torch.tensor([[tokenizer.token_to_id("<|endoftext|>"), *tokenizer.encode("Returns the")]])
moments = {}


def window_bits(model):
    """(24,): bits per byte on each held-out window; the mean is that of all."""
    with torch.no_grad():
        surprise = F.cross_entropy(model(held_out[:, :-1]).mT, held_out[:, 1:], reduction="none")
    return surprise.sum(dim=1) / math.log(2) * len(held_out) / bytes_held_out


def written(model, sampler, number=24):
    """How the model goes on after "Returns the", as readable text."""
    return tokenizer.decode(generate(model, start, number, sampler=sampler)[0, 1:].tolist())


def look(model):
    """Notes a sample, and how well the model predicts held-out text."""
    moments[10 * len(moments)] = written(model, Sample(seed=0))
    return {"bits per byte": window_bits(model).mean().item()}


runtime.seed_everything(recipe.config.seed)
live = recipe.model()
config = dataclasses.replace(
    recipe.config, steps=STEPS, schedule=Constant(warmup_steps=20), log_every=5, eval_every=10, save_every=None
)
run = train(live, recipe.batches(row), config, evaluate=look)
# %% [markdown] lang="en" role="caption"
# The training loss of the live run, a mean of five steps at each point: from $\log 2048 = 7.6$ down, and not yet level.
# %% [markdown] lang="zh" of="648b7ff0"
# 现场训练的损失，每个点是五步的平均：从 $\log 2048 = 7.6$ 往下降，还没有变平。
# %% name="live-compare" tags=["measured"]
from llmguide_lib.counting import KneserNey
from llmguide_lib.evaluation import bootstrap_mean

read = torch.cat([recipe.batches(row).windows.rows(number)[:, :-1].flatten() for number in range(STEPS)]).tolist()
counting = recorded("counting")["cells"]


def counted(order):
    """(24,): bits per byte of a model that counted what the 40 steps have read."""
    model = KneserNey(order, tokenizer.vocab_size).count(read)
    bits = [-math.fsum(math.log2(model.probability(window[:t], window[t])) for t in range(1, 257))
            for window in held_out.tolist()]  # fmt: skip
    return torch.tensor(bits) * len(held_out) / bytes_held_out


compared = {
    "every token the same": torch.full((24,), held_out[:, 1:].numel() * math.log2(tokenizer.vocab_size) / bytes_held_out),
    "40 steps: unigram": counted(1),
    "40 steps: the network": window_bits(live),
    "40 steps: trigram": counted(3),
    "all texts: trigram": torch.tensor(counting["all, 3 tokens"]["window_bits"]) * len(held_out) / bytes_held_out,
    "all texts: 5 tokens counted": torch.tensor(counting["all, 5 tokens"]["window_bits"]) * len(held_out) / bytes_held_out,
    "all texts: 7 tokens counted": torch.tensor(counting["all, 7 tokens"]["window_bits"]) * len(held_out) / bytes_held_out,
    "all texts: the network": window_bits(gpt),
}
print("bits per byte on 24 held-out windows, with 95 % interval")
for name, values in compared.items():
    print(f"{name:28} {{:5.2f}} [{{:.2f}}, {{:.2f}}]".format(*bootstrap_mean(values)))
gap = bootstrap_mean(compared["all texts: 5 tokens counted"] - compared["all texts: the network"])
print(f"the network's advantage over 5 tokens counted, same windows: {gap.value:.2f} [{gap.low:.2f}, {gap.high:.2f}]")
# %% name="live-check"
long = recorded("gpt-course")
curve = {row["step"]: row["loss"] for row in long["curve"] if "loss" in row}
lost = run.curve("loss")[1]
assert long["recipe"]["optimizer"] == repr(recipe.config.optimizer)  # it is the same recipe
assert curve[50] < lost[-1] < curve[50] + 0.9  # the recorded curve goes on from there
assert abs((curve[50] - curve[500]) - (curve[450] - curve[4500])) < 0.3  # a tenfold of the steps, twice
for better, worse in (
    ("40 steps: trigram", "40 steps: the network"),
    ("40 steps: the network", "40 steps: unigram"),
    ("all texts: trigram", "40 steps: trigram"),
    ("all texts: 5 tokens counted", "all texts: trigram"),
):
    assert bootstrap_mean(compared[worse] - compared[better]).low > 0
assert abs(compared["all texts: 7 tokens counted"].mean() - compared["all texts: 5 tokens counted"].mean()) < 0.03
assert gap.low > 0.1 and 3.1 < compared["every token the same"][0] < 3.3
scored = long["measured"]
assert f"{scored['test_bits_per_byte']:.2f} {scored['training_bits_per_byte']:.2f}" == "1.36 1.02"
assert [round(value, 2) for value in scored["baselines"].values()] == [1.82, 1.73]
assert 7.5 < long["targets"] / len(row) < 8  # times that it read each token
# %% name="live-plot" tags=["free"]
from llmguide_lib.plots import curves

figure = curves(
    {"long run (recorded)": list(curve.values()), "live": lost},
    {"long run (recorded)": list(curve), "live": run.curve("loss")[0]},
    xlabel="step",
    ylabel="training loss, nats per token",
    log="x",
)
# %% [markdown] lang="en" role="caption"
# The live run's loss at the left, and the recorded curve of the long run that goes on from there; the steps are on a
# logarithmic axis. There the curve is nearly straight: each tenfold of the steps buys about the same (at the end the falling learning rate helps).
# %% [markdown] lang="zh" of="8fd62604"
# 左边是现场训练的损失（live），右边接着的是事先记录的长跑曲线（long run）；步数用对数轴。
# 在对数轴上，曲线几乎是直的：步数每变成十倍，换来的下降差不多一样多（末尾还有学习率下降的功劳）。
# %% [markdown] lang="en" name="live-read"
# Counting wins the first minute, and clearly. In 40 steps the network has learned which tokens are frequent and something about what follows
# what; the trigram model has read the same text once and knows every pair in it. Counting too gets better with more text: it gains a
# third of a bit and more by reading all of it, and a little by looking at five tokens instead of three. There its road nearly ends, seven tokens bring hardly more: longer contexts
# hardly ever come twice. The network that has read all the text predicts better than each of them, by the advantage in the last line.
#
# **Your first guess.** On the test part the long run reached 1.36 bits per byte (the table shows a few windows of the validation part, hence the difference),
# `xz` needs 1.82 and a model that counts runs of seven bytes 1.73 (all recorded in the model's card). The comparison is fair only within limits: the network
# read the text nearly eight times, the others once. On texts that it was trained on it needs 1.02, a third of a bit less: it overfits. And its own numbers,
# more bytes than the text, are not counted: it is no compressor as `xz` is one. Somebody who knows nothing would need 8 bits
# for a byte of *anything*; who knows the 2,048 tokens only, about 3.2.
# %% [markdown] lang="zh" of="e7bc2bfb"
# 第一分钟，计数赢了，而且赢得很明显。40 步里，神经网络学会了哪些词元常见，也学到一点谁跟在谁后面；三元模型把同样的文本读一遍，
# 就记住了其中每一对词元。文本更多，计数也会更准：读完全部训练文本，又降了三分之一比特以上；把三个词元换成五个，再降一点。
# 但路也就快走到头了，看七个词元几乎没有更好：更长的上下文几乎不会出现第二次。读过全部文本的神经网络比它们都准，领先多少，看最后一行。
#
# **看看你最初的猜测。** 在测试部分，长跑达到每字节 1.36 比特（上表是在验证部分取的几段上测的，所以略有不同），`xz` 需要 1.82，按七个字节计数的模型需要 1.73
# （都记录在模型卡里）。这样比只在一定范围内公平：神经网络把文本读了将近八遍，别的只读一遍；对训练时读过的文本，它只需要 1.02，
# 相差三分之一比特，这就是过拟合；它自己的参数占的字节比文本还多，却没有算进去，所以不是 `xz` 那样的压缩器。
# 而一无所知的人，不管什么文件，每个字节都要 8 比特；只知道有这 2048 个词元的，大约要 3.2 比特。
# %% [markdown] lang="en" name="samples"
# ## The same two words at several moments
#
# What the model writes after *Returns the*, with the same random numbers: live at steps 0 to 40, then a smaller model at
# later moments (*recorded*, `python benchmarks/scaling.py`), and last the course model after its 4,500 steps.
# %% [markdown] lang="zh" of="e7c9e9ab"
# ## 同样两个词，不同时刻的续写
#
# 模型在 *Returns the* 后面写了什么，随机数都一样：先是现场的第 0 到 40 步；然后是一个更小的模型在之后的几个时刻（*事先记录的*，
# `python benchmarks/scaling.py`）；最后是走完 4500 步的课程模型（course）。
# %% name="samples-shown" tags=["free"]
scaling = recorded("scaling")
later = scaling["cells"][f"96x5, rate {scaling['rate']:g}, seed 0"]["samples"]
for step, text in moments.items():
    print(f"live      {step:5}  {text[:95]!r}")
for step in ("64", "256", "512"):
    print(f"recorded  {step:>5}  {later[step][:95]!r}")
print(f"course    {long['steps']:5}  {written(gpt, Sample(seed=0))[:95]!r}")
# %% [markdown] lang="en" name="samples-read"
# First any token, then frequent tokens, then pairs that belong together, then phrases, at last whole sentences that look
# like documentation, about things that do not exist. *Fluent* comes long before *true*.
# %% [markdown] lang="zh" of="52264d47"
# 起初什么词元都有，然后是常见的词元，再往后是搭配得上的词元对、短语，最后是看上去像文档的完整句子，讲的却是并不存在的东西。
# *流畅*来得远比*真实*早。
# %% [markdown] lang="en" name="decoding"
# ## From bets to text: decoding
#
# The model bets; somebody must choose. Write down the chosen token, read it as if it were given, bet again. The ways of
# choosing differ in which tokens they allow ($z$ are the logits after the last token):
#
# | method | rule |
# |---|---|
# | greedy | the most probable token, always |
# | temperature $\tau$ | draw from $\operatorname{softmax}(z/\tau)$: below 1 sharper, above 1 flatter |
# | top-$k$ | draw among the $k$ most probable |
# | top-$p$ (nucleus) | draw among the fewest most probable ones that together have probability $p$ |
# | min-$p$ | draw among those at least $p$ times as probable as the best |
# | repetition penalty $\theta$ | logits of tokens that stand there already: positive ones $/\theta$, negative ones $\times\theta$ |
# | beam search | keep the $b$ best *beginnings* at every step |
#
# The rules for temperature, top-$k$, top-$p$ and min-$p$ written out, on a distribution of five tokens:
# %% [markdown] lang="zh" of="426a2e06"
# ## 从押注到文本：解码
#
# 模型只管押注，总要有人来选。选中一个词元写下来，当成已知的前文读进去，再押下一个。各种选法的差别，在于允许选哪些词元（$z$ 是最后一个词元处的 logits）：
#
# | 方法 | 规则 |
# |---|---|
# | 贪心（greedy） | 总选概率最大的词元 |
# | 温度（temperature）$\tau$ | 从 $\operatorname{softmax}(z/\tau)$ 里抽：小于 1 更尖锐，大于 1 更平缓 |
# | top-$k$ | 在概率最大的 $k$ 个里抽 |
# | top-$p$（核采样，nucleus） | 按概率从大到小取，直到总概率达到 $p$，从中抽取 |
# | min-$p$ | 凡概率达到最大概率的 $p$ 倍的词元都留下，从中抽取 |
# | 重复惩罚（repetition penalty）$\theta$ | 已经出现过的词元，logits 为正的除以 $\theta$，为负的乘以 $\theta$ |
# | 束搜索（beam search） | 每一步保留最好的 $b$ 个*前缀*（写到一半的文本） |
#
# 先把温度、top-$k$、top-$p$、min-$p$ 这四条规则亲手写出来，用在一个五词元的分布上：
# %% name="decoding-code"
torch.set_default_dtype(torch.float64)


def my_top_k(probabilities, k):
    return probabilities * (probabilities >= probabilities.sort().values[-k])


def my_top_p(probabilities, p):
    ordered, order = probabilities.sort(descending=True)
    before = ordered.cumsum(-1) - ordered  # probability of the tokens in front of each
    return probabilities * torch.zeros_like(before, dtype=torch.bool).scatter(0, order, before < p)


def my_min_p(probabilities, p):
    return probabilities * (probabilities >= p * probabilities.max())


five = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05])
for name, kept in {
    "temperature 0.5": five**2,  # softmax(2 log p) is p squared, made to add up to one
    "temperature 2  ": five**0.5,
    "top-k 2        ": my_top_k(five, 2),
    "top-p 0.8      ": my_top_p(five, 0.8),
    "min-p 0.15     ": my_min_p(five, 0.15),
}.items():
    show(name, (kept / kept.sum()).tolist())
# %% name="decoding-check"
from llmguide_lib.generation import Greedy, MinP, RepetitionPenalty, Temperature, TopK, TopP

logits, none = five.log()[None], torch.zeros(1, 1, dtype=torch.long)
for mine, library in (
    (five**2, Temperature(0.5)),
    (my_top_k(five, 2), TopK(2)),
    (my_top_p(five, 0.8), TopP(0.8)),
    (my_min_p(five, 0.15), MinP(0.15)),
):
    show(type(library).__name__, difference(mine / mine.sum(), library(logits, none).softmax(-1)[0]))
show(penalty=RepetitionPenalty(2)(torch.tensor([[3.0, -1.0, 1.0]]), torch.tensor([[0, 1]]))[0].tolist())
# %% [markdown] lang="en" name="explore-next"
# **Explore.** The course model, in your browser. Type a beginning, click a token, move temperature, top-$k$, top-$p$ and min-$p$, and watch the
# bars. Where does one token have nearly all the probability, and where do fifty share it? A fixed $k$ is wrong in one of
# the two places; $p$ adapts.
# %% [markdown] lang="zh" of="354bc697"
# **动手探索。** 课程模型就在你的浏览器里。输入一个开头，点一个词元，调温度、top-$k$、top-$p$ 和 min-$p$，看条形怎样变。
# 哪里几乎全部概率都在一个词元上，哪里五十个词元各占一点？固定的 $k$ 总有一处不合适，$p$ 留下的个数则随分布而变。
# %% name="explore-next-token" tags=["free"]
from llmguide_lib.widgets import NextTokenExplorer

torch.set_default_dtype(torch.float32)
NextTokenExplorer(gpt, tokenizer, "Returns the number of")
# %% [markdown] lang="en" role="caption"
# The tokens of a text, and for the marked one the ten most probable next tokens as bars, before and after the filters.
# %% [markdown] lang="zh" of="ca449cdd"
# 一段文本的各个词元，以及选中位置之后概率最大的十个词元，画成条形，有过滤前和过滤后两种。
# %% [markdown] lang="en" name="guess-greedy" role="prediction"
# **Predict.** Greedy always takes the most probable token, so its texts are the most probable ones, or nearly. Are they
# also the *best*? How probable is what people really wrote, under the same model: as probable as greedy's text, more, or less?
# %% [markdown] lang="zh" of="9b875a33"
# **先预测。** 贪心每次都选概率最大的词元，所以写出的文本差不多就是概率最大的文本。它们也是*最好*的吗？
# 人真正写下的文本，在同一个模型看来，概率比贪心写的更高、一样，还是更低？
# %% [markdown] lang="en" name="same-beginning"
# **The same beginning, nine ways.** Read them aloud before you look at any number.
# %% [markdown] lang="zh" of="45736bcd"
# **同一个开头，九种写法。** 先念一遍，再去看数字。
# %% name="nine-ways" tags=["free"]
from llmguide_lib.generation import beam_search


class Endless:
    """A decoder that may not write special tokens, such as the end of a text."""

    training = False

    def __init__(self, model):
        self.model, self.config = model, model.config

    def __call__(self, tokens, mask=None, cache=None):
        return self.model(tokens, mask, cache).index_fill(-1, torch.arange(5), -torch.inf)


methods = {
    "greedy": Greedy(),
    "greedy, penalty 1.3": Greedy(RepetitionPenalty(1.3)),
    "temperature 0.7": Sample(Temperature(0.7), seed=0),
    "temperature 1": Sample(seed=0),
    "temperature 1.3": Sample(Temperature(1.3), seed=0),
    "top-k 20": Sample(TopK(20), seed=0),
    "top-p 0.9": Sample(TopP(0.9), seed=0),
    "min-p 0.1": Sample(MinP(0.1), seed=0),
}
prompt = torch.tensor([[tokenizer.token_to_id("<|endoftext|>"), *tokenizer.encode("Returns the number of")]])
texts = {name: generate(Endless(gpt), prompt, 40, sampler=sampler)[0] for name, sampler in methods.items()}
texts["beam search, 4"] = beam_search(Endless(gpt), prompt, 40, num_beams=4)[0]
for name, ids in texts.items():
    print(f"{name:20} {tokenizer.decode(ids[1:].tolist())[:150]!r}")
# %% [markdown] lang="en" name="measure"
# ## What each method does, measured
#
# 16 beginnings from held-out documents (12 tokens each), 48 tokens written after each, with four samples where chance is involved.
# Ends of texts are forbidden, so that all are equally long. What is measured, and what people wrote in the same places beside it:
#
# * **surprise**: of the model itself at what was written, nats per token. Quality as the *model* sees it;
# * **judge**: surprise of a trigram model that counted *other* held-out documents, which the network never saw. Quality as
#   somebody independent sees it, who knows only three tokens at a time;
# * **repeats**: share of runs of four tokens that stood earlier in the same text;
# * **variety**: different pairs of tokens among all pairs of the four answers to one beginning. Where nothing is drawn the four
#   are one and the same, which makes 0.25 at most; people too wrote only one, so theirs is 0.25 at most as well.
#
# For none of the four is more, or less, simply better: low surprise may be good prose or mere repetition. What people wrote is the mark to
# compare with. Brackets: 95 % intervals over the 16 beginnings.
# %% [markdown] lang="zh" of="72fa6c3c"
# ## 各种方法效果如何：量一量
#
# 从没见过的文档里取 16 个开头（各 12 个词元），每个后面写 48 个词元；带随机性的方法各抽四次。禁止写出文本结束符，好让长度一样。
# 测量下面四项，并与人在同样位置写下的文本（people）对照：
#
# * **surprise**：模型自己对所写文本的意外程度，单位是每词元的奈特数。这是*模型*眼里的质量；
# * **judge**（裁判）：一个三元模型的意外程度，它数的是*另一批*文档，神经网络从没见过。这是独立旁观者眼里的质量，虽然他一次只看三个词元；
# * **repeats**：每连续四个词元算一组，同一段文本里前面已经出现过的组所占的比例；
# * **variety**：同一个开头的四份续写里，不同的词元对占全部词元对的比例。没有随机性的方法，四份续写完全一样，最多是 0.25；
#   人写的（people）也只有一份，所以同样不超过 0.25。
#
# 这四项都不是越高越好，也不是越低越好：意外程度低，可能是写得好，也可能只是在重复。要比，就和人写的比。方括号里是对 16 个开头算出的 95 % 区间。
# %% name="measure-write"
LENGTH, NEW, SAMPLES = 13, 48, 4
test_texts = [ids for ids in (tokenizer.encode(document.text) for document in documentation("test")) if len(ids) >= 60]
chosen = torch.tensor([[0, *ids[:60]] for ids in test_texts[:: len(test_texts) // 16][:16]])
assert tokenizer.token_to_id("<|endoftext|>") == 0
beginnings, people = chosen[:, :LENGTH], chosen[:, LENGTH:]


def answered(sampler):
    """Four answers to each beginning (16, 4, 48)."""
    rows = beginnings.repeat_interleave(SAMPLES, dim=0)
    return generate(Endless(gpt), rows, NEW, sampler=sampler)[:, LENGTH:].unflatten(0, (-1, SAMPLES))


beams = [beam_search(Endless(gpt), row[None], NEW, num_beams=4)[0][LENGTH:] for row in beginnings]
answers = {"people": people, "beam search, 4": torch.stack(beams)}  # one answer each, here taken four times
answers = {name: texts[:, None].expand(-1, SAMPLES, -1) for name, texts in answers.items()}
answers |= {name: answered(sampler) for name, sampler in methods.items()}
# %% name="measure-table" tags=["measured"]
judge = KneserNey(3, tokenizer.vocab_size).count(unseen.tolist())


def own_surprise(texts):
    """(16, 4, 48): -log of what the model gave to each token that was written."""
    whole = torch.cat([beginnings[:, None].expand(-1, SAMPLES, -1), texts], dim=-1).flatten(0, 1)
    with torch.no_grad():
        bets = gpt(whole[:, :-1])[:, LENGTH - 1 :].log_softmax(-1)
    return -bets.gather(-1, whole[:, LENGTH:, None]).unflatten(0, (-1, SAMPLES)).squeeze(-1)


def judged(texts):
    """(16, 4): the judge's surprise per token."""
    whole = torch.cat([beginnings[:, None].expand(-1, SAMPLES, -1), texts], dim=-1)
    ways = [[-math.fsum(math.log(judge.probability(row[:t], row[t])) for t in range(LENGTH, len(row))) for row in rows]
            for rows in whole.tolist()]  # fmt: skip
    return torch.tensor(ways) / NEW


def runs_of(row, number):
    """All runs of so many tokens."""
    return list(zip(*(row[at:] for at in range(number)), strict=False))


def repeats(texts):
    """(16, 4): share of runs of four tokens that came before."""
    shares = [[1 - len(set(runs_of(row, 4))) / (NEW - 3) for row in rows] for rows in texts.tolist()]
    return torch.tensor(shares)


def variety(texts):
    """(16, 1): different pairs among all pairs of the four answers."""
    pairs = [[pair for row in rows for pair in runs_of(row, 2)] for rows in texts.tolist()]
    return torch.tensor([[len(set(found)) / len(found)] for found in pairs])


surprises = {name: own_surprise(texts) for name, texts in answers.items()}
verdicts = {name: judged(texts) for name, texts in answers.items()}
table = {
    name: [
        bootstrap_mean(values.mean(dim=1))
        for values in (surprises[name].mean(-1), verdicts[name], repeats(texts), variety(texts))
    ]
    for name, texts in answers.items()
}
print(" " * 20, *(f"{column:^18}" for column in ("surprise", "judge", "repeats", "variety")))
for name, row in table.items():
    print(f"{name:20}", *(f"{value:5.2f} [{low:4.2f}, {high:4.2f}] " for value, low, high in row))
stranger = {name: bootstrap_mean((verdicts[name] - verdicts["people"]).mean(dim=1)) for name in verdicts}
print("judge, beginning by beginning, above people:")
for name in ("temperature 1", "temperature 1.3"):
    print(f"{name:20} {{:5.2f}} [{{:5.2f}}, {{:.2f}}]".format(*stranger[name]))
# %% name="measure-check"
surprise_of, judge_of, repeats_of, variety_of = ({name: row[at] for name, row in table.items()} for at in range(4))
for name in ("greedy", "beam search, 4"):  # too probable, and they go round in circles
    assert surprise_of[name].high < surprise_of["people"].low and repeats_of[name].low > repeats_of["people"].high
assert surprise_of["temperature 1.3"].value > surprise_of["temperature 1"].value > surprise_of["temperature 0.7"].value
assert abs(surprise_of["temperature 1"].value - surprise_of["people"].value) < 0.5
assert stranger["temperature 1.3"].low > 0 and stranger["greedy"].high < 0
assert stranger["temperature 1"].high > 0 and stranger["temperature 1"].low < 0.15  # not decided by 16 beginnings
assert judge_of["temperature 1"].value > judge_of["top-p 0.9"].value > judge_of["greedy"].value
assert repeats_of["greedy, penalty 1.3"].high < repeats_of["greedy"].low
for name in ("temperature 0.7", "top-k 20", "top-p 0.9", "min-p 0.1"):  # less surprising than plain drawing
    assert surprise_of[name].value < surprise_of["temperature 1"].value
    assert repeats_of[name].value < repeats_of["greedy"].low
assert variety_of["temperature 1.3"].value > variety_of["temperature 0.7"].value > variety_of["greedy"].high
# %% name="measure-plot" tags=["free"]
shown_methods = ("people", "greedy", "top-p 0.9", "temperature 1")
figure = curves(
    {name: surprises[name].mean(dim=(0, 1)).unflatten(0, (-1, 6)).mean(-1).tolist() for name in shown_methods},
    list(range(3, NEW, 6)),
    xlabel="tokens written so far",
    ylabel="surprise, nats per token",
)
# %% [markdown] lang="en" role="caption"
# The model's surprise along the text, in groups of six tokens. What people wrote stays surprising all along; greedy's text is
# hardly surprising from the start and ever less so, because it repeats itself. Plain
# drawing stays with people's; top-p lies between greedy and people.
# %% [markdown] lang="zh" of="e6f59756"
# 沿着文本往后，模型的意外程度（每六个词元一组）。人写的文本一路都让模型意外；贪心写的从一开始就不太意外，而且越来越低，因为它在重复自己。
# 直接抽样与人写的差不多，top-p 介于贪心和人写的之间。
# %% [markdown] lang="en" name="measure-read"
# **The most probable text is not the best.** Greedy and beam search write text that the model finds far more probable than what
# people write, and much of it says the same again: somewhere a phrase makes itself more probable by having been said, and there is no
# way out. People do not write the most probable text; nothing would be worth saying.
#
# **Plain drawing is honest but pays for the tail.** Its text is about as surprising as people's, as it must be where the bets are true:
# then people's next token is itself a draw from them. The *tail* is what follows behind the probable tokens: thousands of improbable ones. The
# judge tends to find it stranger than people's, but compared beginning by beginning the interval reaches down to about zero: 16 beginnings
# do not decide it. A reason would be at hand: each token of the tail has a little probability, and in 48 draws some
# are taken. Temperature above 1 takes more of them, and there it is certain, as model *and* judge see it.
#
# **Cutting the tail** (top-$k$, top-$p$, min-$p$) or sharpening it (temperature 0.7) buys quality with variety. Which one
# is best cannot be read off one column: quality and variety are two ends of one trade, and the four stand here at different strengths.
#
# **The penalty** breaks the circles, because it makes whatever came before less probable, the beginning's own tokens included, also where they belong (*the*, brackets, names).
#
# **Likelihood alone judges nobody.** The judge, who never saw the network, likes the text of greedy and of beam search best too. Whoever measures it, likelihood rewards
# the obvious; only repeats and variety expose it. A surprise as people's is necessary for text like people's, not sufficient: noise can have it too.
# %% [markdown] lang="zh" of="6f05bdd9"
# **概率最大的文本不是最好的文本。** 贪心和束搜索写出的文本，模型觉得比人写的可能得多，其中很多却是在重复：某个短语说过一遍，再说一遍的概率就更高，
# 从此绕不出来。人不写最可能的话：说了等于没说。
#
# **直接抽样很诚实，但要为尾部付出代价。** 它写出的文本让模型意外的程度，和人写的差不多；只要押注符合真实概率，本来就该如此，
# 因为那样的话，人写的下一个词元也等于是按这个概率抽出来的。*尾部*指排在可能的词元之后、成千上万个不太可能的词元。
# 裁判多半觉得它比人写的怪，但逐个开头比较，区间的下端差不多到零：16 个开头还定不下来。原因倒不难想到：尾部的词元
# 各有一点点概率；抽 48 次，总会抽中几个。温度高于 1，抽中的更多，这时就没有疑问了，模型和裁判都这么看。
#
# **切掉尾部**（top-$k$、top-$p$、min-$p$）或压低尾部（温度 0.7），是用多样性换质量。哪个最好，看单独一列是看不出来的：质量和多样性此消彼长，只能取舍，
# 何况这四种方法的力度也不相同。
#
# **重复惩罚**打破了循环，因为它压制一切出现过的词元，连给定开头里的也算，哪怕那里本来就该用它（比如 *the*、括号、名字）。
#
# **光看似然，评不了好坏。** 裁判从没见过这个网络，却也最喜欢贪心和束搜索写的。不管谁来量，似然总是奖励显而易见的话，只有看重复和多样性，
# 才看得出这种话空洞。
# 意外程度和人写的一样，是写得像人的必要条件，不是充分条件：噪声也可以做到。
# %% [markdown] lang="en" name="beam"
# ## Beam search, and why it looks further
#
# Greedy decides token by token. Suppose that after the start *A* has probability 0.6 and *B* 0.4; after *A* come three tokens
# with 0.4, 0.3, 0.3, after *B* one with 0.9. Greedy takes *A* and ends at $0.6 \cdot 0.4 = 0.24$; the best text
# is *B* with $0.4 \cdot 0.9 = 0.36$. Keeping two beginnings instead of one finds it. In ten lines, equal to the library's:
# %% [markdown] lang="zh" of="6d073565"
# ## 束搜索：为什么看得更远
#
# 贪心一次只看一个词元。假设起始词元之后，*A* 的概率是 0.6，*B* 是 0.4；*A* 后面有三个词元，概率是 0.4、0.3、0.3，*B* 后面有一个是 0.9。
# 贪心选 *A*，最后得到 $0.6 \cdot 0.4 = 0.24$；最好的文本却走 *B*，概率 $0.4 \cdot 0.9 = 0.36$。保留两个前缀而不是一个，就能找到它。
# 十行代码写出来，与库里的结果一致：
# %% name="beam-code"
torch.set_default_dtype(torch.float64)


def my_beam_search(log_probabilities, tokens, number, num_beams):
    """The best text that keeping num_beams beginnings finds; log_probabilities(row) -> (V,) of the next token."""
    beams = [(0.0, tokens)]
    for _ in range(number):
        longer = []
        for score, row in beams:
            best = log_probabilities(row).topk(num_beams)
            longer += [(score + s, [*row, id]) for s, id in zip(*map(torch.Tensor.tolist, best), strict=True)]
        beams = sorted(longer, reverse=True)[:num_beams]
    return beams[0]


tree = {0: [0.0, 0.6, 0.4, 0.0], 1: [0.0, 0.4, 0.3, 0.3], 2: [0.9, 0.1, 0.0, 0.0]}  # after 0 come A = 1 or B = 2
for width in (1, 2):
    score, row = my_beam_search(lambda row: torch.tensor(tree[row[-1]]).log(), [0], 2, width)
    show("beams", width, "text", row, "probability", math.exp(score))


def bets(row):
    return gpt2(torch.tensor([row]))[0, -1].log_softmax(-1)


text, score = beam_search(gpt2, torch.tensor([[3]]), 5, num_beams=3, length_penalty=0)
mine = my_beam_search(bets, [3], 5, 3)
show(same_text=mine[1] == text.tolist(), score=difference(torch.tensor(mine[0]), torch.tensor(score), 1e-6))
# %% [markdown] lang="en" name="explore-beam"
# Beam search serves where the answer is largely given, as in translation (chapter 7). For open text it finds what was measured above:
# the probable, and so the dull.
# %% [markdown] lang="zh" of="7fc70646"
# 答案大体确定的任务（例如翻译，第 7 章）适合束搜索。开放式写作，它找到的就是上面量出来的那种：最可能的，因而最乏味的。
# %% name="explore-beam-tree" tags=["free"]
from llmguide_lib.widgets import BeamExplorer

BeamExplorer(gpt, tokenizer, "The function returns")
# %% [markdown] lang="en" role="caption"
# The tree of a beam search with the course model: at each step the beams that are kept and those that are dropped, with their
# scores, and greedy's path.
# %% [markdown] lang="zh" of="980cb87f"
# 用课程模型做束搜索得到的树：每一步留下哪些束、丢掉哪些束、各自的分数，以及贪心走的路。
# %% [markdown] lang="en" name="cache"
# ## The KV cache: never compute anything twice
#
# To write token 100 the model reads 99 tokens, to write token 101 it reads 100, of which 99 are the same. With causal
# attention nothing that comes later changes what was computed for an earlier place. All that a new token needs of the earlier
# ones is their keys and values: keep them, and read only *the one new token* at each step.
#
# | | floating-point operations for token $t$ | memory |
# |---|---|---|
# | without a cache | $\approx 2Nt$, and for attention in proportion to $t^2$ | nothing |
# | with a cache | $\approx 2N$, and for attention in proportion to $t$ | $2 \cdot L \cdot G \cdot K$ numbers per token |
#
# $N$ parameters, $L$ layers, $G$ key-value heads of width $K$ (chapter 3; in GPT-2 every head has keys and values of its own, so $G = H$). Why $2N$: for each token nearly every
# parameter takes part in one multiplication and one addition. Why $2 \cdot L$: each layer keeps a key *and* a value. The function above has it built in (five lines). It must be *equal*:
# %% [markdown] lang="zh" of="84aabc34"
# ## KV 缓存：算过的不再算
#
# 写第 100 个词元，模型要读前面 99 个；写第 101 个，要读 100 个，其中 99 个是一样的。因果注意力下，后面来的词元不会改变前面位置上算好的任何东西。
# 新词元要用到的，只是前面各位置的键和值：把它们存下来，每一步就只用读*那一个新词元*。
#
# | | 第 $t$ 个词元的浮点运算次数 | 内存 |
# |---|---|---|
# | 不用缓存 | 约 $2Nt$，外加与 $t^2$ 成正比的注意力 | 无 |
# | 用缓存 | 约 $2N$，外加与 $t$ 成正比的注意力 | 每个词元 $2 \cdot L \cdot G \cdot K$ 个数 |
#
# $N$ 是参数量，$L$ 是层数，$G$ 是键值头的个数，$K$ 是头的宽度（第 3 章；GPT-2 的每个头都有自己的键和值，所以 $G = H$）。
# 为什么是 $2N$：处理一个词元，几乎每个参数都要参与一次乘法和一次加法。为什么是 $2 \cdot L$：每一层既要存键，*又*要存值。前面那个函数已经带着缓存（五行）。它的结果必须*相等*：
# %% name="cache-equal"
from llmguide_lib.attention import KVCache

my_cache, their_cache = {}, KVCache(num_layers=2, max_seq_len=8)
whole = my_gpt2(weights, tokens, 2, 3)
for t in range(6):
    step = my_gpt2(weights, tokens[:, t : t + 1], 2, 3, my_cache)  # reads one token
    same = difference(step[:, 0], whole[:, t]), difference(step, gpt2(tokens[:, t : t + 1], cache=their_cache))
    show("token", t, "equal to reading everything", same[0], "and to the library's cache", same[1])
show(keys_kept=tuple(my_cache[0][0].shape))
# %% [markdown] lang="en" name="guess-cache" role="prediction"
# **Predict.** The course model writes 192 tokens. How many times faster is it with a cache? And Llama 3 8B (32 layers, 8 key-value heads of width 128, two bytes a number): how much memory does its cache take for 8,192 tokens?
# %% [markdown] lang="zh" of="964833f5"
# **先预测。** 课程模型写 192 个词元，用缓存会快几倍？Llama 3 8B（32 层，8 个键值头，头的宽度 128，每个数两个字节）存 8192 个词元的缓存，要占多少内存？
# %% name="cache-memory"
sizes = {"gpt-course": (5, 6, 32, 4, 256), "Llama 3 8B": (32, 8, 128, 2, 8192)}  # L, G, K, bytes a number, tokens
for name, (layers, kv_heads, width, size, length) in sizes.items():
    per_token = 2 * layers * kv_heads * width * size
    show(name, "bytes per token", per_token, "MB for", length, "tokens", per_token * length / 1e6)
# %% name="cache-speed" tags=["measured"]
import time
from itertools import islice

from llmguide_lib.generation import stream

torch.set_default_dtype(torch.float32)


def seconds_at(cache, length=192, part=24):
    """Seconds for a token, mean of each 24, while writing after one token."""
    tokens, times = stream(gpt, start[:, :1], length, cache=cache), []
    while len(times) < length // part:
        began = time.perf_counter()
        list(islice(tokens, part))
        times.append((time.perf_counter() - began) / part)
    return times


seconds_at(cache=True)  # the first time is slower
without, with_cache = (
    [min(times) for times in zip(*(seconds_at(cache) for _ in range(3)), strict=True)]  # the least disturbed of three
    for cache in (False, True)
)
times_faster = sum(without) / sum(with_cache)
show("whole text, times faster with a cache", round(times_faster, 1))
show("last part against second, without", round(without[-1] / without[1], 1), "with", round(with_cache[-1] / with_cache[1], 1))
# %% name="cache-speed-check"
assert times_faster > 2 and without[-1] > 1.5 * without[1]
assert with_cache[-1] / with_cache[1] < min(1.5, without[-1] / without[1])
# %% [markdown] lang="en" name="cache-read"
# Llama 3 8B's cache takes 1.07 GB. How many times faster the cache is has no single answer: without it the time per token grows with
# the length, with it it does not, so the gain grows with the text.
#
# Whoever guessed from the table said about a hundred, since $t$ is 96 on average. But operations are not time. To compute with one token the
# machine must read every weight, as it must for a hundred, which then share what was read: so a hundred at once take far less than a hundred times as long. And each step has its fixed cost
# (calls, bookkeeping). Which of the two costs more here was not measured.
# %% [markdown] lang="zh" of="7f070ef1"
# Llama 3 8B 的缓存要 1.07 GB。快几倍则没有唯一的答案：不用缓存，每个词元的用时随长度增长；用了就不再增长，所以文本越长，差距越大。
#
# 如果照着上面的表来猜，会猜一百倍左右，因为 $t$ 平均是 96。但运算次数不等于时间。哪怕只算一个词元，也要把每个权重读一遍；
# 一次算一百个词元，同样只读一遍，大家共用，所以用时远远不到一百倍。此外，每一步还有固定的开销（函数调用之类）。这里没有测量两者各占多少。
# %% name="cache-plot" tags=["free"]
figure = curves(
    {"without cache": [1000 * value for value in without], "with cache": [1000 * value for value in with_cache]},
    list(range(24, 193, 24)),
    xlabel="tokens written",
    ylabel="milliseconds per token",
)
# %% [markdown] lang="en" role="caption"
# Milliseconds for one more token, over the length of the text. Without a cache they grow with the length; with one the line
# stays nearly flat.
# %% [markdown] lang="zh" of="a8e74903"
# 随着文本变长，每多写一个词元要多少毫秒。不用缓存，时间随长度增长；用缓存，线几乎是平的。
# %% [markdown] lang="en" name="lens"
# ## What each layer would say
#
# The last layer's states are turned into scores by the final norm and the head. Nobody forbids to ask the *earlier* layers the same
# way: what would the model say if it stopped here? This **logit lens** (nostalgebraist 2020) is a rough look, since only the last layer
# was trained to be read so, but it shows where in the depth an answer comes up.
# %% [markdown] lang="zh" of="0caa6975"
# ## 每一层会怎么说
#
# 最后一层的状态经过最后的归一化和输出头，变成每个词元的分数。没有谁规定不能用同样的办法去问*前面*的层：如果模型到这里就停下，它会说什么？
# 这就是 **logit 透镜**（logit lens，nostalgebraist 2020）。它看得比较粗，因为只有最后一层是按这种读法训练的；但它能看出答案是在哪一层冒出来的。
# %% [markdown] lang="en" name="guess-lens" role="prediction"
# **Predict.** After "Return a new array of the given", does the word that the model will say come up layer by layer, or all at once? And does any *single*
# head decide it: would the answer change if you switched one of the thirty heads off?
# %% [markdown] lang="zh" of="f56dca8a"
# **先预测。** 在 "Return a new array of the given" 之后，模型最后要说的词是一层一层慢慢浮现，还是突然出现？有没有哪*一个*头说了算：
# 三十个头里随便关掉一个，答案会变吗？
# %% name="explore-lens" tags=["free"]
from llmguide_lib.widgets import LogitLensExplorer

LogitLensExplorer(gpt, tokenizer, "Return a new array of the given")
# %% [markdown] lang="en" role="caption"
# A table of layers and tokens: what the model would say next if it stopped at that layer; beside it, switches for every head and
# feed-forward layer, and what the prediction becomes without them.
# %% [markdown] lang="zh" of="238294ce"
# 一张表，行是层，列是词元：如果模型停在这一层，下一个词元会是什么；旁边是每个头和每个前馈层的开关，以及关掉之后预测变成什么样。
# %% name="lens-measure" tags=["measured"]
sentence = torch.tensor([[0, *tokenizer.encode("Return a new array of the given")]])
states = []
hooks = [
    part.register_forward_hook(lambda _, args, state: states.append(state[0, -1])) for part in (gpt.token_embedding, *gpt.blocks)
]
with torch.no_grad():
    said = gpt(sentence)[0, -1]
    by_layer = gpt.scores(gpt.final_norm(torch.stack(states)))  # (1 + layers, V)
for hook in hooks:
    hook.remove()
answer = said.argmax().item()
ranks = [1 + (scores > scores[answer]).sum().item() for scores in by_layer]
print("the answer", repr(tokenizer.decode([answer])), "has rank", ranks, "in the embedding and after each layer")


@torch.no_grad()
def without_head(layer, head):
    """The answer's token, and the log probability that it loses, if one head adds nothing."""
    weight = gpt.blocks[layer].attention.out_proj.weight  # (D, H * K): each head has K columns
    kept, width = weight.clone(), weight.shape[1] // 6
    weight[:, head * width : (head + 1) * width] = 0
    now = gpt(sentence)[0, -1].log_softmax(-1)
    weight.copy_(kept)
    return now.argmax().item(), (said.log_softmax(-1) - now)[answer].item()


heads = {(layer, head): without_head(layer, head) for layer in range(5) for head in range(6)}
turned = [place for place, (now, _) in heads.items() if now != answer]
print(f"{len(turned)} of {len(heads)} heads alone change the answer: (layer, head) from 0 {turned}")
for place in sorted(heads, key=lambda place: -heads[place][1])[:4]:
    print(f"without {place}: {heads[place][1]:5.2f} nats less")
# %% name="lens-check"
assert torch.allclose(by_layer[-1], said, atol=1e-4) and ranks[-1] == 1 < ranks[-2] < 10
assert all(later < earlier for earlier, later in zip(ranks, ranks[1:], strict=False)) and ranks[0] > 100
assert len(turned) < 4 and all(layer == 0 for layer, _ in turned)
assert max(heads, key=lambda place: heads[place][1])[0] == 0
# %% [markdown] lang="en" name="lens-read"
# Layer by layer, here: the answer climbs from far down the list with every layer, and is first only at the very end. And hardly any head
# decides it alone: nearly all can be switched off one at a time without changing the answer. Those that count most sit in the *first* layer, where
# everything later gets its material. That is one sentence and one model: try others in the explorer before you believe it.
# %% [markdown] lang="zh" of="e216e79a"
# 在这里是一层一层浮现的：答案起初排得很靠后，每过一层就往前，到最后一层才排第一。也几乎没有哪个头能单独说了算：绝大多数头，每次关掉一个，答案都不变。
# 影响最大的几个头在*第一*层，后面各层的材料都从那里来。这只是一句话、一个模型：先在上面的探索器里试试别的句子，再决定信不信。
# %% [markdown] lang="en" name="own-model"
# ## Your own model, in the browser
#
# The explorer runs any small decoder, also the one that you trained for forty steps. Compare its bars with those of the course model: type
# several beginnings. Which tokens lead? Does a word far back make any difference?
# %% [markdown] lang="zh" of="5a5a0bad"
# ## 把你自己的模型放进浏览器
#
# 这个探索器能运行任何小型解码器，包括你刚才训练了四十步的那个。把它的条形与课程模型的对比一下：多输入几个不同的开头。
# 领先的是哪些词元？远处的词起不起作用？
# %% name="explore-own" tags=["free"]
NextTokenExplorer(live, tokenizer, "Returns the number of")
# %% [markdown] lang="en" role="caption"
# The same explorer with the model of the live run: the tokens of a text, and its ten most probable next tokens as bars.
# %% [markdown] lang="zh" of="b89f424c"
# 同一个探索器，换成现场训练的模型：一段文本的各个词元，以及概率最大的十个下一词元的条形。
# %% [markdown] lang="en" name="own-page"
# And it fits into one file. The next cell writes `my-model.html`: your model, its tokenizer and the explorers in a page that opens from a
# disk, without network and without Python. Send it to a friend.
# %% [markdown] lang="zh" of="32233365"
# 整个模型还装得进一个文件。下一个单元格会写出 `my-model.html`：你的模型、分词器和各个探索器都在这一页里，
# 直接从磁盘打开就行，不需要联网，也不需要 Python。发给朋友试试。
# %% name="own-page-write" tags=["free"]
from llmguide_lib.widgets import export_page

page = export_page(live, tokenizer, "my-model.html", title="my-model", overwrite=True)
print(page.name, f"{page.stat().st_size / 1e6:.1f} MB")
# %% [markdown] lang="en" name="scaling"
# ## A scaling law, and a prediction that could fail
#
# Larger models predict better. A **scaling law** says *how much* better, and says it beforehand, from small ones: that is how large models are planned. We trained
# four sizes (39 to 326 thousand parameters, the embedding that is also the head included), three seeds each; every seed reads another million tokens, the same for all
# sizes. All share one learning rate, chosen on two of the sizes. Two laws are candidates:
#
# $$L(N) = A\,N^{-\alpha} \qquad\text{or, with a floor,}\qquad L(N) = E + A\,N^{-\alpha}$$
#
# $L$ is the loss, here in bits per byte; $N$ the number of parameters; $A$, $\alpha$ and $E$ are fitted. The first is a **power law**: with each
# doubling of $N$ the loss shrinks by the same factor, $2^{-\alpha}$. In the second only the part above the floor $E$ shrinks so.
#
# Both were fitted to the four sizes, and what they say about a fifth (751 thousand) was written to the record with an interval
# *before* it was trained (`benchmarks/scaling.py`; the file's history shows the order). Here you fit them again: once $\alpha$ is
# given, $L$ is linear in $N^{-\alpha}$, and fitting a straight line gives $E$ and $A$; so trying many $\alpha$ is all that is needed.
# %% [markdown] lang="zh" of="e577e033"
# ## 规模定律，以及一个可能落空的预言
#
# **规模定律**（scaling law，也译缩放定律）说的是：模型越大，预测越准。*准多少*，用小模型就能事先说出来，大模型正是这样规划的。我们训练了四种规模（3.9 万到 32.6 万个参数，含与输出头共用的词嵌入），
# 每种三个随机种子；每个种子读不同的一百万个词元，各种规模读的相同。大家共用一个学习率，是在其中两种规模上选定的。候选的定律有两个：
#
# $$L(N) = A\,N^{-\alpha} \qquad\text{或者带下限：}\qquad L(N) = E + A\,N^{-\alpha}$$
#
# $L$ 是损失，这里用每字节比特数；$N$ 是参数量；$A$、$\alpha$、$E$ 靠拟合得到。第一个是**幂律**：$N$ 每翻一倍，损失都变为原来的 $2^{-\alpha}$。
# 在第二个里，只有高出下限 $E$ 的那部分才这样缩小。
#
# 两个定律都用这四种规模拟合，它们对第五种规模（75.1 万个参数）的预言，连同区间，在训练*之前*就写进了记录（`benchmarks/scaling.py`；文件的历史能看出先后）。
# 现在你来重新拟合：$\alpha$ 一旦给定，$L$ 就是 $N^{-\alpha}$ 的线性函数，$E$ 和 $A$ 用直线拟合即可求出，所以只需多试一些 $\alpha$。
# %% [markdown] lang="en" name="guess-scaling" role="prediction"
# **Predict.** From the smallest to the largest of the four (8 times as many parameters) bits per byte fall from 2.25 to 1.92. Where will the fifth be, 2.3 times larger again?
# %% [markdown] lang="zh" of="7be7624c"
# **先预测。** 四种规模里，最大的参数量是最小的 8 倍，每字节比特数从 2.25 降到 1.92。第五种的参数量又是其中最大者的 2.3 倍，会降到多少？
# %% name="scaling-fit" tags=["measured"]
def final(size):
    """Parameters of a size, and bits per byte at the end of its three runs."""
    cells = [scaling["cells"][f"{size}, rate {scaling['rate']:g}, seed {seed}"] for seed in scaling["seeds"]]
    return cells[0]["parameters"], torch.tensor([cell["bits_per_byte"]["512"] for cell in cells], dtype=torch.float64)


def with_floor(sizes, bits, alphas):
    """E, A and alpha of E + A N^-alpha by least squares, E not negative, for each column of bits (sizes, R)."""
    fits, errors = [], []
    for alpha in alphas:
        columns = torch.stack([torch.ones_like(sizes), sizes**-alpha], dim=1)
        line = torch.linalg.lstsq(columns, bits).solution  # (2, R): E and A
        errors.append((columns @ line - bits).square().sum(dim=0).where(line[0] >= 0, torch.inf))
        fits.append(torch.stack([*line, torch.full_like(line[0], alpha)], dim=1))
    best = torch.stack(errors).argmin(dim=0)
    return torch.stack(fits)[best, torch.arange(bits.shape[1])].mT  # (3, R)


def power_law(sizes, bits):
    """A and alpha of A N^-alpha: a straight line between logarithms."""
    columns = torch.stack([torch.ones_like(sizes), -sizes.log()], dim=1)
    intercept, alpha = torch.linalg.lstsq(columns, bits.log()[:, None]).solution.flatten().tolist()
    return math.exp(intercept), alpha


*four, fifth = scaling["sizes"]
runs = torch.stack([final(size)[1] for size in scaling["sizes"]])  # (5, seeds)
means, outcome = runs[:4].mean(dim=1), runs[4].mean().item()
spread = (runs[:4].var(dim=1).mean() / runs.shape[1]).sqrt()  # of a mean of three runs
chance = spread * torch.randn(4, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
middle = torch.tensor([0.025, 0.975], dtype=torch.float64)
embeddings = [tokenizer.vocab_size * width for width, _ in scaling["sizes"].values()]
laws = {}  # by what N counts, and law: its values at the five sizes
print(f"outcome {outcome:.3f}; a mean of three runs is sure to {spread:.3f}")
for counts, less in (("all parameters", [0] * 5), ("without embedding", embeddings)):
    sizes = torch.tensor([float(final(size)[0] - off) for size, off in zip(scaling["sizes"], less, strict=True)]).double()
    drawn = means[:, None] + torch.cat([torch.zeros(4, 1).double(), chance], dim=1)  # the first: as measured
    floors, slopes, alphas = with_floor(sizes[:4], drawn, torch.arange(0.01, 2, 0.005).tolist())
    slope, alpha = power_law(sizes[:4], means)
    laws[counts, "with a floor"] = floors[0] + slopes[0] * sizes ** -alphas[0]
    laws[counts, "power law"] = slope * sizes**-alpha
    fitted = (f"{values[0]:.2f} [{values.quantile(middle[0]):.2f}, {values.quantile(middle[1]):.2f}]" for values in (floors, alphas))
    print(f"N counts {counts}: floor {next(fitted)}, exponent {next(fitted)}")
    for law in ("with a floor", "power law"):
        values = laws[counts, law]
        off = (values[:4] - means).abs().max()
        print(f"    {law:14} off by up to {off:.3f} on the four, predicts {values[4]:.3f} for the fifth")
told = scaling["prediction"]
for law in ("power law", "power law with a floor"):
    low, high = told[law]["interval"]
    print(f"written down before: {law:24} {told[law]['bits_per_byte']:.3f} [{low:.3f}, {high:.3f}]")
print("4 tokens counted, same million", counting["million, 4 tokens"]["bits_per_byte"])
# %% name="scaling-check"
pair = {"with a floor": "power law with a floor", "power law": "power law"}
for law, name in pair.items():  # the same fits as in the record
    assert abs(laws["all parameters", law][4] - told[name]["bits_per_byte"]) < 1e-3
low, high = told["power law with a floor"]["interval"]
assert low <= outcome <= high
for counts in ("all parameters", "without embedding"):
    near, far = (laws[counts, law] for law in ("with a floor", "power law"))
    assert abs(far[4] - outcome) > 3 * abs(near[4] - outcome)
    assert (far[:4] - means).abs().max() > 4 * spread > (near[:4] - means).abs().max()
number, rates = told["parameters"], scaling["cells"]
better = rates["32x2, rate 0.02, seed 0"]["bits_per_byte"]["512"] - rates["32x2, rate 0.04, seed 0"]["bits_per_byte"]["512"]
assert f"{better:.2f}" == "0.02" and scaling["rate"] == 0.02 and better > 2 * runs[:4].std(dim=1).mean()
assert f"{counting['million, 4 tokens']['bits_per_byte']:.2f}" == "1.72"
assert counting["million, 3 tokens"]["bits_per_byte"] < min(told["power law with a floor"]["E"], runs.min().item())
assert f"{means[0]:.2f} {means[-1]:.2f}" == "2.25 1.92" and round(number / 1000) == 751
# %% name="scaling-plot" tags=["free"]
at = torch.tensor([float(final(size)[0]) for size in scaling["sizes"]]).tolist()
figure = curves(
    {
        "measured": runs.mean(dim=1).tolist(),
        "with a floor": laws["all parameters", "with a floor"].tolist(),
        "power law": laws["all parameters", "power law"].tolist(),
    },
    at,
    xlabel="parameters",
    ylabel="bits per byte, held-out",
    log="x",
)
# %% [markdown] lang="en" role="caption"
# Bits per byte over the number of parameters, on a logarithmic axis: what was measured at five sizes, and the two laws fitted to the
# first four. The power law misses the four as well, and goes on falling; the one with a floor bends.
# %% [markdown] lang="zh" of="178cb83c"
# 每字节比特数与参数量（对数轴）：五种规模的测量值（measured），以及用前四种拟合的两个定律。幂律（power law）连前四个点也没对上，而且一路往下；
# 带下限的（with a floor）逐渐变平。
# %% [markdown] lang="en" name="scaling-read"
# The law with a floor passed: the mean of the three runs lies inside its interval, near the upper end; its
# prediction is nearer still if $N$ leaves the embedding out, as Kaplan et al. count. The plain power law promised far more than came, on either count. It
# could have been dismissed before: it misses even the *four* by several times what chance between seeds explains. Its interval knew nothing of that. **Such an
# interval says how sure the fit is if the law has the right form, never whether it has**; for that look at the *residuals*, what is left between each measured value and the fit. The
# exponent hangs on what $N$ counts: it describes these runs, it is no constant of nature.
#
# Why does the curve bend? That was *not* measured. $E$ is where this recipe would end: so many steps, one learning rate, a million tokens. It
# is no bound on what these tokens can teach.
# %% [markdown] lang="zh" of="eaef05e7"
# 带下限的定律过关了：三次训练的平均落在它的区间里，靠近上端；如果像 Kaplan 等人那样，$N$ 不算词嵌入，预言就更接近。
# 单纯的幂律预言的下降要大得多，无论 $N$ 怎么算都没有兑现。其实事先就能否定它：它连那*四个*点都对不上，偏差是随机种子所能解释的好几倍。
# 它的区间对此一无所知。**这样的区间说的是“假如定律的形式没错，拟合有多可靠”，从来不说形式对不对**；要知道形式对不对，得看*残差*，即每个测量值与拟合值之差。
# 指数随 $N$ 的算法而变：它描述的是这几次训练，不是自然常数。
#
# 曲线为什么会弯？这一点*没有*测过。$E$ 是这套训练方法（这么多步、一个学习率、一百万个词元）最终会停下的地方，
# 并不是这些词元所能教会的极限。
# %% [markdown] lang="en" name="scaling-bend" role="deeper"
# **No bound, and a rival cause.** A model that counts four tokens on the same million reaches 1.72 bits per byte, less than $E$ and less than all
# five networks, which read each token once: so these tokens can teach more. And the learning rate may bend the curve too: at the second size twice the rate would have been better by 0.02, more than
# the spread between seeds, and the first, third and fifth size were not tuned at all. To find out, one would let the tokens grow with the models and tune each size (chapter 17).
# %% [markdown] lang="zh" of="557ac7d9"
# **不是极限，另有嫌疑。** 在同样一百万个词元上按四个词元计数，就达到每字节 1.72 比特，比 $E$ 低，也比五个网络（每个词元只读一遍）都低：
# 可见这些词元能教的不止这些。曲线变弯，也可能是学习率的缘故：在第二种规模上，学习率加倍会好 0.02，超过种子之间的波动，而第一、第三和第五种规模根本没有调过。
# 要弄清楚，就得让词元跟着模型一起增加，并给每种规模单独调学习率（第 17 章）。
# %% [markdown] lang="en" name="transfer"
# ## Has it learned anything but betting?
#
# The guide says that such pretraining yields *general representations*: states, vectors, from which one can also read what was not trained for. A test: tell from a piece of
# documentation, names removed, which of four libraries it is from. The network is **frozen**; only a linear classifier on the mean of its final states learns, from few labels.
# Three rivals get the same labels: the same network *untrained*, the *embeddings* of the trained one without its layers, and
# a *bag of tokens* (which of them occur, no network at all).
# %% [markdown] lang="zh" of="6f21afbf"
# ## 除了押注，它还学到了什么
#
# 指南说，这样预训练能学到*通用的表示*：从这些状态（向量）里，也能读出训练时没有要求过的东西。来检验一下：给一段去掉了名字的文档，说出它来自四个库中的哪一个。网络**冻结**不动，
# 只在末层状态的平均值上学一个线性分类器，标注很少。三个对手用同样的标注：*没训练过*的同一个网络（untrained），
# 训练过但只取*词嵌入*、不经过各层的（embeddings），以及*词袋*（bag of tokens，只看出现了哪些词元，完全不用网络）。
# %% name="transfer-measure" tags=["measured"]
from llmguide_lib.evaluation import t_interval
from llmguide_lib.tasks import which_library

LIBRARIES = ("torch", "matplotlib", "sympy", "networkx")
pool, trial = which_library("train", LIBRARIES)[:320], which_library("test", LIBRARIES)[:240]
runtime.seed_everything(1)
untrained = recipe.model().eval()


@torch.no_grad()
def features(text):
    """By rival: a vector for a text, of its first 48 tokens."""
    ids = torch.tensor([tokenizer.encode(text)[:48]])
    bag = torch.zeros(tokenizer.vocab_size).index_fill(0, ids[0], 1.0)
    states = {"pretrained": gpt.hidden(ids)[0].mean(0), "untrained": untrained.hidden(ids)[0].mean(0)}
    return states | {"embeddings": gpt.token_embedding(ids)[0].mean(0), "bag of tokens": bag}


def stacked(examples):
    rows = [features(example.text) for example in examples]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def accuracy(train_x, train_y, test_x, test_y):
    """Of a linear classifier with a little weight decay, inputs standardised."""
    mean, spread = train_x.mean(0), train_x.std(0) + 1e-2
    weight = torch.zeros(train_x.shape[1], len(LIBRARIES), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=25)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy((train_x - mean) / spread @ weight, train_y) + 0.01 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return (((test_x - mean) / spread @ weight.detach()).argmax(-1) == test_y).double().mean().item()


inputs, tests = stacked(pool), stacked(trial)
labels, answers_wanted = (torch.tensor([LIBRARIES.index(e.label) for e in part]) for part in (pool, trial))
scores = {name: {} for name in inputs}
for num in (16, 64, 160):
    for draw in range(5):  # which examples are labelled
        rows = torch.randperm(len(pool), generator=torch.Generator().manual_seed(draw))[:num]
        for name in inputs:
            found = accuracy(inputs[name][rows], labels[rows], tests[name], answers_wanted)
            scores[name].setdefault(num, []).append(found)
print("accuracy (chance 25 %)", *(f"{num:>11} labels " for num in (16, 64, 160)))
for name, by_number in scores.items():
    intervals = [t_interval(torch.tensor(values)) for values in by_number.values()]
    print(f"{name:20}", *(f"{value:6.2f} [{low:.2f}, {high:.2f}]" for value, low, high in intervals))


def gain_over(name, num):
    """What the pretrained network is better by, with the same labels."""
    return t_interval(torch.tensor(scores["pretrained"][num]) - torch.tensor(scores[name][num]))


print("\npretrained better than, same labels")
for name in ("untrained", "embeddings", "bag of tokens"):
    print(f"{name:20}", *("{:6.2f} [{:5.2f}, {:.2f}]".format(*gain_over(name, num)) for num in (16, 64, 160)))
# %% name="transfer-check"
gain = {name: gain_over(name, 64) for name in scores}
mean = {name: sum(sum(values) / len(values) for values in by.values()) / 3 for name, by in scores.items()}
whole, by_embeddings = mean["pretrained"] - mean["bag of tokens"], mean["embeddings"] - mean["bag of tokens"]
assert gain["bag of tokens"].low > 0.02 and mean["pretrained"] > mean["untrained"] + 0.15
assert gain_over("embeddings", 160).low < 0.02  # what the layers add is hardly to be seen there
# %% name="transfer-verdict"
decide(
    "2.3a",
    {
        "better than the same network untrained": gain["untrained"].low > 0,
        "better than a bag of tokens": gain["bag of tokens"].low > 0,
    },
    limits={
        "embeddings without the layers give half of the gain or more": by_embeddings > whole / 2,
        "at 160 labels no gain over the embeddings is certain": gain_over("embeddings", 160).low <= 0,
    },
)
# %% [markdown] lang="en" claim="2.3a"
# **The guide's claim 2.3a**, CLM's part: pretraining by next tokens yields general representations. Nobody
# told the network about libraries, and yet its frozen states tell them apart from a few labels, far better than the untrained network's, and
# better than the tokens themselves. Had it been no better than either, the claim would have failed here. The limits: most of the gain lies in
# the embeddings already; the layers, which were trained to bet and not to sum a text up, add little, and nothing certain at 160 labels. It is *one*
# task, about topics, which is far from "general"; the intervals hold the draw of the labels only, and the labelled texts are ones that the
# network was trained on (those of the trial are not). (MLM's and NSP's part: chapter 5; side by side: chapter 8.)
# %% [markdown] lang="zh" of="656e777f"
# **指南的说法 2.3a**（CLM 部分）：靠预测下一个词元的预训练，能学到通用的表示。没人告诉过网络有哪些库，它冻结的状态却只凭少量标注就能把它们分开，
# 远胜没训练过的网络，也胜过词元本身。如果它并不比这两者好，这个说法在这里就不成立。局限：大半收益已经在词嵌入里了；各层是为押注而训练的，
# 不是为概括全文，它们添的东西不多，标注到 160 个时已经看不出确定的好处。这只是*一项*任务，看的是主题，离“通用”还很远；
# 区间只包含抽哪些标注带来的波动；而且有标注的文本是网络训练时读过的（用来测试的没有读过）。（MLM 和 NSP 的部分见第 5 章，放在一起比较见第 8 章。）
# %% [markdown] lang="en" name="suits"
# ## Does CLM suit generation better than MLM?
#
# The course has an encoder too, `bert-course`: as many parameters, as many steps, the same texts, trained to fill in hidden tokens. It
# can be made to write: put `<|mask|>` behind the text (eight of them, which serves it better than one), fill in the first, repeat. So ask both for *the next token* of held-out documents, after
# 64 tokens, at 256 places. And ask what it costs to go on: may anything be kept?
# %% [markdown] lang="zh" of="e1cd451a"
# ## 生成文本，CLM 比 MLM 更合适吗？
#
# 本课程还有一个编码器 `bert-course`：参数量、步数、文本都一样，训练的是填补被遮住的词元。也可以让它生成文本：在末尾放上 `<|mask|>`
# （放八个，比放一个对它更有利），填上第一个，再重复。
# 于是请两者都来猜没见过的文档里的*下一个词元*：前文 64 个词元，共 256 处。再看接着往下写的代价：算过的能不能留着用？
# %% name="suits-measure" tags=["measured"]
bert, bert_tokenizer = course.load("bert")
assert bert_tokenizer.fingerprint == tokenizer.fingerprint
test_row = torch.tensor([id for ids in test_texts for id in (0, *ids)])
asked = windows_of(test_row, 64, 256)
context, wanted = asked[:, :-1], asked[:, -1:]
masked = torch.cat([context, torch.full((len(context), 8), tokenizer.token_to_id("<|mask|>"))], dim=1)
with torch.no_grad():
    by_gpt = -gpt(context)[:, -1].log_softmax(-1).gather(-1, wanted).squeeze(-1)
    by_bert = -bert(masked)[:, context.shape[1]].log_softmax(-1).gather(-1, wanted).squeeze(-1)
    moved_gpt = (gpt.hidden(context)[:, :-1] - gpt.hidden(context[:, :-1])).abs().max().item()
    moved_bert = (bert.hidden(context)[:, :-1] - bert.hidden(context[:, :-1])).abs().max().item()
saved = bootstrap_mean(by_bert - by_gpt)
print(f"surprise at the next token: CLM {by_gpt.mean():.2f}, MLM {by_bert.mean():.2f} nats")
print(f"CLM's advantage {saved.value:.2f} [{saved.low:.2f}, {saved.high:.2f}]")
print(f"one more token moves earlier states: CLM by {moved_gpt:.0e}, MLM by {moved_bert:.1f}")
# %% name="suits-verdict"
assert saved.low > 0.2

decide(
    "3.1b",
    {
        "bets better on the next token than an MLM of its size": saved.low > 0,
        "what it computed can be kept": moved_gpt < 1e-3 and moved_bert > 0.1 and times_faster > 2,
        "a text has an exact probability": difference(loss, -torch.stack(one_by_one).log().mean()) == "< 1e-12",
    },
    limits={"the most probable text goes round in circles": repeats_of["greedy"].low > repeats_of["people"].high},
)
# %% [markdown] lang="en" claim="3.1b"
# **The guide's claim 3.1b**: CLM suits generation. Three things decide it. It is trained on the very question that writing asks, and so it
# answers it better than an equally large MLM, probably because that has rarely seen a text that ends where it must guess, and learned from the
# hidden tokens only, not from all (not separated here; the encoder's attention differs too, three of its five layers see only a few neighbours). Nothing computed must be computed again. And a text has one exact probability, by which it can be
# scored, compared and compressed. An MLM that bets as well, or a loss that is not the text's probability, would have decided otherwise. The
# limit was measured as well: being good at betting does not say how to choose. (Side by side on more tasks: chapter 8.)
# %% [markdown] lang="zh" of="c6359968"
# **指南的说法 3.1b**：CLM 适合生成。判据有三条。第一，它训练的正是写作时要回答的问题，所以比同样大的 MLM 答得更好：
# 原因多半是 MLM 很少见到要猜的地方正好是文末，而且只从被遮住的词元里学，不是从全部词元里学
# （这里没有把两者分开；编码器的注意力也不同，五层里有三层只看得到附近几个词元）。第二，算过的不必再算。
# 第三，每段文本有一个确切的概率，可以打分、比较、压缩。如果 MLM 押得一样准，或者损失并不等于文本的概率，结论就会相反。
# 局限也量出来了：善于押注，不等于知道该怎么选。（更多任务上的比较见第 8 章。）
# %% [markdown] lang="en" name="device"
# ## On your GPU, if there is one
#
# The same model on the best device at hand gives the same bets, up to rounding (of float32, or of TF32 where a GPU multiplies with that).
# %% [markdown] lang="zh" of="16801cee"
# ## 有 GPU 就用 GPU
#
# 同一个模型放到可用的最快设备上，押注相同，相差不超过舍入误差（float32 的；如果 GPU 用 TF32 做乘法，就是 TF32 的）。
# %% name="device-check" tags=["device"]
there = runtime.device()
with torch.no_grad():
    expected = gpt(context[:4])
    result = gpt.to(there)(context[:4].to(there)).cpu()
gpt.cpu()
assert (result - expected).abs().max() < 1e-2
# %% [markdown] lang="en" name="end"
# ## Back to the question
#
# How to score bets fairly: by minus the logarithm of what was put on the word that came. Only the true probabilities make it smallest. How
# to write a page by betting: choose, write down, bet again; the chain rule says that nothing is lost by going word by word. The choosing is a
# part of its own, and the most probable page is a bad one.
#
# **Limits.** In training every bet follows *true* tokens, in writing the model's own: its mistakes are texts that it was never trained
# on (exposure bias). Surprise measures fluency, not truth. Nothing can be taken back once written. And the law above is one
# of four tiny sizes and a fixed number of tokens; that models and data have to grow together is chapter 17's.
#
# **Sources.** [Radford et al. 2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)
# (GPT-2); [Holtzman et al. 2020](https://arxiv.org/abs/1904.09751) (top-p, and why likely text is dull);
# [Fan et al. 2018](https://arxiv.org/abs/1805.04833) (top-k); [Nguyen et al. 2024](https://arxiv.org/abs/2407.01082) (min-p);
# [Keskar et al. 2019](https://arxiv.org/abs/1909.05858) (repetition penalty);
# [Kaplan et al. 2020](https://arxiv.org/abs/2001.08361) and [Hoffmann et al. 2022](https://arxiv.org/abs/2203.15556) (scaling laws);
# [Bengio et al. 2015](https://arxiv.org/abs/1506.03099) (training on true tokens only);
# [Williams and Zipser 1989](https://doi.org/10.1162/neco.1989.1.2.270) (teacher forcing);
# [Shannon 1948](https://doi.org/10.1002/j.1538-7305.1948.tb01338.x) (entropy);
# [Chen and Goodman 1999](https://doi.org/10.1006/csla.1999.0128) (Kneser-Ney);
# [nostalgebraist 2020](https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens) (logit lens).
#
# **Next:** [the exercises of this chapter](exercises.en.ipynb).
# %% [markdown] lang="zh" of="cf046f21"
# ## 回到开头的问题
#
# 怎样公平地给押注打分？看押在真正出现的词上的概率，取对数再变号。只有说出真实的概率，这个分数才最小。
# 怎样靠押注写出一页文字？选一个，写下来，再押；链式法则保证，一个词一个词地来，什么也没丢。怎样选则是另一回事，概率最大的一页并不是好的一页。
#
# **局限。** 训练时，每次押注之前都是*真正的*前文，写作时却是模型自己写的：它出了错，就进入了从没训练过的处境（暴露偏差）。
# 意外程度衡量的是流畅，不是真实。写下的不能收回。上面的定律只来自四种极小的规模和固定的词元数；模型和数据要一起增长，见第 17 章。
#
# **文献。** [Radford 等人（2019）](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)（GPT-2）；
# [Holtzman 等人（2020）](https://arxiv.org/abs/1904.09751)（top-p，以及概率大的文本为什么乏味）；[Fan 等人（2018）](https://arxiv.org/abs/1805.04833)（top-k）；
# [Nguyen 等人（2024）](https://arxiv.org/abs/2407.01082)（min-p）；[Keskar 等人（2019）](https://arxiv.org/abs/1909.05858)（重复惩罚）；
# [Kaplan 等人（2020）](https://arxiv.org/abs/2001.08361)、[Hoffmann 等人（2022）](https://arxiv.org/abs/2203.15556)（规模定律）；
# [Bengio 等人（2015）](https://arxiv.org/abs/1506.03099)（只在真实前文上训练的问题）；
# [Williams、Zipser（1989）](https://doi.org/10.1162/neco.1989.1.2.270)（教师强制）；
# [Shannon（1948）](https://doi.org/10.1002/j.1538-7305.1948.tb01338.x)（熵）；
# [Chen、Goodman（1999）](https://doi.org/10.1006/csla.1999.0128)（Kneser-Ney）；
# [nostalgebraist（2020）](https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens)（logit 透镜）。
#
# **接下来：** 做[这一章的练习](exercises.zh.ipynb)。
