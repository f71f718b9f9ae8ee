"""Records: one JSON file a cell, written whole or not at all, read strictly. Torch-free."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dip_stages.errors import RecordError
from dip_stages.files import replacing, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "PLAN",
    "PROGRESS",
    "RECORD",
    "SCHEMA",
    "Record",
    "read_json",
    "read_record",
    "write_csv",
    "write_json",
    "write_record",
]

SCHEMA = 1
"""Version of the record's schema."""

RECORD = "record.json"
PLAN = "plan.json"  # of a sweep
PROGRESS = "progress.json"  # of a running cell


@dataclass
class Record:
    """What a cell leaves, done or failed.

    Attributes:
        status: ``done`` or ``failed``.
        cell: ``id``, ``folder`` and ``axes``.
        config: The whole resolved configuration.
        settings: The part of it that changes the result, which the id is a hash of.
        sees_clean: Whether the fit was guided by the clean picture: a reproduction and no denoiser.
        computed: How: versions, commit, device, precision, threads, whether grouped with others.
        timing: ``started`` and ``finished`` in ISO 8601 UTC, ``seconds``, ``seconds_per_iteration``.
        iterations: ``planned``, ``run``, ``rollbacks``.
        observation: Picture, size, noise, and the observed picture's own PSNR and SSIM, clipped to [0, 1].
        metrics: For ``output`` and ``average``: ``end`` and ``peak``, each with iteration, PSNR and SSIM. ``peak`` was
            chosen with the clean picture, as its ``needs_clean`` says.
        stages: One a stage that ended.
        error: Of a failed cell: ``type``, ``message``, ``traceback``, and ``last_good`` where there is one.
    """

    status: str
    cell: dict[str, Any]
    config: dict[str, Any]
    settings: dict[str, Any]
    sees_clean: bool
    computed: dict[str, Any]
    timing: dict[str, Any]
    iterations: dict[str, Any]
    observation: dict[str, Any]
    metrics: dict[str, Any] | None
    stages: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    schema: int = SCHEMA


def write_record(folder: Path, record: Record) -> None:
    """Write ``record.json``, atomically."""
    write_json(folder / RECORD, dataclasses.asdict(record))


def read_record(folder: Path) -> Record:
    """Read ``record.json``.

    Raises:
        FileNotFoundError: If there is none: the cell has not ended.
        RecordError: If it is truncated, of another schema, or lacks a field.
    """
    path = folder / RECORD
    values = read_json(path)
    if values.get("schema") != SCHEMA:
        raise RecordError(f"{path}: got schema {values.get('schema')!r}; allowed: {SCHEMA}")
    wanted = {f.name for f in dataclasses.fields(Record)}
    if values.keys() != wanted:
        raise RecordError(f"{path}: missing {sorted(wanted - values.keys())}, unknown {sorted(values.keys() - wanted)}")
    if values["status"] not in ("done", "failed") or (values["status"] == "done") == (values["metrics"] is None):
        raise RecordError(f"{path}: got status {values['status']!r}; allowed: done with metrics, or failed without")
    return Record(**values)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON whole or not at all; numbers that are not finite become null."""
    write_text(path, json.dumps(_finite(values), indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: If there is no such file.
        RecordError: If it is not a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: truncated or no JSON: {error}") from error
    if not isinstance(values, dict):
        raise RecordError(f"{path}: got a JSON {type(values).__name__}; allowed: an object")
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
