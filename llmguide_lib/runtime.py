"""Where and how computation runs: the device, the precision, the seed, the memory in use."""

import os
import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


def device() -> torch.device:
    """The best device at hand: a CUDA GPU, else Apple's, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def autocast(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> AbstractContextManager:
    """Mixed precision for a forward pass on ``device``.

    Raises:
        ValueError: float16 on the CPU, where a product of two large matrices takes minutes.
    """
    if device.type == "cpu" and dtype == torch.float16:
        raise ValueError(f"dtype ({dtype}) must be bfloat16 or float32 on the CPU, where float16 is emulated")
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def fastest_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware computes with it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu":
        return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
    return torch.float32


def seed_everything(seed: int) -> None:
    """Seeds Python and torch (all devices).

    Raises:
        ValueError: ``seed`` is negative.
    """
    if seed < 0:
        raise ValueError(f"seed ({seed}) must not be negative")
    random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def processes() -> Iterator[int]:
    """Joins the processes that ``torchrun`` started and yields this one's number; alone, it is 0 and nothing is joined.

    On GPUs each process takes its own, named by LOCAL_RANK, and they talk by nccl; else by gloo.
    """
    import torch.distributed as dist

    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def peak_memory_bytes() -> int:
    """The largest memory this process has held so far, 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts kibibytes
