"""Reports on a sweep again only if something has changed since its last report."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.errors import RecordError
from dip_stages.store.json_files import read_json, write_json
from dip_stages.store.records import PLAN, RUNS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["gather"]

_REPORT = "report"
_GATHERED = ".gathered.json"
_PACKAGE = Path(__file__).resolve().parents[1]
_SOURCES = {".py", ".j2", ".csv"}
"""Endings of files anywhere in the package: a report uses modules of all its parts."""


def gather(root: Path) -> str:
    """Write a sweep's report, unless the present one is whole and of the same files, and return its text.

    Args:
        root: The sweep's folder.

    Raises:
        RecordError: If there is nothing to report on.
        OSError: If the report cannot be written.
    """
    folder = root / _REPORT
    state = _state(root)
    try:
        cached = read_json(folder / _GATHERED)
        if cached["state"] == state and cached["written"] == list(_files(folder)):
            return str(cached["text"])
    except (FileNotFoundError, RecordError, KeyError):
        pass
    from dip_stages.report.write import report_sweep

    text = report_sweep(root)
    write_json(folder / _GATHERED, {"state": state, "written": list(_files(folder)), "text": text})
    return text


def _state(root: Path, package: Path = _PACKAGE) -> str:
    """Return a hash of everything that a report is made from: sources, plan, and the list of the cells' files."""
    sha = hashlib.sha256()
    for source in sorted(path for path in package.rglob("*") if path.suffix in _SOURCES):
        sha.update(source.read_bytes())
    sha.update((root / PLAN).read_bytes() if (root / PLAN).is_file() else b"")
    for folder in sorted(path for path in root.iterdir() if path.name not in (_REPORT, RUNS) and path.is_dir()):
        sha.update(os.fsencode(f"{folder.name} {list(_files(folder))}\n"))
    return sha.hexdigest()


def _files(folder: Path) -> Iterator[str]:
    """Yield the files in a folder, with what changes when one is written: size, times, and number on the disk."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_file() and entry.name != _GATHERED:
                found = entry.stat()
                yield f"{entry.name} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
