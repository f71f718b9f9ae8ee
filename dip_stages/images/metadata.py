"""What an image's file says of its pixels: colour profile, resolution, EXIF. Read from one file, written to another."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dip_stages.images.bounds import chunks_of_png
from dip_stages.images.decoding import ORIENTATION
from dip_stages.images.exif import block_of, density_of, has_tags, tags_of_tiff, upright
from dip_stages.images.ifd import Value
from dip_stages.images.tiff import layout_of
from dip_stages.names import printable

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.ImageFile import ImageFile

__all__ = ["STORAGE", "Metadata", "metadata_of"]

STORAGE = {
    *range(254, 267), 273, ORIENTATION, *range(277, 282), 284, 288, 289, 292, 293, 297, 317, *range(320, 326),
    *range(330, 348), *range(400, 405), *range(512, 522), 529, 530, 532, 559, 700, 33723, 34377, 34675, 37724, 50838,
    50839,
}  # fmt: skip
"""Tags of a TIFF that say how its pixels are stored, and what is kept apart or not at all: profile, XMP, IPTC,
Photoshop's and ImageJ's data."""
_RESOLUTION = (282, 283, 296)
_DESCRIPTION = 270
_OF_A_STACK = (b"ImageJ=", b'{"shape"')
"""How a description begins that says where the pixels of all frames lie."""
_LAB = (8, 9, 10)
"""Photometric interpretations of pixels that are converted to other colours than the file states."""
_COLOURS_OF_TIFF = {291: "grey response curve", 301: "transfer function", 318: "white point", 319: "chromaticities"}
_CURVES = (291, 301)
"""Those that have a number, or three, for each value that a pixel may have."""
_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}
"""The colour space of a profile that is of such pixels."""
_COLOUR_CHUNKS = (b"cICP", b"mDCV", b"cLLI", b"sRGB", b"gAMA", b"cHRM")
_OF_SRGB = {
    b"cICP": bytes([1, 13, 0, 1]),
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
}
"""What these chunks hold where they say nothing that is not assumed without them."""


@dataclass(frozen=True)
class Metadata:
    """What is kept of a file beside its pixels.

    Attributes:
        profile: The ICC profile; empty for none.
        resolution: Pixels an inch, across and down; None if the file does not say.
        exif: EXIF as in a JPEG, without orientation and thumbnail; empty for none.
        colour_chunks: Of a PNG, chunks by which it states its colours beside a profile.
        aspect: Pixels that are as long across as others are down, where they are not square and there is no resolution.
        lost: Names of what no file can hold.
    """

    profile: bytes = b""
    resolution: tuple[float, float] | None = None
    exif: bytes = b""
    colour_chunks: dict[bytes, bytes] = field(default_factory=dict)
    aspect: tuple[float, float] | None = None
    lost: tuple[str, ...] = ()

    @property
    def block(self) -> bytes:
        """EXIF from its byte order on."""
        return self.exif.removeprefix(b"Exif\0\0")

    @property
    def chunk_names(self) -> list[str]:
        """What only its chunks say of a PNG's colours, for people."""
        said = {kind for kind, data in self.colour_chunks.items() if data != _OF_SRGB.get(kind)}
        if self.profile or self.colour_chunks.keys() & {b"cICP", b"sRGB"}:  # which overrule these
            said -= {b"gAMA", b"cHRM"}
        names = {b"cICP": "CICP", b"mDCV": "mastering display", b"cLLI": "light levels"}
        names |= {b"gAMA": "gamma", b"cHRM": "chromaticities"}
        return [name for kind, name in names.items() if kind in said]


