from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from dip_stages.errors import ImageError
from dip_stages.images.encoding import check_encoding, depth_of_file, write_image
from dip_stages.images.reading import read_image
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "depth"), [("a.png", 8), ("a.png", 16), ("a.tif", 8), ("a.TIFF", 16), ("a.bmp", 8), ("a.webp", 8)]
)
def test_what_is_written_is_what_is_read(tmp_path: Path, name: str, depth: int, channels: int) -> None:
    levels = 2**depth - 1
    pixels = np.random.default_rng(0).integers(0, levels + 1, (20, 30, channels))
    image = (pixels / levels).astype(np.float32)
    write_image(tmp_path / name, image, depth)
    assert depth_of_file(tmp_path / name) == depth
    found = read_image(tmp_path / name)
    if name.endswith(".webp"):  # not without loss, and always in colour
        assert found.shape == (20, 30, 3)
    else:
        np.testing.assert_array_equal(np.round(found * levels), pixels)


def test_values_beyond_black_and_white_are_clipped(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.array([[[-0.5], [1.5]]], np.float32).repeat(20, 0).repeat(10, 1), 8)
    assert set(np.unique(read_image(tmp_path / "a.png"))) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("name", "depth", "got", "problem", "way"),
    [
        ("a.jpg", 16, 16, ".jpg", ".png, .tif, .tiff"),
        ("a.xyz", 8, ".xyz", "", ".png"),
        ("a", 8, "", "", ".png"),
        ("missing/a.png", 8, ..., "missing is no folder", ""),
    ],
)
def test_what_cannot_be_written_is_refused_beforehand(
    tmp_path: Path, name: str, depth: int, got: object, problem: str, way: str
) -> None:
    with refused(ImageError, tmp_path / name, got=got, problem=problem, names=(way,)):
        check_encoding(tmp_path / name, depth)
    with refused(ImageError, tmp_path / name, got=got, problem=problem, names=(way,)):
        write_image(tmp_path / name, np.zeros((20, 20, 1), np.float32), depth)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("mode", "name", "depth"), [("L", "a.jpg", 8), ("I;16", "a.png", 16), ("F", "a.tif", 16)])
def test_depth_is_that_of_the_file(tmp_path: Path, mode: str, name: str, depth: int) -> None:
    Image.new(mode, (20, 20)).save(tmp_path / name)
    assert depth_of_file(tmp_path / name) == depth
