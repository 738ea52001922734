# %% [markdown] lang="en" name="question"
# ## A question you cannot answer yet
#
# Cover one word of a sentence with your thumb:
#
# > *Returns the* ▁▁▁ *of elements in the list.*
#
# You can fill the hole, and nobody had to label anything for you: the answer lay under your thumb. Every text is its own
# exam, with the key included. There are trillions of words of such exams, for nothing.
#
# So let a network read a text and say every word of it. The loss falls to zero within minutes, and the network has learned
# nothing at all. What is wrong with that exam, how must it be set, and what does a network know that has passed it?
# %% [markdown] lang="zh" of="46d483d0"
# ## 一个你现在还答不出的问题
#
# 用拇指盖住句子里的一个词：
#
# > *Returns the* ▁▁▁ *of elements in the list.*
# >
# > （返回列表中元素的▁▁▁。）
#
# 你填得出这个空，而且不需要任何人替你做标注：答案就在拇指底下。每一段文字都是一张自带答案的考卷，这样的考卷有上万亿词，不花一分钱。
#
# 那么，让网络读一段文字，再把每个词都说出来，行不行？几分钟之内损失就会降到零，而网络什么也没学会。
# 这张考卷错在哪里？应该怎样出题？通过了考试的网络，又到底懂得了什么？
# %% [markdown] lang="en" name="guess-cheat" role="prediction"
# **Write down your guess.** Why does "read everything, say everything" teach nothing? And once some words are hidden: how
# many should it be, one in a hundred, one in seven, or half of them? What speaks for few, what for many?
# %% [markdown] lang="zh" of="7bf42610"
# **先写下你的猜测。** “全部读进来，全部说出去”为什么什么也教不会？如果要盖住一些词，该盖多少：百分之一、七分之一，还是一半？
# 盖得少有什么好处，盖得多又有什么好处？
# %% name="imports"
import dataclasses
import importlib.util
import math
import re
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from llmguide_lib.notebook import decide, difference, recorded, show

torch.set_default_dtype(torch.float64)
# %% [markdown] lang="en" name="idea"
# ## Hide, then ask
#
# If the word is among what the network reads, the shortest way to the right answer is to copy it, and a network takes the
# shortest way. So the word must go, and what remains must be enough to guess it: the words to its left *and* to its right.
# That is a **masked language model** (MLM): choose some of the tokens, put a special token `[MASK]` in their place, and ask
# for what stood there.
#
# A causal language model (CLM, chapter 6) hides the whole future instead and sees only what is to the left. What both sides are
# good for, you have just felt: after "Returns the" hundreds of words are possible, before "of elements" hardly a handful.
# %% [markdown] lang="zh" of="de53d430"
# ## 先盖住，再提问
#
# 如果要猜的词就在网络读到的内容里，得到正确答案的最短路径就是抄，而网络总是走最短的路。所以这个词必须拿掉，
# 而剩下的内容，也就是它左边*和*右边的词，又要足以猜出它。这就是**遮蔽语言模型**（masked language model，MLM）：
# 选出一部分词元，换成特殊词元 `[MASK]`，再问原来是什么。
#
# 因果语言模型（CLM，第 6 章）的做法不同：它把后面的内容全部盖住，只看左边。能看两边有什么好处，你刚才已经体会到了：
# “Returns the”后面可以接几百个词，再看到后面的“of elements”，就只剩下几个了。
# %% [markdown] lang="en" name="equation"
# ## The loss, derived
#
# We want a network that knows, for every place $t$ of a text $x$, how probable each token is given all the others:
# $p(x_t \mid x_{\setminus t})$. Maximum likelihood says: make the tokens that stand there as probable as possible. Taken
# literally, that costs $T$ passes through the network for a text of $T$ tokens, one for every hole (the product of these
# probabilities is called pseudo-likelihood; it is not the probability of the text). The masked language model makes many
# holes at once and takes one pass for all of them. It thereby learns something else: a token given a text with *several*
# holes, $p(x_t \mid \tilde x)$, which is another conditional probability, and a harder question:
#
# $$\mathcal{L}(\theta) = -\frac{1}{|M|} \sum_{t \in M} \log p_\theta(x_t \mid \tilde x), \qquad p_\theta(v \mid \tilde x)_t = \frac{e^{z_{tv}}}{\sum_u e^{z_{tu}}}$$
#
# | symbol | what it is | shape | in code |
# |---|---|---|---|
# | $x$ | the tokens as they were written | $B \times T$ | `tokens` |
# | $M$ | the places that are asked for, each chosen with probability $r$ | | `targets != -100` |
# | $\tilde x$ | what the network reads: $x$ with the places in $M$ hidden | $B \times T$ | `batch.tokens` |
# | $z$ | the scores (logits) that the network gives to every token of the vocabulary, at each place | $B \times T \times V$ | `logits` |
# | $x_t,\ t \in M$ | the right answers; elsewhere nothing is asked | $B \times T$ | `targets`, $-100$ elsewhere |
#
# Two things follow at once, and the whole chapter lives on them.
#
# 1. **Where nothing is asked, no score is corrected.** The derivative of the loss with respect to $z_{tv}$ is
#    $\big(p_\theta(v \mid \tilde x)_t - [v = x_t]\big) / |M|$ for $t \in M$, and zero at every other place. Here $[v = x_t]$ is 1
#    for the right token and 0 for every other one; the division by $|M|$ comes from the mean. (The states of
#    those other places still matter: others read them through attention.)
# 2. **There are plateaus.** A network that ignores what it reads can do no better than always give each token its
#    frequency $f_v$; then the loss is the **entropy** $H = -\sum_v f_v \log f_v$: token $v$ costs $-\log f_v$, and that happens
#    in the share $f_v$ of all cases. One that looks only at what it reads *at the
#    place that is asked* can get down to the **conditional entropy** $H(x_t \mid \tilde x_t)$, what the answer still costs on average
#    when one knows what is read there. If that is always
#    `[MASK]`, nothing is known, and it is again $H$. To get further down, context must be used.
#
# All logarithms here are natural ones; the unit of such a loss is the **nat**.
# %% [markdown] lang="zh" of="c1a9f646"
# ## 推导损失函数
#
# 我们希望网络对文本 $x$ 的每个位置 $t$ 都知道：在给定其余所有词元时，每个词元有多大概率出现，也就是 $p(x_t \mid x_{\setminus t})$。
# 按照最大似然，应当让实际出现的词元概率尽量大。照字面去做，一段有 $T$ 个词元的文本要算 $T$ 遍网络，每个空一遍
# （这些概率的乘积叫作伪似然，它并不是文本的概率）。遮蔽语言模型一次挖很多个空，只算一遍。这样学到的其实是另一个条件概率：
# 在文本有*好几个*空的条件下猜一个词元，也就是 $p(x_t \mid \tilde x)$，问题更难：
#
# $$\mathcal{L}(\theta) = -\frac{1}{|M|} \sum_{t \in M} \log p_\theta(x_t \mid \tilde x), \qquad p_\theta(v \mid \tilde x)_t = \frac{e^{z_{tv}}}{\sum_u e^{z_{tu}}}$$
#
# | 符号 | 含义 | 形状 | 代码里 |
# |---|---|---|---|
# | $x$ | 原来的词元 | $B \times T$ | `tokens` |
# | $M$ | 要提问的位置，每个位置以概率 $r$ 被选中 | | `targets != -100` |
# | $\tilde x$ | 网络读到的内容：$M$ 中的位置被盖住之后的 $x$ | $B \times T$ | `batch.tokens` |
# | $z$ | 网络在每个位置给词表中每个词元打的分数（logits） | $B \times T \times V$ | `logits` |
# | $x_t,\ t \in M$ | 正确答案；其他位置不提问 | $B \times T$ | `targets`，其他位置是 $-100$ |
#
# 由此马上得到两个结论，整章都离不开它们。
#
# 1. **没有提问的地方，分数就得不到纠正。** 对 $t \in M$，损失对 $z_{tv}$ 的导数是
#    $\big(p_\theta(v \mid \tilde x)_t - [v = x_t]\big) / |M|$，其中 $[v = x_t]$ 对正确的词元是 1，对其他词元是 0；除以 $|M|$，是因为损失取的是平均。
#    在其他所有位置，导数都是零。（那些位置的状态仍然有用：别的位置通过注意力读它们。）
# 2. **存在平台。** 如果网络不理会读到的内容，最好的办法就是永远给每个词元它的频率 $f_v$，这时损失等于**熵**
#    $H = -\sum_v f_v \log f_v$：答案是词元 $v$ 时，代价是 $-\log f_v$，而这种情况占 $f_v$。如果只看*被提问的那个位置*上读到的词元，
#    损失最低能降到**条件熵** $H(x_t \mid \tilde x_t)$，也就是知道那里读到什么之后，答案平均还要付出的代价。
#    如果那里读到的永远是 `[MASK]`，等于什么也不知道，条件熵就等于 $H$。想再往下降，就必须利用上下文。
#
# 本章的对数都是自然对数，这样算出的损失以**奈特**（nat）为单位。
# %% [markdown] lang="en" name="by-hand"
# ## By hand, once
#
# A vocabulary of four tokens, a text of three, two of which are asked for. The network's probabilities:
#
# | place | read | right answer | $p$ of the four tokens | $-\log p$ of the answer |
# |---|---|---|---|---|
# | 1 | `[MASK]` | token 2 | $0.1,\ 0.1,\ 0.5,\ 0.3$ | $-\log 0.5 = 0.693$ |
# | 2 | token 3 | (not asked) | $0.1,\ 0.1,\ 0.1,\ 0.7$ | counts for nothing |
# | 3 | `[MASK]` | token 0 | $0.25,\ 0.25,\ 0.25,\ 0.25$ | $-\log 0.25 = 1.386$ |
#
# The loss is the mean over the two places that are asked, $(0.693 + 1.386) / 2 = 1.040$, not over all three. By machine, with
# $-100$ as PyTorch's sign for "do not ask here". The gradient must be what the first conclusion above says: for the right token of
# place 1, $(0.5 - 1) / 2 = -0.25$, for a wrong one $0.1 / 2 = 0.05$, and in the row of place 2 nothing but zeros.
# %% [markdown] lang="zh" of="ec0ebe5d"
# ## 亲手算一次
#
# 词表里有四个词元，文本有三个词元，其中两个要提问。网络给出的概率如下：
#
# | 位置 | 读到的 | 正确答案 | 四个词元的 $p$ | 答案的 $-\log p$ |
# |---|---|---|---|---|
# | 1 | `[MASK]` | 词元 2 | $0.1,\ 0.1,\ 0.5,\ 0.3$ | $-\log 0.5 = 0.693$ |
# | 2 | 词元 3 | （不提问） | $0.1,\ 0.1,\ 0.1,\ 0.7$ | 不计入 |
# | 3 | `[MASK]` | 词元 0 | $0.25,\ 0.25,\ 0.25,\ 0.25$ | $-\log 0.25 = 1.386$ |
#
# 损失是两个被提问位置的平均，$(0.693 + 1.386) / 2 = 1.040$，而不是三个位置的平均。让机器再算一遍；
# PyTorch 用 $-100$ 表示“这里不提问”。梯度应当和上面的第一个结论一致：位置 1 的正确词元是 $(0.5 - 1) / 2 = -0.25$，
# 一个错误的词元是 $0.1 / 2 = 0.05$，位置 2 那一行全是零。
# %% name="by-machine"
probabilities = torch.tensor([[0.1, 0.1, 0.5, 0.3], [0.1, 0.1, 0.1, 0.7], [0.25, 0.25, 0.25, 0.25]])
logits = probabilities.log().requires_grad_()
targets = torch.tensor([2, -100, 0])

