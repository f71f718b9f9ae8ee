"""Opens an image's file in an allowed format, and makes one sentence of whatever a decoder says against it."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from dip_stages.errors import ImageError
from dip_stages.images.bounds import check_header
from dip_stages.images.size import MAX_PIXELS
from dip_stages.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL.ImageFile import ImageFile

__all__ = ["FORMATS", "FORMAT_NAMES", "endings", "opened"]

# A format is here if its decoder can be held to the size in its header, by Pillow or by bounds.py. Left out are
# JPEG 2000 and AVIF, whose decoders take sizes from the compressed data and allocate what the header does not bound;
# TGA, which has no signature, so that any file may be taken for one; EPS, which starts Ghostscript; and PDF, PSD, WMF,
# FITS, HDF5, GRIB, ICNS and others, whose decoders nobody here needs.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
"""Pillow's names of the formats that are read. JPEG includes MPO, which phones write; PPM is all binary Netpbm."""

FORMAT_NAMES = "PNG, JPEG, TIFF, WebP, BMP, GIF or binary Netpbm"
"""The same for people."""


def endings() -> set[str]:
    """Return the endings of files in these formats, such as ``.png``."""
    return {ending for ending, name in Image.registered_extensions().items() if name in FORMATS}


@contextmanager
def opened(path: Path) -> Iterator[ImageFile]:
    """Open an image; what is raised while it is open becomes an :class:`ImageError` that names the file.

    Args:
        path: A file in one of :data:`FORMATS`, whatever its ending.

    Yields:
        The image, whose pixels are not decoded yet.

    Raises:
        ImageError: If the file is missing, no such image, truncated or broken.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, whose size is checked, and of broken EXIF, which changes no pixel.
            warnings.simplefilter("ignore")
            # An open file: of a path, Pillow maps uncompressed pixels into memory and garbles those of a turned TIFF.
            with path.open("rb") as file:
                check_header(path, file)
                with Image.open(file, formats=FORMATS) as image:
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
