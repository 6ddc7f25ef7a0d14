"""What XNNPACK takes of a vision transformer's operations, through ExecuTorch's partitioner.

Source: backends/xnnpack/partition/config of executorch 1.5.1. An operation that it does not take
cuts the graph in two, and each piece costs a copy of its inputs and outputs.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgevit_export.spellings.spelling import Spelling

ATEN = torch.ops.aten


def mean_of_last(x: Tensor) -> Tensor:
    """[..., C] -> [..., 1]: a mean over dimensions -2 and -1 of [1, rows, C, 1], which is XNNPACK's
    global average pool.
    """
    mean = x.reshape(1, -1, x.shape[-1], 1).mean(dim=(-2, -1), keepdim=True)
    return mean.reshape(*x.shape[:-1], 1)


def layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """norm(x) = (x - mean x) / sqrt(mean (x - mean x)^2 + eps) * gamma + beta."""
    flat = x if len(shape) == 1 else x.flatten(-len(shape))
    flat = flat - mean_of_last(flat)
    flat = flat * torch.rsqrt(mean_of_last(flat * flat) + eps)
    out = flat if len(shape) == 1 else flat.reshape(x.shape)
    if weight is not None:
        out = out * weight
    return out if bias is None else out + bias


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(s q k^T + mask) v, with all leading dimensions in the batch of 3-D products.

    s = 1 / sqrt(d) where none is given. A factor of the queries is one of their products.
    """
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    flat = [part.reshape(-1, *part.shape[-2:]) for part in (q, k, v)]
    queries = flat[0] if factor == 1 else flat[0] * factor
    logits = torch.bmm(queries, flat[1].transpose(1, 2))
    if mask is not None:
        logits = (logits.reshape(*q.shape[:-1], -1) + mask).reshape(logits.shape)
    return torch.bmm(logits.softmax(dim=-1), flat[2]).reshape(*q.shape[:-1], v.shape[-1])


def _plain_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> bool:
    """No dropout, no mask of truth values, heads one to one."""
    floats = mask is None or mask.is_floating_point()
    same = q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    return floats and same and not (dropout or is_causal or enable_gqa)


def _floats(x: Tensor, *_: Any, **__: Any) -> bool:
    """XNNPACK works on nothing else."""
    return x.is_floating_point()


