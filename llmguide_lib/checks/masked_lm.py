"""The other exercises of chapter 05, and all of them in a row."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..objectives import IGNORED
from .masked_lm_models import LEVEL, MASK, MEASURE, PSEUDO
from .registry import NOT_MET, Case, Exercise, Misconception, entry

# -- 1. the loss by hand ----------------------------------------------------------------------------------------------


def _hand(
    asked: Sequence[float] = (0.5, 0.8, 0.4), *, count: int = 3, base: float | int = math.e, fourth: float = 0.4
) -> list[float]:
    """The surprise at place 4, the loss, the derivative at place 1, the entropy of the frequencies."""
    nats = sum(-math.log(p, base) for p in asked) / count
    entropy = sum(-p * math.log(p, base) for p in (0.5, 0.25, 0.125, 0.125))
    return [-math.log(fourth, base), nats, (0.5 - 1) / count, entropy]


HAND = Exercise(
    name="hand",
    points=2,
    reference=_hand(),
    ask=entry,
    tolerance=2e-3,
    cases=(
        Case("surprise", {"en": "The surprise at place 4", "zh": "位置 4 的意外程度"}, lambda: (0,)),
        Case("loss", {"en": "The loss", "zh": "损失"}, lambda: (1,)),
        Case("gradient", {"en": "The derivative at place 1", "zh": "位置 1 的导数"}, lambda: (2,)),
        Case("entropy", {"en": "The loss of frequencies alone", "zh": "只按频率回答时的损失"}, lambda: (3,)),
    ),
    misconceptions=(
        Misconception(
            "all places",
            _hand((0.5, 0.8, 0.7, 0.4), count=4),
            {"en": "Place 3 was counted too, but nothing is asked there.", "zh": "位置 3 也算进去了，但那里没有提问。"},
            {"en": "Divide by the number of places that are asked.", "zh": "除以被提问的位置的个数。"},
            "https://github.com/huggingface/transformers/issues/2759",
        ),
        Misconception(
            "gradient of the sum",
            [*_hand()[:2], 0.5 - 1, _hand()[3]],
            {
                "en": "The derivative is not divided by the number of places that are asked.",
                "zh": "导数没有除以被提问的位置的个数。",
            },
            {"en": "The loss is a mean, and so is its derivative.", "zh": "损失是平均值，它的导数也要除。"},
            "a reader of this chapter",
        ),
        Misconception(
            "only behind the mask",
            _hand((0.5,), count=1),
            {"en": "Only the place that reads [MASK] was counted.", "zh": "只算了读作 [MASK] 的那个位置。"},
            {
                "en": "Places that were swapped or kept are asked for as well.",
                "zh": "被换成随机词元的位置、保持原样的位置，同样要提问。",
            },
            "https://github.com/huggingface/transformers/issues/20797",
        ),
        Misconception(
            "a sum",
            _hand(count=1),
            {"en": "The surprises are added up, but not divided.", "zh": "意外程度加起来了，但没有除。"},
            {"en": "The loss is the mean over the asked places.", "zh": "损失是被提问位置上的平均。"},
            "https://github.com/vid-koci/bert-commonsense/issues/1",
        ),
        Misconception(
            "bits",
            _hand(base=2),
            {"en": "These are bits: the logarithm to base 2.", "zh": "这是以 2 为底的对数，单位是比特。"},
            {"en": "The loss uses the natural logarithm.", "zh": "损失用自然对数。"},
            "https://github.com/facebookresearch/fairseq/issues/466",
        ),
        Misconception(
            "asked for what is read",
            _hand((0.5, 0.8, 0.3), fourth=0.3),
            {
                "en": "At place 4 the surprise is that of the token that is read, not of the one that stood there.",
                "zh": "位置 4 算的是读到的词元的意外程度，而不是原来那个词元的。",
            },
            {"en": "The question is always: what stood here before?", "zh": "问的永远是：这里原来是什么？"},
            NOT_MET,
        ),
    ),
)

# -- 2. implement the rule --------------------------------------------------------------------------------------------


def _rule(
    chosen: Callable[[Tensor, Tensor, float | int, Tensor], Tensor] | None = None,
    limits: tuple[float, float] = (0.8, 0.9),
    asked: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    touched: Callable[[Tensor], Tensor] | None = None,
) -> Callable[..., Tensor]:
    """The rule in which one step may be replaced."""

    def hide(
        tokens: Tensor, draw: Tensor, fate: Tensor, others: Tensor, rate: float | int, mask_id: int, special: list[int]
    ) -> Tensor:
        known = torch.tensor(special, dtype=torch.long)
        picked = (chosen or _chosen)(tokens, draw, rate, known)
        changed = (touched or _same)(picked)
        read = torch.where(changed & (fate < limits[0]), mask_id, tokens)
        read = torch.where(changed & (fate >= limits[0]) & (fate < limits[1]), others, read)
        return torch.stack([read, (asked or _asked)(tokens, read, picked)])

    return hide


def _chosen(tokens: Tensor, draw: Tensor, rate: float | int, special: Tensor) -> Tensor:
    return (draw < rate) & ~torch.isin(tokens, special)


def _same(picked: Tensor) -> Tensor:
    return picked


def _asked(tokens: Tensor, read: Tensor, picked: Tensor) -> Tensor:
    return tokens.where(picked, torch.tensor(IGNORED))


def _others_kept(
    tokens: Tensor, draw: Tensor, fate: Tensor, others: Tensor, rate: float | int, mask_id: int, special: list[int]
) -> Tensor:
    """The last tenths are exchanged: first those that stay, then those that become another token."""
    picked = _chosen(tokens, draw, rate, torch.tensor(special, dtype=torch.long))
    read = torch.where(picked & (fate < 0.8), mask_id, tokens)
    read = torch.where(picked & (fate >= 0.9), others, read)
    return torch.stack([read, _asked(tokens, read, picked)])


def _in_place(
    tokens: Tensor, draw: Tensor, fate: Tensor, others: Tensor, rate: float | int, mask_id: int, special: list[int]
) -> Tensor:
    """Writes into the tokens before it keeps the right answers."""
    picked = _chosen(tokens, draw, rate, torch.tensor(special, dtype=torch.long))
    tokens[picked & (fate < 0.8)] = mask_id
    swapped = picked & (fate >= 0.8) & (fate < 0.9)
    tokens[swapped] = others[swapped]
    return torch.stack([tokens, _asked(tokens, tokens, picked)])


def _texts(rows: int, length: int, rate: float | int, seed: int, special: Sequence[int] = (0, 1, 2)) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 50, (rows, length), generator=generator)
    tokens[:, 0] = 0  # a begin, and fillings at the end of each second row
    tokens[1::2, -3:] = 2
    draw = torch.rand(rows, length, generator=generator, dtype=torch.float64)
    fate = torch.rand(rows, length, generator=generator, dtype=torch.float64)
    others = torch.randint(3, 50, (rows, length), generator=generator)
    return tokens, draw, fate, others, rate, MASK, list(special)


def _hand_text() -> tuple:
    """Six tokens: a begin, one behind the mask, one swapped, one kept, two not chosen."""
    draw = torch.tensor([[0.01, 0.05, 0.10, 0.14, 0.15, 0.90]], dtype=torch.float64)
    fate = torch.tensor([[0.10, 0.79, 0.80, 0.90, 0.20, 0.85]], dtype=torch.float64)
    return (
        torch.tensor([[0, 7, 8, 9, 10, 11]]),
        draw,
        fate,
        torch.tensor([[20, 21, 22, 23, 24, 25]]),
        0.15,
        MASK,
        [0, 1],
    )


def _only_special() -> tuple:
    tokens, *rest = _texts(2, 6, 0.5, 8)
    return torch.zeros_like(tokens), *rest


HIDE = Exercise(
    name="hide",
    points=3,
    reference=_rule(),
    forbidden=("llmguide_lib.objectives.Masking",),
    cases=(
        Case("hand", {"en": "Six tokens, worked out by hand", "zh": "手算的六个词元"}, _hand_text),
        Case("general", {"en": "At a rate of 15 %", "zh": "比例为 15 % 时"}, lambda: _texts(4, 40, 0.15, 1)),
        Case("general", {"en": "At a rate of 50 %", "zh": "比例为 50 % 时"}, lambda: _texts(3, 30, 0.5, 2)),
        Case("edge", {"en": "At a rate of 100 %", "zh": "比例为 100 % 时"}, lambda: _texts(3, 20, 1.0, 3)),
        Case(
            "edge",
            {"en": "Without any special token", "zh": "没有任何特殊词元时"},
            lambda: _texts(2, 20, 0.5, 4, special=()),
        ),
        Case("edge", {"en": "Where all tokens are special", "zh": "全是特殊词元时"}, _only_special),
    ),
    misconceptions=(
        Misconception(
            "special tokens chosen",
            _rule(chosen=lambda tokens, draw, rate, special: draw < rate),
            {"en": "Special tokens are hidden and asked for.", "zh": "特殊词元也被盖住、被提问了。"},
            {
                "en": "Begin, end and filling belong to no text: torch.isin(tokens, ...).",
                "zh": "开头、结尾和填充不属于任何文本：用 torch.isin(tokens, ...)。",
            },
            "https://github.com/AnswerDotAI/ModernBERT/issues/212",
        ),
        Misconception(
            "80/10/10 of all tokens",
            _rule(touched=lambda picked: torch.ones_like(picked)),
            {
                "en": "80/10/10 is applied to all tokens, not to the chosen ones.",
                "zh": "80/10/10 用在了所有词元上，而不是只用在选中的词元上。",
            },
            {"en": "Every condition on fate needs `& chosen`.", "zh": "每个对 fate 的条件都要加上 `& chosen`。"},
            NOT_MET,
        ),
        Misconception(
            "everything asked",
            _rule(asked=lambda tokens, read, picked: tokens),
            {
                "en": "All tokens are targets: the network is asked to copy what it can see.",
                "zh": "所有词元都成了目标：等于让网络照抄看得见的内容。",
            },
            {"en": "Targets are -100 where nothing was chosen.", "zh": "没有选中的位置，目标是 -100。"},
            "https://github.com/lucidrains/mlm-pytorch/pull/3",
        ),
        Misconception(
            "only masked ones asked",
            _rule(asked=lambda tokens, read, picked: tokens.where(read == MASK, torch.tensor(IGNORED))),
            {
                "en": "Swapped and kept tokens are not asked for.",
                "zh": "被换掉的和保持原样的词元没有被提问。",
            },
            {
                "en": "Chosen is chosen, whatever became of the token: that is what the two tenths are for.",
                "zh": "选中了就要问，不管它变成了什么：那两个 10 % 正是为此而设。",
            },
            "https://github.com/huggingface/transformers/issues/20797",
        ),
        Misconception(
            "only changed ones asked",
            _rule(asked=lambda tokens, read, picked: tokens.where(read != tokens, torch.tensor(IGNORED))),
            {
                "en": "Chosen tokens that stay as they were are not asked for.",
                "zh": "选中之后保持原样的词元没有被提问。",
            },
            {
                "en": "Whether a token was chosen cannot be seen in what is read: use the condition that chose it.",
                "zh": "从读到的内容里看不出一个词元是否被选中：要用选它时的那个条件。",
            },
            "a reader of this chapter",
        ),
        Misconception(
            "a tenth of the rest",
            _rule(limits=(0.8, 0.82)),
            {
                "en": "Only a tenth of the remaining fifth is swapped: 2 % of the chosen tokens instead of 10 %.",
                "zh": "换成随机词元的只有剩下五分之一里的十分之一：占选中词元的 2 %，而不是 10 %。",
            },
            {
                "en": "All three shares are of the chosen tokens. Between which fates does a token become another one?",
                "zh": "三个比例说的都是选中的词元。fate 在哪两个数之间时换成随机词元？",
            },
            "https://github.com/huggingface/transformers/pull/17377",
        ),
        Misconception(
            "asked for what is read",
            _rule(asked=lambda tokens, read, picked: read.where(picked, torch.tensor(IGNORED))),
            {"en": "The targets are what is read, [MASK] included.", "zh": "目标取成了读到的内容，连 [MASK] 也在内。"},
            {"en": "The right answer is what stood there before.", "zh": "正确答案是那里原来的词元。"},
            NOT_MET,
        ),
        Misconception(
            "changed in place",
            _in_place,
            {
                "en": "The tokens are changed in place before the right answers are kept.",
                "zh": "还没有留下正确答案，就在原来的张量上改了词元。",
            },
            {"en": "Work on tokens.clone(), or use torch.where.", "zh": "在 tokens.clone() 上改，或者用 torch.where。"},
            "https://github.com/ServiceNow/Fast-LLM/pull/253",
        ),
        Misconception(
            "the last tenths exchanged",
            _others_kept,
            {"en": "Kept and swapped are exchanged.", "zh": "“保持原样”和“换成随机词元”弄反了。"},
            {
                "en": "Read the text again: which fates become another token?",
                "zh": "再读一遍题目：哪一段 fate 要换成随机词元？",
            },
            NOT_MET,
        ),
        Misconception(
            "all chosen behind the mask",
            _rule(limits=(2.0, 2.0)),
            {"en": "All chosen tokens become the mask.", "zh": "选中的词元全都换成了掩码。"},
            {"en": "What is `fate` for?", "zh": "`fate` 是做什么用的？"},
            "https://github.com/gc-os-ai/pyaptamer/issues/473",
        ),
        Misconception(
            "nothing hidden",
            _rule(limits=(0.0, 0.0)),
            {
                "en": "All chosen tokens stay as they were: nothing is hidden.",
                "zh": "选中的词元全都保持原样：什么也没有盖住。",
            },
            {
                "en": "Is there any fate for which your first condition holds?",
                "zh": "有没有哪个 fate 能让第一个条件成立？",
            },
            "https://github.com/codertimo/BERT-pytorch/issues/29",
        ),
        Misconception(
            "token 0 where nothing is asked",
            _rule(asked=lambda tokens, read, picked: torch.where(picked, tokens, 0)),
            {"en": "Where nothing is asked, the target is token 0.", "zh": "没有提问的位置，目标成了词元 0。"},
            {
                "en": "0 is a token like others; PyTorch leaves out -100.",
                "zh": "0 也是一个词元；PyTorch 忽略的是 -100。",
            },
            "https://github.com/codertimo/BERT-pytorch/issues/29",
        ),
    ),
)

# -- 4. debug ---------------------------------------------------------------------------------------------------------


def _loss(
    target: Callable[[Tensor, Tensor], Tensor] | None = None, mean: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Callable[..., Tensor]:
    """The loss of a masked language model in which one step may be replaced."""

    def masked_loss(logits: Tensor, tokens: Tensor, read: Tensor, chosen: Tensor) -> Tensor:
        answers = (target or (lambda tokens, read: tokens))(tokens, read).masked_fill(~chosen, IGNORED)
        losses = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none")
        return (mean or (lambda losses, chosen: losses.sum() / chosen.sum()))(losses, chosen)

    return masked_loss


def _logits(hidden: bool, rate: float | int, seed: int) -> tuple:
    """Scores and tokens; where nothing is hidden all chosen tokens stay, where the rate is 1 all are chosen."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.rand(3, 5, 9, generator=generator, dtype=torch.float64) - 1
    tokens = torch.randint(2, 9, (3, 5), generator=generator)
    chosen = torch.rand(3, 5, generator=generator) < rate
    return logits, tokens, tokens.masked_fill(chosen, MASK) if hidden else tokens.clone(), chosen


