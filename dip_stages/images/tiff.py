"""The layout of an image in a TIFF, checked before any decoder sees it, and its pixels at 16 bits or as floats.

Pillow reduces 16-bit colour to 8 bits and reads no colour of floats, and tifffile inflates without bound; so strips and
tiles are inflated here, each to what the layout promises. LZW, CCITT and JPEG are left to libtiff, which decodes no
more than that.
"""

from __future__ import annotations

import struct
import zlib
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dip_stages.errors import ImageError
from dip_stages.images.ifd import directories, value_of
from dip_stages.images.size import MIN_SIDE, Size, check_size
from dip_stages.store.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from dip_stages.images.ifd import Entry

__all__ = ["Layout", "check_segments", "count_images", "layout_of", "read_values"]

_DEFLATE = (8, 32946)
_PACKBITS = 32773
_CCITT = (2, 3, 4)
# Not LZMA, Zstandard and the like, whose decoders allocate what the compressed data asks for.
_COMPRESSIONS = (1, *_CCITT, 5, 7, _PACKBITS, *_DEFLATE)
_COMPRESSION_NAMES = "none, deflate, LZW, PackBits, JPEG or CCITT"

_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_MAX_VALUES = 3 * 2**16  # of a palette; tables of strips and tiles have what the layout promises
_SLACK = 2**20
"""Bytes that compressed strips or tiles may have in all beyond twice the pixels; CCITT, beyond eight times."""
_MAX_TILE = 2**22
"""Pixels that a tile may have whatever the image's size: 2048×2048."""
_KINDS = {(8, 1): "u1", (16, 1): "u2", (16, 3): "f2", (32, 3): "f4", (64, 3): "f8"}
"""NumPy's types of bits per channel and sample format."""
_NUMBERS = {1: "unsigned integers", 2: "signed integers", 3: "floats", 5: "complex integers", 6: "complex floats"}
_ALLOWED = "8 or 16 unsigned bits or floats, such as tifffile.imread(…).astype('float32')"
_PLAIN = "uncompressed, PackBits or deflated; of floats, without a predictor"
_COLOURS = {0: ("grey", 1), 1: ("grey", 1), 2: ("RGB", 3), 5: ("CMYK", 4)}
"""Names and channels of photometric interpretations."""


