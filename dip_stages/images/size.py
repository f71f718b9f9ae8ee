"""The sizes of images that are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dip_stages.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_PIXELS", "MIN_SIDE", "Size", "check_size"]

MAX_PIXELS = 8192 * 8192
"""Pixels of the largest image that is decoded; a larger one may be a decompression bomb."""

MIN_SIDE = 16
"""Smallest height and width of an image, in pixels."""


class Size(NamedTuple):
    """An image's size as errors show it: ``640×480``."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"


def check_size(path: Path, size: Size) -> None:
    """Check that an image has neither more than :data:`MAX_PIXELS` nor a side under :data:`MIN_SIDE`.

    Raises:
        ImageError: If it has.
    """
    if size.width * size.height > MAX_PIXELS:
        raise ImageError(" pixels", setting=path, got=size, allowed=f"at most {MAX_PIXELS:,} in all")
    if min(size) < MIN_SIDE:
        raise ImageError(" pixels", setting=path, got=size, allowed=f"at least {MIN_SIDE} a side")
