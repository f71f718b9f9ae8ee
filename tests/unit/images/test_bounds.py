"""What an image's header promises bounds the memory and time of reading it, whatever the file holds."""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image, UnidentifiedImageError

from dip_stages.errors import ImageError
from dip_stages.images import reading
from dip_stages.images.folders import images_in_folder
from dip_stages.images.original import read_original
from dip_stages.images.reading import read_image
from dip_stages.report.page import _webp
from tests.raising import refused
from tests.unit.images.bombs import BOMBS, chunk, encoded, gif, jpeg_of_scans, png, tiff

if TYPE_CHECKING:
    from pathlib import Path

READ = r"""
import json, re, resource, sys, time
from dip_stages.errors import ImageError
from dip_stages.images.reading import read_image
memory, *paths = sys.argv[1:]
if int(memory):
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + int(memory), -1))
for path in paths:
    start = time.process_time()  # which other work on the machine does not change
    try:
        said = str(read_image(path).shape)
    except ImageError as error:
        said = str(error)
    peak = 1024 * int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1])  # ru_maxrss has the parent's
    print(json.dumps([said, time.process_time() - start, peak]), flush=True)
"""
ALLOWED = "PNG, JPEG, TIFF, WebP, BMP, GIF, PFM or binary Netpbm"


def read_in_a_process(paths: list[Path], *, memory: int = 0, timeout: float = 60) -> list[tuple[str, float, int]]:
    """Return what is said of each file, in what time, and the peak of memory; ``memory`` limits what is added."""
    command = [sys.executable, "-c", READ, str(memory), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float, int]]:
    folder = tmp_path_factory.mktemp("bombs")
    paths = [folder / f"{index}.png" for index in range(len(BOMBS))]
    for path, (made, _) in zip(paths, BOMBS.values(), strict=True):
        path.write_bytes(made())
    try:
        return dict(zip(BOMBS, read_in_a_process(paths, memory=200 * 2**20), strict=True))
    finally:
        for path in paths:
            path.unlink()


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_neither_memory_nor_time(verdicts: dict[str, tuple[str, float, int]], name: str) -> None:
    said, seconds, _ = verdicts[name]
    assert re.search(BOMBS[name][1], said), said
    assert "MemoryError" not in said
    assert len(said.splitlines()) == 1
    assert seconds < 2


@pytest.mark.parametrize(
    "content",
    [
        png(8, 2, zlib.compress(bytes(64 * 193)), before=[chunk(b"tEXt", b"a\0b")] * 9),
        tiff(zlib.compress(bytes(64 * 64 * 6)), bits=16, channels=3),
        tiff(zlib.compress(bytes(64 * 64)), (322, [64]), (323, [64]), (324, [8]), (325, [100])),
        tiff(64 * b"\xc1\0", compression=32773),
        tiff(64 * b"\x81\0", bits=16, compression=32773),
        tiff(b"".join([zlib.compress(bytes(64 * 48))] * 2), (278, [48]), (273, [8, 8]), (279, [99, 99])),
        gif(b"!\xfe\1a\0" * 99),
        jpeg_of_scans(9),
        encoded("WEBP"),
        b"P5 # by hand\n64 64\n# of 10 bits\n1023\n" + bytes(2 * 64**2),
    ],
    ids=["png", "deep tiff", "tiles", "packed", "deep packed", "padded strip", "gif", "jpeg", "webp", "netpbm"],
)  # fmt: skip
def test_files_like_these_but_as_they_promise_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert read_image(tmp_path / "x").shape[2] in (1, 3)


