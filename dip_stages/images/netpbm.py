"""Netpbm and PFM where Pillow does less: colour of 16 bits, colour of floats, a white that is neither 255 nor 65535."""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["PFMImageFile", "read_floats", "read_scaled", "white_of", "write_netpbm", "write_pfm"]

_PFM_HEAD = re.compile(rb"PF\s+(\d{1,9})\s+(\d{1,9})\s+(-?[\d.eE+]{1,20})\s")


class PFMImageFile(ImageFile.ImageFile):
    """The header of a colour PFM, for :func:`PIL.Image.open`; :func:`read_floats` reads the pixels."""

    format = "PFM"
    format_description = "Portable float map, colour"

    def _open(self) -> None:
        assert self.fp is not None  # noqa: S101 - ImageFile has opened it
        found = _PFM_HEAD.match(self.fp.read(64))
        if not found or not float(found[3]):
            raise SyntaxError("no PFM header")
        self._size, self._mode = (int(found[1]), int(found[2])), "RGB"
        self.info["scale"] = float(found[3])
        self.info["offset"] = found.end()


Image.register_open(PFMImageFile.format, PFMImageFile, lambda prefix: prefix.startswith(b"PF"))


def read_floats(path: Path, image: PFMImageFile) -> NDArray[np.float32]:
    """Return the pixels of a colour PFM, ``(H, W, 3)``, whose rows the file has from bottom to top."""
    order = "<" if image.info["scale"] < 0 else ">"
    values = np.fromfile(path, f"{order}f4", image.width * image.height * 3, offset=image.info["offset"])
    return values.reshape(image.height, image.width, 3)[::-1]


def white_of(image: ImageFile.ImageFile) -> int:
    """Return the value that is white in binary Netpbm."""
    args = image.tile[0].args
    return int(args[-1]) if args else 0


def read_scaled(path: Path, image: ImageFile.ImageFile) -> NDArray[Any]:
    """Return the values of binary Netpbm, ``(H, W, C)``."""
    channels = len(image.getbands())
    kind = ">u2" if white_of(image) > 255 else "u1"
    values = np.fromfile(path, kind, image.width * image.height * channels, offset=image.tile[0].offset)
    return values.reshape(image.height, image.width, channels)


def write_netpbm(file: IO[bytes], pixels: NDArray[Any]) -> None:
    """Write ``(H, W, C)`` of 8 or 16 bits as binary PGM, or as PPM if it has three channels."""
    height, width, channels = pixels.shape
    magic, white = "P6" if channels == 3 else "P5", np.iinfo(pixels.dtype).max
    file.write(f"{magic}\n{width} {height}\n{white}\n".encode())
    file.write(pixels.astype(pixels.dtype.newbyteorder(">")).tobytes())


def write_pfm(file: IO[bytes], pixels: NDArray[Any]) -> None:
    """Write ``(H, W, C)`` floats as PFM, in little-endian order."""
    height, width, channels = pixels.shape
    file.write(f"{'PF' if channels == 3 else 'Pf'}\n{width} {height}\n-1.0\n".encode())
    file.write(np.ascontiguousarray(pixels[::-1], "<f4").tobytes())
