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
import json
import math
import re
from importlib import resources

import torch
from torch import nn
from torch.nn import functional as F

from llmguide_lib.notebook import decide, difference, show

torch.set_default_dtype(torch.float64)
# %% [markdown] lang="en" name="idea"
# ## Hide, then ask
#
# If the word is among what the network reads, the shortest way to the right answer is to copy it, and a network takes the
# shortest way. So the word must go, and what remains must be enough to guess it: the words to its left *and* to its right.
# That is a **masked language model** (MLM): choose some of the tokens, put a special token `[MASK]` in their place, and ask
# for what stood there.
#
# A causal language model (chapter 6) hides the whole future instead and sees only what is to the left. What both sides are
# good for, you have just felt: after "Returns the" hundreds of words are possible, before "of elements" hardly a handful.
# %% [markdown] lang="zh" of="95a883ef"
# ## 先盖住，再提问
#
# 如果要猜的词就在网络读到的内容里，得到正确答案的最短路径就是抄，而网络总是走最短的路。所以这个词必须拿掉，
# 剩下的内容又要足够猜出它：它左边*和*右边的词。这就是**遮蔽语言模型**（masked language model，MLM）：
# 选出一部分词元，换成特殊词元 `[MASK]`，再问原来是什么。
#
# 因果语言模型（第 6 章）的做法不同：它把后面的内容全部盖住，只看左边。能看两边有什么好处，你刚才已经体会到了：
# “Returns the”后面可以接几百个词，再看到后面的“of elements”，就只剩下几个了。
# %% [markdown] lang="en" name="equation"
# ## The loss, derived
#
# We want a network that knows, for every place $t$ of a text $x$, how probable each token is given all the others:
# $p(x_t \mid x_{\setminus t})$. Maximum likelihood says: make the tokens that stand there as probable as possible. Taken
# literally, that costs $T$ passes through the network for a text of $T$ tokens, one for every hole. The masked language
# model makes many holes at once and takes one pass for all of them:
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
# 1. **Where nothing is asked, nothing is learned.** The derivative of the loss with respect to $z_{tv}$ is
#    $\big(p_\theta(v \mid \tilde x)_t - [v = x_t]\big) / |M|$ for $t \in M$, and zero at every other place.
# 2. **There are plateaus.** A network that ignores what it reads can do no better than always give each token its
#    frequency $f_v$; then the loss is the entropy $H = -\sum_v f_v \log f_v$. One that looks only at what it reads *at the
#    place that is asked* can get down to the conditional entropy $H(x_t \mid \tilde x_t)$, which is the same $H$ if there is
#    always `[MASK]`. Below that, context must be used.
# %% [markdown] lang="zh" of="d86aee1c"
# ## 推导损失函数
#
# 我们希望网络对文本 $x$ 的每个位置 $t$ 都知道：在给定其余所有词元时，每个词元有多大概率出现，也就是 $p(x_t \mid x_{\setminus t})$。
# 按照最大似然，应当让实际出现的词元概率尽量大。照字面去做，一段有 $T$ 个词元的文本要算 $T$ 遍网络，每个空一遍。
# 遮蔽语言模型一次挖很多个空，只算一遍：
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
# 1. **没有提问的地方，就学不到东西。** 对 $t \in M$，损失对 $z_{tv}$ 的导数是
#    $\big(p_\theta(v \mid \tilde x)_t - [v = x_t]\big) / |M|$；在其他所有位置，导数都是零。
# 2. **存在平台。** 如果网络不理会读到的内容，最好的办法就是永远给每个词元它的频率 $f_v$，这时损失等于熵
#    $H = -\sum_v f_v \log f_v$。如果只看*被提问的那个位置*上读到的词元，损失最低能降到条件熵 $H(x_t \mid \tilde x_t)$；
#    那里永远是 `[MASK]` 的话，它还是 $H$。要降到这以下，就必须利用上下文。
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
# $-100$ as PyTorch's sign for "do not ask here"; the gradient shows both conclusions of above:
# %% [markdown] lang="zh" of="64c656c2"
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
# PyTorch 用 $-100$ 表示“这里不提问”。梯度印证了上面的第一个结论：
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
# network to sort texts, feeds whole sentences. A network that was asked only under masks could give up on the words it can
# see; no loss ever asked for them. BERT's answer: of the chosen tokens
#
# - 80 % become `[MASK]`,
# - 10 % become a random token,
# - 10 % stay what they are,
#
# and all of them are asked for. So at *any* place the network must be ready to be asked, and it can never be sure that what
# it reads there is right. In code: one number decides, for every token, whether it is chosen and what becomes of it.
# %% [markdown] lang="zh" of="3c14a8b5"
# ## 80/10/10 规则
#
# 这里有个问题。实际使用时，没有人会写 `[MASK]`：想得到句子里每个词的向量，或者微调网络去给文本分类，输入的都是完整的句子。
# 如果只在遮住的地方提过问，网络完全可以放弃那些看得见的词，因为损失从来没有问过它们。BERT 的办法是，在选中的词元里：
#
# - 80 % 换成 `[MASK]`；
# - 10 % 换成一个随机词元；
# - 10 % 保持原样；
#
# 而且全部都要提问。这样一来，网络在*任何*位置都要准备好被提问，又永远不能确信读到的就是对的。
# 写成代码：对每个词元，一个随机数既决定它是否被选中，也决定它的下场。
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
show(masked=(read == MASK)[chosen].double().mean(), unchanged=(read == tokens)[chosen].double().mean())
show(ends_of_text_chosen=int(chosen[:, ::8].sum()), changed_elsewhere=int((read != tokens)[~chosen].sum()))
# %% [markdown] lang="en" name="rule-read"
# *Unchanged* is a little above a tenth: one random token in a hundred happens to be the old one. Is the code right? With the
# same random numbers the library's `Masking`, which later chapters use, must give the very same tokens. And its loss runs the
# network's last and widest layer, the one with a row for each token of the vocabulary, only where something is asked: it must
# not make a difference, and at a rate of 15 % it saves most of that layer.
# %% [markdown] lang="zh" of="c3d4b505"
# “unchanged”略高于十分之一：一百个词元的词表里，随机词元偶尔正好就是原来那个。代码对不对？
# 用同样的随机数，本书库里的 `Masking`（后面各章都用它）应当给出完全相同的词元。
# 另外，库里的损失只在被提问的位置才计算网络最后、也是最宽的那一层（词表里每个词元占一行）：结果不该有任何差别，
# 而在 15 % 的比例下，这一层的计算大部分都省掉了。
# %% name="rule-check"
from llmguide_lib.models import BERT, BERTConfig
from llmguide_lib.objectives import Batch, Masking, masked_cross_entropy

