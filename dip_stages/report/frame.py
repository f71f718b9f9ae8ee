"""Records on disk to one tidy frame, a row a cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dip_stages.cells.identity import AXES
from dip_stages.cells.settings import NEUTRAL
from dip_stages.errors import RecordError
from dip_stages.store.files import replacing, write_text
from dip_stages.store.records import PLAN, RECORD, Record, read_json, read_record

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

__all__ = [
    "FIGURES",
    "Found",
    "axes_of",
    "differs",
    "done_of",
    "found_in",
    "groups_of",
    "load",
    "settings_in",
    "to_frame",
    "write_cells",
    "write_frame",
]

FIGURES = (
    "output_psnr",
    "output_ssim",
    "average_psnr",
    "average_ssim",
    "output_peak_psnr",
    "output_peak_iteration",
    "average_peak_psnr",
    "average_peak_iteration",
    "result_psnr",
    "result_ssim",
    "result_iteration",
    "result_gap",
    "observed_psnr",
    "observed_ssim",
)
"""Columns of numbers. Those with ``peak`` or ``gap`` needed the clean image, and the result if ``sees_clean``."""


def load(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Load a sweep.

    Args:
        folder: A sweep's folder, ``outputs/<sweep>``.

    Returns:
        A row a cell, in the planned order, then the cells that are there and were not planned. Columns: ``id``,
        ``folder``, ``planned``, ``status`` (``done``, ``failed``, ``missing`` or ``unreadable``), the axes,
        ``sees_clean``, ``course_image`` (whether it is the course report's), the numbers of :data:`FIGURES`,
        ``iterations``, ``seconds``, ``seconds_per_iteration``, ``error``, and any further setting that differs between
        cells, by its key. A column has the same type in every sweep: texts ``str``, counts ``Int64``, other numbers
        ``float64``, and further settings ``str`` where they are not all numbers or all truth values.

    Raises:
        RecordError: If the folder is not there or holds neither a plan nor a record.
    """
    return to_frame(found.row for found in found_in(folder))


