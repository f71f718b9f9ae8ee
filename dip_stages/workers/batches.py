"""Batches: the cells that one Slurm job or Ray task computes. Torch-free."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dip_stages.store.leases import EXPIRY
from dip_stages.store.states import look
from dip_stages.store.statuses import CellStatus, OutcomeStatus
from dip_stages.workers.jobs import Job, read_job
from dip_stages.workers.pool import Pool
from dip_stages.workers.protocol import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Batch", "batches_of"]

_POLL_SECONDS = 2.0
_CHECKPOINT_SECONDS = 60.0
_UNTIL_KILLED = 600.0


@dataclass
class Batch:
    """The cells of one Slurm job or Ray task; calling it computes them.

    Attributes:
        jobs: Absolute paths of the cells' jobs.
        workers: Processes that compute them.
        together: How many cells each process computes at once.
        cwd: The working folder, which relative paths in jobs start from.
        safe_path: ``PYTHONSAFEPATH`` of the driver: a batch imports from the places that the driver does.
        preemptible: Whether the cluster ends a Slurm job by a signal, and may run it again: once the cluster has asked
            a worker to stop, no further cell is begun, and the batch waits to be ended.
    """

    jobs: tuple[str, ...]
    workers: int = 1
    together: int = 1
    cwd: str = "."
    preemptible: bool = False
    safe_path: str = field(default_factory=lambda: os.environ.get("PYTHONSAFEPATH", ""))
    _pool: Pool | None = field(default=None, repr=False, compare=False)

    def __call__(self) -> dict[str, dict[str, Any]]:
        """Compute the cells that have no record; return each cell's outcome as plain values, by its folder's name."""
        os.chdir(self.cwd)
        os.environ["PYTHONSAFEPATH"] = self.safe_path
        outcomes: dict[str, Outcome] = {}
        jobs = list(self._to_do(outcomes))
        begun = time.monotonic()
        while jobs:
            self._pool = Pool(jobs, workers=self.workers, together=self.together, stop_together=self.preemptible)
            found = {Path(job.folder).name: outcome for job, outcome in zip(jobs, self._pool.run(), strict=True)}
            outcomes |= found
            if self._pool.stopped and not _asked_to_stop(jobs):
                if self.preemptible:
                    time.sleep(_UNTIL_KILLED)
                break
            jobs = [job for job in jobs if found[Path(job.folder).name].status == OutcomeStatus.BUSY]
            # The lease of a worker that was killed on another machine expires two minutes later.
            jobs = jobs if _all_free(jobs, begun + 1.5 * EXPIRY) else []
        return {name: outcome.plain() for name, outcome in outcomes.items()}

    def checkpoint(self) -> Any:
        """Let the cells write checkpoints and return what submitit is to run when Slurm runs the job again."""
        from submitit.helpers import DelayedSubmission

        if self._pool:
            self._pool.stop_and_wait(_CHECKPOINT_SECONDS)
        return DelayedSubmission(self)

    @property
    def cells(self) -> list[str]:
        """Names of the cells' folders."""
        return [Path(job).stem for job in self.jobs]

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: everything but the processes."""
        return vars(self) | {"_pool": None}

    def _to_do(self, outcomes: dict[str, Outcome]) -> Iterator[Job]:
        for path, name in zip(self.jobs, self.cells, strict=True):
            try:
                job = read_job(Path(path))
            except FileNotFoundError:
                outcomes[name] = Outcome(OutcomeStatus.INTERRUPTED, "its sweep was stopped before it began")
                continue
            found = look(Path(job.folder), job.id)
            if found.record is not None and found.digest != job.stale:  # from an earlier start of this Slurm job
                outcomes[name] = Outcome(OutcomeStatus(found.record.status), found.reason)
            elif _asked_to_stop([job]):
                outcomes[name] = Outcome(OutcomeStatus.INTERRUPTED, "asked to stop before it began")
            else:
                yield job


def batches_of(
    jobs: Sequence[str], size: int, workers: int, *, together: int = 1, preemptible: bool = False
) -> list[Batch]:
    """Return jobs in batches of a size, in order; relative paths in them start from the current folder."""
    return [
        Batch(tuple(jobs[first : first + size]), workers, together, str(Path.cwd()), preemptible)
        for first in range(0, len(jobs), size)
    ]


def _asked_to_stop(jobs: Sequence[Job]) -> bool:
    return any(job.stop and Path(job.stop).exists() for job in jobs)


def _all_free(jobs: Sequence[Job], until: float) -> bool:
    """Wait until no other process has any of these cells, at most until a time; return whether that is so."""
    while any(look(Path(job.folder), job.id).state == CellStatus.RUNNING for job in jobs):
        if time.monotonic() > until or _asked_to_stop(jobs):
            return False
        time.sleep(_POLL_SECONDS)
    return True