def metadata_of(path: Path, image: ImageFile, mode: str, *, turned: bool) -> Metadata:
    """Return what a file says of its pixels.

    Args:
        path: The file.
        image: The file, opened by Pillow; its pixels are decoded.
        mode: Of the pixels: ``L``, ``RGB`` or ``CMYK``, with an ``A`` for transparency.
        turned: Whether width and height were exchanged when the pixels were turned upright.
    """
    block, lost = b"", list[str]()
    try:
        if image.format == "TIFF":
            block, lost = _block_of_tiff(path, image, mode)
        block = block or _block(image)
        block = upright(block, turned=turned) if block else b""
    except (ValueError, struct.error):
        block, lost = b"", ["broken EXIF"]
    profile = image.info.get("icc_profile") or _profile_of_tiff(image)
    if profile and (space := profile[16:20]) != _SPACES[colours := mode.removesuffix("A")]:
        name = printable(space.decode("latin-1").strip())
        profile, lost = b"", [*lost, f"colour profile of {name} for {'grey' if colours == 'L' else colours}"]
    density, by_inch = _density(path, image, block, turned=turned)
    return Metadata(
        profile=profile,
        resolution=density if by_inch else None,
        exif=b"Exif\0\0" + block if has_tags(block) else b"",
        colour_chunks=chunks_of_png(path, _COLOUR_CHUNKS),
        aspect=None if by_inch else density,
        lost=tuple(lost),
    )


def _block(image: ImageFile) -> bytes:
    """Return EXIF from its byte order on, as a file has it that is no TIFF."""
    if "exif" not in image.info and (text := image.info.get("Raw profile type exif")):
        image.info["exif"] = bytes.fromhex("".join(text.split("\n")[3:]))
    found = image.info.get("exif", b"")
    return found.removeprefix(b"Exif\0\0") if isinstance(found, bytes) else b""


def _block_of_tiff(path: Path, image: ImageFile, mode: str) -> tuple[bytes, list[str]]:
    """Return the tags of a TIFF that are not of its storage, and the names of those that its pixels lose here."""
    with path.open("rb") as file:
        order, tags = tags_of_tiff(file, image.tell(), {*STORAGE, *_RESOLUTION})
        layout = layout_of(path, file, image.tell())
    described = tags.get(_DESCRIPTION)
    if isinstance(described, Value) and described.data.startswith(_OF_A_STACK):
        del tags[_DESCRIPTION]
    lab, steps = layout.photometric in _LAB, 2 ** layout.bits[0] if layout.bits[0] in (8, 16) else 0
    lost = ["channels without a meaning"] if len(layout.bits) > len(mode) else []
    for tag, name in _COLOURS_OF_TIFF.items():
        value = tags.get(tag)
        misfit = isinstance(value, Value) and tag in _CURVES and value.values not in (steps, 3 * steps)
        if value and (lab or misfit):
            lost.append(name)
            del tags[tag]
    return block_of(order, tags), lost


def _density(path: Path, image: ImageFile, block: bytes, *, turned: bool) -> tuple[tuple[float, float] | None, bool]:
    """Return the pixels an inch, across and down, and whether it is an inch and not a length that the file leaves open.

    What the file says comes before what its EXIF says, which may be of the camera; square pixels alone say nothing.
    """
    info, inch = image.info, 1.0
    pair = (0.0, 0.0)
    if image.format == "TIFF":
        with path.open("rb") as file:
            pair, inch = density_of(file, image.tell())
    elif image.format in ("JPEG", "MPO"):  # of which Pillow makes up what neither JFIF nor EXIF says
        pair, inch = info.get("jfif_density", pair), {1: 1.0, 2: 2.54}.get(info.get("jfif_unit", 0), 0.0)
    elif "aspect" in info:
        pair, inch = info["aspect"], 0.0
    else:
        pair = info.get("dpi", pair)
    stated = [((pair[1], pair[0]) if turned else pair, inch), density_of(io.BytesIO(block))]
    for (across, down), inches in stated:
        if 0 < across < 1e6 and 0 < down < 1e6 and (inches or across != down):
            return (float(across) * (inches or 1), float(down) * (inches or 1)), inches > 0
    return None, False


def _profile_of_tiff(image: ImageFile) -> bytes:
    profile = getattr(image, "tag_v2", {}).get(34675, b"")
    return profile if isinstance(profile, bytes) else b""
