"""Values, frames and kinds of an image that is to be denoised."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from dip_stages.errors import ConfigError, ImageError
from dip_stages.images.encoding import left_out, write_image
from dip_stages.images.metadata import Metadata
from dip_stages.images.original import read_original
from dip_stages.images.reading import read_image
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RAMP = np.linspace(0, 1, 20 * 24 * 3).reshape(20, 24, 3)


def eight(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.round(pixels * 255).astype(np.uint8)


def test_noisy_floats_near_0_to_1_keep_their_values(tmp_path: Path) -> None:
    pixels = (RAMP * 2 - 0.5).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    np.testing.assert_array_equal(read_original(tmp_path / "a.tif").pixels, pixels)


@pytest.mark.parametrize(
    ("scale", "suggestion"), [(255, "0 255"), (4000, "0 4095"), (60_000, "0 65535"), (1e6, "0 1e+06")]
)
def test_floats_of_another_scale_are_refused_with_a_way_out(tmp_path: Path, scale: float, suggestion: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", (RAMP[..., 0] / RAMP[..., 0].max() * scale).astype(np.float32))
    way = f"--range {suggestion} if these are black and white"
    with refused(ImageError, tmp_path / "a.tif", problem=f"its values are 0 to {scale:g}", allowed=way):
        read_original(tmp_path / "a.tif")


@pytest.mark.parametrize("low", [-2e12, -1.382e6, -1000, -3, 0, 2, 1e6])
@pytest.mark.parametrize("width", [0, 0.5, 30, 300, 1e6, 1e13])
@pytest.mark.parametrize("power", [1, 9])
def test_a_range_that_is_suggested_is_accepted(tmp_path: Path, low: float, width: float, power: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", (low + RAMP[..., 0] ** power * width).astype(np.float32))
    try:
        read_original(tmp_path / "a.tif")
    except ImageError as error:
        for suggested in re.findall(r"--range (\S+) (\S+)", str(error)):
            read_original(tmp_path / "a.tif", limits=(float(suggested[0]), float(suggested[1])))


def test_a_clean_image_of_another_scale_is_refused_and_an_overshoot_clipped(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", (RAMP[..., 0] * 255).astype(np.float32))
    with refused(ImageError, tmp_path / "a.tif", problem="0 to 254.646", allowed="0 to 1, 1.0 being white"):
        read_image(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", (RAMP[..., 0] * 1.08 - 0.04).astype(np.float32))
    read = read_image(tmp_path / "b.tif")
    assert (read.min(), read.max()) == (0, 1)


def test_strong_noise_is_allowed_when_the_range_is_given(tmp_path: Path) -> None:
    noisy = (RAMP[..., 0] + np.random.default_rng(0).normal(0, 0.9, RAMP.shape[:2])).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", noisy)
    with refused(ImageError, tmp_path / "a.tif", problem="far outside", names=("--range 0 1",)):
        read_original(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_original(tmp_path / "a.tif", limits=(0, 1)).pixels[..., 0], noisy)


def test_a_range_that_the_values_are_not_in_is_refused(tmp_path: Path) -> None:
    Image.fromarray(eight(RAMP)).save(tmp_path / "a.png")
    with refused(ImageError, "--range", got="0 1", names=("whose values are 0 to 255",)):
        read_original(tmp_path / "a.png", limits=(0, 1))
    for limits in ((1.0, 0.0), (0.0, 0.0), (0.0, float("nan")), (0.0, float("inf"))):
        with pytest.raises(ConfigError):
            read_original(tmp_path / "a.png", limits=limits)


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("colour", [False, True])
def test_a_narrow_range_far_from_0_keeps_its_steps(tmp_path: Path, kind: str, colour: bool) -> None:
    black, span = (1e8, 1.0) if kind == "f8" else (1e7, 255.0)
    values = (black + (RAMP if colour else RAMP[..., 0]) * span).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb" if colour else "minisblack")
    read = read_original(tmp_path / "a.tif", limits=(black, black + span))
    np.testing.assert_allclose(read.pixels, (values.reshape(read.pixels.shape) - black) / span, atol=1e-6)
    write_image(tmp_path / "b.tif", read.pixels, read)
    np.testing.assert_allclose(
        tifffile.imread(tmp_path / "b.tif"), values, rtol=0, atol=1e-6 * span if kind == "f8" else 1
    )
    with refused(ImageError, tmp_path / "a.tif", problem="its values are 1000000", names=("--range 1000000",)):
        read_original(tmp_path / "a.tif")
    with refused(ImageError, "--range", got="0 1", names=("whose values are 1000000",)):
        read_original(tmp_path / "a.tif", limits=(0, 1))


@pytest.mark.parametrize("colour", [False, True])
def test_huge_64_bit_floats_are_finite(tmp_path: Path, colour: bool) -> None:
    values = np.round(RAMP if colour else RAMP[..., 0], 2) * 1e200
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb" if colour else "minisblack")
    with refused(ImageError, tmp_path / "a.tif", problem="its values are 0 to", names=("--range 0 1e+200",)):
        read_original(tmp_path / "a.tif")
    with refused(ImageError, tmp_path / "a.tif", problem="its values are 0 to"):
        read_image(tmp_path / "a.tif")
    pixels = read_original(tmp_path / "a.tif", limits=(0, 1e200)).pixels
    np.testing.assert_allclose(pixels, values.reshape(pixels.shape) / 1e200, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "came"),
    [
        ("i1", "signed integers of 8 bits"),
        ("i2", "signed integers of 16 bits"),
        ("i4", "signed integers of 32 bits"),
        ("u4", "unsigned integers of 32 bits"),
        ("c8", "complex floats of 64 bits"),
    ],
)
@pytest.mark.parametrize("colour", [False, True])
def test_integers_that_are_not_read_are_named(tmp_path: Path, kind: str, came: str, colour: bool) -> None:
    values = (RAMP if colour else RAMP[..., 0]).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb" if colour else "minisblack")
    for read in (read_original, read_image):
        with refused(ImageError, tmp_path / "a.tif", problem=came, names=("8 or 16 unsigned bits or floats",)):
            read(tmp_path / "a.tif")


COUNTED = [
    ("minisblack", ["unspecified"], "has 2 channels (ExtraSamples 0)", "1, or 2 with transparency"),
    ("rgb", ["unassalpha", "unspecified"], "has 5 channels (ExtraSamples 2, 0)", "3, or 4 with transparency"),
    ("rgb", ["unassalpha", "unassalpha"], "has 5 channels (ExtraSamples 2, 2)", "3, or 4 with transparency"),
    ("separated", ["unassalpha", "unspecified"], "has 6 channels", "4, or 5 with transparency"),
]


def write_channels(path: Path, photometric: Any, extras: Any, planar: Any, kind: str) -> None:
    channels = {"minisblack": 1, "rgb": 3, "separated": 4}[photometric] + len(extras)
    values = np.zeros((20, 24, channels) if planar == "contig" else (channels, 20, 24), kind)
    more = {"photometric": photometric, "planarconfig": planar, "extrasamples": extras, "metadata": None}
    tifffile.imwrite(path, values, **more)


@pytest.mark.parametrize(("planar", "kind"), [("contig", "u2"), ("separate", "u2"), ("separate", "u1")])
@pytest.mark.parametrize(("photometric", "extras", "problem", "allowed"), COUNTED)
def test_channels_that_are_not_read_are_counted(
    tmp_path: Path, photometric: Any, extras: Any, problem: str, allowed: str, planar: Any, kind: str
) -> None:
    write_channels(tmp_path / "a.tif", photometric, extras, planar, kind)
    for read in (read_original, read_image):
        with refused(ImageError, tmp_path / "a.tif", problem=problem, names=(allowed,)):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize(("photometric", "extras"), [("minisblack", ["unspecified"]), ("rgb", ["unspecified"])])
def test_an_8_bit_channel_without_a_meaning_is_named(tmp_path: Path, photometric: Any, extras: Any) -> None:
    write_channels(tmp_path / "a.tif", photometric, extras, "contig", "u1")
    assert left_out("b.tif", read_original(tmp_path / "a.tif").metadata)[-1] == "channels without a meaning"


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("photometric", "channels"), [("minisblack", 2), ("rgb", 4), ("separated", 5)])
def test_8_bits_with_transparency_are_read_in_planes_too(
    tmp_path: Path, planar: Any, photometric: Any, channels: int
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (20, 24, channels), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif",
        values if planar == "contig" else np.moveaxis(values, -1, 0),
        photometric=photometric,
        planarconfig=planar,
        extrasamples=["unassalpha"],
    )
    read = read_original(tmp_path / "a.tif")
    assert read.alpha is not None
    np.testing.assert_array_equal(np.round(np.concatenate([read.pixels, read.alpha], axis=-1) * 255), values)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_float_tiffs_are_read(tmp_path: Path, kind: str, compression: Any, byteorder: Any, channels: int) -> None:
    pixels = RAMP[..., :channels].astype(kind)
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels if channels == 3 else pixels[..., 0],
        compression=compression,
        byteorder=byteorder,
        photometric="rgb" if channels == 3 else "minisblack",
    )
    read = read_original(tmp_path / "a.tif")
    assert read.kind == np.dtype(kind)
    np.testing.assert_array_equal(read.pixels, pixels.astype(np.float32))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels.astype(np.float32))


@pytest.mark.parametrize("order", ["<", ">"])
def test_colour_pfm_is_read_upright(tmp_path: Path, order: str) -> None:
    head = b"PF\n24 20\n%s\n" % (b"-1.0" if order == "<" else b"1.0")
    (tmp_path / "a.pfm").write_bytes(head + RAMP[::-1].astype(f"{order}f4").tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a.pfm"), RAMP.astype(np.float32))


@pytest.mark.parametrize(
    "head", [b"PF", b"PF\n24 20\n", b"PF\n24 20\n0\n", b"PF\n24 20\n-1.0\n", b"PF\n24 99999999\n1\n"]
)
def test_a_broken_pfm_is_refused(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.pfm").write_bytes(head + bytes(100))
    with pytest.raises(ImageError):
        read_image(tmp_path / "a.pfm")


def test_colour_netpbm_of_16_bits_is_read(tmp_path: Path) -> None:
    pixels = np.round(RAMP * 65535)
    (tmp_path / "a.ppm").write_bytes(b"P6 24 20 65535\n" + pixels.astype(">u2").tobytes())
    read = read_original(tmp_path / "a.ppm")
    assert read.kind == np.dtype("u2")
    np.testing.assert_array_equal(read.pixels, (pixels / 65535).astype(np.float32))


def test_cmyk_of_16_bits_is_kept_for_denoising_and_converted_elsewhere(tmp_path: Path) -> None:
    inks = np.concatenate([1 - RAMP, np.full((20, 24, 1), 0.25)], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", np.round(inks * 65535).astype(np.uint16), photometric="separated")
    read = read_original(tmp_path / "a.tif")
    assert read.mode == "CMYK"
    np.testing.assert_allclose(read.pixels, inks, atol=1e-5)
    np.testing.assert_allclose(read_image(tmp_path / "a.tif"), RAMP * 0.75, atol=1e-5)


def test_premultiplied_colours_are_divided_by_their_transparency(tmp_path: Path) -> None:
    alpha = np.full((20, 24, 1), 0.5)
    pixels = np.round(np.concatenate([RAMP * 0.5, alpha], axis=-1) * 65535).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    read = read_original(tmp_path / "a.tif")
    assert read.mode == "RGBA"
    np.testing.assert_allclose(read.pixels, RAMP, atol=1e-4)


def frames(path: Path) -> list[NDArray[np.uint8]]:
    """Write three frames in the format of the ending, and return them; a TIFF's differ in size."""
    images = [np.full((20, 24, 3), 80 * number, np.uint8) for number in range(3)]
    if path.suffix == ".tif":
        images[2] = np.full((30, 40, 3), 7, np.uint8)
        with tifffile.TiffWriter(path) as writer:
            for image in images:
                writer.write(image, photometric="rgb")
        return images
    first, *others = (Image.fromarray(image) for image in images)
    first.save(path, save_all=True, append_images=others, lossless=path.suffix == ".webp")
    return images


