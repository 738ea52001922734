# %% [markdown] lang="en" name="cache"
# ## The KV cache: never compute anything twice
#
# To write token 100 the model reads 99 tokens, to write token 101 it reads 100, of which 99 are the same. With causal
# attention nothing that comes later changes what was computed for an earlier place. All that a new token needs of the earlier
# ones is their keys and values: keep them, and read only *the one new token* at each step.
#
# | | multiplications for token $t$ | memory |
# |---|---|---|
# | without a cache | $\approx 2Nt$, and attention's $t^2$ | nothing |
# | with a cache | $\approx 2N$, and attention's $t$ | $2 \cdot L \cdot G \cdot K$ numbers per token |
#
# $N$ parameters, $L$ layers, $G$ key-value heads of width $K$. The function above has it built in (five lines). It must be *equal*:
# %% [markdown] lang="zh" of="00000000"
# ## KV 缓存：算过的不再算
#
# 写第 100 个词元，模型要读前面 99 个；写第 101 个，要读 100 个，其中 99 个是一样的。因果注意力下，后面来的词元不会改变前面位置上算好的任何东西。
# 新词元需要前面的，只有各位置的键和值：把它们存下来，每一步就只用读*那一个新词元*。
#
# | | 第 $t$ 个词元的乘法次数 | 内存 |
# |---|---|---|
# | 不用缓存 | 约 $2Nt$，外加注意力的 $t^2$ | 无 |
# | 用缓存 | 约 $2N$，外加注意力的 $t$ | 每个词元 $2 \cdot L \cdot G \cdot K$ 个数 |
#
# $N$ 是参数量，$L$ 是层数，$G$ 是键值头的个数，$K$ 是头的宽度。前面那个函数已经带着缓存（五行）。它的结果必须*相等*：
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
# %% [markdown] lang="zh" of="00000000"
# **先预测。** 课程模型写 192 个词元，用缓存会快几倍？Llama 3 8B（32 层，8 个键值头，头宽 128，每个数两个字节）存 8192 个词元的缓存，要占多少内存？
# %% name="cache-memory"
for name, layers, kv_heads, width, length in (("gpt-course", 5, 6, 32, 256), ("Llama 3 8B", 32, 8, 128, 8192)):
    numbers = 2 * layers * kv_heads * width
    show(name, "bytes per token", 2 * numbers, "MB for", length, "tokens", 2 * numbers * length / 1e6)
# %% name="cache-speed" tags=["measured"]
import time
from itertools import islice

from llmguide_lib.generation import stream

torch.set_default_dtype(torch.float32)


def seconds_at(cache, length=192, part=24):
    """Seconds for a token, mean of each 24, while writing after one token."""
    tokens, times = stream(gpt, start[:, :1], length, cache=cache), []
    while times == [] or len(times) < length // part:
        began = time.perf_counter()
        list(islice(tokens, part))
        times.append((time.perf_counter() - began) / part)
    return times


