"""What one job of a cluster does: it computes a pack of planned cells. Torch-free; Slurm and Ray run it alike."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dip_stages.store.leases import EXPIRY
from dip_stages.store.states import look
from dip_stages.workers.jobs import Job, read_job
from dip_stages.workers.main import Outcome
from dip_stages.workers.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Pack", "packed"]

_LOOK = 2.0
_LEAVE = 60.0
_UNTIL_KILLED = 600.0


@dataclass
class Pack:
    """The cells of one job; calling it computes them.

    Attributes:
        jobs: Where their jobs are, absolute.
        workers: Processes that compute them.
        together: How many cells each process computes at once.
        cwd: The folder that their paths start from.
        preemptible: Whether the cluster ends a job by a signal, and may run it again: once a worker was asked to stop
            by somebody else, nothing more is begun, and the job waits for what the cluster does with it.
    """

    jobs: tuple[str, ...]
    workers: int = 1
    together: int = 1
    cwd: str = "."
    preemptible: bool = False
    _pool: Pool | None = field(default=None, repr=False, compare=False)

    def __call__(self) -> dict[str, dict[str, Any]]:
        """Compute what has no record yet; return the fields of each cell's :class:`Outcome`, by its folder's name."""
        os.chdir(self.cwd)
        outcomes: dict[str, Outcome] = {}
        jobs = list(self._to_do(outcomes))
        since = time.monotonic()
        while jobs:
            self._pool = Pool(jobs, workers=self.workers, together=self.together, shared_fate=self.preemptible)
            found = {Path(job.folder).name: outcome for job, outcome in zip(jobs, self._pool.run(), strict=True)}
            outcomes |= found
            if self._pool.stopped and not _asked_to_stop(jobs):
                if self.preemptible:
                    time.sleep(_UNTIL_KILLED)
                break
            jobs = [job for job in jobs if found[Path(job.folder).name].status == "busy"]
            # The lease of a job that was killed on another machine dies two minutes after it.
            jobs = jobs if _all_free(jobs, since + 1.5 * EXPIRY) else []
        return {name: vars(outcome) for name, outcome in outcomes.items()}

    def checkpoint(self) -> Any:
        """Let the cells leave checkpoints and return what submitit is to run when the cluster lets the job go on."""
        from submitit.helpers import DelayedSubmission

        if self._pool:
            self._pool.stop_and_wait(_LEAVE)
        return DelayedSubmission(self)

    @property
    def cells(self) -> list[str]:
        """Names of the cells' folders."""
        return [Path(job).stem for job in self.jobs]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a job gets: no processes."""
        return vars(self) | {"_pool": None}

    def _to_do(self, outcomes: dict[str, Outcome]) -> Iterator[Job]:
        for path, name in zip(self.jobs, self.cells, strict=True):
            try:
                job = read_job(Path(path))
            except FileNotFoundError:
                outcomes[name] = Outcome("interrupted", "its sweep was stopped before it began")
                continue
            found = look(Path(job.folder), job.id)
            if found.record is not None and found.digest != job.stale:  # before the cluster began the job anew
                outcomes[name] = Outcome(found.record.status, found.reason)
            elif _asked_to_stop([job]):
                outcomes[name] = Outcome("interrupted", "asked to stop before it began")
            else:
                yield job


def packed(jobs: Sequence[str], size: int, workers: int, *, together: int = 1, preemptible: bool = False) -> list[Pack]:
    """Return jobs in packs of a size, in order, whose paths start from the current folder."""
    return [
        Pack(tuple(jobs[first : first + size]), workers, together, str(Path.cwd()), preemptible)
        for first in range(0, len(jobs), size)
    ]


def _asked_to_stop(jobs: Sequence[Job]) -> bool:
    return any(job.stop and Path(job.stop).exists() for job in jobs)


def _all_free(jobs: Sequence[Job], until: float) -> bool:
    """Wait until no other process has any of these cells, or for so long that one will not let go; return whether."""
    while any(look(Path(job.folder), job.id).state == "running" for job in jobs):
        if time.monotonic() > until or _asked_to_stop(jobs):
            return False
        time.sleep(_LOOK)
    return True
