"""From an opened image to its pixels, at full depth: Pillow alone reduces 16-bit colour to 8 bits.

Pixels become floats in bands of rows, so that no second image of floats is in memory beside the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from dip_stages.errors import ImageError
from dip_stages.images.bounds import check_content, significant_bits
from dip_stages.images.netpbm import PFMImageFile, read_floats, read_scaled, white_of
from dip_stages.images.tiff import layout_of, read_deep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    Band = Callable[[int, int], NDArray[np.float32]]
    Finish = Callable[[NDArray[np.float32]], NDArray[np.float32]]

__all__ = ["ORIENTATION", "decode", "type_of"]

ORIENTATION = 274
"""The tag of EXIF and TIFF."""

_ROWS = 256
_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def decode(path: Path, image: ImageFile, *, flat: bool = True) -> NDArray[np.float32]:
    """Return the pixels of an image, upright.

    Args:
        path: Its file, which is read again where Pillow would lose depth.
        image: The file, opened by Pillow, at the frame that is wanted.
        flat: Whether to composite transparency onto white and to convert CMYK, without a colour profile.

    Returns:
        ``(H, W, C)`` float32, 1.0 being the white of integers. Flat, C is 1 for grey and 3 for colour; if not, C is 2
        or 4 with transparency, which comes last, and 4 for CMYK, in which 1.0 is full ink.

    Raises:
        ImageError: If depth or colours of such a file cannot be read correctly, or it holds more than its header
            promises.
    """
    check_content(path, image)
    finish = _flattened(image.mode) if flat else _unchanged
    if image.format == "PNG" and _rawmode(image).endswith(";16B"):
        if image.tell():
            raise ImageError("only the first frame of a 16-bit PNG can be read", setting=path, allowed="--frame 0")
        return _deep_png(path, image, finish)
    if isinstance(image, PFMImageFile):
        floats = read_floats(path, image)
        return _in_bands(image.size, lambda top, bottom: floats[top:bottom].astype(np.float32), finish)
    if image.format == "TIFF" and image.mode != "F" and _bits(image) > 8:
        return _deep_tiff(path, image.tell(), flat=flat)
    if image.format == "PPM" and image.tile[0][0] == "ppm":
        return _scaled_netpbm(path, image)
    if image.mode in (*_SIXTEEN, "F"):
        _take_native_order(image)
        white = 1 if image.mode == "F" else 65535
        return _in_bands(
            image.size, lambda top, bottom: _rows(image, top, bottom).astype(np.float32) / np.float32(white), finish
        )
    return _shallow(image, finish, inks=not flat)


def type_of(path: Path, image: ImageFile) -> np.dtype[Any]:
    """Return the type of an opened file's values: unsigned integers of 8 or 16 bits, or floats."""
    if image.format == "TIFF" and _bits(image) > 8:
        with path.open("rb") as file:
            return np.dtype(layout_of(path, file, image.tell()).deep or "u2")
    if image.format == "PPM" and image.tile and image.tile[0][0] == "ppm":
        return np.dtype("u2" if white_of(image) > 255 else "u1")
    if image.mode == "F" or isinstance(image, PFMImageFile):
        return np.dtype("f4")
    deep = _rawmode(image).endswith(";16B") or image.mode in _SIXTEEN
    return np.dtype("u2" if deep else "u1")


def _bits(image: ImageFile) -> int:
    """Return the bits per channel of a TIFF."""
    return int(max(getattr(image, "tag_v2", {}).get(258, (8,))))


def _rawmode(image: ImageFile) -> str:
    """Return how Pillow unpacks the pixels of a PNG or Netpbm file; empty if it has none."""
    return str(image.tile[0].args) if image.tile else ""


def _take_native_order(image: ImageFile) -> None:
    """Correct how Pillow unpacks a float TIFF of the other byte order: libtiff has put it into this machine's."""
    if image.tile and image.tile[0][0] == "libtiff" and isinstance(args := image.tile[0].args, tuple):
        image.tile = [image.tile[0]._replace(args=(str(args[0]).replace("BF", "NF"), *args[1:]))]


