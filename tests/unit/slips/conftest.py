"""The files that slips are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from dip_stages.images.reading import bundled_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the files that the slips are about, in the folder that they are typed in."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save("a.png")
    Image.fromarray(generator.integers(0, 65535, (40, 40), dtype=np.uint16)).save("deep.png")
    Image.new("L", (40, 40), 77).save("flat.png")
    Image.new("RGB", (1, 1)).save("small.png")
    whole = bundled_path("coffee").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("not an image")
    tifffile.imwrite("nan.tif", np.full((20, 20), np.nan, np.float32))
    for folder, name, text in (("planless", "plan.json", "{}"), ("cut", "plan.json", "["), ("list", "plan.json", "[]")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    for folder in ("empty", "one"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (40, 40), "red").save("one/a.png")
    return tmp_path
