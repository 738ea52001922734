"""Feed-forward layers of a Transformer. Shape letters: B batch, T positions, D d_model, F d_ff."""

from jaxtyping import Float
from torch import Tensor, nn


class FeedForward(nn.Module):
    r"""Two linear maps with an activation between them, applied to every position alone.

    .. math:: W_2\, \phi(W_1 x + b_1) + b_2

    Args:
        d_model: width of the input and the output.
        d_ff: width in between, usually four times ``d_model``.
        activation: a module; None means ``nn.GELU()``.
        bias: whether the two maps have a bias.
    Raises:
        ValueError: a size is not positive.
    Source: Vaswani et al. 2017, section 3.3, https://arxiv.org/abs/1706.03762
    """

    def __init__(self, d_model: int, d_ff: int, activation: nn.Module | None = None, *, bias: bool = True) -> None:
        super().__init__()
        for name, size in (("d_model", d_model), ("d_ff", d_ff)):
            if size < 1:
                raise ValueError(f"{name} ({size}) must be positive")
        self.up_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.activation = activation or nn.GELU()
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Transforms every position."""
        return self.down_proj(self.activation(self.up_proj(x)))
