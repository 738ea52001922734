# %% name="imports"
import torch
from torch.nn import functional as F

# %% [markdown] lang="en" role="exercise" exercise="hand" difficulty=1 minutes=10 points=2
# ## 1. The loss by hand
#
# A vocabulary of four tokens, 0 to 3, and a text of four places. Three places were chosen; `[MASK]` is none of the four:
#
# | place | chosen? | stood there | is read there | probabilities that the network gives to tokens 0, 1, 2, 3 |
# |---|---|---|---|---|
# | 1 | yes | 1 | `[MASK]` | 0.2, 0.5, 0.2, 0.1 |
# | 2 | yes | 0 | 0 (kept) | 0.8, 0.1, 0.05, 0.05 |
# | 3 | no | 3 | 3 | 0.1, 0.1, 0.1, 0.7 |
# | 4 | yes | 3 | 2 (random) | 0.1, 0.2, 0.3, 0.4 |
#
# To three decimals, with natural logarithms: the surprise $-\log p$ of the right answer at place 4; the loss of the text; the
# derivative of this loss with respect to the score (logit) of token 1 at place 1; and, no longer for this text but on average over
# very many texts, the loss of a network that always answers with the frequencies $\tfrac12, \tfrac14, \tfrac18, \tfrac18$, where
# these are the true frequencies and every question is asked behind `[MASK]`.
# %% [markdown] lang="zh" of="38363180"
# ## 1. 手算损失
#
# 词表有四个词元（0 到 3），一段文本有四个位置，其中三个被选中；`[MASK]` 不在这四个词元里：
#
# | 位置 | 选中了吗 | 原来是 | 读到的是 | 网络给词元 0、1、2、3 的概率 |
# |---|---|---|---|---|
# | 1 | 是 | 1 | `[MASK]` | 0.2, 0.5, 0.2, 0.1 |
# | 2 | 是 | 0 | 0（保持原样） | 0.8, 0.1, 0.05, 0.05 |
# | 3 | 否 | 3 | 3 | 0.1, 0.1, 0.1, 0.7 |
# | 4 | 是 | 3 | 2（随机） | 0.1, 0.2, 0.3, 0.4 |
#
# 用自然对数，算到小数点后三位：位置 4 上正确答案的意外程度 $-\log p$；这段文本的损失；这个损失对位置 1 上词元 1 的分数（logit）的导数；
# 最后一项不再针对这段文本，而是对大量文本取平均：如果网络永远按频率 $\tfrac12, \tfrac14, \tfrac18, \tfrac18$ 回答，真实频率也正是这样，
# 而且所有问题问的都是 `[MASK]`，损失是多少。
# %% exercise="hand" answer="by_hand"
by_hand = [
    # BEGIN SOLUTION
    0.916,  # -log 0.4
    0.611,  # (0.693 + 0.223 + 0.916) / 3
    -0.167,  # (0.5 - 1) / 3
    1.213,  # 1.75 log 2
    # END SOLUTION
    # BEGIN STUB
    # ...,  # surprise at place 4
    # ...,  # loss
    # ...,  # derivative
    # ...,  # loss of the frequencies
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. What is asked is always what *stood* there, whatever is read. And how many places are asked?
# 2. The derivative of $-\log$ softmax with respect to a logit is $p - 1$ for the right token and $p$ for every other one; the
#    loss is a mean.
# 3. Place 4: $-\log 0.4$. Loss: $(-\log 0.5 - \log 0.8 - \log 0.4) / 3$. The last one is the entropy: token 0 costs $\log 2$
#    half of the time, token 1 costs $2 \log 2$ a quarter of the time, and so on.
# %% [markdown] lang="zh" of="748f4916"
# 1. 不管读到的是什么，问的总是那里*原来*是什么。一共问了几个位置？
# 2. $-\log$ softmax 对 logit 的导数：正确的词元是 $p - 1$，其他词元是 $p$；损失是平均值。
# 3. 位置 4：$-\log 0.4$。损失：$(-\log 0.5 - \log 0.8 - \log 0.4) / 3$。最后一个就是熵：词元 0 有一半的机会出现，代价是 $\log 2$；
#    词元 1 有四分之一的机会出现，代价是 $2 \log 2$；依此类推。
# %% [markdown] lang="en" role="exercise" exercise="hide" difficulty=2 minutes=20 points=3
# ## 2. Write the 80/10/10 rule
#
# Complete `hide(tokens, draw, fate, others, rate, mask_id, special)`. So that it can be checked, all random numbers are given:
#
# - `tokens` (B, T): what was written; `special`: a list of ids that belong to no text and are never chosen;
# - `draw` (B, T), uniform in [0, 1): a token is chosen where `draw < rate`;
# - `fate` (B, T), uniform in [0, 1): a chosen token becomes `mask_id` where `fate < 0.8`, becomes the token in `others` where
#   `0.8 <= fate < 0.9`, and stays where `fate >= 0.9`;
# - returned is one tensor (2, B, T): first what the network reads, then the targets, -100 where nothing is asked;
# - the inputs must stay as they are, and the library's `Masking` may not be used.
# %% [markdown] lang="zh" of="6224dc5f"
# ## 2. 写出 80/10/10 规则
#
# 完成 `hide(tokens, draw, fate, others, rate, mask_id, special)`。为了便于检查，所有随机数都已经给好：
#
# - `tokens` (B, T)：原来的词元；`special`：一个列表，里面的编号不属于任何文本，永远不会被选中；
# - `draw` (B, T)，在 [0, 1) 上均匀分布：`draw < rate` 的词元被选中；
# - `fate` (B, T)，在 [0, 1) 上均匀分布：选中的词元，`fate < 0.8` 时换成 `mask_id`，`0.8 <= fate < 0.9` 时换成 `others` 里的词元，
#   `fate >= 0.9` 时保持原样；
# - 返回一个形状为 (2, B, T) 的张量：第一个是网络读到的内容，第二个是目标，不提问的位置是 -100；
# - 不许改动输入，也不许用库里的 `Masking`。
# %% exercise="hide" answer="hide"
def hide(tokens, draw, fate, others, rate, mask_id, special):
    # BEGIN SOLUTION
    chosen = (draw < rate) & ~torch.isin(tokens, torch.tensor(special, dtype=torch.long))
    read = torch.where(chosen & (fate < 0.8), mask_id, tokens)
    read = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), others, read)
    return torch.stack([read, tokens.masked_fill(~chosen, -100)])
    # END SOLUTION
