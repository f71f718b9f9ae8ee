"""From pixels to an image's file, of 8 or 16 bits; the reverse of :mod:`~dip_stages.images.decoding`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dip_stages.errors import ImageError
from dip_stages.images.decoding import depth_of
from dip_stages.images.opening import endings, opened
from dip_stages.store.files import replacing

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["check_encoding", "depth_of_file", "write_image"]

_DEEP = (".png", ".tif", ".tiff")
"""Endings of formats that hold 16 bits per channel."""


def depth_of_file(path: str | os.PathLike[str]) -> int:
    """Return the bits per channel of an image's file: 8 or 16.

    Raises:
        ImageError: If it is no image.
    """
    with opened(Path(path)) as image:
        return depth_of(image)


def check_encoding(path: str | os.PathLike[str], depth: int) -> None:
    """Check that an image of that depth can be written to such a file.

    Raises:
        ImageError: If its ending is unknown, its format has fewer bits, or its folder is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in endings():
        allowed = "an image's, such as .png, .tif or .jpg"
        raise ImageError(" as ending", setting=path, got=path.suffix, allowed=allowed)
    if depth > 8 and path.suffix.lower() not in _DEEP:
        raise ImageError(
            f" bits a channel, which {path.suffix} does not hold", setting=path, got=depth, allowed=", ".join(_DEEP)
        )
    if not path.parent.is_dir():
        raise ImageError(f"{path.parent} is no folder", setting=path, allowed="one that is there")


def write_image(path: str | os.PathLike[str], image: NDArray[np.float32], depth: int) -> None:
    """Write an image, whole or not at all, in the format of the file's ending.

    Args:
        path: The file.
        image: ``(H, W, C)`` float, 1.0 being white, clipped to [0, 1]; C is 1 for grey and 3 for colour.
        depth: Bits per channel, 8 or 16.

    Raises:
        ImageError: As :func:`check_encoding`.
    """
    path = Path(path)
    check_encoding(path, depth)
    kind = np.uint16 if depth > 8 else np.uint8
    pixels = np.round(np.clip(image, 0, 1) * np.iinfo(kind).max).astype(kind)
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    with replacing(path) as temporary:
        if path.suffix.lower() in (".tif", ".tiff"):
            import tifffile

            with temporary.open("wb") as file:
                tifffile.imwrite(file, pixels, photometric="minisblack" if pixels.ndim == 2 else "rgb")
        elif depth > 8:
            import png

            height, width = pixels.shape[:2]
            with temporary.open("wb") as file:
                writer = png.Writer(width, height, greyscale=pixels.ndim == 2, bitdepth=16)
                writer.write(file, pixels.reshape(height, -1))
        else:
            format_ = Image.registered_extensions()[path.suffix.lower()]
            Image.fromarray(pixels).save(temporary, format=format_)
