"""Writes PNG: with 16 bits per channel, of which Pillow writes grey alone, and with chunks that Pillow leaves out."""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dip_stages.images.exif import whole_ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dip_stages.images.metadata import Metadata

__all__ = ["write_png"]

_INCH = 0.0254
_METRE = 1
"""The inch in metres, and PNG's number of the unit."""
_UP = 2
"""The filter that stores the difference to the row above."""


def write_png(file: IO[bytes], pixels: NDArray[Any], metadata: Metadata, profile: bytes | None) -> None:
    """Write ``(H, W, C)`` of 8 or 16 bits, C from 1 to 4, as a PNG.

    Args:
        file: Where.
        pixels: The image.
        metadata: What to keep beside the pixels.
        profile: The ICC profile; None for none.
    """
    height, width, channels = pixels.shape
    deep = pixels.itemsize == 2
    mode = ("L", "LA", "RGB", "RGBA")[channels - 1]
    made = io.BytesIO()
    # Of 16 bits, Pillow makes all but the pixels.
    image = Image.new(mode, (1, 1)) if deep else Image.frombytes(mode, (width, height), pixels.tobytes())
    image.save(made, "PNG", icc_profile=profile, exif=metadata.exif or None)
    (head, start), *chunks = _chunks(made.getbuffer())
    file.write(made.getbuffer()[:8])
    _write(file, head, struct.pack(">IIB", width, height, 16 if deep else 8) + start[9:])
    beside = ((kind, memoryview(data)) for kind, data in _beside(metadata, profile))
    for kind, data in (*beside, *chunks):
        _write(file, kind, memoryview(_deflated(pixels)) if deep and kind == b"IDAT" else data)


def _beside(metadata: Metadata, profile: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """Yield chunks of colours and of the size of pixels."""
    for kind, data in metadata.colour_chunks.items():
        if not (profile and kind == b"sRGB"):  # there may be only one of both
            yield kind, data
    if metadata.resolution:
        yield b"pHYs", struct.pack(">IIB", *(round(dots / _INCH) for dots in metadata.resolution), _METRE)
    elif metadata.aspect:
        yield b"pHYs", struct.pack(">IIB", *whole_ratio(metadata.aspect), 0)


def _deflated(pixels: NDArray[np.uint16]) -> bytes:
    rows = pixels.astype(">u2").reshape(len(pixels), -1).view(np.uint8)
    filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return zlib.compress(filtered.tobytes())


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    position = 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        yield bytes(data[position + 4 : position + 8]), data[position + 8 : position + 8 + length]
        position += 12 + length


def _write(file: IO[bytes], kind: bytes, data: bytes | memoryview) -> None:
    for part in (struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))):
        file.write(part)
