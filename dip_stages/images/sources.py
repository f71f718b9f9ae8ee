"""Keeps images of data sets as files, each fetched once.

``python -m dip_stages.images.sources`` fetches the image of the course report, and exits with 2 if it cannot.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports, so that Ctrl-C during them is one line
    import sys

    from dip_stages.console import run

    sys.exit(run("dip_stages.images.sources"))

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dip_stages.errors import DipStagesError, ImageError
from dip_stages.images.column import Column
from dip_stages.images.hub import fetch
from dip_stages.names import printable
from dip_stages.store.files import replacing
from dip_stages.store.text import os_reason

__all__ = [
    "COURSE_IMAGE",
    "cache_folder",
    "image_of_dataset",
    "images_of_dataset",
    "is_course_image",
]


COURSE_IMAGE: dict[str, Any] = {
    "dataset": "huggan/smithsonian_butterflies_subset",
    "config": None,
    "split": "train",
    "column": "image",
    "index": 0,
}
"""The image of the course report, as arguments of :func:`image_of_dataset`."""

_LONGEST = 200
"""Bytes of a file's name; file systems allow 255."""


def cache_folder() -> Path:
    """Return the folder of fetched images: ``dip_stages`` under ``XDG_CACHE_HOME``, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dip_stages"


def image_of_dataset(
    dataset: str, split: str, column: str, index: int, *, config: str | None = None, streaming: bool = True
) -> Path:
    """Return the file of an image of a data set, fetched once and kept: see :func:`images_of_dataset`.

    Args:
        dataset: As in :class:`~dip_stages.images.column.Column`, as are those that follow.
        split: Such as ``train``.
        column: The column of images.
        index: The row, from 0.
        config: The configuration.
        streaming: Whether to fetch only the images needed.

    Raises:
        ConfigError: If there is no such configuration, split, column or row.
        ImageError: If the data set cannot be had, the row has no image, or the image cannot be kept.
    """
    return images_of_dataset(Column(dataset, split, column, config, streaming), range(index, index + 1))[0]


def images_of_dataset(column: Column, rows: range) -> list[Path]:
    """Return the files of images of a data set; missing ones are fetched in one pass.

    Args:
        column: Where they are.
        rows: From 0.

    Raises:
        ConfigError: If there is no such configuration, split or column, or there are fewer rows.
        ImageError: If the data set cannot be had, a row has no image, or an image cannot be kept.
    """
    folder = cache_folder() / _directory(column)
    kept = {row: folder / _file_name(column, row) for row in rows}
    missing = [row for row, path in kept.items() if not path.exists()]
    if missing:
        contents = fetch(column, missing)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for row, content in zip(missing, contents, strict=True):
                with replacing(kept[row]) as temporary:
                    temporary.write_bytes(content)
        except OSError as error:
            problem = f"fetched images cannot be kept: {os_reason(error)}"
            raise ImageError(problem, setting=folder, allowed="XDG_CACHE_HOME=FOLDER, with room") from error
    return list(kept.values())


def _directory(column: Column) -> str:
    """Return the folder name of a data set's images; a local copy gets another name when it changes."""
    name = re.sub(r"[^\w.-]+", "--", column.dataset).strip("-.")
    local = column.folder
    if local is None:
        return name
    files = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(local.rglob("*"))]
    return f"{name[-60:]}-{hashlib.sha256(repr((str(local.resolve()), files)).encode()).hexdigest()[:16]}"


def _file_name(column: Column, row: int) -> str:
    """Return a name that no other image of the data set has: the parts are separated by -, and none has one in it."""
    parts = [*([] if column.config is None else [column.config]), column.split, column.name]
    name = "-".join(quote(part, safe="").replace("-", "%2D") for part in parts)
    if len(name) > _LONGEST:
        name = hashlib.sha256(name.encode()).hexdigest()
    return f"{name}-{row}"


def is_course_image(data: object) -> bool:
    """Return whether a data setting names the image of the course report: on the hub, or in a copy under that name."""
    if any(getattr(data, key, None) != COURSE_IMAGE[key] for key in ("config", "split", "column", "index")):
        return False
    dataset, course = str(getattr(data, "dataset", "")), COURSE_IMAGE["dataset"]
    return dataset == course or (Path(course).name in dataset and Path(dataset).expanduser().is_dir())


def main() -> None:
    """Fetch the image of the course report, if it is not there yet, and print its path."""
    try:
        sys.stdout.write(f"{printable(image_of_dataset(**COURSE_IMAGE))}\n")
    except DipStagesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
