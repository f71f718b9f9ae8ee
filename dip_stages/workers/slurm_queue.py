"""The Slurm jobs that runs have submitted, and their states as Slurm reports them. Torch-free."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from dip_stages.clock import Every
from dip_stages.errors import RecordError
from dip_stages.store.json_files import read_json, write_json
from dip_stages.store.records import RUNS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["STOP", "Queue", "end_of", "live_slurm_jobs", "note_slurm_jobs"]

STOP = "stop"
"""The file in a run's folder whose appearance asks every cell of the run to stop."""

_SLURM_JOBS = "jobs.json"
_TIMEOUT = 30.0


def note_slurm_jobs(run: Path, slurm_jobs: Mapping[str, str]) -> None:
    """Add to a run's list of which Slurm job has which cell.

    Args:
        run: The run's folder.
        slurm_jobs: The Slurm job's id, such as ``7_3``, by the folder name of each of its cells.
    """
    write_json(run / _SLURM_JOBS, _noted(run) | dict(slurm_jobs))


def live_slurm_jobs() -> dict[str, str] | None:
    """Return the state of each of this user's Slurm jobs that has not ended, by id; None if Slurm does not answer."""
    squeue = shutil.which("squeue")
    if squeue is None:
        return None
    command = [squeue, "--me", "--array", "--noheader", "--format=%i|%T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)  # noqa: S603 - Slurm's own
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.strip().split("|", 1) for line in answer.stdout.splitlines() if "|" in line)


def end_of(slurm_job: str) -> str:
    """Return how a Slurm job ended, for people, from Slurm's accounting; without accounting, that it ended."""
    sacct = shutil.which("sacct")
    command = [str(sacct), "--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={slurm_job}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)  # noqa: S603 - Slurm's own
    except (OSError, subprocess.SubprocessError):
        return f"Slurm job {slurm_job} ended"
    states = answer.stdout.split()
    return f"Slurm job {slurm_job} ended: {states[0]}" if states else f"Slurm job {slurm_job} ended"


class Queue:
    """The cells of a sweep that wait or run in Slurm jobs, of all runs of the sweep.

    Args:
        root: The sweep's folder.
        every: Seconds between two questions to Slurm.
    """

    def __init__(self, root: Path, every: float = 5.0) -> None:
        self._root = root
        self._update = Every(every, now=True)
        self._cells: dict[str, str] = {}
        self._runs: frozenset[str] = frozenset()

    @property
    def cells(self) -> Mapping[str, str]:
        """The Slurm job and its state, for people, by the folder name of each cell."""
        if self._update.due():
            self._ask()
        return self._cells

    @property
    def runs(self) -> frozenset[str]:
        """The tokens of the runs with Slurm jobs that have not ended, or whose state is unknown."""
        if self._update.due():
            self._ask()
        return self._runs

    def _ask(self) -> None:
        noted = {path.parent.name: _noted(path.parent) for path in (self._root / RUNS).glob(f"*/{_SLURM_JOBS}")}
        states = live_slurm_jobs() if noted else {}
        if states is None:  # Slurm does not answer: keep its last answer, and assume that all jobs live
            self._runs = frozenset(run for run, slurm_jobs in noted.items() if slurm_jobs)
            return
        live = {
            run: {cell: slurm_job for cell, slurm_job in slurm_jobs.items() if slurm_job in states}
            for run, slurm_jobs in noted.items()
        }
        self._runs = frozenset(run for run, slurm_jobs in live.items() if slurm_jobs)
        # Slurm jobs of a run that was asked to stop end as soon as they start: there is no need to wait for them.
        self._cells = {
            cell: f"Slurm job {slurm_job}, {states[slurm_job]}"
            for run, slurm_jobs in live.items()
            if not (self._root / RUNS / run / STOP).exists()
            for cell, slurm_job in slurm_jobs.items()
        }


def _noted(run: Path) -> dict[str, str]:
    try:
        return read_json(run / _SLURM_JOBS)
    except (FileNotFoundError, RecordError):
        return {}
