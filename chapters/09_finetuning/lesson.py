# %% name="imports"
import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmguide_lib import course, training
from llmguide_lib.adapters import PromptTuned, add_bottlenecks, add_lora, trainable
from llmguide_lib.tasks import which_library

# %% name="task"
LENGTH = 32  # tokens of a text that every method may read
pretrained, tokenizer = course.load("bert")
PAD = tokenizer.token_to_id("<|pad|>")


class Texts(NamedTuple):
    """Texts as rows of tokens, filled up to the same length, and the number of each one's class."""

    tokens: Tensor
    mask: Tensor
    targets: Tensor

    def only(self, rows: Tensor) -> "Texts":
        """Some of them, as wide as the longest of these."""
        width = int(self.mask[rows].sum(dim=1).max())
        return Texts(self.tokens[rows, :width], self.mask[rows, :width], self.targets[rows])


def numbered(examples: Sequence, classes: Sequence[str]) -> Texts:
    """Classified examples, cut to LENGTH tokens."""
    ids = [tokenizer.encode(example.text)[:LENGTH] for example in examples]
    tokens = torch.tensor([row + [PAD] * (LENGTH - len(row)) for row in ids])
    return Texts(tokens, tokens != PAD, torch.tensor([classes.index(example.label) for example in examples]))


def drawn(examples: Sequence, number: int, seed: int) -> list:
    """So many labelled examples; as the task gives the classes in turn, whole turns are drawn: all equally frequent."""
    classes = len({example.label for example in examples})
    turns = torch.randperm(len(examples) // classes, generator=torch.Generator().manual_seed(seed))
    return [examples[turn * classes + place] for turn in turns.tolist() for place in range(classes)][:number]


# %% name="classifier"
class Classifier(nn.Module):
    """A network that reads, the mean of its states, and a linear head with a score for each class."""

    def __init__(self, reader: nn.Module, classes: int) -> None:
        super().__init__()
        self.reader = reader
        self.head = nn.Linear(reader.config.d_model, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def mean_state(self, texts: Texts) -> Tensor:
        """The mean final state of each text."""
        states = self.reader.hidden(texts.tokens, texts.mask) * texts.mask.unsqueeze(-1)
        return states.sum(dim=1) / texts.mask.sum(dim=1, keepdim=True)

    def forward(self, texts: Texts) -> Tensor:
        """A score for each text and class."""
        return self.head(self.mean_state(texts))


@torch.no_grad()
def in_parts(look: Callable[[Texts], Tensor], texts: Texts) -> Tensor:
    """The results for many texts, read sixteen at a time, similar lengths together."""
    order = texts.mask.sum(dim=1).argsort()
    parts = torch.cat([look(texts.only(rows)) for rows in order.split(16)])
    return parts[order.argsort()]


def hits(model: Classifier, texts: Texts) -> Tensor:
    """Which texts get the right class."""
    return in_parts(model, texts).argmax(dim=-1) == texts.targets


# %% name="linear"
def fitted_head(states: Tensor, targets: Tensor, classes: int, penalty: float) -> nn.Linear:
    """The linear head that fits frozen states best: logistic regression, weights held back by a penalty."""
    mean, spread = states.mean(dim=0), states.std(dim=0) + 1e-6
    rows, head = (states - mean) / spread, nn.Linear(states.shape[1], classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(head(rows), targets) + penalty * head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():  # so that it reads states as they are
        head.weight /= spread
        head.bias -= head.weight @ mean
    return head


# %% name="methods"
def lora(rank: int, targets: Sequence[str] = ("q_proj", "v_proj")) -> Callable[[nn.Module], nn.Module]:
    """LoRA of this rank, alpha twice the rank."""

    def prepared(reader: nn.Module) -> nn.Module:
        add_lora(reader, rank, 2 * rank, targets)
        return reader

    return prepared


def head_only(reader: nn.Module) -> nn.Module:
    return reader.requires_grad_(False)


def last_layers(reader: nn.Module) -> nn.Module:
    """The last two of five blocks and the norm after them learn."""
    reader.requires_grad_(False)
    for part in (*reader.blocks[-2:], reader.final_norm):
        part.requires_grad_(True)
    return reader


def bottleneck(reader: nn.Module) -> nn.Module:
    add_bottlenecks(reader, 8)
    return reader


METHODS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "from scratch": lambda reader: type(reader)(reader.config),
    "head only": head_only,
    "last layers": last_layers,
    "full": lambda reader: reader,
    "LoRA 1": lora(1),
    "LoRA 4": lora(4),
    "LoRA 16": lora(16),
    "bottleneck": bottleneck,
    "prompt": lambda reader: PromptTuned(reader, 8),
}
# %% name="finetune"
BATCH, STEPS = 16, {50: 40, 200: 80, 1000: 120}


def class_loss(model: Classifier, texts: Texts) -> Tensor:
    return F.cross_entropy(model(texts), texts.targets, reduction="sum")


def batches(labelled: Texts, steps: int, seed: int) -> list[Texts]:
    """What is read, one batch a step: all texts in random order, then all in another one, and so on."""
    generator, order = torch.Generator().manual_seed(seed), torch.tensor([], dtype=torch.int64)
    while len(order) < steps * BATCH:
        order = torch.cat([order, torch.randperm(len(labelled.targets), generator=generator)])
    return [labelled.only(rows) for rows in order[: steps * BATCH].split(BATCH)]


def finetuned(method: str, reader: nn.Module, labelled: Texts, rate: float, seed: int):
    """A classifier that has learned from labelled texts, and the record of its training."""
    torch.manual_seed(seed)
    model = Classifier(METHODS[method](copy.deepcopy(reader)), int(labelled.targets.max()) + 1)
    steps = STEPS[len(labelled.targets)]
    config = training.TrainConfig(
        steps=steps,
        optimizer=training.AdamW(lr=rate, weight_decay=0.01, betas=(0.9, 0.98)),
        schedule=training.Cosine(warmup_steps=steps // 10),
        precision="float32",
        eval_every=None,
        seed=seed,
    )
    return model, training.train(model, batches(labelled, steps, seed), config, loss=class_loss)