seconds_at(cache=True)  # the first time is slower
without, with_cache = seconds_at(cache=False), seconds_at(cache=True)
times_faster = sum(without) / sum(with_cache)
show("whole text, times faster with a cache", round(times_faster, 1))
show("last part against first, without", round(without[-1] / without[1], 1), "with", round(with_cache[-1] / with_cache[1], 1))
# %% name="cache-speed-check"
assert times_faster > 2 and without[-1] > 1.5 * without[1]
assert with_cache[-1] / with_cache[1] < without[-1] / without[1]
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
# %% [markdown] lang="zh" of="00000000"
# 随着文字变长，每多写一个词元要几毫秒。不用缓存，时间随长度增长；用缓存，线几乎是平的。
# %% [markdown] lang="en" name="own-model"
# ## Your own model, in the browser
#
# The explorer runs any small decoder, also the one you trained forty steps ago. Compare its bars with those of the course model: they hardly
# depend on what you type, because it knows little more than which tokens are frequent.
# <!-- PLACE: LogitLensExplorer(gpt, tokenizer); export_page("my-model.html", NextTokenExplorer(live, tokenizer)) -->
# %% [markdown] lang="zh" of="00000000"
# ## 浏览器里的，你自己的模型
#
# 这个探索器能运行任何小的解码器，包括你刚才训练了四十步的那个。把它的条形与课程模型的对比一下：无论你输入什么，条形几乎不变，
# 因为它除了哪些词元常见，几乎什么也不知道。<!-- PLACE: LogitLensExplorer(gpt, tokenizer); export_page("my-model.html", NextTokenExplorer(live, tokenizer)) -->
# %% name="explore-own" tags=["free"]
NextTokenExplorer(live, tokenizer, "Returns the number of")
# %% [markdown] lang="en" role="caption"
# The same explorer with the model of the live run: nearly the same bars after every token.
# %% [markdown] lang="zh" of="00000000"
# 同一个探索器，换成现场训练的模型：每个词元之后的条形几乎一样。
# %% [markdown] lang="en" name="scaling"
# ## A scaling law, and a prediction that could fail
#
# Larger models predict better. *How much* better can be said beforehand, from small ones: that is how large models are planned. We trained
# four sizes (39 to 326 thousand parameters, tied embedding included), three seeds each, on the same million tokens, with a learning rate
# chosen on two of the sizes. Two laws are candidates:
#
# $$L(N) = A\,N^{-\alpha} \qquad\text{or, with a floor,}\qquad L(N) = E + A\,N^{-\alpha}$$
#
# Both were fitted to the four sizes, and what they say about a fifth (751 thousand) was written to the record with an interval
# *before* it was trained (`benchmarks/scaling.py`; the file's history shows the order). Here you fit them again: given $\alpha$, $E$ and $A$ are a
# straight line, so trying many $\alpha$ is all that is needed.
# %% [markdown] lang="zh" of="00000000"
# ## 规模定律，以及一个可能落空的预言
#
# 模型越大，预测越准。*准多少*，用小模型就能事先说出来，大模型正是这样规划的。我们训练了四种规模（3.9 万到 32.6 万个参数，含共享的词嵌入），
# 每种三个随机种子，都读同样的一百万个词元，学习率在其中两种规模上选定。候选的定律有两个：
#
# $$L(N) = A\,N^{-\alpha} \qquad\text{或者带下限：}\qquad L(N) = E + A\,N^{-\alpha}$$
#
# 两个定律都用这四种规模拟合，它们对第五种规模（75.1 万个参数）的预言，连同区间，在训练*之前*就写进了记录（`benchmarks/scaling.py`；文件的历史能看出先后）。
# 现在你来重新拟合：给定 $\alpha$ 之后，$E$ 和 $A$ 就是一条直线，所以只需把许多 $\alpha$ 都试一遍。
# %% [markdown] lang="en" name="guess-scaling" role="prediction"
# **Predict.** From the smallest to the largest of the four (8 times as many parameters) bits per byte fall from 2.25 to 1.92. Where will the fifth be, 2.3 times larger again?
# %% [markdown] lang="zh" of="00000000"
# **先预测。** 四种规模里从最小到最大（参数多 8 倍），每字节比特数从 2.25 降到 1.92。第五种再大 2.3 倍，会降到多少？
# %% name="scaling-fit" tags=["measured"]
def final(size):
    """Parameters of a size, and bits per byte at the end of its three runs."""
    cells = [scaling["cells"][f"{size}, rate {scaling['rate']:g}, seed {seed}"] for seed in scaling["seeds"]]
    return cells[0]["parameters"], torch.tensor([cell["bits_per_byte"]["512"] for cell in cells], dtype=torch.float64)


def power_law(sizes, bits, alphas):
    """E, A and alpha of E + A N^-alpha by least squares, E not negative."""
    best = None
    for alpha in alphas:
        columns = torch.stack([torch.ones_like(sizes), sizes**-alpha], dim=1)
        floor, slope = torch.linalg.lstsq(columns, bits[:, None]).solution.flatten().tolist()
        error = (columns @ torch.tensor([floor, slope], dtype=torch.float64) - bits).square().sum().item()
        if floor >= 0 and (best is None or error < best[0]):
            best = error, floor, slope, alpha
    return best[1:]


*four, fifth = scaling["sizes"]
sizes = torch.tensor([float(final(size)[0]) for size in four], dtype=torch.float64)
means = torch.stack([final(size)[1].mean() for size in four])
floor, slope, alpha = power_law(sizes, means, torch.arange(0.01, 2, 0.005).tolist())
number, outcome = final(fifth)
told = scaling["prediction"]
print(f"floor {floor:.2f}, exponent {alpha:.2f}; spread between seeds {final(four[0])[1].std():.4f}")
for law in ("power law", "power law with a floor"):
    low, high = told[law]["interval"]
    print(f"{law:24} predicted {told[law]['bits_per_byte']:.3f} [{low:.3f}, {high:.3f}]")