torch.set_default_dtype(torch.float32)
rule = Masking(0.15, MASK, 100, special=tuple(range(ORDINARY)))
batch = rule(tokens, torch.Generator().manual_seed(1))
torch.set_default_dtype(torch.float64)
show(read=difference(read, batch.tokens), targets=difference(targets, batch.targets))

torch.manual_seed(0)
small = BERT(BERTConfig(vocab_size=100, max_seq_len=16, d_model=8, num_heads=2, num_layers=2)).double().eval()
part = Batch(batch.tokens[:4, :16], batch.targets[:4, :16])
whole = F.cross_entropy(small(part.tokens).flatten(0, 1), part.targets.flatten(), reduction="sum")
show(loss=difference(whole, masked_cross_entropy(small, part)))
# %% [markdown] lang="en" name="bert"
# ## BERT, and nothing but a Transformer
#
# The network that made this exam famous is BERT (2018). Each token becomes the sum of three learned vectors: one for the
# token, one for its position, one for the sentence it belongs to (A or B; for the second exam below). The sum is normalised
# and passes through $L$ encoder blocks of chapter 4 with the norm *after* each sublayer and *no* causal mask, so that every
# place sees both sides. On top stands a small head that turns the state of a place into $V$ scores.
#
# The guide says that BERT is built on the Transformer (claim 2.2d). Whether anything else is in it can be tested: take
# PyTorch's own stack of encoder layers, give it BERT's weights, and compare. Where Hugging Face's library is installed, theirs
# is compared too. And the size that everybody quotes for the released model, 110 million parameters, must come out of our
# class at its published sizes.
# %% [markdown] lang="zh" of="e383a7b5"
# ## BERT：除了 Transformer，别无他物
#
# 让这种考试出名的网络是 BERT（2018）。每个词元先变成三个可学习的向量之和：一个对应词元，一个对应位置，一个对应它属于哪个句子
# （A 还是 B，用于后面的第二种考试）。这个和经过归一化，再依次通过 $L$ 个第 4 章的编码器块；归一化放在每个子层*之后*，
# *没有*因果掩码，所以每个位置都能看到两边。最上面是一个小小的输出头，把一个位置的状态变成 $V$ 个分数。
#
# 指南说，BERT 建立在 Transformer 之上（论断 2.2d）。里面有没有别的东西，可以检验：拿 PyTorch 自带的编码器层堆起来，装上 BERT 的权重，
# 看结果是否一致。装了 Hugging Face 的库的话，也和他们的比一比。人们常说的“1.1 亿参数”，也应当能用我们的类按公布的尺寸数出来。
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

