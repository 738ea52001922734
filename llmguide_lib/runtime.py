"""Where and how computation runs: the device, the precision, the seed, the memory in use."""

import random
import sys
from contextlib import AbstractContextManager

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
        raise ValueError(
            f"dtype ({dtype}) must be torch.bfloat16 or torch.float32 on the CPU: float16 is emulated there"
        )
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def seed_everything(seed: int) -> None:
    """Seeds Python and torch (all devices).

    Raises:
        ValueError: ``seed`` is negative.
    """
    if seed < 0:
        raise ValueError(f"seed ({seed}) must not be negative")
    random.seed(seed)
    torch.manual_seed(seed)


def peak_memory_bytes() -> int:
    """The largest memory this process has held so far, 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts kibibytes
