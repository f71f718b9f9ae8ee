"""Where images come from that are not named by their file: a folder, or a data set of the Hugging Face hub.

Whatever it is, what comes of it is a file: from there on nothing needs to know. ``python -m dip_stages.images.sources``
fetches the course report's image, and exits with 2 where it cannot be had. Torch-free; ``datasets``, which takes
seconds to import, is imported for an image that has not been fetched before, and only then.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from dip_stages.errors import ConfigError, DipStagesError, ImageError
from dip_stages.store.files import replacing

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
"""The course report's image."""


def cache_folder() -> Path:
    """Return where fetched images are kept: ``dip_stages`` under ``XDG_CACHE_HOME``, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dip_stages"


def image_in_folder(folder: str, index: int) -> Path:
    """Return an image of a folder and the folders in it, counted from 0 in the order of their paths.

    What counts is every file whose ending is that of a format that Pillow reads; hidden ones do not.

    Raises:
        ConfigError: If the folder holds no image, or not so many.
        ImageError: If it cannot be read.
    """
    images = images_in_folder(folder)
    if index >= len(images):
        raise ConfigError(setting="data.index", got=index, allowed=f"0 to {len(images) - 1}, of the images in {folder}")
    return images[index]


def images_in_folder(folder: str) -> list[Path]:
    """Return the images of a folder, counted as :func:`image_in_folder` does.

    Raises:
        ConfigError: If it holds none.
        ImageError: If it cannot be read.
    """
    return list(_images_in(Path(folder).expanduser()))


@functools.cache
def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ImageError("no such folder", setting=folder, allowed="a folder of images")
    endings = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN}
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in endings and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise ConfigError(", with no image in it", setting="data.path", got=str(folder), allowed="a folder of images")
    return found


def image_of_dataset(dataset: str, split: str, column: str, index: int, *, streaming: bool = True) -> Path:
    """Return an image of a data set, fetched once and kept, byte for byte as it is there.

    Args:
        dataset: A name on the hub, or a folder with a copy.
        split: Such as ``train``.
        column: The column of images.
        index: The row, from 0.
        streaming: Whether only what is needed is fetched; if not, ``datasets`` keeps the whole data set in its own
            cache, ``HF_HOME``.

    Raises:
        ConfigError: If there is no such column or row.
        ImageError: If the data set cannot be had.
    """
    return images_of_dataset(dataset, split, column, range(index, index + 1), streaming=streaming)[0]


def images_of_dataset(
    dataset: str, split: str, column: str, rows: range, *, streaming: bool = True, key: str = "data"
) -> list[Path]:
    """Return images of a data set, as :func:`image_of_dataset` does; what is not there yet is fetched in one pass.

    Args:
        dataset: A name on the hub, or a folder with a copy.
        split: Such as ``train``.
        column: The column of images.
        rows: From 0.
        streaming: As for one.
        key: Where the settings are that messages speak of.

    Raises:
        ConfigError: If there is no such column, or there are not so many rows.
        ImageError: If the data set cannot be had.
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
    """Return where a data set's images are kept; of a local copy that has changed, somewhere else."""
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
        reason = str(error).splitlines()[0] if str(error) else "for no given reason"
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
        gc.collect()  # a stream that is not closed reads on in threads, which abort a process that ends meanwhile
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
    """Return the columns of images, and the encoded images of those rows that there are; none of no column."""
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
    """Whether an image of a data set is the course report's: of the hub, or of a folder that is said to be a copy."""
    if any(getattr(data, key, None) != COURSE_IMAGE[key] for key in ("split", "column", "index")):
        return False
    dataset = str(getattr(data, "dataset", ""))
    return dataset == COURSE_IMAGE["dataset"] or Path(dataset).expanduser().is_dir()


def main() -> None:
    """Fetch the course report's image, if it is not there yet, and say where it is."""
    try:
        sys.stdout.write(f"{image_of_dataset(**COURSE_IMAGE)}\n")
    except DipStagesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