def _shallow(image: ImageFile, finish: Finish, *, inks: bool) -> NDArray[np.float32]:
    """Return pixels of at most 8 bits per channel; palettes are expanded, CMYK is converted unless inks are wanted."""
    ImageOps.exif_transpose(image, in_place=True)
    grey = image.mode in ("1", "L", "LA", "La")
    mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
    mode = "CMYK" if inks and image.mode == "CMYK" else mode
    return _in_bands(
        image.size, lambda top, bottom: _rows(image, top, bottom, mode).astype(np.float32) / np.float32(255), finish
    )


def _deep_png(path: Path, image: ImageFile, finish: Finish) -> NDArray[np.float32]:
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

    return _turned(_in_bands(image.size, band, finish), image.getexif().get(ORIENTATION, 1))


def _low_bytes(path: Path, rawmode: str) -> ImageFile:
    with path.open("rb") as file, Image.open(file, formats=["PNG"]) as image:
        image.tile = [image.tile[0]._replace(args=rawmode)]
        image.load()
        return image


def _scaled_netpbm(path: Path, image: ImageFile) -> NDArray[np.float32]:
    """Return a Netpbm image whose white is neither 255 nor 65535: as Pillow, which loops over values in Python."""
    values, maximum = read_scaled(path, image), white_of(image)
    white = 65535 if maximum > 255 else 255

    def band(top: int, bottom: int) -> NDArray[np.float32]:
        scaled = np.minimum(np.round(values[top:bottom] / maximum * white), white)
        return scaled.astype(np.float32) / np.float32(white)

    return _in_bands(image.size, band, _unchanged)


def _deep_tiff(path: Path, frame: int, *, flat: bool) -> NDArray[np.float32]:
    values, layout = read_deep(path, frame)
    white = np.float32(65535 if layout.deep == "u2" else 1)
    finish = _flattened("CMYK" if layout.photometric == 5 else "") if flat else _unchanged

    def band(top: int, bottom: int) -> NDArray[np.float32]:
        pixels = values[top:bottom].astype(np.float32) / white
        pixels = 1 - pixels if layout.photometric == 0 else pixels  # white is zero
        if layout.extras[:1] == (1,):  # premultiplied
            alpha = pixels[..., -1:]
            pixels[..., :-1] = np.divide(pixels[..., :-1], alpha, out=np.zeros_like(pixels[..., :-1]), where=alpha > 0)
        return pixels

    return _turned(_in_bands((layout.width, layout.height), band, finish), layout.orientation)


def _rows(image: ImageFile, top: int, bottom: int, mode: str | None = None) -> NDArray[Any]:
    """Return rows of an image as an array of three axes."""
    rows = image.crop((0, top, image.width, bottom))
    array = np.asarray(rows if mode is None else rows.convert(mode))
    return array if array.ndim == 3 else array[..., None]


def _in_bands(size: tuple[int, int], band: Band, finish: Finish) -> NDArray[np.float32]:
    """Return an image that is made in bands of rows, from the first to before the second number given."""
    width, height = size
    image = np.empty((0, 0, 0), np.float32)
    for top in range(0, height, _ROWS):
        bottom = min(top + _ROWS, height)
        pixels = finish(band(top, bottom))
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


def _unchanged(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return pixels


def _flattened(mode: str) -> Finish:
    return _printed if mode == "CMYK" else _over_white


def _printed(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return CMYK as RGB, as Pillow does without a profile; RGB as it is."""
    return (1 - pixels[..., :3]) * (1 - pixels[..., 3:]) if pixels.shape[-1] == 4 else pixels


def _over_white(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Composite an alpha channel, where there is one, onto white."""
    if pixels.shape[-1] in (2, 4):
        alpha = pixels[..., -1:]
        return pixels[..., :-1] * alpha + (1 - alpha)
    return pixels
