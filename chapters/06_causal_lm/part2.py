# %% [markdown] lang="en" name="breaks"
# ## What breaks it
#
# Two mistakes that everybody makes once, and that do not raise an error. **Not shifted**: the model is asked for the token
# that it has just read. **No mask**: each place may see the token that it must predict. We train a small model for 100
# steps on real documentation in all three ways, with two seeds each, and note two losses: the one that the training
# shows, and the honest one, on held-out text, with shift and mask.
# %% [markdown] lang="zh" of="00000000"
# ## 哪里会出错
#
# 有两个错误，人人都犯过一次，而且都不报错。**没移位**：让模型预测它刚读到的那个词元。**没掩码**：每个位置都看得见自己要预测的词元。
# 下面用真实文档训练一个小模型，正确的和两种错误的各训练 100 步，每种用两个随机种子，记下两个损失：训练时显示的损失，
# 和在没见过的文本上、既移位又有掩码的真实损失。
# %% [markdown] lang="en" name="guess-breaks" role="prediction"
# **Predict.** Which of the three shows the lowest training loss? And which would you have deployed?
# %% [markdown] lang="zh" of="00000000"
# **先预测。** 三种训练，哪一种显示的训练损失最低？如果只看它，你会选哪一个上线？
# %% name="breaks-data"
from llmguide_lib import course, runtime
from llmguide_lib.attention import causal_attention, fused_attention
from llmguide_lib.corpora import documentation
from llmguide_lib.corpora.storage import token_row
from llmguide_lib.models import Llama, LlamaConfig
from llmguide_lib.objectives import NextToken, Windows
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
    """Nats per token at the next token, with the mask that belongs there."""
    for block in model.blocks:
        block.attention.core = causal_attention
    with torch.no_grad():
        return cross_entropy(model.eval(), Batch(windows[:, :-1], windows[:, 1:])).item() / windows[:, 1:].numel()


def trained(batches, core, seed):
    """Training loss at the end, and honest loss on held-out text."""
    runtime.seed_everything(seed)
    sizes = {"d_model": 48, "num_heads": 3, "num_layers": 2, "d_ff": 128}
    model = Llama(LlamaConfig(vocab_size=tokenizer.vocab_size, max_seq_len=64, tied=True, **sizes))
    for block in model.blocks:
        block.attention.core = core
    recipe = Muon(lr=2e-2, rest=AdamW(lr=1.2e-2))
    config = TrainConfig(steps=100, optimizer=recipe, schedule=Constant(warmup_steps=5), seed=seed)
    _, losses = train(model, batches, config).curve("loss")
    return losses[-1], honest_loss(model, windows_of(unseen, 64, 64))


def results(shifted, core):
    """Both losses for two seeds."""
    losses = []
    for seed in (0, 1):
        rows = (Windows(row, 64, 16, seed=seed).rows(number) for number in range(100))
        batches = [Batch(part[:, :-1], part[:, 1:] if shifted else part[:, :-1]) for part in rows]
        losses.append(trained([*batches, batches[0]], core, seed))
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
from llmguide_lib.evaluation import t_interval

unknowing = math.log(tokenizer.vocab_size)  # all tokens equally probable
real = {name: t_interval(torch.tensor([loss for _, loss in losses])) for name, losses in broken.items()}
shown = {name: max(loss for loss, _ in losses) for name, losses in broken.items()}
assert shown["not shifted"] < 0.5 and shown["no mask"] < shown["right"]
assert max(loss for _, loss in broken["right"]) < min(loss for _, loss in broken["no mask"])
assert real["not shifted"].value > unknowing
# %% [markdown] lang="en" name="breaks-read"
# The wrong ones look wonderful: their training loss falls far below that of the right one, because copying what one can
# see is easy. Their honest loss is *worse than betting the same on every token* ($\log 2048 = 7.6$ nats) where nothing is shifted: asked for
# the next token, that model repeats the last one with full conviction. A training loss that falls suspiciously fast is the
# symptom; changing a later token and looking whether anything earlier moves (as above) is the test.
# %% [markdown] lang="zh" of="00000000"
# 两个错误的训练看起来都好极了：训练损失远低于正确的那个，因为照抄看得见的东西很容易。可是不移位的模型，真实损失*比给每个词元押一样多还差*
# （$\log 2048 = 7.6$ 奈特）：问它下一个词元，它会信心十足地把上一个重复一遍。训练损失降得快得可疑，就是症状；
# 像前面那样改动后面的一个词元，看前面有没有变化，就是检验方法。
# %% [markdown] lang="en" name="live"
# ## Forty steps of the long run, live
#
# The course's decoder, `gpt-course`, has 2.9 million parameters and learned for 4,500 steps (80 minutes on two cores). You
# now make its first 40 steps yourself: same model, same recipe, same order of the texts, 4,096 tokens in each step. The
# curve is drawn inside the recorded one. Every ten steps the model also has to go on with the same two words.
#
# Beside it stand two rivals that only count, on exactly the tokens that the 40 steps have read: a **unigram** model
# knows how frequent each token is, a **trigram** model (Kneser-Ney) what followed the last two tokens.
# %% [markdown] lang="zh" of="00000000"
# ## 长跑的前四十步，现场来跑
#
# 本书的解码器模型 `gpt-course` 有 290 万个参数，学了 4500 步（两个核上 80 分钟）。现在你亲自跑它的前 40 步：同样的模型，同样的训练方法，
# 文本顺序也一样，每步 4096 个词元。现场的曲线会画在录下的曲线里面。每隔十步，还让模型接着同样的两个词往下写。
#
# 旁边有两个只会计数的对手，用的正是这 40 步读过的词元：**一元模型**知道每个词元有多常见，**三元模型**（Kneser-Ney）知道前两个词元后面跟过什么。
# %% [markdown] lang="en" name="guess-live" role="prediction"
# **Predict.** After these 40 steps (160,000 tokens), who predicts unseen text best: the network, the unigram or the trigram model?
# %% [markdown] lang="zh" of="00000000"
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


