"""Transformer blocks, norm first. Axes: B sample, N query token, M key token, W width."""

from jaxtyping import Float
from torch import Tensor, nn

from statecast.models.attention import GeometricAttention, Geometry


class Block(nn.Module):
    """Attention (to the tokens themselves, or to a context), then a two-layer perceptron, each added to the stream of tokens."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, reach_deg: float, *, crosses: bool) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.context_norm = nn.RMSNorm(width) if crosses else None
        self.attention = GeometricAttention(width, heads, reach_deg)
        hidden = int(mlp_ratio * width)
        self.mlp = nn.Sequential(nn.RMSNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(
        self,
        tokens: Float[Tensor, "B N W"],
        at: Geometry,
        context: Float[Tensor, "B M W"] | None = None,
        where: Geometry | None = None,
    ) -> Float[Tensor, "B N W"]:
        normed = self.norm(tokens)
        if self.context_norm is None:
            tokens = tokens + self.attention(normed, at, normed, at)
        else:
            assert context is not None and where is not None, "a block that crosses needs a context"
            tokens = tokens + self.attention(normed, at, self.context_norm(context), where)
        return tokens + self.mlp(tokens)
