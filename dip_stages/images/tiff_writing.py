"""Writes TIFF of any mode and depth: Pillow writes no 16-bit colour, and tifffile no EXIF."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from dip_stages.images.metadata import IFDS, Metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["write_tiff"]

_PHOTOMETRIC = {"L": 1, "RGB": 2, "CMYK": 5}
_UNASSOCIATED_ALPHA = 2
_LONG, _SHORT, _UNDEFINED = 4, 3, 7


def write_tiff(file: IO[bytes], pixels: NDArray[Any], mode: str, metadata: Metadata) -> None:
    """Write an image as one uncompressed strip.

    Args:
        file: Where.
        pixels: ``(H, W, C)``, unsigned integers or floats.
        mode: ``L``, ``RGB`` or ``CMYK``, with an ``A`` for transparency.
        metadata: What to keep beside the pixels.
    """
    height, width, channels = pixels.shape
    exif = Image.Exif()
    exif.load(metadata.exif)
    tags: dict[int, Any] = {tag: value for tag, value in exif.items() if tag not in IFDS}
    tags |= {tag: dict(directory) for tag in IFDS if (directory := exif.get_ifd(tag))}
    tags |= {
        256: width,
        257: height,
        258: (8 * pixels.itemsize,) * channels,
        259: 1,
        262: _PHOTOMETRIC[mode.removesuffix("A")],
        273: 0,  # where the pixels begin, beyond the tags
        277: channels,
        278: height,
        279: pixels.nbytes,
        284: 1,
        339: (3 if pixels.dtype.kind == "f" else 1,) * channels,
    }
    if mode.endswith("A"):
        tags[338] = _UNASSOCIATED_ALPHA
    if metadata.resolution:
        tags |= {282: metadata.resolution[0], 283: metadata.resolution[1], 296: 2}
    if metadata.profile:
        tags[34675] = metadata.profile
    head = ImageFileDirectory_v2()
    head.tagtype |= {273: _LONG, 279: _LONG, 34675: _UNDEFINED, 338: _SHORT}
    for tag, value in tags.items():
        head[tag] = value
    head.save(file)
    file.write(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes())
