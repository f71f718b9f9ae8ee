from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from dip_stages.errors import ConfigError, ImageError
from dip_stages.images.reading import read_image
from dip_stages.images.sources import (
    COURSE_IMAGE,
    cache_folder,
    image_in_folder,
    image_of_dataset,
    is_course_image,
)
from tests.hub import ROWS, a_hub, encoded, pixels
from tests.raising import refused

if TYPE_CHECKING:
    from tests.conftest import CommandLine

NAME = "huggan/smithsonian_butterflies_subset"


pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("streaming", [True, False])
def test_a_row_comes_as_it_is_and_is_kept(
    butterflies: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, *, streaming: bool
) -> None:
    for row in (0, ROWS - 1):
        path = image_of_dataset(str(butterflies), "train", "image", row, streaming=streaming)
        assert path.read_bytes() == encoded(row)
        assert cache in path.parents
        np.testing.assert_array_equal(np.round(read_image(path) * 255).astype(np.uint8), pixels(row))
    with refused(ConfigError, "data.index", got=ROWS, names=(str(butterflies), "split train")):
        image_of_dataset(str(butterflies), "train", "image", ROWS, streaming=streaming)
    monkeypatch.setattr("dip_stages.images.sources._fetched", None)
    assert image_of_dataset(str(butterflies), "train", "image", 0, streaming=streaming).read_bytes() == encoded(0)


def test_a_column_or_split_that_is_not_there_is_named_with_those_that_are(butterflies: Path) -> None:
    with refused(ConfigError, "data.column", got="name", names=("has image",)) as caught:
        image_of_dataset(str(butterflies), "train", "name", 0)
    assert str(caught.value).endswith("has image")
    with refused(ImageError, "data.dataset", got=str(butterflies), problem="Available splits: ['train']") as failed:
        image_of_dataset(str(butterflies), "test", "image", 0)
    assert "data.split=test" in failed.value.problem


def test_a_copy_that_has_changed_is_read_again(butterflies: Path) -> None:
    before = image_of_dataset(str(butterflies), "train", "image", 1)
    os.utime(butterflies / "data" / "train-00000-of-00001.parquet", (1, 1))
    assert image_of_dataset(str(butterflies), "train", "image", 1) != before


def fetched(endpoint: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Fetch in a process of its own: `datasets` reads the endpoint when it is imported."""
    code = f"from dip_stages.images.sources import *; print(image_of_dataset('{NAME}', 'train', 'image', 2))"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_ENDPOINT": endpoint, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_hub_is_asked_once(butterflies: Path, tmp_path: Path) -> None:
    with a_hub(NAME, butterflies) as (endpoint, asked):
        first = fetched(endpoint)
        assert first.returncode == 0, first.stderr
        path = tmp_path / first.stdout.strip()
        assert path.read_bytes() == encoded(2)
        assert any(f"/datasets/{NAME}/resolve/" in request and request.endswith(".parquet") for request in asked)
        asked.clear()
        again = fetched(endpoint)
        assert again.stdout == first.stdout
        assert not asked


def test_without_the_hub_the_ways_out_are_named() -> None:
    offline = fetched("http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert offline.returncode != 0
    message = offline.stderr.splitlines()[-1]
    assert f"data.dataset: got '{NAME}' with data.split=train" in message
    for way in ("HF_HOME", "data.streaming=false", "data.dataset=FOLDER", "data=folder"):
        assert way in message
    assert not cache_folder().exists()


def test_the_course_image_is_told_from_others(butterflies: Path) -> None:
    course = {**COURSE_IMAGE}
    assert is_course_image(SimpleNamespace(**course))
    assert is_course_image(SimpleNamespace(**course | {"dataset": str(butterflies)}))
    for other in ({"index": 1}, {"dataset": "someone/else"}, {"split": "test"}, {"column": "mask"}):
        assert not is_course_image(SimpleNamespace(**course | other))
    assert not is_course_image(SimpleNamespace(name="rocket"))


def test_the_course_image_is_fetched_by_a_command_of_its_own(butterflies: Path) -> None:
    def command(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dip_stages.images.sources"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    offline = command(HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stdout) == (2, "")
    assert "HF_HOME" in offline.stderr.splitlines()[-1]
    with a_hub(NAME, butterflies) as (endpoint, _):
        found = command(HF_ENDPOINT=endpoint)
    assert found.returncode == 0, found.stderr
    assert Path(found.stdout.strip()).read_bytes() == encoded(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    (root / "b").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for seed, name in enumerate(("c.png", "a.JPG", "b/a.png", ".hidden/x.png", ".y.png", "b/z.tiff")):
        Image.fromarray(pixels(seed)).save(root / name)
    (root / "notes.txt").write_text("no image")
    return root


def test_images_of_a_folder_are_counted_by_their_paths(folder: Path) -> None:
    found = [image_in_folder(str(folder), index).relative_to(folder).as_posix() for index in range(4)]
    assert found == ["a.JPG", "b/a.png", "b/z.tiff", "c.png"]
    with refused(ConfigError, "data.index", got=4, names=("0 to 3", str(folder))):
        image_in_folder(str(folder), 4)


def test_a_folder_without_images_or_that_is_none_is_refused(tmp_path: Path) -> None:
    with refused(ConfigError, "data.path", got=str(tmp_path)):
        image_in_folder(str(tmp_path), 0)
    with refused(ImageError, tmp_path / "missing"):
        image_in_folder(str(tmp_path / "missing"), 0)


@pytest.mark.slow
def test_a_sweep_over_a_folder_has_an_observation_a_image(run: CommandLine, folder: Path) -> None:
    few = ("preset=smoke", "trainer.iterations=2", "method=baseline", "logger=none")
    done = run("-m", "sweep=custom", *few, "data=folder", f"data.path={folder}", "data.index=0,1,3")
    assert done.returncode == 0, done.stderr
    assert "3 done of 3 cells, on a, c" in done.stdout
    (folder / "a.JPG").write_bytes(b"broken")
    broken = run("-m", "sweep=custom", *few, "data=folder", f"data.path={folder}", "data.index=0,1")
    assert broken.returncode == 2
    assert "a.JPG: not an image" in broken.stderr
    assert "Traceback" not in broken.stderr


@pytest.mark.slow
def test_the_butterflies_run_and_are_the_course_image(run: CommandLine, butterflies: Path, tmp_path: Path) -> None:
    few = ("preset=smoke", "trainer.iterations=2", "logger=none", "data=butterflies", f"data.dataset={butterflies}")
    done = run("-m", "sweep=report_table", *few, "arch.width=4", "beta_max=0.01", "loss=mse", "scheduler=linear")
    assert done.returncode == 0, done.stderr
    assert f"on {butterflies.name}-0" in done.stdout
    assert "PSNR diff." in done.stdout
    missing = run(*few, "data.index=99")
    assert missing.returncode == 2
    assert "data.index: got 99" in missing.stderr
    assert not (tmp_path / "outputs" / "single").exists()
