"""Holds decoders to what an image's header promises, where Pillow does not: their memory and time.

Pillow bounds the canvas of a WebP, and the tags of TIFF and EXIF by the size of the file.
"""

from __future__ import annotations

import re
import struct
import zlib
from itertools import takewhile
from typing import IO, TYPE_CHECKING

from dip_stages.errors import ImageError
from dip_stages.images.size import MAX_PIXELS, Size
from dip_stages.images.tiff import check_segments, layout_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from PIL.ImageFile import ImageFile

__all__ = ["check_content", "check_header", "chunks_of_png", "significant_bits"]

_MAX_SCANS = 64
"""Scans of a JPEG, each of which passes over the whole image; a progressive one has about ten."""

_MAX_EXIF_SEGMENTS = 64
"""Segments of EXIF of a JPEG, which Pillow joins one by one; cameras write one."""

_MAX_COMPRESSED = 64
"""Compressed texts and colour profiles of a PNG, each of which Pillow inflates to a MiB at most."""

_MAX_PARTS = 2**14
"""Chunks beside the pixels of a PNG, segments of a JPEG, blocks before the pixels of a GIF: Pillow takes each apart."""

_MAX_FILL = 2**16
"""Bytes between the segments of a JPEG's header, which Pillow reads one by one."""

_MAX_NETPBM_HEADER = 2**16
"""Bytes of a Netpbm header with its comments, which Pillow reads one by one."""

_UNBOUNDED = {"ppm_plain": "plain Netpbm (text)", "bmp_rle": "run-length encoded BMP"}
"""Pillow's decoders whose time is not bounded by the image's size, and what they decode."""

_MAX_JPEG = 8 * MAX_PIXELS
"""Bytes of a JPEG that are searched for its segments."""

_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # of a JPEG, but stuffed bytes and restarts within a scan

_UNKNOWN_MARKERS = {0xC8, *range(0xF0, 0xFE)}
"""Segments to this module and none to Pillow, which would read what is hidden in them; libjpeg refuses them."""

_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced PNG: first column and row, and the steps between columns and rows."""


def check_header(path: Path, file: IO[bytes], start: int = 0) -> None:
    """Check what Pillow would read when it opens a file, before it does.

    Args:
        path: Names it in errors.
        file: The file.
        start: Where the image begins in it, one of several JPEG.

    Raises:
        ImageError: If that takes memory or time which the file's size does not bound.
    """
    file.seek(start)
    signature = file.read(8)
    if signature == b"\x89PNG\r\n\x1a\n":
        _check_chunks(path, file)
    elif signature.startswith(b"\xff\xd8\xff"):
        _check_segments_of_jpeg(path, file, start)
    elif signature[:2] in (b"II", b"MM") and signature[2:4] in (b"*\0", b"\0*", b"+\0", b"\0+"):
        layout_of(path, file)
    elif signature.startswith(b"GIF8"):
        _check_extensions(path, file)
    elif re.match(rb"P[0-6fy]", signature):
        _check_netpbm(path, file)
    file.seek(0)


def check_content(path: Path, image: ImageFile) -> None:
    """Check that an image's file holds what its header promises, and not more.

    Args:
        path: The file.
        image: The file, opened by Pillow, not yet decoded.

    Raises:
        ImageError: If it holds more, or is of a kind that cannot be decoded in bounded time.
    """
    with path.open("rb") as file:
        if image.format == "PNG":
            _check_inflated(path, file)
        elif image.format == "TIFF":
            check_segments(path, file, image.tell())
        elif image.format == "GIF" and struct.unpack("<6xHH", file.read(10)) != image.size:
            raise ImageError("holds a frame larger than its canvas", setting=path, allowed="frames within it")
        elif image.tile and (kind := _UNBOUNDED.get(image.tile[0][0])):
            raise ImageError(f"{kind} is not supported", setting=path, allowed="uncompressed binary files, PNG, TIFF")


def chunks_of_png(path: Path, kinds: Collection[bytes]) -> dict[bytes, bytes]:
    """Return the content of a PNG's chunks of some kinds, of each the last."""
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return {}
        size, chunks = path.stat().st_size, takewhile(lambda chunk: chunk[0] != b"IEND", _chunks(file))
        return {kind: file.read(length) for kind, length in chunks if kind in kinds and length <= size}


