"""From an opened image to its pixels, at full depth: Pillow alone reduces 16-bit colour to 8 bits.

Pixels become floats in bands of rows, so that no second image of floats is in memory beside the result.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from dip_stages.errors import ImageError
from dip_stages.images.bounds import check_content, significant_bits
from dip_stages.images.netpbm import PFMImageFile, read_floats, read_scaled, white_of
from dip_stages.images.tiff import layout_of, read_values

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    from dip_stages.images.tiff import Layout

    Pixels = NDArray[np.floating[Any]]
    Band = Callable[[int, int], Pixels]
    Finish = Callable[[Pixels], Pixels]

__all__ = ["ORIENTATION", "TURNED", "Decoded", "decode", "orientation_of", "type_of"]

ORIENTATION = 274
"""The tag of EXIF and TIFF."""
TURNED = (5, 6, 7, 8)
"""Orientations of which width and height are exchanged."""

_ROWS = 256
_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N", "I")


class Decoded(NamedTuple):
    """An image's pixels, upright; and the EXIF orientation of the file, 1 to 8, which has been undone."""

    pixels: Pixels
    orientation: int


def decode(path: Path, image: ImageFile, *, flat: bool = True) -> Decoded:
    """Return the pixels of an image, upright.

    Args:
        path: Its file, which is read again where Pillow would lose depth.
        image: The file, opened by Pillow, at the frame that is wanted.
        flat: Whether to composite transparency onto white and to convert CMYK, without a colour profile.

    Returns:
        ``(H, W, C)`` float32, of a file of 64-bit floats float64, 1.0 being the white of integers. Flat, C is 1 for
        grey and 3 for colour; if not, C is 2 or 4 with transparency, which comes last, and 4 for CMYK, in which 1.0 is
        full ink.

    Raises:
        ImageError: If depth or colours of such a file cannot be read correctly, or it holds more than its header
            promises.
    """
    check_content(path, image)
    finish = _flattened(image.mode) if flat else _unchanged
    if image.format == "TIFF":
        return _tiff(path, image, finish, flat=flat)
    if image.format == "PNG" and _rawmode(image).endswith(";16B"):
        band = _deep_png(path, image)
    elif isinstance(image, PFMImageFile):
        floats = read_floats(path, image)
        band = lambda top, bottom: floats[top:bottom].astype(np.float32)  # noqa: E731
    elif image.format == "PPM" and image.tile[0][0] == "ppm":
        band = _scaled_netpbm(path, image)
    else:
        band = _by_pillow(image, inks=not flat)
    orientation = orientation_of(image)
    return Decoded(_in_bands(image.size, band, finish, orientation), orientation)


def orientation_of(image: ImageFile) -> int:
    """Return the orientation that an image's EXIF states, or else its XMP; 1, which is upright, without one.

    Of a PNG, all that lies behind the pixels counts once they are decoded.
    """
    found: object = None
    with suppress(Exception):  # Pillow raises exceptions of any type on broken EXIF, which counts as none
        found = image.getexif().get(ORIENTATION)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def type_of(path: Path, image: ImageFile) -> np.dtype[Any]:
    """Return the type of an opened file's values: unsigned integers of 8 or 16 bits, or floats."""
    if image.format == "TIFF" and _bits(image) > 8:
        with path.open("rb") as file:
            return np.dtype(layout_of(path, file, image.tell()).kind or "u2")
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


def _by_pillow(image: ImageFile, *, inks: bool) -> Band:
    """Decode an image; palettes are expanded, CMYK is converted unless inks are wanted."""
    _take_native_order(image)
    image.load()
    mode, white = None, 1 if image.mode == "F" else 65535
    if image.mode not in (*_SIXTEEN, "F"):
        grey = image.mode in ("1", "L", "LA", "La")
        mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
        mode, white = "CMYK" if inks and image.mode == "CMYK" else mode, 255
    return lambda top, bottom: _rows(image, top, bottom, mode).astype(np.float32) / np.float32(white)


def _deep_png(path: Path, image: ImageFile) -> Band:
    """Decode a PNG's 16 bits, which Pillow unpacks bounded and fast, but of colour only the high or the low byte."""
    if image.tell():
        raise ImageError("only the first frame of a 16-bit PNG can be read", setting=path, allowed="--frame 0")
    rawmode, transparent = _rawmode(image), image.info.get("transparency")
    low = None
    if rawmode == "LA;16B":
        image.tile = [image.tile[0]._replace(args="RGBA")]  # the four bytes of a pixel
    elif rawmode != "I;16B":
        low = _low_bytes(path, rawmode[:-1] + "L")
    bits = significant_bits(path)
    image.load()

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

    return band


