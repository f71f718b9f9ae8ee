"""Writes TIFF of any mode and depth: Pillow writes no 16-bit colour, and tifffile no EXIF."""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dip_stages.images.exif import density_tags, order_of, with_tags
from dip_stages.images.ifd import Tags, Value
from dip_stages.images.metadata import STORAGE, Metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["write_tiff"]

_PHOTOMETRIC = {"L": 1, "RGB": 2, "CMYK": 5}
_UNASSOCIATED_ALPHA = 2
_UNDEFINED, _SHORT, _LONG = 7, 3, 4


def write_tiff(file: IO[bytes], pixels: NDArray[Any], mode: str, metadata: Metadata) -> None:
    """Write an image as one uncompressed strip, behind its EXIF, in whose byte order it is.

    Args:
        file: Where.
        pixels: ``(H, W, C)``, unsigned integers or floats.
        mode: ``L``, ``RGB`` or ``CMYK``, with an ``A`` for transparency.
        metadata: What to keep beside the pixels.
    """
    height, width, channels = pixels.shape
    order = order_of(metadata.block)

    def numbers(kind: int, *values: int) -> Value:
        return Value(kind, len(values), struct.pack(f"{order}{len(values)}{'H' if kind == _SHORT else 'I'}", *values))

    tags: Tags = {
        256: numbers(_LONG, width),
        257: numbers(_LONG, height),
        258: numbers(_SHORT, *(8 * pixels.itemsize,) * channels),
        259: numbers(_SHORT, 1),
        262: numbers(_SHORT, _PHOTOMETRIC[mode.removesuffix("A")]),
        273: numbers(_LONG, 0),
        277: numbers(_SHORT, channels),
        278: numbers(_LONG, height),
        279: numbers(_LONG, pixels.nbytes),
        284: numbers(_SHORT, 1),
        339: numbers(_SHORT, *(3 if pixels.dtype.kind == "f" else 1,) * channels),
    }
    if mode.endswith("A"):
        tags[338] = numbers(_SHORT, _UNASSOCIATED_ALPHA)
    if density := metadata.resolution or metadata.aspect:
        tags |= density_tags(order, density, by_inch=metadata.resolution is not None)
    if metadata.profile:
        tags[34675] = Value(_UNDEFINED, len(metadata.profile), metadata.profile)
    head = with_tags(metadata.block, tags, STORAGE)
    tags[273] = numbers(_LONG, len(head))
    file.write(with_tags(metadata.block, tags, STORAGE))
    file.write(np.ascontiguousarray(pixels, f"{order}{pixels.dtype.str[1:]}").tobytes())
