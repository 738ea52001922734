"""Linear maps in four bits a weight: what LoRA leaves alone need not be kept exactly.

Shape letters: I inputs, O outputs, N blocks.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from .wrapping import matrix, put, wrap, wrappers

BLOCK = 64  # weights that share a scale
# The 16 levels of NormalFloat: quantiles of the normal distribution, stretched to reach from -1 to 1, and 0 among them.
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


class FourBitLinear(nn.Linear):
    r"""A linear map that keeps of each weight the number of the nearest level, and of each block of 64 weights a scale.

    .. math:: \hat w = s_n\, q_k, \qquad s_n = \max_{w \in \text{block } n} |w|, \qquad
        k = \arg\min_j |w / s_n - q_j|

    A block is 64 weights of the matrix read row by row. ``weight`` is computed anew whenever it is asked for and has
    no gradient; the bias stays as it is.

    Attributes:
        kind: of the map that it stands for, ``nn.Linear`` or ``Conv1D``.

    Args:
        base: the map that is to be kept in fewer bits; it is not changed.
        levels: the q, 16 ascending numbers from -1 to 1.
    Raises:
        ValueError: other levels, or a weight that is not finite.
    Source: Dettmers et al. 2023, section 3 and appendix E, https://arxiv.org/abs/2305.14314 (without their double
        quantisation, which keeps the scales too in fewer bits: 4.5 bits a weight become 4.127)
    """

    def __init__(self, base: nn.Module, levels: Sequence[float | int] = NF4) -> None:
        nn.Module.__init__(self)
        weight = matrix(base).detach()
        _check(weight, levels)
        self.kind = type(base)
        self.out_features, self.in_features = weight.shape
        self.bias = base.bias
        self.register_buffer("levels", weight.new_tensor(levels), persistent=False)
        blocks = F.pad(weight.flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK)
        scales = blocks.abs().amax(dim=1, keepdim=True)
        shares = blocks / scales.clamp(min=torch.finfo(weight.dtype).tiny)  # a block of zeros has the scale 0
        codes = torch.bucketize(shares, (self.levels[:-1] + self.levels[1:]) / 2).to(torch.uint8)
        self.register_buffer("scales", scales)
        self.register_buffer("codes", codes[:, ::2] * 16 + codes[:, 1::2])  # two in a byte

    @property
    def weight(self) -> Float[Tensor, "O I"]:
        """The matrix, as its four bits give it back."""
        codes = torch.stack([self.codes >> 4, self.codes & 15], dim=2).flatten(1)  # (N, 64)
        blocks = self.scales * self.levels[codes.int()]
        return blocks.flatten()[: self.out_features * self.in_features].view(self.out_features, self.in_features)

    def forward(self, x: Float[Tensor, "*b I"]) -> Float[Tensor, "*b O"]:
        """The map's result."""
        y = _Product.apply(x, self)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def whole(self) -> nn.Module:
        """A map of the kind that it stands for, with the matrix as it is given back."""
        flat = issubclass(self.kind, nn.Linear)
        sizes = (self.in_features, self.out_features)
        with torch.device("meta"):
            map_ = nn.Linear(*sizes, bias=False) if flat else self.kind(*reversed(sizes))
        map_.weight = nn.Parameter(self.weight if flat else self.weight.T.contiguous(), requires_grad=False)
        map_.bias = self.bias
        return map_


class _Product(torch.autograd.Function):
    """The product with the matrix, which autograd would keep until the gradient; here it is computed again for that."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, linear: FourBitLinear) -> Tensor:
        ctx.linear = linear
        return F.linear(x, linear.weight)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.linear.weight.to(gradient.dtype), None  # under autocast the gradient is narrower


def quantize(model: nn.Module, targets: Sequence[str], levels: Sequence[float | int] = NF4) -> None:
    """Keeps the maps that ``targets`` name in four bits and freezes the model; corrections are put on afterwards.

    Args:
        model, targets: as in ``add_lora``.
        levels: as in ``FourBitLinear``.
    Raises:
        ValueError: as ``FourBitLinear`` says; a target that names nothing, no linear map, one that has an adapter, or
            one that shares its weight. The model is then as before.
    """
    wrap(model, targets, partial(FourBitLinear, levels=levels))


def dequantize(model: nn.Module) -> None:
    """Gives the maps whole matrices again, rounded as they are, into which ``merge_lora`` can put a correction.

    Raises:
        ValueError: the model has no map in four bits.
    """
    for name, linear in list(wrappers(model, FourBitLinear)):
        put(model, name, linear.whole().train(linear.training))


def stored_bytes(model: nn.Module) -> int:
    """The size of a model's state: what a file of it takes; what parts share counts once."""
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in model.state_dict().values()}.values())


def _check(weight: Tensor, levels: Sequence[float | int]) -> None:
    if len(levels) != 16 or list(levels) != sorted(set(levels)) or (levels[0], levels[-1]) != (-1, 1):
        raise ValueError(f"levels ({levels}) must be 16 ascending numbers from -1 to 1")
    if not weight.isfinite().all():
        raise ValueError("base has a weight that is not finite: its block would lose all others")
