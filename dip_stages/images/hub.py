"""Reads rows of a data set through ``datasets``: of the Hugging Face hub, or of a folder. Torch-free.

Rows are taken undecoded, so that an image stays byte for byte what it is. ``datasets`` takes seconds to import, so only
a fetch imports it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from dip_stages.errors import DipStagesError
from dip_stages.images.opening import FORMAT_NAMES, endings
from dip_stages.images.signatures import is_image
from dip_stages.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from dip_stages.errors import ConfigError
    from dip_stages.images.column import Column

__all__ = ["fetch"]


def fetch(column: Column, rows: Sequence[int]) -> list[bytes]:
    """Return the images of rows, as files: byte for byte where there are such, else as PNG or TIFF without loss.

    Args:
        column: Where they are.
        rows: From 0, ascending.

    Raises:
        ConfigError: If there is no such configuration, split, column or row.
        ImageError: If the data set cannot be had, or a row has no image that is read.
    """
    try:
        found = _found(column, rows)
    except DipStagesError:
        raise
    except Exception as error:  # of the network, the hub, the file system, or a file's format
        raise column.unavailable(_reason(error)) from error
    finally:
        gc.collect()  # a stream that is not closed reads in threads, which abort the process if it ends meanwhile
    if len(found) < len(rows):
        raise column.refusal(
            "index" if column.section == "data" else "rows",
            got=rows[-1],
            allowed=f"a row of {column.dataset}, split {column.split}, which has fewer",
        )
    return found


def _found(column: Column, rows: Sequence[int]) -> list[bytes]:
    """Return the images of those rows that there are."""
    table = _split(column, _tables(column))
    if table.features and column.name not in table.features:
        raise _wrong_column(column, table)
    narrow = table.select_columns([column.name]) if table.features else table
    with closing(_picked(narrow, rows)) as picked:
        return [_image(column, table, row, values) for row, values in zip(rows, picked, strict=False)]


def _reason(error: Exception) -> Exception:
    import datasets

    generic = isinstance(error, datasets.exceptions.DatasetGenerationError)
    return error.__cause__ if generic and isinstance(error.__cause__, Exception) else error


def _tables(column: Column) -> dict[str, Any]:
    """Return the splits of the data set, by name."""
    import datasets

    if column.folder and _is_saved(column.folder):
        if column.config is not None:
            raise column.refusal("config", got=column.config, allowed="null: save_to_disk wrote this folder")
        saved = datasets.load_from_disk(str(column.folder))
        return saved if isinstance(saved, dict) else {str(saved.split or column.split.partition("[")[0]): saved}
    path = str(column.folder or column.dataset)
    try:
        tables: dict[str, Any] = datasets.load_dataset(path, column.config, streaming=column.streaming)
    except ValueError:
        _check_config(column, path)
        raise
    return tables


def _is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote a folder."""
    return any((folder / name).exists() for name in ("state.json", "dataset_dict.json"))


def _check_config(column: Column, path: str) -> None:
    """Refuse a configuration that the data set does not have, or that must be given."""
    import datasets

    names: list[str] = []
    with contextlib.suppress(Exception):  # then the data set's own error is raised
        names = datasets.get_dataset_config_names(path)
        if column.config is None and datasets.get_dataset_default_config_name(path):
            return
    if not names or column.config in names:
        return
    allowed = f"a configuration of {column.dataset}: {', '.join(names)}"
    if column.config is None:
        raise column.refusal("config", "must be given", allowed=allowed)
    raise column.refusal("config", got=column.config, allowed=allowed)


def _split(column: Column, tables: dict[str, Any]) -> Any:
    """Return the table of the split, a slice or a sum of them."""
    import datasets

    names, problem = column.split.split("+"), ""
    if all(name in tables for name in names):
        parts = [_undecoded(tables[name]) for name in names]
        return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
    if "[" in column.split and all(isinstance(table, datasets.Dataset) for table in tables.values()):
        lengths = {name: len(table) for name, table in tables.items()}
        try:
            slices = datasets.ReadInstruction.from_spec(column.split).to_absolute(lengths)
            return datasets.concatenate_datasets(
                [_undecoded(tables[part.splitname].select(range(part.from_, part.to))) for part in slices]
            )
        except (ValueError, IndexError) as error:
            problem = f", of which datasets says: {first_line(error)}"
    elif "[" in column.split:
        raise column.refusal(
            "split",
            f" with {column.section}.streaming=true",
            got=column.split,
            allowed=f"{column.section}.streaming=false, which takes slices; or one of {', '.join(tables)}",
        )
    allowed = f"a split of {column.dataset}: {', '.join(tables)}"
    raise column.refusal("split", problem, got=column.split, allowed=allowed)


