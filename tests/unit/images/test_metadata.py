"""What a file says beside its pixels comes back as it was, or is named."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from dip_stages.images.encoding import left_out, write_image
from dip_stages.images.original import Original, read_original
from dip_stages.images.reading import read_image
from tests.unit.images.bombs import chunk

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
EXIF_FORMATS = (".jpg", ".png", ".tif", ".webp", ".avif")
TEXTS = {315: "Jürgen".encode() + b"\0", 33432: "© Éva".encode("latin-1") + b"\0"}
COMMENT = {"<": b"UNICODE\0" + "日本".encode("utf-16-le"), ">": b"UNICODE\0" + "日本".encode("utf-16-be")}
NOTE = b"A MAKER\0"
XMP = b'<rdf:Description tiff:Orientation="6"/>'
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def directory(order: str, tags: dict[int, tuple[int, int, bytes]], start: int, following: int = 0) -> bytes:
    """A directory of EXIF, from a position in its block on; long values lie behind it."""
    table, behind = b"", b""
    for tag, (kind, count, data) in sorted(tags.items()):
        here = struct.pack(f"{order}I", start + 6 + 12 * len(tags) + len(behind))
        table += struct.pack(f"{order}HHI4s", tag, kind, count, data if len(data) <= 4 else here)
        behind += data if len(data) > 4 else b""
    return struct.pack(f"{order}H", len(tags)) + table + struct.pack(f"{order}I", following) + behind


def a_block(order: str, orientation: int = 6, padding: int = 0) -> bytes:
    """EXIF as of a camera: texts, a comment, a note that points beyond itself, directories, a thumbnail."""

    def rational(*numbers: int) -> tuple[int, int, bytes]:
        return 5, len(numbers) // 2, struct.pack(f"{order}{len(numbers)}I", *numbers)

    def short(number: int) -> tuple[int, int, bytes]:
        return 3, 1, struct.pack(f"{order}H", number)

    def place(number: int) -> tuple[int, int, bytes]:
        return 4, 1, struct.pack(f"{order}I", number)

    first: dict[int, tuple[int, int, bytes]] = {
        **{tag: (2, len(text), text) for tag, text in TEXTS.items()},
        274: short(orientation), 282: rational(300, 1), 283: rational(150, 1), 296: short(2),
        318: rational(3127, 10000, 329, 1000), 34665: place(400), 34853: place(700),
    }  # fmt: skip
    note = NOTE + struct.pack(f"{order}I", 900)
    inner: dict[int, tuple[int, int, bytes]] = {
        37500: (7, len(note), note), 37510: (7, len(COMMENT[order]), COMMENT[order]), 40962: short(30),
        40963: short(20), 40965: place(800), 41486: rational(2000, 1), 41487: rational(1000, 1),
    }  # fmt: skip
    parts = {
        0: (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8),
        8: directory(order, first, 8, 1000),
        400: directory(order, inner, 400),
        700: directory(order, {1: (2, 2, b"N\0"), 2: rational(48, 1, 30, 1, 0, 1)}, 700),
        800: directory(order, {1: (2, 4, b"R98\0"), 4097: short(30), 4098: short(20)}, 800),
        900: b"what the note points to",
        1000: directory(order, {513: place(1100), 514: place(9)}, 1000),
        1100: b"THUMBNAIL" + bytes(padding),
    }
    block = bytearray(max(start + len(part) for start, part in parts.items()))
    for start, part in parts.items():
        block[start : start + len(part)] = part
    return bytes(block)


def save(path: Path, **settings: Any) -> Original:
    """Write pixels by Pillow, and read them."""
    Image.fromarray(PIXELS).save(path, **settings)
    return read_original(path)


def write(path: Path, original: Original) -> bytes:
    write_image(path, original.pixels, original)
    return path.read_bytes()


@pytest.mark.parametrize("ending", EXIF_FORMATS)
@pytest.mark.parametrize("source", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_kept_to_the_bit(tmp_path: Path, order: str, source: str, ending: str) -> None:
    if source == ".tif":  # which Pillow and tifffile write without a part of this
        made = save(tmp_path / "a.jpg", exif=b"Exif\0\0" + a_block(order))
        write(tmp_path / "a.tif", made)
        original = read_original(tmp_path / "a.tif")
    else:
        original = save(tmp_path / f"a{source}", exif=b"Exif\0\0" + a_block(order))
    data = write(tmp_path / f"b{ending}", original)
    assert left_out(tmp_path / f"b{ending}", original.metadata) == []
    assert all(text in data for text in TEXTS.values())
    assert COMMENT[order] in data
    assert b"THUMBNAIL" not in data
    with Image.open(tmp_path / f"b{ending}") as image:
        if source != ".tif":
            block = image.info.get("exif", data).removeprefix(b"Exif\0\0")
            (points_to,) = struct.unpack_from(f"{order}I", block, block.index(NOTE) + len(NOTE))
            assert block[points_to:].startswith(b"what the note points to")
        exif = image.getexif()
        assert exif.get(274, 1) == 1
        if source != ".tif" or ending != ".jpg":  # the resolution of a TIFF is JFIF's in a JPEG
            assert ending == ".png" or (exif[282], exif[283]) == (150, 300)
        assert exif[318] == pytest.approx((0.3127, 0.329))
        inner = exif.get_ifd(34665)
        assert (inner[40962], inner[40963], inner[41486], inner[41487]) == (20, 30, 1000, 2000)
        assert exif.get_ifd(34853)[2] == (48, 30, 0)
        assert exif.get_ifd(40965) == {1: "R98", 4097: 20, 4098: 30}
    if ending != ".avif":
        assert read_original(tmp_path / f"b{ending}").metadata.resolution == pytest.approx((150, 300), abs=0.02)


def test_exif_that_needs_no_change_is_not_changed(tmp_path: Path) -> None:
    block = a_block("<", orientation=1)
    original = save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    once = original.metadata.exif
    assert len(once) < len(block)  # without the thumbnail
    write(tmp_path / "b.jpg", original)
    assert read_original(tmp_path / "b.jpg").metadata.exif == once


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("behind", [False, True])
def test_long_exif_of_a_png_is_kept_wherever_it_lies(tmp_path: Path, kind: str, behind: bool) -> None:
    original = save(tmp_path / "a.png", dpi=(300, 150))
    if kind == "u2":
        write_image(tmp_path / "a.png", original.pixels, Original(original.pixels, "RGB", np.dtype("u2"), (0, 65535.0)))
    data = (tmp_path / "a.png").read_bytes()
    phys = struct.pack(">IIB", 11811, 5906, 1)
    data = data if b"pHYs" in data else data[:33] + chunk(b"pHYs", phys) + data[33:]
    place = -12 if behind else 33
    exif = chunk(b"eXIf", a_block(">", padding=70_000))
    (tmp_path / "a.png").write_bytes(data[:place] + exif + data[place:])
    read = read_original(tmp_path / "a.png")
    assert read.pixels.shape == (30, 20, 3)
    assert len(read.metadata.exif) > 70_000
    assert read.metadata.resolution == pytest.approx((150, 300), abs=0.02)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("broken", [b"II*\0\x08\0\0\0\x05\0\x12\x01", b"II*\0\xff\xff\0\0", b"nonsense"])
def test_broken_exif_is_named(tmp_path: Path, ending: str, broken: bytes) -> None:
    original = save(tmp_path / "a.jpg", exif=b"Exif\0\0" + broken)
    assert left_out(tmp_path / f"b{ending}", original.metadata) == ["broken EXIF"]
    write(tmp_path / f"b{ending}", original)


def tagged(path: Path, orientation: int | None, xmp: bytes, pixels: Any) -> None:
    extratags: list[Any] = [(700, 7, len(xmp), xmp, True)] if xmp else []
    extratags += [(274, 3, 1, orientation, True)] if orientation else []
    photometric: Any = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(
        path, pixels, extratags=extratags, resolution=(300, 150), resolutionunit="INCH", photometric=photometric
    )


@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "f8"])
@pytest.mark.parametrize("colour", [False, True])
def test_an_orientation_in_xmp_alone_is_applied_to_any_tiff(tmp_path: Path, kind: str, colour: bool) -> None:
    white = np.iinfo(kind).max if kind[0] == "u" else 1
    pixels = (PIXELS / 255 * white).astype(kind)
    pixels = pixels if colour else pixels[..., 0]
    tagged(tmp_path / "a.tif", None, XMP, pixels)
    tagged(tmp_path / "b.tif", 6, b"", pixels)
    found, stated = read_original(tmp_path / "a.tif"), read_original(tmp_path / "b.tif")
    assert found.pixels.shape[:2] == (30, 20)
    np.testing.assert_array_equal(found.pixels, stated.pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), found.pixels)
    assert found.metadata.resolution == stated.metadata.resolution == (150, 300)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_undone_at_every_depth(tmp_path: Path, orientation: int) -> None:
    tagged(tmp_path / "a.tif", orientation, b"", PIXELS)
    tagged(tmp_path / "b.tif", orientation, b"", PIXELS.astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[274] = orientation
    jpeg = save(tmp_path / "c.png", exif=exif.tobytes()).pixels
    np.testing.assert_array_equal(read_original(tmp_path / "a.tif").pixels, jpeg)
    np.testing.assert_array_equal(read_original(tmp_path / "b.tif").pixels, jpeg)


CHUNKS = {
    b"cICP": bytes([9, 16, 0, 1]),
    b"mDCV": bytes(24),
    b"cLLI": bytes(8),
    b"gAMA": struct.pack(">I", 100_000),
    b"cHRM": struct.pack(">8I", *range(1000, 9000, 1000)),
}


def a_png(path: Path, chunks: dict[bytes, bytes], kind: str = "u1", **settings: Any) -> Original:
    original = save(path, **settings)
    if kind == "u2":
        deep = Original(original.pixels, "RGB", np.dtype("u2"), (0.0, 65535.0), metadata=original.metadata)
        write_image(path, original.pixels, deep)
    data = path.read_bytes()
    path.write_bytes(data[:33] + b"".join(chunk(kind, data) for kind, data in chunks.items()) + data[33:])
    return read_original(path)


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("profile", [None, SRGB], ids=["without", "with"])  # its bytes have the time in them
def test_a_png_keeps_all_that_it_states_of_colours(tmp_path: Path, profile: bytes | None, kind: str) -> None:
    original = a_png(tmp_path / "a.png", CHUNKS, kind, icc_profile=profile)
    data = write(tmp_path / "b.png", original)
    assert all(chunk(name, content) in data for name, content in CHUNKS.items())
    assert left_out("b.png", original.metadata) == []
    assert read_original(tmp_path / "b.png").metadata.profile == (profile or b"")


@pytest.mark.parametrize(
    ("chunks", "profile", "names"),
    [
        (CHUNKS, None, ["CICP", "mastering display", "light levels"]),
        (CHUNKS, SRGB, ["CICP", "mastering display", "light levels"]),
        ({kind: CHUNKS[kind] for kind in (b"gAMA", b"cHRM")}, None, ["gamma", "chromaticities"]),
        ({kind: CHUNKS[kind] for kind in (b"gAMA", b"cHRM")}, SRGB, []),
        ({b"sRGB": b"\0", b"gAMA": CHUNKS[b"gAMA"]}, None, []),
        ({b"gAMA": struct.pack(">I", 45455), b"cICP": bytes([1, 13, 0, 1])}, None, []),
    ],
    ids=range(6),
)
@pytest.mark.parametrize("ending", [".tif", ".jpg", ".webp", ".avif"])
def test_what_only_a_png_states_of_colours_is_named(
    tmp_path: Path, ending: str, chunks: dict[bytes, bytes], profile: bytes | None, names: list[str]
) -> None:
    original = a_png(tmp_path / "a.png", chunks, icc_profile=profile)
    assert left_out(f"b{ending}", original.metadata) == names


@pytest.mark.parametrize("ending", EXIF_FORMATS)
def test_the_white_point_and_primaries_of_a_tiff_are_kept(tmp_path: Path, ending: str) -> None:
    curve = np.arange(256, dtype=np.uint16).repeat(3) * 257
    white, primaries = (3127, 10000, 329, 1000), (64, 100, 33, 100, 30, 100, 60, 100, 15, 100, 6, 100)
    extratags = [(301, 3, 768, curve.tolist(), True), (318, 5, 2, white, True), (319, 5, 6, primaries, True)]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, extratags=extratags)
    original = read_original(tmp_path / "a.tif")
    assert left_out(f"b{ending}", original.metadata) == []
    write(tmp_path / f"b{ending}", original)
    with Image.open(tmp_path / f"b{ending}") as image:
        exif = image.getexif()
        assert exif[318] == pytest.approx((0.3127, 0.329))
        assert exif[319] == pytest.approx((0.64, 0.33, 0.3, 0.6, 0.15, 0.06))
        assert exif[301] == tuple(curve)


def test_a_transfer_function_of_another_depth_is_named(tmp_path: Path) -> None:
    curve = [(301, 3, 16, list(range(16)), True)]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, extratags=curve, software=False, metadata=None)
    original = read_original(tmp_path / "a.tif")
    assert left_out("b.tif", original.metadata) == ["transfer function"]
    assert left_out("b.ppm", original.metadata) == ["transfer function"]


@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg"])
def test_a_profile_of_other_colours_than_the_pixels_is_not_written_and_named(tmp_path: Path, ending: str) -> None:
    white = [(318, 5, 2, (3457, 10000, 3585, 10000), True)]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="cielab", iccprofile=LAB, extratags=white)
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "b.png", icc_profile=SRGB)
    for name, mode, left in (
        ("a.tif", "RGB", ["white point", "colour profile of Lab for RGB"]),
        ("b.png", "L", ["colour profile of RGB for grey"]),
    ):
        original = read_original(tmp_path / name)
        assert original.mode == mode
        assert left_out(f"c{ending}", original.metadata) == left
        write(tmp_path / f"c{ending}", original)
        with Image.open(tmp_path / f"c{ending}") as image:
            assert not image.info.get("icc_profile")
            assert 318 not in image.getexif()


def with_aspect(path: Path) -> None:
    """Write pixels that are twice as high as wide, and say so without a unit."""
    if path.suffix == ".tif":
        tifffile.imwrite(path, PIXELS, resolution=(2, 1), resolutionunit="NONE", software=False, metadata=None)
        return
    Image.fromarray(PIXELS).save(path, dpi=(2, 1), quality=90)
    data = bytearray(path.read_bytes())
    if path.suffix == ".jpg":
        data[13] = 0
    else:
        start = data.index(b"pHYs") - 4
        data[start : start + 21] = chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0))
    path.write_bytes(data)


@pytest.mark.parametrize("source", [".jpg", ".png", ".tif"])
def test_pixels_that_are_not_square_stay_so_without_a_unit(tmp_path: Path, source: str) -> None:
    with_aspect(tmp_path / f"a{source}")
    original = read_original(tmp_path / f"a{source}")
    assert original.metadata.resolution is None
    for ending in (".bmp", ".ppm"):
        assert left_out(f"b{ending}", original.metadata) == ["shape of pixels"]
    for ending in EXIF_FORMATS:
        write(tmp_path / f"b{ending}", original)
        assert left_out(f"b{ending}", original.metadata) == []
    with Image.open(tmp_path / "b.jpg") as image:
        assert (image.info["jfif_unit"], image.info["jfif_density"]) == (0, (2, 1))
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["aspect"] == (2, 1)
    inks = Original(np.zeros((20, 30, 4), np.float32), "CMYK", np.dtype("u1"), (0, 255.0), metadata=original.metadata)
    write(tmp_path / "inks.jpg", inks)
    with Image.open(tmp_path / "inks.jpg") as image:
        image.load()
        assert (image.info["jfif_unit"], image.info["jfif_density"]) == (0, (2, 1))
    for ending in (".tif", ".webp", ".avif"):
        with Image.open(tmp_path / f"b{ending}") as image:
            exif = image.getexif()
            assert (exif[282], exif[283], exif[296]) == (2, 1, 1)
    assert read_original(tmp_path / "b.webp").metadata.aspect == (2, 1)


def test_square_pixels_without_a_unit_say_nothing(tmp_path: Path) -> None:
    for ending in (".jpg", ".png", ".tif"):
        original = save(tmp_path / f"a{ending}")
        assert (original.metadata.resolution, original.metadata.aspect) == (None, None)


def test_a_jpeg_without_a_resolution_gets_none(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271] = "A maker"
    assert save(tmp_path / "a.jpg", exif=exif.tobytes()).metadata.resolution is None
