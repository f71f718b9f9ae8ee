"""Writes PNG of 16 bits per channel, of which Pillow writes grey alone."""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["write_deep_png"]

_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's numbers of grey, grey with transparency, colour, and colour with transparency."""
_UP = 2
"""The filter that stores the difference to the row above."""


def write_deep_png(file: IO[bytes], pixels: NDArray[np.uint16], **settings: Any) -> None:
    """Write ``(H, W, C)``, C from 1 to 4, as a PNG.

    Args:
        file: Where.
        pixels: The image.
        settings: What Pillow takes to write a PNG, but of the pixels: ``icc_profile``, ``dpi``, ``exif``, ``pnginfo``.
    """
    height, width, channels = pixels.shape
    small = io.BytesIO()
    Image.new("RGB" if channels > 2 else "L", (1, 1)).save(small, "PNG", **settings)
    head, *chunks = _chunks(small.getvalue())
    file.write(small.getvalue()[:8])
    _write(file, head[0], struct.pack(">IIBB", width, height, 16, _COLOURS[channels]) + head[1][10:])
    for kind, data in chunks:
        _write(file, kind, _deflated(pixels) if kind == b"IDAT" else data)


def _deflated(pixels: NDArray[np.uint16]) -> bytes:
    rows = pixels.astype(">u2").reshape(len(pixels), -1).view(np.uint8)
    filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return zlib.compress(filtered.tobytes())


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        yield data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += 12 + length


def _write(file: IO[bytes], kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
