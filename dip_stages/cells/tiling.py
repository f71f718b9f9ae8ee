"""Divides an image into overlapping tiles, and weights them for blending. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dip_stages.errors import check_range
from dip_stages.images.reading import MIN_SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MIN_TILE", "Tile", "ramp", "tiles"]

MIN_TILE = 4 * MIN_SIDE
"""Smallest side of a tile that may be asked for, in pixels."""


@dataclass(frozen=True)
class Tile:
    """A part of an image: rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the last ones excluded."""

    top: int
    bottom: int
    left: int
    right: int


def tiles(height: int, width: int, size: int, overlap: int) -> list[Tile]:
    """Return tiles that cover an image. All have the same height and the same width.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        size: Largest side of a tile, in pixels.
        overlap: Pixels that neighbours share at least; at most half of ``size``.

    Raises:
        ConfigError: If size or overlap is out of range.
    """
    check_range("tile", size, at_least=MIN_TILE)
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
    """Return a tile's weights along one side: they rise from 0 and fall to 0 where it overlaps a neighbour, else 1.

    Args:
        start: First pixel of the tile.
        stop: End of the tile, excluded.
        length: Pixels of the image along this side.
        overlap: Pixels over which the weights rise or fall.
    """
    weights = np.ones(stop - start)
    rise = (np.arange(overlap) + 1) / (overlap + 1)
    if start > 0 and overlap:
        weights[:overlap] *= rise
    if stop < length and overlap:
        weights[-overlap:] *= rise[::-1]
    return weights