@pytest.mark.parametrize("ending", [".tif", ".gif", ".png", ".webp"])
def test_each_frame_of_several_can_be_read(tmp_path: Path, ending: str) -> None:
    images = frames(tmp_path / f"a{ending}")
    for number, image in enumerate(images):
        read = read_original(tmp_path / f"a{ending}", frame=number)
        assert (read.frame, read.frames) == (number, 3)
        np.testing.assert_array_equal(np.round(read.pixels * 255), image)
    with refused(ImageError, "--frame", got=3, names=("0 to 2", f"a{ending}")):
        read_original(tmp_path / f"a{ending}", frame=3)


def test_each_image_of_an_mpo_can_be_read(tmp_path: Path) -> None:
    images = [Image.new("RGB", (24 + 8 * number, 20), (80 * number, 0, 0)) for number in range(3)]
    images[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=images[1:], quality=95)
    for number in range(3):
        read = read_original(tmp_path / "a.jpg", frame=number)
        assert (read.frame, read.frames, read.pixels.shape[1]) == (number, 3, 24 + 8 * number)
        np.testing.assert_allclose(read.pixels[0, 0] * 255, (80 * number, 0, 0), atol=2)
    with refused(ImageError, "--frame", got=3, names=("0 to 2", "a.jpg")):
        read_original(tmp_path / "a.jpg", frame=3)
    assert read_image(tmp_path / "a.jpg").shape == (20, 24, 3)