print(f"{'trained afterwards':24}           {outcome.mean():.3f}  seeds {[round(value, 3) for value in outcome.tolist()]}")
# %% name="scaling-check"
assert abs(floor + slope * number**-alpha - told["power law with a floor"]["bits_per_byte"]) < 1e-3  # the same fit
misses = {law: outcome.mean().item() - told[law]["bits_per_byte"] for law in ("power law", "power law with a floor")}
low, high = told["power law with a floor"]["interval"]
# %% name="scaling-plot" tags=["free"]
places = torch.logspace(math.log10(3e4), 6, 30, dtype=torch.float64)
straight = told["power law"]
figure = curves(
    {
        "four sizes": means.tolist(),
        "with a floor": (floor + slope * places**-alpha).tolist(),
        "power law": (straight["A"] * places ** -straight["alpha"]).tolist(),
        "fifth, trained afterwards": [outcome.mean().item()],
    },
    {
        "four sizes": sizes.tolist(),
        "with a floor": places.tolist(),
        "power law": places.tolist(),
        "fifth, trained afterwards": [number],
    },
    xlabel="parameters",
    ylabel="bits per byte, held-out",
    log="xy",
)
# %% [markdown] lang="en" role="caption"
# Bits per byte over the number of parameters, both axes logarithmic: four sizes, the two laws fitted to them, and the
# fifth size. The straight law goes on falling; the one with a floor bends.
# %% [markdown] lang="zh" of="00000000"
# 每字节比特数与参数量，两轴都是对数：四种规模、拟合出的两个定律，以及第五种规模。直线定律一路往下；带下限的弯了过来。
# %% [markdown] lang="en" name="scaling-read"
# SCALING-TEXT-EN
# %% [markdown] lang="zh" of="00000000"
# SCALING-TEXT-ZH
# %% [markdown] lang="en" name="transfer"
# ## Has it learned anything but betting?
#
# The guide says that such pretraining yields *general representations*. A test: tell from a documentation, names removed, which of
# four libraries it is from. The network is **frozen**; only a linear classifier on the mean of its final states learns, from few labels.
# Three rivals get the same labels: the same network *untrained*, the *embeddings* of the trained one without its layers, and
# a *bag of tokens* (which of them occur, no network at all).
# %% [markdown] lang="zh" of="00000000"
# ## 除了押注，它还学到了什么
#
# 指南说，这样预训练能学到*通用的表示*。来检验一下：给一段去掉了名字的文档，说出它来自四个库中的哪一个。网络**冻结**不动，
# 只在末层状态的平均值上学一个线性分类器，标注很少。三个对手用同样的标注：*没训练过*的同一个网络，训练过但只取*词嵌入*、不经过各层的，
# 以及*词袋*（只看出现了哪些词元，完全不用网络）。
# %% name="transfer-measure" tags=["measured"]
from llmguide_lib.corpora import which_library

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
    optimizer = torch.optim.LBFGS([weight], max_iter=40)

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
    for draw in range(6):  # which examples are labelled
        rows = torch.randperm(len(pool), generator=torch.Generator().manual_seed(draw))[:num]
        for name in inputs:
            found = accuracy(inputs[name][rows], labels[rows], tests[name], answers_wanted)
            scores[name].setdefault(num, []).append(found)
print("accuracy (chance 25 %)", *(f"{num:>11} labels " for num in (16, 64, 160)))
for name, by_number in scores.items():
    intervals = [t_interval(torch.tensor(values)) for values in by_number.values()]
    print(f"{name:20}", *(f"{value:6.2f} [{low:.2f}, {high:.2f}]" for value, low, high in intervals))
# %% name="transfer-check"
gain = {name: t_interval(torch.tensor(scores["pretrained"][64]) - torch.tensor(scores[name][64])) for name in scores}
assert t_interval(torch.tensor(scores["pretrained"][160])).low > 0.4
# %% name="transfer-verdict"
decide(
    "2.3a",
    {"better than the same network untrained": gain["untrained"].low > 0},
    limits={"no better than a bag of tokens": gain["bag of tokens"].low <= 0},
)
# %% [markdown] lang="en" claim="2.3a"
# **The guide's claim 2.3a**, CLM's part: pretraining by next tokens yields general representations. TRANSFER-EN Had the trained network
# given no better features than the untrained one, the claim would have failed here. (MLM's and NSP's part: chapter 5; side by side: chapter 8.)
# %% [markdown] lang="zh" of="00000000"
# **指南的论断 2.3a** 中关于 CLM 的部分：靠预测下一个词元的预训练，能学到通用的表示。TRANSFER-ZH 如果训练过的网络给出的特征并不比没训练过的好，
# 这个论断在这里就不成立。（MLM 和 NSP 的部分见第 5 章，放在一起比较见第 8 章。）
# %% [markdown] lang="en" name="suits"
# ## Does CLM suit generation better than MLM?
#
# The course has an encoder too, `bert-course`: as many parameters, as many steps, the same texts, trained to fill in hidden tokens. It
# can be made to write: put `<|mask|>` behind the text, fill it in, repeat. So ask both for *the next token* of held-out documents, after
# 64 tokens, at 256 places. And ask what it costs to go on: may anything be kept?
# %% [markdown] lang="zh" of="00000000"
# ## 写文字，CLM 比 MLM 更合适吗？
#
# 本书还有一个编码器 `bert-course`：参数量、步数、文本都一样，训练的是填补被遮住的词元。也可以让它写文字：在末尾放一个 `<|mask|>`，填上，再重复。
# 于是请两者都来猜没见过的文档里的*下一个词元*：前文 64 个词元，共 256 处。再看接着往下写的代价：算过的能不能留着用？
# %% name="suits-measure" tags=["measured"]
bert, bert_tokenizer = course.load("bert")
assert bert_tokenizer.fingerprint == tokenizer.fingerprint
test_row = torch.tensor([id for ids in test_texts for id in (0, *ids)])
asked = windows_of(test_row, 64, 256)
context, wanted = asked[:, :-1], asked[:, -1:]
masked = torch.cat([context, torch.full_like(wanted, tokenizer.token_to_id("<|mask|>"))], dim=1)
with torch.no_grad():
    by_gpt = -gpt(context)[:, -1].log_softmax(-1).gather(-1, wanted).squeeze(-1)
    by_bert = -bert(masked)[:, -1].log_softmax(-1).gather(-1, wanted).squeeze(-1)
    moved_gpt = (gpt.hidden(context)[:, :-1] - gpt.hidden(context[:, :-1])).abs().max().item()
    moved_bert = (bert.hidden(context)[:, :-1] - bert.hidden(context[:, :-1])).abs().max().item()
