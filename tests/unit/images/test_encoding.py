"""What is written is what was read: pixels, depth, mode, transparency, profile, resolution, EXIF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from dip_stages.errors import ImageError
from dip_stages.images.encoding import check_output, left_out, write_image
from dip_stages.images.metadata import Metadata
from dip_stages.images.original import Original, read_original
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
OF_GREY = PROFILE[:16] + b"GRAY" + PROFILE[20:]
TURN_RIGHT = 6
MODES = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3, "CMYK": 4, "CMYKA": 4}


def an_original(mode: str, kind: str = "u1", size: tuple[int, int] = (20, 30), **more: Any) -> Original:
    """An image of noise whose values its type holds exactly."""
    draws = np.random.default_rng(0)
    dtype = np.dtype(kind)
    white = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)

    def values(channels: int) -> Any:
        if dtype.kind == "f":
            return draws.random((*size, channels)).astype(dtype).astype(np.float32)
        return (draws.integers(0, int(white) + 1, (*size, channels)) / white).astype(np.float32)

    alpha = values(1) if mode.endswith("A") else None
    return Original(values(MODES[mode]), mode, dtype, (0.0, white), alpha=alpha, **more)


def some_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "A maker", "A model"
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.IFD.Exif] = {33434: (1, 250), 40962: 30, 40963: 20, 36867: "2026:11:28 12:00:00"}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (48.0, 8.0, 0.0)}
    return exif


def exif_of(metadata: Metadata) -> dict[int, Any]:
    exif = Image.Exif()
    exif.load(metadata.exif)
    found = {int(tag): value for tag, value in exif.items()}
    return found | {int(tag): dict(exif.get_ifd(tag)) for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)}


@pytest.mark.parametrize(
    ("ending", "mode", "kind"),
    [
        *((".png", mode, kind) for mode in ("L", "LA", "RGB", "RGBA") for kind in ("u1", "u2")),
        *((".TIF", mode, kind) for mode in MODES for kind in ("u2", "f2", "f4", "f8")),
        *((".tiff", mode, "u1") for mode in MODES if mode != "CMYKA"),
        *((".webp", mode, "u1") for mode in ("RGB", "RGBA")),
        *((".bmp", mode, "u1") for mode in ("L", "RGB")),
        *((ending, "L", kind) for ending in (".pgm", ".pnm") for kind in ("u1", "u2")),
        *((ending, "RGB", kind) for ending in (".ppm", ".pnm") for kind in ("u1", "u2")),
        *((".pfm", mode, "f4") for mode in ("L", "RGB")),
    ],
)  # fmt: skip
def test_what_is_written_is_what_is_read(tmp_path: Path, ending: str, mode: str, kind: str) -> None:
    original = an_original(mode, kind)
    check_output(tmp_path / f"a{ending}", original)
    assert not list(tmp_path.iterdir())
    write_image(tmp_path / f"a{ending}", original.pixels, original)
    found = read_original(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(found.pixels, original.pixels)
    assert (found.mode, found.kind, found.limits) == (mode, np.dtype(kind), original.limits)
    if original.alpha is not None:
        assert found.alpha is not None
        np.testing.assert_array_equal(found.alpha, original.alpha)


@pytest.mark.parametrize(("ending", "mode", "found"), [(".webp", "L", "RGB"), (".webp", "LA", "RGBA")])
def test_webp_has_no_grey_and_holds_it_as_colour(tmp_path: Path, ending: str, mode: str, found: str) -> None:
    original = an_original(mode)
    write_image(tmp_path / f"a{ending}", original.pixels, original)
    read = read_original(tmp_path / f"a{ending}")
    assert read.mode == found
    np.testing.assert_array_equal(read.pixels, np.repeat(original.pixels, 3, axis=-1))


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_pfm_holds_the_values_of_the_file_or_integers_from_0_to_1(tmp_path: Path, kind: str) -> None:
    original = an_original("RGB", kind)
    write_image(tmp_path / "a.pfm", original.pixels, original)
    np.testing.assert_array_equal(read_original(tmp_path / "a.pfm").pixels, original.pixels)


def test_values_beyond_black_and_white_are_clipped_only_where_they_are_integers(tmp_path: Path) -> None:
    pixels = np.array([[[-0.5], [1.5]]], np.float32).repeat(20, 0).repeat(10, 1)
    write_image(tmp_path / "a.png", pixels, an_original("L"))
    assert set(np.unique(read_original(tmp_path / "a.png").pixels)) == {0.0, 1.0}
    write_image(tmp_path / "a.tif", pixels, an_original("L", "f4"))
    np.testing.assert_array_equal(read_original(tmp_path / "a.tif").pixels, pixels)


@pytest.mark.parametrize(("kind", "limits"), [("f4", (0.0, 255.0)), ("f8", (-10.0, 10.0)), ("u2", (64.0, 4095.0))])
def test_values_are_scaled_from_a_range_and_back_to_it(tmp_path: Path, kind: str, limits: tuple[float, float]) -> None:
    span = limits[1] - limits[0]
    values = (np.random.default_rng(0).random((20, 30)) * span + limits[0]).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", values)
    read = read_original(tmp_path / "a.tif", limits=limits)
    np.testing.assert_allclose(read.pixels[..., 0], (values - limits[0]) / span, atol=1e-5)
    write_image(tmp_path / "b.tif", read.pixels, read)
    written = tifffile.imread(tmp_path / "b.tif")
    assert written.dtype == values.dtype
    np.testing.assert_allclose(written, values, atol=0 if kind == "u2" else 1e-5 * span)


@pytest.mark.parametrize("quality", [None, 60])
@pytest.mark.parametrize("ending", [".jpg", ".avif", ".webp"])
def test_quality_is_high_unless_another_is_asked_for(tmp_path: Path, ending: str, quality: int | None) -> None:
    original = an_original("RGB")
    write_image(tmp_path / f"a{ending}", original.pixels, original, quality)
    with Image.open(tmp_path / f"a{ending}") as image:
        read = np.asarray(image.convert("RGB"), np.float32) / 255
    psnr = -10 * np.log10(max(1e-12, float(((read - original.pixels) ** 2).mean())))
    assert psnr > 38 if quality is None else psnr < 28  # noise of every colour, the hardest to hold


@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg", ".webp", ".avif"])
@pytest.mark.parametrize("source", ["jpg", "png", "tif", "webp"])
def test_profile_and_exif_survive_and_the_image_is_upright(tmp_path: Path, source: str, ending: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(
        tmp_path / f"a.{source}", icc_profile=PROFILE, exif=some_exif(TURN_RIGHT).tobytes(), dpi=(300, 150)
    )
    original = read_original(tmp_path / f"a.{source}")
    write_image(tmp_path / f"b{ending}", original.pixels, original)
    with Image.open(tmp_path / f"b{ending}") as image:
        assert image.size == (20, 30)
        assert image.info["icc_profile"] == PROFILE
        exif = image.getexif()
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        assert (exif[ExifTags.Base.Make], exif[ExifTags.Base.Model]) == ("A maker", "A model")
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        assert (inner[40962], inner[40963], inner[36867]) == (20, 30, "2026:11:28 12:00:00")
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[2] == (48.0, 8.0, 0.0)
    if source != "webp" and ending != ".avif":
        assert read_original(tmp_path / f"b{ending}").metadata.resolution == pytest.approx((150, 300), abs=0.02)


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_deep_files_keep_metadata_too(tmp_path: Path, mode: str, kind: str) -> None:
    profile = PROFILE if mode == "RGB" else OF_GREY
    metadata = Metadata(profile, (72.0, 96.0), some_exif().tobytes())
    original = an_original(mode, kind, metadata=metadata)
    for ending in (".tif", *([] if kind == "f4" else [".png"])):
        write_image(tmp_path / f"a{ending}", original.pixels, original)
        read = read_original(tmp_path / f"a{ending}").metadata
        assert read.profile == profile
        assert read.resolution == pytest.approx((72, 96), abs=0.02)
        assert exif_of(read) == {tag: value for tag, value in exif_of(metadata).items() if tag != 274}


def test_a_png_keeps_its_own_statement_of_colours(tmp_path: Path) -> None:
    chunks = {b"gAMA": (45455).to_bytes(4, "big"), b"sRGB": b"\1"}
    for kind in ("u1", "u2"):
        original = an_original("RGB", kind, metadata=Metadata(colour_chunks=chunks))
        write_image(tmp_path / "a.png", original.pixels, original)
        assert read_original(tmp_path / "a.png").metadata.colour_chunks == chunks


def test_resolution_by_the_centimetre_and_none(tmp_path: Path) -> None:
    grey = np.zeros((20, 30), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", grey, resolution=(100, 50), resolutionunit="CENTIMETER")
    assert read_original(tmp_path / "a.tif").metadata.resolution == pytest.approx((254, 127))
    tifffile.imwrite(tmp_path / "b.tif", grey)
    assert read_original(tmp_path / "b.tif").metadata.resolution is None


def test_a_description_of_where_a_stack_lies_is_not_kept(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 20, 30), np.uint8), imagej=True)
    assert 270 not in exif_of(read_original(tmp_path / "a.tif").metadata)
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((20, 30), np.uint8), description="a cell", metadata=None)
    assert exif_of(read_original(tmp_path / "b.tif").metadata)[270] == "a cell"


def test_a_profile_of_grey_is_not_given_to_colour(tmp_path: Path) -> None:
    original = an_original("L", metadata=Metadata(OF_GREY))
    for ending in (".webp", ".avif"):
        write_image(tmp_path / f"a{ending}", original.pixels, original)
        with Image.open(tmp_path / f"a{ending}") as image:
            assert not image.info.get("icc_profile")


def test_broken_exif_is_none(tmp_path: Path) -> None:
    cut = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=cut)
    original = read_original(tmp_path / "a.jpg")
    write_image(tmp_path / "b.jpg", original.pixels, original)
    assert read_original(tmp_path / "b.jpg").pixels.shape == (20, 30, 3)


def test_what_a_format_does_not_hold_is_named() -> None:
    everything = Metadata(PROFILE, (72.0, 72.0), some_exif().tobytes())
    assert left_out("a.ppm", everything) == ["colour profile", "resolution", "EXIF"]
    assert left_out("a.webp", everything) == []
    of_grey = Metadata(OF_GREY)
    assert left_out("a.webp", of_grey) == left_out("a.avif", of_grey) == ["colour profile"]
    assert left_out("a.png", of_grey) == []
    assert left_out("a.png", everything) == left_out("a.ppm", Metadata()) == []


@pytest.mark.parametrize(
    ("name", "original", "problem", "names"),
    [
        ("a.jpg", an_original("L", "u2"), "JPEG does not hold 16 bits a channel", (".png, .tif",)),
        ("a.png", an_original("L", "f4"), "PNG does not hold 32-bit floats a channel", (".tif, .tiff, .pfm",)),
        ("a.jpg", an_original("RGBA"), "JPEG does not hold colour with transparency", (".png",)),
        ("a.png", an_original("CMYK"), "PNG does not hold CMYK", (".tif, .tiff, .jpg, .jpeg",)),
        ("a.ppm", an_original("L"), "PPM does not hold grey", (".pgm",)),
        ("a.webp", an_original("L", size=(16, 16384)), "WebP does not hold 16384 pixels a side", (".png",)),
        ("a.gif", an_original("RGB"), "a .gif file holds at most 256 colours", (".png",)),
        ("a.pbm", an_original("L"), "a .pbm file holds black and white alone", (".png",)),
        ("a.ico", an_original("L"), "a .ico file is resized to an icon", (".png",)),
        ("missing/a.png", an_original("L"), "missing is no folder", ("one that is there",)),
        ("folder", an_original("L"), "is a folder", ("a file's name",)),
        ("x" * 300 + ".png", an_original("L"), "cannot be written: File name too long", ("a short name",)),
    ],
)
def test_what_cannot_be_written_is_refused_beforehand(
    tmp_path: Path, name: str, original: Original, problem: str, names: tuple[str, ...]
) -> None:
    (tmp_path / "folder").mkdir()
    with refused(ImageError, tmp_path / name, problem=problem, names=names):
        check_output(tmp_path / name, original)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("name", ["a.h5", "a.xyz", "a"])
def test_an_unknown_ending_is_refused(tmp_path: Path, name: str) -> None:
    problem = f"no image is written as {(tmp_path / name).suffix}" if "." in name else "has no ending"
    with refused(ImageError, tmp_path / name, problem=problem, names=(".png, .tif",)):
        check_output(tmp_path / name, an_original("L"))


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG"])
def test_a_format_that_an_encoder_refuses_is_not_offered(tmp_path: Path, name: str) -> None:
    long = Image.Exif()
    long[ExifTags.Base.Make] = "x" * 70_000
    original = an_original("RGB", metadata=Metadata(exif=long.tobytes()))
    with refused(ImageError, tmp_path / name, problem="cannot be written: EXIF data is too long") as refusal:
        check_output(tmp_path / name, original)
    offered = str(refusal.value.allowed).split(", ")
    assert ".jpg" not in offered
    for ending in offered:
        check_output(tmp_path / f"a{ending}", original)


def test_a_folder_that_takes_no_file_is_found_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dip_stages.images.encoding._write", full)
    with refused(ImageError, tmp_path / "a.png", problem="cannot be written: No space left on device"):
        check_output(tmp_path / "a.png", an_original("L"))
    with refused(ImageError, "/proc/a.png", problem="cannot be written"):
        check_output("/proc/a.png", an_original("L"))


def test_exif_that_a_jpeg_cannot_hold_is_found_beforehand(tmp_path: Path) -> None:
    original = an_original("L", metadata=Metadata(exif=b"Exif\0\0" + bytes(70_000)))
    with refused(ImageError, tmp_path / "a.jpg", problem="EXIF data is too long"):
        check_output(tmp_path / "a.jpg", original)


def test_a_pillow_without_an_encoder_is_found_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()
    monkeypatch.delitem(Image.SAVE, "AVIF")
    with refused(ImageError, tmp_path / "a.avif", problem="built without AVIF", names=(".png",)):
        check_output(tmp_path / "a.avif", an_original("L"))
