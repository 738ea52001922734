# %% [markdown] lang="en" name="decoding"
# ## From bets to text: decoding
#
# The model bets; somebody must choose. Write down the chosen token, read it as if it were given, bet again. The ways of
# choosing differ in which tokens they allow:
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
# The first five by hand, on a distribution of five tokens:
# %% [markdown] lang="zh" of="00000000"
# ## 从押注到文字：解码
#
# 模型只管押注，总要有人来选。选中一个词元写下来，当成已知的前文读进去，再押下一个。各种选法的差别，在于允许选哪些词元：
#
# | 方法 | 规则 |
# |---|---|
# | 贪心 | 总选概率最大的词元 |
# | 温度 $\tau$ | 从 $\operatorname{softmax}(z/\tau)$ 里抽：小于 1 更尖锐，大于 1 更平缓 |
# | top-$k$ | 在概率最大的 $k$ 个里抽 |
# | top-$p$（核采样） | 从大到小取，取到总概率达到 $p$ 为止，在这些里抽 |
# | min-$p$ | 在概率不小于最大者的 $p$ 倍的词元里抽 |
# | 重复惩罚 $\theta$ | 已经出现过的词元，logits 为正的除以 $\theta$，为负的乘以 $\theta$ |
# | 束搜索 | 每一步保留最好的 $b$ 个*开头* |
#
# 前面五种，先在五个词元的分布上手算：
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
# %% [markdown] lang="zh" of="00000000"
# **动手探索。** 课程模型就在你的浏览器里。输入一个开头，点一个词元，调温度、top-$k$、top-$p$ 和 min-$p$，看条形怎样变。
# 哪里几乎全部概率都在一个词元上，哪里五十个词元平分秋色？固定的 $k$ 总有一处不合适，$p$ 则会自己调整。
# %% name="explore-next-token" tags=["free"]
from llmguide_lib.widgets import NextTokenExplorer

torch.set_default_dtype(torch.float32)
NextTokenExplorer(gpt, tokenizer, "Returns the number of")
# %% [markdown] lang="en" role="caption"
# The tokens of a text, and for the marked one the ten most probable next tokens as bars, before and after the filters.
# %% [markdown] lang="zh" of="00000000"
# 一段文字的各个词元，以及选中位置之后概率最大的十个词元，画成条形，有过滤前和过滤后两种。
# %% [markdown] lang="en" name="guess-greedy" role="prediction"
# **Predict.** Greedy always takes the most probable token, so its texts are the most probable ones, or nearly. Are they
# also the *best*? How probable is what people really wrote, under the same model: as probable as greedy's text, more, or less?
# %% [markdown] lang="zh" of="00000000"
# **先预测。** 贪心每次都选概率最大的词元，所以写出的文字差不多就是概率最大的文字。它们也*最好*吗？
# 人真正写下的文字，在同一个模型看来，概率比贪心写的更高、一样，还是更低？
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
# * **variety**: different pairs of tokens among all pairs of the four answers to one beginning.
#
# Brackets: 95 % intervals over the 16 beginnings.
# %% [markdown] lang="zh" of="00000000"
# ## 各种方法效果如何：量一量
#
# 从没见过的文档里取 16 个开头（各 12 个词元），每个后面写 48 个词元；带随机性的方法各抽四次。禁止写出文本结束符，好让长度一样。
# 测量下面四项，并与人在同样位置写下的文字对照：
#
# * **surprise**：模型自己对所写文字的意外程度，奈特每词元。这是*模型*眼里的质量；
# * **judge**：一个三元模型的意外程度，它数的是*另一批*文档，神经网络从没见过。这是局外人眼里的质量，虽然他一次只看三个词元；
# * **repeats**：连续四个词元在同一段文字里前面出现过的比例；
# * **variety**：同一个开头的四个续写里，不同的词元对占全部词元对的比例。
#
# 方括号里是对 16 个开头算出的 95 % 区间。
# %% name="measure-write" tags=["free"]
from llmguide_lib.generation import beam_search

