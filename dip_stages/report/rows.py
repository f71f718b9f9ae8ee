"""What a sweep's folder has on disk: a row a cell, of its record where there is one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dip_stages.cells.identity import AXES, QUALIFIERS
from dip_stages.cells.settings import NEUTRAL
from dip_stages.errors import OutdatedError, RecordError
from dip_stages.report.escaping import printable_values
from dip_stages.store.plans import OUTDATED_ADVICE, read_plan
from dip_stages.store.records import PLAN, RECORD, Record, read_record
from dip_stages.store.states import damage
from dip_stages.store.statuses import CellStatus

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["METRICS", "Found", "found_in"]

METRICS = (
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


@dataclass(frozen=True)
class Found:
    """What a sweep's folder has of a cell.

    Attributes:
        row: The cell's, for :func:`dip_stages.report.frame.to_frame`.
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
        OutdatedError: If an older version of this package wrote its plan, or without a plan all of its records.
    """
    root = Path(folder)
    try:
        planned = {cell["folder"]: _of_plan(cell) for cell in read_plan(root)["cells"]}
    except FileNotFoundError:
        planned = {}
    others = sorted({path.parent.name for path in root.glob(f"*/{RECORD}")} - planned.keys())
    if not planned and not others:
        raise RecordError(
            f"neither {PLAN} nor <cell>/{RECORD} in it", setting=root, allowed="a folder that a sweep has written"
        )
    for name, row in planned.items():
        yield _found(root / name, row)
    if planned:
        yield from (_found(root / name, {"planned": False}) for name in others)
    else:
        yield from _single_cells(root, others)


def _single_cells(root: Path, names: list[str]) -> Iterator[Found]:
    """Yield the cells of a folder without a plan, which count as planned, each once, unless of an older version."""
    outdated, seen = 0, set()
    for name in names:
        found = _found(root / name, {"planned": True})
        if found.record is not None:
            found.row["planned"] = found.row["id"] not in seen  # of a copied folder there are two
            seen.add(found.row["id"])
        if found.row["status"] == CellStatus.OUTDATED:
            outdated += 1
            found.row["planned"] = False
        yield found
    if outdated == len(names):
        raise OutdatedError(
            f"all {outdated} cells are of an older version of dip_stages", setting=root, allowed=OUTDATED_ADVICE
        )


def _of_plan(cell: dict[str, Any]) -> dict[str, Any]:
    """Return what a row has from the plan."""
    return {"id": cell["id"], **cell["axes"], "sees_clean": cell["sees_clean"], "planned": True}


_EMPTY: dict[str, Any] = {
    "id": None,
    "folder": None,
    "planned": False,
    "status": CellStatus.MISSING,
    **dict.fromkeys((*AXES, *QUALIFIERS)),
    "sees_clean": False,
    **dict.fromkeys(METRICS, float("nan")),
    "course_image": False,
    "iterations": None,
    "seconds": None,
    "seconds_per_iteration": None,
    "error": None,
    "damaged": None,
}


def _found(folder: Path, planned: dict[str, Any]) -> Found:
    """Return a cell's row and record, names in them printable; a cell without a record has the plan's values."""
    row, record = _row_and_record(folder, planned)
    return Found(printable_values(row), record and dataclasses.replace(record, cell=printable_values(record.cell)))


def _row_and_record(folder: Path, planned: dict[str, Any]) -> tuple[dict[str, Any], Record | None]:
    row = {**_EMPTY, "folder": folder.name, "settings": {}}
    try:
        record = _read(folder, planned.get("id"))
    except FileNotFoundError:
        return row | planned, None
    except RecordError as error:
        status = CellStatus.OUTDATED if isinstance(error, OutdatedError) else CellStatus.UNREADABLE
        return row | {"status": status, "error": str(error)} | planned, None
    damaged = ", ".join(damage(folder, record)) or None
    return row | _of_record(record) | {"damaged": damaged, "planned": planned["planned"]}, record


def _read(folder: Path, identity: str | None) -> Record:
    record = read_record(folder)
    if identity not in (None, record.cell["id"]):
        raise RecordError("of another cell", setting=folder / RECORD)
    return record


def _of_record(record: Record) -> dict[str, Any]:
    return {
        "id": record.cell["id"],
        "status": CellStatus(record.status),
        **record.cell["axes"],
        "sees_clean": record.sees_clean,
        **_metrics(record),
        "course_image": bool(record.observation.get("course_image")),
        "iterations": record.iterations["run"],
        "seconds": record.timing["seconds"],
        "seconds_per_iteration": record.timing.get("seconds_per_iteration"),
        "error": record.error["message"] if record.error else None,
        "settings": _settings(record),
    }


def _metrics(record: Record) -> dict[str, Any]:
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
    """Return a record's settings by key, with the neutral values of those that it does not name."""
    neutral = {key: value for key, value in NEUTRAL.items() if key.partition(".")[0] in record.settings}
    return {**neutral, **_flat(record.settings)}


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat.update((f"{key}.{below}", inner) for below, inner in _flat(value).items())
        else:  # null is a value, and differs from a setting that a cell does not have
            flat[key] = "null" if value is None else value
    return flat