with torch.device("meta"):  # counts without memory
    base = BERT(BERT_SIZES["bert-base-uncased"])
blocks = sum(p.numel() for p in base.blocks.parameters())
body = blocks + sum(p.numel() for n, p in base.named_parameters() if "embedding" in n or n.startswith("pooler"))
show(millions=body / 1e6, in_blocks=blocks / body)
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
        "BERT's blocks are PyTorch's encoder layers": by_parts == "< 1e-09",
        "at its published sizes it has the published 110M parameters": round(body / 1e6) in (109, 110),
    },
    {"a third component carries parameters beside embeddings and blocks": body - blocks > 0.5 * body},
)
# %% [markdown] lang="en" name="bert-verdict" claim="2.2d"
# **Claim 2.2d, its part for BERT.** Between the embeddings and the head, BERT *is* a stack of Transformer encoder layers: with
# its weights PyTorch's own layers compute the same states, padding included. Had a state differed by more than rounding, or
# had the count missed the published size, there would be something in BERT that the claim leaves out. GPT follows in chapter 6,
# XLNet in chapter 8. The course's own encoder is the younger ModernBERT: same idea; norms before the sublayers, rotary positions.
# %% [markdown] lang="zh" of="b63c677f"
# **论断 2.2d（BERT 部分）。** 在词嵌入和输出头之间，BERT *就是*一摞 Transformer 编码器层：装上它的权重，PyTorch 自带的层算出同样的状态，
# 带填充时也一样。假如有哪个状态的差别超出舍入误差，或者参数量与公布的对不上，就说明 BERT 里还有论断没有提到的东西。
# GPT 见第 6 章，XLNet 见第 8 章。本课程自己的编码器是更年轻的 ModernBERT：想法相同，只是归一化放在子层之前，位置用旋转编码。
# %% [markdown] lang="en" name="live"
# ## Fifty steps before your eyes
#
# Now for real. The text is the documentation of fifteen Python libraries, cut into windows of 256 tokens; the network is a
# ModernBERT of 2.9 million parameters; each step reads 16 windows, hides 30 % of their tokens and asks for them. The recipe is
# the one by which the course's encoder came about in 4,500 steps, and it starts from the same seed: your fifty steps are the
# first fifty of that run.
# %% [markdown] lang="zh" of="a348f097"
# ## 亲眼看五十步
#
# 现在动真格的。文本是十五个 Python 库的文档，切成每段 256 个词元；网络是 290 万参数的 ModernBERT；
# 每一步读 16 段，盖住其中 30 % 的词元来提问。本课程的编码器就是按这个方案训练了 4500 步得来的，随机种子也相同：你的五十步，正是那次训练的前五十步。
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
# The loss of your run, in nats per hidden token: each point is the mean of ten steps.
# %% [markdown] lang="zh" of="d7359b85"
# 你这次训练的损失，单位是每个被遮住的词元多少 nat；每个点是十步的平均。
# %% name="live-plot" tags=["free"]
from llmguide_lib.plots import curves


