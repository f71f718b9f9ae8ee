"""From an opened image to its pixels, at full depth: Pillow alone reduces 16-bit colour to 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageOps

from dip_stages.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["decode", "depth_of"]

_ORIENTATION = 274  # the EXIF and TIFF tag


def decode(path: Path, image: Image.Image) -> NDArray[np.float32]:
    """Return the pixels of an image, upright, with transparency composited onto white.

    Args:
        path: Its file, which is read again where Pillow would lose depth.
        image: The file, opened by Pillow.

    Returns:
        ``(H, W, C)`` float32, 1.0 being white; C is 1 for grey and 3 for colour.

    Raises:
        ImageError: If depth or colours of such a file cannot be read correctly.
    """
    if image.format == "PNG" and _png_depth(path) == 16:
        return _turned(_over_white(_deep_png(path)), image.getexif().get(_ORIENTATION, 1))
    if image.format == "TIFF" and max(getattr(image, "tag_v2", {}).get(258, (8,))) > 8 and image.mode != "F":
        return _deep_tiff(path)
    if image.format == "PPM" and _netpbm_maximum(path) > 255 and image.mode == "RGB":
        raise ImageError(
            "colour Netpbm of more than 8 bits is not supported", setting=path, allowed="16-bit PNG or TIFF"
        )
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        white = 1 if image.mode == "F" else 65535
        return np.asarray(image, dtype=np.float32)[..., None] / np.float32(white)
    return _shallow(image)


def depth_of(path: Path, image: Image.Image) -> int:
    """Return the bits per channel of a file: 8 or 16; floating point and other greater depths count as 16.

    Args:
        path: The file.
        image: The file, opened by Pillow.
    """
    if image.format == "PNG":
        return 16 if _png_depth(path) == 16 else 8
    if image.format == "TIFF":
        return 16 if max(getattr(image, "tag_v2", {}).get(258, (8,))) > 8 else 8
    return 16 if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F") else 8


def _shallow(image: Image.Image) -> NDArray[np.float32]:
    """Return pixels of at most 8 bits per channel; palettes are expanded, CMYK is converted without a profile."""
    turned = ImageOps.exif_transpose(image)
    grey = turned.mode in ("1", "L", "LA")
    if turned.has_transparency_data:
        pixels = np.asarray(turned.convert("LA" if grey else "RGBA"), dtype=np.float32)
    else:
        pixels = np.asarray(turned.convert("L" if grey else "RGB"), dtype=np.float32)
    return _over_white(pixels / np.float32(255))


def _deep_png(path: Path) -> NDArray[np.float32]:
    import png

    with path.open("rb") as file:
        width, height, rows, info = png.Reader(file=file).asDirect()
        flat = np.vstack([np.asarray(row, dtype=np.float32) for row in rows])
    pixels = flat.reshape(height, width, info["planes"]).astype(np.float32)
    return pixels / np.float32(2 ** info["bitdepth"] - 1)


def _png_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[24]  # signature 8, chunk head 8, width 4, height 4, then the depth


def _netpbm_maximum(path: Path) -> int:
    """Return the value of white from a binary Netpbm header: magic, width, height, maximum, with comments between."""
    with path.open("rb") as file:
        lines = file.read(1000).split(b"\n")
    words = b" ".join(line.partition(b"#")[0] for line in lines).split()
    return int(words[3]) if words[0] == b"P6" else 255


def _deep_tiff(path: Path) -> NDArray[np.float32]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        supported = page.photometric in (0, 1, 2) and page.bitspersample == 16 and page.dtype == np.uint16
        if (
            not supported
            or page.axes not in ("YX", "YXS", "SYX")
            or any(extra not in (1, 2) for extra in page.extrasamples)
        ):
            raise ImageError("such a TIFF is not supported", setting=path, allowed="8 or 16 unsigned bits, grey or RGB")
        try:
            pixels = page.asarray().astype(np.float32) / np.float32(65535)
        except (KeyError, ValueError) as error:
            if "imagecodecs" in str(error):
                raise ImageError(str(error), setting=path, allowed="uncompressed or deflated") from error
            raise
        orientation = page.tags[_ORIENTATION].value if _ORIENTATION in page.tags else 1
    pixels = np.moveaxis(pixels, 0, -1) if page.axes == "SYX" else pixels
    pixels = 1 - pixels if page.photometric == 0 else pixels  # white is zero
    if page.extrasamples and page.extrasamples[0] == 1:  # premultiplied
        return _turned(pixels[..., :-1] + (1 - pixels[..., -1:]), orientation)
    return _turned(_over_white(pixels), orientation)


def _turned(pixels: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Undo an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _over_white(pixels: NDArray[np.floating]) -> NDArray[np.float32]:
    """Composite an alpha channel, where there is one, onto white."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    if pixels.shape[-1] in (2, 4):
        alpha = pixels[..., -1:]
        pixels = pixels[..., :-1] * alpha + (1 - alpha)
    return np.ascontiguousarray(pixels, dtype=np.float32)
