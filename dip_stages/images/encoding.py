"""From pixels to an image's file, as its original was; the reverse of :mod:`~dip_stages.images.original`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dip_stages.errors import ImageError
from dip_stages.images.exif import density_tags, order_of, whole_ratio, with_tags
from dip_stages.images.netpbm import write_netpbm, write_pfm
from dip_stages.images.original import Original, depth_name
from dip_stages.images.png_writing import write_png
from dip_stages.images.tiff_writing import write_tiff
from dip_stages.store.files import replacing, temporary_beside
from dip_stages.store.text import os_reason

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from dip_stages.images.metadata import Metadata

__all__ = ["ENDINGS", "QUALITY", "check_output", "left_out", "write_image"]

QUALITY = 97
"""Of JPEG and AVIF, of 100, unless another is asked for."""


@dataclass(frozen=True)
class _Format:
    """What a format holds.

    Attributes:
        name: For people, and Pillow's where Pillow writes it.
        modes: Of pixels.
        kinds: Types of values: ``u1``, ``u2``, and ``f`` for floats.
        keeps: Names of what it holds beside pixels.
        longest: Pixels of the longest side.
    """

    name: str
    modes: tuple[str, ...]
    kinds: tuple[str, ...] = ("u1",)
    keeps: tuple[str, ...] = ()
    longest: int = 2**31 - 1


_ALL = ("colour profile", "resolution", "shape of pixels", "EXIF")
_PLAIN = ("L", "RGB")
_PNG = _Format("PNG", ("L", "LA", "RGB", "RGBA"), ("u1", "u2"), _ALL)
_TIFF = _Format("TIFF", ("L", "LA", "RGB", "RGBA", "CMYK", "CMYKA"), ("u1", "u2", "f"), _ALL)
_JPEG = _Format("JPEG", ("L", "RGB", "CMYK"), keeps=_ALL, longest=65535)
_FORMATS = {
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _Format("WebP", ("L", "LA", "RGB", "RGBA"), keeps=_ALL, longest=16383),
    ".avif": _Format("AVIF", ("L", "LA", "RGB", "RGBA"), keeps=_ALL, longest=65536),
    ".bmp": _Format("BMP", _PLAIN, keeps=("resolution",)),
    ".pgm": _Format("PGM", ("L",), ("u1", "u2")),
    ".ppm": _Format("PPM", ("RGB",), ("u1", "u2")),
    ".pnm": _Format("Netpbm", _PLAIN, ("u1", "u2")),
    ".pfm": _Format("PFM", _PLAIN, ("u1", "u2", "f")),
}
ENDINGS = tuple(_FORMATS)
"""Endings of files that can be written."""

_LOSSY = ("JPEG", "WebP", "AVIF")
"""Names of the formats that have a quality."""

_REFUSED = {
    ".gif": "holds at most 256 colours",
    ".pbm": "holds black and white alone",
    ".ico": "is resized to an icon",
    ".icns": "is resized to an icon",
    ".pcx": "holds at most 256 colours",
}
_JFIF_UNIT = 13
"""Where a JPEG has the unit of its resolution; 0 for a ratio, which Pillow does not write."""
_COLOURS = {"L": "grey", "RGB": "colour", "CMYK": "CMYK"}


def check_output(path: str | os.PathLike[str], original: Original, quality: int | None = None) -> None:
    """Check that such an image can be written to a file, by writing a small one beside it.

    Args:
        path: The file; whether it is there already is not checked.
        original: What its image will be like.
        quality: As of :func:`write_image`.

    Raises:
        ImageError: If its format does not hold such an image, or there can be no such file.
    """
    path = Path(path)
    try:
        folder, there = path.is_dir(), path.parent.is_dir()
    except OSError as error:  # the name is too long, or its folder may not be read
        raise _unwritable(path, error) from error
    if folder:
        raise ImageError("is a folder", setting=path, allowed="a file's name in it")
    if not there:
        raise ImageError(f"{path.parent} is no folder", setting=path, allowed="one that is there")
    _check_format(path, original)
    if quality is not None and (name := _FORMATS[path.suffix.lower()].name) not in _LOSSY:
        lossy = [ending for ending in _endings(original) if _FORMATS[ending].name in _LOSSY]
        allowed = f"no --quality{', or an output in ' * bool(lossy)}{', '.join(lossy)}"
        raise ImageError(f" with {path}: {name} has no quality", setting="--quality", got=quality, allowed=allowed)
    channels = original.pixels.shape[2] + (original.alpha is not None)
    small = np.zeros((16, 16, channels), original.kind)
    try:
        with temporary_beside(path) as temporary:
            _write(temporary, path.suffix, small, original.mode, original.metadata, quality)
    except OSError as error:
        raise _unwritable(path, error) from error
    except Exception as error:  # of an encoder
        others = [name for name in _endings(original) if _FORMATS[name] is not _FORMATS[path.suffix.lower()]]
        raise ImageError(f"cannot be written: {error}", setting=path, allowed=", ".join(others)) from error


def _unwritable(path: Path, error: OSError) -> ImageError:
    problem = f"cannot be written: {os_reason(error)}"
    return ImageError(problem, setting=path, allowed="a short name in a folder that can be written to")


def left_out(path: str | os.PathLike[str], metadata: Metadata) -> list[str]:
    """Return the names of what a file's format cannot hold of the metadata, such as ``colour profile``."""
    holds = _FORMATS[Path(path).suffix.lower()]
    held = {
        "colour profile": metadata.profile,
        "resolution": metadata.resolution,
        "shape of pixels": metadata.aspect,
        "EXIF": metadata.exif,
    }
    kept = {*holds.keeps} - ({"colour profile"} if not _profile(holds.name, metadata) else set())
    chunks = [] if holds.name == "PNG" else metadata.chunk_names
    return [*(name for name, value in held.items() if value and name not in kept), *chunks, *metadata.lost]


