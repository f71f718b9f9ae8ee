"""Records: one JSON file a cell, written whole or not at all, read strictly. Torch-free.

A record ends in a checksum of itself, so that a file which a disk has spoilt is noticed even where it is still JSON.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from dip_stages.errors import OutdatedError, RecordError
from dip_stages.store.files import replacing, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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
    """What a cell leaves, done or failed.

    Attributes:
        status: ``done`` or ``failed``.
        cell: ``id``, ``folder`` and ``axes``.
        config: The whole resolved configuration.
        settings: The part of it that changes the result, which the id is a hash of.
        sees_clean: Whether the fit was guided by the clean image: a reproduction and no denoiser.
        computed: How: versions, commit, device, precision, layout, threads, how many cells the process computed
            ``together``, how many members of an ensemble (``members_together``), and ``notes`` on what went wrong on
            the way and was put right. Empty where the process died that could have said.
        timing: ``started`` and ``finished`` in ISO 8601 UTC, ``seconds``, ``seconds_per_iteration``.
        iterations: ``planned``, ``run``, ``rollbacks``, and ``resumed_at``: where the fit went on from a checkpoint.
        observation: Image, whether it is the course report's, size, noise, and the observed image's own PSNR and
            SSIM, clipped to [0, 1]; ``unmet``, what method or rules assume of the noise that does not hold of it, in
            words; ``recorruption``, the noise level that a recorrupted fit drew with, and whether it was known; and
            ``given``, what a competitor was: the noise level, and the trained model that it used.
        metrics: For ``output`` and ``average``: ``end`` and ``peak``, each with iteration, PSNR and SSIM. ``peak`` was
            chosen with the clean image, as its ``needs_clean`` says. ``result`` is the image that the cell comes
            to: which, at what iteration, PSNR, SSIM, whether the clean image chose it, and the gap to the peak. Of a
            competitor there is no ``average``, no peak and no gap.
        stopping: The rule, whether it decided, the iteration that it chose, the iterations spent, the noise level it
            went by and where it had that from, PSNR and SSIM of output and average there; and under ``monitors`` the
            same for each monitor. Of an ensemble, output and average are the means over its members. A
            competitor has none.
        members: Of an ensemble: each member's seed, iterations, rollbacks, metrics and stopping.
        stages: One a stage that ended.
        error: Of a failed cell: ``type``, ``message``, ``traceback``, and ``last_good`` where there is one.
        lost: Whether a failed cell was lost to something outside it (a killed process, a full disk). The same command
            then runs it again, while a cell that failed by itself is run again on request.
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
    stopping: dict[str, Any] | None = None
    members: list[dict[str, Any]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    lost: bool = False
    schema: int = SCHEMA


def write_record(folder: Path, record: Record) -> None:
    """Write ``record.json``, atomically, with its checksum."""
    text = _text(dataclasses.asdict(record)).removesuffix("\n}\n")
    checksum = hashlib.sha256(text.encode()).hexdigest()
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
    if values["status"] not in ("done", "failed") or (values["status"] == "done") == (values["metrics"] is None):
        allowed = "done with metrics, or failed without"
        raise RecordError(" as status", setting=path, got=values["status"], allowed=allowed)
    end = _CHECKSUM.search(content, len(content) - 100)
    if end is None or checksum != hashlib.sha256(content[: end.start()]).hexdigest():
        raise RecordError("altered since it was written: its checksum is not that of its content", setting=path)
    return Record(**values)


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
    """Return the SHA-256 of a file, or None if there is none: a record that has been replaced has another."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be trusted, in place of one set aside before, and return its new path."""
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
