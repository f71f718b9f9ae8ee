"""EXIF as a block of bytes, which is a TIFF without pixels: edited in place, so that all the rest stays as it came.

Texts keep their encoding, numbers their byte order; and what a maker's note points to keeps its position in the block.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from typing import IO, TYPE_CHECKING

from dip_stages.images.decoding import ORIENTATION
from dip_stages.images.ifd import Directory, Value, directories, directory_at, packed, value_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from dip_stages.images.ifd import Entry, Form, Tags

__all__ = [
    "block_of", "density_of", "density_tags", "has_tags", "order_of", "tags_of_tiff", "upright", "whole_ratio",
    "with_tags",
]  # fmt: skip

_NESTED = (34665, 34853, 40965)
"""Tags that point to a directory: EXIF's own, GPS, and interoperability within the first."""
_DEPTH = 2
_PAIRS = ((256, 257), (282, 283), (4097, 4098), (40962, 40963), (41486, 41487))
"""Tags of what is across and what is down: sizes of images and resolutions."""
_THUMBNAIL = ((513, 514), (273, 279))
"""Tags of where a thumbnail lies and of its length: as JPEG, uncompressed."""
_ACROSS, _DOWN, _UNIT = 282, 283, 296
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_NUMBERS = {_SHORT: "H", _LONG: "I", _RATIONAL: "II", 11: "f", 12: "d"}
"""Types of a number, as struct has them."""
_UNITS = {2: 1.0, 3: 2.54}
"""How many of a resolution's units make an inch; of another there is only a ratio."""


def order_of(block: bytes) -> str:
    """Return the byte order of a block, little-endian of an empty one."""
    return ">" if block.startswith(b"MM") else "<"


def has_tags(block: bytes) -> bool:
    """Return whether there is anything in a block."""
    first = _first(io.BytesIO(block)) if block else None
    return first is not None and bool(first.table)


def _first(file: IO[bytes]) -> Directory | None:
    return next(directories(file), None)


def upright(block: bytes, *, turned: bool) -> bytes:
    """Return a block without orientation and thumbnail.

    Args:
        block: EXIF, from its byte order on.
        turned: Whether width and height were exchanged when the image was turned upright.

    Raises:
        ValueError: If it is broken; so does :class:`struct.error`.
    """
    file, edited = io.BytesIO(block), bytearray(block)
    first = _first(file)
    if first is None or first.form.big:
        raise ValueError("it has no directory of EXIF")
    for directory in (first, *_nested(file, first)):
        kept = [entry for entry in directory.entries() if entry.tag != ORIENTATION]
        kept = _exchanged(kept) if turned else kept
        table = b"".join(struct.pack(directory.form.entry, *entry) for entry in kept)
        link = struct.pack(directory.form.order + "I", 0 if directory is first else directory.following)
        whole = struct.pack(directory.form.order + "H", len(kept)) + table + link
        room = 2 + len(directory.table) + 4
        edited[directory.start : directory.start + room] = whole.ljust(room, b"\0")
    for start, length in _thumbnails(file, first):
        behind = edited[start + length :]
        edited[start:] = bytes(length) + behind if behind else b""
    return bytes(edited)


def _nested(file: IO[bytes], directory: Directory, depth: int = _DEPTH) -> Iterator[Directory]:
    """Yield the directories to which a directory points, and those to which they point."""
    pointers = {entry.tag: entry for entry in directory.entries() if depth and entry.tag in _NESTED}
    for entry in pointers.values():
        inner = _pointed_at(file, directory.form, entry)
        if inner is not None:
            yield inner
            yield from _nested(file, inner, depth - 1)


def _pointed_at(file: IO[bytes], form: Form, entry: Entry) -> Directory | None:
    try:
        return directory_at(file, form, int.from_bytes(entry.inline, "little" if form.order == "<" else "big"))
    except (ValueError, struct.error):
        return None


def _exchanged(entries: Iterable[Entry]) -> list[Entry]:
    """Return tags with what is across and what is down exchanged, where both are there."""
    found = {entry.tag: entry for entry in entries}
    for across, down in _PAIRS:
        if across in found and down in found:
            found[across], found[down] = found[down]._replace(tag=across), found[across]._replace(tag=down)
    return list(found.values())


def _thumbnails(file: IO[bytes], first: Directory) -> Iterator[tuple[int, int]]:
    """Yield where thumbnails lie within a block, and their length."""
    try:
        second = directory_at(file, first.form, first.following) if first.following else None
    except (ValueError, struct.error):
        second = None
    size = file.seek(0, 2)
    found = {entry.tag: _number(file, first.form, entry) for entry in second.entries()} if second else {}
    for begin, length in _THUMBNAIL:
        start, count = int(found.get(begin, 0)), int(found.get(length, 0))
        if 8 <= start < start + count <= size:
            yield start, count


