"""What waits for a cluster: the jobs that runs have submitted, and what Slurm says of them. Torch-free."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from dip_stages.errors import RecordError
from dip_stages.store.records import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["RUNS", "STOP", "Queue", "end_of", "live_slurm_jobs", "note_slurm_jobs"]

RUNS = "runs"
"""The folder of a sweep's runs: ``<sweep>/runs/<token>`` is what one driver gave out."""

STOP = "stop"
"""The file in a run's folder whose appearance asks every cell of the run to stop."""

_JOBS = "jobs.json"
_PATIENCE = 30.0


def note_slurm_jobs(run: Path, slurm_jobs: Mapping[str, str]) -> None:
    """Write down which job has which cell, beside what was written down before.

    Args:
        run: The run's folder.
        slurm_jobs: Slurm's id of a job, such as ``7_3``, by the folder name of each of its cells.
    """
    write_json(run / _JOBS, _noted(run) | dict(slurm_jobs))


def live_slurm_jobs() -> dict[str, str] | None:
    """Return the state of each of this user's jobs that has not ended, by id; None where Slurm does not answer."""
    squeue = shutil.which("squeue")
    if squeue is None:
        return None
    command = [squeue, "--me", "--array", "--noheader", "--format=%i|%T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)  # noqa: S603 - Slurm's own
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.strip().split("|", 1) for line in answer.stdout.splitlines() if "|" in line)


def end_of(slurm_job: str) -> str:
    """Return how a job ended, as Slurm's accounting says, for people; where there is none, that it ended."""
    sacct = shutil.which("sacct")
    command = [str(sacct), "--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={slurm_job}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)  # noqa: S603 - Slurm's own
    except (OSError, subprocess.SubprocessError):
        return f"Slurm job {slurm_job} ended"
    states = answer.stdout.split()
    return f"Slurm job {slurm_job} ended: {states[0]}" if states else f"Slurm job {slurm_job} ended"


class Queue:
    """The cells of a sweep that wait or run in Slurm jobs, whichever run submitted them.

    Args:
        root: The sweep's folder.
        every: Seconds for which an answer of Slurm is good.
    """

    def __init__(self, root: Path, every: float = 5.0) -> None:
        self._root, self._every = root, every
        self._asked: float | None = None
        self._cells: dict[str, str] = {}
        self._runs: frozenset[str] = frozenset()

    @property
    def cells(self) -> Mapping[str, str]:
        """The job and its state, for people, by the folder name of each cell."""
        self._ask()
        return self._cells

    @property
    def runs(self) -> frozenset[str]:
        """The tokens of the runs with jobs that have not ended, or of which that is not known."""
        self._ask()
        return self._runs

    def _ask(self) -> None:
        now = time.monotonic()
        if self._asked is not None and now - self._asked < self._every:
            return
        self._asked = now
        noted = {path.parent.name: _noted(path.parent) for path in (self._root / RUNS).glob(f"*/{_JOBS}")}
        states = live_slurm_jobs() if noted else {}
        if states is None:  # Slurm does not answer: what it said last is the best there is, and any job may live
            self._runs = frozenset(run for run, slurm_jobs in noted.items() if slurm_jobs)
            return
        live = {
            run: {cell: slurm_job for cell, slurm_job in slurm_jobs.items() if slurm_job in states}
            for run, slurm_jobs in noted.items()
        }
        self._runs = frozenset(run for run, slurm_jobs in live.items() if slurm_jobs)
        # Jobs of a run that was asked to stop end as soon as they start: nobody need wait for them.
        self._cells = {
            cell: f"Slurm job {slurm_job}, {states[slurm_job]}"
            for run, slurm_jobs in live.items()
            if not (self._root / RUNS / run / STOP).exists()
            for cell, slurm_job in slurm_jobs.items()
        }


def _noted(run: Path) -> dict[str, str]:
    try:
        return read_json(run / _JOBS)
    except (FileNotFoundError, RecordError):
        return {}