def bits(nats_per_token):
    """Bits per byte on the held-out windows."""
    return nats_per_token * held_out[:, 1:].numel() / bytes_held_out / math.log(2)


def written(model, sampler, number=24):
    """How the model goes on after "Returns the", as readable text."""
    return tokenizer.decode(generate(model, start, number, sampler=sampler)[0, 1:].tolist())


def look(model):
    """Notes a sample, and how well the model predicts held-out text."""
    moments[10 * len(moments)] = written(model, Sample(seed=0))
    return {"bits per byte": bits(honest_loss(model, held_out))}


runtime.seed_everything(recipe.config.seed)
live = recipe.model()
config = dataclasses.replace(
    recipe.config, steps=STEPS, schedule=Constant(warmup_steps=20), log_every=5, eval_every=10, save_every=None
)
run = train(live, recipe.batches(row), config, evaluate=look)
# %% name="live-compare" tags=["measured"]
from llmguide_lib.counting import KneserNey

read = torch.cat([recipe.batches(row).windows.rows(number)[:, :-1].flatten() for number in range(STEPS)]).tolist()


def counted(order):
    """Bits per byte of a model that counted what the 40 steps have read."""
    model = KneserNey(order, tokenizer.vocab_size).count(read)
    bets = (model.probability(window[:t], window[t]) for window in held_out.tolist() for t in range(1, 257))
    return bits(-math.fsum(map(math.log, bets)) / held_out[:, 1:].numel())


compared = {
    "every token the same": bits(unknowing),
    "unigram": counted(1),
    "the network, live": run.curve("bits per byte")[1][-1],
    "trigram": counted(3),
    "the network, after the long run": bits(honest_loss(gpt, held_out)),
}
for name, value in compared.items():
    print(f"{name:32} {value:5.2f} bits per byte")
# %% name="live-check"
long = recorded("gpt-course")
curve = {row["step"]: row["loss"] for row in long["curve"] if "loss" in row}
lost = run.curve("loss")[1]
assert long["recipe"]["optimizer"] == repr(recipe.config.optimizer)  # it is the same recipe
assert curve[50] < lost[-1] < curve[50] + 0.9  # on the curve, a little before its first recorded point
assert compared["trigram"] < compared["the network, live"] < compared["every token the same"] - 0.5
assert compared["the network, live"] < compared["unigram"] + 0.15
assert compared["the network, after the long run"] < compared["trigram"] - 0.5
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
# logarithmic axis. The curve falls steeply until step 100 or so and ever more slowly after that.
# %% [markdown] lang="zh" of="00000000"
# 左边是现场训练的损失，右边接着的是录下的长跑曲线；步数用对数轴。大约 100 步之前降得很陡，之后越来越慢。
# %% [markdown] lang="en" name="live-read"
# Counting wins the first minute, and clearly. In 40 steps the network learns little more than which tokens are frequent; the trigram
# model has read the same text once and knows every pair in it. But counting has nearly reached the end of its road: longer
# contexts hardly ever come twice. The network goes on learning for 4,460 steps more, and then nobody who counts comes near: on
# the test part the long run reached 1.36 bits per byte, `xz` needs 1.82 and counting seven bytes 1.73 (all recorded in the model's
# card). And somebody who knows nothing would need 8 bits for a byte of *anything*; who knows the 2,048 tokens only, about 3.4.
# %% [markdown] lang="zh" of="00000000"
# 第一分钟，计数赢了，而且赢得很明显。40 步里，神经网络差不多只学会了哪些词元常见；三元模型把同样的文字读一遍，就记住了其中每一对词。
# 但计数的路快走到头了：更长的上下文几乎不会出现第二次。神经网络还要再学 4460 步，到那时，靠计数的就望尘莫及了：在测试部分，长跑达到每字节 1.36 比特，
# `xz` 需要 1.82，数七个字节需要 1.73（都记录在模型卡里）。而一无所知的人，什么字节都要 8 比特；只知道有这 2048 个词元的，大约要 3.4 比特。
# %% [markdown] lang="en" name="samples"
# ## The same two words at several moments
#
# What the model writes after *Returns the*, with the same random numbers: live at steps 0 to 40, then a smaller model at
# later moments (*recorded*, `python benchmarks/scaling.py`), and last the course model after its 4,500 steps.
# %% [markdown] lang="zh" of="00000000"
# ## 同样两个词，不同时刻的续写
#
# 模型在 *Returns the* 后面写了什么，随机数都一样：先是现场的第 0 到 40 步；然后是一个更小的模型在之后的几个时刻（*录下的*，
# `python benchmarks/scaling.py`）；最后是走完 4500 步的课程模型。
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
# %% [markdown] lang="zh" of="00000000"
# 起初是任意词元，然后是常见的词元，再往后是搭配得上的词对、短语，最后是看上去像文档的完整句子，讲的却是并不存在的东西。
# *流畅*来得远比*真实*早。