def _number(file: IO[bytes], form: Form, entry: Entry) -> float:
    """Return the value of a tag that is one number; 0 if it is none."""
    try:
        data = value_of(file, form, entry)
        parts = struct.unpack(form.order + _NUMBERS[entry.kind], data)
        return float(parts[0] / parts[1]) if len(parts) > 1 else float(parts[0])
    except (ValueError, struct.error, KeyError, ZeroDivisionError):
        return 0.0


def density_of(file: IO[bytes], frame: int = 0) -> tuple[tuple[float, float], float]:
    """Return the resolution that EXIF or a TIFF states, across and down, and how many of its units make an inch.

    All are 0 without one; the last is 0 where the unit is left open.
    """
    if not file.seek(0, 2):
        return (0.0, 0.0), 0.0
    directory = next(islice(directories(file), frame, None), None)
    found = {entry.tag: _number(file, directory.form, entry) for entry in directory.entries()} if directory else {}
    return (found.get(_ACROSS, 0.0), found.get(_DOWN, 0.0)), _UNITS.get(int(found.get(_UNIT, 2)), 0.0)


def density_tags(order: str, density: tuple[float, float], *, by_inch: bool) -> Tags:
    """Return the tags of a resolution, or of a ratio."""
    across, down = (Fraction(dots).limit_denominator(4000).as_integer_ratio() for dots in density)
    return {
        _ACROSS: Value(_RATIONAL, 1, struct.pack(order + "II", *across)),
        _DOWN: Value(_RATIONAL, 1, struct.pack(order + "II", *down)),
        _UNIT: Value(_SHORT, 1, struct.pack(order + "H", 2 if by_inch else 1)),
    }


def whole_ratio(density: tuple[float, float]) -> tuple[int, int]:
    """Return a ratio as two whole numbers below 2**16, as they are if they are such.

    Example:
        >>> whole_ratio((2.0, 1.0)), whole_ratio((0.5, 0.75))
        ((2, 1), (2, 3))
    """
    across, down = density
    if across == int(across) < 2**16 and down == int(down) < 2**16:
        return int(across), int(down)
    ratio = Fraction(across / down).limit_denominator(max(1, int(1000 * min(1, down / across))))
    return ratio.numerator, ratio.denominator


def with_tags(block: bytes, tags: Tags, dropped: Collection[int] = ()) -> bytes:
    """Return a block with another first directory, behind all that is in it, which stays where it is.

    Args:
        block: EXIF, from its byte order on; may be empty.
        tags: What to add to the first directory or to replace in it.
        dropped: Tags that are left out of it.
    """
    block = block or b"II*\0" + bytes(4)
    block += bytes(len(block) % 2)
    order = order_of(block)
    first = _first(io.BytesIO(block))
    stored: Tags = {entry.tag: Value(*entry[1:]) for entry in first.entries()} if first else {}
    directory = {tag: value for tag, value in stored.items() if tag not in dropped} | tags
    return block[:4] + struct.pack(order + "I", len(block)) + block[8:] + packed(order, directory, len(block))


def tags_of_tiff(file: IO[bytes], frame: int, dropped: Collection[int]) -> tuple[str, Tags]:
    """Return the byte order of a TIFF, and the tags of one of its images, but some; broken ones do not count.

    Raises:
        ValueError: If a directory is broken; so does :class:`struct.error`.
    """
    directory = next(islice(directories(file), frame, None), None)
    if directory is None:
        raise ValueError("it has no such image")
    return directory.form.order, _copied(file, directory, dropped)


def _copied(file: IO[bytes], directory: Directory, dropped: Collection[int] = (), depth: int = _DEPTH) -> Tags:
    tags: Tags = {}
    left = file.seek(0, 2)
    for entry in directory.entries():
        if entry.tag in dropped or entry.tag in tags:
            continue
        if entry.tag in _NESTED:
            inner = _pointed_at(file, directory.form, entry) if depth else None
            if inner is not None and inner.table:
                tags[entry.tag] = _copied(file, inner, depth=depth - 1)
            continue
        with suppress(ValueError):
            data = value_of(file, directory.form, entry)
            left -= len(data)
            if left < 0:
                raise struct.error("values overlap")
            tags[entry.tag] = Value(entry.kind, entry.values, data)
    return tags


def block_of(order: str, tags: Tags) -> bytes:
    """Return tags as a block of EXIF; empty without any."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + packed(order, tags, 8) if tags else b""
