"""Files that cameras, scanners and microscopes write, and broken ones: read right or refused, never read wrong."""

from __future__ import annotations

import struct
import warnings
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import png
import pytest
import tifffile
from PIL import Image

from dip_stages.errors import ImageError
from dip_stages.images.reading import MAX_PIXELS, read_image
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RAMP = np.linspace(0, 1, 20 * 24 * 3).reshape(20, 24, 3)
GREY = RAMP[..., :1]
TURN_RIGHT = 6
"""EXIF's number of the orientation that is mended by a quarter turn clockwise."""


def eight(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.round(pixels * 255).astype(np.uint8)


def sixteen(pixels: NDArray[Any]) -> NDArray[np.uint16]:
    return np.round(pixels * 65535).astype(np.uint16)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_deep_png(path: Path, pixels: NDArray[np.float64], **settings: Any) -> None:
    height, width, channels = pixels.shape
    writer = png.Writer(width, height, greyscale=channels == 1, bitdepth=16, **settings)
    with path.open("wb") as file:
        writer.write(file, sixteen(pixels).reshape(height, -1).tolist())


def add_exif(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + data[33:])


def write_tiff(path: Path, strip: bytes, *, bits: int, channels: int, compression: int) -> None:
    """A 20×24 TIFF of one strip, for what tifffile does not write by itself."""
    depths = 8 + 2 + 10 * 12 + 4
    start = depths + 2 * channels
    tags = [
        (256, 4, 1, 24),
        (257, 4, 1, 20),
        (258, 3, channels, depths if channels > 2 else bits),
        (259, 3, 1, compression),
        (262, 3, 1, 2 if channels == 3 else 1),
        (273, 4, 1, start),
        (277, 3, 1, channels),
        (278, 4, 1, 20),
        (279, 4, 1, len(strip)),
        (284, 3, 1, 1),
    ]
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    path.write_bytes(head + body + struct.pack("<H", bits) * channels + strip)


def as_bits(codes: list[int], width: int) -> bytes:
    bits = "".join(f"{code:0{width}b}" for code in codes)
    return int(bits.ljust(-len(bits) % 8 + len(bits), "0"), 2).to_bytes((len(bits) + 7) // 8, "big")


def lzw(data: bytes) -> bytes:
    """TIFF's LZW without its gain: every byte as a code of 9 bits, the table cleared before it grows."""
    codes = [code for i in range(0, len(data), 200) for code in (256, *data[i : i + 200])]
    return as_bits([*codes, 257], 9)


def test_a_16_bit_png_that_is_turned_is_turned_back(tmp_path: Path) -> None:
    for channels in (1, 3):
        write_deep_png(tmp_path / "x.png", RAMP[..., :channels])
        add_exif(tmp_path / "x.png", TURN_RIGHT)
        np.testing.assert_allclose(read_image(tmp_path / "x.png"), np.rot90(RAMP[..., :channels], -1), atol=1 / 65535)


@pytest.mark.parametrize("depth", [eight, sixteen])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tiff_that_is_turned_is_turned_back(tmp_path: Path, depth: Any, channels: int) -> None:
    pixels = depth(RAMP[..., :channels])
    tifffile.imwrite(
        tmp_path / "x.tif", pixels if channels == 3 else pixels[..., 0], extratags=[(274, 3, 1, TURN_RIGHT, True)]
    )
    np.testing.assert_allclose(read_image(tmp_path / "x.tif"), np.rot90(RAMP[..., :channels], -1), atol=0.51 / 255)


def test_a_jpeg_that_is_turned_is_turned_back(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = TURN_RIGHT
    Image.fromarray(eight(RAMP)).save(tmp_path / "x.jpg", exif=exif, quality=100, subsampling=0)
    np.testing.assert_allclose(read_image(tmp_path / "x.jpg"), np.rot90(RAMP, -1), atol=0.03)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\0\0\xff\xff\0\0",
        b"Exif\0\0garbage",
    ],
    ids=["cut", "outside", "garbage"],
)
def test_broken_exif_neither_warns_nor_hides_the_image(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(eight(RAMP)).save(tmp_path / "x.jpg", exif=exif, quality=100, subsampling=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.testing.assert_allclose(read_image(tmp_path / "x.jpg"), RAMP, atol=0.03)
    assert not [str(warning.message) for warning in caught]


@pytest.mark.parametrize(("channels", "transparent"), [(1, 0), (3, (0, 0, 0))])
def test_the_transparent_colour_of_a_16_bit_png_is_white(tmp_path: Path, channels: int, transparent: Any) -> None:
    pixels = np.full((20, 24, channels), 0.5)
    pixels[:10] = 0
    write_deep_png(tmp_path / "x.png", pixels, transparent=transparent)
    read = read_image(tmp_path / "x.png")
    np.testing.assert_allclose(read[:10], 1)
    np.testing.assert_allclose(read[10:], 0.5, atol=1e-4)


def test_the_transparent_colours_of_a_palette_are_composited_onto_white(tmp_path: Path) -> None:
    image = Image.new("P", (24, 20), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(0, (0, 0, 24, 10))
    image.save(tmp_path / "x.png", transparency=bytes([0, 51]))
    read = read_image(tmp_path / "x.png")
    np.testing.assert_allclose(read[:10], 1)
    np.testing.assert_allclose(read[10:], np.broadcast_to([1, 0.8, 0.8], (10, 24, 3)), atol=1e-6)


def test_a_tiff_whose_channels_lie_one_after_the_other_is_read_as_a_image(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", sixteen(RAMP).transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    with suppress(ImageError):
        np.testing.assert_allclose(read_image(tmp_path / "x.tif"), RAMP, atol=1 / 65535)


def test_the_black_of_a_16_bit_cmyk_tiff_is_no_transparency(tmp_path: Path) -> None:
    inks = np.concatenate([RAMP, np.zeros((20, 24, 1))], axis=-1)
    tifffile.imwrite(tmp_path / "x.tif", sixteen(inks), photometric="separated")
    with suppress(ImageError):
        np.testing.assert_allclose(read_image(tmp_path / "x.tif"), 1 - RAMP, atol=0.02)


def test_an_extra_channel_of_no_stated_meaning_is_no_transparency(tmp_path: Path) -> None:
    pixels = np.concatenate([RAMP, np.zeros((20, 24, 1))], axis=-1)
    tifffile.imwrite(tmp_path / "x.tif", sixteen(pixels), photometric="rgb", extrasamples=["unspecified"])
    with suppress(ImageError):
        np.testing.assert_allclose(read_image(tmp_path / "x.tif"), RAMP, atol=1 / 65535)


def test_premultiplied_transparency_is_not_multiplied_again(tmp_path: Path) -> None:
    pixels = np.concatenate([RAMP / 4, np.full((20, 24, 1), 0.25)], axis=-1)
    tifffile.imwrite(tmp_path / "x.tif", sixteen(pixels), photometric="rgb", extrasamples=["assocalpha"])
    with suppress(ImageError):
        np.testing.assert_allclose(read_image(tmp_path / "x.tif"), RAMP / 4 + 0.75, atol=3 / 65535)


@pytest.mark.parametrize("depth", [eight, sixteen])
def test_a_tiff_in_which_zero_is_white_is_no_negative(tmp_path: Path, depth: Any) -> None:
    tifffile.imwrite(tmp_path / "x.tif", depth(GREY[..., 0]), photometric="miniswhite")
    with suppress(ImageError):
        np.testing.assert_allclose(read_image(tmp_path / "x.tif"), 1 - GREY, atol=0.51 / 255)


def test_12_bit_grey_is_not_taken_for_16_bit(tmp_path: Path) -> None:
    codes = np.round(GREY * 4095).astype(int).ravel().tolist()
    write_tiff(tmp_path / "x.tif", as_bits(codes, 12), bits=12, channels=1, compression=1)
    with suppress(ImageError):
        np.testing.assert_allclose(read_image(tmp_path / "x.tif"), GREY, atol=1 / 4095)


@pytest.mark.parametrize(("kind", "white"), [(np.uint32, 2**32 - 1), (np.int16, 2**15 - 1)])
def test_integers_of_another_range_are_scaled_by_it_or_refused(tmp_path: Path, kind: Any, white: int) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.round(GREY[..., 0] * white).astype(kind))
    with suppress(ImageError):
        np.testing.assert_allclose(read_image(tmp_path / "x.tif"), GREY, atol=1e-4)


@pytest.mark.parametrize("predictor", [False, True])
def test_a_deflated_16_bit_tiff_keeps_its_depth(tmp_path: Path, predictor: bool) -> None:
    tifffile.imwrite(tmp_path / "x.tif", sixteen(RAMP), photometric="rgb", compression="zlib", predictor=predictor)
    np.testing.assert_allclose(read_image(tmp_path / "x.tif"), RAMP, atol=1 / 65535)


def test_an_lzw_compressed_16_bit_tiff_keeps_its_depth_or_is_not_called_broken(tmp_path: Path) -> None:
    strip = lzw(sixteen(RAMP).astype("<u2").tobytes())
    write_tiff(tmp_path / "x.tif", strip, bits=16, channels=3, compression=5)
    try:
        read = read_image(tmp_path / "x.tif")
    except ImageError as error:
        message = str(error)
    else:
        np.testing.assert_allclose(read, RAMP, atol=1 / 65535)
        message = ""
    assert "broken" not in message


@pytest.mark.parametrize(("magic", "channels"), [(b"P5", 1), (b"P6", 3)])
def test_16_bit_netpbm_is_not_cut_to_8(tmp_path: Path, magic: bytes, channels: int) -> None:
    pixels = RAMP[..., :channels]
    (tmp_path / "x.pnm").write_bytes(magic + b" 24 20 65535\n" + sixteen(pixels).astype(">u2").tobytes())
    with suppress(ImageError):
        np.testing.assert_allclose(read_image(tmp_path / "x.pnm"), pixels, atol=1 / 65535)


def test_a_16_bit_png_of_fewer_significant_bits_fills_the_scale(tmp_path: Path) -> None:
    write_deep_png(tmp_path / "x.png", RAMP)
    data = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(data[:33] + chunk(b"sBIT", bytes([12, 12, 12])) + data[33:])
    np.testing.assert_allclose(read_image(tmp_path / "x.png"), RAMP, atol=1 / 4095)


def test_an_animated_png_gives_its_first_image(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (24, 20), (255, 0, 0)), Image.new("RGB", (24, 20))
    first.save(tmp_path / "x.png", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_image(tmp_path / "x.png")[5, 5], [1, 0, 0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_float_tiff_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    pixels = GREY[..., 0].astype(np.float32)
    pixels[3, 4] = value
    tifffile.imwrite(tmp_path / "x.tif", pixels)
    with refused(ImageError, tmp_path / "x.tif", problem="not finite"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("side", [8_200, 10_000, 13_400])
def test_images_between_our_limit_and_pillows_are_refused_without_a_warning(tmp_path: Path, side: int) -> None:
    # Pillow warns from 9,459 pixels a side and refuses from 13,378.
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ImageError) as refusal:
            read_image(tmp_path / "x.png")
    assert refusal.value.setting == str(tmp_path / "x.png")
    assert f"at most {MAX_PIXELS:,}" in str(refusal.value.allowed)
    assert not caught


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_a_truncated_16_bit_image_is_refused(tmp_path: Path, kind: str, channels: int, part: float) -> None:
    path = tmp_path / f"x.{kind}"
    noise = np.random.default_rng(0).random((20, 24, channels))
    if kind == "png":
        write_deep_png(path, noise)
    else:
        tifffile.imwrite(path, sixteen(noise if channels == 3 else noise[..., 0]))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with refused(ImageError, path):
        read_image(path)
