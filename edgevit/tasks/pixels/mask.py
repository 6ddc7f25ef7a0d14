"""The exact full-resolution label map of coarse logits, without upsampling them.

Why it is exact. Bilinear interpolation with fixed weights `w_i >= 0` computes, for class c with the
corner values `c_i` of one cell, `f(c) = sum w_i c_i (1 + d_i)` with `|d_i| <= 4u + O(u^2)`,
u = 2^-24: two products and two sums a value. Two facts follow, and all below rests on them.

1. Rounding is monotone, so `c_i <= k_i` at all four corners gives `f(c) <= f(k)` to the last bit:
   if also k < c, the first-of-equals argmax never takes c.
2. Let r be any average of classes of the cell, and `c_i < r_i - m` at all four corners with m well
   above `8u max|k_i|` over the averaged classes k. Then
   `f(c) < sum w_i r_i - (rounding) <= max_k f(k)`: c loses strictly, whatever its index.
   `MARGIN` is eight times what this needs.

A cell whose corners share one winner that beats each lower class by the margin (2) and each higher
one by (1) is that class throughout. In every other cell only the classes that survive (2), with r
the mean of the corners' winners, are interpolated.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.pixels.resize import FloatArray, Size, Taps, apply_taps, check_size, taps

Labels = NDArray[np.unsignedinteger]  # uint8 or uint16
Bools = NDArray[np.bool_]
Index = NDArray[np.intp]

MARGIN = np.float32(2.0**-18)  # of the largest magnitude among the classes compared
# Covers products that underflow, flushed to zero or not.
TINY = np.float32(16) * np.finfo(np.float32).tiny
# Beyond it sums could overflow, and ties at infinity are left to numpy.
SAFE_MAGNITUDE = np.float32(1e37)
MAX_CLASSES = 1 << 16
LONGEST_TILE = 16  # output pixels along one side of a tile
BLOCK_VALUES = 1 << 16  # float32 values interpolated at once: few enough for the L2 cache
STRIP_VALUES = 1 << 22  # float32 values of one strip where the map is interpolated in full


def exact_mask(logits: FloatArray, size: Size) -> Labels:
    """The label of each pixel, identical to `bilinear(logits, size).argmax(0)` for every input.

    Ties go to the lower class, and non-finite values count as numpy counts them.
    logits: float32 [C, h, w]; size: (H, W) in pixels, of any ratio to (h, w).
    Returns uint8 [H, W], or uint16 where there are more than 256 classes.
    Raises `UsageError` on another dtype or rank, a size below 1, or more than 65536 classes.
    """
    if logits.dtype != np.float32 or logits.ndim != 3:
        raise UsageError(
            f"A mask needs float32 logits [C, h, w], not {logits.dtype} of shape {logits.shape}."
        )
    check_size((*size, *logits.shape))
    return mask_at(logits, taps(logits.shape[1], size[0]), taps(logits.shape[2], size[1]))


def mask_at(logits: FloatArray, rows: Taps, columns: Taps) -> Labels:
    """The exact mask at the given taps, e.g. of a strip of a larger picture; see `exact_mask`."""
    classes, height, width = logits.shape
    if classes > MAX_CLASSES:
        raise UsageError(f"A mask holds at most {MAX_CLASSES} classes, not {classes}.")
    highest = max(float(logits.max()), -float(logits.min()))
    # A map smaller than the logits has less than a pixel a cell. NaN fails the comparison.
    if len(rows.first) * len(columns.first) < height * width or not highest < SAFE_MAGNITUDE:
        return plain_mask(logits, rows, columns)

    pixels = logits.reshape(classes, -1).T.copy(order="C")  # [h * w, C], written to below
    winner, firm = _winners(pixels)
    winner_map = winner.reshape(height, width)
    mixed = ~_uniform_cells(winner_map, firm.reshape(height, width))
    labels = winner_map.astype(_label_type(classes))
    mask = labels.take(rows.first, 0).take(columns.first, 1)
    row_tiles, column_tiles = _tiles(rows, height), _tiles(columns, width)
    at_row, at_column = np.nonzero(mixed[np.ix_(row_tiles.first, column_tiles.first)])
    for block in _blocks(len(at_row), max(1, STRIP_VALUES // (8 * classes))):
        _fill(mask, pixels, winner, width, row_tiles, column_tiles, at_row[block], at_column[block])
    return mask


def plain_mask(logits: FloatArray, rows: Taps, columns: Taps) -> Labels:
    """The definition: every class interpolated at every pixel, then argmax, strip by strip."""
    classes = logits.shape[0]
    mask = np.empty((len(rows.first), len(columns.first)), _label_type(classes))
    step = max(1, STRIP_VALUES // (classes * max(len(columns.first), logits.shape[2])))
    for block in _blocks(len(rows.first), step):
        part = rows.part(block.start, block.stop)
        low, high = int(part.first[0]), int(part.second[-1]) + 1
        # Infinities are the caller's, and argmax defines what becomes of them.
        with np.errstate(over="ignore", invalid="ignore"):
            values = apply_taps(logits[:, low:high], part.moved(low), columns)
        mask[block] = values.argmax(0)
    return mask


@dataclass(frozen=True, slots=True)
class _Tiles:
    """One axis cut into runs of at most `length` outputs that read the same pair of inputs.

    All arrays are [tiles] but the weights, which are [length, tiles] and repeat the last position
    beyond a run.
    """

    start: Index
    size: Index
    first: Index
    second: Index
    w0: FloatArray
    w1: FloatArray
    length: int


def _label_type(classes: int) -> type[np.unsignedinteger]:
    return np.uint8 if classes <= 256 else np.uint16


def _blocks(count: int, step: int) -> Iterator[slice]:
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _winners(pixels: FloatArray) -> tuple[Index, Bools]:
    """Each pixel's first-of-equals argmax [P], and whether it beats lower classes clearly [P]."""
    everyone = np.arange(len(pixels))
    winner = pixels.argmax(1)
    top = pixels[everyone, winner]
    pixels[everyone, winner] = -np.inf
    enough = top - (MARGIN * np.abs(top) + TINY)
    firm = pixels.max(1) < enough
    pixels[everyone, winner] = top
    # A close second of a higher index wins nothing: only close pixels pay for telling them apart.
    close = np.flatnonzero(~firm)
    lower = np.arange(pixels.shape[1]) < winner[close, None]
    firm[close] = ~np.any(lower & (pixels[close] >= enough[close, None]), axis=1)
    return winner, firm


