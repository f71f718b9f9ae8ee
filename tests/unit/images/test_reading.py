from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import png
import pytest
import tifffile
from PIL import Image

from dip_stages.errors import ConfigError, DipStagesError, ImageError
from dip_stages.images.reading import BUNDLED, MAX_PIXELS, bundled_path, fit_to, read_image, sha256, write_png
from tests.raising import refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

RAMP = np.linspace(0, 1, 20 * 24 * 3).reshape(20, 24, 3)
"""An image of 20×24 whose values are finer than 8 bits."""


def eight(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.round(pixels * 255).astype(np.uint8)


def sixteen(pixels: NDArray[Any]) -> NDArray[np.uint16]:
    return np.round(pixels * 65535).astype(np.uint16)


def write_deep_png(path: Path, pixels: NDArray[np.uint16], mode: str, *, interlace: bool = False) -> None:
    rows = pixels.reshape(pixels.shape[0], -1).tolist()
    with path.open("wb") as file:
        writer = png.Writer(
            pixels.shape[1], pixels.shape[0], greyscale=mode.startswith("L"), alpha=mode.endswith("A"), bitdepth=16,
            interlace=interlace,
        )  # fmt: skip
        if interlace:
            writer.write_array(file, [value for row in rows for value in row])
        else:
            writer.write(file, rows)


def header_only_png(path: Path, width: int, height: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_images_are_there(name: str) -> None:
    image = read_image(bundled_path(name))
    assert image.shape[2] == (1 if name in {"camera", "brick", "coins", "grass", "gravel"} else 3)
    assert image.dtype == np.float32
    assert 0 <= image.min() < image.max() <= 1


def test_an_unknown_bundled_image_lists_the_known() -> None:
    with refused(ConfigError, "data.name", got="lena", names=("rocket, astronaut",)):
        bundled_path("lena")


def test_colour_and_grey_of_8_bits(tmp_path: Path) -> None:
    Image.fromarray(eight(RAMP)).save(tmp_path / "colour.png")
    Image.fromarray(eight(RAMP[..., 0])).save(tmp_path / "grey.png")
    np.testing.assert_allclose(read_image(tmp_path / "colour.png"), eight(RAMP) / 255, atol=1e-6)
    np.testing.assert_allclose(read_image(tmp_path / "grey.png"), eight(RAMP[..., :1]) / 255, atol=1e-6)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_16_bit_png_keeps_its_depth(tmp_path: Path, mode: str, channels: int, interlace: bool) -> None:
    write_deep_png(tmp_path / "x.png", sixteen(RAMP[..., :channels]), mode, interlace=interlace)
    np.testing.assert_allclose(read_image(tmp_path / "x.png"), RAMP[..., :channels], atol=1 / 65535)


@pytest.mark.parametrize(("mode", "channels"), [("LA", 1), ("RGBA", 3)])
def test_16_bit_transparency_is_composited_onto_white(tmp_path: Path, mode: str, channels: int) -> None:
    pixels = np.concatenate([RAMP[..., :channels], np.full((20, 24, 1), 0.25)], axis=-1)
    write_deep_png(tmp_path / "x.png", sixteen(pixels), mode)
    np.testing.assert_allclose(read_image(tmp_path / "x.png"), RAMP[..., :channels] * 0.25 + 0.75, atol=2 / 65535)


def test_16_bit_tiff_keeps_its_depth(tmp_path: Path) -> None:
    for name, pixels in (("colour", RAMP), ("grey", RAMP[..., 0])):
        tifffile.imwrite(tmp_path / f"{name}.tif", sixteen(pixels))
    np.testing.assert_allclose(read_image(tmp_path / "colour.tif"), RAMP, atol=1 / 65535)
    np.testing.assert_allclose(read_image(tmp_path / "grey.tif"), RAMP[..., :1], atol=1 / 65535)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_8_bit_transparency_is_composited_onto_white(tmp_path: Path, mode: str) -> None:
    colour = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    colour.paste((255, 0, 0, 255), (0, 0, 10, 20))
    image = colour.convert("LA") if mode == "LA" else colour.quantize() if mode == "PA" else colour
    image.save(tmp_path / "x.png")
    read = read_image(tmp_path / "x.png")
    np.testing.assert_allclose(read[0, -1], 1.0)
    assert read.shape == (20, 20, 1 if mode == "LA" else 3)
    if mode != "LA":
        np.testing.assert_allclose(read[0, 0], [1, 0, 0], atol=0.02)


def test_modes_are_handled_as_documented(tmp_path: Path) -> None:
    flat = Image.new("RGB", (24, 20), (255, 0, 0))
    flat.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    flat.convert("1").save(tmp_path / "bilevel.png")
    flat.convert("P").save(tmp_path / "palette.gif", save_all=True, append_images=[Image.new("RGB", (24, 20))])
    np.testing.assert_allclose(read_image(tmp_path / "cmyk.jpg")[5, 5], [1, 0, 0], atol=0.02)
    assert read_image(tmp_path / "bilevel.png").shape == (20, 24, 1)
    np.testing.assert_allclose(read_image(tmp_path / "palette.gif")[5, 5], [1, 0, 0], atol=0.02)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(eight(RAMP)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (24, 20, 3)


def nan_tiff(path: Path) -> None:
    tifffile.imwrite(path, np.full((20, 20), np.nan, np.float32))


def cut(source: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        whole = bundled_path(source).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])

    return make


@pytest.mark.parametrize(
    ("name", "make", "got", "problem", "way"),
    [
        ("missing.png", lambda _: None, ..., "no such file", ""),
        ("folder.png", lambda path: path.mkdir(), ..., "Is a directory", ""),
        ("empty.png", lambda path: path.write_bytes(b""), ..., "not an image", ""),
        ("text.png", lambda path: path.write_text("hello"), ..., "not an image", ""),
        ("cut.png", cut("coffee"), ..., "truncated or broken", ""),
        ("cut.jpg", cut("rocket"), ..., "truncated or broken", ""),
        ("one.png", lambda path: Image.new("RGB", (1, 1)).save(path), (1, 1), "", "at least 16 a side"),
        ("thin.png", lambda path: Image.new("RGB", (15, 400)).save(path), (15, 400), "", "at least 16 a side"),
        ("bomb.png", lambda path: header_only_png(path, 20_000, 20_000), ..., "", f"at most {MAX_PIXELS:,}"),
        ("large.png", lambda path: header_only_png(path, 9_000, 9_000), (9_000, 9_000), "", f"at most {MAX_PIXELS:,}"),
        ("nan.tif", nan_tiff, ..., "not finite", ""),
    ],
)
def test_a_bad_image_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, make: Callable[[Path], None], got: object, problem: str, way: str
) -> None:
    make(tmp_path / name)
    with refused(ImageError, tmp_path / name, got=got, problem=problem, names=(way,)):
        read_image(tmp_path / name)


def test_a_checksum_of_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with refused(ImageError, tmp_path / "nowhere.png", problem="cannot be read"):
        sha256(tmp_path / "nowhere.png")


@pytest.mark.parametrize(
    ("fit", "size", "shape"),
    [
        ("cover", 16, (16, 16)),
        ("cover", 40, (40, 40)),
        ("crop", 18, (18, 18)),
        ("inside", 48, (40, 48)),
        ("inside", 24, (20, 24)),
    ],
)
def test_fitting_gives_the_wanted_size(fit: str, size: int, shape: tuple[int, int]) -> None:
    for channels in (1, 3):
        fitted = fit_to(RAMP[..., :channels].astype(np.float32), size, fit)
        assert fitted.shape == (*shape, channels)
        assert fitted.dtype == np.float32
        assert 0 <= fitted.min() <= fitted.max() <= 1


def test_cropping_takes_the_middle_as_it_is_and_none_takes_all() -> None:
    image = RAMP.astype(np.float32)
    np.testing.assert_array_equal(fit_to(image, 18, "crop"), image[1:19, 3:21])
    np.testing.assert_array_equal(fit_to(image, None), image)


@pytest.mark.parametrize(
    ("size", "fit", "kind", "setting", "got", "problem", "way"),
    [
        (21, "crop", ImageError, "data.size", 21, "data.fit=crop", "at most 20"),
        (17, "inside", ImageError, "data.size", 17, "17×14", "at least 16"),
        (20, "stretch", ConfigError, "data.fit", "stretch", "", "crop"),
    ],
)
def test_a_size_that_cannot_be_is_refused(
    size: int, fit: str, kind: type[DipStagesError], setting: str, got: object, problem: str, way: str
) -> None:
    with refused(kind, setting, got=got, problem=problem, names=(way,)):
        fit_to(RAMP.astype(np.float32), size, fit)


def test_resampling_keeps_more_than_8_bits() -> None:
    fitted = fit_to(RAMP.astype(np.float32), 40)
    assert len(np.unique(fitted)) > 1000


@pytest.mark.parametrize("channels", [1, 3])
def test_a_written_image_reads_as_it_was_clipped_to_8_bits(tmp_path: Path, channels: int) -> None:
    pixels = (RAMP[..., :channels] * 1.5 - 0.2).astype(np.float32)
    write_png(tmp_path / "x.png", pixels)
    np.testing.assert_allclose(read_image(tmp_path / "x.png"), np.clip(pixels, 0, 1), atol=0.51 / 255)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_png(tmp_path / "x.png", np.zeros((20, 20, 7), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_crop_under_16_pixels_is_refused() -> None:
    with refused(ImageError, "data.size", got=8, allowed="at least 16"):
        fit_to(RAMP.astype(np.float32), 8, "crop")


@pytest.mark.parametrize("shape", [(16, 400), (400, 16), (17, 23)])
def test_odd_aspects_fit(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((*shape, 3), dtype=np.float32)
    assert fit_to(image, 33, "cover").shape == (33, 33, 3)
    assert fit_to(image, 16, "crop").shape == (16, 16, 3)
    np.testing.assert_array_equal(fit_to(image, max(shape), "inside"), image)


def test_a_failed_write_keeps_the_image_that_was_there(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", RAMP.astype(np.float32))
    before = (tmp_path / "x.png").read_bytes()
    with pytest.raises(TypeError):
        write_png(tmp_path / "x.png", np.zeros((20, 20, 7), np.float32))
    assert (tmp_path / "x.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