loss = F.cross_entropy(logits, targets)  # ignore_index=-100 is the default
loss.backward()
show(loss=loss.item(), gradient=logits.grad)
# %% [markdown] lang="en" name="rule"
# ## The 80/10/10 rule
#
# There is a catch. In use nobody writes `[MASK]`: whoever wants a vector for each word of a sentence, or finetunes the
# network (trains it further, for a task of its own) to sort texts, feeds whole sentences. A network that was asked only under masks could give up on the words it can
# see; no loss ever asked for them. BERT's answer: of the chosen tokens
#
# - 80 % become `[MASK]`,
# - 10 % become a random token,
# - 10 % stay what they are,
#
# and all of them are asked for. So at *any* place the network must be ready to be asked, and it can never be sure that what
# it reads there is right. In code: one number decides, for every token, whether it is chosen and what becomes of it.
# %% [markdown] lang="zh" of="8790ff98"
# ## 80/10/10 规则
#
# 这里有个问题。实际使用时，没有人会写 `[MASK]`：想得到句子里每个词的向量，或者微调网络（为某个具体任务接着训练）去给文本分类，输入的都是完整的句子。
# 如果只在 `[MASK]` 的位置提过问，网络完全可以放弃那些看得见的词，因为损失从来没有问过它们。BERT 的办法是，在选中的词元里：
#
# - 80 % 换成 `[MASK]`；
# - 10 % 换成一个随机词元；
# - 10 % 保持原样；
#
# 而且全部都要提问。这样一来，网络在*任何*位置都要准备好被提问，又永远不能确信读到的就是对的。
# 写成代码：对每个词元，一个随机数既决定它是否被选中，也决定选中之后怎么处理它。
# %% name="rule-code"
MASK, ORDINARY = 1, 5  # the mask's id; ids from 0 to 4 belong to no text (end of text, mask, filling, ...)


def hide(tokens, rate, vocab_size, generator):
    """What the network reads, and what it is asked: -100 where it is not."""
    draw = torch.rand(tokens.shape, generator=generator, dtype=torch.float32)  # below the rate: chosen
    others = torch.randint(vocab_size, tokens.shape, generator=generator)
    chosen = (draw < rate) & (tokens >= ORDINARY)
    fate = draw / rate  # of a chosen token: uniform between 0 and 1
    read = tokens.clone()
    read[chosen & (fate < 0.8)] = MASK
    swapped = chosen & (fate >= 0.8) & (fate < 0.9)
    read[swapped] = others[swapped]
    return read, tokens.where(chosen, torch.tensor(-100))


def counting_text(*shape, seed=0):
    """Made-up tokens of a vocabulary of 100; every eighth one is an end of text."""
    tokens = torch.randint(ORDINARY, 100, shape, generator=torch.Generator().manual_seed(seed))
    tokens[:, ::8] = 0
    return tokens


tokens = counting_text(400, 256)
read, targets = hide(tokens, 0.15, 100, torch.Generator().manual_seed(1))
chosen = targets != -100
show(chosen=chosen.double().sum().item() / (tokens >= ORDINARY).double().sum().item())
unchanged = (read == tokens)[chosen].double().mean().item()
show(masked=(read == MASK)[chosen].double().mean(), unchanged=unchanged)
show(ends_of_text_chosen=int(chosen[:, ::8].sum()), changed_elsewhere=int((read != tokens)[~chosen].sum()))
assert abs(unchanged - 0.101) < 0.01  # four standard deviations
# %% [markdown] lang="en" name="rule-read"
# *Unchanged* should be a little above a tenth, 0.101: one random token in a hundred happens to be the old one. This draw lies
# a little below, at 0.097; with 13,000 chosen tokens the share scatters by about 0.005. Is the code right? With the
# same random numbers the library's `Masking`, which later chapters use, must give the very same tokens. And its loss runs the
# network's last and widest layer, the one with a row for each token of the vocabulary, only where something is asked: it must
# not make a difference, and at a rate of 15 % it saves most of that layer.
# %% [markdown] lang="zh" of="00b45d88"
# “unchanged”应当略高于十分之一，是 0.101：一百个随机词元里，大约有一个碰巧就是原来那个。这一次抽到的是 0.097，略低一点；
# 选中的词元有一万三千个，这个比例上下波动约 0.005。代码对不对？
# 用同样的随机数，本书库里的 `Masking`（后面各章都用它）应当给出完全相同的词元。
# 另外，库里的损失只在被提问的位置才计算网络最后、也是最宽的那一层（词表里每个词元占一行）：结果不该有任何差别，
# 而在 15 % 的比例下，这一层的计算大部分都省掉了。
# %% name="rule-check"
from llmguide_lib.models import BERT, BERTConfig
from llmguide_lib.objectives import Batch, Masking, masked_cross_entropy

rule = Masking(0.15, MASK, 100, special=tuple(range(ORDINARY)))
batch = rule(tokens, torch.Generator().manual_seed(1))
show(read=difference(read, batch.tokens), targets=difference(targets, batch.targets))

torch.manual_seed(0)
small = BERT(BERTConfig(vocab_size=100, max_seq_len=16, d_model=8, num_heads=2, num_layers=2)).double().eval()
part = Batch(batch.tokens[:4, :16], batch.targets[:4, :16])
whole = F.cross_entropy(small(part.tokens).flatten(0, 1), part.targets.flatten(), reduction="sum")
show(loss=difference(whole, masked_cross_entropy(small, part)))
assert torch.equal(read, batch.tokens) and torch.equal(targets, batch.targets)
# %% [markdown] lang="en" name="bert"
# ## BERT, and nothing but a Transformer
#
# The network that made this exam famous is BERT (2018). Each token becomes the sum of three learned vectors: one for the
# token, one for its position, one for the sentence it belongs to (A or B; for the second exam below). The sum is normalised
# and passes through $L$ encoder blocks of chapter 4 with the norm *after* each sublayer and *no* causal mask, so that every
# place sees both sides. On top stands a small head that turns the state of a place into $V$ scores;
# for the second exam there is another one, which reads the first token's state through a layer called the *pooler*.
#
# The guide says that BERT is built on the Transformer (claim 2.2d). Whether anything else is in it can be tested: take
# PyTorch's own stack of encoder layers, give it our BERT's weights, and compare. That our BERT is *the* BERT is a second
# question: Hugging Face's implementation, which runs the released weights, must give the same answers for the same weights.
# Its answers were recorded (`python benchmarks/bert_reference.py`); where its library is installed, it is asked again. And the size that everybody quotes
# for the released model, 110 million parameters, must come out of our class at its published sizes, with not one parameter
# that belongs to neither embeddings nor blocks nor heads.
# %% [markdown] lang="zh" of="f89a4a8b"
# ## BERT：除了 Transformer，别无他物
#
# 让这种考试出名的网络是 BERT（2018）。每个词元先变成三个可学习的向量之和：一个对应词元，一个对应位置，一个对应它属于哪个句子
# （A 还是 B，用于后面的第二种考试）。三个向量相加，结果先做归一化，再依次通过 $L$ 个第 4 章的编码器块；归一化放在每个子层*之后*，
# *没有*因果掩码，所以每个位置都能看到两边。最上面是一个小小的输出头，把一个位置的状态变成 $V$ 个分数；
# 第二种考试另有一个输出头，它先让第一个词元的状态经过一个叫 *pooler* 的层，再作判断。
#
# 指南说，BERT 建立在 Transformer 之上（说法 2.2d）。里面有没有别的东西，可以检验：拿 PyTorch 自带的编码器层堆起来，装上我们的 BERT 的权重，
# 看结果是否一致。我们的 BERT 是不是大家说的那个 BERT，是另一个问题：Hugging Face 的实现能运行官方公布的权重，权重相同时，答案必须相同。
# 它的答案事先录了下来（`python benchmarks/bert_reference.py`）；装了他们的库，就当场再问一遍。人们常说的“1.1 亿参数”，也应当能用我们的类按公布的尺寸数出来，
# 而且没有哪个参数落在词嵌入、编码器块和输出头之外。
# %% name="bert-check"
from llmguide_lib.models.bert import BERT_SIZES


def torch_encoder(bert):
    """PyTorch's encoder layers with the weights of our blocks."""
    config = bert.config
    layer = nn.TransformerEncoderLayer(
        config.d_model, config.num_heads, 4 * config.d_model, 0.0, "gelu", config.norm_eps, batch_first=True
    )
    stack = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)
    for theirs, ours in zip(stack.layers, bert.blocks, strict=True):
        projections = (ours.attention.q_proj, ours.attention.k_proj, ours.attention.v_proj)
        theirs.self_attn.in_proj_weight.data = torch.cat([one.weight.data for one in projections])
        theirs.self_attn.in_proj_bias.data = torch.cat([one.bias.data for one in projections])
        theirs.self_attn.out_proj.load_state_dict(ours.attention.out_proj.state_dict())
        theirs.linear1.load_state_dict(ours.feed_forward.up_proj.state_dict())
        theirs.linear2.load_state_dict(ours.feed_forward.down_proj.state_dict())
        theirs.norm1.load_state_dict(ours.norm1.state_dict())
        theirs.norm2.load_state_dict(ours.norm2.state_dict())
    return stack.eval()


ids = part.tokens
real = torch.arange(16) < torch.tensor([[16], [9], [3], [12]])  # four texts of different lengths
summed = small.token_embedding(ids) + small.position_embedding(torch.arange(16)) + small.segment_embedding(0 * ids)
with torch.no_grad():
    by_torch = torch_encoder(small)(small.embedding_norm(summed), src_key_padding_mask=~real)
    ours = small.hidden(ids, real)
by_parts = difference(by_torch[real], ours[real], tolerance=1e-9)
show(torch=by_parts)

reference = recorded("bert-reference")  # what Hugging Face's BERT answered for weights that follow from a rule
same_weights = BERT(BERTConfig(**reference["config"])).double().eval()
for seed, (_, weight) in enumerate(sorted(same_weights.named_parameters())):
    weight.data = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
sentences = torch.tensor([reference["tokens"]]), None, torch.tensor([reference["segments"]])
by_hugging_face = [
    difference(getattr(same_weights, ask)(*sentences)[0], torch.tensor(reference[answer]), tolerance=1e-9)
    for ask, answer in (("forward", "hidden_tokens"), ("next_sentence", "next_sentence"))
]
show(hugging_face=by_hugging_face)

with torch.device("meta"):  # counts without memory
    base = BERT(BERT_SIZES["bert-base-uncased"])
blocks = sum(p.numel() for p in base.blocks.parameters())
body = blocks + sum(p.numel() for n, p in base.named_parameters() if "embedding" in n or n.startswith("pooler"))
PARTS = re.compile(r"(token|position|segment)_embedding|embedding_norm|blocks|pooler|mlm_transform|lm_head|nsp_head")
elsewhere = [name for name, _ in base.named_parameters() if not PARTS.match(name)]
show(millions=body / 1e6, in_blocks=blocks / body, parameters_elsewhere=len(elsewhere))
# %% name="bert-hf" tags=["free"]
if importlib.util.find_spec("transformers"):
    from llmguide_lib.huggingface import to_hf

    theirs = to_hf(small)
    with torch.no_grad():
        output = theirs(input_ids=ids, attention_mask=real.long()).prediction_logits
        same = difference(output[real], small(ids, real)[real], tolerance=1e-9)
    assert same == "< 1e-09"
    print("Hugging Face's BERT gives the same scores:", same)
else:
    print("transformers is not installed here; `pip install 'llmguide-lib[hub]'` adds this comparison.")
