"""What an image's file says of its pixels: colour profile, resolution, EXIF. Read from one file, written to another."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

from dip_stages.images.bounds import chunks_of_png
from dip_stages.images.decoding import ORIENTATION

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.ImageFile import ImageFile

__all__ = ["IFDS", "Metadata", "metadata_of"]

IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
"""Tags of EXIF whose values are directories."""

# Tags of a TIFF that say how its pixels are stored, and what is kept apart or not at all: profile, resolution, XMP,
# IPTC, Photoshop's and ImageJ's data.
_STORAGE = {
    *range(254, 267), 266, 273, ORIENTATION, *range(277, 282), 284, *range(288, 294), 297, 301, *range(317, 326),
    *range(330, 348), *range(400, 405), *range(512, 522), 529, 530, 532, 559, 700, 33723, 34377, 34675, 37724, 50838,
    50839,
}  # fmt: skip
_RESOLUTION = (282, 283, 296)
_OF_A_STACK = ("ImageJ=", '{"shape"')
"""How a description begins that says where the pixels of all frames lie."""

_COLOUR_CHUNKS = (b"cHRM", b"gAMA", b"sRGB", b"cICP")
_TEXTS_WITH_EXIF = {"Raw profile type exif", "XML:com.adobe.xmp"}


@dataclass(frozen=True)
class Metadata:
    """What is kept of a file beside its pixels.

    Attributes:
        profile: The ICC profile; empty for none.
        resolution: Pixels an inch, across and down; None if the file does not say.
        exif: EXIF as in a JPEG, without orientation and thumbnail; empty for none.
        colour_chunks: Of a PNG, chunks by which it states its colours beside a profile.
    """

    profile: bytes = b""
    resolution: tuple[float, float] | None = None
    exif: bytes = b""
    colour_chunks: dict[bytes, bytes] = field(default_factory=dict)


def metadata_of(path: Path, image: ImageFile) -> Metadata:
    """Return what an opened file says of its pixels; they may be decoded for that.

    Broken EXIF counts as none, as it does for whoever shows the image.
    """
    turned, exif = False, b""
    chunks = chunks_of_png(path, (*_COLOUR_CHUNKS, b"eXIf"))
    with suppress(Exception):  # Pillow raises exceptions of any type on broken EXIF
        # Pillow decodes a whole PNG to look for EXIF behind its pixels.
        sought = image.format != "PNG" or b"eXIf" in chunks or _TEXTS_WITH_EXIF & image.info.keys()
        found = image.getexif() if sought else Image.Exif()
        turned = found.get(ORIENTATION, 1) in (5, 6, 7, 8)
        exif = _exif(found, turned=turned, of_tiff=image.format == "TIFF")
    resolution = _resolution(image)
    return Metadata(
        profile=image.info.get("icc_profile") or _profile_of_tiff(image),
        resolution=resolution[::-1] if resolution and turned else resolution,
        exif=exif,
        colour_chunks={kind: data for kind, data in chunks.items() if kind in _COLOUR_CHUNKS},
    )


def _exif(found: Image.Exif, *, turned: bool, of_tiff: bool) -> bytes:
    kept = Image.Exif()
    dropped = {*_STORAGE, *(_RESOLUTION if of_tiff else ())}
    for tag, value in found.items():
        described = tag == ExifTags.Base.ImageDescription and str(value).startswith(_OF_A_STACK)
        if tag not in dropped and tag not in IFDS and not described:
            kept[tag] = value
    for tag in IFDS:
        if directory := dict(found.get_ifd(tag)):
            if ExifTags.IFD.Interop in directory:
                directory[ExifTags.IFD.Interop] = dict(found.get_ifd(ExifTags.IFD.Interop))
            kept[tag] = _swapped(directory) if turned else directory
    return kept.tobytes() if len(kept) else b""


def _swapped(directory: dict[int, Any]) -> dict[int, Any]:
    """Return EXIF with width and height exchanged, which are those of the image before it was turned upright."""
    across, down = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight
    if across in directory and down in directory:
        directory[across], directory[down] = directory[down], directory[across]
    return directory


def _resolution(image: ImageFile) -> tuple[float, float] | None:
    across, down = image.info.get("dpi") or (0, 0)
    if (tags := getattr(image, "tag_v2", None)) is not None:  # Pillow makes up what a TIFF does not say
        inches = {2: 1.0, 3: 2.54}.get(tags.get(296, 2), 0)
        across, down = tags.get(282, 0) * inches, tags.get(283, 0) * inches
    found = (float(across), float(down))
    return found if all(0 < dots < 1e6 for dots in found) else None


def _profile_of_tiff(image: ImageFile) -> bytes:
    profile = getattr(image, "tag_v2", {}).get(34675, b"")
    return profile if isinstance(profile, bytes) else b""