def _undecoded(table: Any) -> Any:
    """Return a table whose rows have files in place of decoded images, sounds and the like."""
    import datasets

    if isinstance(table, datasets.IterableDataset):  # of the hub, it may decode ahead, in threads
        return table.decode(False) if table.features else table
    for name, feature in table.features.items():
        if getattr(feature, "decode", False):
            table = table.cast_column(name, dataclasses.replace(feature, decode=False))
    return table


def _picked(table: Any, rows: Sequence[int]) -> Generator[dict[str, Any], None, None]:
    """Yield rows as far as there are such."""
    import datasets

    if isinstance(table, datasets.Dataset):
        yield from (table[row] for row in rows if row < len(table))
        return
    wanted = set(rows)
    with closing(iter(table.skip(rows[0]))) as stream:
        numbered = zip(range(rows[0], rows[-1] + 1), stream, strict=False)
        yield from (values for row, values in numbered if row in wanted)


def _image(column: Column, table: Any, row: int, values: dict[str, Any]) -> bytes:
    """Return the image of a row, as the content of a file."""
    value = values.get(column.name)
    if isinstance(value, dict) and value.keys() <= {"bytes", "path"}:
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, Image.Image):
        return _encoded(value)
    if isinstance(value, str) and _is_address(value):
        value = _read(column, row, value)
    if isinstance(value, bytes):
        if is_image(value):
            return value
        problem = f", whose row {row} has in the column {column.name} no image of a format that is read"
        raise column.bad_row(problem, f"{FORMAT_NAMES}, so {column.another}")
    if value is None and column.name in values:
        raise column.bad_row(f", whose row {row} has no image in the column {column.name}", column.another)
    raise _wrong_column(column, table, f", which holds {_kind(value)}" if column.name in values else "")


def _wrong_column(column: Column, table: Any, problem: str = "") -> ConfigError:
    there = ", ".join(_columns_of_images(table)) or "none"
    allowed = f"a column of images, of which {column.dataset} has {there}"
    return column.refusal("column", problem, got=column.name, allowed=allowed)


def _is_address(text: str) -> bool:
    """Whether a text is a URL, or by its looks the path of an image."""
    return "://" in text or Path(text).is_absolute() or _names_image(text)


def _names_image(text: str) -> bool:
    return Path(text.partition("?")[0]).suffix.lower() in endings()


def _kind(value: object) -> str:
    """Return what a column holds that holds no images, for people."""
    if isinstance(value, dict):
        return f"parts: {', '.join(value)}"
    kinds = {str: "texts", list: "lists", int: "numbers", float: "numbers"}
    return kinds.get(type(value), f"{type(value).__name__} objects")


def _columns_of_images(table: Any) -> list[str]:
    """Return the names of columns that hold images, by their type or their first row."""
    import datasets

    features = table.features or {}
    with closing(_picked(table, [0])) as rows:
        first = next(rows, {})
    return [
        name
        for name, value in {**features, **first}.items()
        if isinstance(features.get(name), datasets.Image)
        or (isinstance(value, bytes) and is_image(value))
        or (isinstance(value, str) and _names_image(value))
        or (isinstance(value, dict) and value.keys() == {"bytes", "path"})
        or isinstance(value, Image.Image)
    ]


def _read(column: Column, row: int, address: str) -> bytes:
    """Return the content of a URL, a part of an archive, or a path; a relative one is in the data set."""
    from datasets.utils.file_utils import xopen

    if "://" not in address and not Path(address).is_absolute():
        address = f"{column.folder or f'hf://datasets/{column.dataset}'}/{address}"
    try:
        with xopen(address, "rb") as file:
            content: bytes = file.read()
    except Exception as error:  # of the network, an archive, or the file system
        reason = first_line(error, default="for no given reason")
        problem = f", whose row {row} names in the column {column.name} what cannot be read: {address}"
        allowed = f"a machine that reaches it, or {column.another}" if "://" in address else column.another
        raise column.bad_row(f"{problem}: {type(error).__name__}: {reason}", allowed) from error
    return content


def _encoded(image: Image.Image) -> bytes:
    """Return decoded pixels as a file, without loss and at full depth."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "TIFF")
    return buffer.getvalue()