def as_icns() -> bytes:
    return encoded("PNG", 16).join((b"icns" + struct.pack(">I", 999) + b"icp4" + struct.pack(">I", 900), b""))


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n",
        b"%PDF-1.4\n",
        b"8BPS\0\1" + bytes(40),
        b"\xd7\xcd\xc6\x9a" + bytes(40),
        as_icns(),
        *(encoded(kind) for kind in ("JPEG2000", "AVIF", "TGA", "ICO", "PCX", "SGI", "DDS")),
    ],
    ids=["eps", "pdf", "psd", "wmf", "icns", "jpeg 2000", "avif", "tga", "ico", "pcx", "sgi", "dds"],
)
def test_content_of_another_format_is_refused_whatever_the_ending(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    for call in (read_image, read_original):
        with refused(ImageError, tmp_path / "x.png", problem="not an image of a format", allowed=ALLOWED):
            call(tmp_path / "x.png")


@pytest.mark.parametrize("ending", [".eps", ".pdf", ".psd", ".jp2", ".avif", ".tga", ".icns", ".ico", ".wmf"])
def test_files_of_other_endings_are_not_found(tmp_path: Path, ending: str) -> None:
    for name in ("a.png", f"b{ending}", "c.JPG"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in images_in_folder(str(tmp_path))] == ["a.png", "c.JPG"]


def test_images_of_a_report_are_png_alone() -> None:
    assert _webp(encoded("PNG")).startswith("data:image/webp")
    with pytest.raises(UnidentifiedImageError):
        _webp(encoded("GIF"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"P6",
        b"P6 20",
        b"P5 20 20 x\n",
        b"P6 20 20 65535",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""),
        png(16, 2, b"")[:24],
        chunk(b"tEXt", b"").join((b"\x89PNG\r\n\x1a\n", png(16, 2, b"")[8:])),
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\0\1",
        b"\xff\xd8\xff",
        b"GIF89a",
    ],
)
@pytest.mark.parametrize("call", [read_image, read_original])
def test_a_broken_file_is_an_image_error(tmp_path: Path, content: bytes, call: type) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ImageError) as refusal:
        call(tmp_path / "x.png")
    assert refusal.value.setting == str(tmp_path / "x.png")


def test_what_a_decoder_says_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object, **__: object) -> None:
        raise ValueError("first\nsecond")

    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    monkeypatch.setattr(reading, "decode", decode)
    with refused(ImageError, tmp_path / "x.png", problem="truncated or broken: first") as refusal:
        read_image(tmp_path / "x.png")
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_deflated_floats_are_read_in_either_byte_order(tmp_path: Path, byteorder: Any) -> None:
    ramp = np.linspace(0, 1, 20 * 24, dtype=np.float32).reshape(20, 24)
    tifffile.imwrite(tmp_path / "x.tif", ramp, compression="zlib", byteorder=byteorder)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif")[..., 0], ramp)


@pytest.mark.parametrize(("magic", "maximum"), [(b"P5", 100), (b"P5", 1023), (b"P6", 100)])
def test_netpbm_of_another_maximum_reads_as_pillow_reads_it(tmp_path: Path, magic: bytes, maximum: int) -> None:
    values = np.arange(20 * 24 * (3 if magic == b"P6" else 1)) % (maximum + 1)
    (tmp_path / "x").write_bytes(
        magic + b" 24 20 %d\n" % maximum + values.astype(">u2" if maximum > 255 else "u1").tobytes()
    )
    with Image.open(tmp_path / "x") as image:
        pillows = np.asarray(image, np.float32).reshape(20, 24, -1) / np.float32(65535 if maximum > 255 else 255)
    np.testing.assert_array_equal(read_image(tmp_path / "x"), pillows)


def large_png(depth: int, channels: int) -> bytes:
    stride = 8192 * channels * depth // 8
    row = bytes([2]) + np.random.default_rng(0).integers(0, 9, stride, dtype=np.uint8).tobytes()  # the filter "up"
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(8192)) + packer.flush()
    head = struct.pack(">IIBBBBB", 8192, 8192, depth, 2 if channels == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def large_tiff(depth: int, channels: int, *, deflated: bool) -> bytes:
    file = io.BytesIO()
    row = np.arange(8192 * channels).astype(f"u{depth // 8}").reshape(1, 8192, channels)
    pixels = np.broadcast_to(row, (8192, 8192, channels))
    tifffile.imwrite(
        file,
        pixels if channels == 3 else pixels[..., 0],
        photometric="rgb" if channels == 3 else "minisblack",
        compression="zlib" if deflated else None,
        compressionargs={"level": 1} if deflated else None,
    )
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", ["png", "tiff", "deflated tiff"])
def test_the_largest_image_is_read_in_seconds(tmp_path: Path, kind: str, depth: int, channels: int) -> None:
    made = large_png(depth, channels) if kind == "png" else large_tiff(depth, channels, deflated=kind != "tiff")
    (tmp_path / "x").write_bytes(made)
    ((said, seconds, peak),) = read_in_a_process([tmp_path / "x"], timeout=120)
    (tmp_path / "x").unlink()
    assert said == f"(8192, 8192, {channels})"
    assert seconds < 30
    assert peak < 2.5 * 8192 * 8192 * 4 * channels + 2**28