# %% [markdown] lang="en" role="hints"
# 1. Two questions, one after the other: is this token chosen? And only then: what becomes of it?
# 2. `torch.isin(tokens, torch.tensor(special, dtype=torch.long))` finds the special ones. Every condition on `fate` needs `& chosen`.
# 3. `read = torch.where(chosen & (fate < 0.8), mask_id, tokens)`, then a second `torch.where` with `others`; the targets are
#    `tokens.masked_fill(~chosen, -100)`; `torch.stack` joins both.
# %% [markdown] lang="zh" of="5c43415c"
# 1. 依次回答两个问题：这个词元选中了吗？选中以后，它变成什么？
# 2. `torch.isin(tokens, torch.tensor(special, dtype=torch.long))` 能找出特殊词元。每个对 `fate` 的条件都要加上 `& chosen`。
# 3. `read = torch.where(chosen & (fate < 0.8), mask_id, tokens)`，再用一次 `torch.where` 填上 `others`；
#    目标是 `tokens.masked_fill(~chosen, -100)`；最后用 `torch.stack` 合在一起。
# %% [markdown] lang="en" role="exercise" exercise="pseudo" difficulty=3 minutes=20 points=3
# ## 3. A perplexity for a model that has none
#
# A masked language model gives no probability to a whole text: the product of its $p(x_t \mid x_{\setminus t})$
# over all places is not the probability of the text (where each of two tokens gives away the other, both factors are 1, and yet
# the text is not certain). So it has no **perplexity** either, which is the exponential of the mean surprise, the number of equally
# probable tokens between which a model seems to choose (chapter 6). Texts are compared by the **pseudo-perplexity** instead: hide every place *alone*, and take
#
# $$\exp\Big(-\frac1T \sum_{t=1}^{T} \log p(x_t \mid x_{\setminus t})\Big)$$
#
# Complete `pseudo_perplexity(model, tokens, mask_id)`. `model` is a function from ids (B, T) to scores (logits) (B, T, V);
# `tokens` is one text (T,); returned is a number. One call of the model, with a batch of T texts, will do.
# %% [markdown] lang="zh" of="e21a0434"
# ## 3. 给没有困惑度的模型算一个困惑度
#
# 遮蔽语言模型给不出整段文本的概率：各个位置的 $p(x_t \mid x_{\setminus t})$ 乘起来，并不是文本的概率
# （如果两个词元看到一个就知道另一个，两个因子都是 1，但这段文本并不是必然出现的）。因此它也没有**困惑度**（perplexity）：
# 困惑度是平均意外程度的指数，好比模型在多少个同样可能的词元之间选择（第 6 章）。要比较文本，用的是**伪困惑度**（pseudo-perplexity）：每次*只*盖住一个位置，计算
#
# $$\exp\Big(-\frac1T \sum_{t=1}^{T} \log p(x_t \mid x_{\setminus t})\Big)$$
#
# 完成 `pseudo_perplexity(model, tokens, mask_id)`。`model` 是一个函数，输入编号 (B, T)，输出分数（logits）(B, T, V)；
# `tokens` 是一段文本 (T,)；返回一个数。只需调用一次模型，一次输入 T 段文本。
# %% exercise="pseudo" answer="pseudo_perplexity"
def pseudo_perplexity(model, tokens, mask_id):
    # BEGIN SOLUTION
    places = torch.arange(len(tokens))
    holes = tokens.repeat(len(tokens), 1)
    holes[places, places] = mask_id
    logs = model(holes)[places, places].log_softmax(dim=-1)
    return (-logs[places, tokens].mean()).exp().item()
    # END SOLUTION
