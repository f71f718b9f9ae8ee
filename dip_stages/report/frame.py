"""The cells of a sweep in one tidy frame, a row a cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dip_stages.cells.identity import AXES, QUALIFIERS
from dip_stages.names import printable
from dip_stages.report.escaping import to_csv
from dip_stages.report.labels import labelled
from dip_stages.report.rows import METRICS, found_in
from dip_stages.store.files import make_folder, replacing, write_text
from dip_stages.store.statuses import CellStatus

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

__all__ = [
    "are_competitors",
    "are_done",
    "cell_keys",
    "counted",
    "differs",
    "done_of",
    "groups_of",
    "load",
    "settings_in",
    "to_frame",
    "write_cells",
    "write_frame",
]


def load(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Load a sweep.

    Args:
        folder: A sweep's folder, ``outputs/<sweep>``.

    Returns:
        A row a cell, in the planned order, then the cells that are there and were not planned. Texts are printable
        (:func:`dip_stages.names.printable`). Columns: ``id``, ``folder``, ``planned``, ``status`` (``done``,
        ``failed``, ``missing``, ``unreadable`` or ``outdated``), the axes and the fields that qualify them,
        ``sees_clean``, ``course_image`` (whether it is the course report's), the numbers of
        :data:`~dip_stages.report.rows.METRICS`, ``iterations``, ``seconds``, ``seconds_per_iteration``, ``error``,
        ``damaged`` (files that are missing or altered), and any further setting that differs between cells, by its key.
        A column has the same type in every sweep: texts ``str``, counts ``Int64``, other numbers ``float64``, and
        further settings ``str`` where they are not all numbers or all truth values.

    Raises:
        RecordError: If the folder is not there or holds neither a plan nor a record.
        OutdatedError: If an older version of this package wrote it.
    """
    return to_frame(found.row for found in found_in(folder))


def settings_in(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a frame that are further settings, by their keys."""
    return [str(column) for column in frame if "." in str(column)]


def cell_keys(frame: pd.DataFrame) -> list[str]:
    """Return the columns in which cells differ: axes, qualifiers, and further settings."""
    return [*(column for column in (*AXES, *QUALIFIERS) if column in frame), *settings_in(frame)]


def are_competitors(frame: pd.DataFrame) -> pd.Series:
    """Return which cells are of methods that DIP is compared with."""
    return frame.kind.notna() & (frame.kind != "fit")


def groups_of(frame: pd.DataFrame) -> pd.Series:
    """Return what cells are compared within: their protocol, ``none`` without stages, or ``competitors``."""
    return frame.protocol.fillna("none").mask(are_competitors(frame), "competitors")


def are_done(frame: pd.DataFrame) -> pd.Series:
    """Return which cells are planned and done."""
    return frame.planned & (frame.status == CellStatus.DONE)


def done_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the planned cells that are done."""
    return frame[are_done(frame)]


def counted(statuses: pd.Series) -> str:
    """Return how many cells have each status, the most frequent first: ``7 done, 1 failed``."""
    return ", ".join(f"{count} {status}" for status, count in statuses.value_counts().items())


def differs(frame: pd.DataFrame, axis: str) -> bool:
    """Whether an axis differs within a method: the baseline's lack of it is no difference."""
    return bool((frame.groupby("method")[axis].nunique() > 1).any())


def write_cells(root: str | os.PathLike[str]) -> str:
    """Write a sweep's cells as ``<sweep>/report/cells.csv`` and ``.parquet``, and return the message about it.

    Raises:
        RecordError: As :func:`load`.
    """
    frame = load(root)
    folder = Path(root) / "report"
    make_folder(folder)
    write_frame(frame, folder)
    return f"{len(frame)} cells written to {printable(folder)}: cells.csv, cells.parquet\n"


def write_frame(frame: pd.DataFrame, folder: Path) -> None:
    """Write the frame of :func:`load` as CSV and parquet, each whole or not at all."""
    write_text(folder / "cells.csv", to_csv(frame))
    with replacing(folder / "cells.parquet") as temporary:
        temporary.write_bytes(frame.to_parquet(index=False))  # pyarrow takes no path that is not UTF-8


def to_frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return the frame of :func:`load` from the rows of its cells."""
    rows = list(rows)
    settings = pd.DataFrame([row.pop("settings") for row in rows])
    frame = pd.DataFrame(rows)
    frame = frame.astype({column: _DTYPES.get(str(column), "str") for column in frame})
    kinds = labelled(frame)[_KIND].fillna("")
    varying = [key for key in settings if _varies(settings[key], kinds)]
    return frame.join(settings[varying].apply(_one_type))


_DTYPES: dict[str, str] = (
    dict.fromkeys(("planned", "sees_clean", "course_image"), "bool")
    | dict.fromkeys(("members", "seed", "noise_seed", "iterations"), "Int64")
    | dict.fromkeys((*METRICS, "beta_max", "seconds", "seconds_per_iteration"), "float64")
)
"""Of the columns of :func:`load` that are no texts."""


def _one_type(column: pd.Series) -> pd.Series:
    known = column.dropna()
    if len(known) and all(type(value) in (int, float) for value in known):
        return column.astype("float64")
    if len(known) == len(column) and all(type(value) is bool for value in known):
        return column.astype("bool")
    return column.map(str, na_action="ignore").astype("str")


_SHOWN_AS_AXES = {
    "method.name", "method.input", "arch.name", "protocol.name", "scheduler.name", "budget.name", "loss.name",
    "loss.features", "loss.reference", "noise.beta_max", "noise.name", "data.image", "seed", "noise_seed",
    "average.name", "stopping.name", "stopping.sigma", "method.sigma", "ensemble.members",
}  # fmt: skip


_KIND = ["method", "arch", "loss"]


def _varies(column: pd.Series, kinds: pd.DataFrame) -> bool:
    """Whether a setting differs between cells that have it, beyond what method, network and loss explain."""
    if column.name in _SHOWN_AS_AXES:
        return False
    if str(column.name).startswith("monitors."):  # they change no number of the cell
        return False
    known = column[column.notna()].map(repr)
    if known.nunique() < 2:
        return False
    return bool((known.groupby([kinds[axis][known.index] for axis in _KIND]).nunique() > 1).any())