saved = bootstrap_mean(by_bert - by_gpt)
print(f"surprise at the next token: CLM {by_gpt.mean():.2f}, MLM {by_bert.mean():.2f} nats")
print(f"CLM's advantage {saved.value:.2f} [{saved.low:.2f}, {saved.high:.2f}]")
show("one more token moves earlier states: CLM by less than 1e-3:", moved_gpt < 1e-3, "MLM by more than 0.1:", moved_bert > 0.1)
# %% name="suits-verdict"
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
# answers it better than an equally large MLM. Nothing computed must be computed again. And a text has one exact probability, by which it can be
# scored, compared and compressed. An MLM that bets as well, or a loss that is not the text's probability, would have decided otherwise. The
# limit was measured as well: being good at betting does not say how to choose. (Side by side on more tasks: chapter 8.)
# %% [markdown] lang="zh" of="00000000"
# **指南的论断 3.1b**：CLM 适合生成。判据有三条。第一，它训练的正是写作时要回答的问题，所以比同样大的 MLM 答得更好。第二，算过的不必再算。
# 第三，每段文字有一个确切的概率，可以打分、比较、压缩。如果 MLM 押得一样准，或者损失并不等于文字的概率，结论就会相反。
# 局限也量出来了：善于押注，不等于知道该怎么选。（更多任务上的比较见第 8 章。）
# %% [markdown] lang="en" name="device"
# ## On your GPU, if there is one
#
# The same model on the best device at hand gives the same bets, up to the rounding of float32.
# %% [markdown] lang="zh" of="00000000"
# ## 有 GPU 就用 GPU
#
# 同一个模型放到可用的最快设备上，押注相同，相差不超过 float32 的舍入误差。
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
# [Bengio et al. 2015](https://arxiv.org/abs/1506.03099) (training on true tokens only).
#
# **Next:** [the exercises of this chapter](exercises.en.ipynb).
# %% [markdown] lang="zh" of="00000000"
# ## 回到开头的问题
#
# 怎样公平地给押注打分？看押在真正出现的词上的概率，取对数再变号。只有说出真实的概率，这个分数才最小。
# 怎样靠押注写出一页文字？选一个，写下来，再押；链式法则保证，一个词一个词地来，什么也没丢。怎样选则是另一回事，概率最大的一页并不是好的一页。
#
# **局限。** 训练时，每次押注之前都是*真正的*前文，写作时却是模型自己写的：它出了错，就进入了从没训练过的处境（暴露偏差）。
# 意外程度衡量的是流畅，不是真实。写下的不能收回。上面的定律只来自四种极小的规模和固定的词元数；模型和数据要一起增长，见第 17 章。
#
# **文献。** [Radford 等人（2019）](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)（GPT-2）；
# [Holtzman 等人（2020）](https://arxiv.org/abs/1904.09751)（top-p，以及概率大的文字为什么乏味）；[Fan 等人（2018）](https://arxiv.org/abs/1805.04833)（top-k）；
# [Nguyen 等人（2024）](https://arxiv.org/abs/2407.01082)（min-p）；[Keskar 等人（2019）](https://arxiv.org/abs/1909.05858)（重复惩罚）；
# [Kaplan 等人（2020）](https://arxiv.org/abs/2001.08361)、[Hoffmann 等人（2022）](https://arxiv.org/abs/2203.15556)（规模定律）；
# [Bengio 等人（2015）](https://arxiv.org/abs/1506.03099)（只在真实前文上训练的问题）。
#
# **接下来：** 做[这一章的练习](exercises.zh.ipynb)。