# %% [markdown] lang="en" role="hints"
# 1. Write down the batch for a text of three tokens: three rows. Where is the mask in each of them?
# 2. Of the scores (T, T, V), which T rows of length V are needed? Index with two equal lists: `scores[places, places]`.
# 3. `holes = tokens.repeat(T, 1)`, `holes[places, places] = mask_id`, `model(holes)[places, places].log_softmax(-1)`; of this
#    `[places, tokens]`; then mean, minus, `exp`, `.item()`.
# %% [markdown] lang="zh" of="707d7e57"
# 1. 把三个词元的文本对应的那一批写出来：三行。每一行的掩码在哪里？
# 2. 分数是 (T, T, V)，需要的是哪 T 个长度为 V 的行？用两个相同的下标来取：`scores[places, places]`。
# 3. `holes = tokens.repeat(T, 1)`，`holes[places, places] = mask_id`，`model(holes)[places, places].log_softmax(-1)`；
#    再取 `[places, tokens]`；然后求平均、取负、`exp`、`.item()`。
# %% [markdown] lang="en" role="exercise" exercise="debug" difficulty=2 minutes=15 points=3
# ## 4. Two bugs in the loss
#
# A colleague's masked language model trains wonderfully: the loss falls to a tenth within a minute. When asked to fill a blank, it
# answers `[MASK]`. **Two** lines of the loss have a bug. Find and mend them.
#
# - `logits` (B, T, V): the scores; `tokens` (B, T): what was written; `read` (B, T): what the network reads;
#   `chosen` (B, T): True where something is asked;
# - returned is the mean of $-\log p$ over all places that are asked.
# %% [markdown] lang="zh" of="266b1721"
# ## 4. 损失里的两处错误
#
# 同事的遮蔽语言模型训练得出奇地好：一分钟之内损失就降到了十分之一。可是让它填空，它回答 `[MASK]`。
# 损失函数里有**两**行出了错，请找出来，改正它们。
#
# - `logits` (B, T, V)：分数；`tokens` (B, T)：原来的词元；`read` (B, T)：网络读到的内容；
#   `chosen` (B, T)：要提问的位置是 True；
# - 返回所有被提问位置上 $-\log p$ 的平均值。
# %% exercise="debug" answer="masked_loss"
def masked_loss(logits, tokens, read, chosen):
    # BEGIN SOLUTION
    targets = tokens.masked_fill(~chosen, -100)
    # END SOLUTION
    # BEGIN STUB
    # targets = read.masked_fill(~chosen, -100)
    # END STUB
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")  # 0 where the target is -100
    # BEGIN SOLUTION
    return losses.sum() / chosen.sum()
    # END SOLUTION
    # BEGIN STUB
    # return losses.mean()
    # END STUB