DEBUG = Exercise(
    name="debug",
    points=3,
    reference=_loss(),
    # Two parts that count alone: all chosen, so that only the targets matter; none hidden, so that only the mean does.
    cases=(
        Case("targets", {"en": "With all tokens hidden", "zh": "所有词元都盖住时"}, lambda: _logits(True, 1.1, 1)),
        Case("targets", {"en": "With other scores", "zh": "换一组分数时"}, lambda: _logits(True, 1.1, 2)),
        Case(
            "mean",
            {"en": "With chosen tokens that all stay", "zh": "选中的词元都保持原样时"},
            lambda: _logits(False, 0.4, 3),
        ),
        Case("mean", {"en": "With few chosen tokens", "zh": "选中的词元很少时"}, lambda: _logits(False, 0.2, 5)),
    ),
    misconceptions=(
        Misconception(
            "both bugs left",
            _loss(target=lambda tokens, read: read, mean=lambda losses, chosen: losses.mean()),
            {"en": "Both bugs are still there.", "zh": "两处错误都还在。"},
            {
                "en": "First: which tensor holds what stood there before?",
                "zh": "先看：哪个张量里是原来的词元？",
            },
            NOT_MET,
        ),
        Misconception(
            "asked for what is read",
            _loss(target=lambda tokens, read: read),
            {
                "en": "The network is asked for what it reads: it learns to answer [MASK].",
                "zh": "问的是它读到的内容：网络学会的是回答 [MASK]。",
            },
            {"en": "The targets come from `tokens`.", "zh": "目标应当取自 `tokens`。"},
            "https://github.com/ServiceNow/Fast-LLM/pull/253",
        ),
        Misconception(
            "mean over all places",
            _loss(mean=lambda losses, chosen: losses.mean()),
            {
                "en": "The mean runs over all places, zeros included: at 15 % the loss is a seventh of the true one.",
                "zh": "平均算到了所有位置上，包括那些零：在 15 % 的比例下，算出的损失只有真实值的七分之一左右。",
            },
            {"en": "Divide by the number of chosen places.", "zh": "除以选中的位置的个数。"},
            "https://github.com/dhlee347/pytorchic-bert/issues/24",
        ),
        Misconception(
            "mean over texts",
            _loss(mean=lambda losses, chosen: losses.sum() / len(chosen)),
            {"en": "The sum is divided by the number of texts.", "zh": "总和除以了文本的个数。"},
            {"en": "How many questions were asked?", "zh": "一共问了多少个问题？"},
            "https://github.com/PrimeIntellect-ai/prime-rl/pull/2034",
        ),
        Misconception(
            "a sum",
            _loss(mean=lambda losses, chosen: losses.sum()),
            {"en": "The losses are added up, but not divided.", "zh": "损失加起来了，但没有除。"},
            {"en": "A mean was asked for.", "zh": "要求的是平均。"},
            "https://github.com/thinking-machines-lab/tinker-cookbook/issues/271",
        ),
        Misconception(
            "mean of the texts' means",
            _loss(
                mean=lambda losses, chosen: (
                    losses.view(chosen.shape).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)
                ).mean()
            ),
            {
                "en": "A mean of means: a hole counts more in a text with few holes.",
                "zh": "这是平均的平均：空少的文本里，一个空的分量更大。",
            },
            {"en": "One sum, one division.", "zh": "只求一次和，只除一次。"},
            "https://github.com/meta-pytorch/torchtune/pull/1875",
        ),
    ),
)

EXERCISES = (HAND, HIDE, PSEUDO, DEBUG, LEVEL, MEASURE)
