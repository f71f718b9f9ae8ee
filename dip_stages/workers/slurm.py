"""Batches of cells as Slurm jobs, through submitit, which can also run them as local processes. Torch-free."""

from __future__ import annotations

import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dip_stages.clock import Every
from dip_stages.errors import LaunchError
from dip_stages.store.statuses import OutcomeStatus
from dip_stages.workers.batches import batches_of
from dip_stages.workers.protocol import Outcome
from dip_stages.workers.slurm_queue import STOP, end_of, live_slurm_jobs, note_slurm_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from submitit import AutoExecutor
    from submitit import Job as SlurmJob

    from dip_stages.workers.batches import Batch

    Outcomes = dict[str, dict[str, Any]]
    Submitted = dict[SlurmJob[Any], Batch]

__all__ = ["Submission", "run_on_slurm"]

_POLL_SECONDS = 1.0
_SQUEUE_SECONDS = 5.0
_GONE_SECONDS = 15.0


@dataclass(frozen=True)
class Submission:
    """How cells are submitted as Slurm jobs.

    Attributes:
        cluster: ``slurm``; ``local`` for processes of this machine.
        cells_per_job: Cells of a Slurm job.
        workers: Processes that compute them.
        together: How many cells each process computes at once.
        array_size: The most Slurm jobs of an array; Slurm allows ``MaxArraySize`` - 1. The next array is submitted
            when all of one have ended.
        timeouts: How often a Slurm job that meets its time limit is put into the queue again.
        parameters: submitit's, such as ``partition``; those that are None are left to the cluster.
    """

    cluster: str = "slurm"
    cells_per_job: int = 1
    workers: int = 1
    together: int = 1
    array_size: int = 1000
    timeouts: int = 10
    parameters: Mapping[str, Any] = field(default_factory=dict)


def run_on_slurm(jobs: Sequence[str], run: Path, submission: Submission, *, detach: bool = False) -> Outcomes:
    """Submit jobs, in batches, as Slurm jobs, and wait for them.

    Args:
        jobs: Absolute paths of the jobs.
        run: The run's folder, which gets the files of submitit and a list of which Slurm job has which cell.
        submission: How they are submitted.
        detach: Whether to leave them to the cluster; all arrays are then submitted at once.

    Returns:
        Each cell's :class:`Outcome` as plain values, by its folder's name: ``lost`` where the Slurm job left none,
        ``submitted`` for all if they are left to the cluster.

    Raises:
        LaunchError: If the cluster does not take the jobs.
    """
    executor = _executor(run, submission)
    slurm = submission.cluster == "slurm"
    batches = batches_of(
        jobs, submission.cells_per_job, submission.workers, together=submission.together, preemptible=slurm
    )
    outcomes: Outcomes = {}
    for first in range(0, len(batches), submission.array_size):
        submitted = _submit(executor, batches[first : first + submission.array_size])
        if slurm:
            note_slurm_jobs(run, {cell: each.job_id for each, batch in submitted.items() for cell in batch.cells})
        if detach:
            for slurm_job, batch in submitted.items():
                outcomes |= _all(batch, OutcomeStatus.SUBMITTED, f"Slurm job {slurm_job.job_id}")
        else:
            outcomes |= _wait_for(submitted, run, slurm=slurm)
    return outcomes


def _wait_for(submitted: Submitted, run: Path, *, slurm: bool) -> Outcomes:
    outcomes: Outcomes = {}
    try:
        for slurm_job, batch in _as_they_end(submitted, slurm=slurm):
            outcomes |= _outcomes(slurm_job, batch, slurm=slurm)
    except BaseException:
        if slurm and (run / STOP).exists():  # running ones end by themselves, since the file asks them to stop
            ids = sorted({slurm_job.job_id.partition("_")[0] for slurm_job in submitted})
            subprocess.run(["scancel", "--state=PENDING", *ids], check=False, timeout=30)  # noqa: S603, S607
        raise
    return outcomes


def _executor(run: Path, submission: Submission) -> AutoExecutor:
    import submitit

    try:
        executor = submitit.AutoExecutor(
            folder=run / "jobs" / "%j",
            cluster=submission.cluster,
            **{f"{submission.cluster}_max_num_timeout": submission.timeouts},
        )
        executor.update_parameters(**{key: value for key, value in submission.parameters.items() if value is not None})
    except (RuntimeError, ValueError, NameError, TypeError) as error:
        raise LaunchError(f": {error}", setting="hydra/launcher", got=f"submitit_{submission.cluster}") from error
    return executor


def _submit(executor: AutoExecutor, batches: Sequence[Batch]) -> Submitted:
    # Inherited by the processes of cluster=local, so that Ctrl-C in a terminal is the driver's alone.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with executor.batch():
            slurm_jobs = [executor.submit(batch) for batch in batches]
    except (RuntimeError, OSError) as error:
        raise LaunchError(f"the cluster does not take the jobs: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return dict(zip(slurm_jobs, batches, strict=True))


def _as_they_end(submitted: Submitted, *, slurm: bool) -> Iterator[tuple[SlurmJob[Any], Batch]]:
    """Yield Slurm jobs when they have left a result or ended without one; squeue is called every few seconds."""
    left = dict(submitted)
    missing_since: dict[SlurmJob[Any], float] = {}
    squeue = Every(_SQUEUE_SECONDS)
    while left:
        states = live_slurm_jobs() if slurm and squeue.due() else None
        for slurm_job in list(left):
            if not slurm:
                ended = slurm_job.done()
            elif slurm_job.paths.result_pickle.exists():
                ended = True
            else:
                ended = states is not None and _gone(slurm_job, states, missing_since)
            if ended:
                yield slurm_job, left.pop(slurm_job)
        time.sleep(_POLL_SECONDS)


def _gone(slurm_job: SlurmJob[Any], states: Mapping[str, str], missing_since: dict[SlurmJob[Any], float]) -> bool:
    """Return whether a Slurm job has been missing for so long that a shared disk would show its result."""
    if slurm_job.job_id in states:
        missing_since.pop(slurm_job, None)
        return False
    return time.monotonic() - missing_since.setdefault(slurm_job, time.monotonic()) >= _GONE_SECONDS


def _outcomes(slurm_job: SlurmJob[Any], batch: Batch, *, slurm: bool) -> Outcomes:
    why = ""
    if slurm_job.paths.result_pickle.exists():
        try:
            outcomes: Outcomes = slurm_job.result()
        except RuntimeError as error:
            # submitit adds lines on where the logs are to a traceback, whose last line is the exception.
            lines = [line.strip() for line in str(error).splitlines()]
            trace = [line for line in lines if line and not line.startswith(("---", "You can"))]
            why = f": {trace[-1]}" if trace else ""
        else:
            return outcomes
    ended = end_of(slurm_job.job_id) if slurm else f"its job, process {slurm_job.job_id}, ended"
    return _all(batch, OutcomeStatus.LOST, f"{ended}{why}; its log: {slurm_job.paths.stderr}")


def _all(batch: Batch, status: OutcomeStatus, message: str) -> Outcomes:
    return {cell: Outcome(status, message).plain() for cell in batch.cells}
