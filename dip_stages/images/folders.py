"""Finds the images of a folder. Torch-free."""

from __future__ import annotations

import functools
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from dip_stages.errors import ConfigError, ImageError
from dip_stages.images.opening import endings
from dip_stages.images.signatures import HEAD, is_image
from dip_stages.names import printable
from dip_stages.store.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["image_in_folder", "images_in_folder", "notes"]

_NAMED = 5
"""Files that a message names."""


def image_in_folder(folder: str, index: int) -> Path:
    """Return an image of a folder and the folders in it, which are counted from 0 in the order of their paths.

    A file counts if its ending and its first bytes are of formats that are read, and it is not hidden, nor in a hidden
    folder. A broken image counts, as does a file with such an ending that is empty or cannot be read: using it is an
    error, while leaving it out would shift the index of all that follow.

    Raises:
        ConfigError: If the folder has no image, or fewer.
        ImageError: If there is no such folder.
    """
    images = images_in_folder(folder)
    if index >= len(images):
        raise ConfigError(
            _except(_listed(Path(folder).expanduser())[1]),
            setting="data.index",
            got=index,
            allowed=f"0 to {len(images) - 1}, of the images in {folder}",
        )
    return images[index]


def images_in_folder(folder: str) -> list[Path]:
    """Return the images of a folder, in the order of :func:`image_in_folder`.

    Raises:
        ConfigError: If it has none.
        ImageError: If there is no such folder.
    """
    images, others = _listed(Path(folder).expanduser())
    if not images:
        raise ConfigError(
            f", with no image in it{_except(others)}", setting="data.path", got=folder, allowed="a folder of images"
        )
    return list(images)


def notes(folders: Iterable[str]) -> list[str]:
    """Return a sentence for each folder that has files with an image's ending that do not count."""
    found = {folder: _listed(Path(folder).expanduser()) for folder in folders}
    return [
        f"{printable(folder)}: {plural(len(images), 'image')}{_except(others)}"
        for folder, (images, others) in found.items()
        if others
    ]


@functools.cache
def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the images of a folder, and the files with an image's ending that are none that is read."""
    if not folder.is_dir():
        problem = "a file, no folder" if folder.exists() else "no such folder"
        allowed = "a folder of images" + f", or data=file data.path={folder}" * folder.exists()
        raise ImageError(problem, setting=folder, allowed=allowed)
    read = endings()
    all_endings = read | Image.registered_extensions().keys()
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in all_endings
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.is_dir()
    ]
    images = [path for path in files if path.suffix.lower() in read and _counts(path)]
    others = sorted(set(files) - set(images))
    return images, others


def _counts(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return True
    return not head or is_image(head)


def _except(others: list[Path]) -> str:
    if not others:
        return ""
    names = [printable(path.name) for path in others[:_NAMED]] + ["…"] * (len(others) > _NAMED)
    return f", without {plural(len(others), 'file')} that cannot be read as images: {', '.join(names)}"