def _uniform_cells(winner: Index, firm: Bools) -> Bools:
    """bool [h, w]: the cell from (y, x) to (y + 1, x + 1) is `winner[y, x]` throughout."""
    # Equal left columns, equal right columns and equal tops make all four corners equal.
    columns = firm.copy()
    columns[:-1] &= firm[1:] & (winner[:-1] == winner[1:])
    cells = columns.copy()
    cells[:, :-1] &= columns[:, 1:] & (winner[:, :-1] == winner[:, 1:])
    return cells


def _tiles(axis: Taps, n_in: int) -> _Tiles:
    n_out = len(axis.first)
    longest = min(LONGEST_TILE, -(-n_out // n_in))
    edges = [0, *(np.flatnonzero(np.diff(axis.first)) + 1).tolist(), n_out]
    cuts = [
        (start, min(start + longest, edges[run + 1]))
        for run in range(len(edges) - 1)
        for start in range(edges[run], edges[run + 1], longest)
    ]
    start, stop = np.array(cuts, dtype=np.intp).T
    length = int((stop - start).max())
    at = np.minimum(start + np.arange(length)[:, None], stop - 1)
    first, second = axis.first[start], axis.second[start]
    return _Tiles(start, stop - start, first, second, axis.w0[at], axis.w1[at], length)


def _fill(
    mask: Labels,
    pixels: FloatArray,
    winner: Index,
    width: int,
    row_tiles: _Tiles,
    column_tiles: _Tiles,
    at_row: Index,
    at_column: Index,
) -> None:
    """Write the labels of the tiles (at_row[i], at_column[i]) into the mask."""
    corners = [
        y[at_row] * width + x[at_column]
        for y in (row_tiles.first, row_tiles.second)
        for x in (column_tiles.first, column_tiles.second)
    ]
    alive = _candidates(pixels, winner, corners)
    counts = alive.sum(1)
    # The most contested tiles first: round j of the tournament then concerns a prefix of a block.
    order = np.argsort(-counts, kind="stable")
    tile_of, class_of = np.nonzero(alive)  # classes ascend within a tile
    begin = np.searchsorted(tile_of, np.arange(len(counts)))
    step = max(1, BLOCK_VALUES // (row_tiles.length * column_tiles.length))
    for block in _blocks(len(order), step):
        chosen = order[block]
        ty, tx = at_row[chosen], at_column[chosen]
        place = _tournament(
            pixels,
            [corner[chosen] for corner in corners],
            (row_tiles.w0[:, ty], row_tiles.w1[:, ty]),
            (column_tiles.w0[:, tx], column_tiles.w1[:, tx]),
            (class_of, begin[chosen], counts[chosen]),
        )
        label = class_of[begin[chosen] + place]
        down, right = np.arange(row_tiles.length), np.arange(column_tiles.length)
        inside = (down[:, None, None] < row_tiles.size[ty]) & (
            right[:, None] < column_tiles.size[tx]
        )
        y = row_tiles.start[ty] + down[:, None, None]
        x = column_tiles.start[tx] + right[:, None]
        mask.reshape(-1)[(y * mask.shape[1] + x)[inside]] = label[inside]


def _candidates(pixels: FloatArray, winner: Index, corners: list[Index]) -> Bools:
    """bool [tiles, C]: classes that at some corner reach the mean of the corners' winners."""
    everyone = np.arange(len(corners[0]))
    values = [pixels[corner] for corner in corners]  # four times [tiles, C]
    champions = [winner[corner] for corner in corners]
    of_champions = np.array([[value[everyone, c] for c in champions] for value in values])
    magnitude = np.abs(of_champions).max((0, 1))
    bar = of_champions.mean(1) - (MARGIN * magnitude + TINY)  # [corners, tiles]
    alive: Bools = values[0] >= bar[0][:, None]
    for value, limit in zip(values[1:], bar[1:], strict=True):
        alive |= value >= limit[:, None]
    return alive


def _tournament(
    pixels: FloatArray,
    corners: list[Index],
    row_weights: tuple[FloatArray, FloatArray],
    column_weights: tuple[FloatArray, FloatArray],
    entries: tuple[Index, Index, Index],
) -> NDArray[np.integer]:
    """Interpolate candidate after candidate: the place [rows, columns, tiles] of the first best."""
    class_of, begin, counts = entries
    flat, classes = pixels.reshape(-1), pixels.shape[1]
    bases = [corner * classes for corner in corners]
    shape = (len(row_weights[0]), len(column_weights[0]), len(begin))
    place = np.zeros(shape, _label_type(classes))
    best = np.empty(shape, np.float32)
    upper, lower = np.empty_like(best), np.empty_like(best)
    won, latest = np.empty(shape, np.bool_), np.empty_like(place)
    for j in range(int(counts[0])):
        n = int(np.searchsorted(-counts, -j))  # tiles with more than j candidates
        entrant = class_of[begin[:n] + j]
        a, b, c, d = (flat[base[:n] + entrant] for base in bases)
        u0, u1 = column_weights[0][:, :n], column_weights[1][:, :n]
        value = best if j == 0 else upper[..., :n]
        np.multiply(a * u0 + b * u1, row_weights[0][:, None, :n], out=value)
        np.multiply(c * u0 + d * u1, row_weights[1][:, None, :n], out=lower[..., :n])
        value += lower[..., :n]
        if j:
            np.greater(value, best[..., :n], out=won[..., :n])
            np.maximum(best[..., :n], value, out=best[..., :n])
            # Places only grow, so the latest win is the largest: cheaper than a masked copy.
            np.multiply(won[..., :n], place.dtype.type(j), out=latest[..., :n], casting="unsafe")
            np.maximum(place[..., :n], latest[..., :n], out=place[..., :n])
    return place
