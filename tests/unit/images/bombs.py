"""Small files that take much memory or time to decode, or hold more than their header promises."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SIDE = 64
MORE = "holds more data than its 64×64 pixels"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@functools.cache
def zeros(mib: int) -> bytes:
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(mib)) + packer.flush()


def png(
    depth: int,
    colour: int,
    pixels: bytes,
    *,
    interlaced: bool = False,
    before: Iterable[bytes] = (),
    after: bytes = b"",
) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, interlaced))
    chunks = (head, *before, chunk(b"IDAT", pixels), after, chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(segment: bytes, *more: tuple[int, list[int]], bits: int = 8, channels: int = 1, compression: int = 8) -> bytes:
    """Of one strip, unless the tags in ``more``, all of 32 bits, say otherwise; they replace others."""
    tags = {256: [SIDE], 257: [SIDE], 258: [bits] * channels, 259: [compression], 262: [2 if channels == 3 else 1]}
    tags |= {273: [8], 277: [channels], 278: [SIDE], 279: [len(segment)], **dict(more)}
    out_of_line, entries = b"", b""
    start = 8 + len(segment)
    for tag, values in sorted(tags.items()):
        data = struct.pack(f"<{len(values)}I", *values)
        place = start + len(out_of_line) if len(values) > 1 else values[0]
        out_of_line += data if len(values) > 1 else b""
        entries += struct.pack("<HHII", tag, 4, len(values), place)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", start + len(out_of_line)) + segment + out_of_line + directory


def encoded(kind: str, side: int = SIDE, mode: str = "RGB", **settings: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, kind, **settings)
    return file.getvalue()


def jpeg_of_scans(count: int) -> bytes:
    whole = encoded("JPEG", 2048, progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * count + whole[-2:]


def jpeg_of_exif(count: int) -> bytes:
    whole = encoded("JPEG")
    return whole[:2] + b"\xff\xe1\x00\x09Exif\0\0a" * count + whole[2:]


def jpeg_of_segments(segment: bytes, count: int) -> bytes:
    whole = encoded("JPEG")
    return whole[:2] + segment * count + whole[2:]


def jpeg_of_fill(count: int) -> bytes:
    whole = encoded("JPEG")
    return whole[:-2] + b"\xff" * count + b"\0" + whole[-2:]


def tiff_without_its_table() -> bytes:
    """Of 8192×8192 pixels, whose table of tiles would be far longer than the file."""
    whole = tiff(b"", (256, [8192]), (257, [8192]), (322, [16]), (323, [16]), (324, [8]), (325, [8]))
    return whole.replace(struct.pack("<HHI", 324, 4, 1), struct.pack("<HHI", 324, 4, 2**18))


def gif(before: bytes = b"", *, side: int = SIDE) -> bytes:
    whole = bytearray(encoded("GIF", side, "L"))
    whole[6:10] = struct.pack("<HH", SIDE, SIDE)
    start = 13 + (3 << (whole[10] & 7) + 1)
    return bytes(whole[:start] + before + whole[start:])


def bmp(runs: bytes) -> bytes:
    start = 14 + 40 + 4 * 256
    head = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + head + bytes(4 * 256) + runs


def webp_of_a_larger_frame() -> bytes:
    frame = encoded("WEBP", 2000, lossless=True)[12:]
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (SIDE - 1).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(frame)) + b"WEBP" + canvas + frame


PIXELS = zlib.compress(bytes(SIDE * (1 + 3 * SIDE)))
PACKED = 2**20 * b"\x81\0"  # 128 zeros, a million times
TEXT = zlib.compress(bytes(2**20), 9)[:-30]  # inflates to a MiB, almost, and then is broken: Pillow does not count it
NOTHING = 2**20 * b"\x80"  # packed

# The file; and what is said against it.
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    **{
        f"png {depth} bits, colour {colour}{', interlaced' * interlaced}": (
            functools.partial(png, depth, colour, zeros(256), interlaced=interlaced),
            MORE,
        )
        for depth, colour in ((1, 0), (8, 0), (8, 2), (8, 3), (16, 0), (16, 2), (16, 4), (16, 6))
        for interlaced in (False, True)
    },
    "png one byte more": (lambda: png(8, 2, zlib.compress(bytes(SIDE * (1 + 3 * SIDE) + 1))), MORE),
    "png two streams": (lambda: png(8, 2, PIXELS + PIXELS), MORE),
    "png profiles": (lambda: png(8, 2, PIXELS, before=[chunk(b"iCCP", b"a\0\0" + TEXT)] * 2000), "profiles"),
    "png text": (lambda: png(8, 2, PIXELS, before=[chunk(b"zTXt", b"a\0\0" + TEXT)] * 2000), "compressed text"),
    "png text after": (lambda: png(8, 2, PIXELS, after=chunk(b"zTXt", b"a\0\0" + TEXT) * 2000), "compressed text"),
    "png one long text": (lambda: png(8, 2, PIXELS, before=[chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(256))]), "too large"),
    "png chunks": (lambda: png(8, 2, PIXELS, before=[chunk(b"abCd", b"")] * 300_000), "chunks beside its pixels"),
    "png two headers": (lambda: png(8, 2, PIXELS, before=[chunk(b"IHDR", bytes(13))]), "IHDR"),
    **{
        f"tiff {compression}, {bits} bits, {channels} channels, {name}": (
            functools.partial(tiff, zeros(256), *more, bits=bits, channels=channels, compression=compression),
            MORE,
        )
        for compression in (8, 32946)
        for bits in (8, 16)
        for channels in (1, 3)
        for name, more in {
            "a strip": (),
            "predicted": ((317, [2]),),
            "a tile": ((322, [SIDE]), (323, [SIDE]), (324, [8]), (325, [len(zeros(256))])),
        }.items()
    },
    "tiff of floats": (lambda: tiff(zeros(256), (339, [3]), bits=32), MORE),
    "tiff packed, 8 bits": (lambda: tiff(PACKED, compression=32773), MORE),
    "tiff packed, 16 bits": (lambda: tiff(PACKED, bits=16, compression=32773), MORE),
    "tiff lzma": (lambda: tiff(b"", compression=34925), "as compression of a TIFF"),
    "tiff zstd": (lambda: tiff(b"", compression=50000), "as compression of a TIFF"),
    "tiff huge tiles": (lambda: tiff(zeros(256), (322, [2**15]), (323, [2**15])), "tiles of 32768×32768"),
    "tiff huge tiles, raw": (lambda: tiff(b"", (322, [2**15]), (323, [2**15]), compression=1), "tiles of 32768×32768"),
    "tiff strips": (lambda: tiff(b"", (273, [8] * 2_000_000), compression=1), "2000000 values of tag 273"),
    "tiff depths": (lambda: tiff(b"", (258, [8] * 5_000_000), compression=1), "5000000 values of tag 258"),
    "tiff packed nothing": (lambda: tiff(8 * NOTHING, compression=32773), MORE),
    "tiff strips that overlap": (
        lambda: tiff(NOTHING, (278, [1]), (273, [8] * SIDE), (279, [2**20] * SIDE), compression=32773),
        MORE,
    ),
    "tiff small tiles": (
        lambda: tiff(NOTHING, (322, [1]), (323, [1]), (324, [8] * SIDE**2), (325, [2**20] * SIDE**2), compression=5),
        "1×1 pixels as tiles",
    ),
    "tiff long lzw": (lambda: tiff(8 * NOTHING, compression=5), MORE),
    "tiff without its table": (tiff_without_its_table, "within tag 324"),
    "gif frame": (lambda: gif(side=4000), "a frame larger than its canvas"),
    "gif comments": (lambda: gif(b"!\xfe\1a\0" * 1_000_000), "blocks before its first frame"),
    "webp frame": (webp_of_a_larger_frame, "truncated or broken"),
    "jpeg scans": (lambda: jpeg_of_scans(3000), "scans"),
    "jpeg exif": (lambda: jpeg_of_exif(1_000_000), "segments of EXIF"),
    "jpeg segments": (lambda: jpeg_of_segments(b"\xff\xe5\0\2", 1_000_000), "segments"),
    "jpeg segments hidden in one": (lambda: jpeg_of_segments(b"\xff\xf0\0\6\xff\xe5\0\2", 100_000), "segment F0"),
    "jpeg bytes between segments": (lambda: jpeg_of_segments(b"\xff", 10_000_000), "bytes between segments"),
    "jpeg bytes in a scan": (lambda: jpeg_of_fill(500_000), r"\(64, 64, 3\)"),  # which is bounded, and allowed
    "bmp runs": (lambda: bmp(b"\xff\1" * 10_000_000), "run-length encoded BMP"),
    "netpbm comments": (lambda: b"P3 64 64 255\n" + b"#\n" * 500_000 + b"1 " * 3 * SIDE**2, "header|plain"),
    "netpbm comments in the pixels": (lambda: b"P3 64 64 255 1\n" + b"#\n" * 500_000 + b"1 " * 3 * SIDE**2, "plain"),
    "netpbm header": (lambda: b"P5 64 64 " + b"#\n" * 20_000_000 + b"255\n" + bytes(SIDE**2), "too long a header"),
    "netpbm maximum": (lambda: b"P5 64 64 " + b"9" * 1_000_000 + b"\n" + bytes(SIDE**2), "Token too long|header"),
}
