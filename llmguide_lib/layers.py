"""Normalisation and feed-forward layers of a Transformer. Shape letters: B batch, T positions, D d_model, F d_ff."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from .sizes import check_positive


class LayerNorm(nn.Module):
    r"""Every vector brought to mean 0 and variance 1, then stretched and shifted by learned amounts.

    .. math:: \gamma \odot \frac{x - \bar x}{\sqrt{\operatorname{Var}(x) + \epsilon}} + \beta

    The variance is the mean of the squared deviations (divided by D, not D - 1).

    Args:
        d_model: width of the vectors.
        norm_eps: added to the variance; 1e-5 in GPT-2, 1e-12 in BERT.
        bias: whether vectors are shifted; ModernBERT's are not.
    Raises:
        ValueError: a size or ``norm_eps`` is not positive.
    Source: Ba et al. 2016, equation 4, https://arxiv.org/abs/1607.06450
    """

    def __init__(self, d_model: int, norm_eps: float = 1e-5, *, bias: bool = True) -> None:
        super().__init__()
        check_positive(d_model=d_model, norm_eps=norm_eps)
        self.norm_eps = norm_eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """Normalises every vector alone."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.norm_eps)


class RMSNorm(nn.Module):
    r"""Every vector divided by its root mean square: LayerNorm without centring and shifting.

    .. math:: \gamma \odot \frac{x}{\sqrt{\overline{x^2} + \epsilon}}

    Args:
        d_model: width of the vectors.
        norm_eps: added to the mean square.
    Raises:
        ValueError: a size or ``norm_eps`` is not positive.
    Source: Zhang and Sennrich 2019, equation 4, https://arxiv.org/abs/1910.07467
    """

    def __init__(self, d_model: int, norm_eps: float = 1e-6) -> None:
        super().__init__()
        check_positive(d_model=d_model, norm_eps=norm_eps)
        self.norm_eps = norm_eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """Normalises every vector alone."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.norm_eps)


class FeedForward(nn.Module):
    r"""Two linear maps with an activation between them, applied to every position alone.

    .. math:: W_2\, \phi(W_1 x + b_1) + b_2

    Args:
        d_model: width of the input and the output.
        d_ff: width in between, usually four times ``d_model``.
        activation: a module; None means ``nn.GELU()``. GPT-2 has ``nn.GELU("tanh")``, the 2017 paper ``nn.ReLU()``.
        bias: whether the two maps have a bias.
    Raises:
        ValueError: a size is not positive.
    Source: Vaswani et al. 2017, section 3.3, https://arxiv.org/abs/1706.03762
    """

    def __init__(self, d_model: int, d_ff: int, activation: nn.Module | None = None, *, bias: bool = True) -> None:
        super().__init__()
        check_positive(d_model=d_model, d_ff=d_ff)
        self.up_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.activation = activation or nn.GELU()
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Transforms every position."""
        return self.down_proj(self.activation(self.up_proj(x)))


class GatedFeedForward(nn.Module):
    r"""A feed-forward layer in which one linear map opens and closes the other, number by number.

    .. math:: W_2\, \bigl(\phi(W_g x) \odot W_1 x\bigr)

    With ``nn.SiLU()`` this is SwiGLU (Llama, Qwen), with ``nn.GELU()`` GEGLU (T5 1.1, ModernBERT).

    Args:
        d_model: width of the input and the output.
        d_ff: width in between; two thirds of four times ``d_model`` costs as much as an ungated layer.
        activation: a module; None means ``nn.SiLU()``.
        bias: whether the three maps have a bias.
    Raises:
        ValueError: a size is not positive.
    Source: Shazeer 2020, equation 6, https://arxiv.org/abs/2002.05202
    """

    def __init__(self, d_model: int, d_ff: int, activation: nn.Module | None = None, *, bias: bool = False) -> None:
        super().__init__()
        check_positive(d_model=d_model, d_ff=d_ff)
        self.gate_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.up_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.activation = activation or nn.SiLU()
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Transforms every position."""
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))
