"""An image in overlapping tiles. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dip_stages.errors import check_range
from dip_stages.images.reading import MIN_SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Tile", "ramp", "tiles"]


@dataclass(frozen=True)
class Tile:
    """A part of an image: its rows ``top`` to ``bottom`` and columns ``left`` to ``right``, both ends exclusive."""

    top: int
    bottom: int
    left: int
    right: int


def tiles(height: int, width: int, size: int, overlap: int) -> list[Tile]:
    """Return tiles that cover an image, of at most ``size`` pixels a side, each overlapping the next.

    Tiles are equally large along each side, and neighbours share at least ``overlap`` pixels.

    Args:
        height: Of the image.
        width: Of the image.
        size: Pixels.
        overlap: Pixels, at most half of ``size``.

    Raises:
        ConfigError: If size or overlap is out of range.
    """
    check_range("tile", size, at_least=4 * MIN_SIDE)
    check_range("overlap", overlap, at_least=0, at_most=size // 2)
    return [
        Tile(top, bottom, left, right)
        for top, bottom in _spans(height, size, overlap)
        for left, right in _spans(width, size, overlap)
    ]


def _spans(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    if length <= size:
        return [(0, length)]
    count = -(-(length - overlap) // (size - overlap))
    starts = [round(index * (length - size) / (count - 1)) for index in range(count)]
    return [(start, start + size) for start in starts]


def ramp(start: int, stop: int, length: int, overlap: int) -> NDArray[np.float64]:
    """Return a tile's weights along a side: rising over the overlap with a neighbour, falling likewise, else 1."""
    weights = np.ones(stop - start)
    rise = (np.arange(overlap) + 1) / (overlap + 1)
    if start > 0 and overlap:
        weights[:overlap] *= rise
    if stop < length and overlap:
        weights[-overlap:] *= rise[::-1]
    return weights