def test_a_later_image_of_an_mpo_has_nothing_of_the_first(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    first, second = Image.new("RGB", (24, 20)), Image.new("RGB", (24, 20))
    second.encoderinfo = {"exif": b"", "icc_profile": b"", "dpi": (0, 0)}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    more: Any = {"exif": exif.tobytes(), "icc_profile": profile, "dpi": (300, 300)}
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], **more)
    assert (tmp_path / "a.jpg").read_bytes().count(profile) == 1
    read = read_original(tmp_path / "a.jpg")
    assert (read.pixels.shape, read.metadata.profile) == ((24, 20, 3), profile)
    read = read_original(tmp_path / "a.jpg", frame=1)
    assert (read.pixels.shape, read.metadata) == ((20, 24, 3), Metadata())


def test_a_later_image_of_an_mpo_is_bounded_and_may_be_missing(tmp_path: Path) -> None:
    images = [Image.new("RGB", (24, 20)) for _ in range(2)]
    images[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=images[1:])
    data = (tmp_path / "a.jpg").read_bytes()
    second = data.index(b"\xff\xd8\xff", 4)
    (tmp_path / "a.jpg").write_bytes(data[: second + 2] + b"\xff\xe5\0\2" * 100_000 + data[second + 2 :])
    with refused(ImageError, tmp_path / "a.jpg", problem="holds too many segments"):
        read_original(tmp_path / "a.jpg", frame=1)
    (tmp_path / "a.jpg").write_bytes(data[:second])
    assert read_original(tmp_path / "a.jpg").frames == 2
    with refused(ImageError, tmp_path / "a.jpg", problem="truncated or broken"):
        read_original(tmp_path / "a.jpg", frame=1)