LENGTH, NEW, SAMPLES = 13, 48, 4
test_texts = [ids for ids in (tokenizer.encode(document.text) for document in documentation("test")) if len(ids) >= 60]
chosen = torch.tensor([[0, *ids[:60]] for ids in test_texts[:: len(test_texts) // 16][:16]])
assert tokenizer.token_to_id("<|endoftext|>") == 0
beginnings, people = chosen[:, :LENGTH], chosen[:, LENGTH:]


class Endless:
    """A decoder that may not write special tokens, such as the end of a text."""

    training = False

    def __init__(self, model):
        self.model, self.config = model, model.config

    def __call__(self, tokens, mask=None, cache=None):
        return self.model(tokens, mask, cache).index_fill(-1, torch.arange(5), -torch.inf)


def sampled(*filters):
    """Four answers to each beginning (16, 4, 48)."""
    rows = beginnings.repeat_interleave(SAMPLES, dim=0)
    return generate(Endless(gpt), rows, NEW, sampler=Sample(*filters, seed=0))[:, LENGTH:].unflatten(0, (-1, SAMPLES))


def fixed(answers):
    """The same answer four times: nothing is drawn."""
    return answers[:, None].expand(-1, SAMPLES, -1)


beams = [beam_search(Endless(gpt), row[None], NEW, num_beams=4)[0][LENGTH:] for row in beginnings]
penalised = Greedy(RepetitionPenalty(1.3))
answers = {
    "people": fixed(people),
    "greedy": fixed(generate(Endless(gpt), beginnings, NEW)[:, LENGTH:]),
    "beam search, 4": fixed(torch.stack(beams)),
    "greedy, penalty 1.3": fixed(generate(Endless(gpt), beginnings, NEW, sampler=penalised)[:, LENGTH:]),
    "temperature 0.7": sampled(Temperature(0.7)),
    "temperature 1": sampled(),
    "temperature 1.3": sampled(Temperature(1.3)),
    "top-k 20": sampled(TopK(20)),
    "top-p 0.9": sampled(TopP(0.9)),
    "min-p 0.1": sampled(MinP(0.1)),
}
for name, texts in answers.items():
    if name != "people":
        print(f"{name:20} {tokenizer.decode([*beginnings[3].tolist()[1:], *texts[3, 0].tolist()])[:150]!r}")
# %% name="measure-table" tags=["measured"]
from llmguide_lib.evaluation import bootstrap_mean

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
table = {
    name: [
        bootstrap_mean(values.mean(dim=1))
        for values in (surprises[name].mean(-1), judged(texts), repeats(texts), variety(texts))
    ]
    for name, texts in answers.items()
}
print(" " * 20, *(f"{column:^18}" for column in ("surprise", "judge", "repeats", "variety")))
for name, row in table.items():
    print(f"{name:20}", *(f"{value:5.2f} [{low:4.2f}, {high:4.2f}] " for value, low, high in row))
# %% name="measure-check"
surprise_of, judge_of, repeats_of, variety_of = ({name: row[at] for name, row in table.items()} for at in range(4))
for name in ("greedy", "beam search, 4"):  # too probable, and they go round in circles
    assert surprise_of[name].high < surprise_of["people"].low and repeats_of[name].low > repeats_of["people"].high
assert surprise_of["temperature 1.3"].value > surprise_of["temperature 1"].value > surprise_of["temperature 0.7"].value
assert judge_of["temperature 1.3"].value > judge_of["top-p 0.9"].value
assert repeats_of["greedy, penalty 1.3"].high < repeats_of["greedy"].low
for name in ("temperature 0.7", "top-k 20", "top-p 0.9", "min-p 0.1"):  # less surprising than plain drawing
    assert surprise_of[name].value < surprise_of["temperature 1"].value < surprise_of["people"].value + 0.7
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
# hardly surprising from the start and ever less so, because it repeats itself. Drawing lies between or above.
# %% [markdown] lang="zh" of="00000000"
# 沿着文字往后，模型的意外程度（每六个词元一组）。人写的文字一路都让模型意外；贪心写的从一开始就不太意外，而且越来越低，因为它在重复自己。
# 抽样的方法介于两者之间，或者更高。
# %% [markdown] lang="en" name="measure-read"
# **The most probable text is not the best.** Greedy and beam search write text that the model finds far more probable than what
# people write, and much of it says the same again: somewhere a phrase makes itself more probable by having been said, and there is no
# way out. People do not write the most probable text; nothing would be worth saying.
#
# **Plain drawing is honest but pays for the tail.** Thousands of improbable tokens have a little probability each; in 48 draws some
# are taken, and a strange token makes the next ones strange. Temperature above 1 makes it worse, as model *and* judge see it.
#
# **Cutting the tail** (top-$k$, top-$p$, min-$p$) or sharpening it (temperature 0.7) buys quality with variety. Which one
# is best cannot be read off one column: quality and variety are two ends of one trade.
#
# **The penalty** breaks the circles, because it forbids what came, also where it belongs (*the*, brackets, names).
#
# A surprise as people's is necessary for text like people's, not sufficient: noise can have it too.
# %% [markdown] lang="zh" of="00000000"
# **概率最大的文字不是最好的文字。** 贪心和束搜索写出的文字，模型觉得比人写的可能得多，其中很多却是在重复：某个短语说过一遍，再说一遍的概率就更高，
# 从此绕不出来。人不会去写最可能的话，那样的话没有什么值得说的。
#
# **直接抽样很诚实，但要为尾部付出代价。** 成千上万个不太可能的词元，各有一点点概率；抽 48 次，总会抽中几个，而一个怪词元会让后面的也变怪。
# 温度高于 1 更糟，模型和局外人都这么看。
#
# **切掉尾部**（top-$k$、top-$p$、min-$p$）或压低尾部（温度 0.7），是用多样性换质量。哪个最好，看单独一列是看不出来的：质量和多样性是同一笔交易的两头。
#
# **重复惩罚**打破了循环，因为它压制一切出现过的词元，哪怕那里本来就该用它（比如 *the*、括号、名字）。
#
# 意外程度和人写的一样，是写得像人的必要条件，不是充分条件：噪声也可以做到。
# %% [markdown] lang="en" name="beam"
# ## Beam search, and why it looks further
#
# Greedy decides token by token. Suppose that after the start *A* has probability 0.6 and *B* 0.4; after *A* come three tokens
# with 0.4, 0.3, 0.3, after *B* one with 0.9. Greedy takes *A* and ends at $0.6 \cdot 0.4 = 0.24$; the best text
# is *B* with $0.4 \cdot 0.9 = 0.36$. Keeping two beginnings instead of one finds it. In ten lines, equal to the library's:
# %% [markdown] lang="zh" of="00000000"
# ## 束搜索：为什么看得更远
#
# 贪心一次只看一个词元。假设开头之后，*A* 的概率是 0.6，*B* 是 0.4；*A* 后面有三个词元，概率是 0.4、0.3、0.3，*B* 后面有一个是 0.9。
# 贪心选 *A*，最后得到 $0.6 \cdot 0.4 = 0.24$；最好的文字却走 *B*，概率 $0.4 \cdot 0.9 = 0.36$。保留两个开头而不是一个，就能找到它。
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
# Beam search serves where one right answer exists, as in translation (chapter 7). For open text it finds what was measured above:
# the probable, and so the dull. <!-- PLACE: BeamExplorer(gpt, tokenizer) -->
# %% [markdown] lang="zh" of="00000000"
# 只有一个正确答案的任务（例如翻译，第 7 章）适合束搜索。写开放的文字，它找到的就是上面量出来的那种：最可能的，因而最乏味的。<!-- PLACE: BeamExplorer(gpt, tokenizer) -->
