"""What a training run is told: how long, how fast, in which precision, and how often to look and to save."""

import re
from dataclasses import asdict, dataclass, field

import torch

from . import parallel
from .optimizers import AdamW, Recipe
from .schedules import Cosine

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a run.

    Attributes:
        steps: number of optimizer steps; or
        seconds: training time, evaluations and saving not counted. One of the two.
        optimizer: a recipe, such as ``AdamW(lr=3e-3)`` or ``Muon()``.
        schedule: the factor of the learning rate at each step.
        accumulate: batches read for one step.
        clip_norm: largest norm of the gradient of the mean loss; longer ones are shortened to it; None shortens none.
        precision: "bfloat16" or "float32"; None means what is fastest on the device.
        compile: whether torch compiles the model first.
        recompute: whether blocks forget their activations and compute them again in the backward pass: less memory.
        average: share of the old value in a running mean of the weights, 0.999 say, with which the model is evaluated
            and which it has at the end; None for no mean.
        distribute: ``parallel.replicate`` (DDP) or ``parallel.shard`` (FSDP2), under torchrun.
        log_every, eval_every, save_every: steps between records, evaluations and saved states; None for the last two
            means only at the end.
        seed: of dropout and whatever else is drawn inside the model.
    Raises:
        ValueError: a number is out of range, or not exactly one of ``steps`` and ``seconds`` is given.
    """

    steps: int | None = None
    seconds: float | int | None = None
    optimizer: Recipe = field(default_factory=AdamW)
    schedule: Cosine | object = field(default_factory=lambda: Cosine(warmup_steps=50))
    accumulate: int = 1
    clip_norm: float | int | None = 1.0
    precision: str | None = None
    compile: bool = False
    recompute: bool = False
    average: float | None = None
    distribute: parallel.Distribute = parallel.replicate
    log_every: int = 10
    eval_every: int | None = 200
    save_every: int | None = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError(f"steps ({self.steps}) or seconds ({self.seconds}) must be given, and only one of them")
        for name in ("steps", "seconds", "accumulate", "clip_norm", "log_every", "eval_every", "save_every"):
            number = getattr(self, name)
            if number is not None and not number > 0:
                raise ValueError(f"{name} ({number}) must be positive")
            if not isinstance(number, int | None) and name not in ("seconds", "clip_norm"):
                raise ValueError(f"{name} ({number}) must be an integer")
        if self.precision is not None and self.precision not in PRECISIONS:
            raise ValueError(f"precision ({self.precision!r}) must be one of {', '.join(PRECISIONS)}, or None")
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"average ({self.average}) must be above 0 and below 1")
        if self.seed < 0:
            raise ValueError(f"seed ({self.seed}) must not be negative")

    def progress(self, step: int, seconds: float | int) -> float:
        """The share of the run that is over after so many steps and seconds."""
        return step / self.steps if self.steps is not None else seconds / self.seconds

    def facts(self) -> dict[str, str]:
        """The settings in words, to be noted and compared."""
        return {name: described(getattr(self, name)) for name in asdict(self)}


def described(value: object) -> str:
    """A function's name or an object's text, the same in every process."""
    return getattr(value, "__qualname__", None) or re.sub(r" at 0x\w+", "", repr(value))
