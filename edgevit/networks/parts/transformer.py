"""The plain transformer's blocks, named as timm and the official projects name them, from parts
that passes find and replace.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.parts.norm_readers import Reader, Reading, linear_layers, token_readers


class Mlp(nn.Module):
    """Linear, exact (erf) GELU, linear.

    flax's `nn.gelu`, which ViT's JAX code calls, is the tanh approximation; every PyTorch port runs
    the same weights with erf, and the scores on the cards are theirs.
    """

    def __init__(self, dim: int, hidden: int, outputs: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, outputs or dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., outputs], C by default."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Thirds(nn.Module):
    """What one projection gives for q, k and v, apart; no parameters."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, N, 3 * C] -> three [B, N, C]."""
        q, k, v = x.chunk(3, dim=-1)
        return q, k, v


class Attend(nn.Module):
    """softmax(scale * q k^T) v a head, heads contiguous in the channels; no parameters."""

    def __init__(self, heads: int, scale: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, Q, C], [B, N, C] and [B, N, C'] -> [B, Q, C']."""
        q, k, v = (
            part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in (q, k, v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return mixed.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """What passes ask of any attention that has an `Attend` in it."""

    attend: Attend

    def query_rows(self) -> list[tuple[nn.Linear, int]]:
        """The linear layers that make queries, and how many of their first rows do."""
        raise NotImplementedError

    def token_readers(self) -> list[Reader]:
        """The linear layers that read the tokens."""
        raise NotImplementedError


class Attention(SelfAttention):
    """Multi-head self-attention; `qkv` holds the rows of q, then k, then v, heads contiguous in
    each.

    `attend` may be another than the plain one (windows, say).
    """

    def __init__(
        self, dim: int, heads: int, bias: bool = True, attend: Attend | None = None
    ) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.thirds = Thirds()
        self.attend = attend or Attend(heads, (dim // heads) ** -0.5)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> the same shape."""
        out: Tensor = self.proj(self.attend(*self.thirds(self.qkv(x))))
        return out

    def query_rows(self) -> list[tuple[nn.Linear, int]]:
        """The first third of one projection, or all of the projection of queries set apart."""
        projection: nn.Module = self.qkv
        if isinstance(projection, nn.Linear):
            return [(projection, projection.out_features // 3)]
        layers = linear_layers(projection.get_submodule("q"))
        return [(m, m.out_features) for m in layers if isinstance(m, nn.Linear)]

    def token_readers(self) -> list[Reader]:
        """The projection, or the three that a pass set apart."""
        return linear_layers(self.qkv)


class Block(nn.Module):
    """x += attention(norm1(x)); x += mlp(norm2(x)), whatever the two are.

    `shortcut` keeps all tokens, until a pass has the attention answer for fewer.
    """

    def __init__(self, dim: int, attention: nn.Module, mlp: nn.Module, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps)
        self.mlp = mlp
        self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> the same shape."""
        x = self.shortcut(x) + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def norm_readings(self) -> Iterator[Reading]:
        """The projections of attention, and the first layer of the MLP."""
        yield Reading("norm1", token_readers(self.attn))
        yield Reading("norm2", first_layers(self.mlp))


def first_layers(mlp: nn.Module) -> list[Reader]:
    """The linear layer that an MLP starts with; none where it is not known."""
    first = mlp[0] if isinstance(mlp, nn.Sequential) else getattr(mlp, "fc1", None)
    return [first] if isinstance(first, nn.Linear) else []


class Placed(nn.Module):
    """Class tokens set before the patches, and a position table added to all; no parameters."""

    def forward(self, x: Tensor, tokens: Sequence[Tensor | None], table: Tensor | None) -> Tensor:
        """[B, N, C], tokens [1, 1, C] or none, a table [1, P + N, C] -> [B, P + N, C]."""
        # A batch of one needs no expansion, which delegates leave outside.
        batch = x.shape[0]
        first = [t if batch == 1 else t.expand(batch, -1, -1) for t in tokens if t is not None]
        x = torch.cat([*first, x], dim=1) if first else x
        return x if table is None else x + table


class OneToken(nn.Module):
    """The token of this number; no parameters."""

    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, C]."""
        return x[:, self.number]


class MeanToken(nn.Module):
    """The mean of all tokens behind the first `skipped`; no parameters."""

    def __init__(self, skipped: int = 0, keepdim: bool = False) -> None:
        super().__init__()
        self.skipped, self.keepdim = skipped, keepdim

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, C], or [B, 1, C] with `keepdim`."""
        tokens = x[:, self.skipped :] if self.skipped else x
        return tokens.mean(dim=1, keepdim=self.keepdim)
