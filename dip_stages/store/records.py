"""Records: one JSON file a cell, written whole or not at all, and checked when it is read. Torch-free.

A record has the checksums of the files beside it, and its own.
"""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dip_stages.errors import RecordError
from dip_stages.store.files import replacing
from dip_stages.store.hashing import content_sha256
from dip_stages.store.json_files import check_checksum, check_schema, parse_json, read_content, write_json
from dip_stages.store.statuses import RecordStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dip_stages.store.record_fields import (
        CellFields,
        Computed,
        ErrorFields,
        Iterations,
        MemberFields,
        Metrics,
        Observed,
        StageFields,
        Stopping,
        Timing,
    )

__all__ = [
    "CHECKPOINT",
    "CURVES",
    "PLAN",
    "PROGRESS",
    "RECORD",
    "RUNS",
    "SCHEMA",
    "Record",
    "digest",
    "parse_record",
    "read_record",
    "write_csv",
    "write_record",
]

SCHEMA = 4
"""Version of the record's schema."""

RECORD = "record.json"
PLAN = "plan.json"  # of a sweep
RUNS = "runs"  # the folder of a sweep's runs: ``<sweep>/runs/<token>`` has the jobs of one driver
CURVES = "curves.csv"
PROGRESS = "progress.json"  # of a running cell
CHECKPOINT = "checkpoint.pt"  # of a cell that has not ended


@dataclass
class Record:
    """What a cell leaves, done or failed; the types of its fields document what is in them."""

    status: RecordStatus
    cell: CellFields
    config: dict[str, Any]
    """The whole resolved configuration."""
    settings: dict[str, Any]
    """The part of the configuration that changes the result; the cell's id is its hash."""
    sees_clean: bool
    """Whether the clean image guided the fit or its stopping rule: such a cell reproduces, it does not denoise."""
    computed: Computed
    timing: Timing
    iterations: Iterations
    observation: Observed
    metrics: Metrics | None
    """None of a failed cell."""
    stopping: Stopping | None = None
    """None of a competitor, and of a failed cell."""
    members: list[MemberFields] = field(default_factory=list)
    """Only of an ensemble."""
    stages: list[StageFields] = field(default_factory=list)
    """The stages that ended, of all members."""
    error: ErrorFields | None = None
    """Only of a failed cell."""
    lost: bool = False
    """Whether a failed cell was lost to something outside it (a killed process, a full disk). The same command then
    runs it again, while a cell that failed by itself is run again on request."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file that the cell left beside its record, by name. A report shows no other."""
    schema: int = SCHEMA


def write_record(folder: Path, record: Record) -> None:
    """Write ``record.json``, atomically, with its checksum."""
    write_json(folder / RECORD, dataclasses.asdict(record))


def read_record(folder: Path) -> Record:
    """Read ``record.json``.

    Raises:
        FileNotFoundError: If there is none: the cell has not ended.
        RecordError: If it cannot be read, is truncated, altered, of another schema, or lacks a field; of an older
            schema it is an :class:`~dip_stages.errors.OutdatedError`.
    """
    path = folder / RECORD
    return parse_record(path, read_content(path))


def parse_record(path: Path, content: bytes) -> Record:
    """Return the record of a file's content.

    Raises:
        RecordError: As :func:`read_record`.
    """
    values = {"files": {}, **parse_json(path, content)}  # the first records of this schema list none
    check_schema(path, values, SCHEMA)
    wanted = {f.name for f in dataclasses.fields(Record)}
    if values.keys() != wanted:
        missing, unknown = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
        raise RecordError(f"missing {missing}, unknown {unknown}", setting=path)
    status = values["status"]
    if status not in list(RecordStatus) or (status == RecordStatus.DONE) == (values["metrics"] is None):
        raise RecordError(" as status", setting=path, got=status, allowed="done with metrics, or failed without")
    check_checksum(path, content)
    return Record(**values | {"status": RecordStatus(status)})


def digest(path: Path) -> str | None:
    """Return the SHA-256 of a file's content, or None if there is none to read. Never cached: records are replaced."""
    try:
        return content_sha256(path.read_bytes())
    except OSError:
        return None


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