# %% name="bert-claim"
decide(
    "2.2d",
    {
        "between embeddings and heads, our BERT is PyTorch's encoder layers": by_parts == "< 1e-09",
        "our BERT answers as Hugging Face's does": by_hugging_face == ["< 1e-09"] * 2,
        "no parameter lies outside embeddings, blocks, pooler and heads": not elsewhere,
        "at its published sizes it has the published 110M parameters": round(body / 1e6) in (109, 110),
    },
)
# %% [markdown] lang="en" name="bert-verdict" claim="2.2d"
# **Claim 2.2d, its part for BERT.** The guide says that BERT is built on the Transformer. It is: between the embeddings and the
# heads our BERT *is* a stack of Transformer encoder layers, since with its weights PyTorch's own layers compute the same states,
# padding included; and ours answers as Hugging Face's does. Had a state differed by more than rounding, had a parameter lain elsewhere, or
# had the count missed the published size, there would be something in BERT that the claim leaves out. GPT follows in chapter 6,
# XLNet in chapter 8. The book's own encoder is the newer ModernBERT: the same idea, with newer parts (next section).
# %% [markdown] lang="zh" of="1f8a1c63"
# **指南的说法 2.2d**（BERT 部分）：BERT 建立在 Transformer 之上。成立：在词嵌入和输出头之间，我们的 BERT *就是*一叠 Transformer 编码器层，
# 装上它的权重，PyTorch 自带的层算出同样的状态，带填充时也一样；它的答案也和 Hugging Face 的相同。
# 假如有哪个状态的差别超出舍入误差，有哪个参数落在别处，或者参数量与公布的对不上，就说明 BERT 里还有这个说法没有提到的东西。
# GPT 见第 6 章，XLNet 见第 8 章。本书自己的编码器是更新的 ModernBERT：想法相同，部件换成了新的（见下一节）。
# %% [markdown] lang="en" name="live"
# ## Fifty steps before your eyes
#
# Now for real. The text is the documentation of fifteen Python libraries, cut into windows of 256 tokens; the network is a
# ModernBERT of 2.9 million parameters, that is BERT's idea with newer parts: norms before the sublayers, rotary positions, and
# *local* layers, three of the five, in which a token sees only four tokens on each side. Each step reads 16 windows, hides 30 % of
# their tokens and asks for them. The recipe is the one by which the book's encoder came about in 4,500 steps, from the same seed.
# Your fifty steps are the first fifty of that run, with one difference: the learning rate stays constant after its warm-up, where
# the long run lowers it slowly.
# %% [markdown] lang="zh" of="7282d7c7"
# ## 亲眼看五十步
#
# 现在动真格的。文本是十五个 Python 库的文档，切成每段 256 个词元；网络是 290 万参数的 ModernBERT，
# 思路和 BERT 一样，部件换成了较新的：归一化放在子层之前，位置用旋转位置编码，五层里还有三层是*局部层*，一个词元在那里只看得到左右各四个词元。
# 每一步读 16 段，盖住其中 30 % 的词元来提问。本书的编码器就是按这个方案训练了 4500 步得来的，随机种子也相同。
# 你的五十步就是那次训练的前五十步，只有一处不同：这里的学习率在预热之后保持不变，那次则慢慢下降。
# %% name="corpus" tags=["free"]
from llmguide_lib import course
from llmguide_lib.corpora import coverage, documentation
from llmguide_lib.corpora.storage import token_row

torch.set_default_dtype(torch.float32)
trained, tokenizer = course.load("bert")
documents = {split: documentation(split) for split in ("train", "test")}
rows = {split: token_row([document.text for document in documents[split]], tokenizer) for split in documents}
VOCAB = tokenizer.vocab_size
print(coverage().sentence())
print(f"{len(rows['train']):,} tokens to learn from, {len(rows['test']):,} held out, a vocabulary of {VOCAB}")
# %% [markdown] lang="en" name="guess-live" role="prediction"
# **Predict.** With all $V = 2048$ tokens equally probable, the loss is $\log 2048 = 7.6$. Where will it be after fifty steps,
# when the network has been asked sixty thousand questions? And *what* will it answer then when you show it
# "Returns the `[MASK]` of elements in the list."?
# %% [markdown] lang="zh" of="275edda8"
# **先预测。** 如果 $V = 2048$ 个词元的概率全都一样，损失是 $\log 2048 = 7.6$。五十步之后，网络已经回答了六万个问题，那时损失会是多少？
# 再给它看“Returns the `[MASK]` of elements in the list.”，它会回答*什么*？
# %% name="live-train" tags=["free"]
from llmguide_lib import runtime
from llmguide_lib.runs.recipes import RECIPES
from llmguide_lib.training import Constant, train

recipe = RECIPES["bert-course"]
config = dataclasses.replace(
    recipe.config,
    steps=50,
    schedule=Constant(warmup_steps=20),  # the long run's cosine has hardly begun to fall after 50 of its 4,500 steps
    eval_every=None,
    save_every=None,
)
runtime.seed_everything(config.seed)
fresh = recipe.model()
records = train(fresh, recipe.batches(rows["train"]), config, loss=recipe.loss)
# %% [markdown] lang="en" role="caption"
# The loss of your run, in nats, averaged over the tokens that are asked for; each point is the mean of ten steps.
# %% [markdown] lang="zh" of="94f8acb2"
# 你这次训练的损失：平均到每个被提问的词元，单位是 nat；每个点是十步的平均。
# %% name="live-plot" tags=["free"]
from llmguide_lib.plots import curves

long_run = recorded("bert-course")
points = [row for row in long_run["curve"] if "loss" in row]
counts = torch.bincount(rows["train"].long(), minlength=VOCAB).double()
counts[:ORDINARY] = 0  # what belongs to no text is never asked for
frequency = counts / counts.sum()


def own_place(masked, swapped):
    """H(x_t | read there): the loss of a network that looks at nothing but the place that is asked."""
    kept = (1 - masked - swapped) * frequency.diag()  # (V, V): what stood there, what is read there
    joint = swapped * frequency[:, None].expand(VOCAB, VOCAB) / VOCAB + kept
    entropy = -(frequency * frequency.log()).nansum()  # behind [MASK] nothing is known but the frequencies
    return (masked * entropy - (joint * (joint / joint.sum(dim=0)).log()).nansum()).item()


levels = {
    "all tokens equal": math.log(VOCAB),
    "frequencies known": own_place(1.0, 0.0),
    "own place known": own_place(0.8, 0.1),
}

steps, losses = records.curve("loss")
figure = curves(
    {"the long run": [row["loss"] for row in points], "your run": losses},
    {"the long run": [row["step"] for row in points], "your run": steps},
    xlabel="step",
    ylabel="loss",
    levels=levels,
    log="x",
)
# %% [markdown] lang="en" role="caption"
# Your run inside the long one, the steps on a logarithmic axis. Yours ends where the recorded points begin, between two lines:
# what the frequencies of the tokens are worth, and what can be had at most without looking at any other place. Nearly
# everything that can be learned lies to the right.
# %% [markdown] lang="zh" of="033670ed"
# 把你这次训练的曲线叠在完整训练的曲线上，步数用对数坐标。你的曲线结束的地方，正是有记录的点开始的地方，夹在两条线之间：
# 一条是只知道词元频率时的损失（frequencies known），一条是完全不看其他位置时最低能达到的损失（own place known）。能学的东西几乎都还在右边。
# %% name="live-check" tags=["measured"]
def answers(model, sentence, number=5):
    """The tokens that fill the hole best, with their probabilities."""
    ids = torch.tensor([tokenizer.encode(sentence.replace("[MASK]", "<|mask|>"), allowed_special="all")])
    hole = int((ids[0] == MASK).nonzero()[0])
    with torch.no_grad():
        best = model(ids)[0, hole].softmax(dim=-1).topk(number)
    return [(tokenizer.decode([token]), share) for share, token in zip(*map(torch.Tensor.tolist, best), strict=True)]


SENTENCES = (
    "Returns the[MASK] of elements in the list.",
    "If the file does not[MASK], an error is raised.",
    "The first argument[MASK] be a string.",
    "Convert the array[MASK] a list of integers.",
    "The cat sat on the[MASK] and slept.",
)
for sentence in SENTENCES:
    print(f"{sentence:50}", *(f"{token!r} {share:.0%}" for token, share in answers(fresh, sentence)))
show(last_loss=round(losses[-1], 2), long_run_there=round(points[0]["loss"], 2))
show(frequencies=round(levels["frequencies known"], 2), own_place=round(levels["own place known"], 2))
# %% name="live-check-range"
frequent = {tokenizer.decode([token]) for token in frequency.topk(40).indices.tolist()}
said = [token for sentence in SENTENCES for token, _ in answers(fresh, sentence)]
assert abs(losses[-1] - points[0]["loss"]) < 0.15
assert levels["own place known"] < losses[-1] < levels["frequencies known"]
assert sum(token in frequent for token in said) >= 0.7 * len(said)  # it answers with what is frequent everywhere
# %% [markdown] lang="en" name="live-read"
# The answers are the same few stops, commas and little words, whatever the sentence: the network has learned which tokens are
# frequent. It is a little better than that, but look at the lower line. Of the places that are asked, one in ten still shows its
# own token; who only copies it, and else answers by frequency, gets down to *own place*. As long as the loss is above this
# line, nothing shows that the network has looked at a single neighbour. A minute on two cores does not buy much more. This is
# why the book ships a model for which somebody has waited an hour.
# %% [markdown] lang="zh" of="c631bd87"
# 不管什么句子，答案都是那几个句号、逗号和虚词：网络学会了哪些词元常见。它比“只知道频率”略好一点，但请看下面那条线：
# 被提问的位置里，有十分之一仍然露着自己的词元；只要照抄它，其余的按频率回答，损失就能降到 own place 这条线。
# 只要损失还在这条线以上，就没有任何迹象表明网络看过哪怕一个邻居。两个核跑一分钟，差不多只能买到这些。
# 所以本书附带一个模型，是有人等了一个多小时训练出来的。
# %% [markdown] lang="en" name="plateau"
# ## Why it waits on the plateau, and what makes it leave
#
# To get below both lines, the network must read a neighbour. At the start attention is nearly uniform: every
# place takes the *mean* of all places that it can see. In a window of 256 tokens one neighbour is 1/256 of that mean, it is
# drowned out. If a layer may see only four tokens on each side, the neighbour is 1/9. We suppose that the gradient that would
# tell attention to look there is drowned out as well; gradients were not measured here.
#
# That is a reason, not yet evidence. Two tests of what follows from it. First, at untrained networks: exchange the neighbour of a token, and look how
# much the token's final state moves. Second, over 200 steps of real training.
# %% [markdown] lang="zh" of="eec8c9b5"
# ## 为什么停在平台上，怎样才能离开
#
# 要降到两条线以下，网络必须去读邻居。刚开始时注意力几乎是均匀的：每个位置取的是它能看到的所有位置的*平均*。
# 在 256 个词元的窗口里，一个邻居只占这个平均的 1/256，它的声音被淹没了。
# 如果某一层只能看左右各四个词元，邻居就占 1/9。我们猜想，促使注意力“去看它”的梯度也同样被淹没；这里没有测量梯度。
#
# 这只是一个理由，还不是证据。从它推出的结果，可以做两个检验。第一，看未训练的网络：换掉一个词元的邻居，看它的最终状态变动多少。
# 第二，看真实训练的 200 步。
# %% [markdown] lang="en" name="guess-plateau" role="prediction"
# **Predict.** Two networks differ in one thing: in one, three of the five layers see only four tokens on each side, in the
# other all layers see everything. The second can compute all that the first can, and more. Which has the lower loss after 200
# steps, and by how much?
# %% [markdown] lang="zh" of="361a6dfa"
# **先预测。** 两个网络只有一处不同：一个网络的五层里有三层只能看左右各四个词元，另一个网络每层都能看到全部。
# 第一个能算的，第二个都能算，还能算更多。200 步之后，谁的损失更低，低多少？
# %% name="plateau-start" tags=["measured"]
@torch.no_grad()
def moved(model, distance):
    """How much a state moves, relative to its length, when the token so far to the left is exchanged for another."""
    generator = torch.Generator().manual_seed(3)
    before = torch.randint(ORDINARY, VOCAB, (8, 256), generator=generator)
    after = before.clone()
    after[:, 200 - distance] = torch.randint(ORDINARY, VOCAB, (8,), generator=generator)
    states = model.hidden(before)[:, 200], model.hidden(after)[:, 200]
    return ((states[1] - states[0]).norm(dim=-1) / states[0].norm(dim=-1)).mean().item()


