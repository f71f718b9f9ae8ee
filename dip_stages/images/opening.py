"""Opens an image's file in an allowed format, and makes one sentence of whatever a decoder says against it."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from dip_stages.errors import ImageError
from dip_stages.images.bounds import check_content, check_header
from dip_stages.images.netpbm import PFMImageFile
from dip_stages.images.size import MAX_PIXELS
from dip_stages.images.tiff import count_images, layout_of
from dip_stages.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL.ImageFile import ImageFile

__all__ = ["FORMATS", "FORMAT_NAMES", "endings", "frames_of", "opened"]

# A format is here if its decoder can be held to the size in its header, by Pillow or by bounds.py. Left out are
# JPEG 2000 and AVIF, whose decoders take sizes from the compressed data and allocate what the header does not bound;
# TGA, which has no signature, so that any file may be taken for one; EPS, which starts Ghostscript; and PDF, PSD, WMF,
# FITS, HDF5, GRIB, ICNS and others, whose decoders nobody here needs.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", PFMImageFile.format, "DEEP TIFF")
"""Pillow's names of the formats that are read. JPEG includes MPO, which phones write; PPM, all binary Netpbm."""

FORMAT_NAMES = "PNG, JPEG, TIFF, WebP, BMP, GIF, PFM or binary Netpbm"
"""The same for people."""


_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins, and a BigTIFF."""


class _DeepTiffFile(TiffImageFile):
    """A TIFF of which Pillow knows no mode, such as colour of floats; its pixels are read by :mod:`tiff`."""

    def _setup(self) -> None:
        self._mode, self._size = "RGB", (self.tag_v2[256], self.tag_v2[257])
        self._tile_size, self.tile = self._size, []


Image.register_open("DEEP TIFF", _DeepTiffFile, lambda prefix: prefix[:4] in _TIFF)


def endings() -> set[str]:
    """Return the endings of files in these formats, such as ``.png``."""
    return {".pfm"} | {ending for ending, name in Image.registered_extensions().items() if name in FORMATS}


@contextmanager
def opened(path: Path, frame: int = 0) -> Iterator[ImageFile]:
    """Open an image; what is raised while it is open becomes an :class:`ImageError` that names the file.

    Args:
        path: A file in one of :data:`FORMATS`, whatever its ending.
        frame: Which of several in the file, from 0.

    Yields:
        The image at that frame, whose pixels are not decoded yet.

    Raises:
        ImageError: If the file is missing, no such image, truncated or broken, or has no such frame.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, whose size is checked, and of broken EXIF, which changes no pixel.
            warnings.simplefilter("ignore")
            # An open file: of a path, Pillow maps uncompressed pixels into memory and garbles those of a turned TIFF.
            with path.open("rb") as file:
                check_header(path, file)
                with Image.open(file, formats=FORMATS) as image:
                    _seek(path, image, frame)
                    yield image
    except FileNotFoundError as error:
        raise ImageError("no such file", setting=path, allowed="an image file") from error
    except UnidentifiedImageError as error:
        raise ImageError("not an image of a format that is read", setting=path, allowed=FORMAT_NAMES) from error
    except Image.DecompressionBombError as error:
        raise ImageError(first_line(error), setting=path, allowed=f"at most {MAX_PIXELS:,} pixels") from error
    except ImageError:
        raise
    except Exception as error:  # decoders raise exceptions of any type on damaged files
        errno = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(errno) if errno else first_line(error, default=type(error).__name__)
        problem = reason if errno else f"truncated or broken: {reason}"
        raise ImageError(problem, setting=path, allowed="an image file") from error


def frames_of(path: Path, image: ImageFile) -> int:
    """Return the number of frames in an opened file: pages of a TIFF, images of an animation or an MPO; else 1."""
    if image.format == "TIFF":
        with path.open("rb") as file:
            return count_images(file)
    return getattr(image, "n_frames", 1) if image.format in ("GIF", "MPO", "PNG", "WEBP") else 1


def _seek(path: Path, image: ImageFile, frame: int) -> None:
    """Go to a frame; on the way an animation decodes those before it, each of which is checked first."""
    if not frame:
        return
    if frame >= (count := frames_of(path, image)):
        raise ImageError("", setting="--frame", got=frame, allowed=f"0 to {count - 1}, of the frames in {path}")
    if image.format == "TIFF":
        with path.open("rb") as file:
            layout_of(path, file, frame)  # before Pillow reads its tags
        image.seek(frame)
        return
    if image.format == "MPO":
        with path.open("rb") as file:
            check_header(path, file, image._MpoImageFile__mpoffsets[frame])  # type: ignore[attr-defined]
        # Pillow keeps what the first image says, but of EXIF.
        image.info = {name: value for name, value in image.info.items() if name == "exif"}
        image.seek(frame)
        return
    check_content(path, image)
    canvas = image.size
    for number in range(1, frame + 1):
        image.seek(number)
        if image.size != canvas:
            raise ImageError("holds a frame larger than its canvas", setting=path, allowed="frames within it")
