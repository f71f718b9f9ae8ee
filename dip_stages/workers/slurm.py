"""Packs of cells as Slurm jobs, through submitit, which also runs them as processes of this machine. Torch-free."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dip_stages.errors import LaunchError
from dip_stages.workers.batches import packed
from dip_stages.workers.main import Outcome
from dip_stages.workers.slurm_queue import STOP, end_of, live_slurm_jobs, note_slurm_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from submitit import AutoExecutor, Job

    from dip_stages.workers.batches import Pack

    Outcomes = dict[str, dict[str, Any]]

__all__ = ["Submission", "run_on_slurm"]

_LOOK = 1.0
_ASK = 5.0
_VANISHED = 15.0


@dataclass(frozen=True)
class Submission:
    """How cells become jobs.

    Attributes:
        cluster: ``slurm``; ``local`` for processes of this machine.
        cells_per_job: Cells of a job.
        workers: Processes that compute them.
        together: How many cells each process computes at once.
        array_size: Jobs of an array at most; Slurm allows ``MaxArraySize`` - 1. The next follows when all ended.
        timeouts: How often a job that meets its time limit is put into the queue again.
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
        jobs: Where the jobs are, absolute.
        run: The folder of the run; which job has which cell is written down there, and submitit keeps its files in it.
        submission: How.
        detach: Whether to leave them to the cluster; all arrays are then submitted at once.

    Returns:
        The fields of an :class:`Outcome` for each cell, by its folder's name: ``lost`` where the job left none, and
        ``submitted`` for all if they are left to the cluster.

    Raises:
        LaunchError: If the cluster does not take the jobs.
    """
    executor = _executor(run, submission)
    slurm = submission.cluster == "slurm"
    packs = packed(jobs, submission.cells_per_job, submission.workers, together=submission.together, preemptible=slurm)
    outcomes: Outcomes = {}
    for first in range(0, len(packs), submission.array_size):
        array = packs[first : first + submission.array_size]
        slurm_jobs = _submit(executor, array)
        packed_in = dict(zip(slurm_jobs, array, strict=True))
        if slurm:
            note_slurm_jobs(run, {cell: each.job_id for each, pack in packed_in.items() for cell in pack.cells})
        if detach:
            for slurm_job, pack in packed_in.items():
                outcomes |= _all(pack, "submitted", f"Slurm job {slurm_job.job_id}")
            continue
        try:
            for slurm_job, pack in _as_they_end(packed_in, slurm=slurm):
                outcomes |= _outcomes(slurm_job, pack, slurm=slurm)
        except BaseException:
            if slurm and (run / STOP).exists():  # what has not begun need not; what runs has been asked to stop
                ids = sorted({slurm_job.job_id.partition("_")[0] for slurm_job in slurm_jobs})
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


def _submit(executor: AutoExecutor, packs: Sequence[Pack]) -> list[Job[Any]]:
    try:
        with executor.batch():
            return [executor.submit(pack) for pack in packs]
    except (RuntimeError, OSError) as error:
        raise LaunchError(f"the cluster does not take the jobs: {error}") from error


def _as_they_end(slurm_jobs: dict[Job[Any], Pack], *, slurm: bool) -> Iterator[tuple[Job[Any], Pack]]:
    """Yield jobs when they have left a result, or ended without one: Slurm itself is asked every few seconds."""
    left = dict(slurm_jobs)
    missed: dict[Job[Any], float] = {}
    asked = time.monotonic()
    while left:
        states: Mapping[str, str] | None = None
        if slurm and time.monotonic() - asked >= _ASK:
            asked, states = time.monotonic(), live_slurm_jobs()
        for slurm_job in list(left):
            if not slurm:
                ended = slurm_job.done()
            elif slurm_job.paths.result_pickle.exists():
                ended = True
            else:
                ended = states is not None and _gone(slurm_job, states, missed)
            if ended:
                yield slurm_job, left.pop(slurm_job)
        time.sleep(_LOOK)


def _gone(slurm_job: Job[Any], states: Mapping[str, str], missed: dict[Job[Any], float]) -> bool:
    """Return whether Slurm has not known a job for so long that its result would be seen, on a shared disk too."""
    if slurm_job.job_id in states:
        missed.pop(slurm_job, None)
        return False
    return time.monotonic() - missed.setdefault(slurm_job, time.monotonic()) >= _VANISHED


def _outcomes(slurm_job: Job[Any], pack: Pack, *, slurm: bool) -> Outcomes:
    why = ""
    if slurm_job.paths.result_pickle.exists():
        try:
            outcomes: Outcomes = slurm_job.result()
        except RuntimeError as error:  # what submitit makes of an exception in a job: a trace, and where the logs are
            lines = [line.strip() for line in str(error).splitlines()]
            said = [line for line in lines if line and not line.startswith(("---", "You can"))]
            why = f": {said[-1]}" if said else ""
        else:
            return outcomes
    ended = end_of(slurm_job.job_id) if slurm else f"its slurm_job, process {slurm_job.job_id}, ended"
    return _all(pack, "lost", f"{ended}{why}; its log: {slurm_job.paths.stderr}")


def _all(pack: Pack, status: str, message: str) -> Outcomes:
    return {cell: vars(Outcome(status, message)) for cell in pack.cells}
