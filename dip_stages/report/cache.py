"""Gathers a sweep only when something has changed since it was last gathered."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.errors import RecordError
from dip_stages.store.records import PLAN, RECORD, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["gather"]

_GATHERED = ".gathered.json"
_PACKAGE = Path(__file__).resolve().parents[1]
_SOURCES = {".py", ".j2", ".csv"}
"""Of the whole package: a report is made by modules of all its parts."""


def gather(root: Path) -> str:
    """Write a sweep's report, unless the one that is there is of the same records and plan, and return its text.

    Args:
        root: The sweep's folder.

    Raises:
        RecordError: If there is nothing to report on.
        OSError: If the report cannot be written.
    """
    note = root / "report" / _GATHERED
    now = _state(root)
    try:
        known = read_json(note)
        if known["state"] == now:
            return str(known["text"])
    except (FileNotFoundError, RecordError, KeyError):
        pass
    from dip_stages.report.write import report_sweep

    text = report_sweep(root)
    write_json(note, {"state": now, "text": text})
    return text


def _state(root: Path, package: Path = _PACKAGE) -> str:
    """Return a hash of all that a report is made from: sources, plan, and which records there are."""
    sha = hashlib.sha256()
    for source in sorted(path for path in package.rglob("*") if path.suffix in _SOURCES):
        sha.update(source.read_bytes())
    sha.update((root / PLAN).read_bytes() if (root / PLAN).exists() else b"")
    for line in _records(root):
        sha.update(line.encode())
    return sha.hexdigest()


def _records(root: Path) -> Iterator[str]:
    for path in sorted(root.glob(f"*/{RECORD}")):
        found = path.stat()
        yield f"{path.parent.name} {found.st_ino} {found.st_size} {found.st_mtime_ns}\n"