def chunks(x: Tensor, count: int, dim: int = 0) -> tuple[Tensor, ...]:
    """chunk(x)_i = x[start_i : end_i]."""
    return parts(x, -(-x.shape[dim] // count), dim)


def parts(x: Tensor, size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """split(x)_i = x[start_i : end_i]."""
    whole = x.shape[dim]
    sizes = (
        [min(size, whole - at) for at in range(0, whole, size)] if isinstance(size, int) else size
    )
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return tuple(x.narrow(dim, at, length) for at, length in zip(starts, sizes, strict=True))


def members(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """unbind(x)_i = x[i : i + 1] without that dimension."""
    return tuple(member(x, dim, index) for index in range(x.shape[dim]))


def member(x: Tensor, dim: int, index: int) -> Tensor:
    """select(x, i) = x[i : i + 1] without that dimension."""
    dim, index = dim % x.ndim, index % x.shape[dim]
    return x.narrow(dim, index, 1).reshape([*x.shape[:dim], *x.shape[dim + 1 :]])


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b with all leading dimensions in the batch of one 3-D product."""
    flat = torch.bmm(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]))
    return flat.reshape(*a.shape[:-1], b.shape[-1])


def _batches(a: Tensor, b: Tensor) -> bool:
    """The same leading dimensions, so that nothing is broadcast."""
    return a.ndim > 2 and a.shape[:-2] == b.shape[:-2]


def mean(
    x: Tensor, dims: Sequence[int] | None = None, keepdim: bool = False, *, dtype: None = None
) -> Tensor:
    """The mean over any dimensions as that over the last one of a transposed view."""
    averaged = sorted(dim % x.ndim for dim in dims or range(x.ndim))
    others = [dim for dim in range(x.ndim) if dim not in averaged]
    moved = x if averaged == list(range(len(others), x.ndim)) else x.permute(others + averaged)
    result = mean_of_last(moved if len(averaged) == 1 else moved.flatten(len(others)))
    kept = [1 if dim in averaged else side for dim, side in enumerate(x.shape)]
    shape = kept if keepdim else [x.shape[dim] for dim in others]
    return result if list(result.shape) == shape else result.reshape(shape)


def _other_mean(
    x: Tensor,
    dims: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> bool:
    """Of floats, and not the one mean that XNNPACK has."""
    taken = x.ndim == 4 and keepdim and sorted(dim % 4 for dim in dims or ()) == [2, 3]
    return not taken and dtype is None and x.is_floating_point()


def total(
    x: Tensor, dims: Sequence[int] | None = None, keepdim: bool = False, *, dtype: None = None
) -> Tensor:
    """sum_n x_n = n mean(x)."""
    averaged = dims or range(x.ndim)
    return mean(x, dims, keepdim) * float(math.prod(x.shape[dim] for dim in averaged))


def _float_sum(
    x: Tensor,
    dims: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> bool:
    return dtype is None and x.is_floating_point()


def softmax(x: Tensor, dim: int, dtype: None = None) -> Tensor:
    """Over the last dimension of a 3-D view, with that dimension moved to the end.

    Of a 4-D tensor that a convolution leaves in NHWC order, XNNPACK takes the softmax over the
    channels, whichever dimension the program names.
    """
    moved = x if dim % x.ndim == x.ndim - 1 else x.transpose(dim, -1)
    soft = moved.reshape(-1, *moved.shape[-2:]).softmax(dim=-1).reshape(moved.shape)
    return soft if moved is x else soft.transpose(dim, -1)


def _other_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> bool:
    """Not over the last dimension, or of a rank that may be in NHWC order."""
    return dtype is None and (dim % x.ndim != x.ndim - 1 or x.ndim > 3)


def same(x: Tensor, sizes: Sequence[int], *, implicit: bool = False) -> Tensor:
    """expand(x) = x where it has that size."""
    return x


def _expands_nothing(x: Tensor, sizes: Sequence[int], *, implicit: bool = False) -> bool:
    return (
        _floats(x)
        and len(sizes) == x.ndim
        and all(size in (-1, side) for size, side in zip(sizes, x.shape, strict=True))
    )


def squeezed(x: Tensor, dims: int | Sequence[int] | None = None) -> Tensor:
    """A view without dimensions of size 1."""
    given = range(x.ndim) if dims is None else [dims] if isinstance(dims, int) else dims
    dropped = {dim % x.ndim for dim in given if x.shape[dim] == 1}
    return x.reshape([side for dim, side in enumerate(x.shape) if dim not in dropped])


def unsqueezed(x: Tensor, dim: int) -> Tensor:
    """A view with one more dimension of size 1."""
    place = dim % (x.ndim + 1)
    return x.reshape(*x.shape[:place], 1, *x.shape[place:])


# In this order: what a row leaves may be another row's operation.
XNNPACK: tuple[Spelling, ...] = (
    Spelling((ATEN.layer_norm.default,), layer_norm, "it has no normalization of layers"),
    Spelling(
        (ATEN.scaled_dot_product_attention.default,),
        attention,
        "torch's decomposition guards against rows that are masked whole, outside of the delegate",
        _plain_attention,
    ),
    Spelling((ATEN.matmul.default,), product, "4-D products broadcast by an expand", _batches),
    Spelling((ATEN.chunk.default,), chunks, "it takes slices and no split", _floats),
    Spelling(
        (ATEN.split.Tensor, ATEN.split_with_sizes.default),
        parts,
        "it takes slices and no split",
        _floats,
    ),
    Spelling((ATEN.unbind.int,), members, "it takes slices and no split", _floats),
    Spelling((ATEN.select.int,), member, "it takes slices and no select", _floats),
    Spelling(
        (ATEN.sum.default, ATEN.sum.dim_IntList), total, "it has means and no sums", _float_sum
    ),
    Spelling(
        (ATEN.mean.default, ATEN.mean.dim),
        mean,
        "its one mean is a global average pool",
        _other_mean,
    ),
    Spelling(
        (ATEN.softmax.int,),
        softmax,
        "its softmax is over the last dimension in memory",
        _other_softmax,
    ),
    Spelling((ATEN.expand.default,), same, "it takes no expand", _expands_nothing),
    Spelling(
        (ATEN.squeeze.default, ATEN.squeeze.dim, ATEN.squeeze.dims),
        squeezed,
        "it takes views of fixed shape and no squeeze",
        _floats,
    ),
    Spelling((ATEN.unsqueeze.default,), unsqueezed, "it adds a last dimension only", _floats),
)