def recorded(name):
    """The record of a long run or benchmark that the package ships."""
    return json.loads(resources.files("llmguide_lib").joinpath(f"data/runs/{name}.json").read_text(encoding="utf-8"))


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
# 你的训练放在长程训练的曲线里，步数用对数坐标。你的曲线结束的地方，正是有记录的点开始的地方，夹在两条线之间：
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
assert levels["own place known"] < losses[-1] < levels["frequencies known"] + 0.1
assert sum(token in frequent for token in said) >= 0.7 * len(said)  # it answers with what is frequent everywhere
# %% [markdown] lang="en" name="live-read"
# The answers are the same few stops, commas and little words, whatever the sentence: the network has learned which tokens are
# frequent. It is a little better than that, but look at the lower line. Of the places that are asked, one in ten still shows its
# own token; who only copies it, and else answers by frequency, gets down to *own place*. As long as the loss is above this
# line, nothing shows that the network has looked at a single neighbour. A minute on two cores does not buy much more. This is
# why the book ships a model for which somebody has waited an hour.
# %% [markdown] lang="zh" of="c631bd87"
# 不管什么句子，答案都是那几个句号、逗号和小词：网络学会了哪些词元常见。它比“只知道频率”略好一点，但请看下面那条线：
# 被提问的位置里，有十分之一仍然露着自己的词元；只要照抄它，其余的按频率回答，损失就能降到 own place 这条线。
# 只要损失还在这条线以上，就没有任何迹象表明网络看过哪怕一个邻居。两个核跑一分钟，差不多只能买到这些。
# 所以本书附带一个模型，是有人等了一个多小时训练出来的。
# %% [markdown] lang="en" name="plateau"
# ## Why it waits on the plateau, and what makes it leave
#
# To get below both lines, the network must read a neighbour. At the start attention is nearly uniform: every
# place takes the *mean* of all places that it can see. In a window of 256 tokens one neighbour is 1/256 of that mean. It is
# drowned out, and so is the gradient that would tell attention to look at it. If a layer may see only four tokens on each side, the
# neighbour is 1/9.
#
# That is a reason, not yet evidence. Two tests. First, at untrained networks: exchange the neighbour of a token, and look how
# much the token's final state moves. Second, over 200 steps of real training.
# %% [markdown] lang="zh" of="273c20fa"
# ## 为什么停在平台上，怎样才能离开
#
# 要降到两条线以下，网络必须去读邻居。刚开始时注意力几乎是均匀的：每个位置取的是它能看到的所有位置的*平均*。
# 在 256 个词元的窗口里，一个邻居只占这个平均的 1/256，它的声音被淹没了，“去看它”的梯度也一样被淹没。
# 如果某一层只能看左右各四个词元，邻居就占 1/9。
#
# 这只是一个理由，还不是证据。做两个检验。第一，看未训练的网络：换掉一个词元的邻居，看它的最终状态变动多少。
# 第二，看真实训练的 200 步。
# %% [markdown] lang="en" name="guess-plateau" role="prediction"
# **Predict.** Two networks differ in one thing: in one, three of the five layers see only four tokens on each side, in the
# other all layers see everything. The second can compute all that the first can, and more. Which has the lower loss after 200
# steps, and by how much?
# %% [markdown] lang="zh" of="361a6dfa"
# **先预测。** 两个网络只差一点：一个网络的五层里有三层只能看左右各四个词元，另一个网络每层都能看到全部。
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
# Training loss over the first 200 steps (recorded, `benchmarks/plateau.py`; mean of two seeds). The less the three local layers
# see, the sooner the loss falls below the line of what can be had without context; where all layers see everything, it stays
# above that line.
# %% [markdown] lang="zh" of="bbab2296"
# 前 200 步的训练损失（记录自 `benchmarks/plateau.py`，两个种子的平均）。三个局部层看得越少，损失就越早降到“不看上下文”的那条线以下；
# 如果每层都看到全部，损失就一直停在线的上方。
# %% name="plateau-numbers"
for name, cell in shown.items():
    show(name, *cells[cell].values())
ends = {name: [seed[-1] for seed in cells[cell].values()] for name, cell in shown.items()}
assert max(ends["sees 4 on each side"]) < min(ends["sees 8"]) < max(ends["sees 8"]) < min(ends["sees everything"]) - 0.9
# %% [markdown] lang="en" name="plateau-read"
# Two seeds each, four points, every one the mean of five noted losses. The network that *can* do less learns sooner, in both
# seeds by more than a nat: what a network can express and what gradient descent finds in it soon are different questions. Given
# enough steps the network that sees everything leaves the plateau too, as BERT did; how long it takes was not measured here.
# %% [markdown] lang="zh" of="1922b2ab"
# 每种设置两个种子、四个点，每个点是五次记录的平均。*能做的事*更少的网络反而学得更早，两个种子都领先 1 nat 以上：
# 网络能表达什么，和梯度下降能很快在里面找到什么，是两个问题。步数足够多的话，每层都看到全部的网络也会离开平台，BERT 就是这样；要多久，这里没有测量。
# %% [markdown] lang="en" name="fill"
# ## Filling in the blank
#
# The course's encoder has gone through all 4,500 steps. The same five sentences; the last one is far from anything it has read.
# %% [markdown] lang="zh" of="c40d872b"
# ## 完形填空
#
# 本课程的编码器走完了全部 4500 步。还是那五个句子；最后一句和它读过的任何东西都相去甚远。
# %% name="fill-course" tags=["free"]
for sentence in SENTENCES:
    print(f"{sentence:50}", *(f"{token!r} {share:.0%}" for token, share in answers(trained, sentence)))