class Layout(NamedTuple):
    """Where the pixels of an image lie, and how they are stored."""

    order: str
    width: int
    height: int
    bits: tuple[int, ...]  # of each channel
    compression: int
    photometric: int
    extras: tuple[int, ...]
    predictor: int
    sample_format: tuple[int, ...]
    fill_order: int
    planes: int  # 1 if the channels of a pixel lie together
    segment: tuple[int, int]  # rows and columns of a strip or tile
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of strips or tiles in a plane."""
        return -(-self.height // self.segment[0]), -(-self.width // self.segment[1])

    @property
    def kind(self) -> str | None:
        """NumPy's type of a value; None if it is of another type."""
        kinds = {_KINDS.get((bits, kind)) for bits in self.bits for kind in self.sample_format}
        return kinds.pop() if len(kinds) == 1 else None

    @property
    def plain(self) -> bool:
        """Whether this module undoes its compression."""
        predictors = (1, 2) if self.kind in ("u1", "u2") else (1,)
        return self.compression in (1, _PACKBITS, *_DEFLATE) and self.predictor in predictors

    def promised(self) -> int:
        """Return the bytes of a whole strip or tile."""
        rows, columns = self.segment
        return rows * ((columns * sum(self.bits) // self.planes + 7) // 8)


def count_images(file: IO[bytes]) -> int:
    """Return the number of images in a TIFF, at most 16,384.

    Raises:
        ValueError: If one of its directories is broken; so does :class:`struct.error`.
    """
    return sum(1 for _ in directories(file))


class _Tags:
    """The whole numbers in one directory of a TIFF, each read where it is asked for."""

    def __init__(self, path: Path, file: IO[bytes], frame: int) -> None:
        self._path, self._file = path, file
        found = next(islice(directories(file), frame, None), None)
        if found is None:
            raise ImageError("truncated or broken: no image in it", setting=path, allowed="an image file")
        self.form = found.form
        self._entries: dict[int, list[Entry]] = {}
        for entry in found.entries():
            self._entries.setdefault(entry.tag, []).append(entry)

    def get(self, tag: int, default: tuple[int, ...] = (), *, most: int = _MAX_VALUES) -> tuple[int, ...]:
        if tag not in self._entries:
            return default
        entry, *others = self._entries[tag]
        if others or not entry.values or entry.kind not in _TYPES:  # decoders differ in what they make of it
            problem = f"truncated or broken: tag {tag} is there twice, or not of whole numbers"
            raise ImageError(problem, setting=self._path, allowed="an image file")
        if entry.values > most:
            problem = f" values of tag {tag}, more than its header promises"
            raise ImageError(problem, setting=self._path, got=entry.values, allowed=f"at most {most}")
        values = value_of(self._file, self.form, entry)
        return struct.unpack(f"{self.form.order}{entry.values}{_TYPES[entry.kind]}", values)

    def first(self, tag: int, default: int) -> int:
        return self.get(tag, (default,))[0]


def layout_of(path: Path, file: IO[bytes], frame: int = 0) -> Layout:
    """Return the layout of an image in a TIFF, counted from 0.

    Raises:
        ImageError: If its compression is not read, or its tags promise more than its size does.
    """
    tags = _Tags(path, file, frame)
    height, width = tags.first(257, 0), tags.first(256, 0)
    compression, planar = tags.first(259, 1), tags.first(284, 1)
    channels = tags.first(277, 1)
    bits = tags.get(258, (1,))
    if compression not in _COMPRESSIONS:
        raise ImageError(" as compression of a TIFF", setting=path, got=compression, allowed=_COMPRESSION_NAMES)
    tiled = tags.first(322, 0) > 0
    segment = (tags.first(323, 0), tags.first(322, 0)) if tiled else (min(tags.first(278, height), height), width)
    if min(height, width, *segment) < 1 or not 1 <= channels <= 8:
        raise ImageError("truncated or broken: a TIFF without pixels", setting=path, allowed="an image file")
    check_size(path, Size(width, height))
    if tiled and min(segment) < MIN_SIDE:
        problem = " pixels as tiles of a TIFF"
        raise ImageError(problem, setting=path, got=Size(segment[1], segment[0]), allowed=f"at least {MIN_SIDE} a side")
    if tiled and segment[0] * segment[1] > max(_MAX_TILE, height * width):
        problem = f"has tiles of {segment[1]}×{segment[0]}, larger than its {width}×{height} pixels"
        raise ImageError(problem, setting=path, allowed="tiles within the image")
    planes = channels if planar == 2 else 1
    most = -(-height // segment[0]) * -(-width // segment[1]) * planes
    layout = Layout(
        order=tags.form.order,
        width=width,
        height=height,
        bits=bits * channels if len(bits) == 1 else bits[:channels],
        compression=compression,
        photometric=tags.first(262, 0),
        extras=tags.get(338),
        predictor=tags.first(317, 1),
        sample_format=tags.get(339, (1,)),
        fill_order=tags.first(266, 1),
        planes=planes,
        segment=segment,
        offsets=tags.get(324, tags.get(273, most=most), most=most),
        lengths=tags.get(325, tags.get(279, most=most), most=most),
    )
    stored = (8 if compression in _CCITT else 2) * most * layout.promised() + _SLACK
    if compression != 1 and sum(layout.lengths) > stored:
        raise _holds_more(path, layout)
    return layout


def _holds_more(path: Path, layout: Layout) -> ImageError:
    problem = f"holds more data than its {Size(layout.width, layout.height)} pixels"
    return ImageError(problem, setting=path, allowed="an image file")


def check_segments(path: Path, file: IO[bytes], frame: int = 0) -> None:
    """Check that strips and tiles, deflated or packed, hold no more than the size in the header promises.

    Raises:
        ImageError: If one holds more.
    """
    layout = layout_of(path, file, frame)
    if not {*layout.sample_format} <= {1, 3} or (max(layout.bits) > 8 and layout.kind is None):
        raise ImageError(f"a TIFF of {_numbers(layout)} is not read", setting=path, allowed=_ALLOWED)
    if layout.compression in (_PACKBITS, *_DEFLATE):
        for _ in _segments(path, file, layout):
            pass


def _numbers(layout: Layout) -> str:
    """Return what the values are, for people."""
    bits = " or ".join(str(bits) for bits in sorted({*layout.bits}))
    kinds = (_NUMBERS.get(kind, "values of an unknown type") for kind in sorted({*layout.sample_format}))
    return f"{' or '.join(kinds)} of {bits} bits"


def read_values(path: Path, frame: int = 0) -> tuple[NDArray[Any], Layout]:
    """Read an image of 8 or 16 bits per channel or of floats: grey, RGB or CMYK, with or without transparency.

    Returns:
        ``(H, W, C)`` as it is in the file: not turned, and with zero as white where it is so; and its layout.

    Raises:
        ImageError: If it is of another kind, truncated, or holds more than its header promises.
    """
    with path.open("rb") as file:
        layout = layout_of(path, file, frame)
        name, channels = _COLOURS.get(layout.photometric, ("", 0))
        if not channels or layout.kind is None or layout.fill_order != 1:
            what = (
                f"{_numbers(layout)}, photometric interpretation {layout.photometric}, fill order {layout.fill_order}"
            )
            raise ImageError(f"a TIFF of {what} is not read", setting=path, allowed=_ALLOWED)
        extras = layout.extras
        if len(layout.bits) != channels + len(extras) or extras not in ((), (1,), (2,)):
            stated = f" (ExtraSamples {', '.join(map(str, extras))})" if extras else ""
            problem = f"has {plural(len(layout.bits), 'channel')}{stated}, which is not read as {name}"
            allowed = f"{channels}, or {channels + 1} with transparency (ExtraSamples 1 or 2)"
            raise ImageError(problem, setting=path, allowed=allowed)
        if not layout.plain:
            problem = f"such a compression of a TIFF of {_numbers(layout)} is not supported"
            raise ImageError(problem, setting=path, allowed=_PLAIN)
        return _pixels(path, file, layout), layout


def _pixels(path: Path, file: IO[bytes], layout: Layout) -> NDArray[Any]:
    channels = len(layout.bits)
    pixels = np.empty((layout.height, layout.width, channels), layout.kind)
    rows, columns = layout.segment
    down, across = layout.grid
    for index, data in enumerate(_segments(path, file, layout)):
        plane, place = divmod(index, down * across)
        top, left = place // across * rows, place % across * columns
        part = pixels[top : top + rows, left : left + columns, plane : plane + channels // layout.planes]
        stored = part.shape[0] if layout.segment[1] == layout.width else rows
        values = np.frombuffer(data, f"{layout.order}{layout.kind}", count=stored * columns * part.shape[2])
        values = values.reshape(stored, columns, part.shape[2])[: part.shape[0]]
        if layout.predictor == 2 and layout.compression in _DEFLATE:
            values = np.cumsum(values, axis=1, dtype=layout.kind)
        part[...] = values[:, : part.shape[1]]
    return pixels


def _segments(path: Path, file: IO[bytes], layout: Layout) -> Iterator[bytes]:
    """Yield the strips or tiles, inflated where they are deflated."""
    size = file.seek(0, 2)
    needed = layout.grid[0] * layout.grid[1] * layout.planes
    lengths = layout.lengths if layout.compression != 1 else (layout.promised(),) * needed
    if min(len(layout.offsets), len(lengths)) < needed:
        raise ImageError("truncated or broken: strips are missing", setting=path, allowed="an image file")
    most = layout.promised()
    for offset, length in zip(layout.offsets, lengths, strict=False):
        file.seek(offset)
        data = file.read(max(0, min(length, size - offset)))
        if layout.compression in _DEFLATE:
            data = zlib.decompressobj().decompress(data, most + 1)
        elif layout.compression == _PACKBITS:
            data = _unpacked(data, most)
        if len(data) > most:
            raise _holds_more(path, layout)
        yield data


def _unpacked(data: bytes, most: int) -> bytes:
    """Undo PackBits, until there is more than promised."""
    unpacked, position = bytearray(), 0
    while position < len(data) and len(unpacked) <= most:
        code, start = data[position], position + 1
        if code < 128:
            unpacked += data[start : start + code + 1]
            position = start + code + 1
        else:  # 128 stands for nothing
            unpacked += data[start : start + 1] * (257 - code) if code > 128 else b""
            position = start + (code > 128)
    return bytes(unpacked)