def significant_bits(path: Path) -> int:
    """Return the bits per channel of a 16-bit PNG that are significant, which an ``sBIT`` chunk gives."""
    with path.open("rb") as file:
        for kind, length in _chunks(file):
            if kind == b"sBIT" and 1 <= length <= 4:
                return min(max(file.read(length)), 16) or 16
    return 16


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield the kind and length of each chunk of a PNG; the file then stands at its content."""
    position = 8
    while file.seek(position) and len(head := file.read(8)) == 8:
        length = int.from_bytes(head[:4], "big")
        yield head[4:], length
        position += 12 + length


def _check_chunks(path: Path, file: IO[bytes]) -> None:
    compressed = others = 0
    for index, (kind, _) in enumerate(_chunks(file)):
        if (kind == b"IHDR") != (index == 0):
            raise ImageError("truncated or broken: IHDR is not the first chunk", setting=path, allowed="an image file")
        compressed += kind in (b"iCCP", b"iTXt", b"zTXt")
        others += kind not in (b"IDAT", b"fdAT", b"fcTL")
    _check_most(path, compressed, "compressed texts and profiles", _MAX_COMPRESSED)
    _check_most(path, others, "chunks beside its pixels", _MAX_PARTS)


def _check_most(path: Path, count: int, what: str, most: int) -> None:
    if count > most:
        raise ImageError(f"holds too many {what}", setting=path, allowed=f"at most {most:,}")


def _check_inflated(path: Path, file: IO[bytes]) -> None:
    """Check a PNG's pixels, inflated piece by piece and not kept, against the size in its header."""
    file.seek(16)
    width, height, depth, colour, interlaced = struct.unpack(">IIBBxxB", file.read(13))
    bits = depth * {2: 3, 4: 2, 6: 4}.get(colour, 1)
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sides = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    left = sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sides if columns > 0 and rows > 0)
    inflater = zlib.decompressobj()
    for kind, length in _chunks(file):
        for block in _blocks(file, length) if kind == b"IDAT" else ():
            more = block
            while more and left >= 0 and not inflater.eof:
                try:
                    left -= len(inflater.decompress(more, 2**18))
                except zlib.error:  # Pillow says so, if it gets there
                    return
                more = inflater.unconsumed_tail
            if left < 0 or more or inflater.unused_data:
                raise ImageError(
                    f"holds more data than its {Size(width, height)} pixels", setting=path, allowed="an image file"
                )


def _blocks(file: IO[bytes], length: int) -> Iterator[bytes]:
    while length and (block := file.read(min(length, 2**16))):
        length -= len(block)
        yield block


def _check_segments_of_jpeg(path: Path, file: IO[bytes], start: int) -> None:
    size = file.seek(0, 2)
    file.seek(start)
    data = file.read(min(size, _MAX_JPEG))
    position, segments, fill, scans, exif = 2, 0, 0, 0, 0
    while found := _MARKER.search(data, position):
        segments += 1
        fill += 0 if scans else found.start() - position
        kind, position = found[1][0], found.end()
        _check_most(path, segments, "segments", _MAX_PARTS)
        _check_most(path, fill, "bytes between segments", _MAX_FILL)
        if kind in _UNKNOWN_MARKERS:
            raise ImageError(f"truncated or broken: segment {kind:X}", setting=path, allowed="an image file")
        if kind in (0x01, 0xD8):  # without a length
            continue
        if kind == 0xD9 and scans:  # the end
            return
        scans += kind == 0xDA
        exif += kind == 0xE1 and data[position + 2 : position + 8] == b"Exif\0\0"
        _check_most(path, scans, "scans", _MAX_SCANS)
        _check_most(path, exif, "segments of EXIF", _MAX_EXIF_SEGMENTS)
        position += int.from_bytes(data[position : position + 2], "big") if kind != 0xD9 else 0


def _check_extensions(path: Path, file: IO[bytes]) -> None:
    """Check the blocks before a GIF's first frame."""
    file.seek(10)
    palette = file.read(3)[0]
    file.seek(3 << (palette & 7) + 1 if palette & 128 else 0, 1)
    blocks = 0
    while (kind := file.read(1)) not in (b",", b";", b""):
        file.seek(kind == b"!", 1)  # the label of an extension
        while kind == b"!" and (length := file.read(1)) > b"\0":
            file.seek(length[0], 1)
            blocks += 1
        blocks += 1
        _check_most(path, blocks, "blocks before its first frame", _MAX_PARTS)


def _check_netpbm(path: Path, file: IO[bytes]) -> None:
    file.seek(0)
    words = re.sub(rb"#[^\r\n]*", b"", file.read(_MAX_NETPBM_HEADER)).split(None, 4)
    if len(words) < (3 if words[0] in (b"P1", b"P4") else 4) and file.read(1):
        raise ImageError("holds too long a header", setting=path, allowed=f"at most {_MAX_NETPBM_HEADER:,} bytes")
