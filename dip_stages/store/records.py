"""Records: one JSON file a cell, written whole or not at all, and checked when it is read. Torch-free.

A record ends in a checksum of itself, so that damage is found even where the file is still valid JSON.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from dip_stages.errors import OutdatedError, RecordError
from dip_stages.store.files import replacing, write_text
from dip_stages.store.hashing import content_sha256
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
    "SCHEMA",
    "Record",
    "digest",
    "other_schema",
    "parse_record",
    "read_json",
    "read_record",
    "set_aside",
    "write_csv",
    "write_json",
    "write_record",
]

SCHEMA = 4
"""Version of the record's schema."""

RECORD = "record.json"
PLAN = "plan.json"  # of a sweep
CURVES = "curves.csv"
PROGRESS = "progress.json"  # of a running cell
CHECKPOINT = "checkpoint.pt"  # of a cell that has not ended

_CHECKSUM = re.compile(rb',\n "checksum": "([0-9a-f]{64})"\n}\n\Z')


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
    schema: int = SCHEMA


def write_record(folder: Path, record: Record) -> None:
    """Write ``record.json``, atomically, with its checksum."""
    text = _text(dataclasses.asdict(record)).removesuffix("\n}\n")
    checksum = content_sha256(text.encode())
    write_text(folder / RECORD, f'{text},\n "checksum": "{checksum}"\n}}\n')


def read_record(folder: Path) -> Record:
    """Read ``record.json``.

    Raises:
        FileNotFoundError: If there is none: the cell has not ended.
        RecordError: If it is truncated, altered, of another schema, or lacks a field; of an older schema it is an
            :class:`~dip_stages.errors.OutdatedError`.
    """
    path = folder / RECORD
    with open(path, "rb") as file:  # noqa: PTH123 - a third less time than pathlib's, and there may be thousands
        return parse_record(path, file.read())


def parse_record(path: Path, content: bytes) -> Record:
    """Return the record of a file's content.

    Raises:
        RecordError: As :func:`read_record`.
    """
    values = _parsed(path, content)
    if values.get("schema") != SCHEMA:
        raise other_schema(path, values.get("schema"), SCHEMA)
    checksum = values.pop("checksum", None)
    wanted = {f.name for f in dataclasses.fields(Record)}
    if values.keys() != wanted:
        missing, unknown = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
        raise RecordError(f"missing {missing}, unknown {unknown}", setting=path)
    status = values["status"]
    if status not in list(RecordStatus) or (status == RecordStatus.DONE) == (values["metrics"] is None):
        raise RecordError(" as status", setting=path, got=status, allowed="done with metrics, or failed without")
    end = _CHECKSUM.search(content, len(content) - 100)
    if end is None or checksum != content_sha256(content[: end.start()]):
        raise RecordError("altered since it was written: its checksum is not that of its content", setting=path)
    return Record(**values | {"status": RecordStatus(status)})


def other_schema(path: Path, got: object, ours: int) -> RecordError:
    """Return the error about a file of another schema: an :class:`OutdatedError` if that is an older one."""
    if isinstance(got, int) and got < ours:
        return OutdatedError(f"of an older version of dip_stages (schema {got}, not {ours})", setting=path)
    return RecordError(f"of another version of dip_stages (schema {got}, not {ours})", setting=path)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON whole or not at all; numbers that are not finite become null."""
    write_text(path, _text(values))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: If there is no such file.
        RecordError: If it is not a JSON object.
    """
    return _parsed(path, path.read_bytes())


def digest(path: Path) -> str | None:
    """Return the SHA-256 of a file's content, or None if there is no file. Never cached: records are replaced."""
    try:
        return content_sha256(path.read_bytes())
    except FileNotFoundError:
        return None


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be trusted to ``*.broken``, over an earlier one, and return its new path."""
    return path.replace(path.with_name(f"{path.name}.broken"))


def _text(values: dict[str, Any]) -> str:
    return json.dumps(_finite(values), indent=1, allow_nan=False) + "\n"


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        values = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise RecordError(f"truncated or no JSON: {error}", setting=path) from error
    if not isinstance(values, dict):
        raise RecordError(f"got a JSON {type(values).__name__}", setting=path, allowed="an object")
    return values


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