def test_frames_of_16_bit_tiffs_and_floats_are_read(tmp_path: Path) -> None:
    for kind in ("u2", "f4"):
        stack = (RAMP[None] * np.array([0.25, 0.5, 1])[:, None, None, None] * (65535 if kind == "u2" else 1)).astype(
            kind
        )
        tifffile.imwrite(tmp_path / "a.tif", stack, photometric="rgb", compression="zlib")
        for number in range(3):
            read = read_original(tmp_path / "a.tif", frame=number)
            np.testing.assert_array_equal(read.pixels * np.float32(read.limits[1]), stack[number].astype(np.float32))


def test_a_frame_of_a_16_bit_animation_is_refused(tmp_path: Path) -> None:
    first = Image.fromarray(np.full((20, 24), 999, np.uint16))
    first.save(tmp_path / "a.png", save_all=True, append_images=[Image.fromarray(np.zeros((20, 24), np.uint16))])
    read_original(tmp_path / "a.png")
    with refused(ImageError, tmp_path / "a.png", problem="only the first frame"):
        read_original(tmp_path / "a.png", frame=1)


def test_directories_in_a_circle_end(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", eight(RAMP), photometric="rgb", metadata=None)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * entries, start)
    (tmp_path / "a.tif").write_bytes(data)
    assert read_original(tmp_path / "a.tif").frames == 1


def test_a_frame_larger_than_its_canvas_is_refused(tmp_path: Path) -> None:
    frames(tmp_path / "a.gif")
    data = bytearray((tmp_path / "a.gif").read_bytes())
    last = data.rindex(b"\x2c\0\0\0\0")  # the last frame's place
    struct.pack_into("<HH", data, last + 5, 5_000, 5_000)
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(ImageError) as refusal:
        read_original(tmp_path / "a.gif", frame=2)
    assert "larger than its canvas" in str(refusal.value)
