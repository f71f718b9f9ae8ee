from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dip_stages.errors import ConfigError, ImageError
from dip_stages.images import sources
from dip_stages.images.column import Column
from dip_stages.images.hub import fetch
from dip_stages.images.reading import read_image
from dip_stages.images.sources import (
    COURSE_IMAGE,
    cache_folder,
    image_of_dataset,
    images_of_dataset,
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
    monkeypatch.setattr("dip_stages.images.sources.fetch", None)
    assert image_of_dataset(str(butterflies), "train", "image", 0, streaming=streaming).read_bytes() == encoded(0)


def test_rows_are_fetched_in_one_pass_and_only_those_that_are_missing(
    butterflies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = Column(str(butterflies), "train", "image")
    images_of_dataset(column, range(1, 2))
    asked = []

    def noted(column: Column, rows: list[int]) -> list[bytes]:
        asked.append(rows)
        return fetch(column, rows)

    monkeypatch.setattr(sources, "fetch", noted)
    found = images_of_dataset(column, range(3))
    assert [path.read_bytes() for path in found] == [encoded(row) for row in range(3)]
    assert asked == [[0, 2]]


def test_no_two_images_are_kept_under_one_name() -> None:
    parts = ("a", "b", "a-b", "a/b", "a%2Fb", "A/../b", "train[1:3]", "é" * 100, "é" * 101, ".", "")
    columns = [Column("x/y", split, name, config) for config in (None, *parts) for split in parts for name in parts]
    names = [sources._file_name(column, row) for column in columns for row in (0, 10)]
    assert len(set(names)) == len(names)
    assert all(len(name) < 250 and "/" not in name for name in names)
    plain = sources._file_name(Column("x/y", "train", "image"), 7)
    assert plain == "train-image-7", "as before there were configurations"


def test_a_cache_that_cannot_be_written_to_is_an_error(butterflies: Path, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(ImageError, match="cannot be kept: Not a directory; allowed: XDG_CACHE_HOME"):
        image_of_dataset(str(butterflies), "train", "image", 0)


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
    with a_hub({NAME: butterflies}) as (endpoint, asked):
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
    others = ({"index": 1}, {"dataset": "someone/else"}, {"split": "test"}, {"column": "mask"}, {"config": "x"})
    for other in (*others, {"dataset": str(butterflies.parent)}):
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
    with a_hub({NAME: butterflies}) as (endpoint, _):
        found = command(HF_ENDPOINT=endpoint)
    assert found.returncode == 0, found.stderr
    assert Path(found.stdout.strip()).read_bytes() == encoded(0)


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