untrained = {}
for name, every in (("three local layers", 3), ("all see everything", 1)):
    runtime.seed_everything(1)
    model = type(trained)(dataclasses.replace(trained.config, global_every=every)).eval()
    untrained[name] = [moved(model, distance) for distance in (1, 150)]
    print(f"{name:20} neighbour {untrained[name][0]:.5f}   150 tokens away {untrained[name][1]:.5f}")
# %% name="plateau-start-range"
local, everywhere = untrained["three local layers"], untrained["all see everything"]
assert local[0] > 5 * everywhere[0] and everywhere[0] < 3 * everywhere[1]
# %% name="plateau-train" tags=["free"]
cells = recorded("plateau")["cells"]
shown = {
    "sees 4 on each side": "as shipped: local layers see 4 tokens on each side",
    "sees 8": "local layers see 8",
    "sees 16": "local layers see 16",
    "sees everything": "all layers see everything",
    "the same, 64 tokens": "all layers see everything, texts of 64 tokens",
    "the same, AdamW 3e-3": "all layers see everything, AdamW at 3e-3",
}
mean = {name: [sum(at) / len(at) for at in zip(*cells[cell].values(), strict=True)] for name, cell in shown.items()}
figure = curves(
    mean,
    [50, 100, 150, 200],
    xlabel="step",
    ylabel="loss",
    levels={name: levels[name] for name in ("frequencies known", "own place known")},
)
# %% [markdown] lang="en" role="caption"
# Training loss over the first 200 steps (recorded, `benchmarks/plateau.py`; mean of two seeds). Where the local layers see 4 or 8
# tokens on each side, the loss falls below the line *own place known*; where they see 16, and where every layer sees everything,
# it is still above that line after 200 steps, with shorter texts and with another optimizer too.
# %% [markdown] lang="zh" of="ffa29be8"
# 前 200 步的训练损失（记录自 `benchmarks/plateau.py`，两个种子的平均）。看 4 个、8 个的，损失降到了 own place known 线以下；
# 看 16 个的和每层都看到全部的，200 步之内都还在线的上方，把文本缩短、换一个优化器也是这样。
# %% name="plateau-numbers"
for name, cell in shown.items():
    show(name, *cells[cell].values())
ends = {name: [seed[-1] for seed in cells[cell].values()] for name, cell in shown.items()}
line = levels["own place known"]
assert max(ends["sees 4 on each side"]) < min(ends["sees 8"]) < max(ends["sees 8"]) < min(ends["sees everything"]) - 1.0
assert max(ends["sees 8"]) < line < min(ends["sees 16"])  # the wider window did not leave within 200 steps
assert line < min(ends["the same, 64 tokens"] + ends["the same, AdamW 3e-3"])  # nor did these two remedies help
# %% [markdown] lang="en" name="plateau-read"
# **The untrained networks first.** With local layers an exchanged neighbour moves the final state more than five times as far as it does
# where all layers see everything. There, a neighbour counts for about as little as a token 150 places away: it is one voice among 256.
#
# **Then the training.** Two seeds each, four points, every one the mean of five noted losses. The networks that *can* do less, with local layers of 4 or 8
# tokens, learn sooner, in both seeds by more than a nat: what a network can express and what gradient descent finds in it soon are
# different questions. With 16 tokens one of two seeds has come close to the line, and may be about to leave.
#
# Two other explanations were tried on the network that sees everything. *Texts of 64 tokens* make a neighbour four times as loud;
# *AdamW at 3e-3* replaces the recipe's optimizer (which is called Muon). Neither leaves the plateau within 200 steps. That does not speak against the
# reason above, since 1/64 is still far from 1/9, but it says that the plateau is no fault of one optimizer. Given enough steps the network that sees
# everything leaves it too, as BERT did; how long it takes was not measured here.
# %% [markdown] lang="zh" of="bf5dc36d"
# **先看未训练的网络。** 有局部层时，换掉一个邻居，最终状态的变动是“每层都看到全部”时的五倍以上。
# 而在每层都看到全部的网络里，邻居的分量和 150 个位置以外的词元差不多一样小：它只是 256 个声音中的一个。
#
# **再看训练。** 每种设置两个种子、四个点，每个点是五次记录的平均。*能做的事*更少的网络（局部层看 4 个或 8 个词元）反而学得更早，两个种子都领先 1 奈特以上：
# 网络能表达什么，和梯度下降能很快在里面找到什么，是两个问题。看 16 个的，两个种子中有一个已经很接近那条线，也许正要离开。
#
# 对每层都看到全部的网络，还试了另外两种解释。*64 个词元的文本*让邻居的声音变成四倍；*AdamW 3e-3* 换掉了原来的优化器（名叫 Muon）。
# 两者都没能在 200 步之内离开平台。这并不否定上面的理由，因为 1/64 离 1/9 还很远；但它说明，平台不是某一个优化器的毛病。
# 步数足够多的话，每层都看到全部的网络也会离开平台，BERT 就是这样；要多久，这里没有测量。
# %% [markdown] lang="en" name="fill"
# ## Filling in the blank
#
# The book's encoder has gone through all 4,500 steps. The same five sentences; the last one is far from anything it has read.
# %% [markdown] lang="zh" of="222272e6"
# ## 完形填空
#
# 本书的编码器走完了全部 4500 步。还是那五个句子；最后一句和它读过的任何东西都相去甚远。
# %% name="fill-course" tags=["free"]
for sentence in SENTENCES:
    print(f"{sentence:50}", *(f"{token!r} {share:.0%}" for token, share in answers(trained, sentence)))
# %% name="fill-range"
first, *_, convert, cat = (answers(trained, sentence)[0] for sentence in SENTENCES)
assert first[0] == " list" and first[1] > 0.5 and convert[0] == " or" and cat[1] < 0.2
# %% [markdown] lang="en" name="fill-read"
# The words now fit the grammar: a verb behind "does not", an auxiliary before "be". But fitting is not understanding. "Returns the
# *list* of elements in the list" says nothing; *number* would be the sensible answer, and it comes second, far behind: "list"
# stands a few words to the right, and perhaps that is why (change it in the explorer below). "Convert the array *or* a list" reads
# well from neighbour to neighbour, only not together with "Convert". And of cats it knows nothing: no answer is sure, and the
# best ones are nouns of programming.
# %% [markdown] lang="zh" of="877fcdc7"
# 现在填的词合乎语法了：“does not”后面是动词，“be”前面是情态动词。不过合乎语法不等于懂。“Returns the *list* of elements in the list”
# 等于什么也没说；合理的答案是 *number*，它排在第二，而且差得很远。右边几个词之后就有“list”，也许原因就在这里（用下面的交互图改一改这个词）。
# “Convert the array *or* a list”单看左右邻居很通顺，只是和前面的“Convert”接不上。
# 至于猫，它一无所知：哪个答案都没有把握，排在前面的是编程里的名词。
# %% [markdown] lang="en" name="fill-try"
# **Try it.** The same model runs in your browser. Click on tokens to hide them, or type `[MASK]`, and change a word to the
# *right* of the hole: the answer changes. Then let it hide every token in turn: which words does it know, and which does
# it only guess by their frequency?
# %% [markdown] lang="zh" of="b021c840"
# **动手试试。** 同一个模型就在你的浏览器里运行。点一个词元就把它盖住，也可以直接输入 `[MASK]`；改一改空的*右边*的词，答案会跟着变。
# 然后让它把每个词元轮流盖一遍：哪些词它真的知道，哪些只是按频率猜的？
# %% name="explore-fill" tags=["free"]
from llmguide_lib.widgets import FillInExplorer

FillInExplorer(trained, tokenizer, "Returns the [MASK] of elements in the list.")
# %% [markdown] lang="en" role="caption"
# A sentence whose tokens can be hidden, and for the hidden one the tokens that the book's encoder finds most probable, as bars.
# %% [markdown] lang="zh" of="d8bb5494"
# 一个句子，其中的词元可以盖住；对盖住的词元，用条形画出本书的编码器认为最可能的几个词元。
# %% [markdown] lang="en" name="baselines"
# ## Beside models that count
#
# How good is that? Three rivals that need no network: the most frequent token; the token that most often followed the one
# before (bigrams); the token that most often stood between this left and this right neighbour, which is a masked language model
# by counting. Where it has never met the pair, it falls back to one side: to the left one, or to the right one if the left one is hidden.
# The questions: 15 % of the tokens of held-out documents, all behind `[MASK]`; in more than a quarter of them a neighbour is hidden too.
# %% [markdown] lang="zh" of="2149ff51"
# ## 和计数模型比一比
#
# 这到底算不算好？有三个不用网络的对手：最常见的词元；最常跟在前一个词元后面的词元（二元组）；
# 最常夹在同样的左右邻居之间的词元，也就是用计数做的遮蔽语言模型。遇到没见过的组合，它就退回到一边：看左边，左边也被盖住时看右边。
# 题目：没读过的文档里 15 % 的词元，全部换成 `[MASK]`；其中四分之一以上的题目，有一个邻居也被盖住了。
# %% [markdown] lang="en" name="guess-baselines" role="prediction"
# **Predict** the share of right answers of all four: most frequent token, bigrams, both neighbours, the network.
# %% [markdown] lang="zh" of="6006ed95"
# **先预测**四者的正确率：最常见的词元、二元组、左右邻居、网络。
# %% name="baselines-measure" tags=["measured"]
from llmguide_lib.evaluation import bootstrap, bootstrap_mean, t_interval


