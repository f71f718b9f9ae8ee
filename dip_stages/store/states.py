"""What is known of a cell from its folder alone; plan, status and report agree because all look here. Torch-free."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dip_stages.errors import RecordError
from dip_stages.store.leases import holder
from dip_stages.store.records import CHECKPOINT, PROGRESS, RECORD, Record, parse_record, read_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STATES", "Look", "look", "recorded"]

STATES = ("done", "running", "queued", "failed", "lost", "resumable", "to do")
"""What a cell can be. ``queued``: a job of a cluster has it and has not begun with it; ``lost``: it failed through
something outside it, and the same command runs it again; ``resumable``: it was interrupted and left a checkpoint."""

_LEFT_OUT: dict[str, Any] = {"config": {}, "settings": {}, "computed": {}, "observation": {}, "stages": []}


@dataclass(frozen=True)
class Look:
    """A cell, as its folder shows it.

    Attributes:
        state: One of :data:`STATES`.
        record: Of a cell that is done, failed or lost; without what only a report needs, for there may be thousands.
        progress: Of a running cell: ``iteration``, ``iterations``, ``rate`` in iterations per second,
            ``loss``, ``psnr``.
        left_by: Of a cell without a record whose lease is dead: who had it, for people.
        broken: Why there is a record that cannot be trusted.
        digest: Of the record's file, whether it can be trusted or not; None if there is none.
        waits_for: Of a queued cell: its job, for people.
    """

    state: str
    record: Record | None = None
    progress: dict[str, Any] | None = None
    left_by: str | None = None
    broken: str | None = None
    digest: str | None = None
    waits_for: str | None = None

    @property
    def ended(self) -> bool:
        """Whether there is a record that counts."""
        return self.record is not None

    @property
    def reason(self) -> str:
        """Why a cell failed."""
        return str((self.record.error or {}).get("message")) if self.record else ""


def look(folder: Path, identity: str | None = None) -> Look:
    """Look at a cell's folder.

    Args:
        folder: The cell's; it need not exist.
        identity: The id that its record must have; None for any.
    """
    found = recorded(folder, identity)
    if found.state == "done":
        return found
    lease = holder(folder)
    if lease and lease[1]:
        return Look("running", progress=_progress(folder), digest=found.digest)
    if lease and not found.ended:
        found = recorded(folder, identity)  # it may have ended between the two looks
    if found.ended:
        return found
    state = "resumable" if (folder / CHECKPOINT).exists() else "to do"
    who = f"process {lease[0].pid} on {lease[0].name}" if lease and lease[0] else "a process" if lease else None
    return Look(state, left_by=who, broken=found.broken, digest=found.digest)


def recorded(folder: Path, identity: str | None = None) -> Look:
    """Look at a cell's record alone, whoever has its lease."""
    path = folder / RECORD
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Look("to do")
    sha = hashlib.sha256(content).hexdigest()
    try:
        record = parse_record(path, content)
    except RecordError as error:
        return Look("to do", broken=str(error), digest=sha)
    if identity is not None and record.cell["id"] != identity:
        return Look("to do", broken=f"{path}: of another cell", digest=sha)
    state = "done" if record.status == "done" else "lost" if record.lost else "failed"
    return Look(state, record=dataclasses.replace(record, **_LEFT_OUT), digest=sha)


def _progress(folder: Path) -> dict[str, Any] | None:
    try:
        return read_json(folder / PROGRESS)
    except (FileNotFoundError, RecordError):
        return None