# %% [markdown] lang="en" role="hints"
# 1. Why would a network learn to answer `[MASK]`? Because that is the right answer to the questions it gets.
# 2. With `reduction="none"` there is one entry for *every* place. What does `.mean()` divide by?
# 3. Targets from `tokens`; `losses.sum() / chosen.sum()`.
# %% [markdown] lang="zh" of="c298a294"
# 1. 网络为什么会学着回答 `[MASK]`？因为按照它得到的题目，这就是正确答案。
# 2. 用 `reduction="none"` 时，*每个*位置都有一项。`.mean()` 除以的是什么？
# 3. 目标取自 `tokens`；`losses.sum() / chosen.sum()`。
# %% [markdown] lang="en" role="exercise" exercise="level" difficulty=3 minutes=15 points=2
# ## 5. How far down without context?
#
# The lesson drew a line "own place known": the lowest loss of a network that looks only at what it reads at the place that is
# asked. Compute it for the smallest case: two ordinary tokens, both of frequency $\tfrac12$. Of the chosen places 80 % read
# `[MASK]`, 10 % a random token, drawn from the two (so it may be the old one), 10 % the old token.
#
# To three decimals: the probability that the token read is the right one, given that it is not `[MASK]`; the entropy (natural
# logarithm) of the right answer in that case; the loss over all chosen places.
# %% [markdown] lang="zh" of="c38733c8"
# ## 5. 不看上下文，最低能降到多少？
#
# 课文里画过一条线 own place known：如果网络只看被提问的那个位置上读到的词元，损失最低是多少。请在最小的情形下把它算出来：
# 普通词元只有两个，频率都是 $\tfrac12$。选中的位置里，80 % 读到 `[MASK]`；10 % 读到随机词元，从这两个里抽（所以可能正好是原来那个）；
# 10 % 读到原来的词元。
#
# 算到小数点后三位：在读到的不是 `[MASK]` 的条件下，读到的词元就是正确答案的概率；这种情况下正确答案的熵（自然对数）；所有选中位置上的损失。
# %% exercise="level" answer="level"
level = [
    # BEGIN SOLUTION
    0.75,  # half of the visible ones are kept, of the other half one in two is right by chance
    0.562,  # -0.75 log 0.75 - 0.25 log 0.25
    0.667,  # 0.8 log 2 + 0.2 * 0.562
    # END SOLUTION
    # BEGIN STUB
    # ...,  # probability
    # ...,  # entropy
    # ...,  # loss
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. Think of a hundred chosen places: how many read an ordinary token, and how many of those read the right one?
# 2. The entropy of two possibilities with $p$ and $1 - p$ is $-p \log p - (1 - p) \log (1 - p)$.
# 3. Twenty of a hundred are visible; ten are kept, and of the ten random ones five are right: $15 / 20$. Behind `[MASK]`
#    nothing is known, so each of those eighty costs $\log 2$.
# %% [markdown] lang="zh" of="54a35e1d"
# 1. 设想一百个选中的位置：有多少个读到普通词元？其中又有多少个读到的就是正确答案？
# 2. 两种可能，概率为 $p$ 和 $1 - p$，熵是 $-p \log p - (1 - p) \log (1 - p)$。
# 3. 一百个里有二十个看得见：十个保持原样，十个随机的里有五个碰巧正确，所以是 $15 / 20$。`[MASK]` 的位置什么也不知道，那八十个每个代价是 $\log 2$。
# %% [markdown] lang="en" role="exercise" exercise="measure" difficulty=2 minutes=15 points=2
# ## 6. How much context does it need?
#
# The book's encoder was trained with 30 % of the tokens hidden. Measure what share of the hidden tokens it finds when 15 %, 50 %
# and 90 % are hidden, all of them behind `[MASK]` (`shares=(1, 0)`), and put the three numbers in the list. `windows` are 32
# texts of 256 tokens that it has not read. Values within 0.06 are right: your random numbers are not ours.
# %% [markdown] lang="zh" of="ab739e34"
# ## 6. 它需要多少上下文？
#
# 本书的编码器是在盖住 30 % 词元的条件下训练的。请测量：盖住 15 %、50 %、90 % 的词元，而且全部换成 `[MASK]`（`shares=(1, 0)`）时，
# 它能找回其中多大比例。把三个数填进列表。`windows` 是 32 段它没读过的文本，每段 256 个词元。误差在 0.06 以内都算对：你的随机数和我们的不一样。
# %% exercise="measure" answer="found"
from llmguide_lib import course
from llmguide_lib.corpora import documentation
from llmguide_lib.corpora.storage import token_row
from llmguide_lib.objectives import Masking

model, tokenizer = course.load("bert")
row = token_row([document.text for document in documentation("test", ["networkx", "jinja2"])], tokenizer)
windows = row[: 32 * 256].view(32, 256).long()


def share_found(rate):
    hide = Masking(rate, 1, tokenizer.vocab_size, special=tuple(range(5)), shares=(1, 0))
    batch = hide(windows, torch.Generator().manual_seed(0))  # tokens are read; targets: -100 where nothing is asked
    # BEGIN SOLUTION
    asked = batch.targets != -100
    with torch.no_grad():
        guessed = model(batch.tokens).argmax(dim=-1)
    return (guessed == batch.targets)[asked].double().mean().item()
    # END SOLUTION


found = [
    # BEGIN SOLUTION
    share_found(0.15),
    share_found(0.5),
    share_found(0.9),
    # END SOLUTION
    # BEGIN STUB
    # ...,  # 15 % hidden
    # ...,  # 50 % hidden
    # ...,  # 90 % hidden
    # END STUB
]
# %% [markdown] lang="en" role="hints"
# 1. `model(batch.tokens)` has the shape (32, 256, 2048). Which token does the network bet on at each place?
# 2. Only places that are asked count: where `batch.targets != -100`.
# 3. `guessed = model(batch.tokens).argmax(-1)` under `torch.no_grad()`; then
#    `(guessed == batch.targets)[batch.targets != -100].double().mean().item()`.
# %% [markdown] lang="zh" of="51154609"
# 1. `model(batch.tokens)` 的形状是 (32, 256, 2048)。网络在每个位置押的是哪个词元？
# 2. 只有被提问的位置才算数：`batch.targets != -100` 的地方。
# 3. 在 `torch.no_grad()` 里：`guessed = model(batch.tokens).argmax(-1)`；然后
#    `(guessed == batch.targets)[batch.targets != -100].double().mean().item()`。
