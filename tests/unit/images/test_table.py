"""The tables of docs/images.md: what comes back of each kind of image in each format.

``python -m tests.unit.images.test_table`` prints them.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image, ImageCms

from dip_stages.denoisers.classical import tv
from dip_stages.errors import ImageError
from dip_stages.images.encoding import check_output, left_out, write_image
from dip_stages.images.original import Original, read_original
from dip_stages.images.reading import bundled_path, fit_to, read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

DOCUMENT = Path(__file__).parents[3] / "docs" / "images.md"
INPUTS = {
    "1": "u1", "L": "u1", "LA": "u1", "P": "u1", "RGB": "u1", "RGBA": "u1", "CMYK": "u1", "L 16": "u2", "LA 16": "u2",
    "RGB 16": "u2", "RGBA 16": "u2", "CMYK 16": "u2", "L float": "f4", "RGB float": "f4",
}  # fmt: skip
FORMATS = {
    "PNG": (".png",), "TIFF": (".tif",), "JPEG": (".jpg",), "WebP": (".webp",), "AVIF": (".avif",), "BMP": (".bmp",),
    "PGM, PPM": (".pgm", ".ppm"), "PFM": (".pfm",),
}  # fmt: skip
SIGMA = 25 / 255
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


class Coffee(NamedTuple):
    """An image with noise, denoised, and without; ``(128, 128, 3)``."""

    clean: NDArray[np.float32]
    noisy: NDArray[np.float32]
    denoised: NDArray[np.float32]


@functools.cache
def coffee() -> Coffee:
    clean = fit_to(read_image(bundled_path("coffee")), 128)
    noise = np.random.default_rng(0).normal(0, SIGMA, clean.shape).astype(np.float32)
    noisy = np.clip(clean + noise, 0, 1)
    return Coffee(clean, noisy, np.clip(tv(noisy, SIGMA, strength=1.2), 0, 1))


def in_mode(rgb: NDArray[np.float32], mode: str) -> NDArray[np.float32]:
    """Return an image's grey or inks, whose black is none; RGB as it is."""
    if mode == "CMYK":
        return np.concatenate([1 - rgb, np.zeros_like(rgb[..., :1])], axis=-1)
    return rgb if mode == "RGB" else rgb.mean(axis=-1, keepdims=True)


def profile_of(mode: str) -> bytes:
    """Return a profile that states the colour space of a mode."""
    space = {"1": b"GRAY", "L": b"GRAY", "C": b"CMYK"}.get(mode[0], b"RGB ")
    return PROFILE[:16] + space + PROFILE[20:]


def write_input(path: Path, kind: str) -> None:
    """Write the noisy image in a mode and depth, with all metadata, by Pillow or tifffile."""
    mode = kind.split(maxsplit=1)[0]
    profile = profile_of(mode)
    pixels = in_mode(coffee().noisy, {"1": "L", "P": "RGB"}.get(mode, mode.removesuffix("A")))
    if mode.endswith("A"):
        ramp = np.linspace(0, 1, 128 * 128, dtype=np.float32).reshape(128, 128, 1)
        pixels = np.concatenate([pixels, ramp], axis=-1)
    if INPUTS[kind] == "u1":
        image = Image.frombytes(
            {"1": "L", "P": "RGB"}.get(mode, mode), (128, 128), np.round(pixels * 255).astype(np.uint8).tobytes()
        )
        exif = Image.Exif()
        exif[271] = "A maker"
        saved = image.convert(mode) if mode in ("1", "P") else image
        saved.save(path, "TIFF" if mode == "CMYK" else "PNG", icc_profile=profile, exif=exif.tobytes(), dpi=(300, 300))
        return
    values = pixels if INPUTS[kind] == "f4" else np.round(pixels * 65535).astype(np.uint16)
    photometric: Any = {"L": "minisblack", "R": "rgb", "C": "separated"}[mode[0]]
    tifffile.imwrite(
        path,
        values[..., 0] if mode == "L" else values,
        photometric=photometric,
        planarconfig="contig" if values.shape[2] > 1 else None,
        extrasamples=["unassalpha"] if mode.endswith("A") else None,
        iccprofile=profile,
        resolution=(300, 300),
        resolutionunit="INCH",
        metadata=None,
    )


def come_back(path: Path) -> Original:
    """Read a file; an AVIF by Pillow, since it is not among the formats that are read."""
    if path.suffix != ".avif":
        return read_original(path)
    with Image.open(path) as image:
        image.save(path.with_suffix(".avif.png"), icc_profile=image.info.get("icc_profile"), exif=image.getexif())
    return read_original(path.with_suffix(".avif.png"))


def psnr(image: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    if image.shape != clean.shape:  # grey that is stored as colour
        image = image.mean(axis=-1, keepdims=True)
    return float(-10 * np.log10(((image - clean) ** 2).mean()))


def cell(folder: Path, original: Original, endings: tuple[str, ...]) -> str:
    """Return what comes back: mode and depth, and what was lost of the denoised image's PSNR."""
    mode = original.mode.removesuffix("A")
    denoised, clean = in_mode(coffee().denoised, mode), in_mode(coffee().clean, mode)
    for path in (folder / f"out{ending}" for ending in endings):
        try:
            check_output(path, original)
        except ImageError:
            continue
        write_image(path, denoised, original)
        found = come_back(path)
        kept = "colour profile" not in left_out(path, original.metadata)
        assert found.metadata.profile == (original.metadata.profile if kept else b"")
        if original.alpha is not None:
            assert found.alpha is not None
            np.testing.assert_array_equal(found.alpha, original.alpha)
        depth = "float" if found.kind.kind == "f" else str(8 * found.kind.itemsize)
        lost = psnr(denoised, clean) - psnr(found.pixels, clean)
        return f"{found.mode} {depth}" + (f", −{lost:.2f} dB" if lost >= 0.005 else "")
    return "–"


def tables() -> tuple[str, str]:
    """Return both tables as Markdown."""
    lines = ["| from | " + " | ".join(FORMATS) + " |", "|:--|" + ":--|" * len(FORMATS)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for kind in INPUTS:
            write_input(folder / "in", kind)
            original = read_original(folder / "in")
            cells = [cell(folder, original, endings) for endings in FORMATS.values()]
            lines.append(f"| {kind if ' ' in kind else f'{kind} 8' if kind != '1' else kind} | {' | '.join(cells)} |")
        write_input(folder / "in", "RGB")
        everything = dataclasses.replace(read_original(folder / "in").metadata, aspect=(1.0, 2.0))
    keeps = ["| keeps | " + " | ".join(FORMATS) + " |", "|:--|" + ":--|" * len(FORMATS)]
    for name in ("colour profile", "resolution", "shape of pixels", "EXIF"):
        kept = ("–" if name in left_out(f"a{endings[-1]}", everything) else "yes" for endings in FORMATS.values())
        keeps.append(f"| {name} | {' | '.join(kept)} |")
    return "\n".join(lines) + "\n", "\n".join(keeps) + "\n"


def test_the_tables_of_the_documentation_are_what_comes_back() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert all(table in document for table in tables()), "python -m tests.unit.images.test_table prints them"


if __name__ == "__main__":
    sys.stdout.write("\n".join(tables()))
