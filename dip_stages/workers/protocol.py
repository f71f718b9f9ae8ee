"""What a worker and its parent agree on: outcomes, how to ask for a stop, one line of JSON each way. Torch-free."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dip_stages.clock import Every
from dip_stages.store.statuses import OutcomeStatus
from dip_stages.workers.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GRACE", "STOP_SIGNALS", "Outcome", "StopFlag", "job_line", "outcome_line", "parse_job", "parse_outcome"]

GRACE = 5.0
"""Seconds that a worker has to write a checkpoint, once it was asked to stop."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
"""Signals that ask a worker to stop; a cluster sends SIGUSR2 when a job's time is nearly up."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt to compute a job.

    Attributes:
        status: How it ended.
        message: Why, for all but ``done``.
        worker_usable: Whether the process can take further jobs; after an unforeseen error its state is unknown.
    """

    status: OutcomeStatus
    message: str = ""
    worker_usable: bool = True

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Outcome:
        """Return the outcome with these plain values."""
        return cls(**{**values, "status": OutcomeStatus(values["status"])})

    def plain(self) -> dict[str, Any]:
        """Return plain values, which need no import of this package where they are unpickled."""
        return {**vars(self), "status": str(self.status)}


class StopFlag:
    """Whether to stop: asked for by a signal, by the end of the input, or by a file. Cheap to call.

    Args:
        every: Seconds between two checks for the file.

    Attributes:
        asked: Whether a stop was asked for.
        file: The file whose appearance asks for it, or None.
    """

    def __init__(self, every: float = 0.5) -> None:
        self.asked = False
        self.file: str | None = None
        self._check = Every(every, now=True)

    def __call__(self) -> bool:
        """Return whether to stop."""
        if not self.asked and self.file and self._check.due():
            self.asked = Path(self.file).exists()
        return self.asked


def job_line(number: int, job: Job) -> str:
    """Return the line that hands a job to a worker."""
    return json.dumps({"number": number, "job": vars(job)}) + "\n"


def parse_job(line: str) -> tuple[int, Job]:
    """Return the number and the job of a line."""
    values = json.loads(line)
    return values["number"], Job(**values["job"])


def outcome_line(number: int, outcome: Outcome) -> str:
    """Return the line with which a worker answers the job of a number."""
    return json.dumps({"number": number, "outcome": outcome.plain()}) + "\n"


def parse_outcome(line: str) -> tuple[int, Outcome]:
    """Return the job's number and the outcome of a line."""
    values = json.loads(line)
    return values["number"], Outcome.of(values["outcome"])