def settings_in(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a frame that are further settings, by their keys."""
    return [str(column) for column in frame if "." in str(column)]


def groups_of(frame: pd.DataFrame) -> pd.Series:
    """Return what cells are compared within: their protocol, ``none`` without stages, or ``competitors``."""
    competitors = frame.method.str.contains("competitor", na=False)
    return frame.protocol.fillna("none").mask(competitors, "competitors")


def done_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the planned cells that are done."""
    return frame[frame.planned & (frame.status == "done")]


def differs(frame: pd.DataFrame, axis: str) -> bool:
    """Whether an axis differs within a method: the baseline's lack of it is no difference."""
    return bool((frame.groupby("method")[axis].nunique() > 1).any())


def write_cells(root: str | os.PathLike[str]) -> str:
    """Gather a sweep's records into ``<sweep>/report/cells.csv`` and ``.parquet``, and say so.

    Raises:
        RecordError: As :func:`load`.
    """
    frame = load(root)
    folder = Path(root) / "report"
    folder.mkdir(exist_ok=True)
    write_frame(frame, folder)
    return f"{len(frame)} cells written to {folder}: cells.csv, cells.parquet\n"


def write_frame(frame: pd.DataFrame, folder: Path) -> None:
    """Write the frame of :func:`load` as CSV and parquet, each whole or not at all."""
    write_text(folder / "cells.csv", frame.to_csv(index=False))
    with replacing(folder / "cells.parquet") as temporary:
        frame.to_parquet(temporary, index=False)


def to_frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return the frame of :func:`load` from the rows of its cells."""
    rows = list(rows)
    settings = pd.DataFrame([row.pop("settings") for row in rows])
    frame = pd.DataFrame(rows)
    frame = frame.astype({column: _DTYPES.get(str(column), "str") for column in frame})
    frame["sees_clean"] = (frame.protocol == "clean") | (frame.stopping == "oracle")
    varying = [key for key in settings if _varies(settings[key], frame)]
    return frame.join(settings[varying].apply(_one_type))


_DTYPES: dict[str, str] = (
    dict.fromkeys(("planned", "course_image"), "bool")
    | dict.fromkeys(("members", "seed", "noise_seed", "iterations"), "Int64")
    | dict.fromkeys((*FIGURES, "beta_max", "seconds", "seconds_per_iteration"), "float64")
)
"""Of the columns of :func:`load` that are no texts."""


def _one_type(column: pd.Series) -> pd.Series:
    known = column.dropna()
    if len(known) and all(type(value) in (int, float) for value in known):
        return column.astype("float64")
    if len(known) == len(column) and all(type(value) is bool for value in known):
        return column.astype("bool")
    return column.map(str, na_action="ignore").astype("str")


@dataclass(frozen=True)
class Found:
    """What a sweep's folder has of a cell.

    Attributes:
        row: The cell's, for :func:`to_frame`.
        record: None where there is none, or none that can be read.
    """

    row: dict[str, Any]
    record: Record | None


def found_in(folder: str | os.PathLike[str]) -> Iterator[Found]:
    """Read the cells of a sweep one after another: the planned ones in their order, then the others that are there.

    Args:
        folder: A sweep's folder.

    Raises:
        RecordError: If it is not there or holds neither a plan nor a record.
    """
    root = Path(folder)
    plan = _planned(root)
    planned = {cell["folder"]: cell for cell in plan or []}
    others = sorted({path.parent.name for path in root.glob(f"*/{RECORD}")} - planned.keys())
    if not planned and not others:
        raise RecordError(
            f"neither {PLAN} nor <cell>/{RECORD} in it", setting=root, allowed="a folder that a sweep has written"
        )
    for name, cell in planned.items():
        yield _found(root / name, {"id": cell["id"], **axes_of(cell["axes"]), "planned": True})
    for name in others:
        yield _found(root / name, {"planned": plan is None})


def _planned(root: Path) -> list[dict[str, Any]] | None:
    """Return the planned cells, or None where nobody planned: single cells."""
    try:
        cells: list[dict[str, Any]] = read_json(root / PLAN)["cells"]
    except FileNotFoundError:
        return None
    except KeyError as error:
        raise RecordError(
            f"no {error} in it", setting=root / PLAN, allowed="a plan that a sweep has written"
        ) from error
    return cells


_BEFORE = {"noise": "gaussian"}
"""What an axis was in records and plans from before there was it."""


def axes_of(axes: dict[str, Any]) -> dict[str, Any]:
    """Return every axis of a record or a planned cell, those among them that it is too old to name."""
    return {**dict.fromkeys(AXES), **_BEFORE, **axes}


_EMPTY: dict[str, Any] = {
    "id": None,
    "folder": None,
    "planned": False,
    "status": "missing",
    **dict.fromkeys(AXES),
    **dict.fromkeys(FIGURES, float("nan")),
    "course_image": False,
    "iterations": None,
    "seconds": None,
    "seconds_per_iteration": None,
    "error": None,
    "settings": {},
}


def _found(folder: Path, planned: dict[str, Any]) -> Found:
    empty = {**_EMPTY, "folder": folder.name, "settings": {}}
    try:
        record = read_record(folder)
    except FileNotFoundError:
        return Found({**empty, **planned}, None)
    except RecordError as error:
        return Found({**empty, "status": "unreadable", "error": str(error), **planned}, None)
    row = {
        **empty,
        "id": record.cell["id"],
        "status": record.status,
        **axes_of(record.cell["axes"]),
        **_figures(record),
        "course_image": bool(record.observation.get("course_image")),
        "iterations": record.iterations["run"],
        "seconds": record.timing["seconds"],
        "seconds_per_iteration": record.timing.get("seconds_per_iteration"),
        "error": record.error["message"] if record.error else None,
        "settings": _settings(record),
        **planned,
    }
    return Found(row, record)


def _figures(record: Record) -> dict[str, Any]:
    observed = {f"observed_{metric}": record.observation.get(metric) for metric in ("psnr", "ssim")}
    if record.metrics is None:
        return observed
    numbers: dict[str, Any] = {}
    for image in ("output", "average"):
        metrics = record.metrics[image]
        if metrics is None:  # a competitor has no average
            continue
        end, peak = metrics["end"], metrics["peak"]
        numbers |= {f"{image}_psnr": end["psnr"], f"{image}_ssim": end["ssim"]}
        if peak:  # an ensemble has none
            numbers |= {f"{image}_peak_psnr": peak["psnr"], f"{image}_peak_iteration": peak["iteration"]}
    result = record.metrics["result"]
    numbers |= {f"result_{key}": result[key] for key in ("psnr", "ssim", "iteration")}
    return {**observed, **numbers, "result_gap": result["gap_psnr"]["value"] if result["gap_psnr"] else None}


def _settings(record: Record) -> dict[str, Any]:
    """Return a record's settings by key, and what it does not name where its cell could have had anything else."""
    stood = {key: value for key, value in NEUTRAL.items() if key.partition(".")[0] in record.settings}
    return {**stood, **_flat(record.settings)}


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat.update((f"{key}.{below}", inner) for below, inner in _flat(value).items())
        else:  # null is a value; what is not there is none
            flat[key] = "null" if value is None else value
    return flat


_SHOWN_AS_AXES = {
    "method.name", "method.input", "arch.name", "protocol.name", "scheduler.name", "budget.name", "loss.name",
    "loss.features", "loss.reference", "noise.beta_max", "noise.name", "data.image", "seed", "noise_seed",
    "average.name", "stopping.name", "stopping.sigma", "method.sigma", "ensemble.members",
}  # fmt: skip


def _varies(column: pd.Series, frame: pd.DataFrame) -> bool:
    """Whether a setting differs between cells that have it, beyond what method, network and loss explain."""
    if column.name in _SHOWN_AS_AXES:
        return False
    if str(column.name).startswith("monitors."):  # they change no figure of the cell
        return False
    known = column[column.notna()].map(repr)
    if known.nunique() < 2:
        return False
    group = [frame[axis].fillna("") for axis in ("method", "arch", "loss")]
    return bool((known.groupby([axis[known.index] for axis in group]).nunique() > 1).any())
