"""Directories of tags, of which TIFF and EXIF consist, as bytes: a value that is copied stays as it is, bit for bit.

A broken directory raises :class:`ValueError` or :class:`struct.error`.
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Directory",
    "Entry",
    "Form",
    "Tags",
    "Value",
    "directories",
    "directory_at",
    "packed",
    "value_of",
]

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by TIFF's number of its type."""
_MAX_IMAGES = 2**14
"""Images in one file, each of which is a step from directory to directory."""


class Form(NamedTuple):
    """How a file stores its directories."""

    order: str  # of bytes, as struct has it
    big: bool  # whether it is a BigTIFF
    first: int  # where its first directory begins

    @property
    def entry(self) -> str:
        """The struct format of an entry: tag, type, count, and the value or where it lies."""
        return self.order + ("HHQ8s" if self.big else "HHI4s")


class Entry(NamedTuple):
    """A tag in a directory."""

    tag: int
    kind: int  # TIFF's number of its type
    values: int  # how many
    inline: bytes  # the value, or where it lies if it is longer


class Directory(NamedTuple):
    """The tags of an image, or of a part of EXIF."""

    form: Form
    start: int
    table: bytes
    following: int  # where the next directory begins; 0 for none

    def entries(self) -> Iterator[Entry]:
        """Yield its tags."""
        return map(Entry._make, struct.iter_unpack(self.form.entry, self.table))


class Value(NamedTuple):
    """A tag's value as it is stored."""

    kind: int
    values: int
    data: bytes


Tags = dict[int, "Value | Tags"]
"""Values by tag, and the tags of directories to which a tag points."""


def _form_of(file: IO[bytes]) -> Form:
    """Return how a TIFF, or a block of EXIF, stores its directories."""
    file.seek(0)
    head = file.read(16)
    if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        raise ValueError("it does not begin as a TIFF")
    order, big = "<" if head[:2] == b"II" else ">", b"+" in head[2:4]
    return Form(order, big, *struct.unpack_from(order + ("8xQ" if big else "4xI"), head))


def directory_at(file: IO[bytes], form: Form, start: int) -> Directory:
    """Return the directory that begins at a position in the file."""
    count, link = ("Q", "Q") if form.big else ("H", "I")
    step, size = struct.calcsize(form.entry), struct.calcsize("=" + link)
    file.seek(start)
    (entries,) = struct.unpack(form.order + count, file.read(struct.calcsize("=" + count)))
    if entries >= 2**16:
        raise ValueError("too many tags")
    table = file.read(entries * step)
    if len(table) < entries * step:
        raise ValueError("it ends within its tags")
    (following,) = struct.unpack(form.order + link, file.read(size).ljust(size, b"\0"))
    return Directory(form, start, table, following)


def directories(file: IO[bytes]) -> Iterator[Directory]:
    """Yield the directories of a file's images, at most 16,384."""
    form = _form_of(file)
    start, seen = form.first, set[int]()
    while start and start not in seen and len(seen) < _MAX_IMAGES:
        seen.add(start)
        directory = directory_at(file, form, start)
        yield directory
        start = directory.following


def value_of(file: IO[bytes], form: Form, entry: Entry) -> bytes:
    """Return the bytes of a tag's value."""
    size = entry.values * _SIZES.get(entry.kind, 0)
    if size <= len(entry.inline):
        return entry.inline[:size]
    start = int.from_bytes(entry.inline, "little" if form.order == "<" else "big")
    if start + size > file.seek(0, 2):
        raise ValueError(f"it ends within tag {entry.tag}")
    file.seek(start)
    return file.read(size)


def packed(order: str, tags: Tags, start: int) -> bytes:
    """Return a directory, and the values that lie outside of it, as they are stored from a position on.

    Args:
        order: Of bytes, as struct has it.
        tags: What is in it.
        start: The position, which is even.
    """
    table, behind = [], b""
    after = start + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        here = after + len(behind)
        if not isinstance(value, Value):
            behind += packed(order, value, here)
            entry = struct.pack(order + "HHII", tag, 4, 1, here)
        elif len(value.data) > 4:
            behind += value.data + bytes(len(value.data) % 2)
            entry = struct.pack(order + "HHII", tag, value.kind, value.values, here)
        else:
            entry = struct.pack(order + "HHI4s", tag, *value)
        table.append(entry)
    return struct.pack(order + "H", len(tags)) + b"".join(table) + bytes(4) + behind