def best_after(context, follower):
    """The most frequent follower of each context."""
    codes, number = (context * VOCAB + follower).unique(return_counts=True)
    order = number.argsort(stable=True)  # the most frequent one comes last and stays in the dictionary
    return dict(zip((codes // VOCAB)[order].tolist(), (codes % VOCAB)[order].tolist(), strict=True))


corpus = rows["train"].long()
after = best_after(corpus[:-1], corpus[1:])
before = best_after(corpus[1:], corpus[:-1])
between = best_after(corpus[:-2] * VOCAB + corpus[2:], corpus[1:-1])
top = int(frequency.argmax())

starts = torch.arange(0, len(rows["test"]) - 256, len(rows["test"]) // 64)
windows = rows["test"][starts[:, None] + torch.arange(256)].long()
exam = Masking(0.15, MASK, VOCAB, special=tuple(range(ORDINARY)), shares=(1, 0))(
    windows, torch.Generator().manual_seed(0)
)
asked = exam.targets != -100
left = F.pad(exam.tokens, (1, 0))[:, :-1]
right = F.pad(exam.tokens, (0, 1))[:, 1:]
bigram = torch.tensor([[after.get(token, top) for token in row] for row in left.tolist()])
backwards = torch.tensor([[before.get(token, top) for token in row] for row in right.tolist()])
visible = backwards.where(left == MASK, bigram)  # the side that can be seen, the left one if both can
pairs = left * VOCAB + right
both = torch.tensor([
    [between.get(key, fallback) for key, fallback in zip(*row, strict=True)]
    for row in zip(pairs.tolist(), visible.tolist(), strict=True)
])  # fmt: skip
with torch.no_grad():
    network = torch.cat([trained(part).argmax(dim=-1) for part in exam.tokens.split(16)])
always = torch.full_like(windows, top)
guesses = {"most frequent": always, "bigrams": bigram, "both neighbours": both, "network": network}
seen = torch.tensor([[key in between for key in row] for row in pairs.tolist()])
shown_both = asked & (left != MASK) & (right != MASK)
subsets = {"all": asked, "both visible": shown_both, "pair known": shown_both & seen, "pair new": shown_both & ~seen}


def share(hits, places):
    """Share of right answers at these places, with an interval over the windows."""
    hits, number = (hits & places).sum(dim=1).double(), places.sum(dim=1)
    return bootstrap(lambda drawn: hits[drawn].sum() / number[drawn].sum(), len(hits))


found = {name: share(guess == exam.targets, asked) for name, guess in guesses.items()}
on = {of: {name: share(guess == exam.targets, at) for name, guess in guesses.items()} for of, at in subsets.items()}
of_questions = {of: (at.sum() / asked.sum()).item() for of, at in subsets.items()}
print(f"{'':16} {'all':24}", *(f"{of:>12}" for of in list(subsets)[1:]))
for name, of_all in found.items():
    print(f"{name:16} {f'{of_all.value:.1%} ({of_all.low:.1%} to {of_all.high:.1%})':24}", end=" ")
    print(*(f"{on[of][name].value:12.1%}" for of in list(subsets)[1:]))
print(f"{'of the questions':16} {'100.0%':24}", *(f"{of_questions[of]:12.1%}" for of in list(subsets)[1:]))
# %% name="baselines-range"
assert found["most frequent"].high < found["bigrams"].low and found["bigrams"].high < found["network"].low - 0.2
assert found["both neighbours"].low > found["bigrams"].value and 0.5 < found["network"].value < 0.72
assert on["both visible"]["both neighbours"].high < on["both visible"]["network"].low - 0.1
assert of_questions["both visible"] < 0.75  # elsewhere a neighbour is hidden too
assert on["pair new"]["both neighbours"].high < on["pair new"]["network"].low - 0.2
# %% [markdown] lang="en" name="baselines-read"
# The intervals come from drawing the 64 windows again and again with replacement: tokens of one window are no independent
# questions. (On the whole held-out part the model card has the network, the most frequent token and bigrams; there 80 % of the
# chosen tokens read `[MASK]`.) Counting both neighbours is the honest rival, above all in the column *both visible*, where
# nothing hinders it. There it comes nearer, and still stays well behind. The last columns show a reason: for pairs of neighbours
# that the training text has (*pair known*) counting is good, for those that it does not have (*pair new*) counting falls
# back to what bigrams know, and the network loses far less. What it has learned is more than a list of pairs.
#
# And how far does it look? We cut its view: only so many tokens on each side of the hole, nothing beyond.
# %% [markdown] lang="zh" of="81aa78af"
# 区间是这样得来的：把 64 段文本反复有放回地重抽，因为同一段里的词元不是互相独立的题目。（在全部没读过的文本上，网络、最常见词元和二元组的成绩
# 见模型卡；那里选中的词元有 80 % 读作 `[MASK]`。）同时数左右邻居，才是公平的对手，尤其是 *both visible*（两个邻居都看得见）一列，那里没有任何东西妨碍它。
# 它在那里追近了一些，但仍然落后不少。最后两列给出一个原因：左右邻居的组合在训练文本里出现过（*pair known*），计数就很好；
# 没出现过（*pair new*），计数就退到二元组的水平，网络也降了一些，但远没有降这么多。它学到的不只是一张组合表。
#
# 它看得有多远？我们限制它的视野：空的两边各只留这么多词元，再远的全部去掉。
# %% name="views-measure" tags=["measured"]
row_of, place_of = asked.nonzero(as_tuple=True)
views = {}
with torch.no_grad():
    for reach in (4, 8, 16):
        text = F.pad(exam.tokens, (reach, reach))  # an end of text beyond the window's ends
        cut = torch.stack([text[row_of, place_of + step] for step in range(2 * reach + 1)], dim=1)
        guess = torch.full_like(windows, -1)
        guess[row_of, place_of] = torch.cat([trained(part)[:, reach].argmax(dim=-1) for part in cut.split(128)])
        views[f"{reach} tokens on each side"] = guess == exam.targets
views["the whole window"] = network == exam.targets
for name, hits in views.items():
    print(f"{name:22} {share(hits, asked).value:.1%}")
number = asked.sum(dim=1)
gained = (views["the whole window"].int() - views["16 tokens on each side"].int()).mul(asked).sum(dim=1).double()
lost = bootstrap(lambda drawn: gained[drawn].sum() / number[drawn].sum(), len(gained))
print(f"lost by cutting at 16: {lost.value:.1%} ({lost.low:.1%} to {lost.high:.1%})")
# %% name="views-range"
shares_of_views = [share(hits, asked).value for hits in views.values()]
assert shares_of_views == sorted(shares_of_views) and lost.low > 0.02
# %% [markdown] lang="en" name="views-read"
# Every widening helps, the last one too: the interval of what is lost by cutting at 16 tokens lies above zero. With four tokens on each side the
# network is already ahead of counting both neighbours on the same questions (above, column *all*). One reservation: such snippets are texts of 9 to 33 tokens, and it was trained
# on 256, so a part of the loss may be strangeness, not distance. The figures are an upper bound of what comes from far away.
# %% [markdown] lang="zh" of="668bbeb1"
# 视野每放宽一次都有好处，最后一次也是：截到 16 个词元所损失的部分，区间在零以上。两边各四个词元时，在同样的题目上（上表 *all* 一列），网络已经超过了同时数左右邻居的计数。
# 有一点保留：这样截出来的只是 9 到 33 个词元的短文本，而它是在 256 个词元的文本上训练的，所以损失的一部分可能来自不习惯，而不是距离。
# 这些数字是“来自远处的那部分”的上限。
# %% [markdown] lang="en" name="shares"
# ## 80/10/10, measured
#
# Back to the rule. Each of the two tenths has a job, and a job can be tested by leaving it out. Small encoders (a fifth of the
# size of the book's encoder) were trained anew by four rules, three seeds each, and then examined at held-out places that read three different things:
#
# - *masked*: `[MASK]`, the exam they were trained for;
# - *kept*: the token itself, as at every place of a text in use;
# - *mended*: another token, drawn at random, as a typing error would leave it; can the network name the right one?
#
# The column *library* is a first job for later use: from the frozen mean state of a whole, unmasked text a linear probe (a linear
# classifier that is fitted on the states, while the network stays as it is) says which of seven libraries it is about. The row *most frequent* is what somebody
# gets who answers always with the most frequent token; for *library* it is guessing.
# %% [markdown] lang="zh" of="afce854d"
# ## 测量 80/10/10
#
# 回到那条规则。两个 10 % 各有各的任务，而任务可以这样检验：把它去掉，看少了什么。按四种规则，各自从头训练小编码器（大小是本书编码器的五分之一），
# 每种三个种子，然后在没读过的文本上考查，被考查的位置读到三种不同的东西：
#
# - *masked*（遮住）：读到的是 `[MASK]`，也就是训练时的考法；
# - *kept*（原样）：读到的是词元本身，实际使用时每个位置都是这样；
# - *mended*（改错）：读到的是随机换上的另一个词元，就像打错了字，看网络能否说出原来的词。
#
# *library* 一列是一项真正的后续用途：输入完整的文本，什么也不盖，取各位置状态的平均，用线性探针（网络保持不动，只在它的状态上拟合一个线性分类器）
# 判断它讲的是七个库中的哪一个。*most frequent* 一行是永远回答最常见词元的成绩；在 *library* 一列，它就是瞎猜。
# %% [markdown] lang="en" name="guess-shares" role="prediction"
# **Predict.** Two networks never met a random token in training (*100 mask*; *80 mask, 20 kept*), two were never asked for a token
# that was kept (*100 mask*; *80 mask, 20 random*). Which of the four says best what it is reading at the place itself (*kept*)? Which mends errors? And what does the rule cost at
# the masked places?
# %% [markdown] lang="zh" of="1dbc674f"
# **先预测。** 有两个网络训练时从没遇到过随机词元（100 mask；80 mask, 20 kept），有两个从没被问过保持原样的词元（100 mask；80 mask, 20 random）。
# 四个网络里，谁最能说出自己在这个位置上读到的词元（kept）？谁会改错字？在遮住的位置上，这条规则又要付出什么代价？
# %% name="shares-table"
ablations = recorded("masking")


def over_seeds(cell, measure):
    """Mean and 95 % interval over the seeds of a recorded ablation."""
    return t_interval(torch.tensor([seed[measure] for seed in ablations["cells"][cell].values()]).double())


def table(cells, measures):
    """One row for each cell: mean and half the width of the interval, in percent; first who knows frequencies only."""
    print(" " * 34, *(f"{measure:>14}" for measure in measures))
    known = ablations["baselines"]
    if all(measure in known for measure in measures):
        print(f"{'most frequent':34}", "        ".join(f"{100 * known[measure]:7.1f}" for measure in measures))
    for label, cell in cells.items():
        entries = (over_seeds(cell, measure) for measure in measures)
        print(f"{label:34}", *(f"{100 * e.value:7.1f} ±{100 * (e.high - e.value):5.1f}" for e in entries))


RULES = {
    "80 mask, 10 random, 10 kept": "rate 0.3",
    "100 mask": "shares 100 mask",
    "80 mask, 20 kept": "shares 80 mask, 20 kept",
    "80 mask, 20 random": "shares 80 mask, 20 random",
}
table(RULES, ["masked", "kept", "mended", "library"])
size = ablations["parameters"] / sum(weight.numel() for weight in trained.parameters())
print(f"\nsize: {size:.2f} of the book's encoder")
masked, kept, mended = (
    {name: over_seeds(cell, measure) for name, cell in RULES.items()} for measure in ("masked", "kept", "mended")
)
BERTS, ALL_MASK, KEPT, RANDOM = RULES
assert max(kept[ALL_MASK].value, kept[RANDOM].value) < 0.1 and kept[BERTS].low > 0.5 and kept[KEPT].low > 0.95
frequent_alone = ablations["baselines"]["mended"]
assert mended[KEPT].value < 0.005 and min(mended[BERTS].low, mended[ALL_MASK].low) > frequent_alone
assert mended[ALL_MASK].high > mended[BERTS].low  # without one random token it mends as well
assert min(masked[ALL_MASK].high, masked[RANDOM].high) > masked[BERTS].value > masked[KEPT].low  # their order is open
assert ablations["cells"][RULES[RANDOM]]["0"]["masked"] == ablations["baselines"]["masked"] and 0.19 < size < 0.2
# %% [markdown] lang="en" name="shares-read"
# (Mean of three seeds and half the width of the 95 % interval, which says where the mean of very many seeds may lie, as far as three
# can tell; in percent; recorded by `benchmarks/masking.py`.)
#
# **The kept tenth teaches to look.** Without it, with *100 mask* or with random tokens only, the network cannot even say the
# token that it is reading at that very place: no loss ever asked for it, or what was visible was hardly ever right.
#
# **The random tenth does not teach to mend.** That would be too simple: *100 mask* mends as well as BERT's rule, without having met a
# single random token. It never learned to rely on what stands at the place (it cannot even say it, see *kept*), so it guesses from the
# neighbours. What destroys mending is *kept* alone: that network repeats what it reads, since wherever something was visible it
# was right. Only a network that reads its own place *and* mends, as BERT's does in part, needs both tenths: the kept one so that looking
# pays, the random one so that trusting blindly does not.
#
# **The cost** at masked places is not decided by three seeds: the intervals of *100 mask* and of *80 mask, 20 random* contain the
# value of BERT's rule. Of the latter one seed of three learned nothing but frequencies; it has the very value of the row *most frequent*. We suppose that copying is an easy step
# below the line of the frequencies, to which kept tokens invite and random ones alone do not (a random token
# says nothing about the old one, so there *own place* is the line of the frequencies itself); that was not tested. And after 250 steps all have only just left the plateau; who is ahead after long training does not follow.
#
# Of the four *library* figures the intervals overlap. What Devlin et al. report (appendix C.2): for finetuning the rule hardly matters; where the
# frozen states served as features, to find names, some mixtures did markedly worse.
# %% [markdown] lang="zh" of="9f052a49"
# （三个种子的平均，以及 95 % 区间的半宽，单位是百分点。区间的意思是：只凭这三个种子来看，很多种子的平均会落在哪里。由 `benchmarks/masking.py` 记录。）
#
# **保持原样的 10 % 教它看。** 没有这一份（100 mask，或者看得见的只有随机词元，即 80 mask, 20 random），网络连眼前的词元都说不出来：
# 要么损失从来没问过它，要么看得见的几乎永远是错的。
#
# **随机的 10 % 并不是用来教改错的。** 没有这么简单：*100 mask* 一个随机词元也没见过，改错却和 BERT 的规则一样好。它从没学会依赖那个位置上的内容
# （连说都说不出来，见 kept 一列），所以只从邻居去猜。毁掉改错能力的，是只有*保持原样*的那种：凡是看得见的，向来都是对的，于是网络照读照抄。
# 只有既读自己的位置、*又*会改错的网络（BERT 的规则做到了一部分），才需要两个 10 %：保持原样的一份让“看”有好处，随机的一份让“盲信”吃亏。
#
# **代价**：在遮住的位置上，三个种子分不出高下，100 mask 和 80 mask, 20 random 的区间都包含 BERT 规则的数值。后者的三个种子中有一个只学到了频率，
# 成绩和 most frequent 一行分毫不差。我们猜想，照抄是降到频率线以下的容易的一步，保持原样的词元引导网络这样做，只有随机词元就没有这种引导
# （随机词元和原来的词元毫无关系，这时 own place 就是频率线本身）；这一点没有检验。而且 250 步之后，四个网络都才刚刚离开平台，长时间训练之后谁领先，不能由此推出。
#
# 四个 library 数字的区间互相重叠。Devlin 等人报告（他们的附录 C.2）：微调时，用哪种规则几乎没有差别；但把冻结的状态当特征来识别人名地名时，有些配比明显更差。
# %% [markdown] lang="en" name="rates"
# ## How many to hide
#
# Few holes: each can be guessed from much context, but a step asks few questions. Many holes: more questions, and less to answer
# them from. BERT took 15 %, ModernBERT 30 %. The same small encoders, the same number of steps and of tokens read; always examined with
# 15 % hidden.
# %% [markdown] lang="zh" of="51c8abda"
# ## 盖住多少
#
# 空少：每个空都有充足的上下文可供猜测，但每一步问的问题少。空多：问题多了，可供回答的依据少了。BERT 取 15 %，ModernBERT 取 30 %。
# 还是那种小编码器，步数和读过的词元数都相同；考查时总是盖住 15 %。
# %% name="rates-table"
RATES = {f"{rate:.0%} hidden": f"rate {rate}" for rate in (0.05, 0.15, 0.3, 0.8)}
table(RATES, ["masked", "kept", "mended", "library"])
few, berts, moderns, most = (over_seeds(cell, "masked") for cell in RATES.values())
assert few.high < berts.low and berts.high < moderns.low and most.high < moderns.low
assert few.value < 0.06 < 0.08 < most.value
by_rate = [over_seeds(cell, "kept").value for cell in RATES.values()]
assert by_rate == sorted(by_rate)
# %% [markdown] lang="en" name="rates-read"
# With 5 % the network is still where the most frequent token would be: in so many steps it was asked too little. With 80 % it
# has been asked sixteen times as much, but of its neighbours 64 % read `[MASK]` (80 % of the 80 %) and another 8 % are random, and it does no better than with 15 %. The best of these
# four is 30 %, with intervals that do not touch. A warning: 250 steps measure little more than *how soon a small network leaves the plateau*,
# not which rate is best in the end. [Wettig et al.](https://arxiv.org/abs/2202.08005), from whom the two effects come (how much is *corrupted*, how much is *asked*, which
# they vary one without the other), found 40 % best for large networks; all such answers hold for a given number of steps.
#
# Of the two effects you can see one alone in the column *kept*: the more is asked, the better the network can say what it sees.
# %% [markdown] lang="zh" of="d42ee087"
# 盖住 5 % 时，网络还停留在“永远回答最常见词元”的水平：这么多步里，问它的问题太少了。盖住 80 % 时，问的问题是 5 % 时的十六倍，
# 但邻居中有 64 %（80 % 的 80 %）读作 `[MASK]`，另有 8 % 是随机词元，结果并不比 15 % 好。四者之中最好的是 30 %，区间互不相接。请注意：250 步测到的，
# 差不多只是*小网络多快离开平台*，而不是最终哪个比例最好。把两种作用（*破坏*了多少，*提问*了多少）分开，是
# [Wettig 等人](https://arxiv.org/abs/2202.08005)的想法，他们让两者各自单独变化，发现大网络用 40 % 最好；所有这类答案，都只在给定的训练步数下成立。
#
# 两种作用之一可以在 kept 一列里单独看到：问得越多，网络越能说出眼前的词元。
# %% [markdown] lang="en" name="probe"
# ## What the layers know
#
# To fill blanks, a network must know something about where a word stands. Does it? The way documentation is written lets us ask without anybody's
# labels. A line such as *start (int, optional): The first index.* describes an argument, so nearly every token has a known role:
#
# - *header*: the name and the type, up to the colon,
# - *description*: what follows the colon,
# - *prose*: the tokens of all other lines.
#
# (Line breaks are read, but have no role. The pattern is a rule of thumb: a line of prose with a colon after its first word counts as an entry.)
#
# A **probe** is a linear map from the state of one token in one layer to three scores. The network stays frozen; only the probe is
# fitted, on documents that are then not used for the test. If the probe finds the role, the role can be read off that layer.
#
# But a probe can also learn by heart: *"optional" was always a header*. For that it needs no context, only to recognise the
# token. So we set it a **control task** as well (Hewitt and Liang 2019): every token of the vocabulary gets one of three labels
# by lot, wherever it stands. Nothing about text can be known there; who does well has learned by heart. What counts is the
# difference, the **selectivity**: accuracy at the task minus accuracy at the control task.
#
# Two more comparisons. The role could be read off the *neighbours* without any layers: a colon next door says a lot. So an honest
# rival gets the embeddings of the previous token, of this one and of the next one, side by side. And an *untrained* network shows what the probe
# gets from the architecture alone.
# %% [markdown] lang="zh" of="fcaf3c2a"
# ## 各层知道什么
#
# 要会填空，网络总得对“这个词处在什么位置”有所了解。它真的了解吗？借助文档的写法，不用任何人标注就能提问。
# 像 *start (int, optional): The first index.* 这样的一行是在说明一个参数，所以几乎每个词元的角色都是已知的：
#
# - *header*（条目头）：冒号之前的名字和类型；
# - *description*（说明）：冒号之后的内容；
# - *prose*（正文）：其他各行的词元。
#
# （换行照样输入，但没有角色。这种识别只是经验规则：正文里第一个词之后就有冒号的一行，也会算作条目。）
#
# **探针**（probe）是一个线性映射，把某一层里一个词元的状态变成三个分数。网络保持冻结，只拟合探针，拟合用的文档不再用于测试。
# 如果探针能找出角色，就说明从这一层能读出角色。
#
# 但探针也可以死记硬背：“optional 总是 header”。这样做不需要上下文，只要认得出词元。所以再给它一个**对照任务**（control task，Hewitt 和 Liang，2019）：
# 词表里每个词元抽签得到三个标签之一，不管它出现在哪里。这里没有任何关于文本的规律可言，谁做得好，谁就是在死记硬背。
# 要看的是两者之差，即**选择性**（selectivity）：任务的正确率减去对照任务的正确率。
#
# 还有两个比较。角色也许不用任何层，只看*邻居*就能读出来：旁边有个冒号，就已经说明了很多。所以设一个公平的对手：
# 把前一个、当前、后一个词元的词嵌入并排交给探针。另外，*未训练*的网络显示只凭结构能得到多少。
# %% [markdown] lang="en" name="guess-probe" role="prediction"
# **Predict** for the embedding (layer 0), for the last layer, and for a network that was never trained: does the accuracy rise or
# fall with the layers, at the task and at the control task? Guessing gets a third of either.
# %% [markdown] lang="zh" of="d66cc248"
# **先预测**：对词嵌入（第 0 层）、最后一层，以及一个从未训练过的网络，任务和对照任务的正确率分别随层数上升还是下降？两者瞎猜都能对三分之一。
# %% name="probe-data" tags=["free"]
ENTRY = re.compile(r"(\w+(?:, \w+)*(?: \(.+?\))?)(: .+)")
NO_ROLE, PROSE, HEADER, DESCRIPTION = range(-1, 3)  # line breaks are read, but they have no role


def labelled(text):
    """The first 128 tokens of a document and their roles, known from how documentation is written."""
    ids, labels = [], []
    for line in text.split("\n"):
        entry = ENTRY.fullmatch(line)
        parts = zip(entry.groups(), (HEADER, DESCRIPTION), strict=True) if entry else [(line, PROSE)]
        for part, label in (*parts, ("\n", NO_ROLE)):
            tokens = tokenizer.encode(part)
            ids += tokens
            labels += [label] * len(tokens)
    return ids[:128], labels[:128]


@torch.no_grad()
def layers_of(model, ids):
    """What leaves the embedding and each block, (L + 1, T, D)."""
    kept = []
    parts = (model.embedding_norm, *model.blocks)
    hooks = [part.register_forward_hook(lambda part, read, written: kept.append(written[0])) for part in parts]
    model.hidden(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return torch.stack(kept)


class Examples(NamedTuple):
    """Tokens with a role, as many of each."""

    states: torch.Tensor  # (L + 1, N, D), in the embedding and behind each block
    around: torch.Tensor  # (N, 3 D), the embeddings of the previous, of this, and of the next token
    labels: torch.Tensor
    ids: torch.Tensor
    documents: torch.Tensor  # which one the token is from


def examples(model, split, number):
    """Tokens from documents that have entries."""
    texts = [document.text for document in documents[split]]
    chosen = [text for text in texts if sum(map(bool, map(ENTRY.fullmatch, text.split("\n")))) > 1]
    rows_of = []
    for place, text in enumerate(chosen[:: len(chosen) // number]):
        ids, labels = map(torch.tensor, labelled(text))
        states = layers_of(model, ids.tolist())
        around = torch.cat([F.pad(states[0], (0, 0, 1, 0))[:-1], states[0], F.pad(states[0], (0, 0, 0, 1))[1:]], dim=1)
        rows_of.append((states.transpose(0, 1), around, labels, ids, torch.full_like(ids, place)))
    states, around, labels, ids, places = map(torch.cat, zip(*rows_of, strict=True))
    mixed = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    least = int(torch.bincount(labels[labels != NO_ROLE]).min())
    some = torch.cat([mixed[labels[mixed] == label][:least] for label in range(3)])
    return Examples(states[some].transpose(0, 1), around[some], labels[some], ids[some], places[some])


runtime.seed_everything(1)
networks = {"trained": trained, "untrained": recipe.model().eval()}
probed = {
    name: [examples(model, split, number) for split, number in (("train", 150), ("test", 80))]
    for name, model in networks.items()
}
print("tokens to fit on and to test on:", [len(part.labels) for part in probed["trained"]])
# %% name="probe-fit" tags=["measured"]
def probe_hits(train, labels, test, answers, penalty=0.003):
    """Where on the test a linear map from states to labels is right, as 0 and 1."""
    mean, spread = train.mean(dim=0), train.std(dim=0) + 1e-6
    train, test = (train - mean) / spread, (test - mean) / spread
    probe = nn.Linear(train.shape[1], int(labels.max()) + 1)
    nn.init.zeros_(probe.weight)  # the same start for all, whatever was drawn before
    nn.init.zeros_(probe.bias)
    optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=40, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = F.cross_entropy(probe(train), labels) + penalty * probe.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return (probe(test).argmax(dim=-1) == answers).double()


def over_documents(scores, documents):
    """A mean over tokens, with an interval from drawing whole documents again and again."""
    sums = torch.zeros(int(documents.max()) + 1).double().index_add(0, documents, scores)
    sizes = torch.bincount(documents, minlength=len(sums))
    return bootstrap(lambda drawn: sums[drawn].sum() / sizes[drawn].sum(), len(sums))


hits = {}  # of each network and task: (L + 1, N), the mean of three seeds
around = torch.zeros(len(probed["trained"][1].labels)).double()
for name, (fit, test) in probed.items():
    for seed in range(3):  # of the lots, and of the 2,000 tokens that are fitted on
        generator = torch.Generator().manual_seed(seed)
        lots = torch.randint(3, (VOCAB,), generator=generator)
        some = torch.randperm(len(fit.labels), generator=generator)[:2000]
        for task, wanted, right in (("task", fit.labels, test.labels), ("control", lots[fit.ids], lots[test.ids])):
            layers = zip(fit.states[:, some], test.states, strict=True)
            now = torch.stack([probe_hits(known, wanted[some], new, right) for known, new in layers])
            hits[name, task] = hits.get((name, task), 0) + now / 3
        if name == "trained":
            around += probe_hits(fit.around[some], fit.labels[some], test.around, test.labels) / 3
accuracies = {key: of_each.mean(dim=1).tolist() for key, of_each in hits.items()}
where = probed["trained"][1].documents
selectivity = [over_documents(more, where) for more in hits["trained", "task"] - hits["trained", "control"]]
ahead = over_documents(hits["trained", "task"][5] - around, where)
print("layer                 0      1      2      3      4      5")
for (name, task), by_layer in accuracies.items():
    print(f"{name:10} {task:8}", *(f"{value:6.2f}" for value in by_layer))
print(f"embeddings of three neighbouring tokens, task: {around.mean():.2f}")
to_print = {"selectivity of layer 0": selectivity[0], "of layer 5": selectivity[5], "layer 5 - three tokens": ahead}
for name, value in to_print.items():
    print(f"{name:23} {value.value:.2f} ({value.low:.2f} to {value.high:.2f})")
states = probed["untrained"][1].states
moved_by_blocks = ((states[5] - states[0]).norm(dim=-1) / states[0].norm(dim=-1)).mean().item()
print(f"untrained: five blocks move a state by {moved_by_blocks:.2f} of its length")
# %% name="probe-range"
task, control = (accuracies["trained", kind] for kind in ("task", "control"))
assert task[5] > task[0] + 0.1 and control[5] < control[0] - 0.08
assert selectivity[5].low > 0.03 and selectivity[0].high < -0.1
assert ahead.low > 0.05  # what the layers add is more than a look at the two neighbours
assert max(accuracies["untrained", "task"]) < task[0] + 0.03 and moved_by_blocks < 0.1
# %% name="probe-plot" tags=["free"]
figure = curves(
    {f"{name}: {task}": by_layer for (name, task), by_layer in accuracies.items()},
    list(range(6)),
    xlabel="layer",
    ylabel="accuracy of the probe",
    levels={"guessing": 1 / 3, "three tokens' embeddings": around.mean().item()},
)
# %% [markdown] lang="en" role="caption"
# Accuracy of linear probes by layer, mean of three seeds. In the trained network the role of a token becomes readable with depth,
# beyond what the embeddings of three neighbouring tokens give, while its label by lot, its mere identity, fades; in the untrained network both stay
# as they are in the embedding.
# %% [markdown] lang="zh" of="3397db43"
# 各层线性探针的正确率，三个种子的平均。在训练过的网络里，越深的层越读得出词元的角色，超过了三个相邻词元的词嵌入所能给出的；
# 而抽签得来的标签（也就是词元本身的身份）越来越难读出；
# 在未训练的网络里，两者都停留在词嵌入的水平。
# %% [markdown] lang="en" name="probe-read"
# In the embedding the probe does better at the *lots* than at the task: a state there is the token and nothing else. Five layers
# later it is the other way round. Nobody ever asked the network for headers and descriptions: it was asked for hidden words, and
# where a word stands is what helps to guess it. The neighbours' embeddings alone do not suffice: the last layer is well ahead of them.
#
# The intervals come from drawing the test documents again and again; the fitted documents are the same throughout, and so is the network. The
# *untrained* one is a weak control: its blocks begin close to zero and hardly move a state (the last printed line), so it must stay where its embedding is.
# It shows that wide states and a probe are not enough; that depth with large random weights would bring nothing it does not show.
# And what a probe cannot say is whether the network *uses* what can be read off (chapter 14).
# %% [markdown] lang="zh" of="5bd74550"
# 在词嵌入那一层，探针在*抽签*任务上反而比在真任务上做得更好：那里的状态只包含词元本身。五层之后正好反过来。
# 从来没有人问过网络什么是条目头、什么是说明；问的只是盖住的词，而知道一个词处在什么位置，有助于猜出它。
# 只有邻居的词嵌入还不够：最后一层明显领先于它们。
#
# 区间来自反复重抽测试文档；拟合用的文档和网络始终是同一份。*未训练*的网络是个很弱的对照：它的各块一开始接近零，几乎不移动状态（见最后一行输出），
# 所以必然停留在词嵌入的水平。它说明光有宽的状态和探针还不够，但不能说明随机权重很大的深层网络也什么都带不来。
# 探针说明不了的还有：网络有没有*用到*这些能读出来的东西（见第 14 章）。
# %% [markdown] lang="en" name="transfer"
# ## A question that nobody asked
#
# "General representations" must be good for more than the exam. So ask for something else: a documentation text from which all names
# of libraries, modules and functions were removed; which of seven libraries is it about? The encoder stays frozen; its mean final
# state is given to a linear probe with 350 labelled texts. The rivals get the same probe: the state of an encoder that was never trained,
# and the counts of the text's tokens, with no network at all. How strongly each probe is held back (its penalty) is chosen for each on
# 140 further texts.
# %% [markdown] lang="zh" of="d57c41ef"
# ## 一个没有人问过的问题
#
# 所谓“通用的表示”，总得在考试之外也有用。那就问点别的：一段文档，其中库、模块和函数的名字全部删掉了，它讲的是七个库中的哪一个？
# 编码器保持冻结，把它最终状态的平均值交给线性探针，探针用 350 段有标签的文本来拟合。对手用同样的探针：一个是从未训练过的编码器的状态，
# 一个是文本中各词元的计数，完全不用网络。每个探针受多大的约束（惩罚项），用另外 140 段文本分别挑选。
# %% name="transfer-measure" tags=["measured"]
from llmguide_lib.tasks import which_library

asked_for = [*which_library("train")[:490], *which_library("validation")[:350]]  # 350 to fit, 140 to tune, 350 to test
libraries = sorted({example.label for example in asked_for})
named = torch.tensor([libraries.index(example.label) for example in asked_for]).split((350, 140, 350))
encoded = [tokenizer.encode(example.text)[:64] for example in asked_for]
with torch.no_grad():
    features = {
        "trained encoder": torch.stack([trained.hidden(torch.tensor([ids]))[0].mean(dim=0) for ids in encoded]),
        "untrained encoder": torch.stack(
            [networks["untrained"].hidden(torch.tensor([ids]))[0].mean(dim=0) for ids in encoded]
        ),
        "counts of tokens": torch.stack(
            [torch.bincount(torch.tensor(ids), minlength=VOCAB).sqrt() for ids in encoded]
        ),
    }
transferred = {}
for name, rows_of in features.items():
    fit, tune, test = rows_of.float().split((350, 140, 350))
    sizes = (0.003, 0.01, 0.03, 0.1, 0.3)
    best = max(sizes, key=lambda size: probe_hits(fit, named[0], tune, named[1], size).mean())
    transferred[name] = probe_hits(fit, named[0], test, named[2], best)
    right_share = bootstrap_mean(transferred[name])
    print(f"{name:18} {right_share.value:.1%} ({right_share.low:.1%} to {right_share.high:.1%})")
print(f"guessing           {1 / len(libraries):.1%}")
ahead_of = {name: bootstrap_mean(transferred["trained encoder"] - rival) for name, rival in transferred.items()}
for name in ("untrained encoder", "counts of tokens"):
    print(f"trained - {name:18} {ahead_of[name].value:.1%} ({ahead_of[name].low:.1%} to {ahead_of[name].high:.1%})")
# %% name="transfer-range"
assert ahead_of["untrained encoder"].low > 0.06 and 0.43 < transferred["trained encoder"].mean() < 0.68
assert 0.02 < ahead_of["counts of tokens"].value < 0.1 and ahead_of["counts of tokens"].low < 0.02  # not established
# %% [markdown] lang="en" name="transfer-read"
# What was learned from hidden words serves a question about whole texts, clearly better than the same network untrained. Beside
# the *counts* the lead is small. The last lines take the difference text by text, which is sharper than comparing two intervals, and the interval
# of that difference reaches down to nothing: these 350 texts do not establish that the encoder is better. For a question about
# vocabulary, the vocabulary is a strong rival. Chapter 9 finetunes instead of probing, with more labels.
# %% [markdown] lang="zh" of="2904a92f"
# 从盖住的词那里学来的东西，用在关于整段文本的问题上，明显好过同样的、未训练的网络。和*计数*相比，领先不多。最后两行是逐段文本取差，
# 比对照两个区间更灵敏，可是这个差的区间一直延伸到零：只凭这 350 段文本，还不能断定编码器更好。
# 既然问题主要靠用词来回答，用词本身就是强劲的对手。第 9 章不用探针而用微调，标签更多。
# %% [markdown] lang="en" name="nsp"
# ## The second exam: does this sentence follow?
#
# BERT sat a second exam at the same time, **next sentence prediction** (NSP): two sentences, and in half of the cases the second comes
# from somewhere else. From the state of the very first token a small head must say which. The total loss is the sum of both,
#
# $$\mathcal{L} = \mathcal{L}_{\text{MLM}} + \mathcal{L}_{\text{NSP}}, \qquad \mathcal{L}_{\text{NSP}} = -\log p_\theta(\text{follows or not} \mid A, B)$$
#
# and the hope was that the network would learn how sentences hang together. BERT's authors report that leaving it out
# hurt their results for QNLI, MNLI and SQuAD (tests in which two texts must be related: question and passage, statement and
# conclusion); RoBERTa (2019) left it out and lost nothing. Here: the
# book's encoder goes on for a hundred steps with pairs of sentences of the training documents, on the same texts, three seeds each:
# *without* the second exam; with it, the head reading the *first token* as in BERT; and with a head that *compared* the
# mean states of both sentences. Then held-out documents:
#
# - *masked*, *library*: as before;
# - *probe*: a linear probe on the mean states of both sentences tells followers from strangers;
# - *next*: the head's own answers to the same;
# - *order*: of pairs that do follow each other, how often the head finds the right order more convincing than the exchanged one.
# %% [markdown] lang="zh" of="4dfbbc24"
# ## 第二种考试：这一句接得上吗？
#
# BERT 同时还考了另一门：**下一句预测**（next sentence prediction，NSP）。给出两个句子，有一半的情况下，第二句是从别处拿来的。
# 一个小小的输出头要根据最前面那个词元的状态判断是哪一种。总损失是两者之和：
#
# $$\mathcal{L} = \mathcal{L}_{\text{MLM}} + \mathcal{L}_{\text{NSP}}, \qquad \mathcal{L}_{\text{NSP}} = -\log p_\theta(\text{接得上或接不上} \mid A, B)$$
#
# 原本希望网络由此学会句子之间如何衔接。BERT 的作者报告说，去掉它，QNLI、MNLI 和 SQuAD（这些测试都要把两段文字联系起来：问题和段落，陈述和推论）的成绩会变差；RoBERTa（2019）把它去掉了，效果并没有变差。
# 在这里：让本书的编码器用训练文档里的句子对再训练一百步，
# 文本相同，各三个种子：不考第二门（without）；两门都考，输出头像 BERT 那样读第一个词元（first token）；两门都考，但输出头比较两个句子的平均状态（compared）。
# 然后用没读过的文档考查：
#
# - *masked*、*library*：同前；
# - *probe*：用两个句子的平均状态做线性探针，区分“接得上”和“接不上”；
# - *next*：输出头自己对同一问题的回答；
# - *order*：对确实前后相接的句子对，输出头认为正确顺序比颠倒顺序更可信的比例。
# %% [markdown] lang="en" name="guess-nsp" role="prediction"
# **Predict.** Two sentences of one document share a topic, and often words. A rule that only counts shared words: how often is it
# right? And a network that has learned to answer the exam well: will it know which of two sentences comes *first*?
# %% [markdown] lang="zh" of="d7d22681"
# **先预测。** 同一篇文档里的两个句子话题相同，往往还有相同的词。只数“共同的词”的规则，正确率有多高？
# 而一个把这门考试学得很好的网络，知不知道两句中哪一句在*前*？
# %% name="nsp-table"
ARMS = {
    "without": "pairs, hidden tokens alone",
    "first token": "pairs, hidden tokens and next sentence",
    "compared": "pairs, hidden tokens and next sentence, both sentences compared",
}
table(ARMS, ["masked", "library", "probe"])
print()
table({name: ARMS[name] for name in ("first token", "compared")}, ["next", "order"])
print(f"\nfollows if enough words are shared: {ablations['baselines']['words']:.1%}; guessing: 50 %")
by_first, by_both = (over_seeds(ARMS[arm], "next").value for arm in ("first token", "compared"))
assert abs(by_first - 0.5) < 0.02 and by_both > 0.6
assert over_seeds(ARMS["without"], "probe").value > ablations["baselines"]["words"]


def gained_by_pairs(measure):
    """What the exam with compared sentences adds: differences seed by seed, which share the texts, and their mean."""
    cells = [ablations["cells"][ARMS[arm]].values() for arm in ("compared", "without")]
    differences = [first[measure] - second[measure] for first, second in zip(*cells, strict=True)]
    return differences, t_interval(torch.tensor(differences).double())


print("\ncompared - without, seed by seed")
for measure in ("masked", "library", "probe"):
    differences, interval = gained_by_pairs(measure)
    print(f"{measure:8}", *(f"{100 * value:+6.1f}" for value in differences), end="")
    print(f"   mean {100 * interval.value:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})")
orders = [seed["order"] for seed in ablations["cells"][ARMS["compared"]].values()]
show("order, seed by seed:", orders)
assert min(orders) > 0.5 and over_seeds(ARMS["compared"], "order").low < 0.5  # undecided
assert gained_by_pairs("probe")[1].low < 0
# %% [markdown] lang="en" name="nsp-read"
# **From the first token the head learned nothing** in a hundred steps: it stays at chance. That is no verdict on BERT, which had a million steps;
# here it only shows that so short a time is not enough. A head that *compares* the mean states of both sentences did learn.
#
# **What it learned then** is worth about as much as counting shared words, and a linear probe could read as much off the encoder that had *never* sat this exam.
# What the exam adds to hidden words and to libraries is less than a point (the differences seed by seed, which share texts and order).
#
# **The order of two sentences** the head knows at most a little: all three seeds are above one half, the interval still contains it. Three seeds leave that
# undecided, between nothing and a little. The training never asked for it: in a follower and in a
# stranger alike, the first sentence is a first and the second a second one, so a common topic was enough. This is
# why ALBERT asks for the order instead ([Lan et al. 2019](https://arxiv.org/abs/1909.11942)).
# %% [markdown] lang="zh" of="2b244dc7"
# **只看第一个词元的输出头**，在一百步里**什么也没学到**，停留在瞎猜的水平。这不是对 BERT 的判决，它训练了一百万步；
# 这里只说明，这么短的时间不够。*比较*两个句子平均状态的输出头，确实学到了东西。
#
# **它学到的东西**，和“数共同的词”差不多；而从一个*从没*参加过这门考试的编码器里，线性探针也能读出这么多。
# 这门考试给“猜盖住的词”和“区分库”带来的好处，都不到一个百分点（逐个种子取差，两边的文本和次序相同）。
#
# **两句的先后**，输出头最多知道一点：三个种子是 54 % 到 62 %，区间仍包含 50 %。三个种子还定不下来，是一点不知道，还是知道一点。训练从来没有考过顺序：
# 不管接得上还是接不上，第一句总是“第一句”，第二句总是“第二句”，话题相同就够了。所以 ALBERT 改为考顺序（[Lan 等人，2019](https://arxiv.org/abs/1909.11942)）。
# %% name="general-claim"
decide(
    "2.3a",
    {
        "roles that nobody asked for can be read off (selectivity above zero)": selectivity[5].low > 0,
        "better than off the embeddings of a token and its two neighbours": ahead.low > 0,
        "libraries are told apart better than untrained": ahead_of["untrained encoder"].low > 0,
    },
    {
        "NSP adds less than a point to hidden words and to libraries": all(
            gained_by_pairs(measure)[1].high < 0.01 for measure in ("masked", "library")
        ),
        "350 texts do not establish a lead over counting tokens": ahead_of["counts of tokens"].low < 0.02,
    },
)
# %% [markdown] lang="en" name="general-verdict" claim="2.3a"
# **Claim 2.3a, its part for MLM and NSP.** The guide says that pretraining learns general representations. For hidden tokens it
# holds: states that were trained only to guess them answer two other questions better than untrained ones, and one of them better than a
# token's identity and its two neighbours can. Had the control task been as easy as the task in the last layer, the three embeddings
# as good, or the untrained network no worse at telling libraries apart, it would have failed. The limits: in the second question a lead over counting tokens is not established; and NSP, in a hundred steps on a network
# that knew much already, added less than a point. CLM and the three side by side: chapters 6 and 8.
# %% [markdown] lang="zh" of="154eaa17"
# **指南的说法 2.3a**（MLM 和 NSP 部分）：预训练能学到通用的表示。对 MLM，它成立：只为猜盖住的词元而训练的状态，回答另外两个问题都比未训练的好，
# 其中一个还好过词元本身加上左右邻居所能做到的。假如在最后一层对照任务和真任务一样容易，三个词嵌入一样好，或者未训练的网络区分库也不差，它就不成立。
# 局限：在第二个问题上，还不能断定它好过数词元；而 NSP 是在一个已经懂得很多的网络上训练了一百步，带来的好处不到一个百分点。CLM，以及三者的并排比较，见第 6 章和第 8 章。
# %% [markdown] lang="en" name="device"
# ## On your GPU, if there is one
#
# The book's encoder gives the same scores there, up to the rounding of float32.
# %% [markdown] lang="zh" of="4214266b"
# ## 有 GPU 就用 GPU
#
# 本书的编码器在 GPU 上给出同样的分数，只差 float32 的舍入误差。
# %% name="device-check" tags=["device"]
with torch.no_grad():
    on_cpu = trained(exam.tokens[:2])
    there = runtime.device()
    elsewhere = trained.to(there)(exam.tokens[:2].to(there)).cpu()
    trained.cpu()
assert (elsewhere - on_cpu).abs().max() < 1e-3
# %% [markdown] lang="en" name="end"
# ## Back to the question
#
# Why is "read everything, say everything" no exam? Because the answer lies on the desk. Hide a part, and the only way to pass is to
# learn what usually stands between what is left: first how frequent words are, then their neighbours, and in the end, as the
# probe showed, what role a word plays, although nobody had asked for that. How much to hide is a trade: questions against context.
#
# **Limits.** The holes of one pass are guessed *independently*: for "[MASK] [MASK]" the network may bet on one half of "New York" and
# the other half of "Los Angeles". There is no probability of a whole text in it, so it cannot write one word after the other as
# chapter 6 does. The numbers here belong to small networks, to one corpus, and to short training; that the order of
# the rules and rates is the same for large ones does not follow. The NSP test went on from a network that already knew much.
#
# **Sources.** [Devlin et al. 2018](https://arxiv.org/abs/1810.04805) (BERT: 80/10/10, NSP; ablations in section 5.1 and appendix C.2);
# [Liu et al. 2019](https://arxiv.org/abs/1907.11692) (RoBERTa, without NSP); [Wettig et al. 2022](https://arxiv.org/abs/2202.08005) (should
# you mask 15 %? corruption and prediction, told apart); [Hewitt and Liang 2019](https://arxiv.org/abs/1909.03368) (control tasks);
# [Salazar et al. 2019](https://arxiv.org/abs/1910.14659) (pseudo-perplexity); [Warner et al. 2024](https://arxiv.org/abs/2412.13663) (ModernBERT).
#
# **Next:** [the exercises of this chapter](exercises.en.ipynb), then chapter 6, which hides the future instead.
# %% [markdown] lang="zh" of="20052233"
# ## 回到开头的问题
#
# “全部读进来，全部说出去”为什么算不上考试？因为答案就摆在桌上。盖住一部分，要想及格，就只能去学剩下的内容之间通常是什么：
# 先是词的常见程度，再是左邻右舍，最后，正如探针所显示的，是一个词扮演的角色，尽管从来没有人问过这个。盖住多少，是题目数量与上下文之间的取舍。
#
# **局限。** 同一遍里的各个空是*互相独立地*猜的：对“[MASK] [MASK]”，网络可能在前一个空填“New York”的 New，在后一个空填“Los Angeles”的 Angeles。
# 它给不出整段文本的概率，所以不能像第 6 章那样一个词接一个词地写。这里的数字属于小网络、一个语料库和短时间的训练；
# 各种规则、各种比例的名次在大模型上是否相同，不能由此推出。NSP 的实验是从一个已经懂得很多的网络出发的。
#
# **文献。** [Devlin 等人（2018）](https://arxiv.org/abs/1810.04805)（BERT：80/10/10、NSP；消融实验见第 5.1 节和附录 C.2）；
# [Liu 等人（2019）](https://arxiv.org/abs/1907.11692)（RoBERTa，去掉了 NSP）；[Wettig 等人（2022）](https://arxiv.org/abs/2202.08005)（该不该盖 15 %？把破坏和提问分开）；
# [Hewitt 和 Liang（2019）](https://arxiv.org/abs/1909.03368)（对照任务）；[Salazar 等人（2019）](https://arxiv.org/abs/1910.14659)（伪困惑度）；
# [Warner 等人（2024）](https://arxiv.org/abs/2412.13663)（ModernBERT）。
#
# **接下来：** 做[这一章的练习](exercises.zh.ipynb)，然后读第 6 章，那里盖住的是后面的内容。
