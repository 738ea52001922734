"""The state of a run on disk: everything that is needed to go on as if nothing had happened.

One file, written beside its place and moved there when it is complete, with a hash of its content in front: whoever
reads it finds the old state or the new one, and notices damage. It holds tensors, numbers and strings, and is read
as such: no code in it would be run.
"""

import hashlib
import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as spread

from ..files import write_atomically
from .parallel import Workers
from .records import Records

Optimizers = list[torch.optim.Optimizer]
FILE, LOCK = "state.pt", "lock"
# Whole tensors by the model's own names, however many processes hold how much of them: a state fits any number. Where
# it is not strict: a parameter that never got a gradient (a head that the loss does not use) has none in an optimizer.
_WHOLE = spread.StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)
_SPREAD = spread.StateDictOptions(full_state_dict=True, broadcast_from_rank0=False)
_SPREAD_SEEN = spread.StateDictOptions(full_state_dict=True, broadcast_from_rank0=False, strict=False)


@contextmanager
def claimed(folder: Path | None, workers: Workers) -> Iterator[None]:
    """The folder belongs to this run as long as it goes on.

    Raises:
        ValueError: another run is in it, or it cannot be written to.
    """
    if folder is None or workers.rank:
        yield
        return
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"folder ({folder}) is in use by another run that is still going on") from None
    except OSError as error:
        raise ValueError(f"folder ({folder}) cannot be written to: {error.strerror}") from None
    for part in folder.glob(f".{FILE}.*"):  # of a run that was killed while it saved
        part.unlink()
    try:
        yield
    finally:
        lock.release()


def save(
    folder: Path, facts: dict, model: nn.Module, optimizers: Optimizers, mean: dict[str, Tensor], records: Records
) -> None:
    """Writes the state; all processes must call it, the first one writes.

    Raises:
        OSError: no room, or no right to write; the last state is still whole then.
    """
    content = {
        "facts": facts,
        "model": spread.get_model_state_dict(model, options=_WHOLE),
        "optimizers": [spread.get_optimizer_state_dict(model, one, options=_WHOLE) for one in optimizers],
        "mean": {name: _whole(tensor) for name, tensor in mean.items()},
        "random": _random_state(),
        "records": asdict(records),
    }
    if Workers.here().rank == 0:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        data = buffer.getvalue()
        try:
            write_atomically(folder / FILE, [hashlib.sha256(data).hexdigest().encode(), b"\n", data])
        except OSError as error:
            failed = f"the state after step {records.step} could not be saved ({error.strerror}), the last one is whole"
            raise OSError(error.errno, failed, str(folder / FILE)) from None


def restore(
    folder: Path, facts: dict, model: nn.Module, optimizers: Optimizers, mean: dict[str, Tensor]
) -> Records | None:
    """Brings model, optimizers and random numbers to where they were; None where no state was saved.

    Raises:
        ValueError: the state is damaged, or of a run with other settings.
    """
    path = folder / FILE
    if not path.exists():
        return None
    digest, _, data = path.read_bytes().partition(b"\n")
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise ValueError(f"{path} is damaged: its hash differs; delete it to begin anew")
    content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    for name in facts.keys() & content["facts"].keys():
        now, then = facts[name], content["facts"][name]
        if now != then:
            raise ValueError(f"folder ({folder}) holds another run: its {name} is {then}, now it is {now}")
    spread.set_model_state_dict(model, content["model"], options=_SPREAD)
    for optimizer, state in zip(optimizers, content["optimizers"], strict=True):
        if state["state"]:  # plain gradient descent remembers nothing
            spread.set_optimizer_state_dict(model, optimizer, state, options=_SPREAD_SEEN)
    for name, tensor in mean.items():
        tensor.copy_(_like(content["mean"][name], tensor))
    _set_random_state(content["random"])
    return Records(**content["records"])


@contextmanager
def drawing_apart() -> Iterator[None]:
    """Whatever is drawn inside, outside random numbers go on as if nothing had been drawn."""
    before = _random_state()
    try:
        yield
    finally:
        _set_random_state(before)


def _random_state() -> dict:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    mps = [torch.mps.get_rng_state()] if torch.backends.mps.is_available() else []
    return {"python": random.getstate(), "torch": torch.get_rng_state(), "cuda": cuda, "mps": mps}


def _set_random_state(state: dict) -> None:
    version, numbers, rest = state["python"]
    random.setstate((version, tuple(numbers), rest))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if state.get("mps") and torch.backends.mps.is_available():
        torch.mps.set_rng_state(*state["mps"])


def _whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).cpu()


def _like(whole: Tensor, part: Tensor) -> Tensor:
    """The whole tensor, spread over processes as ``part`` is."""
    if not hasattr(part, "full_tensor"):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(part.device), part.device_mesh, part.placements)
