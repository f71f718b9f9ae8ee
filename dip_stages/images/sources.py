"""Finds images that are not named by their file: in a folder, or in a data set of the Hugging Face hub.

The result is always the path of a file. ``python -m dip_stages.images.sources`` fetches the image of the course
report, and exits with 2 if it cannot. Torch-free. ``datasets`` takes seconds to import, so only a fetch imports it.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports, so that Ctrl-C during them is one line
    import sys

    from dip_stages.console import run

    sys.exit(run("dip_stages.images.sources"))

import functools
import gc
import hashlib
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any

from dip_stages.errors import ConfigError, DipStagesError, ImageError
from dip_stages.images.opening import endings
from dip_stages.names import printable
from dip_stages.store.files import replacing
from dip_stages.store.text import first_line

__all__ = [
    "COURSE_IMAGE",
    "cache_folder",
    "image_in_folder",
    "image_of_dataset",
    "images_in_folder",
    "is_course_image",
]


COURSE_IMAGE: dict[str, Any] = {
    "dataset": "huggan/smithsonian_butterflies_subset",
    "split": "train",
    "column": "image",
    "index": 0,
}
"""The image of the course report, as arguments of :func:`image_of_dataset`."""


def cache_folder() -> Path:
    """Return the folder of fetched images: ``dip_stages`` under ``XDG_CACHE_HOME``, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dip_stages"


def image_in_folder(folder: str, index: int) -> Path:
    """Return an image of a folder and the folders in it, which are counted from 0 in the order of their paths.

    Every file counts whose ending is of a format that is read, except hidden files and those in hidden folders.

    Raises:
        ConfigError: If the folder has no image, or fewer.
        ImageError: If it cannot be read.
    """
    images = images_in_folder(folder)
    if index >= len(images):
        raise ConfigError(setting="data.index", got=index, allowed=f"0 to {len(images) - 1}, of the images in {folder}")
    return images[index]


def images_in_folder(folder: str) -> list[Path]:
    """Return the images of a folder, in the order of :func:`image_in_folder`.

    Raises:
        ConfigError: If it has none.
        ImageError: If it cannot be read.
    """
    return list(_images_in(Path(folder).expanduser()))


@functools.cache
def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ImageError("no such folder", setting=folder, allowed="a folder of images")
    images = endings()
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in images and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise ConfigError(", with no image in it", setting="data.path", got=str(folder), allowed="a folder of images")
    return found


def image_of_dataset(dataset: str, split: str, column: str, index: int, *, streaming: bool = True) -> Path:
    """Return the file of an image of a data set: the encoded image as it is there, fetched once and kept.

    Args:
        dataset: A name on the hub, or a folder with a copy.
        split: Such as ``train``.
        column: The column of images.
        index: The row, from 0.
        streaming: Whether to fetch only the images needed; if not, ``datasets`` keeps the whole data set in its own
            cache, ``HF_HOME``.

    Raises:
        ConfigError: If there is no such column or row.
        ImageError: If the data set cannot be fetched.
    """
    return images_of_dataset(dataset, split, column, range(index, index + 1), streaming=streaming)[0]


def images_of_dataset(
    dataset: str, split: str, column: str, rows: range, *, streaming: bool = True, key: str = "data"
) -> list[Path]:
    """Return images of a data set, as :func:`image_of_dataset` does; missing ones are fetched in one pass.

    Args:
        dataset: A name on the hub, or a folder with a copy.
        split: Such as ``train``.
        column: The column of images.
        rows: From 0.
        streaming: As of :func:`image_of_dataset`.
        key: Section of the settings that messages name.

    Raises:
        ConfigError: If there is no such column, or there are fewer rows.
        ImageError: If the data set cannot be fetched.
    """
    folder = cache_folder() / _directory(dataset)
    kept = {row: folder / f"{split}-{column}-{row}" for row in rows}
    missing = [row for row, path in kept.items() if not path.exists()]
    if missing:
        wanted = range(missing[0], missing[-1] + 1)
        contents = _fetched(dataset, split, column, wanted, streaming=streaming, key=key)
        folder.mkdir(parents=True, exist_ok=True)
        for row in missing:
            with replacing(kept[row]) as temporary:
                temporary.write_bytes(contents[row - wanted.start])
    return list(kept.values())


def _directory(dataset: str) -> str:
    """Return the folder name of a data set's images; a local copy gets another name when it changes."""
    name = re.sub(r"[^\w.-]+", "--", dataset).strip("-.")
    local = Path(dataset).expanduser()
    if not local.is_dir():
        return name
    files = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(local.rglob("*"))]
    return f"{name[-60:]}-{hashlib.sha256(repr((str(local.resolve()), files)).encode()).hexdigest()[:16]}"


def _fetched(dataset: str, split: str, column: str, rows: range, *, streaming: bool, key: str) -> list[bytes]:
    try:
        images, found = _rows(dataset, split, column, rows, streaming=streaming)
    except Exception as error:  # of the network, the hub, the file system, or a file's format
        reason = first_line(error, default="for no given reason")
        cached = "HF_HOME, a cache that has the data set, with data.streaming=false; " if key == "data" else ""
        folder = "data=folder data.path=FOLDER" if key == "data" else f"{key}.source=folder {key}.path=FOLDER"
        raise ImageError(
            f" with {key}.split={split}, which cannot be had: {type(error).__name__}: {reason}",
            setting=f"{key}.dataset",
            got=dataset,
            allowed=f"a machine that reaches the hub, once, since what it has fetched is kept; {cached}"
            f"{key}.dataset=FOLDER, a copy of it; {folder}, others",
        ) from error
    finally:
        gc.collect()  # a stream that is not closed reads in threads, which abort the process if it ends meanwhile
    if column not in images:
        there = ", ".join(images) or "none"
        raise ConfigError(
            setting=f"{key}.column", got=column, allowed=f"a column of images, of which {dataset} has {there}"
        )
    if len(found) < len(rows):
        raise ConfigError(
            setting=f"{key}.{'index' if key == 'data' else 'rows'}",
            got=rows[-1],
            allowed=f"a row of {dataset}, split {split}, which has fewer",
        )
    return found


def _rows(dataset: str, split: str, column: str, rows: range, *, streaming: bool) -> tuple[list[str], list[bytes]]:
    """Return the names of columns of images, and the encoded images of the rows that exist in the column."""
    import datasets

    local = Path(dataset).expanduser()
    table = datasets.load_dataset(str(local) if local.is_dir() else dataset, split=split, streaming=streaming)
    images = [name for name, feature in (table.features or {}).items() if isinstance(feature, datasets.Image)]
    if column not in images or (not streaming and rows[-1] >= len(table)):
        return images, []
    encoded = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    return images, [_content(row[column]) for row in itertools.islice(encoded.skip(rows.start), len(rows))]


def _content(cell: dict[str, Any]) -> bytes:
    if cell["bytes"] is not None:
        return bytes(cell["bytes"])
    return Path(cell["path"]).read_bytes()


def is_course_image(data: object) -> bool:
    """Return whether a data setting names the image of the course report: on the hub, or in a local copy."""
    if any(getattr(data, key, None) != COURSE_IMAGE[key] for key in ("split", "column", "index")):
        return False
    dataset = str(getattr(data, "dataset", ""))
    return dataset == COURSE_IMAGE["dataset"] or Path(dataset).expanduser().is_dir()


def main() -> None:
    """Fetch the image of the course report, if it is not there yet, and print its path."""
    try:
        sys.stdout.write(f"{printable(image_of_dataset(**COURSE_IMAGE))}\n")
    except DipStagesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
