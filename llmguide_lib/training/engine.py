"""What makes a step: forward, backward, exchange of gradients, update; on any device, by any number of processes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as spread
from torch.utils.checkpoint import checkpoint

from .. import runtime
from ..objectives import IGNORED
from ..transformer import blocks_of
from . import state
from .config import PRECISIONS, TrainConfig, described
from .diagnosis import explain
from .parallel import Workers, gradients_kept_here
from .records import Records

RESERVED = frozenset(["step", "seconds", "loss", "lr_factor", "gradient_norm"])  # what a run notes by itself
HARMLESS = frozenset(["log_every", "eval_every", "save_every"])  # how often one looks changes nothing that is learned


class _Objective(nn.Module):
    """The model and its loss as one module: what DDP and FSDP2 wrap and ``compile`` compiles."""

    def __init__(self, model: nn.Module, loss: Callable) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: tuple) -> Tensor:
        return self.loss(self.model, batch)


class Engine:
    """A model prepared for training, with its optimizers.

    Args:
        model: on its device.
        config: how it is trained.
        loss: sum over the targets of a batch, in nats.
        facts: what else makes this run another one than others.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, loss: Callable, facts: Mapping[str, str]) -> None:
        self.model, self.config = model, config
        kept = {name: fact for name, fact in config.facts().items() if name not in HARMLESS}
        family = f"{type(model).__name__} {getattr(model, 'config', '')}"
        self._facts = {"model": family, "loss": described(loss), **kept, **facts}
        self.workers = Workers.here()
        self.device = next(model.parameters()).device
        runtime.seed_everything(config.seed)
        dtype = PRECISIONS[config.precision] if config.precision else runtime.fastest_precision(self.device)
        self._autocast = partial(runtime.autocast, self.device, dtype)
        objective = _Objective(model, loss)
        self._objective = config.distribute(objective) if self.workers.size > 1 else objective
        objective = getattr(self._objective, "module", self._objective)  # DDP wraps
        self._trained = objective.model  # the model itself, or what of its copy this process holds
        if config.compile:
            objective.compile()
        self._optimizers = list(config.optimizer(self._trained))
        self._peaks = [[float(group["lr"]) for group in one.param_groups] for one in self._optimizers]
        self._mean = {} if config.average is None else self._weights()
        if config.recompute:
            for block in blocks_of(self._trained):
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)

    def step(self, micro_batches: list[tuple], factor: float, number: int) -> tuple[float, int, float]:
        """One update; returns the mean loss, the number of targets and the norm of the gradient.

        Raises:
            ValueError: a batch is no named tuple with targets, or asks for nothing.
            FloatingPointError: loss or gradient are no numbers.
        """
        self._trained.train()
        self._trained.zero_grad()  # whoever looked at gradients before may have left some
        parts = [self.workers.share(checked(batch)) for batch in micro_batches]
        losses = []
        for place, part in enumerate(parts):
            with gradients_kept_here(self._objective, place < len(parts) - 1):
                with self._autocast():
                    loss = self._objective(_moved(part, self.device))
                loss.backward()
            losses.append(loss.detach())
        asked = sum(int((part.targets != IGNORED).sum()) for part in parts)
        targets, total = int(self.workers.total(asked)), self.workers.total(torch.stack(losses).sum())
        if not targets:
            raise ValueError(f"the batch of step {number} asks for nothing: all its targets are ignored")
        norm = self._update(targets, factor)
        if not torch.isfinite(torch.tensor([total, norm])).all():
            moved = (_moved(part, self.device) for part in parts)
            raise FloatingPointError(explain(self._trained, self._objective, moved, number, total / targets))
        return total / targets, targets, norm

    def _update(self, targets: int, factor: float) -> float:
        """The optimizers' step by the gradient of the mean loss; nothing happens where it is not finite."""
        parameters = [p for p in self._trained.parameters() if p.grad is not None]
        # Processes have averaged the gradients of their sums; the mean over all targets is wanted.
        torch._foreach_mul_([p.grad for p in parameters], self.workers.size / targets)
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        if norm.isfinite():
            if self.config.clip_norm is not None:
                nn.utils.clip_grads_with_norm_(parameters, self.config.clip_norm, norm)
            for optimizer, peaks in zip(self._optimizers, self._peaks, strict=True):
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["lr"] = peak * factor
                optimizer.step()
            if self._mean:
                weights = [p.detach() for p in self._trained.parameters()]
                torch._foreach_lerp_(list(self._mean.values()), weights, 1 - self.config.average)
        return norm.item()

    def evaluate(self, evaluate: Callable[[nn.Module], Mapping[str, float | int]]) -> dict[str, float]:
        """The values, of the mean weights if there are such; leaves weights and random numbers as they were.

        Raises:
            ValueError: ``evaluate`` returns something else than numbers, or a name that the run uses itself.
        """
        with state.drawing_apart(), torch.no_grad(), self._mean_weights(), self._autocast():
            self._give_back()
            values = evaluate(self.model.eval())
        if not isinstance(values, Mapping):
            raise ValueError(f"evaluate returned a {type(values).__name__}, it must return a dictionary of numbers")
        if taken := RESERVED & values.keys():
            raise ValueError(f"evaluate returned {min(taken)!r}, a name that the run itself uses; call it otherwise")
        return {name: float(value) for name, value in values.items()}

    def save(self, folder: Path, records: Records) -> None:
        """Writes the state of the run."""
        state.save(folder, self._facts, self._trained, self._optimizers, self._mean, records)

    def restore(self, folder: Path) -> Records | None:
        """Takes over the state of an earlier run, if there is one."""
        return state.restore(folder, self._facts, self._trained, self._optimizers, self._mean)

    def finish(self) -> None:
        """The model takes the mean of its weights, if there is one."""
        self._take(self._mean)
        self._give_back()

    def close(self) -> None:
        """Leaves a model that can be used, whatever ended the run."""
        self.model.zero_grad()
        if self.config.recompute:
            for block in blocks_of(self._trained):
                del block.forward
        self.model.eval()

    @contextmanager
    def _mean_weights(self) -> Iterator[None]:
        own = self._weights() if self._mean else {}
        self._take(self._mean)
        try:
            yield
        finally:
            self._take(own)

    def _take(self, weights: Mapping[str, Tensor]) -> None:
        for parameter, weight in zip(self._trained.parameters(), weights.values(), strict=False):  # or none at all
            parameter.detach().copy_(weight)

    def _weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self._trained.named_parameters()}

    def _give_back(self) -> None:
        """The whole model gets the weights of the copy of which each process trains a part."""
        if self._trained is not self.model:
            whole = spread.StateDictOptions(full_state_dict=True)
            self.model.load_state_dict(spread.get_model_state_dict(self._trained, options=whole))


def checked(batch: tuple) -> tuple:
    """The batch, if it can be learned from.

    Raises:
        ValueError: no named tuple with targets, or it holds NaN.
    """
    if not hasattr(batch, "targets") or not hasattr(batch, "_fields"):
        raise ValueError(f"batches yielded a {type(batch).__name__}, not a named tuple with a field targets")
    for name, part in zip(batch._fields, batch, strict=True):
        if part is not None and part.is_floating_point() and not part.isfinite().all():
            raise ValueError(f"{name} of a batch holds NaN or infinity")
    return batch


def _moved(batch: tuple, device: torch.device) -> tuple:
    return type(batch)(*(None if part is None else part.to(device, non_blocking=True) for part in batch))
