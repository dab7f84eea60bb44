"""Transformer blocks, norm first. Axes: B sample, N query token, M key token, W width, F condition."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor, nn

from statecast.axes import Axis
from statecast.models.attention import GeometricAttention, Geometry


class ModulatedNorm(nn.Module):
    """A norm whose scale and shift depend on a condition; a plain norm if the condition has no features.

        (1 + γ(c)) · w x / rms(x)  +  β(c)          with linear γ and β, both initially 0, and learned w

    FiLM (Perez et al. 2018), placed as in Peebles & Xie 2023 (DiT): before attention and before the perceptron.
    """

    def __init__(self, width: int, condition_size: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.modulation = nn.Linear(condition_size, 2 * width) if condition_size else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self, tokens: Float[Tensor, "B N W"], condition: Float[Tensor, "B N F"] | None
    ) -> Float[Tensor, "B N W"]:
        normed = self.norm(tokens)
        if self.modulation is None:
            return normed
        scale, shift = self.modulation(condition).chunk(2, dim=-1)
        return normed + normed * scale + shift  # 1 + scale would round a small scale away in 16 bits


class EncoderBlock(nn.Module):
    """Self-attention, then a two-layer perceptron, each with a residual connection."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, axes: Sequence[Axis]) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.attention = GeometricAttention(width, heads, axes)
        self.mlp_norm = nn.RMSNorm(width)
        self.mlp = perceptron(width, mlp_ratio)

    def forward(
        self, tokens: Float[Tensor, "B N W"], at: Geometry, visible: Bool[Tensor, "B #N M"] | None = None
    ) -> Float[Tensor, "B N W"]:
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, at, normed, at, visible)
        return tokens + self.mlp(self.mlp_norm(tokens))


class DecoderBlock(nn.Module):
    """Attention of each asked token to a context, then a perceptron; the norms before both depend on a condition of the token."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, axes: Sequence[Axis], condition_size: int) -> None:
        super().__init__()
        self.norm = ModulatedNorm(width, condition_size)
        self.context_norm = nn.RMSNorm(width)
        self.attention = GeometricAttention(width, heads, axes)
        self.mlp_norm = ModulatedNorm(width, condition_size)
        self.mlp = perceptron(width, mlp_ratio)

    def forward(
        self,
        tokens: Float[Tensor, "B N W"],
        at: Geometry,
        condition: Float[Tensor, "B N F"] | None,
        context: Float[Tensor, "B M W"],
        where: Geometry,
        visible: Bool[Tensor, "B #N M"] | None = None,
    ) -> Float[Tensor, "B N W"]:
        mixed = self.attention(self.norm(tokens, condition), at, self.context_norm(context), where, visible)
        tokens = tokens + mixed
        return tokens + self.mlp(self.mlp_norm(tokens, condition))


def perceptron(width: int, ratio: float) -> nn.Sequential:
    """A perceptron with one hidden layer, `ratio` times as wide as its input."""
    hidden = int(ratio * width)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
