"""From an opened image to its pixels, at full depth: Pillow alone reduces 16-bit colour to 8 bits.

Pixels become floats in bands of rows, so that no second image of floats is in memory beside the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from dip_stages.errors import ImageError
from dip_stages.images.bounds import check_content, significant_bits
from dip_stages.images.tiff import read_deep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    Band = Callable[[int, int], NDArray[np.float32]]

__all__ = ["decode", "depth_of"]

_ORIENTATION = 274  # the EXIF and TIFF tag
_ROWS = 256


def decode(path: Path, image: ImageFile) -> NDArray[np.float32]:
    """Return the pixels of an image, upright, with transparency composited onto white.

    Args:
        path: Its file, which is read again where Pillow would lose depth.
        image: The file, opened by Pillow.

    Returns:
        ``(H, W, C)`` float32, 1.0 being white; C is 1 for grey and 3 for colour.

    Raises:
        ImageError: If depth or colours of such a file cannot be read correctly, or it holds more than its header
            promises.
    """
    check_content(path, image)
    if image.format == "PNG" and depth_of(image) == 16:
        return _deep_png(path, image)
    if image.format == "TIFF" and depth_of(image) == 16 and image.mode != "F":
        return _deep_tiff(path)
    if image.format == "PPM" and image.tile[0][0] == "ppm":
        return _scaled_netpbm(path, image)
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        _take_native_order(image)
        white = 1 if image.mode == "F" else 65535
        return _in_bands(
            image.size, lambda top, bottom: _rows(image, top, bottom).astype(np.float32) / np.float32(white)
        )
    return _shallow(image)


def depth_of(image: ImageFile) -> int:
    """Return the bits per channel of an opened file: 8 or 16; floating point and other greater depths count as 16."""
    if image.format == "PNG":
        return 16 if _rawmode(image).endswith(";16B") else 8
    if image.format == "TIFF":
        return 16 if max(getattr(image, "tag_v2", {}).get(258, (8,))) > 8 else 8
    return 16 if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F") else 8


def _rawmode(image: ImageFile) -> str:
    """Return how Pillow unpacks a PNG's pixels; empty if it has none."""
    return str(image.tile[0].args) if image.tile else ""


def _take_native_order(image: ImageFile) -> None:
    """Correct how Pillow unpacks a float TIFF of the other byte order: libtiff has put it into this machine's."""
    if image.tile and image.tile[0][0] == "libtiff" and isinstance(args := image.tile[0].args, tuple):
        image.tile = [image.tile[0]._replace(args=(str(args[0]).replace("BF", "NF"), *args[1:]))]


def _shallow(image: ImageFile) -> NDArray[np.float32]:
    """Return pixels of at most 8 bits per channel; palettes are expanded, CMYK is converted without a profile."""
    ImageOps.exif_transpose(image, in_place=True)
    grey = image.mode in ("1", "L", "LA")
    mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
    return _in_bands(
        image.size, lambda top, bottom: _rows(image, top, bottom, mode).astype(np.float32) / np.float32(255)
    )


def _deep_png(path: Path, image: ImageFile) -> NDArray[np.float32]:
    """Return a PNG's 16 bits, which Pillow unpacks bounded and fast, but of colour only the high or the low byte."""
    rawmode, transparent = _rawmode(image), image.info.get("transparency")
    low = None
    if rawmode == "LA;16B":
        image.tile = [image.tile[0]._replace(args="RGBA")]  # the four bytes of a pixel
    elif rawmode != "I;16B":
        low = _low_bytes(path, rawmode[:-1] + "L")
    bits = significant_bits(path)

    def band(top: int, bottom: int) -> NDArray[np.float32]:
        values = _rows(image, top, bottom)
        if rawmode == "LA;16B":
            values = values.view(">u2")
        elif low is not None:
            values = values.astype(np.uint16) << 8 | _rows(low, top, bottom)
        pixels: NDArray[np.float32] = (values >> (16 - bits)).astype(np.float32) / np.float32(2**bits - 1)
        if transparent is None:
            return pixels
        opaque = (values != np.array(transparent)).any(axis=-1, keepdims=True)
        return np.concatenate([pixels, opaque.astype(np.float32)], axis=-1)

    return _turned(_in_bands(image.size, band), image.getexif().get(_ORIENTATION, 1))


def _low_bytes(path: Path, rawmode: str) -> ImageFile:
    with path.open("rb") as file, Image.open(file, formats=["PNG"]) as image:
        image.tile = [image.tile[0]._replace(args=rawmode)]
        image.load()
        return image


def _scaled_netpbm(path: Path, image: ImageFile) -> NDArray[np.float32]:
    """Return a Netpbm image whose white is neither 255 nor 65535: as Pillow, which loops over values in Python."""
    _, _, offset, args = image.tile[0]
    maximum = int(args[-1]) if args else 0
    if image.mode == "RGB" and maximum > 255:
        raise ImageError(
            "colour Netpbm of more than 8 bits is not supported", setting=path, allowed="16-bit PNG or TIFF"
        )
    channels, white = len(image.getbands()), 65535 if image.mode == "I" else 255
    kind = ">u2" if maximum > 255 else "u1"
    values = np.fromfile(path, kind, image.width * image.height * channels, offset=offset)
    values = values.reshape(image.height, image.width, channels)

    def band(top: int, bottom: int) -> NDArray[np.float32]:
        scaled = np.minimum(np.round(values[top:bottom] / maximum * white), white)
        return scaled.astype(np.float32) / np.float32(white)

    return _in_bands(image.size, band)


def _deep_tiff(path: Path) -> NDArray[np.float32]:
    values, layout = read_deep(path)
    inverted = layout.photometric == 0
    premultiplied = layout.extras[:1] == (1,)

    def band(top: int, bottom: int) -> NDArray[np.float32]:
        pixels = values[top:bottom].astype(np.float32) / np.float32(65535)
        pixels = 1 - pixels if inverted else pixels  # white is zero
        return pixels[..., :-1] + (1 - pixels[..., -1:]) if premultiplied else pixels

    return _turned(_in_bands((layout.width, layout.height), band), layout.orientation)


def _rows(image: ImageFile, top: int, bottom: int, mode: str | None = None) -> NDArray[Any]:
    """Return rows of an image as an array of three axes."""
    rows = image.crop((0, top, image.width, bottom))
    array = np.asarray(rows if mode is None else rows.convert(mode))
    return array if array.ndim == 3 else array[..., None]


def _in_bands(size: tuple[int, int], band: Band) -> NDArray[np.float32]:
    """Return an image that is made in bands of rows, from the first to before the second number given."""
    width, height = size
    image = np.empty((0, 0, 0), np.float32)
    for top in range(0, height, _ROWS):
        bottom = min(top + _ROWS, height)
        pixels = _over_white(band(top, bottom))
        if not top:
            image = np.empty((height, width, pixels.shape[-1]), np.float32)
        image[top:bottom] = pixels
    return image


def _turned(pixels: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Undo an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _over_white(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Composite an alpha channel, where there is one, onto white."""
    if pixels.shape[-1] in (2, 4):
        alpha = pixels[..., -1:]
        return pixels[..., :-1] * alpha + (1 - alpha)
    return pixels
