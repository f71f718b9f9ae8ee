"""The state of a cell, read from its folder alone. Plan, status and report all use this, so they agree. Torch-free."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dip_stages.errors import OutdatedError, RecordError
from dip_stages.store.hashing import content_sha256, file_sha256
from dip_stages.store.json_files import read_content, read_json
from dip_stages.store.leases import holder
from dip_stages.store.records import CHECKPOINT, PROGRESS, RECORD, Record, parse_record
from dip_stages.store.statuses import CellStatus, RecordStatus

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Look", "damage", "look", "recorded"]

_LEFT_OUT: dict[str, Any] = {"config": {}, "settings": {}, "computed": {}, "observation": {}, "stages": []}


@dataclass(frozen=True)
class Look:
    """A cell as its folder shows it at one moment.

    Attributes:
        state: Never ``unreadable`` or ``missing``, which only a report distinguishes.
        record: Of a cell that is done, failed or lost; without the fields that only a report needs, to save memory.
        progress: Of a running cell: ``started``, ``iteration``, ``iterations``, ``rate`` in iterations per second,
            ``loss``, ``psnr``.
        left_by: For people, the process that died with the lease; only of a cell without a record.
        broken: Why the record that is there cannot be trusted.
        damaged: What is wrong with files beside the record of a cell that is done, a text a file.
        digest: SHA-256 of the record's file, trusted or not; None without one that can be read.
        waits_for: For people, the Slurm job that has a queued cell.
    """

    state: CellStatus
    record: Record | None = None
    progress: dict[str, Any] | None = None
    left_by: str | None = None
    broken: str | None = None
    damaged: tuple[str, ...] = ()
    digest: str | None = None
    waits_for: str | None = None

    @property
    def ended(self) -> bool:
        """Whether there is a record that can be trusted."""
        return self.record is not None

    @property
    def reason(self) -> str:
        """Why a cell failed; empty without an error."""
        return self.record.error["message"] if self.record and self.record.error else ""


def look(folder: Path, identity: str | None = None, *, files: bool = False) -> Look:
    """Look at a cell's folder.

    Args:
        folder: The cell's; it need not exist.
        identity: The id that a record must have to count; None for any.
        files: Whether to compare the files of a cell that is done with their checksums, which reads all of them.
    """
    found = recorded(folder, identity)
    if found.state == CellStatus.DONE and found.record and files:
        return dataclasses.replace(found, damaged=damage(folder, found.record))
    if found.state in (CellStatus.DONE, CellStatus.OUTDATED):
        return found
    lease = holder(folder)
    if lease and lease[1]:
        return Look(CellStatus.RUNNING, progress=_progress(folder), digest=found.digest)
    if lease and not found.ended:
        found = recorded(folder, identity)  # it may have ended since the record was read
    if found.ended:
        return found
    state = CellStatus.RESUMABLE if os.path.exists(folder / CHECKPOINT) else CellStatus.TO_DO  # noqa: PTH110 - raises nothing
    who = f"process {lease[0].pid} on {lease[0].name}" if lease and lease[0] else "a process" if lease else None
    return Look(state, left_by=who, broken=found.broken, digest=found.digest)


def recorded(folder: Path, identity: str | None = None) -> Look:
    """Look at a cell's record alone, and not at its lease."""
    path = folder / RECORD
    try:
        content = read_content(path)
    except FileNotFoundError:
        return Look(CellStatus.TO_DO)
    except RecordError as error:
        return Look(CellStatus.TO_DO, broken=str(error))
    sha = content_sha256(content)
    try:
        record = parse_record(path, content)
    except OutdatedError as error:
        return Look(CellStatus.OUTDATED, broken=str(error), digest=sha)
    except RecordError as error:
        return Look(CellStatus.TO_DO, broken=str(error), digest=sha)
    if identity is not None and record.cell["id"] != identity:
        return Look(CellStatus.TO_DO, broken=str(RecordError("of another cell", setting=path)), digest=sha)
    failed = CellStatus.LOST if record.lost else CellStatus.FAILED
    state = CellStatus.DONE if record.status == RecordStatus.DONE else failed
    return Look(state, record=dataclasses.replace(record, **_LEFT_OUT), digest=sha)


def damage(folder: Path, record: Record) -> tuple[str, ...]:
    """Return what is wrong with the files of a cell that is done: ``curves.csv missing``, ``output.png altered``."""
    if record.status != RecordStatus.DONE:
        return ()
    if not record.files:
        return ("no checksums of its files",)
    found = {name: _found_sha256(folder / name) for name in record.files}
    return tuple(
        f"{name} {'missing' if found[name] is None else 'altered'}"
        for name, sha in record.files.items()
        if found[name] != sha
    )


def _found_sha256(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None


def _progress(folder: Path) -> dict[str, Any] | None:
    try:
        return read_json(folder / PROGRESS)
    except (FileNotFoundError, RecordError):
        return None
