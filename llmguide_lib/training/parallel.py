"""One process or many: who takes which rows of a batch, and how gradients are brought together.

Under ``torchrun`` every process runs the same code. The batch is the same for all, each takes every W-th of its rows,
and gradients are averaged over processes; what a run learns does not depend on how many take part.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..transformer import blocks_of

AnyBatch = TypeVar("AnyBatch", bound=tuple)


def replicate(module: nn.Module) -> nn.Module:
    """Every process holds the whole model (DDP).

    Parameters that the loss does not use get no gradient, as with one process; where it uses all of them, torch says
    once that looking for others was in vain, which is no fault.

    Source: Li et al. 2020, https://arxiv.org/abs/2006.15704
    """
    return nn.parallel.DistributedDataParallel(module, find_unused_parameters=True)


def shard(module: nn.Module) -> nn.Module:
    """Every process trains a part of each block's weights, and fetches the rest while the block runs (FSDP2).

    What is sharded is a copy: the model itself stays whole, to be evaluated and kept, and is given the weights then.
    Gradients, the optimizer's state and the weights at work are shared out, one more set of weights is not.

    Source: Zhao et al. 2023, https://arxiv.org/abs/2304.11277
    """
    from torch.distributed.fsdp import fully_shard

    module.model = copy.deepcopy(module.model)
    for block in blocks_of(module.model):
        fully_shard(block)
    return fully_shard(module)


Distribute = Callable[[nn.Module], nn.Module]


class Workers(NamedTuple):
    """The processes of this run."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> "Workers":
        """This process among those that have been started together."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    def share(self, batch: AnyBatch) -> AnyBatch:
        """The rows of a batch that this process reads.

        Raises:
            ValueError: fewer rows than processes.
        """
        if len(batch.targets) < self.size:
            raise ValueError(f"a batch of {len(batch.targets)} rows cannot be shared by {self.size} processes")
        return type(batch)(*(None if part is None else part[self.rank :: self.size] for part in batch))

    def total(self, number: float | int | Tensor) -> float:
        """The sum of a number over all processes."""
        if self.size == 1:
            return float(number)
        shared = torch.tensor(float(number), dtype=torch.float64, device=_communicating_device())
        dist.all_reduce(shared)
        return shared.item()

    def agree(self, number: float | int) -> float:
        """The first process's number, for all: clocks differ."""
        return self.total(number if self.rank == 0 else 0.0)


@contextmanager
def gradients_kept_here(module: nn.Module, here: bool) -> Iterator[None]:
    """While more batches of the same step are to come, gradients are not exchanged."""
    if hasattr(module, "set_requires_gradient_sync"):  # FSDP2
        module.set_requires_gradient_sync(not here)
    with module.no_sync() if here and hasattr(module, "no_sync") else nullcontext():
        yield


def _communicating_device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
