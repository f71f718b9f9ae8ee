"""Reports on a sweep again only if something has changed since its last report."""

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
"""Endings of files anywhere in the package: a report uses modules of all its parts."""


def gather(root: Path) -> str:
    """Write a sweep's report, unless the present one is of the same records and plan, and return its text.

    Args:
        root: The sweep's folder.

    Raises:
        RecordError: If there is nothing to report on.
        OSError: If the report cannot be written.
    """
    file = root / "report" / _GATHERED
    state = _state(root)
    try:
        cached = read_json(file)
        if cached["state"] == state:
            return str(cached["text"])
    except (FileNotFoundError, RecordError, KeyError):
        pass
    from dip_stages.report.write import report_sweep

    text = report_sweep(root)
    write_json(file, {"state": state, "text": text})
    return text


def _state(root: Path, package: Path = _PACKAGE) -> str:
    """Return a hash of everything that a report is made from: sources, plan, and the list of records."""
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