def write_image(
    path: str | os.PathLike[str], pixels: NDArray[np.float32], original: Original, quality: int | None = None
) -> None:
    """Write an image, whole or not at all, in the format of the file's ending.

    Args:
        path: The file.
        pixels: ``(H, W, C)`` as ``original.pixels``; what lies outside [0, 1] is clipped where values are integers.
        original: Gives mode, type and limits of the values, transparency and metadata.
        quality: Of formats that lose detail, 1 to 100; None for :data:`QUALITY`, and for WebP without loss.

    Raises:
        ImageError: If the format does not hold such an image.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    _check_format(path, original)
    black, white = original.limits
    precise = np.float64 if original.kind.itemsize > 4 else np.float32
    values: NDArray[Any] = np.multiply(pixels, white - black, dtype=precise) + precise(black)
    if original.kind.kind == "u":
        values = np.clip(np.round(values), 0, np.iinfo(original.kind).max)
    values = values.astype(original.kind)
    if original.alpha is not None:
        opaque = 1 if original.kind.kind == "f" else np.iinfo(original.kind).max
        alpha = original.alpha * np.float32(opaque)
        alpha = alpha if original.kind.kind == "f" else np.round(alpha)
        values = np.concatenate([values, alpha.astype(original.kind)], axis=-1)
    with replacing(path) as temporary:
        _write(temporary, path.suffix, values, original.mode, original.metadata, quality)


def _check_format(path: Path, original: Original) -> None:
    ending = path.suffix.lower()
    if problem := _REFUSED.get(ending):
        raise ImageError(f"a {ending} file {problem}", setting=path, allowed=_fitting(original))
    if ending not in _FORMATS:
        problem = f"no image is written as {ending}" if ending else "has no ending, which gives the format"
        raise ImageError(problem, setting=path, allowed=_fitting(original))
    holds = _FORMATS[ending]
    if original.mode not in holds.modes:
        colours = _COLOURS[original.mode.removesuffix("A")] + " with transparency" * original.mode.endswith("A")
        raise ImageError(f"{holds.name} does not hold {colours}", setting=path, allowed=_fitting(original))
    if not _holds_kind(holds, original.kind):
        problem = f"{holds.name} does not hold {depth_name(original.kind)} a channel"
        raise ImageError(problem, setting=path, allowed=_fitting(original))
    Image.init()
    if ending in (".webp", ".avif") and holds.name.upper() not in Image.SAVE:
        problem = f"this Pillow was built without {holds.name}"
        raise ImageError(problem, setting=path, allowed=_fitting(original))
    if max(original.pixels.shape[:2]) > holds.longest:
        problem = f"{holds.name} does not hold {max(original.pixels.shape[:2])} pixels a side"
        raise ImageError(problem, setting=path, allowed=_fitting(original))


def _holds_kind(holds: _Format, kind: np.dtype[Any]) -> bool:
    return ("f" if kind.kind == "f" else kind.str[1:]) in holds.kinds


def _fitting(original: Original) -> str:
    """Return the endings of formats that hold such an image."""
    return ", ".join(_endings(original))


def _endings(original: Original) -> Iterable[str]:
    for ending, holds in _FORMATS.items():
        fits = max(original.pixels.shape[:2]) <= holds.longest
        if fits and original.mode in holds.modes and _holds_kind(holds, original.kind):
            yield ending


def _write(path: Path, ending: str, values: NDArray[Any], mode: str, metadata: Metadata, quality: int | None) -> None:
    """Write values of their final type in a format that holds them."""
    name = _FORMATS[ending.lower()].name
    with path.open("wb") as file:
        if name == "TIFF":
            write_tiff(file, values, mode, metadata)
        elif name == "PFM":
            white = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
            write_pfm(file, values / np.float32(white))
        elif name in ("PGM", "PPM", "Netpbm"):
            write_netpbm(file, values)
        elif name == "PNG":
            write_png(file, values, metadata, _profile(name, metadata))
        else:
            image = Image.frombytes(mode, values.shape[1::-1], values.tobytes())
            # At 100, AVIF keeps transparency as it is.
            quality = 100 if quality is None and name == "AVIF" and mode.endswith("A") else quality
            image.save(file, name.upper(), **_settings(name, metadata, quality))
            if name == "JPEG" and metadata.aspect:
                file.seek(_JFIF_UNIT)
                file.write(b"\0")


def _profile(name: str, metadata: Metadata) -> bytes | None:
    """Return the profile to write; None without one, and for one of grey in a format that stores grey as colour."""
    of_grey = metadata.profile[16:20] == b"GRAY"
    return None if not metadata.profile or (of_grey and name in ("WebP", "AVIF")) else metadata.profile


def _settings(name: str, metadata: Metadata, quality: int | None) -> dict[str, Any]:
    """Return what Pillow is given to write a format."""
    settings: dict[str, Any] = {"icc_profile": _profile(name, metadata)}
    exif, density = metadata.exif, metadata.resolution or metadata.aspect
    if density and name in ("WebP", "AVIF"):  # which hold it in EXIF alone
        tags = density_tags(order_of(metadata.block), density, by_inch=metadata.resolution is not None)
        exif = b"Exif\0\0" + with_tags(metadata.block, tags)
    if exif:
        settings["exif"] = exif
    if metadata.resolution:
        settings["dpi"] = metadata.resolution
    if name == "JPEG":
        settings |= {"quality": quality or QUALITY, "subsampling": "4:4:4", "optimize": True}
        settings |= {"dpi": whole_ratio(metadata.aspect)} if metadata.aspect else {}
    elif name == "AVIF":
        settings |= {"quality": quality or QUALITY, "subsampling": "4:4:4"}
    elif name == "WebP":
        settings |= {"lossless": quality is None, "quality": quality or 100, "exact": True}
    return settings
