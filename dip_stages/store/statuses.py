"""The statuses: of a record, of a cell, of an outcome. Each is a text too, as JSON and tables have it."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["CellStatus", "OutcomeStatus", "RecordStatus"]


class RecordStatus(StrEnum):
    """How a cell ended, as its record says; whether it was ``lost`` is a field of the record."""

    DONE = "done"
    FAILED = "failed"


class CellStatus(StrEnum):
    """What the folder of a cell shows, in the order in which counts are listed."""

    DONE = "done"
    RUNNING = "running"
    """A process has the lease."""
    QUEUED = "queued"
    """A Slurm job has it and has not begun with it."""
    FAILED = "failed"
    """It failed by itself; run again on request."""
    LOST = "lost"
    """It failed through something outside it; the same command runs it again."""
    RESUMABLE = "resumable"
    """It was interrupted and left a checkpoint."""
    TO_DO = "to do"
    UNREADABLE = "unreadable"
    """Its record cannot be read."""
    MISSING = "missing"
    """It is planned, and there is no record."""
    OUTDATED = "outdated"
    """Its record is of an older version of this package."""


class OutcomeStatus(StrEnum):
    """What came of one attempt to compute a job."""

    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The process was asked to stop."""
    BUSY = "busy"
    """Another process has the lease."""
    UNWRITTEN = "unwritten"
    """Nothing could be written, as on a full disk."""
    LOST = "lost"
    """Its Slurm job or Ray task ended without an outcome."""
    SUBMITTED = "submitted"
    """It was left to the cluster."""
