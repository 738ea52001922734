"""What the inputs of many exercises are made of."""

import math

import torch
from torch import Tensor

LOWEST = torch.finfo(torch.float64).min


def draw(*shape: int, seed: int) -> Tensor:
    """Uniform float64 numbers of mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(seed)
    return math.sqrt(3) * (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1)
