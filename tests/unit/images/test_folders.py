from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from dip_stages.errors import ConfigError, ImageError
from dip_stages.images.folders import image_in_folder, images_in_folder, notes
from dip_stages.images.reading import read_image, sha256
from tests.hub import pixels
from tests.raising import refused

if TYPE_CHECKING:
    from tests.conftest import CommandLine

MPEG = b"\0\0\1\xba" + bytes(40)


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


def test_only_images_that_are_read_count_and_the_others_are_named_once(folder: Path) -> None:
    for name in ("a.mpg", "b.fits", "c.bufr", "d.gif"):
        (folder / name).write_bytes(MPEG)
    (folder / "notes.png").write_text("no image")
    Image.fromarray(pixels(0)).save(folder / "e.jp2")
    (folder / "f.png").mkdir()
    assert [path.name for path in images_in_folder(str(folder))] == ["a.JPG", "a.png", "z.tiff", "c.png"]
    (note,) = notes([str(folder), str(folder)])
    files = "a.mpg, b.fits, c.bufr, d.gif, e.jp2, …"
    assert note == f"{folder}: 4 images, without 6 files that cannot be read as images: {files}"
    with refused(ConfigError, "data.index", got=4, names=("0 to 3",), problem="without 6 files"):
        image_in_folder(str(folder), 4)


def test_a_folder_of_other_files_alone_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.mpg").write_bytes(MPEG)
    with refused(
        ConfigError, "data.path", got=str(tmp_path), problem="without 1 file that cannot be read as images: a"
    ):
        image_in_folder(str(tmp_path), 0)


def test_an_image_that_is_broken_keeps_its_number_and_is_an_error(folder: Path) -> None:
    (folder / "a.JPG").write_bytes((folder / "a.JPG").read_bytes()[:100])
    (folder / "b" / "a.png").write_bytes(b"")
    (folder / "b" / "z.tiff").unlink()
    (folder / "b" / "z.tiff").symlink_to("gone.tiff")
    found = images_in_folder(str(folder))
    assert [path.name for path in found] == ["a.JPG", "a.png", "z.tiff", "c.png"]
    for path in found[:2]:
        with pytest.raises(ImageError):
            read_image(path)
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        sha256(found[2])


def test_an_image_that_may_not_be_read_keeps_its_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_ = Path.open

    def refuse(path: Path, *arguments: Any, **keywords: Any) -> Any:  # root may read everything
        if path.name == "a.JPG":
            raise PermissionError(13, "Permission denied", str(path))
        return open_(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", refuse)
    assert image_in_folder(str(folder), 0).name == "a.JPG"


def test_a_pipe_is_no_image(folder: Path) -> None:
    os.mkfifo(folder / "0.png")
    assert image_in_folder(str(folder), 0).name == "a.JPG"


@pytest.mark.slow
def test_a_sweep_over_a_folder_has_an_observation_a_image(run: CommandLine, folder: Path) -> None:
    few = ("preset=smoke", "trainer.iterations=2", "method=baseline", "logger=none")
    (folder / "0.png").write_bytes(MPEG)
    done = run("-m", "sweep=custom", *few, "data=folder", f"data.path={folder}", "data.index=0,1,3")
    assert done.returncode == 0, done.stderr
    assert "3 done of 3 cells, on a, c" in done.stdout
    assert done.stderr.count("without 1 file that cannot be read as images: 0.png\n") == 1
    (folder / "a.JPG").write_bytes(b"\xff\xd8\xff broken")
    broken = run("-m", "sweep=custom", *few, "data=folder", f"data.path={folder}", "data.index=0,1")
    assert broken.returncode == 2
    assert "a.JPG: " in broken.stderr
    assert "Traceback" not in broken.stderr
