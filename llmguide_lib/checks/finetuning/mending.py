"""Exercise 4: a finetuning loop in which the wrong things learn."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..inputs import draw
from ..registry import Case, Exercise, Misconception


class _Corrected(nn.Module):
    def __init__(self, base: nn.Linear, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.base, self.a, self.b = base, nn.Parameter(a.clone()), nn.Parameter(b.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T


def _finetune(prepare: Callable[[nn.Sequential], None], early: bool = False) -> Callable:
    """The loop with a way to choose what learns; early: the optimizer is built before the correction is put in."""

    def finetune(model: nn.Sequential, a: Tensor, b: Tensor, x: Tensor, y: Tensor, steps: int) -> Tensor:
        known = list(model.parameters())
        model[0] = _Corrected(model[0], a, b)
        prepare(model)
        optimizer = torch.optim.SGD(known if early else model.parameters(), lr=0.2)
        for _ in range(steps):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        return model(x).detach()

    return finetune


def _freeze(model: nn.Sequential) -> None:
    model[0].base.requires_grad_(False)


def _freeze_weight(model: nn.Sequential) -> None:
    model[0].base.weight.requires_grad_(False)


def _freeze_head_too(model: nn.Sequential) -> None:
    _freeze(model)
    model[2].requires_grad_(False)


def _keep(model: nn.Sequential) -> None:
    pass


def _pretrained(seed: int, learned: bool = True, frozen: bool = False) -> tuple:
    """A small model, a correction and a task; a correction that is all zero has no gradient and cannot learn."""
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=seed + place) / 2)
    # The first optimizer loads modules, which on a busy machine takes seconds; here it is not in the answer's time.
    torch.optim.SGD(model.parameters(), lr=0.0).step()
    model[0].requires_grad_(not frozen)
    a, b = learned * draw(2, 4, seed=seed + 10), torch.zeros(5, 2, dtype=torch.float64)
    return model, a, b, draw(8, 4, seed=seed + 11), draw(8, 3, seed=seed + 12), 6


DEBUG = Exercise(
    name="debug",
    points=3,
    reference=_finetune(_freeze),
    cases=(
        Case(
            "frozen",
            {"en": "A and B all zero, so that only the head can learn", "zh": "A、B 全为零、只有输出头能学时"},
            lambda: _pretrained(1, learned=False),
        ),
        Case(
            "learns",
            {"en": "A model that was handed over frozen", "zh": "交来时已经冻结好的模型"},
            lambda: _pretrained(20, frozen=True),
        ),
        Case("both", {"en": "A pretrained model", "zh": "一个预训练好的模型"}, lambda: _pretrained(40)),
    ),
    misconceptions=(
        Misconception(
            "both bugs left",
            _finetune(_keep, early=True),
            {"en": "Both bugs are still there.", "zh": "两处错误都还在。"},
            {
                "en": "Compare every parameter before and after the loop: which have moved, and which should have?",
                "zh": "比较循环前后的每个参数：哪些变了？哪些本该变？",
            },
            "https://github.com/tloen/alpaca-lora/issues/459",
        ),
        Misconception(
            "A and B never learn",
            _finetune(_freeze, early=True),
            {
                "en": "Only the head learns: A and B never move.",
                "zh": "只有输出头在学，A 和 B 一动不动。",
            },
            {
                "en": "Are they frozen together with the map? Does the optimizer know them: when was it built?",
                "zh": "它们是不是跟着线性映射一起被冻结了？优化器认识它们吗：它是什么时候创建的？",
            },
            "https://github.com/adapter-hub/adapters/issues/260",
        ),
        Misconception(
            "base not frozen",
            _finetune(_keep),
            {"en": "The pretrained map learns too.", "zh": "预训练好的线性映射也在学。"},
            {
                "en": "Who says that `base` must not learn?",
                "zh": "哪一行说了 `base` 不许学？",
            },
            "https://github.com/microsoft/aurora/issues/167",
        ),
        Misconception(
            "head frozen",
            _finetune(_freeze_head_too),
            {
                "en": "The head is frozen as well, and it is new: it has never learned anything.",
                "zh": "输出头也被冻结了，可它是新的，什么都还没学过。",
            },
            {"en": "Freeze the pretrained map only.", "zh": "只冻结预训练好的线性映射。"},
            "https://github.com/huggingface/peft/pull/307",
        ),
        Misconception(
            "bias not frozen",
            _finetune(_freeze_weight),
            {"en": "The pretrained map's bias still learns.", "zh": "预训练好的线性映射，它的偏置还在学。"},
            {"en": "A linear map has two parameters.", "zh": "一个线性映射有两个参数。"},
            "https://github.com/modelscope/mcore-bridge/pull/195",
        ),
    ),
)