def _low_bytes(path: Path, rawmode: str) -> ImageFile:
    with path.open("rb") as file, Image.open(file, formats=["PNG"]) as image:
        image.tile = [image.tile[0]._replace(args=rawmode)]
        image.load()
        return image


def _scaled_netpbm(path: Path, image: ImageFile) -> Band:
    """Read a Netpbm image whose white is neither 255 nor 65535: as Pillow, which loops over values in Python."""
    values, maximum = read_scaled(path, image), white_of(image)
    white = 65535 if maximum > 255 else 255

    def band(top: int, bottom: int) -> NDArray[np.float32]:
        scaled = np.minimum(np.round(values[top:bottom] / maximum * white), white)
        return scaled.astype(np.float32) / np.float32(white)

    return band


def _tiff(path: Path, image: ImageFile, finish: Finish, *, flat: bool) -> Decoded:
    orientation = orientation_of(image)  # Pillow forgets it when it decodes an image, which it turns
    with path.open("rb") as file:
        layout = layout_of(path, file, image.tell())
    of_pillow = image.tile and layout.planes in (1, 3, 4)
    if not of_pillow or (image.mode != "F" and max(layout.bits) > 8):
        values, layout = read_values(path, image.tell())
        finish = _flattened("CMYK" if layout.photometric == 5 else "") if flat else _unchanged
        size = (layout.width, layout.height)
        return Decoded(_in_bands(size, _of_values(values, layout), finish, orientation), orientation)
    band = _by_pillow(image, inks=not flat)
    return Decoded(_in_bands(image.size, band, finish), orientation)


def _of_values(values: NDArray[Any], layout: Layout) -> Band:
    precise = np.dtype("f8" if values.dtype.itemsize == 8 else "f4")
    white = np.array(np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1, precise)

    def band(top: int, bottom: int) -> Pixels:
        pixels: Pixels = values[top:bottom].astype(precise) / white
        pixels = 1 - pixels if layout.photometric == 0 else pixels  # white is zero
        if layout.extras[:1] == (1,):  # premultiplied
            alpha = pixels[..., -1:]
            pixels[..., :-1] = np.divide(pixels[..., :-1], alpha, out=np.zeros_like(pixels[..., :-1]), where=alpha > 0)
        return pixels

    return band


def _rows(image: ImageFile, top: int, bottom: int, mode: str | None = None) -> NDArray[Any]:
    """Return rows of an image as an array of three axes."""
    rows = image.crop((0, top, image.width, bottom))
    array = np.asarray(rows if mode is None else rows.convert(mode))
    return array if array.ndim == 3 else array[..., None]


def _in_bands(size: tuple[int, int], band: Band, finish: Finish, orientation: int = 1) -> Pixels:
    """Return an image that is made in bands of rows, from the first to before the second number given, upright."""
    width, height = size
    upright = image = np.empty((0, 0, 0), np.float32)
    for top in range(0, height, _ROWS):
        bottom = min(top + _ROWS, height)
        pixels = finish(band(top, bottom))
        if not top:
            sides = (width, height) if orientation in TURNED else (height, width)
            upright = np.empty((*sides, pixels.shape[-1]), pixels.dtype)
            image = _as_stored(upright, orientation)
        image[top:bottom] = pixels
    return upright


def _as_stored(upright: Pixels, orientation: int) -> Pixels:
    """Return a view of upright pixels in the order in which a file with that EXIF orientation stores them."""
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    return upright.swapaxes(0, 1) if orientation in TURNED else upright


def _unchanged(pixels: Pixels) -> Pixels:
    return pixels


def _flattened(mode: str) -> Finish:
    return _printed if mode == "CMYK" else _over_white


def _printed(pixels: Pixels) -> Pixels:
    """Return CMYK as RGB, as Pillow does without a profile; RGB as it is."""
    return (1 - pixels[..., :3]) * (1 - pixels[..., 3:]) if pixels.shape[-1] == 4 else pixels


def _over_white(pixels: Pixels) -> Pixels:
    """Composite an alpha channel, where there is one, onto white."""
    if pixels.shape[-1] in (2, 4):
        alpha = pixels[..., -1:]
        return pixels[..., :-1] * alpha + (1 - alpha)
    return pixels
