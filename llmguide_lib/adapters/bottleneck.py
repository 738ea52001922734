"""Bottleneck adapters: after a layer, a small network with a narrow middle corrects what it returns."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..sizes import check_positive
from .wrapping import Wrapped, unwrap, wrap

TARGETS = ("out_proj", "down_proj")  # the last maps of attention and of the feed-forward layer


class Bottleneck(Wrapped):
    r"""A linear map whose result y becomes :math:`y + U\,\mathrm{gelu}(D y + d) + u`.

    U and u begin at zero, so that nothing changes before training. Unlike LoRA it has a bend, and cannot be merged.

    Args:
        base: the map, whose weight stays as it is.
        size: width of the middle.
    Raises:
        ValueError: a size that is not positive.
    Source: Houlsby et al. 2019, section 2.1, https://arxiv.org/abs/1902.00751
    """

    def __init__(self, base: nn.Module, size: int) -> None:
        super().__init__(base)
        check_positive(size=size)
        self.down = nn.Linear(self.out_features, size)
        self.up = nn.Linear(size, self.out_features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Float[Tensor, "*b I"]) -> Float[Tensor, "*b O"]:
        """The map's result, corrected."""
        y = self.base(x)
        return y + self.up(F.gelu(self.down(y)))


def add_bottlenecks(model: nn.Module, size: int, targets: Sequence[str] = TARGETS) -> None:
    """Puts an adapter after each map that ``targets`` name and freezes everything else.

    Raises:
        ValueError: a size that is not positive; a target that names nothing, no linear map, one that has an adapter,
            or one that shares its weight. The model is then as before.
    """
    wrap(model, targets, lambda base: Bottleneck(base, size))


def remove_bottlenecks(model: nn.Module) -> None:
    """Leaves the model as it was before ``add_bottlenecks``, all of it trainable.

    Raises:
        ValueError: the model has none.
    """
    unwrap(model, Bottleneck)