# EXPLORER: here FillInExplorer(trained, tokenizer, ...) will stand, once llmguide_lib.widgets has it.
# %% [markdown] lang="en" name="fill-try"
# Now write your own sentences with `[MASK]` in them into the cell above (a word and the blank before it are one token:
# leave no blank before `[MASK]`). Change a word to the *right* of the hole and watch the answer change.
# %% [markdown] lang="zh" of="b1ff5984"
# 请把你自己的、带 `[MASK]` 的句子写进上面的单元格（单词和它前面的空格合为一个词元，所以 `[MASK]` 前面不要留空格）。
# 改一改空的*右边*的词，看看答案怎么变。
# %% [markdown] lang="en" name="baselines"
# ## Beside models that count
#
# How good is that? Three rivals that need no network: the most frequent token; the token that most often followed the one
# before (bigrams); the token that most often stood between this left and this right neighbour, which is a masked language model
# by counting. The questions: 15 % of the tokens of held-out documents, all behind `[MASK]`.
# %% [markdown] lang="zh" of="5af13864"
# ## 和计数模型比一比
#
# 这到底算不算好？有三个不用网络的对手：最常见的词元；最常跟在前一个词元后面的词元（二元组）；
# 最常出现在这两个左右邻居之间的词元，也就是用计数做的遮蔽语言模型。题目：没读过的文档里 15 % 的词元，全部换成 `[MASK]`。
# %% [markdown] lang="en" name="guess-baselines" role="prediction"
# **Predict** the share of right answers of all four: most frequent token, bigrams, both neighbours, the network.
# %% [markdown] lang="zh" of="6006ed95"
# **先预测**四者的正确率：最常见的词元、二元组、左右邻居、网络。
# %% name="baselines-measure" tags=["measured"]
from llmguide_lib.evaluation import bootstrap


def best_after(context, follower):
    """The most frequent follower of each context."""
    codes, number = (context * VOCAB + follower).unique(return_counts=True)
    order = number.argsort(stable=True)  # the most frequent one comes last and stays in the dictionary
    return dict(zip((codes // VOCAB)[order].tolist(), (codes % VOCAB)[order].tolist(), strict=True))


corpus = rows["train"].long()
after = best_after(corpus[:-1], corpus[1:])
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
both = torch.tensor([
    [between.get(key, fallback) for key, fallback in zip(*pair, strict=True)]
    for pair in zip((left * VOCAB + right).tolist(), bigram.tolist(), strict=True)
])  # fmt: skip
with torch.no_grad():
    network = torch.cat([trained(part).argmax(dim=-1) for part in exam.tokens.split(16)])
guesses = {"most frequent": torch.full_like(windows, top), "bigrams": bigram, "both neighbours": both, "network": network}
found = {}
for name, guess in guesses.items():
    hits = ((guess == exam.targets) & asked).sum(dim=1).double()
    found[name] = bootstrap(lambda places, hits=hits: hits[places].sum() / asked[places].sum(), len(hits))
    print(f"{name:16} {found[name].value:.1%}   ({found[name].low:.1%} to {found[name].high:.1%})")
# %% name="baselines-range"
assert found["most frequent"].high < found["bigrams"].low and found["bigrams"].high < found["network"].low - 0.2
assert found["both neighbours"].low > found["bigrams"].value and 0.5 < found["network"].value < 0.72
# %% [markdown] lang="en" name="baselines-read"
# The intervals come from drawing the 64 windows again and again with replacement: tokens of one window are no independent
# questions. (On the whole held-out part the model card has the network, the most frequent token and bigrams; there 80 % of the
# chosen tokens read `[MASK]`.) Counting both neighbours is the honest rival: it sees both sides too, but only one word of each,
# and where it has never met the pair it must fall back to one. The rest of the network's lead comes from further away.
# %% [markdown] lang="zh" of="c7e28207"
# 区间是这样得来的：把 64 段文本反复有放回地重抽，因为同一段里的词元不是互相独立的题目。（在全部没读过的文本上，网络、最常见词元和二元组的成绩
# 见模型卡；那里选中的词元有 80 % 读作 `[MASK]`。）同时数左右邻居，才是公平的对手：它也看两边，只不过每边只看一个词，
# 遇到没见过的组合，就只能退回到一边。网络其余的领先，来自更远的地方。
